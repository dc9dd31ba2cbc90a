"""Names in source text as an experiment: conditions, what is measured, and the sweep."""

import threading

import pytest
import torch

from emt_core.analysis import copying
from emt_core.experiments import copiers, source_names
from emt_core.experiments.copiers import Copier
from emt_core.experiments.jobs import Place
from emt_core.experiments.table import weights_file
from emt_core.networks import Reader, cell_named, load
from emt_core.support.random_streams import stream
from emt_core.tasks.source_text import CHARACTERS, LETTERS, Source, held_out

SMALL = dict(cell="gru", hidden=8, steps=3, window=60, inputs=4, batch=4)
TINY = {"tiny": (SMALL, 2), "renamed": (SMALL | {"renamed": True}, 1)}
NAMES = ("value", "path", "reader", "parent", "target", "stream", "format", "prefix", "suffix", "number")


@pytest.fixture
def small(monkeypatch):
    """Small networks, not for long, on a short text."""
    lines = [f"    def of_{n}(self, {n}):\n        self.{n} = {n}\n        return other, things\n" for n in NAMES]
    text = Source("x\n" + "\n".join(lines * 3))
    for name, value in dict(CONDITIONS=TINY, AMONG=6, JUDGED=8, STRANGE=4, CONTEXT=60).items():
        monkeypatch.setattr(copiers, name, value)
    monkeypatch.setattr(copiers, "standard_library", lambda: text)
    copiers.to_learn.cache_clear()
    yield text
    copiers.to_learn.cache_clear()


def untrained() -> Reader:
    V = len(CHARACTERS)
    return Reader.init(cell_named("gru"), V, 8, [stream(0, "network")], vocabulary=V, inputs=4)


def test_what_is_no_network(tmp_path, thread):
    for name in ("hidden", "steps", "window", "inputs", "batch"):
        with pytest.raises(ValueError, match=rf"^{name} must be at least 1, got 0"):
            Copier(**SMALL | {name: 0}, seed=0)
    with pytest.raises(ValueError, match=r"^cell must"):
        Copier(**SMALL | {"cell": "bell"}, seed=0)
    with pytest.raises(ValueError, match=r"^conditions must be among gru, .*; got 'no such'"):
        source_names(tmp_path, conditions=["no such"], executor=thread)


def test_kinds_of_names(small):
    kinds = copiers.kinds(small)
    assert {*kinds["seen"], *kinds["held_out"]} == {*NAMES} and all(map(held_out, kinds["held_out"]))
    assert kinds == copiers.kinds(small)  # the same every time
    for kind in ("shuffled", "random"):
        assert kinds[kind] and not {*kinds[kind]} & {*small.names, *small.words}
        assert all(not set(name) - set(LETTERS) for name in kinds[kind])
    assert sorted(map(sorted, kinds["shuffled"])) == sorted(map(sorted, kinds["held_out"]))


def test_what_is_learned_from_never_has_a_held_out_name(small):
    assert any(map(held_out, small.names)) and not any(map(held_out, copiers.to_learn().names))


def test_rows_are_shares_of_names(small, monkeypatch):
    """By a network that copies exactly the names with an e in them."""
    monkeypatch.setattr(copying, "copied", lambda model, prompts, names: torch.tensor(["e" in n for n in names]))
    found = copiers.copying_of(untrained(), small)
    for kind, names in copiers.kinds(small).items():
        assert found[f"scene_{kind}"] == pytest.approx(sum("e" in n for n in names) / len(names))
        assert found[f"names_{kind}"] == len(names)
    seen = [name for name in NAMES if not held_out(name)]
    assert found["place_seen"] == pytest.approx(sum("e" in n for n in seen) / len(seen), abs=0.02)
    asked = [n for kind, names in copiers.kinds(small).items() if kind != "seen" for n in names if len(n) == 6]
    assert found["length_6"] == pytest.approx(sum("e" in n for n in asked) / len(asked)) and found["length_1"] is None


def test_the_sweep_trains_saves_and_measures(small, tmp_path, thread):
    swept = source_names(tmp_path, conditions=TINY, executor=thread, progress=False)
    lines = [copiers.network(name, seed) for name, seed in (("tiny", 0), ("tiny", 1), ("renamed", 0))]
    assert not swept.failed and [row["key"] for row in swept.rows] == [line.key for line in lines]
    for line, row in zip(lines, swept.rows, strict=True):
        assert row["status"] == "done" and 0 <= row["characters"] <= 1 and 0 < row["loss"] < 6
        assert row["random_edit"] is None or 0 <= row["random_edit"] <= 1  # None: all is written alike
        saved, about = load(tmp_path / weights_file(line.key))
        measured = copiers.measure(saved, line)
        assert measured.keys() <= row.keys() and about["status"] == "done"
        for name, value in measured.items():  # sums on another number of threads
            assert row[name] == (None if value is None else pytest.approx(value, rel=1e-5, abs=1e-6)), name


def test_who_is_stopped_measures_nothing(tmp_path, small, monkeypatch):
    stop = threading.Event()
    stop.set()
    monkeypatch.setattr(copiers, "measure", lambda *_: pytest.fail("it was stopped"))
    place = Place(tmp_path, tmp_path / "run", stop)
    assert copiers.train(place, (copiers.network("tiny", 0),), "cpu", 5) is None


def test_code_is_measured_on_words_and_on_random_letters(small):
    model = untrained()
    found = copiers.coded(model, small)
    names = torch.randint(len(LETTERS), (copiers.CODED, 14), generator=stream(0, "code"))
    network, draw = copying.in_a_scene(model), stream(0, "code")
    torch.randint(len(LETTERS), (copiers.CODED, 14), generator=draw)
    expected = copying.code(network, names[:, :6], names[:, 6:], draw)
    assert {f"random_{k}": v for k, v in expected.items()}.items() <= found.items()
