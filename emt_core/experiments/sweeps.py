"""Grids of training runs → one tidy table: ``python -m emt_core.experiments.sweeps table1 --out DIR``.

Every network of a grid becomes a row of ``DIR/table.csv``. Whatever ends a sweep, the same command goes on from the
last checkpoints, and the table is then the same as if nothing had happened, but for the seconds. What else is in the
folder is said in :mod:`emt_core.experiments.jobs`; with ``weights``, each network is also saved in ``DIR/weights``.
``DIR/work`` may be deleted when all is done. The commands are in :mod:`emt_core.experiments.command_line`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

from emt_core.analysis import edits as interventions
from emt_core.analysis import probes
from emt_core.experiments import jobs
from emt_core.experiments import token_repeat as repeat_grids
from emt_core.experiments.table import Swept, drive
from emt_core.experiments.token_repeat import Repeater, Study, learn, train_repeaters
from emt_core.experiments.variable_binding import Model, grid, group_key, steps_done, train_group, weights_file
from emt_core.support.checks import integer
from emt_core.tasks import PAPER_TRIPLES, TokenRepeat, VariableBinding
from emt_core.training import optimise
from emt_core.training import token_repeat as repeat
from emt_core.training.optimise import Recipe

VARIANTS = ("autoregressive", "no input")


def sweep(
    models: Iterable[Model],
    out: str | Path,
    *,
    device: str = "cpu",
    group: int | None = None,
    checkpoint_every: int = 500,
    weights: bool = False,
    executor: Executor | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool = True,
) -> Swept:
    """Train the models that ``out`` has no row of yet, and write ``out/table.csv``.

    Args:
        device: ``"cpu"`` or a CUDA device, for models that are still to be trained.
        group: how many models of one task and size to train in one job, with one checkpoint. Default: 1 on the CPU,
            where a model is the same in every group, so that its checkpoint serves any grid; on CUDA, up to 512.
        checkpoint_every: steps. What a killed worker loses is at most the time since its last checkpoint.
        weights: also save each network in ``out/weights``.
        executor, workers, scheduler: where jobs run, see :func:`emt_core.experiments.jobs.run`. Default: one process per core, on
            CUDA one process.

    Raises:
        ValueError: an argument out of range, or ``out`` holds rows of another kind.
        jobs.FolderInUse: another sweep is at work in ``out``.
        OSError: a file cannot be read or written; the message names it.
    """
    checkpoint_every = integer("checkpoint_every", checkpoint_every, 1)
    cuda = device.partition(":")[0] == "cuda"

    def job(part: list[Model]) -> jobs.Job:
        return jobs.Job(
            key=group_key(part, "cuda" if cuda else ""),
            function=train_group,
            arguments=(tuple(part), device, checkpoint_every, weights),
            size=sum(m.steps for m in part),
            progress=steps_done,
            files=tuple(map(weights_file, part)) if weights else (),
        )

    return drive(
        models, out, job, identity=Model.of_row, alike=lambda m: replace(m, seed=0, l2=0.0, threshold=0.0, lr=1.0),
        device=device, group=group, executor=executor, workers=workers, scheduler=scheduler, progress=progress,
    )  # fmt: skip


def table1(
    out: str | Path,
    *,
    tasks: Iterable[int] = (0, 1, 2, 3),
    hidden: Iterable[int] = (64, 128),
    l2: Iterable[float | int] = (0.0, 0.001),
    threshold: Iterable[float | int] = (0.9, 0.98),
    seeds: Iterable[int] = range(20),
    steps: int = 20_000,
    **options,
) -> Swept:
    """The networks of the table of arXiv:2310.02430: ``tasks`` are places in ``PAPER_TRIPLES``, S = D = 8.
    ``options`` are those of :func:`sweep`."""
    places = [integer("tasks", place, 0) for place in tasks]
    if any(place >= len(PAPER_TRIPLES) for place in places):
        raise ValueError(f"tasks must be places in PAPER_TRIPLES, 0 … {len(PAPER_TRIPLES) - 1}, got {places}")
    bindings = [VariableBinding(PAPER_TRIPLES[place], 8, 8) for place in places]
    models = grid(bindings, hidden=hidden, l2=l2, threshold=threshold, seeds=seeds, steps=steps)
    return sweep(models, out, **options)


def onion_gru(
    out: str | Path,
    *,
    hidden: Iterable[int] = (48, 64),
    variants: Iterable[str] = VARIANTS,
    seeds: Iterable[int] = range(5),
    task: TokenRepeat = TokenRepeat(),  # noqa: B008
    recipe: Recipe = repeat.RECIPE,
    steps: int | None = None,
    patience: int | None = None,
    **options,
) -> Swept:
    """GRUs that repeat tokens (arXiv:2408.10920), with their weights. ``steps`` and ``patience``, if given, stand in
    the place of the recipe's. ``options`` are those of :func:`emt_core.experiments.table.drive`."""
    device = options.get("device", "cpu")
    recipe = _with(recipe, steps, patience)
    return drive(
        _repeaters(hidden, variants, seeds, task, recipe), out,
        lambda part: _repeat_job(part, train_repeaters, (tuple(part), device)),
        **_REPEAT, **options,
    )  # fmt: skip


def onion_interventions(
    out: str | Path,
    *,
    grus: str | Path,
    kinds: Iterable[str] = interventions.KINDS,
    recipe: Recipe = interventions.RECIPE,
    **options,
) -> Swept:
    """Edits learned on the GRUs that :func:`onion_gru` trained into the folder ``grus``. ``options``: those of
    :func:`onion_gru`; ``recipe``, ``steps`` and ``patience`` are of the edits, ``gru_recipe``, ``gru_steps`` and
    ``gru_patience`` must be those of the GRUs."""
    return _studies("intervention", out, grus, kinds, recipe, **options)


def onion_probes(
    out: str | Path,
    *,
    grus: str | Path,
    kinds: Iterable[str] = probes.KINDS,
    recipe: Recipe = probes.RECIPE,
    **options,
) -> Swept:
    """Probes of the same GRUs; see :func:`onion_interventions`."""
    return _studies("probe", out, grus, kinds, recipe, **options)


def _studies(
    what: str,
    out: str | Path,
    grus: str | Path,
    kinds: Iterable[str],
    recipe: Recipe,
    *,
    hidden: Iterable[int] = (48, 64),
    variants: Iterable[str] = VARIANTS,
    seeds: Iterable[int] = range(5),
    task: TokenRepeat = TokenRepeat(),  # noqa: B008
    steps: int | None = None,
    patience: int | None = None,
    gru_recipe: Recipe = repeat.RECIPE,
    gru_steps: int | None = None,
    gru_patience: int | None = None,
    **options,
) -> Swept:
    grus, device = Path(grus).resolve(), options.get("device", "cpu")
    recipe = _with(recipe, steps, patience)
    of = _repeaters(hidden, variants, seeds, task, _with(gru_recipe, gru_steps, gru_patience))
    items = [Study(what, kind, gru, recipe) for kind in kinds for gru in of]
    return drive(
        items, out, lambda part: _repeat_job(part, learn, (tuple(part), grus, device)), **_REPEAT, **options,
    )  # fmt: skip


def _with(recipe: Recipe, steps: int | None, patience: int | None) -> Recipe:
    given = {"steps": steps, "patience": patience}
    return replace(recipe, **{name: value for name, value in given.items() if value is not None})


def _repeaters(hidden, variants, seeds, task: TokenRepeat, recipe: Recipe) -> list[Repeater]:
    variants, seeds = list(variants), list(seeds)
    wrong = [v for v in variants if v not in VARIANTS]
    if wrong:
        raise ValueError(f"variants must be among {VARIANTS}, got {wrong[0]!r}")
    return [Repeater(N, v == VARIANTS[0], seed, task, recipe) for N in hidden for v in variants for seed in seeds]


def _repeat_job(part: list, function: Callable, arguments: tuple) -> jobs.Job:
    first, device = part[0], arguments[-1]
    if device == "cpu" and len(part) > 1:
        raise ValueError(f"group must be 1 on the CPU, where every GRU is trained by itself, got {len(part)}")
    return jobs.Job(
        key=repeat_grids.group_key(part, device),
        function=function,
        arguments=arguments,
        size=first.recipe.steps,  # the models of a group go on together
        progress=optimise.steps_done,
        files=tuple(map(repeat_grids.weights_file, part)),
    )


_REPEAT = {"identity": lambda row: row["key"], "name": lambda item: item.key, "alike": lambda item: item.without_seed}


if __name__ == "__main__":
    # not this copy of the module: functions that go to other processes must be found by its real name
    from emt_core.experiments import command_line

    sys.exit(command_line.main())
