"""Pictures of probes: a curve for each reader, named at its end."""

import pytest

from emt_core.book import figures


def test_readers_are_drawn_alike_in_all_panels_and_named():
    panels = {"a": {"linear": [0.1, 0.2], "peeled": [1.0, 0.9]}, "b": {"peeled": [0.5, 0.5]}}
    left, right = figures.probes.curves(panels, [0, 1]).axes
    assert [text.get_text() for text in left.texts] == ["linear", "peeled"]
    assert left.lines[1].get_marker() == right.lines[0].get_marker() != left.lines[0].get_marker()
    assert left.lines[0].get_ydata().tolist() == [0.1, 0.2] and left.get_ylim() == (0, 1.04)


def test_the_axis_fits_what_has_no_given_top():
    figure = figures.probes.curves({"": {"measured": [3.0, 8.0]}}, [2, 3], "size", top=None, chance=1.0)
    assert figure.axes[0].get_ylim()[1] == pytest.approx(8.4)
    assert figure.axes[0].lines[-1].get_ydata()[0] == 1.0


def test_a_curve_of_another_length_is_named():
    with pytest.raises(ValueError, match=r"^linear: got shape \(3,\), expected \(2\)"):
        figures.probes.curves({"": {"linear": [1, 2, 3]}}, [0, 1])
