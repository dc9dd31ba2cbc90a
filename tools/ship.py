"""Copy what the book ships of a finished folder of ``python -m emt_core.experiments``: its table, whose first lines say
what made it, and some of its weights.

    python tools/ship.py FOLDER [--out book/data] [--experiment NAME] [--command "…"]
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from emt_core.experiments import call_ringers, copiers, lifetimes, ringers
from emt_core.experiments.__main__ import COMMANDS
from emt_core.experiments.provenance import as_csv, made_by
from emt_core.experiments.side_by_side import Placed
from emt_core.experiments.table import Line, Table, weights_file
from emt_core.experiments.token_repeat import LEARNS, Edit, Learned, Probe, Repeater
from emt_core.experiments.variable_binding import CONDITIONS, FULL_SIZE, Model, film_file, full_size, small
from emt_core.networks import load, save
from emt_core.support.files import read_safetensors, replacing, write_safetensors, write_text
from emt_core.tasks import PAPER_TRIPLES
from emt_core.tasks.fixed_pool import pool
from emt_core.theory import circuit

LARGEST = 1 << 20  # bytes, at most, of a file in the book
CELL = (3, 128, 0.001, 0.98)  # of the paper's table, whose networks are shipped


def ship(folder: str | Path, out: str | Path = "book/data", *, experiment: str = "", command: str = "") -> list[Path]:
    """Copy the table and the chosen weights of a finished ``folder`` to ``out``; returns the files.

    ``experiment`` and ``command`` are what the folder's file of commands says, unless they are given.

    Raises:
        ValueError: the folder does not say what it is, or lacks networks that the book ships.
    """
    folder, noted = Path(folder).resolve(), Path(folder) / COMMANDS
    lines = noted.read_text(encoding="utf8").splitlines() if noted.exists() else []
    words = [line.split() for line in lines]
    experiment = experiment or next((w[w.index("emt_core.experiments") + 1] for w in words), "")
    if experiment not in KINDS:
        raise ValueError(f"experiment must be one of {', '.join(KINDS)}, got {experiment!r} for {folder}")
    kind, write = KINDS[experiment]
    table = Table(folder, kind)
    if not table.rows:
        raise ValueError(f"folder must hold rows of {experiment}, {folder} has none")
    last = max(path.stat().st_mtime for path in (folder / "rows").iterdir())
    about = {"command": command or "; ".join(lines), "date": f"{datetime.fromtimestamp(last, UTC):%Y-%m-%d}"}
    shipment = _Shipment(table, Path(out), about | summary(list(table.rows.values())), [])
    write(shipment, experiment)
    return shipment.files


def summary(rows: Sequence[dict]) -> dict[str, str]:
    """What :func:`made_by` says in all these rows, in three lines."""
    found = {name: "/".join(sorted({str(row[name]) for row in rows})) for name in made_by("cpu")}
    lines = {"hardware": ("device", "cpu"), "versions": ("python", "torch", "numpy")}
    return {"commit": found["commit"]} | {k: ", ".join(f"{n} {found[n]}" for n in v) for k, v in lines.items()}


@dataclass(frozen=True)
class _Shipment:
    table: Table
    out: Path
    about: dict[str, str]
    files: list[Path]

    def add(self, name: str) -> Path:
        self.files.append(self.out / name)
        return self.files[-1]

    def write(self, name: str, rows: Sequence[dict]) -> None:
        first = "".join(f"# {key}: {value}\n" for key, value in self.about.items())
        write_text(first + as_csv(rows), self.add(f"{name}.csv"))

    def source(self, file: str) -> Path:
        path = self.table.out / file
        if not path.exists() or path.stat().st_size > LARGEST:
            raise ValueError(f"folder must hold weights of at most {LARGEST} bytes for the book, not so {path}")
        return path

    def row(self, line: Line) -> dict:
        if line not in self.table.rows:
            raise ValueError(f"folder must hold the whole experiment, {self.table.out} has no row of {line}")
        return self.table.rows[line]

    def together(self, name: str, models: Sequence[Line], **more: object) -> None:
        """Networks as one ensemble."""
        every = [load(self.source(weights_file(self.row(model).get("key", model.key))))[0] for model in models]
        weights = {name: torch.cat([one.weights[name] for one in every]) for name in every[0].weights}
        text = {key: str(value) for key, value in more.items()}
        save(every[0].with_weights(weights), self.add(f"{name}.safetensors"), self.about | text)


def _seeds(models: Iterable[Line]) -> str:
    return " ".join(str(model.seed) for model in models)


def _brief(model: Model, row: dict, names: str, digits: int = 5) -> dict[str, Any]:
    """A network's row in fewer words."""

    def text(value: float | None, digits: int) -> str:
        return f"{math.nan if value is None else value:.{digits}f}"

    words = row | {
        "triple": " ".join(map(str, model.triple)),
        "count": row["eigenvalues_learned"],
        "rank": row["eigenvalues_theory"],
        "error": text(row["error_optimal"], 6),
        "accuracy": text(row["accuracy"], 5),
        "loss": text(row["last_loss"], digits),
    }
    return {name: words[name] for name in names.split()}


def _table1(shipment: _Shipment, experiment: str) -> None:
    places = {triple: place for place, triple in enumerate(PAPER_TRIPLES)}

    def cell(model: Model) -> tuple:
        return places.get(model.triple, -1), model.hidden, model.l2, model.threshold

    models = sorted(shipment.table.rows, key=lambda model: (*cell(model), model.seed))
    chosen = [model for model in models if cell(model) == CELL]
    if not chosen:
        raise ValueError(f"folder must hold networks of the cell {CELL}, {shipment.table.out} has none")
    about = {"seeds": _seeds(chosen), "threshold": CELL[3], "steps": chosen[0].steps}
    shipment.together("table1_{}_{}_{:g}".format(*CELL), chosen, **about)
    shipment.write("table1", [shipment.row(model) for model in models])


def _full_size(shipment: _Shipment, experiment: str) -> None:
    names, rows = "triple hidden l2 threshold seed steps count rank error accuracy loss horizon status", []
    for place, units, l2, seeds, steps in FULL_SIZE[experiment]:
        models = full_size(place, units, l2, seeds, steps)
        shipment.together(f"{experiment}_{place}_{units}_{l2:g}", models, seeds=_seeds(models), steps=steps)
        rows += [_brief(model, shipment.row(model), names) for model in models]
    shipment.write(f"full_size_{experiment}", rows)


def _repeat_copy(shipment: _Shipment, experiment: str) -> None:
    rows, names = shipment.table.rows, "seed threshold steps count error accuracy loss first_step status"
    models = sorted(rows, key=lambda model: model.seed)
    reached = [m for m in models if rows[m]["eigenvalues_learned"] == rows[m]["eigenvalues_theory"]]
    if not reached:
        raise ValueError(f"folder must hold a network that found the circuit, {shipment.table.out} has none")
    shipment.together("repeat_copy", reached[:1], seed=reached[0].seed)
    film, _ = read_safetensors(shipment.source(film_file(rows[reached[0]]["key"])), "film")
    about = shipment.about | {"seed": str(reached[0].seed)}
    write_safetensors(film, shipment.add("repeat_copy_film.safetensors"), about)
    shipment.write("repeat_copy_seeds", [_brief(m, rows[m], names) for m in models])


def _emergence(shipment: _Shipment, experiment: str) -> None:
    names, rows = "seed triple hidden start lr clip horizons steps found count rank error accuracy loss status", []
    seeds = sorted({model.seed for model in shipment.table.rows})
    for condition in CONDITIONS:
        models = [small(condition, seed) for seed in seeds]
        rows += [{"condition": condition} | _brief(model, shipment.row(model), names, 6) for model in models]
    shipment.write("emergence", rows)


#: conditions whose networks are shipped, by the name of their file
LASTING = {
    "copy": "repeat copy 4 x 4", "noise": "noise 0.03", "random": "random 1", "gru": "gru on repeat copy",
    "lstm": "lstm on repeat copy",
}  # fmt: skip


def _lasting(shipment: _Shipment, experiment: str) -> None:
    names = ("cell", "history", "dim", "hidden", "l2", "lr", "noise", "horizons", "steps", "seed", "status", "accuracy")
    rows, every = [], sorted({model.seed for model in shipment.table.rows})
    for condition in lifetimes.CONDITIONS:
        for model in (lifetimes.network(condition, seed) for seed in every):
            if model not in shipment.table.rows:
                continue
            row, task = shipment.row(model), model.task
            found = {"condition": condition, "triple": " ".join(map(str, model.triple))}
            found |= {name: row[name] for name in names} | {"rank": circuit.effective_rank(task)}
            found |= {"cycles": len(circuit.cycles(task)), "floor": circuit.linear_floor(task, lifetimes.FLOOR)}
            measured = {name: row.get(name) for name in lifetimes.COLUMNS}
            rows.append(found | {k: round(v, 6) if isinstance(v, float) else v for k, v in measured.items()})
    for name, condition in LASTING.items():
        models = [lifetimes.network(condition, seed) for seed in every]
        models = [model for model in models if model in shipment.table.rows][:2]
        if models:
            shipment.together(f"lasting_{name}", models, seeds=_seeds(models), condition=condition)
    shipment.write("lasting", rows)


#: conditions whose first network is shipped, by the name of its file
FIRST = {
    "ringing_minimus": "minimus elman",
    "ringing_doubles": "doubles elman",
    "call_changes_gru": "called gru",
    "source_gru": "gru renamed",
}


def _by_condition(shipment: _Shipment, experiment: str) -> None:
    module = CONDITIONED[experiment]
    rows, every = [], sorted({line.seed for line in shipment.table.rows})
    for condition in module.CONDITIONS:
        for line in (module.network(condition, seed) for seed in every):
            if line in shipment.table.rows:
                row = {"condition": condition} | shipment.row(line)
                rows.append({k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in row.items()})
    for name, condition in FIRST.items():
        line = module.network(condition, every[0]) if condition in module.CONDITIONS else None
        if line in shipment.table.rows:
            shipment.together(name, [line], seeds=_seeds([line]), condition=condition)
    shipment.write(experiment.replace("-", "_"), rows)


def _onions(shipment: _Shipment, experiment: str) -> None:
    """Also the first seed's weights with 48 and 64 units: GRUs of both variants, what was learned on autoregressive
    ones until it was flat, but no GRU as a probe."""
    name, prefix = ONIONS[experiment]

    def kind(line: Learned) -> str:
        return getattr(line, "kind", "")

    def ordered(line: Learned) -> tuple:
        return line.hidden, not line.autoregressive, kind(line), line.seed, line.patience

    for line, row in shipment.table.rows.items():
        small, ar = line.seed == 0 and line.hidden in (48, 64) and line.patience > 0, line.autoregressive
        if small and (ar or not kind(line)) and not kind(line).startswith("gru"):
            parts = [prefix, *filter(None, [kind(line)]), str(line.hidden), "ar" if ar else "ni", "0"]
            with replacing(shipment.add("_".join(parts) + ".safetensors")) as file:
                shutil.copyfile(shipment.source(weights_file(row["key"])), file)
    shipment.write(name, [shipment.table.rows[line] for line in sorted(shipment.table.rows, key=ordered)])


def _fixed_sequences(shipment: _Shipment, experiment: str) -> None:
    grus = Table(shipment.table.out / "gru", Repeater).rows
    of = {row["key"]: line for line, row in grus.items()}
    edits, rows = {of[edit.gru]: row for edit, row in shipment.table.rows.items()}, []
    for line in sorted(edits, key=lambda line: (line.sequences != "drawn", line.hidden, line.seed)):
        row, among = edits[line], pool(line.task)[1].bincount()
        found = {name: getattr(line, name) for name in ("sequences", "hidden", "autoregressive", "seed")}
        found |= {"gru_steps": grus[line]["steps"], "gru_exact": grus[line]["exact"]}
        found |= {"steps": row["steps"], "exact": row["exact"]}
        found |= {name: round(value, 4) for name, value in row.items() if name.startswith("exact_length_")}
        rows.append(found | {f"of_length_{n}": int(among[n]) for n in range(line.shortest, line.longest + 1)})
    shipment.write("onion_fixed", rows)


def _edit_controls(shipment: _Shipment, experiment: str) -> None:
    """What the networks learned is a column; neither they nor the edits are shipped."""
    rows = _short_edits(shipment, "misled")
    order = [*LEARNS].index
    rows.sort(key=lambda row: (order(row["learns"]), row["misled"], row["intervention"], row["hidden"], row["seed"]))
    shipment.write("edit_controls", rows)


def _edit_protocols(shipment: _Shipment, experiment: str) -> None:
    rows = _short_edits(shipment, "as_authors", "patience")
    names = ("intervention", "as_authors", "patience", "hidden", "seed")
    shipment.write("edit_protocols", sorted(rows, key=lambda row: [row[name] for name in names]))


def _short_edits(shipment: _Shipment, *names: str) -> list[dict]:
    """Rows of edits with these of their fields, and what their networks are."""
    of = {row["key"]: line for line, row in Table(shipment.table.out / "gru", Repeater).rows.items()}
    rows, scored = [], ("exact_", "oracle", "no_edit", "random")
    for edit, row in shipment.table.rows.items():
        line = of[edit.gru]
        found = {"learns": line.learns, "intervention": edit.intervention}
        found |= {name: getattr(edit, name) for name in names}
        found |= {name: getattr(line, name) for name in ("hidden", "autoregressive", "seed")}
        weights = read_safetensors(shipment.table.out / weights_file(row["key"]), "weights")[0].values()
        # of layers that were measured those of positions beyond a length are zero, and none is
        found |= {"numbers": sum(int(w.count_nonzero()) for w in weights)}
        found |= {name: row[name] for name in ("steps", "status")}
        rows.append(found | {k: round(v, 4) for k, v in row.items() if k == "exact" or k.startswith(scored)})
    return rows


def _recurrences(shipment: _Shipment, experiment: str) -> None:
    """Also the weights of the first seed with 64 numbers in the memory, of the cells whose states chapters round."""
    for line, row in shipment.table.rows.items():
        usual = line.seed == 0 and not line.recurrent and line.blocks == 1
        if line.cell in SHIPPED_CELLS and usual and line.hidden in (64, 8):
            with replacing(shipment.add(f"recurrence_{line.cell}_64_0.safetensors")) as file:
                shutil.copyfile(shipment.source(weights_file(row["key"])), file)
    _brief_rows(shipment, experiment)


def _brief_rows(shipment: _Shipment, experiment: str) -> None:
    """The whole table, its measured numbers to four digits, ordered by what the networks are."""

    def ordered(line: Any) -> tuple:
        names = ("intervention", "cell", "recurrent", "stored", "hidden", "seed")
        return tuple(getattr(line, name, "") for name in names)

    rows = [shipment.table.rows[line] | line.columns() for line in sorted(shipment.table.rows, key=ordered)]
    short = [{k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    shipment.write(experiment.replace("-", "_"), short)


SHIPPED_CELLS = ("elman", "gru", "lstm", "lru", "deltanet", "attention")
ONIONS = {"onion-gru": ("onion_gru", "gru"), "onion-interventions": ("onion_interventions", "edit"),
          "onion-probes": ("onion_probes", "probe")}  # fmt: skip
CONDITIONED = {"change-ringing": ringers, "call-changes": call_ringers, "source-names": copiers}
KINDS: dict[str, tuple] = {
    "table1": (Model, _table1),
    "circuits": (Model, _full_size),
    "failures": (Model, _full_size),
    "repeat-copy": (Model, _repeat_copy),
    "emergence": (Model, _emergence),
    "onion-gru": (Repeater, _onions),
    "onion-interventions": (Edit, _onions),
    "onion-probes": (Probe, _onions),
    "fixed-sequences": (Edit, _fixed_sequences),
    "edit-controls": (Edit, _edit_controls),
    "edit-protocols": (Edit, _edit_protocols),
    "lasting": (Model, _lasting),
    "change-ringing": (ringers.Ringer, _by_condition),
    "call-changes": (call_ringers.CallRinger, _by_condition),
    "source-names": (copiers.Copier, _by_condition),
    "recurrences": (Repeater, _recurrences),
    "recurrence-factors": (Placed, _brief_rows),
    "recurrence-edits": (Edit, _brief_rows),
    "rounded-states": (Repeater, _brief_rows),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("book/data"), help="(default: book/data)")
    for name in ("experiment", "command"):
        parser.add_argument(f"--{name}", default="", help="where the folder does not say it")
    try:
        print(*ship(**vars(parser.parse_args(arguments))), sep="\n")
        return 0
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
