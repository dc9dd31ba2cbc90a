"""Saved models: what is read is what was written, bit for bit, and what is no model says so."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from oracles import generators, same_bits
from safetensors.torch import load as load_bytes
from safetensors.torch import save_file

from emt_core.networks import CELLS, Attention, Elman, TokenNetwork, VectorNetwork, load, save
from emt_core.networks.vectors import elman
from emt_core.support.files import write_safetensors

each_cell = pytest.mark.parametrize("kind", CELLS.values(), ids=CELLS)


def of_kind(kind, what, models=3):
    """A cell alone, or a network around it."""
    g = generators(*range(models))
    if what == "cell":
        return kind.init(3, 7, g)
    if what == "vectors":
        return VectorNetwork.init(kind, 3, 7, g)
    return TokenNetwork.init(kind, 5, 7, g, autoregressive=what == "autoregressive")


each_network = pytest.mark.parametrize("what", ["cell", "vectors", "autoregressive", "no input"])


def same(a, b) -> bool:
    return type(a) is type(b) and a == b and all(same_bits(w, b.weights[name]) for name, w in a.weights.items())


@each_cell
@each_network
def test_a_saved_model_comes_back_bit_for_bit(tmp_path, kind, what):
    path, model = tmp_path / "deep" / "model.safetensors", of_kind(kind, what)
    save(model, path, {"task": "(255, 0, 0)", "cell": "overruled", "autoregressive": "overruled"})
    loaded, metadata = load(str(path))
    assert same(loaded, model) and loaded.settings == model.settings
    assert type(loaded) is type(model) and type(getattr(loaded, "cell", loaded)) is kind
    assert metadata["task"] == "(255, 0, 0)"
    assert CELLS[metadata["cell"]] is kind
    assert [p.name for p in path.parent.iterdir()] == ["model.safetensors"]
    if what in ("autoregressive", "no input"):
        assert loaded.autoregressive is (what == "autoregressive")


@each_cell
@each_network
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
def test_a_chosen_model_of_another_dtype_with_gradients_comes_back_too(tmp_path, kind, what, dtype):
    path, model = tmp_path / "model.safetensors", of_kind(kind, what).to(dtype)
    model = model.with_weights({name: w.requires_grad_() for name, w in model.weights.items()})[1]
    save(model, path)
    loaded, _ = load(path)
    assert same(loaded, model) and loaded.models == 1
    assert {w.dtype for w in loaded.weights.values()} == {dtype}
    assert not any(w.requires_grad for w in loaded.weights.values())


@pytest.mark.parametrize("activation", ["tanh", "relu", "identity"])
@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@each_network
def test_what_decides_an_elman_cell_is_saved_too(tmp_path, what, activation, bias):
    path, model = tmp_path / "model.safetensors", of_kind(Elman, what)
    cell = replace(getattr(model, "cell", model), activation=activation, b=torch.randn(3, 7) if bias else None)
    model = cell if what == "cell" else replace(model, cell=cell)
    save(model, path)
    loaded, metadata = load(path)
    assert same(loaded, model)
    assert metadata["activation"] == getattr(loaded, "cell", loaded).activation == activation
    assert (getattr(loaded, "cell", loaded).b is not None) == bias


@pytest.mark.parametrize("index", [0, slice(None)], ids=["one", "all"])
def test_views_as_training_returns_them_are_saved_whole(tmp_path, index):
    model = VectorNetwork.init(Elman, 3, 7, generators(0, 1, 2)).to(torch.float64)
    flat = torch.cat([getattr(model, name).flatten(1) for name in ("W_hh", "W_uh", "W_r")], dim=1)
    hh, uh, r = flat.split([49, 21, 21], dim=1)  # views of one tensor
    views = elman(uh.unflatten(1, (7, 3)), hh.unflatten(1, (7, 7)), r.unflatten(1, (3, 7)), "identity")[index]
    save(views, tmp_path / "deep" / "model.safetensors", {"task": "(255, 0, 0)"})
    loaded, metadata = load(tmp_path / "deep" / "model.safetensors")
    assert all(same_bits(getattr(loaded, name), getattr(model[index], name)) for name in ("W_uh", "W_hh", "W_r"))
    assert loaded.cell.activation == "identity"
    assert metadata["task"] == "(255, 0, 0)"
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["model.safetensors"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    save(of_kind(Elman, "vectors"), path)
    old = path.read_bytes()

    def dies(temporary, data):
        with temporary.open("wb") as file:
            file.write(b"half of it")
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", dies)
    with pytest.raises(OSError, match="disk full"):
        save(of_kind(Elman, "vectors", models=5), path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


# --- files of before ----------------------------------------------------------------------------------------------


def raw(path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata, the latter from the header as the format describes it."""
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    # read, and not mapped from the file as older safetensors do: tests write to the same path again
    return load_bytes(content), json.loads(content[8 : 8 + size])["__metadata__"]


def test_the_books_networks_that_bind_variables_can_be_read(root):
    path = root / "book" / "data" / "repeat_copy.safetensors"
    tensors, metadata = raw(path)
    model, said = load(path)
    assert type(model) is VectorNetwork and type(model.cell) is Elman and model.cell.activation == "tanh"
    assert (model.models, model.hidden, model.dim) == (1, 128, 8) and said == metadata and said["seed"] == "0"
    assert model.weights.keys() == tensors.keys()
    assert all(same_bits(w, tensors[name]) for name, w in model.weights.items())


@pytest.mark.parametrize(("name", "autoregressive"), [("gru_48_ar_0", True), ("gru_48_ni_0", False)])
def test_the_books_networks_that_repeat_tokens_can_be_read(root, name, autoregressive):
    path = root / "book" / "data" / f"{name}.safetensors"
    tensors, metadata = raw(path)
    model, said = load(path)
    assert type(model) is TokenNetwork and type(model.cell) is CELLS["gru"] and model.autoregressive is autoregressive
    assert (model.models, model.hidden, model.vocabulary) == (1, 48, 30) and said == metadata
    assert model.weights.keys() == tensors.keys()
    assert all(same_bits(w, tensors[name]) for name, w in model.weights.items())


# --- what is no model ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["empty", "torn", "text"])
def test_loading_what_is_no_file_of_tensors_says_so(tmp_path, content):
    path = tmp_path / "model.safetensors"
    save(of_kind(Elman, "vectors"), path)
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "torn": whole[: len(whole) // 2], "text": b"a,b\n" * 100}[content])
    with pytest.raises(ValueError, match=rf"^path {path} is damaged or of another kind: "):
        load(path)


@pytest.mark.parametrize(("metadata", "got"), [(None, "None"), ({"cell": "perceptron"}, "'perceptron'")])
def test_loading_tensors_that_are_no_model_says_what_they_are(tmp_path, metadata, got):
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.ones(2)}, path, metadata)
    with pytest.raises(ValueError, match=rf"^path must hold a saved model, {path} says cell={got}"):
        load(path)


def test_loading_a_missing_file_says_so(tmp_path):
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(FileNotFoundError, match="no saved model at"):
            load(path)


@each_cell
@each_network
def test_a_model_with_a_weight_too_few_too_many_or_of_another_shape_is_refused(tmp_path, kind, what):
    model, path = of_kind(kind, what), tmp_path / "model.safetensors"
    save(model, path)
    tensors, metadata = raw(path)
    wrong = [tensors | {"W_xx": torch.ones(3)}]
    for name, w in tensors.items():
        wrong.append(tensors | {name: w[:2]})
        if name not in ("W_r", "embedding", "b"):  # without these it is another kind of model
            wrong.append({other: v for other, v in tensors.items() if other != name})
    for each in wrong:
        save_file(each, path, metadata)
        with pytest.raises(ValueError, match=rf"^path must hold a whole {metadata['cell']} model, {path} does not: "):
            load(path)


def test_settings_of_no_network_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save(of_kind(Elman, "autoregressive"), path)
    tensors, metadata = raw(path)
    without = {name: value for name, value in metadata.items() if name != "autoregressive"}
    for wrong in (metadata | {"activation": "sigmoid"}, metadata | {"autoregressive": "maybe"}, without):
        save_file(tensors, path, wrong)
        with pytest.raises(ValueError, match=rf"^path must hold a whole elman model, {path} does not: "):
            load(path)


def test_a_network_with_attention_comes_back(tmp_path):
    """Weights and settings, and its kind; a file that lacks a tensor is named."""
    for summary in (True, False):
        model = Attention.init(5, 6, generators(0, 1), False, summary=summary, longest=4, width=8, heads=2)
        save(model, tmp_path / "model.safetensors", {"note": "kept"})
        found, metadata = load(tmp_path / "model.safetensors")
        assert found == model and metadata["note"] == "kept" and metadata["cell"] == "attention"
    weights = {name: w for name, w in model.weights.items() if name != "gain"}
    write_safetensors(weights, tmp_path / "less.safetensors", metadata)
    with pytest.raises(ValueError, match="whole attention model"):
        load(tmp_path / "less.safetensors")
