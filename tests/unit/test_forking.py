"""A child that is forked while a node runs keeps nothing of it, and disturbs nothing."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest

from mosaik_actors.actors.rendezvous import NoticeFolder
from mosaik_actors.discovery.rendezvous import RendezvousNotice, make_name
from mosaik_actors.forking import keep_from_children
from mosaik_actors.ids import SecretKey
from mosaik_actors.transport.address import PeerAddr
from mosaik_actors.transport.close import SHUTDOWN
from mosaik_actors.transport.endpoint import QuicEndpoint
from tests.waiting import until

from .transport.endpoints import Inbox, Server, endpoint_maker

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


class Child:
    """A forked process that does something, then waits until it is told to end."""

    def __init__(self, act: Callable[[], None]) -> None:
        done_read, done_write = os.pipe()
        end_read, self._end_write = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of threads: the child uses none
            self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.close(self._end_write)
                act()
                code = 0
                os.write(done_write, b".")
                os.read(end_read, 1)
            finally:
                os._exit(code)
        os.close(done_write)
        os.close(end_read)
        assert os.read(done_read, 1) == b".", "the child failed"
        os.close(done_read)

    def end(self) -> int:
        """End it, and return how it ended."""
        os.close(self._end_write)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def selector_of(loop: Any) -> Any:
    return loop._selector


def nothing() -> None:
    """Live on."""


async def test_child_does_not_keep_the_port() -> None:
    async with endpoint_maker("quic") as make:
        endpoint = cast(QuicEndpoint, await make("a"))
        addr = endpoint.addr.direct[0]
        child = Child(nothing)
        try:
            await endpoint.close(SHUTDOWN)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
                again.bind(addr)  # raises while anybody has it
        finally:
            assert child.end() == 0


async def test_what_a_child_closes_is_not_closed_for_its_parent() -> None:
    """No farewell to peers, nothing unregistered from the selector that both share."""
    async with endpoint_maker("quic") as make:
        a, b = [cast(QuicEndpoint, await make(name)) for name in "ab"]
        server = Server(b, "p")
        here = Inbox(await a.open_link(b.addr, "p"))
        there = await server.inbox()
        loop = asyncio.get_running_loop()

        def close_all() -> None:
            for endpoint in (a, b):
                endpoint._say_goodbye(SHUTDOWN)
                endpoint._release()
            asyncio.events._set_running_loop(None)
            loop.stop()
            loop.remove_signal_handler(signal.SIGUSR1)
            for descriptor in list(selector_of(loop).get_map()):
                loop.remove_reader(descriptor)
            gc.collect()

        loop.add_signal_handler(signal.SIGUSR1, nothing)
        child = Child(close_all)
        try:
            here.link.write(b"still here")
            await there.until_frames(1)
            there.link.write(b"and there")
            await here.until_frames(1)
            # What wakes the loop up from another thread works as well.
            await asyncio.wait_for(asyncio.to_thread(nothing), 10)
            assert not here.closed
            assert not there.closed
        finally:
            loop.remove_signal_handler(signal.SIGUSR1)
            assert child.end() == 0


async def test_signal_to_a_child_is_not_its_parents() -> None:
    async with endpoint_maker("quic") as make:
        await make("a")
        came: list[int] = []
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, came.append, 1)
        child = Child(nothing)
        try:
            os.kill(child.pid, signal.SIGUSR1)
            # As in any process that knows nothing of the signal.
            assert child.end() == -signal.SIGUSR1
            await asyncio.sleep(0)
            assert came == []
            os.kill(os.getpid(), signal.SIGUSR1)
            await until(lambda: came)
        finally:
            loop.remove_signal_handler(signal.SIGUSR1)


def test_child_keeps_no_notice_alive_and_removes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock of a notice says that its node lives, so a child must not hold it."""
    monkeypatch.setenv("MOSAIK_RUNTIME_DIR", str(tmp_path))
    folders = []
    for seed in "ab":
        peer = SecretKey.from_seed(seed).peer_id
        notice = RendezvousNotice(PeerAddr(peer, (("127.0.0.1", 1),)), os.getpid(), 1.0)
        folders.append(NoticeFolder("net", make_name(peer, Random(seed)), notice))
    mine, other = folders
    child = Child(mine.close)
    try:
        assert len(other.look(now=1.0) or ()) == 1, "the notice is there, and its lock is held"
        # The parent vanishes without a word, the child lives on: nobody is there any more.
        os.close(mine._notice_fd)
        other._looked_at_mtime_ns = -1
        assert other.look(now=1.0) == []
    finally:
        assert child.end() == 0
        other.close()


def test_owner_that_is_gone_has_nothing_closed_in_children(tmp_path: Path) -> None:
    """A number may belong to somebody else by then."""

    class Owner:
        def __init__(self) -> None:
            self.file = (tmp_path / "a").open("w")

    owner = Owner()
    keep_from_children(owner, lambda one: [one.file.fileno()])
    number = owner.file.fileno()
    owner.file.close()
    del owner
    gc.collect()
    with (tmp_path / "b").open("wb", buffering=0) as file:
        assert file.fileno() == number
        child = Child(lambda: cast(None, file.write(b"written by the child")))
        assert child.end() == 0
    assert (tmp_path / "b").read_bytes() == b"written by the child"
