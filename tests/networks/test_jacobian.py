"""Jacobians of every cell against autograd and finite differences, and what an Elman cell's must be in closed form."""

import pytest
import torch
from oracles import generators

from emt_core.networks import CELLS, Cell, Elman
from emt_core.networks.diagonal import LRU, Decay

each_cell = pytest.mark.parametrize("kind", CELLS.values(), ids=CELLS)
INPUTS, HIDDEN = 2, 7


def draw(kind=Elman, models=3) -> tuple[Cell, torch.Tensor, torch.Tensor]:
    """Cells, a state for each, and an input for each."""
    cell, g = kind.init(INPUTS, HIDDEN, generators(*range(models))).to(torch.float64), generators(0)[0]
    h, x = (torch.randn(models, size, dtype=torch.float64, generator=g) for size in (cell.state_size, INPUTS))
    return cell, h, x


def by_autograd(cell, h, x) -> torch.Tensor:
    """Each model by itself."""
    found = []
    for m in range(cell.models):

        def step(state, m=m):
            return cell[m].step(state[None, None], None if x is None else x[m][None, None])[0, 0]

        found.append(torch.autograd.functional.jacobian(step, h[m]))
    return torch.stack(found)


@each_cell
@pytest.mark.parametrize("reading", [False, True], ids=["alone", "reading"])
@pytest.mark.parametrize("start", ["zero", "random"])
def test_jacobian_is_that_of_a_step_of_each_model(kind, start, reading):
    cell, h, x = draw(kind)
    assert not torch.equal(h[0], h[1]) and not torch.equal(x[0], x[1])
    x = x if reading else None
    if start == "zero":
        h = torch.zeros_like(h)
        assert torch.equal(cell.jacobian(x=x), cell.jacobian(h, x))
    want = by_autograd(cell, h, x)
    assert want.shape == (3, cell.state_size, cell.state_size) and want[0].abs().max() > 0.1
    torch.testing.assert_close(cell.jacobian(h, x), want, rtol=0, atol=1e-14)


@each_cell
def test_an_input_of_zeros_is_none_and_another_is_not(kind):
    cell, h, x = draw(kind)
    torch.testing.assert_close(cell.jacobian(h, 0 * x), cell.jacobian(h), rtol=0, atol=1e-14)
    if issubclass(kind, (LRU, Decay)):  # a linear map is the same everywhere
        assert torch.equal(cell.jacobian(h, x), cell.jacobian())
    else:
        assert (cell.jacobian(h, x) - cell.jacobian(h)).abs().max() > 1e-3


@each_cell
@pytest.mark.parametrize("models", [1, 3])
def test_jacobian_is_the_finite_difference(kind, models):
    cell, h, x = draw(kind, models)
    step = 1e-6  # central differences: step² + ε/step ≈ 1e-10
    columns = []
    for j in range(cell.state_size):
        e = torch.zeros_like(h)
        e[:, j] = step
        ahead, behind = (cell.step((h + s * e)[:, None], x[:, None])[:, 0] for s in (1, -1))
        columns.append((ahead - behind) / (2 * step))
    torch.testing.assert_close(cell.jacobian(h, x), torch.stack(columns, dim=2), rtol=0, atol=1e-8)


@each_cell
def test_jacobian_has_the_dtype_of_the_weights_and_leaves_them_alone(kind):
    cell, h, x = draw(kind)
    before = {name: w.clone() for name, w in cell.weights.items()}
    assert cell.to(torch.float32).jacobian().dtype == torch.float32
    assert not cell.jacobian(h, x).requires_grad
    assert all(torch.equal(w, before[name]) for name, w in cell.weights.items())


def test_jacobian_at_the_origin_is_the_recurrent_matrix():
    cell, h, _ = draw()
    assert torch.equal(cell.jacobian(), cell.W_hh)
    assert torch.equal(cell.jacobian(torch.zeros_like(h)), cell.W_hh)
    assert cell.to(torch.float32).jacobian().dtype == torch.float32


def test_jacobian_at_a_state_is_the_recurrent_matrix_damped_row_by_row():
    cell, h, x = draw()
    for given in (None, x):
        drive = torch.einsum("mij,mj->mi", cell.W_hh, h)
        after = torch.tanh(drive if given is None else drive + torch.einsum("mij,mj->mi", cell.W_uh, given))
        want = (1 - after**2)[:, :, None] * cell.W_hh
        torch.testing.assert_close(cell.jacobian(h, given), want, rtol=0, atol=1e-14)


def test_a_bias_moves_the_jacobian():
    cell, h, _ = draw()
    b = torch.randn(3, HIDDEN, dtype=torch.float64, generator=generators(1)[0])
    moved = Elman(W_hh=cell.W_hh, W_uh=cell.W_uh, b=b)
    want = (1 - torch.tanh(torch.einsum("mij,mj->mi", cell.W_hh, h) + b) ** 2)[:, :, None] * cell.W_hh
    torch.testing.assert_close(moved.jacobian(h), want, rtol=0, atol=1e-14)


def test_jacobian_of_a_linear_network_is_the_same_everywhere():
    cell, h, x = draw()
    linear = Elman(W_hh=cell.W_hh, W_uh=cell.W_uh, activation="identity")
    torch.testing.assert_close(linear.jacobian(h), cell.W_hh, rtol=0, atol=1e-15)
    torch.testing.assert_close(linear.jacobian(h, x), cell.W_hh, rtol=0, atol=1e-15)


@each_cell
def test_a_state_or_an_input_of_the_wrong_shape_is_refused(kind):
    cell, h, x = draw(kind)
    for wrong in (h[:, :-1], h[:1]):
        shape = rf"^h must have shape \(3, {cell.state_size}\), got \({wrong.shape[0]}, {wrong.shape[1]}\)"
        with pytest.raises(ValueError, match=shape):
            cell.jacobian(wrong)
    for wrong in (x[:, :-1], torch.cat([x, x])):
        with pytest.raises(ValueError, match=rf"^x must have shape \(3, {INPUTS}\), got"):
            cell.jacobian(x=wrong)
