"""Networks that read and write vectors: the same numbers as torch.nn.RNN, and training through any cell."""

from dataclasses import replace

import pytest
import torch
from oracles import OF_TORCH, SHAPE_ERRORS, generators, same_bits, torch_recurrence, torch_twin

from emt_core.networks import CELLS, Elman, VectorNetwork, from_torch, to_torch
from emt_core.networks.delta_rule import DeltaNet
from emt_core.networks.elman import RECURRENT_STARTS
from emt_core.networks.vectors import elman, loss_and_grad
from emt_core.tasks import VariableBinding
from emt_core.training import fit

WEIGHTS = ("W_uh", "W_hh", "W_r")
each_cell = pytest.mark.parametrize("kind", CELLS.values(), ids=CELLS)
each_of_torch = pytest.mark.parametrize("kind", OF_TORCH.values(), ids=OF_TORCH)


def draw(models=2, hidden=7, dim=3, dtype=torch.float64, kind=Elman) -> VectorNetwork:
    return VectorNetwork.init(kind, dim, hidden, generators(*range(models))).to(dtype)


def started(hidden, dim, recurrent, *seeds) -> VectorNetwork:
    """Networks with another start of the recurrent weights, drawn after all others."""
    each = generators(*seeds)
    network = VectorNetwork.init(Elman, dim, hidden, each)
    return replace(network, cell=network.cell.started(recurrent, each))


def random(*shape, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("models", "reading", "horizon", "batch", "hidden", "dim"),
    [(1, 1, 0, 1, 1, 1), (1, 3, 4, 5, 7, 2), (4, 2, 9, 3, 5, 3), (3, 5, 0, 1, 11, 1)],
    ids=str,
)
def test_rollout_is_that_of_torch_nn_rnn(models, reading, horizon, batch, hidden, dim, dtype):
    model, inputs = draw(models, hidden, dim, dtype), random(models, reading, batch, dim, dtype=dtype)
    states, outputs = model.rollout(inputs, horizon)
    for m in range(models):
        rnn, readout = torch_twin(model[m])
        padded = torch.cat([inputs[m], torch.zeros(horizon, batch, dim, dtype=dtype)])
        expected, _ = rnn(padded)
        # the map contracts (|W_hh| < 2 here): the rounding of a step, N·ε, is passed on at most a few times over
        tolerance = 100 * hidden * torch.finfo(dtype).eps
        torch.testing.assert_close(states[m], expected, rtol=0, atol=tolerance)
        torch.testing.assert_close(outputs[m], readout(expected), rtol=0, atol=tolerance)


@each_of_torch
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_rollout_of_any_cell_is_that_of_torchs_module(kind, dtype):
    """A step that reads nothing is torch's with an input of zeros."""
    model, inputs = draw(3, kind=kind, dtype=dtype), random(3, 4, 5, 3, dtype=dtype)
    first = random(3, 5, model.cell.state_size, dtype=dtype)
    tolerance = 100 * 7 * torch.finfo(dtype).eps
    for h in (None, first):
        states, outputs = model.rollout(inputs, 6, h)
        for m in range(3):
            padded = torch.cat([inputs[m], torch.zeros(6, 5, 3, dtype=dtype)])
            written, last = torch_recurrence(to_torch(model.cell[m]), padded, 0 * first[m] if h is None else h[m])
            torch.testing.assert_close(states[m, ..., :7], written, rtol=0, atol=tolerance)
            torch.testing.assert_close(states[m, -1], last, rtol=0, atol=tolerance)
            torch.testing.assert_close(outputs[m], written @ model.W_r[m].T, rtol=0, atol=tolerance)


@each_cell
def test_rollout_goes_on_from_a_state(kind):
    model, inputs = draw(kind=kind), random(2, 4, 3, 3)
    whole, _ = model.rollout(inputs, horizon=5)
    first, _ = model.rollout(inputs[:, :2])
    second, _ = model.rollout(inputs[:, 2:], horizon=2, h=first[:, -1])
    third, _ = model.rollout(inputs[:, :0], horizon=3, h=second[:, -1])
    parts = torch.cat([first, second, third], dim=1)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-14)
    assert kind is not Elman or torch.equal(parts, whole)  # a GRU rounds a state that lies elsewhere in memory its way


@each_cell
def test_noise_is_added_to_the_whole_state_after_each_step(kind):
    model, inputs = draw(kind=kind), random(2, 4, 5, 3)
    noise = 0.3 * random(2, 9, 5, model.state_size)
    states, outputs = model.rollout(inputs, 5, noise=noise)
    h = model.cell.zero_state(5)
    for t in range(9):
        h = model.step(h, inputs[:, t] if t < 4 else None) + noise[:, t]
        # what lies elsewhere in memory may be added in another order: 14 numbers a step
        torch.testing.assert_close(states[:, t], h, rtol=0, atol=1e-14)
        torch.testing.assert_close(outputs[:, t], model.read_out(h), rtol=0, atol=1e-13)
    plain, _ = model.rollout(inputs, 5)
    torch.testing.assert_close(model.rollout(inputs, 5, noise=0 * noise)[0], plain, rtol=0, atol=1e-14)
    assert (states - plain).abs().amin((0, 1, 2)).min() > 0  # c of an LSTM, too


def test_identity_activation_is_the_linear_network():
    model = elman(*(getattr(draw(), name) for name in WEIGHTS), activation="identity")
    h, u = random(2, 4, 7), random(2, 4, 3)
    expected = torch.einsum("mij,mbj->mbi", model.W_hh, h) + torch.einsum("mij,mbj->mbi", model.W_uh, u)
    torch.testing.assert_close(model.step(h, u), expected, rtol=0, atol=1e-14)


def test_init_draws_each_model_from_its_own_generator():
    before = torch.get_rng_state()
    together, alone = (VectorNetwork.init(Elman, 4, 9, generators(*seeds)) for seeds in ((0, 1, 2), (1,)))
    assert all(same_bits(getattr(together[1], name), getattr(alone, name)) for name in WEIGHTS)
    assert torch.equal(torch.get_rng_state(), before)


def test_init_is_uniform_within_one_over_the_root_of_hidden():
    # variance of U(−a, a) is a²/3; with 40,000 draws its standard error is 0.9·a²/3/√40,000 < 0.5 %
    W = VectorNetwork.init(Elman, 3, 200, generators(0)).W_hh
    assert W.dtype == torch.float32
    assert W.abs().max() <= 200**-0.5
    assert W.var().item() == pytest.approx(1 / 200 / 3, rel=0.025)


@pytest.mark.parametrize(
    ("index", "chosen"),
    [(1, [1]), (-1, [2]), (slice(1, None), [1, 2]), ([2, 0], [2, 0]), ((0, 2), [0, 2]), (range(2), [0, 1])],
    ids=str,
)
def test_indexing_picks_models(index, chosen):
    model = draw(models=3)
    picked = model[index]
    assert picked.models == len(chosen)
    for place, m in enumerate(chosen):
        assert torch.equal(picked.W_hh[place], model.W_hh[m])
        assert torch.equal(picked.W_r[place], model.W_r[m])


def test_sizes_and_dtype():
    model = draw(2, 7, 3).to(torch.float32)
    assert (model.models, model.hidden, model.dim) == (2, 7, 3)
    assert model.W_uh.dtype == model.W_hh.dtype == model.W_r.dtype == torch.float32


def test_wrong_arguments_are_named():
    model = draw()
    with pytest.raises(ValueError, match=r"^activation must be one of \['identity', 'relu', 'tanh'\], got 'sigmoid'"):
        elman(model.W_uh, model.W_hh, model.W_r, activation="sigmoid")
    with pytest.raises(SHAPE_ERRORS, match="W_hh"):
        elman(model.W_uh, model.W_hh[:1], model.W_r)
    with pytest.raises(SHAPE_ERRORS, match="W_r"):
        elman(model.W_uh, model.W_hh, model.W_r.mT)
    with pytest.raises(SHAPE_ERRORS, match="W_uh"):
        elman(model.W_uh[0], model.W_hh, model.W_r)
    with pytest.raises(ValueError, match=r"^hidden must be at least 1, got 0"):
        VectorNetwork.init(Elman, 3, 0, generators(0))
    with pytest.raises(ValueError, match=r"^dim must be at least 1, got 0"):
        VectorNetwork.init(Elman, 0, 3, generators(0))
    with pytest.raises(ValueError, match="generators"):
        VectorNetwork.init(Elman, 3, 3, [])
    with pytest.raises(ValueError, match="inputs"):
        model.rollout(random(2, 3, 4, 2))
    with pytest.raises(ValueError, match="inputs"):
        model.rollout(random(1, 3, 4, 3))
    with pytest.raises(ValueError, match="horizon"):
        model.rollout(random(2, 3, 4, 3), horizon=-1)
    with pytest.raises(ValueError, match="horizon"):
        model.rollout(random(2, 0, 4, 3))
    with pytest.raises(SHAPE_ERRORS, match="h"):
        model.rollout(random(2, 3, 4, 3), h=random(2, 4, 6))
    for shape in ((2, 3, 4, 7), (2, 4, 4, 7), (2, 5, 4, 6), (1, 5, 4, 7), (2, 5, 3, 7)):
        with pytest.raises(SHAPE_ERRORS, match="noise"):
            model.rollout(random(2, 3, 4, 3), 2, noise=random(*shape))


# --- other starts of the recurrent weights ------------------------------------------------------------------------


@pytest.mark.parametrize("recurrent", RECURRENT_STARTS)
def test_a_recurrent_start_concerns_the_recurrent_weights_alone(recurrent):
    model = started(9, 4, recurrent, 0, 1)
    assert model.W_hh.dtype == torch.float32
    for m, generator in enumerate(generators(0, 1)):
        W_uh, W_hh, W_r = (
            torch.empty(shape).uniform_(-1 / 3, 1 / 3, generator=generator) for shape in ((9, 4), (9, 9), (4, 9))
        )
        assert same_bits(model.W_uh[m], W_uh)
        assert same_bits(model.W_r[m], W_r)
        assert same_bits(model.W_hh[m], W_hh) == (recurrent in ("uniform", "biased"))
        if recurrent == "small":
            torch.testing.assert_close(model.W_hh[m].double(), W_hh.double() / 10, rtol=2e-7, atol=0)
        if recurrent == "identity":
            assert same_bits(model.W_hh[m], torch.eye(9))
    alone = started(9, 4, recurrent, 1)
    assert all(same_bits(getattr(model[1], name), getattr(alone, name)) for name in WEIGHTS)


def test_a_biased_start_adds_a_bias_drawn_as_the_weights_were():
    """From U(−1/√N, 1/√N), one draw where torch adds two. Every model of an ensemble has its own, and training moves
    it."""
    model, alone = started(9, 4, "biased", 0, 1), started(9, 4, "biased", 1)
    assert model.cell.b.shape == (2, 9)
    assert same_bits(model.cell.b[1], alone.cell.b[0])
    assert not torch.equal(model.cell.b[0], model.cell.b[1])
    assert (model.cell.b.abs() <= 1 / 3).all()
    assert model.cell.b.abs().max() > 1 / 6  # U(−1/3, 1/3): less with probability 2⁻¹⁸
    run = fit(VariableBinding.repeat_copy(2, 4), hidden=9, seeds=[0, 1], steps=3, start=model, progress=False)
    assert (run.model.cell.b != model.cell.b).all()


@pytest.mark.parametrize("hidden", [1, 2, 65])
def test_an_orthogonal_start_is_orthogonal(hidden):
    Q = started(hidden, 1, "orthogonal", 0, 1).W_hh
    assert Q.dtype == torch.float32
    # each entry is off by at most ε/2 of itself, so that a product of two unit columns is off by at most ε
    gram = Q.double().mT @ Q.double()
    wanted = torch.eye(hidden, dtype=torch.float64).expand_as(gram)
    torch.testing.assert_close(gram, wanted, rtol=0, atol=torch.finfo(torch.float32).eps)
    assert hidden == 1 or not torch.equal(Q[0], Q[1])


def test_an_orthogonal_start_prefers_no_sign():
    # an entry of a uniform Q (2 × 2) has mean 0 and variance 1/2: the mean of 400 has a standard error of 0.035
    Q = started(2, 1, "orthogonal", *range(400)).W_hh
    assert Q.mean(0).abs().max() < 5 * 0.036
    assert torch.linalg.det(Q).mean().abs() < 5 * 0.05  # reflections as often as rotations


def test_an_unknown_recurrent_start_is_named():
    for wrong in ("zeros", "Uniform", ""):
        with pytest.raises(ValueError, match=r"^recurrent must be one of"):
            started(3, 2, wrong, 0)


# --- training through any cell ------------------------------------------------------------------------------------


@each_of_torch
def test_loss_and_gradients_of_any_cell_are_those_of_torchs_modules(kind):
    torch.manual_seed(0)
    module = kind.module(3, 7, dtype=torch.float64)
    cell, W_r = from_torch(module), random(1, 3, 7).requires_grad_()
    inputs, targets = random(1, 2, 5, 3), 2 * random(1, 4, 5, 3)
    loss, accuracy, grads = loss_and_grad(VectorNetwork(cell, W_r), inputs, targets)
    assert not loss.requires_grad and not accuracy.requires_grad
    assert W_r.grad is None and all(p.grad is None for p in module.parameters())

    padded = torch.cat([inputs[0], torch.zeros_like(targets[0])])
    written, _ = torch_recurrence(module, padded, torch.zeros(5, cell.state_size, dtype=torch.float64))
    outputs = written[2:] @ W_r[0].T
    expected = (outputs - targets[0]).square().mean()
    expected.backward()
    torch.testing.assert_close(loss, expected.detach()[None], rtol=0, atol=1e-13)
    assert accuracy.item() == (outputs.sign() == targets[0].sign()).double().mean()
    at = {p.data_ptr(): p.grad for p in module.parameters()}  # a cell shares the weights, but not the sum of two biases
    want = {name: at.get(w.data_ptr(), module.bias_ih_l0.grad)[None] for name, w in cell.weights.items()}
    assert grads.keys() == want.keys() | {"W_r"}
    for name, grad in (want | {"W_r": W_r.grad}).items():
        assert grad.abs().max() > 1e-3
        torch.testing.assert_close(grads[name], grad, rtol=0, atol=1e-13)


@each_cell
def test_a_models_loss_and_gradient_do_not_depend_on_its_neighbours(kind):
    model, inputs, targets = draw(3, kind=kind), random(3, 2, 5, 3), random(3, 4, 5, 3)
    loss, accuracy, grads = loss_and_grad(model, inputs, targets)
    for m in range(3):
        alone = loss_and_grad(model[m], inputs[m : m + 1], targets[m : m + 1])
        torch.testing.assert_close(alone[0], loss[m : m + 1], rtol=0, atol=1e-14)
        assert torch.equal(alone[1], accuracy[m : m + 1])
        for name, grad in grads.items():
            torch.testing.assert_close(alone[2][name], grad[m : m + 1], rtol=0, atol=1e-14)
    assert not any(w.requires_grad for w in model.weights.values())


@each_cell
@pytest.mark.parametrize("hidden", [1, 7, 64])
@pytest.mark.parametrize("reading", [1, 3])
def test_by_a_kernel_or_step_by_step_the_gradients_are_the_same(kind, hidden, reading):
    """A noise of zero is what no kernel takes. Allowed is ten times the worst that was measured, 2.3e-6 in float32 and
    2.3e-15 in float64 with float64's sums of 40 terms taken in any order."""
    if kind is DeltaNet and hidden == 1:
        return  # a key of one number has length 1 whatever it is: its gradient is rounding alone
    model = draw(2, hidden=hidden, kind=kind)
    inputs, targets = random(2, reading, 5, 3), random(2, 8 - reading, 5, 3)
    still = torch.zeros(2, 8, 5, model.state_size, dtype=torch.float64)
    loss, accuracy, grads = loss_and_grad(model, inputs, targets, still)
    for dtype, allowed in ((torch.float64, 1e-13), (torch.float32, 2e-5)):
        found = loss_and_grad(model.to(dtype), inputs.to(dtype), targets.to(dtype))
        torch.testing.assert_close(found[0].double(), loss, rtol=allowed, atol=0)
        torch.testing.assert_close(found[1].double(), accuracy, rtol=0, atol=1e-7)
        for name, grad in grads.items():
            largest = torch.linalg.vector_norm(grad, torch.inf) if grad.numel() else 0.0
            off = (found[2][name].double() - grad).abs()
            assert (off <= allowed * largest).all(), name


@each_cell
def test_loss_and_gradients_with_noise_are_those_of_the_noisy_roll_out(kind):
    """The loss as it is written, and its slope along a random direction of all weights by central differences."""
    model, inputs, targets, step = draw(3, kind=kind), random(3, 2, 5, 3), random(3, 4, 5, 3).sign(), 1e-5
    noise = 0.3 * random(3, 6, 5, model.state_size)

    def losses(network: VectorNetwork) -> torch.Tensor:
        written = network.rollout(inputs, 4, noise=noise)[1][:, 2:]
        return (written - targets).square().flatten(1).mean(1)

    loss, accuracy, grads = loss_and_grad(model, inputs, targets, noise)
    torch.testing.assert_close(loss, losses(model), rtol=0, atol=1e-14)
    written = model.rollout(inputs, 4, noise=noise)[1][:, 2:]
    assert torch.equal(accuracy, (written.sign() == targets).double().mean((1, 2, 3)))
    assert not torch.allclose(loss, loss_and_grad(model, inputs, targets)[0], rtol=1e-3)
    along = {name: random(*w.shape) for name, w in model.weights.items()}
    up, down = (model.with_weights({n: w + s * along[n] for n, w in model.weights.items()}) for s in (step, -step))
    slope = sum((grad * along[name]).flatten(1).sum(1) for name, grad in grads.items())
    # third derivatives of up to 10³ along so long a direction leave step² = 1e-10 of them; rounding, ε / step = 2e-11
    torch.testing.assert_close(slope, (losses(up) - losses(down)) / (2 * step), rtol=1e-6, atol=1e-7)
    assert not any(w.requires_grad for w in model.weights.values()) and not noise.requires_grad
