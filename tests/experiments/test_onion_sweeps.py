"""Sweeps of GRUs that repeat tokens, of edits and of probes: what their tables say, and that stops change nothing."""

import csv
import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import small_onion_sweep
import torch
from oracles import SHAPE_ERRORS, same_bits
from small_onion_sweep import RECIPE, SETTINGS, STEPS, TASK

from emt_core.analysis import edits, hearing, layers, probes
from emt_core.experiments import __main__ as command_line
from emt_core.experiments import (
    edit_controls,
    edit_studies,
    fixed_sequences,
    measures,
    onion_gru,
    onion_interventions,
    onion_probes,
)
from emt_core.experiments import token_repeat as grids
from emt_core.experiments.table import Swept, group_key, weights_file
from emt_core.experiments.token_repeat import Edit, Probe, Repeater
from emt_core.networks import TokenNetwork, load
from emt_core.support.files import read_safetensors
from emt_core.support.random_streams import stream
from emt_core.tasks import TokenRepeat, fixed_pool
from emt_core.tasks.fixed_pool import FixedPool
from emt_core.training import Recipe, Status, scores, token_repeat
from emt_core.training.engine import steps_done

OLDER = Path(__file__).parent / "older"  # as version 0.1.0 wrote it, before keys hashed only what is not the default
OF_GRUS = dict(gru_steps=STEPS, gru_recipe=RECIPE)
ONE = dict(variants=["autoregressive"], seeds=[0])


@pytest.fixture(autouse=True)
def one_thread_per_product():
    """As in a sweep's jobs: the bits of what is learned here, to compare with, depend on it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def go(function, out, executor, **options) -> Swept:
    return function(out, executor=executor, progress=False, **(SETTINGS | options))


def table(out: Path) -> list[dict]:
    """The file's rows, without what two runs need not share."""
    with (out / "table.csv").open(newline="", encoding="utf8") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def grus(tmp_path_factory) -> Path:
    """The folder of a sweep: two variants, two seeds."""
    out = tmp_path_factory.mktemp("grus")
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(1) as pool:
        assert not go(onion_gru, out, pool).failed
    assert torch.get_num_threads() == threads
    return out


def loaded(folder, row) -> TokenNetwork:
    return load(folder / "weights" / f"{row['key']}.safetensors")[0]


def saved(path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    return read_safetensors(path, "path")


def numbers(row, *names) -> list[float]:
    return [math.nan if row[name] == "" else float(row[name]) for name in names]


def assert_measures(row, right, sequences, training):
    """What every table says of what was written or read."""
    assert numbers(row, "exact") == right.all(1).double().mean(1).tolist()
    at = [share for name, share in row.items() if name.startswith("right_")]
    assert [float(x) for x in at] == scores.by_position(right, sequences)[0].tolist()
    lengths = {n: share.item() for n, share in scores.by_length(right, sequences.lengths).items()}
    assert {n: float(row[f"exact_length_{n}"]) for n in lengths} == lengths
    assert (
        int(row["steps"]) == training.steps[0] == STEPS and row["status"] == training.status[0] == Status.DONE == "done"
    )
    assert float(row["loss"]) == training.losses[-1, 0]


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_a_grus_row_says_what_training_says(grus):
    rows = table(grus)
    assert [(r["autoregressive"], r["seed"]) for r in rows] == [*itertools.product(("true", "false"), "01")]
    validation = TASK.validation()
    for row in rows:
        run = token_repeat.fit(
            TASK, hidden=6, seeds=[int(row["seed"])], autoregressive=row["autoregressive"] == "true",
            recipe=replace(RECIPE, steps=STEPS), progress=False,
        )  # fmt: skip
        assert numbers(row, "exact") == run.exact.tolist()
        assert_measures(row, scores.repeats(run.model, validation), validation, run.training)
        saved, metadata = load(grus / "weights" / f"{row['key']}.safetensors")
        assert all(same_bits(w, run.model.weights[name]) for name, w in saved.weights.items())
        assert (saved.autoregressive, metadata["seed"]) == (run.model.autoregressive, row["seed"])
        assert metadata["exact"] == row["exact"] and metadata["autoregressive"] == row["autoregressive"]
    settings = dict(hidden="6", vocabulary="4", shortest="1", longest="3", repeats="true", most_steps=str(STEPS))
    settings |= dict(lr="0.01", decay="0.1", batch="8", every="7", device="cpu", torch=torch.__version__)
    assert all(row[name] == value for row in rows for name, value in settings.items())
    described = ["dimension", "additive", "overlap_next", "overlap_any", "alignment_next", "alignment_any"]
    described += [f"{name}_{p}" for name in ("size", "z") for p in range(3)]
    assert all(math.isfinite(x) for row in rows for x in numbers(row, *described))
    for row in rows:
        model = load(grus / "weights" / f"{row['key']}.safetensors")[0]
        words = hearing.wrong_words(model, 3, stream(0, "wrong words"), measures.SEEN).shares()
        for name in ("right", "predicted", "predicted_beyond_repeats"):
            want = words[name].item()  # a job has one thread, this process perhaps more: ties aside the same tokens
            assert row[f"wrong_{name}"] == "" if math.isnan(want) else numbers(row, f"wrong_{name}") == [want]


def test_an_edits_row_says_what_fit_says(grus, tmp_path, thread):
    swept = go(onion_interventions, tmp_path, thread, grus=grus, **ONE, **OF_GRUS)
    assert not swept.failed and not swept.missing
    rows, (of, *_) = table(tmp_path), table(grus)
    assert [row["intervention"] for row in rows] == ["unigram", "bigram", "onion"]
    model = loaded(grus, of)
    for row in rows:
        recipe = replace(RECIPE, steps=STEPS)
        run = edits.fit(row["intervention"], model, TASK, seeds=[0], recipe=recipe, progress=False)
        assert_measures(row, run.right, run.case.original, run.training)
        assert (row["gru"], row["autoregressive"], row["seed"]) == (of["key"], "true", "0")
        found, metadata = saved(tmp_path / "weights" / f"{row['key']}.safetensors")
        assert all(same_bits(w, run.training.weights[name]) for name, w in found.items())
        assert metadata["intervention"] == row["intervention"] and metadata["gru"] == of["key"]
        # the oracle is the GRU itself on the originals
        oracle = scores.repeats(model, run.case.original).all(1).double().mean().item()
        assert float(row["oracle"]) == oracle
        before = scores.repeats(model, run.case.original, model.encode(run.case.corrupted))
        assert float(row["no_edit"]) == before.all(1).double().mean().item()
        assert 0 <= float(row["random"]) <= 1
        for p in range(3):
            those = run.case.changed[0, p]
            wanted = run.right.all(1)[0, those].double().mean().item() if those.any() else math.nan
            assert numbers(row, f"exact_changed_{p}") == pytest.approx([wanted], nan_ok=True)


def test_a_probes_row_says_what_fit_says(grus, tmp_path, thread):
    swept = go(onion_probes, tmp_path, thread, grus=grus, kinds=["linear", "gru no input"], **ONE, **OF_GRUS)
    assert not swept.failed and not swept.missing
    rows, model = table(tmp_path), loaded(grus, table(grus)[0])
    assert [row["probe"] for row in rows] == ["linear", "gru no input"]
    for row in rows:
        run = probes.fit(row["probe"], model, TASK, seeds=[0], recipe=replace(RECIPE, steps=STEPS), progress=False)
        assert_measures(row, run.right, run.of, run.training)
        found, _ = saved(tmp_path / "weights" / f"{row['key']}.safetensors")
        assert all(same_bits(w, run.training.weights[name]) for name, w in found.items())


def test_the_controls_and_the_description_have_streams_of_their_own(grus, tmp_path, thread):
    (row,) = go(onion_interventions, tmp_path, thread, grus=grus, kinds=["onion"], **ONE, **OF_GRUS).rows
    of = table(grus)[0]
    model, recipe = loaded(grus, of), replace(RECIPE, steps=STEPS)
    run = edits.fit("onion", model, TASK, seeds=[0], recipe=recipe, progress=False)
    states = edits.edited(run.edit, model, run.case)
    random = edits.controls(model, run.case, states, stream(0, "random edit"))["random"]
    assert row["random"] == random.all(1).double().mean().item()
    generator = stream(0, "layers")
    layers.layers(model, 3, generator)  # draws first
    tokens = torch.randint(model.vocabulary, (3, measures.SEEN), generator=generator)
    assert float(of["dimension"]) == layers.dimension(layers.states(model, tokens)).item()
    assert float(of["z_1"]) == layers.gates(model, tokens)[0, 1].mean().item()


def test_another_cell_has_no_update_gate(grus, tmp_path, thread):
    (row,) = go(onion_gru, tmp_path, thread, cell="elman", **ONE).rows
    run = token_repeat.fit(TASK, cell="elman", hidden=6, recipe=replace(RECIPE, steps=STEPS), progress=False)
    assert row["cell"] == "elman" and row["exact"] == run.exact.item() and row["key"].startswith("elman-N6-ar-s0-")
    assert "dimension" in row and "size_2" in row and "z_0" not in row
    assert load(tmp_path / weights_file(row["key"]))[0] == run.model
    given = dict(grus=tmp_path, cell="elman", kinds=["onion"], **ONE, **OF_GRUS)
    (study,) = go(onion_interventions, tmp_path / "edits", thread, **given).rows
    assert study["gru"] == row["key"] and study["cell"] == "elman" and study["oracle"] == row["exact"]


def test_what_diverged_has_a_row_without_a_loss(tmp_path, thread):
    recipe = replace(RECIPE, lr=1e30)
    (row,) = go(onion_gru, tmp_path, thread, recipe=recipe, **ONE).rows
    assert row["status"] == "diverged" and row["steps"] == 7 and row["loss"] is None
    assert table(tmp_path)[0]["loss"] == ""
    (path,) = (tmp_path / "rows").iterdir()
    assert "NaN" not in path.read_text(encoding="utf8")


# --- going on ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def watched(monkeypatch):
    """Steps of training in this process; at step ``stop_at`` it finds a stop file in ``folder``."""

    class Watched:
        steps, stop_at, folder = 0, -1, Path()

    sample = TokenRepeat.sample

    def counted(self, *arguments, **options):
        Watched.steps += 1
        if Watched.steps == Watched.stop_at:
            (Watched.folder / "stop").touch()
            time.sleep(0.5)  # the worker looks five times a second
        return sample(self, *arguments, **options)

    monkeypatch.setattr(TokenRepeat, "sample", counted)
    return Watched


@pytest.mark.parametrize("what", ["gru", "intervention", "probe"])
def test_stopped_and_resumed_is_uninterrupted(what, grus, tmp_path, thread, watched):
    function, options = {
        "gru": (onion_gru, {}),
        "intervention": (onion_interventions, dict(grus=grus, kinds=["onion"], **OF_GRUS)),
        "probe": (onion_probes, dict(grus=grus, kinds=["onion"], **OF_GRUS)),
    }[what]
    options |= dict(variants=["no input"])
    go(function, tmp_path / "whole", thread, **options)
    assert watched.steps == 2 * STEPS
    out = watched.folder = tmp_path / "stopped"
    watched.stop_at = watched.steps + STEPS + 9
    part = go(function, out, thread, **options)
    assert part.interrupted and len(part.rows) == 1 and [item.seed for item in part.missing] == [1]
    assert sorted(map(steps_done, out.glob("work/*.checkpoint"))) == [9, STEPS]
    rest = go(function, out, thread, **options)
    assert not rest.interrupted and not rest.missing and watched.steps == 4 * STEPS
    assert table(out) == table(tmp_path / "whole")
    for path in (tmp_path / "whole").glob("weights/*"):
        one, other = (saved(folder / "weights" / path.name) for folder in (out, tmp_path / "whole"))
        assert all(same_bits(w, other[0][name]) for name, w in one[0].items()) and one[1] == other[1]
    go(function, out, thread, **options)
    assert watched.steps == 4 * STEPS
    next(out.glob("weights/*")).unlink()  # weights that are lost are learned again
    before = table(out)
    go(function, out, thread, **options)
    assert table(out) == before
    assert len(list(out.glob("weights/*"))) == 2


def test_a_larger_grid_learns_only_what_is_new(grus, tmp_path, thread, watched):
    first = go(onion_probes, tmp_path, thread, grus=grus, kinds=["linear"], **ONE, **OF_GRUS).rows
    watched.steps = 0
    more = go(onion_probes, tmp_path, thread, grus=grus, kinds=["mlp", "linear"], **ONE, **OF_GRUS).rows
    assert watched.steps == STEPS and [row["probe"] for row in more] == ["mlp", "linear"]
    assert more[1:] == first


def test_networks_in_one_job_are_what_they_are_alone(grus, tmp_path, thread):
    assert len(go(onion_gru, tmp_path, thread, group=2).rows) == 4
    assert table(tmp_path) == table(grus)


@pytest.mark.slow
def test_a_killed_worker_loses_nothing(grus, tmp_path):
    """The sweep starts another, which goes on from the checkpoint."""
    script = [sys.executable, small_onion_sweep.__file__, str(tmp_path)]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(script, start_new_session=True, env=environment, **pipes)
    try:
        deadline = time.monotonic() + 300
        while not list(tmp_path.glob("work/*.checkpoint")):
            assert process.poll() is None, f"ended early: {process.communicate()}"
            assert time.monotonic() < deadline, "nothing happened"
            time.sleep(0.01)
        workers = [c for c in psutil.Process(process.pid).children() if "spawn_main" in " ".join(c.cmdline())]
        (worker,) = workers
        worker.kill()
        said, complained = process.communicate(timeout=300)
        assert process.returncode == 0, complained
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert not worker.is_running() and "1 rows" in said and "0 missing" in said
    assert table(tmp_path) == table(grus)[:1]
    assert not list(tmp_path.glob("**/.*.part")) and not list(tmp_path.glob("**/*.damaged"))


# --- one fixed set of sequences ---------------------------------------------------------------------------------------


@pytest.fixture
def small_pools(monkeypatch):
    """Pools of 40 sequences, and few steps."""
    monkeypatch.setattr(fixed_pool, "SIZE", 40)
    short = replace(RECIPE, steps=7)
    monkeypatch.setattr(
        edit_studies, "FIXED", ((False, (6,), 2, short, short), (True, (5, 6), 1, short, replace(short, lr=0.02)))
    )
    fixed_pool.pool.cache_clear()
    yield
    fixed_pool.pool.cache_clear()


def test_grus_and_edits_learn_from_fixed_sequences(tmp_path, thread, small_pools):
    swept = fixed_sequences(tmp_path, executor=thread, progress=False)
    assert not swept.missing and not swept.failed
    assert [(r["hidden"], r["seed"], r["lr"]) for r in swept.rows] == [
        (5, 0, 0.02),
        (6, 0, 0.02),
        (6, 0, 0.01),
        (6, 1, 0.01),
    ]
    networks = {row["key"]: row for row in table(tmp_path / "gru")}
    task = FixedPool(distinct=True)
    for row in swept.rows[:2]:
        of = networks[row["gru"]]
        assert (of["sequences"], int(of["hidden"])) == ("distinct", row["hidden"])
        run = token_repeat.fit(task, hidden=row["hidden"], recipe=replace(RECIPE, steps=7), progress=False)
        assert numbers(of, "exact") == run.exact.tolist()
        recipe = replace(RECIPE, steps=7, lr=0.02)
        edit = edits.fit("onion", run.model, task, seeds=[0], recipe=recipe, progress=False)
        assert row["exact"] == edit.exact.item() and row["loss"] == edit.training.losses[-1, 0]
    again = fixed_sequences(tmp_path, executor=thread, progress=False)
    assert again.rows == json.loads(json.dumps(swept.rows))


# --- what an edit's success says ------------------------------------------------------------------------------------


def test_controls_are_learned_on_networks_that_learned_what_they_say(tmp_path, thread):
    options = dict(hidden=[6], seeds=[0], task=TASK, executor=thread, progress=False)
    options |= dict(recipe=replace(RECIPE, steps=7), gru_recipe=replace(RECIPE, steps=7))
    swept = edit_controls(tmp_path, **options)
    assert not swept.missing and not swept.failed
    networks = {row["learns"]: row for row in table(tmp_path / "gru")}
    assert {name: row["steps"] for name, row in networks.items()} == {"all": "7", "read-out": "7", "nothing": "0"}
    start = token_repeat.fit(TASK, hidden=6, learns=(), progress=False).model
    partly = token_repeat.fit(
        TASK, hidden=6, learns=("W_o", "b_o"), recipe=replace(RECIPE, steps=7), progress=False
    ).model
    for name, model in (("nothing", start), ("read-out", partly)):
        found = loaded(tmp_path / "gru", networks[name]).weights
        assert all(same_bits(found[k], w) for k, w in model.weights.items())
    assert same_bits(start.cell.W_hh, partly.cell.W_hh) and not same_bits(start.W_o, partly.W_o)
    rows = {(r["gru"], r["intervention"], r["misled"]): r for r in table(tmp_path)}
    assert len(rows) == sum(len(kinds) for _, kinds, _ in edit_studies.CONTROLS)
    told = {}
    for misled in (False, True):
        edit = edits.fit(
            "onion", loaded(tmp_path / "gru", networks["all"]), TASK, seeds=[0], recipe=replace(RECIPE, steps=7),
            misled=misled, progress=False,
        )  # fmt: skip
        row = rows[networks["all"]["key"], "onion", str(misled).lower()]
        assert numbers(row, "exact") == edit.exact.tolist()
        told[misled] = row["loss"]
    assert told[True] != told[False]
    again = edit_controls(tmp_path, **options)
    assert not again.missing and again.rows == json.loads(json.dumps(swept.rows))


# --- what can be missing or wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [onion_interventions, onion_probes], ids=["edits", "probes"])
def test_without_trained_grus_it_says_what_to_run(function, grus, tmp_path, thread, capsys):
    for where, given in ((tmp_path / "nowhere", OF_GRUS), (grus, OF_GRUS | {"gru_steps": STEPS + 1})):
        options = dict(grus=where, kinds=["onion"], executor=thread, progress=False, **(SETTINGS | ONE | given))
        options["out"] = tmp_path / where.name
        assert command_line.run_command(function, options) == 1
        said = capsys.readouterr()
        assert f"no trained GRU at {where}/weights/gru-N6-ar-s0-" in said.err
        assert f"run onion-gru with --out {where} and the same sizes, variants, seeds and steps first" in said.err
        assert "0 rows in" in said.out and "1 missing, 1 jobs failed" in said.out


def test_a_damaged_checkpoint_is_set_aside(grus, tmp_path, thread):
    go(onion_gru, tmp_path, thread, **ONE)
    (checkpoint,) = tmp_path.glob("work/*.checkpoint")
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    for path in (*tmp_path.glob("rows/*"), *tmp_path.glob("weights/*")):
        path.unlink()
    assert not go(onion_gru, tmp_path, thread, **ONE).failed
    assert table(tmp_path) == table(grus)[:1] and Path(f"{checkpoint}.damaged").exists()


def test_rows_of_another_sweep_are_refused(tmp_path, thread):
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "other.json").write_text(json.dumps({"key": "other", "rows": [{"cell": "elman"}]}))
    with pytest.raises(ValueError, match=r"out must hold rows of networks, .*other\.json does not"):
        go(onion_gru, tmp_path, thread)
    assert not (tmp_path / "table.csv").exists()


def test_keys_name_everything_that_decides_the_numbers():
    usual = dict(hidden=6, autoregressive=True, seed=0)
    changed = [
        dict(hidden=7), dict(autoregressive=False), dict(seed=1), dict(cell="elman"), dict(lr=0.02), dict(most_steps=9),
        dict(batch=8), dict(every=7), dict(patience=3), dict(tolerance=0.1), dict(least=3), dict(decay=0.2),
    ]  # fmt: skip
    tasks = [dict(longest=4), dict(vocabulary=8), dict(shortest=1), dict(repeats=False), dict(sequences="drawn")]
    tasks += [dict(sequences="distinct")]
    lines = [Repeater(**usual | more) for more in ({}, *changed, *tasks)]
    lines += [
        kind(**usual | more | {kind.what: name, "gru": gru})
        for kind in (Edit, Probe) for name in kind.kinds for gru in ("a", "b") for more in ({}, *changed)
    ]  # fmt: skip
    keys = [line.key for line in lines]
    assert len(set(keys)) == len(keys) == len(set(lines))
    assert all(key.replace("-", "").isalnum() and len(key) < 100 for key in keys)
    gru, study = lines[0], lines[-1]
    assert Repeater(**usual, vocabulary=30, patience=10).key == gru.key
    assert gru.alike == replace(gru, seed=7).alike != replace(gru, hidden=7).alike
    assert study.alike == replace(study, seed=3, gru="c").alike != replace(study, probe="linear").alike
    assert all(type(line).of_row(line.columns()) == line for line in lines)
    assert (Repeater(**usual).task, Repeater(**usual).recipe) == (TokenRepeat(), Recipe())
    assert study.recipe == replace(probes.RECIPE, decay=0.2) and edits.RECIPE == probes.RECIPE


def test_a_grus_variant_and_a_study_are_checked():
    for wrong in ("no input", 1):
        with pytest.raises((ValueError, *SHAPE_ERRORS), match="autoregressive"):  # the tests check types before
            Repeater(hidden=6, autoregressive=wrong, seed=0)
    for name, wrong in [("sequences", "old"), ("cell", "grue"), ("longest", 1), ("least", -1), ("seed", 2**31)]:
        with pytest.raises(ValueError, match=f"^{name} must "):
            Repeater(**dict(hidden=6, autoregressive=True, seed=0) | {name: wrong})
    with pytest.raises(ValueError, match=r"^kind must be one of .*, got 'linear'"):
        Edit(intervention="linear", hidden=6, autoregressive=True, seed=0, gru="x")


def test_groups_of_other_items_have_other_files():
    gru = Repeater(hidden=6, autoregressive=True, seed=0)
    assert group_key([gru], "cpu") == gru.key
    groups = [[gru], *([gru, *(replace(gru, seed=s) for s in more)] for more in ([1, 2], [1, 3], [1]))]
    keys = [group_key(group, "cuda") for group in groups]
    assert len({gru.key, *keys}) == 5 and all(key.startswith(gru.stem) for key in keys)
    assert [group_key(group, "cuda:1") for group in groups] == keys


# --- a folder of an older version -------------------------------------------------------------------------------------


def test_a_folder_of_an_older_version_goes_on_working(tmp_path, thread, watched):
    """Its rows count, and its GRUs are found by what they are: their keys are other ones."""
    for name in ("grus", "edits"):
        shutil.copytree(OLDER / name, tmp_path / name)
    old = {path.stem for path in OLDER.glob("*/weights/*")}
    both = dict(variants=["autoregressive"])
    rows = go(onion_gru, tmp_path / "grus", thread, **both).rows
    assert watched.steps == 0 and {row["key"] for row in rows} < old and len(rows) == 2
    rows = go(
        onion_interventions, tmp_path / "edits", thread, grus=tmp_path / "grus", kinds=["onion"], **both, **OF_GRUS
    ).rows
    assert watched.steps == STEPS  # the second edit; the first is there
    assert [row["seed"] for row in rows] == [0, 1] and [row["key"] in old for row in rows] == [True, False]
    assert {row["gru"] for row in rows} < old
    model = load(tmp_path / "grus" / weights_file(rows[1]["gru"]))[0]
    recipe = replace(RECIPE, steps=STEPS)
    assert rows[1]["exact"] == edits.fit("onion", model, TASK, seeds=[1], recipe=recipe, progress=False).exact.item()
    next((tmp_path / "grus").glob("weights/*s0*")).unlink()  # learned again, under its new key
    rows = go(onion_gru, tmp_path / "grus", thread, **both).rows
    assert watched.steps == 3 * STEPS and [row["key"] in old for row in rows] == [False, True]


def test_wrong_options_are_named(grus, tmp_path, thread):
    for function, options, message in [
        (onion_gru, dict(hidden=[0]), "^hidden must be at least 1, got 0"),
        (onion_gru, dict(seeds=[-1]), "^seed must be at least 0, got -1"),
        (onion_gru, dict(steps=0), "^steps must be at least 1, got 0"),
        (onion_gru, dict(variants=["both"]), r"^variants must be among .*, got 'both'"),
        (onion_gru, dict(device="tpu"), "^device must be 'cpu' or a CUDA device, got 'tpu'"),
        (onion_interventions, dict(grus=grus, kinds=["linear"]), "^kind must be one of .*, got 'linear'"),
        (onion_probes, dict(grus=grus, kinds=["unigram"]), "^kind must be one of .*, got 'unigram'"),
    ]:
        with pytest.raises(ValueError, match=message):
            go(function, tmp_path, thread, **options)
    with pytest.raises(SHAPE_ERRORS, match="hidden"):
        go(onion_gru, tmp_path, thread, hidden=[6.5])
    assert not (tmp_path / "table.csv").exists()


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("--hidden=64,x", "comma-separated integers of at least 1"),
        ("--variants=both", "some of autoregressive,no input"),
        ("--variants=", "some of autoregressive,no input"),
        ("--kinds=linear", "some of unigram,bigram,onion"),
        ("--seeds=0", "a number of seeds, first:end, or seeds with commas"),
        ("--steps=0", "an integer of at least 1"),
        ("--gru-steps=x", "an integer of at least 1"),
        ("--workers=0", "an integer of at least 1"),
        ("--group=0", "an integer of at least 1"),
    ],
)
def test_the_command_names_what_is_wrong(option, expected, capsys):
    name, _, got = option.partition("=")
    with pytest.raises(SystemExit) as status:
        command_line.main(["onion-interventions", "--out", "x", "--grus", "y", option])
    assert status.value.code == 2
    assert f"argument {name}: expected {expected}, got {got!r}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [("onion-gru", "--out"), ("onion-probes --out x", "--grus"), ("onion-gru --out x --kinds linear", "--kinds")],
)
def test_the_command_says_what_is_missing_or_too_much(arguments, said, capsys):
    with pytest.raises(SystemExit) as status:
        command_line.main(arguments.split())
    assert status.value.code == 2 and said in capsys.readouterr().err


@pytest.fixture
def asked(monkeypatch) -> dict:
    """What a command would have done."""
    found = {}

    def nothing(kind, lines, out, function, arguments=(), **options):
        found.update(kind=kind, lines=lines, out=out, function=function, arguments=arguments, **options)
        return Swept([], lines, {}, False)

    monkeypatch.setattr(grids, "drive", nothing)
    return found


def test_the_defaults_are_the_papers_task_and_recipe(asked, capsys):
    assert command_line.main(["onion-gru", "--out", "x"]) == 0
    grid = itertools.product((48, 64), (True, False), range(5))
    assert [(i.hidden, i.autoregressive, i.seed) for i in asked["lines"]] == list(grid)
    assert {(i.task, i.recipe, i.cell) for i in asked["lines"]} == {(TokenRepeat(), Recipe(), "gru")}
    assert (asked["kind"], asked["function"]) == (Repeater, grids.train)
    grus = [(i.key, i.hidden, i.autoregressive, i.seed) for i in asked["lines"]]
    for name, kind, kinds in (("interventions", Edit, edits.KINDS), ("probes", Probe, probes.KINDS)):
        assert command_line.main([f"onion-{name}", "--out", "x", "--grus", "y"]) == 0
        lines = asked["lines"]
        found = [(i.kind, (i.gru, i.hidden, i.autoregressive, i.seed)) for i in lines]
        assert found == list(itertools.product(kinds, grus))
        assert {i.recipe for i in lines} == {edits.RECIPE} == {probes.RECIPE}
        assert {i.recipe.steps for i in lines} == {60_000}
        assert (asked["kind"], asked["function"]) == (kind, grids.learn)
        assert asked["arguments"] == (Path("y").resolve(), TokenRepeat())
    assert "0 rows in x/table.csv, 20 missing" in capsys.readouterr().out


def test_the_command_line_is_the_functions_arguments(asked, capsys):
    command = "onion-probes --out x --grus y --hidden 4,8 --seeds 2:4 --steps 9 --patience 2 --gru-steps 7"
    command += " --gru-patience 0 --workers 3 --group 1 --cell elman"
    assert command_line.main([*command.split(), "--variants", "no input", "--kinds", "mlp,gru no input"]) == 0
    usual = dict(autoregressive=False, cell="elman")
    grus = [Repeater(hidden=N, seed=s, most_steps=7, patience=0, **usual) for N in (4, 8) for s in (2, 3)]
    assert asked["lines"] == [
        Probe(probe=kind, hidden=gru.hidden, seed=gru.seed, gru=gru.key, most_steps=9, patience=2, **usual)
        for kind in ("mlp", "gru no input") for gru in grus
    ]  # fmt: skip
    given = {name: asked[name] for name in ("out", "device", "workers", "group", "scheduler")}
    assert given == dict(out=Path("x"), device="cpu", workers=3, group=1, scheduler=None)


def test_a_recipe_is_taken_as_it_is_given(asked):
    own = Recipe(steps=11, patience=3, batch=8)
    onion_gru("x", recipe=own)
    assert {i.recipe for i in asked["lines"]} == {own}
    onion_gru("x", recipe=own, patience=0)
    assert {i.recipe for i in asked["lines"]} == {replace(own, patience=0)}
    onion_gru("x", recipe=replace(own, steps=7))
    grus = [i.key for i in asked["lines"]]
    onion_interventions("x", grus="y", kinds=["onion"], recipe=own, steps=5, gru_recipe=replace(own, steps=7))
    assert {i.recipe for i in asked["lines"]} == {replace(own, steps=5)} and [i.gru for i in asked["lines"]] == grus


@pytest.mark.parametrize("name", ["onion-gru", "onion-interventions", "onion-probes"])
def test_help_says_the_defaults(name, capsys):
    with pytest.raises(SystemExit) as status:
        command_line.main([name, "--help"])
    text = capsys.readouterr().out
    assert status.value.code == 0
    assert all(
        f"default: {value}" in text
        for value in ("48,64)", "autoregressive,no input)", "5)", "40000" if name == "onion-gru" else "60000")
    )
