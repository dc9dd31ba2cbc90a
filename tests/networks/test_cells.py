"""What every cell promises: shapes, starts, steps without input, and many steps at once."""

from functools import partial

import pytest
import torch
from oracles import OF_TORCH, SHAPE_ERRORS, generators, same_bits

from emt_core.networks import CELLS, Cell, Elman, TokenNetwork, VectorNetwork, cell_named
from emt_core.networks.cell import rows

each_cell = pytest.mark.parametrize("kind", CELLS.values(), ids=CELLS)
M, STEPS, B, N, I, W = 3, 6, 7, 5, 4, 9  # noqa: E741


def draw(kind, *seeds, inputs=I, hidden=N, dtype=torch.float64) -> Cell:
    return kind.init(inputs, hidden, generators(*(seeds or range(M)))).to(dtype)


def random(*shape, seed=0, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=generators(seed)[0])


# --- one step ---------------------------------------------------------------------------------------------------------


def test_cells_have_names():
    for name, kind in CELLS.items():
        assert cell_named(name) is kind and name == kind.__name__.lower()
    with pytest.raises(ValueError, match=r"^cell must be one of \['decay', .*'gru'.*\], got 'perceptron'"):
        cell_named("perceptron")


@each_cell
def test_sizes(kind):
    cell = draw(kind)
    assert (cell.models, cell.hidden, cell.inputs) == (M, N, I) and cell.state_size >= N
    assert all(len(w) == M for w in cell.weights.values())
    start = cell.zero_state(B)
    assert start.shape == (M, B, cell.state_size) and start.dtype == torch.float64 and not start.any()
    assert not cell.to(torch.float32).zero_state(1).to(torch.float64).any()
    assert cell.to(torch.float32).zero_state(1).dtype == torch.float32
    h = random(M, B, cell.state_size)
    assert torch.equal(cell.visible(h), h[..., :N]) and torch.equal(cell.visible(h[0, 0]), h[0, 0, :N])
    after = cell.step(h, random(M, B, I))
    assert after.shape == h.shape and after.dtype == torch.float64 and not torch.equal(after, h)


@each_cell
def test_without_an_input_a_cell_reads_zeros(kind):
    cell, h = draw(kind), random(M, B, draw(kind).state_size)
    torch.testing.assert_close(cell.step(h), cell.step(h, torch.zeros(M, B, I).double()), rtol=0, atol=1e-15)
    assert (cell.step(h) - cell.step(h, random(M, B, I))).abs().max() > 1e-2


@each_cell
def test_a_step_leaves_its_arguments_alone_and_sequences_to_themselves(kind):
    cell = draw(kind)
    h, x = random(M, B, cell.state_size), random(M, B, I, seed=1)
    before = [y.clone() for y in (h, x, *cell.weights.values())]
    after = cell.step(h, x)
    assert all(torch.equal(a, b) for a, b in zip(before, (h, x, *cell.weights.values()), strict=True))
    for m in range(M):
        for b in range(B):
            alone = cell[m].step(h[m, b][None, None], x[m, b][None, None])[0, 0]
            torch.testing.assert_close(alone, after[m, b], rtol=0, atol=1e-14)


@each_cell
def test_init_draws_each_model_from_its_own_generator(kind):
    before = torch.get_rng_state()
    each, own = generators(0, 1, 2), generators(1)
    together, alone = kind.init(I, N, each), kind.init(I, N, own)
    assert together.models == 3 and alone.models == 1
    assert all(same_bits(together[1].weights[name], w) for name, w in alone.weights.items())
    assert torch.equal(each[1].get_state(), own[0].get_state())
    assert all(not torch.equal(w[0], w[1]) for w in together.weights.values())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", OF_TORCH.values(), ids=OF_TORCH)
def test_init_is_uniform_within_one_over_the_root_of_hidden(kind):
    # variance of U(−a, a) is a²/3; of n draws its standard error is 0.9/√n of that
    cell = kind.init(60, 100, generators(0))
    for w in cell.weights.values():
        assert w.dtype == torch.float32 and w.abs().max() <= 0.1
        assert w.var().item() == pytest.approx(1 / 300, rel=5 * 0.9 / w.numel() ** 0.5)


@each_cell
def test_networks_draw_their_cell_where_the_cell_draws_itself(kind):
    vectors = VectorNetwork.init(kind, I, N, generators(4))
    own = kind.init(I, N, generators(4))
    assert all(same_bits(w, own.weights[name]) for name, w in vectors.cell.weights.items())
    tokens, g = TokenNetwork.init(kind, 6, N, generators(4)), generators(4)[0]
    assert same_bits(tokens.embedding[0], torch.randn(8, N, generator=g))
    own = kind.init(N, N, [g])
    assert all(same_bits(w, own.weights[name]) for name, w in tokens.cell.weights.items())


@each_cell
def test_wrong_sizes_are_named(kind):
    with pytest.raises(ValueError, match=r"^hidden must be at least 1, got 0"):
        kind.init(I, 0, generators(0))
    with pytest.raises(ValueError, match=r"^inputs must be at least 1, got 0"):
        kind.init(0, N, generators(0))
    with pytest.raises(SHAPE_ERRORS, match="hidden"):
        kind.init(I, 3.0, generators(0))
    with pytest.raises(ValueError, match=r"^generators must hold at least one torch.Generator, got none"):
        kind.init(I, N, [])


@each_cell
def test_wrong_weights_are_named(kind):
    weights = draw(kind).weights
    for name, w in weights.items():
        for wrong in (w[:1], w[:, :-1]):
            named = "|".join(weights)  # of two that do not fit either may be named
            with pytest.raises(SHAPE_ERRORS, match=rf"parameter '({named})'|^({named}) must have shape"):
                kind(**(weights | {name: wrong}))
        with pytest.raises(SHAPE_ERRORS, match=name):
            kind(**(weights | {name: w[0]}))
    if "W_hh" in weights:
        with pytest.raises(SHAPE_ERRORS, match="W_hh"):
            kind(**(weights | {"W_hh": weights["W_hh"][..., :-1]}))


def test_an_elman_cells_bias_and_activation():
    cell, b = draw(Elman), random(M, N, seed=5)
    h, x = random(M, B, N), random(M, B, I, seed=1)
    drive = torch.einsum("mij,mbj->mbi", cell.W_hh, h) + torch.einsum("mij,mbj->mbi", cell.W_uh, x)
    for activation, sigma in (("tanh", torch.tanh), ("relu", torch.relu), ("identity", lambda y: y)):
        for bias in (None, b):
            own = Elman(W_hh=cell.W_hh, W_uh=cell.W_uh, b=bias, activation=activation)
            want = sigma(drive if bias is None else drive + bias[:, None])
            torch.testing.assert_close(own.step(h, x), want, rtol=0, atol=1e-14)


# --- many steps at once -----------------------------------------------------------------------------------------------


def slowly(cell, table, tokens, h, active=None) -> torch.Tensor:
    """Step by step and sequence by sequence; one that does not move stays as it is."""
    states = []
    for t in range(tokens.shape[1]):
        h = torch.stack([
            torch.stack([
                cell[m].step(h[m, b][None, None], table[m, tokens[m, t, b]][None, None])[0, 0]
                if active is None or b < active[m, t] else h[m, b]
                for b in range(h.shape[1])
            ])
            for m in range(cell.models)
        ])  # fmt: skip
        states.append(h)
    return torch.stack(states, dim=1)


def problem(kind, dtype=torch.float64):
    cell, g = draw(kind, dtype=dtype), generators(7)[0]
    table, h = random(M, W, I, seed=1, dtype=dtype), random(M, B, cell.state_size, seed=2, dtype=dtype)
    tokens = torch.randint(W, (M, STEPS, B), generator=g)
    active = torch.randint(B + 1, (M, STEPS), generator=g).sort(1, descending=True).values
    active[:, 0], active[:, -1] = B, 0  # at the first step all move, at the last one none
    return cell, table, tokens, h, active


@each_cell
@pytest.mark.parametrize("everyone", [True, False], ids=["all move", "some move"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_scan_is_one_step_after_the_other(kind, everyone, dtype):
    cell, table, tokens, h, active = problem(kind, dtype)
    active = None if everyone else active
    tolerance = 1e-5 if dtype == torch.float32 else 1e-13
    weight = random(M, STEPS, B, cell.state_size, seed=3, dtype=dtype)
    found = {}
    for way in ("scan", "slowly"):
        given = {name: w.clone().requires_grad_() for name, w in cell.weights.items()}
        own, rows_, start = cell.with_weights(given), table.clone().requires_grad_(), h.clone().requires_grad_()
        run = own.scan(rows_) if way == "scan" else partial(slowly, own, rows_)
        states = run(tokens, start, active)
        leaves = given | {"table": rows_, "h": start}
        found[way] = [states.detach(), *torch.autograd.grad((states * weight).sum(), list(leaves.values()))]
    assert found["scan"][0].shape == (M, STEPS, B, cell.state_size)
    for name, a, b in zip(["states", *leaves], found["scan"], found["slowly"], strict=True):
        assert b.abs().max() > 1e-3, name
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * b.abs().max().item(), msg=name)


@each_cell
def test_sequences_that_are_over_keep_their_state(kind):
    cell, table, tokens, h, active = problem(kind)
    states = cell.scan(table)(tokens, h, active)
    before = torch.cat([h[:, None], states[:, :-1]], dim=1)
    moved = torch.arange(B) < active[..., None]
    assert torch.equal((states != before).any(3), moved)
    for m in range(M):
        for t in range(STEPS):
            assert same_bits(states[m, t, active[m, t] :], before[m, t, active[m, t] :])


@each_cell
def test_a_scan_can_go_on_where_another_ended(kind):
    cell, table, tokens, h, active = problem(kind)
    scan = cell.scan(table)
    whole, first = scan(tokens, h, active), scan(tokens[:, :2], h, active[:, :2])
    second = scan(tokens[:, 2:], first[:, -1], active[:, 2:])
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole, rtol=0, atol=1e-14)


@each_cell
def test_a_scan_of_no_steps_leaves_no_states(kind):
    cell, table, tokens, h, active = problem(kind)
    assert cell.scan(table)(tokens[:, :0], h, active[:, :0]).shape == (M, 0, B, cell.state_size)


@each_cell
@pytest.mark.parametrize("integer", [torch.int32, torch.int16, torch.int8], ids=str)
def test_tokens_may_be_any_integers(kind, integer):
    cell, table, tokens, h, active = problem(kind)
    want = cell.scan(table)(tokens, h, active)
    assert same_bits(cell.scan(table)(tokens.to(integer), h, active.to(integer)), want)
    chosen = tokens[:, 0]
    assert torch.equal(rows(table, chosen.to(integer)), rows(table, chosen))


def test_rows_are_each_models_own():
    table, chosen = random(M, W, I), torch.tensor([[0, 8], [3, 3], [7, 1]])
    found = rows(table, chosen)
    for m in range(M):
        for b in range(2):
            assert torch.equal(found[m, b], table[m, chosen[m, b]])


@each_cell
def test_a_table_for_other_inputs_is_refused(kind):
    cell, table, tokens, h, active = problem(kind)
    with pytest.raises((*SHAPE_ERRORS, RuntimeError)):
        cell.scan(table[..., :-1])(tokens, h, active)
    with pytest.raises((*SHAPE_ERRORS, IndexError)):
        cell.scan(table)(tokens + W, h, active)
