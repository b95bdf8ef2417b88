"""Log replay: the missing entries come from all who have them, in order, each once."""

from __future__ import annotations

from contextlib import suppress
from random import Random
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors.errors import DecodeError, RemoteError
from mosaik_actors.groups.machine.sync_roles import (
    Holder,
    InstallEntries,
    SendSync,
    StateSyncFailed,
    StateSyncFinished,
    SyncContext,
)
from mosaik_actors.groups.raft.log import cost_of
from mosaik_actors.groups.sync.log_replay import BUFFER_BYTES, INSTALL_BYTES, LogReplayTask
from mosaik_actors.groups.sync.provider import LogProvider
from mosaik_actors.groups.sync.settings import LogReplaySync
from mosaik_actors.groups.wire.commands import CommandBatch, encode_command_batches
from mosaik_actors.groups.wire.records import Entry, EntryKind, SnapshotMetadata
from mosaik_actors.groups.wire.sync import (
    ANSWER_BYTES,
    Answer,
    EntryRange,
    FetchEntries,
    NotHere,
    decode_answer,
    decode_request,
    encode_message,
)

from ..cores import log_of, peer, voters_of
from ..sync_world import World, make_raft, strike_count

SMALL = LogReplaySync(batch_size=10, fetch_timeout=2.0)


def long_log(count: int, *, size: int = 8, term_every: int = 50) -> list[Entry]:
    """Return a log of so many entries; a new term begins every so often."""
    return [
        Entry(index, 1 + index // term_every, EntryKind.COMMANDS, index.to_bytes(size))
        for index in range(1, count + 1)
    ]


# One after the other.


def test_everything_that_is_missing_is_installed_in_order() -> None:
    log = long_log(500)
    world = World(SMALL, [log, log, log])
    world.run()
    assert world.ended == StateSyncFinished()
    assert world.applied == log
    assert world.in_flight_max > 1


def test_sync_begins_where_the_own_log_ends() -> None:
    log = long_log(300)
    world = World(SMALL, [log, log], own=log[:123])
    world.run()
    assert world.applied == log
    assert sum(server.entries_served for server in world.servers.values()) == 300 - 123


def test_leader_serves_nothing_when_others_can() -> None:
    log = long_log(500)
    world = World(SMALL, [log, log, log], leader=1)
    world.run()
    assert world.ended == StateSyncFinished()
    assert world.servers[1].requests == 0


def test_leader_serves_only_what_nobody_else_has() -> None:
    log = long_log(500)
    world = World(SMALL, [log, log[:480], log[:480]], leader=1)
    world.run()
    assert world.applied == log
    assert world.servers[1].entries_served == 20


def test_leader_serves_all_when_it_is_alone() -> None:
    log = long_log(100)
    world = World(SMALL, [log], leader=1)
    world.run()
    assert world.applied == log


def test_faster_peers_serve_more() -> None:
    log = long_log(4000)
    world = World(SMALL, [log, log, log], leader=1)
    world.servers[2].delay_s = 0.1
    world.run()
    assert world.applied == log
    assert world.servers[3].entries_served > 3 * world.servers[2].entries_served


def test_lost_requests_go_to_others() -> None:
    log = long_log(400)
    world = World(SMALL, [log, log, log], loss=0.2, seed=3)
    world.run()
    assert (world.ended, world.applied) == (StateSyncFinished(), log)


def test_only_peer_that_answers_late_is_still_of_use() -> None:
    """An answer that comes after its time is taken, or a slow link would never get through."""
    log = long_log(30)
    world = World(SMALL, [log], leader=None)
    world.servers[1].delay_s = 1.5
    world.run()
    assert (world.ended, world.applied) == (StateSyncFinished(), log)


def test_peer_that_dies_is_replaced_at_once() -> None:
    log = long_log(2000)
    world = World(SMALL, [log, log, log], leader=1)
    world.at(0.3, lambda: world.kill(2))
    world.run()
    assert (world.ended, world.applied) == (StateSyncFinished(), log)
    assert world.now < 10


def test_one_slow_peer_does_not_hold_up_the_end() -> None:
    """The last ranges are asked for twice when somebody else has nothing to do."""
    log = long_log(300)
    world = World(LogReplaySync(batch_size=10, fetch_timeout=25.0), [log, log, log], leader=1)
    world.servers[2].delay_s = 10.0
    world.run()
    assert (world.ended, world.applied) == (StateSyncFinished(), log)
    assert world.now < 2


def test_members_that_catch_up_themselves_are_not_asked() -> None:
    task = LogReplayTask(context(), batch_size=10, fetch_timeout=5.0)
    task.update_holders({peer(1): Holder(1, 3, is_catching_up=True)}, None, now=0.0)
    assert task.next_event() is None
    task.update_holders({peer(1): Holder(1, 3)}, None, now=1.0)
    assert isinstance(task.next_event(), SendSync)


def test_nothing_missing_ends_at_once() -> None:
    log = long_log(20)
    world = World(SMALL, [log], own=log)
    world.run()
    assert world.ended == StateSyncFinished()
    assert not world.servers[1].requests


def test_group_that_moves_on_far_is_followed_and_the_small_rest_left_to_replication() -> None:
    log = long_log(200)
    world = World(SMALL, [log, log])
    world.at(0.05, lambda: world.commit(100))
    world.at(0.15, lambda: world.commit(5))
    world.run()
    assert world.ended == StateSyncFinished()
    assert 300 <= world.own.commit_index <= 305


def test_replication_may_be_faster_than_the_sync() -> None:
    log = long_log(100)
    world = World(SMALL, [log, log], leader=None)

    def replicate() -> None:
        if not world.is_installing:
            world.own.install(None, log[:55])
            world.task.installed(55, now=world.now)

    world.at(0.015, replicate)
    world.run()
    assert world.ended == StateSyncFinished()
    assert world.own.commit_index == 100


def test_what_replication_brought_is_cut_off_what_was_fetched() -> None:
    log = log_of(*[1] * 20)
    task = LogReplayTask(context(), batch_size=10, fetch_timeout=5.0)
    task.update_holders({peer(1): Holder(1, 20), peer(2): Holder(1, 20)}, None, now=0.0)
    number = requests_of(task)[2].number
    late = EntryRange(number, 1, 20, 1, tuple(log[10:]))
    task.receive_message(peer(2), encode_message(late), now=0.1)
    assert task._bytes_held == sum(map(cost_of, log[10:]))
    task.installed(15, now=0.2)
    assert installs_of(task) == [tuple(log[15:])]
    assert task._bytes_held == sum(map(cost_of, log[15:]))
    task.installed(20, now=0.3)
    assert task._bytes_held == 0
    assert task.next_event() == StateSyncFinished()


def test_late_answer_fills_in_what_is_missing_and_no_more() -> None:
    """Peer 1 is late with all; peers 2 and 3 were asked for half of it each."""
    log = log_of(*[1] * 10)
    first, second = tuple(log[:5]), tuple(log[5:])
    for is_first_there in (True, False):
        task = LogReplayTask(context(), batch_size=10, fetch_timeout=1.0)
        task.update_holders({peer(1): Holder(1, 10)}, None, now=0.0)
        late_number = requests_of(task)[1].number
        task.handle_timer(now=1.0)
        task.update_holders({peer(n): Holder(1, 10) for n in (1, 2, 3)}, None, now=1.0)
        asked = requests_of(task)
        assert [ask.first_index for ask in asked.values()] == [1, 6]
        number = asked[2 if is_first_there else 3].number
        half = EntryRange(
            number, 1, 10, int(not is_first_there), first if is_first_there else second
        )
        sender = peer(2 if is_first_there else 3)
        task.receive_message(sender, encode_message(half), now=1.1)
        whole = EntryRange(late_number, 1, 10, 0, tuple(log))
        task.receive_message(peer(1), encode_message(whole), now=1.2)
        assert task._bytes_held == sum(map(cost_of, log))
        found = installs_of(task)
        if is_first_there:
            task.installed(5, now=1.3)
            found += installs_of(task)
        assert [entry for entries in found for entry in entries] == log


# When it cannot be done.


def test_log_that_is_compacted_away_everywhere_fails_the_sync() -> None:
    log = long_log(100)
    metadata = SnapshotMetadata(40, log[39].term, voters_of(1, 2))
    world = World(SMALL, [log[40:], log[40:]], marks=[metadata, metadata])
    world.run()
    assert isinstance(world.ended, StateSyncFailed)
    assert "entry 1 is compacted away" in world.ended.reason
    assert world.now < 5


def test_one_peer_that_kept_the_beginning_is_enough() -> None:
    log = long_log(100)
    metadata = SnapshotMetadata(40, log[39].term, voters_of(1, 2))
    world = World(SMALL, [log[40:], log[40:], log], marks=[metadata, metadata, None])
    world.run()
    assert (world.ended, world.applied) == (StateSyncFinished(), log)
    assert world.servers[3].entries_served >= 40


def test_silence_for_long_fails_the_sync() -> None:
    log = long_log(100)
    world = World(SMALL, [log, log], loss=1.0)
    world.run()
    assert isinstance(world.ended, StateSyncFailed)
    assert "nobody served entry 1" in world.ended.reason


def test_nobody_to_ask_fails_the_sync_in_the_end() -> None:
    world = World(SMALL, [])
    world.leader = None
    world.run()
    assert isinstance(world.ended, StateSyncFailed)


def test_disk_that_takes_long_is_no_failure() -> None:
    log = long_log(100)
    world = World(SMALL, [log])
    world.install_delay_s = 100.0
    world.run(until_s=10_000)
    assert (world.ended, world.applied) == (StateSyncFinished(), log)


# Lies.


def other_first(answer: Answer) -> Answer:
    if isinstance(answer, EntryRange) and len(answer.entries) > 1:
        return EntryRange(
            answer.number, 1, answer.commit_index, answer.prev_term, answer.entries[1:]
        )
    return answer


def with_gap(answer: Answer) -> Answer:
    if isinstance(answer, EntryRange) and len(answer.entries) > 2:
        entries = (*answer.entries[:1], *answer.entries[2:])
        return EntryRange(answer.number, 1, answer.commit_index, answer.prev_term, entries)
    return answer


def with_falling_terms(answer: Answer) -> Answer:
    if isinstance(answer, EntryRange) and len(answer.entries) > 1:
        first = answer.entries[0]
        entries = (Entry(first.index, 1 << 40, first.kind), *answer.entries[1:])
        return EntryRange(answer.number, 1, answer.commit_index, answer.prev_term, entries)
    return answer


def with_other_seam(answer: Answer) -> Answer:
    if isinstance(answer, EntryRange) and answer.prev_term > 1:
        return EntryRange(answer.number, 1, answer.commit_index, 1, answer.entries)
    return answer


def with_too_many(answer: Answer) -> Answer:
    if isinstance(answer, EntryRange) and answer.entries:
        last = answer.entries[-1]
        more = tuple(Entry(last.index + n, last.term, EntryKind.NOOP) for n in range(1, 30))
        return EntryRange(
            answer.number, 1, last.index + 29, answer.prev_term, answer.entries + more
        )
    return answer


def with_uncommitted(answer: Answer) -> Answer:
    if isinstance(answer, EntryRange) and answer.entries:
        return EntryRange(answer.number, 1, 1, answer.prev_term, answer.entries)
    return answer


def of_another_kind(answer: Answer) -> Answer:
    return NotHere(answer.number)


def garbage(answer: Answer) -> bytes:
    return b"\x93\xa7garbage"


@pytest.mark.parametrize(
    "lie",
    [
        other_first,
        with_gap,
        with_falling_terms,
        with_other_seam,
        with_too_many,
        with_uncommitted,
        of_another_kind,
        garbage,
    ],
)
def test_wrong_answers_are_dropped_and_others_are_asked(lie: object) -> None:
    log = long_log(1000, term_every=7)
    world = World(SMALL, [log, log, log], leader=1)
    world.servers[2].lie = lie  # type: ignore[assignment]
    world.run()
    assert (world.ended, world.applied) == (StateSyncFinished(), log)
    assert isinstance(world.task, LogReplayTask)
    if lie is not of_another_kind:
        assert strike_count(world.task._plan) > 0


def test_own_log_decides_who_lies_at_its_end() -> None:
    """Only the term before the first entry is wrong; the log here knows better."""
    log = long_log(40, term_every=5)
    world = World(SMALL, [log, log], own=log[:20], leader=None)
    world.servers[1].lie = with_other_seam
    world.run()
    assert (world.ended, world.applied) == (StateSyncFinished(), log)


def test_entries_that_do_not_follow_the_own_log_are_not_handed_out() -> None:
    log = log_of(1, 1, 2, 2)
    task = LogReplayTask(context_of(log[:2]), batch_size=10, fetch_timeout=5.0)
    task.update_holders({peer(1): Holder(1, 4)}, None, now=0.0)
    answer = EntryRange(requests_of(task)[1].number, 1, 4, 2, tuple(log[2:]))
    task.receive_message(peer(1), encode_message(answer), now=0.1)
    assert installs_of(task) == []
    assert strike_count(task._plan) == 1


def test_answers_that_contradict_each_other_are_both_fetched_again() -> None:
    mine = context()
    task = LogReplayTask(mine, batch_size=10, fetch_timeout=5.0)
    task.update_holders({peer(1): Holder(1, 20), peer(2): Holder(1, 20)}, None, now=0.0)
    asked = requests_of(task)
    assert [(ask.first_index, ask.entry_count) for ask in asked.values()] == [(1, 10), (11, 10)]
    honest, other = log_of(*[1] * 20), log_of(*[2] * 20)
    late = EntryRange(asked[2].number, 1, 20, 1, tuple(honest[10:]))
    task.receive_message(peer(2), encode_message(late), now=0.1)
    lie = EntryRange(asked[1].number, 1, 20, 0, tuple(other[:10]))
    task.receive_message(peer(1), encode_message(lie), now=0.1)
    assert strike_count(task._plan) == 2
    assert not requests_of(task)
    assert task._bytes_held == 0
    now = task.get_timer()
    assert now is not None
    task.handle_timer(now=now)
    again = requests_of(task)
    assert sorted(ask.first_index for ask in again.values()) == [1, 11]


def test_entries_that_the_caller_refuses_are_fetched_from_others() -> None:
    task = LogReplayTask(context(), batch_size=10, fetch_timeout=5.0)
    task.update_holders({peer(1): Holder(1, 10)}, None, now=0.0)
    asked = requests_of(task)
    answer = EntryRange(asked[1].number, 1, 10, 0, tuple(log_of(*[1] * 10)))
    task.receive_message(peer(1), encode_message(answer), now=0.1)
    assert isinstance(task.next_event(), InstallEntries)
    task.update_holders({peer(1): Holder(1, 10), peer(2): Holder(1, 10)}, None, now=0.2)
    task.installed(0, now=0.3)
    assert list(requests_of(task)) == [2]
    assert strike_count(task._plan) == 1


def test_stale_answers_and_those_of_strangers_are_ignored() -> None:
    task = LogReplayTask(context(), batch_size=10, fetch_timeout=5.0)
    task.update_holders({peer(1): Holder(1, 10)}, None, now=0.0)
    number = requests_of(task)[1].number
    entries = tuple(log_of(*[1] * 10))
    for sender, wrong in ((peer(1), number + 1), (peer(1), number - 1), (peer(9), number)):
        answer = EntryRange(wrong, 1, 10, 0, entries)
        task.receive_message(sender, encode_message(answer), now=0.1)
    assert task.next_event() is None


def test_task_that_has_ended_ignores_everything() -> None:
    log = long_log(20)
    world = World(SMALL, [log])
    world.run()
    world.task.receive_message(peer(1), encode_message(NotHere(1)), now=1.0)
    world.tell_holders()
    world.task.handle_timer(now=1e6)
    world.task.installed(99, now=1e6)
    assert world.task.get_timer() is None
    assert world.task.next_event() is None


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=200))
def test_hostile_bytes_are_refused_and_nothing_else_happens(data: bytes) -> None:
    task = LogReplayTask(context(), batch_size=10, fetch_timeout=5.0)
    task.update_holders({peer(1): Holder(1, 10)}, None, now=0.0)
    provider = LogProvider(context())
    for receive in (task.receive_message, provider.receive_message):
        with suppress(RemoteError):
            receive(peer(1), data, now=0.1)


# Limits.


def test_memory_is_bounded_while_installing_takes_long() -> None:
    log = [Entry(n, 1, EntryKind.COMMANDS, bytes(200_000)) for n in range(1, 601)]
    world = World(LogReplaySync(batch_size=50, fetch_timeout=60.0), [log] * 4, leader=None)
    assert isinstance(world.task, LogReplayTask)
    task = world.task
    seen: list[int] = []
    world.after_step = lambda: seen.append(task._bytes_held)
    world.install_delay_s = 2.0
    world.run()
    assert (world.ended, world.own.commit_index) == (StateSyncFinished(), 600)
    assert BUFFER_BYTES / 2 < max(seen) <= BUFFER_BYTES
    # Nothing was fetched that there was no room for.
    assert sum(server.entries_served for server in world.servers.values()) == 600


def test_installs_are_portioned() -> None:
    log = [Entry(n, 1, EntryKind.COMMANDS, bytes(100_000)) for n in range(1, 201)]
    world = World(LogReplaySync(batch_size=5), [log] * 3, leader=None)
    sizes: list[int] = []
    install = world._install

    def watch(entries: tuple[Entry, ...]) -> None:
        sizes.append(sum(map(cost_of, entries)))
        install(entries)

    world._install = watch  # type: ignore[method-assign]
    world.install_delay_s = 0.5
    world.run()
    assert world.own.commit_index == 200
    assert INSTALL_BYTES / 2 < max(sizes) <= INSTALL_BYTES


def test_one_entry_as_large_as_can_be_still_fits() -> None:
    log = [
        Entry(1, 1, EntryKind.COMMANDS, bytes(100)),
        Entry(2, 1, EntryKind.COMMANDS, bytes(14 * 1024 * 1024)),
        Entry(3, 1, EntryKind.COMMANDS, bytes(100)),
    ]
    world = World(LogReplaySync(), [log, log])
    world.run()
    assert world.applied == log


def test_answers_are_bounded() -> None:
    log = [Entry(n, 1, EntryKind.COMMANDS, bytes(10_000)) for n in range(1, 201)]
    provider = LogProvider(context_of(log))
    provider.receive_message(peer(1), encode_message(FetchEntries(7, 1, 32_768)), now=0.0)
    event = provider.next_event()
    assert isinstance(event, SendSync)
    assert ANSWER_BYTES * 0.9 < len(event.data) < ANSWER_BYTES * 1.1
    answer = decode_answer(event.data)
    assert isinstance(answer, EntryRange)
    assert (answer.first_index, answer.commit_index) == (1, 200)


def test_answer_with_more_bytes_than_it_may_have_is_refused() -> None:
    log = [Entry(n, 1, EntryKind.COMMANDS, bytes(100_000)) for n in range(1, 20)]
    with pytest.raises(DecodeError, match="bytes"):
        decode_answer(encode_message(EntryRange(1, 1, 19, 0, tuple(log))))


# In any order, with anything going wrong.


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1 << 32))
def test_whatever_happens_the_log_is_the_same_in_the_end(seed: int) -> None:
    rng = Random(seed)
    log = long_log(rng.randint(50, 600), term_every=rng.randint(1, 40))
    server_count = rng.randint(2, 5)
    lags = [rng.choice([0, 0, rng.randint(0, 40)]) for _ in range(server_count - 1)]
    world = World(
        LogReplaySync(batch_size=rng.randint(1, 40), fetch_timeout=rng.uniform(0.5, 3)),
        [log, *(log[: len(log) - lag] for lag in lags)],
        leader=1,
        seed=seed,
        loss=rng.choice([0.0, 0.1, 0.3]),
        own=log[: rng.choice([0, 0, rng.randint(0, 49)])],
    )
    # The faults end, and then it must come to a good end.
    world.at(10.0, world.repair)
    world.install_delay_s = rng.choice([0.0, 0.1])
    for server in world.servers.values():
        server.delay_s = rng.choice([0.001, 0.05, 0.5])
    if server_count > 2 and rng.random() < 0.5:
        lies = [with_gap, with_falling_terms, with_too_many, garbage]
        world.servers[2].lie = rng.choice(lies)
    victim = rng.randint(2, server_count)
    if rng.random() < 0.5:
        dies_s = rng.uniform(0, 1)
        world.at(dies_s, lambda: world.kill(victim))
        world.at(dies_s + rng.uniform(0, 3), lambda: world.revive(victim))
    world.run()
    assert world.ended == StateSyncFinished(), seed
    assert world.applied == log[len(log) - len(world.applied) :]
    assert world.own.commit_index == len(log)
    assert world.own.entries(1, count_max=10_000, bytes_max=1 << 30) == tuple(log)


# Speed.


@pytest.mark.parametrize("commands_per_entry", [1, 256])
def test_hundred_thousand_commands_take_far_less_than_a_second(commands_per_entry: int) -> None:
    """CPU time of both cores, with everything encoded and decoded."""
    payloads = (bytes(50),) * commands_per_entry
    log = [
        Entry(
            n,
            1,
            EntryKind.COMMANDS,
            encode_command_batches([CommandBatch(bytes(16), 0, n, 0, payloads)]),
        )
        for n in range(1, 100_000 // commands_per_entry + 1)
    ]
    best_s = min(seconds_to_pass(log) for _ in range(3))
    assert best_s < 0.6


def seconds_to_pass(log: list[Entry]) -> float:
    raft = make_raft(1, log)
    sync = LogReplaySync()
    providers = {peer(n): sync.provider(context_of(log, raft=raft)) for n in (1, 2)}
    task = sync.requester(context())
    began_s = process_time()
    task.update_holders({p: Holder(1, len(log)) for p in providers}, peer(1), now=0.0)
    received = 0
    while (event := task.next_event()) != StateSyncFinished():
        if isinstance(event, InstallEntries):
            received += len(event.entries)
            task.installed(event.entries[-1].index, now=0.0)
        elif isinstance(event, SendSync):
            provider = providers[event.peer]
            provider.receive_message(peer(0), event.data, now=0.0)
            answer = provider.next_event()
            assert isinstance(answer, SendSync)
            task.receive_message(event.peer, answer.data, now=0.0)
        else:
            assert event is not None
    passed_s = process_time() - began_s
    assert received == len(log)
    return passed_s


# Helpers.


def context() -> SyncContext:
    return context_of([])


def context_of(log: list[Entry], raft: object = None) -> SyncContext:
    return SyncContext(
        me=peer(0),
        log=raft or make_raft(0, log),  # type: ignore[arg-type]
        rng=Random(1),
        now=0.0,
        is_leader=lambda: False,
        next_index=len(log) + 1,
    )


def installs_of(task: LogReplayTask) -> list[tuple[Entry, ...]]:
    """Return what the task has installed now; leave nothing else but the end."""
    found = []
    while isinstance(event := task.next_event(), InstallEntries | SendSync):
        if isinstance(event, InstallEntries):
            found.append(event.entries)
    assert event is None
    return found


def requests_of(task: LogReplayTask) -> dict[int, FetchEntries]:
    """Return what the task asks now, by the number of the peer; leave nothing else."""
    asked = {}
    while (event := task.next_event()) is not None:
        if isinstance(event, SendSync):
            request = decode_request(event.data)
            assert isinstance(request, FetchEntries)
            asked[bytes(event.peer)[0] - 1] = request
    return asked
