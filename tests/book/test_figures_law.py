"""The triangle of all networks: every dot is where its three shares put it, and no two groups look alike."""

import numpy as np
import pytest
import torch
from drawing import draw
from matplotlib.colors import to_rgba

from emt_core.book import figures
from emt_core.book.figures.law import CORNERS, MOST, PLACES, shares
from emt_core.book.figures.style import MARKERS

GROUPS = {
    "GRU": [[0.2, 0.3, 0.5], [1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "Elman": torch.full((1, 3), 1 / 3),
}


def test_a_dot_is_as_far_from_each_side_as_its_share_says():
    ax = figures.law.triangle(GROUPS)
    corners = np.array(PLACES)
    for found, wanted in zip(ax.collections, GROUPS.values(), strict=True):
        for spot, parts in zip(found.get_offsets(), np.asarray(wanted), strict=True):
            for k in range(3):
                one, other = corners[[j for j in range(3) if j != k]]  # the side across from corner k
                along = (other - one) / np.linalg.norm(other - one)
                off = np.asarray(spot) - one
                distance = abs(along[0] * off[1] - along[1] * off[0])
                assert distance == pytest.approx(parts[k] * np.sqrt(0.75), abs=1e-7)  # of the height; float32 shares
    np.testing.assert_allclose(ax.collections[1].get_offsets()[0], corners.mean(0), atol=1e-7)


def test_corners_from_shares():
    found = figures.law.corners([0.2, -0.1, 0.0], torch.tensor([0.3, 0.5, 0.0]))
    np.testing.assert_allclose(found, [[0.2, 0.3, 0.5], np.array([0, 0.5, 0.6]) / 1.1, [0, 0, 1]], atol=1e-7)
    with pytest.raises(ValueError, match=r"^placing: got shape \(1,\), expected \(2\)"):
        figures.law.corners([0.1, 0.2], [0.3])


def test_corners_are_named_beside_them_and_groups_are_counted():
    ax = figures.law.triangle(GROUPS)
    assert [text.get_text() for text in ax.texts] == list(CORNERS)
    for text, corner in zip(ax.texts, PLACES, strict=True):
        assert np.linalg.norm(np.array(text.get_position()) - corner) < 0.05
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["GRU (4)", "Elman (1)"]
    draw(ax)


def test_lines_cross_the_sides_at_quarters():
    ax = figures.law.triangle(GROUPS)
    *lines, border = (line.get_xydata() for line in ax.lines)
    assert len(lines) == 9 and len(border) == 4
    inverse = np.linalg.inv(np.column_stack([PLACES, np.ones(3)]))  # back to shares
    for line in lines:
        parts = np.column_stack([line, np.ones(2)]) @ inverse
        level = [k for k in range(3) if parts[0, k] == pytest.approx(parts[1, k])]
        assert len(level) == 1 and parts[0, level[0]] == pytest.approx(round(4 * parts[0, level[0]]) / 4)
        np.testing.assert_allclose(np.sort(parts)[:, 0], 0, atol=1e-12)  # both ends are on a side


def test_no_two_groups_look_alike_without_colour():
    ax = figures.law.triangle({f"group {k}": [[1, 0, 0]] for k in range(MOST)})
    looks = set()
    for spots in ax.collections:
        (path,) = spots.get_paths()
        hollow = tuple(spots.get_facecolor()[0][:3]) == to_rgba("white")[:3]
        assert hollow or tuple(spots.get_edgecolor()[0][:3]) == to_rgba("white")[:3]
        looks.add((path.vertices.tobytes(), hollow))
    assert len(looks) == MOST == 2 * len(MARKERS)


def test_it_is_drawn_into_axes_that_are_given():
    ax = figures.law.triangle(GROUPS)
    assert figures.law.triangle(GROUPS, ax=ax) is ax and len(ax.collections) == 4
    assert len(ax.figure.axes) == 1


def test_shares_are_checked_to_within_a_millionth():
    np.testing.assert_array_equal(shares([[0.5, 0.5 + 9e-7, 0]], "x"), [[0.5, 0.5 + 9e-7, 0]])
    for bad in ([0.5, 0.5 + 2e-6, 0], [0.6, 0.4 + 2e-6, -2e-6], [np.nan, 0.5, 0.5], [1, 1, -1], [0, 0, 0]):
        with pytest.raises(ValueError, match=r"^x: got \[.*\], expected three numbers of at least 0 that add up to 1"):
            shares([[1, 0, 0], bad], "x")


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({}, "^groups: got 0, expected 1 to 16"),
        ({str(k): [[1, 0, 0]] for k in range(17)}, "^groups: got 17, expected 1 to 16"),
        ({"a": [[1, 0]]}, r"^a: got shape \(1, 2\), expected \(any, 3\)"),
        ({"a": [1, 0, 0]}, r"^a: got shape \(3,\), expected \(any, 3\)"),
        ({"a": [[1j, 0, 0]]}, "^a: got complex128, expected real numbers"),
        ({"a": [[1, 1, 0]]}, "^a: got "),
    ],
)
def test_what_does_not_fit_is_named(groups, message):
    with pytest.raises(ValueError, match=message):
        figures.law.triangle(groups)
