"""The parts of the replica actor that need no group around them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mosaik_actors.actors.replica_calls import ReplicaCalls
from mosaik_actors.actors.replica_links import ReplicaLinks
from mosaik_actors.actors.replica_log import ReplicaLog, SaveDone
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


class FakeStorage:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.done: list[str] = []

    def open(self, owner: Any) -> None:
        self.done.append("open")

    def load(self) -> Any:
        if self.error is not None:
            raise self.error
        return "stored"

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
        await log.open()
    assert storage.done == ["open", "close"]


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
