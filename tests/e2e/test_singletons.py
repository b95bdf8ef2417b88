"""A singleton between real processes, whose host is really stopped, and goes on later."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mosaik_actors import Network

from ..waiting import until
from .singletons_worker import NETWORK, Ledger, Line, write


@asynccontextmanager
async def workers(bootstrap: str, count: int) -> AsyncIterator[list[Process]]:
    code = f"from tests.e2e.singletons_worker import main; main({bootstrap!r})"
    started = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=DEVNULL)
        for _ in range(count)
    ]
    try:
        yield started
    finally:
        for process in started:
            if process.returncode is None:
                process.kill()
        await asyncio.gather(*(process.wait() for process in started))


async def test_late_writes_of_a_stopped_host_are_refused() -> None:
    """SIGSTOP in the midst of its work, SIGCONT when another process has its place."""
    accepted: list[Line] = []
    refused: list[Line] = []
    async with Network(NETWORK, rendezvous=False) as net:
        await net.actors.spawn(Ledger, args=(accepted, refused), name="ledger")
        async with workers(str(net.addr), 2) as processes:
            pids = {os.getpid(), *(process.pid for process in processes)}
            await until(lambda: accepted, timeout=40)
            # When all three vote two of them can go on.
            own = asyncio.create_task(write(net))
            await until(lambda: sum(m.is_voter for group in net.groups for m in group.members) == 3)
            stopped = accepted[-1]
            assert stopped.pid != os.getpid()
            os.kill(stopped.pid, signal.SIGSTOP)
            await until(lambda: accepted[-1].pid != stopped.pid, timeout=40)
            moved = accepted[-1]
            assert moved.token > stopped.token

            os.kill(stopped.pid, signal.SIGCONT)
            await until(lambda: any(line.pid == stopped.pid for line in refused))
            count = len(accepted)
            await until(lambda: len(accepted) >= count + 20)
            own.cancel()
            await asyncio.wait([own])
    tokens = [line.token for line in accepted]
    assert tokens == sorted(tokens)
    assert {line.pid for line in accepted} <= pids
    # Each token was one process's, and all that was refused was of a former one.
    assert len({(line.token, line.pid) for line in accepted}) == len(set(tokens))
    assert all(line.token < moved.token for line in refused if line.pid == stopped.pid)
