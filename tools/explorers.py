"""The explorers of a chapter, as the site shows them: plain HTML that theme/static/explorers.js brings to life.

An executed notebook holds a widget as a view in an output and a state in its metadata, which only Jupyter's widget
manager, some megabytes of script, can put together. Ours are anywidget modules that need nothing of it but a model to
read from, so that the page gets their state alone. A module's text and style become one script each, named by its
content, which every page that shows such an explorer shares. They are classic scripts that hand over the module as
text, since a page opened from a plain folder may load neither modules nor JSON.
"""

import hashlib
import html
import json
import re
from pathlib import Path

VIEW = "application/vnd.jupyter.widget-view+json"
STATES = "application/vnd.jupyter.widget-state+json"


def without_widgets(notebook: dict, folder: Path) -> None:
    """Replace each explorer in the notebook by its place in the page, and write the modules into the folder."""
    states = notebook["metadata"].pop("widgets", {}).get(STATES, {}).get("state", {})
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            view = output.get("data", {}).pop(VIEW, None)
            if view and states[view["model_id"]]["model_module"] == "anywidget":
                output["data"] = {"text/html": _place(dict(states[view["model_id"]]["state"]), folder)}


def _place(state: dict, folder: Path) -> str:
    # theme/static/emt.css keeps room for each kind
    kind = next(iter(re.findall(r"emt-explorer emt-(\w+)", state["_esm"])), "")
    name = _write({"module": state.pop("_esm"), "style": state.pop("_css", "")}, folder)
    own = {key: value for key, value in state.items() if not key.startswith("_") and key not in ("layout", "tabbable")}
    caption = html.escape(state.get("caption") or "An explorer")
    data = json.dumps(own, separators=(",", ":")).replace("<", "\\u003c")  # no text in it may end the script
    return (
        f'<div class="emt-slot" data-explorer="{name}" data-kind="{kind}">'
        f"<noscript>{caption} (needs JavaScript)</noscript>"
        f'<script type="application/json">{data}</script></div>'
    )


def _write(parts: dict, folder: Path) -> str:
    text = json.dumps(parts)
    name = hashlib.sha256(text.encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.js").write_text(f'emtExplorers["{name}"].arrived({text});\n', encoding="utf8")
    return name
