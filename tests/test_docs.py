"""Every Python snippet of the README and the docs runs, as printed.

A README program runs as a program. The snippets of a page in `docs/` run one
after the other in one coroutine on a small network of the same name, so that
what they wait for happens. Where a page needs names or a cast of its own, an
HTML comment before the snippet holds the lines that readers need not see::

    <!-- test:
    class Price(msgspec.Struct): ...
    -->
"""

import ast
import asyncio
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

import mosaik_actors

from . import settings_page

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
SNIPPET = re.compile(r"<!-- test:\n(?P<hidden>.*?)-->|```python\n(?P<shown>.*?)```", re.DOTALL)
LINK = re.compile(r"\]\((?P<target>[^)#:]+)(#[^)]*)?\)")


def snippets(page: Path) -> list[str]:
    """Return the Python code of a page, hidden lines included, in order."""
    return [found["hidden"] or found["shown"] for found in SNIPPET.finditer(page.read_text())]


README_PRINTS = [
    [f"Price(symbol='ETH/USDC', value={value})" for value in (3120.5, 3121.0, 3119.75)],
    ["{'ETH/USDC': 3120.5}"],
]


@pytest.mark.parametrize(("number", "lines"), list(enumerate(README_PRINTS)))
def test_readme_example_runs_as_printed(number: int, lines: list[str], tmp_path: Path) -> None:
    program = tmp_path / "example.py"
    codes = snippets(ROOT / "README.md")
    assert len(codes) == len(README_PRINTS)
    program.write_text(codes[number])
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", str(program)],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "MOSAIK_RUNTIME_DIR": str(tmp_path)},
        check=False,
    )
    assert (done.stdout.splitlines(), done.stderr) == (lines, "")


@pytest.mark.parametrize(
    "page", [page for page in PAGES if snippets(page)], ids=lambda page: page.name
)
async def test_snippets_of_a_page_run(page: Path) -> None:
    names: dict[str, Any] = {name: getattr(mosaik_actors, name) for name in mosaik_actors.__all__}
    names["__name__"] = "__main__"
    async with asyncio.timeout(30):
        for number, code in enumerate(snippets(page), 1):
            compiled = compile_with_await(code, f"{page.name}, snippet {number}")
            result = eval(compiled, names)  # noqa: S307  # our own documentation
            if inspect.iscoroutine(result):
                await result


def compile_with_await(code: str, name: str) -> CodeType:
    """Compile a snippet that may use ``await`` and ``async with`` at its top."""
    compiled: CodeType = compile(code, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return compiled


@pytest.mark.parametrize(
    "page", [*ROOT.glob("*.md"), *PAGES, *ROOT.glob("examples/**/*.md")], ids=lambda page: page.name
)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for found in LINK.finditer(page.read_text()):
        assert (page.parent / found["target"]).exists(), found["target"]


def test_the_page_of_settings_says_what_the_code_has() -> None:
    """Write it anew with ``python -m tests.settings_page``."""
    assert settings_page.PAGE.read_text() == settings_page.render()


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    for page in PAGES:
        assert page.name == "index.md" or f"]({page.name})" in index
