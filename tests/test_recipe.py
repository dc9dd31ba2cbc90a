"""The recipe for a task of one's own: its code blocks run as they stand, in their order, and print what they say."""

import io
import re
from contextlib import redirect_stdout

import pytest


@pytest.fixture(scope="module", params=["your_own_task", "your_network"])
def blocks(root, request) -> list[str]:
    page = (root / "book" / f"{request.param}.md").read_text(encoding="utf8")
    return re.findall(r"(?ms)^```python\n(.*?)^```$", page)


def test_blocks_are_short(blocks):
    assert len(blocks) > 5
    for block in blocks:
        lines = [line for line in block.splitlines() if line]
        assert len(lines) <= 15 and max(map(len, lines)) <= 86


@pytest.mark.slow
def test_the_recipe_does_what_it_says(blocks):
    namespace: dict = {"__name__": "__main__"}
    for number, block in enumerate(blocks):
        out = io.StringIO()
        with redirect_stdout(out):
            exec(compile(block, f"block {number}", "exec"), namespace)
        assert out.getvalue().splitlines() == re.findall(r"(?m)^ *print\(.*\)  # (.+)$", block)
