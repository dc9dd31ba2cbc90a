"""What the other tools know about chapters: which files they are, how their cells are read, where their kernel runs.

A chapter is a `book/*.md` with a jupytext header. Every path here is relative to the root that holds `book/`, so that
the tests can drive the tools on a copy of the tree.
"""

import ast
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
# where the book lives: launch buttons and reading notebooks follow it
CONFIG = ROOT / "_config.yml"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def repository() -> dict[str, str]:
    """The book's repository (`url`, `branch`) and the address of its site, which follows from it."""
    place = yaml.safe_load(CONFIG.read_text(encoding="utf8"))["repository"]
    url = place["url"].rstrip("/")
    owner, name = url.split("/")[-2:]
    return {"url": url, "branch": place["branch"], "site": f"https://{owner}.github.io/{name}"}


def browser() -> str | None:
    """Chromium or Chrome on this machine, if there is one."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def chapter_names() -> list[str]:
    """The chapters, in the order of their file names."""
    return sorted(p.stem for p in BOOK.glob("*.md") if re.search(r"(?m)^jupytext:", p.read_text(encoding="utf8")))


def toc_order() -> list[str]:
    """Every page of the book in reading order, as named in _toc.yml (`book/x`)."""
    return re.findall(r"(?m)^\s*(?:-\s*)?(?:root|file):\s*(\S+)", (ROOT / "_toc.yml").read_text(encoding="utf8"))


def profile_section(profile: str, chapter: str) -> dict:
    """The parameters that a profile gives to a chapter."""
    path = BOOK / "profiles" / f"{profile}.yml"
    sections = yaml.safe_load(path.read_text(encoding="utf8")) or {}
    section = sections.get(chapter) or {}
    if not isinstance(section, dict):
        raise ValueError(f"{path.name}: section {chapter!r} is {section!r}, expected a mapping of parameters")
    return section


def has_tag(cell, tag: str) -> bool:
    """Whether a notebook cell carries a tag."""
    return tag in cell.metadata.get("tags", [])


def declared_parameters(notebook) -> set[str]:
    """The names that the cell tagged `parameters` assigns."""
    names = set()
    for cell in notebook.cells:
        if cell.cell_type == "code" and has_tag(cell, "parameters"):
            for node in ast.parse(cell.source).body:
                targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
                names |= {t.id for t in targets if isinstance(t, ast.Name)}
    return names


def check_parameters(notebook, parameters: dict, chapter: str) -> None:
    """Refuse a parameter that the chapter does not declare: papermill would only warn, and the typo have no effect."""
    unknown = sorted(set(parameters) - declared_parameters(notebook))
    if unknown:
        raise ValueError(f"chapter {chapter}: its parameters cell does not assign {', '.join(unknown)}")


def attentive_manager():
    """A kernel manager whose client misses no reply.

    While it waits for a cell's reply, nbclient sends each output of an `interact` back to the kernel, on the same
    socket. ZeroMQ signals a waiting reply once, and a send can use the signal up: the event loop then waits for ever,
    the more often the busier the machine (jupyter/nbclient#312, jupyter/jupyter_client#1059). To ask the asyncio socket
    for its events after a send makes it look again.
    """
    import zmq
    from jupyter_client.asynchronous import AsyncKernelClient
    from jupyter_client.channels import AsyncZMQSocketChannel
    from jupyter_client.manager import AsyncKernelManager
    from traitlets import Type

    class Channel(AsyncZMQSocketChannel):
        def send(self, msg):
            super().send(msg)
            self.socket.get(zmq.EVENTS)

    class Client(AsyncKernelClient):
        shell_channel_class = Type(Channel)

    class Manager(AsyncKernelManager):
        client_factory = Type(Client)

    return Manager


def run_notebook(notebook, output: Path | None, parameters: dict | None = None):
    """Run a notebook by papermill with book/ as its folder; what ran is written also where a cell raises.

    Kernels talk through files of their own: TCP ports are chosen before they are taken, and kernels that start at the
    same moment may choose the same one.
    """
    import papermill
    from traitlets.config import Config

    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="emt-", dir="/tmp") as scratch:  # a socket's path must be short
        kernel_environment(Path(scratch))
        try:
            return papermill.execute_notebook(
                notebook,
                output,
                parameters=parameters,
                kernel_name="python3",
                kernel_manager_class=attentive_manager(),
                cwd=BOOK,
                progress_bar=False,
                request_save_on_cell_execute=False,  # once at its end: saving takes long where much is drawn
                config=Config(KernelManager={"transport": "ipc", "ip": f"{scratch}/kernel"}),
                extra_arguments=["--log-level=CRITICAL"],  # the kernel's remarks on its own sockets
            )
        finally:  # what the kernel was given is not for this process
            os.environ.clear()
            os.environ.update(before)


def kernel_environment(scratch: Path) -> None:
    """Make kernels that this process starts run alike everywhere: our Python, our library, nobody's settings."""
    for name in ("JUPYTER_PATH", "JUPYTER_CONFIG_DIR", "IPYTHONDIR", "PYTHONSTARTUP"):
        os.environ.pop(name, None)
    os.environ.update(
        JUPYTER_PREFER_ENV_PATH="1",  # the python3 kernel of this environment, whatever the user has installed
        JUPYTER_DATA_DIR=str(scratch / "jupyter"),
        JUPYTER_RUNTIME_DIR=str(scratch),
        JUPYTER_PLATFORM_DIRS="1",
        IPYTHONDIR=str(scratch / "ipython"),  # no start-up files, and no history shared by kernels side by side
        PYTHONPATH=str(ROOT),  # the emt_core whose files are hashed is the one that is imported
        PYTHONHASHSEED="0",
        PYDEVD_DISABLE_FILE_VALIDATION="1",
        OMP_NUM_THREADS="1",  # chapters run side by side, and their bits must not depend on the number of cores
        TQDM_DISABLE="1",  # progress bars are for people, not for pages
    )
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
