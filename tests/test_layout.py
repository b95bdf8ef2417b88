"""The rules of `docs/architecture.md` about what may import what, held by a test."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mosaik_actors"

SUBSYSTEMS = ("discovery", "streams", "groups", "collections")
NOT_CORES = ("api", "messages", "__init__")

# The pure modules of the transport; the others open sockets or run on the loop.
TRANSPORT_CORES = (
    "address",
    "close",
    "config",
    "counters",
    "frames",
    "identity",
    "link",
    "lost",
    "path_mtu",
)
TESTING_CORES = (
    "conditions",
    "contradiction",
    "disk",
    "faults",
    "history",
    "linearizability",
    "models",
    "nat",
    "trace",
    "wing_gong",
)
# The storage on a real disk: called from a worker thread, so it may block and
# use files and locks, but never the loop, a socket or a clock.
MAY_BLOCK = frozenset(["sqlite.py", "sqlite_lock.py", "sqlite_mark.py"])
BLOCKING_MODULES = frozenset(["os", "threading"])
TOP_LEVEL_CORES = ("codec", "config", "errors", "ids", "schema", "waiters")

FORBIDDEN_IN_CORES = frozenset(
    ["asyncio", "socket", "selectors", "threading", "time", "thespian", "aioquic", "os", "secrets"]
)
ALLOWED_TO_USE_AIOQUIC = frozenset(PACKAGE / "transport" / f"{n}.py" for n in ("bounded", "engine"))
MAY_USE_OS = frozenset(["ids.py", "disk.py"])  # for entropy; for the texts of errors


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def cores() -> list[Path]:
    found = [
        path
        for folder in SUBSYSTEMS
        for path in sorted((PACKAGE / folder).glob("*.py"))
        if path.stem not in NOT_CORES
    ]
    found += [PACKAGE / "transport" / f"{name}.py" for name in TRANSPORT_CORES]
    found += [PACKAGE / "testing" / f"{name}.py" for name in TESTING_CORES]
    return found + [PACKAGE / f"{name}.py" for name in TOP_LEVEL_CORES]


def imports(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield (absolute module, names) of every import in a file."""
    folder = path.parent.relative_to(ROOT).parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, []
        elif isinstance(node, ast.ImportFrom):
            base = list(folder[: len(folder) - node.level + 1]) if node.level else []
            yield (
                ".".join([*base, *([node.module] if node.module else [])]),
                [alias.name for alias in node.names],
            )


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", cores(), ids=name_of)
def test_core_is_pure(path: Path) -> None:
    """A core decides; it never does: no loop, socket, clock, thread or entropy of its own."""
    for module, names in imports(path):
        top = module.partition(".")[0]
        if top == "os" and path.name in MAY_USE_OS:
            continue
        if top in BLOCKING_MODULES and path.parent.name == "groups" and path.name in MAY_BLOCK:
            continue
        assert top not in FORBIDDEN_IN_CORES, f"a core imports {module}"
        if module == "random":
            assert names == ["Random"], "a core takes its generator, it makes none"
        assert not module.startswith("mosaik_actors.actors"), f"imports actor {module}"
        assert not module.startswith("mosaik_actors.runtime"), f"imports {module}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_only_the_engine_knows_aioquic(path: Path) -> None:
    uses = any(module.partition(".")[0] == "aioquic" for module, _ in imports(path))
    assert uses == (path in ALLOWED_TO_USE_AIOQUIC)


@pytest.mark.parametrize("path", sorted((PACKAGE / "transport").glob("*.py")), ids=name_of)
def test_transport_knows_nothing_above_it(path: Path) -> None:
    for module, _ in imports(path):
        for above in (*SUBSYSTEMS, "actors", "runtime", "network", "cli"):
            assert not module.startswith(f"mosaik_actors.{above}"), f"imports {module}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "actors").glob("*.py")), ids=name_of)
def test_actors_know_no_handle(path: Path) -> None:
    """Imports go one way: handles, then actors, then cores and the transport."""
    for module, _ in imports(path):
        assert not module.endswith(".api") or module == "mosaik_actors.runtime.api"
        assert module != "mosaik_actors.network"


def test_message_names_are_unique() -> None:
    """Dispatch goes by a message's class name alone."""
    seen: dict[str, Path] = {}
    for path in [*PACKAGE.glob("*/messages.py"), PACKAGE / "transport" / "interface.py"]:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                assert node.name not in seen, f"{node.name} is in {path} and in {seen[node.name]}"
                seen[node.name] = path
    assert len(seen) > 20


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_package_imports_itself_relatively(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and not node.level:
            assert not (node.module or "").startswith("mosaik_actors")


def test_rooms_are_linked_at_the_top() -> None:
    for room in ("actors", "transport"):
        assert (ROOT / room).is_symlink()
        assert (ROOT / room).resolve() == PACKAGE / room
