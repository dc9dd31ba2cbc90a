"""Probes: what can be read from a state. ``signs`` of variables, or whole sequences of tokens (``learned``)."""

from emt_core.analysis.probes.learned import KINDS, RECIPE, LearnedProbe, Probe, fit, read, scores
from emt_core.analysis.probes.signs import sign_probe

__all__ = ["KINDS", "RECIPE", "LearnedProbe", "Probe", "fit", "read", "scores", "sign_probe"]
