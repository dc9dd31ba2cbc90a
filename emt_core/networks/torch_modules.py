"""From torch's modules and back: cells alone, or whole networks with their own ways in and out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from emt_core.networks.adapted import Adapted
from emt_core.networks.cell import Cell
from emt_core.networks.cells import CELLS
from emt_core.networks.stacked import Stacked
from emt_core.networks.tokens import TokenNetwork
from emt_core.support.checks import integer

Table = nn.Module | Callable[[Tensor], Tensor] | Tensor  #: an embedding
Fed = int | Tensor  #: a token, or the vector that is read


def from_torch(
    module: nn.Module,
    *,
    read_out: nn.Module | Callable[[Tensor], Tensor] | None = None,
    embedding: Table | None = None,
    vocabulary: int | None = None,
    start: Fed | None = None,
    feeds: str | Fed = "written",
) -> Any:
    """What a recurrent module of torch computes, as this library sees it (M = 1): a :class:`Cell` of the module alone,
    or with a ``read_out`` a network that reads tokens and writes. Call it after training: where the cell has the same
    weights they are shared with the module, others are copied. A network is a :class:`TokenNetwork` where it can be, so
    that everything in the library takes it, else an :class:`~emt_core.networks.adapted.Adapted`.

    Args:
        module: ``nn.RNN``, ``nn.GRU``, ``nn.LSTM``, one layer or several, or ``nn.RNNCell``, ``nn.GRUCell``,
            ``nn.LSTMCell``. The state in which it begins is zero.
        read_out: from what the uppermost layer shows (B, N) to scores (B, C). ``nn.Linear``, or two with a ReLU between
            them, or any function.
        embedding: from tokens (…) to what is read (…, I): ``nn.Embedding``, a table (V, I), any function that knows
            neither a token's place nor its neighbours. Not given: one-hot, I = V.
        vocabulary: V, how many tokens can be read. Needed where ``embedding`` is a function.
        start: what is read before the first token is written, a token (its number, often beyond V) or a vector (I,).
            Not given: the first token is read off the state that reading left.
        feeds: what is read before every later token: "written", the token just written, "nothing", zeros, or as
            ``start`` one token or vector, always the same.

    Raises:
        ValueError: what cannot be adapted, with the reason and what to do instead.
    """
    cell = _cell_of(module)
    if read_out is None:
        others = {"embedding": embedding, "vocabulary": vocabulary, "start": start}
        given = [name for name, value in others.items() if value is not None]
        if given:
            raise ValueError(f"read_out must be given with {' and '.join(given)}, got None")
        return cell
    _only_computes(read_out=read_out, embedding=embedding)
    if not callable(read_out):
        raise ValueError(f"read_out must be a module or a function, got {type(read_out).__name__}")
    with torch.no_grad():
        table = _table(embedding, vocabulary, cell)
        one = cell.zero_state(1)
        scores = _scores(read_out, cell.visible(one)[0])
        classes, size = scores.shape[1], len(table)
        look_up = _look_up(embedding, cell)
        zeros = one.new_zeros(cell.inputs)
        first = zeros if start is None else _vector("start", start, look_up, zeros)
        autoregressive = isinstance(feeds, str) and feeds == "written"
        if isinstance(feeds, str) and feeds not in ("written", "nothing"):
            raise ValueError(f"feeds must be 'written', 'nothing', a token or a vector, got {feeds!r}")
        if autoregressive and classes > size:
            raise ValueError(
                f"read_out must write tokens that can be read, 0 … {size - 1}, to feed them back, but has {classes}: "
                "pass feeds='nothing' where labels are written, or the larger vocabulary"
            )
        later = zeros if isinstance(feeds, str) else _vector("feeds", feeds, look_up, zeros)
        rows = torch.cat([table.to(one), first[None], later[None]])[None]
    linear = _linear(read_out)
    if linear is not None and start is not None and classes == size:
        layer, last = linear
        W_o, b_o = (w[None] for w in (last.weight, _bias(last)))
        between = () if layer is None else (layer.weight[None], _bias(layer)[None])
        return TokenNetwork(cell, rows, W_o, b_o, autoregressive, *between)
    return Adapted(cell, rows, read_out, autoregressive, started=start is not None)


def to_torch(cell: Cell) -> nn.Module:
    """torch's module with a copy of the weights of ``cell`` (M = 1), the inverse of :func:`from_torch`."""
    if cell.module is None:
        raise ValueError(f"cell must be one that torch has a module for, got {type(cell).__name__}")
    if cell.models != 1:
        raise ValueError(f"cell must have one model, got {cell.models}: choose one, as in cell[0]")
    return cell.to_module()


def _cell_of(module: nn.Module) -> Cell:
    """The cell of a module, of one with several layers the layers on top of each other."""
    kinds = [kind for kind in CELLS.values() if kind.module is not None]
    made: Any = module
    for kind in kinds:
        if isinstance(module, getattr(nn, f"{kind.module.__name__}Cell")):  # type: ignore[union-attr]
            return kind.of_weights(module, list(module.parameters()))
        if isinstance(module, kind.module):  # type: ignore[arg-type]
            _refuse(module)
            layers = [kind.of_weights(module, list(weights)) for weights in made.all_weights]
            return layers[0] if len(layers) == 1 else Stacked(tuple(layers))
    names = [kind.module.__name__ for kind in kinds]  # type: ignore[union-attr]
    known = ", ".join(f"torch.nn.{name}{end}" for end in ("", "Cell") for name in names)
    raise ValueError(
        f"module must be one of {known}, got {type(module).__name__}: "
        "pass what any other network does as functions, emt_core.networks.Functions"
    )


def _refuse(module: Any) -> None:
    """What torch's modules do that is no recurrence of one state."""
    if module.bidirectional:
        raise ValueError(
            "module must have bidirectional = False, got True: its backward half reads from the end, so that no state "
            "is carried from the reading to the writing; adapt the forward half alone, or pass functions"
        )
    if module.proj_size:
        raise ValueError(f"module must have proj_size = 0, got {module.proj_size}: pass functions")
    if module.training and module.dropout and module.num_layers > 1:
        raise ValueError(f"module must not drop out, got dropout = {module.dropout} in training: call module.eval()")


def _only_computes(**parts: Any) -> None:
    """Whether modules give the same each time."""
    noisy = nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm
    for name, part in parts.items():
        inner = part.modules() if isinstance(part, nn.Module) else ()
        if any(module.training and isinstance(module, noisy) for module in inner):
            raise ValueError(f"{name} must not drop out or normalise by the batch, but is in training: call .eval()")


def _table(embedding: Table | None, vocabulary: int | None, cell: Cell) -> Tensor:
    """What is read for each token (V, I)."""
    size = None if vocabulary is None else integer("vocabulary", vocabulary, 2)
    if embedding is None:
        if size is not None and size > cell.inputs:
            raise ValueError(
                f"embedding must be given where vocabulary, {size}, exceeds the module's input size, {cell.inputs}"
            )
        return torch.eye(cell.inputs, device=cell.device)[:size]
    if isinstance(embedding, Tensor):
        size = len(embedding) if size is None else size
    elif isinstance(embedding, nn.Embedding):
        size = embedding.num_embeddings if size is None else size
    elif not callable(embedding):
        raise ValueError(f"embedding must be a module, a function or a tensor, got {type(embedding).__name__}")
    elif size is None:
        raise ValueError("vocabulary must be given where embedding is a function, got None")
    look_up, every = _look_up(embedding, cell), torch.arange(size, device=cell.device)
    try:
        table, turned, alone = look_up(every), look_up(every.flip(0)).flip(0), look_up(every[:, None])
    except (IndexError, RuntimeError) as error:
        raise ValueError(f"embedding must map tokens of any shape (…) to (…, I), but raised: {error}") from error
    if not (torch.equal(table, turned) and torch.equal(table, alone[:, 0])):
        raise ValueError(
            "embedding must give a token the same vector wherever it stands, but did not: one that knows places is "
            "passed within functions, emt_core.networks.Functions"
        )
    if table.ndim != 2 or table.shape != (size, cell.inputs):
        raise ValueError(f"embedding must have shape ({size}, {cell.inputs}), got {tuple(table.shape)}")
    return table


def _look_up(embedding: Table | None, cell: Cell) -> Callable[[Tensor], Tensor]:
    """What is read for tokens; those that start the writing may lie beyond the vocabulary."""
    if embedding is None:
        one_hot = torch.eye(cell.inputs, device=cell.device)
        return lambda tokens: one_hot[tokens]
    return (lambda tokens: embedding[tokens]) if isinstance(embedding, Tensor) else embedding  # type: ignore


def _vector(name: str, fed: Fed, look_up: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    if isinstance(fed, Tensor) and fed.is_floating_point():
        found = fed
    else:
        token = integer(name, fed, 0)
        try:
            found = look_up(torch.tensor([token], device=like.device))[0]
        except IndexError:
            raise ValueError(f"{name} must be a token that embedding knows, got {token}") from None
    if found.shape != like.shape:
        raise ValueError(f"{name} must be a token or a vector of shape ({len(like)},), got {tuple(found.shape)}")
    return found.to(like)


def _scores(read_out: Callable[[Tensor], Tensor], visible: Tensor) -> Tensor:
    """Scores of one state: whether the read-out takes what the cell shows."""
    try:
        scores = read_out(visible)
    except RuntimeError as error:
        size = visible.shape[1]
        raise ValueError(f"read_out must take what the module shows, {size} numbers, but raised: {error}") from error
    if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != 1 or scores.shape[1] < 2:
        got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise ValueError(f"read_out must return scores (B, C) of at least two tokens, got {got} for one state")
    return scores


def _linear(read_out: Any) -> tuple[nn.Linear | None, nn.Linear] | None:
    """The layer in between, if there is one, and the last one of a read-out that a TokenNetwork can have."""
    parts: list[Any] = list(read_out) if isinstance(read_out, nn.Sequential) else [read_out]
    kinds = [type(part) for part in parts]
    if kinds == [nn.Linear]:
        return None, parts[0]
    return (parts[0], parts[2]) if kinds == [nn.Linear, nn.ReLU, nn.Linear] else None


def _bias(layer: nn.Linear) -> Tensor:
    return layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias
