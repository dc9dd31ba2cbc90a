"""Checks of arguments that several modules share."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, SupportsFloat, SupportsIndex

import numpy as np
import torch

# A field that is given as any integer, NumPy's too, and stored as Python's: what a reader gets from it is an int. And
# what a method returns of its own class: the tests check types function by function, where no class is known.
if TYPE_CHECKING:
    from typing import Self as Self

    Index = int
else:
    Index, Self = SupportsIndex, Any


def integer(name: str, value: object, minimum: int) -> int:
    """``value`` as a Python int of at least ``minimum``; ValueError names the argument otherwise."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]  # accepts int and NumPy integers, refuses 3.0
    except TypeError:
        raise ValueError(f"{name} must be an integer, got {value!r}") from None
    if number < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {number}")
    return number


def number(name: str, value: SupportsFloat, positive: bool) -> float:
    """``value`` as a Python float, finite and positive or at least 0; ValueError names the argument otherwise."""
    found = float(value)
    if not (found > 0 if positive else found >= 0) or math.isinf(found):
        raise ValueError(f"{name} must be finite and {'positive' if positive else 'at least 0'}, got {found}")
    return found


def per_model(name: str, value: SupportsFloat | Iterable[SupportsFloat], models: int, positive: bool) -> list[float]:
    """One number for all models, of whatever library, or one per model; ValueError names the argument otherwise."""
    one = hasattr(value, "__float__") and np.ndim(value) == 0  # type: ignore[arg-type]  # an iterator has none either
    values: list = [value] * models if one else list(value)  # type: ignore[arg-type]
    if len(values) != models:
        raise ValueError(f"{name} must be one number or one per seed ({models}), got {len(values)}")
    return [number(name, each, positive) for each in values]


def device_of(device: str | torch.device) -> str:
    """A device that is there: "cpu", or a CUDA device by name; ValueError names the argument otherwise."""
    try:
        kind = torch.device(device).type
    except RuntimeError:
        kind = "unknown to torch"
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"device must be 'cpu' or a CUDA device, got {str(device)!r}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device must be 'cpu' where torch finds no CUDA device, got {str(device)!r}")
    return "cpu" if kind == "cpu" else str(torch.device(device))
