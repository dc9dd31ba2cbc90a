"""Where circuits restore what they carry: elasticities of hand-built circuits, whose amplitudes are those of one unit,
and networks that are given repeaters."""

import math
from dataclasses import replace

import pytest
import torch
from oracles import generators, same_bits
from scipy.integrate import quad
from scipy.optimize import brentq

from emt_core.analysis.horizons import accuracy_at
from emt_core.analysis.memories import VariableMemories, fitted_memories, variable_memories
from emt_core.analysis.regeneration import OWNED, RESTORED, Regeneration, regeneration, with_repeaters
from emt_core.networks import GRU, Elman, VectorNetwork, load
from emt_core.networks.exact import linear_rnn, tanh_rnn
from emt_core.networks.vectors import elman
from emt_core.support.random_streams import streams
from emt_core.tasks import VariableBinding
from emt_core.theory import circuit

TASK = VariableBinding.repeat_copy(3, 2)
# outputs 0 and 1 copy each other, output 2 itself with its sign turned: cycles of 4 and of 2 entries
UNEQUAL = VariableBinding((0b111, 1, 0b100), 2, 3)
FIELDS = ("elasticity", "ownership", "drive", "gain", "best")


def local(task=TASK, hidden=20, gain=2.0) -> VectorNetwork:
    """A circuit each of whose memories has units to itself."""
    basis = circuit.local_basis(hidden, task.history * task.dim, torch.Generator().manual_seed(0))
    return tanh_rnn(task, basis, gain)


def crowd(hidden: int, size: int, spread: float) -> VectorNetwork:
    """Repeat copy with S = 1 and D = ``size`` in random directions: contents that all are equally large from the first
    step on, of which each unit gets a drive of standard deviation ``spread``, step after step where N is large."""
    basis = circuit.random_basis(hidden, size, torch.Generator().manual_seed(0), orthonormal=True)
    made = tanh_rnn(VariableBinding.repeat_copy(1, size), basis, 1 / slope(spread))
    return elman(spread * (hidden / size) ** 0.5 * made.W_uh, made.W_hh, made.W_r)


def slope(spread: float) -> float:
    """E[sech²] of a Gaussian drive."""
    return quad(lambda x: math.exp(-x * x / 2) / math.cosh(spread * x) ** 2, -12, 12)[0] / math.sqrt(2 * math.pi)


def drawn(models=3, hidden=9) -> VectorNetwork:
    """Networks as drawn, of eigenvalues that keep their states from dying."""
    made = VectorNetwork.init(Elman, 2, hidden, generators(*range(models))).to(torch.float64)
    return elman(made.W_uh, 3 * made.W_hh, made.W_r)


def seen(model, task, seed, after, sequences):
    """Drives z, states h (B, N) and contents x (B, S·D) of one model, step by step."""
    inputs, targets = task.sample(sequences, after, generators(seed), torch.float64)
    h = torch.zeros(sequences, model.hidden, dtype=torch.float64)
    for u in [*inputs[0], *torch.zeros_like(targets[0])]:
        z = h @ model.W_hh[0].double().T + u @ model.W_uh[0].double().T
        h = z.tanh()
    x = torch.cat([inputs[0], targets[0]])[-task.history :].transpose(0, 1).flatten(1)
    return z, h, x


def restored(drive: float) -> float:
    """a sech²(a) / tanh(a)."""
    return drive / math.cosh(drive) ** 2 / math.tanh(drive)


# --- elasticity, ownership, gain --------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [TASK, UNEQUAL], ids=lambda task: str(task.triple))
@pytest.mark.parametrize("gain", [1.2, 2.0, 3.0])
def test_a_memory_with_units_to_itself_is_restored_as_one_unit_is(task, gain):
    """Amplitude A of each unit, drive g A: it settles where A = tanh(g A), by SciPy's root finder."""
    size = brentq(lambda amplitude: math.tanh(gain * amplitude) - amplitude, 1e-3, 1, xtol=1e-15)
    elasticity = restored(gain * size)
    # each step brings the amplitude nearer by the elasticity, 0.68 or less: 0.68^150 = 1e-25
    found = regeneration(local(task, gain=gain), task, generators(1), after=150, sequences=64)
    for name, value in (("ownership", 1.0), ("elasticity", elasticity), ("drive", gain * size)):
        entries = getattr(found, name)
        assert entries.dtype == torch.float64 and entries.shape == (1, task.history * task.dim)
        # a least-squares fit of numbers of order 1 by orthogonal signs: a few ε each
        torch.testing.assert_close(entries, torch.full_like(entries, value), rtol=0, atol=1e-12)
    lengths = [len(entries) for entries, _ in circuit.cycles(task)]
    expected = torch.tensor([[elasticity**length for length in lengths]], dtype=torch.float64)
    torch.testing.assert_close(found.gain, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.best, torch.ones_like(expected), rtol=0, atol=1e-12)
    assert found.weakest.item() == pytest.approx(elasticity ** min(lengths), abs=1e-12)
    assert found.repeated.tolist() == [True]


@pytest.mark.parametrize("bias", [0.0, 0.4, -1.0])
def test_around_a_mean_a_memory_is_restored_as_its_unit_is_there(bias):
    """Units whose drives are b ± g A around a bias b: A settles where A = (tanh(b + g A) − tanh(b − g A)) / 2, by
    SciPy's root finder, and the slope there is the mean of the two."""
    gain, plain = 2.5, local(gain=2.5)
    high = lambda A: math.tanh(bias + gain * A)  # noqa: E731
    low = lambda A: math.tanh(bias - gain * A)  # noqa: E731
    size = brentq(lambda A: (high(A) - low(A)) / 2 - A, 1e-2, 1, xtol=1e-15)
    mean = (high(size) + low(size)) / 2
    used = (plain.W_hh.abs().sum(2) > 0).double()  # units that hold nothing have no bias
    # each of the others gets g (h − mean) of one other, up to its sign, and the bias
    b = used * bias - (plain.W_hh @ (used * mean)[..., None])[..., 0]
    # inputs that outweigh what a unit holds before it has read: not zero, as without biases
    model = VectorNetwork(Elman(W_hh=plain.W_hh, W_uh=20 * plain.W_uh, b=b), plain.W_r)
    found = regeneration(model, TASK, generators(1), after=200, sequences=1024)
    slopes = gain * (1 - high(size) ** 2), gain * (1 - low(size) ** 2)
    torch.testing.assert_close(found.ownership, torch.ones_like(found.ownership), rtol=0, atol=1e-9)
    # of 1,024 signs half are +1, to within four standard deviations of 1/64: 4/32 of half their difference
    torch.testing.assert_close(
        found.elasticity, torch.full_like(found.ownership, sum(slopes) / 2), rtol=0,
        atol=1e-9 + abs(slopes[0] - slopes[1]) / 2 / 8,
    )  # fmt: skip
    torch.testing.assert_close(found.drive, torch.full_like(found.ownership, gain * size), rtol=0, atol=1e-9)


@pytest.mark.parametrize("size", [8, 16])
@pytest.mark.parametrize("spread", [0.4, 0.6])
def test_memories_that_share_all_units_keep_their_ratios(spread, size):
    """Mean-field theory: an amplitude a_k becomes a_k m(σ), m = E[sech²] and σ² = Σ a_l², of which it is one K-th. So
    1 − e = −(d log m / d log σ) / K. And Z_k⁴ / Σ Z_l², over Z_k², has the mean 3 / (K + 2) of Gaussian numbers."""
    found = regeneration(crowd(1024, size, spread), VariableBinding.repeat_copy(1, size), generators(1), 2, 512)
    own = -(math.log(slope(spread + 1e-4)) - math.log(slope(spread - 1e-4))) / 2e-4 * spread / size
    assert 0.01 < own < 0.05
    # beside it the square of K's share, (1/K)² ≤ 0.016 times a number below 1, and K/N ≤ 0.016 of what N units leave
    # undecided: 0.01 is half of the two
    torch.testing.assert_close(1 - found.elasticity, torch.full_like(found.elasticity, own), rtol=0, atol=0.01)
    # a mean over 1,024 units of Z⁴ / Σ Z_l², whose standard deviation is about 3 times it: a tenth
    torch.testing.assert_close(found.ownership, torch.full_like(found.ownership, 3 / (size + 2)), rtol=0.1, atol=0)
    assert found.repeated.tolist() == [False]


def test_more_units_leave_elasticities_nearer_to_one():
    size, near = 32, []
    for hidden in (64, 256, 1024):
        found = regeneration(crowd(hidden, size, 0.6), VariableBinding.repeat_copy(1, size), generators(1), 2, 512)
        near.append((1 - found.elasticity).abs().max().item())
    # what a finite number of units adds falls as K/N, by 4 each time; what theory leaves at any N, 0.012, is below it
    assert near[1] < near[0] / 2 and near[2] < near[1] / 1.5 and near[2] < 0.03


@pytest.mark.parametrize("after", [3, 12])
def test_elasticity_is_the_derivative_of_the_amplitude(after):
    """A(α) as it is written, by central differences, and patterns from the normal equations."""
    model, sequences, step = drawn(), 200, 1e-4
    found = regeneration(model, TASK, generators(4, 5, 6), after, sequences)
    for m in range(3):
        z, h, x = seen(model[m], TASK, 4 + m, after, sequences)
        inverse = torch.linalg.inv(x.T @ x) @ x.T
        Z, H = (inverse @ z).T, (inverse @ h).T
        for k in range(6):

            def amplitude(alpha, m=m, k=k, z=z, x=x, Z=Z, H=H):
                moved = torch.tanh(z + (alpha - 1) * x[:, k : k + 1] * Z[:, k])
                return (H[:, k] @ (x[:, k : k + 1] * moved).mean(0) / H[:, k].square().sum()).item()

            slope = (amplitude(1 + step) - amplitude(1 - step)) / (2 * step)
            # third derivatives of order 1 leave step² = 1e-8, rounding ε / step = 2e-12
            assert found.elasticity[m, k].item() == pytest.approx(slope, abs=1e-7)
            assert found.drive[m, k].item() == pytest.approx(Z[:, k].abs().max().item(), abs=1e-12)
            power = Z.square()
            share = (power[:, k].square() / power.sum(1)).sum() / power[:, k].sum()
            assert found.ownership[m, k].item() == pytest.approx(share.item(), abs=1e-12)
    for column, (loop, _) in enumerate(circuit.cycles(TASK)):
        one, other = loop[0], list(loop)
        assert one == column  # of repeat copy cycle j holds dimension j of every block
        torch.testing.assert_close(found.gain[:, column], found.elasticity[:, other].prod(1))
        assert torch.equal(found.best[:, column], found.ownership[:, other].max(1).values)
    assert torch.equal(found.weakest, found.gain.max(1).values)


def assert_close(a: Regeneration, b: Regeneration, models: list[int]) -> None:
    for name in FIELDS:
        torch.testing.assert_close(getattr(a, name), getattr(b, name)[models], rtol=0, atol=1e-9, equal_nan=True)


def test_the_order_of_units_changes_nothing_and_that_of_models_orders():
    model, draws, options = drawn(), (4, 5, 6), dict(after=12, sequences=100)
    found = regeneration(model, TASK, generators(*draws), **options)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    mixed = elman(model.W_uh[:, order], model.W_hh[:, order][:, :, order], model.W_r[:, :, order])
    # 15 steps that enlarge rounding, N·ε, by at most 3 each: 1e-9; sums over units come in another order
    assert_close(regeneration(mixed, TASK, generators(*draws), **options), found, [0, 1, 2])
    turned = [2, 0, 1]
    again = regeneration(model[turned], TASK, generators(*(draws[m] for m in turned)), **options)
    assert_close(again, found, turned)
    assert len(found.gain.flatten().unique()) == found.gain.numel()  # none is as another


@pytest.mark.parametrize("seed", range(3))
def test_entries_off_every_cycle_have_no_number(seed):
    task = VariableBinding.random(3, 3, torch.Generator().manual_seed(seed))
    kept, model = circuit.on_cycle(task), VectorNetwork.init(Elman, 3, 12, generators(0, 1))
    assert not kept.all()
    found = regeneration(model, task, generators(0, 1), sequences=50)
    for name in FIELDS[:3]:
        assert torch.equal(getattr(found, name).isnan(), ~kept.expand(2, -1)), name
    assert found.gain.shape == found.best.shape == (2, len(circuit.cycles(task)))
    assert found.gain.isfinite().all() and found.weakest.shape == (2,)


def test_a_repeater_on_every_cycle_needs_its_units_and_a_gain_that_restores():
    gain = [[0.9, 0.2], [RESTORED, 0.2], [0.9, 0.2], [0.2, 0.94], [0.2, math.nan]]
    best = [[OWNED, 0.9], [0.9, 0.9], [0.9, 0.49], [0.5, 0.5], [0.9, 0.9]]
    none = torch.zeros(5, 4, dtype=torch.float64)
    found = Regeneration(none, none, none, *(torch.tensor(x, dtype=none.dtype) for x in (gain, best)))
    assert found.weakest.tolist()[:4] == [0.9, RESTORED, 0.9, 0.94]
    assert found.repeated.tolist() == [True, False, False, True, False]


# --- repeaters that are put in ----------------------------------------------------------------------------------------

SCALE = 1e-5  # of states: tanh turns x into x (1 − x²/3), so that a circuit of such states is linear to 1e-10


def quiet() -> tuple[VectorNetwork, VariableMemories]:
    """A linear circuit: a tanh network of states near zero, with contents of order 1, and its memories."""
    basis = SCALE * circuit.random_basis(20, 6, torch.Generator().manual_seed(0))
    model = tanh_rnn(TASK, basis)
    return model, variable_memories(model, TASK, 1.0, method="corrected", residuals=0)


def spread_inputs() -> torch.Tensor:
    """Contents that are no signs: whatever a repeater is driven with, it keeps ±1 as it is."""
    return 2 * torch.rand(1, 3, 40, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64) - 1


@pytest.mark.parametrize("drive", [0.3, 1.0, 2.5])
def test_a_repeater_writes_the_tanh_of_its_content(drive):
    """One step from zero of a linear circuit, then as often as the content has gone round its cycle of S steps."""
    model, memories = quiet()
    inputs = spread_inputs()
    states, written = with_repeaters(model, memories, range(2), drive).rollout(inputs, 9)
    assert states.shape == (1, 12, 40, 22)
    content = inputs
    for lap in range(4):
        content = torch.tanh(drive * content) / math.tanh(drive)
        # each step leaves SCALE² of its numbers, here of order 1, and N ε κ² = 1e-13 of rounding
        torch.testing.assert_close(written[:, 3 * lap : 3 * lap + 3], content, rtol=0, atol=1e-9)


def test_a_small_drive_changes_outputs_by_its_square():
    """tanh(d c) / tanh(d) = c (1 + d² (1 − c²) / 3 + …), four times as much with twice the drive."""
    model, memories = quiet()
    inputs = spread_inputs()
    _, plain = model.rollout(inputs, 9)
    small, double = (with_repeaters(model, memories, range(2), d).rollout(inputs, 9)[1] - plain for d in (0.01, 0.02))
    expected = 0.01**2 * inputs * (1 - inputs.square()) / 3
    # the next order is d⁴ times at most 4 laps and a number below 1; SCALE² of it is linear
    torch.testing.assert_close(small[:, :3], expected, rtol=0, atol=1e-7)
    torch.testing.assert_close(small[:, 9:], 4 * expected, rtol=0, atol=1e-7)
    torch.testing.assert_close(double, 4 * small, rtol=0, atol=1e-6)
    assert small.abs().max() > 5e-5


@pytest.mark.parametrize("drive", [0.5, 2.0])
def test_what_was_put_in_is_a_repeater_on_its_cycle(drive):
    model, memories = quiet()
    for outputs in ([0, 1], [1]):
        found = regeneration(with_repeaters(model, memories, outputs, drive), TASK, generators(1), sequences=64)
        gain = torch.tensor([[restored(drive) if j in outputs else 1.0 for j in range(2)]], dtype=torch.float64)
        # all else on the way is linear to SCALE²; contents of cycles that nothing restores are off by 40 of it
        torch.testing.assert_close(found.gain, gain, rtol=0, atol=1e-8)
        torch.testing.assert_close(found.elasticity[:, 4:], gain, rtol=0, atol=1e-8)
        for j in outputs:
            assert found.drive[0, 4 + j].item() == pytest.approx(drive, abs=1e-8)
            assert found.ownership[0, 4 + j].item() == found.best[0, j].item() == pytest.approx(1, abs=1e-8)
        # gains of 0.85 and 0.15, both below the bound; a cycle without a repeater is not
        assert found.repeated.tolist() == [len(outputs) == 2]
    assert not regeneration(model, TASK, generators(1), sequences=64).repeated.any()


def test_repeaters_keep_ensembles_and_arguments_as_they_are():
    model, _ = quiet()
    pair = model.with_weights({name: torch.cat([w, 1.1 * w]).float() for name, w in model.weights.items()})
    states, _ = pair.rollout(TASK.inputs(64, generators(0, 1)), 6)
    held = TASK.sample(64, 6, generators(0, 1), torch.float64)
    held = torch.cat(held, 1)[:, -3:].transpose(1, 2).flatten(2)
    fitted, _ = fitted_memories(states[:, -1], held, TASK)
    given = pair.weights | {"basis": fitted.basis, "dual": fitted.dual}
    before, outputs = {name: value.clone() for name, value in given.items()}, [1, 0]
    made = with_repeaters(pair, fitted, outputs)
    assert {w.dtype for w in made.weights.values()} == {torch.float64}
    assert (made.models, made.hidden, made.dim) == (2, 22, 2)
    for m in range(2):
        alone = with_repeaters(pair[m], fitted[[m]], outputs)
        for name, w in alone.weights.items():  # products of several models may add in another order: N ε of themselves
            torch.testing.assert_close(w[0], made.weights[name][m], rtol=1e-12, atol=1e-12)
    swapped = with_repeaters(pair, fitted, [0, 1])  # the new units come in the order of ``outputs``
    torch.testing.assert_close(made.W_uh[:, 20:], swapped.W_uh[:, 20:].flip(1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(made.W_r[:, :, 20:], swapped.W_r[:, :, 20:].flip(2), rtol=1e-12, atol=1e-12)
    regeneration(pair, TASK, generators(0, 1), sequences=32)
    assert all(same_bits(given[name], kept) for name, kept in before.items()) and outputs == [1, 0]


def test_repeaters_make_the_books_analog_networks_digital(root):
    """Networks at the paper's size that hold what they are told for hundreds of steps and have lost it after 2,000."""
    model, _ = load(root / "book" / "data" / "circuits_0_128_0.safetensors")
    task = VariableBinding.repeat_copy(8, 8)
    inputs, targets = task.sample(256, 40, streams(range(3), "fit"))
    states, _ = model.rollout(inputs, 40)
    held = torch.cat([inputs, targets], 1)[:, -8:].transpose(1, 2).flatten(2)
    memories, explained = fitted_memories(states[:, -1], held, task)
    assert explained.min() > 0.99  # they are linear circuits
    repeated = with_repeaters(model, memories, range(8))
    for network, digital in ((model, False), (repeated, True)):
        late = accuracy_at(network, task, [2000], 16, streams(range(3), "late"))
        # of 128 signs a share of 0.6 has a standard error of 0.04
        assert bool((late >= 0.99).all()) is digital and bool((late < 0.8).all()) is not digital
        found = regeneration(network, task, streams(range(3), "regeneration"), sequences=256)
        assert found.repeated.tolist() == [digital] * 3
        assert bool((found.weakest < RESTORED).all()) is digital


# --- what is refused --------------------------------------------------------------------------------------------------


def test_networks_of_another_kind_are_refused():
    model, memories = quiet()
    bias = replace(model, cell=replace(model.cell, b=torch.zeros(1, 20).double()))
    others = [linear_rnn(TASK), VectorNetwork.init(GRU, 2, 20, generators(0))]
    for other in others:
        with pytest.raises(ValueError, match=r"^model must be a tanh Elman network, got \{"):
            regeneration(other, TASK, generators(0))
    with pytest.raises(ValueError, match=r"^sequences must be at least 7, got 6"):
        regeneration(bias, TASK, generators(0), sequences=6)
    for other in [bias, *others]:
        with pytest.raises(ValueError, match=r"^model must be a tanh Elman network without biases, got \{"):
            with_repeaters(other, memories, [0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(after=1), "after must be at least 2, got 1"),
        (dict(sequences=0), "sequences must be at least 1, got 0"),
        (dict(sequences=5), "at least 6 sequences for the fit, got 5"),
    ],
    ids=str,
)
def test_wrong_numbers_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        regeneration(local(), TASK, generators(0), **options)


@pytest.mark.parametrize("outputs", [[], [2], [-1], [0, 0], [0, 1, 2]], ids=str)
def test_wrong_outputs_are_named(outputs):
    model, memories = quiet()
    with pytest.raises(ValueError, match=r"^outputs must be different numbers in 0 … D − 1 = 1, at least one, got \["):
        with_repeaters(model, memories, outputs)


@pytest.mark.parametrize("drive", [0.0, -1.0, math.nan, math.inf])
def test_a_wrong_drive_is_named(drive):
    model, memories = quiet()
    with pytest.raises(ValueError, match=r"^drive must be finite and positive, got"):
        with_repeaters(model, memories, [0], drive)


def test_an_output_whose_newest_memory_is_on_no_cycle_is_refused():
    """Output 1 copies output 0 of the step before, and nothing reads it again: there is nothing to be restored."""
    task = VariableBinding((0b010001, 0, 0), 3, 2)
    model = tanh_rnn(task, SCALE * circuit.random_basis(20, 6, torch.Generator().manual_seed(0)))
    memories = variable_memories(model, task, 1.0, method="corrected", residuals=0)
    assert with_repeaters(model, memories, [0]).hidden == 21
    for outputs in ([1], [0, 1]):
        with pytest.raises(ValueError, match=r"^outputs must be those whose newest entry lies on a cycle of the task"):
            with_repeaters(model, memories, outputs)
