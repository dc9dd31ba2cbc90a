"""A task that a function samples: what is passed on as it is, and what is refused by name."""

import pytest
import torch
from oracles import SHAPE_ERRORS, generators, same_bits

from emt_core.tasks import OwnTask

B = 7


def tokens(batch, generator):
    """The last of five tokens is asked for, and before it nothing or the fourth."""
    read = torch.randint(3, (5, batch), generator=generator)
    return read, torch.stack([torch.where(read[0] == 0, -1, read[3]), read[4]])


def vectors(batch, generator):
    read = torch.rand(5, batch, 2, generator=generator)
    return read, read.sum(2, keepdim=True)


def constant(inputs, targets):
    """A task whose batches are always these."""
    return lambda batch, generator: (inputs, targets)


ASKED, SAID = torch.zeros(5, B, dtype=torch.int64), torch.zeros(2, B, dtype=torch.int64)
READ, WRITTEN = torch.zeros(5, B, 2), torch.zeros(3, B, 1)


@pytest.mark.parametrize(("draw", "kinds"), [(tokens, (3, 3)), (vectors, (None, None))], ids=["tokens", "vectors"])
def test_a_models_batch_is_what_its_generator_draws(draw, kinds):
    task = OwnTask(draw, *kinds)
    inputs, targets = task.sample(B, generators(0, 1))
    for m in range(2):
        read, wanted = draw(B, generators(m)[0])
        assert same_bits(inputs[m], read) and same_bits(targets[m], wanted)
    alone = task.sample(B, generators(1)[0])  # one generator for one model
    assert same_bits(alone[0], inputs[1:]) and same_bits(alone[1], targets[1:])


def test_kinds_of_numbers_are_made_one():
    inputs, targets = OwnTask(constant(ASKED.to(torch.uint8), WRITTEN.double()), 3).sample(B, generators(0))
    assert inputs.dtype == torch.int64 and targets.dtype == torch.float32
    learned = READ.clone().requires_grad_()
    assert not OwnTask(constant(learned, SAID), None, 2).sample(B, generators(0))[0].requires_grad


def test_a_list_of_two_will_do_and_lengths_may_differ_between_batches():
    lengths = iter((5, 2))

    def draw(batch, generator):
        return list(constant(ASKED[: next(lengths)], SAID[:1])(batch, generator))

    task = OwnTask(draw, 2, 2)
    assert [task.sample(B, generators(0))[0].shape for _ in range(2)] == [(1, 5, B), (1, 2, B)]


wrong = {
    "no pair": (ASKED, None, (3, 2), "two tensors, inputs and targets, got Tensor, NoneType"),
    "floats for tokens": (READ, SAID, (3, 2), r"inputs that are integers, shape \(T, 7\), with vocabulary = 3, "
                          r"got torch.float32, shape \(5, 7, 2\)"),
    "bools for tokens": (ASKED.bool(), SAID, (3, 2), "inputs that are integers.*, got torch.bool"),
    "tokens for vectors": (ASKED, SAID, (None, 2), r"inputs that are floats, shape \(T, 7, I\), where vocabulary is "
                           r"not given, got torch.int64, shape \(5, 7\)"),
    "batch first": (ASKED.T, SAID, (3, 2), r"inputs that are integers, shape \(T, 7\).*, got .*shape \(7, 5\)"),
    "batch ignored": (READ[:, :4], SAID, (None, 2), r"inputs that are floats, shape \(T, 7, I\).*shape \(5, 4, 2\)"),
    "no steps": (ASKED[:0], SAID[:0], (3, 2), r"inputs .*shape \(0, 7\)"),
    "no numbers": (READ[..., :0], SAID, (None, 2), r"inputs .*shape \(5, 7, 0\)"),
    "token too large": (ASKED + 3, SAID, (3, 2), r"inputs in 0 … 2, got 3"),
    "token negative": (ASKED - 1, SAID, (3, 2), r"inputs in 0 … 2, got -1"),
    "not a number": (READ / 0, SAID, (None, 2), "inputs that are finite, got nan"),
    "targets without steps": (ASKED, SAID[0], (3, 2), r"targets that are integers, shape \(K, 7\), with classes = 2, "
                              r"got torch.int64, shape \(7,\)"),
    "floats for classes": (ASKED, WRITTEN, (3, 2), "targets that are integers.*got torch.float32"),
    "classes for floats": (ASKED, SAID, (3, None), r"targets that are floats, shape \(K, 7, C\), where classes is not"),
    "class too large": (ASKED, SAID + 2, (3, 2), r"targets in -1 … 1, got 2"),
    "class too small": (ASKED, SAID - 2, (3, 2), r"targets in -1 … 1, got -2"),
    "infinite target": (ASKED, WRITTEN + torch.inf, (3, None), "targets that are finite, got inf"),
    "more said than read": (ASKED[:1], SAID, (3, 2), "targets of K ≤ T = 1 steps, the last ones, got 2"),
    "nothing asked": (ASKED, SAID - 1, (3, 2), "targets that ask for something, got −1 everywhere"),
}  # fmt: skip


@pytest.mark.parametrize(("inputs", "targets", "kinds", "says"), wrong.values(), ids=wrong)
def test_what_is_wrong_with_a_batch_is_said(inputs, targets, kinds, says):
    with pytest.raises(ValueError, match=f"^draw must return {says}"):
        OwnTask(constant(inputs, targets), *kinds).sample(B, generators(0))


def test_other_wrong_arguments_are_named():
    with pytest.raises(SHAPE_ERRORS, match="draw"):
        OwnTask("reverse", 3, 3)
    with pytest.raises(ValueError, match=r"^vocabulary must be at least 1, got 0"):
        OwnTask(tokens, 0, 3)
    with pytest.raises(ValueError, match=r"^classes must be at least 2, got 1"):
        OwnTask(tokens, 3, 1)
    with pytest.raises(ValueError, match=r"^batch must be at least 1, got 0"):
        OwnTask(tokens, 3, 3).sample(0, generators(0))
    lengths = iter((5, 4))
    with pytest.raises(ValueError, match=r"^draw must return inputs of one shape for .*, got \[\(4, 7\), \(5, 7\)\]"):
        OwnTask(lambda *_: (ASKED[: next(lengths)], SAID), 3, 3).sample(B, generators(0, 1))


def test_what_the_function_raises_is_passed_on():
    def fails(batch, generator):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        OwnTask(fails).sample(B, generators(0))
