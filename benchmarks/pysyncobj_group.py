"""A group of PySyncObj: three processes on loopback.

Measured as its own documentation shows, and once more with the settings that
serve each figure best: its own thread wakes up twenty times a second and holds
commands back for a tenth of a second, so the tuned one is ticked by the caller,
sends every half a millisecond, and each command at once when there is one at a
time. Commands are the same: a counter is added to. It speaks plain TCP, and
once more with its own encryption, which groups have between machines.

It is no dependency of the project, and imported only by the processes that use it.
"""

from __future__ import annotations

import importlib
import multiprocessing
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection as Pipe
from statistics import median
from typing import Any

MEMBERS = 3
TICK_S = 0.0005
READY_WITHIN_S = 20.0
LARGE_BYTES = 1 << 22

DEFAULTS: dict[str, Any] = {}
TUNED: dict[str, Any] = {
    "autoTick": False,
    "appendEntriesPeriod": TICK_S,
    "appendEntriesBatchSizeBytes": LARGE_BYTES,
    "sendBufferSize": LARGE_BYTES,
    "recvBufferSize": LARGE_BYTES,
}
ENCRYPTED = TUNED | {"password": "benchmark"}
AT_ONCE = TUNED | {"appendEntriesUseBatch": False}


def measure(settings: dict[str, Any], count: int, in_flight: int) -> dict[str, float]:
    """Let the leader of three execute commands; return the rate and the median time of one."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(MEMBERS)]
    with ExitStack() as stack:
        pipes = [start_member(stack, _member, own, addresses, settings) for own in addresses]
        leader = find_leader(pipes, READY_WITHIN_S)
        ask(leader, ("load", max(1, count // 10), in_flight))  # to warm up
        found: dict[str, float] = ask(leader, ("load", count, in_flight))
        return found


def start_member(
    stack: ExitStack,
    member: Callable[[Pipe, str, list[str], dict[str, Any]], None],
    own: str,
    addresses: list[str],
    settings: dict[str, Any],
) -> Pipe:
    """Start one member in a process of its own, to be killed with `stack`; return its pipe."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    others = [address for address in addresses if address != own]
    process = context.Process(target=member, args=(there, own, others, settings), daemon=True)
    process.start()
    stack.callback(process.join, 10)
    stack.callback(process.kill)
    return here


def find_leader(pipes: list[Pipe], within_s: float) -> Pipe:
    """Wait until one of them leads, and return its pipe."""
    deadline = time.monotonic() + within_s
    while not any(leads := [ask(pipe, ("leads",)) for pipe in pipes]):
        assert time.monotonic() < deadline, "PySyncObj has no leader"
    return pipes[leads.index(True)]


def ask(pipe: Pipe, question: tuple[Any, ...]) -> Any:
    """Ask a member, and wait for the answer."""
    pipe.send(question)
    return pipe.recv()


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody listens on."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


# A member's process.


def _member(pipe: Pipe, own: str, others: list[str], settings: dict[str, Any]) -> None:
    library = importlib.import_module("pysyncobj")

    class Counter(library.SyncObj):  # type: ignore[name-defined, misc]  # not installed as a rule
        def __init__(self) -> None:
            super().__init__(own, others, library.SyncObjConf(**settings))
            self.value = 0

        @library.replicated  # type: ignore[untyped-decorator]
        def add(self, amount: int) -> int:
            self.value += amount
            return self.value

    counter = Counter()
    is_ticked = settings.get("autoTick", True)
    while True:
        while not pipe.poll(0.01 if is_ticked else 0):
            if not is_ticked:
                counter.doTick(0.01)
        match pipe.recv():
            case ("leads",):
                is_ready = counter.isReady() and counter._getLeader() == counter.selfNode
                pipe.send(is_ready)
            case ("load", count, in_flight):
                load = _load_apart if is_ticked else _load_ticking
                pipe.send(load(counter, count, in_flight))


def _load_apart(counter: Any, count: int, in_flight: int) -> dict[str, float]:
    """Execute commands from this thread, while the library's own thread does the work."""
    room = threading.Semaphore(in_flight)
    adding = _Adding(counter, room.release)
    for _ in range(count):
        room.acquire()
        adding.begin()
    for _ in range(in_flight):
        room.acquire()
    return adding.report()


def _load_ticking(counter: Any, count: int, in_flight: int) -> dict[str, float]:
    """Execute commands and do the library's work in turn, in one thread."""
    adding = _Adding(counter, lambda: None)
    begun = 0
    while len(adding.taken) < count:
        while begun < count and begun - len(adding.taken) < in_flight:
            adding.begin()
            begun += 1
        counter.doTick(TICK_S)
    return adding.report()


class _Adding:
    """Commands that are under way, and how long those took that are through."""

    def __init__(self, counter: Any, on_done: Callable[[], object]) -> None:
        self.taken: list[float] = []
        self._counter = counter
        self._on_done = on_done
        self._errors: list[Any] = []
        self._started = time.perf_counter()

    def begin(self) -> None:
        """Have one executed."""
        began = time.perf_counter()

        def note(_result: Any, error: Any) -> None:
            self.taken.append(time.perf_counter() - began)
            if error:
                self._errors.append(error)
            self._on_done()

        self._counter.add(1, callback=note)

    def report(self) -> dict[str, float]:
        """Return the rate and the median time of one."""
        elapsed_s = time.perf_counter() - self._started
        assert not self._errors, f"PySyncObj failed commands: {self._errors[0]}"
        return {"per_s": len(self.taken) / elapsed_s, "median_us": median(self.taken) * 1e6}
