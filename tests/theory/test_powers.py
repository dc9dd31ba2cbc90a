"""Linear recurrences: formulas against states computed step by step, bounds against simulation and counting."""

import itertools
import math

import pytest
import torch
from oracles import SHAPE_ERRORS, generators

from emt_core.analysis import layers as measured
from emt_core.networks.diagonal import LRU
from emt_core.support.formats import FORMATS, fixed, mantissa, rounded
from emt_core.theory import codes, onion, powers
from emt_core.theory.onion import hand_built
from emt_core.theory.powers import Memory, decode, diagonal, encode, geometry, phase_memory, positive_memory

MODES = [(6, 0), (4, 4), (5, 3), (3, 1)]  # K modes, P of which turn


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=generators(seed)[0])


def double(numbers: list[float]) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def every(vocabulary: int, length: int) -> torch.Tensor:
    return torch.tensor(list(itertools.product(range(vocabulary), repeat=length))).T


def right(memory: Memory, length: int, rounding=None, every_step: bool = False) -> torch.Tensor:
    """Which of all sequences are read right, if the state is rounded once or after every step."""
    tokens = every(len(memory.writes), length)
    h = encode(memory, tokens, rounding if every_step else None)
    return (decode(memory, h if every_step or rounding is None else rounding(h), length) == tokens).all(0)


def to_bits(significant: int):
    """Rounding to so many significant bits, the hidden one counted."""
    return lambda h: rounded(h, mantissa(significant - 1))


def spectrum(modes: int, turning: int) -> tuple[torch.Tensor, torch.Tensor]:
    drawn = random(2, modes, seed=modes).sigmoid()
    return 0.5 + 0.6 * drawn[0], 2 * math.pi * drawn[1, :turning]


def assert_measured(found: powers.Geometry, layers: torch.Tensor) -> None:
    """The functions of ``analysis.layers`` say the same. Sums of some 1e3 products near one: far below 1e-10."""
    close = dict(rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found.sizes, measured.sizes(layers[None])[0], **close)
    torch.testing.assert_close(found.overlap, measured.overlap(layers[None])[0], **close)
    torch.testing.assert_close(found.alignment, measured.alignment(layers[None])[0], **close)
    assert found.scaled_by_unit == pytest.approx(float(measured.scaled_by_unit(layers[None])), abs=1e-10)


def assert_same(found: powers.Geometry, wanted: powers.Geometry) -> None:
    for name in ("sizes", "overlap", "alignment"):
        torch.testing.assert_close(getattr(found, name), getattr(wanted, name), rtol=1e-10, atol=1e-10)
    assert found.scaled_by_unit == pytest.approx(wanted.scaled_by_unit, abs=1e-10)


@pytest.mark.parametrize(("n", "vocabulary", "length"), [(5, 4, 4), (2, 6, 3), (3, 2, 6)])
def test_the_geometry_is_that_of_all_sequences_run_one_by_one(n, vocabulary, length):
    """A layer as it is defined: the mean state over all sequences with v at p, less the mean over tokens at p."""
    A, writes, tokens = random(n, n) / n**0.5, random(vocabulary, n, seed=1), every(vocabulary, length)
    finals = []
    for sequence in tokens.T.tolist():
        h = torch.zeros(n, dtype=torch.float64)
        for token in sequence:
            h = A @ h + writes[token]
        finals.append(h)
    finals = torch.stack(finals)
    means = [torch.stack([finals[tokens[p] == v].mean(0) for v in range(vocabulary)]) for p in range(length)]
    wanted = torch.stack([mean - mean.mean(0) for mean in means])
    torch.testing.assert_close(powers.layers(A, writes, length), wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(encode(Memory(A, writes), tokens), finals, rtol=0, atol=1e-12)
    assert_measured(geometry(A, torch.cov(writes.T, correction=0), length), wanted)


@pytest.mark.parametrize(("modes", "turning"), MODES)
def test_of_isotropic_writes_the_eigenvalues_say_everything(modes, turning):
    modulus, phase = spectrum(modes, turning)
    A = diagonal(modulus, phase)
    n = modes + turning
    known = torch.cat([torch.polar(modulus[:turning], t * phase) for t in (1, -1)] + [modulus[turning:] + 0j])
    apart = (torch.linalg.eigvals(A)[:, None] - known).abs()
    assert apart.min(1).values.max() < 1e-13 and apart.min(0).values.max() < 1e-13
    found = powers.isotropic(modulus, phase, 5)
    assert_same(found, geometry(A, torch.eye(n, dtype=torch.float64), 5))
    drawn = random(3 * n, n)
    writes = torch.linalg.qr(drawn - drawn.mean(0)).Q * (3 * n) ** 0.5  # their covariance is I
    assert_measured(found, powers.layers(A, writes, 5))
    # the formula as it is written in the docstring, with complex numbers
    for p, q in itertools.product(range(5), repeat=2):
        a, b = 4 - p, 4 - q
        inner = (known**a * (known**b).conj()).sum().real
        size = ((known.abs() ** (2 * a)).sum() * (known.abs() ** (2 * b)).sum()).sqrt()
        torch.testing.assert_close(found.alignment[p, q], inner / size, rtol=0, atol=1e-12)


@pytest.mark.parametrize("modes", MODES)
def test_tied_writes_depend_on_the_modes_kernel_alone(modes):
    modulus, phase = spectrum(*modes)
    K, P = modes
    found = powers.tied(modulus, phase, 5)
    written = torch.cat([torch.ones(P), torch.zeros(P), torch.ones(K - P)]).double()
    assert_same(found, geometry(diagonal(modulus, phase), torch.outer(written, written), 5))
    # and for a group of modes for each of three numbers, of tokens that lie anyhow
    e = random(7, 3) @ random(3, 3, seed=5)
    e = e - e.mean(0)
    grouped = torch.block_diag(*[diagonal(modulus, phase)] * 3)
    layers = powers.layers(grouped, torch.einsum("vd,i->vdi", e, written).flatten(1), 5)
    scale = e.square().sum(1).mean().sqrt()
    assert_measured(powers.Geometry(found.sizes * scale, found.overlap, found.alignment, 1.0), layers)


def test_a_diagonal_matrix_is_what_an_lru_does_without_input():
    for hidden in (6, 7):
        cell = LRU.init(3, hidden, generators(0)).to(torch.float64)
        torch.testing.assert_close(diagonal(cell.modulus[0], cell.theta[0]), cell.jacobian()[0], rtol=0, atol=1e-14)


def test_the_two_ends():
    """Equal decays: an onion. Phases at roots of unity under tied writes: subspaces. Under isotropic writes the overlap
    stays 1, however they turn."""
    one, eye = torch.ones(4, 4).double(), torch.eye(4).double()
    moduli, still = double([0.7] * 6), torch.zeros(3).double()
    for find in (powers.isotropic, powers.tied):
        found = find(moduli, still, 4)
        torch.testing.assert_close(found.overlap, one)
        torch.testing.assert_close(found.alignment, one)
        torch.testing.assert_close(found.sizes / found.sizes[-1], 0.7 ** torch.arange(3, -1, -1).double())
        assert found.scaled_by_unit == pytest.approx(1)
    uneven = powers.isotropic(double([0.3, 0.5, 0.9]), still[:0], 4)
    assert uneven.scaled_by_unit == pytest.approx(1) and uneven.alignment.min() < 0.9
    roots = 2 * math.pi * torch.arange(1, 5).double() / 9  # with a mode that does not turn, all ninth roots of unity
    isotropic = powers.isotropic(double([1.0] * 5), roots, 4)
    torch.testing.assert_close(isotropic.alignment, eye, rtol=0, atol=1e-12)
    torch.testing.assert_close(isotropic.overlap, one)
    halves = math.pi * (2 * torch.arange(3).double() + 1) / 6
    tied = powers.tied(torch.ones(3).double(), halves, 7)
    torch.testing.assert_close(tied.overlap[:6, :6], torch.eye(6).double(), rtol=0, atol=1e-12)
    assert tied.overlap[0, 6] == pytest.approx(1)  # A^6 = −1: what is seven steps old lies on what is new


@pytest.mark.parametrize("sigma", [0.15, 0.3, 0.6])
def test_nearest_sequences_are_found_as_often_as_the_bounds_say(sigma):
    layers, tokens, draws = random(3, 3, 4), every(3, 3), 2000
    h = codes.states(layers, tokens)
    lower, upper = powers.exact_of_ml_bounds(layers, tokens, sigma)
    # the sums, pair by pair
    for s in (0, 13, 26):
        terms = [0.5 * math.erfc(float((h[s] - h[o]).norm()) / (2 * sigma) / 2**0.5) for o in range(27) if o != s]
        assert float(lower[s]) == pytest.approx(max(0.0, 1 - sum(terms)), abs=1e-12)
        assert float(upper[s]) == pytest.approx(1 - max(terms), abs=1e-12)
    noisy = h[:, None] + sigma * random(27, draws, 4, seed=1)
    share = (torch.cdist(noisy.flatten(0, 1), h).argmin(1).view(27, draws) == torch.arange(27)[:, None]).double()
    error = share.var(1).div(draws).sqrt() + 1e-3  # of a share near 1, a few counts
    assert (lower <= share.mean(1) + 5 * error).all() and (share.mean(1) - 5 * error <= upper).all()
    if sigma == 0.15:  # little noise: both are near the truth
        assert (upper - lower).mean() < 1e-3 and upper.mean() < 0.9995


def test_two_states_are_confused_exactly_as_often():
    layers, tokens = random(1, 2, 3), every(2, 1)
    wanted = 1 - 0.5 * math.erfc(float((layers[0, 0] - layers[0, 1]).norm()) / 2 / 2**0.5)
    for bounds in (powers.exact_of_ml_bounds, powers.exact_of_peeling_bounds):
        for found in bounds(layers, tokens, 1.0):
            torch.testing.assert_close(found, double([wanted] * 2))


def test_the_bounds_of_a_binary_onion_by_hand():
    """Of h = ±1 ± 0.3 the first sign has 1.3 or 0.7 to spare, the second 0.3."""
    layers, tokens = double([0.3, 1.0])[:, None, None] * double([-1.0, 1.0])[:, None], every(2, 2)
    lower, upper = powers.exact_of_peeling_bounds(layers, tokens, 0.2)
    for s, (old, new) in enumerate(tokens.T.tolist()):
        first, second = (0.5 * math.erfc(x / 0.2 / 2**0.5) for x in (1.3 if old == new else 0.7, 0.3))
        assert float(lower[s]) == pytest.approx(1 - first - second, abs=1e-12)
        assert float(upper[s]) == pytest.approx(1 - max(first, second), abs=1e-12)
    assert powers.slack(layers) == pytest.approx(0.3)
    assert powers.slack(layers, [0, 1]) == pytest.approx(-0.7)


@pytest.mark.parametrize("order", [None, [0, 2, 1]])
@pytest.mark.parametrize("sigma", [0.02, 0.05, 0.15])
def test_peeling_is_right_as_often_as_the_bounds_say(sigma, order):
    memory, tokens, draws = Memory(random(3, 3) / 3, random(4, 3, seed=1)), every(4, 3), 2000
    layers = powers.written(memory.A, memory.writes, 3)
    lower, upper = powers.exact_of_peeling_bounds(layers, tokens, sigma, order)
    h = encode(memory, tokens)
    noisy = h[:, None] + sigma * random(64, draws, 3, seed=2)
    read = decode(memory, noisy.flatten(0, 1), 3, order).view(3, 64, draws)
    share = (read == tokens[:, :, None]).all(0).double()
    error = share.var(1).div(draws).sqrt() + 1e-3
    assert (lower <= share.mean(1) + 5 * error).all() and (share.mean(1) - 5 * error <= upper).all()
    best = powers.exact_of_ml_bounds(layers, tokens, sigma)[1].mean()
    assert share.mean() <= best + 0.01  # no decoder beats it
    if order is None:
        assert lower.mean() > 0.3 or sigma > 0.02


def test_what_peeling_has_to_spare_bounds_every_sequence():
    turned = phase_memory(hand_built(5, 2, kind="circle").embedding, 4)
    for memory in (turned, positive_memory(hand_built(4, 2).embedding, double([0.3, 0.4]))):
        layers, tokens = powers.written(memory.A, memory.writes, 4), every(len(memory.writes), 4)
        spare, V = powers.slack(layers), len(memory.writes)
        for sigma in (spare / 4, spare / 2.5):
            sure = 1 - 4 * (V - 1) * 0.5 * math.erfc(spare / sigma / 2**0.5)
            assert 0 < sure <= powers.exact_of_peeling_bounds(layers, tokens, sigma)[0].min()


@pytest.mark.parametrize("order", [None, [1, 2, 0]])
def test_an_error_below_the_slack_is_harmless_and_one_above_it_is_not(order):
    """Tried on all sequences, in the directions between tokens, the worst there are, and in random ones."""
    for seed in range(5):
        A = diagonal(double([0.3]), double([1.0 + seed]))
        memory, tokens = Memory(A, hand_built(5, 2, kind="circle").embedding), every(5, 3)
        layers = powers.written(memory.A, memory.writes, 3)
        spare = powers.slack(layers, order)
        if order is not None:  # the outermost is not read first
            assert spare < 0
            assert not (decode(memory, encode(memory, tokens), 3, order) == tokens).all()
            continue
        assert spare > 0
        d = (layers[:, :, None] - layers[:, None]).flatten(0, 2)
        d = torch.cat([d[d.norm(dim=1) > 0], random(100, 2)])
        for factor, harmless in ((1 - 1e-6, True), (1 + 1e-6, False)):
            error = factor * spare * d / d.norm(dim=1, keepdim=True)
            h = (encode(memory, tokens)[:, None] + error).flatten(0, 1)
            wanted = tokens.repeat_interleave(len(error), dim=1)
            assert bool((decode(memory, h, 3, order) == wanted).all()) is harmless


def test_counting():
    for n, bits, V in itertools.product((1, 2, 5, 16), (1, 3, 8, 23), (2, 3, 4, 10, 26)):
        L = powers.capacity(n, bits, V)
        assert V**L <= 2 ** (n * bits) < V ** (L + 1)
    assert powers.capacity(2, 1.5, 2) == 3
    # no decoder can read all of them: as many states as there are, one token more
    memory, tokens = phase_memory(hand_built(2, 1).embedding, 4), every(2, 5)
    h = rounded(encode(memory, tokens), fixed(1, 1))
    assert powers.capacity(4, 1, 2) == 4 and len(h.unique(dim=0)) < 2**5


@pytest.mark.parametrize(("kind", "vocabulary", "dim"), [("grid", 2, 1), ("grid", 4, 2), ("circle", 3, 2)])
def test_an_onion_is_read_with_the_bits_it_needs(kind, vocabulary, dim):
    code = hand_built(vocabulary, dim, kind=kind)
    memory = positive_memory(code.embedding, double([code.gamma] * dim))
    delta, norm = float(torch.pdist(code.embedding).min()), float(code.embedding.norm(dim=1).max())
    for L in range(1, 7):
        largest = norm * sum(code.gamma**a for a in range(L))
        t = powers.mantissa_for(L, code.gamma, delta / (2 * largest))
        assert t == powers.bits_to_peel(memory, L)
        assert t <= powers.mantissa_for(L, code.gamma, delta * (1 - code.gamma) / (2 * norm))
        for bits in range(t, t + 3):
            assert right(memory, L, to_bits(bits)).all()
        if dim == 1:  # not one bit too many, but for L = 2, where 1.5 goes to 2 and is still read right
            assert t == L and (L <= 2 or not right(memory, L, to_bits(t - 1)).all())
        stepwise = powers.bits_to_peel(memory, L, every_step=True)
        assert stepwise >= t and right(memory, L, to_bits(stepwise), every_step=True).all()


@pytest.mark.parametrize("gamma", [0.5, 0.25, 1 / 3, 0.9])
@pytest.mark.parametrize("margin", [1.0, 0.5, 0.3, 0.01])
def test_layers_and_bits_are_each_others_inverse(gamma, margin):
    for bits in range(1, 30):
        holds = [L for L in range(1, 400) if 2.0**-bits < margin * gamma ** (L - 1)]
        assert powers.layers_of_mantissa(bits, gamma, margin) == len(holds)
        for L in (len(holds), len(holds) + 1):
            if L:
                assert (powers.mantissa_for(L, gamma, margin) <= bits) is (len(holds) >= L)


@pytest.mark.parametrize("name", ["fp16", "bf16", "fp8_e5m2", "fp8_e4m3"])
def test_layers_vanish_where_the_format_ends(name):
    form = FORMATS[name]
    smallest = 2.0 ** (form.least - form.mantissa)
    for gamma, largest in ((0.5, 1.0), (0.3, 1.0), (0.7, form.largest)):
        L = powers.layers_of_exponent(largest, smallest, gamma)
        stored = rounded(largest * gamma ** torch.arange(L + 3).double(), form)
        assert (stored != 0).tolist() == [True] * L + [False] * 3
    torch_name = {"fp8_e5m2": "float8_e5m2", "fp8_e4m3": "float8_e4m3fn", "fp16": "float16", "bf16": "bfloat16"}[name]
    code = hand_built(4, 2, 0.4)
    wanted = onion.layer_bound(code, getattr(torch, torch_name))["exponent"]
    assert powers.layers_of_exponent(1, smallest, 0.4) == wanted


@pytest.mark.parametrize("pairs", [1, 2, 5])
def test_phases_are_told_apart_up_to_the_resolution_of_the_format(pairs):
    def told(L: int, bits: int) -> bool:
        angle = 2 * math.pi / L * torch.outer(torch.arange(L), torch.arange(1, pairs + 1)).double()
        layers = torch.cat([angle.cos(), angle.sin()], dim=1)
        return bool((torch.cdist(rounded(layers, mantissa(bits - 1)), layers).argmin(1) == torch.arange(L)).all())

    for bits in range(1, 7):
        L = powers.positions_of_phases(bits, pairs)
        assert all(told(k, bits) for k in [*range(2 * pairs + 1, L, max(1, L // 40)), L])
        # the formula at L and L + 1, from the alignment of neighbours
        for positions, enough in ((L, True), (L + 1, False)):
            phase = 2 * math.pi / positions * torch.arange(1, pairs + 1).double()
            alignment = powers.tied(torch.ones(pairs).double(), phase, positions).alignment
            assert bool(((1 - alignment[0, 1:]).min() / 2).sqrt() > 2.0**-bits * (1 + 1e-12)) is enough
    if pairs == 1:  # with more, errors hardly ever add up
        assert not all(told(k, 6) for k in range(L, 2 * L))
    assert powers.positions_of_phases(20) / 2**20 == pytest.approx(math.pi, rel=1e-5)
    assert powers.positions_of_phases(12, 50) / (50 * 2**12) == pytest.approx(math.pi / 3**0.5, rel=0.02)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 6])
def test_a_phase_memory_is_as_many_subspaces(length):
    e = hand_built(3, 2, kind="circle").embedding
    memory = phase_memory(e, length)
    K = (length + 1) // 2
    assert memory.A.shape == (4 * K, 4 * K)
    torch.testing.assert_close(memory.A @ memory.A.T, torch.eye(4 * K).double(), rtol=0, atol=1e-14)
    layers = powers.layers(memory.A, memory.writes, length)
    torch.testing.assert_close(measured.overlap(layers[None])[0], torch.eye(length).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(layers.norm(dim=2), e.norm(dim=1).expand(length, -1))
    written = powers.written(memory.A, memory.writes, length)
    assert powers.slack(written) == pytest.approx(float(torch.pdist(e).min()) / 2)
    assert right(memory, length).all()
    tokens = every(3, length)
    h = encode(memory, tokens)
    forwards = decode(memory, h + 0.5 * random(*h.shape), length)
    assert torch.equal(forwards, decode(memory, h + 0.5 * random(*h.shape), length, range(length)))
    for step in (False, True):
        t = powers.bits_to_peel(memory, length, every_step=step)
        assert right(memory, length, to_bits(int(t)), every_step=step).all()
        # H/δ = √L √(1/3), and rounding at every step L times more
        assert t <= math.log2(length**0.5 / 3**0.5 * 2 * (3 * length if step else 1)) + 1
    bits = next(b for b in range(1, 24) if (4 * K) ** 0.5 * length / (2**b - 1) < powers.slack(written))
    assert right(memory, length, lambda h: rounded(h, fixed(bits, length))).all()  # no number exceeds L


def test_an_onion_pays_in_bits_and_phases_pay_in_numbers():
    e = hand_built(4, 2).embedding
    peeled, turned = positive_memory(e, double([0.5, 0.5])), phase_memory(e, 16)
    assert powers.bits_to_peel(peeled, 16) == 17  # half a bit above the 16 of each coordinate, for √2 in its norm
    assert powers.bits_to_peel(turned, 16) <= 3
    assert peeled.A.shape[0] == 2 and turned.A.shape[0] == 32
    tokens = torch.randint(4, (16, 500), generator=generators(0)[0])
    for memory, bits in ((peeled, 17), (turned, 3)):
        assert torch.equal(decode(memory, to_bits(bits)(encode(memory, tokens)), 16), tokens)
    assert not torch.equal(decode(peeled, to_bits(8)(encode(peeled, tokens)), 16), tokens)


def test_one_rate_for_all_is_the_onion_read_backwards():
    code, tokens = hand_built(5, 2, kind="circle"), every(5, 4)
    memory = positive_memory(code.embedding, double([code.gamma] * 2))
    h = encode(memory, tokens)
    torch.testing.assert_close(h, onion.encode(code, tokens.flip(0)), rtol=0, atol=1e-13)
    noisy = h + 0.05 * random(*h.shape)
    assert torch.equal(decode(memory, noisy, 4), onion.decode(code, noisy, 4).flip(0))
    beyond = positive_memory(code.embedding, double([0.8] * 2))
    assert powers.bits_to_peel(beyond, 4) == math.inf and not right(beyond, 4).all()


def test_wrong_arguments_are_named():
    layers, one = random(2, 3, 2), torch.ones(2).double()
    tokens = torch.tensor([[0, 3], [0, 0]])
    memory = Memory(torch.eye(2).double(), layers[0])
    for call in (
        lambda: powers.exact_of_ml_bounds(layers, tokens, 1.0),
        lambda: powers.exact_of_peeling_bounds(layers, -tokens, 1.0),
        lambda: encode(memory, tokens),
    ):
        with pytest.raises(ValueError, match=r"^tokens must lie in 0 … 2, got"):
            call()
    with pytest.raises(ValueError, match=r"^layers must allow at most 65536 sequences, got 3\^11"):
        powers.exact_of_ml_bounds(random(11, 3, 2), torch.zeros(11, 1, dtype=torch.int64), 1.0)
    for order in ([0], [0, 0], [1, 2]):
        with pytest.raises(ValueError, match=r"^order must hold the positions 0 … 1, got"):
            powers.slack(layers, order)
    with pytest.raises(SHAPE_ERRORS, match="phase must have at most one number per modulus"):
        diagonal(one, torch.ones(3).double())
    with pytest.raises(SHAPE_ERRORS, match="A"):
        Memory(torch.eye(3).double(), layers[0])
    with pytest.raises(ValueError, match=r"^A must be \(n, n\) and writes \(V, n\) with V >= 2"):
        Memory(torch.eye(2).double(), layers[0, :1])
    for decay in ([0.5, 1.0], [0.0, 0.5]):
        with pytest.raises(ValueError, match=r"^decay must lie between 0 and 1"):
            positive_memory(layers[0], double(decay))
    for call in (powers.mantissa_for, powers.layers_of_mantissa):
        with pytest.raises(ValueError, match=r"^gamma must lie between 0 and 1, got 1"):
            call(3, 1, 0.5)
        with pytest.raises(ValueError, match=r"^margin must be finite and positive, got 0"):
            call(3, 0.5, 0)
    with pytest.raises(ValueError, match=r"^sigma must be finite and positive"):
        powers.exact_of_peeling_bounds(layers, tokens[:, :1], 0)
    for length in (0, True):
        with pytest.raises(ValueError, match="length must be"):
            powers.layers(memory.A, memory.writes, length)
