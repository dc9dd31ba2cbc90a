"""The GSEMM against its own equations: energy, flow, sequences of memories, and the way to an RNN and back."""

import math
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import PAPER, SHAPE_ERRORS
from scipy.integrate import solve_ivp
from scipy.linalg import expm, hadamard

from emt_core.networks.exact import linear_rnn, to_rnn
from emt_core.tasks import VariableBinding
from emt_core.theory import circuit, gsemm
from emt_core.theory.gsemm import GSEMM

EPS = torch.finfo(torch.float64).eps

LIBRARY = {
    "tanh": gsemm.tanh,
    "identity": gsemm.identity,
    "rectified-1": partial(gsemm.rectified, 1),
    "rectified-3": partial(gsemm.rectified, 3),
    "softmax": gsemm.softmax,
}


def powers(n: int):
    return (
        lambda x: np.maximum(x, 0) ** n,
        lambda x: sum(max(xi, 0) ** (n + 1) / (n + 1) for xi in x),
        lambda x: np.diag(n * np.where(x > 0, np.abs(x) ** (n - 1), 0)),
    )


def _softmax(x):
    return np.exp(x) / np.exp(x).sum()


# f, F and the Jacobian of f, from their definitions
NUMPY = {
    "tanh": (np.tanh, lambda x: sum(math.log(math.cosh(xi)) for xi in x), lambda x: np.diag(1 / np.cosh(x) ** 2)),
    "identity": (lambda x: x, lambda x: sum(xi**2 / 2 for xi in x), lambda x: np.eye(len(x))),
    "rectified-1": powers(1),
    "rectified-3": powers(3),
    "softmax": (
        _softmax,
        lambda x: math.log(sum(math.exp(xi) for xi in x)),
        lambda x: np.diag(_softmax(x)) - np.outer(_softmax(x), _softmax(x)),
    ),
}


@dataclass(frozen=True)
class Slow:
    """An activation in NumPy, for one vector."""

    kind: str
    gain: float

    def __call__(self, v):
        return NUMPY[self.kind][0](self.gain * v)

    def lagrangian(self, v):
        return NUMPY[self.kind][1](self.gain * v) / self.gain

    def jacobian(self, v):
        return self.gain * NUMPY[self.kind][2](self.gain * v)


@dataclass(frozen=True)
class Case:
    """A system of the library and what NumPy needs to say the same."""

    system: GSEMM
    f: Slow
    h: Slow
    rng: np.random.Generator

    def drives(self, V_f, V_h, V_d):
        """T_f V̇_f, T_h V̇_h, T_d V̇_d of one state, as the equations stand."""
        s, Xi, Phi = self.system, self.system.memories.numpy(), self.system.interaction.numpy()
        return (
            math.sqrt(s.a_s) * Xi @ self.h(V_h) - V_f,
            math.sqrt(s.a_s) * Xi.T @ self.f(V_f) + s.a_c * Phi.T @ Xi.T @ V_d - V_h,
            self.f(V_f) - V_d,
        )

    def algebraic(self, V_f, V_h, V_d):
        """The state with the populations whose time scale is zero put where they have to be."""
        V_d = V_d if self.system.T_d else self.f(V_f)
        return V_f, (V_h if self.system.T_h else self.drives(V_f, 0 * V_h, V_d)[1]), V_d

    def states(self, count: int, spread: float = 0.7):
        Nf, Nh = self.system.memories.shape
        return [spread * self.rng.normal(size=(count, n)) for n in (Nf, Nh, Nf)]


def case(seed, kinds=("tanh", "identity"), Nf=5, Nh=3, **scales) -> Case:
    rng = np.random.default_rng(seed)
    # memories, interaction and starts of norm about 1, and cubes at half the gain, so that nothing explodes
    slow = [Slow(kind, float(rng.uniform(0.4, 1.0)) / (2 if kind == "rectified-3" else 1)) for kind in kinds]
    fast = [LIBRARY[a.kind](a.gain) for a in slow]
    Xi, Phi = (torch.from_numpy(a / np.linalg.norm(a, 2)) for a in (rng.normal(size=(n, Nh)) for n in (Nf, Nh)))
    a_s, a_c = (float(x) for x in rng.uniform(0.3, 1.5, size=2))
    return Case(GSEMM(Xi, Phi, *fast, a_s=a_s, a_c=a_c, **scales), *slow, rng)


def cases(T_h=(0.0, 0.4), T_d=(0.0, 3.0, math.inf)):
    kinds = st.tuples(*[st.sampled_from(sorted(LIBRARY))] * 2)
    scales = {"T_f": st.sampled_from([0.5, 1.0, 2.0]), "T_h": st.sampled_from(T_h), "T_d": st.sampled_from(T_d)}
    return st.builds(case, st.integers(0, 999), kinds, st.integers(1, 6), st.integers(1, 4), **scales)


def tensors(*arrays):
    return [torch.from_numpy(np.ascontiguousarray(a)) for a in arrays]


def starts(system: GSEMM, V_h, V_d) -> dict:
    """The starts that may be given to ``simulate``."""
    return ({"V_h": V_h} if system.T_h else {}) | ({"V_d": V_d} if system.T_d else {})


def run(system, V_f, times, **options):
    done = gsemm.simulate(system, V_f, times, progress=False, **{"rtol": 1e-8, "atol": 1e-10} | options)
    assert done.status == "done"
    return done


def grid(last: float, count: int) -> torch.Tensor:
    return torch.linspace(0, last, count, dtype=torch.float64)


def random(seed, *shape) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# ---- activations


@given(
    st.sampled_from(sorted(LIBRARY)),
    st.sampled_from([0.1, 1.0, 3.7, 20.0]),
    st.sampled_from([0.0, 1e-3, 1.0, 30.0, 1e3]),
    st.integers(0, 999),
)
def test_an_activation_is_the_gradient_of_its_lagrangian(kind, gain, size, seed):
    sigma = LIBRARY[kind](gain)
    v = (size * random(seed, 2, 3, 4)).clamp(-1e3, 1e3)
    v[0, 0, 0] = 0
    v.requires_grad_()
    L = sigma.lagrangian(v)
    (gradient,) = torch.autograd.grad(L.sum(), v)
    assert L.shape == (2, 3)
    # log Σ exp is rounded to ε·|x|, and its gradient exp(x − log Σ exp) with it; tanh as 1 − 2 sigmoid is exact to ε
    rounding = EPS * (10 + gain * v.detach().abs().max().item())
    torch.testing.assert_close(gradient, sigma(v).detach(), rtol=rounding, atol=4 * EPS)


@pytest.mark.parametrize("kind", LIBRARY)
def test_activations_and_lagrangians_are_those_of_the_definition(kind):
    v, slow, sigma = random(0, 6, 4), Slow(kind, 1.7), LIBRARY[kind](1.7)
    expected = [(slow(row), slow.lagrangian(row)) for row in v.numpy()]
    f, F = (torch.from_numpy(np.stack(values)) for values in zip(*expected, strict=True))
    torch.testing.assert_close(sigma(v), f, rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(sigma.lagrangian(v), F, rtol=0, atol=1e-13)


def test_tanh_is_finite_where_cosh_is_not():
    v = torch.tensor([[1e5, -1e5], [1e300, 0.0]], dtype=torch.float64, requires_grad=True)
    L = gsemm.tanh(20).lagrangian(v)
    (gradient,) = torch.autograd.grad(L.sum(), v)
    assert torch.equal(gradient, torch.tensor([[1.0, -1.0], [1.0, 0.0]], dtype=torch.float64))
    # log cosh x → |x| − log 2
    expected = torch.tensor([2e5 - 2 * math.log(2) / 20, 1e300], dtype=torch.float64)
    torch.testing.assert_close(L.detach(), expected, rtol=4 * EPS, atol=0)


# ---- energy


def slow_energy(c: Case, V_f, V_h, V_d) -> tuple[float, float]:
    """E of one state, number by number, and the sum of its terms' sizes, to which rounding is proportional."""
    s, Xi, Phi = c.system, c.system.memories.tolist(), c.system.interaction.tolist()
    f, h = c.f(V_f), c.h(V_h)
    features, count = (range(n) for n in s.memories.shape)
    terms = [V_f[i] * f[i] for i in features] + [V_h[k] * h[k] for k in count]
    terms += [-c.f.lagrangian(V_f), -c.h.lagrangian(V_h)]
    terms += [-math.sqrt(s.a_s) * f[i] * Xi[i][k] * h[k] for i in features for k in count]
    terms += [-s.a_c * V_d[i] * Xi[i][k] * Phi[k][j] * h[j] for i in features for k in count for j in count]
    return math.fsum(terms), math.fsum(abs(t) for t in terms)


@given(cases())
def test_energy_is_its_formula(c):
    V_f, V_h, V_d = c.states(6)
    given_, followed = gsemm.energy(c.system, *tensors(V_f, V_d, V_h)), gsemm.energy(c.system, *tensors(V_f, V_d))
    for b in range(6):
        value, size = slow_energy(c, V_f[b], V_h[b], V_d[b])
        assert given_[b].item() == pytest.approx(value, rel=0, abs=1e-12 * size)
        at_once = V_h[b] + c.drives(V_f[b], V_h[b], V_d[b])[1]
        value, size = slow_energy(c, V_f[b], at_once, V_d[b])
        assert followed[b].item() == pytest.approx(value, rel=0, abs=1e-12 * size)


@given(cases(T_d=(3.0, math.inf)))
def test_the_flow_goes_down_the_energy(c):
    s = c.system
    V_f, V_h, V_d = (a[0] for a in c.states(1))
    V_f, V_h, V_d = c.algebraic(V_f, V_h, V_d)
    to_f, to_h, _ = c.drives(V_f, V_h, V_d)
    down_f, down_h = -c.f.jacobian(V_f) @ to_f, -c.h.jacobian(V_h) @ to_h
    down_d = -s.a_c * s.memories.numpy() @ s.interaction.numpy() @ c.h(V_h)

    f, h, d = (a.requires_grad_() for a in tensors(V_f, V_h, V_d))
    # sums of a few products of what follows
    tolerance = 1e-13 * (1 + sum(np.abs(a).sum() for a in (V_f, V_h, V_d, c.f(V_f), c.h(V_h)))) ** 2
    close = partial(torch.testing.assert_close, rtol=1e-12, atol=tolerance)
    grad_f, grad_d, grad_h = torch.autograd.grad(gsemm.energy(s, f, d, h), (f, d, h))
    close(grad_f, torch.from_numpy(down_f))
    close(grad_h, torch.from_numpy(down_h))
    close(grad_d, torch.from_numpy(down_d))

    # dE/dt along the flow; where T_h = 0 the energy is a function of V_f and V_d alone
    if s.T_h:
        rate = grad_f.numpy() @ to_f / s.T_f + grad_h.numpy() @ to_h / s.T_h
        lost = to_f @ c.f.jacobian(V_f) @ to_f / s.T_f + to_h @ c.h.jacobian(V_h) @ to_h / s.T_h
    else:
        close(grad_h, torch.zeros_like(h))
        grad_f, grad_d = torch.autograd.grad(gsemm.energy(s, f, d), (f, d))
        close(grad_d, torch.from_numpy(down_d))
        rate, lost = grad_f.numpy() @ to_f / s.T_f, to_f @ c.f.jacobian(V_f) @ to_f / s.T_f
    scale = max(1.0, np.abs(to_f).max(), np.abs(to_h).max())
    assert lost >= 0
    assert rate == pytest.approx(-lost, rel=1e-11, abs=10 * tolerance * scale)


def rises(system: GSEMM, passed: gsemm.Trajectory) -> torch.Tensor:
    return gsemm.energy(system, passed.V_f, passed.V_d, passed.V_h).diff(dim=0)


@given(cases(T_d=(math.inf,)))
def test_energy_never_rises_while_the_delays_are_held(c):
    V_f, V_h, V_d = tensors(*c.states(4))
    rtol = 1e-6
    passed = run(c.system, V_f, grid(3.0, 31), **starts(c.system, V_h, V_d), rtol=rtol, atol=1e-8)
    assert torch.equal(passed.V_d, V_d.expand_as(passed.V_d))
    # a step is wrong by rtol of the state, and E by that times its gradient, which is about E's terms over the state
    size = max(slow_energy(c, *(x[0, b].numpy() for x in (passed.V_f, passed.V_h, passed.V_d)))[1] for b in range(4))
    assert rises(c.system, passed).max() <= 10 * rtol * (1 + size)


def test_energy_never_rises_between_sharp_memories():
    system = replace(sequence(3, 50, 1.2, math.inf), T_h=0.5)
    V_f, V_d, V_h = 2 * random(0, 9, 8), random(1, 9, 8), 20 * random(2, 9, 3)
    passed = run(system, V_f, grid(5.0, 51), V_d=V_d, V_h=V_h)
    # E is about Nf; its gradient is V̇_f ∇σ_f, at most some 50 per neuron
    assert rises(system, passed).max() < 1e-8 * 50 * 8
    assert rises(system, passed).sum(0).max() < -1


def test_energy_rises_when_the_delays_move():
    # one linear neuron that inhibits itself late: V̇_f = −V_d, V̇_d = V_f − V_d, E = V_f V_d − V_d²/2, Ė(0) = V_f²
    one = torch.ones(1, 1, dtype=torch.float64)
    system = GSEMM(one, -one, gsemm.IDENTITY, T_d=1.0)
    passed = run(system, 2 * one, grid(0.1, 3))
    E = gsemm.energy(system, passed.V_f, passed.V_d)[:, 0]
    torch.testing.assert_close(E, (passed.V_f * passed.V_d - passed.V_d**2 / 2)[:, 0, 0], rtol=0, atol=1e-14)
    assert E[0] == 0
    assert E[1] / 0.05 == pytest.approx(4, rel=0.2)
    assert E[2] > E[1]


# ---- the flow


def rk4(c: Case, V_f, V_h, V_d, last: float, steps: int):
    """Fixed steps of the classical Runge–Kutta method from one state; the last state."""
    s = c.system

    def rates(*state):
        to = c.drives(*c.algebraic(*state))
        return [x / T if T else 0 * x for x, T in zip(to, (s.T_f, s.T_h, s.T_d), strict=True)]

    def moved(state, k, by):
        return [x + by * dx for x, dx in zip(state, k, strict=True)]

    state, dt = [V_f, V_h, V_d], last / steps
    for _ in range(steps):
        k1 = rates(*state)
        k2 = rates(*moved(state, k1, dt / 2))
        k3 = rates(*moved(state, k2, dt / 2))
        k4 = rates(*moved(state, k3, dt))
        mean = [(a + 2 * b + 2 * c + d) / 6 for a, b, c, d in zip(k1, k2, k3, k4, strict=True)]
        state = moved(state, mean, dt)
    return c.algebraic(*state)


@given(cases())
def test_trajectories_are_those_of_a_plain_runge_kutta(c):
    V_f, V_h, V_d = c.states(2)
    f, h, d = tensors(V_f, V_h, V_d)
    passed = run(c.system, f, grid(1.0, 4), **starts(c.system, h, d))
    expected = [c.algebraic(*start) for start in zip(V_f, V_h, V_d, strict=True)]
    for t, last in ((0, 0.0), (3, 1.0)):
        if last:  # error of order dt⁴ = 4e-8, times the size of fifth derivatives over 5!: rates are at most about 5
            expected = [rk4(c, *start, last, 70) for start in zip(V_f, V_h, V_d, strict=True)]
        for got, want in zip((passed.V_f, passed.V_h, passed.V_d), zip(*expected, strict=True), strict=True):
            torch.testing.assert_close(got[t], torch.from_numpy(np.stack(want)), rtol=1e-5, atol=1e-5)


def linear_flow(s: GSEMM, gain_f: float, gain_h: float):
    """The generator of the linear flow, and the maps from its state to V_f, V_h, V_d."""
    Xi, Phi = s.memories.numpy(), s.interaction.numpy()
    Nf, Nh = Xi.shape
    widths = [Nf, Nh if s.T_h else 0, Nf if s.T_d else 0]
    of_f, of_h, of_d = np.split(np.eye(sum(widths)), np.cumsum(widths)[:2])
    of_d = of_d if s.T_d else gain_f * of_f
    drive_h = math.sqrt(s.a_s) * gain_f * Xi.T @ of_f + s.a_c * Phi.T @ Xi.T @ of_d
    of_h = of_h if s.T_h else drive_h
    rows = [(math.sqrt(s.a_s) * gain_h * Xi @ of_h - of_f) / s.T_f]
    rows += [(drive_h - of_h) / s.T_h] if s.T_h else []
    rows += [(gain_f * of_f - of_d) / s.T_d] if s.T_d else []
    return np.concatenate(rows), (of_f, of_h, of_d)


@pytest.mark.parametrize("T_d", [0.0, 2.0, math.inf])
@pytest.mark.parametrize("T_h", [0.0, 0.3])
def test_the_linear_flow_is_the_matrix_exponential(T_h, T_d):
    c = case(1, ("identity", "identity"), T_f=0.7, T_h=T_h, T_d=T_d)
    V_f, V_h, V_d = c.states(3)
    times = grid(3.0, 7)
    passed = run(c.system, torch.from_numpy(V_f), times, **starts(c.system, *tensors(V_h, V_d)))
    A, maps = linear_flow(c.system, c.f.gain, c.h.gain)
    start = np.concatenate([V_f] + [V_h] * bool(T_h) + [V_d] * bool(T_d), axis=1)
    for t, time in enumerate(times.tolist()):
        state = start @ expm(A * time).T
        for got, of in zip((passed.V_f, passed.V_h, passed.V_d), maps, strict=True):
            # rtol per step, some hundred steps, rates of order 1
            torch.testing.assert_close(got[t], torch.from_numpy(state @ of.T), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", ["RK45", "Radau", "BDF", "LSODA"])
def test_methods_agree(method):
    c = case(2, ("tanh", "softmax"), T_h=0.1, T_d=4.0)
    V_f, V_h, V_d = tensors(*c.states(3))
    options = {"V_h": V_h, "V_d": V_d}
    reference = run(c.system, V_f, grid(5.0, 6), **options, method="RK45", rtol=1e-10, atol=1e-12)
    passed = run(c.system, V_f, grid(5.0, 6), **options, method=method, rtol=1e-8, atol=1e-10)
    for name in ("V_f", "V_h", "V_d"):  # a multistep method takes hundreds of steps, each wrong by rtol
        torch.testing.assert_close(getattr(passed, name), getattr(reference, name), rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", ["RK45", "Radau"])
def test_a_start_runs_alone_as_in_a_batch(method):
    c = case(3, T_h=0.3, T_d=2.0)
    V_f, V_h, V_d = tensors(*c.states(3))
    options = {"method": method, "rtol": 1e-7, "atol": 1e-9}
    together = run(c.system, V_f, grid(4.0, 5), V_h=V_h, V_d=V_d, **options)
    assert together.V_f.shape == (5, 3, 5)
    assert together.V_h.shape == (5, 3, 3)
    for b in range(3):
        alone = run(c.system, V_f[b : b + 1], grid(4.0, 5), V_h=V_h[b : b + 1], V_d=V_d[b : b + 1], **options)
        for name in ("V_f", "V_h", "V_d"):  # the steps differ, hence the errors
            torch.testing.assert_close(
                getattr(together, name)[:, b : b + 1], getattr(alone, name), rtol=0, atol=1e-5, msg=name
            )


@pytest.mark.parametrize("method", ["Radau", "BDF"])
def test_a_batch_is_no_dearer_for_a_stiff_method_than_one_start(method):
    c = case(3, ("tanh", "tanh"), T_h=1e-2, T_d=2.0)
    V_f = torch.from_numpy(c.states(16)[0])
    calls = 0

    def counting(x):
        nonlocal calls
        calls += 1
        return torch.tanh(x)

    system = replace(c.system, sigma_h=gsemm.Activation(counting, c.system.sigma_h.F, c.h.gain))
    run(system, V_f, grid(4.0, 3), method=method, rtol=1e-6, atol=1e-8)
    batch, calls = calls, 0

    def flow(t, state):
        V_f, V_h, V_d = np.split(state, [5, 8])
        to_f, to_h, to_d = c.drives(V_f, V_h, V_d)
        nonlocal calls
        calls += 1
        return np.concatenate([to_f, to_h / 1e-2, to_d / 2.0])

    start = np.concatenate([V_f[0], system.drive_h(V_f, 0 * V_f)[0], 0 * V_f[0]])
    solve_ivp(flow, (0, 4), start, method, rtol=1e-6, atol=1e-8)
    assert batch < 1.7 * calls  # with a wrong Jacobian, or one taken start after start, far more


def test_a_trajectory_goes_on_from_its_own_state():
    c = case(4, T_h=0.3, T_d=2.0)
    times = grid(4.0, 9)
    whole = run(c.system, torch.from_numpy(c.states(2)[0]), times)
    rest = run(c.system, whole.V_f[4], times[4:], V_d=whole.V_d[4], V_h=whole.V_h[4])
    torch.testing.assert_close(rest.V_f, whole.V_f[4:], rtol=0, atol=1e-6)
    assert torch.equal(rest.times, times[4:])


@pytest.mark.parametrize("scale", ["T_h", "T_d"])
def test_a_short_time_scale_tends_to_none(scale):
    c = case(5)
    V_f = torch.from_numpy(c.states(3)[0])
    base = replace(c.system, T_h=0.0, T_d=3.0 if scale == "T_h" else 0.0)
    none = run(base, V_f, grid(3.0, 31))

    def gap(T: float) -> float:
        # from the default start: V_h where it has to be, V_d at zero, so that it first has to get there, within O(T)
        short = run(replace(base, **{scale: T}), V_f, grid(3.0, 31), method="LSODA")
        return (short.V_f - none.V_f).abs().max().item()

    far, near = gap(4e-3), gap(1e-3)
    assert 1e-5 < near < 1e-2
    assert far / near == pytest.approx(4, rel=0.1)  # of first order


@pytest.mark.parametrize(("T_h", "T_d"), [(0.0, 0.0), (0.0, 2.0), (0.5, 2.0), (0.5, math.inf), (0.5, 0.0)])
def test_by_default_v_d_starts_at_zero_and_v_h_at_what_drives_it(T_h, T_d):
    c = case(6, T_h=T_h, T_d=T_d)
    V_f = torch.from_numpy(c.states(2)[0])
    passed = run(c.system, V_f, grid(1.0, 2))
    V_d = torch.zeros_like(V_f) if T_d else c.system.sigma_f(V_f)
    assert torch.equal(passed.V_f[0], V_f)
    assert torch.equal(passed.V_d[0], V_d)
    assert torch.equal(passed.V_h[0], c.system.drive_h(V_f, V_d))


def test_single_precision_is_integrated_in_double():
    c = case(7)
    V_f = torch.from_numpy(c.states(2)[0]).float()
    single = GSEMM(c.system.memories.float(), c.system.interaction.float())
    double = GSEMM(single.memories.double(), single.interaction.double())
    passed = run(single, V_f, torch.tensor([0.0, 0.5, 1.0]))
    assert torch.equal(passed.V_f, run(double, V_f.double(), grid(1.0, 3)).V_f)
    assert single.memories.dtype == single.interaction.dtype == passed.V_d.dtype == torch.float64


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("method", ["RK45", "Radau", "BDF", "LSODA"])
def test_what_explodes_is_nan_from_there_on_and_says_so(method):
    # V̇ = V³ − V from 2: V⁻² = 1 − ¾ e^(2t), infinite at t = ½ log 4/3 = 0.144
    one = torch.ones(1, 1, dtype=torch.float64)
    system = GSEMM(one, 0 * one, gsemm.rectified(3))
    times = torch.tensor([0.0, 0.1, 0.145, 0.15], dtype=torch.float64)
    passed = gsemm.simulate(system, 2 * one, times, method=method, rtol=1e-4, progress=False)
    before = torch.tensor([2, (1 - 0.75 * math.exp(0.2)) ** -0.5], dtype=torch.float64)
    torch.testing.assert_close(passed.V_f[:2, 0, 0], before, rtol=1e-2, atol=0)
    for V in (passed.V_f, passed.V_h, passed.V_d):
        assert V[:2].isfinite().all()
        assert V[2:].isnan().all()
    assert passed.status != "done"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_no_first_step_is_a_status_too():
    # the rate overflows at the start
    one = torch.ones(1, 1, dtype=torch.float64)
    system = GSEMM(one, 0 * one, gsemm.rectified(3))
    for method in ("RK45", "Radau"):
        passed = gsemm.simulate(system, 1e150 * one, grid(1.0, 3), method=method, progress=False)
        assert passed.status.startswith("failed")
        assert passed.V_f[1:].isnan().all()


@pytest.mark.parametrize(
    ("name", "start", "times"),
    [
        ("V_f", torch.full((1, 8), math.nan).double(), torch.tensor([0.0, 1.0]).double()),
        ("V_f", torch.ones(0, 8).double(), torch.tensor([0.0, 1.0]).double()),
        ("times", torch.ones(1, 8).double(), torch.tensor([0.0, math.inf]).double()),
    ],
)
def test_starts_and_times_that_lead_nowhere_are_named(name, start, times):
    c = case(6)
    with pytest.raises(ValueError, match=name):
        gsemm.simulate(c.system, start[:, : len(c.system.memories)], times)


def test_weights_that_are_zero_or_not_finite():
    psi = torch.eye(4, dtype=torch.float64)[None, :, :2]
    nothing = gsemm.from_rnn(torch.zeros(1, 4, 4), psi)
    assert nothing.residual.tolist() == [0]
    with pytest.raises(ValueError, match="W_hh must be finite"):
        gsemm.from_rnn(torch.full((1, 4, 4), math.nan), psi)


# ---- sequences


def sequence(count: int, gain: float, a_c: float, T_d: float) -> GSEMM:
    """A cycle of orthogonal memories, none the product of others: else mixtures of three resemble a fourth."""
    columns = [2**k for k in range(count)]
    Xi = torch.from_numpy(hadamard(max(2**count, 4))[:, columns].astype(float))
    sigma_h = gsemm.identity(1 / len(Xi))
    return GSEMM(Xi, gsemm.cyclic(count), gsemm.tanh(gain), sigma_h, a_c=a_c, T_d=T_d)


def fold(gain: float) -> float:
    """The largest drive against itself that a memory withstands: the maximum of tanh(gδ) − δ over δ."""
    slope = math.sqrt(1 - 1 / gain)
    return slope - math.atanh(slope) / gain


@pytest.mark.parametrize(("count", "start"), [(2, 0), (3, 2), (5, 0)])
def test_a_cycle_of_memories_is_recalled_in_order(count, start):
    system = sequence(count, 50, 1.2, 10)
    dwell = -10 * math.log(1 - fold(50) / 1.2)  # the first; those after it are about half as long again
    passed = run(system, system.memories[:, [start]].T.contiguous(), grid(1.5 * (count + 3) * dwell, 1000), rtol=1e-6)
    overlap = gsemm.overlaps(system, passed.V_f)[:, 0]
    order = [memory for memory, _, _ in gsemm.visits(overlap)]
    assert len(order) > count + 1
    assert order == [(start + k) % count for k in range(len(order))]
    assert gsemm.recalled(overlap) == (count if start == 0 else 0)
    intervals = [(first, last) for _, first, last in gsemm.visits(overlap)]
    assert all(a <= b < c for (a, b), (c, _) in pairwise(intervals))


def first_dwell(system: GSEMM, last: float) -> float:
    """When a start at memory 0 leaves it; read off a grid ten times finer than T_f."""
    times = torch.arange(0, last, 0.1, dtype=torch.float64)
    passed = run(system, system.memories[:, [0]].T.contiguous(), times, rtol=1e-7, atol=1e-9)
    memory, first, left = gsemm.visits(gsemm.overlaps(system, passed.V_f)[:, 0])[0]
    assert (memory, first) == (0, 0)
    assert left < len(times) - 1
    return times[left].item()


@pytest.mark.parametrize(
    ("count", "gain", "a_c", "T_d"),
    [(2, 50, 1.2, 300), (2, 200, 1.5, 300), (4, 20, 1.5, 300)],
)
def test_the_first_dwell_ends_at_the_fold(count, gain, a_c, T_d):
    theta = fold(gain)
    dwell = first_dwell(sequence(count, gain, a_c, T_d), -1.3 * T_d * math.log(1 - theta / a_c) + 30)
    # Until then tanh(gδ) lies in √(1 − 1/g) … 1, hence V_d's overlap in that share of 1 − e^(−t/T_d). Then the fold,
    # δ̇ = −(r t + c δ²) with T_f = 1, is passed in 2.34 (r c)^(−1/3), some T_d^(1/3), and a few T_f on the other side.
    slope = math.sqrt(1 - 1 / gain)
    earliest = -T_d * math.log(1 - theta / a_c)
    latest = -T_d * math.log(1 - theta / (a_c * slope))
    passage = 2.34 * ((a_c - theta) / T_d * gain * slope) ** (-1 / 3)
    assert earliest - 0.1 < dwell < latest + passage + 5


def test_the_dwell_time_tends_to_its_limit_as_the_delay_grows():
    limit = -math.log(1 - fold(50) / 1.2)
    excess = [first_dwell(sequence(2, 50, 1.2, T_d), 1.6 * T_d + 20) / T_d - limit for T_d in (50, 500)]
    # (T_f / T_d)^(2/3), slower by the part of order 1/g that does not go away
    assert excess[0] / excess[1] == pytest.approx(10 ** (2 / 3), rel=0.25)
    assert 0 < excess[1] < 0.02


def test_two_memories_are_a_flow_in_two_dimensions():
    gain, a_c, T_d = 20.0, 1.3, 30.0
    system, times = sequence(2, gain, a_c, T_d), grid(100.0, 201)
    passed = run(system, system.memories[:, [0]].T.contiguous(), times)

    def flow(t, state):
        delta, delayed = state
        return [math.tanh(gain * delta) - a_c * delayed - delta, (math.tanh(gain * delta) - delayed) / T_d]

    expected = solve_ivp(flow, (0, 100), [1, 0], "DOP853", times.numpy(), rtol=1e-11, atol=1e-13).y
    for V, row in ((passed.V_f, expected[0]), (passed.V_d, expected[1])):
        x = V[:, 0] @ system.memories / len(system.memories)
        # errors of rtol grow while δ runs away from a fold, at a rate up to g for about 1/g of time times some ten
        torch.testing.assert_close(x[:, 0] - x[:, 1], torch.from_numpy(row), rtol=0, atol=1e-4)
    assert (np.diff(np.sign(expected[0])) != 0).sum() >= 2  # it did pass from one to the other and back


def held(*columns: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(columns, dtype=torch.float64)


@pytest.mark.parametrize(
    ("overlap", "found", "count"),
    [
        (held((1, 0), (0.9, 0), (0, 1)), [(0, 0, 1), (1, 2, 2)], 2),
        (held((0.9, 0.9), (0.9, 0.95)), [(0, 0, 0), (1, 1, 1)], 2),  # of two equals the first
        (held((0.8, 0), (0.81, 0)), [(0, 1, 1)], 1),  # above, not at the threshold
        (held((1, 0), (0.5, 0.6), (0.1, 0.7), (0, 1)), [(0, 0, 0), (1, 3, 3)], 2),  # between them at none
        (held((1, 0), (0.5, 0), (0.9, 0), (0, 1)), [(0, 0, 2), (1, 3, 3)], 2),  # left and taken up again
        (held((1, 0), (0, 1), (1, 0)), [(0, 0, 0), (1, 1, 1), (0, 2, 2)], 2),  # round again
        (held((0, 1, 0), (1, 0, 0)), [(1, 0, 0), (0, 1, 1)], 0),
        (held((1, 0, 0), (0, 0, 1), (0, 1, 0)), [(0, 0, 0), (2, 1, 1), (1, 2, 2)], 1),
        (held((-1, 0.2), (-0.9, 0.3)), [], 0),  # the negative of a memory is another pattern
        (held((math.nan, math.nan), (1, 0), (math.nan, math.nan)), [(0, 1, 1)], 1),  # an integration that failed
        (torch.zeros(4, 3), [], 0),
        (torch.zeros(0, 3), [], 0),
    ],
)
def test_visits_and_their_order(overlap, found, count):
    assert gsemm.visits(overlap) == found
    assert gsemm.recalled(overlap) == count


def test_the_threshold_is_a_choice():
    overlap = held((0.6, 0), (0, 0.9))
    assert gsemm.visits(overlap, 0.5) == [(0, 0, 0), (1, 1, 1)]
    assert gsemm.recalled(overlap, 0.5) == 2
    assert gsemm.visits(overlap, 0.95) == []
    assert gsemm.recalled(overlap) == 0


def test_overlaps_of_stored_memories():
    Xi = gsemm.random_memories(400, 3, torch.Generator().manual_seed(0))
    system = GSEMM(Xi, gsemm.cyclic(3), gsemm.tanh(40))
    overlap = gsemm.overlaps(system, Xi.T.contiguous())
    torch.testing.assert_close(overlap, Xi.T @ Xi / 400, rtol=0, atol=1e-14)
    assert (overlap - torch.eye(3)).abs().max() < 4 / 20  # four standard deviations of a mean of 400 signs
    gentle = gsemm.overlaps(replace(system, sigma_f=gsemm.tanh(0.5)), Xi.T[None].contiguous())
    torch.testing.assert_close(gentle[0].diagonal(), torch.full((3,), math.tanh(0.5)).double(), rtol=0, atol=1e-7)


def test_random_memories_are_the_generators_signs():
    a, b, c = (gsemm.random_memories(50, 40, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert a.shape == (50, 40)
    assert a.dtype == torch.float64
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert a.unique().tolist() == [-1, 1]
    assert abs(a.mean()) < 4 / 2000**0.5


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_cyclic_interaction_sends_each_memory_to_the_next(count):
    Phi = gsemm.cyclic(count)
    units = torch.eye(count, dtype=torch.float64)
    for k in range(count):
        assert torch.equal(Phi.T @ units[k], units[(k + 1) % count])


# ---- the discrete map and recurrent networks


@given(cases())
def test_the_discrete_map_is_an_euler_step_of_the_size_of_t_f(c):
    instant = replace(c, system=replace(c.system, T_h=0.0, T_d=0.0))
    V_f, V_h, V_d = c.states(3)
    expected = [x + instant.drives(*instant.algebraic(x, V_h[b], V_d[b]))[0] for b, x in enumerate(V_f)]
    got = gsemm.discrete_map(c.system, torch.from_numpy(V_f))
    torch.testing.assert_close(got, torch.from_numpy(np.stack(expected)), rtol=1e-12, atol=1e-13)


def test_the_discrete_map_of_the_elman_case():
    Xi, Phi, V = random(0, 6, 4), random(1, 4, 4), random(2, 3, 6)
    W = Xi @ (torch.eye(4) + Phi.T) @ Xi.T
    torch.testing.assert_close(gsemm.discrete_map(GSEMM(Xi, Phi), V), torch.tanh(V) @ W.T, rtol=1e-13, atol=1e-13)


@given(st.integers(0, 999), st.integers(1, 9), st.integers(1, 9), st.sampled_from([0.7, 1.0, 3.0]))
def test_the_discrete_map_is_conjugate_to_the_rnn(seed, Nf, Nh, gain):
    Xi, Phi, V = random(seed, Nf, Nh), random(seed + 1, Nh, Nh), random(seed + 2, 4, Nf)
    # norm 1.2: neither dead nor able to make errors of ε grow beyond 1.2²⁰ ε = 40 ε
    Xi = Xi * (1.2 / gain / torch.linalg.matrix_norm(Xi @ (torch.eye(Nh) + Phi.T) @ Xi.T, 2)) ** 0.5
    system = GSEMM(Xi, Phi, gsemm.tanh(gain))
    # the network's tanh has gain 1: the gain of σ_f goes into its weights
    model = to_rnn(gain**0.5 * Xi, Phi)
    h = system.sigma_f(V)[None]
    for _ in range(20):
        V, h = gsemm.discrete_map(system, V), model.step(h)
        torch.testing.assert_close(system.sigma_f(V), h[0], rtol=0, atol=1e-12)


def test_to_rnn_by_default_writes_and_reads_memories():
    Xi, Phi = random(0, 7, 3), random(1, 3, 3)
    model = to_rnn(Xi, Phi)
    assert (model.models, model.hidden, model.dim, model.cell.activation) == (1, 7, 3, "tanh")
    torch.testing.assert_close(model.W_r[0] @ model.W_uh[0], torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-13)
    assert torch.equal(model.W_uh[0], Xi)
    W_uh, W_r = random(2, 7, 2), random(3, 2, 7)
    other = to_rnn(Xi.float(), Phi, W_uh, W_r)
    assert other.W_uh.dtype == other.W_hh.dtype == other.W_r.dtype == torch.float32
    assert torch.equal(other.W_uh[0], W_uh.float())
    assert torch.equal(other.W_r[0], W_r.float())
    torch.testing.assert_close(other.W_hh.double(), model.W_hh, rtol=0, atol=1e-5)


@given(st.integers(0, 999), st.integers(1, 8), st.integers(0, 8))
def test_an_interaction_comes_back_from_the_rnn(seed, Nh, more):
    # singular values in 0.5 … 2: condition at most 4, its fourth power enters
    U, _, V = torch.linalg.svd(random(seed, Nh + more, Nh), full_matrices=False)
    Xi, Phi = U * torch.linspace(0.5, 2, Nh, dtype=torch.float64) @ V, random(seed + 1, Nh, Nh)
    stored = gsemm.from_rnn(to_rnn(Xi, Phi).W_hh, Xi[None])
    torch.testing.assert_close(stored.interaction[0], Phi, rtol=0, atol=1e-10)
    assert stored.residual.item() < 1e-13


def test_an_ensemble_is_each_model_by_itself():
    Xi, Phi = random(0, 3, 8, 4), random(1, 3, 4, 4)
    W_hh = torch.cat([to_rnn(x, phi).W_hh for x, phi in zip(Xi, Phi, strict=True)])
    W_hh[1] += random(2, 8, 8)
    together = gsemm.from_rnn(W_hh, Xi)
    for m in range(3):
        alone = gsemm.from_rnn(W_hh[[m]], Xi[[m]])
        torch.testing.assert_close(together.interaction[m], alone.interaction[0], rtol=0, atol=1e-10)
        assert together.residual[m].item() == pytest.approx(alone.residual.item(), rel=0, abs=1e-13)
    torch.testing.assert_close(together.interaction[::2], Phi[::2], rtol=0, atol=1e-10)
    assert together.residual[::2].max() < 1e-13
    assert together.residual[1] > 0.05
    single = gsemm.from_rnn(W_hh.float(), Xi.float())
    assert single.interaction.dtype == single.residual.dtype == torch.float64


def test_the_residual_is_the_share_that_acts_elsewhere():
    # memories e_1, e_2 of four; what reads or writes the other two directions is no business of theirs
    Xi = torch.eye(4, 2, dtype=torch.float64)
    for where, residual in (((0, 1), 0), ((2, 3), 4 / 5), ((0, 3), 4 / 5), ((3, 0), 4 / 5)):
        W = torch.zeros(1, 4, 4, dtype=torch.float64)
        W[0, 1, 1] = 3
        W[0][where] = 4
        stored = gsemm.from_rnn(W, Xi[None])
        assert stored.residual.item() == pytest.approx(residual, rel=0, abs=1e-14)
        torch.testing.assert_close(stored.interaction[0], W[0, :2, :2].T - torch.eye(2), rtol=0, atol=1e-14)


@pytest.mark.parametrize("triple", PAPER[1:], ids=str)
def test_the_exact_circuit_stores_its_interaction(triple):
    task = VariableBinding(triple, 8, 8)
    basis = circuit.random_basis(100, 64, torch.Generator().manual_seed(0))
    stored = gsemm.from_rnn(linear_rnn(task, basis).W_hh, basis[None])
    gram = basis.T @ basis
    got = (torch.eye(64) + stored.interaction[0].T) @ gram
    # Φ_G is exact to ε·cond(Ψ)⁴ at worst, 1e-12 for cond ≈ 10
    torch.testing.assert_close(got, circuit.interaction_matrix(task), rtol=0, atol=1e-10)
    assert stored.residual.item() < 1e-12
    # and the network made from it is the circuit
    W_hh = to_rnn(basis, stored.interaction[0]).W_hh
    torch.testing.assert_close(W_hh, linear_rnn(task, basis).W_hh, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("N", "K"), [(5, 3), (2, 3)], ids=["repeated", "too-many"])
def test_dependent_memories_are_rejected(N, K):
    memories = random(0, 2, N, K)
    memories[1, :, 2] = memories[1, :, 0] - memories[1, :, 1]
    with pytest.raises(ValueError, match=rf"memories must have independent columns.* of {K}"):
        gsemm.from_rnn(random(1, 2, N, N), memories)


# ---- arguments

INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name in ("a_s", "a_c") for value in (-1.0, NAN, INF)]
    + [("T_f", value) for value in (0.0, -1.0, NAN, INF)]
    + [("T_h", value) for value in (-1.0, NAN, INF)]
    + [("T_d", value) for value in (-1.0, NAN)]
    + [("memories", torch.full((4, 2), value)) for value in (NAN, INF)]
    + [("interaction", torch.full((2, 2), value)) for value in (NAN, INF)],
    ids=lambda x: x if isinstance(x, str) else str(x.mean().item() if isinstance(x, torch.Tensor) else x),
)
def test_wrong_parts_of_a_system_are_named(name, value):
    parts = {"memories": torch.ones(4, 2), "interaction": torch.eye(2)}
    GSEMM(**parts)
    with pytest.raises(ValueError, match=f"^{name} must"):
        GSEMM(**parts | {name: value})


@pytest.mark.parametrize("gain", [0, -1.0, NAN, INF])
@pytest.mark.parametrize("kind", LIBRARY)
def test_a_wrong_gain_is_named(kind, gain):
    with pytest.raises(ValueError, match=r"^gain must"):
        LIBRARY[kind](gain)


def test_circuit_interaction_is_what_makes_the_weights_of_the_circuit():
    psi, phi = random(0, 2, 9, 4), random(1, 4, 4)
    expected = gsemm.circuit_interaction(psi, phi)
    for m in range(2):
        W_hh = psi[m] @ (torch.eye(4, dtype=torch.float64) + expected[m].mT) @ psi[m].mT
        torch.testing.assert_close(W_hh, psi[m] @ phi @ torch.linalg.pinv(psi[m]), rtol=0, atol=1e-9)
    shift = torch.eye(4, dtype=torch.float64).roll(1, dims=0)
    straight = torch.linalg.qr(psi).Q
    torch.testing.assert_close(gsemm.circuit_interaction(straight, shift)[0].diagonal(), -torch.ones(4).double())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("V_f", {"V_f": torch.ones(3, 5)}),
        ("times", {"times": grid(1.0, 2)[:1]}),
        ("times", {"times": grid(1.0, 2).flip(0)}),
        ("times", {"times": torch.zeros(2)}),
        ("times", {"times": torch.tensor([0.0, NAN])}),
        ("V_h", {"V_h": torch.ones(3, 4)}),
        ("V_h", {"V_h": torch.ones(3, 2), "T_h": 0.0}),
        ("V_d", {"V_d": torch.ones(3, 4), "T_d": 0.0}),
        ("`?method", {"method": "Euler"}),
    ],
    ids=lambda x: x if isinstance(x, str) else ",".join(x),
)
def test_wrong_arguments_of_simulate_are_named(name, options):
    options = {"V_f": torch.ones(3, 4), "times": grid(1.0, 2)} | options
    scales = {T: options.pop(T) for T in ("T_h", "T_d") if T in options}
    system = GSEMM(torch.ones(4, 2), torch.eye(2), **{"T_h": 1.0, "T_d": 1.0} | scales)
    with pytest.raises(ValueError, match=f"^{name}.? must"):
        gsemm.simulate(system, **options, progress=False)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("power", lambda: gsemm.rectified(0)),
        ("power", lambda: gsemm.rectified(True)),
        ("count", lambda: gsemm.cyclic(0)),
        ("count", lambda: gsemm.random_memories(3, 0, torch.Generator())),
        ("features", lambda: gsemm.random_memories(0, 3, torch.Generator())),
    ],
)
def test_wrong_counts_are_named(name, call):
    with pytest.raises(ValueError, match=f"^{name} must"):
        call()


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("memories", lambda s: GSEMM(torch.ones(4), torch.eye(2))),
        ("interaction", lambda s: GSEMM(torch.ones(4, 2), torch.ones(2, 3))),
        ("interaction", lambda s: GSEMM(torch.ones(4, 2), torch.eye(3))),
        ("V_f", lambda s: gsemm.simulate(s, torch.ones(4), grid(1.0, 2))),
        ("times", lambda s: gsemm.simulate(s, torch.ones(3, 4), grid(1.0, 2)[None])),
        ("V_d", lambda s: gsemm.simulate(s, torch.ones(3, 4), grid(1.0, 2), V_d=torch.ones(2, 4))),
        ("V_h", lambda s: gsemm.simulate(s, torch.ones(3, 4), grid(1.0, 2), V_h=torch.ones(2, 2))),
        ("Phi_G", lambda s: to_rnn(torch.ones(4, 2), torch.eye(3))),
        ("W_r", lambda s: to_rnn(torch.eye(4, 2), torch.eye(2), W_uh=torch.ones(4, 3))),
        ("W_hh", lambda s: gsemm.from_rnn(torch.ones(1, 4, 3), torch.eye(4, 2)[None])),
    ],
)
def test_wrong_shapes_are_named(name, call):
    with pytest.raises(SHAPE_ERRORS, match=name):
        call(GSEMM(torch.ones(4, 2), torch.eye(2), T_h=1.0))


@pytest.mark.parametrize(("T_h", "T_d"), [(0.0, 10.0), (0.5, 3.0), (0.0, 0.0)])
def test_systems_side_by_side_run_as_each_alone(T_h, T_d):
    sets = torch.stack([gsemm.random_memories(12, 3, torch.Generator().manual_seed(seed)) for seed in range(4)])
    options = dict(interaction=gsemm.cyclic(3), T_h=T_h, T_d=T_d, a_c=0.7)
    start = torch.randn(4, 2, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    precise = dict(rtol=1e-10, atol=1e-12, progress=False)
    together = gsemm.simulate(gsemm.GSEMM(sets, **options), start, grid(5.0, 7), **precise)
    assert together.status == "done"
    for s in range(4):
        alone = gsemm.simulate(gsemm.GSEMM(sets[s], **options), start[s], grid(5.0, 7), **precise)
        for name in ("V_f", "V_h", "V_d"):  # each within its tolerance, over five time constants
            torch.testing.assert_close(getattr(together, name)[:, s], getattr(alone, name), rtol=1e-7, atol=1e-8)


def test_systems_side_by_side_need_states_for_each():
    sets = torch.stack([gsemm.random_memories(12, 3, torch.Generator().manual_seed(seed)) for seed in range(4)])
    system = gsemm.GSEMM(sets, gsemm.cyclic(3))
    for shape in ((2, 12), (3, 2, 12), (4, 2, 11), (4, 0, 12)):
        with pytest.raises(ValueError, match=r"V_f must be finite, \(S, B, Nf = 12\)"):
            gsemm.simulate(system, torch.ones(shape), grid(1.0, 3))
    with pytest.raises(ValueError, match="memories and interaction"):
        gsemm.GSEMM(sets[None], gsemm.cyclic(3))
