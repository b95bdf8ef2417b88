"""What users would pick instead of a `Map`: the `ReplDict` of PySyncObj, in three processes.

With the settings that serve it best (see `pysyncobj_group`) and with its own. The
late one is the third member, which is started when the others are full.

What is not installed is left out, and the report says so: it is looked for in
the environment and is no dependency of the project. etcd is not measured.
"""

from __future__ import annotations

import importlib
import time
from contextlib import ExitStack
from functools import partial
from multiprocessing.connection import Connection as Pipe
from typing import Any

from .collections_nodes import pairs
from .pysyncobj_group import (
    DEFAULTS,
    MEMBERS,
    TICK_S,
    TUNED,
    ask,
    find_leader,
    free_ports,
    start_member,
)
from .report import Row

READY_WITHIN_S = 30.0
IN_FLIGHT = 256


def run(quick: bool = False) -> list[Row]:
    """Measure it when it is installed."""
    try:
        importlib.import_module("pysyncobj")
    except ImportError:
        print("[PySyncObj is not installed]", end=" ", flush=True)
        return []
    keys = 1000 if quick else 100_000
    rows = []
    for name, settings, count in (("default", DEFAULTS, keys // 10), ("best", TUNED, keys)):
        found = _measure(settings, count)
        label = f"PySyncObj ReplDict, {name} settings:"
        rows += [
            Row(f"{label} inserts, {IN_FLIGHT} in flight", found["per_s"], "inserts/s"),
            Row(f"{label} update of {count:,}", found["update_s"] * 1e3, "ms"),
            Row(f"{label} a late member has {count:,} after", found["late_s"] * 1e3, "ms"),
        ]
    return rows


def _measure(settings: dict[str, Any], count: int) -> dict[str, float]:
    addresses = [f"127.0.0.1:{port}" for port in free_ports(MEMBERS)]
    with ExitStack() as stack:

        def start(own: str) -> Pipe:
            return start_member(stack, _member, own, addresses, settings)

        pipes = [start(own) for own in addresses[:-1]]
        leader = find_leader(pipes, READY_WITHIN_S)
        update_s = ask(leader, ("update", count))
        began = time.perf_counter()
        late = start(addresses[-1])
        ask(late, ("has", count))
        late_s = time.perf_counter() - began
        return {"per_s": ask(leader, ("load", count)), "update_s": update_s, "late_s": late_s}


def _member(pipe: Pipe, own: str, others: list[str], settings: dict[str, Any]) -> None:
    library = importlib.import_module("pysyncobj")
    shared = importlib.import_module("pysyncobj.batteries").ReplDict()
    node = library.SyncObj(own, others, library.SyncObjConf(**settings), consumers=[shared])
    is_ticked = settings.get("autoTick", True)

    def turn() -> None:
        if is_ticked:
            time.sleep(TICK_S)
        else:
            node.doTick(TICK_S)

    while True:
        while not pipe.poll(0):
            turn()
        match pipe.recv():
            case ("leads",):
                pipe.send(node.isReady() and node._getLeader() == node.selfNode)
            case ("has", count):
                while len(shared.rawData()) < count:
                    turn()
                pipe.send(True)
            case ("update", count):
                items = dict(pairs(0, count))
                pipe.send(_timed(partial(shared.update, items), turn))
            case ("load", count):
                pipe.send(_load(shared, count, turn))


def _timed(call: Any, turn: Any) -> float:
    """Return how long a call takes until its callback says that it is through."""
    ended: list[Any] = []
    began = time.perf_counter()
    call(callback=lambda _result, error: ended.append(error))
    while not ended:
        turn()
    assert not ended[0], f"PySyncObj failed: {ended[0]}"
    return time.perf_counter() - began


def _load(shared: Any, count: int, turn: Any) -> float:
    """Insert keys, some in flight; return how many per second."""
    ended: list[Any] = []
    items = pairs(0, count)
    began, begun = time.perf_counter(), 0
    while len(ended) < count:
        while begun < count and begun - len(ended) < IN_FLIGHT:
            key, value = items[begun]
            shared.set(key, value, callback=lambda _result, error: ended.append(error))
            begun += 1
        turn()
    errors = [error for error in ended if error]
    assert not errors, f"PySyncObj failed: {errors[0]}"
    return count / (time.perf_counter() - began)
