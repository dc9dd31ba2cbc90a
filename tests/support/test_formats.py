"""Rounding against exact fractions, against every number of the short formats, and against torch's own dtypes."""

import math
from bisect import bisect_right
from fractions import Fraction

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from oracles import generators, same_bits

from emt_core.support import formats
from emt_core.support.formats import FORMATS, fixed, mantissa, rounded, spacing

DTYPES = {
    "fp8_e4m3": torch.float8_e4m3fn, "fp8_e5m2": torch.float8_e5m2, "bf16": torch.bfloat16, "fp16": torch.float16,
    "fp32": torch.float32,
}  # fmt: skip
SHORT = [name for name, dtype in DTYPES.items() if dtype.itemsize <= 2]
ML_DTYPES = {"fp8_e4m3": "float8_e4m3fn", "fp8_e5m2": "float8_e5m2", "bf16": "bfloat16"}
each_form = pytest.mark.parametrize("form", [*FORMATS.values(), *map(mantissa, (0, 1, 3, 52))], ids=lambda f: f.name)
each_short = pytest.mark.parametrize("name", SHORT)
wide = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def patterns(name: str) -> torch.Tensor:
    """Every bit pattern of a short format, in float64."""
    dtype = DTYPES[name]
    bits = 8 * dtype.itemsize
    integers = torch.arange(2**bits).to(torch.uint8 if bits == 8 else torch.uint16)
    return integers.view(dtype).double()


def magnitudes(name: str) -> list[float]:
    """The numbers of a short format from zero up, in order, and so with even and odd last bits in turn."""
    found = patterns(name)
    return sorted(found[found.isfinite() & ~torch.signbit(found)].tolist())


def ladder_of(name: str) -> list[float]:
    """The same, and the next number that there would be if the format went on."""
    values = magnitudes(name)
    return [*values, 2 * values[-1] - values[-2]]


def by_hand(x: float, ladder: list[float], over: float) -> float:
    """The nearest of some magnitudes, of two equally near the one with an even place; ``over`` for the last one, which
    the format no longer has, and what lies beyond."""
    size = Fraction(abs(x)) if math.isfinite(x) else Fraction(2**1024)
    above = bisect_right(ladder, size)
    if above == len(ladder):
        return math.copysign(over, x)
    low, high = above - 1, above
    down, up = size - Fraction(ladder[low]), Fraction(ladder[high]) - size
    place = low if down < up or (down == up and low % 2 == 0) else high
    return math.copysign(over if place == len(ladder) - 1 else ladder[place], x)


def by_fraction(x: float, form: formats.Format) -> float:
    """The definition in exact arithmetic; Python rounds fractions half to even."""
    size = Fraction(abs(x))
    e = form.least
    if size:
        e = max(size.numerator.bit_length() - size.denominator.bit_length(), form.least)
        e = max(e - 1 if size < Fraction(2) ** e else e, form.least)
    step = Fraction(2) ** (e - form.mantissa)
    found = round(size / step) * step
    return math.copysign(form.beyond if found > Fraction(form.largest) else float(found), x)


def same(found: torch.Tensor, want: list[float] | torch.Tensor) -> bool:
    """Equal numbers, with the signs of their zeros, or both NaN."""
    want = torch.as_tensor(want, dtype=found.dtype)
    equal = (found == want) & (torch.signbit(found) == torch.signbit(want))
    return bool((equal | (found.isnan() & want.isnan())).all())


def spread(low: float, high: float, count: int) -> torch.Tensor:
    """Powers of two, evenly spread over these exponents."""
    return 2.0 ** torch.linspace(low, high, count, dtype=torch.float64)


def trials(name: str, dtype: torch.dtype) -> torch.Tensor:
    """Numbers of a short format, half-way ones, those just beside both in ``dtype``, and some far from all."""
    ladder = ladder_of(name)
    values = ladder[:-1]
    lowest, stride = values.index(2.0 ** FORMATS[name].least), max(1, len(values) // 150)
    chosen = {*range(0, len(values), stride), *range(20), *range(len(values) - 20, len(values))}
    chosen |= set(range(lowest - 2, lowest + 3))  # where normal numbers begin
    near = [x for k in sorted(chosen) for x in (ladder[k], (ladder[k] + ladder[k + 1]) / 2)]
    near = torch.tensor([*near, ladder[-1]], dtype=torch.float64).to(dtype)
    beside = [torch.nextafter(near, torch.full_like(near, to)) for to in (0.0, math.inf)]
    top = 120 if dtype == torch.float32 else 1000
    far = torch.randn(300, dtype=torch.float64, generator=generators(0)[0]) * spread(-top, top, 300)
    x = torch.cat([near, *beside, far.to(dtype), torch.tensor([math.inf, math.inf], dtype=dtype)])
    x[-1] = torch.nextafter(torch.zeros((), dtype=dtype), x[-1])  # the smallest that there is
    return torch.cat([x, -x])


# --- to the nearest ---------------------------------------------------------------------------------------------------


@each_short
@wide
def test_the_nearest_number_is_that_of_all(name, dtype):
    """Also just beside half-way, where a way over float32 would see a tie."""
    x, ladder = trials(name, dtype), ladder_of(name)
    for saturate, over in ((False, FORMATS[name].beyond), (True, ladder[-2])):
        assert same(rounded(x, name, saturate=saturate), [by_hand(v, ladder, over) for v in x.tolist()])
    assert rounded(x, name).dtype == dtype


@each_form
def test_the_nearest_number_is_that_of_fractions(form):
    """From float64, over all exponents that it has."""
    g = generators(0)[0]
    x = (1 + torch.rand(1500, dtype=torch.float64, generator=g)) * spread(-1022, 1023, 1500)
    power = torch.linspace(-1022, 1023, 400, dtype=torch.float64).round().exp2()
    halves = power * (1 + 2.0 ** -(form.mantissa + 1))  # between a power of two and the next number
    ends = torch.tensor([0.0, 2.0**-1074, form.largest, 2.0**form.least, math.nextafter(form.largest, math.inf)])
    x = torch.cat([x, power, halves, 3 * halves / 4, ends.double()])
    x = torch.cat([x, -x])[torch.cat([x, x]).isfinite()]
    assert same(rounded(x, form), [by_fraction(v, form) for v in x.tolist()])


@pytest.mark.parametrize("name", DTYPES)
def test_it_is_torchs_conversion_from_float32(name):
    bits = torch.randint(2**32, (200_000,), generator=generators(0)[0]).to(torch.uint32)  # NaN and infinity among them
    x = torch.cat([bits.view(torch.float32), trials("bf16", torch.float32), trials("fp8_e4m3", torch.float32)])
    x = torch.cat([x, torch.tensor([math.nan, math.inf, -math.inf, 0.0, -0.0, 448, 464, 464.1, 480])])
    want = x.to(DTYPES[name]).float()
    if name != "fp8_e4m3":
        assert same(rounded(x, name), want)
        return
    over = rounded(x, name, saturate=True).abs() == 448  # here newer versions of torch saturate, older ones do not
    assert same(rounded(x, name)[~over], want[~over])
    assert any(same(rounded(x[over], name, saturate=saturate), want[over]) for saturate in (True, False))


def test_float32_is_torchs_conversion_from_float64():
    x = (trials("bf16", torch.float64) * (1 + 2.0**-24)).contiguous()
    assert same(rounded(x, "fp32"), x.float().double())


@each_short
@wide
def test_every_number_of_a_format_stays(name, dtype):
    """Infinities, NaN and the signs of zeros with them; e4m3 has no infinities to give."""
    x = patterns(name).to(dtype)
    assert len(x) == 2 ** (8 * DTYPES[name].itemsize) and same(rounded(x, name), x)
    assert same(rounded(x, name, generator=generators(0)[0]), x)
    finite = x[x.isfinite()]
    assert finite.max().item() == FORMATS[name].largest and same(rounded(finite, name, saturate=True), finite)


@pytest.mark.parametrize("name", ML_DTYPES)
def test_it_is_the_conversion_of_ml_dtypes(name):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = torch.cat([trials(other, torch.float32) for other in SHORT])
    with np.errstate(over="ignore", invalid="ignore"):
        want = x.numpy().astype(getattr(ml_dtypes, ML_DTYPES[name])).astype(np.float32)
    assert same(rounded(x, name), torch.from_numpy(want))


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_no_number(name):
    x = torch.tensor([math.nan, math.inf, -math.inf, 0.0, -0.0])
    over = math.nan if name == "fp8_e4m3" else math.inf
    assert same(rounded(x, name), [math.nan, over, -over, 0.0, -0.0])
    largest = torch.tensor(FORMATS[name].largest, dtype=torch.float64).float().item()  # of fp64, float32's infinity
    assert same(rounded(x, name, saturate=True), [math.nan, largest, -largest, 0.0, -0.0])


def test_many_bits_change_nothing():
    x = trials("bf16", torch.float32)
    for form in ("fp32", "fp64", mantissa(23), mantissa(52)):
        assert same_bits(rounded(x, form), x)
    assert same_bits(rounded(trials("bf16", torch.float64), "fp64"), trials("bf16", torch.float64))


def test_exponents_have_no_limit_but_float64s():
    x = torch.tensor([2.0**-149 * 21, 1.9375 * 2.0**127, 1.9376 * 2.0**127, 0.3])  # 21 = 10101 in binary
    assert same(rounded(x, mantissa(3)), [2.0**-149 * 20, 2.0**128, 2.0**128, 0.3125])
    assert same(rounded(x[:1], mantissa(4)), x[:1])
    assert rounded(x[1:3].double(), mantissa(3)).tolist() == [2.0**128] * 2


def test_any_shape_and_stride_and_no_gradient():
    x = torch.randn(4, 5, 6, generator=generators(0)[0]).transpose(0, 2)[:, ::2].requires_grad_()
    found = rounded(x, "bf16")
    assert not found.requires_grad and torch.equal(found, x.detach().bfloat16().float())
    assert rounded(torch.tensor(0.3), "bf16").item() == 0.30078125 and rounded(torch.zeros(0), "bf16").shape == (0,)


# --- a grid -----------------------------------------------------------------------------------------------------------


@wide
@pytest.mark.parametrize(("bits", "largest"), [(1, 1.0), (3, 3.5), (4, 1.0), (8, 0.3), (24, 1.0)])
def test_a_grid_has_its_levels(bits, largest, dtype):
    form, last = fixed(bits, largest), 2**bits - 1
    levels = [float(Fraction(largest) * (2 * k - last) / last) for k in range(0, last + 1, max(1, last // 200))]
    x = torch.cat([torch.linspace(-1.2, 1.2, 997, dtype=dtype) * largest, torch.tensor(levels, dtype=dtype)])
    found = rounded(x, form)
    # places are exact to a few 2^-53 of as many as there are; half-way numbers are another test
    place = (x.double() / largest * last - 1) / 2
    near = place.clamp(-(last + 1) / 2, (last - 1) / 2).round()
    want = [float((2 * Fraction(k) + 1) / last * Fraction(largest)) for k in near.tolist()]
    tolerance = 2.0**-52 * largest if dtype == torch.float64 else 2.0**-24 * largest
    torch.testing.assert_close(found.double(), torch.tensor(want, dtype=torch.float64), rtol=0, atol=tolerance)
    torch.testing.assert_close(rounded(found, form), found, rtol=0, atol=0)
    ends = torch.tensor([-math.inf, -9e9, -largest, largest, 9e9, math.inf], dtype=dtype)
    assert same(rounded(ends, form), [-largest] * 3 + [largest] * 3)
    assert math.isnan(rounded(torch.tensor(math.nan), form).item())


def test_half_way_on_a_grid_goes_to_even_places():
    """Levels ±½, ±3/2, ±5/2, ±7/2: (m + ½) with m = 0 or ±2 on each side of the whole numbers."""
    x = torch.tensor([-4.0, -3, -2, -1, -0.0, 0, 1, 2, 3, 4])
    assert rounded(x, fixed(3, 3.5)).tolist() == [-3.5, -3.5, -1.5, -1.5, 0.5, 0.5, 0.5, 2.5, 2.5, 3.5]
    assert spacing(x, fixed(3, 3.5)).tolist() == [1.0] * 10


# --- spacing ----------------------------------------------------------------------------------------------------------


@each_short
@wide
def test_spacing_is_the_distance_of_neighbours(name, dtype):
    values = torch.tensor(magnitudes(name), dtype=torch.float64)
    apart = values.diff()
    for x in (values[:-1], values[:-1] + apart / 2, values[1:] - apart / 8):
        for sign in (1, -1):
            found = spacing((sign * x).to(dtype), name)
            assert found.dtype == torch.float64 and torch.equal(found, apart)


def test_spacing_is_numpys_of_its_own_formats():
    x = torch.randn(500, dtype=torch.float64, generator=generators(0)[0]) * spread(-1070, 1000, 500)
    assert torch.equal(spacing(x, "fp64"), torch.from_numpy(np.spacing(x.abs().numpy())))
    y = x[x.abs().log2().abs() < 120]
    assert torch.equal(spacing(y, "fp32"), torch.from_numpy(np.spacing(y.abs().float().numpy())).double())


# --- at random --------------------------------------------------------------------------------------------------------


@wide
@pytest.mark.parametrize(
    "form", [*map(FORMATS.get, ("bf16", "fp8_e4m3")), mantissa(0), fixed(3, 2.0)], ids=lambda f: f.name
)
def test_at_random_the_mean_is_right(form, dtype):
    """Both neighbours and no others come up, each as often as it is near: of n draws the share has a standard error of
    √(p(1 − p)/n), and 4.5 of them are exceeded once in 150,000."""
    x = torch.tensor([1.001, -1.3, 0.0041, -0.7, 1.9, 2.0**-9 / 3, -(2.0**-11), 1.0], dtype=dtype)
    draws = 40_000
    found = rounded(x.expand(draws, -1), form, generator=generators(0)[0])
    assert found.dtype == dtype
    q = spacing(x, form)
    for value, own, distance in zip(x.double(), found.double().unbind(1), q, strict=True):
        low, high = own.min(), own.max()
        assert set(own.unique().tolist()) == {low.item(), high.item()}
        gap = (high - low).item()
        # levels of a grid in float32 are off by half a unit in the last place, 2^-24 of at most 2
        assert gap == 0 or gap == pytest.approx(distance.item(), abs=2.0**-22 if dtype == torch.float32 else 1e-15)
        share = ((value - low) / gap).item() if gap else 0.0
        found_share = (own == high).double().mean().item() if gap else 0.0
        assert 0 <= share <= 1
        assert abs(found_share - share) <= 4.5 * (share * (1 - share) / draws) ** 0.5
    if form in FORMATS.values():
        assert (found[:, -1] == 1).all() and len(found[:, 0].unique()) == 2


def test_at_random_by_the_generator_alone():
    x, before = torch.rand(1000, generator=generators(1)[0]), torch.get_rng_state()
    a, b, c = (rounded(x, "fp8_e5m2", generator=g) for g in generators(0, 0, 1))
    assert same_bits(a, b) and not torch.equal(a, c) and torch.equal(torch.get_rng_state(), before)


def test_at_random_what_is_too_large_goes_to_the_nearest():
    x = torch.tensor([449.0, 463.0, 465.0, math.inf, -465.0, 440.0]).expand(200, -1)
    found = rounded(x, "fp8_e4m3", generator=generators(0)[0])
    assert (found[:, :2] == 448).all() and found[:, 2:5].isnan().all()
    assert set(found[:, 5].tolist()) == {416.0, 448.0}
    found = rounded(x, "fp8_e4m3", generator=generators(0)[0], saturate=True)
    assert (found[:, :4] == 448).all() and (found[:, 4] == -448).all()


def test_at_random_zeros_keep_their_signs():
    x = torch.tensor([0.0, -0.0, -1e-30]).expand(100, -1)
    found = rounded(x, "fp16", generator=generators(0)[0])
    assert not found.any() and torch.equal(torch.signbit(found), torch.signbit(x))


# --- arguments --------------------------------------------------------------------------------------------------------


def test_formats_are_equal_if_they_mean_the_same():
    assert mantissa(3) == mantissa(np.int64(3)) != mantissa(4) and fixed(3, 1) == fixed(3, 1.0) != fixed(3, 2.0)
    assert formats.format_of("bf16") is FORMATS["bf16"] and formats.format_of(mantissa(2)) == mantissa(2)
    assert len({mantissa(b).name for b in range(53)} | {fixed(b, 1.0).name for b in range(1, 25)}) == 77
    assert all(form.name == name for name, form in FORMATS.items())


def test_what_is_wrong_is_named():
    x = torch.zeros(2)
    for call in (rounded, spacing):
        with pytest.raises(ValueError, match=r"^form must be a Format or one of \['bf16'.*\], got 'fp9'"):
            call(x, "fp9")
        with pytest.raises(ValueError, match=r"^x must be float32 or float64, got torch.bfloat16"):
            call(x.bfloat16(), "fp32")
        with pytest.raises((ValueError, TypeCheckError)):
            call(x.long(), "fp32")
    for wrong, message in ((-1, "at least 0, got -1"), (53, "at most 52.*, got 53"), (True, "an integer, got True")):
        with pytest.raises(ValueError, match=f"^bits must be {message}"):
            mantissa(wrong)
    for wrong, message in ((0, "at least 1, got 0"), (25, "at most 24.*, got 25")):
        with pytest.raises(ValueError, match=f"^bits must be {message}"):
            fixed(wrong, 1.0)
    for largest in (0.0, -1.0, math.inf):
        with pytest.raises(ValueError, match=r"^largest must be finite and positive"):
            fixed(3, largest)
