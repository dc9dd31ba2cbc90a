"""Numbers rounded to coarser floating formats, and to fixed grids, in the dtype that they have.

All of it is computed in float64, where every step is exact: no number is rounded twice, as torch's own conversions from
float64 do, which go by way of float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from emt_core.support.checks import Index, integer, number

_EXPONENT = 0x7FF << 52  # the exponent's bits in a float64: a number of these alone is a power of two


@dataclass(frozen=True)
class Format:
    """A set of numbers up to ±``largest``. Floating: with ``mantissa`` = b stored bits, multiples of 2^(e − b) from 2^e
    up to 2^(e + 1) for every exponent e from ``least`` on; below 2^least multiples of 2^(least − b), the subnormals.
    With a number of ``levels``: so many from −largest to largest, equally spaced. What would round to more than
    ``largest`` becomes ±``beyond``: infinity, NaN, or ``largest`` itself."""

    name: str
    mantissa: int
    least: int
    largest: float
    beyond: float = math.inf
    levels: int | None = None


def _ieee(name: str, mantissa: int, most: int) -> Format:
    """The binary format of IEEE 754 whose largest exponent is ``most``."""
    return Format(name, mantissa, 1 - most, math.ldexp(2 - 2.0**-mantissa, most))


#: The formats by name. fp8_e4m3 has no infinities (float8_e4m3fn; OCP 8-bit floating point, 2023): of its largest
#: exponent, the last mantissa is NaN, and so is what is too large, as in ml_dtypes. Newer versions of torch saturate.
FORMATS = {
    form.name: form
    for form in (
        _ieee("fp64", 52, 1023),
        _ieee("fp32", 23, 127),
        _ieee("tf32", 10, 127),
        _ieee("bf16", 7, 127),
        _ieee("fp16", 10, 15),
        _ieee("fp8_e5m2", 2, 15),
        Format("fp8_e4m3", 3, -6, 448.0, beyond=math.nan),
    )
}


def mantissa(bits: Index) -> Format:
    """Floating numbers with so many stored mantissa bits, 0 … 52, and the exponents of float64: without a limit for
    what float32 holds."""
    bits = integer("bits", bits, 0)
    if bits > 52:
        raise ValueError(f"bits must be at most 52, those of float64, got {bits}")
    return _ieee(f"mantissa({bits})", bits, 1023)


def fixed(bits: Index, largest: float | int) -> Format:
    """The levels −largest, …, largest, 2^bits of them equally spaced, bits in 1 … 24: odd multiples of half their
    distance 2·largest/(2^bits − 1), so that zero is none of them. What lies beyond goes to ±largest; half-way numbers
    to the level (m + ½)·distance with even m. The ends are exact, other levels as float64 has them."""
    bits, largest = integer("bits", bits, 1), number("largest", largest, positive=True)
    if bits > 24:
        raise ValueError(f"bits must be at most 24, those of float32, got {bits}")
    return Format(f"fixed({bits}, {largest})", 0, 0, largest, beyond=largest, levels=2**bits)


def format_of(form: str | Format) -> Format:
    """The entry of :data:`FORMATS`, or the format that was given."""
    if isinstance(form, Format):
        return form
    if form not in FORMATS:
        raise ValueError(f"form must be a Format or one of {sorted(FORMATS)}, got {form!r}")
    return FORMATS[form]


def spacing(x: Float[Tensor, "*shape"], form: str | Format) -> Float[Tensor, "*shape"]:
    """The distance, in float64, of the two neighbours between which ``x`` lies; at a neighbour itself, of it and the
    next one further from zero: 2^(max(e, least) − b), e the exponent of ``x``. It goes on beyond the largest number.
    Infinite of infinity and NaN."""
    form, wide = format_of(form), _wide(x)
    if form.levels is not None:
        return torch.full_like(wide, 2 * form.largest / (form.levels - 1))
    power = (wide.view(torch.int64) & _EXPONENT).view(torch.float64)  # x towards zero to a power of two
    return power.clamp_min(2.0**form.least) * 2.0**-form.mantissa


def rounded(
    x: Float[Tensor, "*shape"],
    form: str | Format,
    *,
    generator: torch.Generator | None = None,
    saturate: bool = False,
) -> Float[Tensor, "*shape"]:
    """``x``, float32 or float64, at the nearest numbers of the format, half-way ones at that with an even last bit. No
    gradient passes.

    With a ``generator``, at random at one of the two neighbours, each the likelier the nearer, so that the mean is
    ``x``: probabilities are exact to 2^−53. Beyond the largest number it is the nearest again.
    With ``saturate`` what is too large, infinity too, goes to ±largest. NaN and the signs of zeros pass.
    """
    form, wide = format_of(form), _wide(x)
    if form.levels is None:
        distance = spacing(wide, form)
        found = _whole(wide / distance, wide.abs() <= form.largest, generator) * distance
    else:  # levels are odd multiples of the first one above zero
        odd = 2 * _whole(wide / form.largest * (form.levels - 1) / 2 - 0.5, wide.abs() <= form.largest, generator) + 1
        found = odd / (form.levels - 1) * form.largest
    over = (found.abs() > form.largest) | wide.isinf()
    beyond = torch.full_like(wide, form.largest if saturate else form.beyond)
    return torch.where(over, beyond.copysign(wide), found).to(x.dtype)


def _wide(x: Tensor) -> Tensor:
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"x must be float32 or float64, got {x.dtype}")
    return x.detach().double()


def _whole(place: Tensor, within: Tensor, generator: torch.Generator | None) -> Tensor:
    """Whole numbers: the nearest, or where ``within`` and there is a ``generator``, one of both neighbours."""
    if generator is None:
        return place.round()
    size = place.abs()  # its fraction is exact, that of a small negative number above its neighbour would not be
    draw = torch.rand(place.shape, dtype=place.dtype, device=place.device, generator=generator)
    return torch.where(within, (size.trunc() + (draw < size.frac())).copysign(place), place.round())
