"""Other people's tools on our networks: nnsight and pyvene read a gate and edit a state as run_with_hooks does, and the
code of the page "With the tools you use" runs as it stands there."""

import re
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from oracles import generators

from emt_core.networks import GRU, TokenNetwork, run_with_cache, run_with_hooks, to_module
from emt_core.tasks import Sequences

N, V, B, L, K = 7, 5, 6, 4, 3
each_step = pytest.mark.parametrize("step", [2, L + 1], ids=["while it reads", "while it writes"])


@pytest.fixture
def nnsight():
    """nnsight, whose import puts a method of its own in the place of torch's; here that is undone."""
    backward = torch.Tensor.backward
    yield pytest.importorskip("nnsight", reason="nnsight is not installed")
    torch.Tensor.backward = backward


@pytest.fixture
def pyvene():
    return pytest.importorskip("pyvene", reason="pyvene is not installed")


@pytest.fixture
def network() -> TokenNetwork:
    return TokenNetwork.init(GRU, V, N, generators(0)).to(torch.float64)


TOKENS = torch.randint(V, (B, L), generator=generators(1)[0])
READ = Sequences.of_one_length(TOKENS.T[None])
STATE = torch.randn(B, N, dtype=torch.float64, generator=generators(2)[0])


def scores_after_edit(network, step) -> torch.Tensor:
    """(B, K, V), the state at ``step`` replaced by STATE."""
    hook = {"h": lambda h, t: STATE[None] if t == step else None}
    written, cache = run_with_hooks(network, READ, hook, K)
    assert (cache["h"][0, step] == STATE).all() and not torch.equal(written, network.write(network.encode(READ), K))
    return network.read_out(cache["h"])[0, L:].transpose(0, 1)


def close(a, b) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=1e-13)


def test_nnsight_reads_a_gate_at_every_step(nnsight, network):
    model = nnsight.NNsight(to_module(network))
    with model.trace(TOKENS, writing=K) as tracer:
        z = [].save()
        for _ in tracer.iter[: L + K]:
            z.append(model.cell.z.output)
    close(torch.stack(z), run_with_cache(network, READ, K)[1]["z"][0])


@each_step
def test_nnsight_sets_the_state_at_one_step(nnsight, network, step):
    model = nnsight.NNsight(to_module(network))
    with model.trace(TOKENS, writing=K) as tracer:
        for _ in tracer.iter[step]:
            model.cell.h.output = STATE
        scores = model.output.save()
    close(scores, scores_after_edit(network, step))


def watched_by(pyvene, network, name, intervention, stateless=True):
    """What pyvene says of a run with an intervention on a named quantity."""
    module = to_module(network)
    module.config = None  # which pyvene asks of every model
    where = {"component": f"cell.{name}.output", "unit": "t", "intervention": intervention}
    model = pyvene.IntervenableModel(where, model=module)
    model.is_model_stateless = stateless
    return model({"tokens": TOKENS, "writing": K})


def test_pyvene_reads_a_gate_at_every_step(pyvene, network):
    (_, z), scores = watched_by(pyvene, network, "z", pyvene.CollectIntervention())
    written, cache = run_with_cache(network, READ, K)
    close(torch.stack(z), cache["z"][0])
    assert torch.equal(scores.argmax(2).T, written[0])


@each_step
def test_pyvene_sets_the_state_at_one_step(pyvene, network, step):
    steps = iter(range(L + K))

    def put(state, source):
        return STATE if next(steps) == step else None

    _, scores = watched_by(pyvene, network, "h", put)
    close(scores, scores_after_edit(network, step))


def test_pyvene_edits_several_steps_if_told_that_it_may(pyvene, network):
    """What the page says of it."""
    with pytest.raises(Exception, match="each getter and setter should be called only once"):
        watched_by(pyvene, network, "z", lambda z, source: 1 - z)
    _, scores = watched_by(pyvene, network, "z", lambda z, source: 1 - z, stateless=False)
    _, cache = run_with_hooks(network, READ, {"z": lambda z, t: 1 - z}, K)
    close(scores, network.read_out(cache["h"])[0, L:].transpose(0, 1))


def test_gradients_pass_what_pyvene_edits_in_place(pyvene, network):
    """A gate times a number: the gradient of the number is that of a hook of ours."""
    found = []
    for by_pyvene in (True, False):
        factor, steps = torch.ones((), dtype=torch.float64, requires_grad=True), iter(range(L + K))
        if by_pyvene:
            edit = lambda z, source, by=factor, steps=steps: z * by if next(steps) == L else None  # noqa: E731
            _, scores = watched_by(pyvene, network, "z", edit)
        else:
            hook = {"z": lambda z, t, by=factor: z * by if t == L else None}
            scores = network.read_out(run_with_hooks(network, READ, hook, K)[1]["h"])[0, L:].transpose(0, 1)
        found += torch.autograd.grad(scores.square().sum(), factor)
    close(*found)
    assert found[0].abs() > 1e-3


# --- the page ---------------------------------------------------------------------------------------------------------


def sections(root) -> dict[str, str]:
    """The code of the page by its headings."""
    text = (root / "book" / "with_your_tools.md").read_text(encoding="utf8")
    parts = re.split(r"(?m)^#+ (.+)$", text)
    code = {
        title: re.findall(r"(?ms)^```python\n(.*?)^```$", part)
        for title, part in zip(parts[1::2], parts[2::2], strict=True)
    }
    return {title: "\n".join(blocks) for title, blocks in code.items() if blocks}


@pytest.mark.parametrize("tool", ["", "nnsight", "pyvene"], ids=["torch", "nnsight", "pyvene"])
def test_the_page_runs_and_prints_what_it_says(root, tmp_path, tool):
    """What needs nothing but torch, and behind it one of the tools; in a process of its own, as a reader would."""
    if tool and find_spec(tool) is None:
        pytest.skip(f"{tool} is not installed")
    code = sections(root)
    assert {"nnsight", "pyvene"} < code.keys() and len(code) >= 5
    own = code.get(tool, "")
    program = "\n".join([*(block for title, block in code.items() if title not in ("nnsight", "pyvene")), own])
    (tmp_path / "page.py").write_text(program, encoding="utf8")
    ran = subprocess.run([sys.executable, tmp_path / "page.py"], capture_output=True, text=True, cwd=root, timeout=300)
    assert ran.returncode == 0, ran.stderr
    promised = re.findall(r"(?m)^ *print\(.*\)  # (.+)$", program)
    assert promised and ran.stdout.splitlines() == promised
    for block in code.values():
        lines = [line for line in block.splitlines() if line]
        assert max(map(len, lines)) <= 86 and len(lines) <= 14
