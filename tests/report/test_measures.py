"""What a report measures, on networks that are known: made of functions, or written down."""

import math

import pytest
import torch
from torch import nn

from emt_core.networks import Functions, from_torch, hand_built
from emt_core.report import asked, measures, runs, verdicts
from emt_core.support.random_streams import stream
from emt_core.tasks import TokenRepeat

V, L = 6, 3
SQUARE = torch.randint(V, (400, L), generator=stream(0, "test"))


def places(tokens: torch.Tensor) -> torch.Tensor:
    """A code without overlap: each position in V coordinates of its own (B, L V)."""
    return torch.nn.functional.one_hot(tokens, V).double().flatten(1)


def read(h: torch.Tensor, count: int) -> torch.Tensor:
    return h.unflatten(1, (-1, V)).argmax(2)[:, :count]


def network(step=None, write=read) -> Functions:
    return Functions(encode=places, write=write, vocabulary=V, run_on=step)


def test_accuracy_counts():
    def mistaken(h, count):
        written = read(h, count)
        wrong = written[:, 0] == 2
        written[wrong, 2] = (written[wrong, 2] + 1) % V
        return written

    found = measures.accuracy(network(write=mistaken), asked(network(), SQUARE))
    share = float((SQUARE[:, 0] != 2).double().mean())
    assert found["exact"][0] == pytest.approx(share) and found["exact"][3] == 400 == found["sequences"]
    assert found["tokens"] == pytest.approx(1 - (1 - share) / L)
    assert found["places"][0][:1] == [1.0] and found["places"][2][0] == pytest.approx(share)
    assert found["lengths"].keys() == {L} and found["exact"][1] < share < found["exact"][2]


def test_a_code_in_subspaces():
    q = asked(network(), SQUARE)
    found = measures.code(network(), q)
    assert found["length"] == L and found["tokens"] == V and len(found["additive"]) == measures.DRAWS
    assert min(found["additive"]) > 1 - 1e-9 and max(found["overlap_all"]) < 1e-9
    # a layer is a unit vector less the mean of V of them
    assert all(size == pytest.approx(math.sqrt(1 - 1 / V)) for draw in found["sizes"] for size in draw)
    assert max(max(draw) for draw in found["sizes_by_chance"]) < 0.5
    assert all(way == [[1.0] * L] * measures.DRAWS for way in (found["forwards"], found["backwards"]))
    assert verdicts.code(found).word == "subspaces"


@pytest.mark.parametrize(
    ("made", "word"),
    [(lambda: hand_built.subspaces(24, 8, 4), "subspaces"), (lambda: hand_built.onion(24, 8, 5), "onion")],
    ids=["subspaces", "onion"],
)
def test_codes_that_are_written_down(made, word):
    model = made()
    length = model.cell.layers.shape[1]
    q = asked(model, TokenRepeat(8, length, length).sample(300, stream(1, "test")))
    assert verdicts.code(measures.code(model, q)).word == word
    if word == "subspaces":  # an onion that is so short of units does not write what it holds
        success = {name: share[0] for name, share in measures.edits(model, q)["success"].items()}
        assert success["right position"] > 0.9 and success["another position"] < 0.1 > success["random direction"]


def test_a_state_that_is_no_sum_of_layers():
    """Products of tokens' signs: every layer is nothing but noise."""

    def encode(tokens):
        signs = torch.where(places(tokens).unflatten(1, (L, V)) > 0, -1.0, 1.0)
        return signs.prod(1) + 0 * places(tokens)[:, :V]

    mixed = Functions(encode=encode, write=lambda h, k: torch.zeros(len(h), k).long(), vocabulary=V)
    found = measures.code(mixed, asked(mixed, SQUARE))
    assert verdicts.code(found).word == "cannot tell"
    assert measures.edits(mixed, asked(mixed, SQUARE))["missing"].startswith("another token hardly ever changes")


def test_too_few_or_too_short_sequences_are_not_measured():
    single = asked(network(), SQUARE[:, :1])
    assert "single token" in measures.code(network(), single)["missing"]
    assert "single token" in measures.edits(network(), single)["missing"]
    same = asked(network(), SQUARE * 0)
    assert measures.edits(network(), same)["missing"] == "the sequences hold one token, always the same"
    ragged = asked(network(), [[0] + [1] * n for n in range(32)], [[1]] * 32)
    assert measures.code(network(), ragged)["missing"] == "only 1 sequences have the most frequent length, 32"
    assert "only 1 sequences" in measures.edits(network(), ragged)["missing"]


def test_kicks_that_are_smaller_than_half_the_margin_do_nothing():
    q = asked(network(), SQUARE)
    found = measures.kicks(network(), q)["sizes"]
    # a sequence's state has length √3; its margins are 1, moved by at most √2 of the kick's length
    assert found[0.2][0] == 1 and 0.2 * math.sqrt(3) * math.sqrt(2) < 1
    assert found[1.0][0] < 1
    assert list(found) == list(measures.KICKS)


def test_rounding_of_functions_is_once_and_of_cells_after_every_step():
    found = measures.rounding(network(), asked(network(), SQUARE))
    assert not found["every_step"] and all(share[0] == 1 for share in found["forms"].values())  # ones are in all forms
    model = hand_built.subspaces(24, vocabulary=4, longest=3)
    q = asked(model, TokenRepeat(4, 3, 3).sample(60, stream(0, "test")))
    coarse = measures.rounding(model, q)
    assert coarse["every_step"] and coarse["forms"]["10"][0] >= coarse["forms"]["1"][0]


def turned(h):
    """The positions move on by one, for ever: neutrally stable."""
    return h.roll(V, 1)


def test_what_need_not_be_told_apart_is_not_asked_for():
    """A memory of a label: states of one label meet, and that is as it should be."""
    label = lambda h: (h[:, :1] > 0).double() * 2 - 1  # noqa: E731
    labels = Functions(
        encode=lambda t: places(t)[:, :3].sum(1, keepdim=True) - 0.5 + 0.01 * places(t),
        write=lambda h, k: (h[:, :1] > 0).long().expand(-1, k),
        vocabulary=V,
        run_on=lambda h: label(h).expand(-1, h.shape[1]),
    )
    found = measures.lasting(labels, asked(labels, SQUARE, (SQUARE[:, 0] < 3).long()))
    assert verdicts.memory(found).word == "digital"
    constant = Functions(encode=places, write=lambda h, k: h[:, :k].long() * 0, vocabulary=V, run_on=lambda h: h)
    told = measures.lasting(constant, asked(constant, SQUARE))
    assert told == {"missing": "the network writes the same after every sequence"}


def test_few_sequences_of_large_states_can_be_peeled():
    """The covariance of 64 states of 80 numbers is singular: unshrunk, what is read collapses."""
    turn = torch.linalg.qr(torch.randn(80, 80, dtype=torch.float64, generator=stream(0, "turn"))).Q
    noise = 0.02 * torch.randn(V**L, 80, dtype=torch.float64, generator=stream(0, "noise"))
    numbers = V ** torch.arange(L)
    wide = Functions(encode=lambda t: places(t) @ turn[: L * V] + noise[(t * numbers).sum(1)], write=read, vocabulary=V)
    found = measures.code(wide, asked(wide, SQUARE[:80], [[0]] * 80))
    assert min(map(min, found["forwards"])) > 0.95


def test_the_null_is_drawn_anew():
    kinds = nn.RNN(4, 6, nonlinearity="relu"), nn.GRU(4, 6, 2), nn.LSTM(4, 6)
    for module in kinds:
        model = from_torch(module, embedding=nn.Embedding(V, 4), read_out=nn.Linear(6, V)).detach()
        other = runs.drawn_anew(model, 0)
        assert type(other.cell) is type(model.cell) and other.cell.weights.keys() == model.cell.weights.keys()
        assert all(torch.equal(other.weights[k], w) for k, w in model.weights.items() if k not in model.cell.weights)
        assert not any(torch.equal(w, model.cell.weights[k]) for k, w in other.cell.weights.items())
        assert other.cell.settings == model.cell.settings
    assert runs.drawn_anew(network(), 0) is None and runs.drawn_anew(hand_built.onion(12, 4, 3), 0) is None
    found = measures.code(model, asked(model, SQUARE))
    assert found["drawn_anew"].keys() == found.keys() - {"drawn_anew"}
    verdict = verdicts.code(found | {"additive": [1.0]})
    assert ". With its recurrent weights drawn anew it is: " in verdict.why or verdict.word == "cannot tell"


def test_states_that_forget_everything_are_no_code():
    gone = Functions(encode=lambda t: places(t) * 0, write=read, vocabulary=V)
    assert measures.code(gone, asked(gone, SQUARE)) == {"missing": "positions leave nothing behind in the states"}


STEPS = {
    "analog": turned,
    "digital": lambda h: torch.where(h > 0.5, 1 + (h - 1) / 2, h / 2),
    "fading": lambda h: h / 2 + 1,
    "fading to nothing": lambda h: h / 2,
    "unstable": lambda h: torch.where(h > 0.5, 1 + 2 * (h - 1), 2 * h),
}


@pytest.mark.parametrize("word", STEPS)
def test_what_becomes_of_errors(word):
    q = asked(network(), SQUARE)
    found = measures.lasting(network(STEPS[word]), q)
    assert verdicts.memory(found).word == word.partition(" ")[0]
    assert found["steps"][0] == 0 and found["steps"][-1] == 10 * L and found["kept"][0] == 1


def test_fixed_points_of_a_known_map():
    """h ↦ tanh(2h), unit by unit: 0 repels, ±0.9575 attract."""
    q = asked(network(), SQUARE)
    found = measures.fixed_points(network(lambda h: torch.tanh(2 * h)), q)
    assert found["starts"] == 24 and found["failed"] == 0
    assert found["found"].keys() == {"converged"} and found["stable"] < found["found"]["converged"]
    root = 0.9575040240772687
    slopes = {2.0, 2 * (1 - root**2)}
    assert {min(slopes, key=lambda s: abs(s - re)) for re, _ in found["multipliers"]} == slopes
    assert all(min(abs(re - s) for s in slopes) < 1e-6 and im == 0 for re, im in found["multipliers"])


def test_steps_that_cannot_be_searched_say_why():
    q = asked(network(), SQUARE)
    assert measures.fixed_points(network(), q) == {"missing": "no function run_on was given"}
    assert measures.lasting(network(), q) == {"missing": "no function run_on was given"}
    single = network(lambda h: h.float() @ torch.eye(h.shape[1]))
    assert "float64" in measures.fixed_points(single, q)["missing"]


def test_states_that_are_not_finite_are_refused():
    gone = Functions(encode=lambda t: places(t) / 0, write=read, vocabulary=V)
    with pytest.raises(ValueError, match=r"^network must leave finite states, got others: did its training diverge\?$"):
        measures.accuracy(gone, asked(network(), SQUARE))
