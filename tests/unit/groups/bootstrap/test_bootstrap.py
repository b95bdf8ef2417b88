"""How a history begins: each rule by itself, and many members under faults."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors.errors import DecodeError, RemoteError
from mosaik_actors.groups.bootstrap.bootstrap import Bootstrap
from mosaik_actors.groups.bootstrap.events import (
    BootstrapPhase,
    BootstrapStuck,
    Event,
    Founded,
    HistoryDied,
    SavePrepareVote,
    SendBootstrap,
)
from mosaik_actors.groups.bootstrap.transitions import STUCK_AFTER_S
from mosaik_actors.groups.config import ConsensusConfig
from mosaik_actors.groups.wire.bootstrap import (
    AskOutcome,
    Complete,
    Dead,
    Declined,
    DeclineReason,
    Message,
    Prepared,
    PrepareVote,
    Promised,
    Proposal,
    Propose,
    Seek,
    decode_message,
    decode_prepare_vote,
    encode_message,
    encode_prepare_vote,
)
from mosaik_actors.groups.wire.records import VOTER_COUNT_MAX
from mosaik_actors.groups.wire.status import MemberStanding, Status
from mosaik_actors.ids import PeerId

from ..bootstrap_simulator import Options, Simulation, options_of
from ..cores import peer, voters_of

E = TypeVar("E", bound=Event)

ALIVE = b"a" * 16
THERE = Status(MemberStanding.VOTER, ALIVE, commit_index=5)
SEEKING = Status()
OBSERVER = Status(is_observer=True)


def config_of(initial_voters: int) -> ConsensusConfig:
    return ConsensusConfig(initial_voters=initial_voters)


def alone(number: int, seen: dict[int, Status] | None = None, **given: Any) -> Bootstrap:
    """Return a member of a group that one may found, with what it sees at time 0."""
    bootstrap = Bootstrap(peer(number), config_of(1), Random(number), now=0.0, **given)
    bootstrap.update_peers({peer(n): status for n, status in (seen or {}).items()}, now=0.0)
    return bootstrap


def drain(bootstrap: Bootstrap) -> list[Event]:
    events = []
    while (event := bootstrap.next_event()) is not None:
        events.append(event)
    return events


def of_kind(events: Iterable[Event], kind: type[E]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


def founded(bootstrap: Bootstrap, now: float) -> list[Founded]:
    bootstrap.handle_timer(now=now)
    return of_kind(drain(bootstrap), Founded)


# One initial voter.


def test_lone_member_founds_a_history_after_the_delay() -> None:
    bootstrap = alone(1)
    assert founded(bootstrap, 0.99) == []
    assert bootstrap.get_timer() == 1.0
    (event,) = founded(bootstrap, 1.0)
    assert (event.voters, event.is_founder, len(event.history)) == (voters_of(1), True, 16)
    assert bootstrap.get_timer() is None
    assert founded(bootstrap, 5.0) == []


def test_lowest_joiner_founds_and_each_further_one_a_delay_later() -> None:
    everybody = dict.fromkeys((1, 2, 3), SEEKING)
    for number in (1, 2, 3):
        bootstrap = alone(number, everybody)
        assert founded(bootstrap, number - 0.01) == []
        assert len(founded(bootstrap, float(number))) == 1


def test_observers_and_those_who_leave_are_not_waited_for() -> None:
    seen = {1: OBSERVER, 2: Status(is_leaving=True), 3: SEEKING}
    assert len(founded(alone(3, seen), 1.0)) == 1


def test_observer_never_founds() -> None:
    bootstrap = alone(1, is_observer=True)
    assert founded(bootstrap, 1000.0) == []


def test_member_waits_where_there_is_a_history() -> None:
    bootstrap = alone(1, {2: THERE})
    assert founded(bootstrap, 5.0) == []
    # It leaves: the delay begins anew.
    bootstrap.update_peers({}, now=7.0)
    assert founded(bootstrap, 7.99) == []
    assert len(founded(bootstrap, 8.0)) == 1


def test_history_that_was_closed_into_another_does_not_count() -> None:
    closed = Status(MemberStanding.VOTER, ALIVE, closed_into=b"b" * 16)
    assert len(founded(alone(1, {2: closed}), 1.0)) == 1


def test_two_incarnations_with_the_same_numbers_found_different_histories() -> None:
    rng = Random(1)
    histories = []
    for _ in range(2):
        bootstrap = Bootstrap(peer(1), config_of(1), rng, now=0.0)
        histories.append(founded(bootstrap, 1.0)[0].history)
    assert histories[0] != histories[1]


# Three initial voters, moved by hand.


class Club:
    """Members that all see each other, without loss unless a test wants it."""

    def __init__(self, numbers: Sequence[int] = (1, 2, 3), initial_voters: int = 3) -> None:
        self.now = 0.0
        self.config = config_of(initial_voters)
        self.rng = Random(7)
        self.members: dict[int, Bootstrap] = {}
        self.statuses: dict[int, Status] = {}
        self.disks: dict[int, PrepareVote | None] = {}
        self.slow_disks: set[int] = set()
        self.unsaved: dict[int, list[PrepareVote | None]] = {}
        self.cut: set[int] = set()
        self.events: dict[int, list[Event]] = {number: [] for number in numbers}
        self.sent: list[tuple[int, int, Message]] = []
        self.mail: list[tuple[int, int, Message]] = []
        for number in numbers:
            self.start(number)
        self.meet()

    def start(self, number: int, *, history: bytes = b"", **given: Any) -> None:
        """Make a member from what its disk has."""
        self.unsaved[number] = []
        self.members[number] = Bootstrap(
            peer(number),
            self.config,
            self.rng,
            now=self.now,
            prepare_vote=self.disks.get(number),
            history=history,
            **given,
        )
        self.statuses.pop(number, None)

    def phase(self, number: int) -> BootstrapPhase:
        return self.members[number].phase

    def standing(self, number: int) -> MemberStanding:
        return self.members[number].standing

    def crash(self, number: int) -> None:
        del self.members[number]

    def status(self, number: int) -> Status:
        return self.statuses.get(number) or Status(self.members[number].standing)

    def meet(self) -> None:
        """Show everybody who is there, and deliver what they say to that."""
        self._look()
        self.settle()

    def _look(self) -> None:
        for number, bootstrap in self.members.items():
            seen = {
                peer(other): self.status(other)
                for other in self.members
                if other != number and not self.cut & {other, number}
            }
            bootstrap.update_peers(seen, now=self.now)

    def settle(self) -> None:
        self._collect()
        while self.mail:
            sender, to, message = self.mail.pop(0)
            if to in self.members and not self.cut & {sender, to}:
                self.give(sender, to, message)
            self._collect()

    def give(self, sender: int, to: int, message: Message) -> None:
        data = decode_message(encode_message(message))
        self.members[to].receive_message(peer(sender), data, now=self.now)

    def _collect(self) -> None:
        for number in list(self.members):
            self.collect(number)

    def collect(self, number: int) -> None:
        for event in drain(self.members[number]):
            self.events[number].append(event)
            if isinstance(event, SendBootstrap):
                posted = (number, bytes(event.peer)[0] - 1, event.message)
                self.sent.append(posted)
                self.mail.append(posted)
            elif isinstance(event, SavePrepareVote):
                self.unsaved[number].append(event.prepare_vote)
                if number not in self.slow_disks:
                    self.save(number)
            elif isinstance(event, Founded):
                self.statuses[number] = Status(MemberStanding.VOTER, event.history)
            elif isinstance(event, HistoryDied):
                del self.statuses[number]

    def save(self, number: int) -> None:
        while self.unsaved[number]:
            self.disks[number] = self.unsaved[number].pop(0)
            self.members[number].prepare_vote_saved(now=self.now)
        self.collect(number)

    def wait(self, seconds: float) -> None:
        """Let time pass, with what timers bring about."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 0.05)
            for bootstrap in list(self.members.values()):
                timer = bootstrap.get_timer()
                if timer is not None and timer <= self.now:
                    bootstrap.handle_timer(now=self.now)
            self.settle()
            self._look()
            self.settle()

    def of(self, number: int, kind: type[E]) -> list[E]:
        return of_kind(self.events[number], kind)

    def said(self, number: int, kind: type[Message]) -> list[Any]:
        return [m for sender, _, m in self.sent if sender == number and isinstance(m, kind)]

    def proposal(self) -> Proposal:
        """Return the latest proposal that anybody made."""
        made = [m.proposal for _, _, m in self.sent if isinstance(m, Propose)]
        return made[-1]

    def prepare_vote_two(self) -> Proposal:
        """Let 2 and 3 prepare for 1, who is gone before it learns of that."""
        self.now = 1.0
        self.members[1].handle_timer(now=self.now)
        self.collect(1)
        proposal = self.proposal()
        self.crash(1)
        self.settle()
        assert [self.members[n].phase for n in (2, 3)] == [BootstrapPhase.PREPARED] * 2
        return proposal


def test_three_begin_one_history_and_only_the_proposer_is_its_founder() -> None:
    club = Club()
    club.wait(2.0)
    events = [club.of(number, Founded) for number in (1, 2, 3)]
    assert [len(each) for each in events] == [1, 1, 1]
    assert len({each[0].history for each in events}) == 1
    assert [each[0].voters for each in events] == [voters_of(1, 2, 3)] * 3
    assert [each[0].is_founder for each in events] == [True, False, False]


def test_two_of_three_begin_nothing() -> None:
    club = Club((1, 2))
    club.wait(30.0)
    assert club.of(1, Founded) == []
    assert [event.why for event in club.of(1, BootstrapStuck)] == [
        "2 of the 3 members that begin one are here (initial_voters)"
    ] * 2


def test_observers_and_members_beyond_n_are_not_asked() -> None:
    club = Club((1, 2, 3, 4, 5))
    club.start(1, is_observer=True)
    club.statuses[1] = OBSERVER
    club.wait(2.0)
    assert club.proposal().voters == (peer(2), peer(3), peer(4))
    assert club.of(1, Founded) == club.of(5, Founded) == []


def test_nothing_is_said_before_the_prepare_vote_is_saved() -> None:
    club = Club()
    club.slow_disks = {1, 3}
    club.wait(1.5)
    assert club.said(3, Prepared) == []
    club.save(3)
    club.settle()
    assert len(club.said(3, Prepared)) == 1
    # Now 1 has all prepare votes but its own, and that is not saved.
    assert club.members[1]._promises.prepare_vote is not None
    assert club.said(1, Complete) == club.of(1, Founded) == []
    club.save(1)
    club.settle()
    assert len(club.of(2, Founded)) == 1


def test_one_prepare_vote_at_a_time() -> None:
    club = Club((1, 2, 3, 4))
    club.now = 1.0
    club.members[1].handle_timer(now=1.0)
    club.collect(1)
    first = club.proposal()
    club.give(1, 3, Propose(first))
    incarnations = tuple(club.members[n]._promises.incarnation for n in (2, 3, 4))
    second = Proposal(b"2" * 16, peer(2), (peer(2), peer(3), peer(4)), incarnations)
    club.give(2, 3, Propose(second))
    club.collect(3)
    assert club.said(3, Declined)[-1] == Declined(second.history, DeclineReason.BUSY)
    assert club.said(3, Prepared) == [Prepared(first)]


def test_lower_of_two_proposers_goes_on() -> None:
    club = Club((1, 2, 3))
    club.now = 2.0  # both are due
    for number in (1, 2):
        club.members[number].handle_timer(now=2.0)
        club.collect(number)
    lower, higher = [m.proposal for _, _, m in club.sent if isinstance(m, Propose)][::2]
    assert (lower.proposer, higher.proposer) == (peer(1), peer(2))
    club.give(1, 2, Propose(lower))
    club.give(2, 1, Propose(higher))
    club._collect()
    assert Prepared(lower) in club.said(2, Prepared)
    assert Dead(higher.history) in club.said(2, Dead)
    assert Declined(higher.history, DeclineReason.BUSY) in club.said(1, Declined)


def test_member_refuses_what_names_another_life_of_it() -> None:
    club = Club()
    club.now = 1.0
    club.members[1].handle_timer(now=1.0)
    club.collect(1)
    proposal = club.proposal()
    club.start(3)  # in memory: it has forgotten everything
    club.settle()
    assert Declined(proposal.history, DeclineReason.OTHER_INCARNATION) in club.said(3, Declined)
    assert club.phase(1) is BootstrapPhase.SEEKING
    club.meet()
    club.wait(5.0)
    assert len(club.of(3, Founded)) == 1


def test_member_that_knows_a_history_prepare_votes_itself_to_none() -> None:
    club = Club((1, 2, 3, 4))
    proposal = club.prepare_vote_two()
    club.statuses[4] = THERE
    club.members[4].joined(ALIVE, now=club.now)
    voters = (peer(1), peer(2), peer(4))
    other = Proposal(b"o" * 16, peer(1), voters, (b"1" * 16, b"2" * 16, b"4" * 16))
    club.give(1, 4, Propose(other))
    club.collect(4)
    assert club.said(4, Declined) == [Declined(other.history, DeclineReason.HISTORY_EXISTS)]
    assert proposal.history != other.history


def test_observer_prepare_votes_itself_to_nothing() -> None:
    bootstrap = Bootstrap(peer(2), config_of(3), Random(1), now=0.0, is_observer=True)
    voters = (peer(1), peer(2), peer(3))
    proposal = Proposal(b"h" * 16, peer(1), voters, (bytes(16),) * 3)
    bootstrap.receive_message(peer(1), Propose(proposal), now=0.0)
    assert drain(bootstrap) == [
        SendBootstrap(peer(1), Declined(proposal.history, DeclineReason.OBSERVER))
    ]


def test_proposer_gives_up_on_the_silent_and_then_prefers_others() -> None:
    club = Club((1, 2, 3, 4))
    club.slow_disks = {2}
    club.wait(1.1)
    first = club.proposal()
    assert first.voters == (peer(1), peer(2), peer(3))
    club.wait(1.2)
    # 3 is notified, and free; 1 asks 4 in place of 2.
    assert Dead(first.history) in club.said(1, Dead)
    club.wait(4.0)
    assert club.of(1, Founded)[0].voters == voters_of(1, 3, 4)


def test_proposal_ends_when_one_of_its_voters_is_gone() -> None:
    club = Club()
    club.slow_disks = {2, 3}
    club.wait(1.1)
    assert club.phase(1) is BootstrapPhase.PROPOSING
    club.crash(3)
    club.meet()
    assert club.phase(1) is BootstrapPhase.SEEKING
    assert club.phase(2) is BootstrapPhase.SEEKING


def test_prepared_member_begins_when_it_sees_that_others_have() -> None:
    club = Club()
    proposal = club.prepare_vote_two()
    club.statuses[2] = Status(MemberStanding.VOTER, proposal.history)
    club.meet()
    assert [event.is_founder for event in club.of(3, Founded)] == [False]
    assert club.phase(3) is BootstrapPhase.BEGUN


def test_evidence_of_a_complete_proposal_is_passed_on_when_the_proposer_is_dead() -> None:
    club = Club()
    proposal = club.prepare_vote_two()
    club.give(1, 2, Complete(proposal))
    club.settle()
    for number in (2, 3):
        assert club.of(number, Founded) == [
            Founded(proposal.history, voters_of(1, 2, 3), is_founder=False)
        ]


def test_proposer_that_restarts_with_its_own_prepare_vote_begins() -> None:
    """It is prepared last, so the proposal is complete."""
    club = Club()
    proposal = club.prepare_vote_two()
    club.disks[1] = PrepareVote(proposal)
    club.start(1)
    club.meet()
    assert [event.is_founder for event in club.of(1, Founded)] == [True]
    club.wait(1.0)
    assert [len(club.of(number, Founded)) for number in (2, 3)] == [1, 1]


def test_prepared_member_that_restarts_is_still_prepared_and_asks() -> None:
    club = Club()
    proposal = club.prepare_vote_two()
    club.start(3)
    assert club.standing(3) is MemberStanding.PREPARED
    club.meet()
    club.wait(0.5)
    assert AskOutcome(proposal) in club.said(3, AskOutcome)


def test_proposer_that_gave_up_and_is_asked_says_so() -> None:
    club = Club()
    club.slow_disks = {3}
    club.wait(1.1)
    proposal = club.proposal()
    club.cut = {2}
    club.meet()
    assert club.phase(1) is BootstrapPhase.SEEKING
    assert club.phase(2) is BootstrapPhase.PREPARED
    club.cut = set()
    club.sent.clear()
    club.meet()
    club.wait(1.2)
    assert Dead(proposal.history) in club.said(1, Dead)
    assert club.members[2]._promises.prepare_vote != PrepareVote(proposal)


# Promises.


def test_two_of_three_promise_and_are_free_under_new_incarnations() -> None:
    club = Club()
    proposal = club.prepare_vote_two()
    before = [club.members[n]._promises.incarnation for n in (2, 3)]
    club.meet()
    club.wait(7.5)
    assert [club.phase(n) for n in (2, 3)] == [BootstrapPhase.PREPARED] * 2
    assert [club.standing(n) for n in (2, 3)] == [MemberStanding.PREPARED] * 2
    club.wait(1.5)
    assert [club.phase(n) for n in (2, 3)] == [BootstrapPhase.SEEKING] * 2
    assert club.of(2, SavePrepareVote)[-2:] == [
        SavePrepareVote(PrepareVote(proposal, is_promised=True)),
        SavePrepareVote(None),
    ]
    after = [club.members[n]._promises.incarnation for n in (2, 3)]
    assert not set(before) & set(after)


def test_promise_is_not_told_before_it_is_saved() -> None:
    club = Club()
    club.prepare_vote_two()
    club.slow_disks = {2}
    club.meet()
    club.wait(9.0)
    assert club.members[2]._promises.has_promised
    assert club.said(2, Promised) == []
    assert club.phase(3) is BootstrapPhase.PREPARED
    club.save(2)
    club.settle()
    assert club.phase(3) is BootstrapPhase.SEEKING


def test_member_does_not_promise_where_no_majority_could() -> None:
    """Its promise would only weaken the history, should the others have begun it."""
    club = Club()
    proposal = club.prepare_vote_two()
    club.cut = {3}
    club.meet()
    club.wait(100.0)
    assert club.disks[2] == club.disks[3] == PrepareVote(proposal)
    assert "neither begins nor dies" in club.of(3, BootstrapStuck)[-1].why


def test_member_that_has_promised_does_not_begin() -> None:
    club = Club()
    proposal = club.prepare_vote_two()
    club.crash(2)
    club.disks[3] = PrepareVote(proposal, is_promised=True)
    club.start(3)
    club.meet()
    club.give(1, 3, Complete(proposal))
    club.settle()
    assert club.of(3, Founded) == []
    assert Promised(proposal.history) in club.said(3, Promised)
    assert club.standing(3) is MemberStanding.SEEKING


def test_history_dies_when_a_majority_promised_and_is_removed_before_its_prepare_vote() -> None:
    club = Club()
    proposal = club.prepare_vote_two()
    promise = PrepareVote(proposal, is_promised=True)
    club.disks = {1: PrepareVote(proposal), 2: promise, 3: promise}
    club.cut = {1, 2, 3}
    for number in (1, 2, 3):
        club.start(number)
        club.events[number].clear()
    club.meet()
    assert club.phase(1) is BootstrapPhase.BEGUN
    club.cut = set()
    club.meet()
    club.wait(1.0)
    kinds = [e for e in club.events[1] if isinstance(e, HistoryDied | SavePrepareVote)]
    assert kinds[:2] == [HistoryDied(proposal.history), SavePrepareVote(None)]
    # All are free, and begin another one.
    club.wait(5.0)
    histories = {club.of(number, Founded)[-1].history for number in (1, 2, 3)}
    assert len(histories) == 1
    assert histories != {proposal.history}


def test_one_promise_does_not_kill_a_history() -> None:
    club = Club()
    proposal = club.prepare_vote_two()
    club.disks[1] = PrepareVote(proposal)
    club.start(1)
    club.collect(1)
    club.give(2, 1, Promised(proposal.history))
    club.give(2, 1, Promised(proposal.history))
    club.give(4, 1, Promised(proposal.history))  # it is none of the voters
    assert club.phase(1) is BootstrapPhase.BEGUN
    club.give(3, 1, Promised(proposal.history))
    assert club.phase(1) is BootstrapPhase.SEEKING


def test_member_in_memory_that_comes_back_promises_for_its_former_life() -> None:
    club = Club()
    proposal = club.prepare_vote_two()
    club.crash(2)
    club.disks.pop(2)
    club.start(2)
    club.meet()
    club.wait(2.0)
    assert Promised(proposal.history) in club.said(2, Promised)
    # One promise of three: 3 is still prepared.
    assert club.members[3]._promises.prepare_vote == PrepareVote(proposal)


def test_proposer_that_forgot_is_not_waited_for_long() -> None:
    club = Club()
    proposal = club.prepare_vote_two()
    club.start(1)
    club.meet()
    club.wait(5.0)
    histories = {club.of(number, Founded)[0].history for number in (1, 2, 3)}
    assert len(histories) == 1
    assert proposal.history not in histories


def test_member_that_is_asked_before_it_was_prepared_never_will_be() -> None:
    club = Club()
    club.now = 1.0
    club.members[1].handle_timer(now=1.0)
    club.collect(1)
    proposal = club.proposal()
    club.mail.clear()
    club.give(3, 2, AskOutcome(proposal))
    club.give(1, 2, Propose(proposal))
    club.collect(2)
    assert club.said(2, Prepared) == []
    assert club.said(2, Dead) == [Dead(proposal.history)] * 2


# A history that exists.


def test_prepared_member_that_meets_a_history_is_welcomed_into_it() -> None:
    club = Club((1, 2, 3, 4))
    proposal = club.prepare_vote_two()
    club.crash(2)
    club.statuses[4] = Status(MemberStanding.VOTER, ALIVE)
    club.meet()
    club.slow_disks = {3}
    assert club.of(3, SavePrepareVote)[1:] == [], "that history has committed nothing"
    club.statuses[4] = THERE
    club.meet()
    assert club.standing(3) is MemberStanding.PREPARED
    club.save(3)
    assert club.disks[3] == PrepareVote(proposal, is_promised=True)
    assert Status(club.standing(3)) == SEEKING
    club.members[3].joined(ALIVE, now=club.now)
    club.settle()
    assert club.members[3]._promises.prepare_vote is None
    assert club.members[3].get_timer() is None
    club.give(2, 3, AskOutcome(proposal))
    club.collect(3)
    assert club.said(3, Promised)[-1] == Promised(proposal.history)


def test_history_without_a_log_gives_way_to_one_that_has_committed() -> None:
    club = Club((1, 2, 3, 4))
    proposal = club.prepare_vote_two()
    club.crash(2)
    club.give(1, 3, Complete(proposal))
    club.settle()
    assert club.phase(3) is BootstrapPhase.BEGUN
    club.statuses[4] = THERE
    club.meet()
    assert club.of(3, HistoryDied) == [HistoryDied(proposal.history)]


def test_history_with_a_log_does_not_give_way() -> None:
    club = Club((1, 2, 3, 4))
    club.wait(2.0)
    for number in (1, 2, 3):
        club.members[number].log_began(now=club.now)
    club.settle()
    assert club.disks == {1: None, 2: None, 3: None}
    club.statuses[4] = THERE
    club.meet()
    assert club.of(3, HistoryDied) == []


def test_members_of_a_history_answer_and_do_not_echo() -> None:
    club = Club()
    club.wait(2.0)
    proposal = club.proposal()
    club.sent.clear()
    club.give(2, 1, AskOutcome(proposal))
    club.settle()
    assert club.sent == [(1, 2, Complete(proposal))]


def test_member_with_a_saved_history_needs_no_prepare_vote() -> None:
    club = Club()
    proposal = club.prepare_vote_two()
    club.disks[3] = PrepareVote(proposal)
    club.start(3, history=ALIVE)
    club.settle()
    assert (club.phase(3), club.disks[3]) == (BootstrapPhase.MEMBER, None)
    club.disks[2] = PrepareVote(proposal)
    club.start(2, history=proposal.history)
    assert club.phase(2) is BootstrapPhase.BEGUN


def test_a_waiting_member_says_why_every_ten_seconds() -> None:
    bootstrap = alone(1, {2: THERE})
    assert of_kind(drain(bootstrap), BootstrapStuck) == []
    said = []
    for tick in range(1, 400):
        bootstrap.handle_timer(now=tick / 10)
        said += [(tick / 10, e.why) for e in of_kind(drain(bootstrap), BootstrapStuck)]
    why = f"waits to be accepted into history {ALIVE.hex()[:8]}"
    assert said == [(1.0 + STUCK_AFTER_S * n, why) for n in (1, 2, 3)]


# What comes from outside.

PROPOSAL = Proposal(b"h" * 16, peer(1), (peer(1), peer(2), peer(3)), (b"1" * 16,) * 3)
MESSAGES: list[Message] = [
    Seek(b"i" * 16, True),
    Propose(PROPOSAL),
    Prepared(PROPOSAL),
    Declined(PROPOSAL.history, DeclineReason.BUSY),
    Complete(PROPOSAL),
    AskOutcome(PROPOSAL),
    Promised(PROPOSAL.history),
    Dead(PROPOSAL.history),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_messages_survive_the_wire(message: Message) -> None:
    assert decode_message(encode_message(message)) == message


def test_prepare_votes_survive_the_disk() -> None:
    prepare_vote = PrepareVote(PROPOSAL, is_promised=True)
    assert decode_prepare_vote(encode_prepare_vote(prepare_vote)) == prepare_vote


@pytest.mark.parametrize(
    "bad",
    [
        Proposal(b"h" * 15, peer(1), (peer(1),), (b"1" * 16,)),
        Proposal(b"h" * 16, peer(1), (), ()),
        Proposal(b"h" * 16, peer(4), (peer(1),), (b"1" * 16,)),
        Proposal(b"h" * 16, peer(1), (peer(1),), (b"1" * 15,)),
        Proposal(b"h" * 16, peer(1), (peer(1), peer(2)), (b"1" * 16,)),
        Proposal(b"h" * 16, peer(1), (peer(2), peer(1)), (b"1" * 16,) * 2),
        Proposal(b"h" * 16, peer(1), (peer(1), peer(1)), (b"1" * 16,) * 2),
        Proposal(
            b"h" * 16,
            peer(0),
            tuple(peer(n) for n in range(VOTER_COUNT_MAX + 1)),
            (b"1" * 16,) * (VOTER_COUNT_MAX + 1),
        ),
    ],
)
def test_what_is_no_proposal_is_refused(bad: Proposal) -> None:
    with pytest.raises(DecodeError):
        decode_message(encode_message(Propose(bad)))
    with pytest.raises(DecodeError):
        decode_prepare_vote(encode_prepare_vote(PrepareVote(bad)))


@given(st.binary(max_size=200))
def test_other_bytes_are_refused(data: bytes) -> None:
    for decode in (decode_message, decode_prepare_vote):
        try:
            decode(data)
        except DecodeError:
            continue


@pytest.mark.parametrize(
    ("sender", "message"),
    [
        (2, Propose(PROPOSAL)),  # it is not the proposer
        (4, AskOutcome(PROPOSAL)),  # it is not among the voters
        (1, Propose(Proposal(b"h" * 16, peer(1), (peer(1), peer(3)), (b"1" * 16,) * 2))),
        (
            1,
            Complete(Proposal(b"h" * 16, peer(1), (peer(1), peer(2), peer(4)), (b"1" * 16,) * 3)),
        ),
    ],
)
def test_proposals_of_others_are_refused(sender: int, message: Message) -> None:
    bootstrap = Bootstrap(peer(3), config_of(3), Random(1), now=0.0)
    with pytest.raises(RemoteError):
        bootstrap.receive_message(peer(sender), message, now=0.0)
    assert drain(bootstrap) == []


@given(st.integers(0, 2**32), st.booleans())
@settings(max_examples=200, deadline=None)
def test_peers_that_lie_trip_nothing(seed: int, knows_all: bool) -> None:
    """Any message at any time is taken in, or refused as the peer's fault."""
    rng = Random(seed)
    me, now = peer(2), 0.0
    bootstrap = Bootstrap(me, config_of(3), Random(seed), now=now)
    unsaved = 0
    heard: list[Proposal] = [PROPOSAL]
    for _ in range(60):
        now += rng.random()
        for event in drain(bootstrap):
            unsaved += isinstance(event, SavePrepareVote)
            if isinstance(event, SendBootstrap) and isinstance(event.message, Propose | Prepared):
                heard.append(event.message.proposal)
        sender = peer(rng.choice((1, 3, 4)))
        match rng.randrange(8):
            case 0:
                bootstrap.handle_timer(now=now)
            case 1 if unsaved:
                unsaved -= 1
                bootstrap.prepare_vote_saved(now=now)
            case 2:
                seen = {peer(n): rng.choice((SEEKING, THERE, OBSERVER)) for n in (1, 3, 4)}
                bootstrap.update_peers(
                    seen if rng.random() < 0.3 else dict.fromkeys(seen, SEEKING), now=now
                )
            case _:
                mine = bootstrap._promises.incarnation if knows_all else bytes(16)
                proposal = random_proposal(rng, heard, sender, me, mine)
                messages: list[Message] = [
                    Seek(rng.choice((b"1" * 16, b"2" * 16)), rng.random() < 0.9),
                    Propose(proposal),
                    Prepared(proposal),
                    Complete(proposal),
                    AskOutcome(proposal),
                    Promised(proposal.history),
                    Dead(proposal.history),
                    Declined(proposal.history, rng.choice(list(DeclineReason))),
                ]
                try:
                    bootstrap.receive_message(sender, rng.choice(messages), now=now)
                except RemoteError:
                    continue


def random_proposal(
    rng: Random, heard: list[Proposal], sender: PeerId, me: PeerId, mine: bytes
) -> Proposal:
    """Return one that was heard, a forged variant of it, or one that nobody made."""
    known = rng.choice(heard)
    if rng.random() < 0.4:
        return known
    voters = tuple(sorted({me, sender, peer(rng.choice((1, 3, 4, 5)))}))
    incarnations = tuple(mine if voter == me else b"1" * 16 for voter in voters)
    history = known.history if rng.random() < 0.5 else rng.randbytes(16)
    return Proposal(history, rng.choice(voters), voters, incarnations)


# Everything together.


@given(st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_never_two_histories_and_always_one_once_faults_stop(seed: int) -> None:
    options = options_of(Random(seed))
    Simulation(options, seed).run()


@pytest.mark.parametrize("seed", range(8))
def test_members_that_keep_their_memory_settle_whatever_happened(seed: int) -> None:
    options = Options(initial_voters=3, voter_count=5, faults_until_s=40.0)
    assert Simulation(options, seed).run()
