"""CUDA graphs: functions of arrays whose shapes stay the same, recorded once and then launched as a whole.

A scan over time in torch is some fifteen small kernels a step, each of which takes longer to launch from Python than to
run. A recording reads and writes the same memory every time, so it can serve one pass at a time: passes borrow one.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

KEPT = 8  # recordings kept for later passes
AFTER = 2  # passes of a shape that are not recorded: a shape that comes once is not worth it
_lock = threading.Lock()
_recording = threading.Lock()  # one at a time in a process


class Recorded:
    """``function`` of tensors that look like ``inputs``. A call copies its arguments to where the recording reads, and
    returns what it writes: valid until the next call. ``inputs`` and ``outputs``: that memory."""

    def __init__(self, function: Callable[..., Any], *inputs: Tensor) -> None:
        with torch.inference_mode(False):  # whose tensors could not be written to later
            self.inputs = tuple(x.detach().clone(memory_format=torch.contiguous_format) for x in inputs)
            self._replay, self.outputs = _record(lambda: function(*self.inputs), inputs[0].device)

    def __call__(self, *inputs: Tensor) -> Any:
        for mine, given in zip(self.inputs, inputs, strict=True):
            mine.copy_(given)
        self._replay()
        return self.outputs


def _record(function: Callable[[], Any], device: torch.device) -> tuple[Callable[[], None], Any]:
    """What runs the recorded kernels again, and where they leave their results."""
    graph = torch.cuda.CUDAGraph()
    with _recording, torch.cuda.device(device):
        here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            function()  # libraries set themselves up at their first call, which cannot be recorded
        with torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):  # other threads may go on
            outputs = function()
        here.wait_stream(aside)
    return graph.replay, outputs


def possible(x: Tensor) -> bool:
    """Whether work on ``x`` can be recorded: not where somebody else records, whose recording will hold it."""
    return x.is_cuda and not torch.cuda.is_current_stream_capturing()


def stream_of(x: Tensor) -> int:
    """A number for the stream on which work on ``x`` now lands: recordings must not be shared between streams."""
    return torch.cuda.current_stream(x.device).cuda_stream


class Loan:
    """A recording made by ``make``, or one with the same ``key`` that nobody uses now, given back when the loan is
    forgotten: by autograd, after the last backward pass that may need what the forward pass left in it."""

    _free: ClassVar[list[tuple[tuple, Any]]] = []
    _seen: ClassVar[Counter] = Counter()

    def __init__(self, key: tuple, make: Callable[[], Any]) -> None:
        self._key, self.recording = key, None
        with _lock:
            place = next((i for i, (k, _) in enumerate(self._free) if k == key), None)
            if place is not None:
                self.recording = self._free.pop(place)[1]
        if self.recording is None:
            self.recording = make()

    @classmethod
    def worth_it(cls, key: tuple) -> bool:
        """Whether enough passes have had this key; each call counts as one."""
        with _lock:
            cls._seen[key] += 1
            return cls._seen[key] > AFTER

    def __del__(self) -> None:
        # the collector may call this anywhere, even while the lock is held: then the recording is lost
        if getattr(self, "recording", None) is not None and _lock.acquire(blocking=False):
            self._free.append((self._key, self.recording))
            del self._free[:-KEPT]
            _lock.release()
