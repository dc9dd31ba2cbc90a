"""Codes that are known: a twin keeps what is linear and nothing else, a squeezed code is read by a wide probe alone."""

import pytest
import torch

from emt_core.analysis import anatomy
from emt_core.analysis.probes import linear_part, linear_share, linear_twin, squeezed


def draws(models=1, seed=0):
    return [torch.Generator().manual_seed(seed + m) for m in range(models)]


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=draws(seed=seed)[0])


def all_signs(count):
    """Every combination of ``count`` signs once: averages over them are exact."""
    bits = torch.arange(2**count)[:, None] >> torch.arange(count) & 1
    return (2.0 * bits - 1).double()[None]


def test_the_linear_part_of_a_linear_code_is_the_code():
    signs = all_signs(5)
    states = signs @ random(5, 3) + 2
    assert torch.allclose(linear_part(states, signs), states, atol=1e-12)
    assert linear_share(states, signs)[0] == pytest.approx(1)
    twin = linear_twin(states, signs, draws())
    assert torch.allclose(twin, states, atol=1e-12)


def test_a_twin_keeps_the_linear_part_and_the_sizes_of_the_rest():
    """A product of two signs has no linear part: in the twin it stands beside other sequences."""
    signs = all_signs(10)
    product = 0.5 * signs[..., :1] * signs[..., 1:2]
    states = torch.cat([signs[..., 2:3] + product, signs[..., 3:4]], 2)
    assert linear_share(states, signs)[0] == pytest.approx(2 / 2.25)
    twin = linear_twin(states, signs, draws())
    rest = twin[..., :1] - signs[..., 2:3]
    assert torch.allclose(rest.abs(), product.abs(), atol=1e-12)
    assert torch.allclose(twin[..., 1], signs[..., 3], atol=1e-12)
    # 1024 pairs of independent signs: their mean product has a standard deviation of 1/32
    assert abs((rest * product).mean() / 0.25) < 4 / 32


def test_each_model_has_a_twin_of_its_own():
    signs, states = all_signs(6).expand(2, -1, -1), random(2, 64, 3)
    both = linear_twin(states, signs, draws(2))
    for m in range(2):
        alone = linear_twin(states[m : m + 1], signs[m : m + 1], draws(1, seed=m))
        torch.testing.assert_close(both[m : m + 1], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_signs_that_share_a_number_are_its_levels(k):
    """2^k equidistant levels of variance 1, apart by 2 / √((4^k − 1) / 3); the sign of a 1 × 1 rotation is free."""
    levels = squeezed(all_signs(k), 1, k, 0, draws()).flatten().sort().values
    gap = 2 / ((4**k - 1) / 3) ** 0.5
    assert torch.allclose(levels.diff(), torch.full((2**k - 1,), gap, dtype=torch.float64))
    assert levels.square().mean() == pytest.approx(1)


def test_only_the_first_of_signs_that_share_a_number_is_in_its_linear_part():
    """v = (y₁ + 2 y₁y₂) / √5, so a fifth of the variance is linear."""
    signs = all_signs(2)
    v = squeezed(signs, 1, 2, 0, draws())
    assert linear_share(v, signs)[0] == pytest.approx(1 / 5)
    assert (v * signs).mean(1)[0].abs().tolist() == pytest.approx([5**-0.5, 0])


def test_no_sign_shares_where_there_is_room():
    """One sign to a number, the last number empty: a rotation of the signs, and those not stored do not show."""
    signs = all_signs(4)
    code = squeezed(signs, 4, 3, 0, draws())
    assert linear_share(code, signs)[0] == pytest.approx(1)
    assert torch.allclose(code @ code.mT, signs[..., :3] @ signs[..., :3].mT, atol=1e-12)


def test_noise_is_its_share_of_the_variance():
    signs = random(1, 20000, 4, seed=1).sign()
    code = squeezed(signs, 4, 4, 0.3, draws())
    assert linear_share(code, signs)[0] == pytest.approx(0.7, abs=0.02)  # 4 · 0.3 √(2/80000) = 0.006
    assert code.square().mean() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("stored", [4, 5, 8])
def test_what_shares_a_number_is_read_by_the_wide_probe_alone(stored):
    """Eight signs in four numbers. Signs that have a number each are read by both probes; those that share are guessed
    by the linear one, and those not stored by both. 8000 fair coins have a standard deviation of 0.006."""
    signs = random(1, 2000, 8, seed=2).sign().float()
    linear, wide = anatomy.signs_read(squeezed(signs, 4, stored, 0.003, draws()), signs)
    shared = stored - 4
    assert wide.item() == pytest.approx((stored + (8 - stored) / 2) / 8, abs=0.02)
    assert linear.item() == pytest.approx((4 - shared + (4 + shared) / 2) / 8, abs=0.03)


def test_two_signs_in_one_number_are_a_linear_code_that_a_linear_probe_cannot_read():
    """2 y₁ + y₂: the linear probe reads y₁ and three of four y₂ at best, the wide one both, and so from the twin."""
    signs = random(1, 2000, 2, seed=3).sign().float()
    states = signs @ torch.tensor([[2.0], [1.0]])
    for code in (states, linear_twin(states, signs, draws())):
        linear, wide = anatomy.signs_read(code, signs)
        assert wide.item() > 0.99 and linear.item() < 0.9


def test_wrong_numbers_are_named():
    signs = all_signs(3)
    with pytest.raises(ValueError, match=r"^stored must be at most the 3 signs, got 4$"):
        squeezed(signs, 2, 4, 0, draws())
    with pytest.raises(ValueError, match=r"^noise must lie between 0 and 1"):
        squeezed(signs, 2, 3, -0.1, draws())
    with pytest.raises(ValueError, match=r"^units must be at least 1"):
        squeezed(signs, 0, 3, 0, draws())
