"""The installed ``mosaik-actors`` as a process, read line by line."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from mosaik_actors.testing import TIME_FACTOR

EXECUTABLE = Path(sys.executable).with_name("mosaik-actors")
SILENCE_S_MAX = 40.0 * TIME_FACTOR
"""How long a command may write nothing. How long it runs is not limited here: that
follows from how busy the machine is, and `pytest` has a limit for the test."""


class Command:
    """One running command. `out` and `err` grow as it writes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid
        self.out: list[str] = []
        self.err: list[str] = []
        self._news = asyncio.Event()
        assert process.stdout is not None
        assert process.stderr is not None
        self._readers = [
            asyncio.create_task(self._read(process.stdout, self.out)),
            asyncio.create_task(self._read(process.stderr, self.err)),
        ]
        for reader in self._readers:
            reader.add_done_callback(lambda _: self._news.set())

    async def line(self, pattern: str, count: int = 1) -> str:
        """Wait until `count` lines of its output match, and return the last of them."""
        while True:
            found = [line for line in self.out if re.search(pattern, line)]
            if len(found) >= count:
                return found[count - 1]
            assert not self._is_silent, self.transcript()
            await self._more()

    async def end(self, number: signal.Signals | None = None) -> int:
        """Send a signal, if any, wait until it ended and return its exit code."""
        if number is not None:
            self._process.send_signal(number)
        while not self._is_silent:
            await self._more()
        async with asyncio.timeout(SILENCE_S_MAX):
            return await self._process.wait()

    @property
    def _is_silent(self) -> bool:
        """Whether it has written all that it will."""
        return all(reader.done() for reader in self._readers)

    async def _more(self) -> None:
        """Wait until it writes again, or will not any more."""
        self._news.clear()
        try:
            async with asyncio.timeout(SILENCE_S_MAX):
                await self._news.wait()
        except TimeoutError:
            raise AssertionError(
                f"silent for {SILENCE_S_MAX:.0f} s after\n{self.transcript()}"
            ) from None

    def transcript(self) -> str:
        return "\n".join(["stdout:", *self.out, "stderr:", *self.err])

    async def _read(self, stream: asyncio.StreamReader, lines: list[str]) -> None:
        while line := await stream.readline():
            lines.append(line.decode().rstrip("\n"))
            self._news.set()

    async def abandon(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self.end()


@asynccontextmanager
async def command(
    *arguments: str,
    runtime_dir: Path,
    environment: dict[str, str] | None = None,
    executable: Path = EXECUTABLE,
) -> AsyncIterator[Command]:
    """Run ``mosaik-actors`` with a rendezvous of the test's own; killed if it still runs."""
    process = await asyncio.create_subprocess_exec(
        executable,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "MOSAIK_RUNTIME_DIR": str(runtime_dir), **(environment or {})},
    )
    running = Command(process)
    try:
        yield running
    finally:
        await running.abandon()


def is_alive(pid: int) -> bool:
    """Return whether a process exists and is more than an entry that nobody has collected."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def until_slowly(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Wait for a condition that costs system calls to look at."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  # other processes have no event to wait on
            await asyncio.sleep(0.02)
