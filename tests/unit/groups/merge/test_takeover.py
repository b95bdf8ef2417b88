"""When the voters of a history are taken for gone, and whose turn it is to go on then."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

import msgspec
import pytest

from mosaik_actors.groups.config import ConsensusConfig, GroupsConfig
from mosaik_actors.groups.merge.takeover import (
    ContinueHistory,
    DropHistory,
    FollowHistory,
    Step,
    SurvivorView,
    Takeover,
)
from mosaik_actors.groups.wire.status import Ancestor, MemberStanding, Status
from mosaik_actors.ids import PeerId

OWN, NEXT, LATER = b"own" * 5 + b".", b"next" * 4, b"late" * 4
SETTINGS = GroupsConfig(replace_after=5.0)
STEP_S = 1.0


def peer(number: int) -> PeerId:
    return PeerId(bytes([number]) * 32)


ME, VOTER, OTHER, NEWCOMER = peer(5), peer(1), peer(2), peer(9)


def at(**given: Any) -> Status:
    """Return the status of an observer of this history that has lost its voters, too."""
    usual = Status(MemberStanding.LEARNER, OWN, commit_index=9, is_observer=True, is_abandoned=True)
    return msgspec.structs.replace(usual, **given)


SEEKING = Status()
LEADING = at(standing=MemberStanding.VOTER, leader=VOTER, is_observer=False, is_abandoned=False)
VIEW = SurvivorView(
    history=OWN,
    deciding=((VOTER,),),
    commit_index=9,
    is_led=False,
    is_closed=False,
    is_observer=True,
    is_non_voting=False,
    is_leaving=False,
    is_restoring=False,
    peers={VOTER: LEADING},
)


class Survivor:
    """One member, and what it saw so far."""

    def __init__(self, **given: Any) -> None:
        self.takeover = Takeover(ME, ConsensusConfig(**given), SETTINGS)
        self.now = 0.0
        self.view = VIEW

    def sees(self, peers: dict[PeerId, Status], **given: Any) -> Step | None:
        self.view = replace(self.view, peers=peers, **given)
        return self.takeover.look(self.view, now=self.now)

    def waits(self, seconds: float) -> Step | None:
        self.now += seconds
        return self.takeover.look(self.view, now=self.now)


def bereft(peers: dict[PeerId, Status], *, is_durable: bool = False, **given: Any) -> Survivor:
    """Return one whose only voter has been gone for long enough, and who sees these peers."""
    survivor = Survivor()
    survivor.sees({VOTER: msgspec.structs.replace(LEADING, is_durable=is_durable)}, **given)
    survivor.sees({})
    survivor.now = SETTINGS.replace_after
    survivor.sees(peers)
    return survivor


def test_history_goes_on_when_the_voters_were_away_for_long_enough() -> None:
    survivor = Survivor()
    assert survivor.sees({VOTER: LEADING, NEWCOMER: SEEKING}) is None
    assert survivor.takeover.timer_s == inf
    survivor.now = 1.0
    assert survivor.sees({NEWCOMER: SEEKING}) is None
    assert not survivor.takeover.is_abandoned
    assert survivor.takeover.timer_s == 6.0
    assert survivor.waits(4.9) is None
    assert survivor.waits(0.1) == ContinueHistory()
    assert survivor.takeover.is_abandoned


def test_voter_that_was_here_meanwhile_is_waited_for_anew() -> None:
    survivor = Survivor()
    survivor.sees({VOTER: LEADING})
    survivor.sees({NEWCOMER: SEEKING})
    survivor.now = 4.0
    survivor.sees({VOTER: LEADING, NEWCOMER: SEEKING})
    survivor.sees({NEWCOMER: SEEKING})
    assert survivor.waits(4.9) is None
    assert survivor.waits(0.2) == ContinueHistory()


def test_voter_that_came_back_without_memory_is_gone() -> None:
    survivor = bereft({VOTER: SEEKING})
    assert survivor.waits(0) == ContinueHistory()


@pytest.mark.parametrize(
    ("peers", "given"),
    [
        ({}, {}),
        ({OTHER: at()}, {}),
        ({NEWCOMER: Status(is_observer=True)}, {}),
        ({NEWCOMER: Status(is_leaving=True)}, {}),
        ({NEWCOMER: SEEKING}, {"is_leaving": True}),
        ({NEWCOMER: SEEKING}, {"is_closed": True}),
        ({NEWCOMER: SEEKING}, {"is_led": True}),
        # Another survivor still sees a voter, or knows one to be durable.
        ({NEWCOMER: SEEKING, OTHER: at(is_abandoned=False)}, {}),
        ({NEWCOMER: SEEKING, OTHER: at(is_abandoned=False, commit_index=3, leader=VOTER)}, {}),
        # This member is a voter itself: it waits for the others.
        ({NEWCOMER: SEEKING}, {"deciding": ((VOTER, ME),), "is_observer": False}),
    ],
)
def test_nothing_happens(peers: dict[PeerId, Status], given: dict[str, Any]) -> None:
    survivor = bereft(peers, **given)
    assert survivor.waits(100) is None


def test_one_that_is_behind_and_follows_nobody_is_not_asked() -> None:
    survivor = bereft({NEWCOMER: SEEKING, OTHER: at(is_abandoned=False, commit_index=3)})
    assert survivor.waits(0) == ContinueHistory()


def test_one_that_is_behind_and_follows_a_voter_without_memory_is_not_asked() -> None:
    behind = at(is_abandoned=False, commit_index=3, leader=VOTER)
    survivor = bereft({VOTER: SEEKING, OTHER: behind})
    assert survivor.waits(0) == ContinueHistory()


def test_member_that_was_a_voter_in_a_former_life_is_none_that_is_waited_for() -> None:
    given: dict[str, Any] = {"deciding": ((VOTER, ME),), "is_observer": False}
    survivor = bereft({VOTER: SEEKING}, is_non_voting=True, **given)
    assert survivor.waits(0) == ContinueHistory()


def test_durable_voter_is_waited_for() -> None:
    survivor = bereft({NEWCOMER: SEEKING}, is_durable=True)
    assert survivor.waits(1000) is None
    assert not survivor.takeover.is_abandoned


def test_unknown_voters_are_waited_for_unless_a_majority_is_known() -> None:
    three = ((VOTER, peer(3), peer(4)),)
    survivor = bereft({NEWCOMER: SEEKING}, deciding=three)
    assert survivor.waits(1000) is None
    survivor = Survivor()
    survivor.sees({VOTER: LEADING, peer(3): LEADING}, deciding=three)
    survivor.sees({NEWCOMER: SEEKING})
    assert survivor.waits(5) == ContinueHistory()


def test_more_initial_voters_are_never_replaced() -> None:
    survivor = Survivor(initial_voters=3)
    survivor.sees({VOTER: LEADING})
    survivor.sees({NEWCOMER: SEEKING})
    assert survivor.waits(1000) is None


def test_those_that_have_most_take_their_turn_first() -> None:
    """Of several alike one that may vote, then the lowest; a second each."""
    for others, rank in (
        ({OTHER: at(commit_index=8)}, 0),
        ({OTHER: at(commit_index=10)}, 1),
        ({OTHER: at()}, 1),
        ({peer(6): at()}, 0),
        ({peer(6): at(is_observer=False)}, 1),
        ({OTHER: at(), peer(3): at(commit_index=10), peer(4): at(is_leaving=True)}, 2),
    ):
        survivor = bereft({NEWCOMER: SEEKING, **others})
        if rank:
            assert survivor.waits(rank * STEP_S - 0.1) is None
            assert survivor.takeover.timer_s == SETTINGS.replace_after + rank * STEP_S
        assert survivor.waits(0.1) == ContinueHistory(), (others, rank)


def test_learner_that_may_vote_needs_nobody() -> None:
    survivor = bereft({}, is_observer=False)
    assert survivor.waits(0) == ContinueHistory()


def test_observer_that_votes_because_it_took_over_is_in_reach_only_while_it_leads() -> None:
    leads = at(standing=MemberStanding.VOTER, leader=VOTER, is_abandoned=False)
    survivor = Survivor()
    survivor.sees({VOTER: leads, NEWCOMER: SEEKING})
    assert survivor.waits(100) is None
    survivor.sees({VOTER: at(standing=MemberStanding.VOTER), NEWCOMER: SEEKING})
    survivor.waits(5)
    assert survivor.waits(STEP_S) == ContinueHistory()


def test_history_is_followed_where_it_goes_on() -> None:
    continues = Status(
        MemberStanding.VOTER,
        NEXT,
        commit_index=20,
        position=7,
        ancestors=(Ancestor(OWN, 9, 4, 4),),
        is_durable=True,
    )
    survivor = bereft({OTHER: continues})
    assert survivor.waits(0) == FollowHistory(NEXT, 4, 20)
    # Of several the one with more; not one that has ended, nor one that lacks what is here.
    later = Status(
        MemberStanding.LEARNER,
        LATER,
        position=8,
        ancestors=(Ancestor(OWN, 9, 5, 5), *continues.ancestors),
    )
    assert survivor.sees({OTHER: continues, NEWCOMER: later}) == FollowHistory(LATER, 5, 11)
    ended = msgspec.structs.replace(later, closed_into=NEXT)
    assert survivor.sees({OTHER: continues, NEWCOMER: ended}) == FollowHistory(NEXT, 4, 20)
    lacking = msgspec.structs.replace(later, ancestors=(Ancestor(OWN, 8, 4, 4),))
    assert survivor.sees({NEWCOMER: lacking}) == ContinueHistory()


def test_history_without_a_majority_for_ever_goes_on_though_voters_are_here() -> None:
    """Those of its voters that have another history, or none, will never be in it again."""
    survivor = Survivor()
    both = {VOTER: LEADING, OTHER: LEADING}
    survivor.sees(both, deciding=((VOTER, OTHER),))
    left = {VOTER: at(standing=MemberStanding.VOTER, is_observer=False), OTHER: SEEKING}
    assert survivor.sees(left) is None
    survivor.waits(5)
    assert survivor.takeover.is_abandoned
    assert survivor.waits(STEP_S) == ContinueHistory()
    # Of three one may be lost.
    survivor = Survivor()
    survivor.sees(both, deciding=((VOTER, OTHER, peer(3)),))
    survivor.sees({VOTER: LEADING, OTHER: SEEKING})
    assert survivor.waits(100) is None
    # While a change of the voters is not committed, both sets must be able to decide.
    survivor.sees(left, deciding=((VOTER,), (VOTER, OTHER)))
    survivor.waits(5)
    assert survivor.takeover.is_abandoned


@pytest.mark.parametrize("is_durable", [False, True])
def test_voter_that_gives_the_history_up_is_believed(is_durable: bool) -> None:
    """Its log may have a change of the voters that never came here."""
    leading = msgspec.structs.replace(LEADING, is_durable=is_durable)
    given_up = msgspec.structs.replace(leading, leader=None, is_abandoned=True)
    survivor = Survivor()
    survivor.sees({VOTER: leading})
    assert survivor.sees({VOTER: given_up}) is None
    assert survivor.waits(4.9) is None
    given_up_early = survivor.takeover.is_abandoned
    survivor.waits(0.1)
    assert (given_up_early, survivor.takeover.is_abandoned) == (False, True)
    # The voter may vote, hence it goes on, and this one follows it.
    assert survivor.waits(0.9) is None
    goes_on = msgspec.structs.replace(
        leading, history=NEXT, commit_index=12, ancestors=(Ancestor(OWN, 9, 4, 4),)
    )
    assert survivor.sees({VOTER: goes_on}) == FollowHistory(NEXT, 4, 12)
    # What it sees of its leader meanwhile counts.
    survivor = Survivor()
    survivor.sees({VOTER: given_up})
    survivor.waits(4)
    assert survivor.sees({VOTER: leading}) is None
    assert survivor.waits(100) is None
    assert not survivor.takeover.is_abandoned


def test_half_a_state_is_dropped_when_nobody_is_left_to_complete_it() -> None:
    survivor = bereft({OTHER: at(), NEWCOMER: SEEKING})
    assert survivor.sees(survivor.view.peers, is_restoring=True) is None  # type: ignore[arg-type]
    assert survivor.sees({OTHER: at(is_catching_up=True)}) == DropHistory()


def test_member_without_one_entry_lets_go() -> None:
    survivor = bereft({OTHER: at(), NEWCOMER: SEEKING}, deciding=(), commit_index=0)
    assert survivor.waits(0) is None
    assert survivor.sees({NEWCOMER: SEEKING}) == DropHistory()
