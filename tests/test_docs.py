"""Every Python snippet of the README and the docs runs, as printed.

A README program runs as a program. The snippets of a page in `docs/` run one
after the other in one coroutine, and show all that they need: imports too. An
HTML comment holds lines that look at what came of it, or end it, which readers
need not see::

    <!-- test:
    assert total == 5
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

from . import metrics_page, settings_page

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
SNIPPET = re.compile(r"<!-- test:\n(?P<hidden>.*?)-->|```python\n(?P<shown>.*?)```", re.DOTALL)
LINK = re.compile(r"\]\((?P<target>[^)#:]*)(#(?P<heading>[^)]*))?\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


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
    # On a busy machine asyncio's debug mode says what took long; that is nobody's fault.
    said = [line for line in done.stderr.splitlines() if not line.startswith("Executing <")]
    assert (done.stdout.splitlines(), said) == (lines, [])


@pytest.mark.parametrize(
    "page", [page for page in PAGES if snippets(page)], ids=lambda page: page.name
)
async def test_snippets_of_a_page_run(page: Path) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    async with asyncio.timeout(30):
        for number, code in enumerate(snippets(page), 1):
            compiled = compile_with_await(code, f"{page.name}, snippet {number}")
            result = eval(compiled, names)  # noqa: S307  # our own documentation
            if inspect.iscoroutine(result):
                await result


@pytest.mark.parametrize(
    "page", [page for page in PAGES if snippets(page)], ids=lambda page: page.name
)
def test_no_snippet_uses_what_the_page_hides(page: Path) -> None:
    found = list(SNIPPET.finditer(page.read_text()))
    hidden = "\n".join(one["hidden"] or "" for one in found)
    shown = "\n".join(one["shown"] or "" for one in found)
    only_hidden = bound_names(hidden) - bound_names(shown)
    used = {node.id for node in ast.walk(ast.parse(shown)) if isinstance(node, ast.Name)}
    assert not used & only_hidden


def bound_names(code: str) -> set[str]:
    """Return the names that code gives a meaning, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.alias(name=name, asname=other):
                names.add((other or name).split(".")[0])
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.ClassDef(name=name):
                names.add(name)
    return names


def compile_with_await(code: str, name: str) -> CodeType:
    """Compile a snippet that may use ``await`` and ``async with`` at its top."""
    compiled: CodeType = compile(code, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return compiled


@pytest.mark.parametrize(
    "page", [*ROOT.glob("*.md"), *PAGES, *ROOT.glob("examples/**/*.md")], ids=lambda page: page.name
)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for found in LINK.finditer(page.read_text()):
        target = page.parent / found["target"] if found["target"] else page
        assert target.exists(), found["target"]
        if found["heading"] and target.suffix == ".md":
            headings = HEADING.findall(target.read_text())
            assert found["heading"] in map(anchor, headings), found[0]


def anchor(heading: str) -> str:
    """Return what links call a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_the_page_of_settings_says_what_the_code_has() -> None:
    """Write it anew with ``python -m tests.settings_page``."""
    assert settings_page.PAGE.read_text() == settings_page.render()


def test_the_table_of_metrics_says_what_the_code_has() -> None:
    """Write it anew with ``python -m tests.metrics_page``."""
    assert metrics_page.PAGE.read_text() == metrics_page.render()


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    for page in PAGES:
        assert page.name == "index.md" or f"]({page.name})" in index
