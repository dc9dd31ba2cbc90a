"""Layers of a GRU's last state: means against brute force, geometry on layers made by hand, peeling."""

import itertools

import pytest
import torch

from emt_core.analysis import layers
from emt_core.networks import GRU, Elman, TokenNetwork
from emt_core.networks.cell import rows
from emt_core.tasks import Sequences

# of three tokens with six sequences each: one, two or all at a time
read_together = pytest.mark.parametrize("at_once", [1, 13, 1024])


def gru(hidden: int, vocabulary: int, models: int = 2) -> TokenNetwork:
    return TokenNetwork.init(GRU, vocabulary, hidden, [torch.Generator().manual_seed(s) for s in range(models)])


def encode_one(model: TokenNetwork, sequence: tuple[int, ...]) -> torch.Tensor:
    tokens = torch.tensor(sequence)[None, :, None]
    return model.encode(Sequences(tokens, torch.full((1, 1), len(sequence))))[:, 0]


@read_together
def test_layers_are_means_over_the_sequences_that_were_drawn(monkeypatch, at_once) -> None:
    monkeypatch.setattr(layers, "AT_ONCE", at_once)
    model = gru(5, 3)
    found, mean = layers.layers(model, 4, torch.Generator().manual_seed(7), sequences=6)
    drawn = torch.randint(3, (4, 6), generator=torch.Generator().manual_seed(7))
    at = torch.zeros(2, 4, 3, 5)
    for p, v, b in itertools.product(range(4), range(3), range(6)):
        put = drawn[:, b].clone()
        put[p] = v
        at[:, p, v] += encode_one(model, tuple(put.tolist())) / 6
    torch.testing.assert_close(found, at - at.mean(2, keepdim=True), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(mean, at.mean((1, 2)), rtol=1e-4, atol=1e-6)


@read_together
def test_shuffled_tokens_are_means_of_the_same_states_in_another_order(monkeypatch, at_once) -> None:
    monkeypatch.setattr(layers, "AT_ONCE", at_once)
    model = gru(5, 3)
    options = dict(sequences=6, shuffle=torch.Generator().manual_seed(1))
    null, mean = layers.layers(model, 4, torch.Generator().manual_seed(7), **options)
    found, plain = layers.layers(model, 4, torch.Generator().manual_seed(7), sequences=6)
    drawn = torch.randint(3, (4, 6), generator=torch.Generator().manual_seed(7))
    order = torch.Generator().manual_seed(1)
    for p in range(4):
        every = []
        for v, b in itertools.product(range(3), range(6)):
            put = drawn[:, b].clone()
            put[p] = v
            every.append(encode_one(model, tuple(put.tolist())))
        at = torch.stack(every, dim=1)[:, torch.randperm(18, generator=order)].unflatten(1, (3, 6)).mean(2)
        torch.testing.assert_close(null[:, p], at - at.mean(1, keepdim=True), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(mean, plain, rtol=1e-4, atol=1e-6)  # the same states, and so the same mean
    assert not torch.allclose(null, found, atol=1e-3)


def test_a_null_is_as_small_as_the_mean_of_so_many_states() -> None:
    model = gru(8, 5, models=1)
    draw = [torch.Generator().manual_seed(s) for s in range(2)]
    null, mean = layers.layers(model, 3, draw[0], sequences=400, shuffle=draw[1])
    h = layers.states(model, torch.randint(5, (3, 5000), generator=draw[0]))
    wanted = float(h[0].var(0).sum() / 400 * 4 / 5) ** 0.5  # four of five means are free
    # three positions of four free means of eight units: a tenth or so
    torch.testing.assert_close(layers.sizes(null)[0], torch.full((3,), wanted), rtol=0.6, atol=0)
    assert layers.additive_share(model, null, mean, torch.randint(5, (3, 2000), generator=draw[0])).abs() < 0.05


def test_one_step_has_exact_layers() -> None:
    # with a single position the sum of the layers is the state itself
    model = gru(6, 4)
    found, mean = layers.layers(model, 1, torch.Generator().manual_seed(0), sequences=2)
    tokens = torch.arange(4)[None]
    share = layers.additive_share(model, found, mean, tokens)
    torch.testing.assert_close(share, torch.ones(2), rtol=0, atol=1e-6)


def test_geometry_of_layers_made_by_hand() -> None:
    e = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(0))
    zero = torch.zeros_like(e)
    # positions 0 and 1: the same directions at half the size; position 2: other units; position 3: turned round
    made = torch.stack([torch.cat(x, dim=2) for x in ((e, zero), (e / 2, zero), (zero, e), (-e, zero))], dim=1)
    size = layers.sizes(made)[0]
    torch.testing.assert_close(size, size[0] * torch.tensor([1.0, 0.5, 1.0, 1.0]))
    want = torch.tensor([[1.0, 1, 0, 1], [1, 1, 0, 1], [0, 0, 1, 0], [1, 1, 0, 1]])
    torch.testing.assert_close(layers.overlap(made)[0], want, rtol=0, atol=1e-6)
    want[3, :2] = want[:2, 3] = -1.0
    torch.testing.assert_close(layers.alignment(made)[0], want, rtol=0, atol=1e-6)


@pytest.mark.parametrize("subtract", [True, False])
def test_peeling_reads_an_onion_that_cannot_be_read_directly(subtract: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    e = torch.randn(1, 5, 4, generator=generator)
    e = e - e.mean(1, keepdim=True)
    made = torch.stack([0.15**p * e for p in range(4)], dim=1)
    tokens = torch.randint(5, (4, 400), generator=generator)
    mean = torch.ones(1, 4)
    h = mean[:, None] + sum(made[:, p, tokens[p]] for p in range(4))
    right = (layers.peel(made, mean, h, torch.zeros(1, 4, 4), subtract)[0] == tokens).double().mean(1)
    assert right[0] == 1.0
    # a token further inside is hidden by those outside until these are taken off
    assert (right[1:] == 1.0).all() if subtract else (right[1:] < 0.7).all()


def test_peeling_reads_a_linear_code_either_way() -> None:
    made = torch.zeros(1, 2, 3, 6)
    made[0, 0, :, :3] = made[0, 1, :, 3:] = torch.eye(3) - 1 / 3
    tokens = torch.tensor([[0, 1, 2, 0], [2, 2, 0, 1]])
    h = sum(made[:, p, tokens[p]] for p in range(2))
    for subtract in (True, False):
        assert torch.equal(layers.peel(made, torch.zeros(1, 6), h, torch.zeros(1, 6, 6), subtract)[0], tokens)


def test_dimension_counts_directions_of_equal_variance() -> None:
    axes = torch.cat([torch.eye(5), -torch.eye(5)])[None]
    torch.testing.assert_close(layers.dimension(axes), torch.tensor([5.0]))
    torch.testing.assert_close(layers.dimension(axes * torch.tensor([1.0, 1, 0, 0, 0]))[0], torch.tensor(2.0))


def test_gates_are_those_of_the_step() -> None:
    model, tokens = gru(4, 3), torch.tensor([[0, 2], [1, 1]])
    h = torch.zeros(2, 2, 4)
    for p, row in enumerate(tokens):
        z = model.cell.gates(h, rows(model.embedding, row.expand(2, -1)))[1]
        torch.testing.assert_close(layers.gates(model, tokens)[:, p], z)
        h = model.step(h, row.expand(2, -1))


def test_the_gates_of_another_cell_are_refused() -> None:
    model = TokenNetwork.init(Elman, 3, 4, [torch.Generator().manual_seed(0)])
    with pytest.raises(ValueError, match=r"^model must have the cell 'gru', got Elman$"):
        layers.gates(model, torch.tensor([[0, 2], [1, 1]]))


def test_length_must_be_a_positive_integer() -> None:
    with pytest.raises(ValueError, match="length must be at least 1, got 0"):
        layers.layers(gru(3, 2), 0, torch.Generator())
