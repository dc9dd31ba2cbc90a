"""Selective state spaces against the paper's equations, number by number, and torch's convolution."""

import numpy as np
import pytest
import torch
from oracles import SHAPE_ERRORS, generators

from emt_core.networks import CELLS
from emt_core.networks.selective import Selective, SelectiveConv

M, T, B, I, N, K = 2, 9, 4, 3, 5, 4  # noqa: E741


def random(*shape, seed=0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=generators(seed)[0])


def draw(kind):
    """Cells whose gates differ much from input to input, and h, and inputs."""
    cell = kind.init(I, N, generators(0, 1)).to(torch.float64)
    cell = cell.with_weights(cell.weights | {"W_delta": 3 * cell.W_delta, "b_delta": cell.b_delta + 3})
    return cell, random(M, B, cell.state_size, seed=1), random(M, T, B, I)


def final(cell, x, h) -> torch.Tensor:
    for t in range(x.shape[1]):
        h = cell.step(h, x[:, t])
    return h


def by_the_paper(cell, m, x, h) -> np.ndarray:
    """The states (T, N) of one sequence, algorithm 2 of the paper with one number a channel."""
    W_B, W_delta, b_delta, A_log = (getattr(cell, name)[m].numpy() for name in ("W_B", "W_delta", "b_delta", "A_log"))
    states = []
    for u in x:
        new = np.empty(N)
        for i in range(N):
            delta = np.log1p(np.exp(sum(W_delta[i, j] * u[j] for j in range(I)) + b_delta[i]))
            A = -np.exp(A_log[i])
            new[i] = np.exp(delta * A) * h[i] + delta * sum(W_B[i, j] * u[j] for j in range(I))
        h = new
        states.append(h)
    return np.array(states)


def test_a_selective_cell_is_the_papers_recurrence():
    cell, h, x = draw(Selective)
    found = cell.scan(x.flatten(1, 2))(torch.arange(T * B).view(T, B).expand(M, -1, -1), h)
    torch.testing.assert_close(found[:, -1], final(cell, x, h), rtol=0, atol=1e-13)
    for m in range(M):
        for b in range(B):
            want = by_the_paper(cell, m, x[m, :, b].numpy(), h[m, b].numpy())
            np.testing.assert_allclose(found[m, :, b], want, rtol=0, atol=1e-13)


def test_a_selective_state_is_a_sum_over_the_past():
    """h_T = Σ_s exp(−A Σ_{u>s} Δ_u) Δ_s W_B x_s: time runs as fast as the input says."""
    cell, _, x = draw(Selective)
    delta = torch.einsum("mni,mtbi->mtbn", cell.W_delta, x) + cell.b_delta[:, None, None]
    delta = torch.log1p(delta.exp())
    later = delta.sum(1, keepdim=True) - delta.cumsum(1)
    weights = torch.exp(-later * cell.A_log.exp()[:, None, None]) * delta
    want = (weights * torch.einsum("mni,mtbi->mtbn", cell.W_B, x)).sum(1)
    torch.testing.assert_close(final(cell, x, cell.zero_state(B)), want, rtol=0, atol=1e-13)


def test_rates_start_as_in_mamba():
    cell = Selective.init(2, 4000, generators(0)).to(torch.float64)
    step = torch.nn.functional.softplus(cell.b_delta[0]).log10()
    # uniform: Kolmogorov's distance of 4,000 draws is below 0.031 but once in 1,000
    for share in ((step + 3) / 2, (cell.A_log[0].exp() - 1) / 15):
        assert (share.sort().values - (torch.arange(4000) + 0.5) / 4000).abs().max() < 0.031
    for w in (cell.W_B, cell.W_delta):
        assert w.abs().max() <= 2**-0.5 and w.var().item() == pytest.approx(1 / 6, rel=5 * 0.9 / 8000**0.5)


def test_what_a_convolution_reads_is_torchs():
    """From past inputs that the state holds, the oldest first."""
    cell, h, x = draw(SelectiveConv)
    past = h[..., N:].view(M, B, K - 1, I)
    for m in range(M):
        conv = torch.nn.Conv1d(I, I, K, groups=I).double()
        with torch.no_grad():
            conv.weight.copy_(cell.W_conv[m].T[:, None])
            conv.bias.copy_(cell.b_conv[m])
            whole = torch.cat([past[m], x[m].transpose(0, 1)], dim=1)
            read = torch.nn.functional.silu(conv(whole.mT)).permute(2, 0, 1)  # (T, B, I)
        alone = Selective(*(cell[m].weights[name] for name in ("W_B", "W_delta", "b_delta", "A_log")))
        want = final(alone, read[None], h[m : m + 1, :, :N])
        got = final(cell[m], x[m : m + 1], h[m : m + 1])
        torch.testing.assert_close(got[..., :N], want, rtol=0, atol=1e-13)
        assert torch.equal(got[..., N:].view(B, K - 1, I), x[m, -(K - 1) :].transpose(0, 1))


def test_a_sequence_that_stops_keeps_its_past_inputs_and_may_go_on():
    cell, h, x = draw(SelectiveConv)
    tokens = torch.arange(T * B).view(T, B).expand(M, -1, -1)
    active = torch.tensor([[4, 1, 4, 2, 0, 3, 4, 4, 1], [4, 4, 4, 3, 3, 2, 1, 1, 0]])
    states = cell.scan(x.flatten(1, 2))(tokens, h, active)
    for m in range(M):
        for b in range(B):
            moved = [t for t in range(T) if b < active[m, t]]
            want = final(cell[m], x[m, moved, b][None, :, None], h[m, b][None, None])
            torch.testing.assert_close(states[m, -1, b], want[0, 0], rtol=0, atol=1e-13)
            assert torch.equal(states[m, -1, b, -I:], x[m, moved[-1], b])


def test_weights_that_do_not_fit_are_named():
    cell = SelectiveConv.init(I, N, generators(0))
    for name in ("A_log", "b_delta", "W_delta", "W_conv", "b_conv"):
        with pytest.raises(SHAPE_ERRORS, match=name):
            cell.with_weights(cell.weights | {name: cell.weights[name][:, :-1]})


@pytest.mark.parametrize("kind", CELLS.values(), ids=CELLS)
def test_what_is_not_decayed_is_among_the_weights(kind):
    assert set(kind.undecayed) <= kind.init(I, N, generators(0)).weights.keys()


def test_rates_and_phases_are_not_decayed():
    assert set(CELLS["lru"].undecayed) == {"nu", "theta", "log_gamma"}
    assert set(CELLS["decay"].undecayed) == {"nu", "log_gamma"}
    assert set(Selective.undecayed) == set(SelectiveConv.undecayed) == {"A_log", "b_delta"}
    assert not CELLS["gru"].undecayed


# --- development only: a package that is no part of the library's requirements ----------------------------------------


@pytest.mark.parametrize("way", ["selective_scan", "selective_scan_seq"])
def test_it_is_the_selective_scan_of_mambapy(way):
    mamba = pytest.importorskip("mambapy.mamba")
    cell, _, x = draw(Selective)
    block = mamba.MambaBlock(mamba.MambaConfig(d_model=N, n_layers=1, d_state=1, expand_factor=1))
    found = cell.scan(x.flatten(1, 2))(torch.arange(T * B).view(T, B).expand(M, -1, -1), cell.zero_state(B))
    one = torch.ones(B, T, 1, dtype=torch.float64)
    for m in range(M):
        read = x[m].transpose(0, 1)  # (B, T, I)
        delta = torch.nn.functional.softplus(read @ cell.W_delta[m].T + cell.b_delta[m])
        A = -cell.A_log[m].exp()[:, None]
        want = getattr(block, way)(read @ cell.W_B[m].T, delta, A, one, one, torch.zeros(N).double())
        torch.testing.assert_close(found[m], want.transpose(0, 1), rtol=0, atol=1e-13)
