"""Readers with measured layers: what they are given, against the functions they are made of and a loop."""

import numpy as np
import pytest
import torch

from emt_core.analysis import layers, readers
from emt_core.analysis.readers import Code
from emt_core.networks import GRU, TokenNetwork
from emt_core.networks.hand_built import onion, subspaces


def two() -> TokenNetwork:
    return TokenNetwork.init(GRU, 4, 6, [torch.Generator().manual_seed(m) for m in range(2)])


def random_code(M=2, L=4, V=3, n=5) -> Code:
    draw = torch.Generator().manual_seed(0)
    found = torch.randn(M, L, V, n, generator=draw, dtype=torch.float64)
    root = torch.randn(M, n, n, generator=draw, dtype=torch.float64)
    return Code(found - found.mean(2, keepdim=True), torch.zeros(M, n, dtype=torch.float64), root @ root.mT)


def test_what_is_measured_is_what_each_function_says():
    code = readers.measured(two(), 3, torch.Generator().manual_seed(5), 8, 40)
    draw = torch.Generator().manual_seed(5)
    found, mean = (x.double() for x in layers.layers(two(), 3, draw, 8))
    rest = layers.unexplained(two(), found, mean, torch.randint(4, (3, 40), generator=draw))
    assert all(torch.equal(x, y) for x, y in zip(code, (found, mean, rest), strict=True))
    tokens, h = readers.drawn(two(), 3, torch.Generator().manual_seed(6), 50)
    assert torch.equal(tokens, torch.randint(4, (3, 50), generator=torch.Generator().manual_seed(6)))
    assert torch.equal(h, layers.states(two(), tokens))


def test_a_reader_is_a_peeler_in_its_order():
    code, draw = random_code(), torch.Generator().manual_seed(1)
    h, taken = torch.randn(2, 30, 5, generator=draw), torch.randint(3, (4, 30), generator=draw)
    for order in (None, [3, 2, 1, 0]):
        orders = None if order is None else torch.tensor([order, order])
        wanted = layers.peel(code.layers, code.mean, h, code.rest, order=orders, taken=taken)
        assert torch.equal(readers.read(h, code, order, taken=taken), wanted)
    at_once = layers.peel(code.layers, code.mean, h, code.rest, subtract=False)
    assert torch.equal(readers.read(h, code, peeled=False), at_once)
    assert not torch.equal(at_once, readers.read(h, code))


@pytest.mark.parametrize("peeled", [True, False])
def test_distances_by_a_loop(peeled):
    code = random_code()
    found = readers.distances(code, peeled=peeled)
    for m in range(2):
        C = [np.cov(layer.numpy().T, bias=True) for layer in code.layers[m]]
        for p in range(4):
            masks = [C[q] for q in range(4) if q > p or (q < p and not peeled)]
            noise = sum(masks, code.rest[m].numpy())
            wanted = np.trace(C[p] @ np.linalg.inv(noise)) ** 0.5
            assert float(found[m, p]) == pytest.approx(wanted, rel=1e-9)


def test_the_readers_tell_hand_built_codes_apart():
    """The linear reader reads subspaces and not an onion; peeling reads both, the onion from its first layer only."""
    right = {}
    made = {"subspaces": subspaces(25, 8, 5), "onion": onion(25, 8, 5, gamma=(0.45, 0.45))}
    for name, model in made.items():
        code = readers.measured(model, 5, torch.Generator().manual_seed(0), 64, 500)
        tokens, h = readers.drawn(model, 5, torch.Generator().manual_seed(1), 500)
        ways = {"linear": dict(peeled=False), "peeled": {}, "backwards": dict(order=[4, 3, 2, 1, 0])}
        for way, options in ways.items():
            found = readers.read(h, code, **options)[0] == tokens
            right[name, way] = float(found.all(0).double().mean())
    assert min(right["subspaces", way] for way in ways) > 0.95
    assert right["onion", "peeled"] > 0.95
    assert right["onion", "linear"] < 0.5 and right["onion", "backwards"] < 0.5
