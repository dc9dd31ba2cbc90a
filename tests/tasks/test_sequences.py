"""Batches of token sequences: what is refused when one is made, and what is known of one that was made."""

import re

import pytest
import torch
from oracles import SHAPE_ERRORS, generators, needs_a_gpu

from emt_core.networks import GRU, TokenNetwork
from emt_core.tasks import Sequences, TokenRepeat
from emt_core.tasks.sequences import move
from emt_core.training.scores import cross_entropy

TOKENS = torch.tensor([[[1, 2, 1], [2, 0, 0]], [[2, 1, 0], [1, 5, 0]]])  # (M, L, B) = (2, 2, 3)
LENGTHS = torch.tensor([[2, 1, 1], [2, 2, 1]])


def replaced(x: torch.Tensor, place: tuple[int, ...], value: int) -> torch.Tensor:
    x = x.clone()
    x[place] = value
    return x


@pytest.fixture
def looks(monkeypatch):
    """How often sequences have been looked at since: as often as they were made from tensors."""
    seen = []
    monkeypatch.setattr(Sequences, "__post_init__", lambda self: seen.append(self))
    return seen


# --- what it says -----------------------------------------------------------------------------------------------------


def test_mask_and_active_by_hand():
    sequences = Sequences(TOKENS, LENGTHS)
    assert sequences.mask.int().tolist() == [[[1, 1, 1], [1, 0, 0]], [[1, 1, 1], [1, 1, 0]]]
    assert sequences.active.tolist() == [[3, 1], [3, 2]]
    some = sequences[1:]
    assert (some.tokens.tolist(), some.lengths.tolist()) == ([[[2, 1], [0, 0]], [[1, 0], [5, 0]]], [[1, 1], [2, 1]])
    picked = sequences[torch.tensor([0, 2])]
    assert (picked.tokens[0].tolist(), picked.lengths[0].tolist()) == ([[1, 1], [2, 0]], [2, 1])
    masked = sequences[torch.tensor([True, False, True])]
    assert torch.equal(masked.tokens, picked.tokens) and torch.equal(masked.lengths, picked.lengths)
    assert torch.equal(sequences.to("cpu").tokens, sequences.tokens)


def test_one_models_sequences_serve_several():
    sequences = TokenRepeat(4, 2, 3).sample(5, generators(0))
    many = sequences.expand(3)
    assert many.tokens.shape == (3, 3, 5) and many.lengths.shape == (3, 5)
    for m in range(3):
        assert torch.equal(many.tokens[m], sequences.tokens[0]) and torch.equal(many.lengths[m], sequences.lengths[0])
    assert many.expand(3).tokens.shape == (3, 3, 5)
    for models, have in ((2, 3), (1, 3), (4, 3)):
        with pytest.raises(ValueError, match=f"^sequences must be for 1 or {models} models, got {have}$"):
            many.expand(models)


def test_sequences_of_one_length():
    tokens = torch.randint(5, (2, 4, 3), generator=generators(0)[0])
    sequences = Sequences.of_one_length(tokens)
    assert sequences.tokens is tokens and sequences.lengths.tolist() == [[4] * 3] * 2
    assert sequences.mask.all() and sequences.active.tolist() == [[3] * 4] * 2
    assert sequences.largest == int(tokens.max())
    with pytest.raises(ValueError, match=r"^tokens must be at least 0, got -1$"):
        Sequences.of_one_length(replaced(tokens, (0, 1, 1), -1))


def test_sequences_are_equal_to_themselves_alone():
    """They are keys of what has been computed for them."""
    one, other = Sequences(TOKENS, LENGTHS), Sequences(TOKENS, LENGTHS)
    assert one == one and one != other and len({one, other}) == 2
    with pytest.raises(AttributeError):
        one.tokens = TOKENS


# --- what is refused --------------------------------------------------------------------------------------------------

WRONG = {
    "tokens without models": (TOKENS[0], LENGTHS, "tokens must be integers on 3 axes, got torch.int64, shape (2, 3)"),
    "tokens with fractions": (TOKENS.float(), LENGTHS, "tokens must be integers on 3 axes, got torch.float32"),
    "tokens true or false": (TOKENS > 0, LENGTHS, "tokens must be integers on 3 axes, got torch.bool"),
    "lengths without models": (TOKENS, LENGTHS[0], "lengths must be integers on 2 axes, got torch.int64, shape (3,)"),
    "lengths with fractions": (TOKENS, LENGTHS.double(), "lengths must be integers on 2 axes, got torch.float64"),
    "lengths true or false": (TOKENS, LENGTHS > 1, "lengths must be integers on 2 axes, got torch.bool"),
    "too few lengths": (TOKENS, LENGTHS[:, :2], "lengths must have shape (2, 3) to go with tokens, got (2, 2)"),
    "lengths of one model": (TOKENS, LENGTHS[:1], "lengths must have shape (2, 3) to go with tokens, got (1, 3)"),
    "a length of zero": (TOKENS, replaced(LENGTHS, (1, 2), 0), "lengths must lie in 1 … L = 2, got 0 … 2"),
    "a negative length": (TOKENS, replaced(LENGTHS, (1, 2), -1), "lengths must lie in 1 … L = 2, got -1 … 2"),
    "a length beyond the tokens": (TOKENS, replaced(LENGTHS, (0, 0), 3), "lengths must lie in 1 … L = 2, got 1 … 3"),
    "no steps": (TOKENS[:, :0], LENGTHS, "lengths must lie in 1 … L = 0, got 1 … 2"),
    "the shortest first": (TOKENS.flip(2), LENGTHS.flip(1), "lengths must be in descending order, the longest"),
    "one pair out of order": (
        TOKENS[..., [1, 0, 2]], LENGTHS[:, [1, 0, 2]], "lengths must be in descending order, the longest sequence first"
    ),
    "a negative token": (replaced(TOKENS, (1, 0, 1), -2), LENGTHS, "tokens must be at least 0, got -2"),
    "a negative token beyond the end": (replaced(TOKENS, (0, 1, 2), -1), LENGTHS, "tokens must be at least 0, got -1"),
    "a token beyond the end": (
        replaced(TOKENS, (1, 1, 2), 3), LENGTHS, "tokens must be zero beyond a sequence's end, got others there"
    ),
}  # fmt: skip
HOOKED = ("shape (2, 3)", "shape (3,)", "float", "bool", "to go with tokens")  # the tests' check of types says it first


@pytest.mark.parametrize(("tokens", "lengths", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_when_they_are_made(tokens, lengths, message):
    with pytest.raises(SHAPE_ERRORS) as caught:
        Sequences(tokens, lengths)
    if type(caught.value) is ValueError:
        assert str(caught.value).startswith(message)
    else:
        assert any(part in message for part in HOOKED)
    bare = object.__new__(Sequences)  # as it is made where types are not checked
    object.__setattr__(bare, "tokens", tokens)
    object.__setattr__(bare, "lengths", lengths)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        bare.__post_init__()


def test_what_is_right_is_taken():
    for tokens, lengths in (
        (TOKENS, LENGTHS),
        (TOKENS, torch.full((2, 3), 2)),  # zeros may be tokens
        (TOKENS.int(), LENGTHS.short()),
        (TOKENS[..., :0], LENGTHS[:, :0]),
        (TOKENS[:0], LENGTHS[:0]),
        (torch.zeros(1, 1, 1).long(), torch.ones(1, 1).long()),
        (TOKENS[:1].expand(2, -1, -1), LENGTHS[:1].expand(2, -1)),
    ):
        sequences = Sequences(tokens, lengths)
        assert sequences.tokens is tokens and sequences.lengths is lengths
        assert sequences.largest == (int(tokens.max()) if tokens.numel() else -1)


def test_what_has_no_numbers_is_not_looked_at():
    sequences = Sequences(TOKENS.to("meta"), LENGTHS.to("meta"))
    assert sequences.largest == -1 and sequences.tokens.device.type == "meta"
    with pytest.raises(SHAPE_ERRORS, match="lengths"):  # but it has a shape
        Sequences(TOKENS.to("meta"), LENGTHS[:1].to("meta"))


@needs_a_gpu
@pytest.mark.parametrize("name", ["the shortest first", "a token beyond the end", "a negative token"])
def test_what_is_wrong_is_said_on_a_gpu_too(name):
    tokens, lengths, message = WRONG[name]
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        Sequences(tokens.cuda(), lengths.cuda())
    assert Sequences(TOKENS.cuda(), LENGTHS.cuda()).largest == 5


# --- what is known ----------------------------------------------------------------------------------------------------


def test_the_largest_token_is_known():
    sequences = Sequences(TOKENS, LENGTHS)
    assert sequences.largest == 5 and type(sequences.largest) is int
    assert TokenRepeat(7, 1, 4).sample(500, generators(0)).largest == 6
    with pytest.raises(TypeError):
        Sequences(TOKENS, LENGTHS, 9)  # it is counted, not told


def test_parts_and_copies_keep_what_is_known_and_are_not_looked_at_again(looks):
    sequences = object.__new__(Sequences)
    one = TOKENS[:1], LENGTHS[:1]
    for name, value in zip(("tokens", "lengths", "largest"), (*one, 17), strict=True):  # not what a look would find
        object.__setattr__(sequences, name, value)
    ways = {
        "slice": (sequences[:2], (one[0][..., :2], one[1][:, :2])),
        "slice from the end": (sequences[-1:], (one[0][..., -1:], one[1][:, -1:])),
        "slice with a step": (sequences[::2], (one[0][..., ::2], one[1][:, ::2])),
        "empty slice": (sequences[3:], (one[0][..., 3:], one[1][:, 3:])),
        "elsewhere": (sequences.to("meta").to("meta"), None),
        "here": (sequences.to("cpu"), one),
        "expanded": (sequences.expand(3), (one[0].expand(3, -1, -1), one[1].expand(3, -1))),
        "expanded by one": (sequences.expand(1), one),
        "all at once": (
            sequences.expand(2)[:1].to("cpu"),
            (one[0].expand(2, -1, -1)[..., :1], one[1].expand(2, -1)[:, :1]),
        ),
    }
    for way, (made, want) in ways.items():
        assert type(made) is Sequences and made.largest == 17, way
        if want is not None:
            assert torch.equal(made.tokens, want[0]) and torch.equal(made.lengths, want[1]), way
    assert ways["elsewhere"][0].lengths.device.type == "meta"
    assert looks == []
    sequences[torch.tensor([0, 2])]
    sequences[torch.tensor([True, False, True])]
    assert len(looks) == 2  # numbers and masks may change the order


def test_what_is_picked_out_of_order_is_refused():
    sequences = Sequences(TOKENS, LENGTHS)
    with pytest.raises(ValueError, match=r"^lengths must be in descending order, the longest sequence first$"):
        sequences[torch.tensor([2, 0])]
    assert sequences[torch.tensor([0, 2])].largest == 2 and sequences[torch.tensor([1])].largest == 5


def test_a_step_of_training_looks_once(looks):
    """At what the task draws; not again when it is moved, expanded and read on its way through the networks."""
    model = TokenNetwork.init(GRU, 4, 3, generators(0, 1))
    batch = TokenRepeat(4, 1, 3).sample(6, generators(0)).to("cpu")
    assert len(looks) == 1
    model.logits(model.encode(batch), batch)
    cross_entropy(model.logits(model.encode(batch[2:]), batch[2:]), batch[2:])
    assert len(looks) == 1


# --- to another device ------------------------------------------------------------------------------------------------


def test_moving_leaves_what_is_there_alone():
    assert move(TOKENS, "cpu") is TOKENS
    assert move(TOKENS, "meta").shape == TOKENS.shape


@needs_a_gpu
def test_moving_to_a_gpu_and_back():
    sequences = Sequences(TOKENS, LENGTHS).to("cuda")
    assert sequences.tokens.is_cuda and sequences.lengths.is_cuda and sequences.largest == 5
    assert torch.equal(sequences.to("cpu").tokens, TOKENS) and torch.equal(
        sequences.active.cpu(), torch.tensor([[3, 1], [3, 2]])
    )
