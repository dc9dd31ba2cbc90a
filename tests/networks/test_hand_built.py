"""Hand-built networks: states are the sums they should be, every sequence is written, and the rest is no layer."""

import itertools

import pytest
import torch

from emt_core.analysis import layers
from emt_core.networks import hand_built
from emt_core.networks.hand_built import TICK, Storing, onion, subspaces
from emt_core.networks.tokens import right_tokens
from emt_core.tasks import Sequences, TokenRepeat

V, L = 5, 3
TASK = TokenRepeat(V, 1, L)
MADE = {"subspaces": subspaces, "onion": onion}


def every(length: int = L) -> Sequences:
    tokens = torch.tensor(list(itertools.product(range(V), repeat=length))).T
    return Sequences.of_one_length(tokens[None])


def mixed() -> Sequences:
    return TASK.sample(60, [torch.Generator().manual_seed(0)])


@pytest.fixture(params=MADE)
def model(request):
    return MADE[request.param](12, V, L, rest=0)


def test_a_state_is_the_sum_of_its_tokens_layers_and_a_clock(model):
    read, made = mixed(), model.cell.layers[0]
    h = model.encode(read)[0]
    for b in range(60):
        length = int(read.lengths[0, b])
        wanted = sum(made[p, read.tokens[0, p, b]] for p in range(length))
        torch.testing.assert_close(h[b, :-1], wanted, rtol=0, atol=1e-6)
        assert float(h[b, -1]) == pytest.approx(TICK * length)


def test_a_scan_is_its_steps(model):
    rows = torch.randint(V + 2, (1, 7, 40), generator=torch.Generator().manual_seed(1))  # tokens, starts and no input
    active = torch.tensor([[40, 40, 33, 20, 20, 5, 0]])
    h = model.cell.zero_state(40)
    found = model.cell.scan(model.embedding)(rows, h, active)
    for t in range(7):
        new = model.step(h, rows[:, t])
        h = torch.where((torch.arange(40) < active[:, t, None])[..., None], new, h)
        torch.testing.assert_close(found[:, t], h, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.cell.step(h), model.step(h, torch.full((1, 40), V + 1)))


@pytest.mark.parametrize("length", range(1, L + 1))
def test_every_sequence_is_written_and_read_in_one_scan(model, length):
    read = every(length)
    h = model.encode(read)
    assert right_tokens(model.write(h, length), read).all()
    assert right_tokens(model.logits(h, read).argmax(3), read).all()


def test_only_a_code_of_subspaces_is_written_without_input():
    read = every()
    for name, make in MADE.items():
        deaf = make(12, V, L, rest=0, autoregressive=False)
        right = right_tokens(deaf.write(deaf.encode(read), L), read).all(1).double().mean()
        assert right == 1 if name == "subspaces" else right < 0.3


def test_geometry():
    apart, shared, one = (
        layers.overlap(m.cell.layers)[0]
        for m in (subspaces(12, V, L), onion(12, V, L), onion(12, V, L, gamma=(0.5, 0.5)))
    )
    torch.testing.assert_close(apart, torch.eye(L), rtol=0, atol=1e-5)
    torch.testing.assert_close(one, torch.ones(L, L), rtol=0, atol=1e-5)
    assert 0.5 < shared[0, -1] < 0.999
    sizes = layers.sizes(onion(12, V, L, gamma=(0.5, 0.5)).cell.layers)[0]
    torch.testing.assert_close(sizes, torch.tensor([1.0, 0.5, 0.25]))


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_the_rest_has_its_share_and_no_layer_has_it(make):
    bare, model = (make(20, 16, 5, rest=rest, directions=3) for rest in (0, 0.2))
    draw = torch.Generator().manual_seed(2)
    tokens = torch.randint(16, (5, 20_000), generator=draw)
    h, rest = layers.states(bare, tokens)[0], (layers.states(model, tokens) - layers.states(bare, tokens))[0]
    share = rest.var(0).sum() / (h.var(0).sum() + rest.var(0).sum())
    # the square of a sine has variance 1/8: the mean of three times 20,000 is known to a per cent
    assert float(share) == pytest.approx(0.2, abs=0.01)
    assert torch.linalg.matrix_rank(rest, rtol=1e-4) == 3 and not rest[:, -1].any()
    noise = rest.square().sum(1).mean().sqrt()
    for p, v in itertools.product(range(5), range(16)):
        chosen = rest[tokens[p] == v]
        # of the phases of 16 tokens the mean is about 1/4 long, of four other positions together 1/256
        assert chosen.mean(0).norm() < (4 / len(chosen) ** 0.5 + 4 / 256) * noise


def test_a_rest_depends_on_the_sequence_alone():
    model, read = subspaces(12, V, L, seed=3), mixed()
    assert torch.equal(model.encode(read), subspaces(12, V, L, seed=3).encode(read))
    assert not torch.allclose(model.encode(read), subspaces(12, V, L, seed=4).encode(read))
    torch.testing.assert_close(model.encode(read[:7]), model.encode(read)[:, :7])


def test_they_can_be_moved_as_other_networks():
    model = onion(12, V, L).detach().to(torch.float64)
    assert model[0] == model and model.encode(every()).dtype == torch.float64 and model.state_size == 13
    assert model.with_weights(model.weights) == model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: subspaces(8, V, L), r"^units must be at least 3 times log2\(vocabulary\), rounded up, got 8$"),
        (lambda: onion(8, V, L, gamma=(0.9, 0.5)), r"^gamma must be two numbers in order, at most 1, got \(0.9, 0.5\)"),
        (lambda: onion(8, V, L, gamma=(0.5, 1.5)), r"^gamma must be two numbers in order, at most 1, got"),
        (lambda: onion(8, V, L, rest=1), r"^rest must be at least 0 and below 1, got 1"),
        (lambda: onion(8, V, L, directions=0), r"^directions must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_made_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_no_such_cell_is_drawn():
    with pytest.raises(NotImplementedError, match="a code is written down"):
        Storing.init(3, 4, [torch.Generator()])


@pytest.mark.parametrize("units", [27, 9 * 40])
def test_tokens_of_subspaces_are_different_corners(units):
    made = subspaces(units, 6, 9, rest=0).cell.layers[0]
    for layer in made:
        apart = torch.cdist(layer, layer) + torch.eye(6)
        assert apart.min() > 0.5
    assert hand_built.TICK * 9 < 0.1  # beside layers of size 1
