"""Nothing in the library decides by a clock or by entropy that it was not given.

A replay is exact only if this holds. What may use the real ones is listed here,
each with its reason. Iterating over a set is refused as well: its order differs
from process to process.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[3] / "mosaik_actors"

ALLOWED = {
    "clock.py": "LoopClock is the real machine's clock",
    "environment.py": "Machine draws the seed of a real node",
    "ids.py": "new identities and random ids are made on request, by users",
    "cli": "commands run on the real machine",
    "running.py": "a real process ends in real time, whatever its loop does",
    "runtime/isolated.py": "processes of their own do not run in a simulation",
    "runtime/isolated_process.py": "processes of their own do not run in a simulation",
    "runtime/keeper_process.py": "processes of their own do not run in a simulation",
    "tee/sources.py": "asks a real kernel for quotes, which no simulated node has",
    "testing/scenario.py": "reports how long a run really took",
}
CLOCKS = {"time", "secrets"}
WHOLE_MODULES = {*CLOCKS, "random", "uuid"}
CALLS = {
    "os": {"urandom", "getrandom"},
    "uuid": {"uuid1", "uuid4"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}


def is_allowed(path: Path) -> bool:
    name = str(path.relative_to(PACKAGE))
    return name in ALLOWED or name.split("/")[0] in ALLOWED


def dotted(node: ast.expr) -> str:
    """Return ``a.b.c`` of such an expression, else nothing."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (head := dotted(node.value)):
        return f"{head}.{node.attr}"
    return ""


def own_sources(tree: ast.AST) -> Iterator[str]:
    """Yield what in a module reads a clock or entropy, as text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (name := dotted(node.func)):
            *heads, last = name.split(".")
            head = heads[-1] if heads else ""
            if (
                (head in CLOCKS and last != "fromisoformat")
                or (head == "random" and last != "Random")
                or last in CALLS.get(head, ())
            ):
                yield f"line {node.lineno}: {name}()"
            elif last in ("Random", "SystemRandom") and not node.args:
                yield f"line {node.lineno}: {name}() without a seed"
        elif isinstance(node, ast.ImportFrom) and node.module in (*WHOLE_MODULES, "os"):
            forbidden = {alias.name for alias in node.names} - {"Random"}
            if node.module == "os":
                forbidden &= CALLS["os"]
            elif node.module == "uuid":
                forbidden &= CALLS["uuid"]
            if forbidden:
                yield f"line {node.lineno}: from {node.module} import {min(forbidden)}"


def is_set(node: ast.expr) -> bool:
    """Return whether an expression is a set, as far as can be seen from it alone."""
    match node:
        case ast.Set() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id="set" | "frozenset")):
            return True
        case ast.Call(
            func=ast.Attribute(
                attr="union" | "intersection" | "difference" | "symmetric_difference"
            )
        ):
            return True
        case ast.BinOp(op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor()):
            return is_set(node.left) or is_set(node.right)
        case ast.Call(func=ast.Name(id="list" | "tuple" | "enumerate" | "iter"), args=[inner]):
            return is_set(inner)
    return False


def iterated_sets(tree: ast.AST) -> Iterator[str]:
    """Yield where a module goes through a set in the set's own order."""
    for node in ast.walk(tree):
        iterated: list[ast.expr] = []
        if isinstance(node, ast.For | ast.AsyncFor):
            iterated = [node.iter]
        elif isinstance(node, ast.ListComp | ast.DictComp):
            iterated = [part.iter for part in node.generators]
        for expression in iterated:
            if is_set(expression):
                yield f"line {expression.lineno}: {ast.unparse(expression)}"


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if not is_allowed(path))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_takes_time_and_randomness_from_what_it_was_given(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert list(own_sources(tree)) == []
    assert list(iterated_sets(tree)) == []


def test_every_exception_is_still_needed() -> None:
    for name in ALLOWED:
        place = PACKAGE / name
        files = list(place.rglob("*.py")) if place.is_dir() else [place]
        found = [text for file in files for text in own_sources(ast.parse(file.read_text()))]
        if not name.startswith("runtime/isolated"):
            assert found, f"{name} needs no exception any more"


@pytest.mark.parametrize(
    "code",
    [
        "import time\ntime.monotonic()",
        "time.time()",
        "from time import time",
        "import random\nrandom.random()",
        "from random import randint",
        "random.shuffle([1])",
        "Random()",
        "random.SystemRandom()",
        "os.urandom(8)",
        "from os import urandom",
        "secrets.token_bytes()",
        "from secrets import token_hex",
        "uuid.uuid4()",
        "from uuid import uuid4",
        "datetime.now()",
        "datetime.datetime.utcnow()",
        "datetime.date.today()",
    ],
)
def test_what_reads_a_clock_or_entropy_is_found(code: str) -> None:
    assert list(own_sources(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "for x in {1, 2}: pass",
        "for x in set(y): pass",
        "for x in list(set(y)): pass",
        "for x in set(y) - z: pass",
        "for x in y.union(z): pass",
        "[x for x in {z for z in y}]",
        "{x: 1 for x in frozenset(y)}",
    ],
)
def test_going_through_a_set_is_found(code: str) -> None:
    assert list(iterated_sets(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "for x in sorted(set(y)): pass",
        "for x in [1, 2]: pass",
        "rng.random()\nself._rng.shuffle(y)",
        "Random(seed).random()",
        "from random import Random",
        "from uuid import UUID",
        "loop.time()\nself._clock.wall()",
        "{x for x in {1, 2}}",
    ],
)
def test_what_is_harmless_is_left_alone(code: str) -> None:
    tree = ast.parse(code)
    assert not list(own_sources(tree))
    assert not list(iterated_sets(tree))
