"""Watching and editing networks while they run: the same numbers as without, and edits as done by hand."""

import pytest
import torch
from oracles import SHAPE_ERRORS, generators, same_bits

from emt_core.networks import CELLS, GRU, TokenNetwork, VectorNetwork, cell_named, run_with_cache, run_with_hooks
from emt_core.networks.adapted import Adapted
from emt_core.networks.cell import rows, unwatched
from emt_core.networks.hand_built import onion
from emt_core.networks.hooks import names
from emt_core.networks.lstm import LSTM
from emt_core.networks.min_gru import MinGRU
from emt_core.networks.rounded import Rounded
from emt_core.tasks import Sequences, TokenRepeat

N, V, B, L, K = 7, 5, 6, 5, 4
NAMES = {"elman": "h", "gru": "rznh", "lstm": "ifgoch", "mingru": "zch"}
each_cell = pytest.mark.parametrize("kind", CELLS.values(), ids=CELLS)
each_size = pytest.mark.parametrize("models", [1, 3])


def draw(kind=GRU, models=1, autoregressive=True, dtype=torch.float64) -> TokenNetwork:
    return TokenNetwork.init(kind, V, N, generators(*range(models)), autoregressive).to(dtype)


def vectors(kind=GRU, models=1) -> VectorNetwork:
    return VectorNetwork.init(kind, 3, N, generators(*range(models))).to(torch.float64)


def sequences(models=1, shortest=L) -> Sequences:
    return TokenRepeat(V, shortest, L).sample(B, generators(*range(models)))


def random(*shape, seed=0, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=generators(seed)[0])


def at(step, change):
    """A hook on one step alone."""
    return lambda value, t: change(value) if t == step else None


def close(a, b) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=1e-13)


# --- a step that is watched -------------------------------------------------------------------------------------------


@each_cell
def test_names_are_those_that_a_step_shows(kind):
    for cell in (draw(kind).cell, draw(kind, 3).cell[1:]):
        assert names(cell) == tuple(NAMES.get(kind.__name__.lower(), "h"))


@each_cell
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_step_that_is_watched_is_the_step(kind, dtype):
    cell = draw(kind, 3, dtype=dtype).cell
    h, x = random(3, B, cell.state_size, dtype=dtype), random(3, B, N, seed=1, dtype=dtype)
    for read in (x, None):
        assert same_bits(cell.watched(h, read, unwatched), cell.step(h, read))


def seen_of(cell, h, x) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    seen = {}
    new = cell.watched(h, x, lambda name, value: seen.setdefault(name, value))
    return seen, new


def test_a_grus_quantities_are_those_of_its_equations():
    cell, h, x = draw(GRU).cell, random(1, B, N), random(1, B, N, seed=1)
    W = {name: [w[0, k * N : (k + 1) * N] for k in range(3)] for name, w in cell.weights.items()}
    a = [x[0] @ W["W_ih"][k].T + W["b_ih"][k] for k in range(3)]
    b = [h[0] @ W["W_hh"][k].T + W["b_hh"][k] for k in range(3)]
    r, z = torch.sigmoid(a[0] + b[0]), torch.sigmoid(a[1] + b[1])
    n = torch.tanh(a[2] + r * b[2])
    seen, _ = seen_of(cell, h, x)
    for name, want in {"r": r, "z": z, "n": n, "h": (1 - z) * n + z * h[0]}.items():
        close(seen[name][0], want)


def test_an_lstms_quantities_are_those_of_its_equations():
    cell, state, x = draw(LSTM).cell, random(1, B, 2 * N), random(1, B, N, seed=1)
    h, c = state[0, :, :N], state[0, :, N:]
    blocks = range(0, 4 * N, N)
    drive = [
        x[0] @ cell.W_ih[0, k : k + N].T + cell.b_ih[0, k : k + N]
        + h @ cell.W_hh[0, k : k + N].T + cell.b_hh[0, k : k + N]
        for k in blocks
    ]  # fmt: skip
    i, f, o = (torch.sigmoid(drive[k]) for k in (0, 1, 3))
    g = torch.tanh(drive[2])
    new = f * c + i * g
    seen, whole = seen_of(cell, state, x)
    for name, want in {"i": i, "f": f, "g": g, "o": o, "c": new, "h": o * torch.tanh(new)}.items():
        close(seen[name][0], want)
    assert torch.equal(whole, torch.cat([seen["h"], seen["c"]], dim=-1))


def test_a_minimal_grus_quantities_are_those_of_its_equations():
    cell, h, x = draw(MinGRU).cell, random(1, B, N), random(1, B, N, seed=1)
    z, c = torch.sigmoid(x[0] @ cell.W_z[0].T + cell.b_z[0]), x[0] @ cell.W_c[0].T + cell.b_c[0]
    seen, _ = seen_of(cell, h, x)
    for name, want in {"z": z, "c": c, "h": (1 - z) * h[0] + z * c}.items():
        close(seen[name][0], want)


def test_an_edit_of_an_lstms_memory_reaches_its_output():
    cell, state, x = draw(LSTM).cell, random(1, B, 2 * N), random(1, B, N, seed=1)
    seen, _ = seen_of(cell, state, x)
    new = cell.watched(state, x, lambda name, value: value + 1 if name == "c" else value)
    close(new[..., N:], seen["c"] + 1)
    close(new[..., :N], seen["o"] * torch.tanh(seen["c"] + 1))


# --- what is seen -----------------------------------------------------------------------------------------------------


@each_cell
@pytest.mark.parametrize(("models", "autoregressive"), [(1, True), (3, False)], ids=["autoregressive", "no input"])
def test_the_cache_is_what_reading_and_writing_compute(kind, models, autoregressive):
    model, read = draw(kind, models, autoregressive), sequences(models)
    written, cache = run_with_cache(model, read, K)
    assert written.shape == (models, K, B) and {len(values[0]) for values in cache.values()} == {L + K}
    h = model.encode(read)
    assert torch.equal(written, model.write(h, K))
    state, states = model.cell.zero_state(B), []
    told = model.writing_inputs(Sequences.of_one_length(written))
    for row in torch.cat([read.tokens, told], dim=1).unbind(1):
        seen, state = seen_of(model.cell, state, rows(model.embedding, row))
        states.append(seen)
    for name, values in cache.items():
        assert same_bits(values, torch.stack([seen[name] for seen in states], dim=1))
    whole = torch.cat([cache["h"], cache["c"]], dim=-1) if kind is LSTM else cache["h"]
    close(whole[:, :L], model.trajectory(read))
    close(model.read_out(cache["h"])[:, L:], model.logits(h, Sequences.of_one_length(written)))


@each_cell
@each_size
def test_the_cache_of_vectors_is_the_rollout(kind, models):
    model, inputs = vectors(kind, models), random(models, L, B, 3)
    states, outputs = model.rollout(inputs, K)
    written, cache = run_with_cache(model, inputs, K)
    assert same_bits(written, outputs)
    whole = torch.cat([cache["h"], cache["c"]], dim=-1) if kind is LSTM else cache["h"]
    assert same_bits(whole, states)
    by_itself, cache = run_with_cache(model, inputs[:, :0], 2)
    assert same_bits(by_itself, model.rollout(inputs[:, :0], 2)[1]) and len(cache["h"][0]) == 2


@each_cell
def test_a_sequence_that_is_over_keeps_all_its_values(kind):
    model, read = draw(kind, 2), sequences(2, shortest=1)
    assert len(read.lengths.unique()) > 2
    written, cache = run_with_cache(model, read, K)
    whole = torch.cat([cache["h"], cache["c"]], dim=-1) if kind is LSTM else cache["h"]
    close(whole[:, :L], model.trajectory(read))
    assert torch.equal(written, model.write(model.encode(read), K))
    for m in range(2):
        for b, length in enumerate(read.lengths[m].tolist()):
            alone = Sequences.of_one_length(read.tokens[m : m + 1, :length, b : b + 1])
            _, own = run_with_cache(model[m], alone, K)
            for name, values in cache.items():
                close(values[m, :length, b], own[name][0, :length, 0])
                close(values[m, L:, b], own[name][0, length:, 0])
                assert (values[m, length - 1 : L, b] == values[m, length - 1, b]).all()


def test_nothing_need_be_written():
    model, read = draw(models=3), sequences(3)
    written, cache = run_with_cache(model, read)
    assert written.shape == (3, 0, B) and cache["z"].shape == (3, L, B, N)
    one = sequences()
    assert same_bits(run_with_cache(model, one)[1]["z"], run_with_cache(model, one.expand(3))[1]["z"])


# --- edits ------------------------------------------------------------------------------------------------------------


@each_cell
@pytest.mark.parametrize(("models", "step"), [(1, 0), (3, 2), (3, L), (1, L + 2)])
def test_an_edit_is_what_a_run_by_hand_makes_of_it(kind, models, step):
    """At a step of reading or of writing: all before it is as it was, and a loop here goes on from what was edited."""
    model, read = draw(kind, models), sequences(models)
    _, before = run_with_cache(model, read, K)
    for name in names(model.cell):
        change = random(*before[name][:, 0].shape, seed=3)
        written, cache = run_with_hooks(model, read, {name: at(step, lambda value, by=change: value + by)}, K)
        h, row, got, states = model.cell.zero_state(B), None, [], []
        for t in range(L + K):
            row = read.tokens[:, t] if t < L else torch.full_like(read.tokens[:, 0], V) if t == L else got[-1]
            edit = lambda n, v, t=t, name=name, by=change: v + by if (n, t) == (name, step) else v  # noqa: E731
            h = model.cell.watched(h, rows(model.embedding, row), edit)
            states.append(model.cell.visible(h))
            got += [model.read_out(h[:, None])[:, 0].argmax(2)] if t >= L else []
        assert torch.equal(written, torch.stack(got, dim=1))
        assert same_bits(model.cell.visible(cache["h"]), torch.stack(states, dim=1))
        assert same_bits(cache["h"][:, :step], before["h"][:, :step])
        close(cache[name][:, step], before[name][:, step] + change)


def test_what_was_edited_is_fed_back():
    """h is set so that token 3 comes out: the next step reads 3, as if it had been told so."""
    model, read = draw(), sequences()
    assert (run_with_cache(model, read, K)[0][0, 1] != 3).any()
    right = 100 * model.W_o[:, 3:4].expand(1, B, N)
    written, cache = run_with_hooks(model, read, {"h": at(L + 1, lambda _: right)}, K)
    assert (written[0, 1] == 3).all() and torch.equal(cache["h"][:, L + 1], right)
    told = model.step(right, torch.full((1, B), 3))
    close(cache["h"][:, L + 2], told)
    without = draw(autoregressive=False)
    _, cache = run_with_hooks(without, read, {"h": at(L + 1, lambda _: right)}, K)
    close(cache["h"][:, L + 2], without.step(right, torch.full((1, B), V + 1)))


def test_gates_that_are_shut_freeze_the_state():
    shut = {"z": lambda z, t: torch.ones_like(z) if t >= 2 else None}
    _, cache = run_with_hooks(draw(), sequences(), shut, K)
    assert (cache["h"][:, 2:] == cache["h"][:, 1:2]).all() and (cache["h"][:, 1] != cache["h"][:, 0]).any()
    assert (cache["z"][:, 2:] == 1).all() and (cache["z"][:, :2] < 1).all()
    keep = {"f": lambda f, t: torch.ones_like(f), "i": lambda i, t: torch.zeros_like(i)}
    _, cache = run_with_hooks(draw(LSTM), sequences(), keep, K)
    assert not cache["c"].any() and not cache["h"].any()


def test_vectors_are_edited_too():
    model, inputs = vectors(models=3), random(3, L, B, 3)
    states, outputs = model.rollout(inputs, K)
    edited = states[:, L] + 1
    written, cache = run_with_hooks(model, inputs, {"h": at(L, lambda h: h + 1)}, K)
    later, after = model.rollout(inputs[:, :0], K - 1, edited)
    close(cache["h"], torch.cat([states[:, :L], edited[:, None], later], dim=1))
    close(written, torch.cat([outputs[:, :L], model.read_out(edited)[:, None], after], dim=1))


def test_an_edit_does_not_reach_a_sequence_that_is_over():
    model, read = draw(), sequences(shortest=1)
    over = read.lengths[0] < L
    assert 0 < over.sum() < B
    _, before = run_with_cache(model, read)

    def in_place(z, t):
        if t == L - 1:
            z.zero_()

    for hook in (in_place, at(L - 1, torch.zeros_like)):
        _, cache = run_with_hooks(model, read, {"z": hook})
        for name in cache:
            assert torch.equal(cache[name][:, -1, over], before[name][:, -1, over])
        assert not cache["z"][:, -1, ~over].any()


def test_gradients_reach_what_was_edited():
    model, read = draw(), sequences()
    by = torch.zeros(1, B, N, dtype=torch.float64, requires_grad=True)
    _, cache = run_with_hooks(model, read, {"h": at(2, lambda h: h + by)}, K)
    (grad,) = torch.autograd.grad(cache["h"][:, L - 1].sum(), by)
    h, later = cache["h"][:, 2].detach().requires_grad_(), read.tokens[:, 3:]
    states = h
    for row in later.unbind(1):
        states = model.step(states, row)
    close(grad, torch.autograd.grad(states.sum(), h)[0])


@each_cell
def test_nothing_of_the_network_is_changed(kind):
    model, read = draw(kind, 3), sequences(3)
    before = {name: w.clone() for name, w in model.weights.items()}
    first, cache = run_with_cache(model, read, K)
    run_with_hooks(model, read, {name: lambda value, t: value.mul_(0) for name in names(model.cell)}, K)
    again, same = run_with_cache(model, read, K)
    assert all(same_bits(w, model.weights[name]) for name, w in before.items())
    assert torch.equal(first, again) and all(same_bits(values, same[name]) for name, values in cache.items())


# --- networks of other kinds ------------------------------------------------------------------------------------------


def test_any_cell_can_be_watched():
    """One that says nothing of its parts shows its whole state, also where its gates are another cell's."""
    drawn, read = draw(LSTM), sequences()
    model = TokenNetwork(Rounded(drawn.cell, "bf16"), drawn.embedding, drawn.W_o, drawn.b_o)
    written, cache = run_with_cache(model, read, K)
    assert list(cache) == ["h"] and same_bits(cache["h"][:, :L], model.trajectory(read))
    assert torch.equal(written, model.write(model.encode(read), K))


@pytest.mark.parametrize("started", [True, False])
def test_an_adapted_network_is_run_as_it_writes(started):
    drawn, read = draw(), sequences(shortest=1)
    model = Adapted(drawn.cell, drawn.embedding, lambda h: h[:, :V] ** 3, started=started)
    written, cache = run_with_cache(model, read, K)
    assert torch.equal(written, model.write(model.encode(read), K))
    assert len(cache["h"][0]) == L + K - (not started)
    close(cache["h"][:, :L], model.trajectory(read))


# --- arguments --------------------------------------------------------------------------------------------------------


def test_wrong_hooks_are_named():
    model, read = draw(), sequences()
    with pytest.raises(ValueError, match=r"^hooks must be on r, z, n, h of a GRU, got 'c'$"):
        run_with_hooks(model, read, {"c": lambda value, t: value})
    with pytest.raises(ValueError, match=r"^hooks\['z'\] must return torch.float64 of shape \(1, 6, 7\), got "):
        run_with_hooks(model, read, {"z": lambda value, t: value[:, :1]})
    with pytest.raises(ValueError, match=r"got torch.float32 of shape \(1, 6, 7\) at step 2$"):
        run_with_hooks(model, read, {"z": at(2, lambda value: value.float())})
    with pytest.raises(ValueError, match=r"^hooks\['z'\] must return a tensor or None, got float at step 0$"):
        run_with_hooks(model, read, {"z": lambda value, t: 1.0})
    with pytest.raises(SHAPE_ERRORS, match="hooks"):
        run_with_hooks(model, read, {"z": 3})


def test_wrong_networks_and_inputs_are_named():
    model, read = draw(), sequences()
    for network, inputs in ((model, random(1, L, B, 3)), (vectors(), read), (cell_named("gru"), read)):
        with pytest.raises(SHAPE_ERRORS, match=r"network|inputs"):
            run_with_cache(network, inputs)
    with pytest.raises(ValueError, match=r"^sequences must hold tokens in 0 … 4, got 5$"):
        run_with_cache(model, Sequences(torch.full((1, 2, 3), V), torch.full((1, 3), 2)))
    with pytest.raises(ValueError, match=r"^sequences must be for 1 or 1 models, got 3"):
        run_with_cache(model, sequences(3))
    with pytest.raises(ValueError, match=r"^writing must be at least 0, got -1"):
        run_with_cache(model, read, -1)
    with pytest.raises(ValueError, match=r"^inputs must have shape \(1, 5, 6, 3\), got \(1, 5, 6, 4\)"):
        run_with_cache(vectors(), random(1, L, B, 4))
    with pytest.raises(ValueError, match=r"^inputs must have shape \(M, S, B, D\), with at least one step"):
        run_with_cache(vectors(), random(1, 0, B, 3))
    with pytest.raises(ValueError, match=r"^network must read step by step, but HandBuilt has an encode of its own"):
        run_with_cache(onion(16, V, 3), read)
