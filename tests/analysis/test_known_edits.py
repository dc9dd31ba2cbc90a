"""Edits with parameters written down: exact on the codes they are written for, refused elsewhere."""

import pytest
import torch

from emt_core.analysis import edits, probes
from emt_core.analysis.edits import cases, known
from emt_core.networks import GRU, TokenNetwork, hand_built
from emt_core.support.random_streams import streams
from emt_core.tasks import TokenRepeat
from emt_core.training import Recipe, scores

V, L = 6, 4
TASK = TokenRepeat(V, 2, L)


def case_of(kind, seed=0):
    of = TASK.sample(300, streams([seed], "test"), length=L if kind in cases.LINEAR else None)
    return cases.corrupt(kind, of, V, streams([seed], "cases"))


def edit_of(kind, units=16, **options):
    model = (hand_built.onion if kind == "onion" else hand_built.subspaces)(units, V, L, **options)
    return model, known.onion(model) if kind == "onion" else known.linear(model, kind)


@pytest.mark.parametrize("kind", edits.KINDS)
@pytest.mark.parametrize("units", [12, 17])
def test_the_known_edit_makes_the_state_of_the_original_and_all_is_written(kind, units):
    model, edit = edit_of(kind, units, rest=0)
    case = case_of(kind)
    state = edits.edited(edit, model, case)
    torch.testing.assert_close(state, model.encode(case.original), rtol=0, atol=1e-5)
    others = edits.controls(model, case, state, torch.Generator().manual_seed(0))
    assert scores.repeats(model, case.original, state).all() and others["oracle"].all()
    assert scores.exact_match(others["no edit"]) < 0.1


@pytest.mark.parametrize("kind", edits.KINDS)
def test_it_leaves_the_rest_of_the_other_sequence(kind):
    model, edit = edit_of(kind)
    bare = edit_of(kind, rest=0)[0]
    case = case_of(kind)
    moved = edits.edited(edit, model, case) - model.encode(case.corrupted)
    wanted = bare.encode(case.original) - bare.encode(case.corrupted)
    if kind == "onion":  # it adds; a linear edit also carries a part of the source's rest
        torch.testing.assert_close(moved, wanted, rtol=0, atol=1e-5)
    assert (moved - wanted).norm() < 0.5 * wanted.norm()


def test_a_linear_probe_learns_subspaces_and_no_onion():
    """The recipe that fails on the one code succeeds on the other."""
    recipe = Recipe(steps=150, lr=0.03, batch=64, every=150, patience=0, decay=0)
    options = dict(seeds=[0], recipe=recipe, validation=TASK.validation(500), progress=False)
    read = {
        make: float(probes.fit("linear", make(16, V, L), TASK, **options).exact)
        for make in (hand_built.subspaces, hand_built.onion)
    }
    assert read[hand_built.subspaces] > 0.9 and read[hand_built.onion] < 0.6


def test_other_codes_are_refused():
    onion, apart = hand_built.onion(16, V, L), hand_built.subspaces(16, V, L)
    with pytest.raises(ValueError, match=r"^model must store positions in orthogonal subspaces"):
        known.linear(onion, "unigram")
    with pytest.raises(ValueError, match=r"^model must store layers that are powers of one factor a unit"):
        known.onion(apart)
    with pytest.raises(ValueError, match=r"^kind must be one of \('unigram', 'bigram'\), got 'onion'"):
        known.linear(apart, "onion")
    with pytest.raises(ValueError, match=r"^model must have the cell 'storing', got GRU$"):
        known.onion(TokenNetwork.init(GRU, V, 4, streams([0], "x")))
