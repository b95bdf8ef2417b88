"""The host of a machine: applying the committed log, alike on every member."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors.codec import EncodeError
from mosaik_actors.errors import ConfigError, DecodeError
from mosaik_actors.groups.machine.host import SNAPSHOTS_KEPT, Host, Replayed
from mosaik_actors.groups.machine.ledger import Ledger
from mosaik_actors.groups.machine.machine import NoOp, StateMachine
from mosaik_actors.groups.machine.payloads import encode_position
from mosaik_actors.groups.machine.runner import MachineFailed
from mosaik_actors.groups.machine.sessions import CommandAnswer, Refusal, SessionLimits, Sessions
from mosaik_actors.groups.machine.snapshot import Header, SnapshotError
from mosaik_actors.groups.wire.commands import CommandBatch, encode_command_batches
from mosaik_actors.groups.wire.records import Entry, EntryKind
from mosaik_actors.groups.wire.system_entries import (
    AcceptMerge,
    CloseInto,
    FinishMerge,
    Replay,
    SystemEntry,
    TakeSnapshot,
    encode_system_entry,
)

from ..host_machines import (
    HISTORY,
    MERGING_HISTORY,
    WINNER,
    BatchDiary,
    Diary,
    Fail,
    Put,
    Replayer,
    host_of,
)

ME, OTHER = b"m" * 16, b"o" * 16
REQUEST = b"r" * 16


def payloads(host: Host, *texts: str) -> tuple[bytes, ...]:
    """Return a payload for each command, as of calls with one command."""
    return tuple(payload for text in texts for payload in host.codec.encode([Put(text)]))


def command_batch(payloads: Sequence[bytes], first: int = 1, client: bytes = ME) -> CommandBatch:
    return CommandBatch(client, 0, first, 0, tuple(payloads))


def commands(index: int, *command_batches: CommandBatch, term: int = 1) -> Entry:
    return Entry(index, term, EntryKind.COMMANDS, encode_command_batches(command_batches))


def system_entry(index: int, content: SystemEntry, term: int = 1) -> Entry:
    return Entry(index, term, EntryKind.SYSTEM, encode_system_entry(content))


def answer(sequence: int, position: int, *, is_repeated: bool = False) -> CommandAnswer:
    return CommandAnswer(sequence, encode_position(position), is_repeated=is_repeated)


def take_in(host: Host, parts: Sequence[bytes]) -> None:
    for _ in host.restore(parts):
        pass


# Commands.


def test_commands_are_applied_in_order_and_mine_are_answered_with_positions() -> None:
    host = host_of(Diary())
    applied = host.apply(
        [
            Entry(1, 1, EntryKind.NOOP),
            commands(
                2,
                command_batch(payloads(host, "a", "b")),
                command_batch(payloads(host, "x"), client=OTHER),
            ),
            commands(3, command_batch(payloads(host, "c"), first=3), term=2),
        ],
        ME,
        3,
    )
    assert applied.answers == [answer(1, 1), answer(2, 2), answer(3, 4)]
    assert (host.index, host.position) == (3, 4)
    assert host.machine.lines == ["1 2 1 3 a", "2 2 1 3 b", "3 2 1 3 x", "4 3 2 4 c"]  # type: ignore[attr-defined]


def test_entries_without_commands_move_only_the_index() -> None:
    host = host_of(Diary())
    entries = [Entry(1, 1, EntryKind.NOOP), Entry(2, 1, EntryKind.CONFIGURATION, b"any")]
    host.apply(entries, ME, 9)
    assert (host.index, host.position) == (2, 0)
    host.apply([], ME, 9)
    assert host.index == 2


def test_repeated_command_is_answered_with_its_first_position() -> None:
    host = host_of(Diary())
    twice = command_batch(payloads(host, "a"))
    applied = host.apply([commands(1, twice), commands(2, twice)], ME, 2)
    assert applied.answers == [answer(1, 1), answer(1, 1, is_repeated=True)]
    assert host.position == 1


def test_machine_with_batches_gets_a_run_across_entries_in_one_call() -> None:
    machine = BatchDiary()
    host = host_of(machine)
    entries = [
        commands(
            1, command_batch(payloads(host, "a")), command_batch(payloads(host, "x"), client=OTHER)
        ),
        Entry(2, 2, EntryKind.NOOP),
        commands(3, command_batch(payloads(host, "b", "c"), first=2), term=2),
    ]
    host.apply(entries, ME, 3)
    assert machine.batches == [4]
    assert machine.lines == ["1 a", "2 x", "3 b", "4 c"]


def test_very_long_run_is_cut() -> None:
    machine = BatchDiary()
    host = host_of(machine)
    texts = ["x"] * 5000
    entries = [
        commands(n + 1, command_batch(payloads(host, *texts), first=1 + n * 5000)) for n in range(3)
    ]
    host.apply(entries, ME, 3)
    assert machine.batches == [10_000, 5000]


@pytest.mark.parametrize("bad", [b"", b"\x00\x91\x01", b"\xff" * 9])
@pytest.mark.parametrize("kind", [Diary, BatchDiary])
def test_command_that_could_not_be_decoded_ends_the_member(kind: Any, bad: bytes) -> None:
    """What comes before it is applied, and nothing after it."""
    machine = kind()
    host = host_of(machine)
    good = payloads(host, "a", "b")
    entries = [
        commands(1, command_batch((good[0], bad, good[1]))),
        commands(2, command_batch(good, first=4)),
    ]
    with pytest.raises(MachineFailed, match="committed command 2 could not be decoded at entry 1"):
        host.apply(entries, ME, 2)
    assert [line.split()[-1] for line in machine.lines] == ["a"]
    with pytest.raises(MachineFailed):
        host.apply([], ME, 2)
    for some in (good, (good[0], bad)):  # what a leader asks before such a thing is committed
        expected = nullcontext() if some is good else pytest.raises(DecodeError)
        with expected:
            host_of(kind()).check_readable(some)


def test_two_broken_payloads_are_not_read_as_two_good_ones() -> None:
    """Joined they are valid; alone each is none, and members join differently."""
    machine = BatchDiary()
    host = host_of(machine)
    one, other = payloads(host, "a", "b")
    shifted = (one[:-1], other[:2] + one[-1:] + other[2:])
    with pytest.raises(MachineFailed):
        host.apply([commands(1, command_batch(shifted))], ME, 1)
    assert machine.lines == []


def test_entry_that_cannot_be_read_does_nothing() -> None:
    host = host_of(Diary())
    entries = [
        Entry(1, 1, EntryKind.COMMANDS, b"\xc1"),
        Entry(2, 1, EntryKind.SYSTEM, b"\xc1"),
        commands(3, command_batch(payloads(host, "a"))),
    ]
    applied = host.apply(entries, ME, 3)
    assert applied.bad_count == 2
    assert "entry 2" in applied.bad_why
    assert applied.answers == [answer(1, 1)]


def test_machine_that_fails_is_given_nothing_more_until_it_is_put_back() -> None:
    host = host_of(Diary())
    good = commands(1, command_batch(payloads(host, "a")))
    bad = commands(2, command_batch(host.codec.encode([Fail("broken")]), first=2))
    with pytest.raises(MachineFailed, match="entry 2: RuntimeError: broken") as caught:
        host.apply([good, bad], ME, 2)
    assert caught.value.index == 2
    for use in (lambda: host.apply([], ME, 2), lambda: host.query(0), host.snapshot_parts):
        with pytest.raises(MachineFailed):
            use()
    host.reset()
    host.apply([good], ME, 1)
    assert host.position == 1


def test_commands_are_validated_before_they_are_sent() -> None:
    host = host_of(Diary())
    for wrong in ("text", Put(3), None):  # type: ignore[arg-type]
        with pytest.raises(EncodeError):
            host.codec.encode([wrong])
        with pytest.raises(EncodeError) as caught:
            host.codec.encode([Put("a"), wrong, Put("b")])
        assert caught.value.value is wrong
    encoded = host.codec.encode([Put("a"), Fail("b")])
    assert host.codec.decode([*encoded, b"bad"])[0] == [Put("a"), Fail("b")]


def test_query_says_how_many_commands_the_state_has_seen() -> None:
    host = host_of(Diary())
    host.apply([commands(1, command_batch(payloads(host, "a", "b")))], ME, 1)
    found = host.query(1)
    assert (found.result, found.at_position) == ("2 1 1 2 b", 2)
    with pytest.raises(IndexError):
        host.query(5)


def test_entries_must_follow_what_is_applied() -> None:
    host = host_of(Diary())
    with pytest.raises(AssertionError, match="entry 2 after 0"):
        host.apply([Entry(2, 1, EntryKind.NOOP)], ME, 2)
    with pytest.raises(AssertionError, match="not committed"):
        host.apply([Entry(1, 1, EntryKind.NOOP)], ME, 0)


# System entries.


def test_system_entries_change_the_ledger() -> None:
    host = host_of(Diary())
    host.apply(
        [
            system_entry(1, AcceptMerge(MERGING_HISTORY)),
            system_entry(2, FinishMerge(MERGING_HISTORY, 5)),
            system_entry(3, FinishMerge(MERGING_HISTORY, 0)),
        ],
        ME,
        3,
    )
    assert host.ledger.accept_count == 1
    assert host.ledger.merged == (MERGING_HISTORY,)


def test_closed_history_applies_no_more_commands_and_says_so() -> None:
    host = host_of(Diary())
    first = command_batch(payloads(host, "a"))
    late = command_batch(payloads(host, "b", "c"), first=2)
    strange = command_batch(payloads(host, "x"), client=OTHER)
    applied = host.apply(
        [
            commands(1, first),
            system_entry(2, AcceptMerge(MERGING_HISTORY)),
            system_entry(3, CloseInto(WINNER, accept_count=1)),
            commands(4, late, strange),
            commands(5, first),
            system_entry(6, Replay(MERGING_HISTORY, (strange,))),
        ],
        ME,
        6,
    )
    assert (host.ledger.accept_count, host.ledger.closed_into) == (1, WINNER)
    assert applied.answers == [
        answer(1, 1),
        CommandAnswer(2, None, Refusal.CLOSED),
        CommandAnswer(3, None, Refusal.CLOSED),
        CommandAnswer(1, None, Refusal.CLOSED),
    ]
    assert host.position == 1
    assert host.index == 6


def test_replayed_commands_are_applied_once_and_recorded() -> None:
    host = host_of(Diary())
    mine = payloads(host, "a", "b", "c")
    theirs = payloads(host, "x")
    rest = (command_batch(theirs, client=OTHER), command_batch(mine[2:], first=3))
    applied = host.apply(
        [
            system_entry(1, AcceptMerge(MERGING_HISTORY)),
            system_entry(
                2,
                Replay(
                    MERGING_HISTORY, (command_batch(mine[:2]), command_batch(theirs, client=OTHER))
                ),
            ),
            system_entry(3, Replay(MERGING_HISTORY, rest, after=2, origin_after=2)),
            system_entry(4, Replay(MERGING_HISTORY, rest, after=2, origin_after=2)),
        ],
        ME,
        4,
    )
    assert applied.replayed == [
        Replayed(MERGING_HISTORY, mine[:2]),
        Replayed(MERGING_HISTORY, theirs),
        Replayed(MERGING_HISTORY, mine[2:]),
    ]
    assert host.machine.lines == ["1 2 1 3 a", "2 2 1 3 b", "3 2 1 3 x", "4 3 1 4 c"]  # type: ignore[attr-defined]
    assert applied.answers == [answer(1, 1), answer(2, 2), answer(3, 4)]
    assert host.ledger.accept_count == 1


def test_replayed_command_that_its_client_has_sent_here_is_not_applied_twice() -> None:
    host = host_of(Diary())
    mine = payloads(host, "a", "b", "c")
    applied = host.apply(
        [
            commands(1, command_batch(mine[:2])),
            system_entry(2, Replay(MERGING_HISTORY, (command_batch(mine),))),
        ],
        ME,
        2,
    )
    assert applied.replayed == [Replayed(MERGING_HISTORY, mine[2:])]
    again = [answer(1, 1, is_repeated=True), answer(2, 2, is_repeated=True)]
    assert applied.answers == [answer(1, 1), answer(2, 2), *again, answer(3, 3)]


def test_replayed_commands_are_recorded_with_who_held_them() -> None:
    host = host_of(Diary())
    mine = payloads(host, "a")
    replay = Replay(MERGING_HISTORY, (command_batch(mine),), origin=WINNER, holder=OTHER)
    applied = host.apply([system_entry(1, replay)], ME, 1)
    assert applied.replayed == [Replayed(OTHER, mine)]


def test_replay_of_a_history_that_is_here_whole_is_void() -> None:
    host = host_of(Diary())
    replay = Replay(MERGING_HISTORY, (command_batch(payloads(host, "a")),))
    applied = host.apply(
        [system_entry(1, FinishMerge(MERGING_HISTORY, 0)), system_entry(2, replay)], ME, 2
    )
    assert applied.replayed == []
    assert host.position == 0


def test_session_that_was_forgotten_loses_nothing_of_a_replay() -> None:
    """It was acknowledged in the other history, so it must be here."""
    host = host_of(Diary(), limits=SessionLimits(client_count=1))
    mine = payloads(host, "a", "b")
    strange = commands(2, CommandBatch(OTHER, 1, 1, 0, payloads(host, "x")))
    applied = host.apply(
        [
            system_entry(1, Replay(MERGING_HISTORY, (command_batch(mine[:1]),))),
            strange,
            system_entry(
                3,
                Replay(
                    MERGING_HISTORY, (CommandBatch(ME, 1 << 60, 2, 0, mine[1:]),), 1, origin_after=1
                ),
            ),
        ],
        ME,
        3,
    )
    assert applied.answers == [answer(1, 1), answer(2, 3)]
    assert applied.replayed == [
        Replayed(MERGING_HISTORY, mine[:1]),
        Replayed(MERGING_HISTORY, mine[1:]),
    ]
    assert host.machine.lines == ["1 1 1 1 a", "2 2 1 2 x", "3 3 1 3 b"]  # type: ignore[attr-defined]


def test_session_that_is_full_loses_nothing_of_a_replay() -> None:
    host = host_of(Diary(), limits=SessionLimits(result_count=1))
    mine = payloads(host, "a", "b", "c")
    applied = host.apply([system_entry(1, Replay(MERGING_HISTORY, (command_batch(mine),)))], ME, 1)
    assert applied.replayed == [Replayed(MERGING_HISTORY, mine)]
    assert applied.answers == [answer(1, 1), answer(2, 2), answer(3, 3)]
    assert host.position == 3


def test_cut_is_the_state_at_that_very_entry() -> None:
    for machine in (Diary(), BatchDiary()):
        host, other = host_of(machine), host_of(type(machine)())
        before = commands(1, command_batch(payloads(host, "a", "b")))
        after = commands(3, command_batch(payloads(host, "c"), first=3))
        cut_at = system_entry(2, TakeSnapshot(REQUEST))
        applied = host.apply([before, cut_at, after], ME, 3)
        [cut] = applied.snapshots
        assert (cut.index, cut.request_id) == (2, REQUEST)
        assert cut.parts is not None
        other.apply([before, cut_at], OTHER, 2, takes_snapshots=False)
        assert list(cut.parts) == list(other.snapshot_parts())


def test_cuts_of_one_call_are_bounded_and_may_be_left_out() -> None:
    host = host_of(Diary())
    entries = [system_entry(n + 1, TakeSnapshot(REQUEST)) for n in range(SNAPSHOTS_KEPT + 3)]
    cuts = host.apply(entries, ME, 99).snapshots
    assert [cut.index for cut in cuts] == [4, 5, 6, 7]
    host.reset()
    assert not host.apply(entries, ME, 99, takes_snapshots=False).snapshots


def test_cut_of_a_machine_without_snapshots_says_why() -> None:
    class Broken(Diary):
        def snapshot(self) -> Iterator[bytes]:
            raise KeyError("lost")

    for machine, why in ((Replayer(), "no snapshot"), (Broken(), "KeyError")):
        host = host_of(machine)
        host.apply([commands(1, command_batch(host.codec.encode([Put("a")])))], ME, 1)
        [cut] = host.apply([system_entry(2, TakeSnapshot(REQUEST))], ME, 2).snapshots
        assert cut.parts is None
        assert why in cut.failure
        host.apply([Entry(3, 1, EntryKind.NOOP)], ME, 3)
        assert host.index == 3


# Back to the beginning.


class NotCopied:
    def __deepcopy__(self, memo: object) -> None:
        raise TypeError("a lock stays where it is")


def test_reset_puts_everything_back() -> None:
    host = host_of(Diary())
    entries = [commands(1, command_batch(payloads(host, "a"))), system_entry(2, CloseInto(WINNER))]
    for _ in range(3):
        assert host.apply(entries, ME, 2).answers == [answer(1, 1)]
        host.reset()
        assert (host.index, host.position, host.ledger.history) == (0, 0, b"")
        assert host.machine.lines == []  # type: ignore[attr-defined]
        assert not host.ledger.closed_into


def test_callbacks_stay_what_they_are_when_a_machine_is_put_back() -> None:
    class Notify(Diary):
        def __init__(self) -> None:
            super().__init__()
            self.tell = self.lines.append

    machine = Notify()
    host = host_of(machine)
    later: list[str] = []
    machine.tell = later.append
    host.apply([commands(1, command_batch(payloads(host, "a")))], ME, 1)
    host.reset()
    machine.tell("x")
    assert later == ["x"]
    assert machine.lines == []


def test_machine_may_know_itself_how_to_begin_anew() -> None:
    class Own(Replayer):
        def __init__(self) -> None:
            super().__init__()
            self.lock = NotCopied()

        def reset(self) -> None:
            self.count = 0

    machine = Own()
    host = host_of(machine)
    host.apply([commands(1, command_batch(host.codec.encode([1, 2])))], ME, 1)
    assert machine.count == 2
    host.reset()
    assert (machine.count, host.position) == (0, 0)


def test_machine_that_cannot_be_copied_says_so_when_it_would_have_to_be_put_back() -> None:
    class Stuck(Replayer):
        def __init__(self) -> None:
            super().__init__()
            self.lock = NotCopied()

    host = host_of(Stuck())
    host.reset()  # nothing was applied yet
    host.apply([commands(1, command_batch(host.codec.encode([1])))], ME, 1)
    with pytest.raises(ConfigError, match=r"Stuck cannot be copied, expected a reset\(\)"):
        host.reset()


# Snapshots.


def test_snapshot_stays_what_it_was_while_commands_are_applied() -> None:
    host = host_of(Diary())
    host.apply([commands(1, command_batch(payloads(host, *"abcdefgh")))], ME, 1)
    expected = list(host.snapshot_parts())
    parts = host.snapshot_parts()
    made = [next(parts)]
    host.apply([commands(2, command_batch(payloads(host, "i"), first=9))], ME, 2)
    made += parts
    assert made == expected
    assert len(made) == 4


def test_single_part_made_by_a_generator_is_of_the_moment_of_the_call() -> None:
    class Lazy(Diary):
        def snapshot(self) -> Iterator[bytes]:
            yield repr(self.lines).encode()

    host = host_of(Lazy())
    parts = host.snapshot_parts()
    host.apply([commands(1, command_batch(payloads(host, "a")))], ME, 1)
    assert list(parts)[-1] == b"[]"


def test_restored_host_goes_on_like_the_one_the_snapshot_is_of() -> None:
    one, other = host_of(Diary()), host_of(Diary())
    entries = [
        commands(1, command_batch(payloads(one, *"abcd"))),
        system_entry(2, AcceptMerge(MERGING_HISTORY)),
        commands(3, command_batch(payloads(one, "d", "e"), first=4)),
    ]
    one.apply(entries[:2], ME, 2)
    other.apply([commands(1, command_batch(payloads(one, "old"), client=OTHER))], ME, 1)
    take_in(other, list(one.snapshot_parts()))
    assert (other.index, other.position) == (2, 4)
    assert other.ledger.history == HISTORY
    answers = [host.apply(entries[2:], ME, 3).answers for host in (one, other)]
    assert answers[0] == answers[1] == [answer(4, 4, is_repeated=True), answer(5, 5)]
    assert list(one.snapshot_parts()) == list(other.snapshot_parts())


def test_header_alone_begins_a_history_with_the_machine_as_it_was_made() -> None:
    host = host_of(Replayer())
    host.apply([commands(1, command_batch(host.codec.encode([1])))], ME, 1)
    take_in(host, Header(Ledger(WINNER), Sessions()).to_parts())
    assert (host.index, host.position, host.ledger.history) == (0, 0, WINNER)
    assert host.machine.count == 0  # type: ignore[attr-defined]


def test_machine_without_snapshots_makes_none_once_commands_were_applied() -> None:
    host = host_of(Replayer())
    assert len(list(host.snapshot_parts())) == 1
    host.apply([commands(1, command_batch(host.codec.encode([1])))], ME, 1)
    with pytest.raises(SnapshotError, match="no snapshot"):
        host.snapshot_parts()


def test_machine_without_parts_survives_a_snapshot() -> None:
    one, other = host_of(NoOp()), host_of(NoOp())
    one.apply([commands(1, command_batch(one.codec.encode(["any"])))], ME, 1)
    take_in(other, list(one.snapshot_parts()))
    assert other.position == 1


@pytest.mark.parametrize("part", ["text", bytes(5 * 1024 * 1024)])
def test_part_that_no_peer_would_take_is_not_made(part: Any) -> None:
    class Wrong(Diary):
        def snapshot(self) -> Iterator[bytes]:
            yield b"[]"
            yield part

    parts = host_of(Wrong()).snapshot_parts()
    with pytest.raises(SnapshotError, match="a part"):
        list(parts)


def test_snapshot_that_is_none_changes_nothing() -> None:
    host = host_of(Diary())
    host.apply([commands(1, command_batch(payloads(host, "a")))], ME, 1)
    before = list(host.snapshot_parts())
    for parts in ([], [b""], [b"\xc1"], [before[1]], [bytes(5 << 20)], ["text"]):
        with pytest.raises(DecodeError):
            take_in(host, parts)  # type: ignore[arg-type]
    with pytest.raises(DecodeError, match="entry 1, expected 2"):
        next(host.restore(before, index=2))
    assert list(host.snapshot_parts()) == before


def test_snapshot_whose_machine_is_broken_leaves_a_host_that_must_be_put_back() -> None:
    class Clumsy(Diary):
        def restore(self, parts: Any) -> Iterator[None]:
            self.lines = [str(part[10]) for part in parts]
            yield

    for machine in (Diary(), Clumsy()):
        host = host_of(machine)
        head = next(host.snapshot_parts())
        with pytest.raises(DecodeError):
            take_in(host, [head, b"{"])
        with pytest.raises(AssertionError, match="not taken in"):
            host.apply([], ME, 0)
        host.reset()
        host.apply([], ME, 0)
        assert host.position == 0


def test_nothing_is_asked_of_a_host_that_is_being_restored() -> None:
    host = host_of(Diary())
    parts = list(host.snapshot_parts())
    steps = host.restore(parts)
    next(steps)
    with pytest.raises(AssertionError, match="not taken in"):
        host.query(0)
    for _ in steps:
        pass
    host.apply([], ME, 0)
    assert host.position == 0


# Any log, in any batches.

LIMITS = SessionLimits(client_count=3, result_count=6, idle_index_count=30)


class Writer:
    """Writes logs of commands, system entries, rubbish and the like, by few clients."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.host = host_of(Diary())
        self.ledger = Ledger(HISTORY)
        self.numbers = {bytes([n]) * 16: 1 for n in range(5)}

    def log(self) -> list[Entry]:
        term = 1
        entries: list[Entry] = []
        for index in range(1, self.rng.randrange(5, 60)):
            term += self.rng.random() < 0.1
            entries.append(self.entry(index, term))
        return entries

    def entry(self, index: int, term: int) -> Entry:
        rng, kind = self.rng, self.rng.random()
        if kind < 0.6:
            return commands(index, *self.command_batches(index), term=term)
        if kind < 0.65:
            return Entry(index, term, rng.choice((EntryKind.NOOP, EntryKind.CONFIGURATION)))
        if kind < 0.75:
            wrong = rng.choice((EntryKind.COMMANDS, EntryKind.SYSTEM))
            return Entry(index, term, wrong, rng.randbytes(rng.randrange(20)))
        content = self.system_entry(index)
        self.ledger.apply(content)
        return system_entry(index, content, term)

    def system_entry(self, index: int) -> SystemEntry:
        rng, ledger = self.rng, self.ledger
        merging_history = rng.choice((MERGING_HISTORY, WINNER))
        taken = ledger.taken_of(merging_history)
        after = max(0, taken + rng.choice((-1, 0, 0, 0, 1)))
        return rng.choices(
            (
                TakeSnapshot(rng.randbytes(16)),
                AcceptMerge(merging_history),
                Replay(merging_history, self.command_batches(index), after, origin_after=after),
                FinishMerge(merging_history, taken),
                CloseInto(merging_history, ledger.accept_count),
            ),
            (5, 4, 8, 1, 0.8),
        )[0]

    def command_batches(self, index: int) -> tuple[CommandBatch, ...]:
        return tuple(self.command_batch(index) for _ in range(self.rng.randrange(1, 4)))

    def command_batch(self, index: int) -> CommandBatch:
        rng, numbers = self.rng, self.numbers
        texts = [str(rng.randrange(100)) for _ in range(rng.randrange(1, 6))]
        encoded = list(payloads(self.host, *texts))
        client = rng.choices(list(numbers), (9, 9, 6, 1, 1))[0]
        first = max(1, numbers[client] + rng.choice((-3, -1, 0, 0, 0, 0, 0, 0, 1)))
        if rng.random() < 0.1:
            first = 1
        numbers[client] = first + len(encoded)
        answered = max(0, first - rng.choice((1, 2, 9)))
        born = max(0, index - rng.randrange(40))
        return CommandBatch(client, born, first, answered, tuple(encoded))


def random_log(rng: Random) -> list[Entry]:
    return Writer(rng).log()


def play(host: Host, log: Sequence[Entry], rng: Random) -> dict[str, list[Any]]:
    """Apply a log in random batches; return everything that came of it."""
    told: dict[str, list[Any]] = {"answers": [], "replayed": [], "bad": [0]}
    cuts: list[tuple[int, bytes, list[bytes]]] = []
    at = 0
    while at < len(log):
        size = rng.randrange(1, SNAPSHOTS_KEPT + 1)
        applied = host.apply(log[at : at + size], bytes([1]) * 16, 1000)
        at += size
        told["answers"] += applied.answers
        told["replayed"] += applied.replayed
        told["bad"][0] += applied.bad_count
        for cut in applied.snapshots:
            assert cut.parts is not None
            cuts.append((cut.index, cut.request_id, list(cut.parts)))
    return told | {"cuts": cuts}


MACHINES = st.sampled_from([Diary, BatchDiary])
SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS, MACHINES)
@settings(max_examples=80, deadline=None)
def test_members_are_alike_whatever_the_batches(seed: int, machine: type[StateMachine]) -> None:
    rng = Random(seed)
    log = random_log(rng)
    one, other = host_of(machine(), limits=LIMITS), host_of(machine(), limits=LIMITS)
    assert play(one, log, rng) == play(other, log, rng)
    assert list(one.snapshot_parts()) == list(other.snapshot_parts())


@given(SEEDS)
@settings(max_examples=80, deadline=None)
def test_batch_has_the_context_of_its_first_command(seed: int) -> None:
    """The same that a machine without batches would get with that command."""
    rng = Random(seed)
    log = random_log(rng)
    single, batched = Diary(), BatchDiary()
    play(host_of(single, limits=LIMITS), log, rng)
    play(host_of(batched, limits=LIMITS), log, rng)
    assert set(batched.places) <= set(single.lines)
    assert sum(batched.batches) == len(single.lines)


@given(SEEDS, MACHINES)
@settings(max_examples=80, deadline=None)
def test_member_restored_midway_is_like_the_others(seed: int, machine: type[StateMachine]) -> None:
    rng = Random(seed)
    log = random_log(rng)
    middle = rng.randrange(len(log))
    one, other = host_of(machine(), limits=LIMITS), host_of(machine(), limits=LIMITS)
    play(one, log[:middle], rng)
    play(other, log[: rng.randrange(middle + 1)], rng)
    take_in(other, list(one.snapshot_parts()))
    assert play(one, log[middle:], rng) == play(other, log[middle:], rng)
    assert list(one.snapshot_parts()) == list(other.snapshot_parts())


def test_random_logs_hold_what_they_are_for() -> None:
    """Else the tests above would show little."""
    kinds: dict[str, int] = {}
    for seed in range(40):
        rng = Random(seed)
        told = play(host_of(Diary(), limits=LIMITS), random_log(rng), rng)
        for found in told["answers"]:
            kinds[found.refusal.name] = kinds.get(found.refusal.name, 0) + 1
        for name in ("replayed", "cuts"):
            kinds[name] = kinds.get(name, 0) + len(told[name])
        kinds["bad"] = kinds.get("bad", 0) + told["bad"][0]
    assert min(kinds.values()) > 3, kinds
    assert set(kinds) >= {refusal.name for refusal in Refusal}, kinds


@given(st.binary(max_size=60), st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_bytes_in_an_entry_are_taken_alike(one: bytes, other: bytes) -> None:
    for kind in (EntryKind.COMMANDS, EntryKind.SYSTEM):
        host = host_of(Diary())
        host.apply([Entry(1, 1, kind, one)], ME, 1)
        assert host.index == 1
    machines = [BatchDiary(), BatchDiary()]
    hosts = list(map(host_of, machines))
    entries = [
        commands(1, command_batch((*payloads(hosts[0], "a"), one, other))),
        commands(2, command_batch((other, one), first=4)),
    ]
    with suppress(MachineFailed):
        hosts[0].apply(entries, ME, 2)
    with suppress(MachineFailed):
        for entry in entries:
            hosts[1].apply([entry], ME, 2)
    assert machines[0].lines == machines[1].lines


def test_a_bad_command_of_many_costs_a_leader_one_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which one it is matters where those before it are applied, not where all are refused."""
    host = host_of(BatchDiary())
    [good] = host.codec.encode([Put("a")] * 1000)
    tries: list[bytes] = []
    decode = host.codec._codec.decode_batch

    def counted(data: bytes) -> list[Any]:
        tries.append(data)
        return decode(data)

    monkeypatch.setattr(host.codec._codec, "decode_batch", counted)
    host.check_readable([good])
    with pytest.raises(DecodeError, match="a command could not be decoded"):
        host.check_readable([good[:-2] + b"\x90"])
    assert len(tries) <= 2
