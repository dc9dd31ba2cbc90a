"""The training engine: steps, threads, Ctrl-C, checkpoints. What is learned and by which rule, its clients say: a
curriculum over horizons (``variable_binding``), or training until it no longer pays (``until_flat``).

Models advance in groups. On the CPU a group is one model on one thread, with single-threaded products, or a few that a
kernel treats one by one; on CUDA it is an ensemble. So model m of an ensemble equals the same model trained alone, on
the CPU bit for bit, and a run that was interrupted and resumed, or made longer, equals one that was not.
"""

from __future__ import annotations

import json
import logging
import math
import threading
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor
from tqdm.auto import tqdm

from emt_core.support.checks import integer
from emt_core.support.files import read_safetensors, write_safetensors
from emt_core.support.running import ctrl_c_sets, one_thread_per_product, quiet, throttled

log = logging.getLogger(__name__)


class Status(StrEnum):
    """What became of a model."""

    DONE = "done"  # all steps that were asked for
    FLAT = "flat"  # stopped as its score no longer rose
    DIVERGED = "diverged"  # its loss or its weights ceased to be finite; its weights are those before, if there are any
    INTERRUPTED = "interrupted"  # by Ctrl-C or whoever set ``stop``


class Group(ABC):
    """Models that advance together. All that training changes is in :meth:`tensors`: a checkpoint is that and nothing
    else. ``ended`` is the step at which a model stopped by itself, -1 while it goes on, and ``why`` says how.
    ``records`` holds what was seen of the models, (M,) each time, by the names that a checkpoint gives it."""

    kept: ClassVar[tuple[str, ...]] = ()  # attributes that training changes: tensors, models first

    def __init__(self, generators: Sequence[torch.Generator], *records: str) -> None:
        self.generators, self.step = list(generators), 0
        self.ended, self.why = [-1] * len(self.generators), [Status.INTERRUPTED] * len(self.generators)
        self.records: dict[str, list[Tensor]] = {name: [] for name in records}

    @property
    def models(self) -> int:
        return len(self.generators)

    @property
    def note(self) -> str:
        """What the progress bar adds."""
        return ""

    @abstractmethod
    def advance(self) -> None:
        """One step of every model that goes on; ``step`` is one more then."""

    def over(self) -> bool:
        """Whether no model goes on."""
        return min(self.ended) >= 0

    def end(self, m: int, why: Status) -> None:
        self.ended[m], self.why[m] = self.step, why

    def statuses(self, steps: int) -> tuple[Status, ...]:
        """What became of each model, if ``steps`` were asked for."""
        going = Status.DONE if self.step >= steps else Status.INTERRUPTED
        return tuple(why if at >= 0 else going for at, why in zip(self.ended, self.why, strict=True))

    def steps(self) -> list[int]:
        """How many steps each model took."""
        return [at if at >= 0 else self.step for at in self.ended]

    def tensors(self) -> dict[str, Tensor]:
        """All that training changes; what has a models axis has it first."""
        why = torch.tensor([list(Status).index(status) for status in self.why])
        progress = {"steps": torch.tensor([self.step] * self.models), "ended": torch.tensor(self.ended), "why": why}
        progress |= {"generators": torch.stack([g.get_state() for g in self.generators])}
        progress |= {name: torch.stack(rows, 1) for name, rows in self.records.items() if rows}
        return progress | {name: getattr(self, name) for name in self.kept}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of :meth:`tensors`."""
        self.step, self.ended = int(tensors["steps"][0]), tensors["ended"].tolist()
        self.why = [list(Status)[i] for i in tensors["why"].tolist()]
        for generator, state in zip(self.generators, tensors["generators"], strict=True):
            generator.set_state(state.clone())  # of a view torch reads other bytes
        self.records = {name: list(tensors[name].T.clone()) if name in tensors else [] for name in self.records}
        for name in self.kept:
            setattr(self, name, tensors[name].to(getattr(self, name).device))


def recorded(groups: Sequence[Group], name: str, rows: int) -> Float[Tensor, "K M"]:
    """What all groups recorded under ``name``, K = ``rows`` times; float64, NaN where one did not get that far."""
    columns = []
    for group in groups:
        columns.append(torch.full((rows, group.models), math.nan, dtype=torch.float64))
        for k, row in enumerate(group.records[name]):
            columns[-1][k] = row
    return torch.cat(columns, dim=1)


def run(
    groups: Sequence[Group],
    steps: int,
    *,
    identity: dict[str, Any],
    alone: bool,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1000,
    stop: threading.Event | None = None,
    progress: bool = True,
    name: str = "training",
) -> bool:
    """Bring all groups to step ``steps``, or to where they end by themselves; True if they were stopped before.

    Args:
        identity: what decides the numbers, apart from ``steps``; a checkpoint of something else is refused.
        alone: products on one thread, groups side by side (the CPU).
        checkpoint: file to go on from if it is there, written every ``checkpoint_every`` steps, at Ctrl-C, at the end.
        stop: once it is set, from another thread, or after Ctrl-C, training ends after the current step, all groups
            alike; what was trained is returned as it is, with a status that says so.

    Raises:
        ValueError: the checkpoint is damaged, of another run, or beyond ``steps``.
    """
    path, every = None if checkpoint is None else Path(checkpoint), integer("checkpoint_every", checkpoint_every, 1)
    if path is not None and path.exists():
        _load(path, identity, groups)
        if (at := max(group.step for group in groups)) > steps:
            raise ValueError(f"steps must be at least {at}, where checkpoint {path} stands, got {steps}")
    stop = threading.Event() if stop is None else stop
    models, done = sum(g.models for g in groups), sum(g.step * g.models for g in groups)
    chunk = every if path is not None else max(1, steps)
    bar = tqdm(total=steps * models, initial=done, unit="step", desc=name, disable=quiet(progress))

    def going() -> list[Group]:
        return [group for group in groups if group.step < steps and not group.over()]

    with one_thread_per_product(alone) as workers, ctrl_c_sets(stop), bar:
        update = throttled(bar, models * 10)
        # another computation that ended meanwhile may have given new threads all cores
        single = partial(torch.set_num_threads, 1) if alone else None
        with ThreadPoolExecutor(min(workers, len(groups)), initializer=single) as pool:
            while going() and not stop.is_set():
                goal = min(steps, (min(group.step for group in going()) // chunk + 1) * chunk)
                _advance(going(), goal, stop, update, pool)
                bar.set_postfix_str(groups[0].note, refresh=False)
                if path is not None:
                    _save(path, identity, groups)
            update(0, flush=True)
    if stop.is_set():
        log.warning("%s was interrupted; the models are returned as they are", name)
    return stop.is_set()


def _advance(
    groups: list[Group], goal: int, stop: threading.Event, update: Callable[..., None], pool: ThreadPoolExecutor
) -> None:
    """All groups to step ``goal``, or as far as they get before ``stop`` is set or one of them fails."""

    def work(group: Group) -> None:
        while group.step < goal and not group.over() and not stop.is_set():
            group.advance()
            update(group.models)

    futures = [pool.submit(work, group) for group in groups]
    try:
        wait(futures, return_when=FIRST_EXCEPTION)
    except KeyboardInterrupt:  # from a handler of the program's own
        stop.set()
    if any(future.done() and future.exception() for future in futures):
        stop.set()  # else the others would go on to their ends
    for future in futures:
        future.result()


def steps_done(checkpoint: Path) -> int:
    """Model-steps in a checkpoint; 0 if it cannot be read."""
    try:
        with safe_open(checkpoint, framework="pt") as file:
            names = [name for name in file.keys() if name.endswith(".steps")]  # noqa: SIM118
            return sum(int(file.get_tensor(name).sum()) for name in names)
    except (OSError, SafetensorError):
        return 0


def _save(path: Path, identity: dict[str, Any], groups: Sequence[Group]) -> None:
    tensors = {f"{i}.{name}": t for i, group in enumerate(groups) for name, t in group.tensors().items()}
    write_safetensors(tensors, path, {"run": json.dumps(identity, sort_keys=True)})


def _load(path: Path, identity: dict[str, Any], groups: Sequence[Group]) -> None:
    tensors, metadata = read_safetensors(path, "checkpoint")
    if "run" not in metadata:
        raise ValueError(f"checkpoint must be a file that training wrote, {path} is not")
    there, here = json.loads(metadata["run"]), json.loads(json.dumps(identity))
    if there != here:
        names = sorted(there.keys() | here.keys())
        differ = {k: (there.get(k), here.get(k)) for k in names if there.get(k) != here.get(k)}
        raise ValueError(f"checkpoint {path} is of another run; (there, here): {differ}")
    stored: dict[int, dict[str, Tensor]] = defaultdict(dict)
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        stored[int(index)][name] = tensor
    # the CPU trains a few models at a time, CUDA all at once, and their generators have other states
    sizes = {i: (group.models, group.generators[0].get_state().numel()) for i, group in enumerate(groups)}
    if {i: tuple(found["generators"].shape) for i, found in stored.items()} != sizes:
        raise ValueError(f"checkpoint {path} was written on another kind of device, or by a version with other groups")
    for i, group in enumerate(groups):
        group.restore(stored[i])
