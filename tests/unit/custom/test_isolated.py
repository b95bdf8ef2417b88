"""Isolated actors of `net.actors`: a process each, one world with the others."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

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

from .isolated_bodies import Alone, Crash, Fail, Pid


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
