"""Grids of networks → tidy tables, by jobs that can be stopped and resumed: ``python -m emt_core.experiments``.

Every network of a grid becomes a row of ``DIR/table.csv``. Whatever ends a sweep, the same command goes on from the
last checkpoints, and the table is then the same as if nothing had happened, but for the seconds. What else is in the
folder is said in :mod:`emt_core.experiments.jobs`; weights are in ``DIR/weights``, and ``DIR/work`` may be deleted when
all is done.
"""

from emt_core.experiments.call_ringers import call_changes
from emt_core.experiments.copiers import source_names
from emt_core.experiments.edit_studies import edit_controls, edit_protocols, fixed_sequences
from emt_core.experiments.lifetimes import lasting
from emt_core.experiments.ringers import change_ringing
from emt_core.experiments.side_by_side import recurrence_edits, recurrence_factors, recurrences, rounded_states
from emt_core.experiments.table import Swept
from emt_core.experiments.token_repeat import onion_gru, onion_interventions, onion_probes
from emt_core.experiments.variable_binding import circuits, emergence, failures, repeat_copy, sweep, table1

__all__ = [
    "Swept", "call_changes", "change_ringing", "circuits", "edit_controls", "edit_protocols", "emergence", "failures",
    "fixed_sequences", "lasting", "onion_gru", "onion_interventions", "onion_probes", "recurrence_edits",
    "recurrence_factors", "recurrences", "repeat_copy", "rounded_states", "source_names", "sweep", "table1",
]  # fmt: skip
