"""Layers, edits and probes of token networks of every cell, against brute force; what is learned on a network shares no
random numbers with it."""

import itertools
from dataclasses import replace

import pytest
import torch
from oracles import OF_TORCH, generators, same_bits, torch_recurrence

from emt_core.analysis import edits, layers, probes
from emt_core.analysis.edits import LinearEdit, OnionEdit, cases
from emt_core.analysis.edits import learned as learned_edits
from emt_core.analysis.probes import learned as learned_probes
from emt_core.networks import CELLS, TokenNetwork, to_torch
from emt_core.support.random_streams import stream
from emt_core.tasks import TokenRepeat
from emt_core.training import Recipe, Status
from emt_core.training.scores import repeats

V, L, N, M = 3, 4, 5, 2
TASK = TokenRepeat(V, 1, L)
VALIDATION = TASK.validation(200, share=0.4)
LEARNED = [*(("edit", kind) for kind in edits.KINDS), *(("probe", kind) for kind in probes.KINDS)]

each_cell = pytest.mark.parametrize("cell", CELLS)
each_of_torch = pytest.mark.parametrize("cell", OF_TORCH)
each_kind = pytest.mark.parametrize("kind", edits.KINDS)
each_probe = pytest.mark.parametrize("kind", probes.KINDS)


def network(cell: str, *seeds: int, hidden: int = N, vocabulary: int = V, autoregressive: bool = True) -> TokenNetwork:
    return TokenNetwork.init(CELLS[cell], vocabulary, hidden, generators(*(seeds or range(M))), autoregressive)


def states_of(model: TokenNetwork, tokens: torch.Tensor) -> torch.Tensor:
    """The last states (M, B, n) of the sequences (L, B), by torch's own modules."""
    found = []
    for m in range(model.models):
        start = torch.zeros(tokens.shape[1], model.state_size)
        found.append(torch_recurrence(to_torch(model[m].cell), model.embedding[m][tokens], start)[1])
    return torch.stack(found).detach()


def close(a: torch.Tensor, b: torch.Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


# --- layers -----------------------------------------------------------------------------------------------------------


@each_of_torch
def test_layers_are_differences_of_means(cell):
    model = network(cell)
    found, mean = layers.layers(model, 3, generators(7)[0], sequences=5)
    assert found.shape == (M, 3, V, model.state_size) and mean.shape == (M, model.state_size)
    drawn = torch.randint(V, (3, 5), generator=generators(7)[0])
    at = torch.zeros(M, 3, V, model.state_size)
    for p, v, b in itertools.product(range(3), range(V), range(5)):
        put = drawn[:, b].clone()
        put[p] = v
        at[:, p, v] += states_of(model, put[:, None])[:, 0] / 5
    close(found, at - at.mean(2, keepdim=True))
    close(mean, at.mean((1, 2)))


@each_of_torch
def test_what_layers_explain_is_what_their_sum_leaves(cell):
    model, tokens = network(cell), torch.randint(V, (3, 40), generator=generators(1)[0])
    found, mean = layers.layers(model, 3, generators(7)[0], sequences=50)
    h, left = states_of(model, tokens), torch.zeros(M, 40, model.state_size)
    close(layers.states(model, tokens), h)
    for m, b in itertools.product(range(M), range(40)):
        left[m, b] = h[m, b] - mean[m] - sum(found[m, p, tokens[p, b]] for p in range(3))
    variance = (h - h.mean(1, keepdim=True)).square().sum((1, 2))
    close(layers.additive_share(model, found, mean, tokens), 1 - left.square().sum((1, 2)) / variance)
    close(layers.unexplained(model, found, mean, tokens).float(), torch.einsum("mbi,mbj->mij", left, left) / 40)
    assert layers.dimension(h).shape == (M,)
    for square in (layers.overlap(found), layers.alignment(found)):
        close(square.diagonal(dim1=1, dim2=2), torch.ones(M, 3))


@each_of_torch
def test_tokens_are_read_with_the_layers_of_one_position(cell):
    model, tokens = network(cell), torch.arange(V)[None]
    found, mean = layers.layers(model, 1, generators(0)[0], sequences=2)
    close(layers.additive_share(model, found, mean, tokens), torch.ones(M))
    left = layers.unexplained(model, found, mean, tokens)
    assert torch.equal(layers.peel(found, mean, states_of(model, tokens), left), tokens.expand(M, 1, V))


# --- edits ------------------------------------------------------------------------------------------------------------


@each_of_torch
@pytest.mark.parametrize("kind", ["unigram", "bigram"])
def test_all_coordinates_of_the_oracles_state_make_it(cell, kind):
    """Whoever takes the whole state from the original's own writes what the original's own does."""
    model = network(cell)
    n, variables = model.state_size, L - (kind == "bigram")
    case = cases.corrupt(kind, TASK.sample(20, generators(3, 4), length=L), V, generators(5, 6))
    rotation = torch.linalg.qr(torch.randn(M, n, n, generator=generators(8)[0]))[0]
    edit = LinearEdit(kind, rotation, torch.zeros(M, n, dtype=torch.int64), variables)  # all belong to the first
    oracle = replace(case, source=case.original, changed=torch.ones_like(case.changed))
    h = torch.cat([states_of(model[m], case.original.tokens[m]) for m in range(M)])
    close(edits.edited(edit, model, oracle), h)
    right = edits.controls(model, case, edits.edited(edit, model, oracle), generators(9)[0])
    assert torch.equal(right["oracle"], repeats(model, case.original, h))
    assert torch.equal(repeats(model, case.original, edits.edited(edit, model, oracle)), right["oracle"])
    nothing = replace(oracle, changed=torch.zeros_like(case.changed))
    close(edits.edited(edit, model, nothing), model.encode(case.corrupted))


@each_of_torch
@pytest.mark.parametrize("kind", ["unigram", "bigram"])
def test_an_exchange_is_made_coordinate_by_coordinate(cell, kind):
    model, g = network(cell), generators(8)[0]
    n, variables = model.state_size, L - (kind == "bigram")
    case = cases.corrupt(kind, TASK.sample(10, generators(3, 4), length=L), V, generators(5, 6))
    rotation = torch.linalg.qr(torch.randn(M, n, n, generator=g))[0]
    assignment = torch.randint(-1, variables, (M, n), generator=g)
    found = edits.edited(LinearEdit(kind, rotation, assignment, variables), model, case)
    chosen = cases.variables(kind, case.changed)
    for m in range(M):
        h, source = (states_of(model[m], s.tokens[m])[0] @ rotation[m].T for s in (case.corrupted, case.source))
        for b, i in itertools.product(range(10), range(n)):
            k = int(assignment[m, i])
            if k >= 0 and chosen[m, b, k]:
                h[b, i] = source[b, i]
        close(found[m], h @ rotation[m])


@each_cell
def test_a_token_is_replaced_in_the_whole_state(cell):
    model, g = network(cell), generators(8)[0]
    n = model.state_size
    edit = OnionEdit(torch.randn(M, V, n, generator=g), *(torch.randn(M, n, generator=g) for _ in range(4)))
    case = cases.corrupt("onion", TASK.sample(12, generators(3, 4)), V, generators(5, 6))
    found, h = edits.edited(edit, model, case), model.encode(case.corrupted)
    for m, b in itertools.product(range(M), range(12)):
        (at,) = case.changed[m, :, b].nonzero()[:, 0].tolist()
        new, old = (torch.tanh(edit.tokens[m, s.tokens[m, at, b]]) for s in (case.original, case.corrupted))
        size = edit.scale[m] * edit.gamma[m] ** at + edit.beta[m] * at + edit.offset[m]
        close(found[m, b], h[m, b] + (new - old) * size)


def learn(what, kind, model, steps=6, seeds=range(M), **options):
    recipe = Recipe(steps=steps, lr=0.05, batch=16, every=4, patience=0)
    fit = {"edit": edits, "probe": probes}[what].fit
    return fit(kind, model, TASK, seeds=seeds, recipe=recipe, validation=VALIDATION, progress=False, **options)


@each_cell
@each_kind
@pytest.mark.parametrize("autoregressive", [True, False], ids=["autoregressive", "no input"])
def test_edits_are_learned_on_the_whole_state(cell, kind, autoregressive):
    model = network(cell, autoregressive=autoregressive)
    before, n = {name: w.clone() for name, w in model.weights.items()}, model.state_size
    found = learn("edit", kind, model)
    assert found.training.status == (Status.DONE,) * M and found.training.losses.isfinite().all()
    assert all(same_bits(w, before[name]) for name, w in model.weights.items())
    if kind == "onion":
        assert found.edit.tokens.shape == (M, V, n)
        assert all(getattr(found.edit, name).shape == (M, n) for name in ("gamma", "beta", "scale", "offset"))
    else:
        R = found.edit.rotation
        close(R @ R.mT, torch.eye(n).expand(M, n, n))
        assert found.edit.assignment.shape == (M, n) and found.edit.variables == L - (kind == "bigram")
    states = edits.edited(found.edit, model, found.case)
    assert states.shape == (M, found.case.original.tokens.shape[2], n)
    assert torch.equal(found.right, repeats(model, found.case.original, states))
    assert found.exact.tolist() == found.right.all(1).double().mean(1).tolist()
    for m in range(M):  # each model has an edit of its own, to rounding in an ensemble
        alone = learn("edit", kind, model[m], seeds=[m])
        close(alone.training.losses[:, 0], found.training.losses[:, m])


# --- probes -----------------------------------------------------------------------------------------------------------


@each_cell
@each_probe
def test_probes_are_learned_on_the_whole_state(cell, kind):
    model = network(cell)
    before, n = {name: w.clone() for name, w in model.weights.items()}, model.state_size
    found = learn("probe", kind, model)
    assert found.training.status == (Status.DONE,) * M and found.training.losses.isfinite().all()
    assert all(same_bits(w, before[name]) for name, w in model.weights.items())
    reads = {"linear": "W", "mlp": "W1", "onion": "W1", "gru": "W_hh", "gru no input": "W_hh"}[kind]
    assert found.probe.weights[reads].shape[2] == n
    h = model.encode(VALIDATION)
    assert h.shape == (M, VALIDATION.tokens.shape[2], n)
    read = probes.read(found.probe, h, L)
    assert torch.equal(found.right, (read == VALIDATION.tokens) | ~VALIDATION.mask)
    if kind == "linear":
        for m, b in itertools.product(range(M), range(10)):
            score = found.probe.weights["W"][m] @ h[m, b] + found.probe.weights["b"][m]
            assert score.view(L, V).argmax(1).tolist() == read[m, :, b].tolist()
    for m in range(M):
        alone = learn("probe", kind, model[m], seeds=[m])
        close(alone.training.losses[:, 0], found.training.losses[:, m])


@each_cell
@pytest.mark.parametrize(("what", "kind"), LEARNED)
def test_what_is_learned_is_made_longer_bit_for_bit(cell, what, kind, tmp_path):
    model, options = network(cell), dict(checkpoint=tmp_path / "run")
    learn(what, kind, model, steps=3, **options)
    longer, whole = learn(what, kind, model, **options), learn(what, kind, model)
    assert all(same_bits(w, whole.training.weights[name]) for name, w in longer.training.weights.items())
    assert same_bits(longer.training.losses, whole.training.losses) and torch.equal(longer.right, whole.right)
    for other in CELLS.keys() - {cell}:
        with pytest.raises(ValueError, match=r"^checkpoint .* is of another run; .*'cell'"):
            learn(what, kind, network(other), **options)


# --- random numbers ---------------------------------------------------------------------------------------------------

LARGE = TokenRepeat(30, 1, 5)


class Captured(Exception):
    pass


@each_cell
@pytest.mark.parametrize(("what", "kind"), LEARNED)
def test_it_shares_no_random_numbers_with_its_network(cell, what, kind, monkeypatch):
    """The network of a seed, and what is learned on it with the same seed: neither start from the same numbers, nor
    draw the same ones later. (An onion edit's tokens once were the embedding of its network, bit for bit.)"""
    seeds, held = (0, 3), []

    def caught(weights, loss, score, own, recipe, **rest):
        held.append((weights, own))
        raise Captured

    for module in (learned_edits, learned_probes):
        monkeypatch.setattr(module, "optimise", caught)
    model = network(cell, *seeds, hidden=32, vocabulary=30)
    fit = {"edit": edits, "probe": probes}[what].fit
    with pytest.raises(Captured):
        fit(kind, model, LARGE, seeds=seeds, validation=LARGE.validation(50), progress=False)
    ((weights, own),) = held
    compared = 0
    for m, seed in enumerate(seeds):
        for start in (w[m].flatten() for w in weights.values() if w[m].flatten().unique().numel() > 1):
            for drawn in (w[m].flatten() for w in model.weights.values()):
                count = min(len(start), len(drawn))
                pair = torch.stack([start[:count], drawn[:count]]).double()
                if count >= 30:
                    # six standard errors of no correlation: some hundred pairs are looked at
                    assert torch.corrcoef(pair)[0, 1].abs() < 6 / count**0.5
                    assert (pair[0] == pair[1]).double().mean() < 0.01
                    compared += 1
        numbers = [torch.randint(2**32 - 1, (count,), generator=g).tolist()
                   for count, g in ((100_000, stream(seed, "network")), (300, own[m]))]  # fmt: skip
        shared = set(itertools.pairwise(numbers[0])) & set(itertools.pairwise(numbers[1]))
        assert not shared
    assert compared >= 2 * 4


@each_kind
def test_the_cases_that_judge_edits_have_numbers_of_their_own(kind):
    """They are the same for all models, whatever their seeds."""
    found = learn("edit", kind, network("gru"), steps=1, seeds=[7, 8]).case
    judged = VALIDATION if kind == "onion" else cases.of_length(VALIDATION, L)
    want = cases.corrupt(kind, judged, V, [stream(0, "cases")])
    for m in range(M):
        for name in ("original", "corrupted", "source"):
            assert torch.equal(getattr(found, name).tokens[m], getattr(want, name).tokens[0])
