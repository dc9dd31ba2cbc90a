"""What networks are asked to do: bind variables, or repeat tokens. Operators, samplers, validation."""

from emt_core.tasks.sequences import Sequences
from emt_core.tasks.token_repeat import TokenRepeat
from emt_core.tasks.variable_binding import PAPER_TRIPLES, VariableBinding

__all__ = ["PAPER_TRIPLES", "Sequences", "TokenRepeat", "VariableBinding"]
