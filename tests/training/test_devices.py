"""Training on another device than the CPU: a step never waits for the device, and learns what the CPU learns."""

import pytest
import torch
from oracles import generators, needs_a_gpu

from emt_core.analysis import edits as interventions, probes
from emt_core.networks import cells
from emt_core.training import token_repeat as repeat
from emt_core.analysis.edit_cases import KINDS
from emt_core.networks.kernels import recorded
from emt_core.training.optimise import _Run, Recipe
from emt_core.tasks import TokenRepeat

TASK = TokenRepeat(4, 1, 5)
WHAT = ["GRU", *KINDS, *(f"{kind} probe" for kind in probes.KINDS)]


def train(what: str, device: str, recipe: Recipe):
    """Two models' training of one kind."""
    options = {"seeds": [0, 1], "recipe": recipe, "progress": False}
    if what == "GRU":  # one run for each seed, or one for both
        return repeat.fit(TASK, hidden=6, device=device, **options).training
    model = cells.gru_init(6, 4, generators(0, 1)).to(device)
    module, kind = (probes, what.removesuffix(" probe")) if what.endswith("probe") else (interventions, what)
    return (module.fit(kind, model, TASK, **options).training,)


class Enough(Exception):
    pass


@pytest.mark.parametrize("what", WHAT)
def test_a_step_never_waits_for_the_device(what, monkeypatch):
    """Tensors on "meta" have shapes and no numbers: to ask for one, as for a GPU's, is an error there."""

    def one_step(weights, loss, score, generators, recipe, **rest):
        weights = {name: w.requires_grad_() for name, w in weights.items()}
        assert {w.device.type for w in weights.values()} == {"meta"}
        each = loss(weights, generators)
        assert each.shape == (2,)
        each.sum().backward()
        assert all(w.grad is not None for w in weights.values())
        raise Enough

    for module in (repeat, interventions, probes):
        monkeypatch.setattr(module, "optimise", one_step)
        monkeypatch.setattr(module, "digest", lambda *x: "")  # of numbers, once at the start
    with pytest.raises(Enough):
        train(what, "meta", Recipe())


@needs_a_gpu
@pytest.mark.parametrize("what", WHAT)
def test_a_gpu_learns_what_the_cpu_learns(what, monkeypatch):
    monkeypatch.setattr(recorded, "AFTER", 2)
    recipe = Recipe(steps=8, every=4, patience=0, batch=16)
    runs = {device: train(what, device, recipe) for device in ("cpu", "cuda")}
    losses, scores = (
        {device: torch.cat([getattr(run, name) for run in found], dim=1) for device, found in runs.items()}
        for name in ("losses", "scores")
    )
    # the same random numbers; sums in another order, and AdamW makes much of tiny gradients
    torch.testing.assert_close(losses["cuda"], losses["cpu"], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(scores["cuda"], scores["cpu"], rtol=0, atol=0.02)


@needs_a_gpu
@pytest.mark.parametrize("what", WHAT)
def test_a_step_waits_for_no_gpu(what, monkeypatch):
    monkeypatch.setattr(recorded, "AFTER", 2)

    class Watched(_Run):
        def advance(self, loss):
            recording = self.step < 6  # to record is to wait
            torch.cuda.set_sync_debug_mode("default" if recording else "error")
            try:
                super().advance(loss)
            finally:
                torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr("emt_core.training.optimise._Run", Watched)
    train(what, "cuda", Recipe(steps=12, every=12, patience=0, batch=16))
