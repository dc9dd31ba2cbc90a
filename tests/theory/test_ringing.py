"""The circuit of change ringing: its eigenvalues, the least linear network, and gates, each against plain ringing."""

import math

import numpy as np
import pytest
import torch

from emt_core.networks.elman import Elman
from emt_core.networks.vectors import VectorNetwork, elman
from emt_core.support.random_streams import stream
from emt_core.tasks.change_ringing import ChangeRinging, Method, right_rows
from emt_core.theory import ringing

METHODS = (
    Method("Original", 4, "x14"),
    Method("Original", 5, "5.1"),
    Method("Plain Bob", 4, "&x14x14,12"),
    Method("Bastow Little Bob", 5, "5,&1.3.1"),
    Method("Grandsire", 5, "3,&1.5.1.5.1"),
    Method("Stedman", 5, "5,&1.3.1|5,&3.1.3<4"),
    Method("Plain Bob", 6, "&x16x16x16,12"),
    Method("Cambridge Surprise", 6, "&x36x14x12x36x14x56,12"),
)
each_method = pytest.mark.parametrize("method", METHODS, ids=lambda m: m.title)
PERMUTES = 1e-11  # eigenvalues of a permutation matrix are exact to some K·ε, K ≤ 144: its eigenvectors are orthogonal


def apart(a, b):
    """The largest distance between two multisets of numbers on the unit circle, in the order of their angles, which
    rounding must not turn from just below 2π to 0."""
    a, b = (np.asarray(x)[np.argsort((np.angle(x) + 1e-6) % (2 * np.pi))] for x in (a, b))
    return np.abs(a - b).max()


@each_method
@pytest.mark.parametrize("dim", [1, 2])
def test_eigenvalues_are_those_of_the_big_matrix(method, dim):
    found = np.linalg.eigvals(ringing.interaction_matrix(method, dim).numpy())
    expected = ringing.eigenvalues(method, dim).numpy()
    assert found.shape == expected.shape and apart(found, expected) < PERMUTES


@each_method
def test_their_powers_are_those_of_the_lead(method):
    """λ^P is an eigenvalue of the lead, and each of these comes P times as often."""
    powers = ringing.eigenvalues(method) ** method.lead
    lead = np.linalg.eigvals(ringing.lead_matrix(method).numpy())
    assert apart(powers.numpy(), np.repeat(lead, method.lead)) < PERMUTES


def test_by_hand_on_four_bells():
    """x14: both changes, then the four places in one cycle 1 → 3 → 4 → 2, in which two changes go one place on."""
    method = METHODS[0]
    assert ringing.change_matrices(method).int().tolist() == [
        [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]],
        [[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]],
    ]
    assert (ringing.lead_matrix(method) @ torch.tensor([1.0, 2, 3, 4]).double()).tolist() == [2, 4, 1, 3]
    eighths = np.exp(2j * np.pi * np.arange(8) / 8)
    assert apart(ringing.eigenvalues(method).numpy(), eighths) < 1e-15


@each_method
def test_the_clocked_network_rings(method):
    """Any numbers, for three courses: only zeros and ones are multiplied and added, so that nothing is rounded."""
    network = elman(*(w[None] for w in ringing.clocked(method, 2)), activation="identity")
    count = 3 * method.lead * method.leads
    x = torch.randn(1, 1, 3, method.bells, 2, generator=stream(0, "test"), dtype=torch.float64)
    written = network.rollout(x.flatten(3), count)[1][0, 1:].unflatten(2, (-1, 2))
    row = x[0, 0]
    for t in range(count):
        row = row[:, list(method.changes[t % method.lead])]
        assert torch.equal(written[t], row)


@each_method
def test_residues_add_up_to_what_is_rung(method):
    R = ringing.residues(method)
    t = torch.tensor([0, 1, len(R) // 2 + 1, 3 * len(R) + 2])
    waves = torch.exp(2j * math.pi * t[:, None].double() * torch.arange(len(R)) / len(R))
    ahead = ringing.response(method, int(t.max()) + 1)[t]
    assert (torch.einsum("tk,kij->tij", waves, R) - ahead).abs().max() < 1e-12


@each_method
def test_the_ranks_add_up_to_that_of_the_hankel_matrix(method):
    """The least size of a linear network by another way (Ho and Kalman 1966): the rank of A_{i+j}, i, j < L. Its
    singular values are those of the residues times L at least, the smallest above 0.1 here."""
    L, n = method.lead * method.leads, method.bells
    A = ringing.response(method, 2 * L)
    hankel = A[torch.arange(L)[:, None] + torch.arange(L)].transpose(1, 2).reshape(L * n, L * n)
    values = torch.linalg.svdvals(hankel)
    size = int(ringing.multiplicities(method).sum())
    assert values[size - 1] > 0.1 and (values[size:] < 1e-10).all()
    assert size <= method.lead * n


@each_method
def test_multiplicities_are_what_can_be_read_of_the_circuit(method):
    """By the test of Popov, Belevitch and Hautus: eigenvectors of C that the read-out takes to zero do not count."""
    _, C, W_r = ringing.clocked(method)
    L = method.lead * method.leads
    for k, rank in enumerate(ringing.multiplicities(method).tolist()):
        root = np.exp(2j * np.pi * k / L)
        _, values, vectors = np.linalg.svd(C.numpy() - root * np.eye(len(C)))
        space = vectors[values < 1e-9].conj().T  # C is orthogonal: its other values are |λ − λ'|, at least 2 sin(π/L)
        assert (np.linalg.matrix_rank(W_r.numpy() @ space, tol=1e-9) if space.size else 0) == rank


@pytest.mark.parametrize(
    ("method", "size"), [(METHODS[0], 7), (METHODS[2], 23), (METHODS[4], 29), (METHODS[6], 59)], ids=str
)
def test_where_all_follow_one_line_every_root_but_minus_one_comes_once(method, size):
    """One line, of the length of the course: each frequency once. −1 is missing: no bell comes to a place more often in
    even rows than in odd ones."""
    found = ringing.multiplicities(method)
    course = len(found)
    assert found.tolist() == [int(k != course // 2) for k in range(course)] and found.sum() == size == course - 1


@pytest.mark.parametrize("method", METHODS[:-1], ids=lambda m: m.title)
def test_the_least_network_for_rows(method):
    """Its size is the rank of all rows' Hankel matrix, columns one for each row that a sequence may start from."""
    task = ChangeRinging((method,))
    L = method.lead * method.leads
    starts = torch.stack([torch.randperm(method.bells, generator=stream(s, "test")) for s in range(60)])
    signs = task.encode(starts[:, method.sources(2 * L)], torch.float64)  # (start, t, D)
    hankel = signs[:, torch.arange(L)[:, None] + torch.arange(L)]  # (start, i, j, D)
    hankel = hankel.permute(1, 3, 2, 0).reshape(L * task.dim, -1)
    expected = ringing.least_eigenvalues(task)
    # the matrix is large for six bells; its columns' span is read from its products with itself, squares of values
    values = torch.linalg.eigvalsh(hankel @ hankel.T).flip(0)
    assert values[len(expected) - 1] > 1e-3 and (values[len(expected) :] < 1e-6).all()
    assert (expected.abs() - 1).abs().max() < 1e-15


def test_the_least_network_wants_one_way():
    task = ChangeRinging((METHODS[2],), anywhere=True)
    with pytest.raises(ValueError, match=r"^task must .* got 8 ways"):
        ringing.least_eigenvalues(task)


@each_method
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_gates_ring_exactly_and_for_long(method, dtype):
    """A thousand rows from twenty starts: errors do not add up, since each step makes signs."""
    task = ChangeRinging((method,))
    W_uh, W_hh, W_r, b = (w[None].to(dtype) for w in ringing.gated(method, task.bits))
    network = VectorNetwork(Elman(W_hh=W_hh, W_uh=W_uh, b=b), W_r)
    pairs = {(p, q) for change in method.changes for p, q in enumerate(change)}
    phases = method.lead if method.lead > 2 else 2 * method.lead
    assert network.hidden == 2 * task.bits * len(pairs) + phases
    inputs, targets = task.sample(20, 1000, stream(0, "test"), dtype)
    written = network.rollout(inputs, 1000)[1][:, 1:]
    assert right_rows(written, targets).all()
    assert (written - targets).abs().max() < 1e-3  # 1 − tanh(5) = 9e-5 for each unit that a sign is made of


def test_gates_forget_small_errors():
    """The multipliers of a whole course are near zero: what is held is digital."""
    method, task = METHODS[2], ChangeRinging((METHODS[2],))
    W_uh, W_hh, W_r, b = (w[None] for w in ringing.gated(method, task.bits))
    network = VectorNetwork(Elman(W_hh=W_hh, W_uh=W_uh, b=b), W_r)
    inputs, _ = task.sample(1, 1, stream(0, "test"), torch.float64)
    states = network.rollout(inputs, 24)[0][0, :, 0]
    jacobian = torch.eye(network.hidden, dtype=torch.float64)
    for h in states[:24]:
        jacobian = network.cell.jacobian(h[None])[0] @ jacobian
    assert torch.linalg.eigvals(jacobian).abs().max() < 1e-10


def test_what_is_no_size():
    for bad in (lambda: ringing.interaction_matrix(METHODS[0], 0), lambda: ringing.gated(METHODS[0], 0)):
        with pytest.raises(ValueError, match=r"^dim must"):
            bad()
    with pytest.raises(ValueError, match=r"^gain must"):
        ringing.gated(METHODS[0], 1, 0.0)


@pytest.mark.parametrize("bells, dim", [(3, 2), (5, 3), (6, 1)])
def test_a_conducted_network_moves_every_content_as_it_is_called(bells, dim):
    """All changes of so many bells, that of no pair too, from contents that are any signs; by the definition."""
    W_uh, W_hh, W_r, b = ringing.conducted(bells, dim)
    assert len(W_hh) == 2 * dim * (3 * bells - 2)
    draw = stream(0, "calls")
    held = torch.randint(2, (bells, dim), generator=draw).double() * 2 - 1
    h = torch.tanh(W_uh @ torch.cat([held.flatten(), torch.zeros(bells - 1)]) + b)
    for _ in range(200):
        p, pairs = 0, torch.zeros(bells - 1)
        while p < bells - 1:
            if torch.rand((), generator=draw) < 0.5:
                pairs[p] = 1
                held[[p, p + 1]] = held[[p + 1, p]]
                p += 1
            p += 1
        h = torch.tanh(W_hh @ h + W_uh @ torch.cat([torch.zeros(bells * dim), pairs]).double() + b)
        assert torch.allclose((W_r @ h).view(bells, dim), held, atol=1e-3)


def test_who_conducts_whom():
    for given, message in (((1,), "bells must be at least 2, got 1"), ((6, 0), "dim must be at least 1, got 0")):
        with pytest.raises(ValueError, match=message):
            ringing.conducted(*given)
    with pytest.raises(ValueError, match=r"^gain must"):
        ringing.conducted(6, 1, 0.0)
