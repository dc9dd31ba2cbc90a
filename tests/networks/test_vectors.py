"""Elman ensembles: the same numbers as torch.nn.RNN, and files that are whole or not there."""

import pytest
import torch
from oracles import SHAPE_ERRORS, generators, same_bits, torch_twin
from safetensors.torch import save_file

from emt_core.networks import cells
from emt_core.support import files
from emt_core.networks.cells import Elman

WEIGHTS = ("W_uh", "W_hh", "W_r")


def draw(models=2, hidden=7, dim=3, dtype=torch.float64) -> Elman:
    return cells.init(hidden, dim, generators(*range(models))).to(dtype)


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
    states, outputs = cells.rollout(model, inputs, horizon)
    for m in range(models):
        rnn, readout = torch_twin(model[m])
        padded = torch.cat([inputs[m], torch.zeros(horizon, batch, dim, dtype=dtype)])
        expected, _ = rnn(padded)
        # the map contracts (|W_hh| < 2 here): the rounding of a step, N·ε, is passed on at most a few times over
        tolerance = 100 * hidden * torch.finfo(dtype).eps
        torch.testing.assert_close(states[m], expected, rtol=0, atol=tolerance)
        torch.testing.assert_close(outputs[m], readout(expected), rtol=0, atol=tolerance)


def test_rollout_goes_on_from_a_state():
    model, inputs = draw(), random(2, 4, 3, 3)
    whole, _ = cells.rollout(model, inputs, horizon=5)
    first, _ = cells.rollout(model, inputs[:, :2])
    second, _ = cells.rollout(model, inputs[:, 2:], horizon=2, h=first[:, -1])
    third, _ = cells.rollout(model, inputs[:, :0], horizon=3, h=second[:, -1])
    assert torch.equal(torch.cat([first, second, third], dim=1), whole)


def test_identity_activation_is_the_linear_network():
    model = Elman(*(getattr(draw(), name) for name in WEIGHTS), activation="identity")
    h, u = random(2, 4, 7), random(2, 4, 3)
    expected = torch.einsum("mij,mbj->mbi", model.W_hh, h) + torch.einsum("mij,mbj->mbi", model.W_uh, u)
    torch.testing.assert_close(cells.step(model, h, u), expected, rtol=0, atol=1e-14)


def test_init_draws_each_model_from_its_own_generator():
    before = torch.get_rng_state()
    together, alone = cells.init(9, 4, generators(0, 1, 2)), cells.init(9, 4, generators(1))
    assert all(same_bits(getattr(together[1], name), getattr(alone, name)) for name in WEIGHTS)
    assert torch.equal(torch.get_rng_state(), before)


def test_init_is_uniform_within_one_over_the_root_of_hidden():
    # variance of U(−a, a) is a²/3; with 40,000 draws its standard error is 0.9·a²/3/√40,000 < 0.5 %
    W = cells.init(200, 3, generators(0)).W_hh
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


@pytest.mark.parametrize("index", [0, slice(None)], ids=["one", "all"])
def test_saved_weights_come_back_bit_for_bit(tmp_path, index):
    model = draw(models=3)
    flat = torch.cat([getattr(model, name).flatten(1) for name in ("W_hh", "W_uh", "W_r")], dim=1)
    hh, uh, r = flat.split([49, 21, 21], dim=1)  # views of one tensor, as training returns them
    views = Elman(uh.unflatten(1, (7, 3)), hh.unflatten(1, (7, 7)), r.unflatten(1, (3, 7)), "identity")[index]
    cells.save(views, tmp_path / "deep" / "model.safetensors", {"task": "(255, 0, 0)"})
    loaded, metadata = cells.load(tmp_path / "deep" / "model.safetensors")
    assert all(same_bits(getattr(loaded, name), getattr(model[index], name)) for name in WEIGHTS)
    assert loaded.activation == "identity"
    assert metadata["task"] == "(255, 0, 0)"
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["model.safetensors"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    cells.save(draw(), path)
    old = path.read_bytes()

    def dies(tensors, temporary, metadata):
        temporary.write_bytes(b"half of it")
        raise OSError("disk full")

    monkeypatch.setattr(_files, "save_file", dies)
    with pytest.raises(OSError, match="disk full"):
        cells.save(draw(models=5), path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", ["empty", "torn", "text", "foreign"])
def test_loading_what_is_no_model_says_so(tmp_path, content):
    path = tmp_path / "model.safetensors"
    cells.save(draw(), path)
    whole = path.read_bytes()
    if content == "foreign":
        save_file({"weight": torch.ones(2)}, path)
    else:
        path.write_bytes({"empty": b"", "torn": whole[: len(whole) // 2], "text": b"a,b\n" * 100}[content])
    with pytest.raises(ValueError, match="path must hold a saved"):
        cells.load(path)


def test_loading_a_missing_file_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no saved model"):
        cells.load(tmp_path / "nothing")


def test_wrong_arguments_are_named():
    model = draw()
    with pytest.raises(ValueError, match="activation"):
        Elman(model.W_uh, model.W_hh, model.W_r, activation="relu")
    with pytest.raises(SHAPE_ERRORS, match="W_hh"):
        Elman(model.W_uh, model.W_hh[:1], model.W_r)
    with pytest.raises(SHAPE_ERRORS, match="W_r"):
        Elman(model.W_uh, model.W_hh, model.W_r.mT)
    with pytest.raises(SHAPE_ERRORS, match="W_uh"):
        Elman(model.W_uh[0], model.W_hh, model.W_r)
    with pytest.raises(ValueError, match="hidden"):
        cells.init(0, 3, generators(0))
    with pytest.raises(ValueError, match="dim"):
        cells.init(3, 0, generators(0))
    with pytest.raises(ValueError, match="generators"):
        cells.init(3, 3, [])
    with pytest.raises(ValueError, match="inputs"):
        cells.rollout(model, random(2, 3, 4, 2))
    with pytest.raises(ValueError, match="inputs"):
        cells.rollout(model, random(1, 3, 4, 3))
    with pytest.raises(ValueError, match="horizon"):
        cells.rollout(model, random(2, 3, 4, 3), horizon=-1)
    with pytest.raises(ValueError, match="horizon"):
        cells.rollout(model, random(2, 0, 4, 3))
    with pytest.raises(SHAPE_ERRORS, match="h"):
        cells.rollout(model, random(2, 3, 4, 3), h=random(2, 4, 6))


# --- other starts of the recurrent weights ------------------------------------------------------------------------


@pytest.mark.parametrize("recurrent", cells.RECURRENT_STARTS)
def test_a_recurrent_start_concerns_the_recurrent_weights_alone(recurrent):
    model = cells.init(9, 4, generators(0, 1), recurrent)
    assert model.W_hh.dtype == torch.float32
    for m, generator in enumerate(generators(0, 1)):
        W_uh, W_hh, W_r = (
            torch.empty(shape).uniform_(-1 / 3, 1 / 3, generator=generator) for shape in ((9, 4), (9, 9), (4, 9))
        )
        assert same_bits(model.W_uh[m], W_uh)
        assert same_bits(model.W_r[m], W_r)
        assert same_bits(model.W_hh[m], W_hh) == (recurrent == "uniform")
        if recurrent == "small":
            torch.testing.assert_close(model.W_hh[m].double(), W_hh.double() / 10, rtol=2e-7, atol=0)
        if recurrent == "identity":
            assert same_bits(model.W_hh[m], torch.eye(9))
    alone = cells.init(9, 4, generators(1), recurrent)
    assert all(same_bits(getattr(model[1], name), getattr(alone, name)) for name in WEIGHTS)


@pytest.mark.parametrize("hidden", [1, 2, 65])
def test_an_orthogonal_start_is_orthogonal(hidden):
    Q = cells.init(hidden, 1, generators(0, 1), "orthogonal").W_hh
    assert Q.dtype == torch.float32
    # each entry is off by at most ε/2 of itself, so that a product of two unit columns is off by at most ε
    gram = Q.double().mT @ Q.double()
    wanted = torch.eye(hidden, dtype=torch.float64).expand_as(gram)
    torch.testing.assert_close(gram, wanted, rtol=0, atol=torch.finfo(torch.float32).eps)
    assert hidden == 1 or not torch.equal(Q[0], Q[1])


def test_an_orthogonal_start_prefers_no_sign():
    # an entry of a uniform Q (2 × 2) has mean 0 and variance 1/2: the mean of 400 has a standard error of 0.035
    Q = cells.init(2, 1, generators(*range(400)), "orthogonal").W_hh
    assert Q.mean(0).abs().max() < 5 * 0.036
    assert torch.linalg.det(Q).mean().abs() < 5 * 0.05  # reflections as often as rotations


def test_an_unknown_recurrent_start_is_named():
    for wrong in ("zeros", "Uniform", ""):
        with pytest.raises(ValueError, match=r"^recurrent must be one of"):
            cells.init(3, 2, generators(0), wrong)
