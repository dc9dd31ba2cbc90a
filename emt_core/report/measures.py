"""What the report measures: each function gives the plain numbers of one section, or the reason why there are none.

Random numbers come from the seed and the section's name alone. States are disturbed by *kicks*, displacements in a
random direction, relative to the state's own size.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from emt_core.analysis import layers, orbits, stability
from emt_core.analysis.edits.basis import random_edit
from emt_core.book.intervals import wilson
from emt_core.networks import TokenNetwork
from emt_core.networks.adapted import Adapted
from emt_core.networks.contract import Writes
from emt_core.networks.rounded import Rounded
from emt_core.report.asked import Asked
from emt_core.report.runs import alone, drawn_anew
from emt_core.support import formats
from emt_core.support.random_streams import stream

DRAWS = 5  #: times that the code is measured, on other sequences each time
TOKENS = 40  #: at most so many tokens, the most frequent ones, have their layers measured
WORK = 20_000_000  #: steps of reading that one measurement of layers may take, about
KICKS = 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0  #: of the state, when it is handed over from reading to writing
KICK = 0.05  #: of the state, where it is asked what becomes of a kick
BITS = 10, 8, 6, 5, 4, 3, 2, 1  #: stored mantissa bits that a state is rounded to
NAMED = "bf16", "fp16", "fp8_e4m3", "fp8_e5m2"  #: formats that a state is rounded to

Numbers = dict[str, Any]


def missing(reason: str) -> Numbers:
    """A section without numbers."""
    return {"missing": reason}


def accuracy(network: Writes, q: Asked, seed: int = 0) -> Numbers:
    """How well the task is done, at all, per length and per place of what is written, with Wilson's intervals."""
    right = q.right(_written(network, q))
    lengths, whole = q.sequences.lengths[0], right.all(0)
    places = [(k, right[k][q.mask[k]]) for k in range(len(right)) if bool(q.mask[k].any())]
    return {
        "sequences": len(whole),
        "exact": _share(whole),
        "tokens": float(right[q.mask].double().mean()),
        "chance": q.chance,
        "lengths": {int(n): _share(whole[lengths == n]) for n in lengths.unique()},
        "places": {k: _share(hits) for k, hits in places},
    }


def code(network: Writes, q: Asked, seed: int = 0, null: bool = True) -> Numbers:
    """What positions leave in the last state (:mod:`emt_core.analysis.layers`), once for each of DRAWS shares of the
    sequences: layers are measured on at most 64 of the others, and the share is then read with them. The draws have
    sequences in common, so that their range is less than that of independent ones. ``drawn_anew``: the
    null, the same of the network with other recurrent weights, where they can be drawn."""
    length, base = most_frequent_length(q)
    tokens = frequent_tokens(base)
    if why := _too_little(base, 4 * DRAWS):
        return missing(why)
    draw = stream(seed, "report code")
    shares = base[:, torch.randperm(base.shape[1], generator=draw)].chunk(DRAWS, dim=1)
    parts = [(share, torch.cat(shares[:k] + shares[k + 1 :], dim=1)) for k, share in enumerate(shares)]
    found = [_code(network, judged, rest, tokens, draw) for judged, rest in parts]
    values = {key: [each[key] for each in found] for key in found[0]}
    if not all(math.isfinite(x) for x in values["additive"] + values["overlap_all"]):
        return missing("positions leave nothing behind in the states")
    return {
        "length": length,
        "tokens": len(tokens),
        "sequences": base.shape[1],
        "units": found[0]["units"],
        **{key: value for key, value in values.items() if key != "units"},
    } | ({"drawn_anew": code(other, q, seed, null=False)} if null and (other := drawn_anew(network, seed)) else {})


def _code(network: Writes, judged: Tensor, rest: Tensor, tokens: Tensor, draw: torch.Generator) -> Numbers:
    length = len(judged)
    batch = max(4, min(64, rest.shape[1], WORK // (len(tokens) * length**2)))
    orders = [torch.randperm(rest.shape[1], generator=draw)[:batch] for _ in range(2)]
    found, _ = layers.layers(network, length, draw, among=rest[:, orders[0]], put=tokens)
    null, _ = layers.layers(network, length, draw, among=rest[:, orders[1]], put=tokens, shuffle=draw)
    mixed = layers.alignment(layers.shuffled(found, draw))
    overlap, alignment = layers.overlap(found)[0], layers.alignment(found)[0]
    h = layers.states(network, judged)
    _, left = _peeled_off(found, h, judged, tokens)
    numbers: Numbers = {
        "units": h.shape[2],
        "dimension": float(layers.dimension(layers.states(network, rest).double())[0]),
        "additive": float(1 - left.var(1).sum() / h.var(1).sum()),
        "sizes": layers.sizes(found)[0].tolist(),
        "sizes_by_chance": layers.sizes(null)[0].tolist(),
        "overlap": overlap.tolist(),
        "overlap_neighbours": float(overlap.diagonal(1).mean()),
        "overlap_all": float(layers.between_positions(overlap[None])[0]),
        "alignment_neighbours": float(alignment.diagonal(1).mean()),
        "alignment_by_chance": float(mixed.diagonal(1, 1, 2).mean()),
    }
    # what is peeled can be nothing but these tokens
    judged, rest = (x[:, torch.isin(x, tokens).all(0)] for x in (judged, rest))
    if judged.shape[1] < 4 or rest.shape[1] < 16:
        return numbers | {"forwards": None, "backwards": None}
    _, left = _peeled_off(found, layers.states(network, rest), rest, tokens)
    # the mean state of what is left is nearer than that of the states, whose sample of tokens is uneven
    mean, noise = left.mean(1), _shrunk(left[0] - left[0].mean(0))[None]
    at, _ = _peeled_off(found, h := layers.states(network, judged), judged, tokens)
    both = layers.peeled_both_ways(found.double(), mean, h.double(), noise, at)[0]
    return numbers | {"forwards": both[0].tolist(), "backwards": both[1].tolist()}


def _shrunk(left: Float[Tensor, "B n"]) -> Float[Tensor, "n n"]:
    """The covariance of centred rows, drawn towards a multiple of the identity as far as so few rows ask for: the
    oracle approximating shrinkage of Chen, Wiesel, Eldar and Hero (IEEE Trans. Signal Process. 58:5016, 2010)."""
    (rows, size), S = left.shape, left.mT @ left / len(left)
    squares, trace = S.square().sum(), S.trace()
    spread = (rows + 1 - 2 / size) * (squares - trace**2 / size)
    share = 1.0 if spread <= 0 else min(1.0, float(((1 - 2 / size) * squares + trace**2) / spread))
    return (1 - share) * S + share * trace / size * torch.eye(size, dtype=S.dtype)


def _peeled_off(found: Tensor, h: Tensor, base: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Which of the ``tokens`` stand where, and what is left of the states without their layers, in float64."""
    at = torch.searchsorted(tokens, base.contiguous()).clamp_max(len(tokens) - 1)
    inside = torch.isin(base, tokens)
    return at, h.double() - sum(found[:, p, at[p]].double() * inside[p, :, None] for p in range(len(base)))


def kicks(network: Writes, q: Asked, seed: int = 0) -> Numbers:
    """Exact match if the state is kicked when it is handed over from reading to writing."""
    draw, (h, length) = stream(seed, "report kicks"), _handed_over(network, q)
    found = {}
    for size in KICKS:
        written = network.write(stability.kick(h, size, draw), length)[0]
        found[size] = _share(q.right(written).all(0))
    return {"sizes": found, "units": h.shape[2]}


def rounding(network: Writes, q: Asked, seed: int = 0) -> Numbers:
    """Exact match if the state is rounded: after every step where there is a cell, else once, when reading ends."""
    forms = {str(bits): formats.mantissa(bits) for bits in BITS} | {name: formats.FORMATS[name] for name in NAMED}
    h, length = _handed_over(network, q)
    stepwise = isinstance(network, TokenNetwork | Adapted)

    def written(form: formats.Format) -> Tensor:
        if isinstance(network, TokenNetwork | Adapted):
            return _written(replace(network, cell=Rounded(network.cell, form, saturate=True)), q)
        return network.write(formats.rounded(h, form, saturate=True), length)[0]

    found = {name: _share(q.right(written(form)).all(0)) for name, form in forms.items()}
    return {"every_step": stepwise, "forms": found}


def lasting(network: Writes, q: Asked, seed: int = 0) -> Numbers:
    """What becomes of a kick, and of the distance between two sequences after which something else is written, while
    the network runs on."""
    own = alone(network)
    if isinstance(own, str):
        return missing(own)
    draw, (h, length) = stream(seed, "report lasting"), _handed_over(network, q)
    longest = q.sequences.tokens.shape[1]
    steps = sorted({round(10 * longest * k / 20) for k in range(21)})
    h = h[:, torch.randperm(h.shape[1], generator=draw)[:128]]
    partner, told_apart = _partners(network.write(h, length)[0])
    if not bool(told_apart.any()):
        return missing("the network writes the same after every sequence")
    h, other = h[:, told_apart], h[:, partner[told_apart]]
    starts = torch.cat([h, stability.kick(h, KICK, draw), other], dim=1)
    own_run, kicked, another = stability.run_on(own, starts, steps)[0].chunk(3, dim=1)
    apart = [(x - own_run).norm(dim=2) for x in (kicked, another)]
    kept, told = (x / x[:1].clamp_min(torch.finfo(x.dtype).tiny) for x in apart)
    return {
        "how": own.how,
        "reads": own.reads,
        "steps": steps,
        "kick": KICK,
        "kept": _medians(kept),
        "told_apart": _medians(told),
    }


def fixed_points(network: Writes, q: Asked, seed: int = 0) -> Numbers:
    """Fixed points and slow points of the step with which the network runs on, from states that it was in."""
    own = alone(network)
    if isinstance(own, str):
        return missing(own)
    draw, (h, _) = stream(seed, "report fixed points"), _handed_over(network, q)
    h = h[:, torch.randperm(h.shape[1], generator=draw)[:12]]
    starts = stability.run_on(own, h, [0, 50])[0]
    step = orbits.step_of(own.cell, 0, own.x) if own.cell is not None else lambda y: own.step(y[None])[0]
    try:
        found = orbits.find(step, starts.flatten(0, 1).double(), tolerance=1e-8)
    except (RuntimeError, ValueError) as error:
        return missing(
            f"run_on must take float64 states and be made of torch's operations ({str(error).splitlines()[0]})"
        )
    largest = [[float(v.real), float(v.imag)] for values in found.multipliers for v in values[:40]]
    stable = (found.multipliers.abs().amax(1) < 1) if len(found.state) else torch.zeros(0, dtype=torch.bool)
    kinds = [status.value for status in found.status]
    return {
        "reads": own.reads,
        "starts": len(found.of_start),
        "failed": int((found.of_start < 0).sum()),
        "found": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
        "stable": int(sum(bool(s) and kind == "converged" for s, kind in zip(stable, kinds, strict=True))),
        "multipliers": largest,
    }


def edits(network: Writes, q: Asked, seed: int = 0) -> Numbers:
    """One token's layer is exchanged for another's in the state: is then written what the network writes after the
    sequence with the other token? Asked where that is something else than it writes now. Controls: the same layers at
    another position, and a change as large in a random direction."""
    length, base = most_frequent_length(q)
    tokens = frequent_tokens(base)
    draw = stream(seed, "report edits")
    base = base[:, torch.randperm(base.shape[1], generator=draw)]
    if why := _too_little(base, 16):
        return missing(why)
    measured, judged = base.chunk(2, dim=1)
    batch = max(4, min(128, measured.shape[1], WORK // (len(tokens) * length**2)))
    found, _ = layers.layers(network, length, draw, among=measured[:, :batch], put=tokens)
    judged = judged[:, :500]  # each once, so that the cases are independent
    count = judged.shape[1]
    at, row = torch.randint(length, (count,), generator=draw), torch.arange(count)
    old = judged[at, row]
    i = torch.searchsorted(tokens, old).clamp_max(len(tokens) - 1)
    j = (i + _other(len(tokens), count, draw)) % len(tokens)
    new = tokens[j]
    usable = torch.isin(old, tokens)
    other = judged.clone()
    other[at, row] = new
    K = len(q.targets)
    h = layers.states(network, judged)
    now, then = network.write(h, K)[0], network.write(layers.states(network, other), K)[0]
    usable &= (now != then).any(0)
    if int(usable.sum()) < 8:
        return missing("another token hardly ever changes what is written")
    change = found[:, at, j] - found[:, at, i]
    elsewhere = (at + _other(length, count, draw)) % length
    wrong = found[:, elsewhere, j] - found[:, elsewhere, i]
    ways = {"right position": h + change, "another position": h + wrong}
    ways["random direction"] = random_edit(h, h + change, draw)
    hits = {name: (network.write(state, K)[0] == then).all(0) for name, state in ways.items()}
    return {
        "length": length,
        "cases": int(usable.sum()),
        "success": {name: _share(hit[usable]) for name, hit in hits.items()},
        "places": {
            p: _share(hits["right position"][usable & (at == p)])
            for p in range(length)
            if bool((usable & (at == p)).any())
        },
    }


def most_frequent_length(q: Asked) -> tuple[int, Int[Tensor, "L B"]]:
    """The length that most sequences have, of several the longest, and these sequences."""
    lengths = q.sequences.lengths[0]
    length = max(lengths.unique().tolist(), key=lambda n: (int((lengths == n).sum()), n))
    return length, q.sequences.tokens[0, :length, lengths == length]


def frequent_tokens(base: Int[Tensor, "L B"]) -> Int[Tensor, "V"]:
    """The TOKENS most frequent tokens in ascending order."""
    every, counts = base.unique(return_counts=True)
    return every[counts.argsort(descending=True, stable=True)[:TOKENS]].sort().values


def _too_little(base: Int[Tensor, "L B"], fewest: int) -> str:
    """Why nothing can be said of the sequences of the most frequent length; empty if something can."""
    length, count = base.shape
    if length < 2:
        return "the sequences of the most frequent length have a single token"
    if len(base.unique()) < 2:
        return "the sequences hold one token, always the same"
    return f"only {count} sequences have the most frequent length, {length}" if count < fewest else ""


def _written(network: Writes, q: Asked) -> Int[Tensor, "K B"]:
    h, length = _handed_over(network, q)
    return network.write(h, length)[0]


def _handed_over(network: Writes, q: Asked) -> tuple[Float[Tensor, "1 B n"], int]:
    with torch.no_grad():
        h = network.encode(q.sequences)
    if not bool(h.isfinite().all()):
        raise ValueError("network must leave finite states, got others: did its training diverge?")
    return h, len(q.targets)


def _partners(written: Int[Tensor, "K B"]) -> tuple[Int[Tensor, "B"], Bool[Tensor, "B"]]:
    """For each sequence another one after which something else is written, and whether one was found near by."""
    order = torch.arange(written.shape[1])
    partner, found = order.clone(), torch.zeros(len(order), dtype=torch.bool)
    for shift in range(1, min(len(order), 32)):
        other = order.roll(-shift)
        good = ~found & (written != written[:, other]).any(0)
        partner, found = torch.where(good, other, partner), found | good
    return partner, found


def _medians(x: Float[Tensor, "T B"]) -> list[float | None]:
    """Over what is finite; None where nothing is."""
    finite = [row[row.isfinite()] for row in x]
    return [float(row.median()) if len(row) else None for row in finite]


def _share(hits: Tensor) -> list[float | int]:
    """Value, lower and upper end, and n."""
    return [*wilson(hits.double().numpy()), len(hits)]


def _other(count: int, size: int, draw: torch.Generator) -> Tensor:
    """Shifts from 1 to count − 1."""
    return 1 + torch.randint(max(count - 1, 1), (size,), generator=draw)
