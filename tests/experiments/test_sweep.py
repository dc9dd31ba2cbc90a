"""The table of a sweep: what its numbers are, and that nothing that happens to a sweep changes them."""

import csv
import errno
import inspect
import itertools
import json
import math
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import psutil
import pytest
import small_sweep
import torch
from safetensors.torch import load_file
from small_sweep import RECIPE, TASK, models

from emt_core.analysis import spectrum
from emt_core.experiments import __main__ as command_line
from emt_core.experiments import sweep, table1
from emt_core.experiments import variable_binding as grids
from emt_core.experiments.table import Line, Swept, Table, weights_file
from emt_core.experiments.variable_binding import Model
from emt_core.networks import load
from emt_core.tasks import PAPER_TRIPLES, VariableBinding
from emt_core.theory import circuit
from emt_core.training import variable_binding as train
from emt_core.training.engine import Status, steps_done

MAY_DIFFER = {"seconds"}
WEIGHTS = ("W_uh", "W_hh", "W_r")
OLDER = Path(__file__).parent / "older"  # as version 0.1.0 wrote them, before keys hashed only what is not the default
VERSIONS = ("device", "cpu", "torch", "numpy", "python")


@pytest.fixture(autouse=True)
def unchanged_threads():
    def threads() -> list[int]:
        with ThreadPoolExecutor(1) as new:  # each thread has its own number, a new one the last that was set
            return [torch.get_num_threads(), new.submit(torch.get_num_threads).result()]

    before = threads()
    yield
    assert threads() == before


def go(models, out, executor, **options) -> Swept:
    return sweep(models, out, executor=executor, progress=False, **({"checkpoint_every": 50} | options))


def table(out: Path) -> list[dict]:
    """The file's rows, without what two runs need not share."""
    with (out / "table.csv").open(newline="", encoding="utf8") as file:
        return [{k: v for k, v in row.items() if k not in MAY_DIFFER} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> list[dict]:
    """The table of ``models()``."""
    out = tmp_path_factory.mktemp("uninterrupted")
    with ThreadPoolExecutor(1) as pool:
        assert not go(models(), out, pool).failed
    return table(out)


@pytest.fixture
def trained(monkeypatch) -> list[tuple]:
    """The (seeds, l2) of every call of fit in this process."""
    calls, fit = [], train.fit

    def counted(*arguments, **settings):
        calls.append((settings["seeds"], settings["l2"]))
        return fit(*arguments, **settings)

    monkeypatch.setattr(train, "fit", counted)
    return calls


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_a_row_says_what_training_and_the_theory_say(tmp_path, thread):
    bits = VariableBinding.repeat_copy(2, 1)
    grid = models(seeds=2, steps=100) + grids.grid(
        [bits], hidden=[8], l2=[0], threshold=[0.9], seeds=[5], steps=200, lr=0.01
    )
    rows = go(grid, tmp_path, thread).rows
    assert len(rows) == 5
    for model, row in zip(grid, rows, strict=True):
        small = {} if model.task == bits else RECIPE
        settings = dict(hidden=8, seeds=[model.seed], steps=model.steps, l2=model.l2, threshold=model.threshold)
        run = train.fit(model.task, lr=model.lr, progress=False, **settings, **small)
        phi = circuit.effective_interaction(model.task)
        best = spectrum.spectral_error(run.model.W_hh, phi)
        greedy = spectrum.spectral_error(run.model.W_hh, phi, matching="greedy")
        assert row["status"] == run.status[0] == "done"
        assert row["accuracy"] == float(run.accuracy)
        assert (row["eigenvalues_learned"], row["eigenvalues_theory"]) == tuple(best.counts[0].tolist())
        assert row["matched"] is bool(best.matched)
        errors = (row["error_optimal"], row["error_greedy"])
        assert errors == ((float(best.error), float(greedy.error)) if row["matched"] else (None, None))
        assert row["loss"] == float(run.history.loss[-10:, 0].double().mean())
        assert row["horizon"] == int(run.history.horizon[-1, 0])
        assert row["ended"] == model.steps and row["last_loss"] == float(run.history.loss[-1, 0])
        assert row["choice"] == model.triple[0] and row["seed"] == model.seed and row["l2"] == model.l2
        assert row["device"] == "cpu" and row["torch"] == torch.__version__ and row["seconds"] > 0
    assert {row["matched"] for row in rows} == {True, False}
    assert len({row["horizon"] for row in rows}) > 1


def test_the_file_reads_back_to_the_same_numbers(tmp_path, thread):
    rows = go(models(seeds=1, steps=60), tmp_path, thread).rows
    with (tmp_path / "table.csv").open(newline="", encoding="utf8") as file:
        read = list(csv.DictReader(file))
    for row, text in zip(rows, read, strict=True):
        assert list(text) == list(row)
        for name, value in row.items():
            if value is None:
                assert text[name] == ""
            elif isinstance(value, bool):
                assert text[name] == str(value).lower()
            else:
                assert type(value)(text[name]) == value
    wanted = "cell choice permutation signs history dim hidden l2 threshold seed steps status accuracy"
    wanted += " eigenvalues_learned eigenvalues_theory matched error_optimal error_greedy loss horizon seconds"
    wanted += " torch numpy python commit cpu device"
    assert set(wanted.split()) <= set(read[0])


def test_a_model_has_the_defaults_of_fit():
    fit = inspect.signature(train.fit).parameters
    recipe = ("cell", "lr", "batch", "clip", "noise", "horizons", "every", "test_horizon")
    task = VariableBinding((255, 0, 0), 8, 8)
    model = Model.of(task, hidden=64, l2=0, threshold=0.96, seed=0, steps=100)
    assert {name: getattr(model, name) for name in recipe} == {name: fit[name].default for name in recipe}
    evaluate = inspect.signature(train.evaluate).parameters
    assert (model.test_horizon, evaluate["sequences"].default) == (200, 640)  # the table's accuracy
    assert Model.of_row(json.loads(json.dumps(model.columns()))) == model


def test_a_model_without_noise_has_the_key_it_had():
    """As the version before noise made it: rows of then still count."""
    (old, *_) = grids.grid([TASK], hidden=[8], l2=[0.01], threshold=[0.61], seeds=[1], steps=60, **RECIPE)
    assert old.key == "elman-S3D2-3-0-0-N8-L0.01-T0.61-s1-d1c3aca7982a-60" and replace(old, noise=0) == old
    row = {name: value for name, value in old.columns().items() if name != "noise"}
    assert Model.of_row(row) == old and Model.of_row(row | {"noise": 0.1}) == (noisy := replace(old, noise=0.1))
    assert noisy.key != old.key and noisy.alike != old.alike and replace(noisy, seed=2).alike == noisy.alike


def test_noise_is_that_of_training(tmp_path, thread):
    grid = models(seeds=2, steps=20, l2=(0.0,), noise=0.1) + models(seeds=1, steps=20, l2=(0.0,))
    rows = go(grid, tmp_path, thread, group=3).rows
    assert [row["noise"] for row in rows] == [0.1, 0.1, 0.0]
    settings = dict(hidden=8, steps=20, threshold=0.61, progress=False, **RECIPE)
    noisy, plain = (train.fit(TASK, seeds=[0, 1], noise=sigma, **settings) for sigma in (0.1, 0.0))
    assert [row["last_loss"] for row in rows[:2]] == noisy.history.loss[-1].tolist()
    assert rows[2]["last_loss"] == plain.history.loss[-1, 0].item() != rows[0]["last_loss"]


def test_a_diverged_network_keeps_its_row(tmp_path, thread):
    rows = go(models(seeds=1, steps=60, l2=(0.0,), lr=1e30, threshold=(0.61, 1.0)), tmp_path, thread, group=2).rows
    assert len(rows) == 2
    for row in rows:
        assert row["status"] == Status.DIVERGED == "diverged" and row["accuracy"] is None
        assert row["ended"] < 60 == row["steps"]
        assert isinstance(row["eigenvalues_learned"], int) and row["horizon"] >= 3
    assert [row["accuracy"] for row in table(tmp_path)] == ["", ""]


def test_weights_are_saved_even_if_asked_for_later(tmp_path, thread, trained):
    grid = models(seeds=2, steps=60)
    go(grid, tmp_path, thread)
    before = table(tmp_path)
    assert not (tmp_path / "weights").exists()
    go(grid, tmp_path, thread, weights=True, group=3)
    assert table(tmp_path) == before
    for model in grid:
        saved, metadata = load(tmp_path / weights_file(model.key))
        run = train.fit(
            TASK, hidden=8, seeds=[model.seed], l2=model.l2, threshold=0.61, steps=60, progress=False, **RECIPE
        )
        assert all(torch.equal(getattr(saved, name), getattr(run.model, name)) for name in WEIGHTS)
        assert (metadata["seed"], metadata["l2"], metadata["cell"]) == (str(model.seed), str(model.l2), "elman")
    trained.clear()
    go(grid, tmp_path, thread, weights=True)
    assert trained == []


def test_the_latest_row_of_a_network_counts(tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    for i, (key, value) in enumerate([("b", 1), ("a", 2), ("c", 3)]):  # names and times disagree
        text = json.dumps({"key": key, "rows": [{"network": key == "c", "value": value}]})
        (folder / f"{key}.json").write_text(text)
        os.utime(folder / f"{key}.json", (i, i))
    rows = Table(tmp_path, Toy).rows
    assert {toy.network: row["value"] for toy, row in rows.items()} == {False: 2, True: 3}
    os.utime(folder / "b.json", (9, 9))
    assert Table(tmp_path, Toy).rows[Toy(network=False)]["value"] == 1


@dataclass(frozen=True, kw_only=True)
class Toy(Line):
    network: bool
    steps: int = 1
    size: int = 3
    label = "toy"


@dataclass(frozen=True, kw_only=True)
class Newer(Line):
    """:class:`Toy` in a later version."""

    network: bool
    kind: str = "plain"
    horizons: tuple[int, ...] = (1, 2)
    steps: int = 1
    size: int = 3
    label = "toy"


def test_a_field_with_a_default_changes_no_key_and_no_line():
    for given in (dict(network=True), dict(network=False, size=4), dict(network=True, steps=7)):
        old, new = Toy(**given), Newer(**given)
        assert new.key == old.key and new.stem == old.stem
        assert Newer.of_row(old.columns()) == new and Newer.of_row(json.loads(json.dumps(new.columns()))) == new
    others = [dict(), dict(kind="other"), dict(horizons=(1,)), dict(size=4), dict(network=False), dict(steps=2)]
    assert len({Newer(**dict(network=True) | given).key for given in others}) == len(others)
    assert Newer(network=True, steps=2).stem == Newer(network=True).stem  # so that it can go on from there


# --- grids ------------------------------------------------------------------------------------------------------------


def test_the_grid_is_every_combination_in_order():
    tasks = [TASK, VariableBinding.repeat_copy(2, 3)]
    grid = grids.grid(tasks, hidden=[4, 8], l2=[0, 0.1], threshold=[0.9], seeds=[3, 1], steps=10)
    got = [(m.task, m.hidden, m.l2, m.threshold, m.seed) for m in grid]
    assert got == list(itertools.product(tasks, [4, 8], [0.0, 0.1], [0.9], [3, 1]))
    assert len({m.key for m in grid}) == len(grid)


def test_table1_is_the_papers_grid(monkeypatch):
    def all_missing(grid, out, **options):
        assert options == {"device": "cuda"}
        return Swept([], grid, {}, False)

    monkeypatch.setattr(grids, "sweep", all_missing)
    grid = table1("out", device="cuda").missing
    assert len(grid) == 4 * 2 * 2 * 2 * 20
    assert {m.triple for m in grid} == set(PAPER_TRIPLES) and {(m.history, m.dim) for m in grid} == {(8, 8)}
    assert {(m.hidden, m.l2, m.threshold) for m in grid} == set(itertools.product((64, 128), (0, 0.001), (0.9, 0.98)))
    assert {m.seed for m in grid} == set(range(20)) and {m.steps for m in grid} == {20_000}


def test_a_changed_grid_keeps_rows_and_trains_the_rest_alone(tmp_path, thread, trained):
    first = go(models(seeds=2, steps=60), tmp_path, thread).rows
    assert len(trained) == 4
    trained.clear()
    grid = models(seeds=3, steps=60, l2=(0.01, 0.02))
    second = go(grid, tmp_path, thread).rows
    # those of the new grid in its order, then the others; nothing twice
    assert sorted(trained) == [([0], [0.02]), ([1], [0.02]), ([2], [0.01]), ([2], [0.02])]
    assert [Model.of_row(row) for row in second[:6]] == grid
    assert second[0:2] == first[2:4] and second[6:] == first[:2]
    assert table(tmp_path) == [{k: v for k, v in row.items() if k not in MAY_DIFFER} for row in _as_text(second)]
    trained.clear()
    go(models(seeds=2, steps=60), tmp_path, thread)
    assert trained == []


def _as_text(rows: list[dict]) -> list[dict]:
    def text(value):
        return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)

    return [{name: text(value) for name, value in row.items()} for row in rows]


def test_changed_groups_train_nothing_again_and_change_no_bit(tmp_path, thread, trained):
    grid = models(seeds=3, steps=60)
    alone = tmp_path / "alone"
    go(grid, alone, thread)
    grouped = tmp_path / "grouped"
    go(grid[:2], grouped, thread, group=2)
    trained.clear()
    go(grid, grouped, thread, group=4)
    assert sorted(trained) == [([1, 2], [0.01, 0.01]), ([2, 0], [0.0, 0.01])]
    trained.clear()
    go(grid, grouped, thread)
    assert trained == []
    assert table(alone) == table(grouped)


def test_low_seeds_are_trained_first(tmp_path, thread, trained):
    go(models(seeds=3, steps=10), tmp_path, thread)
    assert [seeds for seeds, _ in trained] == [[0], [0], [1], [1], [2], [2]]


def test_other_rows_in_the_folder_are_refused(tmp_path, thread):
    (tmp_path / "rows").mkdir()
    path = tmp_path / "rows" / "other.json"
    path.write_text('{"key": "other", "rows": [{"probe": 1}]}', encoding="utf8")
    with pytest.raises(ValueError, match=r"out must hold rows of networks, .*other\.json does not"):
        go(models(), tmp_path, thread)
    assert path.exists() and not (tmp_path / "table.csv").exists()


# --- what can go wrong: files -----------------------------------------------------------------------------------------


def unfinished(out: Path, thread) -> Path:
    """A sweep in ``out`` that has finished two networks, and a third but for its row; the third's checkpoint."""
    go(models()[:3], out, thread)
    key = models()[2].key
    (out / "rows" / f"{key}.json").unlink()
    return out / "work" / f"{key}.checkpoint"


@pytest.mark.parametrize("content", ["empty", "half", "zeros", "random"])
def test_a_damaged_checkpoint_is_set_aside_and_its_network_starts_again(
    tmp_path, thread, uninterrupted, caplog, content
):
    path = unfinished(tmp_path, thread)
    whole = path.read_bytes()
    damaged = {
        "empty": b"",
        "half": whole[: len(whole) // 2],
        "zeros": bytes(len(whole)),
        "random": random.Random(1).randbytes(len(whole)),
    }[content]
    path.write_bytes(damaged)
    assert not go(models(), tmp_path, thread).failed
    assert table(tmp_path) == uninterrupted
    assert Path(f"{path}.damaged").read_bytes() == damaged
    assert str(path) in caplog.text


def test_a_checkpoint_of_other_settings_is_an_error(tmp_path, thread):
    grid = models(seeds=1, steps=60)
    go(grid, tmp_path, thread)
    for path in tmp_path.glob("rows/*.json"):
        path.unlink()
    one, other = sorted(tmp_path.glob("work/*.checkpoint"))
    other.write_bytes(one.read_bytes())
    swept = go(grid, tmp_path, thread)
    assert len(swept.rows) == 1 and len(swept.missing) == 1
    assert "is of another run" in swept.failed[other.stem] and str(other) in swept.failed[other.stem]
    assert other.read_bytes() == one.read_bytes()


def test_a_checkpoint_that_may_not_be_read_is_an_error_with_its_path(tmp_path, thread, uninterrupted):
    key = models()[0].key
    blocked = tmp_path / "work" / f"{key}.checkpoint"
    blocked.mkdir(parents=True)
    swept = go(models(), tmp_path, thread)
    assert list(swept.failed) == [key] and str(blocked) in swept.failed[key]
    assert table(tmp_path) == uninterrupted[1:]


def test_whichever_write_fails_nothing_is_damaged(tmp_path, thread, monkeypatch):
    """The disk fills up at the k-th write, for every k, and has room again afterwards."""
    grid = models(seeds=1, steps=40)
    go(grid, tmp_path / "whole", thread, checkpoint_every=20)
    fsync, failures = os.fsync, 0
    for k in itertools.count():
        left = itertools.count(-k)

        def full(descriptor, left=left):
            if next(left) >= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            fsync(descriptor)

        out = tmp_path / str(k)
        monkeypatch.setattr(os, "fsync", full)
        try:
            swept = go(grid, out, thread, checkpoint_every=20)
            assert all("No space left on device: '" in message for message in swept.failed.values())
            failed = bool(swept.failed)
        except OSError as error:  # the table itself
            assert error.errno == errno.ENOSPC and error.filename == str(out / "table.csv")
            failed = True
        monkeypatch.setattr(os, "fsync", fsync)
        assert not list(out.glob("**/.*.part"))
        go(grid, out, thread, checkpoint_every=20)
        assert not list(out.glob("**/*.damaged")) and table(out) == table(tmp_path / "whole")
        failures += failed
        if not failed:
            break
    assert failures >= 2 * (2 + 1)  # two checkpoints and a row for each network


def test_a_file_that_is_cut_off_while_it_is_written_leaves_the_old_one(tmp_path, thread, uninterrupted, capsys):
    """A limit on the size of files, as a full disk: the beginning of a checkpoint is written, and not its end."""
    unfinished(tmp_path, thread)
    before = {path: path.read_bytes() for path in tmp_path.glob("*/*.*") if path.suffix in (".checkpoint", ".json")}
    size = min(len(content) for path, content in before.items() if path.suffix == ".checkpoint")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, hard))
    try:
        status = command_line.run_command(lambda out: go(models(), out, thread, checkpoint_every=10), {"out": tmp_path})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert status == 1
    message = capsys.readouterr().err
    assert "File too large" in message and str(tmp_path / "work") in message
    assert all(path.read_bytes() == content for path, content in before.items())
    assert not go(models(), tmp_path, thread).failed
    assert table(tmp_path) == uninterrupted


def test_an_unwritable_folder_is_an_error_with_its_path(tmp_path, thread, capsys):
    (tmp_path / "file").write_text("not a folder", encoding="utf8")
    assert command_line.run_command(lambda out: go(models(), out, thread), {"out": tmp_path / "file"}) == 1
    assert str(tmp_path / "file") in capsys.readouterr().err


# --- what can go wrong: processes -------------------------------------------------------------------------------------


class Process:
    """A sweep of ``models()`` as a process of its own, in a session of its own."""

    started: ClassVar[list[int]] = []

    def __init__(self, out: Path, workers: int, checkpoint_every: int = 10):
        self.out, self.begun = out, newest(out)
        options = ["--workers", str(workers), "--checkpoint-every", str(checkpoint_every)]
        script = [sys.executable, small_sweep.__file__, "--out", str(out), *options]
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.popen = subprocess.Popen(script, start_new_session=True, **pipes)
        self.started.append(self.popen.pid)

    def workers(self) -> list[psutil.Process]:
        def is_worker(child: psutil.Process) -> bool:
            try:
                return "spawn_main" in " ".join(child.cmdline())
            except psutil.Error:  # it has just ended
                return False

        return [child for child in psutil.Process(self.popen.pid).children() if is_worker(child)]

    def wait_for(self, what) -> None:
        """Until ``what()`` is true; the process must not have ended before."""
        deadline = time.monotonic() + 300
        while not what():
            assert self.popen.poll() is None, f"ended early: {self.popen.communicate()}"
            assert time.monotonic() < deadline, "nothing happened"
            time.sleep(0.01)

    def wait_for_progress(self) -> None:
        """Until a checkpoint is written that was not there at the last call, or the last kill."""
        self.wait_for(lambda: newest(self.out) > self.begun)
        self.begun = newest(self.out)

    def wait_for_work(self, workers: int) -> None:
        """Until so many workers have begun a job, and a little longer."""
        self.wait_for(lambda: len(list(self.out.glob("at-work-*"))) >= workers)
        time.sleep(0.2)

    def end(self) -> tuple[int, str, str]:
        out, err = self.popen.communicate(timeout=300)
        return self.popen.returncode, out, err

    def kill(self) -> list[psutil.Process]:
        """SIGKILL to the parent alone; returns its orphans."""
        orphans = self.workers()
        self.popen.kill()
        self.popen.communicate()
        return orphans


def newest(out: Path) -> int:
    """When the last checkpoint was written."""
    times = [0]
    for path in out.glob("work/*.checkpoint"):
        times.append(path.stat().st_mtime_ns)
    return max(times)


@pytest.fixture(autouse=True)
def nothing_left_running():
    """Whatever a test that failed has left, its workers included."""
    yield
    while Process.started:
        with suppress(ProcessLookupError):
            os.killpg(Process.started.pop(), signal.SIGKILL)


@pytest.mark.slow
def test_twenty_kills_of_workers_and_parents_change_no_bit(tmp_path, thread, uninterrupted):
    rng = random.Random(20231004)
    workers_killed = parents_killed = 0
    orphans: list[psutil.Process] = []

    def kill_a_worker(process: Process, early: bool) -> int:
        if not early:  # else it may be starting, or reading its checkpoint
            process.wait_for_progress()
        time.sleep(rng.uniform(0, 0.1))
        process.wait_for(process.workers)
        victims = process.workers()
        rng.choice(victims).kill()
        process.wait_for(lambda: not set(victims) & set(process.workers()))
        process.begun = newest(tmp_path)
        return 1

    for start in range(7):
        process = Process(tmp_path, 1)
        workers_killed += kill_a_worker(process, early=start % 4 == 1)
        if start % 4 == 2:  # a parent that is waiting for a new worker
            time.sleep(rng.uniform(0, 1))
        else:
            process.wait_for_progress()
            time.sleep(rng.uniform(0, 0.1))
        assert process.popen.poll() is None
        orphans += process.kill()
        parents_killed += 1
    process = Process(tmp_path, 1)
    for _ in range(6):
        workers_killed += kill_a_worker(process, early=False)
    status, out, err = process.end()

    assert workers_killed + parents_killed >= 20 and parents_killed >= 7
    assert status == 0, err
    assert table(tmp_path) == uninterrupted
    assert "6 rows" in out and "0 missing" in out
    assert not list(tmp_path.glob("**/.*.part")) and not list(tmp_path.glob("**/*.damaged"))
    assert not [orphan for orphan in orphans if orphan.is_running()]


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["parent", "group", "terminate"])
def test_ctrl_c_loses_nothing_and_a_second_sweep_is_refused(tmp_path, thread, uninterrupted, capsys, whom):
    process = Process(tmp_path, 2, checkpoint_every=10_000)
    process.wait_for_work(2)
    workers = process.workers()
    assert len(workers) == 2
    assert command_line.run_command(lambda out: go(models(), out, thread), {"out": tmp_path}) == 1
    assert f"another run is at work in {tmp_path}" in capsys.readouterr().err
    if whom == "parent":
        process.popen.send_signal(signal.SIGINT)
    else:  # a terminal sends Ctrl-C to all of them, and a cluster that ends a job SIGTERM
        os.killpg(process.popen.pid, signal.SIGINT if whom == "group" else signal.SIGTERM)
    status, _, err = process.end()
    assert status == 130 and "the same command goes on from here" in err and "Traceback" not in err
    assert not [worker for worker in workers if worker.is_running()]
    steps = [steps_done(path) for path in tmp_path.glob("work/*.checkpoint")]
    assert any(0 < n < 200 for n in steps)  # without Ctrl-C, there are only those of finished networks
    assert not go(models(), tmp_path, thread).failed
    assert table(tmp_path) == uninterrupted


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once(tmp_path, thread):
    """While a worker does not hear the first one."""
    process = Process(tmp_path, 1)
    process.wait_for_work(1)
    (worker,) = process.workers()
    worker.suspend()
    process.popen.send_signal(signal.SIGINT)
    process.wait_for((tmp_path / "stop").exists)
    time.sleep(0.5)
    assert process.popen.poll() is None  # it waits for the worker
    began = time.monotonic()
    process.popen.send_signal(signal.SIGINT)
    assert process.popen.wait(timeout=20) == 130 and time.monotonic() - began < 10
    worker.resume()
    worker.wait(timeout=20)  # sees that its parent is gone
    assert not go(models(seeds=1), tmp_path, thread).failed


@pytest.mark.slow
def test_a_worker_of_a_dask_cluster_is_lost(tmp_path, thread):
    distributed = pytest.importorskip("distributed")
    grid = models(seeds=1, steps=1500)
    go(grid, tmp_path / "here", thread)
    out = tmp_path / "dask"
    settings = dict(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None)
    with distributed.LocalCluster(**settings) as cluster, ThreadPoolExecutor(1) as aside:
        with distributed.Client(cluster) as client:  # begin at the same time
            client.run(__import__, "emt_core.experiments")
        busy = dict(checkpoint_every=50, progress=False, scheduler=cluster.scheduler_address)
        running = aside.submit(sweep, grid, out, **busy)
        while len(list(out.glob("work/*.checkpoint"))) < 2:  # both workers are at work
            assert not running.done(), running.result()
            time.sleep(0.01)
        assert not list(out.glob("rows/*"))
        os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
        swept = running.result(timeout=300)
    assert not swept.failed and not swept.interrupted
    assert table(out) == table(tmp_path / "here")


@pytest.mark.parametrize("device", ["cpu:0", torch.device("cpu")], ids=str)
def test_the_cpu_has_several_names(tmp_path, thread, uninterrupted, device):
    go(models()[:1], tmp_path, thread, device=device)
    assert table(tmp_path) == uninterrupted[:1]


@pytest.mark.parametrize("threads", [1, 3])
def test_a_workers_threads_are_put_back(tmp_path, threads):
    """A Dask worker lives on after its jobs, and whoever comes next finds its threads as they were."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with ThreadPoolExecutor(1) as worker:
            worker.submit(torch.set_num_threads, threads).result()
            assert not go(models()[:2], tmp_path, worker).failed
            assert worker.submit(torch.get_num_threads).result() == threads == torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def test_another_cell_has_no_spectrum(tmp_path, thread):
    grid = models(seeds=1, steps=10, cell="gru")
    swept = go(grid, tmp_path, thread, weights=True)
    assert not swept.failed and len(swept.rows) == 2
    for model, row in zip(grid, swept.rows, strict=True):
        settings = dict(hidden=8, seeds=[0], steps=10, l2=model.l2, threshold=0.61, cell="gru")
        run = train.fit(TASK, progress=False, **settings, **RECIPE)
        assert row["cell"] == "gru" and row["accuracy"] == float(run.accuracy) and row["status"] == "done"
        names = ("eigenvalues_learned", "eigenvalues_theory", "matched", "error_optimal", "error_greedy")
        assert [row[name] for name in names] == [None] * 5
        assert load(tmp_path / weights_file(row["key"]))[0] == run.model
    assert [row["matched"] for row in table(tmp_path)] == ["", ""]
    with pytest.raises(ValueError, match="cell must be 'elman' for a start or a look, got 'gru'"):
        replace(grid[0], look=5)


def test_more_steps_go_on_from_the_shorter_sweep(tmp_path, thread, monkeypatch):
    grid = models(seeds=1, steps=120, l2=(0.0,))
    go(grid, tmp_path / "whole", thread)
    go([replace(grid[0], steps=80)], tmp_path / "longer", thread)
    sampled, sample = [], VariableBinding.sample

    def counted(self, *arguments):
        sampled.append(1)
        return sample(self, *arguments)

    monkeypatch.setattr(VariableBinding, "sample", counted)
    rows = go(grid, tmp_path / "longer", thread).rows
    assert len(sampled) == 40 + 1  # and the test
    assert [row["steps"] for row in rows] == [120, 80]
    assert table(tmp_path / "longer")[:1] == table(tmp_path / "whole")


def test_looks_say_when_the_circuit_was_found(tmp_path, thread):
    bits = VariableBinding.repeat_copy(2, 1)
    (model,) = grids.grid([bits], hidden=[8], l2=[0], threshold=[0.9], seeds=[5], steps=200, lr=0.01, look=20)
    (row,) = go([model], tmp_path, thread, weights=True).rows
    looks = range(0, 201, 20)
    settings = dict(hidden=8, seeds=[5], steps=200, lr=0.01, threshold=0.9, snapshots=looks, progress=False)
    run, phi = train.fit(bits, **settings), circuit.effective_interaction(bits)
    good = [bool(spectrum.spectral_error(run.snapshots[s].W_hh[0], phi).matched) for s in looks]
    assert row["first_step"] == looks[good.index(True)]
    assert row["found"] == looks[len(good) - ([*good[::-1], False].index(False))] and row["matched"]
    film = load_file(tmp_path / grids.film_file(row["key"]))
    assert film["steps"].tolist() == list(looks) and film["loss"].shape == (11,)
    last = spectrum.eigenvalues(run.model.W_hh[0]).to(torch.complex64)
    assert torch.equal(torch.complex(film["real"], film["imag"])[-1], last)
    assert film["loss"][5] == run.history.loss[2, 0]  # both at step 100
    (tmp_path / grids.film_file(row["key"])).unlink()
    go([model], tmp_path, thread, weights=True)
    assert (tmp_path / grids.film_file(row["key"])).exists()


# --- a folder of an older version -------------------------------------------------------------------------------------


def test_rows_of_an_older_version_count(tmp_path, thread, trained):
    """Their keys are other ones, and columns are missing."""
    out = tmp_path / "networks"
    shutil.copytree(OLDER / "networks", out)
    grid = models(seeds=2, steps=60)
    old = {json.loads(path.read_text(encoding="utf8"))["key"] for path in out.glob("rows/*")}
    assert len(old) == 2 and not old & {model.key for model in grid}
    rows = go(grid, out, thread).rows
    assert sorted(trained) == [([1], [0.0]), ([1], [0.01])]  # and nothing of seed 0
    assert [Model.of_row(row) for row in rows] == grid and {rows[0]["key"], rows[2]["key"]} == old
    go(grid[::2], tmp_path / "new", thread)
    mine = [{k: v for k, v in row.items() if k in rows[0]} for row in table(tmp_path / "new")]
    assert [{k: v for k, v in row.items() if k not in ("key", "commit", *VERSIONS)} for row in mine] == [
        {k: v for k, v in row.items() if k in rows[0] and k not in ("key", "commit", "seconds", *VERSIONS)}
        for row in _as_text(rows[::2])
    ]
    go(grid[:1], out, thread, weights=True)  # which it had not saved
    assert (out / weights_file(grid[0].key)).exists()


# --- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden", 0), ("steps", 0), ("seed", -1), ("l2", -1.0), ("threshold", math.nan), ("lr", 0.0),
        ("clip", math.nan), ("clip", 0.0), ("horizons", (3, 0)), ("batch", 0), ("history", 0), ("choice", 1),
        ("seed", 2**31), ("lr", math.inf), ("look", -1), ("cell", "elmann"), ("noise", -0.1), ("noise", math.nan),
    ],
)  # fmt: skip
def test_a_model_out_of_range_is_refused_by_name(name, value):
    good = dict(choice=3, permutation=0, signs=0, history=3, dim=2, hidden=8, l2=0, threshold=0.9, seed=0, steps=10)
    Model(**good)
    with pytest.raises(ValueError, match=f"{name}.* must "):
        Model(**(good | {name: value}))


def test_without_dask_a_scheduler_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match="pip install distributed"):
        sweep(models(), tmp_path, scheduler="tcp://127.0.0.1:1")


def test_wrong_options_are_named(tmp_path, thread):
    for options, message in [
        (dict(group=0), "group must be at least 1, got 0"),
        (dict(checkpoint_every=0), "checkpoint_every must be at least 1, got 0"),
        (dict(device="tpu"), "device must be 'cpu' or a CUDA device, got 'tpu'"),
    ]:
        with pytest.raises(ValueError, match=message):
            go(models(), tmp_path, thread, **options)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="finds no CUDA device"):
            sweep(models(), tmp_path, device="cuda")
        with pytest.raises(ValueError, match="finds no CUDA device"):
            sweep(models(), tmp_path, device=torch.device("cuda:0"))
    with pytest.raises(ValueError, match="exclude each other"):
        go(models(), tmp_path, thread, scheduler="tcp://127.0.0.1:1")
    with pytest.raises(ValueError, match="tasks must be places"):
        table1(tmp_path, tasks=[4])
    assert not (tmp_path / "table.csv").exists()


@pytest.mark.parametrize("arguments, said", [("", "EXPERIMENT"), ("table2 --out x", "table2"), ("table1", "--out")])
def test_the_command_says_what_is_missing(arguments, said, capsys):
    with pytest.raises(SystemExit) as status:
        command_line.main(arguments.split())
    assert status.value.code == 2 and said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("--hidden=64,x", "comma-separated integers of at least 1"),
        ("--hidden=0", "comma-separated integers of at least 1"),
        ("--l2=-1", "comma-separated numbers of at least 0"),
        ("--l2=nan", "comma-separated numbers of at least 0"),
        ("--threshold=", "comma-separated numbers of at least 0"),
        ("--tasks=4", "comma-separated integers in 0 … 3"),
        ("--seeds=0", "a number of seeds, first:end, or seeds with commas"),
        ("--seeds=5:3", "a number of seeds, first:end, or seeds with commas"),
        ("--seeds=3,-5", "a number of seeds, first:end, or seeds with commas"),
        (f"--seeds={2**31}:{2**31 + 1}", "a number of seeds, first:end, or seeds with commas"),
        ("--steps=1e4", "an integer of at least 1"),
        ("--workers=0", "an integer of at least 1"),
        ("--group=0", "an integer of at least 1"),
        ("--checkpoint-every=0", "an integer of at least 1"),
    ],
)
def test_the_command_names_what_is_wrong(option, expected, capsys):
    name, _, got = option.partition("=")
    with pytest.raises(SystemExit) as status:
        command_line.main(["table1", "--out", "x", option])
    assert status.value.code == 2
    assert f"argument {name}: expected {expected}, got {got!r}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "seeds"), [("3", [0, 1, 2]), ("2:5", [2, 3, 4]), ("3,5,7", [3, 5, 7]), ("4,", [4])], ids=str
)
def test_the_command_line_is_the_functions_arguments(text, seeds, monkeypatch, capsys):
    asked = {}

    def nothing(grid, out, **options):
        asked.update(grid=grid, out=out, **options)
        return Swept([], grid, {}, False)

    monkeypatch.setattr(grids, "sweep", nothing)
    command = f"table1 --out x --seeds {text} --hidden 4,8 --l2 0.1 --threshold 0.5 --tasks 1,3 --steps 7 --group 2"
    assert command_line.main([*command.split(), "--weights", "--checkpoint-every", "9", "--workers", "3"]) == 0
    grid = asked.pop("grid")
    assert [m.seed for m in grid[: len(seeds)]] == seeds and {m.steps for m in grid} == {7}
    assert {(m.triple, m.hidden, m.l2, m.threshold) for m in grid} == {
        (PAPER_TRIPLES[i], n, 0.1, 0.5) for i in (1, 3) for n in (4, 8)
    }
    assert asked == dict(
        out=Path("x"), device="cpu", workers=3, group=2, scheduler=None, checkpoint_every=9, weights=True
    )
    assert capsys.readouterr().out == f"0 rows in x/table.csv, {len(grid)} missing, 0 jobs failed\n"


def test_help_says_the_defaults(capsys):
    with pytest.raises(SystemExit) as status:
        command_line.main(["table1", "--help"])
    text = capsys.readouterr().out
    assert status.value.code == 0
    assert all(f"default: {value}" in text for value in ("20)", "64,128", "0,0.001", "0.9,0.98", "20000", "500", "cpu"))


def test_a_scheduler_that_does_not_answer_is_an_error(tmp_path, monkeypatch, capsys):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(distributed, "Client", lambda address: distributed.client.Client(address, timeout=1))
    out = str(tmp_path)
    status = command_line.main(
        ["table1", "--seeds", "1", "--tasks", "0", "--scheduler", "tcp://127.0.0.1:1", "--out", out]
    )
    assert status == 1 and "127.0.0.1:1" in capsys.readouterr().err
