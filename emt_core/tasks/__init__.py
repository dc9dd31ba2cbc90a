"""What networks are asked to do: bind variables, ring changes, repeat tokens, or a task of your own. Operators,
samplers, validation."""

from emt_core.tasks.change_ringing import ChangeRinging
from emt_core.tasks.own import OwnTask
from emt_core.tasks.sequences import Sequences
from emt_core.tasks.token_repeat import PAPER_UNITS, TokenRepeat
from emt_core.tasks.variable_binding import PAPER_TRIPLES, VariableBinding

__all__ = ["PAPER_TRIPLES", "PAPER_UNITS", "ChangeRinging", "OwnTask", "Sequences", "TokenRepeat", "VariableBinding"]
