"""Files of weights: the library's own, state dicts, and files that are neither."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from emt_core.networks import GRU, Elman, TokenNetwork, save
from emt_core.networks.adapted import Adapted
from emt_core.report import weights
from emt_core.support.random_streams import stream
from emt_core.tasks import Sequences

V, I, N = 7, 4, 6  # noqa: E741
TOKENS = Sequences.of_one_length(torch.randint(V, (1, 3, 5), generator=stream(0, "test")))
GIVEN = {"kind": "gru", "embedding": "e.weight", "read_out": "head.out"}


class Net(nn.Module):
    def __init__(self, kind=nn.GRU, layers=1, bias=True, **options):
        super().__init__()
        self.e, self.core = nn.Embedding(V, I), kind(I, N, layers, bias=bias, **options)
        self.head = nn.ModuleDict({"out": nn.Linear(N, V, bias)})


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(("kind", "layers", "bias"), [("gru", 1, True), ("lstm", 2, False), ("rnn", 3, True)])
def test_a_state_dict_is_the_network_of_its_modules(suffix, kind, layers, bias, tmp_path):
    net, path = Net(weights.KINDS[kind], layers, bias), tmp_path / f"net{suffix}"
    (torch.save if suffix == ".pt" else save_file)(net.state_dict(), path)
    network = weights.read(path, **GIVEN | {"kind": kind})
    assert isinstance(network, Adapted)
    h = network.encode(TOKENS)
    with torch.no_grad():
        shown, _ = net.core(net.e(TOKENS.tokens[0]))
    torch.testing.assert_close(network.cell.visible(h)[0], shown[-1], rtol=1e-5, atol=1e-6)
    started = weights.read(path, **GIVEN | {"kind": kind}, start=2, feeds="nothing")
    assert isinstance(started, TokenNetwork) and not started.autoregressive


def test_a_model_that_was_saved_here_needs_no_names(tmp_path):
    network = TokenNetwork.init(GRU, V, N, [stream(0, "network")])
    save(network, tmp_path / "own.safetensors")
    assert weights.read(tmp_path / "own.safetensors") == network
    save(Elman.init(I, N, [stream(0, "network")]), tmp_path / "cell.safetensors")
    with pytest.raises(ValueError, match=r"^weights must be of a network that reads tokens, got a Elman$"):
        weights.read(tmp_path / "cell.safetensors")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": None}, r"kind must be one of \['gru', 'lstm', 'rnn'\] for a state dict, got None; it holds e.weight"),
        ({"kind": "lstm"}, "kind must be what the weights are of, got 'lstm': .*size mismatch"),
        (
            {"embedding": "emb"},
            r"embedding must name a tensor of the state dict, got 'emb'; it holds e.weight \(7, 4\)",
        ),
        ({"read_out": None}, "read_out must name a layer of the state dict, got None; it holds"),
        ({"read_out": "core"}, "read_out must name a layer of the state dict, got 'core'"),
        (
            {"embedding": None, "vocabulary": V},
            r"weights must hold nothing but what is named, got \['e.weight'\] as well: name the embedding",
        ),
    ],
)
def test_what_is_missing_is_said_with_what_is_there(given, message, tmp_path):
    torch.save(Net().state_dict(), tmp_path / "net.pt")
    with pytest.raises(ValueError, match=f"^{message}"):
        weights.read(tmp_path / "net.pt", **GIVEN | given)


def test_code_in_a_file_is_not_run(tmp_path):
    path = tmp_path / "net.pt"
    torch.save(Net(), path)  # the module itself, as many do
    with pytest.raises(ValueError, match=r"^weights must be a state dict, .* save module.state_dict\(\)"):
        weights.read(path, **GIVEN)
    torch.save({"step": 3, "model": Net().state_dict()}, path)
    with pytest.raises(ValueError, match=r"^weights must be a state dict of tensors, .*net.pt holds \[.*'int'\]"):
        weights.read(path, **GIVEN)
    path.write_bytes(b"\x80\x04nothing")
    with pytest.raises(ValueError, match=r"^weights must be a state dict"):
        weights.read(path, **GIVEN)
    with pytest.raises(FileNotFoundError, match=r"^no file of weights at"):
        weights.read(tmp_path / "none.pt", **GIVEN)


def test_layers_that_are_no_recurrence_are_refused(tmp_path):
    torch.save(Net(bidirectional=True).state_dict(), tmp_path / "net.pt")
    with pytest.raises(ValueError, match=r"^module must have bidirectional = False, got True"):
        weights.read(tmp_path / "net.pt", **GIVEN)
    torch.save({"head.out.weight": torch.zeros(2, 3), "e.weight": torch.zeros(2, 3)}, tmp_path / "net.pt")
    with pytest.raises(
        ValueError, match=r"^weights must hold one tensor that ends with weight_ih_l0, got none: head.out"
    ):
        weights.read(tmp_path / "net.pt", **GIVEN)
