"""A report on a network of your own: how well it does its task, how it stores what it read, what disturbs it.

``report.write(network, sequences, out="DIR")`` writes one page and its numbers; ``python -m emt_core.report`` does so
for a file of weights.
"""

from emt_core.report.asked import asked
from emt_core.report.build import Report, write
from emt_core.report.verdicts import Verdict

__all__ = ["Report", "Verdict", "asked", "write"]
