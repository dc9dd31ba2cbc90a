"""Matrices of associations against the papers' equations, sums over the past, and what can be asked of a memory."""

import numpy as np
import pytest
import torch
from oracles import SHAPE_ERRORS, generators

from emt_core.networks.delta_rule import DeltaNet, LinearAttention

M, T, B, I, N = 2, 8, 3, 4, 5  # noqa: E741
each_kind = pytest.mark.parametrize("kind", [LinearAttention, DeltaNet])


def random(*shape, seed=0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=generators(seed)[0])


def draw(kind):
    """Cells, first states and inputs, of size one."""
    cell = kind.init(I, N, generators(0, 1)).to(torch.float64)
    return cell, random(M, B, cell.state_size, seed=1), random(M, T, B, I)


def states_of(cell, x, h) -> torch.Tensor:
    tokens = torch.arange(x.shape[1] * B).view(-1, B).expand(len(x), -1, -1)
    return cell.scan(x.flatten(1, 2))(tokens, h)


def final(cell, x, h) -> torch.Tensor:
    for t in range(x.shape[1]):
        h = cell.step(h, x[:, t])
    return h


def sigmoid(y):
    return 1 / (1 + np.exp(-y))


def products(cell, m, u):
    """q, k, v and β of one input, by the papers' words; linear attention has no β."""
    w = {name: tensor[m].numpy() for name, tensor in cell.weights.items()}
    q, k, v = (w[f"W_{name}"] @ u for name in "qkv")
    if isinstance(cell, LinearAttention):
        q, k = (np.where(y > 0, y + 1, np.exp(np.minimum(y, 0))) / N**0.5 for y in (q, k))
        return q, k, v, None
    q, k, v = (y + w[f"b_{name}"] for y, name in ((q, "q"), (k, "k"), (v, "v")))
    q, k, v = (y * sigmoid(y) for y in (q, k, v))
    q, k = (y / np.sqrt(y @ y + 1e-6) for y in (q, k))
    return q, k, v, sigmoid(w["W_beta"][0] @ u + w["b_beta"][0])


@each_kind
def test_states_are_those_of_the_papers_equations(kind):
    """Number by number, from a state that holds something already."""
    cell, h, x = draw(kind)
    found = states_of(cell, x, h)
    torch.testing.assert_close(found[:, -1], final(cell, x, h), rtol=0, atol=1e-13)
    for m in range(M):
        for b in range(B):
            S = h[m, b, N:].view(N, N).numpy().copy()
            for t in range(T):
                q, k, v, beta = products(cell, m, x[m, t, b].numpy())
                stored = [sum(S[i, j] * k[j] for j in range(N)) for i in range(N)]
                for i in range(N):
                    for j in range(N):
                        S[i, j] += (v[i] if beta is None else beta * (v[i] - stored[i])) * k[j]
                o = [sum(S[i, j] * q[j] for j in range(N)) for i in range(N)]
                want = np.concatenate([o, S.flatten()])
                np.testing.assert_allclose(found[m, t, b], want, rtol=0, atol=1e-12)  # sums of up to 100


def test_linear_attention_is_attention_without_its_softmax():
    """o_t = Σ_{s≤t} v_s (k_s · q_t) from an empty memory: a product with a matrix of similarities, causal."""
    cell, h, x = draw(LinearAttention)
    found = cell.visible(states_of(cell, x, 0 * h))
    for m in range(M):
        for b in range(B):
            q, k, v, _ = (np.array(y) for y in zip(*(products(cell, m, u.numpy()) for u in x[m, :, b]), strict=True))
            np.testing.assert_allclose(found[m, :, b], np.tril(q @ k.T) @ v, rtol=0, atol=1e-12)


def test_the_delta_rule_is_a_product_of_matrices():
    """S_T = S_0 Π_s (I − β_s k_s k_sᵀ) + Σ_s β_s v_s k_sᵀ Π_{u>s} (I − β_u k_u k_uᵀ)."""
    cell, h, x = draw(DeltaNet)
    found = states_of(cell, x, h)[:, -1, :, N:].view(M, B, N, N)
    for m in range(M):
        for b in range(B):
            terms = [products(cell, m, u.numpy()) for u in x[m, :, b]]
            want, later = np.zeros((N, N)), np.eye(N)
            for _, k, v, beta in reversed(terms):
                want += beta * np.outer(v, k) @ later
                later = (np.eye(N) - beta * np.outer(k, k)) @ later
            want += h[m, b, N:].view(N, N).numpy() @ later
            np.testing.assert_allclose(found[m, b], want, rtol=0, atol=1e-13)


def test_the_delta_rule_recalls_what_it_stored_and_replaces_it():
    """With β = 1 and keys at right angles every value comes back whole, the newest one under each key. An input is the
    key and the value side by side, so large that SiLU leaves them: to e⁻³⁰."""
    cell, eye = DeltaNet.init(2 * N, N, generators(0)).to(torch.float64), torch.eye(N, dtype=torch.float64)
    keys, nothing = torch.cat([eye, 0 * eye], dim=1)[None], torch.zeros(1, N).double()
    values = torch.cat([0 * eye, eye], dim=1)[None]
    cell = DeltaNet(keys, keys, values, 0 * cell.W_beta, nothing, nothing, nothing, 0 * cell.b_beta + 50)
    old, new = 30 + random(2, N, N).abs()
    h, stored = cell.zero_state(1), old.clone()
    for key, value in [*enumerate(old), (3, new[3]), (1, new[1])]:
        h = cell.step(h, torch.cat([1e4 * eye[key], value])[None, None])
        stored[key] = value
        torch.testing.assert_close(cell.visible(h)[0, 0], value, rtol=1e-12, atol=0)
    torch.testing.assert_close(h[0, 0, N:].view(N, N).T, stored, rtol=1e-12, atol=0)


def test_linear_attention_only_adds():
    """What is under a key is the sum of all that was written there, in whatever order, and never less."""
    cell, h, x = draw(LinearAttention)
    S = final(cell, x, h)[..., N:]
    torch.testing.assert_close(final(cell, x.flip(1), h)[..., N:], S, rtol=0, atol=1e-13)
    twice = final(cell, torch.cat([x, x], dim=1), h)[..., N:]
    torch.testing.assert_close(twice - h[..., N:], 2 * (S - h[..., N:]), rtol=0, atol=1e-12)
    alone = cell.step(h)
    assert torch.equal(alone[..., N:], h[..., N:])  # without an input nothing is written
    want = h[..., N:].view(M, B, N, N).sum(-1) / N**0.5
    torch.testing.assert_close(cell.visible(alone), want, rtol=0, atol=1e-13)


@each_kind
def test_the_first_read_is_about_as_large_as_what_was_written(kind):
    """q · k is about 1: as many keys as there are units do not make o grow with N."""
    sizes = []
    for hidden in (16, 256):
        cell, x = kind.init(64, hidden, generators(0)), random(1, 50, 64).float()
        cell = cell.with_weights(cell.weights | {"W_q": cell.weights["W_k"]})  # asks for what it has just written
        if kind is DeltaNet:
            cell = cell.with_weights(cell.weights | {"b_q": cell.weights["b_k"]})
        sizes.append(cell.visible(cell.step(cell.zero_state(50), x)).square().mean().sqrt().item())
    assert 0.05 < sizes[0] < 2 and sizes[1] == pytest.approx(sizes[0], rel=0.3)


@each_kind
def test_nothing_depends_on_what_was_read(kind):
    cell, h, x = draw(kind)
    other = torch.cat([random(M, B, N, seed=8), h[..., N:]], dim=-1)
    assert torch.equal(cell.step(h, x[:, 0]), cell.step(other, x[:, 0]))
    assert not cell.jacobian(h[:, 0], x[:, 0, 0])[..., :N].any()


def test_the_spectrum_of_the_delta_rule_is_that_of_its_key():
    """S ↦ S (I − β k kᵀ): N(N − 1) ones and N times 1 − β k·k; o adds N zeros."""
    cell, h, x = draw(DeltaNet)
    J = cell.jacobian(h[:, 0], x[:, 0, 0])
    for m in range(M):
        _, k, _, beta = products(cell, m, x[m, 0, 0].numpy())
        found = torch.linalg.eigvals(J[m]).real.sort().values
        want = torch.tensor([0.0] * N + [1 - beta * (k @ k)] * N + [1.0] * (N * (N - 1)), dtype=torch.float64)
        torch.testing.assert_close(found, want, rtol=0, atol=1e-12)


@each_kind
def test_weights_that_do_not_fit_are_named(kind):
    cell = kind.init(I, N, generators(0))
    for name in cell.weights.keys() - {"W_q"}:
        with pytest.raises(SHAPE_ERRORS, match=name):
            cell.with_weights(cell.weights | {name: cell.weights[name][:, :-1]})
