"""Does a network that reads source text copy names, as in ``self.NAME = NAME``, and how does its state hold letters?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from emt_core.analysis import layers
from emt_core.analysis.edits.basis import random_edit
from emt_core.networks import Functions, Reader
from emt_core.networks.contract import Writes
from emt_core.support.checks import integer
from emt_core.tasks.source_text import CHARACTERS, LETTERS, Source, encode

#: what stands before a name, between its first sayings, and after them, where nothing else is known of it
SCENE = "\n\nclass Thing:\n\n    def __init__(self, ", "):\n        self.", " = "

LETTER_CODES = torch.tensor([CHARACTERS.index(letter) for letter in LETTERS])
_TOKENS = torch.full((len(CHARACTERS),), len(LETTERS))
_TOKENS[LETTER_CODES] = torch.arange(len(LETTERS))


@torch.no_grad()
def goes_on(model: Reader, h: Float[Tensor, "1 B n"], length: int) -> Int[Tensor, "B K"]:
    """The K = ``length`` characters that one network writes from states, each the likeliest, fed back."""
    written = []
    for _ in range(integer("length", length, 1)):
        written.append(model.read_out(h).argmax(2)[0])
        h = model.step(h, written[-1][None])
    return torch.stack(written, dim=1)


@torch.no_grad()
def copied(model: Reader, prompts: Sequence[str], names: Sequence[str]) -> Bool[Tensor, "B"]:
    """Whether one network goes on each prompt with the name and the line's end, letter by letter by itself."""
    right = torch.zeros(len(names), dtype=torch.bool)
    order = sorted(range(len(names)), key=lambda i: (len(prompts[i]), len(names[i])))
    for _, group in groupby(order, key=lambda i: (len(prompts[i]), len(names[i]))):
        here = list(group)
        read = torch.stack([encode(prompts[i]) for i in here], dim=1)
        wanted = torch.stack([encode(names[i] + "\n") for i in here])
        found = goes_on(model, model.encode(read[None]), wanted.shape[1])
        right[here] = (found == wanted).all(1)
    return right


def prompted(names: Sequence[str], scene: Sequence[str] = SCENE) -> list[str]:
    """The scene with each of the names in it."""
    return [name.join(scene) for name in names]


def asked(tokens: Int[Tensor, "L B"], scene: Sequence[str] = SCENE) -> tuple[list[str], list[str]]:
    """Prompts and names for :func:`copied`, of names as tokens."""
    names = ["".join(LETTERS[k] for k in name) for name in tokens.T.tolist()]
    return prompted(names, scene), names


def in_place(source: Source, length: int, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The text of so many characters before each place where one of ``names`` is said twice, and the name there."""
    places = [(at, name) for at, name in source.places if name in set(names) and at >= length]
    return [source.text[at - length : at] for at, _ in places], [name for _, name in places]


def in_a_scene(model: Reader, scene: Sequence[str] = SCENE) -> Functions:
    """One network as a reader of names alone, for all of :mod:`emt_core.analysis` and :mod:`emt_core.report`: its
    tokens are the LETTERS, which are read with the scene around them, and what it then writes. What is no letter is
    token V, the last."""

    def read(tokens: Tensor) -> Tensor:
        batch = len(tokens)
        opened = model.encode(encode(scene[0])[None, :, None]).expand(-1, batch, -1)  # one sequence for all names
        name = LETTER_CODES[tokens].mT
        said = [x for part in scene[1:] for x in (name, encode(part)[:, None].expand(-1, batch))]
        return model.encode(torch.cat(said)[None], opened)[0]

    def write(h: Tensor, length: int) -> Tensor:
        return _TOKENS[goes_on(model, h[None], length)]

    return Functions(encode=read, write=write, vocabulary=len(LETTERS))


def spelled(names: Sequence[str]) -> Int[Tensor, "L B"]:
    """Names of one length as tokens."""
    return torch.stack([_TOKENS[encode(name)] for name in names], dim=1)


def code(
    network: Writes, among: Int[Tensor, "L B"], judged: Int[Tensor, "L K"], generator: torch.Generator
) -> dict[str, float]:
    """How the letters of names of one length lie in the state (:mod:`emt_core.analysis.layers`): measured on the names
    ``among``, read off the names ``judged``."""
    length = len(among)
    found, mean = layers.layers(network, length, generator, among=among)
    numbers = {"dimension": layers.dimension(layers.states(network, judged))}
    numbers |= {"additive": layers.additive_share(network, found, mean, judged)}
    for name, matrix in {"overlap": layers.overlap(found), "alignment": layers.alignment(found)}.items():
        numbers[f"{name}_next"] = matrix.diagonal(1, 1, 2).mean(1)
        numbers[f"{name}_any"] = layers.between_positions(matrix)
    numbers |= {f"size_{p}": size for p, size in enumerate(layers.sizes(found).T)}
    return {name: float(value[0]) for name, value in numbers.items()}


@torch.no_grad()
def misplaced(network: Writes, judged: Int[Tensor, "L K"]) -> dict[str, float]:
    """What is written after the names ``judged`` where it is not the name. Shares of these wrong copies: with the same
    letters in another order (``anagrams``), with just two neighbours exchanged (``exchanged``), whose first wrong
    letter is the one that comes next in the name (``next``; of those with a next one). Of all letters of wrong copies:
    the share that the name has anywhere (``letters``), and that another of the names has (``letters_chance``)."""
    length, batch = judged.shape
    written = network.write(layers.states(network, judged), length)[0]
    wrong = (written != judged).any(0)
    written, name, other = written[:, wrong], judged[:, wrong], judged.roll(1, 1)[:, wrong]
    row = torch.arange(name.shape[1])
    first = (written != name).int().argmax(0)
    inner = first < length - 1
    exchanged = torch.zeros(name.shape[1], dtype=torch.bool)
    for p in range(length - 1):
        order = torch.arange(length)
        order[[p, p + 1]] = order[[p + 1, p]]
        exchanged |= (written == name[order]).all(0)
    shares = {
        "anagrams": (written.sort(0).values == name.sort(0).values).all(0),
        "exchanged": exchanged,
        "next": (written[first, row] == name[(first + 1).clamp_max(length - 1), row])[inner],
        "letters": (written[:, None] == name).any(1),
        "letters_chance": (written[:, None] == other).any(1),
    }
    return {"wrong": int(wrong.sum()) / batch} | {k: float(hits.double().mean()) for k, hits in shares.items()}


@torch.no_grad()
def edited(
    network: Writes, among: Int[Tensor, "L B"], judged: Int[Tensor, "L K"], generator: torch.Generator
) -> dict[str, float]:
    """One letter's layer is exchanged for another's. Shares of the names ``judged`` after which is then written what
    the network writes when it has read the other name, right or wrong, as far as this is something else than before:

    - ``edit``; ``edit_copied``, the same of those other names alone that the network copies;
    - ``elsewhere``, the same layers at any other position; ``neighbour`` and ``farther``, at one beside it or not,
      scaled to the size of the edit;
    - ``random``, a change of equal size in a random direction; ``mixed``, in one of the states' own span;
    - ``copied``, how often the network copies such names at all.
    """
    length, batch = judged.shape
    found = layers.layers(network, length, generator, among=among)[0]
    at, row = torch.randint(length, (batch,), generator=generator), torch.arange(batch)
    old = judged[at, row]
    new = (old + torch.randint(1, len(LETTERS), (batch,), generator=generator)) % len(LETTERS)
    elsewhere = (at + torch.randint(1, length, (batch,), generator=generator)) % length
    other = judged.clone()
    other[at, row] = new
    h = layers.states(network, judged)
    now, then = (network.write(states, length)[0] for states in (h, layers.states(network, other)))
    asked, copied = (now != then).any(0), (then == other).all(0)
    change = found[:, at, new] - found[:, at, old]
    wrong_place = found[:, elsewhere, new] - found[:, elsewhere, old]
    ways = {"edit": h + change, "elsewhere": h + wrong_place}
    ways["random"] = random_edit(h, ways["edit"], generator)
    mix = torch.randn(batch, batch, generator=generator).to(h) @ (h - h.mean(1, keepdim=True))
    size = change.norm(dim=2, keepdim=True)
    ways["mixed"] = h + mix * size / mix.norm(dim=2, keepdim=True)
    ways["scaled"] = h + wrong_place * size / wrong_place.norm(dim=2, keepdim=True)
    right = {name: (network.write(states, length)[0] == then).all(0) for name, states in ways.items()}
    beside = (elsewhere - at).abs() == 1
    chosen = {name: right[name][asked] for name in ("edit", "elsewhere", "random", "mixed")}
    chosen |= {"neighbour": right["scaled"][asked & beside], "farther": right["scaled"][asked & ~beside]}
    chosen |= {"edit_copied": right["edit"][asked & copied], "copied": copied}
    return {name: float(hits.double().mean()) for name, hits in chosen.items()}
