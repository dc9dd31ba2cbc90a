"""Many models in one: which are chosen by what, what is equal, and copies elsewhere."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles import generators, same_bits

from emt_core.networks import CELLS, Elman, TokenNetwork, VectorNetwork, together

KINDS = {
    f"{name} {what}": (kind, what) for name, kind in CELLS.items() for what in ("alone", "on vectors", "on tokens")
}
each_kind = pytest.mark.parametrize(("kind", "what"), KINDS.values(), ids=KINDS)
MODELS = 4


def draw(kind, what, models=MODELS, seed=0, hidden=5):
    g = generators(*range(seed, seed + models))
    if what == "alone":
        return kind.init(3, hidden, g)
    return VectorNetwork.init(kind, 3, hidden, g) if what == "on vectors" else TokenNetwork.init(kind, 3, hidden, g)


INDICES = {
    "int": (1, [1]),
    "the last": (-1, [3]),
    "NumPy's int64": (np.int64(1), [1]),
    "NumPy's uint8": (np.uint8(2), [2]),
    "argmin": (np.argmin([3, 2, 0, 1]), [2]),
    "array of no axes": (np.array(3), [3]),
    "tensor of no axes": (torch.tensor(1), [1]),
    "torch's argmax": (torch.tensor([0, 5, 9, 1]).argmax(), [2]),
    "tensor of one": (torch.tensor([1]), [1]),
    "tensor": (torch.tensor([2, 0]), [2, 0]),
    "array": (np.array([2, 0]), [2, 0]),
    "array of one": (np.array([1]), [1]),
    "mask": (torch.tensor([True, False, False, True]), [0, 3]),
    "mask of all": (torch.ones(4, dtype=torch.bool), [0, 1, 2, 3]),
    "mask of none": (torch.zeros(4, dtype=torch.bool), []),
    "array mask": (np.array([False, False, True, True]), [2, 3]),
    "list mask": ([False, True, False, True], [1, 3]),
    "list": ([2, 0, 2], [2, 0, 2]),
    "list of NumPy's": ([np.int64(2), np.int64(0)], [2, 0]),
    "list of one": ([1], [1]),
    "empty list": ([], []),
    "slice": (slice(1, None), [1, 2, 3]),
    "slice with a step": (slice(0, 4, 2), [0, 2]),
    "empty slice": (slice(2, 2), []),
    "tuple": ((0, 2), [0, 2]),
    "tuple of one": ((1,), [1]),
    "tuple of three": ((0, 2, 1), [0, 2, 1]),
    "range": (range(2), [0, 1]),
}


@each_kind
@pytest.mark.parametrize(("index", "chosen"), INDICES.values(), ids=INDICES)
def test_indexing_picks_models(kind, what, index, chosen):
    model = draw(kind, what)
    picked = model[index]
    assert type(picked) is type(model) and picked.models == len(chosen)
    assert picked.settings == model.settings and picked.weights.keys() == model.weights.keys()
    for name, w in model.weights.items():
        assert picked.weights[name].shape == (len(chosen), *w.shape[1:])
        for place, m in enumerate(chosen):
            assert torch.equal(picked.weights[name][place], w[m])


@each_kind
@pytest.mark.parametrize("mask", [torch.tensor([True]), np.array([True]), [True]], ids=["torch", "NumPy", "list"])
def test_a_mask_of_one_model_is_no_number(kind, what, mask):
    model = draw(kind, what, models=1)
    assert model[mask].models == 1 and model[mask] == model
    none = [False] if isinstance(mask, list) else mask & False
    assert model[none].models == 0


@each_kind
def test_an_index_beyond_the_models_is_refused(kind, what):
    model = draw(kind, what)
    for index in (4, -5, np.int64(4), torch.tensor(4), [0, 4], (0, 4), torch.tensor([True, False])):
        with pytest.raises(IndexError):
            model[index]


@each_kind
def test_a_chosen_model_computes_what_it_did_among_the_others(kind, what):
    model, g = draw(kind, what), generators(9)[0]
    cell = model if what == "alone" else model.cell
    h, x = torch.randn(MODELS, 6, cell.state_size, generator=g), torch.randn(MODELS, 6, cell.inputs, generator=g)
    together = cell.step(h, x)
    for m in range(MODELS):
        own = model[np.int64(m)] if what == "alone" else model[np.int64(m)].cell
        torch.testing.assert_close(own.step(h[m : m + 1], x[m : m + 1])[0], together[m], rtol=0, atol=1e-6)


@each_kind
def test_a_model_is_equal_to_itself_and_to_what_has_its_numbers(kind, what):
    model = draw(kind, what)
    copied = model.with_weights({name: w.clone() for name, w in model.weights.items()})
    for same in (model, copied):
        assert (model == same) is True and (model != same) is False and model in [same]
    for name, w in model.weights.items():
        other = w.clone()
        other[-1].view(-1)[-1] += 1
        changed = model.with_weights(model.weights | {name: other})
        assert (model == changed) is False and (model != changed) is True and model not in [changed]
        assert model[:-1] == changed[:-1] and model[-1] != changed[-1]
    assert model != draw(kind, what, seed=1) and model != model[:2] and model[:2] == model[[0, 1]]
    assert model != draw(kind, what, hidden=6)


@each_kind
def test_a_model_is_not_equal_to_another_kind_of_thing(kind, what):
    model = draw(kind, what)
    for other in (None, 3, "model", model.weights, torch.ones(3), np.ones(3)[0]):
        assert (model == other) is False and (model != other) is True
    for another, form in KINDS.values():
        if (another, form) != (kind, what):
            other = draw(another, form)
            assert (model == other) is False and (other == model) is False


@pytest.mark.parametrize("kind", CELLS.values(), ids=CELLS)
def test_a_cell_that_steps_another_way_is_another(kind):
    class Own(kind):
        def step(self, h, x=None):
            return 2 * h

    cell = draw(kind, "alone")
    own = Own(**cell.weights)
    assert (own == cell) is False and (cell == own) is False and own == Own(**cell.weights)


def test_settings_are_part_of_what_is_equal():
    cell = draw(Elman, "alone")
    linear = replace(cell, activation="identity")
    assert cell != linear and replace(linear, activation="tanh") == cell
    assert cell != replace(cell, b=torch.zeros(MODELS, 5)) and replace(cell, b=torch.zeros(MODELS, 5)) != cell
    for what in ("on vectors", "on tokens"):
        network = draw(Elman, what)
        assert network != replace(network, cell=replace(network.cell, activation="identity"))
    tokens = draw(Elman, "on tokens")
    assert tokens != replace(tokens, autoregressive=False)


@each_kind
def test_models_cannot_be_hashed(kind, what):
    """Two that are equal would have to have one hash, of numbers that may be changed in place."""
    model = draw(kind, what)
    with pytest.raises(TypeError, match="unhashable"):
        hash(model)
    with pytest.raises(TypeError, match="unhashable"):
        dict.fromkeys([model])


@each_kind
def test_a_copy_in_another_dtype_or_without_history_has_the_same_numbers(kind, what):
    model = draw(kind, what)
    wide = model.to(torch.float64)
    assert {w.dtype for w in wide.weights.values()} == {torch.float64} and wide.settings == model.settings
    assert all(same_bits(w, model.weights[name]) for name, w in wide.to(torch.float32).weights.items())
    learning = model.with_weights({name: w.clone().requires_grad_() for name, w in model.weights.items()})
    assert all(w.requires_grad for w in learning.weights.values()) and learning == model
    assert not any(w.requires_grad for w in learning.detach().weights.values()) and learning.detach() == model
    assert model.models == MODELS and model.device == torch.device("cpu") and model.to("meta").device.type == "meta"


@each_kind
def test_together_is_what_indexing_takes_apart(kind, what):
    whole = draw(kind, what)
    assert together([whole[:1], whole[1:3], whole[3]]) == whole
    assert together(iter([whole])) == whole


def test_together_runs_each_network_as_alone():
    parts = [draw(Elman, "on vectors", models=1, seed=s, hidden=64).to(torch.float64) for s in range(5)]
    inputs = torch.randn(5, 3, 2, 3, dtype=torch.float64, generator=generators(0)[0])
    states, _ = together(parts).rollout(inputs, 20)
    for m, part in enumerate(parts):
        torch.testing.assert_close(states[m], part.rollout(inputs[m : m + 1], 20)[0][0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "others",
    [
        [],
        [draw(Elman, "alone"), draw(Elman, "on vectors")],
        [draw(Elman, "alone"), draw(Elman, "alone", hidden=6)],
        [draw(Elman, "alone"), replace(draw(Elman, "alone"), activation="identity")],
        [draw(CELLS["gru"], "alone"), draw(Elman, "alone")],
    ],
    ids=["none", "kinds", "sizes", "settings", "cells"],
)
def test_together_refuses_what_differs(others):
    with pytest.raises(ValueError, match="one kind with equal settings and sizes"):
        together(others)
