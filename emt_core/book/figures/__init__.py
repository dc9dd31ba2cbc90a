"""The book's still pictures: arrays in, matplotlib Axes or Figure out. No training and no theory here.

What several chapters draw is named here; a chapter's own pictures are in the file of its subject.
"""

from emt_core.book.figures import (
    basis,
    bits,
    causal,
    codes,
    copying,
    episodes,
    failures,
    interventions,
    lasting,
    law,
    onions,
    overlaps,
    powers,
    probes,
    repeating,
    ringing,
    sensitivity,
    spectra,
    tasks,
    training,
)
from emt_core.book.figures.circuits import (
    block_grid,
    block_grids,
    eigenvalues,
    memory_strip,
    multiplicities,
    phi_and_spectrum,
)
from emt_core.book.figures.style import (
    BLACK,
    BLUE,
    DIVERGING,
    GREEN,
    LINES,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    Values,
    as_numpy,
    style,
    use_style,
)
from emt_core.book.figures.training import curves, staircase
