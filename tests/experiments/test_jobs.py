"""Resumable jobs: nothing is done twice, nothing is lost, and what goes wrong is said."""

import errno
import json
import logging
import os
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import job_toys as toys
import pytest

from emt_core.experiments import jobs
from emt_core.experiments.jobs import Job
from emt_core.support.files import write_text


def job(value: int, function=toys.once, **more) -> Job:
    return Job(f"job-{value}", function, (value,), **more)


@pytest.fixture
def threads():
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture
def aside():
    """Another thread than the test's and the jobs'."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def run(work, out, **options) -> jobs.Outcome:
    with jobs.exclusive(out):
        return jobs.run(work, out, **options)


def go(work, out, executor, **more) -> jobs.Outcome:
    return run(work, out, executor=executor, progress=False, **more)


# --- results ----------------------------------------------------------------------------------------------------------


def test_every_job_is_done_once_and_its_rows_are_kept(tmp_path, threads):
    seen = {}
    first = go([job(1), job(2)], tmp_path, threads, finished=seen.__setitem__)
    assert first.rows == seen == {f"job-{v}": [{"value": v, "double": 2 * v}] for v in (1, 2)}
    second = go([job(3), job(1), job(2)], tmp_path, threads)
    assert second.rows == first.rows | {"job-3": [{"value": 3, "double": 6}]}
    assert not second.failed and not second.interrupted
    assert toys.calls(tmp_path) == [1, 2, 3]
    assert json.loads((tmp_path / "rows" / "job-2.json").read_bytes())["rows"] == first.rows["job-2"]
    assert jobs.results(tmp_path) == second.rows


def test_a_job_whose_other_files_are_gone_is_done_again(tmp_path, threads):
    def writes(place, value):
        (place.folder / "extra").write_text("x", encoding="utf8")
        return toys.once(place, value)

    for _ in range(2):
        assert go([job(1, writes, files=("extra",))], tmp_path, threads).rows
    assert toys.calls(tmp_path) == [1]
    (tmp_path / "extra").unlink()
    assert go([job(1, writes, files=("extra",))], tmp_path, threads).rows
    assert toys.calls(tmp_path) == [1, 1]


def test_a_job_that_raises_is_reported_and_the_others_go_on(tmp_path, threads, caplog):
    work = [job(1), Job("bad", toys.fail), Job("empty", toys.nothing), job(2)]
    outcome = go(work, tmp_path, threads)
    assert set(outcome.rows) == {"job-1", "job-2"} and not outcome.interrupted
    assert outcome.failed["bad"] == "Stubborn: one and two"
    assert "returned None" in outcome.failed["empty"]
    assert "job_toys.py" in caplog.text  # where it was raised
    assert go([job(1), Job("bad", toys.once, (7,))], tmp_path, threads).rows["bad"]  # is tried again


def test_a_job_goes_on_from_its_checkpoint(tmp_path, threads):
    work = [Job("long", toys.count, (80,), size=80, progress=toys.done), job(1)]
    threading.Timer(0.5, (tmp_path / "stop").touch).start()
    first = go(work, tmp_path, threads)
    assert first.interrupted and set(first.rows) == {"job-1"} and not first.failed
    there = toys.done(tmp_path / "work" / "long.checkpoint")
    assert 0 < there < 80
    assert go(work, tmp_path, threads).rows["long"] == [{"counted": 80, "began": there}]


def test_a_longer_job_goes_on_where_shorter_ones_ended(tmp_path, threads):
    def counts(goal: int, **more) -> list[int]:
        work = Job(f"count-{goal}", toys.count, (goal,), size=goal, progress=toys.done, **more)
        (row,) = go([work], tmp_path, threads).rows[work.key]
        return [row["counted"], row["began"]]

    for goal in (3, 20):
        assert counts(goal)[0] == goal
    (tmp_path / "work" / "count-x-29.checkpoint").write_text("29", encoding="utf8")  # of another job
    assert counts(30, longer=True) == [30, 20]
    assert counts(40) == [40, 0]  # not asked for
    assert counts(10, longer=True) == [10, 3]  # more than ten are no beginning
    assert toys.done(tmp_path / "work" / "count-20.checkpoint") == 20


@pytest.mark.parametrize(
    "content", [b"", b'{"rows": [{"va', b"[1, 2]", b'{"rows": [1]}', b'{"key": 1}', b"\xff\x00" * 99]
)
def test_a_damaged_result_is_set_aside_and_its_job_done_again(tmp_path, threads, caplog, content):
    rows = go([job(1), job(2)], tmp_path, threads).rows
    path = tmp_path / "rows" / "job-1.json"
    path.write_bytes(content)
    assert go([job(1), job(2)], tmp_path, threads).rows == rows
    assert toys.calls(tmp_path) == [1, 1, 2]
    assert path.with_name("job-1.json.damaged").read_bytes() == content
    assert str(path) in caplog.text and "damaged" in caplog.text


def test_a_result_that_may_not_be_read_is_an_error_with_its_path(tmp_path, threads):
    path = tmp_path / "rows" / "job-1.json"
    path.mkdir(parents=True)  # to root, every file is readable; a folder is not
    with pytest.raises(OSError, match=str(path)):
        go([job(1)], tmp_path, threads)
    assert toys.calls(tmp_path) == [] and path.is_dir()


# --- one run, one worker ----------------------------------------------------------------------------------------------


def test_a_folder_that_is_in_use_is_refused(tmp_path, threads, aside):
    with jobs.exclusive(tmp_path):
        refused = aside.submit(go, [job(1)], tmp_path, threads).exception()  # another thread, or another process
        assert isinstance(refused, jobs.FolderInUse) and str(tmp_path) in str(refused)
    assert go([job(1)], tmp_path, threads).rows
    assert toys.calls(tmp_path) == [1]


def test_leftovers_of_killed_processes_are_removed(tmp_path, threads):
    outside = tmp_path / ".x.99.part"
    out = tmp_path / "out"
    left = [out / ".table.csv.99.part", *(out / d / ".job-1.5.json.99.part" for d in ("rows", "work", "weights"))]
    kept = [outside, out / "rows" / "table.part"]
    for path in left + kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half", encoding="utf8")
    (out / "stop").touch()
    assert go([job(1)], out, threads).rows
    assert not any(path.exists() for path in left) and all(path.exists() for path in kept)


# --- full disks -------------------------------------------------------------------------------------------------------


def test_a_full_disk_is_reported_with_the_path_and_damages_nothing(tmp_path, threads, monkeypatch):
    rows = go([job(1)], tmp_path, threads).rows
    fsync = os.fsync

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    outcome = go([job(1), job(2)], tmp_path, threads)
    assert outcome.rows == rows
    assert (
        "No space left" in outcome.failed["job-2"] and str(tmp_path / "rows" / "job-2.json") in outcome.failed["job-2"]
    )
    assert sorted(p.name for p in (tmp_path / "rows").iterdir()) == ["job-1.json"]
    monkeypatch.setattr(os, "fsync", fsync)
    assert set(go([job(1), job(2)], tmp_path, threads).rows) == {"job-1", "job-2"}


@pytest.mark.parametrize("at", ["write", "fsync", "rename"])
def test_a_failed_write_leaves_the_old_text(tmp_path, monkeypatch, at):
    path = tmp_path / "text"
    write_text("old", path)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    where = {"write": (Path, "write_bytes"), "fsync": (os, "fsync"), "rename": (Path, "replace")}[at]
    monkeypatch.setattr(*where, full)
    with pytest.raises(OSError, match=f"No space left on device: '{path}'"):
        write_text("new", path)
    assert path.read_text(encoding="utf8") == "old" and list(tmp_path.iterdir()) == [path]


# --- lost workers -----------------------------------------------------------------------------------------------------


class Fragile(Executor):
    """A pool of one worker that dies as told: ``deaths[key]`` says, for each try of a job, how far its checkpoint
    gets; after the last it works. As in a pool of processes, one death breaks the pool for all jobs."""

    deaths: dict[str, list[int]]
    started = 0

    def __init__(self, *_, **__):
        type(self).started += 1
        self.waiting: list[tuple[Future, tuple]] = []
        self.one_worker, self.broken = threading.Lock(), False

    def submit(self, function, job, out):
        if self.broken:
            raise BrokenProcessPool("a worker died")
        self.waiting.append((Future(), (job, out)))
        threading.Timer(0.02, self.step).start()
        return self.waiting[-1][0]

    def step(self):
        with self.one_worker:
            if self.broken:
                return
            future, (job, out) = self.waiting.pop(0)
            if not self.deaths.get(job.key):
                future.set_result(jobs.work(job, out))
                return
            self.broken = True
            write_text(str(self.deaths[job.key].pop(0)), out / "work" / f"{job.key}.checkpoint")
            for other, _ in [(future, None), *self.waiting]:
                other.set_exception(BrokenProcessPool("a worker died"))

    def shutdown(self, *_, **__):
        pass


@pytest.fixture
def fragile(monkeypatch):
    pool = type("Pool", (Fragile,), {"deaths": {}})
    monkeypatch.setattr(jobs, "ProcessPoolExecutor", pool)
    return pool


@pytest.mark.parametrize(
    ("deaths", "survives"),
    [([1, 2, 3, 4, 5], True), ([0, 0], True), ([0, 0, 1, 1, 2, 2], True), ([0, 0, 0], False), ([3, 3, 3], False)],
    ids=str,
)
def test_jobs_are_given_up_after_three_deaths_without_progress(tmp_path, fragile, deaths, survives):
    fragile.deaths = {"killer": list(deaths)}
    work = [job(1), Job("killer", toys.count, (5,), size=5, progress=toys.done), job(2)]
    outcome = run(work, tmp_path, progress=False)
    assert set(outcome.rows) == {"job-1"} | ({"killer", "job-2"} if survives else set())
    assert set(outcome.failed) == (set() if survives else {"killer", "job-2"})
    assert fragile.started == len(deaths) + survives
    assert all("workers died 3 times without any job getting on" in said for said in outcome.failed.values())
    assert toys.calls(tmp_path) == ([1, 2] if survives else [1])
    fragile.deaths = {}
    assert set(run(work, tmp_path, progress=False).rows) == {"job-1", "killer", "job-2"}  # running it again goes on


@pytest.mark.slow
def test_workers_that_die_before_they_start_a_job_do_not_go_on_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "LOSSES", 2)
    outcome = run([Job("poison", toys.once, (toys.Poison(),))], tmp_path, workers=1, progress=False)
    assert "workers died 2 times" in outcome.failed["poison"]


def test_an_executor_that_breaks_and_is_not_ours_is_reported(tmp_path, fragile):
    fragile.deaths = {"killer": [0]}
    outcome = go([job(1), Job("killer", toys.count, (5,)), job(2)], tmp_path, fragile())
    assert set(outcome.rows) == {"job-1"} and set(outcome.failed) == {"killer", "job-2"}
    assert "executor" in outcome.failed["killer"]
    assert set(go([job(2), Job("killer", toys.count, (5,))], tmp_path, fragile()).rows) == {"job-2", "killer"}


# --- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", "a/b", "..", ".hidden", "a b", "x" * 201, "é"])
def test_a_key_must_name_a_file(key):
    with pytest.raises(ValueError, match="key must be"):
        Job(key, toys.once, (1,))


def test_wrong_arguments_are_named(tmp_path, threads):
    with pytest.raises(ValueError, match="different keys"):
        go([job(1), job(1)], tmp_path, threads)
    with pytest.raises(ValueError, match="exclude each other"):
        run([job(1)], tmp_path, executor=threads, workers=2)
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        run([job(1)], tmp_path, workers=0)
    assert toys.calls(tmp_path) == []


def test_the_bar_counts_units_of_all_jobs(tmp_path, threads, monkeypatch):
    bars = []

    class Bar(jobs.tqdm):
        def __init__(self, **settings):
            bars.append(self)
            super().__init__(**settings, file=Path(os.devnull).open("w", encoding="utf8"))  # noqa: SIM115
            self.seen = [self.n]

        def update(self, n=1):
            super().update(n)
            self.seen.append(self.n)

    monkeypatch.setattr(jobs, "tqdm", Bar)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    go([job(1)], tmp_path, threads)
    write_text("50", tmp_path / "work" / "long.checkpoint")
    work = [job(1), Job("long", toys.count, (200,), size=200, progress=toys.done)]
    assert run(work, tmp_path, executor=threads).rows
    bar = bars[-1]
    assert bar.total == 201 and bar.seen[0] == 51 and bar.seen[-1] == 201
    assert bar.seen == sorted(bar.seen) and any(51 < n < 201 for n in bar.seen)  # while the job runs


def test_damage_is_logged_by_the_library_not_printed(tmp_path, threads, capsys, caplog):
    go([job(1)], tmp_path, threads)
    (tmp_path / "rows" / "job-1.json").write_bytes(b"")
    with caplog.at_level(logging.WARNING, "emt_core.experiments.jobs"):
        go([job(1)], tmp_path, threads)
    assert [r.name for r in caplog.records] == ["emt_core.experiments.jobs"] and capsys.readouterr().out == ""
