import numpy as np
import pytest
import torch
from drawing import draw

from emt_core.book import figures

BITS = [1, 2, 3, 7]
X, M = len(BITS), 3


def shares(*shape, seed=0):
    return np.random.default_rng(seed).uniform(size=shape)


def named(ax):
    """The lines of each name."""
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def test_foretold_has_marks_for_what_is_measured_and_a_line_for_each_rule():
    rules = {"rule": shares(X, seed=1), "three": torch.from_numpy(shares(X, seed=2))}
    networks = {f"net {n}": (shares(X, seed=n), rules) for n in range(3)}
    figure = figures.bits.foretold(BITS, networks, {3: "e4m3", 7: "bf16", 10: "fp16"})
    *drawn, blank = figure.axes
    assert not blank.axison
    for n, ax in enumerate(drawn):
        lines = named(ax)
        assert ax.get_title() == f"net {n}" and list(lines) == ["rule", "three", "measured"]
        np.testing.assert_allclose(lines["measured"].get_ydata(), shares(X, seed=n))
        np.testing.assert_allclose(lines["three"].get_ydata(), shares(X, seed=2))
        assert [lines[k].get_linestyle() for k in lines] == ["-", "--", "None"]  # not by colour alone
        assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2", "3", "7"]
        assert {t.get_text(): t.get_position()[0] for t in ax.texts} == {"e4m3": 3, "bf16": 7}  # no fp16: not tried
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == ["rule", "three", "measured"]
    draw(figure)


def test_by_hand_shows_measured_promised_and_what_is_needed():
    gammas, at = [0.25, 0.5, 0.75], [2, 4, 16]
    kept = {"fp32": ([12, 24, 2], [12, 22, 1]), "e5m2": (torch.tensor([2, 3, 2]), [1, 2, 0])}
    needed = {"onion": [2, 4, np.nan], "phases": [1, 1, 3]}
    figure = figures.bits.by_hand(gammas, kept, at, needed, 0.5)
    left, right = figure.axes
    assert (left.get_yscale(), right.get_xscale()) == ("log", "log")
    lines = named(left)
    assert list(lines) == list(kept)
    np.testing.assert_allclose(lines["e5m2"].get_ydata(), [2, 3, 2])
    dashed = [line.get_ydata() for line in left.lines if line.get_linestyle() == "--"]
    np.testing.assert_allclose(dashed, [[12, 22, 1], [1, 2, np.nan]])  # where nothing is promised, no line
    assert any(list(line.get_xdata()) == [0.5, 0.5] for line in left.lines)
    np.testing.assert_allclose(named(right)["onion"].get_ydata(), [2, 4, np.nan])
    assert [label.get_text() for label in right.get_xticklabels()] == ["2", "4", "16"]
    assert kept["fp32"][1] == [12, 22, 1]  # as they were given
    draw(figure)


def test_coarse_has_a_panel_a_memory_and_the_unrounded_median():
    unrounded = torch.tensor([0.9, 0.7, 0.8])
    roundings = {"to nearest": shares(X, M), "at random": torch.from_numpy(shares(X, 1))}
    figure = figures.bits.coarse(BITS, {"analog": (unrounded, roundings), "digital": (unrounded, roundings)}, 1000)
    left, right = figure.axes
    assert [ax.get_title() for ax in (left, right)] == ["analog", "digital"]
    assert left.get_ylabel() == "signs right at step 1,000 (%)" and left.get_ylim() == right.get_ylim()
    lines = named(left)
    assert list(lines) == ["not rounded", "to nearest", "at random"]
    np.testing.assert_allclose(lines["not rounded"].get_ydata(), 80, rtol=1e-6)
    np.testing.assert_allclose(lines["to nearest"].get_ydata(), 100 * np.median(shares(X, M), axis=1))
    assert len(left.lines) == 1 + M + 1 + 1 + 1  # not rounded; networks and their median, twice
    draw(figure)


def test_agreement_has_a_mark_a_case_and_a_band():
    groups = {f"cell {n}": (shares(4, seed=n), shares(4, seed=n + 20)) for n in range(9)}
    figure = figures.bits.agreement({"rule": groups, "three rivals": groups}, 0.1)
    left, right = figure.axes
    assert (left.get_title(), right.get_title(), left.get_xlabel()) == ("rule", "three rivals", "predicted")
    assert [list(line.get_ydata()) for line in left.lines] == [[0, 1], [-0.1, 0.9], [0.1, 1.1]]
    dots = left.collections
    np.testing.assert_allclose(dots[2].get_offsets(), np.stack(groups["cell 2"], axis=1))
    looks = {(str(d.get_edgecolor()), str(d.get_facecolor()), str(d.get_paths()[0].vertices.tolist())) for d in dots}
    assert len(looks) == len(groups)  # none looks as another
    draw(figure)


def test_from_the_start_compares_sizes_and_overlaps():
    sizes = {"fp32": 1 + shares(M, 9), "fp8": torch.from_numpy(1 + shares(2, 9))}
    overlap = {"fp32": shares(M), "fp8": shares(2)}
    figure = figures.bits.from_the_start(sizes, overlap)
    left, right = figure.axes
    lines = named(left)
    first = 1 + shares(M, 9)
    np.testing.assert_allclose(lines["fp32"].get_ydata(), np.median(first / first[:, :1], axis=0))
    assert list(lines["fp8"].get_xdata()) == list(range(1, 10))
    np.testing.assert_allclose(right.lines[1].get_xdata(), shares(2))
    assert [label.get_text() for label in right.get_yticklabels()] == ["fp32", "fp8"]
    draw(figure)


WRONG = np.ones((2, 2))


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("bits", lambda: figures.bits.foretold(WRONG, {}, {})),
        ("net", lambda: figures.bits.foretold(BITS, {"net": ([0.5], {})}, {})),
        ("rule, net", lambda: figures.bits.foretold(BITS, {"net": (shares(X), {"rule": [1]})}, {})),
        ("gammas", lambda: figures.bits.by_hand(WRONG, {}, [1], {}, 0.5)),
        ("fp32", lambda: figures.bits.by_hand([0.1], {"fp32": ([1, 2], [1])}, [1], {}, 0.5)),
        ("phases", lambda: figures.bits.by_hand([0.1], {}, [1, 2], {"phases": [1]}, 0.5)),
        ("unrounded, a", lambda: figures.bits.coarse(BITS, {"a": (WRONG, {})}, 1)),
        ("nearest, a", lambda: figures.bits.coarse(BITS, {"a": ([1], {"nearest": WRONG})}, 1)),
        ("measured, g", lambda: figures.bits.agreement({"r": {"g": ([1, 2], [1])}}, 0.1)),
        ("overlap", lambda: figures.bits.from_the_start({"a": WRONG}, {"b": [1, 2]})),
        ("overlap, a", lambda: figures.bits.from_the_start({"a": WRONG}, {"a": [1]})),
    ],
)
def test_bad_shapes_are_named(name, call):
    with pytest.raises(ValueError, match=name):
        call()
