"""The book's drawings of how things are wired: the shift register, a task's cycles, the timeline of an edit.

One colour code for all: input blue, memory green, the task's F orange, an edit magenta. Each of them also has a shape,
a dash or a word of its own, and the background is white, as in `figures`. All functions draw on the given Axes, or on
those of a new figure, and return them.
"""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

from emt_core.book.figures import BLUE, GREEN, PURPLE, VERMILLION
from emt_core.book.figures.style import GRAY as FADED
from emt_core.support.checks import integer
from emt_core.tasks import VariableBinding
from emt_core.theory import circuit

INPUT, MEMORY, TASK, EDIT = BLUE, GREEN, VERMILLION, PURPLE


def _blank(ax: Axes | None, scale: float, xs: tuple, ys: tuple) -> Axes:
    """Axes without frame or ticks, from xs[0] to xs[1] and ys[0] to ys[1]; a new figure has `scale` inches for 1."""
    ax = ax or plt.subplots(figsize=(scale * (xs[1] - xs[0]), scale * (ys[1] - ys[0])))[1]
    ax.set(xlim=xs, ylim=ys, aspect="equal")
    ax.set_axis_off()
    return ax


def _arrow(ax: Axes, start: tuple, end: tuple, color: str, bend: float = 0.0, dashed: bool = False) -> None:
    ax.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=12, color=color, linewidth=1.6, zorder=2,
                        connectionstyle=f"arc3,rad={bend}", linestyle=(0, (4, 2)) if dashed else "-")
    )  # fmt: skip


def _box(ax: Axes, x: float, y: float, width: float, height: float, color: str, text: str = "") -> None:
    """A box around the middle (x, y): edge and a pale ground of one colour, text black."""
    shape = "round,pad=0,rounding_size=0.08"
    place = (x - width / 2, y - height / 2)
    for fill, alpha, zorder in ((True, 0.18, 3), (False, 1.0, 4)):
        ax.add_patch(
            FancyBboxPatch(place, width, height, boxstyle=shape, facecolor=color if fill else "none", alpha=alpha,
                           edgecolor="none" if fill else color, linewidth=1.8, zorder=zorder)
        )  # fmt: skip
    ax.text(x, y, text, ha="center", va="center", zorder=5)


def shift_register(history: int, dim: int, *, ax: Axes | None = None) -> Axes:
    """How the circuit keeps S vectors of D numbers: each step moves every block one place towards the oldest, and F
    reads all blocks and writes the newest, where the input enters in the input phase. At most five blocks are drawn,
    dots stand for the others."""
    history, dim = integer("history", history, 1), integer("dim", dim, 1)
    shown = list(range(1, history + 1)) if history <= 5 else [1, 2, 0, history - 1, history]  # 0: the dots
    count, gap = len(shown), 1.5
    right = gap * (count - 1)
    ax = _blank(ax, 0.78, (-0.9, max(right + 2.4, 5.0)), (-2.7, 1.1))
    for i, block in enumerate(shown):
        if block:
            _box(ax, gap * i, 0.0, 1.0, 0.9, MEMORY, rf"$\Psi_{{{block}}}$")
            _arrow(ax, (gap * i, -0.45), (gap * i, -1.45), TASK)
        else:
            ax.text(gap * i, 0, "…", ha="center", va="center", fontsize=16)
        if i:
            _arrow(
                ax,
                (gap * i - (0.5 if block else 0.25), 0),
                (gap * (i - 1) + (0.5 if shown[i - 1] else 0.25), 0),
                MEMORY,
            )
    for x, name in ((0, "oldest"), (right, "newest")):
        if history > 1 or name == "newest":
            ax.text(x, 0.62, name, ha="center", va="bottom", color=FADED, fontsize=11)
    reads = f": {history * dim} numbers in, {dim} out" if count > 2 else ""
    _box(ax, right / 2, -1.8, right + 1.0, 0.7, TASK, f"$F${reads}")
    ax.plot([right + 0.5, right + 1.1, right + 1.1], [-1.8, -1.8, -0.2], color=TASK, linewidth=1.6, zorder=2)
    _arrow(ax, (right + 1.1, -0.2), (right + 0.5, -0.2), TASK)
    ax.text(right + 1.2, -1.0, "output $x(t)$", ha="left", va="center", fontsize=11)
    _arrow(ax, (right + 1.6, 0.2), (right + 0.5, 0.2), INPUT, dashed=True)
    ax.text(right + 1.2, 0.32, "input $u(t)$", ha="left", va="bottom", fontsize=11)
    ax.text(-0.6, -2.55, "every step: contents move one block towards the oldest", ha="left", fontsize=11, color=FADED)
    return ax


def cycle_graph(task: VariableBinding, *, ax: Axes | None = None) -> Axes:
    """The entries of a task's history and where each step takes their contents: one block towards the oldest, along the
    row, or by F (orange, dashed where the sign turns) into the newest block. An entry bears the number of its cycle, an
    open one lies on none and is forgotten. Above: how long each cycle is, and whether a sign is left after a turn."""
    history, dim = task.history, task.dim
    rings = sorted(circuit.cycles(task), key=lambda ring: -len(ring[0]))  # the longest is number 1
    number = {p: i for i, (ring, _) in enumerate(rings, 1) for p in ring}
    gap, high = 1.3, 1.15
    xs, ys = (-1.2, gap * (history - 1) + 1.2), (0.3 - high * dim, 1.1)
    ax = _blank(ax, 0.6, xs, ys)
    place = [(gap * (p // dim), -high * (p % dim)) for p in range(history * dim)]
    for p, (x, y) in enumerate(place):
        filled = p in number
        ax.add_patch(
            Circle((x, y), 0.33, facecolor="#cdebe2" if filled else "white", edgecolor=MEMORY if filled else FADED,
                   linewidth=1.6, linestyle="-" if filled else ":", zorder=4)
        )  # fmt: skip
        ax.text(x, y, str(number.get(p, "")), ha="center", va="center", fontsize=11, zorder=5)
        if p >= dim:
            _arrow(ax, (x - 0.33, y), (x - gap + 0.33, y), FADED)
    last = (history - 1) * dim
    for k, (entry, sign) in enumerate(task.sources):
        (x, y), (to, there) = place[entry], place[last + k]
        if entry >= last:  # within the newest block, maybe to itself: a bow at its right
            start, end, bend = (x + 0.31, y + 0.12), (to + 0.31, there - 0.12), -2.2 if entry == last + k else 0.4
            if y > there:
                bend = -bend
        else:
            start, end, bend = (x, y - 0.33), (to, there - 0.33), 0.22 if there <= y else 0.1
        _arrow(ax, start, end, TASK, bend, dashed=sign < 0)
        if sign < 0:
            ax.text(to + 0.6, there - 0.3, "−", color=TASK, ha="left", va="center", fontsize=14, fontweight="bold")
    for block in range(history):
        ax.text(gap * block, 0.62, rf"$\Psi_{{{block + 1}}}$", ha="center", fontsize=11)
    for d in range(dim):
        ax.text(-0.6, -high * d, str(d + 1), ha="right", va="center", fontsize=11, color=FADED)
    ax.set_title(_summary(rings, history * dim), fontsize=12)
    return ax


def _summary(rings: list[tuple[tuple[int, ...], int]], size: int) -> str:
    """How many cycles of each length and sign, and how many entries lie on none."""
    kinds: dict[tuple[int, int], int] = {}
    for ring, sign in rings:
        kinds[len(ring), sign] = kinds.get((len(ring), sign), 0) + 1
    parts = [
        f"{count} cycle{'s' if count > 1 else ''} of {length}{' with a sign left' if sign < 0 else ''}"
        for (length, sign), count in kinds.items()
    ]
    off = size - sum(len(ring) for ring, _ in rings)
    return ", ".join([*parts, *([f"{off} forgotten"] if off else [])])


def edit_timeline(
    history: int, settle: int, horizon: int, expected: str = r"$\Phi$ predicts", lane: str = "theory", *,
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """The clock of an edit, steps to the right: the network reads S inputs, writes `settle` outputs, is edited, and
    writes on; what it writes in the next `horizon` steps is compared with what is `expected`, in the lower `lane`: of
    the circuit, sign by sign, what Φ says of the edited contents. Lengths are to scale."""
    history, settle = integer("history", history, 1), integer("settle", settle, 0)
    horizon = integer("horizon", horizon, 1)
    ax = ax or plt.subplots(figsize=(7.2, 2.7))[1]
    edit, end = history + settle, history + settle + horizon
    phases = [(0, history, INPUT, "read"), (history, settle, MEMORY, "write"), (edit, horizon, MEMORY, "write on")]
    lanes = [(1.6, phases), (0.0, [(edit, horizon, TASK, expected)])]
    for level, boxes in lanes:
        for start, length, color, text in boxes:
            if length:
                for alpha, fill in ((0.2, True), (1.0, False)):
                    ax.add_patch(
                        Rectangle((start, level), length, 0.8, fill=fill, facecolor=color, alpha=alpha, edgecolor=color,
                                  linewidth=1.6)
                    )  # fmt: skip
                if length >= 0.1 * end:
                    ax.text(start + length / 2, level + 0.4, text, ha="center", va="center")
    ax.plot([edit, edit], [-0.3, 2.75], color=EDIT, linewidth=2.4, linestyle=(0, (3, 1.5)), zorder=4)
    ax.plot([edit], [2.75], marker="v", markersize=10, color=EDIT, zorder=5)
    ax.text(edit, 3.0, "edit", ha="center", va="bottom", fontweight="bold")
    arrows = horizon if horizon <= 8 else 4
    for k in range(arrows):
        at = edit + horizon * (k + 0.5) / arrows
        ax.annotate("", (at, 0.82), (at, 1.58), arrowprops={"arrowstyle": "<->", "color": "black", "linewidth": 1.2})
    ax.text(edit - 0.01 * end, 1.2, "compare ", ha="right", va="center")
    for level, text in ((2.0, "network"), (0.4, lane)):
        ax.text(-0.02 * end, level, text, ha="right", va="center")
    ax.set(xlim=(-0.15 * end, 1.01 * end), ylim=(-0.4, 3.6), yticks=[], xlabel="time step")
    ax.set_xticks(sorted({0, history, edit, end}))
    ax.grid(False)
    ax.spines["left"].set_visible(False)
    return ax
