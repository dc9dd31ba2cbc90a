"""Factors of layers: propagations against closed forms and products of Jacobians, shares against codes made by hand."""

from dataclasses import dataclass
from itertools import permutations, product
from math import factorial
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from oracles import generators

from emt_core.analysis import factors, layers
from emt_core.networks import CELLS, GRU, Elman, TokenNetwork, load
from emt_core.networks.cell import Cell

L, V, N = 4, 5, 8
DATA = Path(__file__).parents[2] / "book" / "data"


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def centred(*shape: int, seed: int = 0) -> torch.Tensor:
    w = draw(*shape, seed=seed)
    return w - w.mean(-2, keepdim=True)


def orthogonal(n: int, seed: int = 0) -> torch.Tensor:
    return torch.linalg.qr(draw(n, n, seed=seed)).Q


def made(w: torch.Tensor, P: torch.Tensor) -> factors.Propagation:
    """One network with these writes (L, V, n), or (V, n) at all positions, and propagations (L, n, n), in which the
    first order is exact."""
    w = w.expand(len(P), *w.shape[-2:])
    return factors.Propagation(w[None], P[None], (w @ P.mT)[None])


def powers(A: torch.Tensor) -> torch.Tensor:
    """A^(L−1), …, A, 1."""
    return torch.stack([torch.linalg.matrix_power(A, L - 1 - p) for p in range(L)])


def by_factor(w: torch.Tensor, P: torch.Tensor) -> torch.Tensor:
    """The shares of the separation, which they must add up to: each is exact on the way there."""
    found = factors.shares(made(w, P))
    torch.testing.assert_close(found.separation, factors.separation(made(w, P).layers), rtol=0, atol=1e-12)
    torch.testing.assert_close(found.by_factor.sum(1), found.separation, rtol=0, atol=1e-12)
    return found.by_factor[0]


def close(found: torch.Tensor, want: list[float] | torch.Tensor, atol: float) -> None:
    torch.testing.assert_close(found, torch.as_tensor(want, dtype=found.dtype), rtol=0, atol=atol)


# τ² = 1e-3. U_p is off by τ⁴ where a propagation keeps all with a gain of 1, and by τ² where it also clears directions.
KEPT, CLEARED = 1e-5, 2e-3


# --- codes made by hand -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gain", [1.0, 0.7])
def test_phases_are_a_rotation(gain):
    """And a size, which parts nothing."""
    w, A = centred(V, N) * torch.tensor([1.0] * 2 + [0.1] * 6), gain * orthogonal(N)
    apart = float(factors.separation(made(w, powers(A)).layers))
    assert apart > 0.3
    close(by_factor(w, powers(A)), [0, apart, 0], KEPT)


@pytest.mark.parametrize("cyclic", [True, False])
def test_a_circuit_that_shifts_blocks_is_a_rotation(cyclic):
    """On a ring of L blocks the rotations average to zero; in a queue the block that falls out is cleared."""
    A = torch.roll(torch.eye(L, dtype=torch.float64), -1, 0)
    A[-1, 0] = float(cyclic)
    w = torch.zeros(V, 2 * L, dtype=torch.float64)
    w[:, -2:] = centred(V, 2)
    close(by_factor(w, powers(torch.kron(A, torch.eye(2, dtype=A.dtype)))), [0, 1, 0], KEPT if cyclic else CLEARED)


@pytest.mark.parametrize("gamma", [0.8, -0.8])
def test_decay_parts_nothing(gamma):
    w, P = centred(V, N), powers(gamma * torch.eye(N, dtype=torch.float64))
    found = factors.shares(made(w, P))
    close(found.separation, [0], 1e-12)
    close(found.by_factor[0], [0, 0, 0], 1e-12)
    close(found.sizes[0], [0.8**3, 0.8**2, 0.8, 1], 1e-12)


def test_rates_that_differ_are_a_routing():
    w, P = centred(V, N), powers(torch.linspace(0.5, 0.95, N, dtype=torch.float64).diag())
    apart = float(factors.separation(made(w, P).layers))
    assert 0.05 < apart < 0.5
    close(by_factor(w, P), [0, 0, apart], 1e-12)


def kept(sets: torch.Tensor) -> torch.Tensor:
    """Propagations that keep 0.9 of the units of position p, the rows of ``sets``, and clear the others."""
    return 0.9 * torch.diag_embed(sets.double())


SETS = torch.arange(N)[None] // 2 == torch.arange(L)[:, None]


def test_gates_that_keep_other_units_are_a_routing():
    w = centred(V, N)
    close(by_factor(w, kept(SETS)), [0, 0, 1], 1e-12)
    overlapping = SETS | SETS.roll(2, 1)
    apart = float(factors.separation(made(w, kept(overlapping)).layers))
    close(by_factor(w, kept(overlapping)), [0, 0, apart], 1e-12)
    assert 0.3 < apart < 0.9


def test_writes_to_other_units_are_of_the_write():
    w = centred(V, N) * SETS[:, None]
    close(by_factor(w, torch.eye(N, dtype=w.dtype).expand(L, N, N)), [1, 0, 0], 1e-12)
    close(by_factor(w, 0.9 * torch.eye(N, dtype=w.dtype).expand(L, N, N)), [1, 0, 0], 1e-12)


def test_writes_that_would_cancel_part_nothing():
    w = centred(V, N) * torch.tensor([1.0, -1, 1, -1])[:, None, None]
    close(by_factor(w, torch.eye(N, dtype=w.dtype).expand(L, N, N)), [0, 0, 0], 1e-12)


def test_gates_that_keep_what_was_written_share_with_the_write():
    """Either alone parts all, and so they have half each."""
    close(by_factor(centred(V, N) * SETS[:, None], kept(SETS)), [0.5, 0, 0.5], 1e-12)


def game(w: np.ndarray, P: np.ndarray) -> np.ndarray:
    """The shares, from covariances, with SciPy's polar decomposition and Shapley's formula."""
    C = np.stack([x.T @ x / np.trace(x.T @ x) for x in w])
    mean_C = C.mean(0)
    U, H = (np.stack(part) for part in zip(*(scipy.linalg.polar(x) for x in P), strict=True))
    H = np.stack([h / np.sqrt(np.trace(h @ mean_C @ h)) for h in H])

    def worth(present: set[int]) -> float:
        made = []
        for p in range(len(w)):
            K = (U[p] if 1 in present else np.eye(len(U[p]))) @ (H[p] if 2 in present else H.mean(0))
            made.append(K @ (C[p] if 0 in present else mean_C) @ K.T)
        pairs = [(a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()) for a, b in permutations(made, 2)]
        return 1 - float(np.mean(pairs))

    found = np.zeros(3)
    for k in range(3):
        others = [j for j in range(3) if j != k]
        for chosen in product((False, True), repeat=2):
            S = {j for j, c in zip(others, chosen, strict=True) if c}
            found[k] += factorial(len(S)) * factorial(2 - len(S)) / 6 * (worth(S | {k}) - worth(S))
    return found


def test_a_mixture_is_shared_by_shapleys_formula():
    """Singular values of the propagations within a factor of 4: U_p off by (τ/σ)⁴ < 1e-4, as nothing is cleared."""
    w = centred(L, V, N) * torch.tensor([3.0, 2, 1, 1, 1, 1, 1, 0.1])
    turn = torch.stack([torch.matrix_exp(0.2 * p * (draw(N, N, seed=9) - draw(N, N, seed=9).mT)) for p in range(L)])
    stretch = torch.stack([orthogonal(N, p) @ torch.linspace(0.5, 2, N).double().diag() for p in range(L)])
    P = turn @ stretch @ stretch.mT * 0.5 ** torch.arange(L)[:, None, None]
    found = by_factor(w, P)
    assert (found > 0.01).all()
    close(found, torch.from_numpy(game(w.numpy(), P.numpy())), 1e-3)


def test_shares_do_not_depend_on_coordinates_or_sizes():
    w, P, Q = centred(L, V, N), draw(L, N, N, seed=3), orthogonal(N, 5)
    size = torch.tensor([1.0, 10, 0.1, 3])[:, None, None]
    close(by_factor(w @ Q.mT, Q @ P @ Q.mT), by_factor(w, P), 1e-8)
    close(by_factor(w * size, P * size.flip(0)), by_factor(w, P), 1e-8)


def test_noise_in_what_is_cleared_turns_nothing():
    """Rounding decides how the polar decomposition turns what is cleared; the shares do not move by more than noise."""
    w, P, noise = centred(V, N), kept(SETS), 1e-6 * draw(L, N, N, seed=4)
    plain = torch.from_numpy(scipy.linalg.polar((P + noise)[0].numpy())[0])
    assert (plain - torch.eye(N)).norm() > 1
    # σ ~ 1e-5: (τ/σ)² of that is 1e-6 relative to the identity, and the derivative of a share is of order one
    close(by_factor(w, P + noise), [0, 0, 1], 1e-4)


def test_a_polar_decomposition_is_exact_and_turns_least():
    rank_3 = draw(2, N, 3) @ draw(2, 3, N, seed=1)
    for P in (draw(2, N, N), rank_3, torch.zeros(2, N, N).double()):
        U, H = factors.polar(P)
        close(U @ U.mT, torch.eye(N).expand(2, N, N), 1e-12)
        close(U @ H, P, 1e-12)
    close(U, torch.eye(N).expand(2, N, N), 1e-12)  # of nothing
    P = draw(1, N, N)
    U, H = factors.polar(P + 5 * torch.eye(N))
    assert (torch.linalg.eigvals(H).real > 0).all()
    close(U[0], torch.from_numpy(scipy.linalg.polar((P[0] + 5 * torch.eye(N)).numpy())[0]), 1e-5)


def test_a_position_that_leaves_nothing_has_no_shares():
    w, P = centred(V, N), kept(SETS)
    P[1] = 0
    found = factors.shares(made(w, P))
    assert found.separation.isnan().all() and found.by_factor.isnan().all()
    assert found.sizes[0].tolist() == pytest.approx([1, 0, 1, 1], rel=0.5)
    found = factors.shares(made(w * torch.tensor([1.0, 0, 1, 1])[:, None, None], kept(SETS)))
    assert found.separation.isnan().all()


# --- propagations of networks -----------------------------------------------------------------------------------------


def network(cell: Cell, V: int = V) -> TokenNetwork:
    """Networks in float64 with a cell that was made by hand; what reads them out does not matter."""
    M, embedding = cell.models, draw(cell.models, V + 2, cell.inputs, seed=7)
    return TokenNetwork(cell, embedding, draw(M, V, cell.hidden), draw(M, V))


def test_a_linear_recurrence_is_of_first_order():
    A, B = draw(2, N, N) / N**0.5, draw(2, N, 3, seed=1)
    model = network(Elman(A, B, activation="identity"))
    found = factors.propagation(model, L, torch.Generator().manual_seed(0), sequences=3)
    close(found.P, torch.stack([powers(x) for x in A]), 1e-12)
    w = model.embedding[:, :V] @ B.mT
    close(found.writes, (w - w.mean(1, keepdim=True))[:, None].expand(-1, L, -1, -1), 1e-12)
    close(found.explained, torch.ones(2, L), 1e-12)
    close(factors.mean_jacobian(model, L, torch.Generator().manual_seed(0), 3), A, 1e-12)


@dataclass(frozen=True, eq=False)
class Scheduled(Cell):
    """h ← keep_t ⊙ h + add_t ⊙ B x at step t, which a clock beside h counts: n = N + 1."""

    keep: torch.Tensor  # (M, L, N)
    add: torch.Tensor  # (M, L, N)
    B: torch.Tensor  # (M, N, I)

    @classmethod
    def init(cls, inputs, hidden, generators):
        raise NotImplementedError

    hidden = property(lambda self: self.B.shape[1])
    inputs = property(lambda self: self.B.shape[2])
    state_size = property(lambda self: self.hidden + 1)

    def step(self, h, x=None):
        code, clock = h[..., :-1], h[..., -1:]
        t = clock[0, 0, 0].detach().round().long()
        return torch.cat([self.keep[:, t, None] * code + self.add[:, t, None] * (x @ self.B.mT), clock + 1], dim=2)


def test_a_gated_recurrence_has_the_products_of_its_gates():
    keep, add, B = draw(1, L, N, seed=1).sigmoid(), draw(1, L, N, seed=2).sigmoid(), draw(1, N, 3)
    model = network(Scheduled(keep, add, B))
    found = factors.propagation(model, L, torch.Generator().manual_seed(0), sequences=3)
    close(found.explained, torch.ones(1, L), 1e-12)
    w = model.embedding[0, :V] @ B[0].mT
    w = (w - w.mean(0)) * add[0, :, None]
    P = torch.stack([keep[0, p + 1 :].prod(0) for p in range(L)])
    close(found.writes[0, ..., :-1], w, 1e-12)
    close(found.P[0, :, :-1, :-1], torch.diag_embed(P), 1e-12)
    # the clock, which nothing is written to, changes no share
    close(factors.shares(found).by_factor[0], by_factor(w, torch.diag_embed(P)), 1e-10)


def test_gates_by_position_are_a_routing():
    """All units are written at all positions, and step t clears all but the first 2t: position p is left in the first
    2p + 2."""
    keep = (torch.arange(N) // 2 < torch.arange(L)[:, None]).double()
    model = network(Scheduled(keep[None], torch.ones(1, L, N).double(), draw(1, N, 3)))
    found = factors.shares(factors.propagation(model, L, torch.Generator().manual_seed(0), sequences=3))
    assert found.separation > 0.2
    close(found.by_factor[0], [0, 0, float(found.separation)], 1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_propagations_are_means_of_products_of_jacobians(cell):
    """Of float64 and a state of order one; 1e-12 is rounding."""
    model = TokenNetwork.init(CELLS[cell], 3, 4, generators(0, 1)).to(torch.float64)
    found = factors.propagation(model, L, generators(7)[0], sequences=5)
    tokens = torch.randint(3, (L, 5), generator=generators(7)[0])
    h, J = model.cell.zero_state(5), []
    for row in tokens:
        x = model.embedding[:, row]
        J.append(torch.stack([model.cell.jacobian(h[:, b], x[:, b]) for b in range(5)], dim=1))
        h = model.cell.step(h, x)
    running = torch.eye(model.state_size, dtype=h.dtype).expand_as(J[0])
    for p in reversed(range(L)):
        close(found.P[:, p], running.mean(1), 1e-12)
        running = running @ J[p]
    close(factors.mean_jacobian(model, L, generators(7)[0], 5), torch.stack(J[1:]).mean((0, 2)), 1e-12)
    effects = layers.over_time(model, L, generators(7)[0], 5)
    close(found.writes, torch.stack([effects[:, p, p] for p in range(L)], dim=1), 1e-12)
    close(found.measured, layers.layers(model, L, generators(7)[0], 5)[0], 1e-12)
    close(found.explained[:, -1], torch.ones(2), 1e-12)  # P = 1, and the write is the layer
    assert (found.explained <= 1 + 1e-12).all()


def test_the_first_order_holds_where_writes_are_small():
    model = TokenNetwork.init(GRU, V, N, generators(0)).to(torch.float64)
    small = model.with_weights(model.weights | {"embedding": 1e-3 * model.embedding})
    for network, least in ((model, 0.0), (small, 1 - 1e-4)):
        found = factors.propagation(network, L, generators(1)[0], sequences=20)
        assert (found.explained >= least).all()
    assert factors.propagation(model, L, generators(1)[0], 20).explained[0, 0] < 1 - 1e-4


def test_a_length_of_one_has_no_other_position():
    model = TokenNetwork.init(GRU, V, N, generators(0))
    for measure in (factors.propagation, factors.mean_jacobian):
        with pytest.raises(ValueError, match="length must be at least 2, got 1"):
            measure(model, 1, generators(0)[0])


# --- phases and units -------------------------------------------------------------------------------------------------


def test_the_share_of_positive_eigenvalues_is_of_their_squares():
    """0.9, −0.5, and a pair of modulus 0.6 at ±30°."""
    c, s = 0.6 * np.cos(np.pi / 6), 0.6 * np.sin(np.pi / 6)
    J = torch.from_numpy(scipy.linalg.block_diag(0.9, -0.5, [[c, -s], [s, c]]))
    Q = orthogonal(4)
    J = (Q @ J @ Q.mT)[None]
    close(factors.positive_share(J), [0.81 / 1.78], 1e-12)
    close(factors.positive_share(J, above=0.55), [0.81 / 1.53], 1e-12)
    close(factors.positive_share(J, degrees=31), [1.53 / 1.78], 1e-12)
    assert factors.positive_share(J, above=2).isnan().all()
    with pytest.raises(ValueError, match="degrees must be finite and at least 0, got -1"):
        factors.positive_share(J, degrees=-1)


def test_units_that_positions_share_by_hand():
    made = torch.zeros(1, 3, 2, 4)
    made[0, 0, :, :2] = torch.tensor([[1.0, 2], [-1, -2]])
    made[0, 1, :, :2] = torch.tensor([[-3.0, 6], [3, -6]])
    made[0, 2, :, 2:] = 1
    close(factors.energies(made)[0], [[1, 4, 0, 0], [9, 36, 0, 0], [0, 0, 1, 1]], 0)
    close(factors.unit_overlap(made), [1 / 3], 1e-6)


def test_random_layers_overlap_by_their_energies():
    amplitude, found, count = draw(1, 3, 1, 20).abs(), torch.zeros(1).double(), 300
    for seed in range(count):
        direction = torch.nn.functional.normalize(centred(1, 3, 12, 20, seed=seed + 1), dim=2)
        found += layers.between_positions(layers.overlap(amplitude * direction)) / count
    want = factors.overlap_of_energies(amplitude[:, :, 0].square() / 12, 12)
    # 300 means of three overlaps, each with a deviation of about 0.1, and a ratio of means for a mean of ratios
    close(found, want, 0.01)
    assert 0.2 < want < 0.8


def test_energies_of_one_unit_overlap_by_it():
    """Two positions in one unit, the third in another: overlaps of 1 and 0 whatever is drawn."""
    close(factors.overlap_of_energies(torch.tensor([[[2.0, 0], [3, 0], [0, 1]]]), 5), [1 / 3], 1e-6)
    with pytest.raises(ValueError, match="tokens must be at least 2, got 1"):
        factors.overlap_of_energies(torch.ones(1, 2, 2), 1)


@pytest.mark.parametrize(
    ("name", "final", "written", "units"), [("gru_64_ar_0", 0.60, 0.70, 0.80), ("gru_64_ni_0", 0.07, 0.39, 0.12)]
)
def test_grus_that_learned(name, final, written, units):
    """Overlaps and units as measured before, by other sequences: with 64 or 512 of them they differ by 0.002. Read with
    its own output, positions share units; without input they lie in different ones. Hardly anything turns."""
    model = load(DATA / f"{name}.safetensors")[0]
    found = factors.propagation(model, 9, torch.Generator().manual_seed(0))
    got = factors.shares(found)
    close(got.by_factor.sum(1), got.separation, 1e-12)
    close(1 - factors.separation(found.measured), [final], 0.01)
    close(1 - factors.separation(found.writes), [written], 0.01)
    close(factors.unit_overlap(found.measured), [units], 0.01)
    assert got.explained.min() > 0.75 and (got.separation - factors.separation(found.measured)).abs() < 0.03
    J = factors.mean_jacobian(model, 9, torch.Generator().manual_seed(0))
    assert factors.positive_share(J, above=0.5) > 0.9
