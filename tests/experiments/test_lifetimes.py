"""How long memories last: conditions, what is measured of a network, and the sweep."""

import csv
import math
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from oracles import generators

from emt_core.analysis.regeneration import regeneration
from emt_core.experiments import __main__ as command_line
from emt_core.experiments import lasting, lifetimes
from emt_core.experiments import variable_binding as networks
from emt_core.experiments.jobs import Place
from emt_core.experiments.table import Swept, weights_file
from emt_core.experiments.variable_binding import Model
from emt_core.networks import CELLS, Elman, VectorNetwork, load
from emt_core.networks.exact import linear_rnn, tanh_rnn
from emt_core.networks.vectors import elman
from emt_core.support.random_streams import stream, streams
from emt_core.tasks import VariableBinding
from emt_core.theory import circuit
from emt_core.training import variable_binding as train

BITS = VariableBinding.repeat_copy(3, 2)
RECIPE = {"hidden": 8, "steps": 20, "horizons": (3, 4), "batch": 5, "test_horizon": 9}
TINY = {"tiny": {}, "noisy": {"noise": 0.1}, "gru": {"cell": "gru"}, "biased": {"start": "biased"}}


@pytest.fixture
def small(monkeypatch):
    """Small networks, and not for long."""
    for name, value in dict(
        USUAL=RECIPE | {"task": BITS}, CONDITIONS=TINY, STEPS=(30, 60), LATER=10, SEQUENCES=16
    ).items():
        monkeypatch.setattr(lifetimes, name, value)


def go(out, thread, **options) -> Swept:
    return lasting(out, executor=thread, progress=False, **({"conditions": TINY, "seeds": [0]} | options))


def table(out: Path) -> list[dict]:
    """The file's rows, without what two runs need not share."""
    with (out / "table.csv").open(newline="", encoding="utf8") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


# --- conditions -------------------------------------------------------------------------------------------------------


def test_every_condition_makes_a_network_of_its_own():
    made = {name: lifetimes.network(name, 3) for name in lifetimes.CONDITIONS}
    assert len({model.key for model in made.values()}) == len(made)
    assert {model.seed for model in made.values()} == {3} and {model.threshold for model in made.values()} == {0.96}
    usual = Model.of(
        VariableBinding.repeat_copy(4, 4), hidden=64, l2=0, threshold=0.96, seed=3, steps=4000,
        horizons=(10, 20, 40, 60, 100),
    )  # fmt: skip
    assert made["repeat copy 4 x 4"] == usual
    for name, model in made.items():
        given = lifetimes.CONDITIONS[name]
        assert {field: getattr(model, field) for field in given} == given
        kept = {"hidden", "steps", "horizons", "lr", "l2", "batch", "cell", "noise", "start"} - given.keys()
        assert all(getattr(model, field) == getattr(usual, field) for field in kept), name
    assert not any("," in name for name in made)  # the command line splits there


def test_what_tests_the_rule_was_not_known_when_it_was_stated():
    held_out, known = set(lifetimes.HELD_OUT), [f"random {i}" for i in range(lifetimes.KNOWN)]
    assert held_out < lifetimes.CONDITIONS.keys() and len(held_out) == len(lifetimes.HELD_OUT)
    assert not held_out & {*known, *lifetimes.OTHERWISE} and set(known) < lifetimes.CONDITIONS.keys()
    assert not held_out & {f"repeat copy {S} x {D}" for S, D in lifetimes.SHAPES}
    drawn = {name for name in lifetimes.CONDITIONS if name.startswith("random ")}
    assert drawn == {*known} | {name for name in held_out if name.startswith("random ")}
    tasks = {name: lifetimes.network(name, 0).task for name in lifetimes.CONDITIONS}
    assert not {tasks[name] for name in held_out} & {tasks[name] for name in tasks if name not in held_out}


def test_a_condition_that_there_is_not_is_named(tmp_path, thread):
    for wrong in ("no such", "random", ""):
        with pytest.raises(ValueError, match=rf"^conditions must be among repeat copy 16 x 1, .*; got '{wrong}'"):
            lasting(tmp_path, conditions=[wrong], executor=thread)
    with pytest.raises(ValueError, match=r"^checkpoint_every must be at least 1, got 0"):
        lasting(tmp_path, checkpoint_every=0, executor=thread)


# --- what is measured -------------------------------------------------------------------------------------------------


def test_a_digital_circuit_is_measured_as_it_was_made(small):
    """Three units for each of six memories, of gain 2, and two units that nothing reaches."""
    model = tanh_rnn(BITS, circuit.local_basis(20, 6, torch.Generator().manual_seed(0)), 2.0)
    size = 0.5
    for _ in range(100):
        size = math.tanh(2 * size)
    found = lifetimes.measure(model, BITS, 0)
    assert [*found] == ["accuracy_30", "accuracy_60", "kept", "size", *lifetimes.OF_CIRCUITS]
    # 2 (1 − A²) at A = tanh(2 A) is 0.17: whatever is left of a kick, 10 steps make 10^7 times smaller of it, and of
    # amplitudes after 40 steps all is rounding
    assert found["accuracy_30"] == found["accuracy_60"] == 1 and found["kept"] < 1e-6
    expected = {"size": size * 0.9**0.5, "gain": (2 * (1 - size**2)) ** 3, "ownership": 1.0}
    expected |= dict.fromkeys(("modulus_least", "modulus_mean", "modulus_most"), 2.0)
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-9)


def test_accuracies_are_means_over_the_last_steps_of_fresh_sequences(small, monkeypatch):
    """And a network that writes the opposite has none right."""
    monkeypatch.setattr(lifetimes, "WINDOW", 4)
    drawn = VectorNetwork.init(networks.Elman, 2, 8, generators(0)).to(torch.float64)
    model = elman(drawn.W_uh, 1.8 * drawn.W_hh, drawn.W_r)
    found = lifetimes.measure(model, BITS, 5)
    inputs, targets = BITS.sample(16, 60, [stream(5, "lasting")], torch.float64)
    right = (model.rollout(inputs, 60)[1][:, 3:] * targets > 0).double().mean((0, 2, 3))
    for last in (30, 60):
        assert found[f"accuracy_{last}"] == pytest.approx(right[last - 4 : last].mean().item(), abs=1e-12)
    assert 0.3 < found["accuracy_60"] < 0.7  # it has learned nothing
    exact = linear_rnn(BITS)
    opposite = elman(0.01 * exact.W_uh, 1.01 * exact.W_hh, -exact.W_r)
    assert lifetimes.measure(opposite, BITS, 5)["accuracy_30"] == 0


def test_a_kick_is_followed_from_where_the_state_has_settled(small):
    """By the definition: states after 40 output steps, 0.2 of their norm in a direction of their own, and what is left
    of it 10 steps later, beside states; its median."""
    model = VectorNetwork.init(CELLS["lstm"], 2, 8, generators(0)).to(torch.float64)
    found = lifetimes.measure(model, BITS, 5)
    inputs = BITS.inputs(16, [stream(5, "lasting")], torch.float64)
    h = model.rollout(inputs, 40)[0][:, -1]
    along = torch.randn(16, 16, dtype=torch.float64, generator=stream(5, "kick"))
    other = h + 0.2 * h.norm(dim=2, keepdim=True) * along / along.norm(dim=1, keepdim=True)
    assert found["size"] == pytest.approx(h.square().mean().sqrt().item(), rel=1e-12)
    for _ in range(10):
        h, other = model.step(h), model.step(other)
    left = ((other - h).norm(dim=2) / h.norm(dim=2)).flatten().sort().values
    assert left[7].item() * (1 - 1e-9) <= found["kept"] <= left[8].item() * (1 + 1e-9)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_only_elman_networks_have_circuits(small, cell):
    found = lifetimes.measure(VectorNetwork.init(CELLS[cell], 2, 6, generators(0)), BITS, 0)
    assert [name for name, value in found.items() if value is None] == [*lifetimes.OF_CIRCUITS]
    assert all(isinstance(value, float) for name, value in found.items() if name not in lifetimes.OF_CIRCUITS)


def biased(seeds) -> VectorNetwork:
    each = streams(seeds, "network")
    drawn = VectorNetwork.init(Elman, 2, 8, each)
    return replace(drawn, cell=drawn.cell.started("biased", each))


def test_the_circuit_at_the_origin_is_not_that_of_a_network_with_biases(small):
    found = lifetimes.measure(biased([0]), BITS, 0)
    assert [name for name, value in found.items() if value is None] == [*lifetimes.MODULI]
    restored = regeneration(biased([0]), BITS, [stream(0, "regeneration")])
    expected = [restored.weakest.item(), restored.best.min().item()]
    assert [found["gain"], found["ownership"]] == pytest.approx(expected, rel=1e-12)


# --- the sweep --------------------------------------------------------------------------------------------------------


def test_a_row_is_a_networks_and_what_is_measured_of_it(tmp_path, thread, small):
    swept = go(tmp_path, thread, seeds=range(2))
    assert not swept.failed and not swept.missing
    models = [lifetimes.network(condition, seed) for condition in TINY for seed in range(2)]
    assert [Model.of_row(row) for row in swept.rows] == models
    for model, row in zip(models, swept.rows, strict=True):
        settings = RECIPE | dict(threshold=0.96, noise=model.noise, progress=False)
        start = None if model.start == "uniform" else biased([model.seed])
        run = train.fit(BITS, cell=model.cell, seeds=[model.seed], start=start, **settings)
        saved, _ = load(tmp_path / weights_file(row["key"]))
        assert saved == run.model and row["accuracy"] == float(run.accuracy)
        measured = lifetimes.measure(saved, BITS, model.seed)
        # a job has one thread, this process perhaps more, which sum 2,048 sequences in another order
        for name, value in measured.items():
            assert row[name] == (None if value is None else pytest.approx(value, rel=1e-12)), name
        if model.cell == "elman":
            restored = regeneration(saved, BITS, [stream(model.seed, "regeneration")])
            found = [restored.weakest.item(), restored.best.min().item()]
            assert [row["gain"], row["ownership"]] == pytest.approx(found, rel=1e-12)
        if model.cell == "elman" and start is None:
            moduli = torch.linalg.eigvals(saved.W_hh[0].double()).abs().sort(descending=True).values[:6]  # S·D of 8
            expected = {"least": moduli.min(), "mean": moduli.mean(), "most": moduli.max()}
            for name, value in expected.items():
                assert row[f"modulus_{name}"] == pytest.approx(value.item(), rel=1e-9)
        else:
            none = lifetimes.MODULI if model.cell == "elman" else lifetimes.OF_CIRCUITS
            assert [row[name] for name in none] == [None] * len(none)
    first, *_ = table(tmp_path)
    assert {"cell", "noise", "accuracy_30", "accuracy_60", "kept", "size", *lifetimes.OF_CIRCUITS} <= first.keys()


def test_the_books_columns_are_those_of_a_row():
    """At the steps that the book's table has."""
    model = VectorNetwork.init(networks.Elman, 1, 2, generators(0))
    assert [*lifetimes.measure(model, VariableBinding.repeat_copy(2, 1), 0)] == [*lifetimes.COLUMNS]


def test_the_same_command_trains_what_is_missing(tmp_path, thread, small, monkeypatch):
    calls, fit = [], train.fit

    def counted(*arguments, **settings):
        calls.append((settings["cell"], settings["noise"], settings["seeds"]))
        return fit(*arguments, **settings)

    monkeypatch.setattr(train, "fit", counted)
    seeds = iter(range(2))  # an iterator is read once, for all conditions
    whole = tmp_path / "whole"
    go(whole, thread, conditions=["tiny", "gru"], seeds=seeds)
    assert sorted(calls) == [("elman", 0, [0]), ("elman", 0, [1]), ("gru", 0, [0]), ("gru", 0, [1])]
    parts = tmp_path / "parts"
    go(parts, thread, conditions=["gru"])
    calls.clear()
    go(parts, thread, conditions=["tiny", "gru"], seeds=range(2))
    assert sorted(calls) == [("elman", 0, [0]), ("elman", 0, [1]), ("gru", 0, [1])]
    assert table(parts) == table(whole)
    calls.clear()
    go(parts, thread, conditions=["tiny", "gru"], seeds=range(2))
    assert calls == []


def test_networks_that_are_trained_together_are_those_alone(tmp_path, thread, small):
    options = dict(conditions=["tiny", "noisy"], seeds=range(3))
    go(tmp_path / "alone", thread, **options)
    go(tmp_path / "together", thread, group=3, **options)
    assert table(tmp_path / "alone") == table(tmp_path / "together")


def test_who_is_stopped_measures_nothing(tmp_path, small, monkeypatch):
    stop = threading.Event()
    stop.set()
    monkeypatch.setattr(lifetimes, "measure", lambda *_: pytest.fail("it was stopped"))
    place = Place(tmp_path, tmp_path / "run", stop)
    assert lifetimes.train(place, (lifetimes.network("tiny", 0),), "cpu", 5) is None


# --- the command line -------------------------------------------------------------------------------------------------


def test_the_command_line_is_the_functions_arguments(monkeypatch, capsys):
    asked = {}

    def nothing(kind, lines, out, measure, arguments, files, **options):
        asked.update(kind=kind, lines=lines, out=out, arguments=arguments, files=files, **options)
        return Swept([], lines, {}, False)

    monkeypatch.setattr(lifetimes, "drive", nothing)
    command = "lasting --out x --seeds 2:4 --group 2 --workers 3 --checkpoint-every 9 --conditions"
    assert command_line.main([*command.split(), "gru on repeat copy,repeat copy 4 x 4,noise 0.03"]) == 0
    names = ("gru on repeat copy", "repeat copy 4 x 4", "noise 0.03")
    assert asked.pop("lines") == [lifetimes.network(name, seed) for name in names for seed in (2, 3)]
    options = dict(device="cpu", group=2, workers=3, scheduler=None)
    assert asked == dict(kind=Model, out=Path("x"), arguments=(9,), files=True, **options)
    assert "0 rows in x/table.csv, 6 missing" in capsys.readouterr().out
    assert command_line.main(["lasting", "--out", "x"]) == 0
    assert asked["lines"] == [lifetimes.network(name, seed) for name in lifetimes.CONDITIONS for seed in range(4)]
    for name in lifetimes.CONDITIONS:  # each can be typed
        assert command_line.main(["lasting", "--out", "x", "--seeds", "1", "--conditions", name]) == 0
        assert asked["lines"] == [lifetimes.network(name, 0)]


@pytest.mark.parametrize("wrong", ["", "random 99", "gru,nothing"], ids=repr)
def test_the_command_names_a_wrong_condition(wrong, capsys):
    with pytest.raises(SystemExit) as status:
        command_line.main(["lasting", "--out", "x", "--conditions", wrong])
    assert status.value.code == 2
    said = capsys.readouterr().err
    assert "argument --conditions: expected some of repeat copy 16 x 1," in said and f"got {wrong!r}" in said
