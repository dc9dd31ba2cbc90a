"""Training networks that ring on: the same training as where the operator stays the same."""

import pytest
import torch

from emt_core import training
from emt_core.support.random_streams import stream
from emt_core.tasks import ChangeRinging
from emt_core.tasks.change_ringing import Method, right_rows

ORIGINAL = ChangeRinging((Method("Original", 4, "x14"),))


def test_a_network_learns_to_ring_plain_hunt():
    """Eight rows, then round: judged twice as long as trained, against the plain sequence of changes."""
    run = training.fit(ORIGINAL, hidden=24, steps=500, lr=5e-3, horizons=(4, 8), test_horizon=16)
    assert run.accuracy.item() > 0.95 and run.status == ("done",)
    inputs, targets = ORIGINAL.sample(24, 8, stream(1, "test"))
    written = run.model.rollout(inputs, 8)[1][:, 1:]
    assert right_rows(written, targets).double().mean() > 0.9
    swapped = targets[:, :, torch.randperm(24, generator=stream(2, "test"))]
    assert right_rows(written, swapped).double().mean() < 0.3  # the rows are those of this start


def test_a_checkpoint_is_of_one_method(tmp_path):
    options = {"hidden": 4, "steps": 2, "horizons": (2,), "test_horizon": 2, "checkpoint": tmp_path / "run.safetensors"}
    first = training.fit(ORIGINAL, **options)
    again = training.fit(ORIGINAL, **options)
    assert again.model == first.model
    other = ChangeRinging((Method("Plain Bob", 4, "&x14x14,12"),))
    with pytest.raises(ValueError, match=r"run\.safetensors"):
        training.fit(other, **options)
