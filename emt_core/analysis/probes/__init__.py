"""Probes: what can be read from a state. ``signs`` of variables, or whole sequences of tokens (``learned``).

``controls`` are codes that are known, to compare with what a probe of signs finds.
"""

from emt_core.analysis.probes.controls import linear_part, linear_share, linear_twin, squeezed
from emt_core.analysis.probes.learned import KINDS, RECIPE, LearnedProbe, Probe, fit, read, scores
from emt_core.analysis.probes.signs import sign_probe

__all__ = [
    "KINDS",
    "RECIPE",
    "LearnedProbe",
    "Probe",
    "fit",
    "linear_part",
    "linear_share",
    "linear_twin",
    "read",
    "scores",
    "sign_probe",
    "squeezed",
]
