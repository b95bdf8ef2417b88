"""A member that syncs, those that serve it, and a network between them that a test can spoil.

Raft cores, tasks and providers are the real ones. The network has a delay and
a rate per server, loses what it is told to, and lets a test change what a
server says. It watches over what always holds: at most one request is in flight
to a peer, entries come in order, an install is answered before the next.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random

from mosaik_actors.errors import RemoteError
from mosaik_actors.groups.machine.state_sync import StateSync
from mosaik_actors.groups.machine.sync_roles import (
    Holder,
    InstallEntries,
    InstallSnapshot,
    RequestedSnapshot,
    SendSync,
    SnapshotFailed,
    SnapshotWanted,
    StateSyncFailed,
    StateSyncFinished,
    SyncContext,
    SyncMismatch,
)
from mosaik_actors.groups.raft.config import RaftConfig
from mosaik_actors.groups.raft.log import RaftLog
from mosaik_actors.groups.raft.raft import Raft
from mosaik_actors.groups.sync.fetch_plan import FetchPlan
from mosaik_actors.groups.wire.records import Entry, EntryKind, HardState, SnapshotMetadata
from mosaik_actors.groups.wire.sync import (
    Answer,
    EntryRange,
    PartRange,
    WantSnapshot,
    decode_answer,
    decode_request,
    encode_message,
)
from mosaik_actors.groups.wire.system_entries import TakeSnapshot, encode_system_entry
from mosaik_actors.ids import PeerId

from .cores import peer, voters_of

STEPS_MAX = 200_000


def make_raft(
    number: int,
    entries: Sequence[Entry],
    *,
    metadata: SnapshotMetadata | None = None,
    now: float = 0.0,
) -> Raft:
    """Return a core with these entries, all committed."""
    metadata = metadata or SnapshotMetadata(0, 0, voters_of(1, 2, 3))
    last, term = metadata.index, metadata.term
    if entries:
        last, term = entries[-1].index, entries[-1].term
    state = HardState(max(term, 1), None, last)
    raft = Raft(
        peer(number),
        RaftConfig(),
        Random(number),
        now=now,
        hard_state=state,
        metadata=metadata,
        log=RaftLog(metadata.index, metadata.term, entries),
    )
    do_pending_io(raft)
    return raft


def do_pending_io(raft: Raft) -> list[Entry]:
    """Save and apply everything; return what was applied."""
    applied: list[Entry] = []
    while (ready := raft.next_ready()) is not None:
        raft.persisted(ready)
        applied += ready.committed
        if ready.committed:
            raft.applied(ready.committed[-1].index)
    return applied


def strike_count(plan: FetchPlan) -> int:
    """Return how many answers of those who are there were wrong."""
    return sum(source.strike_count for source in plan._sources.values())


@dataclass
class Server:
    """A member that serves."""

    number: int
    raft: Raft
    delay_s: float = 0.01
    bytes_per_s: float = 50e6
    apply_delay_s: float = 0.0
    is_alive: bool = True
    lie: Callable[[Answer], Answer | bytes] | None = None
    parts: Callable[[int], Iterator[bytes]] | None = None
    entries_served: int = 0
    parts_served: int = 0
    requests: int = 0
    free_at_s: float = 0.0
    failures: list[SnapshotFailed] = field(default_factory=list)

    @property
    def id(self) -> PeerId:
        return peer(self.number)


def parts_at(index: int, part_count: int, part_bytes: int) -> list[bytes]:
    """Return the parts of the state at an index: the same on every member."""
    rng = Random(index * 1_000_003 + part_count)
    return [rng.randbytes(part_bytes) for _ in range(part_count)]


class World:
    """One member that syncs, and its servers."""

    def __init__(
        self,
        sync: StateSync,
        logs: Sequence[Sequence[Entry]],
        *,
        leader: int | None = 1,
        seed: int = 0,
        loss: float = 0.0,
        own: Sequence[Entry] = (),
        marks: Sequence[SnapshotMetadata | None] = (),
        part_count: int = 20,
        part_bytes: int = 1000,
        plain: bool = False,
    ) -> None:
        """Make them; `plain` says that what they say is not that of the built-in ways."""
        self.rng = Random(seed)
        self.sync = sync
        self.now = 0.0
        self.loss = loss
        self.leader = leader
        self.plain = plain
        self.part_shape = (part_count, part_bytes)
        self.own = make_raft(0, own, metadata=SnapshotMetadata())
        self.servers: dict[int, Server] = {}
        for number, log in enumerate(logs, 1):
            metadata = marks[number - 1] if marks else None
            self.servers[number] = Server(number, make_raft(number, log, metadata=metadata))
        self.providers = {n: sync.provider(self.context(n)) for n in self.servers}
        self.task = sync.requester(self.context(0))
        self.outstanding: dict[tuple[int, bytes], float] = {}
        self.fetch_of: dict[int, tuple[int, bytes]] = {}
        self.in_flight_max = 0
        self.applied: list[Entry] = list(own)
        self.restored: tuple[SnapshotMetadata, tuple[bytes, ...]] | None = None
        self.restore_fails = False
        self.install_delay_s = 0.0
        self.snapshots: list[SnapshotMetadata] = []
        self.is_installing = False
        self.ended: StateSyncFinished | StateSyncFailed | None = None
        self.mismatches: list[SyncMismatch] = []
        self.after_step: Callable[[], None] | None = None
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def context(self, number: int) -> SyncContext:
        raft = self.own if number == 0 else self.servers[number].raft
        return SyncContext(
            me=peer(number),
            log=raft,
            rng=Random(self.rng.getrandbits(32)),
            now=self.now,
            is_leader=lambda: self.leader == number,
            next_index=raft.commit_index + 1,
        )

    # What a test does.

    def tell_holders(self) -> None:
        """Show the task who is there, as bonds do."""
        holders = {
            server.id: Holder(server.raft.first_index, server.raft.commit_index)
            for server in self.servers.values()
            if server.is_alive
        }
        leader = self.leader if self.leader and self.servers[self.leader].is_alive else None
        self.task.update_holders(holders, None if leader is None else peer(leader), now=self.now)
        self._pump_task()

    def kill(self, number: int) -> None:
        self.servers[number].is_alive = False
        for fetch in list(self.outstanding):
            if fetch[0] == number:
                del self.outstanding[fetch]
        self.tell_holders()

    def revive(self, number: int) -> None:
        """Let a server come back without its memory of cuts."""
        self.providers[number] = self.sync.provider(self.context(number))
        self.servers[number].is_alive = True
        self.tell_holders()

    def repair(self) -> None:
        """End every fault but a server's lies."""
        self.loss = 0.0

    def at(self, time_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (time_s, next(self._order), action))

    def commit(self, entry_count: int) -> None:
        """Let the group commit more entries, everywhere."""
        for server in self.servers.values():
            last = server.raft.commit_index
            term = server.raft.term_at(last) or 1
            more = [
                Entry(index, term, EntryKind.COMMANDS, b"more %d" % index)
                for index in range(last + 1, last + 1 + entry_count)
            ]
            server.raft.install(None, more)
            do_pending_io(server.raft)
        self.tell_holders()

    def run(self, until_s: float = 1000.0) -> None:
        """Go on until the task has ended, or the time is up."""
        if not self.ended:
            self.tell_holders()
        for _ in range(STEPS_MAX):
            if self.ended or not self._step(until_s):
                return
        raise AssertionError(f"the task does not end: {self.ended} at {self.now}")

    # How it goes on.

    def _step(self, until_s: float) -> bool:
        timers: list[tuple[float, int]] = []
        for number, provider in self.providers.items():
            due = provider.get_timer()
            if due is not None and self.servers[number].is_alive:
                timers.append((due, number))
        own = self.task.get_timer()
        if own is not None:
            timers.append((own, 0))
        timer = min(timers, default=None)
        if timer is None and not self._queue:
            raise AssertionError("nothing will ever happen any more")
        if timer is not None and (not self._queue or timer[0] <= self._queue[0][0]):
            # A timer that is due at once takes a moment all the same.
            if timer[0] > until_s:
                return False
            self.now = max(self.now + 1e-6, timer[0])
            if timer[1] == 0:
                self.task.handle_timer(now=self.now)
                self._pump_task()
            else:
                self.providers[timer[1]].handle_timer(now=self.now)
                self._pump_provider(timer[1])
        else:
            if self._queue[0][0] > until_s:
                return False
            time_s, _, action = heapq.heappop(self._queue)
            self.now = max(self.now, time_s)
            action()
        if self.after_step is not None:
            self.after_step()
        return True

    def _is_lost(self) -> bool:
        return self.rng.random() < self.loss

    def _pump_task(self) -> None:
        while (event := self.task.next_event()) is not None:
            assert self.ended is None, f"{event} after the end"
            match event:
                case SendSync(to, data):
                    self._request(bytes(to)[0] - 1, data)
                case InstallEntries(entries):
                    self._begin_install(lambda entries=entries: self._install(entries))  # type: ignore[misc]
                case InstallSnapshot(metadata, parts):
                    whole = tuple(parts)
                    self._begin_install(
                        lambda metadata=metadata, whole=whole: self._restore(metadata, whole)  # type: ignore[misc]
                    )
                case SyncMismatch():
                    self.mismatches.append(event)
                case _:
                    self.ended = event

    def _request(self, number: int, data: bytes) -> None:
        server = self.servers[number]
        assert server.is_alive, "asked somebody who is gone"
        server.requests += 1
        if self.plain:
            if not self._is_lost():
                self.at(self.now + server.delay_s, lambda: self._deliver_request(number, data))
            return
        # A fetch counts by itself: when a snapshot is given up, so is what it asked for.
        request = decode_request(data)
        if isinstance(request, WantSnapshot):
            self.outstanding.clear()
        fetch = (number, getattr(request, "request_id", type(request).__name__.encode()))
        sent_s = self.outstanding.get(fetch)
        assert sent_s is None or self.now - sent_s >= self.sync.fetch_timeout - 1e-6, (
            f"two requests in flight to {number}"
        )
        if not isinstance(request, WantSnapshot):
            self.outstanding[fetch] = self.now
            self.in_flight_max = max(self.in_flight_max, len(self.outstanding))
        if not self._is_lost():
            self.fetch_of[request.number] = fetch
            self.at(self.now + server.delay_s, lambda: self._deliver_request(number, data))

    def _deliver_request(self, number: int, data: bytes) -> None:
        if self.servers[number].is_alive:
            self.providers[number].receive_message(peer(0), data, now=self.now)
            self._pump_provider(number)

    def _pump_provider(self, number: int) -> None:
        while (event := self.providers[number].next_event()) is not None:
            match event:
                case SendSync(to, data):
                    assert to == peer(0)
                    self._answer(self.servers[number], data)
                case SnapshotWanted(request_id):
                    assert self.leader == number, "only the leader proposes"
                    self.at(self.now + 0.02, lambda rid=request_id: self._cut(rid))  # type: ignore[misc]
                case SnapshotFailed():
                    self.servers[number].failures.append(event)

    def _answer(self, server: Server, data: bytes) -> None:
        if self.plain:
            self.at(self.now + server.delay_s, lambda: self._deliver_answer(server, (0, b""), data))
            return
        answer = decode_answer(data)
        if isinstance(answer, EntryRange):
            server.entries_served += len(answer.entries)
        elif isinstance(answer, PartRange):
            server.parts_served += len(answer.parts)
        if server.lie is not None:
            said = server.lie(answer)
            data = said if isinstance(said, bytes) else encode_message(said)
        begin_s = max(self.now, server.free_at_s)
        server.free_at_s = begin_s + len(data) / server.bytes_per_s
        if not self._is_lost():
            fetch = self.fetch_of[answer.number]
            at_s = server.free_at_s + server.delay_s
            self.at(at_s, lambda: self._deliver_answer(server, fetch, data))

    def _deliver_answer(self, server: Server, fetch: tuple[int, bytes], data: bytes) -> None:
        if not server.is_alive:
            return
        self.outstanding.pop(fetch, None)
        try:
            self.task.receive_message(server.id, data, now=self.now)
        except RemoteError:
            assert server.lie is not None, "an honest answer was refused"
        self._pump_task()

    def _cut(self, request_id: bytes) -> None:
        """Commit the system entry everywhere; each member applies it when it gets to it."""
        for number, server in self.servers.items():
            last = server.raft.commit_index
            system_entry = Entry(
                last + 1,
                server.raft.term_at(last) or 1,
                EntryKind.SYSTEM,
                encode_system_entry(TakeSnapshot(request_id)),
            )
            server.raft.install(None, [system_entry])
            do_pending_io(server.raft)
            metadata = server.raft.metadata_at(last + 1)
            if number == 1:
                self.snapshots.append(metadata)
            parts = server.parts or (lambda index: iter(parts_at(index, *self.part_shape)))
            cut = RequestedSnapshot(metadata, request_id, parts(last + 1))
            self.at(self.now + server.apply_delay_s, lambda n=number, c=cut: self._cut_made(n, c))  # type: ignore[misc]
        self.tell_holders()

    def _cut_made(self, number: int, cut: RequestedSnapshot) -> None:
        if self.servers[number].is_alive:
            self.providers[number].snapshot_made(cut, now=self.now)
            self._pump_provider(number)

    def _begin_install(self, install: Callable[[], None]) -> None:
        assert not self.is_installing, "a second install before the first was answered"
        self.is_installing = True
        self.at(self.now + self.install_delay_s, install)

    def _install(self, entries: tuple[Entry, ...]) -> None:
        self.is_installing = False
        try:
            self.own.install(None, entries)
        except RemoteError:
            assert any(server.lie for server in self.servers.values())
        self.applied += do_pending_io(self.own)
        self.task.installed(self.own.commit_index, now=self.now)
        self._pump_task()

    def _restore(self, metadata: SnapshotMetadata, parts: tuple[bytes, ...]) -> None:
        self.is_installing = False
        if not self.restore_fails:
            self.restored = (metadata, parts)
            self.applied = []
            self.own.install(metadata)
            do_pending_io(self.own)
        self.restore_fails = False
        self.task.installed(self.own.commit_index, now=self.now)
        self._pump_task()
