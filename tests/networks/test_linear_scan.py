"""Linear recurrences through many steps at once, against one step of autograd after the other and complex numbers."""

import pytest
import torch
from oracles import SHAPE_ERRORS, generators, same_bits

from emt_core.networks.diagonal import LRU
from emt_core.networks.linear_scan import linear_scan, looked_up, moving, scan_rows
from emt_core.networks.min_gru import MinGRU

M, B, N, W = 2, 6, 5, 4
# steps, and how many pairs turn: none, some, all but the last number
SHAPES = [(0, 0), (1, 0), (1, 2), (7, 0), (7, 1), (7, 2)]
each_shape = pytest.mark.parametrize(("steps", "pairs"), SHAPES, ids=str)
each_way = pytest.mark.parametrize("everyone", [True, False], ids=["all move", "some move"])
EXACT = dict(rtol=1e-13, atol=1e-13)  # float64: at most 7 steps of 3 operations on numbers of size 1 to 100


def random(*shape, seed=0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=generators(seed)[0])


def some(steps) -> torch.Tensor:
    """How many move at each step: any number, so that one that has stopped may go on again."""
    active = torch.randint(B + 1, (M, steps), generator=generators(9)[0])
    active[:, :1] = B
    active[:, 3:4] = 0
    return active


def slowly(gates, h, active=None, turning=0) -> torch.Tensor:
    """Each number by itself."""
    states = []
    for t in range(gates.shape[1]):
        keep, drive, turn = gates[:, t, :, :N], gates[:, t, :, N : 2 * N], gates[:, t, :, 2 * N :]
        numbers = []
        for i in range(N):
            new = keep[..., i] * h[..., i] + drive[..., i]
            if i < turning:
                new = new - turn[..., i] * h[..., i + turning]
            elif i < 2 * turning:
                new = new + turn[..., i - turning] * h[..., i - turning]
            numbers.append(new)
        new = torch.stack(numbers, dim=-1)
        if active is not None:
            new = torch.stack([
                torch.stack([new[m, b] if b < active[m, t] else h[m, b] for b in range(B)]) for m in range(M)
            ])  # fmt: skip
        h = new
        states.append(h)
    return torch.stack(states, dim=1) if states else h[:, None][:, :0]


def with_gradients(function, *leaves) -> list[torch.Tensor]:
    """The result, and the gradients of a weighted sum of it."""
    leaves = [x.clone().requires_grad_() for x in leaves]
    states = function(*leaves)
    loss = (states * random(*states.shape, seed=5)).sum()
    return [states.detach(), *torch.autograd.grad(loss, leaves, materialize_grads=True)]


@each_shape
@each_way
def test_a_scan_is_one_step_after_the_other(steps, pairs, everyone):
    gates, h = random(M, steps, B, 2 * N + pairs), random(M, B, N, seed=1)
    active = None if everyone else some(steps)
    found = with_gradients(lambda g, h: linear_scan(g, h, active, pairs), gates, h)
    want = with_gradients(lambda g, h: slowly(g, h, active, pairs), gates, h)
    assert found[0].shape == (M, steps, B, N)
    for a, b in zip(found, want, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


@each_shape
@each_way
def test_gates_may_be_rows_of_a_table(steps, pairs, everyone):
    table, h = random(M, W, 2 * N + pairs), random(M, B, N, seed=1)
    tokens, active = torch.randint(W, (M, steps, B), generator=generators(2)[0]), None if everyone else some(steps)

    def read(table, h):
        gates = [own[i] for own, chosen in zip(table, tokens, strict=True) for i in chosen.flatten()]
        gates = torch.stack(gates) if gates else table[:0]
        return slowly(gates.view(M, steps, B, 2 * N + pairs), h, active, pairs)

    found = with_gradients(lambda x, h: scan_rows(x, tokens, h, active, pairs), table, h)
    for a, b in zip(found, with_gradients(read, table, h), strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def test_numbers_that_turn_are_complex():
    gates, h = random(M, 7, B, 2 * N + 2), random(M, B, N, seed=1)
    gates[..., 2:4] = gates[..., :2]  # one multiplier for both parts
    states, z = linear_scan(gates, h, turning=2), torch.complex(h[..., :2], h[..., 2:4])
    for t in range(7):
        z = torch.complex(gates[:, t, :, :2], gates[:, t, :, 2 * N :]) * z
        z = z + torch.complex(gates[:, t, :, N : N + 2], gates[:, t, :, N + 2 : N + 4])
        torch.testing.assert_close(torch.cat([z.real, z.imag], dim=-1), states[:, t, :, :4], **EXACT)


def test_a_state_that_does_not_move_keeps_its_bits():
    table, h, active = 1e3 * random(M, W, 2 * N), random(M, B, N, seed=1), some(7)
    tokens = torch.randint(W, (M, 7, B), generator=generators(2)[0])
    moves = moving(active, B)
    assert moves.sum(2).equal(active)
    for states in (scan_rows(table, tokens, h, active), linear_scan(looked_up(table, tokens), h, active)):
        before = torch.cat([h[:, None], states[:, :-1]], dim=1)
        assert same_bits(states[~moves], before[~moves]) and (states != before)[moves].all()


def test_a_state_of_thousands_of_steps_is_a_product_of_keeps():
    keep, h = 0.9 + 0.2 * torch.rand(1, 3000, 2, 1, dtype=torch.float64, generator=generators(0)[0]), random(1, 2, 1)
    states = linear_scan(torch.cat([keep, torch.zeros_like(keep)], dim=-1), h)
    torch.testing.assert_close(states, keep.cumprod(1) * h[:, None], rtol=3000 * 2.3e-16, atol=0)


def test_it_is_differentiable_once():
    gates = random(M, 3, B, 2 * N).requires_grad_()
    (once,) = torch.autograd.grad(linear_scan(gates, random(M, B, N)).square().sum(), gates, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        once.sum().backward()


def test_rows_that_are_not_there_are_refused():
    table, h, tokens = random(M, W, 2 * N), random(M, B, N), torch.zeros(M, 3, B, dtype=torch.int64)
    for wrong in (W, -1):  # the next model's row, or the last one
        tokens[0, 1, 2] = wrong
        for active in (None, some(3)):
            with pytest.raises(ValueError, match=rf"^tokens must lie in 0 … {W - 1}, got {min(wrong, 0)} … "):
                scan_rows(table, tokens, h, active)


def test_a_state_of_another_size_is_refused():
    gates, tokens = random(M, 3, B, 2 * N + 2), torch.zeros(M, 3, B, dtype=torch.int64)
    for wrong in (random(M, B, N + 1), random(M, B - 1, N), random(M + 1, B, N)):
        for read in (
            lambda h: linear_scan(gates, h, turning=2),
            lambda h: scan_rows(gates[:, 0], tokens, h, turning=2),
        ):
            with pytest.raises(SHAPE_ERRORS, match="h"):
                read(wrong)


# --- development only: packages that are no part of the library's requirements ----------------------------------------


def test_it_is_the_parallel_scan_of_mambapy():
    pscan = pytest.importorskip("mambapy.pscan").pscan
    keep, drive = torch.rand(B, 7, N, 1, dtype=torch.float64, generator=generators(0)[0]), random(B, 7, N, 1)
    gates = torch.cat([keep, drive], dim=2)[..., 0].transpose(0, 1)[None]
    found = with_gradients(lambda g: linear_scan(g, torch.zeros(1, B, N).double()), gates)

    def theirs(gates):
        return pscan(*(x[0].transpose(0, 1)[..., None] for x in gates.chunk(2, dim=-1)))[..., 0].transpose(0, 1)[None]

    for a, b in zip(found, with_gradients(theirs, gates), strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def test_a_minimal_gru_is_that_of_mingru_pytorch():
    """Theirs keeps its states positive: a candidate is g(W x), W x + 1/2 where that is positive."""
    module = pytest.importorskip("minGRU_pytorch").minGRU(4).double()
    cell, x = MinGRU.init(4, 4, generators(0)).to(torch.float64), random(1, 7, B, 4).abs()
    cell = MinGRU(cell.W_z, cell.W_c.abs(), torch.zeros_like(cell.b_z), torch.full_like(cell.b_c, 0.5))
    with torch.no_grad():
        module.to_hidden_and_gate.weight.copy_(torch.cat([cell.W_c[0], cell.W_z[0]]))
    want = module(x[0].transpose(0, 1)).detach().transpose(0, 1)
    found = cell.scan(x.flatten(1, 2))(torch.arange(7 * B).view(1, 7, B), cell.zero_state(B))
    # theirs adds up logarithms
    torch.testing.assert_close(found[0], want, rtol=1e-12, atol=0)


def test_an_lru_is_that_of_lru_pytorch():
    module = pytest.importorskip("LRU_pytorch").LRU(4, 3, 3)
    cell, x = LRU.init(4, 6, generators(0)), random(1, 7, 1, 4).float()
    with torch.no_grad():
        module.nu_log.copy_(cell.nu[0])
        module.theta_log.copy_(cell.theta[0].log())
        module.gamma_log.copy_(cell.log_gamma[0])
        module.B.copy_(torch.complex(cell.B[0, :3], cell.B[0, 3:]))
        module.D.zero_()
    found = cell.scan(x.flatten(1, 2))(torch.arange(7).view(1, 7, 1), cell.zero_state(1))[0, :, 0]
    for rows, reads in ((found[:, :3], torch.eye(3) + 0j), (found[:, 3:], -1j * torch.eye(3))):
        with torch.no_grad():
            module.C.copy_(reads)
        # float32, and theirs keeps the angle as its logarithm
        torch.testing.assert_close(rows, module(x[0, :, 0]).detach(), rtol=0, atol=1e-5)
