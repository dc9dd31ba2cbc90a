"""Jacobians by autograd against finite differences, and what they must be in closed form."""

import pytest
import torch
from oracles import SHAPE_ERRORS, generators

from emt_core.networks import cells
from emt_core.networks.cells import Elman
from emt_core.analysis.linearize import jacobian


def draw(models=3, hidden=7) -> tuple[Elman, torch.Tensor]:
    model = cells.init(hidden, 2, generators(*range(models))).to(torch.float64)
    return model, torch.randn(models, hidden, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("models", [1, 3])
def test_jacobian_is_the_finite_difference(models):
    model, h = draw(models)
    step = 1e-6  # central differences: step² + ε/step ≈ 1e-10
    columns = []
    for j in range(model.hidden):
        e = torch.zeros_like(h)
        e[:, j] = step
        ahead, behind = (cells.step(model, (h + s * e)[:, None])[:, 0] for s in (1, -1))
        columns.append((ahead - behind) / (2 * step))
    torch.testing.assert_close(jacobian(model, h), torch.stack(columns, dim=2), rtol=0, atol=1e-8)


def test_jacobian_at_the_origin_is_the_recurrent_matrix():
    model, h = draw()
    assert torch.equal(jacobian(model), model.W_hh)
    assert torch.equal(jacobian(model, torch.zeros_like(h)), model.W_hh)
    assert jacobian(model.to(torch.float32)).dtype == torch.float32


def test_jacobian_at_a_state_is_the_recurrent_matrix_damped_row_by_row():
    model, h = draw()
    after = torch.tanh(torch.einsum("mij,mj->mi", model.W_hh, h))
    torch.testing.assert_close(jacobian(model, h), (1 - after**2)[:, :, None] * model.W_hh, rtol=0, atol=1e-14)


def test_jacobian_of_a_linear_network_is_the_same_everywhere():
    model, h = draw()
    linear = Elman(model.W_uh, model.W_hh, model.W_r, activation="identity")
    torch.testing.assert_close(jacobian(linear, h), model.W_hh, rtol=0, atol=1e-15)


def test_a_state_of_the_wrong_shape_is_refused():
    model, h = draw()
    with pytest.raises(SHAPE_ERRORS, match="h"):
        jacobian(model, h[:, :-1])
    with pytest.raises(SHAPE_ERRORS, match="h"):
        jacobian(model, h[:1])
