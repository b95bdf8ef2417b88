"""The parts of the replica actor that need no group around them."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from mosaik_actors.actors.replica_calls import ReplicaCalls
from mosaik_actors.actors.replica_links import ReplicaLinks
from mosaik_actors.actors.replica_log import ReplicaLog, SaveDone
from mosaik_actors.groups.machine.host import Host
from mosaik_actors.groups.machine.machine import StateMachine
from mosaik_actors.groups.storage.interface import Stored
from mosaik_actors.groups.wire.group_record import StoredGroup, encode_stored
from mosaik_actors.groups.wire.records import Entry, EntryKind, SnapshotMetadata
from mosaik_actors.ids import UniqueId
from mosaik_actors.transport.close import SHUTDOWN, CloseReason


class FakeLink:
    def __init__(self) -> None:
        self.sink: Any = None
        self.reason: CloseReason | None = None
        self.connection = object()

    def attach(self, sink: Any) -> None:
        self.sink = sink

    def close(self, reason: CloseReason) -> None:
        self.reason = reason


def test_links_have_numbers_that_never_come_again() -> None:
    events: list[Any] = []
    links = ReplicaLinks(events.append)
    one: Any = FakeLink()
    two: Any = FakeLink()
    first, second = links.add(one), links.add(two)
    one.sink("an event")
    assert events == ["an event"]
    assert (links.get(first), links.id_of(two)) == (one, second)
    assert (links.forget(one), links.forget(one)) == (first, None)
    links.close(second, SHUTDOWN)
    links.close(second, SHUTDOWN)
    assert (one.reason, two.reason, links.get(second)) == (None, SHUTDOWN, None)
    third = links.add(one)
    assert third not in (first, second)
    links.close_all(SHUTDOWN)
    assert (one.reason, links.id_of(one)) == (SHUTDOWN, None)


class Pieces(StateMachine):
    """A machine whose snapshot has several parts, of which it knows how many it has taken."""

    Command = int
    PIECES = (b"a", b"b", b"c")

    def __init__(self) -> None:
        self.taken = 0

    def snapshot(self) -> Iterator[bytes]:
        yield from self.PIECES

    def restore(self, parts: Iterable[bytes]) -> Iterator[None]:
        for _ in parts:
            self.taken += 1
            yield


def host_of(machine: StateMachine) -> Host:
    return Host(machine, group_id=UniqueId("group"), network_id=UniqueId("network"))


class FakeStorage:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.done: list[str] = []
        self.parts: tuple[bytes, ...] = ()
        self.entry_bytes = 8

    def open(self, owner: Any) -> None:
        self.done.append("open")

    def load(self) -> Stored:
        if self.error is not None:
            raise self.error
        return Stored(
            snapshot=(SnapshotMetadata(), encode_stored(StoredGroup(bytes(16), parts=self.parts))),
            entries=[Entry(1, 1, EntryKind.COMMANDS, bytes(self.entry_bytes))],
        )

    def save(self, batch: Any) -> None:
        if self.error is not None:
            raise self.error
        self.done.append("save")

    def close(self) -> None:
        self.done.append("close")


@pytest.mark.parametrize("error", [None, OSError("broken")])
async def test_a_batch_is_saved_or_said_to_have_failed(error: Exception | None) -> None:
    told: asyncio.Future[SaveDone] = asyncio.get_running_loop().create_future()
    storage: Any = FakeStorage(error)
    log = ReplicaLog(storage, None, told.set_result)  # type: ignore[arg-type]
    batch: Any = "a batch"
    log.save(batch)
    assert log.is_saving
    assert await told == SaveDone(batch, error)
    assert log.is_saving  # until whoever owns it has heard
    log.note_done()
    assert not log.is_saving


async def test_a_storage_that_cannot_be_read_is_closed_again() -> None:
    storage: Any = FakeStorage(OSError("broken"))
    log = ReplicaLog(storage, None, print)  # type: ignore[arg-type]
    with pytest.raises(OSError, match="broken"):
        await log.open(host_of(Pieces()))
    assert storage.done == ["open", "close"]


async def test_a_snapshot_is_taken_in_piece_by_piece() -> None:
    """A large one would hold the loop for as long as it takes to decode."""
    machine = Pieces()
    storage: Any = FakeStorage()
    storage.parts = tuple(Host.snapshot_parts(host_of(machine)))
    log = ReplicaLog(storage, None, print)  # type: ignore[arg-type]
    opening = asyncio.ensure_future(log.open(host_of(machine)))
    seen = []
    while not opening.done():
        await asyncio.sleep(0)
        seen.append(machine.taken)
    assert machine.taken == len(Pieces.PIECES)
    assert set(seen) > {1, 2}  # others had a turn after each
    assert not log.is_opening  # it is short


async def test_a_long_log_keeps_the_garbage_collector_from_what_was_there() -> None:
    storage: Any = FakeStorage()
    storage.entry_bytes = 1024 * 1024
    log = ReplicaLog(storage, None, print)  # type: ignore[arg-type]
    await log.open(host_of(Pieces()))
    assert gc.get_freeze_count()
    log.close("a group")
    assert not log.is_opening
    assert not gc.get_freeze_count()


class FakeState:
    def __init__(self) -> None:
        self.reads: dict[Any, Any] = {}


@pytest.mark.parametrize(
    ("error", "raised"), [(KeyError("k"), KeyError), (StopIteration(), RuntimeError)]
)
async def test_a_read_that_raises_raises_where_it_was_asked_for(
    error: Exception, raised: type[Exception]
) -> None:
    state: Any = FakeState()
    client: Any = None
    calls = ReplicaCalls(state, client)
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def read() -> Any:
        raise error

    state.reads[future] = read
    calls.answer(future)
    with pytest.raises(raised):
        await future
    calls.fail(future, error)  # too late, and of no consequence
    given_up: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    given_up.cancel()
    state.reads[given_up] = read
    calls.answer(given_up)
