import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from drawing import draw

from emt_core.book import figures

S, D = 3, 2
ROOTS = np.exp(2j * np.pi * np.arange(S) / S)


def test_eigenvalues_draws_every_learned_dot_each_distinct_theory_ring_and_the_multiplicities():
    learned, theory = torch.randn(7, dtype=torch.complex128), np.append(np.repeat(ROOTS, D), [0, 0])
    ax = figures.eigenvalues(learned, theory, threshold=0.8, title="here")
    rings, dots = ax.collections
    assert len(dots.get_offsets()) == 7
    assert len(rings.get_offsets()) == S + 1
    assert [text.get_text() for text in ax.texts] == ["×2"] * S  # the zeros lie within the threshold
    assert ax.get_aspect() == 1 and ax.get_title() == "here"
    radii = [np.hypot(*line.get_data()).max() for line in ax.lines]
    np.testing.assert_allclose(radii, [1, 0.8])
    assert {"learned", "radius 0.8"} <= {text.get_text() for text in ax.get_legend().get_texts()}
    draw(ax.figure)


def test_eigenvalues_far_out_stay_in_view():
    ax = figures.eigenvalues([3 + 0j], ROOTS)
    assert ax.get_xlim()[1] > 3


def test_multiplicities_keep_near_but_different_values_apart():
    values = [1, 1 + 1e-6, 1j, 1 + 5e-3]
    assert sorted(count for _, count in figures.multiplicities(np.array(values))) == [1, 1, 2]


@pytest.mark.parametrize("residual", [0, 2])
def test_block_grid_marks_blocks_and_residual_components(residual):
    matrix = torch.randn(S * D + residual, S * D + residual)
    ax = figures.block_grid(matrix, S, D)
    low, high = ax.images[0].get_clim()
    assert -low == high == matrix.abs().max()
    labels = [text.get_text() for text in ax.get_xticklabels()]
    assert len(labels) == S + bool(residual) and ("rest" in labels) == bool(residual)
    assert len(ax.lines) == 2 * (S - 1 + bool(residual))
    draw(ax.figure)


def test_block_grids_share_one_scale_and_one_colour_bar():
    figure = figures.block_grids([np.eye(S * D), 3 * np.eye(S * D + 1), np.eye(S * D)], ["a", "b", "c"], S, D)
    panels = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title() for ax in panels] == ["a", "b", "c"]
    assert {ax.images[0].get_clim() for ax in panels} == {(-3.0, 3.0)}
    assert len(figure.axes) == 4 + 1  # two rows of two, one of them blank, and the bar
    draw(figure)


def test_memory_strip_shows_the_contents_of_the_named_times():
    contents = torch.arange(8.0 * S * D).reshape(8, S * D)
    padded = torch.cat([contents, torch.full((8, 3), 1e6)], dim=1)
    figure = figures.memory_strip(padded, S, D, times=range(2, 9), first=1)
    panels = [ax for ax in figure.axes if ax.get_title()]
    assert [ax.get_title() for ax in panels] == [f"t = {t}" for t in range(2, 9)]
    for ax, row in zip(panels, contents[1:], strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), row.reshape(S, D))
    draw(figure)


def test_curves_of_an_ensemble_and_of_one_model():
    x, ensemble = np.arange(5), np.random.default_rng(0).random((4, 5)) + 1
    ax = figures.curves(x, ensemble, ylabel="loss", log=True)
    assert len(ax.lines) == 5 and ax.get_yscale() == "log" and ax.get_xlabel() == "training step"
    np.testing.assert_allclose(ax.lines[-1].get_ydata(), np.median(ensemble, axis=0))
    ax = figures.curves(x, ensemble[0], ylabel="loss", xlabel="threshold")
    assert len(ax.lines) == 1 and ax.get_yscale() == "linear" and ax.get_xlabel() == "threshold"
    draw(ax.figure)


def test_staircase_shares_its_steps():
    figure = figures.staircase([0, 10, 20], torch.tensor([[1, 2, 3], [0, 2, 3]]), np.ones((2, 3)), expected=3)
    above, below = figure.axes
    assert len(above.lines) == 3 and len(below.lines) == 2
    assert below.get_yscale() == "log" and above.get_xlim() == below.get_xlim()
    draw(figure)


def test_equal_figures_are_equal_bytes():
    first, second = (draw(figures.eigenvalues(ROOTS, ROOTS).figure) for _ in range(2))
    assert first == second


def test_style_ends_with_its_block_and_use_style_stays():
    with plt.rc_context():
        plt.rcdefaults()
        with figures.style():
            assert plt.rcParams["svg.hashsalt"] == "emt"
        assert plt.rcParams["svg.hashsalt"] is None
        figures.use_style()
        assert plt.rcParams["svg.hashsalt"] == "emt"


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("learned", lambda: figures.eigenvalues(np.ones((2, 2)), ROOTS)),
        ("theory", lambda: figures.eigenvalues(ROOTS, np.ones((2, 2)))),
        ("matrix", lambda: figures.block_grid(np.ones((6, 5)), S, D)),
        ("matrix", lambda: figures.block_grid(np.ones((5, 5)), S, D)),
        ("matrix", lambda: figures.block_grid(np.eye(6) * 1j, S, D)),
        (r"matrices\[1\]", lambda: figures.block_grids([np.eye(6), np.eye(5)], ["a", "b"], S, D)),
        ("titles", lambda: figures.block_grids([np.eye(6)], ["a", "b"], S, D)),
        ("contents", lambda: figures.memory_strip(np.ones((4, 5)), S, D, [0])),
        ("times", lambda: figures.memory_strip(np.ones((4, 6)), S, D, [4])),
        ("times", lambda: figures.memory_strip(np.ones((4, 6)), S, D, [])),
        ("times", lambda: figures.memory_strip(np.ones((4, 6)), S, D, [0], first=1)),
        ("ys", lambda: figures.curves(np.arange(3), np.ones((2, 4)), ylabel="y")),
        ("counts", lambda: figures.staircase(np.arange(3), np.ones(4), np.ones(3))),
        ("loss", lambda: figures.staircase(np.arange(3), np.ones(3), np.ones(4))),
    ],
)
def test_bad_shapes_are_named(name, call):
    with pytest.raises(ValueError, match=name):
        call()


def test_eigenvalues_names_its_dots_as_asked():
    ax = figures.eigenvalues(ROOTS, ROOTS, label="W_hh")
    names = {text.get_text() for text in ax.get_legend().get_texts()}
    assert "W_hh" in names and "learned" not in names
