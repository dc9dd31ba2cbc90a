"""Watch a network run, and edit what it computes while it runs: every named quantity at every step, of reading and of
free-running writing.

Names are those of the equations in the cell's docstring, in the order in which they are computed (:func:`names`):

- ``Elman``: h.
- ``GRU``: gates r and z, candidate n, state h.
- ``LSTM``: gates i, f, g, o, memory c, output h. c and h are the two halves of the state; an edit of c reaches h.
- ``MinGRU``: gate z, candidate c, state h.
- ``Stacked``: those of each layer, with its number behind a dot, as ``z.0``.
- Any other: h, the whole state, unless its :meth:`~emt_core.networks.cell.Cell.watched` says more.

Each is (M, B, N) at a step, h of the last group (M, B, n). Scores at every step are read off h:
``network.read_out(cache["h"])``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from emt_core.networks.adapted import Adapted
from emt_core.networks.cell import Cell, rows
from emt_core.networks.kernels.shapes import check_shapes
from emt_core.networks.tokens import TokenNetwork
from emt_core.networks.vectors import VectorNetwork
from emt_core.support.checks import integer
from emt_core.tasks.sequences import Sequences

Hook = Callable[[Tensor, int], Tensor | None]  #: from a value and the number of the step to what is used in its place
Cache = dict[str, Float[Tensor, "M L B _"]]  #: by name, the values at each step
Runs = TokenNetwork | VectorNetwork | Adapted  #: the networks that can be run
Written = Int[Tensor, "M K B"] | Float[Tensor, "M L B D"]  #: tokens, or what a network of vectors puts out at each step


def names(cell: Cell) -> tuple[str, ...]:
    """What of ``cell`` can be watched and edited, in the order in which a step computes it."""
    found: list[str] = []

    def look(name: str, value: Tensor) -> Tensor:
        found.append(name)
        return value

    with torch.no_grad():
        cell.watched(cell.zero_state(1), None, look)
    return tuple(found)


def run_with_cache(
    network: Runs, inputs: Sequences | Float[Tensor, "M S B D"], writing: int = 0
) -> tuple[Written, Cache]:
    """What the network writes and all that it computes on the way, while it reads and then writes ``writing`` = K steps
    by itself. See :func:`run_with_hooks`, which this is without hooks."""
    return run_with_hooks(network, inputs, {}, writing)


def run_with_hooks(
    network: Runs,
    inputs: Sequences | Float[Tensor, "M S B D"],
    hooks: Mapping[str, Hook],
    writing: int = 0,
) -> tuple[Written, Cache]:
    """As :func:`run_with_cache`, with edits. The network itself is not changed, and gradients flow.

    Args:
        network: it reads from the state zero. Where it is fed what it writes, that is what it wrote after the edits.
        inputs: what is read: of a ``VectorNetwork`` S vectors, of the others ``Sequences`` of tokens.
        hooks: by name (:func:`names`), a function of the value (M, B, N) and the number of the step, counted from 0
            over reading and writing. What it returns, of the same shape and dtype, is used in the value's place; after
            None the value stays. Hooks of one step run in the order of the names.
        writing: K, how many steps follow the reading.

    Returns:
        The tokens written (M, K, B), or of a ``VectorNetwork`` the outputs at all L steps (M, L, B, D); and, by name,
        all values as they were used (M, L, B, N). L is K more than the steps of reading (S, or the length of the
        longest sequence): that is the index of the first step of writing. (An ``Adapted`` network that reads its first
        token off the state that reading left makes one step less.) A sequence that is over keeps all its values until
        the others are, whatever a hook does.

    Raises:
        ValueError: unknown names, hooks that return something of another shape, inputs that do not fit the network.
    """
    if not isinstance(network, TokenNetwork | VectorNetwork | Adapted):
        raise ValueError(f"network must have a cell to watch, got {type(network).__name__}: hook your own functions")
    watch, writing = _Watch(network.cell, hooks), integer("writing", writing, 0)
    if isinstance(network, TokenNetwork | Adapted) and isinstance(inputs, Sequences):
        written = _tokens(network, inputs, watch, writing)
    elif isinstance(network, VectorNetwork) and isinstance(inputs, Tensor):
        written = _vectors(network, inputs, watch, writing)
    else:
        got = f"{type(network).__name__} and {type(inputs).__name__}"
        raise ValueError(
            "network and inputs must be a network of tokens and Sequences (as Sequences.of_one_length makes of tokens "
            f"(M, L, B)), or a VectorNetwork and a tensor, got {got}"
        )
    return written, {name: torch.stack(values, dim=1) for name, values in watch.seen.items()}


class _Watch:
    """The steps of a cell, the hooks on them, and what was seen."""

    def __init__(self, cell: Cell, hooks: Mapping[str, Hook]) -> None:
        self.cell, self.hooks, self.seen = cell, hooks, {name: [] for name in names(cell)}
        for name, hook in hooks.items():
            if name not in self.seen:
                raise ValueError(f"hooks must be on {', '.join(self.seen)} of a {type(cell).__name__}, got {name!r}")
            if not callable(hook):
                raise ValueError(f"hooks[{name!r}] must be a function, got {type(hook).__name__}")

    def step(self, t: int, h: Tensor, x: Tensor | None, moves: Tensor | None = None) -> Tensor:
        """Step ``t`` from ``h``; those whose ``moves`` (M, B, 1) is False stay as they are."""

        def look(name: str, value: Tensor) -> Tensor:
            seen = self.seen[name]
            value = value if moves is None else torch.where(moves, value, seen[-1])
            if name in self.hooks:
                used = _used(name, self.hooks[name], value, t)
                value = used if moves is None else torch.where(moves, used, value)
            seen.append(value)
            return value

        new = self.cell.watched(h, x, look)
        return new if moves is None else torch.where(moves, new, h)


def _used(name: str, hook: Hook, value: Tensor, t: int) -> Tensor:
    """What a hook puts in the place of ``value``, if it can stand there."""
    given = value.clone()  # may be changed in place: a value can be part of what was seen before
    used = hook(given, t)
    if used is None:
        return given
    if not isinstance(used, Tensor):
        raise ValueError(f"hooks[{name!r}] must return a tensor or None, got {type(used).__name__} at step {t}")
    if (used.shape, used.dtype) != (value.shape, value.dtype):
        want, got = (f"{x.dtype} of shape {tuple(x.shape)}" for x in (value, used))
        raise ValueError(f"hooks[{name!r}] must return {want}, got {got} at step {t}")
    return used


def _tokens(network: TokenNetwork | Adapted, sequences: Sequences, watch: _Watch, writing: int) -> Tensor:
    if not any(type(network).encode is kind.encode for kind in (TokenNetwork, Adapted)):
        raise ValueError(f"network must read step by step, but {type(network).__name__} has an encode of its own")
    V, started = network.vocabulary, getattr(network, "started", True)
    sequences = sequences.known(V, network.models)
    h, reading, mask = network.cell.zero_state(sequences.tokens.shape[2]), sequences.tokens.shape[1], sequences.mask
    together = bool(mask.all())  # all move at step 0
    for t in range(reading):
        x = rows(network.embedding, sequences.tokens[:, t])
        h = watch.step(t, h, x, None if together or t == 0 else mask[:, t, :, None])
    row, written = torch.full_like(sequences.tokens[:, 0], V), []
    for t in range(reading, reading + writing):
        if started or written:
            h = watch.step(t - (not started), h, rows(network.embedding, row))
        scores = network.read_out(h) if isinstance(network, Adapted) else network.read_out(h[:, None])[:, 0]
        written.append(scores.argmax(2))
        row = written[-1] if network.autoregressive else torch.full_like(row, V + 1)
    return torch.stack(written, dim=1) if written else sequences.tokens[:, :0]


def _vectors(network: VectorNetwork, inputs: Tensor, watch: _Watch, writing: int) -> Tensor:
    if inputs.ndim != 4 or inputs.shape[1] + writing < 1:
        raise ValueError(f"inputs must have shape (M, S, B, D), with at least one step, got {tuple(inputs.shape)}")
    _, reading, batch, _ = inputs.shape
    check_shapes("", inputs=(inputs, (network.models, reading, batch, network.dim)))
    h, outputs = network.cell.zero_state(batch).to(inputs), []
    for t in range(reading + writing):
        h = watch.step(t, h, inputs[:, t] if t < reading else None)
        outputs.append(network.read_out(h))
    return torch.stack(outputs, dim=1)
