"""What makes networks learn: one engine, and for each family of tasks its loss, its score and when to stop.

``fit(task, cell=…)`` trains an ensemble of any cell on any task.
"""

from typing import Any

from emt_core.tasks import ChangeRinging, OwnTask, TokenRepeat, VariableBinding
from emt_core.training import own_task, token_repeat, variable_binding
from emt_core.training.engine import Status
from emt_core.training.own_task import OwnRun
from emt_core.training.token_repeat import Repeaters
from emt_core.training.until_flat import Optimised, Recipe
from emt_core.training.variable_binding import History, Run, evaluate

__all__ = ["History", "Optimised", "OwnRun", "Recipe", "Repeaters", "Run", "Status", "evaluate", "fit"]


def fit(
    task: VariableBinding | ChangeRinging | TokenRepeat | OwnTask, *, cell: str | None = None, **options: Any
) -> Any:
    """Train one network per seed on ``task``. ``cell`` is a name in :data:`emt_core.networks.CELLS`; by default the one
    that the papers train, "elman" to bind variables, also where they are bells, and "gru" to repeat tokens; "gru" too
    for a task of your own.

    Returns a :class:`Run` of :func:`emt_core.training.variable_binding.fit`, :class:`Repeaters` of
    :func:`emt_core.training.token_repeat.fit`, or an :class:`OwnRun` of :func:`emt_core.training.own_task.fit`;
    ``options`` are theirs.
    """
    if isinstance(task, VariableBinding | ChangeRinging):
        return variable_binding.fit(task, cell="elman" if cell is None else cell, **options)
    if isinstance(task, TokenRepeat):
        return token_repeat.fit(task, cell="gru" if cell is None else cell, **options)
    if isinstance(task, OwnTask):
        return own_task.fit(task, cell="gru" if cell is None else cell, **options)
    raise ValueError(
        f"task must be a VariableBinding, a ChangeRinging, a TokenRepeat or an OwnTask, got {type(task).__name__}"
    )
