"""Checks of arguments that several modules share."""

from __future__ import annotations

import operator


def integer(name: str, value: object, minimum: int) -> int:
    """``value`` as a Python int of at least ``minimum``; ValueError names the argument otherwise."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)  # accepts int and NumPy integers, refuses 3.0
    except TypeError:
        raise ValueError(f"{name} must be an integer, got {value!r}") from None
    if number < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {number}")
    return number
