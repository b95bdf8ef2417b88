"""Several nodes from one terminal: a process for each, started, watched and ended together.

* What they write is passed on line by line, with the name of the process in front.
* When all are ready, the launcher is; each tells it through the protocol of `notify`.
* One that ends by itself ends all, with its exit code, as people know it of foreman.
  Restarting what crashes is for a service manager, which sees one process each.
* A signal to the launcher is one SIGTERM to each of them, and SIGKILL when the time is over.
  They are in sessions of their own: Ctrl-C in the terminal reaches the launcher only.
* Their standard input is a pipe from the launcher: when that is gone, so are they.
* With `watch`, a change of a source file ends them all and starts them anew. In that mode one
  that ends by itself waits for the next change.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import ConfigError
from .notify import READY, STOPPING, VARIABLE, notify

logger = logging.getLogger(__name__)

CLOSE_SLACK_S: Final = 2.0
LINE_BYTES_MAX: Final = 64 * 1024

Changes = Callable[[], AsyncIterator[object]]


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process to start.

    Attributes:
        name: What its lines begin with.
        arguments: Its command line, after the interpreter.
    """

    name: str
    arguments: Sequence[str]


class Processes:
    """Runs processes until this is cancelled, or one of them ends.

    Args:
        specs: The processes.
        drain_s: How long each may take to end.
        write: Where their lines go.
    """

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        *,
        drain_s: float,
        write: Callable[[str], object],
    ) -> None:
        self._specs = specs
        self._drain_s = drain_s
        self._write = write
        self._width = max((len(spec.name) for spec in specs), default=0)
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._readers: list[asyncio.Task[None]] = []
        self._ready_count = 0
        self._notify_path = ""

    async def run(self, changes: Changes | None = None) -> int:
        """Run them; return the exit code of the first that ended by itself.

        `changes` makes an iterator that gives something each time they are to be
        started anew.
        """
        with (
            tempfile.TemporaryDirectory(prefix="mosaik-") as folder,
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices,
        ):
            self._notify_path = str(Path(folder) / "notify")
            notices.bind(self._notify_path)
            notices.setblocking(False)
            loop = asyncio.get_running_loop()
            loop.add_reader(notices, self._take_notice, notices)
            try:
                if changes is None:
                    return await self._run_once()
                return await self._run_again_and_again(changes)
            finally:
                notify(STOPPING)
                await self._stop()
                loop.remove_reader(notices)

    async def _run_once(self) -> int:
        await self._start()
        waits = {
            asyncio.ensure_future(process.wait()): name for name, process in self._running.items()
        }
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        ended = next(iter(done))
        code = ended.result()
        level = logging.ERROR if code else logging.INFO
        logger.log(level, "%s ended with exit code %d; ending the others", waits[ended], code)
        return code if code >= 0 else 128 - code

    async def _run_again_and_again(self, changes: Changes) -> int:
        await self._start()
        async for _ in changes():
            logger.info("a file has changed: starting anew")
            await self._stop()
            await self._start()
        return 0

    async def _start(self) -> None:
        self._ready_count = 0
        for spec in self._specs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *spec.arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env={**os.environ, VARIABLE: self._notify_path},
                start_new_session=True,
                limit=LINE_BYTES_MAX,
            )
            self._running[spec.name] = process
            assert process.stdout is not None
            reading = self._pass_on(spec.name, process.stdout)
            self._readers.append(asyncio.create_task(reading, name=f"output of {spec.name}"))

    async def _stop(self) -> None:
        """End all that run; the last word of each is passed on."""
        running = list(self._running.values())
        for process in running:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._drain_s + CLOSE_SLACK_S):
                await asyncio.gather(*(process.wait() for process in running))
        for process in running:
            if process.returncode is None:
                logger.error("process %d did not end in time; killing it", process.pid)
                process.kill()
                await process.wait()
        await asyncio.gather(*self._readers)
        self._readers.clear()
        self._running.clear()

    async def _pass_on(self, name: str, stream: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await stream.readuntil(b"\n")
            except asyncio.LimitOverrunError as exc:
                line = await stream.readexactly(exc.consumed)
            except asyncio.IncompleteReadError as exc:
                line = exc.partial
                if not line:
                    return
            text = line.decode(errors="replace").rstrip("\n")
            self._write(f"{name:<{self._width}} | {text}")

    def _take_notice(self, notices: socket.socket) -> None:
        with suppress(BlockingIOError):
            while True:
                lines = notices.recv(4096).decode(errors="replace").splitlines()
                if READY in lines:
                    self._ready_count += 1
                    if self._ready_count == len(self._specs):
                        logger.info("ready: %d processes", self._ready_count)
                        notify(READY, f"STATUS={self._ready_count} processes")


def end_with_parent(loop: asyncio.AbstractEventLoop) -> None:
    """Take the end of standard input for a SIGTERM: the launcher is gone."""
    descriptor = sys.stdin.fileno()

    def look() -> None:
        if not os.read(descriptor, 4096):
            loop.remove_reader(descriptor)
            os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(descriptor, look)


def watch_sources(folders: Sequence[Path]) -> Changes:
    """Return what gives something each time a Python or TOML file below the folders changes.

    Raises:
        ConfigError: The package for it is not installed.
    """
    try:
        from watchfiles import DefaultFilter, awatch
    except ImportError:
        raise ConfigError(
            "--watch needs the package watchfiles: pip install 'mosaik-actors[watch]'"
        ) from None

    class WatchedSources(DefaultFilter):
        def __call__(self, change: object, path: str) -> bool:
            return path.endswith((".py", ".toml")) and super().__call__(change, path)  # type: ignore[arg-type]

    return lambda: awatch(*folders, watch_filter=WatchedSources())
