"""The choices of state sync, and a way of one's own."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import msgspec
import pytest

from mosaik_actors.errors import ConfigError, DecodeError
from mosaik_actors.groups.machine.state_sync import StateSync
from mosaik_actors.groups.machine.sync_roles import (
    Holder,
    InstallEntries,
    RequestedSnapshot,
    SendSync,
    StateSyncFinished,
    SyncContext,
    SyncProvider,
    SyncTask,
    TaskEvent,
)
from mosaik_actors.groups.sync.log_replay import LogReplayTask
from mosaik_actors.groups.sync.provider import LogProvider, SnapshotProvider
from mosaik_actors.groups.sync.settings import LogReplaySync, SnapshotSync
from mosaik_actors.groups.sync.snapshot_sync import SnapshotTask
from mosaik_actors.groups.wire.records import Entry
from mosaik_actors.ids import PeerId

from ..cores import log_of, peer
from ..sync_world import World

# A way of one's own: everything at once, from the leader alone.


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderSync(StateSync):
    """Ask the leader for the whole log, and ask again until it answers."""

    def requester(self, context: SyncContext) -> SyncTask:
        return LeaderTask(self, context)

    def provider(self, context: SyncContext) -> SyncProvider:
        return WholeLogProvider(context)


class LeaderTask:
    def __init__(self, settings: LeaderSync, context: SyncContext) -> None:
        self._timeout_s = settings.fetch_timeout
        self._next = context.next_index
        self._leader: PeerId | None = None
        self._ask_at_s: float | None = context.now
        self._events: deque[TaskEvent] = deque()

    def update_holders(
        self, holders: Mapping[PeerId, Holder], leader: PeerId | None, *, now: float
    ) -> None:
        self._leader = leader

    def receive_message(self, peer: PeerId, data: bytes, *, now: float) -> None:
        try:
            entries = msgspec.msgpack.decode(data, type=tuple[Entry, ...])
        except msgspec.MsgspecError as exc:
            raise DecodeError(f"not a log: {exc}") from exc
        if self._ask_at_s is not None:
            self._ask_at_s = None
            self._events.append(InstallEntries(entries[self._next - 1 :]))

    def installed(self, index: int, *, now: float) -> None:
        self._events.append(StateSyncFinished())

    def get_timer(self) -> float | None:
        return self._ask_at_s

    def handle_timer(self, *, now: float) -> None:
        if self._ask_at_s is not None and now >= self._ask_at_s:
            self._ask_at_s = now + self._timeout_s
            if self._leader is not None:
                self._events.append(SendSync(self._leader, b"all, please"))

    def next_event(self) -> TaskEvent | None:
        return self._events.popleft() if self._events else None


class WholeLogProvider:
    def __init__(self, context: SyncContext) -> None:
        self._log = context.log
        self._asked_by: deque[PeerId] = deque()

    def receive_message(self, peer: PeerId, data: bytes, *, now: float) -> None:
        self._asked_by.append(peer)

    def snapshot_made(self, cut: RequestedSnapshot, *, now: float) -> None: ...

    def get_timer(self) -> float | None:
        return None

    def handle_timer(self, *, now: float) -> None: ...

    def next_event(self) -> SendSync | None:
        if not self._asked_by:
            return None
        log = self._log.entries(1, count_max=1_000_000, bytes_max=1 << 30)
        return SendSync(self._asked_by.popleft(), msgspec.msgpack.encode(log))


def test_sync_of_ones_own_brings_a_member_up_to_date() -> None:
    log = log_of(*[1] * 50, *[2] * 50)
    world = World(LeaderSync(), [log, log], own=log[:30], leader=2, plain=True)
    world.loss = 1.0
    world.at(7.0, world.repair)
    world.run()
    assert world.ended == StateSyncFinished()
    assert world.applied == log
    assert world.servers[1].requests == 0
    assert world.servers[2].requests == 3


def test_sync_of_ones_own_has_a_signature_of_its_own() -> None:
    signatures = [sync.signature for sync in (LeaderSync(), LogReplaySync(), SnapshotSync())]
    assert signatures == ["LeaderSync", "LogReplaySync", "SnapshotSync"]


def test_base_is_no_way_to_sync() -> None:
    context = World(LogReplaySync(), [[]]).context(0)
    with pytest.raises(NotImplementedError, match="StateSync has no requester"):
        StateSync().requester(context)
    with pytest.raises(NotImplementedError, match="StateSync has no provider"):
        StateSync().provider(context)


# The built-in ones.


def test_ways_make_their_two_sides() -> None:
    context = World(LogReplaySync(), [log_of(1)]).context(1)
    replay, snapshot = LogReplaySync(), SnapshotSync()
    assert isinstance(replay.requester(context), LogReplayTask)
    assert isinstance(replay.provider(context), LogProvider)
    assert isinstance(snapshot.requester(context), SnapshotTask)
    assert isinstance(snapshot.provider(context), SnapshotProvider)


def test_defaults_are_those_of_the_documentation() -> None:
    assert LogReplaySync() == LogReplaySync(batch_size=2000, fetch_timeout=25)
    assert SnapshotSync() == SnapshotSync(
        fetch_batch_size=2000, snapshot_ttl=10, snapshot_request_timeout=15, fetch_timeout=5
    )


def test_durations_may_be_timedeltas() -> None:
    assert SnapshotSync(snapshot_ttl=timedelta(seconds=3)).snapshot_ttl == 3.0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (LogReplaySync, "batch_size", 0),
        (LogReplaySync, "fetch_timeout", 0),
        (SnapshotSync, "fetch_batch_size", 0),
        (SnapshotSync, "snapshot_ttl", -1),
        (SnapshotSync, "snapshot_request_timeout", 0),
        (SnapshotSync, "fetch_timeout", -5),
    ],
)
def test_settings_that_make_no_sense_are_refused(kind: type, name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=f"{name} is {value}"):
        kind(**{name: value})


def test_members_of_other_ways_do_not_crash_each_other() -> None:
    """They never meet, for the signature is in the group's id; but if they did."""
    log = log_of(*[1] * 5000)
    world = World(SnapshotSync(), [log])
    world.providers[1] = LogReplaySync().provider(world.context(1))
    world.run()
    assert world.ended is not None
    assert world.own.commit_index == 0
    assert world.now > 30
    assert peer(1) == world.servers[1].id
