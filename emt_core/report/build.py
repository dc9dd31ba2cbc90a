"""A report on one network: measured, judged by stated rules, written as a page and as numbers."""

from __future__ import annotations

import json
import math
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from emt_core.networks.adapted import Adapted
from emt_core.networks.cell import Ensemble
from emt_core.networks.contract import Writes
from emt_core.report import learned, measures, verdicts
from emt_core.report.asked import Asked, asked
from emt_core.report.measures import Numbers, missing
from emt_core.report.runs import alone
from emt_core.report.verdicts import Verdict
from emt_core.support.checks import integer
from emt_core.support.files import write_text
from emt_core.support.running import one_thread_per_product, quiet


@dataclass(frozen=True)
class Report:
    """``verdicts``: "code" and "memory"; ``numbers``: of each section, as in the JSON; ``page`` and ``data``: the
    files."""

    verdicts: dict[str, Verdict]
    numbers: dict[str, Numbers]
    page: Path
    data: Path


def _disturbed(network: Writes, q: Asked, seed: int) -> Numbers:
    return {name: f(network, q, seed) for name, f in (("kicks", measures.kicks), ("rounding", measures.rounding))}


#: in the order in which they are measured
SECTIONS: dict[str, Callable[[Writes, Asked, int], Numbers]] = {
    "accuracy": measures.accuracy,
    "code": measures.code,
    "edits": measures.edits,
    "disturbed": _disturbed,
    "lasting": measures.lasting,
    "fixed_points": measures.fixed_points,
    "learned": learned.edits,
}


def write(
    network: Any,
    sequences: Any,
    out: str | Path,
    *,
    targets: Any = "repeat",
    name: str = "A network",
    learned_edits: bool = False,
    seed: int = 0,
    progress: bool = True,
) -> Report:
    """Look into a network and write ``out``/report.html and ``out``/report.json. Seconds to a minute for a small
    network on one core, minutes with learned edits. Ctrl-C ends it early: what was measured until then is written.

    Args:
        network: a network (M = 1) of this library's that reads tokens, of :func:`emt_core.networks.from_torch`, or
            :class:`emt_core.networks.Functions` of your own.
        sequences, targets: what it reads, and what it is to write after each, see
            :func:`emt_core.report.asked.asked`.
        name: what the page calls the network.
        learned_edits: learn the onion paper's edits as well. For a TokenNetwork that repeats.
        seed: of all random numbers.

    Raises:
        ValueError: what cannot be used: what is wrong, where, and what to pass instead.
    """
    network, out = _checked(network), Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"out must be a folder, {out} is a file")
    integer("seed", seed, 0)
    name, q = str(name), asked(network, sequences, targets)
    _try(network, q)
    found: dict[str, Numbers] = {}
    with one_thread_per_product(), tqdm(SECTIONS, disable=quiet(progress), desc=name) as bar:
        try:
            for key in bar:
                bar.set_postfix_str(key)
                if key != "learned":
                    found[key] = SECTIONS[key](network, q, seed)
                elif learned_edits:
                    found[key] = learned.edits(network, q, seed, progress)
                else:
                    found[key] = missing("learned_edits=True was not asked for")
        except KeyboardInterrupt:
            found |= {key: missing("interrupted") for key in SECTIONS if key not in found}
    words = {"code": verdicts.code(found["code"]), "memory": verdicts.memory(found["lasting"])}
    about = _about(network, q, seed)
    data = {"name": name, "verdicts": {key: asdict(word) for key, word in words.items()}, "numbers": found}
    files = out / "report.html", out / "report.json"
    from emt_core.report.page import page  # matplotlib is imported where pictures are drawn

    write_text(page(name, found, about, words), files[0])
    text = json.dumps(_plain(data | {"about": about}), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(text + "\n", files[1])
    return Report(words, found, *files)


def _checked(network: Any) -> Writes:
    if isinstance(network, torch.nn.Module):
        raise ValueError(
            f"network must be one that this library knows, got the module {type(network).__name__}: pass "
            "emt_core.networks.from_torch(module, embedding=…, read_out=…), or emt_core.networks.Functions of it"
        )
    if not isinstance(network, Writes):
        wants = "vocabulary, encode and write"
        raise ValueError(f"network must have {wants}, as emt_core.networks.Functions has; got {type(network).__name__}")
    if isinstance(network, Ensemble):
        if network.models != 1:
            raise ValueError(f"network must be one model, got {network.models}: choose one, as in network[0]")
        if isinstance(network, Adapted) and network.device.type != "cpu":
            raise ValueError(f"network must be on the CPU, got {network.device}: call .cpu() on its modules")
        network = network.detach().to("cpu")
    return network  # type: ignore[return-value]


def _try(network: Writes, q: Asked) -> None:
    """What fails, fails at once: on a few sequences, before minutes of measuring."""
    h = network.encode(q.sequences[:4])
    network.write(h, len(q.targets))
    own = alone(network)
    if not isinstance(own, str):
        own.step(h)


def _about(network: Writes, q: Asked, seed: int) -> dict[str, Any]:
    cell = getattr(network, "cell", None)
    lengths = q.sequences.lengths[0]
    ends = int(lengths.min()), int(lengths.max())
    kind = type(network).__name__ + (f" of a {type(cell).__name__}" if cell is not None else "")
    return {
        "network": kind,
        "vocabulary": network.vocabulary,
        "sequences": f"{len(lengths):,} of length {' … '.join(map(str, dict.fromkeys(ends)))}",
        "targets": q.rule,
        "seed": seed,
        "versions": f"emt_core {_version()}, torch {torch.__version__}, Python {sys.version.split()[0]}",
        "hardware": platform.processor() or platform.machine(),
    }


def _version() -> str:
    try:
        return metadata.version("emt-core")
    except metadata.PackageNotFoundError:  # on the path, not installed
        return "not installed"


def _plain(x: Any) -> Any:
    """What JSON holds: keys as text, numbers that are finite or null."""
    if isinstance(x, dict):
        return {str(key): _plain(value) for key, value in x.items()}
    if isinstance(x, list | tuple):
        return [_plain(value) for value in x]
    return None if isinstance(x, float) and not math.isfinite(x) else x
