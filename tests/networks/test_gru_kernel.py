"""The scan over many GRUs, compiled and in torch, against one step of autograd after the other."""

import logging
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from oracles import SHAPE_ERRORS, generators, needs_a_gpu, same_bits

from emt_core.networks import GRU, TokenNetwork
from emt_core.networks.kernels import gru

# M, T, B, N, V (rows of the table: two more than tokens): nothing but ones, odd sizes, one step, one sequence, many
# models, and all in all every remainder of a tile in rows (sequences) and in vectors (units)
SHAPES = [
    (1, 1, 1, 1, 4),
    (3, 4, 7, 5, 6),
    (2, 9, 1, 16, 32),
    (5, 1, 6, 9, 4),
    (1, 5, 3, 17, 5),
    (2, 3, 13, 33, 5),
    (17, 2, 3, 1, 4),
    (1, 2, 11, 50, 7),
    (1, 9, 25, 64, 32),
    (1, 2, 8, 100, 4),
]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def problem(models, steps, batch, hidden, vocabulary, dtype=torch.float64, seed=0):
    """GRUs whose biases all matter, what they read, first states, active sequences, and a weight for each state."""
    model = TokenNetwork.init(GRU, vocabulary - 2, hidden, generators(*range(models))).to(dtype)
    g = torch.Generator().manual_seed(seed)
    tokens = torch.randint(vocabulary, (models, steps, batch), generator=g)
    h = torch.randn(models, batch, hidden, generator=g, dtype=torch.float64).to(dtype)
    active = torch.randint(batch + 1, (models, steps), generator=g).sort(1, descending=True).values
    active[:, -1] = 0 if steps > 2 else batch  # a step at which none moves
    weight = torch.randn(models, steps, batch, hidden, generator=g, dtype=torch.float64).to(dtype)
    return model, tokens, h, active, weight


def leaves(model, h) -> dict[str, torch.Tensor]:
    used = {name: w for name, w in model.weights.items() if not name.endswith("_o")}
    return {name: x.detach().clone().requires_grad_() for name, x in (used | {"h": h}).items()}


def slowly(model, tokens, h, active):
    """Step by step, one sequence that has ended after the other left as it is."""
    states = []
    for t in range(tokens.shape[1]):
        moved = model.step(h, tokens[:, t])
        ended = torch.arange(h.shape[1]) >= active[:, t, None]
        h = torch.where(ended[..., None], h, moved)
        states.append(h)
    return torch.stack(states, dim=1)


def by_scan(model, tokens, h, active):
    return model.cell.scan(model.embedding)(tokens, h, active)


def values_and_gradients(run, model, tokens, h, active, weight) -> dict[str, torch.Tensor]:
    given = leaves(model, h)
    learning = model.with_weights(model.weights | {n: x for n, x in given.items() if n != "h"})
    states = run(learning, tokens, given["h"], active)
    (states * weight).sum().backward()
    return {"states": states.detach()} | {name: x.grad for name, x in given.items()}


def assert_close(got, want, tolerance):
    """In the norm of each tensor: entries are sums of at most some thousand products, in another order."""
    assert got.keys() == want.keys()
    for name, x in want.items():
        assert got[name].shape == x.shape, name
        assert (got[name].double() - x.double()).norm() <= tolerance * x.double().norm(), name


class NaNWorkspace(gru.Workspace):
    """Full of NaN: what is read before it is written would show."""

    def get(self, size, like):
        return super().get(size, like).fill_(torch.nan)


class NaNLease(gru._Lease):
    def __init__(self, size):
        super().__init__(size)
        self._memory.fill_(torch.nan)


RUNS_HERE = {"avx512": ["avx512", "avx2"]}.get(gru.instruction_set(), [gru.instruction_set()])


@pytest.fixture(params=RUNS_HERE)
def compiled(request, monkeypatch):
    """The compiled path on each instruction set that this machine has, with memory that is full of NaN."""
    if gru.library(request.param) is None:
        assert shutil.which("c++") is None, "the kernel is not compiled though there is a compiler: pip install -e ."
        pytest.skip("no C++ compiler here")
    monkeypatch.setattr(gru, "instruction_set", lambda: request.param)
    monkeypatch.setattr(gru, "Workspace", NaNWorkspace)
    monkeypatch.setattr(gru, "_Lease", NaNLease)
    monkeypatch.setattr(gru, "_torch_forward", None)  # not by accident


@pytest.fixture
def not_compiled(monkeypatch):
    monkeypatch.setattr(gru, "instruction_set", lambda: "none")


@pytest.fixture(params=["compiled", "not_compiled"])
def either(request):
    """All paths of float32 that can be tried on the CPU."""
    if request.param == "compiled" and gru.library(gru.instruction_set()) is None:
        pytest.skip("no compiled kernel here")
    if request.param != "compiled":
        request.getfixturevalue(request.param)


# --- numbers ----------------------------------------------------------------------------------------------------------


@each_shape
def test_in_torch_values_and_gradients_are_those_of_autograd(shape):
    arguments = problem(*shape)
    # √1000 ε is expected of sums of a thousand products, and a step passes on less than it gets
    assert_close(values_and_gradients(by_scan, *arguments), values_and_gradients(slowly, *arguments), 1e-13)


@each_shape
def test_in_torch_also_in_float32(shape, not_compiled):
    arguments = problem(*shape, torch.float32)
    got = values_and_gradients(by_scan, *arguments)
    assert all(x.dtype == torch.float32 for x in got.values())
    assert_close(got, values_and_gradients(slowly, *arguments), 1e-5)


def test_in_torch_no_pass_waits_for_a_number():
    """Tensors on "meta" have none: to ask for one, for which a GPU would have to be waited, is an error there."""
    given, *rest = plain((2, 3, 9, 8, 5), torch.float32)
    given = [x.detach().to("meta").requires_grad_() for x in given]
    tokens, active, weight = (x.to("meta") for x in rest)
    states, *grads = run_plain(given, tokens, active, weight)
    assert states.shape == weight.shape and [g.shape for g in grads] == [x.shape for x in given]
    with pytest.raises((RuntimeError, NotImplementedError)):
        bool(states.any())


@needs_a_gpu
@each_shape
def test_on_a_gpu_values_and_gradients_are_those_of_autograd(shape):
    model, tokens, h, active, weight = problem(*shape)
    want = values_and_gradients(slowly, model, tokens, h, active, weight)
    got = values_and_gradients(by_scan, *(x.to("cuda") for x in (model, tokens, h, active, weight)))
    assert_close({name: x.cpu() for name, x in got.items()}, want, 1e-13)


@each_shape
def test_compiled_values_and_gradients_are_within_1e_5_of_float64(shape, compiled):
    model, tokens, h, active, weight = problem(*shape, torch.float32)
    got = values_and_gradients(by_scan, model, tokens, h, active, weight)
    assert all(x.dtype == torch.float32 for x in got.values())
    wide = values_and_gradients(slowly, model.to(torch.float64), tokens, h.double(), active, weight.double())
    assert_close(got, wide, 1e-5)


def plain(shape, dtype, seed=0):
    """The arguments of scan themselves, for gradients that no embedding stands before."""
    models, _, _, hidden, vocabulary = shape
    _, tokens, h, active, weight = problem(*shape, dtype, seed)
    g = torch.Generator().manual_seed(seed + 1)
    sizes = [(models, vocabulary, 3 * hidden), (models, hidden), (models, 3 * hidden, hidden)]
    table, b_hn, W_hh = (torch.randn(s, generator=g, dtype=torch.float64).to(dtype) * 0.7 for s in sizes)
    given = [x.requires_grad_() for x in (table, b_hn, W_hh, h)]
    return given, tokens, active, weight


def run_plain(given, tokens, active, weight, **options):
    states = gru.scan(*given[:3], tokens, given[3], active)
    return [states.detach(), *torch.autograd.grad((states * weight).sum(), given, **options)]


@pytest.mark.parametrize("shape", SHAPES[:4], ids=str)
def test_gradients_are_finite_differences(shape):
    given, tokens, active, _ = plain((*shape[:4], 4), torch.float64)
    assert torch.autograd.gradcheck(lambda a, b, c, d: gru.scan(a, b, c, tokens, d, active), given, fast_mode=True)


@each_shape
def test_each_tokens_row_of_the_table_has_its_own_gradient(shape, compiled):
    given, tokens, active, weight = plain(shape, torch.float32)
    got = run_plain(given, tokens, active, weight)
    wide = [x.detach().double().requires_grad_() for x in given]
    states = slowly_from_table(*wide[:3], tokens, wide[3], active)
    want = [states.detach(), *torch.autograd.grad((states * weight.double()).sum(), wide, allow_unused=True)]
    want = [torch.zeros_like(x) if w is None else w for w, x in zip(want, [states, *wide], strict=True)]
    names = ("states", "table", "b_hn", "W_hh", "h")
    assert_close(dict(zip(names, got, strict=True)), dict(zip(names, want, strict=True)), 1e-5)


def slowly_from_table(table, b_hn, W_hh, tokens, h, active):
    states = []
    for t in range(tokens.shape[1]):
        x = torch.stack([rows[i] for rows, i in zip(table, tokens[:, t], strict=True)])
        (x_r, x_z, x_n), (a_r, a_z, a_n) = x.chunk(3, -1), torch.einsum("mgn,mbn->mbg", W_hh, h).chunk(3, -1)
        r, z = torch.sigmoid(x_r + a_r), torch.sigmoid(x_z + a_z)
        moved = (1 - z) * torch.tanh(x_n + r * (a_n + b_hn[:, None])) + z * h
        h = torch.where((torch.arange(h.shape[1]) < active[:, t, None])[..., None], moved, h)
        states.append(h)
    return torch.stack(states, dim=1)


def test_without_active_all_sequences_move(either):
    given, tokens, _, weight = plain((2, 3, 5, 7, 4), torch.float32)
    everyone = torch.full((2, 3), 5)
    got, want = run_plain(given, tokens, None, weight), run_plain(given, tokens, everyone, weight)
    assert all(same_bits(a, b) for a, b in zip(got, want, strict=True))


def test_a_sequence_may_pause(either):
    # nothing in the contract says that those who stopped stay where they are
    given, tokens, _, weight = plain((1, 4, 3, 5, 4), torch.float32)
    active = torch.tensor([[3, 0, 1, 2]])
    got = run_plain(given, tokens, active, weight)
    wide = [x.detach().double().requires_grad_() for x in given]
    states = slowly_from_table(*wide[:3], tokens, wide[3], active)
    want = [states.detach(), *torch.autograd.grad((states * weight.double()).sum(), wide)]
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-5)


def through_one_unit(x_z, x_n, h) -> torch.Tensor:
    """States of single units without recurrent weights: (1 − σ(x_z)) tanh(x_n) + σ(x_z) h, one token for each."""
    table = torch.stack([torch.zeros_like(x_z), x_z, x_n], dim=1)[None]
    tokens = torch.arange(len(x_z))[None, None]
    return gru.scan(table, torch.zeros(1, 1), torch.zeros(1, 3, 1), tokens, h[None, :, None])[0, 0, :, 0]


EPS = torch.finfo(torch.float32).eps


def test_compiled_sigmoid_is_the_sigmoid(compiled):
    x = torch.cat([torch.linspace(-86.9, 86.9, 3001), torch.tensor([0.0, -1e-8, 1e-8])])
    got = through_one_unit(x, torch.zeros_like(x), torch.ones_like(x)).double()  # n = 0 and h = 1: z itself
    want = torch.sigmoid(x.double())
    assert ((got - want).abs() <= 4 * EPS * want).all()
    far = torch.tensor([-1e30, -torch.inf, 1e30, torch.inf, torch.nan])
    got = through_one_unit(far, torch.zeros_like(far), torch.ones_like(far))
    assert (got[:2] < 2e-38).all() and (got[2:4] == 1).all() and got[4].isnan()


def test_compiled_tanh_is_tanh(compiled):
    x = torch.cat([torch.logspace(-30, 1.5, 1501), torch.tensor([0.0, 100.0, 3e38, torch.inf])])
    x = torch.cat([x, -x])
    got = through_one_unit(torch.full_like(x, -torch.inf), x, torch.zeros_like(x)).double()  # z = 0: n itself
    want = x.double().tanh()
    assert ((got - want).abs() <= 4 * EPS * want.abs()).all()
    assert through_one_unit(-x[:1] * torch.inf, x[:1] * torch.nan, x[:1]).isnan()


# --- independence -----------------------------------------------------------------------------------------------------


@pytest.fixture
def three_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(threads)


def ensembles_are_their_models():
    shape = (7, 4, 11, 17, 6)
    given, tokens, active, weight = plain(shape, torch.float32)
    together = run_plain(given, tokens, active, weight)
    for m in range(7):
        alone = run_plain(
            [x.detach()[m : m + 1].requires_grad_() for x in given], *(x[m : m + 1] for x in (tokens, active, weight))
        )
        assert all(same_bits(a, b[m : m + 1]) for a, b in zip(alone, together, strict=True))
    return together


def test_compiled_models_do_not_depend_on_their_neighbours(compiled):
    ensembles_are_their_models()


def test_nor_on_the_number_of_threads(compiled, three_threads):
    side_by_side = ensembles_are_their_models()
    torch.set_num_threads(1)
    assert all(same_bits(a, b) for a, b in zip(side_by_side, ensembles_are_their_models(), strict=True))


def test_passes_at_the_same_time_do_not_share_memory(either):
    """Two forward passes before the first backward pass, one of them never used; and passes of several threads."""
    arguments = [plain((2, 3, 9, 8, 5), torch.float32, seed) for seed in range(4)]
    want = [run_plain(*each) for each in arguments]
    waiting = []
    for given, tokens, active, weight in arguments:
        gru.scan(*given[:3], tokens, given[3], active)
        states = gru.scan(*given[:3], tokens, given[3], active)
        waiting.append((states, (states * weight).sum(), given))
    for (states, loss, given), expected in zip(reversed(waiting), reversed(want), strict=True):
        first = torch.autograd.grad(loss, given, retain_graph=True)
        again = torch.autograd.grad(loss, given)
        for got in (first, again):
            assert all(same_bits(a, b) for a, b in zip([states.detach(), *got], expected, strict=True))
    with ThreadPoolExecutor(3) as pool:
        for got, expected in zip(pool.map(lambda each: run_plain(*each), arguments * 5), want * 5, strict=True):
            assert all(same_bits(a, b) for a, b in zip(got, expected, strict=True))


def test_states_are_the_callers_to_change(either):
    """Also where no copy seems needed: of one model."""
    given, tokens, active, weight = plain((1, 3, 9, 8, 5), torch.float32)
    want = run_plain(given, tokens, active, weight)
    states = gru.scan(*given[:3], tokens, given[3], active)
    loss = (states * weight).sum()
    with torch.no_grad():
        states.detach().fill_(7)
    got = torch.autograd.grad(loss, given)
    assert all(same_bits(a, b) for a, b in zip(got, want[1:], strict=True))


def test_memory_is_used_again_and_not_hoarded(monkeypatch):
    monkeypatch.setattr(gru._Lease, "_free", [])
    first = gru._Lease(100)
    address = first.numbers.data_ptr()
    assert address % 64 == 0 and first.numbers.shape == (100,)
    second = gru._Lease(100)
    assert second.numbers.data_ptr() != address
    del first
    assert gru._Lease(1000).numbers.data_ptr() != address  # too small
    again = gru._Lease(99)
    assert again.numbers.data_ptr() == address and again.numbers.shape == (99,)
    del again
    many = [gru._Lease(100) for _ in range(gru.KEPT + 5)]
    del many, second
    assert len(gru._Lease._free) <= gru.KEPT
    monkeypatch.setattr(gru._Lease, "_free", [])
    large, small = gru._Lease(gru.LARGEST + 1), gru._Lease(gru.LARGEST)
    del large
    assert gru._Lease._free == []
    del small
    assert [x.numel() for x in gru._Lease._free] == [gru.LARGEST]


# --- arguments --------------------------------------------------------------------------------------------------------


def scattered(x: torch.Tensor) -> torch.Tensor:
    """The same numbers with every other entry of memory skipped, and the axes stored in reverse."""
    axes = list(reversed(range(x.ndim)))
    wide = torch.stack([x.permute(axes), torch.full_like(x.permute(axes), 7)], dim=-1)
    return wide[..., 0].permute(axes)


def test_non_contiguous_arguments_change_nothing(either):
    given, tokens, active, weight = plain((3, 4, 7, 5, 6), torch.float32)
    want = run_plain(given, tokens, active, weight)
    others = [scattered(x.detach()).requires_grad_() for x in given]
    assert not any(x.is_contiguous() for x in (*others, scattered(tokens), scattered(active)))
    got = run_plain(others, scattered(tokens), scattered(active), scattered(weight))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    states = gru.scan(*given[:3], tokens, given[3], active)
    got = torch.autograd.grad(states.sum(), given)  # the gradient of a sum is one number, expanded
    want = torch.autograd.grad((gru.scan(*given[:3], tokens, given[3], active) * 1.0).sum(), given)
    assert all(same_bits(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize("kind", [torch.int32, torch.int16], ids=str)
def test_tokens_may_be_any_integers(kind, either):
    given, tokens, active, weight = plain((2, 3, 5, 4, 6), torch.float32)
    want = run_plain(given, tokens, active, weight)
    got = run_plain(given, tokens.to(kind), active.to(kind), weight)
    assert all(same_bits(a, b) for a, b in zip(got, want, strict=True))


def test_frozen_weights_need_no_gradient_and_change_nothing(either):
    given, tokens, active, weight = plain((2, 3, 7, 5, 6), torch.float32)
    want = run_plain(given, tokens, active, weight)
    frozen = [x.detach() for x in given[:3]]
    states = gru.scan(*frozen, tokens, given[3], active)
    (got,) = torch.autograd.grad((states * weight).sum(), given[3:])
    assert same_bits(states.detach(), want[0]) and same_bits(got, want[4])
    with torch.no_grad():
        assert same_bits(gru.scan(*given[:3], tokens, given[3], active), want[0])
    some = torch.autograd.grad(
        (gru.scan(given[0], *frozen[1:], tokens, frozen[0].new_zeros(2, 7, 5)) * 1).sum(), given[0]
    )
    assert some[0].shape == given[0].shape


def test_arguments_are_left_alone(either):
    given, tokens, active, weight = plain((2, 3, 7, 5, 6), torch.float32)
    before = [x.detach().clone() for x in (*given, tokens, active, weight)]
    run_plain(given, tokens, active, weight)
    assert all(same_bits(a, b) for a, b in zip(before, (*given, tokens, active, weight), strict=True))


def test_no_steps_leave_no_states(either):
    given, tokens, active, _ = plain((2, 3, 7, 5, 6), torch.float32)
    assert gru.scan(*given[:3], tokens[:, :0], given[3], active[:, :0]).shape == (2, 0, 7, 5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("wrong", [-1, 6])
def test_tokens_beyond_the_table_are_refused(dtype, wrong, either):
    (table, b_hn, W_hh, h), tokens, active, _ = plain((2, 3, 7, 5, 6), dtype)
    tokens[1, 2, 3] = wrong
    with pytest.raises(ValueError, match=rf"^tokens must lie in 0 … 5, got .*{wrong}"):
        gru.scan(table, b_hn, W_hh, tokens, h, active)
    tokens[1, 2, 3] = 5
    active[0, 1] = wrong + 2 if wrong > 0 else wrong
    with pytest.raises(ValueError, match=r"^active must lie in 0 … 7, got"):
        gru.scan(table, b_hn, W_hh, tokens, h, active)


def test_wrong_shapes_and_dtypes_are_named(either):
    (table, b_hn, W_hh, h), tokens, active, _ = plain((2, 3, 7, 5, 6), torch.float32)
    for name, wrong in {
        "table": table[..., :-1], "b_hn": b_hn[:, :-1], "W_hh": W_hh[:1], "h": h[:, :-1], "active": active[:, :-1],
    }.items():  # fmt: skip
        with pytest.raises(SHAPE_ERRORS, match=name):
            gru.scan(**(dict(table=table, b_hn=b_hn, W_hh=W_hh, tokens=tokens, h=h, active=active) | {name: wrong}))
    for name, wrong in {"table": table, "b_hn": b_hn, "W_hh": W_hh}.items():
        with pytest.raises(ValueError, match=rf"^{name} must be torch.float32 on cpu like h, got torch.float64 on cpu"):
            gru.scan(**(dict(table=table, b_hn=b_hn, W_hh=W_hh, tokens=tokens, h=h) | {name: wrong.double()}))


def test_a_second_derivative_is_refused_rather_than_wrong(either):
    given, tokens, active, _ = plain((1, 2, 3, 4, 5), torch.float32)
    states = gru.scan(*given[:3], tokens, given[3], active)
    (first,) = torch.autograd.grad(states.square().sum(), given[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.square().sum().backward()


def test_without_the_compiled_kernel_torch_scans_and_says_so_once(monkeypatch, caplog):
    gru.library.cache_clear()
    monkeypatch.setattr(gru, "instruction_set", lambda: "none")
    monkeypatch.setattr(gru, "_native_forward", None)
    given, tokens, active, weight = plain((2, 3, 5, 4, 6), torch.float32)
    with caplog.at_level(logging.WARNING):
        got = run_plain(given, tokens, active, weight)
        run_plain(given, tokens, active, weight)
    assert [r.message for r in caplog.records if "fast CPU kernel" in r.message] == [
        "the fast CPU kernel was not compiled for none: training uses torch, several times slower"
    ]
    assert got[0].isfinite().all()
