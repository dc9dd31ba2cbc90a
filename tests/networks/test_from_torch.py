"""Networks of a user's own: whole ones made of torch's modules, several layers, and networks that are functions."""

import pytest
import torch
from oracles import SHAPE_ERRORS, generators
from torch import nn

from emt_core.networks import Functions, TokenNetwork, from_torch, run_with_cache, run_with_hooks, save
from emt_core.networks.adapted import Adapted
from emt_core.networks.contract import Encodes, Writes
from emt_core.networks.hooks import names
from emt_core.networks.stacked import Stacked
from emt_core.tasks import Sequences

V, I, N, B, L, K = 7, 4, 6, 5, 3, 4  # noqa: E741
DOUBLE = {"dtype": torch.float64}
RNNS = {"RNN": nn.RNN, "GRU": nn.GRU, "LSTM": nn.LSTM}
each_rnn = pytest.mark.parametrize("kind", RNNS.values(), ids=RNNS)


def drawn(module: nn.Module, seed: int = 0, gain: float = 0.5) -> nn.Module:
    """The module with weights that matter."""
    g = generators(seed)[0]
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64) * gain)
    return module


def tokens(batch: int = B) -> torch.Tensor:
    return torch.randint(V, (L, batch), generator=generators(1)[0])


def written_by_torch(module, embed, read_out, read, start, feeds, count=K):
    """What the modules write, in a loop as one writes it by hand: (K, B)."""
    _, state = module(embed(read))
    shown = (state[0] if isinstance(state, tuple) else state)[-1]
    fed, found = start, []
    for k in range(count):
        if fed is not None:
            out, state = module(fed[None], state)
            shown = out[0]
        found.append(read_out(shown).argmax(1))
        fed = embed(found[-1]) if feeds == "written" else feeds
        assert k or fed is not None
    return torch.stack(found)


@each_rnn
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_layers_compute_what_torchs_do(kind, layers):
    module = drawn(kind(I, N, layers, **DOUBLE))
    cell = from_torch(module)
    assert isinstance(cell, Stacked) is (layers > 1)
    x = torch.randn(9, B, I, generator=generators(2)[0], **DOUBLE)
    want, state = module(x)
    parts = state if isinstance(state, tuple) else (state,)
    h, shown = cell.zero_state(B), []
    for each in x:
        h = cell.step(h, each[None])
        shown.append(cell.visible(h)[0])
    torch.testing.assert_close(torch.stack(shown), want, rtol=0, atol=1e-13)
    # the uppermost layer first, and of an LSTM h before c
    whole = torch.cat([part[k] for k in reversed(range(layers)) for part in parts], dim=1)
    torch.testing.assert_close(h[0], whole, rtol=0, atol=1e-13)
    assert cell.state_size == h.shape[2] and cell.hidden == N and cell.inputs == I
    again = cell.with_weights({name: w + 0 for name, w in cell.weights.items()})
    assert again == cell and again[0] == cell
    J = cell.jacobian(h[:, 0])
    step = torch.autograd.functional.jacobian(lambda y: cell.step(y[None, None])[0, 0], h[0, 0])
    torch.testing.assert_close(J[0], step, rtol=0, atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
def test_a_single_step_module_is_the_cell(kind, bias):
    module = drawn(kind(I, N, bias, **DOUBLE))
    cell = from_torch(module)
    x, h = (torch.randn(B, size, generator=generators(3)[0], **DOUBLE) for size in (I, cell.state_size))
    parts = tuple(h.split(N, dim=1))
    made = module(x, parts if len(parts) == 2 else h)
    want = torch.cat(made, dim=1) if isinstance(made, tuple) else made
    torch.testing.assert_close(cell.step(h[None], x[None])[0], want, rtol=0, atol=1e-13)
    assert cell.W_hh.data_ptr() == module.weight_hh.data_ptr()


@each_rnn
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("start", ["token", "vector", None])
@pytest.mark.parametrize("feeds", ["written", "nothing", "token", "vector"])
def test_a_whole_network_writes_what_its_modules_do(kind, layers, start, feeds):
    module = drawn(kind(I, N, layers, **DOUBLE), gain=1.0)
    embedding = drawn(nn.Embedding(V + 2, I, **DOUBLE), seed=5, gain=4.0)
    read_out = drawn(nn.Linear(N, V, bias=False, **DOUBLE), seed=6)
    vector = torch.linspace(-1, 1, I, **DOUBLE)
    given = {"token": V + 1, "vector": vector, None: None, "written": "written", "nothing": "nothing"}
    network = from_torch(
        module, embedding=embedding, vocabulary=V, read_out=read_out, start=given[start], feeds=given[feeds]
    )
    assert isinstance(network, Writes) and isinstance(network, Encodes)
    assert isinstance(network, TokenNetwork if start else Adapted) and network.vocabulary == V
    read = tokens(40)
    with torch.no_grad():
        fed = {"token": embedding(torch.full((40,), V + 1)), "vector": vector.expand(40, I)}
        fed |= {None: None, "written": "written", "nothing": torch.zeros(40, I, **DOUBLE)}
        want = written_by_torch(module, embedding, read_out, read, fed[start], fed[feeds])
    found = network.write(network.encode(Sequences.of_one_length(read[None])), K)
    assert torch.equal(found[0], want)
    assert len(want.unique()) > 1  # not always the same token


def test_one_hot_tables_functions_and_other_read_outs():
    module, read = drawn(nn.GRU(V, N, **DOUBLE)), tokens()
    table = torch.randn(V, V, generator=generators(8)[0], **DOUBLE)
    deep = drawn(nn.Sequential(nn.Linear(N, 9, **DOUBLE), nn.ReLU(), nn.Linear(9, V, bias=False, **DOUBLE)), seed=9)
    ways = {
        "one-hot": (None, lambda t: nn.functional.one_hot(t, V).double()),
        "table": (table, lambda t: table[t]),
        "function": (lambda t: table[t].sin(), lambda t: table[t].sin()),
    }
    outs = {"layers": (deep, TokenNetwork), "function": (lambda h: deep(h).exp(), Adapted)}
    start = torch.ones(V, **DOUBLE)
    for embedding, embed in ways.values():
        for read_out, kind in outs.values():
            network = from_torch(module, embedding=embedding, vocabulary=V, read_out=read_out, start=start)
            assert isinstance(network, kind)
            with torch.no_grad():
                want = written_by_torch(module, embed, read_out, read, start.expand(B, V), "written")
            assert torch.equal(network.write(network.encode(Sequences.of_one_length(read[None])), K)[0], want)


def test_one_hot_tokens_with_one_more_to_start():
    module, read = drawn(nn.GRU(V + 1, N, **DOUBLE)), tokens()
    read_out = drawn(nn.Linear(N, V, **DOUBLE), seed=6)
    network = from_torch(module, read_out=read_out, vocabulary=V, start=V)
    assert isinstance(network, TokenNetwork) and network.vocabulary == V
    one_hot = torch.eye(V + 1, **DOUBLE)
    with torch.no_grad():
        want = written_by_torch(module, lambda t: one_hot[t], read_out, read, one_hot[V].expand(B, -1), "written")
    assert torch.equal(network.write(network.encode(Sequences.of_one_length(read[None])), K)[0], want)


def test_a_label_at_the_end():
    module, embedding, read_out = drawn(nn.LSTM(I, N)), drawn(nn.Embedding(V, I)), drawn(nn.Linear(N, V + 5))
    network = from_torch(module, embedding=embedding, read_out=read_out, feeds="nothing")
    read = tokens()
    with torch.no_grad():
        want = read_out(module(embedding(read))[0][-1]).argmax(1)
    assert torch.equal(network.write(network.encode(Sequences.of_one_length(read[None])), 1)[0, 0], want)
    with pytest.raises(ValueError, match=r"^read_out must write tokens that can be read, 0 … 6, .* but has 12: pass"):
        from_torch(module, embedding=embedding, read_out=read_out)


def test_every_layer_can_be_watched_and_edited():
    module, embedding = drawn(nn.GRU(I, N, 2, **DOUBLE)), drawn(nn.Embedding(V, I, **DOUBLE))
    network = from_torch(module, embedding=embedding, read_out=nn.Linear(N, V, **DOUBLE))
    read = Sequences.of_one_length(tokens()[None])
    assert names(network.cell) == ("r.0", "z.0", "n.0", "h.0", "r.1", "z.1", "n.1", "h.1")
    _, cache = run_with_cache(network, read)
    with torch.no_grad():
        lower = nn.GRU(I, N, **DOUBLE)
        lower.load_state_dict({name: w for name, w in module.state_dict().items() if name.endswith("l0")})
        torch.testing.assert_close(cache["h.0"][0], lower(embedding(tokens()))[0], rtol=0, atol=1e-13)
        torch.testing.assert_close(cache["h.1"][0], module(embedding(tokens()))[0], rtol=0, atol=1e-13)
    _, frozen = run_with_hooks(network, read, {"z.1": lambda z, step: torch.ones_like(z) if step else None})
    assert torch.equal(frozen["h.0"], cache["h.0"]) and not torch.equal(frozen["h.1"], cache["h.1"])
    assert torch.equal(frozen["h.1"][:, 2], frozen["h.1"][:, 0])


def test_shorter_sequences_keep_their_last_state():
    module, embedding = drawn(nn.GRU(I, N, 2, **DOUBLE)), drawn(nn.Embedding(V, I, **DOUBLE))
    network = from_torch(module, embedding=embedding, read_out=nn.Linear(N, V, **DOUBLE))
    read, lengths = tokens(), torch.tensor([3, 3, 2, 1, 1])
    read = read * (torch.arange(L)[:, None] < lengths)
    h = network.encode(Sequences(read[None], lengths[None]))
    alone = [network.encode(Sequences.of_one_length(read[None, :n, b, None])) for b, n in enumerate(lengths.tolist())]
    torch.testing.assert_close(h, torch.cat(alone, dim=1), rtol=0, atol=1e-14)


# --- functions --------------------------------------------------------------------------------------------------------


def functions(**changed) -> Functions:
    """A network that adds up its tokens and writes the sum, then that plus 1, …"""
    given = {
        "encode": lambda t: t.double().sum(1, keepdim=True),
        "write": lambda h, count: (h.long() + torch.arange(count)) % V,
        "run_on": lambda h: h / 2,
        "vocabulary": V,
    }
    return Functions(**given | changed)


def test_functions_are_a_network():
    network, read, lengths = functions(), tokens(), torch.tensor([3, 3, 2, 1, 1])
    assert isinstance(network, Writes) and network.runs_on
    read = read * (torch.arange(L)[:, None] < lengths)
    h = network.encode(Sequences(read[None], lengths[None]))
    assert torch.equal(h[0, :, 0], read.sum(0).double())
    assert torch.equal(network.write(h, 2)[0, 1], (read.sum(0) + 1) % V)
    assert torch.equal(network.step(h), h / 2)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"vocabulary": 1}, "vocabulary must be at least 2, got 1"),
        ({"encode": lambda t: [0]}, r"encode must return a tensor of shape \(5, n\), got list"),
        ({"encode": lambda t: t[0].double()}, r"encode must return a tensor of shape \(5, n\), got \(3,\)"),
        ({"write": lambda h, k: h.long()}, r"write must return a tensor of shape \(5, 2\), got \(5, 1\)"),
        ({"write": lambda h, k: h.expand(-1, 2)}, "write must return integers, got torch.float64: take the argmax"),
        ({"run_on": lambda h: h[0]}, r"run_on must return a tensor of shape \(5, 1\), got \(1,\)"),
        ({"run_on": None}, "run_on must be given for this, got None"),
    ],
)
def test_what_functions_do_wrong_is_said(changed, message):
    def all_of_it():
        network = functions(**changed)
        h = network.encode(Sequences.of_one_length(tokens()[None]))
        network.write(h.double(), 2)
        network.step(h.double())

    with pytest.raises(ValueError, match=f"^{message}"):
        all_of_it()


def test_sequences_of_several_lengths_need_states_of_one_size():
    network = functions(encode=lambda t: t.double())
    read = torch.ones(1, 3, 2, dtype=torch.long)
    read[0, 1:, 1] = 0
    with pytest.raises(ValueError, match=r"^encode must return states of one size n .*, got \[1, 3\]$"):
        network.encode(Sequences(read, torch.tensor([[3, 1]])))
    with pytest.raises(ValueError, match=r"^sequences must hold tokens in 0 … 6, got 7$"):
        functions().encode(Sequences.of_one_length(torch.full((1, 2, 1), 7)))


# --- what cannot be adapted -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"read_out": None}, "read_out must be given with embedding, got None"),
        ({"read_out": nn.Linear(N + 1, V)}, "read_out must take what the module shows, 6 numbers, but raised: "),
        ({"read_out": lambda h: h.sum()}, r"read_out must return scores \(B, C\) of at least two tokens, got \(\)"),
        ({"read_out": lambda h: "yes"}, r"read_out must return scores \(B, C\) of at least two tokens, got str"),
        ({"embedding": nn.Embedding(V, I + 1)}, r"embedding must have shape \(7, 4\), got \(7, 5\)"),
        (
            {"embedding": None, "vocabulary": V},
            "embedding must be given where vocabulary, 7, exceeds the module's input",
        ),
        (
            {"embedding": lambda t: nn.Embedding(V, I)(t), "vocabulary": V},
            "embedding must give a token the same vector",
        ),
        (
            {"embedding": lambda t: t[..., None] + torch.arange(t.shape[1])[:, None] * torch.ones(I), "vocabulary": V},
            "embedding must map tokens of any shape",
        ),
        (
            {"embedding": lambda t: (t + torch.arange(t.shape[-1]))[..., None] * torch.ones(I), "vocabulary": V},
            "embedding must give a token the same vector wherever it stands",
        ),
        (
            {"embedding": nn.Sequential(nn.Embedding(V, I), nn.Dropout())},
            r"embedding must not drop out or normalise by the batch, but is in training: call .eval\(\)",
        ),
        ({"read_out": nn.Sequential(nn.BatchNorm1d(N), nn.Linear(N, V))}, "read_out must not drop out or normalise"),
        ({"embedding": lambda t: torch.zeros(len(t), I)}, "vocabulary must be given where embedding is a function"),
        ({"start": V}, "start must be a token that embedding knows, got 7"),
        ({"start": -1}, "start must be at least 0, got -1"),
        ({"start": torch.zeros(3)}, r"start must be a token or a vector of shape \(4,\), got \(3,\)"),
        ({"feeds": "itself"}, "feeds must be 'written', 'nothing', a token or a vector, got 'itself'"),
        ({"feeds": 99}, "feeds must be a token that embedding knows, got 99"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_adapted_is_said(changed, message):
    given = {"embedding": nn.Embedding(V, I), "read_out": nn.Linear(N, V)} | changed
    with pytest.raises(ValueError, match=f"^{message}"):
        from_torch(nn.GRU(I, N), **given)


def test_what_is_no_function_is_refused():
    with pytest.raises(SHAPE_ERRORS, match="encode"):
        functions(encode=3)
    with pytest.raises(SHAPE_ERRORS, match="run_on"):
        functions(run_on="h")
    for name in ("read_out", "embedding"):
        with pytest.raises(SHAPE_ERRORS, match=name):
            from_torch(nn.GRU(I, N), **{"embedding": nn.Embedding(V, I), "read_out": nn.Linear(N, V)} | {name: 3})


def test_what_has_no_file_format_says_so(tmp_path):
    embedding, read_out = nn.Embedding(V, I), nn.Linear(N, V)
    for module, start in ((nn.GRU(I, N, 2), 0), (nn.GRU(I, N), None)):
        network = from_torch(module, embedding=embedding, read_out=read_out, start=start)
        with pytest.raises(SHAPE_ERRORS, match="model"):
            save(network, tmp_path / "x.safetensors")
        with pytest.raises(
            ValueError, match=r"^model must be made of one of .*, got a .*: save the modules that it is of$"
        ):
            save.__wrapped__(network, tmp_path / "x.safetensors")  # behind the tests' check of types
    assert not list(tmp_path.iterdir())


def test_layers_that_do_not_fit_are_refused():
    a, b = from_torch(nn.GRU(I, N)), from_torch(nn.GRU(I, N))
    with pytest.raises(ValueError, match=r"^layers\[1\] must have \(models, inputs\) = \(1, 6\) to read layers\[0\]"):
        Stacked((a, b))
    with pytest.raises(ValueError, match=r"^layers must hold at least one cell, got none$"):
        Stacked(())
    with pytest.raises(NotImplementedError):
        Stacked.init(I, N, generators(0))
