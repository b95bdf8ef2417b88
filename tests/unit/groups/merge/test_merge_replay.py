"""What was applied in a history, read off its log."""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.msgpack import decode, encode

from mosaik_actors.groups.machine.ledger import Ledger
from mosaik_actors.groups.machine.sessions import Refusal, SessionLimits, Sessions
from mosaik_actors.groups.merge.replay import (
    BORN_LATEST,
    CHUNK_BYTES,
    CHUNK_COMMANDS,
    SLICE_ENTRIES,
    ReplayStream,
    is_whole,
    merged_commands,
)
from mosaik_actors.groups.wire.commands import (
    CommandBatch,
    decode_command_batches,
    encode_command_batches,
    join_commands,
)
from mosaik_actors.groups.wire.raft import ENTRY_BYTES_MAX
from mosaik_actors.groups.wire.records import Entry, EntryKind
from mosaik_actors.groups.wire.status import Ancestor
from mosaik_actors.groups.wire.system_entries import (
    AcceptMerge,
    CloseInto,
    ContinueAs,
    FinishMerge,
    Replay,
    SystemEntry,
    decode_system_entry,
    encode_system_entry,
)

OWN, ONE, WINNER, THIRD = (bytes([number]) * 16 for number in range(1, 5))
ALICE, BOB = b"a" * 16, b"b" * 16


class Log:
    """A committed log, perhaps without its beginning."""

    def __init__(
        self, *contents: SystemEntry | list[CommandBatch] | bytes, first_index: int = 1
    ) -> None:
        self.first_index = first_index
        self.all: list[Entry] = []
        for content in contents:
            self.add(content)

    def add(self, content: SystemEntry | list[CommandBatch] | bytes) -> None:
        index = len(self.all) + 1
        if isinstance(content, bytes):
            self.all.append(Entry(index, 1, EntryKind.COMMANDS, content))
        elif isinstance(content, list):
            self.all.append(Entry(index, 1, EntryKind.COMMANDS, encode_command_batches(content)))
        else:
            self.all.append(Entry(index, 1, EntryKind.SYSTEM, encode_system_entry(content)))

    @property
    def commit_index(self) -> int:
        return len(self.all)

    def term_at(self, index: int) -> int | None:
        raise NotImplementedError("terms are not looked at")

    def entries(self, first_index: int, *, count_max: int, bytes_max: int) -> tuple[Entry, ...]:
        if first_index < self.first_index:
            return ()
        return tuple(self.all[first_index - 1 :][:count_max])


def command_batch(
    first: int, *payloads: bytes, client: bytes = ALICE, answered: int = 0, born: int = 0
) -> CommandBatch:
    return CommandBatch(client, born, first, answered, payloads)


def acts_of(log: Log, *, skip: int = 0, limits: SessionLimits | None = None) -> list[Replay]:
    return taken_of(ReplayStream(OWN, log, limits, skip_count=skip))


def read_all(stream: ReplayStream) -> None:
    """Read as far as the log goes."""
    while stream.has_more:
        stream.read()


def merged_in(log: Log, *, ancestors: Sequence[Ancestor] = ()) -> list[bytes]:
    return list(chain.from_iterable(merged_commands(OWN, log, ancestors=ancestors)))


def taken_of(stream: ReplayStream) -> list[Replay]:
    """Return what is in a log, as far as it goes."""
    read_all(stream)
    return list(iter(stream.take, None))


def payloads_of(system_entries: Sequence[Replay]) -> list[bytes]:
    return [
        payload
        for system_entry in system_entries
        for command_batch in system_entry.command_batches
        for payload in command_batch.payloads
    ]


def commands_of(payloads: Iterable[bytes]) -> list[bytes]:
    """Return the commands in payloads, where some have several."""
    return [
        command
        for payload in payloads
        for command in (decode(payload[1:]) if payload.startswith(b"\0") else [payload])
    ]


def payload_of(client: bytes, number: int) -> bytes:
    """Return a client's payload of that number, of one command or more."""
    commands = [client[:1] + bytes([number, n]) for n in range(1 + number % 3)]
    return join_commands(b"\0", list(map(encode, commands)))


def test_only_what_was_applied_is_replayed() -> None:
    """Not a repetition, not what came too early, not what came after the end."""
    log = Log(
        [command_batch(1, b"1", b"2")],
        [command_batch(2, b"2", b"3")],
        [command_batch(9, b"9")],
        [command_batch(1, b"b1", client=BOB), command_batch(4, b"4")],
        CloseInto(WINNER),
        [command_batch(5, b"5")],
    )
    system_entries = acts_of(log)
    assert payloads_of(system_entries) == [b"1", b"2", b"3", b"b1", b"4"]
    assert [
        (b.client, b.first_sequence)
        for system_entry in system_entries
        for b in system_entry.command_batches
    ] == [
        (ALICE, 1),
        (ALICE, 3),
        (BOB, 1),
        (ALICE, 4),
    ]


def test_replayed_commands_are_never_expired() -> None:
    (system_entry,) = acts_of(Log([command_batch(1, b"1", born=0)], CloseInto(WINNER)))
    assert [b.born_index for b in system_entry.command_batches] == [BORN_LATEST]


def test_act_with_the_latest_birth_can_be_encoded() -> None:
    (system_entry,) = acts_of(Log([command_batch(1, b"1")], CloseInto(WINNER)))
    assert len(encode_system_entry(system_entry)) < 100


def test_end_says_how_much_there_was() -> None:
    log = Log([command_batch(1, b"1", b"2")], FinishMerge(ONE, 0), CloseInto(WINNER))
    stream = ReplayStream(OWN, log)
    read_all(stream)
    assert stream.is_at_end
    assert stream.finish() == FinishMerge(OWN, 2, (ONE,))


def test_void_close_does_not_end_a_history() -> None:
    log = Log(
        AcceptMerge(ONE), CloseInto(WINNER, 0), [command_batch(1, b"1")], CloseInto(WINNER, 1)
    )
    assert payloads_of(acts_of(log)) == [b"1"]


def test_commands_of_an_earlier_merging_history_keep_their_origin() -> None:
    merging_history = command_batch(1, b"g1", b"g2", b"g3", client=BOB, born=BORN_LATEST)
    log = Log(
        [command_batch(1, b"1")],
        Replay(ONE, (merging_history,), 0),
        [command_batch(2, b"2")],
        Replay(ONE, (merging_history,), 0),
        CloseInto(WINNER),
    )
    system_entries = acts_of(log)
    assert [
        (system_entry.after, system_entry.origin, system_entry.origin_after, system_entry.holder)
        for system_entry in system_entries
    ] == [
        (0, b"", 0, b""),
        (1, ONE, 0, ONE),
        (4, b"", 1, b""),
    ]
    assert payloads_of(system_entries) == [b"1", b"g1", b"g2", b"g3", b"2"]


def test_holder_stays_the_first_that_was_merged() -> None:
    """It went into one that went into this one, and had continued the one of origin."""
    replays = [
        Replay(ONE, (command_batch(n, b"%d" % n, client=BOB),), n - 1, WINNER, n - 1, holder)
        for n, holder in enumerate((THIRD, THIRD, b"", WINNER), 1)
    ]
    assert [
        (system_entry.origin, system_entry.holder, payloads_of([system_entry]))
        for system_entry in acts_of(Log(*replays, CloseInto(WINNER)))
    ] == [
        (WINNER, THIRD, [b"1", b"2"]),
        (WINNER, ONE, [b"3"]),
        (WINNER, WINNER, [b"4"]),
    ]


def test_only_the_new_part_of_an_earlier_replay_counts() -> None:
    first = command_batch(1, b"g1", b"g2", client=BOB, born=BORN_LATEST)
    again = command_batch(2, b"g2", b"g3", client=BOB, born=BORN_LATEST)
    log = Log(Replay(ONE, (first,), 0), Replay(ONE, (again,), 1, b"", 1), CloseInto(WINNER))
    system_entries = acts_of(log)
    assert payloads_of(system_entries) == [b"g1", b"g2", b"g3"]
    assert [(system_entry.after, system_entry.origin_after) for system_entry in system_entries] == [
        (0, 0)
    ]


def test_what_is_there_already_is_skipped() -> None:
    log = Log([command_batch(1, b"1", b"2", b"3")], [command_batch(4, b"4")], CloseInto(WINNER))
    system_entries = acts_of(log, skip=2)
    assert payloads_of(system_entries) == [b"3", b"4"]
    assert (
        system_entries[0].after,
        system_entries[0].origin_after,
        system_entries[0].command_batches[0].first_sequence,
    ) == (2, 2, 3)
    assert acts_of(log, skip=4) == []


def test_log_is_read_in_slices() -> None:
    log = Log(
        *([command_batch(n, b"x")] for n in range(1, 2 * SLICE_ENTRIES + 1)), CloseInto(WINNER)
    )
    stream = ReplayStream(OWN, log)
    turns = 0
    while stream.has_more:
        stream.read()
        turns += 1
    assert turns == 3
    assert len(payloads_of(taken_of(stream))) == 2 * SLICE_ENTRIES


def test_log_that_was_cut_cannot_be_replayed() -> None:
    log = Log([command_batch(1, b"1")], CloseInto(WINNER), first_index=2)
    assert not is_whole(log)
    stream = ReplayStream(OWN, log)
    read_all(stream)
    assert stream.is_compacted
    assert not stream.is_at_end
    assert merged_in(log) == []


def test_log_that_is_cut_while_it_is_read_is_given_up() -> None:
    log = Log(*([command_batch(n, b"x")] for n in range(1, 200)), CloseInto(WINNER))
    stream = ReplayStream(OWN, log)
    stream.read()
    log.first_index = 150
    read_all(stream)
    assert stream.is_compacted
    assert not stream.is_at_end


def test_acts_stay_small() -> None:
    large = [command_batch(n, bytes(CHUNK_BYTES // 3)) for n in range(1, 8)]
    many = command_batch(1, *([b"x"] * (2 * CHUNK_COMMANDS + 5)), client=BOB)
    log = Log(*([one] for one in large), [many], CloseInto(WINNER))
    system_entries = acts_of(log)
    assert all(
        len(encode_system_entry(system_entry)) <= CHUNK_BYTES for system_entry in system_entries
    )
    assert all(system_entry.command_count <= CHUNK_COMMANDS for system_entry in system_entries)
    assert len(payloads_of(system_entries)) == 7 + 2 * CHUNK_COMMANDS + 5
    assert [system_entry.after for system_entry in system_entries] == _sums(
        system_entry.command_count for system_entry in system_entries
    )


def test_command_larger_than_an_act_should_be_goes_alone() -> None:
    huge = bytes(ENTRY_BYTES_MAX - 1024)
    system_entries = acts_of(Log([command_batch(1, b"1", huge, b"3")], CloseInto(WINNER)))
    assert [system_entry.command_count for system_entry in system_entries] == [1, 1, 1]
    assert len(encode_system_entry(system_entries[1])) <= ENTRY_BYTES_MAX


def test_entries_that_nobody_can_read_are_void() -> None:
    log = Log(b"no command batches", [command_batch(1, b"1")])
    log.all.append(Entry(3, 1, EntryKind.SYSTEM, b"no system entry"))
    log.all.append(Entry(4, 1, EntryKind.NOOP))
    log.add(CloseInto(WINNER))
    assert payloads_of(acts_of(log)) == [b"1"]


def test_user_sees_which_commands_were_merged() -> None:
    merging_history = command_batch(1, b"g", client=BOB, born=BORN_LATEST)
    log = Log([command_batch(1, b"1", b"2")], Replay(ONE, (merging_history,), 0))
    assert merged_in(log) == [b"1", b"2", b"g"]


def test_results_that_were_said_to_be_known_leave_the_same_room() -> None:
    """A command batch that only repeats says how far the client knows; the room it made counts."""
    limits = SessionLimits(result_count=2)
    log = Log(
        [command_batch(1, b"1", b"2")],
        [command_batch(2, b"2", answered=2)],
        [command_batch(3, b"3", b"4")],
        CloseInto(WINNER),
    )
    system_entries = acts_of(log, limits=limits)
    assert payloads_of(system_entries) == [b"1", b"2", b"3", b"4"]
    assert _replayed(system_entries, limits) == [b"1", b"2", b"3", b"4"]


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 1 << 32))
def test_replay_gives_the_state_that_the_members_had(seed: int) -> None:
    """Random command batches, some repeated, with merging histories; in pieces and twice."""
    rng = Random(seed)
    limits = SessionLimits(result_count=rng.choice((3, 65_536)))
    log = _random_log(rng)
    applied = _applied(log, limits)
    system_entries = acts_of(log, limits=limits)
    assert commands_of(payloads_of(system_entries)) == applied
    if limits == SessionLimits():
        assert commands_of(merged_in(log)) == applied
    ledger, sessions, state = Ledger(WINNER), Sessions(limits), list[bytes]()
    index = 0
    while ledger.taken_of(OWN) < len(applied):
        # A run is given up somewhere; the next one begins where the ledger is, or before.
        skip = max(0, ledger.taken_of(OWN) - rng.randint(0, 3))
        for system_entry in acts_of(log, skip=skip, limits=limits)[: rng.randint(1, 4)]:
            index += 1
            _apply(ledger, sessions, system_entry, index, state)
    assert state == applied
    stream = ReplayStream(OWN, log, limits)
    read_all(stream)
    assert ledger.apply(stream.finish()) is not None


def _random_log(rng: Random) -> Log:
    clients = [bytes([n]) * 16 for n in range(3)]
    sent = dict.fromkeys(clients, 0)
    log, merging_history_count = Log(), 0
    for _ in range(rng.randint(0, 40)):
        client = rng.choice(clients)
        first = max(1, sent[client] + 1 + rng.choice((0, 0, 0, -2, 1)))
        length = rng.randint(1, 4)
        payloads = tuple(payload_of(client, first + n) for n in range(length))
        answered = rng.randint(0, max(0, first - 1))
        log.add([CommandBatch(client, len(log.all), first, answered, payloads)])
        if first <= sent[client] + 1:
            sent[client] = max(sent[client], first + length - 1)
        if rng.random() < 0.2:
            payloads = tuple(
                b"g%d" % n for n in range(merging_history_count + 1, merging_history_count + 4)
            )
            command_batch_ = CommandBatch(
                BOB, BORN_LATEST, merging_history_count + 1, merging_history_count, payloads
            )
            log.add(
                Replay(ONE, (command_batch_,), merging_history_count, ONE, merging_history_count)
            )
            merging_history_count += 3
    log.add(CloseInto(WINNER))
    log.add([command_batch(1, b"late")])
    return log


def _applied(log: Log, limits: SessionLimits) -> list[bytes]:
    """Apply a log as a member does."""
    ledger, sessions, state = Ledger(OWN), Sessions(limits), list[bytes]()
    for entry in log.all:
        if entry.kind is EntryKind.SYSTEM:
            _apply(ledger, sessions, decode_system_entry(entry.data), entry.index, state)
        elif not ledger.closed_into:
            for one in decode_command_batches(entry.data):
                sessions.apply(one, entry.index, _into(state))
    return state


def _replayed(system_entries: Sequence[Replay], limits: SessionLimits) -> list[bytes]:
    ledger, sessions, state = Ledger(WINNER), Sessions(limits), list[bytes]()
    for index, system_entry in enumerate(system_entries, 1):
        _apply(ledger, sessions, system_entry, index, state)
    return state


def _apply(
    ledger: Ledger, sessions: Sessions, system_entry: SystemEntry, index: int, state: list[bytes]
) -> None:
    for one in ledger.apply(system_entry) or ():
        answers = sessions.apply(one, index, _into(state))
        assert all(answer.refusal is Refusal.NONE for answer in answers)


def _into(state: list[bytes]) -> Callable[[Sequence[bytes]], list[bytes | None]]:
    def take(payloads: Sequence[bytes]) -> list[bytes | None]:
        state.extend(commands_of(payloads))
        return [None] * len(payloads)

    return take


def _sums(counts: Iterable[int]) -> list[int]:
    sums, total = [], 0
    for count in counts:
        sums.append(total)
        total += count
    return sums


def test_commands_of_a_continued_history_keep_their_origin() -> None:
    """Those up to where it was continued, within one batch as well; what it had taken in, too."""
    log = Log(
        [command_batch(1, b"a1", b"a2", b"a3")],
        Replay(WINNER, (command_batch(1, b"b1", client=BOB),)),
        # What is not known to be committed there is of the history that goes on.
        [command_batch(4, b"a4", b"a5")],
        ContinueAs(ONE, OWN, 3, 5, 4, 5),
        [command_batch(6, b"a6")],
    )
    ancestors = (Ancestor(ONE, 3, 5, 4),)
    stream = ReplayStream(OWN, log, ancestors=ancestors)
    system_entries = taken_of(stream)
    assert [
        (
            system_entry.origin,
            system_entry.holder,
            system_entry.after,
            system_entry.origin_after,
            payloads_of([system_entry]),
        )
        for system_entry in system_entries
    ] == [
        (ONE, b"", 0, 0, [b"a1", b"a2", b"a3"]),
        (WINNER, WINNER, 3, 0, [b"b1"]),
        (ONE, b"", 4, 3, [b"a4"]),
        (b"", b"", 5, 4, [b"a5", b"a6"]),
    ]
    assert merged_in(log, ancestors=ancestors) == payloads_of(system_entries)


def test_history_may_go_on_within_a_payload() -> None:
    """Whoever says so lies, for a payload is applied whole: all are told the same by it."""
    payload = join_commands(b"\0", [b"\1", b"\2", b"\3"])
    log = Log([command_batch(1, b"a", payload, b"b")], CloseInto(WINNER))
    stream = ReplayStream(OWN, log, ancestors=(Ancestor(ONE, 1, 2, 2),))
    system_entries = taken_of(stream)
    assert [one.command_count for one in system_entries] == [2, 3]
    numbers = [
        (batch.first_sequence, len(batch.payloads))
        for one in system_entries
        for batch in one.command_batches
    ]
    assert numbers == [(1, 2), (2, 2)]
    assert stream.finish().command_count == 5


def test_log_is_read_as_it_was_applied_by_the_history_it_then_was() -> None:
    """What came back to a history that another one continues later was void, and stays so."""
    back = Replay(WINNER, (command_batch(1, b"a1"),), origin=ONE)
    log = Log(
        [command_batch(1, b"a1")], back, ContinueAs(ONE, OWN, 2, 1, 1, 1), [command_batch(2, b"a2")]
    )
    stream = ReplayStream(OWN, log, ancestors=(Ancestor(ONE, 2, 1, 1),))
    assert payloads_of(taken_of(stream)) == [b"a1", b"a2"]
