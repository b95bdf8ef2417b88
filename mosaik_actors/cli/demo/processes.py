"""The demo's sensor processes: started, watched, killed, ended.

Each one holds the read end of a pipe whose write end is here. Closing it asks
the process to leave; the system closes it when this process dies. Each is in a
process group of its own, so that Ctrl-C in the terminal reaches only this
process, which then ends the others in order.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from .facts import Facts

END_TIMEOUT_S: Final = 8.0

_LINE_BYTES_MAX: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Child:
    name: str
    process: asyncio.subprocess.Process
    watching: asyncio.Task[None]


class DemoProcesses:
    """The processes of one run. What happens to them is noted in `facts`.

    Args:
        facts: The record of the run.
        log_level: What the processes log to their standard error.
        changed: Called after each change of the facts.
    """

    def __init__(self, facts: Facts, *, log_level: str, changed: Callable[[], None]) -> None:
        self._facts = facts
        self._log_level = log_level
        self._changed = changed
        self._children: dict[int, _Child] = {}

    async def start(self, name: str, kind: str, *, replaces: str | None = None) -> int:
        """Start a sensor and return its pid."""
        now = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "mosaik_actors.cli.demo.sensor",
            self._facts.network, name, kind, "--log-level", self._log_level,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES_MAX,
            process_group=0,
        )  # fmt: skip
        self._facts.receive_start(name, process.pid, replaces=replaces, now=now)
        watching = asyncio.create_task(self._watch(name, process), name=f"watch {name}")
        self._children[process.pid] = _Child(name, process, watching)
        self._changed()
        return process.pid

    def kill(self, pid: int) -> None:
        """Kill a sensor without warning."""
        self._facts.receive_kill(pid, now=time.monotonic())
        self._children[pid].process.kill()
        self._changed()

    async def end(self) -> None:
        """Ask all to leave, wait until they have, and kill those that do not. May be repeated."""
        for child in self._children.values():
            if child.process.stdin is not None:
                child.process.stdin.close()
        watching = [child.watching for child in self._children.values()]
        if not watching:
            return
        await asyncio.wait(watching, timeout=END_TIMEOUT_S)
        for child in self._children.values():
            if child.process.returncode is None:
                child.process.kill()
        await asyncio.wait(watching)

    async def _watch(self, name: str, process: asyncio.subprocess.Process) -> None:
        """Note what a process writes to standard error, and its end."""
        assert process.stderr is not None
        while True:
            try:
                line = await process.stderr.readline()
            except ValueError:
                continue  # longer than the limit: dropped
            if not line:
                break
            text = line.decode(errors="replace").strip()
            if text:
                remark = f"{name}: {text}"
                self._facts.receive_remark(remark, now=time.monotonic())
                self._changed()
        code = await process.wait()
        self._facts.receive_exit(process.pid, code, now=time.monotonic())
        self._changed()


@asynccontextmanager
async def processes(
    facts: Facts, *, log_level: str, changed: Callable[[], None]
) -> AsyncIterator[DemoProcesses]:
    """Give the processes of a run; in the end none of them is left, whatever happened."""
    started = DemoProcesses(facts, log_level=log_level, changed=changed)
    try:
        yield started
    finally:
        # A further cancellation waits until the processes are gone. It takes a few seconds at most.
        ending = asyncio.create_task(started.end(), name="end the processes")
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            await asyncio.wait([ending])
            raise
