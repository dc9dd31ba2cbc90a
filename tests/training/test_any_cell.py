"""What training promises for every cell and every task: it learns, by torch's own update, each model by itself, and no
bit is lost on the way."""

from dataclasses import dataclass

import pytest
import torch
from oracles import OF_TORCH, generators, same_bits, torch_recurrence

from emt_core.networks import CELLS, Cell, TokenNetwork, VectorNetwork, from_torch, to_torch
from emt_core.tasks import TokenRepeat, VariableBinding
from emt_core.training import Recipe, Status, evaluate, fit
from emt_core.training.engine import steps_done
from emt_core.training.scores import repeats, token_accuracy

BINDING, REPEAT = VariableBinding.repeat_copy(2, 1), TokenRepeat(3, 1, 2)
WHAT = {"binding": None, "autoregressive": True, "no input": False}
SEEDS = (3, 0)
N = 6

each_cell = pytest.mark.parametrize("cell", CELLS)
each_of_torch = pytest.mark.parametrize("cell", OF_TORCH)
each = pytest.mark.parametrize("what", WHAT)


@dataclass
class Trained:
    """What both kinds of training have in common."""

    model: VectorNetwork | TokenNetwork
    losses: torch.Tensor
    quality: torch.Tensor
    status: tuple[Status, ...]
    steps: torch.Tensor


def train(what, cell, steps, seeds=SEEDS, *, every=4, lr=0.05, hidden=N, **options) -> Trained:
    common = dict(cell=cell, hidden=hidden, seeds=seeds, progress=False) | options
    if what == "binding":
        found = fit(BINDING, steps=steps, lr=lr, horizons=(3, 5), batch=16, every=every, test_horizon=9, **common)
        return Trained(found.model, found.history.loss, found.accuracy, found.status, found.steps)
    recipe = Recipe(steps=steps, lr=lr, batch=16, every=every, patience=0)
    found = fit(REPEAT, recipe=recipe, autoregressive=WHAT[what], **common)
    assert found.model.autoregressive is WHAT[what]
    return Trained(found.model, found.training.losses, found.exact, found.status, found.training.steps)


def start(what, cell, *seeds, hidden=N) -> VectorNetwork | TokenNetwork:
    """As the seeds draw it."""
    if what == "binding":
        return VectorNetwork.init(CELLS[cell], BINDING.dim, hidden, generators(*seeds))
    return TokenNetwork.init(CELLS[cell], REPEAT.vocabulary, hidden, generators(*seeds), WHAT[what])


def assert_same(a: Trained, b: Trained, models: slice = slice(None)) -> None:
    """Every bit of ``a`` agrees with models ``models`` of ``b``."""
    assert a.model.settings == b.model.settings and a.model.weights.keys() == b.model.weights.keys()
    for name, w in a.model.weights.items():
        assert same_bits(w, b.model.weights[name][models]), name
    assert same_bits(a.losses, b.losses[:, models].contiguous()) and same_bits(a.quality, b.quality[models])
    assert a.status == b.status[models] and torch.equal(a.steps, b.steps[models])


@each_cell
@each
def test_it_trains_networks_of_that_cell(what, cell):
    found, before = train(what, cell, 10), start(what, cell, *SEEDS)
    assert type(found.model) is type(before) and type(found.model.cell) is CELLS[cell]
    assert found.model.settings == before.settings and found.model.hidden == N
    assert found.status == (Status.DONE,) * 2 and found.steps.tolist() == [10] * 2
    assert found.losses.shape == (3, 2) and found.losses.isfinite().all() and (found.quality >= 0).all()
    for name, w in found.model.weights.items():
        assert w.dtype == torch.float32 and w.isfinite().all() and not w.requires_grad
        if (what, name) == ("binding", "W_q"):
            continue  # nothing is read while outputs are scored, so what a matrix is asked does not depend on it
        for m in range(2):  # every weight learns
            assert not torch.equal(w[m], before.weights[name][m]), name


#: states that only fade, or that hold what has no order, can hardly bind variables
HARDLY = ("mingru", "decay", "selective", "linearattention", "deltanet")


@each_cell
@each
def test_its_loss_falls(what, cell):
    found = train(what, cell, 60, every=10)
    if what == "binding" and cell in HARDLY:
        assert (found.losses[-1] < found.losses[0]).all()
        return
    assert (found.losses[-1] < 0.7 * found.losses[0]).all()
    if what == "binding":
        assert (found.quality > 0.75).all()  # by chance 1/2
    else:  # by chance 1/3; sequences that were not trained on are too few here
        sequences = REPEAT.sample(300, generators(9))
        assert (token_accuracy(repeats(found.model, sequences), sequences) > 0.5).all()


def twin(cell: Cell) -> torch.nn.Module:
    """torch's own module, to be trained; biases that the cell lacks stay zero."""
    module = to_torch(cell)
    assert type(module) is type(cell).module
    if not any(name.startswith("b") for name in cell.weights):
        for name, w in module.named_parameters():
            w.requires_grad_("bias" not in name)
    return module


@each_of_torch
def test_binding_is_torchs_own_module_with_adam_and_clipping(cell):
    """Ten steps of one model."""
    clip, lr, l2 = 0.05, 0.01, 0.01
    found = train("binding", cell, 10, [5], every=1, lr=lr, clip=clip, l2=l2)
    (generator,) = generators(5)
    drawn = VectorNetwork.init(CELLS[cell], BINDING.dim, N, [generator])
    module, readout = twin(drawn.cell), drawn.W_r[0].clone().requires_grad_()
    weights = [w for w in (*module.parameters(), readout) if w.requires_grad]
    assert sum(w.numel() for w in weights) == sum(w.numel() for w in drawn.weights.values())
    adam, level, norms = torch.optim.Adam(weights, lr=lr, weight_decay=l2), 0, []
    for step in range(10):
        inputs, targets = BINDING.sample(16, (3, 5)[level], generator)
        read = torch.cat([inputs[0], torch.zeros_like(targets[0])])
        written = torch_recurrence(module, read, torch.zeros(16, drawn.cell.state_size))[0][2:] @ readout.mT
        loss = (written - targets[0]).square().mean()
        adam.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(weights, clip).item())
        adam.step()
        # float32: sums in another order, relative 1e-6 each, and Adam makes much of tiny gradients: 10 steps of 0.01
        assert found.losses[step].item() == pytest.approx(loss.item(), rel=1e-4)
        level = max(level, int((written * targets[0] > 0).float().mean() > 0.96))
    assert max(norms) > clip
    torch.testing.assert_close(found.model.W_r[0], readout.detach(), rtol=0, atol=1e-4)
    own = from_torch(module).weights
    for name, w in found.model.cell.weights.items():
        torch.testing.assert_close(w, own[name].detach(), rtol=0, atol=1e-4, msg=name)


@each_of_torch
@pytest.mark.parametrize("what", ["autoregressive", "no input"])
def test_repeating_is_torchs_own_module_with_adamw(what, cell):
    """Ten steps of one model on sequences of one length: read, then write from the state that is left."""
    task, recipe = TokenRepeat(3, 2, 2), Recipe(steps=10, lr=0.01, batch=16, every=1, patience=0)
    validation = task.validation(2)
    found = fit(task, cell=cell, hidden=N, seeds=[5], recipe=recipe, validation=validation, progress=False,
                autoregressive=WHAT[what])  # fmt: skip
    own = generators(5)
    drawn = TokenNetwork.init(CELLS[cell], 3, N, own)
    module = twin(drawn.cell)
    embedding, W_o, b_o = ends = [w[0].clone().requires_grad_() for w in (drawn.embedding, drawn.W_o, drawn.b_o)]
    weights = [w for w in (*module.parameters(), *ends) if w.requires_grad]
    adamw = torch.optim.AdamW(weights, lr=0.01, weight_decay=0.1)
    for step in range(10):
        tokens = task.sample(16, own, validation).tokens[0]
        _, h = torch_recurrence(module, embedding[tokens], torch.zeros(16, drawn.state_size))
        second = tokens[0] if WHAT[what] else torch.full_like(tokens[0], 4)
        written, _ = torch_recurrence(module, embedding[torch.stack([torch.full_like(second, 3), second])], h)
        loss = torch.nn.functional.cross_entropy((written @ W_o.mT + b_o).flatten(0, 1), tokens.flatten())
        adamw.zero_grad()
        loss.backward()
        adamw.step()
        assert found.training.losses[step].item() == pytest.approx(loss.item(), rel=1e-4)
    for name, w in zip(("embedding", "W_o", "b_o"), ends, strict=True):
        # a token that no batch held has no gradient, and one that few held has small ones, of which AdamW makes much
        torch.testing.assert_close(found.model.weights[name][0], w.detach(), rtol=0, atol=1e-3, msg=name)
    theirs = from_torch(module).weights
    for name, w in found.model.cell.weights.items():
        torch.testing.assert_close(w, theirs[name].detach(), rtol=0, atol=1e-3, msg=name)


@each_cell
@each
def test_a_model_of_an_ensemble_is_the_model_trained_alone_bit_for_bit(what, cell):
    together = train(what, cell, 15)
    for m, seed in enumerate(SEEDS):
        assert_same(train(what, cell, 15, [seed]), together, slice(m, m + 1))


@each_cell
@each
@pytest.mark.parametrize("first", [8, 13])
def test_a_run_in_two_parts_is_the_run_in_one(what, cell, first, tmp_path):
    options = dict(checkpoint=tmp_path / "run", checkpoint_every=5)
    train(what, cell, first, **options)
    assert steps_done(options["checkpoint"]) == 2 * first
    assert_same(train(what, cell, 18, **options), train(what, cell, 18))
    assert steps_done(options["checkpoint"]) == 2 * 18


@each_cell
@each
def test_another_cells_checkpoint_is_refused(what, cell, tmp_path):
    train(what, cell, 2, checkpoint=tmp_path / "run")
    for other in CELLS.keys() - {cell}:
        with pytest.raises(ValueError, match=rf"is of another run; .*'cell': \('{cell}', '{other}'\)"):
            train(what, other, 3, checkpoint=tmp_path / "run")


@each_cell
def test_a_start_of_ones_own_is_trained(cell):
    given = start("binding", cell, 7, 8)
    found = train("binding", cell, 0, start=given)
    assert all(same_bits(w, given.weights[name]) for name, w in found.model.weights.items())
    drawn = train("binding", cell, 9, start=start("binding", cell, *SEEDS))
    assert_same(drawn, train("binding", cell, 9))
    assert not torch.equal(train("binding", cell, 9, start=given).losses, drawn.losses)
    for other in CELLS.keys() - {cell}:
        with pytest.raises(ValueError, match=f"^start must have the cell '{other}', got {CELLS[cell].__name__}"):
            train("binding", other, 9, start=given)


@each_cell
def test_its_accuracy_is_that_of_a_roll_out(cell):
    model = start("binding", cell, 0, 1)
    got = evaluate(model, BINDING, horizon=12, sequences=31, seeds=[7, 5])
    for m, seed in enumerate((7, 5)):
        inputs, targets = BINDING.sample(31, 12, torch.Generator().manual_seed(2**31 + seed))
        _, outputs = model[m].rollout(inputs, 12)
        assert got[m].item() == pytest.approx(((outputs[:, 2:] * targets) > 0).double().mean().item(), abs=1e-6)


@each_cell
def test_its_snapshots_are_on_its_way(cell):
    found = fit(BINDING, cell=cell, hidden=N, seeds=SEEDS, steps=6, snapshots=[0, 4, 6], progress=False)
    assert list(found.snapshots) == [0, 4, 6] and found.snapshots[6] == found.model
    assert found.snapshots[0] == start("binding", cell, *SEEDS)
    shorter = fit(BINDING, cell=cell, hidden=N, seeds=SEEDS, steps=4, progress=False)
    assert found.snapshots[4] == shorter.model


@each
def test_by_default_it_is_the_papers_cell(what):
    papers = "elman" if what == "binding" else "gru"
    assert_same(train(what, None, 3), train(what, papers, 3))


@each
@pytest.mark.parametrize("wrong", ["perceptron", "GRU", "Elman", ""])
def test_an_unknown_cell_is_refused(what, wrong):
    with pytest.raises(ValueError, match=rf"^cell must be one of \['decay', .*'gru'.*\], got '{wrong}'$"):
        train(what, wrong, 3)
