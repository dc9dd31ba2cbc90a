"""What surrounds a computation: how many threads a product takes, Ctrl-C, and the bar."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tqdm.auto import tqdm

from emt_core.support.running import ctrl_c_sets, one_thread_per_product, quiet, throttled

THREADS = 3  # as many as no computation here asks for


@pytest.fixture(autouse=True)
def three_threads(monkeypatch):
    """The setting that must come back, of this thread and of new ones; more cores than that."""
    before = torch.get_num_threads()
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


def in_a_thread(function):
    """What a function returns in a thread of its own, new."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result(timeout=60)


def settings() -> tuple[int, int]:
    """How many threads products take in this thread, and in one that is new."""
    return torch.get_num_threads(), in_a_thread(torch.get_num_threads)


class Computation(threading.Thread):
    """One that says when it has begun and ends when it is told to; it notes the threads of its products meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.yielded, self.inside, self.after = None, [], None

    def run(self) -> None:
        with one_thread_per_product() as self.yielded:
            self.inside.append(settings())
            self.begun.set()
            assert self.may_end.wait(60)
            self.inside.append(torch.get_num_threads())
        self.after = torch.get_num_threads()

    def begin(self) -> "Computation":
        self.start()
        assert self.begun.wait(60)
        return self

    def end(self) -> None:
        self.may_end.set()
        self.join(60)
        assert not self.is_alive()


# --- threads ----------------------------------------------------------------------------------------------------------


def test_within_it_products_take_one_thread_and_afterwards_what_they_took():
    assert settings() == (THREADS, THREADS)
    with one_thread_per_product() as workers:
        assert workers == THREADS
        assert settings() == (1, 1)
    assert settings() == (THREADS, THREADS)


def test_also_when_it_ends_with_an_error():
    with pytest.raises(KeyboardInterrupt), one_thread_per_product():
        assert settings() == (1, 1)
        raise KeyboardInterrupt
    assert settings() == (THREADS, THREADS)
    with one_thread_per_product() as workers:  # and the next one finds what there was
        assert workers == THREADS


def test_not_alone_it_does_nothing():
    with one_thread_per_product(alone=False) as workers:
        assert workers == 1 and settings() == (THREADS, THREADS)
        with one_thread_per_product() as inner:
            assert inner == THREADS and settings() == (1, 1)
        assert settings() == (THREADS, THREADS)


def test_no_more_models_side_by_side_than_there_are_cores(monkeypatch):
    for cores, workers in ((2, 2), (None, 1), (64, THREADS)):
        monkeypatch.setattr(os, "cpu_count", lambda n=cores: n)
        with one_thread_per_product() as got:
            assert got == workers


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["first in, first out", "last in, first out"])
def test_two_that_overlap_leave_what_the_first_one_found(order):
    both = [Computation().begin(), Computation().begin()]
    assert [c.yielded for c in both] == [THREADS, THREADS]
    for which in order:
        both[which].end()
    assert all(c.inside == [(1, 1), 1] and c.after == THREADS for c in both)
    assert settings() == (THREADS, THREADS)
    with one_thread_per_product() as workers:
        assert workers == THREADS
    assert settings() == (THREADS, THREADS)


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)], ids=str)
def test_so_do_three_and_one_of_this_thread_among_them(order):
    others = [Computation().begin()]
    mine = one_thread_per_product()
    assert mine.__enter__() == THREADS
    others.append(Computation().begin())
    ends = [others[0].end, lambda: mine.__exit__(None, None, None), others[1].end]
    for which in order:
        ends[which]()
        if which == 1:
            assert torch.get_num_threads() == THREADS  # this thread's is back when its own computation ends
    assert all(c.yielded == THREADS and c.inside[1] == 1 and c.after == THREADS for c in others)
    assert settings() == (THREADS, THREADS)


def test_one_that_begins_while_another_runs_on_does_not_take_its_one_thread_for_what_there_was():
    long = Computation().begin()
    for _ in range(3):
        with one_thread_per_product() as workers:
            assert workers == THREADS and torch.get_num_threads() == 1
        assert torch.get_num_threads() == THREADS
    long.end()
    assert settings() == (THREADS, THREADS)


def test_one_within_another_does_not_end_it():
    """Training asks for one thread, and so does the engine that it calls; what comes after that is still within."""
    with one_thread_per_product() as outer:
        for _ in range(2):
            with one_thread_per_product() as inner, one_thread_per_product() as innermost:
                assert outer == inner == innermost == THREADS and settings() == (1, 1)
            assert settings() == (1, 1)
        with pytest.raises(ValueError, match="inner"), one_thread_per_product():
            raise ValueError("inner")
        assert settings() == (1, 1)
    assert settings() == (THREADS, THREADS)


def test_one_within_another_while_a_third_ends():
    other = Computation().begin()
    with one_thread_per_product():
        with one_thread_per_product():
            other.end()
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
    assert settings() == (THREADS, THREADS)


def test_threads_of_a_pool_take_one_whatever_has_ended_meanwhile():
    with one_thread_per_product() as workers:
        Computation().begin().end()  # new threads now take all cores
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            assert list(pool.map(lambda _: torch.get_num_threads(), range(9))) == [1] * 9
        assert torch.get_num_threads() == 1
    assert settings() == (THREADS, THREADS)


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def as_python_starts():
    """Ctrl-C raises KeyboardInterrupt, wherever these tests run."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_sets_the_event_and_raises_nothing(as_python_starts):
    stop = threading.Event()
    with ctrl_c_sets(stop):
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()
        signal.raise_signal(signal.SIGINT)  # a second one changes nothing
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_programs_own_handler_stays():
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append(1))
    try:
        stop = threading.Event()
        with ctrl_c_sets(stop):
            signal.raise_signal(signal.SIGINT)
        assert heard == [1] and not stop.is_set()
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_get_no_signals_and_ask_for_none(as_python_starts):
    def inside() -> bool:
        with ctrl_c_sets(threading.Event()):
            return signal.getsignal(signal.SIGINT) is signal.default_int_handler

    assert in_a_thread(inside)


# --- the bar ----------------------------------------------------------------------------------------------------------


def test_a_bar_is_wanted_unless_somebody_says_otherwise(monkeypatch):
    for value, silent in ((None, False), ("", False), ("0", False), ("1", True)):
        monkeypatch.delenv("TQDM_DISABLE", raising=False)
        if value is not None:
            monkeypatch.setenv("TQDM_DISABLE", value)
        assert quiet(True) is silent and quiet(False) is True


def test_a_bar_is_touched_once_in_a_stride_and_misses_nothing(monkeypatch):
    drawn, bar = [], tqdm(disable=True)
    monkeypatch.setattr(bar, "update", drawn.append)
    update = throttled(bar, 10)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: update(1), range(95)))
    assert drawn == [10] * 9
    update(0, flush=True)
    assert drawn == [10] * 9 + [5]
