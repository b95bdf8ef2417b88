"""Actors in processes of their own, seen from the node like any other."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import signal
import socket
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
import pytest
from thespian.actors import (
    Actor,
    ActorExitRequest,
    InvalidActorSpecification,
    NoCompatibleSystemForActor,
    PoisonMessage,
    Thespian_ActorStatus,
    Thespian_StatusReq,
)

from mosaik_actors.runtime import (
    AskPoisoned,
    AskUndeliverable,
    AsyncActorSystem,
    RuntimeConfig,
)
from tests.waiting import until

from . import isolated_bodies as bodies

PATIENCE_S = 15.0


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat").read_text()
    except ProcessLookupError:  # Also where it ends between the two questions.
        return False
    except FileNotFoundError:
        return not Path("/proc/self").exists()  # Not Linux: the first answer has to do.
    # A process that has ended stays listed until its parent has looked.
    return status.rpartition(")")[2].split()[0] != "Z"


async def test_isolated_actor_is_used_like_any_other(tmp_path: Path) -> None:
    goodbye = tmp_path / "goodbye"
    async with AsyncActorSystem() as system:
        requirements = {"goodbye": str(goodbye)}
        actor = system.createActor(bodies.Isolated, requirements)

        # It runs elsewhere, and answers each asker.
        pid = await system.ask(actor, "pid", PATIENCE_S)
        assert pid != os.getpid()
        answers = await asyncio.gather(*(system.ask(actor, number) for number in range(50)))
        assert answers == list(range(50))
        assert await system.ask(actor, "requirements") == requirements

        # Addresses keep their meaning: its own, and those of the node's actors.
        assert await system.ask(actor, "address") is actor
        plain = system.createActor(bodies.Plain)
        system.tell(actor, bodies.SendTo(system._inbox_address, {"addresses": [plain, actor]}))
        heard = await system.listen(timeout=PATIENCE_S)
        assert heard["addresses"][0] is plain
        assert heard["addresses"][1] is actor

        # Failures come back as poison, from here and from there.
        with pytest.raises(AskPoisoned, match="on purpose"):
            await system.ask(actor, "fail")
        system.tell(actor, lambda: "cannot be pickled")
        assert isinstance(await system.listen(timeout=PATIENCE_S), PoisonMessage)

        # Wake-ups, watches, coroutines and children work over there.
        assert await system.ask(actor, "wake", PATIENCE_S) == "payload"
        assert await system.ask(actor, 0.01, PATIENCE_S) == "slept"
        assert await system.ask(actor, "watch", PATIENCE_S) == "watching"
        system.tell(actor, b"data")
        assert await system.listen(timeout=PATIENCE_S) == b"data"
        kind, child_pid = await system.ask(actor, "child", PATIENCE_S)
        assert kind == "grandchild"
        assert len({pid, child_pid, os.getpid()}) == 3

        status = await system.ask(actor, Thespian_StatusReq())
        assert isinstance(status, Thespian_ActorStatus)
        assert status.actorAddress is actor

    # All of it ends with the system, in the ordinary way.
    assert goodbye.read_text() == "goodbye"
    await until(lambda: not is_running(pid) and not is_running(child_pid))
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_parent_hears_of_the_end_of_an_isolated_child() -> None:
    async with AsyncActorSystem() as system:
        parent = system.createActor(bodies.Parent)
        # By an exit request, and by the death of its process.
        for last in (ActorExitRequest(), "die"):
            child, pid = await system.ask(parent, bodies.Isolated, PATIENCE_S)
            exited = asyncio.create_task(system.ask(parent, "wait for exit"))
            await asyncio.sleep(0)
            system.tell(child, last)
            kind, address = await exited
            assert kind == "exited"
            assert address is child
            await until(lambda pid=pid: not is_running(pid))  # type: ignore[misc]
            with pytest.raises(AskUndeliverable):
                await system.ask(child, 1)


async def test_isolated_actor_that_cannot_start_is_dead() -> None:
    async with AsyncActorSystem() as system:
        actor = system.createActor(bodies.CannotStart)
        with pytest.raises(NoCompatibleSystemForActor):
            system.createActor(bodies.NeedsDisk)
        await until(lambda: system.stats().actors == 0)
        with pytest.raises(AskUndeliverable):
            await system.ask(actor, "anyone?")


async def test_isolated_actor_that_hangs_is_killed() -> None:
    async with AsyncActorSystem(config=RuntimeConfig(exit_grace_s=0.05)) as system:
        hangs = system.createActor(bodies.Hangs)
        pid = await system.ask(hangs, "pid", PATIENCE_S)
        system.tell(hangs, "hang")
        system.tell(hangs, ActorExitRequest())
        await until(lambda: system.stats().actors == 0)
        await until(lambda: not is_running(pid))


async def test_isolated_actor_is_dead_when_no_process_can_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # A socket's path has a limit that this folder exceeds.
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    async with AsyncActorSystem() as system:
        actor = system.createActor(bodies.Isolated)
        with pytest.raises(AskUndeliverable):
            await system.ask(actor, "pid", PATIENCE_S)
    assert "isolated actors cannot start" in caplog.text
    assert list(folder.iterdir()) == []


async def test_creator_decides_for_a_class_that_does_not(system: AsyncActorSystem) -> None:
    here = system.createActor(bodies.Plain)
    there = system.createActor(bodies.Plain, isolated=True)
    assert await system.ask(here, "pid") == os.getpid()
    assert await system.ask(there, "pid", PATIENCE_S) != os.getpid()


PROGRAM = """
import asyncio
from mosaik_actors.runtime import AsyncActorSystem
from tests.unit.runtime.isolated_bodies import Hangs, Isolated

async def main():
    async with AsyncActorSystem() as system:
        for body in (Isolated, Hangs):
            actor = system.createActor(body)
            print(await system.ask(actor, "pid"), flush=True)
        system.tell(actor, "hang")
        await asyncio.Event().wait()

if __name__ == "__main__":
    asyncio.run(main())
"""


async def test_processes_end_when_the_node_is_killed(tmp_path: Path) -> None:
    node = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    try:
        assert node.stdout is not None
        pids = [int(await node.stdout.readline()) for _ in range(2)]
        busy = psutil.Process(pids[1])
        await until(lambda: busy.cpu_times().user > 0.05)  # in its endless loop
    finally:
        node.kill()
        await node.wait()
    await until(lambda: not any(map(is_running, pids)))
    # The socket of the node is cleared away as well.
    await until(lambda: not list(tmp_path.glob("mosaik-*")))


async def test_shutdown_ends_what_is_only_starting() -> None:
    async with AsyncActorSystem() as system:
        system.createActor(bodies.Isolated)
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_class_that_no_other_process_can_import_is_refused(
    system: AsyncActorSystem,
) -> None:
    class Local(Actor):
        pass

    with pytest.raises(InvalidActorSpecification, match="must be importable"):
        system.createActor(Local, isolated=True)


def find_listening(pids: Iterable[int]) -> list[tuple[str, int]]:
    """Return where some processes listen, as (host, port)."""
    links = [link for pid in pids for link in Path(f"/proc/{pid}/fd").iterdir()]
    names = [os.readlink(link) for link in links if link.is_symlink()]  # noqa: PTH115
    sockets = {name[8:-1] for name in names if name.startswith("socket:[")}
    listening = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[9] in sockets:
            host, _, port = fields[1].partition(":")
            listening.append((socket.inet_ntoa(bytes.fromhex(host)[::-1]), int(port, 16)))
    return listening


async def test_processes_listen_nowhere(system: AsyncActorSystem) -> None:
    """A port would be reached by any user of the machine, and pickles come in there."""
    actor = system.createActor(bodies.Isolated)
    pid = await system.ask(actor, "pid", PATIENCE_S)
    session = os.getsid(pid)  # the keeper's, with all that it has started
    numbers = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    members = [number for number in numbers if in_session(number, session)]
    assert sorted(members) == sorted({session, pid})
    assert find_listening([os.getpid(), *members]) == []
    folder = Path(system._host.creation.isolation._keeper._folder)  # type: ignore[union-attr]
    assert folder.stat().st_mode & 0o777 == 0o700


def in_session(pid: int, session: int) -> bool:
    try:
        return os.getsid(pid) == session
    except (ProcessLookupError, PermissionError):
        return False


async def test_another_keeper_starts_when_one_has_died(
    system: AsyncActorSystem, caplog: pytest.LogCaptureFixture
) -> None:
    parent = system.createActor(bodies.Parent)
    _, pid = await system.ask(parent, bodies.Isolated, PATIENCE_S)
    exited = asyncio.create_task(system.ask(parent, "wait for exit"))
    await asyncio.sleep(0)
    os.kill(os.getsid(pid), signal.SIGKILL)
    assert (await exited)[0] == "exited"
    await until(lambda: not is_running(pid))
    assert "the keeper of its process has ended" in caplog.text
    _, another = await system.ask(parent, bodies.Isolated, PATIENCE_S)
    assert os.getsid(another) != os.getsid(0)
    assert another != pid


async def test_what_cannot_be_pickled_is_refused_at_once(system: AsyncActorSystem) -> None:
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
        system.createActor(bodies.Isolated, {"requirement": lambda: 1})
    assert system.stats().actors == 0


async def test_actor_for_which_there_is_no_process_is_dead(system: AsyncActorSystem) -> None:
    actor = system.createActor(bodies.Isolated)
    isolation = system._host.creation.isolation
    assert isolation is not None
    isolation.cannot_fork(next(iter(isolation.cells)), "no process can be started: as a test")
    with pytest.raises(AskUndeliverable):
        await system.ask(actor, "pid", PATIENCE_S)
    # Its process starts all the same, and ends when nobody wants it.
    await until(lambda: isolation._keeper is not None and isolation._keeper._process is not None)
    other = system.createActor(bodies.Isolated)
    pid = await system.ask(other, "pid", PATIENCE_S)
    keeper = psutil.Process(os.getsid(pid))
    await until(lambda: [one.pid for one in keeper.children()] == [pid])


async def test_isolated_actor_asks_the_nodes_system(
    system: AsyncActorSystem, caplog: pytest.LogCaptureFixture
) -> None:
    async def ask(method: str, *arguments: Any) -> Any:
        return await system.ask(asks, bodies.Do(method, arguments), PATIENCE_S)

    async def heard(what: tuple[Any, ...]) -> None:
        while what not in await system.ask(asks, "heard", PATIENCE_S):
            pass

    asks = system.createActor(bodies.Asks, globalName="asks")
    assert await system.ask(asks, "name", PATIENCE_S) == "asks"

    # A name is one name, whoever looks for it, and whoever creates the actor first.
    named = system.createActor(bodies.Named, globalName="the one")
    assert await ask("createActor", bodies.Named, None, "the one") is named
    other = await ask("createActor", bodies.Named, None, "the other")
    assert system.createActor(bodies.Named, globalName="the other") is other
    assert await system.ask(other, "who", PATIENCE_S) == ("who", os.getpid(), "the other")

    # A child is an actor like any other, and its parent hears how it fares.
    child = await ask("createActor", bodies.Child)
    system.tell(child, (system._inbox_address, "from a child"))
    what, its_address, pid = await system.listen(PATIENCE_S)
    assert (what, its_address) == ("from a child", child)
    assert pid != os.getpid()
    assert await ask("send", child, "fail") is None
    await heard(("poison", "fail"))
    assert await ask("send", child, "quit") is None
    await heard(("exited", child))
    assert "the child quits" in caplog.text
    assert await ask("createActor", bodies.Isolated.receiveMsg_str) == "InvalidActorSpecification"
    unfit = await ask("createActor", bodies.NeedsDisk)
    await heard(("exited", unfit))

    # Dead letters, capabilities and sources are the node's.
    await ask("handleDeadLetters")
    system.tell(child, "lost")
    await heard(("dead", "lost", child))
    await ask("updateCapability", "Probed", 7)
    assert system.capabilities["Probed"] == 7
    await ask("registerSourceAuthority")
    assert system._host.sources.authority is asks
    await ask("unloadActorSource", "no such hash")
    await ask("loadActorSource", __file__)
    assert len(system._host.sources.loaded) == 1

    # So is its end.
    assert await ask("actorSystemShutdown") is None
    await until(lambda: system.is_closed)


async def test_saved_messages_of_an_isolated_actor(system: AsyncActorSystem) -> None:
    actor = system.createActor(bodies.Initialized)
    early = asyncio.create_task(system.ask(actor, 1, PATIENCE_S))
    await asyncio.sleep(0)
    system.tell(actor, "name")
    assert await early == ("name", 1)
    assert await system.ask(actor, 2, PATIENCE_S) == ("name", 2)


async def test_what_an_isolated_actor_logs_comes_out_at_the_node(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "bodies"):
        async with AsyncActorSystem() as system:
            actor = system.createActor(bodies.Isolated, None)
            system.tell(actor, "log")
            while await system.listen(PATIENCE_S) != "logged":
                pass
    records = [one for one in caplog.records if one.name.startswith("bodies")]
    texts = [one.getMessage() for one in records]
    assert texts[0] == "as formatted"
    assert records[0].__dict__["plain"] == 7
    assert records[0].process != os.getpid()
    assert texts[1].startswith("with a lambda <function")
    assert "ValueError: in a traceback" in (records[1].exc_text or "")
    assert "arguments that do not fit" in texts[2]
    assert len(texts[3]) == 200_000
    assert len(texts) == 4
