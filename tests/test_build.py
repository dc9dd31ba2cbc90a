"""The build's promises, on a copy of the tree: what is executed again, what fails, what is left."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zmq.asyncio
from jupyter_client.session import Session

ROOT = Path(__file__).resolve().parent.parent
CHAPTER = (Path(__file__).parent / "tiny_chapter.md").read_text(encoding="utf8")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A book of two chapters, `tiny` and `other`, with the real Makefile and tools, and an empty library."""
    for name in ("Makefile", "requirements.txt", "pyproject.toml", "setup.py", "_config.yml", "_toc.yml"):
        shutil.copy(ROOT / name, tmp_path)
        os.utime(tmp_path / name, (0, 0))  # older than the environment's stamp, which make must leave alone
    shutil.copytree(ROOT / "tools", tmp_path / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "book" / "profiles").mkdir(parents=True)
    (tmp_path / "book" / "data").mkdir()
    (tmp_path / "emt_core").mkdir()
    (tmp_path / "emt_core" / "__init__.py").touch()
    (tmp_path / "book" / "tiny.md").write_text(CHAPTER, encoding="utf8")
    (tmp_path / "book" / "profiles" / "smoke.yml").write_text("tiny: {count: 2}\nother: {count: 3}\n", encoding="utf8")
    return tmp_path


def execute(tree: Path, chapter: str = "tiny", check: bool = True) -> subprocess.CompletedProcess:
    """Ask tools/execute.py to bring a chapter up to date."""
    command = [sys.executable, "tools/execute.py", chapter, "--profile", "smoke", "--build", "_build"]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, check=check)


def executed(tree: Path) -> Path:
    """Where the executed chapter appears."""
    return tree / "_build" / "executed" / "smoke" / "tiny.ipynb"


def test_a_chapter_runs_with_its_profile_and_this_library(tree):
    """Parameters come from the profile, `emt_core` from the tree whose files are hashed, and no path is published."""
    done = execute(tree)
    assert "executed  tiny (smoke)" in done.stdout
    text = executed(tree).read_text(encoding="utf8")
    assert f"smoke 2 {tree / 'emt_core' / '__init__.py'}" in text
    assert "count = 2  # a number" in text and "injected" not in text
    notebook = json.loads(text)
    assert "papermill" not in notebook["metadata"]
    assert notebook["metadata"]["emt"]["versions"].keys() == {"python", "torch", "numpy"}
    assert not [o for c in notebook["cells"] for o in c.get("outputs", []) if o.get("name") == "stderr"]


def test_executed_again_exactly_when_an_input_changed(tree):
    """Text, library, its build, lock, data or own section: yes. Touching files, or another chapter's section: no.

    An execution takes seconds, so after the first two the record is brought up to date in its stead.
    """
    ask = "import sys; sys.path.insert(0, 'tools'); import execute; print(execute.inputs_hash('tiny', 'smoke'))"

    def runs() -> bool:
        done = subprocess.run([sys.executable, "-c", ask], cwd=tree, capture_output=True, text=True, check=True)
        notebook = json.loads(executed(tree).read_text("utf8"))
        record = notebook["metadata"]["emt"]
        if record["inputs"] == done.stdout.strip():
            return False
        record["inputs"] = done.stdout.strip()
        executed(tree).write_text(json.dumps(notebook), encoding="utf8")
        return True

    def append(name: str, text: str) -> None:
        path = tree / name
        path.parent.mkdir(exist_ok=True)
        path.write_text((path.read_text("utf8") if path.exists() else "") + text, encoding="utf8")

    profile = tree / "book" / "profiles" / "smoke.yml"
    assert "executed  tiny" in execute(tree).stdout
    for path in tree.rglob("*"):
        path.touch()
    assert "executed  tiny" not in execute(tree).stdout
    append("book/tiny.md", "\nMore words.\n")
    assert "executed  tiny" in execute(tree).stdout
    assert not runs()
    profile.write_text(profile.read_text("utf8").replace("count: 3", "count: 4"), encoding="utf8")
    assert not runs(), "another chapter's parameters"
    profile.write_text(profile.read_text("utf8").replace("count: 2", "count: 5"), encoding="utf8")
    assert runs(), "its own parameters"
    append("book/tiny.md", "\nMore words.\n")
    assert runs(), "its text"
    for suffix in ("py", "cpp", "h", "js", "css", "mplstyle"):
        append(f"emt_core/new.{suffix}", "\n")
        assert runs(), f"a new .{suffix} file of the library"
        append(f"emt_core/new.{suffix}", "\n")
        assert runs(), f"a changed .{suffix} file of the library"
    append("setup.py", "# a line\n")
    assert runs(), "the build of the kernels"
    append("requirements.txt", "# a line\n")
    assert runs(), "the lock"
    append("book/data/table.csv", "a,b\n")
    assert runs(), "the data"
    append("book/claims/tiny.toml", "")
    assert runs(), "its claims"
    append("book/claims/other.toml", "")
    assert not runs(), "another chapter's claims"
    (tree / "emt_core" / "new.js").unlink()
    assert runs(), "a file of the library gone"
    assert not runs()


def make(tree: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Call the real make, with this environment's Python as the tree's."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    (tree / ".venv").symlink_to(Path(sys.prefix), target_is_directory=True)
    command = ["make", *arguments]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)


@pytest.mark.skipif(not (ROOT / ".venv" / ".stamp").exists(), reason="not the environment that make made")
def test_a_broken_cell_turns_the_build_red(tree):
    """`make` fails, says where and why, and publishes nothing of the chapter, nor what an older build left of it."""
    execute(tree)
    assert executed(tree).exists()
    broken = CHAPTER + "\n```{code-cell} ipython3\nvalue = count - 2\n1 / value  # breaks here\n```\n"
    (tree / "book" / "tiny.md").write_text(broken, encoding="utf8")
    (tree / "_build" / "web").mkdir()
    (tree / "_build" / "web" / ".stamp").touch()  # what a site needs from elsewhere is not fetched for one that fails
    done = make(tree, "PROFILE=smoke", "book")
    assert done.returncode != 0
    for said in (
        "chapter tiny failed",
        "book/tiny.md",
        "In [",
        "1 / value  # breaks here",
        "ZeroDivisionError",
        "----> 2",
    ):
        assert said in done.stderr, said
    assert "\x1b" not in done.stderr
    assert not executed(tree).exists()
    assert not (tree / "_build" / "html").exists()
    assert (tree / "_build" / "failed" / "smoke" / "tiny.ipynb").exists()
    assert list(executed(tree).parent.iterdir()) == []


def test_an_unknown_profile_is_refused(tree):
    """A typo in PROFILE is an error, not another default."""
    done = make(tree, "PROFILE=smok", "book")
    assert done.returncode != 0
    assert 'unknown PROFILE "smok": choose one of smoke default full' in done.stderr


def test_an_unknown_parameter_is_refused(tree):
    """A profile can only set what the parameters cell declares."""
    (tree / "book" / "profiles" / "smoke.yml").write_text("tiny: {cuont: 2}\n", encoding="utf8")
    done = execute(tree, check=False)
    assert done.returncode != 0
    assert "cuont" in done.stderr
    assert not executed(tree).exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda s: s.name)
def test_killed_in_mid_execution_leaves_no_notebook(tree, how):
    """Nothing stands at the final name; where no one could clear up, the next build does."""
    (tree / "book" / "profiles" / "smoke.yml").write_text("tiny: {seconds: 60.0}\n", encoding="utf8")
    command = [sys.executable, "tools/execute.py", "tiny", "--profile", "smoke", "--build", "_build"]
    process = subprocess.Popen(command, cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tree / "book" / "asleep").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert (tree / "book" / "asleep").exists(), "the execution did not start"
    process.send_signal(how)
    assert process.wait(30) != 0
    assert list(executed(tree).parent.iterdir()) == []
    if how == signal.SIGKILL:  # as if it had come while the notebook was being written
        (executed(tree).parent / ".tiny.1.ipynb").write_text("{", encoding="utf8")
        (tree / "book" / "profiles" / "smoke.yml").write_text("tiny: {}\n", encoding="utf8")
        execute(tree)
    assert [p.name for p in executed(tree).parent.iterdir()] == (["tiny.ipynb"] if how == signal.SIGKILL else [])


def test_a_reply_is_heard_though_a_message_is_sent_meanwhile():
    """With jupyter_client's own channel the send uses up the reply's signal, and a build hangs for ever."""
    sys.path.insert(0, str(ROOT / "tools"))
    from chapters import attentive_manager

    async def heard() -> str:
        with zmq.asyncio.Context() as context, zmq.Context() as other:
            kernel, socket, session = other.socket(zmq.ROUTER), context.socket(zmq.DEALER), Session(key=b"k")
            socket.connect(f"tcp://127.0.0.1:{kernel.bind_to_random_port('tcp://127.0.0.1')}")
            channel = attentive_manager()().client_factory().shell_channel_class(socket, session)
            channel.send(session.msg("request"))
            ident = kernel.recv_multipart()[0]
            waiting = asyncio.ensure_future(channel.get_msg())
            await asyncio.sleep(0.05)
            session.send(kernel, "reply", ident=ident)
            time.sleep(0.05)  # the loop is busy while the reply arrives
            channel.send(session.msg("comm_msg"))
            try:
                return (await asyncio.wait_for(waiting, 10))["msg_type"]
            finally:
                socket.close(0)
                kernel.close(0)

    assert asyncio.run(heard()) == "reply"


def test_the_status_page_says_once_what_all_chapters_share(tmp_path):
    """Columns are for what differs; the last row has the sum."""
    sys.path.insert(0, str(ROOT / "tools"))
    from build_site import status_table

    def chapter(name, seconds, numpy="2"):
        versions = {"python": "3.11", "torch": "2.13", "numpy": numpy}
        emt = {"seconds": seconds, "profile": "smoke", "date": "today", "versions": versions, "platform": "two cores"}
        path = tmp_path / f"{name}.ipynb"
        path.write_text(json.dumps({"metadata": {"emt": emt}}))
        return path

    alike = [chapter("a", 1.25), chapter("b", 1200)]
    shared, _, table = status_table(alike).partition("\n\n")
    assert shared == "All chapters: profile smoke, Python 3.11, torch 2.13, numpy 2, machine two cores."
    today = '<span class="emt-nowrap">today</span>'
    assert table.splitlines() == [
        "| chapter | seconds | date |",
        "| --- | --: | --- |",
        f"| [](/book/a) | 1.2 | {today} |",
        f"| [](/book/b) | 1200.0 | {today} |",
        "| **together** | 1,201.2 |  |",
    ]
    differing = status_table([*alike, chapter("c", 1, "1.9")])
    assert "numpy" not in differing.partition("\n")[0] and "| chapter | seconds | date | numpy |" in differing
    assert f"| [](/book/c) | 1.0 | {today} | 1.9 |" in differing
    assert status_table([]) == "No chapter has been executed yet."


def test_the_parameters_cell_shows_what_ran():
    """Values of the run stand in the chapter's own cell, beside their comments; lists over several lines become one."""
    sys.path.insert(0, str(ROOT / "tools"))
    from execute import with_values

    source = 'a = 1  # über\nb = [\n    1,\n    2,\n]  # several\nc = "x"  # kept\n'
    done = with_values(source, {"a": 2.5, "b": [[3, "y"]]})
    assert [line for line in done.splitlines() if line] == [
        "a = 2.5  # über",
        "b = [[3, 'y']]  # several",
        'c = "x"  # kept',
    ]
