"""What sweeps of networks that learn a task of their own have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from emt_core.experiments import jobs
from emt_core.experiments.provenance import number
from emt_core.experiments.table import about, weights_file
from emt_core.networks import Reader, save
from emt_core.tasks.own import OwnTask
from emt_core.training import own_task
from emt_core.training.until_flat import Recipe


def train(
    place: jobs.Place,
    lines: Sequence[Any],
    device: str,
    checkpoint_every: int,
    task: OwnTask,
    measure: Callable[[Reader, Any], dict[str, float | None]],
    score: str = "score",
    **options: Any,
) -> list[dict] | None:
    """Train networks whose lines, with a ``cell``, ``hidden``, ``steps``, ``lr`` and ``batch``, differ in their seed
    alone, save them, and measure each; None if stopped. ``score`` names the column of the run's score; ``options`` are
    those of :func:`emt_core.training.own_task.fit`."""
    first = lines[0]
    recipe = Recipe(steps=first.steps, lr=first.lr, decay=0.01, batch=first.batch, every=500, patience=0)
    run = own_task.fit(
        task, cell=first.cell, hidden=first.hidden, seeds=[line.seed for line in lines], recipe=recipe, held_out=512,
        checkpoint=place.checkpoint, checkpoint_every=checkpoint_every, device=device, stop=place.stop, progress=False,
        **options,
    )  # fmt: skip
    if place.stop.is_set():
        return None
    rows = []
    for m, line in enumerate(lines):
        model = run.model[m].to("cpu")
        save(model, place.folder / weights_file(line.key), about(line, device, status=run.status[m]))
        said: dict[str, Any] = {"status": run.status[m], score: number(run.score[m]), "loss": number(run.losses[-1, m])}
        rows.append(said | measure(model, line))
    return rows
