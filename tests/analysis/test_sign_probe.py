"""Probes: a linear one reads what is linear and no more, a wide one also what is not, and neither reads noise."""

import pytest
import torch
from oracles import SHAPE_ERRORS, same_bits

from emt_core.analysis.probes import sign_probe


def random(*shape, seed=0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def linear_data(models, batch, seed) -> tuple[torch.Tensor, torch.Tensor]:
    """Three signs on oblique directions of eight units, far from the origin, beside a fourth that is not asked for."""
    contents = random(models, batch, 4, seed=seed).sign()
    return 1e3 * contents @ random(4, 8, seed=100) + 7e3, contents[:, :, :3]


def parity_data(models, batch, seed) -> tuple[torch.Tensor, torch.Tensor]:
    """The sign of the product of the first two of four units; the last two are noise."""
    states = random(models, batch, 4, seed=seed)
    states[:, :, :2] = states[:, :, :2].sign()
    return states, states[:, :, :1] * states[:, :, 1:2]


def noise_data(models, batch, seed) -> tuple[torch.Tensor, torch.Tensor]:
    return random(models, batch, 5, seed=seed), random(models, batch, 2, seed=seed + 50).sign()


@pytest.mark.parametrize("width", [0, 16])
def test_what_is_linear_is_read_perfectly(width):
    share = sign_probe(*linear_data(2, 200, 0), *linear_data(2, 300, 1), width=width)
    assert share.tolist() == [[1.0] * 3] * 2


def test_a_parity_needs_a_hidden_layer():
    train, test = parity_data(1, 300, 0), parity_data(1, 2000, 1)
    # chance: 2000 fair coins have a standard deviation of 0.011
    assert sign_probe(*train, *test).item() == pytest.approx(0.5, abs=0.055)
    assert sign_probe(*train, *test, width=64).item() > 0.95


@pytest.mark.parametrize("width", [0, 16])
def test_noise_is_read_at_chance(width):
    train, test = noise_data(2, 40, 0), noise_data(2, 2000, 1)
    share = sign_probe(*train, *test, width=width, steps=200)
    assert (share - 0.5).abs().max() < 0.055
    # few training sequences can be learned by heart in part: that is what the test states are for
    assert (sign_probe(*train, *train, width=width, steps=200) > 0.55).all()


@pytest.mark.parametrize("width", [0, 8])
def test_each_model_has_a_probe_of_its_own(width):
    train, test = noise_data(3, 50, 0), noise_data(3, 200, 1)
    train[0][1] *= 1e3  # neither sizes nor labels of one model touch another's probe
    together = sign_probe(*train, *test, width=width, steps=60)
    for m in range(3):
        data = [x[m : m + 1] for x in (*train, *test)]
        # float64: no output is so near zero that the rounding of another batched product could turn its sign
        torch.testing.assert_close(sign_probe(*data, width=width, steps=60)[0], together[m], rtol=0, atol=1e-12)


def test_turned_labels_of_the_test_are_the_complement():
    train, (states, signs) = noise_data(1, 50, 0), noise_data(1, 200, 1)
    share, turned = (sign_probe(*train, states, s, steps=30) for s in (signs, -signs))
    torch.testing.assert_close(share + turned, torch.ones_like(share), rtol=0, atol=1e-12)


def test_a_shift_and_another_unit_of_measure_change_nothing():
    (states, signs), (test_states, test_signs) = noise_data(1, 50, 0), noise_data(1, 200, 1)
    plain = sign_probe(states, signs, test_states, test_signs, width=8, steps=60)
    moved = sign_probe(30 * states + 4, signs, 30 * test_states + 4, test_signs, width=8, steps=60)
    torch.testing.assert_close(moved, plain, rtol=0, atol=1e-12)


def test_the_seed_decides_and_the_global_generator_is_left_alone():
    train, test = noise_data(1, 50, 0), noise_data(1, 500, 1)
    before = torch.get_rng_state()
    one, again, other = (sign_probe(*train, *test, width=8, steps=40, seed=s) for s in (3, 3, 4))
    assert same_bits(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_data_are_left_as_they_are():
    data = [*linear_data(1, 20, 0), *linear_data(1, 20, 1)]
    copies = [x.clone() for x in data]
    share = sign_probe(*data, steps=2)
    assert not share.requires_grad
    assert all(same_bits(x, copy) for x, copy in zip(data, copies, strict=True))


@pytest.mark.parametrize("label", [0.0, 2.0, 0.5, float("nan"), float("inf")], ids=str)
def test_labels_other_than_signs_are_named(label):
    train, test = noise_data(1, 10, 0), noise_data(1, 10, 1)
    wrong = train[1].clone()
    wrong[0, 3, 1] = label
    with pytest.raises(ValueError, match=r"^signs must be -1 or 1"):
        sign_probe(train[0], wrong, *test)
    with pytest.raises(ValueError, match=r"^test_signs must be -1 or 1"):
        sign_probe(*train, test[0], wrong)


def test_wrong_shapes_and_numbers_are_named():
    train, test = noise_data(2, 10, 0), noise_data(2, 12, 1)
    with pytest.raises(SHAPE_ERRORS, match="signs"):
        sign_probe(train[0], train[1][:, :9], *test)
    with pytest.raises(SHAPE_ERRORS, match="test_signs"):
        sign_probe(*train, test[0], test[1][:, :9])
    with pytest.raises(SHAPE_ERRORS, match="signs"):
        sign_probe(train[0], train[1][:1], *test)
    with pytest.raises(ValueError, match=r"^width must be at least 0"):
        sign_probe(*train, *test, width=-1)
    with pytest.raises(ValueError, match=r"^steps must be at least 1"):
        sign_probe(*train, *test, steps=0)
    with pytest.raises(ValueError, match=r"^seed must be below 2147483648, got 2147483648$"):
        sign_probe(*train, *test, seed=2**31)
    with pytest.raises(ValueError, match=r"^seed must be at least 0, got -1$"):
        sign_probe(*train, *test, seed=-1)


@pytest.mark.parametrize("width", [0, 16])
def test_a_unit_that_does_not_move_does_no_harm(width):
    states, signs = linear_data(1, 500, 0)
    tests, test_signs = linear_data(1, 500, 1)
    still = [torch.cat([x, torch.full_like(x[..., :1], 0.7)], dim=2) for x in (states, tests)]
    share = sign_probe(still[0].float(), signs.float(), still[1].float(), test_signs.float(), width=width)
    assert share.min() > 0.95


def test_one_sequence_is_too_few():
    states, signs = linear_data(1, 1, 0)
    with pytest.raises(ValueError, match="states must hold at least 2 sequences"):
        sign_probe(states, signs, states, signs)
