"""The General Sequential Episodic Memory Model: three populations of neurons that recall a sequence of memories.

Source: Karuvally, Sejnowski, Siegelmann, ICML 2023, as used in arXiv:2310.02430. Columns of Ξ (Nf × Nh) are the stored
memories, Φ (Nh × Nh) is the interaction between them; features V_f, memories V_h and delays V_d follow

    T_f dV_f/dt = √a_s Ξ σ_h(V_h) − V_f
    T_h dV_h/dt = √a_s Ξᵀ σ_f(V_f) + a_c Φᵀ Ξᵀ V_d − V_h
    T_d dV_d/dt = σ_f(V_f) − V_d .

With σ_h = identity and T_h = T_d = 0 a forward-Euler step of size T_f is an Elman network, W_hh = Ξ (I + Φᵀ) Ξᵀ. This Φ
is not the Φ of :mod:`emt_core.theory.circuit`, which lives in W_hh = Ψ Φ Ψ*; here it is called ``interaction``, in
texts Φ_G.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.integrate import solve_ivp
from scipy.sparse import block_diag
from torch import Tensor
from tqdm.auto import tqdm

from emt_core.support.checks import integer, number
from emt_core.support.running import quiet


@dataclass(frozen=True)
class Activation:
    """σ(v) = f(gain·v) and its Lagrangian L(v) = F(gain·v) / gain, where f = ∇F: so that σ = ∇L for every gain."""

    f: Callable[[Tensor], Tensor]
    F: Callable[[Tensor], Tensor]
    gain: float | int

    def __post_init__(self) -> None:
        number("gain", self.gain, positive=True)

    def __call__(self, v: Float[Tensor, "*B n"]) -> Float[Tensor, "*B n"]:
        return self.f(self.gain * v)

    def lagrangian(self, v: Float[Tensor, "*B n"]) -> Float[Tensor, "*B"]:
        """L(v), summed over the neurons of the last axis."""
        return self.F(self.gain * v) / self.gain


def tanh(gain: float | int = 1.0) -> Activation:
    """tanh(gain·v); with a large gain nearly the sign. F = Σ log cosh."""
    # log cosh x = |x| + log(1 + e^(−2|x|)) − log 2: cosh itself overflows at 710
    log_cosh = lambda x: (x.abs() + torch.nn.functional.softplus(-2 * x.abs()) - math.log(2)).sum(-1)  # noqa: E731
    return Activation(torch.tanh, log_cosh, gain)


def identity(gain: float | int = 1.0) -> Activation:
    """gain·v. F = ½ Σ x²."""
    return Activation(lambda x: x, lambda x: 0.5 * x.square().sum(-1), gain)


def rectified(power: int, gain: float | int = 1.0) -> Activation:
    """max(gain·v, 0)^power, the dense memories. F = Σ max(x, 0)^(power + 1) / (power + 1)."""
    n = integer("power", power, 1)
    return Activation(lambda x: x.clamp_min(0) ** n, lambda x: (x.clamp_min(0) ** (n + 1)).sum(-1) / (n + 1), gain)


def softmax(gain: float | int = 1.0) -> Activation:
    """softmax(gain·v) over the neurons. F = log Σ exp."""
    return Activation(lambda x: torch.softmax(x, -1), lambda x: torch.logsumexp(x, -1), gain)


TANH, IDENTITY = tanh(), identity()


@dataclass(frozen=True)
class GSEMM:
    """One system, or several side by side that differ in their memories alone. ``memories`` is Ξ (Nf, Nh), with an axis
    of S systems before it if there are several; ``interaction`` Φ (Nh, Nh); both are kept in float64. Time scales are
    in any one unit of time. ``T_h = 0`` and ``T_d = 0`` mean that V_h, V_d follow at once (algebraic equations, solved
    exactly); ``T_d = inf`` holds V_d still; ``T_f`` is positive."""

    memories: Float[Tensor, "*S Nf Nh"]
    interaction: Float[Tensor, "Nh Nh"]
    sigma_f: Activation = TANH
    sigma_h: Activation = IDENTITY
    a_s: float | int = 1.0
    a_c: float | int = 1.0
    T_f: float | int = 1.0
    T_h: float | int = 0.0
    T_d: float | int = 10.0

    def __post_init__(self) -> None:
        shapes = [tuple(part.shape) for part in (self.memories, self.interaction)]
        if not 2 <= len(shapes[0]) <= 3 or shapes[1] != shapes[0][-1:] * 2:
            raise ValueError(f"memories and interaction must have shapes ([S,] Nf, Nh) and (Nh, Nh), got {shapes}")
        for name in ("memories", "interaction"):
            if not getattr(self, name).isfinite().all():
                raise ValueError(f"{name} must be finite, got NaN or infinite entries")
            object.__setattr__(self, name, getattr(self, name).double())
        for name in ("a_s", "a_c", "T_f", "T_h"):
            number(name, getattr(self, name), positive=name == "T_f")
        if not self.T_d >= 0:
            raise ValueError(f"T_d must be at least 0, got {self.T_d}")

    def drive_h(self, V_f: Float[Tensor, "*B Nf"], V_d: Float[Tensor, "*B Nf"]) -> Float[Tensor, "*B Nh"]:
        """What V_h tends to, and what it is where T_h = 0: √a_s Ξᵀ σ_f(V_f) + a_c Φᵀ Ξᵀ V_d."""
        overlap, delayed = self.sigma_f(V_f) @ self.memories, V_d @ self.memories
        return math.sqrt(self.a_s) * overlap + self.a_c * delayed @ self.interaction

    def drive_f(self, V_h: Float[Tensor, "*B Nh"]) -> Float[Tensor, "*B Nf"]:
        """What V_f tends to: √a_s Ξ σ_h(V_h)."""
        return math.sqrt(self.a_s) * self.sigma_h(V_h) @ self.memories.mT


def energy(
    system: GSEMM, V_f: Float[Tensor, "*B Nf"], V_d: Float[Tensor, "*B Nf"], V_h: Float[Tensor, "*B Nh"] | None = None
) -> Float[Tensor, "*B"]:
    """E = [V_fᵀσ_f − L_f] + [V_hᵀσ_h − L_h] − √a_s σ_fᵀ Ξ σ_h − a_c V_dᵀ Ξ Φ σ_h.

    Without ``V_h`` it takes the value that V_h has where T_h = 0. While V_d is held still, E never rises along the
    flow, for any Ξ and Φ and monotone σ: dE/dt = −T_f V̇_fᵀ ∇σ_f V̇_f − T_h V̇_hᵀ ∇σ_h V̇_h. When V_d moves it may rise:
    E is not a Lyapunov function of the whole flow.
    """
    V_h = system.drive_h(V_f, V_d) if V_h is None else V_h
    f, h = system.sigma_f(V_f), system.sigma_h(V_h)
    # the last two terms are what drives V_h, in the direction of σ_h
    of_h = ((V_h - system.drive_h(V_f, V_d)) * h).sum(-1)
    return (V_f * f).sum(-1) - system.sigma_f.lagrangian(V_f) + of_h - system.sigma_h.lagrangian(V_h)


@dataclass(frozen=True)
class Trajectory:
    """States at the asked-for times (L,); NaN after the time at which integration failed, and ``status`` says why:
    ``"done"`` or ``"failed: …"``."""

    times: Float[Tensor, "L"]
    V_f: Float[Tensor, "L *S B Nf"]
    V_h: Float[Tensor, "L *S B Nh"]
    V_d: Float[Tensor, "L *S B Nf"]
    status: str


def simulate(
    system: GSEMM,
    V_f: Float[Tensor, "*S B Nf"],
    times: Float[Tensor, "L"],
    *,
    V_d: Float[Tensor, "*S B Nf"] | None = None,
    V_h: Float[Tensor, "*S B Nh"] | None = None,
    method: str = "RK45",
    rtol: float = 1e-6,
    atol: float = 1e-8,
    progress: bool = True,
) -> Trajectory:
    """Integrate from the states ``V_f`` at ``times[0]``, B of each system, all of them side by side, with scipy's
    ``solve_ivp``.

    Args:
        V_d, V_h: where they start; by default V_d at zero, nothing seen yet, and V_h at what drives it. Where a time
            scale is zero the variable has no start of its own, and giving one is an error.
        method: as in ``solve_ivp``; ``"Radau"``, ``"BDF"`` or ``"LSODA"`` where time scales differ by much.
        rtol, atol: tolerances of the integrator. The step is common to all states.
    """
    *systems, Nf, Nh = system.memories.shape
    if list(V_f.shape) != [*systems, *V_f.shape[-2:-1], Nf] or not V_f.numel() or not V_f.isfinite().all():
        axes = f"({'S, ' if systems else ''}B, Nf = {Nf})"
        raise ValueError(f"V_f must be finite, {axes} with B >= 1, got {tuple(V_f.shape)}, {V_f}")
    if times.ndim != 1 or len(times) < 2 or not (times.diff() > 0).all() or not times.isfinite().all():
        raise ValueError(f"times must be at least two increasing finite numbers, got {times}")
    batch, V_f = V_f.shape[:-1], V_f.double()
    for name, given, scale, n in (("V_d", V_d, system.T_d, Nf), ("V_h", V_h, system.T_h, Nh)):
        if given is not None and scale == 0:
            raise ValueError(f"{name} must not be given where T_{name[-1]} = 0: it follows at once")
        if given is not None and tuple(given.shape) != (*batch, n):
            raise ValueError(f"{name} must have shape {(*batch, n)}, got {tuple(given.shape)}")
    unseen = torch.zeros_like(V_f) if system.T_d else system.sigma_f(V_f)
    V_d = unseen if V_d is None else V_d.double()
    V_h = system.drive_h(V_f, V_d) if V_h is None else V_h.double()
    # the state vector holds, for each start, the populations that have a time scale
    widths = [Nf, Nh if system.T_h else 0, Nf if system.T_d else 0]

    def parts(flat: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        f, h, d = flat.split(widths, dim=-1)
        d = d if system.T_d else system.sigma_f(f)
        return f, (h if system.T_h else system.drive_h(f, d)), d

    start, end = float(times[0]), float(times[-1])
    form = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    bar = tqdm(total=end - start, desc="integrating", bar_format=form, delay=2, disable=quiet(progress))

    def flow(t: float, state: np.ndarray) -> np.ndarray:
        f, h, d = parts(torch.from_numpy(state).view(*batch, -1))
        rates = [(system.drive_f(h) - f) / system.T_f]
        rates += [(system.drive_h(f, d) - h) / system.T_h] if system.T_h else []
        rates += [(system.sigma_f(f) - d) / system.T_d] if system.T_d else []
        bar.update(max(0.0, t - start - bar.n))
        return torch.cat(rates, dim=-1).view(-1).numpy()

    first = torch.cat([V_f, V_h[..., : widths[1]], V_d[..., : widths[2]]], dim=-1).view(-1).numpy()
    one = np.ones((sum(widths),) * 2)  # states do not see each other: finite differences take all of them at once
    sparse = {"jac_sparsity": block_diag([one] * batch.numel())} if method in ("Radau", "BDF") else {}
    states = torch.full((len(times), *batch, sum(widths)), math.nan, dtype=torch.float64)
    status = "done"
    try:
        with bar:
            solved = solve_ivp(flow, (start, end), first, method, times.numpy(), rtol=rtol, atol=atol, **sparse)
    except RuntimeError as error:  # an implicit step that could not be solved
        status = f"failed: {error}"
    else:
        got = np.reshape(solved.y, (first.size, -1)).T  # an empty list where not even one step succeeded
        states[: len(got)] = torch.from_numpy(got.copy()).view(-1, *batch, sum(widths))
        if not solved.success:
            status = f"failed: {solved.message}"
        elif not states.isfinite().all():  # LSODA goes on through overflow
            status = "failed: the states overflowed"
    return Trajectory(times, *parts(states), status)


def cyclic(count: int) -> Float[Tensor, "Nh Nh"]:
    """The interaction that sends each memory to the next and the last to the first: Φ[k, k + 1] = 1."""
    return torch.eye(integer("count", count, 1), dtype=torch.float64).roll(1, dims=1)


def random_memories(features: int, count: int, generator: torch.Generator) -> Float[Tensor, "Nf Nh"]:
    """Ξ of random signs ±1, float64."""
    bits = torch.randint(2, (integer("features", features, 1), integer("count", count, 1)), generator=generator)
    return 2.0 * bits.double() - 1


def overlaps(system: GSEMM, V_f: Float[Tensor, "*B Nf"]) -> Float[Tensor, "*B Nh"]:
    """Ξᵀ σ_f(V_f) / Nf: 1 for a stored memory of signs, about 1/√Nf for any other."""
    return system.sigma_f(V_f) @ system.memories / system.memories.shape[-2]


def visits(overlap: Float[Tensor, "L Nh"], threshold: float | int = 0.8) -> list[tuple[int, int, int]]:
    """The memories that one trajectory passes, as (memory, first index, last index) in order of time.
    A memory is visited while its overlap is the largest and above ``threshold``; between two visits there may be times
    at no memory, and a visit that is left and taken up again without another between them counts once."""
    best, which = overlap.max(-1)
    at = (best > threshold).nonzero()[:, 0]
    memory, counts = which[at].unique_consecutive(return_counts=True)
    last = counts.cumsum(0) - 1
    return list(zip(memory.tolist(), at[last - counts + 1].tolist(), at[last].tolist(), strict=True))


def recalled(overlap: Float[Tensor, "L Nh"], threshold: float | int = 0.8) -> int:
    """How many memories a trajectory visits in the order 0, 1, 2, … before the first that is out of order."""
    order = [memory for memory, _, _ in visits(overlap, threshold)]
    return next((k for k, memory in enumerate(order) if memory != k), len(order))


def discrete_map(system: GSEMM, V_f: Float[Tensor, "*B Nf"]) -> Float[Tensor, "*B Nf"]:
    """One forward-Euler step of size T_f at T_h = T_d = 0, with the system's own T_h and T_d left aside:

    V_f(t + 1) = √a_s Ξ σ_h(√a_s Ξᵀ σ_f(V_f) + a_c Φᵀ Ξᵀ σ_f(V_f)). With σ_h = identity and a_s = a_c = 1 this is
    Ξ (I + Φᵀ) Ξᵀ σ_f(V_f), and h = σ_f(V_f) follows h(t + 1) = σ_f(Ξ (I + Φᵀ) Ξᵀ h(t)): the two maps are conjugate.
    """
    return system.drive_f(system.drive_h(V_f, system.sigma_f(V_f)))


@dataclass(frozen=True)
class StoredMemories:
    """What :func:`from_rnn` finds: ``interaction`` Φ_G (M, K, K), and ``residual`` (M,), the share of the norm of W_hh
    that does not act between memories, ‖W_hh − ΨΦΨ†‖ / ‖W_hh‖."""

    interaction: Float[Tensor, "M K K"]
    residual: Float[Tensor, "M"]


def from_rnn(W_hh: Float[Tensor, "M N N"], memories: Float[Tensor, "M N K"]) -> StoredMemories:
    """The interaction with which ``memories`` Ψ are stored in the recurrent weights of an Elman network, in float64.
    With Φ = Ψ† W_hh Ψ it is Φ_G = (ΨᵀΨ)⁻¹ Φᵀ − I, the inverse of W_hh = Ψ (I + Φ_Gᵀ) Ψᵀ. Memories whose columns are not
    independent raise ValueError."""
    for name, given in (("W_hh", W_hh), ("memories", memories)):
        if not given.isfinite().all():
            raise ValueError(f"{name} must be finite, got NaN or infinite entries")
    psi, W_hh = memories.double(), W_hh.double()
    rank = torch.linalg.matrix_rank(psi)
    if (rank < psi.shape[2]).any():
        raise ValueError(f"memories must have independent columns, got rank {rank.tolist()} of {psi.shape[2]}")
    dual = torch.linalg.pinv(psi)
    phi = dual @ W_hh @ psi
    # (ΨᵀΨ)⁻¹ = Ψ†Ψ†ᵀ: the Gram matrix, whose condition number is the square of Ψ's, is not formed
    interaction = dual @ dual.mT @ phi.mT - torch.eye(psi.shape[2], dtype=torch.float64)
    size = W_hh.norm(dim=(1, 2)).clamp_min(torch.finfo(torch.float64).tiny)  # zero weights leave nothing out
    residual = (W_hh - psi @ phi @ dual).norm(dim=(1, 2)) / size
    return StoredMemories(interaction, residual)


def circuit_interaction(memories: Float[Tensor, "M N K"], phi: Float[Tensor, "K K"]) -> Float[Tensor, "M K K"]:
    """The interaction with which ``memories`` Ψ are stored where they interact by Φ = ``phi``, W_hh = ΨΦΨ†, in float64:
    Φ_G = (ΨᵀΨ)⁻¹ Φᵀ − I. With orthonormal memories and a Φ that shifts, it is −1 on the diagonal: no memory holds
    itself."""
    psi = memories.double()
    return torch.linalg.solve(psi.mT @ psi, phi.double().mT) - torch.eye(psi.shape[2], dtype=torch.float64)
