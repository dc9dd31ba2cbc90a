"""Random numbers by purpose: what is drawn for one thing never starts from the numbers of another.

A network that learned with seed 3, the edit that is learned on it and the probe that reads it all have seed 3, and must
not share numbers: an edit that starts bit for bit where the network itself started is no independent test of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import torch

from emt_core.support.checks import Index, integer

LIMIT = 1 << 31  # seeds are below: the two oldest purposes have numbers of torch's own on either side of it
OLDEST = {"network": 0, "test": LIMIT}  # what the published tables were made with, start and data of a network in turn
_WORDS = 624  # the state of a Mersenne twister, torch's generator on the CPU, and where it lies in what torch saves
_STATE = slice(24, 24 + 8 * _WORDS)


def seeds_of(seeds: Iterable[Index], name: str = "seeds") -> list[int]:
    """The seeds as Python ints, at least one of them, each in 0 … 2^31 − 1; ValueError names the argument otherwise."""
    checked = [integer(name, seed, 0) for seed in seeds]
    if not checked:
        raise ValueError(f"{name} must hold at least one seed, got none")
    if max(checked) >= LIMIT:  # torch's CPU generator reads 32 bits of a seed: a larger one would start a stream again
        raise ValueError(f"{name} must be below {LIMIT}, got {max(checked)}")
    return checked


def stream(seed: Index, purpose: str, device: str | torch.device = "cpu") -> torch.Generator:
    """The random numbers of ``seed`` for one ``purpose``: "network" (the start and the data of a network), "test" (the
    sequences that judge it), or any other word.

    On the CPU a purpose fills the generator's whole state, 19,937 bits, by NumPy's SeedSequence from the SHA-256 of its
    name: two purposes, or two seeds, meet nowhere. "network" and "test" are ``manual_seed(seed)`` and
    ``manual_seed(2**31 + seed)``.
    """
    (seed,) = seeds_of([seed], "seed")
    generator = torch.Generator(device)
    if purpose in OLDEST:
        return generator.manual_seed(OLDEST[purpose] + seed)
    name = hashlib.sha256(purpose.encode()).digest()
    entropy = np.random.SeedSequence([seed, *np.frombuffer(name, dtype="<u4").tolist()])
    if generator.device.type != "cpu":  # a counter with a key of 64 bits
        return generator.manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> 1))
    state = generator.manual_seed(seed).get_state()
    state.numpy()[_STATE].view(np.uint64)[:] = entropy.generate_state(_WORDS)
    return generator.set_state(state)


def streams(seeds: Iterable[Index], purpose: str, device: str | torch.device = "cpu") -> list[torch.Generator]:
    """One stream a seed."""
    return [stream(seed, purpose, device) for seed in seeds]
