"""What surrounds a long computation: Ctrl-C, threads, a progress bar."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from tqdm.auto import tqdm


@contextmanager
def ctrl_c_sets(stop: threading.Event, again: bool = False) -> Iterator[None]:
    """Ctrl-C sets ``stop`` instead of raising wherever it strikes, say in the middle of a checkpoint. With ``again`` so
    does SIGTERM, and the second of them strikes as ever.
    A program with a handler of its own keeps it, and threads other than the main one get no signals at all."""
    usual: dict[int, Any] = {signal.SIGINT: signal.default_int_handler}
    usual |= {signal.SIGTERM: signal.SIG_DFL} if again else {}
    main = threading.current_thread() is threading.main_thread()
    mine = [each for each, handler in usual.items() if main and signal.getsignal(each) is handler]

    def handler(number: int, frame) -> None:
        for each in mine:
            signal.signal(each, usual[each] if again else signal.SIG_IGN)  # Event.set must not be entered twice
        stop.set()

    for each in mine:
        signal.signal(each, handler)
    try:
        yield
    finally:
        for each in mine:
            signal.signal(each, usual[each])


_lock = threading.Lock()
_inside, _threads = 0, 1  # computations that want one thread, and how many threads torch had before the first of them
_own = threading.local()  # .depth: how many of them are within each other on this thread


@contextmanager
def one_thread_per_product(alone: bool = True) -> Iterator[int]:
    """Products on one thread (their bits then do not depend on the number of cores); yields how many models to run
    side by side instead.

    The setting is torch's, for the calling thread and for threads that are new. Computations may overlap and end in any
    order, and one may be part of another: what the first one found is put back where the outermost of a thread ends.
    """
    global _inside, _threads
    if not alone:
        yield 1
        return
    with _lock:
        if _inside == 0:
            _threads = torch.get_num_threads()
        _inside += 1
        threads = _threads
        torch.set_num_threads(1)
    _own.depth = getattr(_own, "depth", 0) + 1
    try:
        yield min(threads, os.cpu_count() or 1)
    finally:
        _own.depth -= 1
        with _lock:
            _inside -= 1
            if _own.depth == 0:
                torch.set_num_threads(threads)  # this thread's, and that of new ones


def quiet(progress: bool) -> bool:
    """Whether no bar is wanted: tqdm's bar for notebooks does not hear tqdm's own TQDM_DISABLE."""
    return not progress or os.environ.get("TQDM_DISABLE", "0") not in ("", "0")


def throttled(bar: tqdm, stride: int) -> Callable[..., None]:
    """A thread-safe ``update`` touching the bar once in ``stride`` model-steps: drawing may cost more than a step."""
    lock, waiting = threading.Lock(), 0

    def update(n: int, flush: bool = False) -> None:
        nonlocal waiting
        with lock:
            waiting += n
            if waiting >= stride or flush:
                bar.update(waiting)
                waiting = 0

    return update
