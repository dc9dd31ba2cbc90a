"""Whole reports: of a shipped GRU, an LSTM that a test trains, two layers, functions; and what is refused."""

import json
import re
import subprocess
import sys

import pytest
import torch
from torch import nn

from emt_core import report
from emt_core.networks import GRU, Functions, TokenNetwork, from_torch, load
from emt_core.report import build, measures, page
from emt_core.support.random_streams import stream
from emt_core.tasks import TokenRepeat

QUIET = {"progress": False}
SECTIONS = list(build.SECTIONS)


def checked(made: report.Report) -> dict:
    """What every report owes its reader; its data as they were written."""
    text = made.page.read_text("utf8")
    data = json.loads(made.data.read_text("utf8"))
    assert list(data["numbers"]) == SECTIONS == list(page.SECTIONS) and data["verdicts"].keys() == {"code", "memory"}
    for key, verdict in made.verdicts.items():
        assert data["verdicts"][key] == {"word": verdict.word, "why": verdict.why}
        assert f"<b>{verdict.word}</b>" in text
    # alone: nothing is loaded, and links lead to the book only
    assert not re.search(r"<(script|link|img|iframe)\b", text)
    assert all(url.startswith(page.BOOK) for url in re.findall(r'href="(http[^"]+)"', text))
    measured = [key for key, numbers in data["numbers"].items() if "missing" not in numbers]
    pictures = text.count("<svg ")
    assert pictures == len(re.findall("<figure>", text)) >= len(measured) - 2
    for key, numbers in data["numbers"].items():
        assert f'<section id="{key}">' in text
        if "missing" in numbers:
            assert "Not measured: " in text[text.index(f'<section id="{key}">') :].partition("</section>")[0]
    assert len(text) < 1_000_000
    return data


def test_a_shipped_gru(root, tmp_path):
    network, _ = load(root / "book" / "data" / "gru_48_ar_0.safetensors")
    sequences = TokenRepeat().validation(600)
    made = report.write(network, sequences, tmp_path / "a", name="GRU & co", **QUIET)
    data = checked(made)
    assert made.verdicts["code"].word == "onion"
    numbers = data["numbers"]
    assert numbers["accuracy"]["exact"][0] > 0.9 and numbers["code"]["length"] == 9
    success = numbers["edits"]["success"]
    assert success["right position"][0] > 0.5 > 0.1 > success["another position"][0]
    kicks = [share[0] for share in numbers["disturbed"]["kicks"]["sizes"].values()]
    assert kicks[0] > 0.8 > 0.1 > kicks[-1]
    null = numbers["code"]["drawn_anew"]
    assert null.keys() == numbers["code"].keys() - {"drawn_anew"} and "drawn anew it is: " in made.verdicts["code"].why
    assert "GRU &amp; co" in made.page.read_text("utf8")
    assert numbers["learned"] == {"missing": "learned_edits=True was not asked for"}


@pytest.mark.parametrize(
    ("kinds", "stable", "failed", "words"),
    [
        ({"slow": 1}, 0, 23, "found: 1 slow point. 23 starts led nowhere."),
        (
            {"converged": 2, "slow": 3},
            1,
            1,
            "found: 2 fixed points, 3 slow points. Attracting fixed points: 1. 1 start ",
        ),
        ({}, 0, 24, "found: none. 24 starts led nowhere."),
    ],
)
def test_what_a_search_found_is_said(kinds, stable, failed, words):
    numbers = {"found": kinds, "stable": stable, "failed": failed, "starts": 24, "reads": "zeros", "multipliers": []}
    assert words in page.SECTIONS["fixed_points"][2]({"fixed_points": numbers})


V = 8


class Reverser(nn.Module):
    """As a user writes it: batch first, an embedding of its own, no start token, fed what it wrote."""

    def __init__(self):
        super().__init__()
        self.embed, self.rnn, self.out = nn.Embedding(V, 12), nn.LSTM(12, 40, batch_first=True), nn.Linear(40, V)

    def forward(self, tokens, targets):
        last, state = self.rnn(self.embed(tokens))
        later, _ = self.rnn(self.embed(targets[:, :-1]), state)
        return self.out(torch.cat([last[:, -1:], later], dim=1))


@pytest.fixture(scope="module")
def reverser():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Reverser()
        optimiser, draw = torch.optim.Adam(model.parameters(), 1e-2), stream(0, "test")
        for step in range(1000):
            tokens = torch.randint(V, (64, 2 + step % 3), generator=draw)
            scores = model(tokens, tokens.flip(1))
            loss = nn.functional.cross_entropy(scores.flatten(0, 1), tokens.flip(1).flatten())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model


def test_an_lstm_that_reverses(reverser, tmp_path):
    network = from_torch(reverser.rnn, embedding=reverser.embed, read_out=reverser.out)
    tokens = TokenRepeat(V, 2, 4).sample(600, stream(1, "test"))
    made = report.write(network, tokens, tmp_path, targets="reverse", **QUIET)
    data = checked(made)
    exact = data["numbers"]["accuracy"]["exact"]
    assert exact[0] > 0.8 and exact[3] == 600
    # the module says the same by itself
    q = report.asked(network, tokens, "reverse")
    right = 0
    for n in (2, 3, 4):
        own = q.sequences.tokens[0, :n, q.sequences.lengths[0] == n].mT
        with torch.no_grad():
            state, fed, wrote = reverser.rnn(reverser.embed(own)), None, []
            shown, state = state[0][:, -1], state[1]
            for _ in range(n):
                if fed is not None:
                    out, state = reverser.rnn(reverser.embed(fed[:, None]), state)
                    shown = out[:, 0]
                fed = reverser.out(shown).argmax(1)
                wrote.append(fed)
        right += int((torch.stack(wrote, dim=1) == own.flip(1)).all(1).sum())
    assert right == round(exact[0] * 600)
    assert data["numbers"]["learned"]["missing"].startswith("learned_edits=True")
    told = build.SECTIONS["learned"](network, q, 0)["missing"]
    assert told == "learned edits need a network that starts writing with a token and reads out linearly"


def test_two_layers(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        rnn, embed, out = nn.GRU(6, 10, 2), nn.Embedding(V + 1, 6), nn.Linear(10, V)
    network = from_torch(rnn, embedding=embed, read_out=out, vocabulary=V, start=V)
    assert isinstance(network, TokenNetwork)
    data = checked(report.write(network, TokenRepeat(V, 3, 3).sample(200, stream(0, "test")), tmp_path, **QUIET))
    assert data["numbers"]["code"]["units"] == 20 and data["numbers"]["accuracy"]["exact"][0] < 0.1
    assert data["about"]["network"] == "TokenNetwork of a Stacked"


def functions(**more) -> Functions:
    def places(tokens):
        return nn.functional.one_hot(tokens, V).double().flatten(1)

    def read(h, count):
        return h.unflatten(1, (-1, V)).argmax(2)[:, :count]

    return Functions(encode=places, write=read, vocabulary=V, **more)


def test_three_functions(tmp_path):
    tokens = torch.randint(V, (200, 3), generator=stream(0, "test"))
    made = report.write(functions(run_on=lambda h: h.roll(V, 1)), tokens, tmp_path / "with", **QUIET)
    checked(made)
    assert {key: verdict.word for key, verdict in made.verdicts.items()} == {"code": "subspaces", "memory": "analog"}
    alone, again = (report.write(functions(), tokens, tmp_path / name, **QUIET) for name in ("without", "again"))
    checked(alone)
    # the same, to the last letter
    assert again.data.read_text("utf8") == alone.data.read_text("utf8")
    assert again.page.read_text("utf8") == alone.page.read_text("utf8")
    assert str(alone.verdicts["memory"]) == "cannot tell: no function run_on was given"


def test_ctrl_c_keeps_what_is_done(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setitem(build.SECTIONS, "edits", interrupted)
    made = report.write(functions(), torch.zeros(40, 3).long(), tmp_path, **QUIET)
    data = checked(made)
    assert "missing" not in data["numbers"]["accuracy"]
    assert {key for key, n in data["numbers"].items() if n.get("missing") == "interrupted"} == set(SECTIONS[2:])


def test_learned_edits(tmp_path, monkeypatch):
    from emt_core.report import learned
    from emt_core.training import Recipe

    monkeypatch.setattr(learned, "RECIPE", Recipe(steps=4, every=2, least=2))
    network = TokenNetwork.init(GRU, 5, 6, [stream(0, "network")])
    tokens = TokenRepeat(5, 2, 4).validation(100)
    data = checked(report.write(network, tokens, tmp_path, learned_edits=True, **QUIET))
    kinds = data["numbers"]["learned"]["kinds"]
    assert list(kinds) == ["unigram", "onion"] and all(list(shares) == list(page.WAYS) for shares in kinds.values())


def test_links_lead_to_chapters_by_their_titles(root):
    settings = (root / "_config.yml").read_text("utf8")
    owner, name = re.search(r"url: https://github.com/([^/\s]+)/(\S+)", settings).groups()
    assert f"https://{owner}.github.io/{name}/book" == page.BOOK
    for _, (chapter, title), _ in page.SECTIONS.values():
        assert f"\n# {title}\n" in (root / "book" / f"{chapter}.md").read_text("utf8")


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            lambda: nn.GRU(3, 4),
            "network must be one that this library knows, got the module GRU: pass emt_core.networks",
        ),
        (lambda: "gru", "network must have vocabulary, encode and write, .* got str"),
        (lambda: TokenNetwork.init(GRU, V, 6, [stream(s, "n") for s in (0, 1)]), "network must be one model, got 2"),
        (lambda: functions(run_on=3), None),
        (lambda: from_torch(nn.GRU(3, 4, bidirectional=True)), "module must have bidirectional = False, got True"),
    ],
    ids=["a module", "no network", "two models", "no function", "two directions"],
)
def test_networks_that_are_refused(network, message, tmp_path):
    with pytest.raises(ValueError if message else Exception, match=f"^{message}" if message else "run_on"):
        report.write(network(), torch.zeros(40, 3).long(), tmp_path, **QUIET)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("run_on", [lambda h: h[:, :3], lambda h: h.foo()])
def test_what_fails_fails_before_anything_is_measured(run_on, tmp_path, monkeypatch):
    monkeypatch.setitem(build.SECTIONS, "accuracy", lambda *_: pytest.fail("was measured"))
    with pytest.raises((ValueError, AttributeError), match=r"run_on must return|foo"):
        report.write(functions(run_on=run_on), torch.zeros(40, 3).long(), tmp_path, **QUIET)


def test_other_arguments_that_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    tokens = torch.zeros(40, 3).long()
    for options, message in (
        ({"out": tmp_path / "file"}, "out must be a folder, .* is a file"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"targets": "sort"}, "targets must be one of"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            report.write(functions(), tokens, **{"out": tmp_path / "new"} | options, **QUIET)


# --- the command line -------------------------------------------------------------------------------------------------


def run(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "emt_core.report", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={"TQDM_DISABLE": "1", "PATH": ""})


def test_a_state_dict_from_the_command_line(reverser, tmp_path):
    weights, lines = tmp_path / "reverser.pt", tmp_path / "sequences.txt"
    torch.save(reverser.state_dict(), weights)
    tokens = torch.randint(V, (60, 3), generator=stream(2, "test"))
    lines.write_text("\n".join(" ".join(map(str, row)) for row in tokens.tolist()))
    done = run(
        weights, "--kind", "lstm", "--embedding", "embed.weight", "--read-out", "out", "--sequences", lines,
        "--targets", "reverse", "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    code, memory, where = done.stdout.splitlines()
    assert code.startswith("code: ") and memory.startswith("memory: ") and where.endswith("report.html")
    written = json.loads((tmp_path / "out" / "report.json").read_text("utf8"))
    network = from_torch(reverser.rnn, embedding=reverser.embed, read_out=reverser.out)
    here = measures.accuracy(network, report.asked(network, tokens, "reverse"))
    assert written["numbers"]["accuracy"]["exact"] == here["exact"] and written["name"] == "reverser"


def test_the_command_line_says_what_is_wrong(tmp_path):
    done = run(tmp_path / "none.pt", "--out", tmp_path)
    assert done.returncode == 2 and done.stderr.strip().endswith(f"no file of weights at {tmp_path / 'none.pt'}")
    assert "Traceback" not in done.stderr
