"""Edits of states: in a basis of variable memories (``basis``), and learned on networks that repeat (``learned``;
``cases`` are what they are asked)."""

from emt_core.analysis.edits import cases
from emt_core.analysis.edits.basis import (
    Agreement,
    agreement,
    as_far,
    continuation,
    erase,
    flip,
    future,
    random_edit,
    swap,
    transplant,
    window,
    write,
)  # fmt: skip
from emt_core.analysis.edits.cases import FREER, KINDS, Case
from emt_core.analysis.edits.learned import (
    RECIPE,
    LearnedEdit,
    LinearEdit,
    OnionEdit,
    ScaledEdit,
    controls,
    edited,
    exchange,
    fit,
    magnitudes,
    replace_token,
)  # fmt: skip

__all__ = [
    "FREER", "KINDS", "RECIPE", "Agreement", "Case", "LearnedEdit", "LinearEdit", "OnionEdit", "ScaledEdit",
    "agreement", "as_far", "cases", "continuation", "controls", "edited", "erase", "exchange", "fit", "flip", "future",
    "magnitudes", "random_edit", "replace_token", "swap", "transplant", "window", "write",
]  # fmt: skip
