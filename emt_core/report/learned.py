"""The onion paper's edits, learned on a user's network: slower than all the rest."""

from __future__ import annotations

from emt_core.analysis import edits as studied
from emt_core.book.intervals import wilson
from emt_core.networks import TokenNetwork
from emt_core.networks.contract import Writes
from emt_core.report.asked import Asked
from emt_core.report.measures import Numbers, missing
from emt_core.support.random_streams import stream
from emt_core.tasks import TokenRepeat
from emt_core.training import Recipe, Status

KINDS = "unigram", "onion"  #: subspaces, and an onion
RECIPE = Recipe(steps=6000, patience=3, least=2000)  #: shorter than the paper's


def edits(network: Writes, q: Asked, seed: int = 0, progress: bool = False) -> Numbers:
    """Exact match of each kind of edit beside its controls, on held-out random sequences of the network's lengths.
    Ctrl-C raises, as everywhere in a report: an edit that was not learned to the end says nothing."""
    if not isinstance(network, TokenNetwork):
        return missing("learned edits need a network that starts writing with a token and reads out linearly")
    if q.rule != "repeat":
        return missing("learned edits are of networks that repeat")
    lengths = q.sequences.lengths[0]
    task = TokenRepeat(network.vocabulary, shortest=max(1, int(lengths.min())), longest=int(lengths.max()))
    found = {}
    for kind in KINDS:
        made = studied.fit(kind, network, task, seeds=[seed], recipe=RECIPE, progress=progress)
        if Status.INTERRUPTED in made.training.status:
            raise KeyboardInterrupt
        states = studied.edited(made.edit, network, made.case)
        ways = {"edited": made.right} | studied.controls(network, made.case, states, stream(seed, "report controls"))
        found[kind] = {way: [*wilson(right.all(1)[0].double().numpy()), right.shape[2]] for way, right in ways.items()}
    return {"kinds": found, "steps": RECIPE.steps}
