"""Snapshot sync: one position, cut by all, fetched from all, checked as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from math import inf
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mosaik_actors.errors import RemoteError
from mosaik_actors.groups.machine.sync_roles import (
    ProviderEvent,
    RequestedSnapshot,
    SendSync,
    SnapshotWanted,
    StateSyncFailed,
    StateSyncFinished,
    SyncContext,
)
from mosaik_actors.groups.sync.kept_snapshot import TURN_BYTES, TURN_PARTS, KeptSnapshot
from mosaik_actors.groups.sync.provider import HOLD_S, SNAPSHOTS_MAX, SnapshotProvider
from mosaik_actors.groups.sync.settings import SnapshotSync
from mosaik_actors.groups.sync.snapshot_sync import ATTEMPTS_MAX
from mosaik_actors.groups.wire.records import PART_BYTES_MAX, Entry, SnapshotMetadata
from mosaik_actors.groups.wire.sync import (
    ANSWER_BYTES,
    Answer,
    FetchEntries,
    FetchParts,
    NotHere,
    PartRange,
    PartsDigest,
    Request,
    SnapshotNamed,
    SnapshotSummary,
    WantSnapshot,
    decode_answer,
    encode_message,
)

from ..cores import log_of, peer, voters_of
from ..sync_world import World, make_raft, parts_at

SMALL = SnapshotSync(fetch_batch_size=20)
LOG = log_of(*[1] * 100)
METADATA = SnapshotMetadata(100, 1, voters_of(1, 2, 3))


def is_synced(world: World, *, late_count: int = 0) -> bool:
    """Whether the snapshot is what every member has at its place, and the rest is in.

    But for `late_count` entries: those of which nobody could have told before the end.
    """
    assert world.ended == StateSyncFinished(), world.ended
    assert world.restored is not None
    metadata, parts = world.restored
    assert parts == tuple(parts_at(metadata.index, *world.part_shape))
    commit = max(server.raft.commit_index for server in world.servers.values())
    return world.own.commit_index >= commit - 20 - late_count


# From the beginning to the end.


def test_snapshot_is_cut_fetched_and_restored() -> None:
    world = World(SMALL, [LOG] * 4)
    world.run()
    assert is_synced(world)
    assert world.restored is not None
    assert world.restored[0] == world.snapshots[0]


def test_leader_serves_no_parts_when_others_can() -> None:
    world = World(SMALL, [LOG] * 4, leader=1, part_count=300)
    world.run()
    assert is_synced(world)
    assert world.servers[1].parts_served == 0
    assert all(world.servers[n].parts_served > 0 for n in (2, 3, 4))


def test_leader_is_not_even_asked_for_the_digest_when_others_agree() -> None:
    for server_count in (2, 3, 4):
        world = World(SMALL, [LOG] * server_count, leader=1)
        world.run()
        assert is_synced(world)
        assert world.servers[1].requests == 1  # for the snapshot


def test_leader_alone_serves_everything() -> None:
    world = World(SMALL, [LOG], leader=1)
    world.run()
    assert is_synced(world)


def test_little_that_is_missing_is_replayed_without_a_snapshot() -> None:
    world = World(SMALL, [LOG] * 2, own=LOG[:85])
    world.run()
    assert world.ended == StateSyncFinished()
    assert world.restored is None
    assert world.applied == LOG
    assert not world.snapshots


def test_what_was_committed_after_the_metadata_is_replayed() -> None:
    world = World(SMALL, [LOG] * 3, part_count=200, part_bytes=100_000)
    world.at(0.1, lambda: world.commit(300))
    world.run()
    assert is_synced(world)
    assert world.own.commit_index == 401
    assert len(world.applied) == 300


@pytest.mark.parametrize(
    "shape", [(0, 0), (1, 0), (1, 10), (63, 1), (64, 1), (1000, 3), (5, 10**6)]
)
def test_any_number_and_size_of_parts(shape: tuple[int, int]) -> None:
    world = World(SMALL, [LOG] * 3, part_count=shape[0], part_bytes=shape[1])
    world.run()
    assert is_synced(world)


def test_faster_members_serve_more() -> None:
    world = World(SMALL, [LOG] * 3, part_count=500, part_bytes=20_000)
    world.servers[2].bytes_per_s = 1e6
    world.run()
    assert is_synced(world)
    assert world.servers[3].parts_served > 3 * world.servers[2].parts_served


def test_member_that_dies_midway_is_replaced() -> None:
    world = World(SMALL, [LOG] * 4, part_count=500, part_bytes=50_000)
    world.at(0.2, lambda: world.kill(3))
    world.run()
    assert is_synced(world)
    assert world.now < 3


def test_all_others_dying_leaves_the_leader_to_serve() -> None:
    world = World(SMALL, [LOG] * 3, part_count=500, part_bytes=50_000)
    world.at(0.2, lambda: world.kill(2))
    world.at(0.2, lambda: world.kill(3))
    world.run()
    assert is_synced(world)
    assert world.servers[1].parts_served > 0


def test_member_that_lags_behind_the_metadata_is_waited_for() -> None:
    """It has not come to the system entry when it is asked; the request waits there."""
    world = World(SMALL, [LOG] * 3, part_count=200, part_bytes=20_000)
    world.servers[2].apply_delay_s = 0.4
    world.servers[3].apply_delay_s = 0.4
    world.run()
    assert is_synced(world)
    assert world.servers[1].parts_served == 0


def test_leader_that_is_replaced_is_not_waited_for() -> None:
    world = World(SMALL, [LOG] * 3)
    world.loss = 1.0
    world.tell_holders()

    def change() -> None:
        world.loss = 0.0
        world.leader = 2
        world.tell_holders()

    world.at(1.0, change)
    world.run()
    assert is_synced(world)
    assert world.now < 2


def test_silent_leader_is_asked_again() -> None:
    world = World(SMALL, [LOG] * 3)
    world.loss = 1.0
    world.at(10.0, world.repair)
    world.run()
    assert is_synced(world)
    assert world.now < 17


def test_lost_messages_delay_and_do_no_more() -> None:
    world = World(SMALL, [LOG] * 4, loss=0.2, seed=5, part_count=100, part_bytes=40_000)
    world.at(60.0, world.repair)
    world.run()
    assert is_synced(world)


def test_silence_for_long_fails_the_sync() -> None:
    world = World(SMALL, [LOG] * 3, loss=1.0)
    world.run()
    assert isinstance(world.ended, StateSyncFailed)
    assert "no snapshot came" in world.ended.reason


def test_without_a_leader_there_is_no_snapshot() -> None:
    world = World(SMALL, [LOG] * 3, leader=None)
    world.run(until_s=20.0)
    assert world.ended is None
    assert not any(server.requests for server in world.servers.values())
    world.leader = 3
    world.run()
    assert is_synced(world)


def test_replication_that_passes_the_metadata_ends_the_fetch() -> None:
    world = World(SMALL, [LOG] * 3, part_count=500, part_bytes=50_000)

    def replicate() -> None:
        log = world.servers[1].raft.entries(1, count_max=1000, bytes_max=1 << 30)
        world.own.install(None, log)
        world.task.installed(world.own.commit_index, now=world.now)

    world.at(0.2, replicate)
    world.run()
    assert world.ended == StateSyncFinished()
    assert world.restored is None


def test_snapshot_that_cannot_be_restored_is_tried_again() -> None:
    world = World(SMALL, [LOG] * 3)
    world.restore_fails = True
    world.run()
    assert is_synced(world)


def test_snapshot_that_can_never_be_restored_fails_the_sync() -> None:
    world = World(SMALL, [LOG] * 3)

    def spoil() -> None:
        world.restore_fails = True

    world.after_step = spoil
    world.run()
    assert isinstance(world.ended, StateSyncFailed)
    assert "could not be restored" in world.ended.reason


def test_snapshot_that_replication_has_passed_is_not_fetched() -> None:
    """While the leader was asked, entries beyond the metadata came in by themselves."""
    world = World(SMALL, [LOG] * 3)

    def replicate() -> None:
        world.commit(200)
        log = world.servers[1].raft.entries(1, count_max=150, bytes_max=1 << 30)
        world.own.install(None, log)
        world.task.installed(world.own.commit_index, now=world.now)

    # The system entry is committed at 0.03 and the answer comes at 0.04.
    world.at(0.035, replicate)
    world.run()
    assert world.ended == StateSyncFinished()
    assert world.restored is None
    assert world.own.commit_index == 301


def test_log_that_is_cut_behind_the_snapshot_means_another_snapshot() -> None:
    world = World(SMALL, [LOG] * 3)

    def compact() -> None:
        for server in world.servers.values():
            server.raft.compact(server.raft.metadata_at(500))
        world.tell_holders()

    world.install_delay_s = 0.5
    world.at(0.3, lambda: world.commit(500))
    world.at(0.3, compact)
    world.run()
    assert is_synced(world)
    assert world.own.commit_index >= 500
    assert len(world.snapshots) == 2


# Lies.


def corrupt_parts(answer: Answer) -> Answer:
    if isinstance(answer, PartRange) and answer.parts:
        parts = (b"wrong" + answer.parts[0][5:], *answer.parts[1:])
        return PartRange(answer.number, parts, answer.whole)
    return answer


def other_state(answer: Answer) -> Answer:
    """Another state altogether, with the digest of it."""
    if isinstance(answer, PartRange):
        parts = tuple(b"?" + part[1:] for part in answer.parts)
        whole = answer.whole and SnapshotSummary(answer.whole.part_count, bytes(32))
        return PartRange(answer.number, parts, whole)
    return answer


def fewer_parts(answer: Answer) -> Answer:
    if isinstance(answer, PartRange) and answer.whole is not None:
        return PartRange(answer.number, answer.parts[:2], SnapshotSummary(7, answer.whole.digest))
    return answer


def too_many_parts(answer: Answer) -> Answer:
    if isinstance(answer, PartRange) and answer.parts:
        return PartRange(answer.number, answer.parts * 20, None)
    return answer


def garbage(answer: Answer) -> bytes:
    return b"\x93\xa5parts"


LIES: list[Callable[[Answer], Answer | bytes]] = [
    corrupt_parts,
    other_state,
    fewer_parts,
    too_many_parts,
    garbage,
]


@pytest.mark.parametrize("lie", LIES)
def test_member_whose_parts_are_wrong_does_no_harm(lie: Callable[[Answer], Answer | bytes]) -> None:
    world = World(SMALL, [LOG] * 4, part_count=100, part_bytes=20_000)
    world.servers[2].lie = lie
    world.run()
    assert is_synced(world)
    assert world.servers[2].parts_served > 0
    assert len(world.snapshots) == 1


@pytest.mark.parametrize("lie", LIES)
def test_one_against_one_the_leader_decides(lie: Callable[[Answer], Answer | bytes]) -> None:
    world = World(SMALL, [LOG] * 3, part_count=100, part_bytes=20_000)
    world.servers[2].lie = lie
    world.run()
    assert is_synced(world)


def test_snapshot_that_nobody_tells_right_is_never_handed_out() -> None:
    world = World(SMALL, [LOG] * 3, part_count=30)
    for server in world.servers.values():
        server.lie = corrupt_parts
    world.run()
    assert isinstance(world.ended, StateSyncFailed)
    assert world.restored is None
    assert str(ATTEMPTS_MAX) in world.ended.reason


def test_of_members_whose_states_differ_the_leader_decides() -> None:
    """The parts and the digest of one fit each other, and not those of the rest."""
    world = World(SMALL, [LOG] * 4)
    world.servers[2].parts = lambda index: iter([b"another state"] * 20)
    world.run()
    assert is_synced(world)
    assert len(world.snapshots) == 1
    assert len(world.mismatches) == 1


# Cuts that fail.


def failing_parts(index: int) -> Iterator[bytes]:
    yield from parts_at(index, 10, 1000)
    raise ValueError("the machine fails")


def test_member_whose_cut_fails_is_not_asked_for_it_again() -> None:
    world = World(SMALL, [LOG] * 4, part_count=20)
    world.servers[2].parts = failing_parts
    world.run()
    assert is_synced(world)
    assert [failure.reason for failure in world.servers[2].failures] == [
        "ValueError: the machine fails"
    ]
    assert len(world.snapshots) == 1


def test_cuts_that_fail_everywhere_fail_the_sync() -> None:
    world = World(SMALL, [LOG] * 3)
    for server in world.servers.values():
        server.parts = failing_parts
    world.run()
    assert isinstance(world.ended, StateSyncFailed)
    # With back-off: a group is not made to cut its state all the time.
    assert len(world.snapshots) <= ATTEMPTS_MAX
    assert world.now > 10


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ([bytes(PART_BYTES_MAX + 1)], "part of 4194305 bytes"),
        ([b"a", 7], "TypeError"),
    ],
)
def test_parts_beyond_the_limits_end_the_cut(parts: list[bytes], why: str) -> None:
    cut = KeptSnapshot(RequestedSnapshot(METADATA, bytes(16), iter(parts)), expires_s=1.0)
    cut.make()
    assert not cut.is_making
    assert why in cut.failure


# The provider by itself.


class Provider:
    """A provider, driven by hand."""

    def __init__(self, *, is_leader: bool = True, log: list[Entry] = LOG) -> None:
        self.raft = make_raft(1, log)
        self.is_leader = is_leader
        self.core = SnapshotProvider(
            SyncContext(
                me=peer(1),
                log=self.raft,
                rng=Random(1),
                now=0.0,
                is_leader=lambda: self.is_leader,
            ),
            snapshot_ttl=10.0,
            snapshot_request_timeout=15.0,
        )

    def ask(self, number: int, request: Request, *, now: float) -> list[Answer | ProviderEvent]:
        self.core.receive_message(peer(number), encode_message(request), now=now)
        return self.events()

    def cut(self, parts: Iterator[bytes], *, number: int = 1, now: float) -> bytes:
        request_id = bytes([number]) * 16
        self.core.snapshot_made(RequestedSnapshot(METADATA, request_id, parts), now=now)
        return request_id

    def events(self) -> list[Answer | ProviderEvent]:
        found: list[Answer | ProviderEvent] = []
        while (event := self.core.next_event()) is not None:
            found.append(decode_answer(event.data) if isinstance(event, SendSync) else event)
        return found

    def run_until(self, time_s: float) -> list[Answer | ProviderEvent]:
        found: list[Answer | ProviderEvent] = []
        while (due := self.core.get_timer()) is not None and due <= time_s:
            self.core.handle_timer(now=due)
            found += self.events()
        return found


def test_all_who_ask_share_one_cut() -> None:
    provider = Provider()
    assert isinstance(provider.ask(2, WantSnapshot(1, 1), now=0.0)[0], SnapshotWanted)
    assert provider.ask(3, WantSnapshot(2, 1), now=0.1) == []
    request_id = provider.cut(iter([b"a"]), now=0.2)
    told = [SnapshotNamed(n, request_id, METADATA) for n in (1, 2)]
    assert provider.events() == told
    assert provider.ask(4, WantSnapshot(9, 1), now=9.0) == [SnapshotNamed(9, request_id, METADATA)]


def test_time_to_live_counts_from_the_last_request() -> None:
    provider = Provider()
    request_id = provider.cut(iter([b"a"]), now=0.0)
    for now in (9.0, 18.0, 27.0):
        answers = provider.ask(2, FetchParts(1, request_id, 0, 1), now=now)
        assert isinstance(answers[0], PartRange)
    assert provider.core.get_timer() == 37.0
    provider.core.handle_timer(now=36.9)
    assert provider.core.snapshots
    provider.core.handle_timer(now=37.0)
    assert not provider.core.snapshots
    assert provider.core.get_timer() is None
    assert provider.ask(2, FetchParts(2, request_id, 0, 1), now=37.1) == [NotHere(2, True)]


def test_cut_that_the_log_no_longer_continues_is_not_offered() -> None:
    log = log_of(*[1] * 150)
    provider = Provider(log=log)
    provider.cut(iter([b"a"]), now=0.0)
    assert isinstance(provider.ask(2, WantSnapshot(1, 1), now=0.1)[0], SnapshotNamed)
    assert isinstance(provider.ask(2, WantSnapshot(1, 101), now=0.1)[0], SnapshotWanted)
    provider.raft.compact(provider.raft.metadata_at(120))
    assert provider.ask(3, WantSnapshot(1, 1), now=0.1) == []
    provider.core.handle_timer(now=20.0)
    assert isinstance(provider.ask(3, WantSnapshot(1, 1), now=20.0)[0], SnapshotWanted)


def test_only_the_leader_has_a_snapshot_cut() -> None:
    provider = Provider(is_leader=False)
    assert provider.ask(2, WantSnapshot(5, 1), now=0.0) == [NotHere(5)]
    request_id = provider.cut(iter([b"a"]), now=0.1)
    assert provider.ask(2, WantSnapshot(6, 1), now=0.2) == [SnapshotNamed(6, request_id, METADATA)]


def test_cut_that_does_not_come_is_wanted_again() -> None:
    provider = Provider()
    assert len(provider.ask(2, WantSnapshot(1, 1), now=0.0)) == 1
    assert provider.ask(2, WantSnapshot(2, 1), now=14.9) == []
    assert isinstance(provider.ask(2, WantSnapshot(3, 1), now=15.0)[0], SnapshotWanted)


def test_few_cuts_are_kept() -> None:
    provider = Provider()
    ids = [provider.cut(iter([b"a"]), number=number, now=0.0) for number in range(5)]
    assert list(provider.core.snapshots) == ids[-SNAPSHOTS_MAX:]
    assert provider.ask(2, FetchParts(1, ids[0], 0, 1), now=0.1) == [NotHere(1, True)]


def test_same_cut_told_twice_is_one() -> None:
    provider = Provider()
    provider.cut(iter([b"a"]), now=0.0)
    provider.cut(iter([b"b"]), now=0.0)
    assert [cut.take(0, 9)[0] for cut in provider.core.snapshots.values()] == [(b"a",)]


def test_parts_are_made_in_portions_and_only_when_wanted() -> None:
    """The first portion is made at once: it is all of a small snapshot."""
    made: list[int] = []

    def parts() -> Iterator[bytes]:
        for number in range(10 * TURN_PARTS):
            made.append(number)
            yield b"part"

    provider = Provider()
    request_id = provider.cut(parts(), now=0.0)
    assert len(made) == TURN_PARTS
    provider.core.handle_timer(now=1.0)
    assert len(made) == TURN_PARTS
    provider.ask(2, FetchParts(1, request_id, 0, 4096), now=1.0)
    assert provider.core.get_timer() == 1.0
    counts = [len(made)]
    while provider.core.get_timer() == 1.0:
        provider.core.handle_timer(now=1.0)
        counts.append(len(made))
    assert max(after - before for before, after in pairwise(counts)) == TURN_PARTS
    (answer,) = provider.events()
    assert isinstance(answer, PartRange)
    assert len(answer.parts) == 10 * TURN_PARTS
    assert answer.whole is not None


def test_large_parts_end_a_portion_early() -> None:
    large = bytes(TURN_BYTES // 2)
    cut = KeptSnapshot(RequestedSnapshot(METADATA, bytes(16), iter([large] * 20)), expires_s=1.0)
    cut.make()
    assert len(cut._parts) == 2


def test_answers_are_bounded_but_one_part_always_fits() -> None:
    large, small = bytes(PART_BYTES_MAX), bytes(ANSWER_BYTES // 4)
    provider = Provider()
    request_id = provider.cut(iter([large, *[small] * 10]), now=0.0)
    sizes = []
    for first in (0, 1, 4):
        provider.ask(2, FetchParts(1, request_id, first, 1), now=0.0)
        provider.run_until(0.5)
        (answer,) = provider.ask(2, FetchParts(1, request_id, first, 10), now=0.0)
        assert isinstance(answer, PartRange)
        sizes.append(len(answer.parts))
    assert sizes == [1, 3, 3]


def test_request_waits_for_a_cut_to_come_but_not_for_ever() -> None:
    provider = Provider()
    request_id = bytes([1]) * 16
    assert provider.ask(2, FetchParts(1, request_id, 0, 1), now=0.0) == []
    assert provider.core.get_timer() == HOLD_S
    assert provider.run_until(HOLD_S) == [NotHere(1)]
    assert provider.ask(2, FetchParts(2, request_id, 0, 1), now=2.0) == []
    provider.cut(iter([b"a"]), now=2.5)
    (answer,) = provider.events()
    digest = PartsDigest(METADATA)
    digest.add(b"a")
    assert answer == PartRange(2, (b"a",), SnapshotSummary(1, digest.digest()))


def test_newer_request_of_a_peer_replaces_the_one_that_waits() -> None:
    provider = Provider()
    request_id = bytes([1]) * 16
    provider.ask(2, FetchParts(1, request_id, 0, 1), now=0.0)
    provider.ask(2, FetchParts(2, request_id, 0, 1), now=0.1)
    assert provider.run_until(5.0) == [NotHere(2)]


def test_slow_maker_answers_with_what_there_is() -> None:
    provider = Provider()
    request_id = provider.cut((b"x" for _ in range(10**9)), now=0.0)
    provider.ask(2, FetchParts(1, request_id, TURN_PARTS - 1, 4096), now=0.0)
    provider.core.handle_timer(now=HOLD_S)
    (answer,) = provider.events()
    assert isinstance(answer, PartRange)
    assert (len(answer.parts), answer.whole) == (1 + TURN_PARTS, None)


def test_entries_are_served_too() -> None:
    provider = Provider()
    (answer,) = provider.ask(2, FetchEntries(3, 91, 5), now=0.0)
    assert getattr(answer, "entries", None) == tuple(LOG[90:95])


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300))
def test_hostile_bytes_are_refused_and_nothing_else_happens(data: bytes) -> None:
    provider = Provider()
    world = World(SMALL, [LOG] * 2)
    world.tell_holders()
    for receive in (provider.core.receive_message, world.task.receive_message):
        with suppress(RemoteError):
            receive(peer(1), data, now=0.1)


def test_answers_that_were_not_asked_for_are_ignored() -> None:
    world = World(SMALL, [LOG] * 2)
    world.tell_holders()
    unasked: list[Answer] = [
        SnapshotNamed(0, bytes(16), METADATA),
        NotHere(1),
        PartRange(2, (b"a",), SnapshotSummary(1, bytes(32))),
    ]
    for answer in unasked:
        for number in (1, 2, 9):
            world.task.receive_message(peer(number), encode_message(answer), now=0.1)
    assert world.task.next_event() is None
    world.run()
    assert is_synced(world)


# With anything going wrong.


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1 << 32))
@example(212812851)  # entries are committed just before the end
@example(1044429)  # one sends wrong parts, and the leader is away
@example(9728022)  # the one from whom alone all is fetched was asked already
@example(1071109)  # a snapshot that was given up is named again
def test_whatever_happens_the_state_is_that_of_the_others(seed: int) -> None:
    rng = Random(seed)
    server_count = rng.randint(2, 5)
    world = World(
        SnapshotSync(
            fetch_batch_size=rng.randint(1, 40),
            snapshot_ttl=rng.choice([2.0, 10.0]),
            snapshot_request_timeout=rng.uniform(1, 5),
            fetch_timeout=rng.uniform(1.2, 3),
        ),
        [log_of(*[1] * 200)] * server_count,
        leader=1,
        seed=seed,
        loss=rng.choice([0.0, 0.1, 0.3]),
        part_count=rng.choice([0, 1, 10, 100, 300]),
        part_bytes=rng.choice([0, 10, 1000, 20_000]),
    )
    world.at(10.0, world.repair)
    world.install_delay_s = rng.choice([0.0, 0.1])
    for server in world.servers.values():
        server.delay_s = rng.choice([0.001, 0.05, 0.3])
        server.apply_delay_s = rng.choice([0.0, 0.0, 0.5, 2.0])
    if server_count > 3 and rng.random() < 0.5:
        world.servers[2].lie = rng.choice(LIES)
    elif server_count > 2 and rng.random() < 0.3:
        world.servers[2].parts = failing_parts
    if rng.random() < 0.5:
        victim, dies_s = rng.randint(1, server_count), rng.uniform(0, 1)

        def die() -> None:
            if world.leader == victim:
                world.leader = server_count  # which never lies
            world.kill(victim)

        world.at(dies_s, die)
        world.at(dies_s + rng.uniform(0, 3), lambda: world.revive(victim))
    commits_s, count = inf, 0
    if rng.random() < 0.3:
        commits_s, count = rng.uniform(0, 2), rng.randint(1, 100)
        world.at(commits_s, lambda: world.commit(count))
    world.run()
    # An answer that was on its way when they were committed says nothing of them.
    is_late = world.now - commits_s < 1.0
    if world.servers[2].lie is not None and isinstance(world.ended, StateSyncFailed):
        assert world.restored is None  # it is tried again, later, and perhaps without that one
        return
    assert is_synced(world, late_count=count if is_late else 0), seed
