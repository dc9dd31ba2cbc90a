"""A cell whose state is rounded: one step, many steps, within networks, and gradients that do not see the rounding."""

from dataclasses import replace

import pytest
import torch
from oracles import generators, same_bits

from emt_core.networks import CELLS, GRU, Cell, TokenNetwork, VectorNetwork, to_torch
from emt_core.networks.rounded import Rounded, unrounded
from emt_core.networks.vectors import loss_and_grad
from emt_core.support.formats import FORMATS, fixed, mantissa, rounded
from emt_core.tasks import TokenRepeat, VariableBinding

each_cell = pytest.mark.parametrize("kind", CELLS.values(), ids=CELLS)
FORMS = ["bf16", "fp8_e4m3", mantissa(2), fixed(5, 1.5)]
each_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: getattr(form, "name", form))
M, STEPS, B, N, I, W = 3, 6, 7, 5, 4, 9  # noqa: E741


def draw(kind, dtype=torch.float64) -> Cell:
    return kind.init(I, N, generators(*range(M))).to(dtype)


def random(*shape, seed=0, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=generators(seed)[0])


def problem(cell):
    """A table, tokens, start states, and how many sequences move."""
    g, dtype = generators(7)[0], next(iter(cell.weights.values())).dtype
    table, h = random(M, W, I, seed=1, dtype=dtype), random(M, B, cell.state_size, seed=2, dtype=dtype)
    active = torch.randint(B + 1, (M, STEPS), generator=g).sort(1, descending=True).values
    active[:, 0], active[:, -1] = B - 1, 0  # one never moves; at the last step none
    return table, torch.randint(W, (M, STEPS, B), generator=g), h, active


# --- steps ------------------------------------------------------------------------------------------------------------


@each_cell
@each_form
def test_a_step_is_the_cells_rounded(kind, form):
    for dtype in (torch.float32, torch.float64):
        inner = draw(kind, dtype)
        cell, h = Rounded(inner, form), random(M, B, inner.state_size, dtype=dtype)
        for x in (None, random(M, B, I, seed=1, dtype=dtype)):
            found = cell.step(h, x)
            assert same_bits(found, rounded(inner.step(h, x), form))
            assert not torch.equal(found, inner.step(h, x))


@each_cell
@each_form
@pytest.mark.parametrize("everyone", [True, False], ids=["all move", "some move"])
def test_a_scan_is_one_step_after_the_other(kind, form, everyone):
    """A sequence that does not move keeps even a state that is not rounded."""
    cell = Rounded(draw(kind, torch.float32), form)
    table, tokens, h, active = problem(cell)
    found = cell.scan(table)(tokens, h, None if everyone else active)
    for m in range(M):
        now = h[m].clone()
        for t in range(STEPS):
            moved = B if everyone else int(active[m, t])
            new = rounded(cell.cell[m].step(now[None], table[m, tokens[m, t]][None])[0], form)
            # a batched product may differ in its last bits, which rounding hides but where it is close to a tie
            near = (found[m, t, :moved] == new[:moved]).double().mean() if moved else 1
            assert near > 0.9
            assert same_bits(found[m, t, moved:], now[moved:])
            now = found[m, t]


@each_cell
def test_the_widest_format_changes_nothing(kind):
    inner = draw(kind)
    cell = Rounded(inner, "fp64")
    table, tokens, h, active = problem(cell)
    want = Cell.scan(inner, table)(tokens, h, active)
    assert same_bits(cell.scan(table)(tokens, h, active), want)
    # the kernels' order of arithmetic
    torch.testing.assert_close(want, inner.scan(table)(tokens, h, active), rtol=0, atol=1e-13)


def test_too_large_states_may_stay_at_the_largest():
    inner = CELLS["elman"].init(I, N, generators(0, 1, 2))
    inner = replace(inner, W_uh=1e4 * inner.W_uh, activation="identity")
    h, x = random(M, B, N, dtype=torch.float32), random(M, B, I, seed=1, dtype=torch.float32)
    assert Rounded(inner, "fp8_e4m3").step(h, x).isnan().any()
    assert Rounded(inner, "fp8_e4m3", saturate=True).step(h, x).abs().max() == 448


# --- gradients --------------------------------------------------------------------------------------------------------


@each_cell
@each_form
def test_gradients_are_the_cells_at_the_rounded_states(kind, form):
    """Step by step by hand: each step's vector-Jacobian product at the rounded state before it."""
    inner = draw(kind)
    table, tokens, h, active = problem(inner)
    weight = random(M, STEPS, B, inner.state_size, seed=3)
    leaves = {name: w.clone().requires_grad_() for name, w in inner.weights.items()}
    leaves |= {"table": table.clone().requires_grad_(), "h": h.clone().requires_grad_()}
    own = Rounded(inner, form).with_weights({name: leaves[name] for name in inner.weights})
    states = own.scan(leaves["table"])(tokens, leaves["h"], active)
    found = torch.autograd.grad((states * weight).sum(), list(leaves.values()))

    want = {name: torch.zeros_like(w) for name, w in leaves.items()}
    adjoint = torch.zeros_like(h)
    for t in reversed(range(STEPS)):
        adjoint = adjoint + weight[:, t]
        before = (states[:, t - 1].detach() if t else h).clone().requires_grad_()
        given = {name: w.clone().requires_grad_() for name, w in inner.weights.items()}
        rows = table.clone().requires_grad_()
        x = torch.stack([rows[m, tokens[m, t]] for m in range(M)])
        moves = (torch.arange(B) < active[:, t, None])[..., None]
        after = inner.with_weights(given).step(before, x)
        parts = torch.autograd.grad(after, [*given.values(), rows, before], adjoint * moves)
        for name, part in zip([*given, "table"], parts, strict=False):
            want[name] = want[name] + part
        adjoint = torch.where(moves, parts[-1], adjoint)
    want["h"] = adjoint
    for (name, b), a in zip(want.items(), found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12, msg=name)


@each_cell
def test_the_jacobian_is_the_cells_own(kind):
    """Of the straight-through step, by autograd under vmap, at a state and at zero."""
    inner = draw(kind)
    h, x = random(M, inner.state_size), random(M, I, seed=1)
    for given in ((), (h,), (h, x)):
        want = inner.jacobian(*given)
        assert same_bits(Rounded(inner, mantissa(2)).jacobian(*given), want) and want.abs().max() > 0


def test_forward_mode_passes_too():
    inner = draw(GRU)
    h, v = random(M, B, N), random(M, B, N, seed=1)
    want = torch.func.jvp(inner.step, (h,), (v,))[1]
    found, tangent = torch.func.jvp(Rounded(inner, "bf16").step, (h,), (v,))
    assert same_bits(tangent, want) and same_bits(found, rounded(inner.step(h), "bf16"))


# --- within networks --------------------------------------------------------------------------------------------------


@each_cell
def test_tokens_are_read_and_written_from_rounded_states(kind):
    form = mantissa(2)
    model = TokenNetwork.init(kind, 6, N, generators(0, 1, 2))
    coarse = replace(model, cell=Rounded(model.cell, form))
    sequences = TokenRepeat(6, 1, 4).sample(20, generators(3, 4, 5))
    states, mask = coarse.trajectory(sequences), sequences.mask
    assert same_bits(rounded(states, form), states) and states.shape == (3, 4, 20, model.state_size)
    assert same_bits(coarse.encode(sequences), states[:, -1])
    for t in range(1, 4):
        over = ~mask[:, t]
        assert same_bits(states[:, t][over], states[:, t - 1][over])
    h, inputs, written = coarse.encode(sequences), torch.full((3, 20), 6), []
    for _ in range(4):
        h = rounded(model.step(h, inputs), form)
        inputs = model.read_out(h[:, None])[:, 0].argmax(2)
        written.append(inputs)
    assert torch.equal(coarse.write(coarse.encode(sequences), 4), torch.stack(written, dim=1))
    assert not torch.equal(coarse.logits(states[:, -1], sequences), model.logits(states[:, -1], sequences))


@each_cell
def test_vectors_are_read_and_written_from_rounded_states(kind):
    form, task = mantissa(3), VariableBinding.repeat_copy(3, 2)
    network = VectorNetwork.init(kind, 2, N, generators(0, 1))
    coarse = replace(network, cell=Rounded(network.cell, form))
    inputs, targets = task.sample(8, 5, generators(2, 3))
    states, written = coarse.rollout(inputs, 5)
    h = network.cell.zero_state(8)
    for t in range(8):
        h = rounded(network.step(h, inputs[:, t] if t < 3 else None), form)
        assert same_bits(states[:, t], h) and same_bits(coarse.read_out(h), network.read_out(h))
    loss, _, gradients = loss_and_grad(coarse, inputs, targets)
    torch.testing.assert_close(loss, (written[:, 3:] - targets).square().mean((1, 2, 3)), rtol=1e-6, atol=0)
    assert gradients.keys() == network.weights.keys()
    assert gradients["W_r"].any() == written[:, 3:].any()  # some cells write nothing without an input


def test_a_network_learns_with_a_rounded_state():
    """Some steps along the straight-through gradient lower the loss of the rounded network itself."""
    task = VariableBinding.repeat_copy(2, 2)
    network = VectorNetwork.init(GRU, 2, 12, generators(0))
    coarse = replace(network, cell=Rounded(network.cell, mantissa(2)))
    inputs, targets = task.sample(64, 4, generators(1))
    losses = []
    for _ in range(30):
        loss, _, gradients = loss_and_grad(coarse, inputs, targets)
        losses.append(loss.item())
        coarse = coarse.with_weights({name: w - 0.5 * gradients[name] for name, w in coarse.weights.items()})
    assert losses[-1] < 0.95 * losses[0]


@each_cell
def test_it_has_the_cells_sizes_and_weights(kind):
    inner = draw(kind)
    cell = Rounded(inner, "bf16")
    assert cell.weights.keys() == inner.weights.keys()
    assert all(w is inner.weights[name] for name, w in cell.weights.items())
    sizes = ("models", "hidden", "inputs", "state_size", "device")
    assert all(getattr(cell, name) == getattr(inner, name) for name in sizes)
    h = random(M, B, inner.state_size)
    assert torch.equal(cell.visible(h), inner.visible(h)) and same_bits(cell.zero_state(B), inner.zero_state(B))
    assert cell[1].models == 1 and cell[1].cell == inner[1] and cell.to(torch.float32).cell == inner.to(torch.float32)
    doubled = cell.with_weights({name: 2 * w for name, w in cell.weights.items()})
    assert doubled.form == "bf16" and all(torch.equal(w, 2 * inner.weights[n]) for n, w in doubled.weights.items())


def test_settings_tell_formats_and_cells_apart():
    inner = draw(GRU)
    want = {"form": "bf16", "saturate": False, "rounds": "gru"}
    assert Rounded(inner, "bf16").settings == want
    assert Rounded(inner, "bf16") == Rounded(inner, FORMATS["bf16"]) != Rounded(inner, "fp16")
    assert Rounded(inner, "bf16") != Rounded(inner, "bf16", saturate=True) and Rounded(inner, "fp64") != inner
    elman = draw(CELLS["elman"])
    assert Rounded(elman, mantissa(3)).settings["activation"] == "tanh"
    network = VectorNetwork(Rounded(elman, mantissa(3)), random(M, I, N))
    own = {"activation": "tanh", "form": "mantissa(3)", "saturate": False, "rounds": "elman", "cell": "rounded"}
    assert network.settings == own
    assert network[[0, 2]].cell.cell == elman[[0, 2]]


def test_what_it_is_not():
    inner = draw(GRU)
    with pytest.raises(ValueError, match=r"^form must be a Format or one of .*, got 'fp9'"):
        Rounded(inner, "fp9")
    with pytest.raises(NotImplementedError, match="wraps one that was drawn"):
        Rounded.init(I, N, generators(0))
    with pytest.raises(ValueError, match="cell must be one that torch has a module for, got Rounded"):
        to_torch(Rounded(inner, "bf16"))
    assert Rounded not in CELLS.values()


def test_a_network_without_its_rounding_is_the_one_that_was_rounded():
    model = TokenNetwork.init(GRU, 5, 4, generators(0))
    assert unrounded(replace(model, cell=Rounded(model.cell, "bf16"))) == model and unrounded(model) is model
