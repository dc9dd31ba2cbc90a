"""Change ringing as an experiment: conditions, what is measured (of networks written down), and the sweep."""

import csv
import math
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from emt_core.experiments import __main__ as command_line
from emt_core.experiments import change_ringing, ringers
from emt_core.experiments.jobs import Place
from emt_core.experiments.ringers import Ringer
from emt_core.experiments.table import Swept, weights_file
from emt_core.networks import load
from emt_core.networks.elman import Elman
from emt_core.networks.vectors import VectorNetwork, elman
from emt_core.support.random_streams import stream
from emt_core.tasks import ChangeRinging
from emt_core.tasks.change_ringing import Method, Tables, right_rows
from emt_core.theory import ringing
from emt_core.training import variable_binding as training

METHOD = Method("Plain Bob", 4, "&x14x14,12", "plain")
TASK = ChangeRinging((METHOD,))
HEARD, HELD = ringers.starts(METHOD, 0.25)
SMALL = dict(method="Plain Bob Minimus", hidden=6, steps=10, horizons=(3, 4))
TINY = {"tiny": (SMALL, 2), "gru": (SMALL | {"cell": "gru"}, 1), "free": (SMALL | {"free": True}, 1)}


@pytest.fixture
def small(monkeypatch):
    """Small networks, not for long, and no need of the package that has the tables."""
    for name, value in dict(CONDITIONS=TINY, STARTS=2, ITERATIONS=2, SETTLED=1, COURSES=(1, 2)).items():
        monkeypatch.setattr(ringers, name, value)
    monkeypatch.setattr(ringers, "tables", lambda: Tables((METHOD,), ()))


def gated() -> VectorNetwork:
    W_uh, W_hh, W_r, b = (w[None] for w in ringing.gated(METHOD, TASK.bits))
    return VectorNetwork(Elman(W_hh=W_hh, W_uh=W_uh, b=b), W_r)


def clocked() -> VectorNetwork:
    return elman(*(w[None] for w in ringing.clocked(METHOD, TASK.bits)), activation="identity")


# --- conditions -------------------------------------------------------------------------------------------------------


def test_what_is_no_network(tmp_path, thread):
    for name in ("hidden", "steps"):
        with pytest.raises(ValueError, match=rf"^{name} must be at least 1, got 0"):
            Ringer(**SMALL | {name: 0}, seed=0)
    for name in ("lr", "share"):
        with pytest.raises(ValueError, match=rf"^{name} must"):
            Ringer(**SMALL | {name: 0.0}, seed=0)
    with pytest.raises(ValueError, match=r"^cell must"):
        Ringer(**SMALL | {"cell": "bell"}, seed=0)
    with pytest.raises(ValueError, match=r"^conditions must be among minimus elman, .*; got 'no such'"):
        change_ringing(tmp_path, conditions=["no such"], executor=thread)
    with pytest.raises(ValueError, match=r"^checkpoint_every must be at least 1, got 0"):
        change_ringing(tmp_path, checkpoint_every=0, executor=thread)


def test_a_quarter_of_all_rows_is_held_out():
    assert (len(HEARD), len(HELD)) == (18, 6) and len({*HEARD, *HELD}) == 24


# --- what is measured -------------------------------------------------------------------------------------------------


def test_who_rings_exactly_is_right_in_every_course_and_who_writes_the_opposite_in_none():
    good = ringers.rung(gated(), METHOD, HELD)
    assert good == {"course_1": 1, "course_2": 1, "course_10": 1, "signs": 1}
    opposite = clocked()
    opposite = opposite.with_weights(opposite.weights | {"W_r": -opposite.W_r})
    assert ringers.rung(opposite, METHOD, HELD) == dict.fromkeys(good, 0)


def test_shares_of_rows_are_means_over_the_courses_rows():
    """A linear network whose clock has gone slowly wrong: by the definition, row by row."""
    network = clocked()
    noise = torch.randn(network.W_hh.shape, generator=stream(0, "noise"), dtype=torch.float64)
    network = network.with_weights(network.weights | {"W_hh": network.W_hh + 0.02 * noise})
    found, right, signs = ringers.rung(network, METHOD, HELD), [], []
    for start in HELD:
        rows = METHOD.rows(241, start)
        written = network.rollout(TASK.encode(rows[:1], torch.float64)[None, :, None], 240)[1][0, :, 0]
        right.append(right_rows(written, TASK.encode(rows, torch.float64))[1:].double())
        signs.append((written * TASK.encode(rows) > 0)[1:49].double().mean())
    right = torch.stack(right)
    assert found["course_1"] == pytest.approx(float(right[:, :24].mean()), abs=1e-12)
    assert found["course_2"] == pytest.approx(float(right[:, 24:48].mean()), abs=1e-12)
    assert found["course_10"] == pytest.approx(float(right[:, 216:].mean()), abs=1e-12)
    assert found["signs"] == pytest.approx(float(torch.stack(signs).mean()), abs=1e-12)
    assert 0 < found["course_1"] < 1


def test_the_strength_of_a_frequency_is_the_share_of_its_waves():
    """Parseval: Σ_k |R_k|² is the mean of |A_t|², which is n for a permutation; and R_{−k} is the conjugate of R_k."""
    power = ringers.strength(METHOD)
    R = ringing.residues(METHOD)
    assert power.sum() == pytest.approx(1, abs=1e-12) and np.allclose(power[1:], power[:0:-1], atol=1e-12)
    assert np.allclose(power, np.linalg.norm(R.numpy(), axis=(1, 2)) ** 2 / 4, atol=1e-12)
    assert power[12] < 1e-12  # −1 is missing


def test_eigenvalues_are_counted_at_the_nearest_root():
    """The least network's, on a diagonal: all modulus 1, each at its root; and some moved by hand."""
    exact = ringing.least_eigenvalues(TASK)
    pairs = [z for z in exact.tolist() if z.imag > 1e-9]
    blocks = [torch.tensor([[z.real, -z.imag], [z.imag, z.real]]) for z in pairs]
    found = ringers.eigenvalues(torch.block_diag(*blocks, torch.zeros(3, 3)).double(), METHOD)
    assert (found["leading"], found["real"]) == (44, 0) and found["radius"] == pytest.approx(1, abs=1e-6)
    assert found["angle"] < 1e-6 and found["correlation"] is None  # two at each root: nothing to rank
    tenth = 2 * math.pi / 24 * (2 + 0.25)  # a quarter of the way from root 2 to root 3
    some = [1.5 * np.exp(1j * tenth), 0.95 * np.exp(2j * np.pi * 7 / 24), 0.8 * np.exp(2j * np.pi * 10 / 24)]
    blocks = [torch.tensor([[z.real, -z.imag], [z.imag, z.real]]) for z in some]
    found = ringers.eigenvalues(torch.block_diag(*blocks, torch.tensor([[-1.0]])).double(), METHOD)
    assert (found["leading"], found["real"], found["radius"]) == (5, 1, pytest.approx(1.5))
    assert found["angle"] == pytest.approx(2 * 0.25 * 2 * math.pi / 24 / 5, rel=1e-5)
    counts = [1 if k in (2, 7) else 0 for k in range(1, 12)]
    expected = spearmanr(ringers.strength(METHOD)[1:12], counts).statistic
    assert found["correlation"] == pytest.approx(expected) and expected > 0.5


def test_a_network_written_down_holds_its_bells_by_phase():
    found = ringers.held(gated(), METHOD, HEARD, HELD, 0)
    assert found["explained"] > 0.999 and found["explained_later"] > 0.999 and found["explained_other"] < 0.75
    assert found["dimensions_one"] <= 6 < found["dimensions"] <= 52
    for where in ("heard", "held"):
        for name in ("edit", "written", "swapped_from_the_start"):
            assert found[f"{name}_{where}"] == 1
        assert found[f"nothing_{where}"] == 0 and found[f"other_phase_{where}"] < 0.3
    found = ringers.held(clocked(), METHOD, HEARD, HELD, 0)
    assert (found["dimensions_one"], found["dimensions"]) == (6, 46)  # of 48 alike, 95 %
    assert found["explained_other"] < 0


def test_gates_ring_on_orbits_of_a_course(monkeypatch):
    """From all 24 rows, which are on eight courses that begin alike: 4! / 3."""
    found = ringers.courses(gated(), METHOD, HEARD)
    assert (found["orbit_starts"], found["orbit_converged"], found["orbits_whole"]) == (18, 18, 1)
    lead = METHOD.sources(METHOD.lead + 1)[-1].tolist()

    def course(row):
        rows = [row, tuple(row[p] for p in lead)]
        rows.append(tuple(rows[1][p] for p in lead))
        return frozenset(rows)

    assert found["orbits"] == len({course(row) for row in HEARD})
    assert found["multiplier_most"] < 1e-8 and found["multipliers_near"] == 0
    found = ringers.courses(VectorNetwork.init(Elman, 8, 3, [stream(0, "network")]), METHOD, HEARD)
    assert found["orbits_whole"] in (0, None)  # whatever becomes of it, it does not ring


# --- the sweep --------------------------------------------------------------------------------------------------------


def test_a_row_is_a_networks_and_what_is_measured_of_it(tmp_path, thread, small):
    swept = change_ringing(tmp_path, conditions=TINY, executor=thread, progress=False)
    assert not swept.failed and not swept.missing
    lines = [ringers.network(name, seed) for name, seed in (("tiny", 0), ("tiny", 1), ("gru", 0), ("free", 0))]
    assert [Ringer.of_row(row) for row in swept.rows] == lines
    for line, row in zip(lines, swept.rows, strict=True):
        task = ChangeRinging((METHOD,), free=True) if line.free else ChangeRinging((METHOD,), starts=HEARD)
        run = training.fit(
            task, cell=line.cell, hidden=6, seeds=[line.seed], steps=10, horizons=(3, 4), test_horizon=48,
            progress=False,
        )  # fmt: skip
        saved, about = load(tmp_path / weights_file(row["key"]))
        assert saved == run.model and row["accuracy"] == float(run.accuracy) and about["method"] == line.method
        measured = ringers.measure(saved, line)
        for name, value in measured.items():
            assert row[name] == (None if value is None else pytest.approx(value, rel=1e-6, abs=1e-9)), name
        assert all((row[name] is None) == (line.cell == "gru") for name in ("leading", "radius"))
    with (tmp_path / "table.csv").open(newline="", encoding="utf8") as file:
        first = next(csv.DictReader(file))
    assert {"method", "share", "free", "course_2_held", "edit_held", "random_heard", "commit", "cpu"} <= first.keys()


def test_who_is_stopped_measures_nothing(tmp_path, small, monkeypatch):
    stop = threading.Event()
    stop.set()
    monkeypatch.setattr(ringers, "measure", lambda *_: pytest.fail("it was stopped"))
    place = Place(tmp_path, tmp_path / "run", stop)
    assert ringers.train(place, (ringers.network("tiny", 0),), "cpu", 5) is None


def test_the_command_line_is_the_functions_arguments(monkeypatch, capsys):
    asked = {}

    def nothing(kind, lines, out, measure, arguments, **options):
        asked.update(kind=kind, lines=lines, out=out, arguments=arguments, **options)
        return Swept([], lines, {}, False)

    monkeypatch.setattr(ringers, "drive", nothing)
    command = "change-ringing --out x --seeds 2:4 --workers 3 --checkpoint-every 9 --conditions"
    assert command_line.main([*command.split(), "minimus gru,doubles elman free"]) == 0
    names = ("minimus gru", "doubles elman free")
    assert asked.pop("lines") == [ringers.network(name, seed) for name in names for seed in (2, 3)]
    rest = dict(device="cpu", group=None, workers=3, scheduler=None)
    assert asked == dict(kind=Ringer, out=Path("x"), arguments=(9,), **rest)
    assert "0 rows in x/table.csv, 4 missing" in capsys.readouterr().out
    assert command_line.main(["change-ringing", "--out", "x"]) == 0
    expected = [ringers.network(name, seed) for name, (_, n) in ringers.CONDITIONS.items() for seed in range(n)]
    assert asked["lines"] == expected
