"""Sweeps of GRUs that repeat tokens, of edits and of probes: what their tables say, and that stops change nothing."""

import csv
import itertools
import json
import math
import os
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

from emt_core.analysis import edits as interventions, probes
from emt_core.experiments import command_line, sweeps as sweep, token_repeat as repeat_grids
from emt_core.networks import cells
from emt_core.training import token_repeat as repeat
from emt_core.training.optimise import Recipe, steps_done
from emt_core.experiments.token_repeat import Repeater, Study
from emt_core.tasks import TokenRepeat

OF_GRUS = dict(gru_steps=STEPS, gru_recipe=RECIPE)
ONE = dict(variants=["autoregressive"], seeds=[0])


@pytest.fixture
def thread():
    """One worker, in this process."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture(autouse=True)
def one_thread_per_product():
    """As in a sweep's jobs: the bits of what is learned here, to compare with, depend on it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def go(function, out, executor, **options) -> sweep.Swept:
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
        assert not go(sweep.onion_gru, out, pool).failed
    assert torch.get_num_threads() == threads
    return out


def loaded(folder, row) -> cells.GRU:
    return cells.load_gru(folder / "weights" / f"{row['key']}.safetensors")[0]


def numbers(row, *names) -> list[float]:
    return [math.nan if row[name] == "" else float(row[name]) for name in names]


def assert_measures(row, right, sequences, training):
    """What every table says of what was written or read."""
    assert numbers(row, "exact") == right.all(1).double().mean(1).tolist()
    at = [share for name, share in row.items() if name.startswith("right_")]
    assert [float(x) for x in at] == repeat.by_position(right, sequences)[0].tolist()
    lengths = {n: share.item() for n, share in repeat.by_length(right, sequences.lengths).items()}
    assert {n: float(row[f"exact_length_{n}"]) for n in lengths} == lengths
    assert int(row["steps"]) == training.steps[0] == STEPS and row["status"] == training.status[0] == "all steps"
    assert float(row["loss"]) == training.losses[-1, 0]


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_a_grus_row_says_what_training_says(grus):
    rows = table(grus)
    assert [(r["autoregressive"], r["seed"]) for r in rows] == [*itertools.product(("true", "false"), "01")]
    validation = TASK.validation()
    for row in rows:
        run = repeat.fit(
            TASK, hidden=6, seeds=[int(row["seed"])], autoregressive=row["autoregressive"] == "true",
            recipe=replace(RECIPE, steps=STEPS), progress=False,
        )  # fmt: skip
        assert numbers(row, "exact") == run.exact.tolist()
        assert_measures(row, repeat.repeats(run.model, validation), validation, run.training[0])
        saved, metadata = cells.load_gru(grus / "weights" / f"{row['key']}.safetensors")
        assert all(same_bits(w, run.model.weights[name]) for name, w in saved.weights.items())
        assert (saved.autoregressive, metadata["seed"]) == (run.model.autoregressive, row["seed"])
        assert metadata["exact"] == row["exact"] and metadata["autoregressive"] == row["autoregressive"]
    settings = dict(hidden="6", vocabulary="4", shortest="1", longest="3", repeats="true", most_steps=str(STEPS))
    settings |= dict(lr="0.01", decay="0.1", batch="8", every="7", device="cpu", torch=torch.__version__)
    assert all(row[name] == value for row in rows for name, value in settings.items())
    described = ["dimension", "additive", "overlap_next", "overlap_any", "alignment_next", "alignment_any"]
    described += [f"{name}_{p}" for name in ("size", "z") for p in range(3)]
    assert all(math.isfinite(x) for row in rows for x in numbers(row, *described))


def test_an_edits_row_says_what_fit_says(grus, tmp_path, thread):
    swept = go(sweep.onion_interventions, tmp_path, thread, grus=grus, **ONE, **OF_GRUS)
    assert not swept.failed and not swept.missing
    rows, (of, *_) = table(tmp_path), table(grus)
    assert [row["intervention"] for row in rows] == ["unigram", "bigram", "onion"]
    model = loaded(grus, of)
    for row in rows:
        recipe = replace(RECIPE, steps=STEPS)
        run = interventions.fit(row["intervention"], model, TASK, seeds=[0], recipe=recipe, progress=False)
        assert_measures(row, run.right, run.case.original, run.training)
        assert (row["gru"], row["autoregressive"], row["seed"]) == (of["key"], "true", "0")
        saved, metadata = repeat_grids.saved(tmp_path / "weights" / f"{row['key']}.safetensors")
        assert all(same_bits(w, run.training.weights[name]) for name, w in saved.items())
        assert metadata["intervention"] == row["intervention"] and metadata["gru"] == of["key"]
        # the oracle is the GRU itself on the originals
        oracle = repeat.repeats(model, run.case.original).all(1).double().mean().item()
        assert float(row["oracle"]) == oracle
        before = repeat.repeats(model, run.case.original, cells.encode(model, run.case.corrupted))
        assert float(row["no_edit"]) == before.all(1).double().mean().item()
        assert 0 <= float(row["random"]) <= 1
        for p in range(3):
            those = run.case.changed[0, p]
            wanted = run.right.all(1)[0, those].double().mean().item() if those.any() else math.nan
            assert numbers(row, f"exact_changed_{p}") == pytest.approx([wanted], nan_ok=True)


def test_a_probes_row_says_what_fit_says(grus, tmp_path, thread):
    swept = go(sweep.onion_probes, tmp_path, thread, grus=grus, kinds=["linear", "gru no input"], **ONE, **OF_GRUS)
    assert not swept.failed and not swept.missing
    rows, model = table(tmp_path), loaded(grus, table(grus)[0])
    assert [row["probe"] for row in rows] == ["linear", "gru no input"]
    for row in rows:
        run = probes.fit(row["probe"], model, TASK, seeds=[0], recipe=replace(RECIPE, steps=STEPS), progress=False)
        assert_measures(row, run.right, run.of, run.training)
        saved, _ = repeat_grids.saved(tmp_path / "weights" / f"{row['key']}.safetensors")
        assert all(same_bits(w, run.training.weights[name]) for name, w in saved.items())


def test_what_diverged_has_a_row_without_a_loss(tmp_path, thread):
    recipe = replace(RECIPE, lr=1e30)
    (row,) = go(sweep.onion_gru, tmp_path, thread, recipe=recipe, **ONE).rows
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
        "gru": (sweep.onion_gru, {}),
        "intervention": (sweep.onion_interventions, dict(grus=grus, kinds=["onion"], **OF_GRUS)),
        "probe": (sweep.onion_probes, dict(grus=grus, kinds=["onion"], **OF_GRUS)),
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
        one, other = (repeat_grids.saved(folder / "weights" / path.name) for folder in (out, tmp_path / "whole"))
        assert all(same_bits(w, other[0][name]) for name, w in one[0].items()) and one[1] == other[1]
    go(function, out, thread, **options)
    assert watched.steps == 4 * STEPS
    next(out.glob("weights/*")).unlink()  # weights that are lost are learned again
    before = table(out)
    go(function, out, thread, **options)
    assert table(out) == before
    assert len(list(out.glob("weights/*"))) == 2


def test_a_larger_grid_learns_only_what_is_new(grus, tmp_path, thread, watched):
    first = go(sweep.onion_probes, tmp_path, thread, grus=grus, kinds=["linear"], **ONE, **OF_GRUS).rows
    watched.steps = 0
    more = go(sweep.onion_probes, tmp_path, thread, grus=grus, kinds=["mlp", "linear"], **ONE, **OF_GRUS).rows
    assert watched.steps == STEPS and [row["probe"] for row in more] == ["mlp", "linear"]
    assert more[1:] == first


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


# --- what can be missing or wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [sweep.onion_interventions, sweep.onion_probes], ids=["edits", "probes"])
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
    go(sweep.onion_gru, tmp_path, thread, **ONE)
    (checkpoint,) = tmp_path.glob("work/*.checkpoint")
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    for path in (*tmp_path.glob("rows/*"), *tmp_path.glob("weights/*")):
        path.unlink()
    assert not go(sweep.onion_gru, tmp_path, thread, **ONE).failed
    assert table(tmp_path) == table(grus)[:1] and Path(f"{checkpoint}.damaged").exists()


def test_rows_of_another_sweep_are_refused(tmp_path, thread):
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "other.json").write_text(json.dumps({"key": "other", "rows": [{"cell": "elman"}]}))
    with pytest.raises(ValueError, match=r"out must hold rows of networks, .*other\.json does not"):
        go(sweep.onion_gru, tmp_path, thread)
    assert not (tmp_path / "table.csv").exists()


def test_keys_name_everything_that_decides_the_numbers():
    gru = Repeater(6, True, 0, TASK, RECIPE)
    others = [
        gru, replace(gru, hidden=7), replace(gru, autoregressive=False), replace(gru, seed=1),
        replace(gru, task=TokenRepeat(4, 1, 4)), replace(gru, recipe=replace(RECIPE, lr=0.02)),
    ]  # fmt: skip
    studies = [
        Study("probe", kind, of, recipe) for kind in probes.KINDS for of in others for recipe in (RECIPE, Recipe())
    ]
    studies += [Study("intervention", kind, gru, RECIPE) for kind in interventions.KINDS]
    keys = [item.key for item in (*others, *studies)]
    assert len(set(keys)) == len(keys)
    assert all(key.replace("-", "").isalnum() and len(key) < 100 for key in keys)
    assert Repeater(6, True, 0, TokenRepeat(4, 1, 3), replace(RECIPE)).key == gru.key
    assert gru.without_seed == replace(gru, seed=7).without_seed
    assert studies[0].without_seed == replace(studies[0], gru=replace(gru, seed=3)).without_seed


def test_a_grus_variant_and_a_study_are_checked():
    for wrong in ("no input", 1):
        with pytest.raises((ValueError, *SHAPE_ERRORS), match="autoregressive"):  # the tests check types before
            Repeater(6, wrong, 0)
    with pytest.raises(ValueError, match=r"^what must be 'intervention' or 'probe', got 'edit'"):
        Study("edit", "onion", Repeater(6, True, 0), RECIPE)


def test_groups_of_other_items_have_other_files():
    gru = Repeater(6, True, 0, TASK, RECIPE)
    assert repeat_grids.group_key([gru], "cpu") == gru.key
    groups = [[gru], *([gru, *(replace(gru, seed=s) for s in more)] for more in ([1, 2], [1, 3], [1]))]
    keys = [repeat_grids.group_key(group, "cuda") for group in groups]
    assert len({gru.key, *keys}) == 5 and all(key.startswith(gru.key) for key in keys)


def test_wrong_options_are_named(grus, tmp_path, thread):
    for function, options, message in [
        (sweep.onion_gru, dict(hidden=[0]), "^hidden must be at least 1, got 0"),
        (sweep.onion_gru, dict(seeds=[-1]), "^seed must be at least 0, got -1"),
        (sweep.onion_gru, dict(steps=0), "^steps must be at least 1, got 0"),
        (sweep.onion_gru, dict(variants=["both"]), r"^variants must be among .*, got 'both'"),
        (sweep.onion_gru, dict(device="tpu"), "^device must be 'cpu' or a CUDA device, got 'tpu'"),
        (sweep.onion_gru, dict(group=2), "^group must be 1 on the CPU, where every GRU is trained by itself, got 2"),
        (sweep.onion_interventions, dict(grus=grus, kinds=["linear"]), "^kind must be one of .*, got 'linear'"),
        (sweep.onion_probes, dict(grus=grus, kinds=["unigram"]), "^kind must be one of .*, got 'unigram'"),
    ]:
        with pytest.raises(ValueError, match=message):
            go(function, tmp_path, thread, **options)
    with pytest.raises(SHAPE_ERRORS, match="hidden"):
        go(sweep.onion_gru, tmp_path, thread, hidden=[6.5])
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

    def nothing(items, out, job, **options):
        found.update(items=list(items), out=out, job=job, **options)
        return sweep.Swept([], found["items"], {}, False)

    monkeypatch.setattr(sweep, "drive", nothing)
    return found


def test_the_defaults_are_the_papers_task_and_recipe(asked, capsys):
    assert command_line.main(["onion-gru", "--out", "x"]) == 0
    grid = itertools.product((48, 64), (True, False), range(5))
    assert [(i.hidden, i.autoregressive, i.seed) for i in asked["items"]] == list(grid)
    assert {(i.task, i.recipe) for i in asked["items"]} == {(TokenRepeat(), Recipe())}
    grus = asked["items"]
    for name, kinds in (("interventions", interventions.KINDS), ("probes", probes.KINDS)):
        assert command_line.main([f"onion-{name}", "--out", "x", "--grus", "y"]) == 0
        items = asked["items"]
        assert [(i.kind, i.gru) for i in items] == list(itertools.product(kinds, grus))
        assert {i.recipe for i in items} == {interventions.RECIPE} == {probes.RECIPE}
        assert {i.recipe.steps for i in items} == {60_000}
        job = asked["job"](items[:1])
        assert job.key == items[0].key and job.size == 60_000
        assert job.arguments == (tuple(items[:1]), Path("y").resolve(), "cpu")
        assert job.files == (f"weights/{items[0].key}.safetensors",)
    assert "0 rows in x/table.csv, 20 missing" in capsys.readouterr().out


def test_the_command_line_is_the_functions_arguments(asked, capsys):
    command = "onion-probes --out x --grus y --hidden 4,8 --seeds 2:4 --steps 9 --patience 2 --gru-steps 7"
    command += " --gru-patience 0 --workers 3 --group 1"
    assert command_line.main([*command.split(), "--variants", "no input", "--kinds", "mlp,gru no input"]) == 0
    gru_recipe = Recipe(steps=7, patience=0)
    grus = [Repeater(N, False, seed, TokenRepeat(), gru_recipe) for N in (4, 8) for seed in (2, 3)]
    recipe = replace(probes.RECIPE, steps=9, patience=2)
    assert asked["items"] == [Study("probe", kind, gru, recipe) for kind in ("mlp", "gru no input") for gru in grus]
    given = {name: asked[name] for name in ("out", "device", "workers", "group", "scheduler")}
    assert given == dict(out=Path("x"), device="cpu", workers=3, group=1, scheduler=None)


def test_a_recipe_is_taken_as_it_is_given(asked):
    own = Recipe(steps=11, patience=3, batch=8)
    sweep.onion_gru("x", recipe=own)
    assert {i.recipe for i in asked["items"]} == {own}
    sweep.onion_gru("x", recipe=own, patience=0)
    assert {i.recipe for i in asked["items"]} == {replace(own, patience=0)}
    sweep.onion_interventions("x", grus="y", recipe=own, steps=5, gru_recipe=replace(own, steps=7))
    assert {(i.recipe.steps, i.gru.recipe.steps, i.gru.recipe.batch) for i in asked["items"]} == {(5, 7, 8)}


@pytest.mark.parametrize("name", ["onion-gru", "onion-interventions", "onion-probes"])
def test_help_says_the_defaults(name, capsys):
    with pytest.raises(SystemExit) as status:
        command_line.main([name, "--help"])
    text = capsys.readouterr().out
    assert status.value.code == 0
    assert all(
        f"default: {value}" in text for value in ("48,64)", "both", "5)", "40000" if name == "onion-gru" else "60000")
    )
