"""Networks from files of weights: those that this library saved, and state dicts of torch's modules."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from emt_core.networks import Attention, TokenNetwork, from_torch, load
from emt_core.support.files import read_safetensors

KINDS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}  #: an "rnn" is one of tanh


def read(
    path: str | Path, *, kind: str | None = None, embedding: str | None = None, read_out: str | None = None,
    start: int | None = None, feeds: str | int = "written", vocabulary: int | None = None,
) -> Any:  # fmt: skip
    """The network in a file.

    Args:
        path: a model that :func:`emt_core.networks.save` wrote, which needs nothing else; or a state dict, in
            safetensors or in torch's own format, which is read as weights only, so that no code in it is run.
        kind: of KINDS, for a state dict.
        embedding: name of the embedding's tensor (V, I); not given: one-hot.
        read_out: what the names of the read-out's tensors begin with, before ``.weight`` and ``.bias``.
        start, feeds, vocabulary: see :func:`emt_core.networks.from_torch`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: what is missing or does not fit, with the names and shapes that are there.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file of weights at {path}")
    if path.suffix == ".safetensors":
        tensors, metadata = read_safetensors(path, "weights")
        if "cell" in metadata:
            network = load(path)[0]
            if not isinstance(network, TokenNetwork | Attention):
                raise ValueError(f"weights must be of a network that reads tokens, got a {type(network).__name__}")
            return network
    else:
        tensors = _pickled(path)
    there = ", ".join(f"{name} {tuple(x.shape)}" for name, x in tensors.items())
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {sorted(KINDS)} for a state dict, got {kind!r}; it holds {there}")
    if read_out is None or f"{read_out}.weight" not in tensors:
        raise ValueError(f"read_out must name a layer of the state dict, got {read_out!r}; it holds {there}")
    if embedding is not None and embedding not in tensors:
        raise ValueError(f"embedding must name a tensor of the state dict, got {embedding!r}; it holds {there}")
    module, used = _recurrent(kind, tensors, there)
    used |= {f"{read_out}.weight", f"{read_out}.bias", embedding}
    if unused := sorted(tensors.keys() - used):
        raise ValueError(
            f"weights must hold nothing but what is named, got {unused} as well: name the embedding, or save only what "
            "is used; what is built otherwise is adapted in Python, by from_torch or as Functions"
        )
    table = None if embedding is None else tensors[embedding]
    out = _linear(tensors[f"{read_out}.weight"], tensors.get(f"{read_out}.bias"))
    return from_torch(module, read_out=out, embedding=table, vocabulary=vocabulary, start=start, feeds=feeds)


def _pickled(path: Path) -> dict[str, Tensor]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    # the first of them: torch refuses whatever holds more than weights
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        raise ValueError(
            f"weights must be a state dict, {path} is none, or holds more than tensors, such as a whole module: save "
            "module.state_dict(), best with safetensors.torch.save_file"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(x, Tensor) for x in found.values()):
        kinds = sorted({type(x).__name__ for x in found.values()}) if isinstance(found, dict) else type(found).__name__
        raise ValueError(f"weights must be a state dict of tensors, {path} holds {kinds}: save module.state_dict()")
    return found


def _recurrent(kind: str, tensors: dict[str, Tensor], there: str) -> tuple[nn.Module, set[str | None]]:
    """The recurrent module whose weights the state dict holds, whatever it was called there, and their names."""
    firsts = [name for name in tensors if name.endswith("weight_ih_l0")]
    if len(firsts) != 1:
        raise ValueError(f"weights must hold one tensor that ends with weight_ih_l0, got {firsts or 'none'}: {there}")
    prefix = firsts[0].removesuffix("weight_ih_l0")
    own = {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix + "weight_")}
    own |= {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix + "bias_")}
    layers = sum(name.startswith("weight_ih_l") and not name.endswith("reverse") for name in own)
    hidden = own["weight_hh_l0"].shape[1] if "weight_hh_l0" in own else 1
    options: dict[str, Any] = {"bias": any(name.startswith("bias") for name in own)}
    options["bidirectional"] = any(name.endswith("reverse") for name in own)
    module = KINDS[kind](own["weight_ih_l0"].shape[1], hidden, layers, dtype=own["weight_ih_l0"].dtype, **options)
    try:
        module.load_state_dict(own)
    except RuntimeError as error:
        first = " ".join(str(error).split())
        raise ValueError(f"kind must be what the weights are of, got {kind!r}: {first}") from error
    return module, {prefix + name for name in own}


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, dtype=weight.dtype)
    layer.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
    return layer
