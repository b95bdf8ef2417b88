"""Isolated actors of `net.actors`: a process each, one world with the others."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from mosaik_actors import (
    ActorGone,
    AskPoisoned,
    AskUndeliverable,
    MosaikActor,
    Network,
    ProcessEnded,
    Restart,
)
from tests.waiting import until

from .isolated_bodies import Alone, Crash, Fail, Pid, Spin


class Watcher(MosaikActor):
    def __init__(self, ref: Any) -> None:
        self.watched, self.gone = ref, []  # type: ignore[var-annotated]

    def started(self) -> None:
        self.watch(self.watched)

    def receiveMsg_ActorGone(self, gone: ActorGone, sender: Any) -> None:
        self.gone.append(gone)


async def test_an_isolated_actor_is_named_asked_restarted_and_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOSAIK_RUNTIME_DIR", str(tmp_path))
    async with Network("isolated") as here, Network("isolated") as there:
        ref = await here.actors.spawn(
            Alone,
            args=("hello",),
            name="alone",
            isolated=True,
            supervision=Restart(backoff=(0, 0), max_restarts=1),
        )
        assert await ref.ask("you") == "hello! you"
        first = await ref.ask(Pid())
        assert first != os.getpid()
        far = await there.actors.resolve("alone")
        assert await far.ask("from afar") == "hello! from afar"
        assert await far.ask(Pid()) == first
        for asked in (ref, far):
            with pytest.raises(AskPoisoned, match="on purpose"):
                await asked.ask(Fail())

        # A crash costs the asker its answer, and starts another process.
        with pytest.raises(AskUndeliverable):
            await ref.ask(Crash(), 20)
        second = await ref.ask(Pid())
        assert second != first
        watcher = await there.actors.spawn(Watcher, args=(far,))
        actor: Any = there.node.system.host.cells[watcher.number].actor
        os.kill(second, signal.SIGKILL)
        await until(lambda: actor.gone)
        assert actor.gone[0].ref is far
        assert "its process has ended" in actor.gone[0].reason
        with pytest.raises(ProcessEnded, match="cannot start"):
            await here.actors.spawn(Alone, args=("x",), kwargs={"fails": True}, isolated=True)


def _processes_of(folder: Path) -> set[int]:
    """Return the processes that were started with a runtime folder."""
    found = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("MOSAIK_RUNTIME_DIR") == str(folder):
                found.add(process.pid)
    return found


async def test_a_busy_loop_in_an_isolated_actor_does_not_touch_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOSAIK_RUNTIME_DIR", str(tmp_path))
    async with Network("isolated-busy") as net:
        busy = await net.actors.spawn(Alone, args=("busy",), isolated=True)
        local = await net.actors.spawn(Watcher, args=(busy,))
        pid = await busy.ask(Pid())
        others = [await net.actors.spawn(Alone, args=("too",), isolated=True) for _ in range(2)]
        pids = {pid, *[await one.ask(Pid()) for one in others]}
        # The keeper is the only one beside those of the actors.
        assert len(pids) == 3
        assert len(_processes_of(tmp_path) - pids) == 1
        host = net.node.system.host
        monkeypatch.setattr(host, "config", replace(host.config, exit_grace_s=0.2))
        spinning = asyncio.create_task(busy.ask(Spin(), None))
        process = psutil.Process(pid)
        used = process.cpu_times().user
        await until(lambda: process.cpu_times().user > used + 0.1)  # it spins

        assert await net.actors.resolve_all("nobody") == []
        other = await net.actors.spawn(Watcher, args=(local,))
        await other.stop()
        assert not spinning.done()

        # It takes no message any more, so its process is killed.
        await busy.stop()
        with pytest.raises(AskUndeliverable):
            await spinning
        await until(lambda: not process.is_running())
        actor: Any = net.node.system.host.cells[local.number].actor
        await until(lambda: actor.gone)
