"""CUDA graphs: functions of arrays whose shapes stay the same, recorded once and then launched as a whole.

A scan over time in torch is some fifteen small kernels a step, and where they are short, launching them from Python is
what takes the time. A recording reads and writes the same memory every time, so it can serve one pass at a time: passes
borrow one. The limits below are estimates; benchmarks/gru_gpu.py is there to measure what it brings.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

KEPT = 8  # recordings that there may be; each holds some thirty times the memory of the states that it computes,
LARGEST = 2**22  # floats, 16 MiB, of states; larger passes spend their time in the kernels, not on launching them
AFTER = 10  # passes of a shape that are not recorded: to record takes as long as many of them
_lock = threading.Lock()
_recording = threading.Lock()  # one at a time in a process
log = logging.getLogger(__name__)


class Recorded:
    """``function`` of tensors that look like ``inputs``, recorded on ``stream``. A call copies its arguments to where
    the recording reads, and returns what it writes: valid until the next call. ``inputs``, ``outputs``: that memory."""

    def __init__(self, function: Callable[..., Any], *inputs: Tensor, stream: Any) -> None:
        with torch.inference_mode(False):  # whose tensors could not be written to later
            self.inputs = tuple(x.detach().clone(memory_format=torch.contiguous_format) for x in inputs)
            self._replay, self.outputs = _record(lambda: function(*self.inputs), stream)

    def __call__(self, *inputs: Tensor) -> Any:
        for mine, given in zip(self.inputs, inputs, strict=True):
            mine.copy_(given)
        self._replay()
        return self.outputs


def _record(function: Callable[[], Any], stream: torch.cuda.Stream) -> tuple[Callable[[], None], Any]:
    """What runs the recorded kernels again, and where they leave their results."""
    graph = torch.cuda.CUDAGraph()
    with _recording, torch.cuda.device(stream.device):
        here = torch.cuda.current_stream()
        with torch.cuda.stream(here):  # a recording that fails would not come back here by itself
            torch.cuda.synchronize()  # a recording that had to go may still run somewhere, with the stream's workspaces
            try:
                with torch.cuda.stream(stream):
                    function()  # libraries set themselves up at their first call, which cannot be recorded
                with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                    outputs = function()
            finally:  # nobody may have the inputs' memory before
                here.wait_stream(stream)
    return graph.replay, outputs


def stream_of(x: Tensor) -> int | None:
    """A number for the CUDA stream on which work on ``x`` now lands: recordings must not be shared between streams.
    None where it cannot be recorded: elsewhere, and where somebody else records, whose recording will hold it."""
    if not x.is_cuda:
        return None
    with torch.cuda.device(x.device):
        return None if torch.cuda.is_current_stream_capturing() else torch.cuda.current_stream().cuda_stream


class Loan:
    """A recording, given back when the loan is forgotten: by autograd, after the last backward pass that may need what
    the forward pass left in it."""

    _free: ClassVar[list[tuple[tuple, Any, Any]]] = []  # key, recording, stream
    _back: ClassVar[deque] = deque()  # the same, on their way there: the collector may come at any moment
    # Each recording has a stream to itself: torch frees the workspaces of a stream with any recording made on it.
    _streams: ClassVar[defaultdict[torch.device, list]] = defaultdict(list)
    _seen: ClassVar[Counter] = Counter()
    _alive: ClassVar[int] = 0
    _works: ClassVar[bool] = True

    def __init__(self, key: tuple, recording: Any, stream: Any) -> None:
        self._key, self.recording, self._stream = key, recording, stream

    def __del__(self) -> None:
        self._back.append((self._key, self.recording, self._stream))

    @classmethod
    def of(cls, key: tuple, device: torch.device, make: Callable[[Any], Any]) -> Loan | None:
        """A recording with this ``key`` that nobody uses, or a new one that ``make`` makes on the stream that it is
        given. None if this key is still rare, or all recordings are in use, or recording has failed before."""
        with _lock:
            while cls._back:
                cls._free.append(cls._back.popleft())
            # the last: what is left over moves to the front, where it may have to go
            place = next((i for i in reversed(range(len(cls._free))) if cls._free[i][0] == key), None)
            if place is not None:
                return cls(*cls._free.pop(place))
            cls._seen[key] += 1
            if cls._seen[key] <= AFTER or not cls._works or (cls._alive >= KEPT and not cls._free):
                return None
            while cls._alive >= KEPT and cls._free:
                old, recording, stream = cls._free.pop(0)
                del recording  # before its stream serves another
                cls._streams[stream.device].append(stream)
                cls._alive, cls._seen[old] = cls._alive - 1, 0
            stream = cls._streams[device].pop() if cls._streams[device] else None
            cls._alive += 1
        try:
            stream = torch.cuda.Stream(device) if stream is None else stream
            return cls(key, make(stream), stream)
        except BaseException as error:
            with _lock:
                cls._alive -= 1
                cls._works = cls._works and not isinstance(error, RuntimeError)
            if not isinstance(error, RuntimeError):  # Ctrl-C
                raise
            log.warning("CUDA graphs do not work here (%s): kernels are launched one by one, which is slower", error)
            return None
