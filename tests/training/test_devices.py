"""Training on another device than the CPU: a step never waits for the device, and learns what the CPU learns."""

import pytest
import torch
from oracles import generators, needs_a_gpu

from emt_core.analysis import edits, probes
from emt_core.analysis.edits import learned as learned_edits
from emt_core.analysis.probes import learned as learned_probes
from emt_core.networks import CELLS, TokenNetwork
from emt_core.tasks import TokenRepeat
from emt_core.training import Optimised, Recipe, fit, token_repeat, until_flat

TASK = TokenRepeat(4, 1, 5)
WHAT = ["networks", *(f"{kind} edit" for kind in edits.KINDS), *(f"{kind} probe" for kind in probes.KINDS)]
each_cell = pytest.mark.parametrize("cell", CELLS)
each = pytest.mark.parametrize("what", WHAT)


def train(what: str, cell: str, device: str, recipe: Recipe) -> Optimised:
    """Two models' training of one kind: of the networks themselves, or of what is learned on them."""
    options = {"seeds": [0, 1], "recipe": recipe, "progress": False}
    if what == "networks":  # on the CPU one after the other, elsewhere both at once
        return fit(TASK, cell=cell, hidden=6, device=device, **options).training
    model = TokenNetwork.init(CELLS[cell], 4, 6, generators(0, 1)).to(device)
    kind, _, what = what.rpartition(" ")
    return {"edit": edits, "probe": probes}[what].fit(kind, model, TASK, **options).training


class Enough(Exception):
    pass


@each_cell
@each
def test_a_step_never_waits_for_the_device(what, cell, monkeypatch):
    """Tensors on "meta" have shapes and no numbers: to ask for one, as for a GPU's, is an error there."""

    def one_step(weights, loss, score, generators, recipe, **rest):
        weights = {name: w.requires_grad_() for name, w in weights.items()}
        assert {w.device.type for w in weights.values()} == {"meta"}
        each = loss(weights, generators)
        assert each.shape == (2,)
        each.sum().backward()
        assert all(w.grad is not None for w in weights.values())
        raise Enough

    for module in (token_repeat, learned_edits, learned_probes):
        monkeypatch.setattr(module, "optimise", one_step)
        monkeypatch.setattr(module, "digest", lambda *x: "")  # of numbers, once at the start
    monkeypatch.setattr(token_repeat, "device_of", str)  # it is no device to train on
    with pytest.raises(Enough):
        train(what, cell, "meta", Recipe())


@needs_a_gpu
@each_cell
@each
def test_a_gpu_learns_what_the_cpu_learns(what, cell, monkeypatch):
    recipe = Recipe(steps=8, every=4, patience=0, batch=16)
    cpu, cuda = (train(what, cell, device, recipe) for device in ("cpu", "cuda"))
    # the same random numbers; sums in another order, and AdamW makes much of tiny gradients
    torch.testing.assert_close(cuda.losses, cpu.losses, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(cuda.scores, cpu.scores, rtol=0, atol=0.02)


@needs_a_gpu
@each_cell
@each
def test_a_step_waits_for_no_gpu(what, cell, monkeypatch):

    class Watched(until_flat._Models):
        def advance(self):
            first = self.step == 0  # libraries set themselves up
            looking = (self.step + 1) % self.recipe.every == 0  # to look is to read what the device has found
            torch.cuda.set_sync_debug_mode("default" if first or looking else "error")
            try:
                super().advance()
            finally:
                torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(until_flat, "_Models", Watched)
    train(what, cell, "cuda", Recipe(steps=12, every=12, patience=0, batch=16))
