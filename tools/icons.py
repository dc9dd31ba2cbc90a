"""The theme's icons, cut down to those that the site shows: one small style in place of megabytes of fonts and script.

The theme brings Font Awesome along whole, as fonts and once more as a script. What the built pages, scripts and styles
name is kept, as a font within the style itself, so that no icon appears late or fails to load from a plain folder.
"""

import base64
import io
import re
import shutil
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

FONTS = {"fa-solid-900": ("Free", 900), "fa-brands-400": ("Brands", 400)}  # file: family, weight
BASE = """/* Font Awesome Free, https://fontawesome.com: icons CC BY 4.0, fonts SIL OFL 1.1; only the icons used here */
:root {
  --fa-font-solid: normal 900 1em/1 "Font Awesome 6 Free";
  --fa-font-brands: normal 400 1em/1 "Font Awesome 6 Brands";
}
.fas, .fa-solid, .fab, .fa-brands {
  display: inline-block;
  min-width: 1em;
  font: var(--fa-font-solid);
  text-align: center;
  text-rendering: auto;
  -webkit-font-smoothing: antialiased;
}
.fab, .fa-brands { font: var(--fa-font-brands); }
.fa-lg { font-size: 1.25em; line-height: 0.05em; vertical-align: -0.075em; }
"""


def write(static: Path) -> None:
    """Write icons.css into the site's static folder, from what the theme left there and then throws away."""
    theirs = next((static / "vendor" / "fontawesome").iterdir())
    style = (theirs / "css" / "all.min.css").read_text(encoding="utf8")
    codes = {}
    for names, code in re.findall(r'((?:\.fa-[\w-]+:before,?)+)\{content:"\\([0-9a-f]+)"\}', style):
        codes |= dict.fromkeys(re.findall(r"\.(fa-[\w-]+)", names), int(code, 16))
    shutil.rmtree(theirs / "css")
    shutil.rmtree(theirs / "js")

    pages = [*static.parent.rglob("*.html"), *static.rglob("*.js")]
    named = {name for page in pages for name in re.findall(r"fa-[\w-]+", page.read_text("utf8"))} & codes.keys()
    wanted = {codes[name] for name in named}
    for path in static.rglob("*.css"):  # other styles give an icon's code, as an escape or as the character itself
        text = path.read_text(encoding="utf8")
        wanted |= {int(code, 16) for code in re.findall(r'"\\([ef][0-9a-f]{3})"', text)}
        wanted |= {ord(character) for character in re.findall("[\ue000-\uf8ff]", text)}

    faces = [_face(theirs / "webfonts" / f"{file}.ttf", *FONTS[file], wanted) for file in FONTS]
    rules = [f'.{name}::before {{ content: "\\{codes[name]:x}"; }}' for name in sorted(named)]
    (static / "icons.css").write_text("\n".join([BASE, *faces, *rules, ""]), encoding="utf8")
    shutil.rmtree(theirs / "webfonts")


def _face(path: Path, family: str, weight: int, wanted: set[int]) -> str:
    font = TTFont(path)
    cut = subset.Subsetter(subset.Options(layout_features=[], hinting=False, name_IDs=[]))
    cut.populate(unicodes=wanted)
    cut.subset(font)
    font.flavor, file = "woff", io.BytesIO()
    font.save(file)
    data = base64.b64encode(file.getvalue()).decode()
    return (
        f'@font-face {{ font-family: "Font Awesome 6 {family}"; font-weight: {weight}; font-display: block; '
        f'src: url("data:font/woff;base64,{data}") format("woff"); }}'
    )
