"""The rules of `docs/architecture.md` about what may import what, held by a test."""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mosaik_actors"

SUBSYSTEMS = (
    "dht",
    "discovery",
    "streams",
    "groups",
    "collections",
    "singletons",
    "tickets",
    "tee",
)
NOT_CORES = ("messages", "__init__")
GROUPS = PACKAGE / "groups"
# Subsystems that are divided into rooms.
ROOMED = (GROUPS, PACKAGE / "discovery", PACKAGE / "streams")

# The rooms of groups, and the modules beside them that rooms may use, from the lowest up. The
# other modules right in groups lie above all of these.
GROUPS_UPWARDS = (
    "wire",
    "storage",
    "machine",
    "raft",
    "config",
    "errors",
    "mesh",
    "client",
    "sync",
    "bootstrap",
    "merge",
    "member",
)
FOLDER_FILES_MAX = 25
FILE_LINES_MAX = 500
CLASS_LINES_MAX = 400
# The pure modules of the transport; the others open sockets or run on the loop.
TRANSPORT_CORES = (
    "address",
    "admission",
    "apart",
    "close",
    "config",
    "counters",
    "dial_budget",
    "frames",
    "gate",
    "endpoint/handshake_budget",
    "identity",
    "link",
    "link_limit",
    "byte_streams/engine",
    "local/identity",
    "mapping/codec",
    "mapping/mapper",
    "endpoint/lost",
    "paths/candidates",
    "paths/observed",
    "paths/probes",
    "paths/selector",
    "quic/path_mtu",
    "relay/config",
    "relay/forwarding",
    "relay/frames",
    "relay/paths",
    "scores",
    "endpoint/slots",
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
    "values",
    "wing_gong",
)
# The storage on a real disk: called from a worker thread, so it may block and
# use files and locks, but never the loop, a socket or a clock.
STORAGE = GROUPS / "storage"
MAY_BLOCK = frozenset(["sqlite.py", "sqlite_file.py", "sqlite_lock.py", "sqlite_mark.py"])
BLOCKING_MODULES = frozenset(["os", "threading"])
# What asks the kernel for quotes, and keeps collateral in files: called from a worker thread.
TEE_FILES = frozenset(["sources.py", "store.py"])
TEE_MODULES = frozenset(["os", "time"])
# What judges, of the command that checks a machine and a network.
DOCTOR_CORES = ("divided", "finding", "machine", "network")
TOP_LEVEL_CORES = (
    "codec",
    "config",
    "errors",
    "events",
    "hash_tables",
    "ids",
    "peer_log",
    "peer_text",
    "schema",
    "shared_state",
    "waiters",
    "wire_encoding",
    "wire_limits",
)

FORBIDDEN_IN_CORES = frozenset(
    ["asyncio", "socket", "selectors", "threading", "time", "thespian", "aioquic", "os", "secrets"]
)
ALLOWED_TO_USE_AIOQUIC = frozenset(
    PACKAGE / "transport" / "quic" / f"{name}.py"
    for name in ("bounded", "certificates", "engine", "native", "native_handshake")
)
MAY_USE_OS = frozenset(["ids.py", "disk.py"])  # for entropy; for the texts of errors


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def cores() -> list[Path]:
    found = [
        path
        for folder in SUBSYSTEMS
        for path in sorted((PACKAGE / folder).rglob("*.py"))
        if path.stem not in NOT_CORES
    ]
    found += [PACKAGE / "transport" / f"{name}.py" for name in TRANSPORT_CORES]
    found += [PACKAGE / "testing" / f"{name}.py" for name in TESTING_CORES]
    found += [PACKAGE / "cli" / "doctor" / f"{name}.py" for name in DOCTOR_CORES]
    return found + [PACKAGE / f"{name}.py" for name in TOP_LEVEL_CORES]


@cache
def imports(path: Path) -> list[tuple[str, list[str]]]:
    """Return (absolute module, names) of every import in a file."""
    folder = path.parent.relative_to(ROOT).parts
    found: list[tuple[str, list[str]]] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(folder[: len(folder) - node.level + 1]) if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found.append((module, [alias.name for alias in node.names]))
    return found


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", cores(), ids=name_of)
def test_core_is_pure(path: Path) -> None:
    """A core decides; it never does: no loop, socket, clock, thread or entropy of its own."""
    for module, names in imports(path):
        top = module.partition(".")[0]
        if top == "os" and path.name in MAY_USE_OS:
            continue
        if top in BLOCKING_MODULES and path.parent == STORAGE and path.name in MAY_BLOCK:
            continue
        if top in TEE_MODULES and path.parent.name == "tee" and path.name in TEE_FILES:
            continue
        assert top not in FORBIDDEN_IN_CORES, f"a core imports {module}"
        if module == "random":
            assert names == ["Random"], "a core takes its generator, it makes none"
        assert not module.startswith("mosaik_actors.actors"), f"imports actor {module}"
        assert not module.startswith("mosaik_actors.runtime"), f"imports {module}"
        assert not module.startswith("mosaik_actors.handles"), f"imports handle {module}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_only_the_engine_knows_aioquic(path: Path) -> None:
    uses = any(module.partition(".")[0] == "aioquic" for module, _ in imports(path))
    assert uses == (path in ALLOWED_TO_USE_AIOQUIC)


@pytest.mark.parametrize("path", sorted((PACKAGE / "transport").rglob("*.py")), ids=name_of)
def test_transport_knows_nothing_above_it(path: Path) -> None:
    for module, _ in imports(path):
        for above in (*SUBSYSTEMS, "actors", "runtime", "handles", "network", "cli"):
            assert not module.startswith(f"mosaik_actors.{above}"), f"imports {module}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "actors").glob("*.py")), ids=name_of)
def test_actors_know_no_handle(path: Path) -> None:
    """Imports go one way: handles, then actors, then cores and the transport."""
    for module, _ in imports(path):
        for above in ("handles", "network", "cli"):
            assert not module.startswith(f"mosaik_actors.{above}"), f"imports {module}"


def test_message_names_are_unique() -> None:
    """Dispatch goes by a message's class name alone."""
    seen: dict[str, Path] = {}
    for path in [*PACKAGE.glob("*/messages.py"), PACKAGE / "transport" / "interface.py"]:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                assert node.name not in seen, f"{node.name} is in {path} and in {seen[node.name]}"
                seen[node.name] = path
    assert len(seen) > 20


def test_class_names_mean_one_thing() -> None:
    """A name that stands twice is read as the wrong one; private names are seen in one file."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(name_of(path))
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_package_imports_itself_relatively(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and not node.level:
            assert not (node.module or "").startswith("mosaik_actors")


@cache
def modules_by_name() -> dict[str, Path]:
    return {module_of(path): path for path in modules()}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def module_imports() -> dict[str, list[str]]:
    """Return which modules of the package each one imports, for type checkers only too."""
    known = modules_by_name()
    found: dict[str, list[str]] = {}
    for module, path in known.items():
        targets: set[str] = set()
        for base, names in imports(path):
            inside = [f"{base}.{name}" for name in names]
            targets.update(each if each in known else base for each in inside or [base])
        found[module] = sorted((targets & known.keys()) - {module})
    return found


def circles(edges: Mapping[str, list[str]]) -> list[list[str]]:
    """Return ways that lead back to where they begin, at least one if there is any.

    What leads nowhere is taken away until nothing like that is left; whoever follows
    the imports of the rest must come round.
    """
    left = {node: [t for t in targets if t in edges] for node, targets in edges.items()}
    while free := [node for node, targets in left.items() if not targets]:
        for node in free:
            del left[node]
        left = {node: [t for t in targets if t in left] for node, targets in left.items()}
    found: list[list[str]] = []
    seen: set[str] = set()
    for start in left:
        way: list[str] = []
        node = start
        while node not in seen:
            seen.add(node)
            way.append(node)
            node = left[node][0]
        if node in way:
            found.append([*way[way.index(node) :], node])
    return found


def folder_of(module: str) -> str:
    """Return a module's folder; one right in the package or beside rooms counts by itself."""
    parent = modules_by_name()[module].parent
    return module if parent in (PACKAGE, *ROOMED) else module_of(parent / "__init__.py")


def test_circles_are_found() -> None:
    """The search itself, on what is known to go round and what is not."""
    assert circles({"a": ["b", "c"], "b": ["c"], "c": []}) == []
    assert circles({"a": ["b"], "b": ["c"], "c": ["b"], "d": ["a"]}) == [["b", "c", "b"]]
    assert circles({"a": ["b"], "b": ["a"], "c": ["d"], "d": ["c"]}) == [
        ["a", "b", "a"],
        ["c", "d", "c"],
    ]


def test_modules_import_each_other_in_no_circle() -> None:
    edges = module_imports()
    assert sum(map(len, edges.values())) > 500
    assert circles(edges) == []


def test_folders_import_each_other_in_no_circle() -> None:
    found: dict[str, list[str]] = {folder_of(module): [] for module in modules_by_name()}
    for module, targets in module_imports().items():
        folder = folder_of(module)
        found[folder] += [f for t in targets if (f := folder_of(t)) != folder]
    assert circles(found) == []


def test_rooms_of_groups_import_downwards() -> None:
    base = module_of(GROUPS / "__init__.py")
    rooms = [folder.name for folder in GROUPS.iterdir() if (folder / "__init__.py").exists()]
    assert set(rooms) <= set(GROUPS_UPWARDS)

    def height(module: str) -> int:
        name = module.removeprefix(base).lstrip(".").partition(".")[0]
        return GROUPS_UPWARDS.index(name) if name in GROUPS_UPWARDS else len(GROUPS_UPWARDS)

    upwards = [
        f"{module} imports {target}"
        for module, targets in module_imports().items()
        for target in targets
        if module.startswith(base) and target.startswith(base) and height(target) > height(module)
    ]
    assert upwards == []


@pytest.mark.parametrize("subsystem", ROOMED, ids=name_of)
def test_rooms_say_what_they_import(subsystem: Path) -> None:
    """The docstring of a room names the rooms that it imports, in the sentence for that."""
    used_by: dict[Path, set[str]] = defaultdict(set)
    for module, targets in module_imports().items():
        folder = modules_by_name()[module].parent
        used = {modules_by_name()[target].parent for target in targets} - {folder, subsystem}
        used_by[folder] |= {other.name for other in used if other.parent == subsystem}
    for room in sorted(path.parent for path in subsystem.glob("*/__init__.py")):
        text = ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or ""
        sentence = re.search(r"Imports ([^.;]*)[.;]", text)
        assert sentence is not None, room
        assert sorted(re.findall(r"`(\w+)`", sentence[1])) == sorted(used_by[room]), room


def test_no_folder_has_too_many_files() -> None:
    counts = Counter(name_of(path.parent) for path in modules())
    assert {name: n for name, n in counts.items() if n > FOLDER_FILES_MAX} == {}


def test_no_class_is_too_large() -> None:
    sizes: dict[str, int] = {}
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                sizes[node.name] = (node.end_lineno or 0) - node.lineno + 1
    assert {name: size for name, size in sizes.items() if size > CLASS_LINES_MAX} == {}


def test_large_files_say_why_they_are_one() -> None:
    """A file above the limit says in its head why it is not several."""
    for path in modules():
        text = path.read_text()
        if len(text.splitlines()) > FILE_LINES_MAX:
            head = ast.get_docstring(ast.parse(text)) or ""
            assert re.search(r"\bone file\b", head, re.IGNORECASE), name_of(path)


def test_unit_tests_of_groups_mirror_the_rooms() -> None:
    tests = ROOT / "tests" / "unit" / "groups"

    def rooms_in(folder: Path) -> list[str]:
        return sorted(p.parent.name for p in folder.glob("*/__init__.py"))

    assert rooms_in(tests) == rooms_in(GROUPS)
    held: dict[str, int] = defaultdict(int)
    for path in tests.rglob("test_*.py"):
        held[path.parent.name] += 1
        assert path.parent == tests or path.parent.name in rooms_in(GROUPS), name_of(path)
    assert [room for room in rooms_in(GROUPS) if not held[room]] == []


def test_architecture_page_names_the_rooms_of_groups_in_order() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    assert rows == [name for name in GROUPS_UPWARDS if (GROUPS / name).is_dir()]


def test_rooms_are_linked_at_the_top() -> None:
    for room in ("actors", "transport"):
        assert (ROOT / room).is_symlink()
        assert (ROOT / room).resolve() == PACKAGE / room
