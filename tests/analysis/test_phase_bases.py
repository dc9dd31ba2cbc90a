"""Bases that go with the clock, on networks written down, where they and what edits do are known."""

import pytest
import torch

from emt_core.analysis import phase_bases
from emt_core.networks.elman import Elman
from emt_core.networks.vectors import VectorNetwork, elman
from emt_core.support.random_streams import stream
from emt_core.tasks import ChangeRinging
from emt_core.tasks.change_ringing import Method, split_rows
from emt_core.theory import ringing

METHOD = Method("Plain Bob", 4, "&x14x14,12")
TASK = ChangeRinging((METHOD,))
HEARD, HELD = split_rows(4, 0.25, stream(0, "split"))
P, COURSE = METHOD.lead, METHOD.lead * METHOD.leads


def clocked() -> VectorNetwork:
    return elman(*(w[None] for w in ringing.clocked(METHOD, TASK.bits)), activation="identity")


def gated() -> VectorNetwork:
    W_uh, W_hh, W_r, b = (w[None] for w in ringing.gated(METHOD, TASK.bits))
    return VectorNetwork(Elman(W_hh=W_hh, W_uh=W_uh, b=b), W_r)


def both(network, count=3 * P):
    return [phase_bases.ring(network, TASK, rows, count) for rows in (HEARD, HELD)]


def test_the_clocked_network_has_the_row_in_the_block_of_its_phase():
    """By the definition, h = |t⟩ ⊗ x, so that the phases share no directions: of the rows' 6 (4 places of 2 signs, less
    a sum that is zero for each) there are 8 times as many."""
    fitted, held = both(clocked())
    bases = [phase_bases.fit(fitted, TASK, t) for t in range(P, 2 * P)]
    x = TASK.encode(held.rows[P + 3], torch.float64)
    expected = torch.zeros(len(HELD), P, TASK.dim, dtype=torch.float64)
    expected[:, 3] = x
    found = torch.nn.functional.pad(x, (0, 1), value=1.0) @ bases[3][0]
    assert (found - expected.flatten(1)).abs().max() < 1e-12
    assert phase_bases.dimensions(bases, 1).tolist() == [6 * P]
    assert [int(phase_bases.dimensions([basis], 1)) for basis in bases] == [6] * P
    half = phase_bases.dimensions(bases, 0.5)  # each of the 48 has the same part
    assert half.tolist() == [24]


@pytest.mark.parametrize("network", [clocked, gated], ids=lambda f: f.__name__)
def test_what_is_linear_in_the_row_is_explained_in_every_lead(network):
    """Of runs from other rows, to rounding, by the basis of that phase in whatever lead; not by another's."""
    fitted, held = both(network(), 4 * P)
    basis = phase_bases.fit(fitted, TASK, P + 2)
    for t in (P + 2, 2 * P + 2, 3 * P + 2):
        assert 1 - phase_bases.explained(basis, held, TASK, t) < 1e-6  # gates: 1 − tanh(5) is 1e-4, squared
    other = [float(phase_bases.explained(basis, held, TASK, P + 2 + k)) for k in range(1, P)]
    assert max(other) < 0.75  # gates that are open in both phases are the same; in the clocked network none are
    if network is clocked:  # all that varies is in another block: |x|² is missed, and as much is made up elsewhere
        signs = TASK.encode(held.rows[P + 3 : 2 * P + 2], torch.float64)
        missed = signs.square().sum((1, 2)) / (signs - signs.mean(1, keepdim=True)).square().sum((1, 2))
        assert other == pytest.approx((1 - 2 * missed).tolist(), abs=1e-9)


def test_a_basis_leaves_out_what_all_rows_have_in_common():
    """On five bells the signs of a row add up to what is not zero: a constant in the state, such as the clock's units,
    is no part of Ψ. Gates before equal changes then have equal bases, which only the constants tell apart."""
    method = Method("Plain Bob", 5, "&5.1.5.1.5,125")
    task, starts = ChangeRinging((method,)), split_rows(5, 0.25, stream(0, "split"))[0]
    W_uh, W_hh, W_r, b = (w[None] for w in ringing.gated(method, task.bits))
    rung = phase_bases.ring(VectorNetwork(Elman(W_hh=W_hh, W_uh=W_uh, b=b), W_r), task, starts, 20)
    first, third, other = (phase_bases.fit(rung, task, t)[0] for t in (10, 12, 11))
    assert (first[:-1] - third[:-1]).norm() < 1e-3 * first[:-1].norm() < (first[:-1] - other[:-1]).norm()
    assert (first[-1] - third[-1]).norm() > 1
    common = torch.eye(task.bits, dtype=torch.float64).repeat(1, method.bells)  # all places alike
    assert (common @ first[:-1]).abs().max() < 1e-10


def test_r_squared_is_that_of_its_definition():
    fitted, held = both(gated())
    basis, h = phase_bases.fit(fitted, TASK, 5), held.states[0, 5]
    found = torch.nn.functional.pad(TASK.encode(held.rows[5], torch.float64), (0, 1), value=1.0) @ basis[0]
    noise = torch.randn(h.shape, generator=stream(0, "noise"), dtype=torch.float64)
    noisy = phase_bases.Rung(held.states.clone(), held.rows)
    noisy.states[0, 5] = found + noise
    expected = 1 - noise.square().sum() / ((found + noise) - (found + noise).mean(0)).square().sum()
    assert float(phase_bases.explained(basis, noisy, TASK, 5)) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("network", [clocked, gated], ids=lambda f: f.__name__)
@pytest.mark.parametrize("t", [1, P, 2 * P - 1])
def test_two_bells_are_swapped_by_an_edit_and_by_none_of_its_controls(network, t):
    fitted, held = both(network())
    for runs in (fitted, held):
        found = phase_bases.swap_edits(network(), TASK, fitted, runs, t, stream(0, "edit"))
        assert [*found] == [*phase_bases.STATES]
        sure = [float(found[name]) for name in ("edit", "written", "swapped from the start")]
        assert sure == [1.0, 1.0, 1.0]
        # on 4 bells a row is sometimes right by chance; with no edit it is that of other bells
        assert float(found["nothing"]) == 0 and max(float(found[n]) for n in ("other phase", "random")) < 0.5


def test_ensembles_are_their_members():
    one, other = clocked(), clocked()
    other = other.with_weights({name: 0.9 * w for name, w in other.weights.items()})
    pair = one.with_weights({name: torch.cat([w, other.weights[name]]) for name, w in one.weights.items()})
    fitted, held = both(pair)
    found = phase_bases.swap_edits(pair, TASK, fitted, held, 3, stream(0, "edit"))
    for m, network in enumerate((one, other)):
        own_fitted, own = both(network)
        assert torch.allclose(phase_bases.fit(own_fitted, TASK, 3)[0], phase_bases.fit(fitted, TASK, 3)[m], atol=1e-12)
        alone = phase_bases.swap_edits(network, TASK, own_fitted, own, 3, stream(0, "edit"))
        for name in ("edit", "written", "nothing", "swapped from the start"):  # a random change is drawn for each
            assert float(found[name][m]) == float(alone[name])


def test_rows_are_those_of_the_method_and_states_hold_them():
    rung = phase_bases.ring(clocked(), TASK, HELD, COURSE + 1)
    for b, start in enumerate(HELD):
        assert torch.equal(rung.rows[:, b], METHOD.rows(COURSE + 1, start))
    assert torch.equal(rung.rows[0], rung.rows[-1])
    blocks = rung.states[0].unflatten(2, (P, -1))
    assert torch.equal(blocks[10, :, 10 % P], TASK.encode(rung.rows[10], torch.float64))


def test_runs_that_go_on_are_judged_one_by_one():
    """From states of the run itself all is right; held against other rows, nothing; and row 0 is found again."""
    fitted, held = both(clocked())
    t = P + 3
    for rows, share in ((held.rows[t], 1), (held.rows[t].flip(1), 0)):
        found = phase_bases.ring_on(clocked(), TASK, held.states[:, t], rows, t)
        assert found.shape == (1, len(HELD)) and (found == share).all()
    assert phase_bases.begun(TASK, held.rows[t], t).tolist() == [list(row) for row in HELD]
    half = phase_bases.ring_on(clocked(), TASK, held.states[:, t], torch.cat([held.rows[t][:3], held.rows[t][:3]]), t)
    assert half.tolist() == [[1, 1, 1, 0, 0, 0]]
    assert (
        phase_bases.written(phase_bases.fit(fitted, TASK, t), TASK, held.rows[t]) - held.states[:, t]
    ).abs().max() < 1e-12


def test_swapped_rows_have_two_bells_in_each_others_place():
    rows = torch.tensor(HEARD)
    new = phase_bases.swapped(rows, stream(1, "edit"))
    assert torch.equal(new.sort(1).values, torch.arange(4).expand_as(rows))
    assert ((new != rows).sum(1) == 2).all() and len(torch.unique((new != rows).int(), dim=0)) == 6  # every pair


def test_what_cannot_be_asked():
    with pytest.raises(ValueError, match=r"^task must be one method, .* got 8 ways and 1 rows"):
        phase_bases.ring(clocked(), ChangeRinging((METHOD,), anywhere=True), HELD, 3)
    with pytest.raises(ValueError, match=r"^task must be one method, .* got 1 ways and 2 rows"):
        phase_bases.ring(clocked(), ChangeRinging((METHOD,), 2), HELD, 3)
    with pytest.raises(ValueError, match=r"^starts must be at least one row"):
        phase_bases.ring(clocked(), TASK, (), 3)
    fitted, held = both(clocked(), 6)
    with pytest.raises(ValueError, match=r"^t must be below 3, got 3"):
        phase_bases.swap_edits(clocked(), TASK, fitted, held, 3, stream(0, "edit"))
    with pytest.raises(ValueError, match=r"^t must be at least 1, got 0"):
        phase_bases.swap_edits(clocked(), TASK, fitted, held, 0, stream(0, "edit"))
    for share in (0, 1.5):
        with pytest.raises(ValueError, match=r"^share must"):
            phase_bases.dimensions([phase_bases.fit(fitted, TASK, 3)], share)
