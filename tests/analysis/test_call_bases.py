"""Bases that go with the last change, on a network written down, where they and what edits do are known."""

import pytest
import torch

from emt_core.analysis import call_bases, phase_bases
from emt_core.networks import Reader
from emt_core.networks.elman import Elman
from emt_core.support.random_streams import stream
from emt_core.tasks.call_changes import CallChanges, called, changes_of, stretches_of
from emt_core.tasks.change_ringing import Method, parse_change, right_rows, split_rows
from emt_core.theory import ringing

BOB, OTHER = Method("Plain Bob", 6, "&x16x16x16,12"), Method("Double Bob", 6, "&x16x16x56,12")
TASK = CallChanges((BOB,))
CHANGES = changes_of((BOB,))
HEARD, HELD = (torch.tensor(rows[:60]) for rows in split_rows(6, 0.25, stream(0, "split")))


def conducted(scale=1.0) -> Reader:
    W_uh, W_hh, W_r, b = (w[None] for w in ringing.conducted(6, 3))
    cell = Elman(W_hh=W_hh, W_uh=W_uh, b=b)
    return Reader(cell, scale * W_r, torch.zeros(1, 18, dtype=torch.float64))


def run(network, starts=HEARD, count=30, method=BOB):
    return call_bases.ring(network, TASK, starts, called(method, count)[:, None].expand(-1, len(starts), -1))


def test_the_network_written_down_rings_what_it_is_called():
    """Also changes that follow no method, and as long as one likes."""
    every = torch.tensor(changes_of((BOB, OTHER)))
    changes = every[torch.randint(len(every), (300, len(HELD)), generator=stream(0, "calls"))]
    right = call_bases.right(conducted(), TASK, call_bases.ring(conducted(), TASK, HELD, changes))
    assert right.shape == (1, 300) and bool((right == 1).all())
    assert not call_bases.right(conducted(-1.0), TASK, call_bases.ring(conducted(-1.0), TASK, HELD, changes)).any()


def test_right_rows_are_counted_row_by_row():
    network = conducted()
    noise = torch.randn(network.cell.W_hh.shape, generator=stream(2, "noise"), dtype=torch.float64)
    network = network.with_weights(network.weights | {"W_hh": network.cell.W_hh + 0.2 * noise})
    own = run(network, count=12)
    found = call_bases.right(network, TASK, own)[0]
    h, expected = network.cell.zero_state(len(HEARD)).double(), []
    for t in range(13):
        h = network.step(h, own.inputs[t][None])
        expected.append(right_rows(network.read_out(h)[0], TASK.signs.encode(own.rows[t], torch.float64)))
    assert found.tolist() == [float(each.double().mean()) for each in expected[1:]]
    assert 0 < float(found[-1]) < 1


def test_states_lie_in_the_basis_of_the_last_change():
    """Of the six numbers that a place has as u⁺ and u⁻, those of the open gates hold the content: rows that stay swap
    no units with those that move. Changes that share an open gate share its directions, so that others explain some."""
    fitted, others = run(conducted()), run(conducted(), HELD, method=OTHER)
    own, covered = call_bases.by_history(fitted, others, TASK, 1, 12)
    assert own.shape == (1,) and 1 - float(own) < 1e-6 and 0.8 < covered < 1  # the other method has a change more
    shared = call_bases.shared(fitted, others, TASK, CHANGES, 12)
    assert {name: value.shape for name, value in shared.items()} == dict.fromkeys(("other", "one"), (1,))
    assert float(shared["other"]) < 0.5 and float(shared["one"]) < 0.9
    cross = CHANGES.index(parse_change("x", 6))  # all places swap: no gate of a place that stays is open
    basis = call_bases.bases(fitted, TASK, CHANGES, 12)[cross][0, :-1]
    still = torch.tensor([p == q for p in range(6) for q in (p - 1, p, p + 1) if 0 <= q < 6])
    units = still.repeat_interleave(3).repeat(2)
    assert basis[:, units].abs().max() < 1e-3 < basis[:, ~units].abs().max()


def test_what_explains_is_judged_with_its_own_constant_and_others_by_the_best():
    fitted, others = run(conducted()), run(conducted(), HELD, method=OTHER)
    shifted = call_bases.Called(others.inputs, others.states + 0.5, others.rows, others.changes)
    plain, moved = (call_bases.shared(fitted, own, TASK, CHANGES, 12) for own in (others, shifted))
    right, wrong = (float(call_bases.by_history(fitted, own, TASK, 1, 12)[0]) for own in (others, shifted))
    assert wrong < right - 0.1
    for name in ("other", "one"):
        assert float(moved[name]) == pytest.approx(float(plain[name]), abs=1e-9)
    each = call_bases.bases(fitted, TASK, CHANGES, 12)
    best = []
    for j, change in enumerate(CHANGES):
        part = call_bases.after(others, change, 12)
        best.append(max(
            float(phase_bases.explained(call_bases.centred(basis, part, TASK), part, TASK.signs, 0))
            for i, basis in enumerate(each) if i != j
        ))  # fmt: skip
    assert float(plain["other"]) == pytest.approx(sum(best) / len(best), abs=1e-12)


def test_histories_are_the_last_changes_in_their_order():
    """By hand, and by a network whose state depends on the last two changes: R² is 1 from two on, and below for one."""
    fitted, others = run(conducted(), count=60), run(conducted(), HELD, 60)
    found = call_bases._histories(others, 2, 5)
    for history, part in found.items():
        times = [t for t in range(5, 61) if (*BOB.changes[(t - 1) % 12], *BOB.changes[(t - 2) % 12]) == history]
        assert torch.equal(part.rows[0], others.rows[times].flatten(0, 1))
        assert torch.equal(part.states[:, 0], others.states[:, times].flatten(1, 2))
    assert sum(part.rows.shape[1] for part in found.values()) == 56 * len(HELD)
    two = []
    for own in (fitted, others):  # the state before beside the state
        both = torch.cat([own.states, own.states.roll(1, 1)], -1)
        two.append(call_bases.Called(own.inputs, both, own.rows, own.changes))
    shares = [float(call_bases.by_history(*two, TASK, depth, 5)[0]) for depth in (1, 2, 3)]
    assert shares[0] < 0.95 and min(shares[1:]) > 0.999
    share, covered = call_bases.by_history(fitted, others, TASK, 1, 5, least=60 * 6)
    often = [c for c in CHANGES if sum(BOB.changes[(t - 1) % 12] == c for t in range(5, 61)) >= 6]
    expected = sum(BOB.changes[(t - 1) % 12] in often for t in range(5, 61)) / 56
    assert 0 < len(often) < len(CHANGES) and covered == pytest.approx(expected) and float(share) > 0.999
    with pytest.raises(ValueError, match=r"^first must be at least depth = 3, got 2"):
        call_bases.by_history(fitted, others, TASK, 3, 2)
    with pytest.raises(ValueError, match=r"^least must be met by some history of 1 changes, got 100000"):
        call_bases.by_history(fitted, others, TASK, 1, 2, 100_000)


def test_after_takes_the_rows_that_follow_a_change_and_no_others():
    own = run(conducted(), count=30)
    for change in CHANGES:
        found = call_bases.after(own, change, 5)
        times = [t for t in range(5, 31) if BOB.changes[(t - 1) % 12] == change]
        assert torch.equal(found.rows[0], own.rows[times].flatten(0, 1))
        assert torch.equal(found.states[:, 0], own.states[:, times].flatten(1, 2))
    with pytest.raises(ValueError, match=r"^change must be called after row 4 of these runs, got \(0, 1, 2, 3, 4, 5\)"):
        call_bases.after(own, (0, 1, 2, 3, 4, 5), 5)


def test_a_constant_is_no_fault_of_a_basis():
    own = call_bases.after(run(conducted()), CHANGES[0])
    basis = call_bases.bases(run(conducted()), TASK, CHANGES)[0]
    moved = basis.clone()
    moved[:, -1] += 1
    assert torch.allclose(call_bases.centred(moved, own, TASK), basis, atol=1e-9)


def test_one_basis_is_that_of_its_definition():
    """Least squares with an indicator of the change beside the signs, by one solve."""
    own = run(conducted())
    parts = [call_bases.after(own, change) for change in CHANGES]
    x = torch.cat([TASK.signs.encode(p.rows[0], torch.float64) for p in parts])
    which = torch.cat([torch.full((p.rows.shape[1],), i) for i, p in enumerate(parts)])
    design = torch.cat([x, torch.nn.functional.one_hot(which).double()], 1)
    h = torch.cat([p.states[0, 0] for p in parts])
    solution = torch.linalg.lstsq(design, h, driver="gelsd").solution
    one = call_bases.one_basis(own, TASK, CHANGES)[0]
    centred = torch.cat([x[which == i] - x[which == i].mean(0) for i in range(len(parts))])
    assert torch.allclose(centred @ one[:-1], centred @ solution[: x.shape[1]], atol=1e-8)
    assert not one[-1].any()


@pytest.mark.parametrize("t", [1, 13, 29])
def test_two_bells_are_swapped_through_a_basis(t):
    """Through that of any change: what is written where gates are closed moves u⁺ and u⁻ alike, and their mean is what
    is read. A random change of equal size does nothing of the kind, nor does a basis of other signs."""
    network, others = conducted(), run(conducted(), HELD, 36, OTHER)
    every = changes_of((BOB, OTHER))
    fitted = call_bases.bases(run(conducted(), HEARD, 30, OTHER), TASK, every)

    def after(fitted):
        return call_bases.swap_edits(network, TASK, fitted, every, others, t, 6, stream(0, "edit"))

    found = after(fitted)
    assert [*found] == [*call_bases.STATES]
    assert [float(found[name]) for name in ("edit", "another change's basis", "swapped from the start")] == [1.0] * 3
    assert float(found["nothing"]) == 0 and float(found["random"]) < 0.5
    found = after([basis.roll(6, 1) for basis in fitted])
    assert max(float(found["edit"]), float(found["another change's basis"])) < 0.5


def test_ensembles_are_their_members():
    one, other = conducted(), conducted(0.5)
    pair = one.with_weights({name: torch.cat([w, other.weights[name]]) for name, w in one.weights.items()})
    both, alone = run(pair, HELD), run(other, HELD)
    assert torch.equal(both.states[1:], alone.states)
    fitted = call_bases.bases(both, TASK, CHANGES)
    found = call_bases.swap_edits(pair, TASK, fitted, CHANGES, both, 13, 17, stream(0, "edit"))
    assert all(value.shape == (2,) for value in found.values())
    assert found["edit"].tolist() == [1.0, 1.0]


def test_what_is_no_edit():
    own = run(conducted(), count=12)
    fitted, never = call_bases.bases(own, TASK, CHANGES), (tuple(range(6)), tuple(range(5, -1, -1)))
    for t, changes, message in (
        (8, CHANGES, r"^t must be at most 7 and changes at least two, got 8 and 3"),
        (3, CHANGES[:1], r"^t must be at most 7 and changes at least two, got 3 and 1"),
        (3, never, r"^changes must have every one that is called before row 3, got"),
    ):
        with pytest.raises(ValueError, match=message):
            call_bases.swap_edits(conducted(), TASK, fitted, changes, own, t, 5, stream(0, "edit"))
    with pytest.raises(ValueError, match=r"^t must be at most 12 and"):
        call_bases.next_rows(conducted(), TASK, fitted, CHANGES, own, 13, set())
    pair = conducted().with_weights({name: torch.cat([w, w]) for name, w in conducted().weights.items()})
    with pytest.raises(ValueError, match=r"^network must be one network, got 2"):
        call_bases.next_rows(pair, TASK, fitted, CHANGES, own, 3, set())


def test_a_network_that_moves_every_change_alike_rings_pairs_that_never_met():
    """Also from states that are rewritten as if another change had been last: all are read in one way."""
    others, every = run(conducted(), HELD, method=OTHER), changes_of((OTHER,))
    fitted, met = call_bases.bases(others, TASK, every), stretches_of((OTHER,), 2)
    shares, cases = call_bases.next_rows(conducted(), TASK, fitted, every, others, 14, met)
    assert [*shares] == [*call_bases.REWRITTEN]
    i = every.index(OTHER.changes[13 % 12])
    assert cases.tolist() == [[len(HELD) * (k == i)] * len(every) for k in range(len(every))]
    for name, share in shares.items():
        assert share[i].nan_to_num(1).tolist() == [1] * len(every) and share[:i].isnan().all(), name
    wrong, none = call_bases.next_rows(conducted(-1.0), TASK, fitted, every, others, 14, met)
    assert not none.any() and all(share.isnan().all() for share in wrong.values())  # no state is right to begin with


def test_pairs_are_told_apart_and_states_rewritten():
    """By a network that goes on from the states of one change alone, its directions and its constant, and from others
    not: whatever the last change is, it is right if the state is rewritten as that change's."""
    others, every, t = run(conducted(), HELD), changes_of((BOB,)), 14
    fitted = call_bases.bases(others, TASK, every)
    last, friend = every.index(BOB.changes[13 % 12]), every.index(BOB.changes[0])
    network, target = conducted(), phase_bases.written(fitted[friend], TASK.signs, others.rows[t])

    class Choosy(Reader):
        def step(self, h, inputs=None):
            near = (h.unflatten(1, (-1, len(HELD))) - target[:, None]).norm(dim=-1).flatten(1) < 1e-2
            return torch.where(near[..., None], super().step(h, inputs), torch.zeros_like(h))

    choosy = Choosy(network.cell, network.W_out, network.b_out)
    met = {(every[friend], change) for change in every}
    shares, _ = call_bases.next_rows(choosy, TASK, fitted, every, others, t, met)
    assert last != friend and (shares["as met"][last] == 1).all()
    for name in ("as it is", "alike", "as never met", "directions as met", "constant as met"):
        assert (shares[name][last] == 0).all(), name
