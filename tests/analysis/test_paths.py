"""Lines of states: in the exact circuit each sign turns at the zero of its own content; numbers agree with counts."""

import math
from dataclasses import replace

import pytest
import torch
from loaded_circuits import COPY, MIXED, D, S, blocks, circuits, late, loaded
from oracles import decode, generators, simulate

from emt_core.analysis.edits import mismatched, paths, trials
from emt_core.analysis.memories import fitted_memories, variable_memories
from emt_core.networks import Elman, VectorNetwork
from emt_core.theory import circuit

TASKS = pytest.mark.parametrize("task", [COPY, MIXED], ids=["copy", "mixed"])
STEPS = torch.arange(0.025, 2, 0.05, dtype=torch.float64)  # so that 1 lies half-way between two of them


def settled(task, seeds=(0, 1), sequences=8):
    """Circuits whose windows hold copies of cycles only, and their fitted bases: exact, as the circuit is linear."""
    model = circuits(task, seeds)
    run, other = late(loaded(task, model, sequences)), late(loaded(task, model, 30, seed=5))
    return run, fitted_memories(other.h, other.held, task)[0]


def tanh_run(task, sequences=5):
    model = VectorNetwork.init(Elman, D, 20, generators(0, 1))
    return trials.running(task, model, S * D, sequences, generators(3, 4))


def turned_once(run, seed=0):
    return trials.changes(run, *generators(seed))["one entry"].where


# --- what is written --------------------------------------------------------------------------------------------------


@TASKS
def test_the_circuit_writes_the_signs_that_it_holds(task):
    run, memories = settled(task)
    kept = circuit.on_cycle(task)
    assert torch.equal(paths.written_signs(run, run.h, 11), run.held[:, :, kept])
    other = torch.randn(2, 8, S * D, generator=generators(7)[0], dtype=torch.float64)
    h = other[:, :, kept] @ memories.basis[:, :, kept].mT
    for after in (0, 3):
        assert torch.equal(paths.written_signs(run, h, 11, after), other[:, :, kept].sign())


@TASKS
def test_written_signs_are_those_that_all_copies_agree_on(task):
    run, steps, after = tanh_run(task), 9, 2
    found = paths.written_signs(run, run.h, steps, after)
    kept = circuit.on_cycle(task).nonzero()[:, 0].tolist()
    source = trials.copies(run.held, circuit.on_cycle(task))
    assert found.shape == (2, 5, len(kept)) and set(found.unique().tolist()) <= {-1, 0, 1}
    for m in range(2):
        for b in range(5):
            h, written = run.h[m, b], []
            for _ in range(after + steps):
                h = torch.tanh(run.model.W_hh[m] @ h)
                written.append((run.model.W_r[m] @ h).tolist())
            for c in range(len(kept)):
                future = simulate(decode(task.triple, D), source[c].view(S, D).tolist(), after + steps)
                said = {
                    math.copysign(1, y * x)
                    for now, wanted in zip(written[after:], future[after:], strict=True)
                    for y, x in zip(now, wanted, strict=True)
                    if x != 0
                }
                assert found[m, b, c] == (said.pop() if len(said) == 1 else 0)


def test_a_run_that_holds_more_than_copies_is_refused():
    run = loaded(MIXED, circuits(MIXED, [0, 1]), 20)
    with pytest.raises(ValueError, match=r"^run must have settled for up to 12 steps"):
        paths.written_signs(run, run.h, 5)


# --- one content moved ------------------------------------------------------------------------------------------------


@TASKS
def test_in_the_circuit_the_future_turns_where_the_content_is_zero(task):
    run, memories = settled(task)
    found = paths.toward_zero(run, memories, turned_once(run), STEPS, 11)
    # half-way between 0.975 and 1.025, whatever the size of the content
    torch.testing.assert_close(found, torch.ones(2, 8).double(), rtol=0, atol=1e-12)
    uneven = replace(run, h=3 * run.h)
    assert torch.equal(paths.toward_zero(uneven, memories, turned_once(run), STEPS, 11), found)
    assert bool(paths.toward_zero(run, memories, turned_once(run), STEPS[:20], 11).isinf().all())  # not so far


@TASKS
def test_a_direction_that_is_off_by_sixty_degrees_turns_the_future_at_two(task):
    run, memories = settled(task)
    kept = memories.kept
    # √3 times as long, at right angles, in the null space of W_hh, of which the circuit writes nothing
    every = torch.cat(blocks(task, run.model), dim=2)
    away = torch.linalg.svd(every).U[:, :, -1:] * memories.basis.norm(dim=1, keepdim=True) * math.sqrt(3)
    torch.testing.assert_close(run.model.W_hh @ away, torch.zeros_like(away), rtol=0, atol=1e-10)
    tilted = replace(memories, basis=(memories.basis + away) * kept)
    places = torch.arange(0.025, 4, 0.05, dtype=torch.float64)
    found = paths.toward_zero(run, memories, turned_once(run), places, 11, wrong=tilted)
    torch.testing.assert_close(found, torch.full((2, 8), 2.0).double(), rtol=0, atol=1e-12)


@TASKS
def test_wrong_labels_never_turn_it(task):
    run, memories = settled(task)
    wrong = mismatched.relabelled(memories)
    assert bool(paths.toward_zero(run, memories, turned_once(run), STEPS, 11, wrong=wrong).isinf().all())


# --- all contents moved -----------------------------------------------------------------------------------------------


@TASKS
@pytest.mark.parametrize("together", [1, 24, 512])
def test_in_the_circuit_signs_follow_their_own_contents_between_two_sequences(task, together, monkeypatch):
    monkeypatch.setattr(paths, "TOGETHER", together)
    run, memories = settled(task)
    places = torch.linspace(0, 1, 21)
    ends = paths.uneven_ends(run, memories, *generators(0))
    found = paths.line(run, memories, *ends, places, 11)
    zeros, turns = found.crossings(), found.turns()
    crosses = (run.held != run.held.roll(-1, 1))[:, :, memories.kept]
    assert torch.equal(zeros.isfinite(), crosses) and torch.equal(turns.isfinite(), crosses)
    assert 0.25 <= float(zeros[crosses].min()) < 0.4 and 0.6 < float(zeros[crosses].max()) <= 0.75
    # a sign turns between two of the 21 places, and what is said is the middle between them
    assert float((turns - zeros)[crosses].abs().max()) <= 0.025 + 1e-6
    assert bool(found.follows(1e-9).all())
    assert bool((paths.own_zero(found) < 0.25).all())
    wanted = run.held.roll(-1, 1)[:, :, memories.kept]  # all there once the last of them has turned
    last = torch.where(crosses, turns, 0).amax(2)
    assert torch.equal(found.reached(wanted), last.where(last > 0, found.places[0]))


def test_contents_of_a_line_are_read_in_the_basis_and_in_units_of_the_usual():
    run, memories = settled(MIXED)
    ends = run.h, run.h.roll(-1, 1)
    found = paths.line(run, memories, *ends, torch.tensor([0.0, 0.3, 1.0]), 11)
    usual = memories.contents(run.h).abs().mean(1, keepdim=True)
    for k, s in enumerate((0.0, 0.3, 1.0)):
        plain = memories.contents((1 - s) * ends[0] + s * ends[1]) / usual
        torch.testing.assert_close(found.contents[k], plain[:, :, memories.kept], rtol=0, atol=1e-6)


def test_a_line_of_a_saturated_network_is_that_of_its_states_one_by_one():
    run = tanh_run(COPY)
    memories = variable_memories(run.model, COPY, residuals=0)
    ends = paths.uneven_ends(run, memories, *generators(0))
    found = paths.line(run, memories, *ends, torch.linspace(0, 1, 5), 9, after=2)
    for k in range(5):
        state = ends[0] + k / 4 * (ends[1] - ends[0])
        assert torch.equal(found.signs[k], paths.written_signs(run, state, 9, after=2))


def test_uneven_ends_differ_where_asked_and_have_sizes_around_the_usual():
    run, memories = settled(COPY, sequences=400)
    where = torch.arange(S * D) < D
    usual = memories.contents(run.h).abs().mean(1, keepdim=True)
    start, end = (memories.contents(h) / usual for h in paths.uneven_ends(run, memories, *generators(0), where))
    held = memories.contents(run.h) / usual
    for contents, signs in ((start, run.held), (end, run.held.roll(-1, 1))):
        torch.testing.assert_close(contents[..., ~where], held[..., ~where], rtol=0, atol=1e-9)
        sizes = (contents * signs)[..., where]
        # uniform: of 2400 draws from a range of width 1 the mean is off by 0.006 (one standard error)
        assert 0.5 <= float(sizes.min()) < 0.51 and 1.49 < float(sizes.max()) <= 1.5
        assert abs(float(sizes.mean()) - 1) < 0.03
    apart = (start - end * run.held * run.held.roll(-1, 1))[..., where]
    assert float(apart.abs().mean()) > 0.2  # each end has its own sizes
    narrow = paths.uneven_ends(run, memories, *generators(0), where, spread=0.0)[0]
    torch.testing.assert_close(
        (memories.contents(narrow) / usual * run.held)[..., where], torch.ones(2, 400, D).double(), rtol=0, atol=1e-9
    )


# --- what is counted along a line -------------------------------------------------------------------------------------


def by_hand():
    """One network, one sequence, four entries at places 0, 0.5 and 1: the first turns at its zero, the second before
    it, the third not at all though it should, the fourth has nothing to turn for but is mixed in the middle."""
    contents = [[1.0, 1.0, -0.5, 2.0], [-0.2, 0.1, 0.0, 1.0], [-1.4, -0.8, 0.5, 0.3]]
    signs = [[1.0, 1.0, -1.0, 1.0], [-1.0, -1.0, -1.0, 0.0], [-1.0, -1.0, -1.0, 1.0]]
    shape = 3, 1, 1, 4
    return paths.Line(
        torch.tensor([0, 0.5, 1]).double(), torch.tensor(signs).view(shape), torch.tensor(contents).view(shape)
    )


def test_what_is_counted_along_a_line_by_hand():
    found = by_hand()
    assert found.follows(0.05)[0, 0].tolist() == [True, False, False, False]
    assert found.follows(0.15)[0, 0].tolist() == [True, True, False, False]
    assert found.follows(0.6)[0, 0].tolist() == [True, True, True, False]
    assert found.follows(1.1)[0, 0].tolist() == [True, True, True, True]
    assert found.turns()[0, 0].tolist() == [0.25, 0.25, math.inf, math.inf]
    zeros = [1 / 2.4, 1 / 1.8, 0.5, math.inf]
    torch.testing.assert_close(found.crossings()[0, 0], torch.tensor(zeros), check_dtype=False)
    assert found.reached(torch.tensor([[[-1.0, -1.0, -1.0, 1.0]]])).tolist() == [[0.75]]
    assert found.reached(torch.tensor([[[1.0, 1.0, -1.0, 1.0]]])).tolist() == [[0.0]]
    assert found.reached(torch.tensor([[[1.0, 1.0, 1.0, 1.0]]])).tolist() == [[math.inf]]
    # distances 1/6, 0.306 and a whole way (it never turns) from the own zero; 1/4, 1/4 and a whole way from the middle
    assert float(paths.own_zero(found)) == pytest.approx((1 / 1.8 - 0.25) / 0.25)


def test_own_zero_of_a_line_without_a_crossing_is_missing():
    found = by_hand()
    still = replace(found, contents=found.contents.abs() + 0.1)
    assert bool(paths.own_zero(still).isnan().all())
