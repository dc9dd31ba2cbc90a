"""Cells whose state only fades or turns: against complex numbers, and against the whole past at once."""

import math

import numpy as np
import pytest
import torch
from oracles import SHAPE_ERRORS, generators

from emt_core.networks.diagonal import LRU, Decay
from emt_core.networks.min_gru import MinGRU

M, T, B, I = 2, 9, 4, 3  # noqa: E741


def inputs(seed=0) -> torch.Tensor:
    return torch.randn(M, T, B, I, dtype=torch.float64, generator=generators(seed)[0])


def final(cell, x, h=None) -> torch.Tensor:
    h = cell.zero_state(x.shape[2]) if h is None else h
    for t in range(x.shape[1]):
        h = cell.step(h, x[:, t])
    return h


@pytest.mark.parametrize("hidden", [1, 2, 6, 7])
def test_an_lru_is_a_sum_over_the_past_of_powers_of_complex_numbers(hidden):
    """h_T = Σ_s λ^(T−s) γ B x_s, with λ and B written as complex numbers; an odd number is a real one."""
    cell, x, half = LRU.init(I, hidden, generators(0, 1)).to(torch.float64), inputs(), hidden // 2
    found = final(cell, x).numpy()
    for m in range(M):
        nu, theta, gamma = (w[m].numpy() for w in (cell.nu, cell.theta, cell.log_gamma.exp()))
        turning = np.exp(-np.exp(nu[:half]) + 1j * theta)
        B_m = cell.B[m].numpy()
        complex_B = B_m[:half] + 1j * B_m[half : 2 * half]
        powers = turning[None] ** np.arange(T - 1, -1, -1)[:, None]  # (T, K)
        want = np.einsum("tk,k,ki,tbi->bk", powers, gamma[:half], complex_B, x[m].numpy())
        np.testing.assert_allclose(found[m, :, :half], want.real, atol=1e-13)
        np.testing.assert_allclose(found[m, :, half : 2 * half], want.imag, atol=1e-13)
        if hidden % 2:
            fading = np.exp(-np.exp(nu[-1])) ** np.arange(T - 1, -1, -1)
            alone = np.einsum("t,i,tbi->b", fading, gamma[-1] * B_m[-1], x[m].numpy())
            np.testing.assert_allclose(found[m, :, -1], alone, atol=1e-13)


def test_a_decay_is_a_sum_over_the_past_of_powers_between_zero_and_one():
    cell, x = Decay.init(I, 5, generators(0, 1)).to(torch.float64), inputs()
    assert ((cell.modulus > 0) & (cell.modulus < 1)).all()
    powers = cell.modulus[:, None] ** torch.arange(T - 1, -1, -1)[:, None]
    want = torch.einsum("mtk,mk,mki,mtbi->mbk", powers, cell.log_gamma.exp(), cell.B, x)
    torch.testing.assert_close(final(cell, x), want, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", [LRU, Decay])
def test_the_spectrum_is_known(kind):
    """The Jacobian of one step has the eigenvalues λ, in conjugate pairs where they turn."""
    cell = kind.init(I, 7, generators(0, 1)).to(torch.float64)
    found = torch.linalg.eigvals(cell.jacobian())
    want = cell.modulus + 0j
    if kind is LRU:
        pairs = torch.polar(cell.modulus[:, :3], cell.theta)
        want = torch.cat([pairs, pairs.conj(), cell.modulus[:, 3:] + 0j], dim=1)
    for own, known in zip(found, want, strict=True):
        apart = (own[:, None] - known).abs()
        assert apart.min(1).values.max() < 1e-13 and apart.min(0).values.max() < 1e-13


@pytest.mark.parametrize("kind", [LRU, Decay])
def test_white_noise_has_the_same_size_in_every_mode_at_the_start(kind):
    """What γ is for: E|h|² of a mode is then that of its row of B x, but for what has not come in yet, at most
    0.995^4000 of it where |λ| < 0.995."""
    cell = kind.init(4, 64, generators(0)).to(torch.float64)
    x = torch.randn(1, 2000, 400, 4, dtype=torch.float64, generator=generators(1)[0])
    size, rows = final(cell, x).square().mean(1), cell.B.square().sum(2)
    if kind is LRU:
        size, rows = (part[:, :32] + part[:, 32:] for part in (size, rows))
    kept = cell.modulus < 0.995
    assert kept.double().mean() > 0.9
    # of 400 draws a variance is known to √(2/400) = 7 %: 4.5 standard errors for some 60 of them
    torch.testing.assert_close(size[kept] / rows[kept], torch.ones(int(kept.sum())).double(), rtol=0, atol=0.32)


def test_moduli_start_uniform_in_the_disc_and_angles_all_around():
    cell = LRU.init(2, 4000, generators(0))
    area, turn = cell.modulus[0].double().square(), cell.theta[0].double() / (2 * math.pi)
    decay = Decay.init(2, 2000, generators(0))
    # uniform: Kolmogorov's distance of 2,000 draws is below 0.043 but once in 1,000
    for share in (area, turn, decay.modulus[0].double()):
        ordered = share.sort().values
        assert (ordered - (torch.arange(2000) + 0.5) / 2000).abs().max() < 0.043
    for B_0, variance in ((cell.B, 1 / 4), (decay.B, 1 / 2)):  # of n draws it is known to √(2/n)
        assert B_0.var().item() == pytest.approx(variance, rel=4 * (2 / B_0.numel()) ** 0.5)


def test_a_minimal_gru_starts_as_a_linear_layer():
    """U(−1/√I, 1/√I), whose variance 1/3I n draws give to 0.9/√n of it."""
    for w in MinGRU.init(100, 400, generators(0)).weights.values():
        assert w.abs().max() <= 0.1
        assert w.var().item() == pytest.approx(1 / 300, rel=4 * 0.9 / w.numel() ** 0.5)


def test_a_minimal_gru_is_a_weighted_mean_of_its_candidates():
    """h_T = Σ_s (Π_{u>s} (1 − z_u)) z_s c_s, weights that sum to 1 − Π (1 − z)."""
    cell, x = MinGRU.init(I, 5, generators(0, 1)).to(torch.float64), inputs()
    z = torch.sigmoid(torch.einsum("mni,mtbi->mtbn", cell.W_z, x) + cell.b_z[:, None, None])
    c = torch.einsum("mni,mtbi->mtbn", cell.W_c, x) + cell.b_c[:, None, None]
    later = torch.stack([(1 - z[:, s + 1 :]).prod(1) for s in range(T)], dim=1)
    torch.testing.assert_close(final(cell, x), (later * z * c).sum(1), rtol=0, atol=1e-13)
    torch.testing.assert_close((later * z).sum(1), 1 - (1 - z).prod(1), rtol=0, atol=1e-13)


def test_weights_that_do_not_fit_are_named():
    lru, decay, gru = (kind.init(I, 6, generators(0)) for kind in (LRU, Decay, MinGRU))
    with pytest.raises(SHAPE_ERRORS, match=r"theta must have shape \(1, 3\)"):
        lru.with_weights(lru.weights | {"theta": lru.theta[:, :2]})
    with pytest.raises(SHAPE_ERRORS, match=r"nu|log_gamma"):
        decay.with_weights(decay.weights | {"nu": decay.nu[:, :2]})
    with pytest.raises(SHAPE_ERRORS, match="b_c"):
        gru.with_weights(gru.weights | {"b_c": gru.b_c[:, :2]})
