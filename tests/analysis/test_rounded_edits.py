"""Edits under coarser arithmetic: rounding against formats of the machine, and a run against the network's own."""

import pytest
import torch
from oracles import generators

from emt_core.analysis.edits import OnionEdit, cases, edited, rounding
from emt_core.networks import GRU, Elman, TokenNetwork
from emt_core.tasks import TokenRepeat
from emt_core.training import scores


def test_rounding_is_the_machines():
    x = torch.cat([torch.randn(500, generator=generators(0)[0]), torch.tensor([0.0, 1.0, -3.5, 1.00390625])])
    assert torch.equal(rounding.rounded(x, 24), x)
    assert torch.equal(rounding.rounded(x, 8), x.bfloat16().float())
    assert torch.equal(rounding.rounded(x, 11)[:-4], x.half().float()[:-4])  # of normal size: half has no other bits


def case_of(cell=GRU, seeds=(0, 1), **options):
    """Two small networks, an edit of each, and what it is asked."""
    model = TokenNetwork.init(cell, 5, 8, generators(*seeds), **options)
    # large weights, so that what is written depends on what was read
    model = model.with_weights({name: 3 * w for name, w in model.weights.items()})
    drawn = [torch.randn(5, 8, generator=g) for g in generators(*seeds)]
    one = torch.ones(len(seeds), 8)
    edit = OnionEdit(torch.stack(drawn), 0.5 * one, 0.1 * one, one, 0 * one)
    few = TokenRepeat(5, 1, 2).sample(400, generators(9))
    return edit, model, cases.corrupt("onion", few, 5, generators(*seeds))


def test_unrounded_it_is_the_networks_own_run():
    edit, model, case = case_of()
    own = scores.exact_match(scores.repeats(model, case.original, edited(edit, model, case)))
    assert torch.equal(rounding.exact_match(edit, model, case), own)
    assert own.max() > 0, "no sequence is right: the comparison says nothing"


def test_few_bits_change_what_is_written():
    edit, model, case = case_of()
    fine = rounding.exact_match(edit, model, case)
    for bits in ({"factors": 1}, {"carried": 1}):
        coarse = rounding.exact_match(edit, model, case, **bits)
        assert not torch.equal(coarse, fine), bits


@pytest.mark.parametrize("options", [{"cell": Elman}, {"autoregressive": False}])
def test_other_networks_are_refused(options):
    with pytest.raises(ValueError, match=r"^model must be an autoregressive GRU"):
        rounding.exact_match(*case_of(**options))
