"""Drawing to the end: many mistakes of a picture show only when it is written."""

import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure


def draw(picture: Figure | Axes) -> str:
    """The picture as SVG, the same bytes for the same picture."""
    file = io.StringIO()
    figure = picture.figure if isinstance(picture, Axes) else picture
    figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
