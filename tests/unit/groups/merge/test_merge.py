"""Merging, one rule at a time: members whose system entries are committed at a word."""

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors.errors import DecodeError
from mosaik_actors.groups.machine.ledger import Ledger
from mosaik_actors.groups.machine.sessions import Sessions
from mosaik_actors.groups.merge.merge import Merge
from mosaik_actors.groups.merge.view import (
    HandOver,
    HistoriesConflict,
    HistoryAbandoned,
    MergeConfig,
    MergeEvent,
    MergeStarted,
    MergeView,
    ProposeSystemEntry,
    SendMerge,
)
from mosaik_actors.groups.wire.commands import (
    CommandBatch,
    decode_command_batches,
    encode_command_batches,
)
from mosaik_actors.groups.wire.merge import (
    MergeAccepted,
    MergeMessage,
    MergeRefusal,
    MergeRefused,
    MergeRequest,
    ReplayCommands,
    ReplayDone,
    ReplayEnd,
    ReplayQuery,
    ReplayRefused,
    ReplayState,
    decode_merge,
    encode_merge,
)
from mosaik_actors.groups.wire.records import Entry, EntryKind
from mosaik_actors.groups.wire.status import MemberStanding, Status
from mosaik_actors.groups.wire.system_entries import (
    AcceptMerge,
    CloseInto,
    FinishMerge,
    Replay,
    SystemEntry,
    decode_system_entry,
    encode_system_entry,
)
from mosaik_actors.ids import PeerId

M = TypeVar("M", bound=MergeMessage)
E = TypeVar("E", bound=MergeEvent)

SMALL, MIDDLE, LARGE = (bytes([number]) * 16 for number in range(1, 4))
CONFIG = MergeConfig()


def peer(number: int) -> PeerId:
    return PeerId(bytes([number]) * 32)


class Member:
    """A member that is its history's only one, or believes so: its entries commit when told."""

    def __init__(self, number: int, history: bytes, *, commands: int = 0) -> None:
        self.me = peer(number)
        self.client = bytes([number]) * 16
        self.now = 100.0
        self.history = history
        self.ledger = Ledger(history)
        self.sessions = Sessions()
        self.applied: list[bytes] = []
        self.log: list[Entry] = []
        self.first_index = 1
        self.is_leader = True
        self.has_leader = True
        self.voter_count = 1
        self.merged: tuple[bytes, ...] = ()
        self.peers: dict[PeerId, Status] = {}
        self.events: list[MergeEvent] = []
        self.proposed: list[SystemEntry] = []
        self.mail: list[tuple[PeerId, MergeMessage]] = []
        self.merge = Merge(Random(number), now=self.now, config=CONFIG)
        for sequence in range(1, commands + 1):
            self.run(sequence)
        self.pump()

    # Its log.

    @property
    def commit_index(self) -> int:
        return len(self.log)

    def term_at(self, index: int) -> int | None:
        raise NotImplementedError("terms are not looked at")

    def entries(self, first_index: int, *, count_max: int, bytes_max: int) -> tuple[Entry, ...]:
        known = self.log[first_index - 1 :][:count_max]
        return tuple(known) if first_index >= self.first_index else ()

    def run(self, sequence: int, payload: bytes | None = None) -> None:
        """Commit a command of this member's client."""
        payload = self.client[:1] + bytes([sequence]) if payload is None else payload
        command_batch = CommandBatch(self.client, 0, sequence, sequence - 1, (payload,))
        self.append(EntryKind.COMMANDS, encode_command_batches([command_batch]))

    def append(self, kind: EntryKind, data: bytes) -> None:
        entry = Entry(len(self.log) + 1, 1, kind, data)
        self.log.append(entry)
        if kind is EntryKind.COMMANDS:
            command_batches = () if self.ledger.closed_into else decode_command_batches(data)
        else:
            command_batches = self.ledger.apply(decode_system_entry(data)) or ()
        for command_batch in command_batches:
            self.sessions.apply(command_batch, entry.index, self._take)

    def _take(self, payloads: Sequence[bytes]) -> list[bytes | None]:
        self.applied += payloads
        return [None] * len(payloads)

    def commit(self, system_entry: SystemEntry | None = None) -> SystemEntry:
        """Commit a system entry, by default the oldest that was proposed."""
        if system_entry is None:
            system_entry = self.proposed.pop(0)
        self.append(EntryKind.SYSTEM, encode_system_entry(system_entry))
        self.merge.entry_settled(system_entry, is_applied=True, now=self.now)
        self.pump()
        return system_entry

    def fail(self) -> None:
        self.merge.entry_settled(self.proposed.pop(0), is_applied=False, now=self.now)
        self.pump()

    # Its core.

    def status(self) -> Status:
        return Status(
            standing=MemberStanding.VOTER,
            history=self.history,
            term=1,
            leader=self.me if self.is_leader else None,
            commit_index=self.commit_index,
            first_index=self.first_index,
            closed_into=self.ledger.closed_into,
            merged=self.ledger.merged[-64:],
            position=len(self.applied),
        )

    def sees(self, *others: "Member") -> None:
        """Hear of others, and of nobody else, as they are now."""
        self.peers = {other.me: other.status() for other in others}
        self.pump()

    def receive(self, sender: PeerId, message: MergeMessage) -> None:
        self.merge.receive_message(sender, encode_merge(message), now=self.now)
        self.pump()

    def pump(self) -> None:
        self.merge.update(
            MergeView(
                history=self.history,
                is_leader=self.is_leader,
                has_leader=self.has_leader,
                voter_count=self.voter_count,
                position=lambda: len(self.applied),
                ledger=self.ledger,
                log=self,
                peers=self.peers,
                is_readable=lambda _peer, _payloads: True,
            ),
            now=self.now,
        )
        while (event := self.merge.next_event()) is not None:
            if isinstance(event, SendMerge):
                self.mail.append((event.peer, decode_merge(event.data)))
            elif isinstance(event, ProposeSystemEntry):
                self.proposed.append(event.system_entry)
            else:
                self.events.append(event)

    def wait(self, seconds: float) -> None:
        """Let time pass, with the timers that are due on the way."""
        until_s = self.now + seconds
        for _ in range(1000):
            due_s = max(self.now, self.merge.get_timer())
            if due_s > until_s:
                break
            self.now = due_s
            self.merge.handle_timer(now=self.now)
            self.pump()
        else:
            raise AssertionError("the timer does not move on")
        self.now = until_s
        self.merge.handle_timer(now=self.now)
        self.pump()

    def keeps_log(self) -> bool:
        return self.merge.keeps_log

    def sent(self, kind: type[M]) -> list[M]:
        """Take the messages of a kind that wait to be sent; the others stay."""
        found: list[M] = [message for _, message in self.mail if isinstance(message, kind)]
        self.mail = [(to, message) for to, message in self.mail if not isinstance(message, kind)]
        return found

    def told(self, kind: type[E]) -> list[E]:
        found: list[E] = [event for event in self.events if isinstance(event, kind)]
        self.events = [event for event in self.events if not isinstance(event, kind)]
        return found


def exchange(*members: Member, until: Callable[[], bool] | None = None, rounds: int = 200) -> None:
    """Deliver all mail and commit all system entries, until nothing moves, or as long as asked."""
    by_id = {member.me: member for member in members}
    for _ in range(rounds):
        if until is not None and until():
            return
        moved = False
        for member in members:
            mail, member.mail = member.mail, []
            for to, message in mail:
                if to in by_id:
                    by_id[to].receive(member.me, message)
                    moved = True
            while member.proposed:
                member.commit()
                moved = True
        if not moved:
            return


def meet(*members: Member) -> None:
    for member in members:
        member.sees(*(other for other in members if other is not member))


def merged_pair() -> tuple[Member, Member]:
    """Return a member whose history was closed and replayed, and the one that took it in."""
    short, long = Member(1, LARGE, commands=3), Member(2, SMALL, commands=5)
    meet(short, long)
    exchange(short, long)
    return short, long


# Who asks.


def test_shorter_history_asks_at_once_and_is_replayed() -> None:
    short, long = merged_pair()
    assert short.ledger.closed_into == SMALL
    assert long.ledger.merged == (LARGE,)
    assert long.applied == [b"\x02" + bytes([n]) for n in range(1, 6)] + short.applied
    assert short.told(MergeStarted) == [MergeStarted(SMALL, LARGE)]
    assert long.told(MergeStarted) == [MergeStarted(SMALL, LARGE)]
    assert short.told(HistoryAbandoned) == [HistoryAbandoned(LARGE, SMALL)]
    assert not long.told(HistoryAbandoned)


def test_longer_history_waits_for_the_shorter_one_to_ask() -> None:
    short, long = Member(1, LARGE, commands=1), Member(2, SMALL, commands=5)
    long.sees(short)
    long.wait(CONFIG.patience * 0.9)
    assert not long.sent(MergeRequest)


def test_longer_history_asks_when_the_shorter_one_does_not() -> None:
    """Both grow, and each hears late how long the other is: somebody must ask."""
    short, long = Member(1, LARGE, commands=1), Member(2, SMALL, commands=5)
    long.sees(short)
    long.wait(CONFIG.patience * 1.1)
    (request,) = long.sent(MergeRequest)
    # The one that is asked knows its own length exactly, and decides.
    short.receive(long.me, request)
    assert short.sent(MergeRefused) == [MergeRefused(request.request_id, MergeRefusal.SHORTER)]


def test_of_two_alike_the_one_with_the_smaller_id_goes_on() -> None:
    one, two = Member(1, SMALL, commands=2), Member(2, LARGE, commands=2)
    meet(one, two)
    assert not one.sent(MergeRequest)
    assert [request.history for request in two.sent(MergeRequest)] == [LARGE]


def test_history_that_was_cut_is_not_asked_to_end() -> None:
    """It is shorter, but cannot be replayed."""
    short, long = Member(1, LARGE, commands=2), Member(2, SMALL, commands=5)
    short.first_index = 2
    meet(short, long)
    assert not short.sent(MergeRequest)
    exchange(short, long)
    assert long.ledger.closed_into == LARGE
    assert short.ledger.merged == (SMALL,)


def test_two_histories_that_were_cut_stay_and_say_so() -> None:
    one, two = Member(1, LARGE, commands=2), Member(2, SMALL, commands=5)
    one.first_index = two.first_index = 2
    meet(one, two)
    for member in (one, two):
        assert not member.told(HistoriesConflict), "the other may get a voter with the whole log"
        member.wait(CONFIG.patience + CONFIG.repeat * 2.5)
    assert one.told(HistoriesConflict) == [HistoriesConflict(SMALL)] * 3
    assert two.told(HistoriesConflict) == [HistoriesConflict(LARGE)] * 3
    assert not one.mail
    assert not two.mail


def test_leader_without_the_whole_log_hands_over_to_a_voter_that_has_it() -> None:
    leader, holder = Member(1, LARGE, commands=2), Member(2, LARGE, commands=2)
    long = Member(3, SMALL, commands=5)
    holder.is_leader = False
    leader.first_index = 2
    leader.sees(holder, long)
    assert leader.told(HandOver) == [HandOver(holder.me)]
    assert not leader.mail
    leader.wait(CONFIG.retry_max)
    assert leader.told(HandOver), "again, when that did not help"


def test_follower_does_nothing() -> None:
    follower, long = Member(1, LARGE, commands=2), Member(2, SMALL, commands=5)
    follower.is_leader = False
    follower.sees(long)
    follower.wait(60)
    assert not follower.mail
    assert follower.merge.get_timer() == float("inf")


def test_history_without_a_leader_in_reach_is_not_asked() -> None:
    short, long = Member(1, LARGE, commands=2), Member(2, SMALL, commands=5)
    long.is_leader = False
    short.sees(long)
    short.wait(60)
    assert not short.mail


def test_closed_history_is_not_asked() -> None:
    short, long = Member(1, LARGE, commands=2), Member(2, SMALL, commands=5)
    long.commit(CloseInto(MIDDLE))
    short.sees(long)
    short.wait(60)
    assert not short.mail


def test_request_that_is_lost_is_made_again() -> None:
    short, long = Member(1, LARGE, commands=2), Member(2, SMALL, commands=5)
    short.sees(long)
    (first,) = short.sent(MergeRequest)
    short.wait(CONFIG.request_timeout * 0.9)
    assert not short.sent(MergeRequest)
    short.wait(CONFIG.request_timeout)
    (second,) = short.sent(MergeRequest)
    assert second.request_id != first.request_id
    # An answer to the first one comes too late to mean anything.
    short.receive(long.me, MergeAccepted(SMALL, first.request_id))
    assert not short.proposed


# Being asked.


def test_merging_history_is_accepted_only_when_that_is_committed() -> None:
    long = Member(2, SMALL, commands=5)
    long.receive(peer(1), MergeRequest(LARGE, b"r" * 16, 3))
    assert not long.mail
    assert long.proposed == [AcceptMerge(LARGE, b"r" * 16)]
    long.commit()
    assert long.mail == [(peer(1), MergeAccepted(SMALL, b"r" * 16))]


def test_merging_history_is_refused_when_the_act_is_not_committed() -> None:
    long = Member(2, SMALL, commands=5)
    long.receive(peer(1), MergeRequest(LARGE, b"r" * 16, 3))
    long.fail()
    assert long.sent(MergeRefused) == [MergeRefused(b"r" * 16, MergeRefusal.FAILED)]


def test_merging_history_is_refused_when_the_leader_is_replaced() -> None:
    long = Member(2, SMALL, commands=5)
    long.receive(peer(1), MergeRequest(LARGE, b"r" * 16, 3))
    long.is_leader = False
    long.pump()
    assert long.sent(MergeRefused) == [MergeRefused(b"r" * 16, MergeRefusal.NOT_LEADER)]
    long.commit()
    assert not long.mail, "it was answered"


def test_longer_merging_history_is_refused_and_asked_at_once() -> None:
    one, two = Member(1, LARGE, commands=3), Member(2, SMALL, commands=3)
    one.sees(two)
    one.mail.clear()
    two.sees(one)
    # What was heard of it is old: it has grown meanwhile.
    two.receive(one.me, MergeRequest(LARGE, b"r" * 16, 9))
    assert two.sent(MergeRefused) == [MergeRefused(b"r" * 16, MergeRefusal.SHORTER)]
    assert [request.history for request in two.sent(MergeRequest)] == [SMALL]


def test_nobody_is_accepted_while_a_request_is_out() -> None:
    middle, long = Member(1, MIDDLE, commands=3), Member(2, SMALL, commands=5)
    middle.sees(long)
    assert middle.sent(MergeRequest)
    middle.receive(peer(3), MergeRequest(LARGE, b"r" * 16, 1))
    assert middle.sent(MergeRefused) == [MergeRefused(b"r" * 16, MergeRefusal.BUSY)]
    assert not middle.proposed


def test_of_two_requests_that_cross_one_is_accepted() -> None:
    one, two = Member(1, LARGE, commands=3), Member(2, SMALL, commands=3)
    for member, other in ((one, two), (two, one)):
        # Each takes itself for the shorter one.
        member.peers = {
            other.me: Status(
                standing=MemberStanding.VOTER,
                history=other.history,
                leader=other.me,
                commit_index=1,
                first_index=1,
                position=9,
            )
        }
        member.pump()
    (first,), (second,) = one.sent(MergeRequest), two.sent(MergeRequest)
    one.receive(two.me, second)
    two.receive(one.me, first)
    assert one.sent(MergeRefused) == [MergeRefused(second.request_id, MergeRefusal.BUSY)]
    assert two.proposed == [AcceptMerge(LARGE, first.request_id)]


def test_history_that_has_accepted_a_merging_history_since_it_asked_stays_open() -> None:
    """A leader that was replaced and came back may have: only the log knows."""
    middle, long = Member(1, MIDDLE, commands=3), Member(2, SMALL, commands=5)
    middle.sees(long)
    (request,) = middle.sent(MergeRequest)
    middle.commit(AcceptMerge(LARGE, b"x" * 16))
    middle.receive(long.me, MergeAccepted(SMALL, request.request_id))
    assert middle.commit() == CloseInto(SMALL, 0)
    assert not middle.ledger.closed_into
    middle.wait(CONFIG.retry * 1.6)
    (again,) = middle.sent(MergeRequest)
    middle.receive(long.me, MergeAccepted(SMALL, again.request_id))
    assert middle.commit() == CloseInto(SMALL, 1)
    assert middle.ledger.closed_into == SMALL


def test_own_history_and_merged_ones_are_not_accepted() -> None:
    _, long = merged_pair()
    long.receive(peer(5), MergeRequest(SMALL, b"r" * 16, 1))
    assert long.sent(MergeRefused) == [MergeRefused(b"r" * 16, MergeRefusal.SAME)]
    long.receive(peer(5), MergeRequest(LARGE, b"r" * 16, 1))
    assert long.sent(ReplayState) == [ReplayState(LARGE, SMALL, 0, True)]
    assert not long.proposed


# Replaying.


def closed_pair(*, commands: int = 3) -> tuple[Member, Member]:
    """Return a member whose history is closed, with its question out, and the other one."""
    short, long = Member(1, LARGE, commands=commands), Member(2, SMALL, commands=commands + 2)
    meet(short, long)
    exchange(short, long, until=lambda: bool(short.ledger.closed_into))
    meet(long)
    assert short.ledger.closed_into
    return short, long


def test_few_acts_are_on_their_way_and_the_rest_follows_in_order() -> None:
    short, long = Member(1, LARGE), Member(2, SMALL, commands=1)
    for sequence in range(1, 21):
        short.run(sequence, bytes([sequence]) * 200_000)
    short.commit(CloseInto(SMALL))
    short.sees(long)
    assert short.sent(ReplayQuery)
    short.receive(long.me, ReplayState(LARGE, SMALL, 0, False))
    first = short.sent(ReplayCommands)
    assert [message.system_entry.after for message in first] == list(range(CONFIG.window))
    short.receive(long.me, ReplayDone(first[0].run, 1))
    short.receive(long.me, ReplayDone(first[0].run, 2))
    assert [message.system_entry.after for message in short.sent(ReplayCommands)] == [8, 9]
    assert not short.sent(ReplayEnd)


def test_end_is_told_only_when_everything_is_there() -> None:
    short, long = closed_pair()
    short.mail.clear()
    short.wait(CONFIG.stall * 3)
    assert short.sent(ReplayQuery)
    short.receive(long.me, ReplayState(LARGE, SMALL, 0, False))
    (commands,) = short.sent(ReplayCommands)
    assert not short.sent(ReplayEnd)
    short.receive(long.me, ReplayDone(commands.run, 3))
    assert [message.system_entry for message in short.sent(ReplayEnd)] == [FinishMerge(LARGE, 3)]


def test_replay_goes_on_where_the_other_history_is() -> None:
    short, long = closed_pair()
    short.mail.clear()
    short.wait(CONFIG.stall * 3)
    short.receive(long.me, ReplayState(LARGE, SMALL, 2, False))
    (commands,) = short.sent(ReplayCommands)
    assert (commands.system_entry.after, commands.system_entry.command_count) == (2, 1)


def test_answer_that_is_lost_begins_another_run() -> None:
    short, long = closed_pair()
    short.receive(long.me, ReplayState(LARGE, SMALL, 0, False))
    (commands,) = short.sent(ReplayCommands)
    short.mail.clear()
    short.wait(CONFIG.stall + CONFIG.retry * 2)
    assert short.sent(ReplayQuery)
    short.receive(long.me, ReplayDone(commands.run, 3))
    assert not short.sent(ReplayEnd), "of an earlier run"


def test_refusal_begins_another_run() -> None:
    short, long = closed_pair()
    short.receive(long.me, ReplayState(LARGE, SMALL, 0, False))
    (commands,) = short.sent(ReplayCommands)
    short.mail.clear()
    short.receive(long.me, ReplayRefused(commands.run, MergeRefusal.FAILED))
    assert not short.mail
    short.wait(CONFIG.retry * 2)
    assert short.sent(ReplayQuery)


def test_commands_are_put_into_the_log_once_whoever_sends_them() -> None:
    long = Member(2, SMALL, commands=5)
    system_entry = Replay(LARGE, (CommandBatch(b"c" * 16, 0, 1, 0, (b"x", b"y")),))
    long.receive(peer(1), ReplayCommands(10, system_entry))
    long.receive(peer(3), ReplayCommands(20, system_entry))
    assert long.proposed == [system_entry]
    assert not long.mail
    long.commit()
    assert long.mail == [(peer(1), ReplayDone(10, 2)), (peer(3), ReplayDone(20, 2))]
    long.mail.clear()
    long.receive(peer(1), ReplayCommands(11, system_entry))
    assert long.mail == [(peer(1), ReplayDone(11, 2))], "it is here"


def test_commands_after_a_gap_are_refused() -> None:
    long = Member(2, SMALL, commands=5)
    system_entry = Replay(LARGE, (CommandBatch(b"c" * 16, 0, 3, 0, (b"x",)),), 2, b"", 2)
    long.receive(peer(1), ReplayCommands(10, system_entry))
    assert long.sent(ReplayRefused) == [ReplayRefused(10, MergeRefusal.GAP)]
    assert not long.proposed


def test_commands_whose_act_fails_are_refused() -> None:
    long = Member(2, SMALL, commands=5)
    system_entry = Replay(LARGE, (CommandBatch(b"c" * 16, 0, 1, 0, (b"x",)),))
    long.receive(peer(1), ReplayCommands(10, system_entry))
    long.fail()
    assert long.sent(ReplayRefused) == [ReplayRefused(10, MergeRefusal.FAILED)]


def test_leader_holds_a_bounded_number_of_acts() -> None:
    long = Member(2, SMALL, commands=5)
    for after in range(CONFIG.hosted + 3):
        command_batch = CommandBatch(b"c" * 16, 0, after + 1, 0, (b"x",))
        long.receive(
            peer(1), ReplayCommands(10, Replay(LARGE, (command_batch,), after, b"", after))
        )
    assert len(long.proposed) == CONFIG.hosted
    assert MergeRefusal.BUSY in [message.why for message in long.sent(ReplayRefused)]


def test_leader_that_is_replaced_refuses_what_it_held() -> None:
    long = Member(2, SMALL, commands=5)
    system_entry = Replay(LARGE, (CommandBatch(b"c" * 16, 0, 1, 0, (b"x",)),))
    long.receive(peer(1), ReplayCommands(10, system_entry))
    long.is_leader = False
    long.pump()
    assert long.sent(ReplayRefused) == [ReplayRefused(10, MergeRefusal.NOT_LEADER)]
    long.receive(peer(1), ReplayCommands(11, system_entry))
    assert long.sent(ReplayRefused) == [ReplayRefused(11, MergeRefusal.NOT_LEADER)]


def test_end_of_a_replay_that_is_not_here_whole_is_refused() -> None:
    long = Member(2, SMALL, commands=5)
    long.receive(peer(1), ReplayEnd(10, FinishMerge(LARGE, 3)))
    assert long.sent(ReplayRefused) == [ReplayRefused(10, MergeRefusal.GAP)]
    assert not long.proposed


def test_replay_goes_on_with_the_next_leader() -> None:
    short, long = closed_pair()
    transfer_target = Member(3, SMALL)
    for entry in long.log:
        transfer_target.append(entry.kind, entry.data)
    long.is_leader = False
    short.mail.clear()
    short.sees(long, transfer_target)
    transfer_target.sees(short, long)
    short.wait(CONFIG.retry * 2)
    assert [to for to, message in short.mail if isinstance(message, ReplayQuery)] == [
        transfer_target.me
    ]
    exchange(short, transfer_target)
    assert transfer_target.ledger.merged == (LARGE,)
    assert short.told(HistoryAbandoned) == [HistoryAbandoned(LARGE, SMALL)]


def test_what_is_not_in_a_history_that_ends_too_goes_where_that_goes() -> None:
    """LARGE was closed into MIDDLE, and two of its commands are there, when MIDDLE ends."""
    short, middle = Member(1, LARGE, commands=3), Member(2, MIDDLE, commands=4)
    long = Member(3, SMALL, commands=9)
    part = CommandBatch(short.client, 0, 1, 0, (b"\x01\x01", b"\x01\x02"))
    short.commit(CloseInto(MIDDLE))
    middle.commit(Replay(LARGE, (part,)))
    middle.commit(CloseInto(SMALL))
    meet(short, middle, long)
    exchange(short, middle, long)
    assert sorted(long.ledger.merged) == [MIDDLE, LARGE]
    assert [command for command in long.applied if command[0] == 1] == short.applied
    assert [command for command in long.applied if command[0] == 2] == middle.applied[:4]
    assert len(long.applied) == 3 + 4 + 9


def test_history_whose_winner_is_lost_goes_into_another_one() -> None:
    short, other = Member(1, LARGE, commands=3), Member(2, SMALL)
    short.commit(CloseInto(MIDDLE))
    meet(short, other)
    short.wait(CONFIG.lost * 0.9)
    exchange(short, other)
    assert not other.ledger.merged, "the winner may come back"
    short.wait(CONFIG.lost * 0.11)
    exchange(short, other)
    assert other.ledger.merged == (LARGE,)
    assert other.applied == short.applied
    assert short.told(HistoryAbandoned) == [HistoryAbandoned(LARGE, SMALL)]


def test_member_with_the_log_steps_in_when_the_leader_does_not_replay() -> None:
    short, long = Member(1, LARGE, commands=3), Member(2, SMALL, commands=5)
    short.is_leader = False
    short.commit(CloseInto(SMALL))
    meet(short, long)
    exchange(short, long)
    assert not long.ledger.taken_of(LARGE)
    short.wait(CONFIG.takeover * 2.1)
    exchange(short, long)
    assert long.ledger.merged == (LARGE,)


def test_member_does_not_step_in_while_the_replay_moves() -> None:
    watcher, long = Member(1, LARGE, commands=9), Member(2, SMALL, commands=5)
    watcher.is_leader = False
    watcher.commit(CloseInto(SMALL))
    watcher.sees(long)
    for taken in range(8):
        watcher.wait(CONFIG.takeover * 0.8)
        watcher.receive(long.me, ReplayState(LARGE, SMALL, taken + 1, False))
    assert not watcher.sent(ReplayCommands)


def test_member_without_the_whole_log_never_replays() -> None:
    short, long = Member(1, LARGE, commands=3), Member(2, SMALL, commands=5)
    short.commit(CloseInto(SMALL))
    short.first_index = 2
    meet(short, long)
    short.wait(60)
    exchange(short, long)
    assert not long.ledger.taken_of(LARGE)


# Giving up.


def test_history_is_abandoned_when_somebody_says_that_it_is_merged() -> None:
    short, long = Member(1, LARGE, commands=3), Member(2, SMALL, commands=5)
    short.is_leader = False
    long.commit(FinishMerge(LARGE, 0))
    short.sees(long)
    assert short.told(HistoryAbandoned) == [HistoryAbandoned(LARGE, SMALL)]
    short.wait(60)
    assert not short.told(HistoryAbandoned), "once"
    assert short.merge.get_timer() == float("inf")


def test_member_that_was_away_asks_whether_its_history_is_merged() -> None:
    """A status names the latest merges only."""
    short, long = Member(1, LARGE, commands=3), Member(2, SMALL, commands=5)
    short.is_leader = short.has_leader = False
    long.commit(FinishMerge(LARGE, 0))
    for number in range(70):
        long.commit(FinishMerge(bytes([100 + number]) * 16, 0))
    meet(short, long)
    exchange(short, long)
    assert short.told(HistoryAbandoned) == [HistoryAbandoned(LARGE, SMALL)]


def test_leader_that_asks_is_told_that_its_history_is_merged() -> None:
    short, long = Member(1, LARGE, commands=3), Member(2, SMALL, commands=5)
    long.commit(FinishMerge(LARGE, 0))
    for number in range(70):
        long.commit(FinishMerge(bytes([100 + number]) * 16, 0))
    meet(short, long)
    assert short.sent(MergeRequest)
    short.receive(long.me, ReplayState(LARGE, SMALL, 0, True))
    assert short.told(HistoryAbandoned) == [HistoryAbandoned(LARGE, SMALL)]


def test_word_about_another_history_changes_nothing() -> None:
    short, long = Member(1, LARGE, commands=3), Member(2, SMALL, commands=5)
    short.sees(long)
    short.receive(long.me, ReplayState(MIDDLE, SMALL, 0, True))
    short.receive(long.me, ReplayState(LARGE, LARGE, 0, True))
    assert not short.told(HistoryAbandoned)


def test_replayer_keeps_its_log_until_the_winner_has_as_many_voters() -> None:
    """Three voters survived a crash; the lone winner would not, before others vote there."""
    short, long = Member(1, LARGE, commands=3), Member(2, SMALL, commands=5)
    short.voter_count = 3
    meet(short, long)
    exchange(short, long)
    assert long.ledger.merged == (LARGE,)
    short.sees(long)
    assert not short.told(HistoryAbandoned)
    assert short.keeps_log()
    others = [Member(number, SMALL) for number in (3, 4)]
    for other in others:
        other.is_leader = False
    short.sees(long, *others)
    assert short.told(HistoryAbandoned) == [HistoryAbandoned(LARGE, SMALL)]


def test_replayer_does_not_linger_for_ever() -> None:
    short, long = Member(1, LARGE, commands=3), Member(2, SMALL, commands=5)
    short.voter_count = 3
    meet(short, long)
    exchange(short, long)
    short.wait(CONFIG.linger * 0.9)
    assert not short.told(HistoryAbandoned)
    short.wait(CONFIG.linger * 0.2)
    assert short.told(HistoryAbandoned)


# Around it.


def test_log_is_kept_while_it_may_have_to_be_replayed() -> None:
    short, long = Member(1, LARGE, commands=3), Member(2, SMALL, commands=5)
    short.pump()
    assert not short.keeps_log()
    meet(short, long)
    assert short.keeps_log()
    assert long.keeps_log(), "which one ends is not decided"
    long.sees()
    assert not long.keeps_log()
    exchange(short, long, until=lambda: bool(short.ledger.closed_into))
    short.sees()
    assert short.keeps_log()


def test_log_does_not_grow_for_ever_beside_a_history_that_does_not_merge() -> None:
    short, long = Member(1, LARGE, commands=3), Member(2, SMALL, commands=5)
    long.first_index = 4
    long.sees(short)
    assert not long.keeps_log(), "it is cut already"
    long.first_index = 1
    long.sees(short)
    assert long.keeps_log()
    for _ in range(40):
        long.wait(CONFIG.hold / 30)
        for request in long.sent(MergeRequest):
            long.receive(short.me, MergeRefused(request.request_id, MergeRefusal.BUSY))
    assert not long.keeps_log()


def test_member_without_a_history_takes_no_part() -> None:
    joiner, long = Member(1, b""), Member(2, SMALL, commands=5)
    joiner.ledger = Ledger()
    joiner.sees(long)
    joiner.wait(60)
    joiner.receive(long.me, MergeRequest(SMALL, b"r" * 16, 5))
    joiner.receive(long.me, ReplayQuery(SMALL))
    assert not joiner.mail
    assert not joiner.proposed
    assert not joiner.events


def test_core_begins_anew_with_another_history() -> None:
    short, long = merged_pair()
    assert short.merge.winner == SMALL
    short.history, short.ledger = SMALL, long.ledger
    short.log, short.is_leader = long.log, False
    short.sees(long)
    assert short.merge.winner == b""
    other = Member(3, MIDDLE, commands=1)
    short.is_leader = True
    short.pump()
    short.receive(other.me, MergeRequest(MIDDLE, b"r" * 16, 1))
    assert short.proposed == [AcceptMerge(MIDDLE, b"r" * 16)]


def test_three_histories_become_one() -> None:
    members = [Member(number, bytes([number]) * 16, commands=number) for number in range(1, 6)]
    for _ in range(40):
        meet(*members)
        exchange(*members)
        for member in members:
            member.wait(0.5)
            if member.told(HistoryAbandoned):
                # It joins, as a follower with the same log.
                winner = max(members, key=lambda m: m.is_leader and m.commit_index)
                member.is_leader, member.history = False, winner.history
                member.log, member.ledger = winner.log, winner.ledger
                member.applied = winner.applied
    assert len({member.history for member in members}) == 1
    for number in range(1, 6):
        mine = [command[1] for command in members[0].applied if command[0] == number]
        assert mine == list(range(1, number + 1))


@given(st.binary(max_size=120))
def test_whatever_a_peer_sends_is_taken_or_refused(data: bytes) -> None:
    member = Member(1, LARGE, commands=1)
    member.pump()
    try:
        member.merge.receive_message(peer(2), data, now=member.now)
    except DecodeError:
        return


@pytest.mark.parametrize("is_closed", [False, True])
@settings(deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_messages_out_of_turn_do_no_harm(is_closed: bool, seed: int) -> None:
    rng = Random(seed)
    member, other = Member(1, LARGE, commands=2), Member(2, SMALL, commands=5)
    member.sees(other)
    if is_closed:
        member.commit(CloseInto(SMALL))
    command_batch = CommandBatch(b"c" * 16, 0, 1, 0, (b"x",))
    requests = [message.request_id for message in member.sent(MergeRequest)] or [b"q" * 16]
    for _ in range(20):
        run = rng.choice([0, *(m.run for m in member.sent(ReplayCommands))])
        messages: list[MergeMessage] = [
            MergeRequest(rng.choice((SMALL, LARGE, MIDDLE)), b"r" * 16, rng.randint(0, 9)),
            MergeAccepted(rng.choice((SMALL, LARGE)), rng.choice(requests)),
            MergeRefused(rng.choice(requests), rng.choice(list(MergeRefusal))),
            ReplayQuery(rng.choice((SMALL, LARGE))),
            ReplayState(LARGE, SMALL, rng.randint(0, 5), False),
            ReplayCommands(run, Replay(SMALL, (command_batch,), rng.randint(0, 2))),
            ReplayCommands(run, Replay(LARGE, (command_batch,))),
            ReplayDone(run, rng.randint(0, 5)),
            ReplayRefused(run, rng.choice(list(MergeRefusal))),
            ReplayEnd(run, FinishMerge(rng.choice((SMALL, LARGE)), rng.randint(0, 2))),
        ]
        member.receive(other.me, rng.choice(messages))
        if member.proposed and rng.random() < 0.5:
            member.commit() if rng.random() < 0.7 else member.fail()
        member.wait(rng.random())
    own = [command for command in member.applied if command[:1] == b"\x01"]
    assert own == [b"\x01\x01", b"\x01\x02"]
