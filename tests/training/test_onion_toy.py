"""Toys of the onion: what they learn is tested beside the theory; here, how they are trained."""

import pytest
import torch
from oracles import same_bits

from emt_core.training import onion_toy
from emt_core.training.onion_toy import fit_toy

SMALL = dict(vocabulary=4, max_length=3, dim=3, batch=16, held_out=100)


def test_a_seed_is_the_same_alone_and_among_others():
    together = fit_toy(**SMALL, seeds=[5, 0, 2**31 - 1], steps=10)
    for m, seed in enumerate((5, 0, 2**31 - 1)):
        alone = fit_toy(**SMALL, seeds=[seed], steps=10)
        for name in ("embedding", "readout", "bias", "accuracy"):
            assert same_bits(getattr(alone, name)[0], getattr(together, name)[m])
    assert not torch.equal(together.embedding[0], together.embedding[1])


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ([0, 2**31], "must be below 2147483648, got 2147483648"),
        ([0, 2**32], "must be below 2147483648, got 4294967296"),
        ([0, -1], "must be at least 0, got -1"),
        ([], "must hold at least one seed, got none"),
    ],
    ids=str,
)
def test_wrong_seeds_are_refused_before_anything_is_trained(seeds, message, monkeypatch):
    def trained(*arguments, **options):
        raise AssertionError("a toy was trained")

    monkeypatch.setattr(onion_toy, "trange", trained)
    with pytest.raises(ValueError, match=f"^seeds {message}$"):
        fit_toy(**SMALL, seeds=seeds)
