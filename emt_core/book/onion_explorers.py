"""Explorers of sequences held layer upon layer in one state, and of curves picture by picture.

As in `explorers`: Python packs arrays, the scripts in `js/` compute everything that a reader moves.
"""

from collections.abc import Mapping, Sequence
from typing import SupportsFloat

import numpy as np

from emt_core.book.explorers import Explorer, _finite, _pack, _text
from emt_core.book.figures import Values, as_numpy

LONGEST = 9  # tokens in a row that still fit on a phone: the longest sequence of the task
_SHAPES = 8  # markers that can be told apart


def _names(names: Sequence[str] | None, count: int) -> list[str]:
    """Short names of `count` tokens: by default capital letters, or numbers where there are too few letters."""
    if names is None:
        return [chr(ord("A") + i) if count <= 26 else str(i) for i in range(count)]
    if len(names) != count:
        raise ValueError(f"names: got {len(names)}, expected {count}, one for each token")
    return [str(name) for name in names]


def _tokens(values: Values, name: str, vocabulary: int, shortest: int) -> list[int]:
    tokens = as_numpy(values, name, None)
    if not shortest <= len(tokens) <= LONGEST:
        raise ValueError(f"{name}: got {len(tokens)} tokens, expected {shortest} to {LONGEST}")
    if tokens.dtype.kind not in "iu" or tokens.min() < 0 or tokens.max() >= vocabulary:
        raise ValueError(f"{name}: got {tokens}, expected integers from 0 to {vocabulary - 1}")
    return tokens.tolist()


def _packed(given: Mapping, name: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, str]:
    """The arrays of these names and shapes; one that is missing has the shape (0,)."""
    return {key: _pack(_finite(given.get(key, ()), f"{name}[{key!r}]", *shape)) for key, shape in shapes.items()}


def onion_peel(
    embedding: Values,
    gamma: float,
    tokens: Values,
    names: Sequence[str] | None = None,
    caption: str = "",
    name: str = "",
) -> Explorer:
    """A sequence as the layers of one state in the plane, h = Σ_p γ^p e(token at p), read by peeling off the largest.

    embedding: (V, 2), a point for each token; gamma: from 0.05 to 0.95; tokens: (L,) integers, 1 ≤ L ≤ 9, the sequence
    it opens with; names: V short ones. After each layer is added the state is rounded to `bits` (3 to 23, at first
    float32's 23) bits of mantissa, to even from half way, with no limit to the exponent; the reading is exact.
    `tokens`, `gamma`, `bits` and `peeled` follow the reader.
    """
    embedding = _finite(embedding, "embedding", None, 2)
    if len(embedding) < 2:
        raise ValueError(f"embedding: got {len(embedding)} points, expected two or more")
    if not 0.05 <= gamma <= 0.95:
        raise ValueError(f"gamma: got {gamma}, expected a number from 0.05 to 0.95")
    return Explorer(
        "controls onion_peel",
        embedding=_pack(embedding),
        gamma=float(gamma),
        bits=23,
        peeled=0,
        tokens=_tokens(tokens, "tokens", len(embedding), 1),
        names=_names(names, len(embedding)),
        name=name,
        caption=caption,
    )


def gru_edit(
    model: Mapping,
    edits: Mapping,
    sequences: Sequence[Values],
    names: Sequence[str] | None = None,
    caption: str = "",
    name: str = "",
) -> Explorer:
    """A GRU that repeats sequences, run live in the page: a token is replaced in its state, and it writes from there.

    model: embedding (V + 2, N), the last two rows start-of-sequence and "no input"; W_ih, W_hh (3N, N) and b_ih, b_hh
    (3N,), gates in torch.nn.GRU's order reset, update, new; W_o (V, N), b_o (V,); autoregressive, whether its own
    output is its next input. edits: tokens (V, N) and gamma, beta, scale, offset (N,), of the intervention
    h' = h + (tanh e_new − tanh e_old) ⊙ (scale ⊙ γ^p + β p + offset), position p counted from 0. sequences: 2 to 9
    integers each; it opens with the first. names: V short ones. The GRU starts from zeros, reads the sequence, is
    edited, and writes as many tokens, greedily. `sequence`, `position` and `token` follow the reader.
    """
    vocabulary, hidden = as_numpy(model.get("W_o", ()), "model['W_o']", None, None).shape
    if vocabulary < 2 or hidden < 1:
        raise ValueError(f"model['W_o']: got shape {(vocabulary, hidden)}, expected two tokens and one unit or more")
    rows, column = (3 * hidden, hidden), (3 * hidden,)
    shapes = {"embedding": (vocabulary + 2, hidden), "W_ih": rows, "W_hh": rows, "b_ih": column, "b_hh": column}
    weights = _packed(model, "model", {**shapes, "W_o": (vocabulary, hidden), "b_o": (vocabulary,)})
    autoregressive = model.get("autoregressive", ())
    if np.size(autoregressive) != 1:
        raise ValueError(f"model['autoregressive']: got {autoregressive!r}, expected True or False")
    stored = [_tokens(tokens, f"sequences[{i}]", vocabulary, 2) for i, tokens in enumerate(sequences)]
    if not stored:
        raise ValueError("sequences: got none, expected at least one")
    per_unit = dict.fromkeys(("gamma", "beta", "scale", "offset"), (hidden,))
    return Explorer(
        "panel controls gru_edit",
        weights=weights,
        edits=_packed(edits, "edits", {"tokens": (vocabulary, hidden), **per_unit}),
        autoregressive=bool(autoregressive),
        names=_names(names, vocabulary),
        sequences=stored,
        sequence=stored[0],
        position=0,
        token=(stored[0][0] + 1) % vocabulary,
        name=name,
        caption=caption,
    )


def curve_film(
    x: Values,
    curves: Values,
    frames: Values,
    labels: Sequence[str],
    x_label: str,
    y_label: str,
    log: bool = False,
    caption: str = "",
    frame_label: str = "",
    *,
    low: Values | None = None,
    high: Values | None = None,
    name: str = "",
) -> Explorer:
    """K curves over the same points in each of F pictures, on one scale for all, with a slider over the pictures.

    x: (X,), increasing numbers, or texts, which are spaced evenly; curves: (F, K, X), NaN where there is no value;
    frames: (F,) numbers or texts; labels: K names, at most 8; low and high: (F, K, X), a band around each curve.
    frame_label says what the frames are ("hidden size"). With `log` the vertical axis is logarithmic, and curves must
    be positive; a band that is not ends at the axis. A second slider chooses the point whose values are written out.
    `frame` and `point` follow the reader.
    """
    x = as_numpy(x, "x", None)
    named = x.dtype.kind in "UO"
    place = np.arange(len(x)) if named else _finite(x, "x", None)
    if not len(x) or not (np.diff(place) > 0).all():
        raise ValueError(f"x: got {x}, expected texts or increasing numbers, at least one")
    if not 1 <= len(labels) <= _SHAPES:
        raise ValueError(f"labels: got {len(labels)}, expected 1 to {_SHAPES}")
    if not len(frames):
        raise ValueError("frames: got none, expected at least one")
    shape = (len(frames), len(labels), len(x))
    if (low is None) != (high is None):
        raise ValueError(f"{'low' if low is None else 'high'}: got None, expected low and high together or neither")
    packed = {}
    for key, values in (("curves", curves), ("low", low), ("high", high)):
        array = np.array([]) if values is None else _finite(values, key, *shape, missing=True)
        if key == "curves" and log and (array <= 0).any():
            raise ValueError(f"curves: got {np.nanmin(array)}, expected positive numbers on a logarithmic axis")
        packed[key] = _pack(array)
    return Explorer(
        "marks panel controls curve_film",
        x=_pack(place),
        points=[_text(value) for value in x],
        named=named,
        **packed,
        frames=[_text(frame) for frame in frames],
        labels=[str(label) for label in labels],
        x_label=x_label,
        y_label=y_label,
        frame_label=frame_label,
        log=bool(log),
        frame=0,
        point=0,
        name=name,
        caption=caption,
    )


def three_codes(
    tokens: Values,
    names: Sequence[str] = ("A", "B", "C", "D"),
    gamma: SupportsFloat = 0.45,
    overlap: SupportsFloat = 0.9,
    noise: SupportsFloat = 0.03,
    caption: str = "",
    *,
    name: str = "",
) -> Explorer:
    """One sequence stored three ways: in a subspace for each position, as an onion, and in any code between the two.

    Layer p of token v is γ^(ρp) (√(1−ρ) a_pv + √ρ a_v), all axes a orthonormal: ρ, the alignment, is the cosine between
    a token's layers at two positions; at 0 each position has its own axes, at 1 only a layer's size tells the position.
    For the ρ of a slider the page tells how often a linear reader (least squares on 300 sequences) and peeling, which
    knows the layers, find each position in 300 others, with normal noise on every axis. tokens: 2 to 5 integers;
    names: 2 to 5 short ones, the vocabulary; gamma: from 0.05 to 0.49 (above, smaller layers can outweigh a larger
    one); noise: its standard deviation, 0 to 0.1. `tokens`, `read` (how many of them), `overlap` and `noise` follow the
    reader.
    """
    most = 5  # more would be too small on a phone
    if not 2 <= len(names) <= most:
        raise ValueError(f"names: got {len(names)}, expected 2 to {most}")
    tokens = _tokens(tokens, "tokens", len(names), 2)
    if len(tokens) > most:
        raise ValueError(f"tokens: got {len(tokens)} tokens, expected 2 to {most}")
    state = {"gamma": float(gamma), "overlap": float(overlap), "noise": float(noise)}
    for key, low, high in (("gamma", 0.05, 0.49), ("overlap", 0, 1), ("noise", 0, 0.1)):
        if not low <= state[key] <= high:
            raise ValueError(f"{key}: got {state[key]}, expected a number from {low} to {high}")
    names = [str(token) for token in names]
    return Explorer(
        "random controls three_codes", tokens=tokens, names=names, read=len(tokens), **state, name=name, caption=caption
    )
