"""What is shipped of finished folders: the same tables and weights as are in book/data, and where they come from."""

import csv
import json
import math
import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_sweep import RECIPE, TASK

from emt_core.experiments import __main__ as command_line
from emt_core.experiments import (
    call_ringers,
    edit_studies,
    lifetimes,
    recurrence_factors,
    recurrences,
    ringers,
    sweep,
)
from emt_core.experiments import variable_binding as networks
from emt_core.experiments.provenance import made_by
from emt_core.experiments.table import weights_file
from emt_core.experiments.token_repeat import Edit, Probe, Repeater
from emt_core.experiments.variable_binding import Model
from emt_core.networks import load
from emt_core.tasks import TokenRepeat, VariableBinding, fixed_pool
from emt_core.tasks.change_ringing import Method, Tables
from emt_core.tasks.fixed_pool import FixedPool
from emt_core.theory import circuit
from emt_core.training import Recipe

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import ship as shipping  # noqa: E402
from ship import KINDS, ship  # noqa: E402

SHIPPED = ROOT / "book" / "data"
SMALL = dict(hidden=4, batch=5, horizons=(3,), every=7, test_horizon=9)


def read(path: Path) -> tuple[dict[str, str], list[dict]]:
    """A shipped table: its first lines, and its rows as a chapter reads them."""
    lines = path.read_text(encoding="utf8").splitlines()
    about = dict(line[2:].split(": ", 1) for line in lines if line.startswith("#"))
    return about, list(csv.DictReader(line for line in lines if not line.startswith("#")))


def run(models, out, thread, command: str = "") -> list[dict]:
    swept = sweep(models, out, weights=True, executor=thread, progress=False)
    assert not swept.failed and not swept.missing
    if command:
        command_line.note(out / "commands", f"python -m emt_core.experiments {command}")
    return swept.rows


def columns(name: str) -> list[str]:
    """Those of the table in the book."""
    return list(read(SHIPPED / name)[1][0])


def test_every_experiment_can_be_shipped():
    assert set(KINDS) == set(command_line.EXPERIMENTS)


def test_circuits_and_failures(tmp_path, thread, monkeypatch):
    cells = {
        "circuits": [(0, 4, 0.0, range(1, 3), 8)],
        "failures": [(1, 5, 0.1, range(1), 9), (0, 4, 0.001, range(1), 9)],
    }
    monkeypatch.setattr(networks, "THRESHOLD", 0.6)
    monkeypatch.setattr(shipping, "FULL_SIZE", cells)
    for name, wanted in cells.items():
        models = [model for cell in wanted for model in networks.full_size(*cell)]
        assert all((m.history, m.dim, m.threshold) == (8, 8, 0.6) for m in models)
        made = run(models, tmp_path / name, thread, f"{name} --out {name}")
        files = ship(tmp_path / name, tmp_path / "book")
        about, rows = read(tmp_path / "book" / f"full_size_{name}.csv")
        assert list(rows[0]) == columns(f"full_size_{name}.csv")
        for model, row, brief in zip(models, made, rows, strict=True):
            assert brief["triple"] == " ".join(map(str, model.triple)) and int(brief["seed"]) == model.seed
            assert (brief["hidden"], brief["l2"], brief["steps"]) == (
                str(model.hidden),
                str(model.l2),
                str(model.steps),
            )
            assert brief["loss"] == f"{row['last_loss']:.5f}" and brief["accuracy"] == f"{row['accuracy']:.5f}"
            assert (int(brief["count"]), int(brief["rank"])) == (row["eigenvalues_learned"], row["eigenvalues_theory"])
            assert math.isnan(float(brief["error"])) and brief["status"] == "done"
        assert about["command"] == f"python -m emt_core.experiments {name} --out {name}"
        made_here = made_by("cpu")
        assert about["commit"] == made_here["commit"] and about["hardware"] == f"device cpu, cpu {made_here['cpu']}"
        assert about["versions"] == "python {python}, torch {torch}, numpy {numpy}".format(**made_here)
        assert list(about) == ["command", "date", "commit", "hardware", "versions"]
        for (place, units, l2, seeds, steps), file in zip(wanted, files, strict=False):
            assert file == tmp_path / "book" / f"{name}_{place}_{units}_{l2:g}.safetensors"
            together, metadata = load(file)
            assert together.models == len(seeds) and metadata["seeds"] == " ".join(map(str, seeds))
            assert metadata["steps"] == str(steps) and metadata["command"] == about["command"]
        first = load(tmp_path / name / weights_file(made[0]["key"]))[0]
        assert load(files[0])[0][0] == first
    shutil.rmtree(tmp_path / "failures" / "rows")
    with pytest.raises(ValueError, match=r"folder must hold rows of failures, .*failures has none"):
        ship(tmp_path / "failures", tmp_path / "book")


def test_the_papers_table(tmp_path, thread):
    task = VariableBinding(networks.PAPER_TRIPLES[3], 8, 8)
    small = dict(SMALL) | {"hidden": 128, "steps": 2}
    models = [
        Model.of(task, l2=0.001, threshold=threshold, seed=seed, **small)
        for threshold in (0.98, 0.9)
        for seed in (2, 0)
    ]
    models.append(Model.of(VariableBinding.repeat_copy(8, 8), l2=0.0, threshold=0.9, seed=1, **small))
    made = run(models, tmp_path / "table", thread)
    weights, csv_file = ship(tmp_path / "table", tmp_path, experiment="table1", command="by hand")
    about, rows = read(csv_file)
    assert about["command"] == "by hand"
    assert [(r["choice"] == "255", r["threshold"], r["seed"]) for r in rows] == [
        (True, "0.9", "1"), (False, "0.9", "0"), (False, "0.9", "2"), (False, "0.98", "0"), (False, "0.98", "2"),
    ]  # fmt: skip
    assert set(columns("table1.csv")) <= set(rows[0])
    assert float(rows[0]["accuracy"]) == made[4]["accuracy"] and rows[0]["matched"] == "false"
    together, metadata = load(weights)
    assert weights.name == "table1_3_128_0.001.safetensors"
    assert (metadata["seeds"], metadata["threshold"], metadata["steps"]) == ("0 2", "0.98", "2")
    assert together[1] == load(tmp_path / "table" / weights_file(made[0]["key"]))[0]


def test_repeat_copy_and_its_film(tmp_path, thread):
    bits = VariableBinding.repeat_copy(2, 1)
    settings = dict(hidden=[8], l2=[0], threshold=[0.96], seeds=[4, 5], steps=200, lr=0.01, look=20)
    models = networks.grid([bits], **settings)
    made = run(models, tmp_path / "copy", thread, "repeat-copy --out copy")
    files = ship(tmp_path / "copy", tmp_path / "book")
    assert [f.name for f in files] == [
        "repeat_copy.safetensors",
        "repeat_copy_film.safetensors",
        "repeat_copy_seeds.csv",
    ]
    _, rows = read(files[2])
    assert list(rows[0]) == columns("repeat_copy_seeds.csv") and [row["seed"] for row in rows] == ["4", "5"]
    reached = next(m for m, row in enumerate(made) if row["eigenvalues_learned"] == row["eigenvalues_theory"])
    assert rows[reached]["first_step"] == str(made[reached]["first_step"])
    model, metadata = load(files[0])
    assert model == load(tmp_path / "copy" / weights_file(made[reached]["key"]))[0]
    assert metadata["seed"] == str(models[reached].seed)
    film = load_file(files[1])
    assert film.keys() == load_file(SHIPPED / "repeat_copy_film.safetensors").keys()
    assert film["real"].shape == (11, 8) and film["steps"].tolist() == list(range(0, 201, 20))


def test_emergence(tmp_path, thread, monkeypatch):
    conditions = {
        name: networks.CONDITIONS[name] for name in ("as the authors", "small start", "no clipping", "another task")
    }
    for module in (networks, shipping):
        monkeypatch.setattr(module, "CONDITIONS", conditions)
    assert networks.small("as the authors", 0).steps == 2000
    monkeypatch.setattr(shipping, "small", small := partial(networks.small, steps=50))
    models = [small(name, seed) for name in conditions for seed in (0, 1)]
    made = run(models, tmp_path / "small", thread, "emergence --seeds 2")
    (file,) = ship(tmp_path / "small", tmp_path)
    _, rows = read(file)
    assert list(rows[0]) == columns("emergence.csv")
    assert [(r["condition"], int(r["seed"])) for r in rows] == [(name, seed) for name in conditions for seed in (0, 1)]
    shipped = {(r["condition"], r["seed"]): r for r in read(SHIPPED / "emergence.csv")[1]}
    for row, mine in zip(rows, made, strict=True):
        then = shipped[row["condition"], row["seed"]]
        same = ("condition", "seed", "triple", "hidden", "start", "lr", "clip", "horizons", "rank")
        assert {name: row[name] for name in same} == {name: then[name] for name in same}
        assert row["steps"] == "50" and row["found"] == "" and row["loss"] == f"{mine['last_loss']:.6f}"
    (tmp_path / "small" / "rows" / f"{made[3]['key']}.json").unlink()
    with pytest.raises(
        ValueError, match=r"folder must hold the whole experiment, .* has no row of Model.*start='small'"
    ):
        ship(tmp_path / "small", tmp_path)


def test_change_ringing(tmp_path, thread, monkeypatch):
    """Rows of the conditions that were trained, and the first network of those that are chosen."""
    small = dict(method="Plain Bob Minimus", hidden=4, steps=3, horizons=(3,))
    conditions = {"one": (small, 2), "never": (small | {"hidden": 5}, 1), "gru": (small | {"cell": "gru"}, 1)}
    for name, value in dict(CONDITIONS=conditions, STARTS=2, ITERATIONS=2, SETTLED=1).items():
        monkeypatch.setattr(ringers, name, value)
    monkeypatch.setattr(shipping, "FIRST", {"ringing_minimus": "one", "ringing_doubles": "never"})
    method = Method("Plain Bob", 4, "&x14x14,12", "plain")
    monkeypatch.setattr(ringers, "tables", lambda: Tables((method,), ()))
    out = tmp_path / "change_ringing"
    made = ringers.change_ringing(out, conditions=["gru", "one"], executor=thread, progress=False).rows
    command_line.note(out / "commands", "python -m emt_core.experiments change-ringing --out x")
    files = ship(out, tmp_path / "book")
    assert [file.name for file in files] == ["ringing_minimus.safetensors", "change_ringing.csv"]
    about, rows = read(files[-1])
    assert list(rows[0]) == columns("change_ringing.csv") and about["command"].endswith("change-ringing --out x")
    assert [(row["condition"], row["seed"]) for row in rows] == [("one", "0"), ("one", "1"), ("gru", "0")]
    _, second, gru = rows
    assert float(second["radius"]) == pytest.approx(made[2]["radius"], rel=1e-5) and gru["radius"] == ""
    together, metadata = load(files[0])
    assert (metadata["seeds"], metadata["condition"]) == ("0", "one")
    assert together == load(out / weights_file(ringers.network("one", 0).key))[0]


def test_call_changes(tmp_path, thread, monkeypatch):
    """The columns that the book has, and the first network of the condition that is chosen."""
    small = dict(cell="gru", hidden=6, steps=2, rows=6, batch=4, bells=4)
    notations = ("&x14.12.34,14", "&x14x34,12", "&x14.12.34,12")  # of the same four changes
    methods = tuple(Method(f"Method {i}", 4, notation) for i, notation in enumerate(notations))
    fewer = dict(CONDITIONS={"one": (small, 1)}, COUNT=12, FITTED=20, JUDGED=6, FIRST=4, EDITED=5, LEAST=2)
    for name, value in fewer.items():
        monkeypatch.setattr(call_ringers, name, value)
    monkeypatch.setattr(call_ringers, "tables", lambda: Tables(methods, ()))
    monkeypatch.setattr(shipping, "FIRST", {"call_changes_gru": "one"})
    call_ringers.split_methods.cache_clear()
    out = tmp_path / "call_changes"
    assert not call_ringers.call_changes(out, conditions=["one"], executor=thread, progress=False).failed
    call_ringers.split_methods.cache_clear()
    command_line.note(out / "commands", "python -m emt_core.experiments call-changes --out x")
    files = ship(out, tmp_path / "book")
    assert [file.name for file in files] == ["call_changes_gru.safetensors", "call_changes.csv"]
    about, rows = read(files[-1])
    assert list(rows[0]) == columns("call_changes.csv") and about["command"].endswith("call-changes --out x")


def test_lasting(tmp_path, thread, monkeypatch):
    """Networks of the first two seeds that are there; a condition that was not trained is left out."""
    task = VariableBinding((0b011000, 0, 0b10), 3, 2)
    conditions = {"usual": {}, "gru": {"cell": "gru"}, "never": {"hidden": 5}, "other": {"task": task, "noise": 0.1}}
    usual = dict(task=TASK, hidden=4, steps=5, horizons=(3, 4), batch=5, test_horizon=9)
    for name, value in dict(CONDITIONS=conditions, USUAL=usual, STEPS=(30, 40), LATER=5, SEQUENCES=4).items():
        monkeypatch.setattr(lifetimes, name, value)
    monkeypatch.setattr(shipping, "LASTING", {"copy": "usual", "gru": "gru", "none": "never"})
    out = tmp_path / "lasting"
    options = dict(executor=thread, progress=False)
    assert not lifetimes.lasting(out, conditions=["gru", "usual"], seeds=[3, 1, 2], **options).failed
    made = lifetimes.lasting(out, conditions=["other"], seeds=[2], **options).rows
    command_line.note(out / "commands", "python -m emt_core.experiments lasting --out lasting")
    files = ship(out, tmp_path / "book")
    assert [file.name for file in files] == ["lasting_copy.safetensors", "lasting_gru.safetensors", "lasting.csv"]
    about, rows = read(files[-1])
    assert list(rows[0]) == columns("lasting.csv") and about["command"].endswith("lasting --out lasting")
    expected = [(name, seed) for name in ("usual", "gru") for seed in "123"] + [("other", "2")]
    assert [(row["condition"], row["seed"]) for row in rows] == expected
    for name, file in (("usual", files[0]), ("gru", files[1])):
        together, metadata = load(file)
        assert (metadata["seeds"], metadata["condition"], together.models) == ("1 2", name, 2)
        for m, seed in enumerate((1, 2)):
            assert together[m] == load(out / weights_file(lifetimes.network(name, seed).key))[0]
    (row,), brief = [row for row in made if row["noise"] == 0.1], rows[-1]
    assert (brief["triple"], brief["noise"], brief["horizons"]) == ("24 0 2", "0.1", "3 4")
    assert (brief["rank"], brief["cycles"]) == (str(circuit.effective_rank(task)), str(len(circuit.cycles(task))))
    assert float(brief["floor"]) == pytest.approx(circuit.linear_floor(task, 20)) and float(rows[0]["floor"]) == 0
    for name in ("kept", "size", *lifetimes.OF_CIRCUITS):
        assert float(brief[name]) == round(row[name], 6)
    assert float(brief["accuracy"]) == row["accuracy"]
    assert all(rows[4][name] == "" for name in lifetimes.OF_CIRCUITS)  # of a GRU


def test_onions(tmp_path):
    """Rows and files that stand for what was learned."""
    usual = dict(most_steps=3, patience=1)

    def on(gru: Repeater) -> dict:
        return dict(gru=gru.key, hidden=gru.hidden, autoregressive=gru.autoregressive, seed=gru.seed)

    grus = [
        Repeater(hidden=N, autoregressive=ar, seed=seed, **usual)
        for N in (128, 64)
        for ar in (False, True)
        for seed in (1, 0)
    ]
    edits = [Edit(intervention="onion", **on(gru), **usual | more) for gru in grus for more in ({}, {"patience": 0})]
    probes = [Probe(probe=kind, **on(gru), **usual) for gru in grus for kind in ("linear", "gru")]
    for name, lines in {"gru": grus, "interventions": edits, "probes": probes}.items():
        for folder in ("rows", "weights"):
            (tmp_path / name / folder).mkdir(parents=True)
        for line in lines:
            row = line.columns() | made_by("cpu") | {"key": line.key, "steps": 3}
            (tmp_path / name / "rows" / f"{line.key}.json").write_text(json.dumps({"key": line.key, "rows": [row]}))
            (tmp_path / name / weights_file(line.key)).write_text(line.key)
    found = {
        name: ship(tmp_path / name, tmp_path / "book", experiment=f"onion-{name}")
        for name in ("gru", "interventions", "probes")
    }
    names = {name: sorted(file.name for file in files) for name, files in found.items()}
    assert names == {
        "gru": ["gru_64_ar_0.safetensors", "gru_64_ni_0.safetensors", "onion_gru.csv"],
        "interventions": ["edit_onion_64_ar_0.safetensors", "onion_interventions.csv"],
        "probes": ["onion_probes.csv", "probe_linear_64_ar_0.safetensors"],
    }
    (chosen,) = [e for e in edits if (e.hidden, e.autoregressive, e.seed, e.patience) == (64, True, 0, 1)]
    assert (tmp_path / "book" / "edit_onion_64_ar_0.safetensors").read_text() == chosen.key
    _, rows = read(tmp_path / "book" / "onion_gru.csv")
    order = [(r["hidden"], r["autoregressive"], r["seed"]) for r in rows]
    assert order == [(N, ar, seed) for N in ("64", "128") for ar in ("true", "false") for seed in "01"]
    _, rows = read(tmp_path / "book" / "onion_interventions.csv")
    assert len(rows) == 16 and [r["patience"] for r in rows] == ["0", "1"] * 8
    (tmp_path / "gru" / weights_file(grus[5].key)).unlink()
    with pytest.raises(ValueError, match=f"must hold weights of at most .*{grus[5].key}"):
        ship(tmp_path / "gru", tmp_path / "book", experiment="onion-gru")


def test_fixed_sequences(tmp_path, thread, monkeypatch):
    short = Recipe(steps=3, batch=8, patience=0)
    monkeypatch.setattr(fixed_pool, "SIZE", 3000)
    monkeypatch.setattr(
        edit_studies, "FIXED", ((False, (6,), 1, short, short), (True, (5,), 1, short, replace(short, steps=2)))
    )
    fixed_pool.pool.cache_clear()
    assert not edit_studies.fixed_sequences(tmp_path / "fixed", executor=thread, progress=False).missing
    (file,) = ship(tmp_path / "fixed", tmp_path, experiment="fixed-sequences")
    _, rows = read(file)
    assert list(rows[0]) == columns("onion_fixed.csv")
    assert [(r["sequences"], r["hidden"], r["seed"]) for r in rows] == [("drawn", "6", "0"), ("distinct", "5", "0")]
    assert [(r["gru_steps"], r["steps"]) for r in rows] == [("3", "3"), ("3", "2")]
    for row in rows:
        lengths = fixed_pool.pool(FixedPool(distinct=row["sequences"] == "distinct"))[1]
        assert [int(row[f"of_length_{n}"]) for n in range(2, 10)] == lengths.bincount()[2:].tolist()
        assert sum(int(row[f"of_length_{n}"]) for n in range(2, 10)) == 3000
    fixed_pool.pool.cache_clear()


def test_edit_controls(tmp_path, thread):
    short = Recipe(steps=3, batch=8, patience=0)
    options = dict(hidden=[6], seeds=[0], task=TokenRepeat(4, 1, 3), recipe=short, gru_recipe=short)
    assert not edit_studies.edit_controls(tmp_path / "x", executor=thread, progress=False, **options).missing
    (file,) = ship(tmp_path / "x", tmp_path, experiment="edit-controls")
    _, rows = read(file)
    told = [(row["learns"], row["misled"], row["intervention"]) for row in rows]
    assert sorted(told) == sorted(
        (learns, str(misled).lower(), kind) for learns, kinds, misled in edit_studies.CONTROLS for kind in kinds
    )
    assert all(
        row["oracle_length_3"] and (row["exact_length_2"] or row["intervention"].endswith("gram")) for row in rows
    )
    assert {row["steps"] for row in rows} == {"0", "3"} and "seconds" not in rows[0]
    # six units, four tokens, lengths 1 to 3: tokens' vectors and four numbers a unit; six layers of four tokens
    numbers = {row["intervention"]: int(row["numbers"]) for row in rows if row["learns"] == "all"}
    expected = {"onion": 4 * 6 + 4 * 6, "level onion": 4 * 6 + 3 * 6, "free scales": 4 * 6 + 4 * 3}
    assert numbers == expected | {"measured": 6 * 4 * 6, "unigram": 6 * 6 + 6 * 4, "bigram": 6 * 6 + 6 * 3}


def test_edit_protocols(tmp_path, thread):
    short = Recipe(steps=4, every=2, batch=8, patience=1, least=0)
    options = dict(hidden=[6], seeds=[0], task=TokenRepeat(4, 1, 3), recipe=short, gru_recipe=short)
    assert not edit_studies.edit_protocols(tmp_path / "x", executor=thread, progress=False, **options).missing
    (file,) = ship(tmp_path / "x", tmp_path, experiment="edit-protocols")
    _, rows = read(file)
    told = [(row["intervention"], row["as_authors"], row["patience"]) for row in rows]
    assert told == sorted(
        (kind, same.get("as_authors", ""), "1" if patience is None else str(patience))
        for kinds, same, patience in edit_studies.PROTOCOLS
        for kind in kinds
    )


# --- the command line -------------------------------------------------------------------------------------------------


def test_recurrences(tmp_path, thread):
    """The whole table in few digits, and the weights of the cells that chapters round."""
    short, out = Recipe(steps=2, lr=3e-3, every=1, batch=16, patience=0), tmp_path / "recurrences"
    options = dict(executor=thread, progress=False)
    assert not recurrences(
        out, cells=("gru", "orthogonal elman"), sizes=(64,), seeds=(0,), recipe=short, **options
    ).missing
    table, weights = sorted(ship(out, tmp_path, experiment="recurrences"))[::-1]
    about, rows = read(table)
    assert table.name == "recurrences.csv" and weights.name == "recurrence_gru_64_0.safetensors" and about["commit"]
    assert [(row["cell"], row["recurrent"], row["hidden"]) for row in rows] == [
        ("elman", "orthogonal", "64"), ("gru", "", "64")
    ]  # fmt: skip
    assert load(weights)[0] == load(out / weights_file(rows[1]["key"]))[0]
    shipped = {*columns("recurrences.csv")}
    assert {*rows[0]} <= shipped | {f"z_{p}" for p in range(9)}
    again = tmp_path / "placed"
    assert not recurrence_factors(
        again, grus=out, cells=("gru",), sizes=(64,), seeds=(0,), network_recipe=short, **options
    ).missing
    (table,) = ship(again, tmp_path, experiment="recurrence-factors")
    (row,) = read(table)[1]
    assert row["gru"] == rows[1]["key"] and [*row] == columns("recurrence_factors.csv")


def test_a_folder_notes_its_commands_once(tmp_path, thread, monkeypatch, capsys):
    models = networks.grid([TASK], hidden=[4], l2=[0], threshold=[0.6], seeds=[0], steps=5, **RECIPE)
    monkeypatch.setattr(networks, "sweep", lambda _, out, **__: sweep(models, out, executor=thread, progress=False))
    out = tmp_path / "a folder"
    for more in ([], [], ["--seeds", "3"]):
        assert command_line.main(["table1", "--out", str(out), *more]) == 0
    first = f"python -m emt_core.experiments table1 --out '{out}'"
    assert (out / "commands").read_text(encoding="utf8").splitlines() == [first, f"{first} --seeds 3"]
    assert shipping.main([str(out), "--out", str(tmp_path)]) == 1
    assert "folder must hold networks of the cell" in capsys.readouterr().err


def test_what_is_no_finished_folder_is_refused(tmp_path, capsys):
    assert shipping.main([str(tmp_path), "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "experiment must be one of table1, circuits, " in said and str(tmp_path) in said
    assert shipping.main([str(tmp_path), "--experiment", "onion-gru"]) == 1
    assert f"folder must hold rows of onion-gru, {tmp_path} has none" in capsys.readouterr().err


def test_a_pool_is_fixed_and_fresh_of_validation(monkeypatch):
    monkeypatch.setattr(fixed_pool, "SIZE", 50)
    fixed_pool.pool.cache_clear()
    for distinct in (False, True):
        task = FixedPool(4, 1, 3, distinct=distinct)
        tokens, lengths = fixed_pool.pool(task)
        rows = [(n, *column) for n, column in zip(lengths.tolist(), tokens.T.tolist(), strict=True)]
        assert len(rows) == 50 and lengths.tolist() == sorted(lengths.tolist(), reverse=True)
        assert (len(set(rows)) == 50) is distinct
        judged = task.validation()
        assert not set(rows) & {
            (n, *c) for n, c in zip(judged.lengths[0].tolist(), judged.tokens[0].T.tolist(), strict=True)
        }
        own = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
        drawn = task.sample(200, own)
        for m in range(2):
            pairs = zip(drawn.lengths[m].tolist(), drawn.tokens[m].T.tolist(), strict=True)
            assert {(n, *column) for n, column in pairs} <= set(rows)
        assert task.sample(7, own, length=2).lengths.eq(2).all()
    fixed_pool.pool.cache_clear()
