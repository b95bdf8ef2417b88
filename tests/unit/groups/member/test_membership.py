"""Who votes: each rule by itself, and all of them on random groups until nothing is left to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors.groups.config import ConsensusConfig, GroupsConfig
from mosaik_actors.groups.member.membership import (
    GroupView,
    MembershipChange,
    MemberView,
    TransferTo,
    choose_admitted,
    plan_change,
    prefer_leader,
    view_key,
)
from mosaik_actors.groups.raft.quorum import majority
from mosaik_actors.groups.wire.configuration import check_change, make_voters
from mosaik_actors.groups.wire.records import LEARNER_COUNT_MAX, Voters
from mosaik_actors.groups.wire.status import MemberStanding, Status
from mosaik_actors.ids import PeerId

from ..cores import peer, voters_of

MINE = b"m" * 16
OTHER = b"o" * 16
LAG_MAX = 4096


def status_of(**given: Any) -> Status:
    return msgspec.structs.replace(Status(MemberStanding.LEARNER, MINE, commit_index=9), **given)


FIT = MemberView(status_of(), 0.1, 0, is_replicating=True)
SEEKING = MemberView(Status())
GONE = MemberView(None, 100.0, 50, is_replicating=True)
DEAD = MemberView(None, 6.0, 50, is_replicating=True)
FORGOT = MemberView(Status(), 0.5, 0, is_replicating=True, has_acknowledged=True)
SLOW = MemberView(status_of(is_catching_up=True), 0.1, 10_000, is_replicating=False)


def fit(**given: Any) -> MemberView:
    """Return a member that could vote, but for what is given of its status."""
    return replace(FIT, status=status_of(**given))


def view_of(
    voters: Voters,
    peers: dict[int, MemberView] | None = None,
    mine: Status | None = None,
    **given: Any,
) -> GroupView:
    """Return what leader 0 sees; those that are not mentioned are fit."""
    mentioned = {peer(number): seen for number, seen in (peers or {}).items()}
    members = {p: FIT for p in (*voters.voters, *voters.learners) if p != peer(0)}
    options: dict[str, Any] = {
        "me": peer(0),
        "my_status": mine or status_of(standing=MemberStanding.VOTER),
        "history": MINE,
        "config": ConsensusConfig(),
        "settings": GroupsConfig(),
        "voters": voters,
        "peers": members | mentioned,
    }
    return GroupView(**(options | given))


def explain(view: GroupView) -> str:
    """Return why the voters are not as they should be, for people; empty when they are."""
    count = len(view.voters.voters)
    troubles = [
        f"voter {peer.short} {what}"
        for peer in view.others
        for what, is_so in (
            ("has left, or is not allowed any more", view.of(peer).is_leaving),
            ("has lost its memory", view.is_lost(peer)),
            ("is silent, and nobody can take its place", view.is_dead(peer)),
        )
        if is_so
    ]
    if sum(view.is_here(peer) for peer in view.voters.voters) < majority(count):
        troubles.append(f"too few of {count} voters are here to change anything")
    if count % 2 == 0:
        coming = [peer.short for peer in view.coming()]
        wait = f"waits for {', '.join(coming)}" if coming else "nobody to add or to take away"
        troubles.append(f"{count} voters, an even number: {wait}")
    return "; ".join(troubles)


def target_of(view: GroupView) -> Voters:
    step = plan_change(view)
    assert isinstance(step, MembershipChange)
    assert step.why
    check_change(view.voters, step.target)
    return step.target


def test_nothing_is_done_when_all_is_well() -> None:
    view = view_of(voters_of(0, 1, 2, learners=(3,)))
    assert plan_change(view) is None
    assert explain(view) == ""


def test_views_with_one_key_need_the_same() -> None:
    """A leader plans nothing as long as the key of what it sees stays that of a settled view."""
    rng = Random(1)
    needs: dict[str, object] = {}
    voters = voters_of(0, 1, 2, learners=(3, 4))
    for _ in range(3000):
        members = {
            number: replace(
                rng.choice([FIT, FIT, FIT, fit(is_admitted=True), SLOW]),
                silent_s=rng.choice([None, 0.0, 0.3, 1.1, 4.9, 5.1, 29.0, 31.0, 1e5]),
                lag=rng.choice([None, 0, 5, LAG_MAX, LAG_MAX + 1]),
            )
            for number in rng.sample(range(1, 5), 2)
        }
        view = view_of(voters, members)
        plan = plan_change(view)
        found = plan is None, choose_admitted(view, plan), prefer_leader(view)
        assert needs.setdefault(repr(view_key(view)), found) == found
    assert len(needs) < 2500, "nearly all views differ: nothing is shown"


def test_the_key_of_an_idle_view_does_not_change_with_time() -> None:
    first, later = (view_of(voters_of(0, 1, 2), {1: replace(FIT, silent_s=s)}) for s in (0.0, 0.9))
    silent = view_of(voters_of(0, 1, 2), {1: replace(FIT, silent_s=1.1)})
    assert view_key(first) == view_key(later) != view_key(silent)


def test_one_change_at_a_time() -> None:
    view = view_of(voters_of(0), {1: SEEKING})
    assert target_of(view) == voters_of(0, learners=(1,))
    assert plan_change(replace(view, is_pending=True)) is None


def test_leader_that_is_no_voter_changes_nothing() -> None:
    assert plan_change(view_of(voters_of(1, 2, 3), {4: SEEKING})) is None


# Rule 1.


def test_voter_that_leaves_is_removed() -> None:
    leaving = {1: fit(is_leaving=True)}
    assert target_of(view_of(voters_of(0, 1, 2), leaving)) == voters_of(0, 2)
    assert target_of(view_of(voters_of(0, 1), leaving)) == voters_of(0)
    said_good_bye = {1: MemberView(None, 0.2, 0, is_replicating=True, has_left=True)}
    assert target_of(view_of(voters_of(0, 1, 2), said_good_bye)) == voters_of(0, 2)


def test_voter_that_may_not_be_a_member_any_more_is_removed() -> None:
    """At once: neither its silence is waited for, nor somebody to take its place."""
    excluded = {1: replace(DEAD, silent_s=0.1, is_excluded=True)}
    assert target_of(view_of(voters_of(0, 1, 2), excluded)) == voters_of(0, 2)
    assert target_of(view_of(voters_of(0, 1, 2), {1: replace(FIT, is_excluded=True)})) == (
        voters_of(0, 2)
    )
    # It does not help to commit that. Half of the voters are no majority.
    assert plan_change(view_of(voters_of(0, 1), excluded)) is None


def test_leader_that_leaves_hands_over_to_the_best_voter() -> None:
    mine = status_of(is_leaving=True)
    peers = {1: fit(leadership_factor=4.0), 2: FIT, 3: fit(is_leaving=True), 4: DEAD}
    step = plan_change(view_of(voters_of(0, 1, 2, 3, 4), peers, mine))
    assert isinstance(step, TransferTo)
    assert step.peer == peer(2)


def test_last_voter_that_leaves_makes_a_learner_its_transfer_target() -> None:
    mine = status_of(is_leaving=True)
    assert target_of(view_of(voters_of(0, learners=(1,)), {}, mine)) == voters_of(0, 1)
    step = plan_change(view_of(voters_of(0, 1), {}, mine))
    assert isinstance(step, TransferTo)
    assert step.peer == peer(1)


def test_last_voter_stays_when_there_is_nobody_else() -> None:
    assert plan_change(view_of(voters_of(0), {}, status_of(is_leaving=True))) is None


def test_dead_voter_goes_before_one_that_leaves_and_is_needed_to_agree() -> None:
    peers = {1: fit(is_leaving=True), 2: DEAD}
    assert target_of(view_of(voters_of(0, 1, 2), peers)) == voters_of(0, 1)
    assert target_of(view_of(voters_of(0, 1), peers)) == voters_of(0)


# Rule 2.


@pytest.mark.parametrize("seen", [FORGOT, fit(history=OTHER)])
def test_voter_without_its_memory_is_removed_and_then_learns(seen: MemberView) -> None:
    assert target_of(view_of(voters_of(0, 1, 2), {1: seen})) == voters_of(0, 2)
    again = target_of(view_of(voters_of(0, 2), {1: SEEKING}))
    assert again == voters_of(0, 2, learners=(1,))


def test_learner_that_forgot_is_removed_as_what_it_acknowledged_is_void() -> None:
    assert target_of(view_of(voters_of(0, learners=(1,)), {1: FORGOT})) == voters_of(0)


def test_new_learner_that_was_not_welcomed_yet_stays() -> None:
    seen = MemberView(Status(), 0.1, 100)
    assert plan_change(view_of(voters_of(0, learners=(1,)), {1: seen})) is None


# Rule 3.


def test_dead_voter_is_replaced_by_a_learner_that_is_promoted_first() -> None:
    view = view_of(voters_of(0, 1, 2, learners=(3,)), {1: DEAD})
    assert target_of(view) == voters_of(0, 1, 2, 3)
    assert target_of(view_of(voters_of(0, 1, 2, 3), {1: DEAD})) == voters_of(0, 2, 3)


def test_silence_shorter_than_the_limit_is_borne() -> None:
    quiet = replace(DEAD, silent_s=4.9)
    assert plan_change(view_of(voters_of(0, 1, 2, learners=(3,)), {1: quiet})) is None


def test_three_without_a_spare_keep_their_dead() -> None:
    view = view_of(voters_of(0, 1, 2, learners=(3,)), {1: DEAD, 3: SLOW})
    assert plan_change(view) is None
    assert "nobody can take its place" in explain(view)


def test_five_without_a_spare_shrink_to_three() -> None:
    five = view_of(voters_of(0, 1, 2, 3, 4), {2: DEAD, 3: fit(leadership_factor=4.0)})
    assert target_of(five) == voters_of(0, 1, 3, 4)
    four = view_of(voters_of(0, 1, 3, 4), {3: fit(leadership_factor=4.0)})
    assert target_of(four) == voters_of(0, 1, 4, learners=(3,))


def test_majority_that_is_dead_changes_nothing() -> None:
    view = view_of(voters_of(0, 1, 2, 3, 4, learners=(5,)), {1: DEAD, 2: DEAD, 3: DEAD})
    assert plan_change(view) is None
    assert "too few of 5 voters" in explain(view)


# Rule 4.


def test_those_who_are_bonded_become_learners_all_at_once() -> None:
    peers = {
        1: SEEKING,
        2: FIT,
        3: MemberView(Status(is_observer=True)),
        4: MemberView(Status(is_leaving=True)),
        5: MemberView(Status(MemberStanding.PREPARED)),
        6: fit(history=OTHER),
        7: MemberView(None),
    }
    assert target_of(view_of(voters_of(0), peers)) == voters_of(0, learners=(1, 2, 3))


def test_learners_are_bounded() -> None:
    many = {PeerId(n.to_bytes(32)): SEEKING for n in range(1, LEARNER_COUNT_MAX + 50)}
    view = replace(view_of(voters_of(0)), peers=many)
    target = target_of(view)
    assert len(target.learners) == LEARNER_COUNT_MAX
    assert plan_change(replace(view, voters=target)) is None


# Rule 5.


def test_pair_is_begun_only_when_two_are_ready() -> None:
    assert plan_change(view_of(voters_of(0, learners=(1,)))) is None
    assert plan_change(view_of(voters_of(0, learners=(1, 2)), {2: SLOW})) is None
    assert target_of(view_of(voters_of(0, learners=(1, 2)))) == voters_of(0, 1, learners=(2,))
    assert target_of(view_of(voters_of(0, 1, learners=(2,)))) == voters_of(0, 1, 2)


@pytest.mark.parametrize(
    "unfit",
    [
        SLOW,
        fit(is_observer=True),
        fit(is_catching_up=True),
        replace(FIT, lag=LAG_MAX + 1),
        replace(FIT, lag=None),
        replace(FIT, is_replicating=False),
        replace(FIT, silent_s=1.1),
        replace(FIT, silent_s=None),
        MemberView(None, 0.1, 0, is_replicating=True),
    ],
)
def test_unfit_learner_is_not_promoted(unfit: MemberView) -> None:
    assert plan_change(view_of(voters_of(0, learners=(1, 2)), {1: unfit})) is None


def test_willing_then_near_then_low_members_come_first() -> None:
    peers = {1: fit(leadership_factor=2.0), 2: replace(FIT, lag=3), 3: FIT, 4: FIT}
    assert target_of(view_of(voters_of(0, learners=(1, 2, 3, 4)), peers)).voters == (
        peer(0),
        peer(3),
    )


def test_no_more_than_max_voters() -> None:
    learners = tuple(range(5, 9))
    assert plan_change(view_of(voters_of(0, 1, 2, 3, 4, learners=learners))) is None
    config = ConsensusConfig(max_voters=3)
    assert plan_change(view_of(voters_of(0, 1, 2, learners=(3, 4)), config=config)) is None
    four = view_of(voters_of(0, 1, 2, 3, learners=(4,)), config=config)
    assert len(target_of(four).voters) == 3


def test_even_number_waits_for_who_is_catching_up_and_is_else_reduced() -> None:
    waiting = view_of(voters_of(0, 1, learners=(2,)), {2: SLOW})
    assert plan_change(waiting) is None
    assert "waits for" in explain(waiting)
    stalled = {2: replace(SLOW, silent_s=6.0)}
    assert target_of(view_of(voters_of(0, 1, learners=(2,)), stalled)) == voters_of(
        0, learners=(1, 2)
    )
    assert target_of(view_of(voters_of(0, 1))) == voters_of(0, learners=(1,))


def test_two_of_whom_one_is_silent_can_change_nothing() -> None:
    view = view_of(voters_of(0, 1), {1: DEAD})
    assert plan_change(view) is None
    assert "even number" in explain(view)


# Rules 6 and 7.


def test_voter_that_wants_to_observe_becomes_a_learner() -> None:
    peers = {1: fit(is_observer=True)}
    assert target_of(view_of(voters_of(0, 1, 2), peers)) == voters_of(0, 2, learners=(1,))


def test_leader_that_wants_to_observe_hands_over() -> None:
    step = plan_change(view_of(voters_of(0, 1, 2), {}, status_of(is_observer=True)))
    assert isinstance(step, TransferTo)


def test_learners_that_are_gone_are_forgotten() -> None:
    peers = {
        1: GONE,
        2: replace(GONE, silent_s=59.0),
        3: fit(is_leaving=True),
        4: replace(fit(history=OTHER), is_replicating=False),
        5: MemberView(),
    }
    view = view_of(voters_of(0, learners=(1, 2, 3, 4, 5)), peers)
    assert target_of(view) == voters_of(0, learners=(2, 5))


# Preferred leaders.


def test_reluctant_leader_hands_over_to_a_willing_voter() -> None:
    reluctant = status_of(leadership_factor=4.0)
    peers = {1: fit(leadership_factor=2.0), 2: replace(FIT, lag=5), 3: FIT, 4: DEAD}
    voters = voters_of(0, 1, 2, 3, 4)
    assert prefer_leader(view_of(voters, peers, reluctant)) == peer(3)
    assert prefer_leader(view_of(voters, peers)) is None
    alike = {number: fit(leadership_factor=4.0) for number in (1, 2, 3, 4)}
    assert prefer_leader(view_of(voters, alike, reluctant)) is None
    assert prefer_leader(view_of(voters_of(0), {}, reluctant)) is None


# All together: a leader follows the policy until nothing is left to do.


def random_member(rng: Random) -> MemberView:
    return rng.choices(
        [
            FIT,
            replace(FIT, lag=rng.randrange(100)),
            fit(leadership_factor=4.0),
            SLOW,
            SEEKING,
            FORGOT,
            DEAD,
            GONE,
            replace(FIT, silent_s=3.0),
            fit(is_leaving=True),
            fit(is_observer=True),
            fit(history=OTHER),
            MemberView(Status(MemberStanding.PREPARED), 0.1, 9),
            MemberView(None, 0.2, 0, is_replicating=True, has_left=True),
            MemberView(None, 0.2, 0, is_replicating=True, is_excluded=True),
            MemberView(),
        ],
        weights=[12, 4, 2, 3, 3, 2, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1],
    )[0]


def random_view(rng: Random) -> GroupView:
    count_max = rng.choice((1, 3, 5, 7))
    voter_count = rng.randint(1, count_max)
    numbers = list(range(voter_count + rng.randint(0, 6)))
    in_configuration = rng.randint(voter_count, len(numbers))
    learners = numbers[voter_count:in_configuration]
    mine = rng.choices(
        [status_of(), status_of(is_leaving=True), status_of(is_observer=True)], [8, 1, 1]
    )[0]
    return view_of(
        voters_of(*numbers[:voter_count], learners=learners),
        {number: random_member(rng) for number in numbers[1:]},
        mine,
        config=ConsensusConfig(max_voters=count_max),
    )


def is_here(view: GroupView, member: PeerId) -> bool:
    """Whether a voter answers, in plain words."""
    if member == view.me:
        return True
    seen = view.peers[member]
    says_otherwise = seen.status is not None and seen.status.history != MINE
    if (
        says_otherwise
        and seen.status is not None
        and seen.status.standing is MemberStanding.PREPARED
    ):
        says_otherwise = False  # it is about to begin, and says so late
    return (
        seen.silent_s is not None
        and seen.silent_s <= 1.0
        and not says_otherwise
        and not seen.has_left
        and not seen.is_excluded
    )


def count_here(view: GroupView, voters: Sequence[PeerId]) -> int:
    return sum(is_here(view, member) for member in voters)


def follow(
    view: GroupView, step: MembershipChange | TransferTo, will_catch_up: dict[PeerId, bool]
) -> GroupView:
    """Return what the leader sees after a step."""
    if isinstance(step, TransferTo):
        assert is_here(view, step.peer)
        peers = dict(view.peers)
        seen = peers.pop(step.peer)
        assert seen.status is not None
        peers[view.me] = MemberView(view.my_status, 0.1, 0, is_replicating=True)
        return replace(view, me=step.peer, my_status=seen.status, peers=peers)
    before, after = view.voters, step.target
    check_change(before, after)
    assert view.me in after.voters, "the leader was taken out"
    for voters in (before.voters, after.voters):
        assert count_here(view, voters) >= majority(len(voters)), step.why
    peers = dict(view.peers)
    members = (*after.voters, *after.learners)
    for member, seen in view.peers.items():
        if member in members and member not in (*before.voters, *before.learners):
            is_quick = will_catch_up.get(member, True) and seen.status is not None
            is_wanting = seen.status is not None and not seen.status.is_observer
            peers[member] = FIT if is_quick and is_wanting else replace(seen, silent_s=0.1, lag=50)
        elif member not in members:
            # Its progress is forgotten with its place.
            peers[member] = replace(
                seen, is_replicating=False, has_acknowledged=False, lag=None, silent_s=None
            )
    return replace(view, voters=after, peers=peers)


def settle(view: GroupView, rng: Random) -> GroupView:
    will_catch_up = {member: rng.random() < 0.8 for member in view.peers}
    count_max = max(len(view.voters.voters), view.config.max_voters) + 1
    for _ in range(6 * len(view.peers) + 10):
        step = plan_change(view)
        if step is None:
            return view
        view = follow(view, step, will_catch_up)
        assert len(view.voters.voters) <= count_max
    raise AssertionError(f"never ends: {view}")


def is_unwanted(status: Status) -> bool:
    """Whether what a voter says of itself means that it should not vote."""
    is_lost = status.standing is MemberStanding.SEEKING or status.history not in (b"", MINE)
    return is_lost or status.is_leaving or status.is_observer


@given(st.integers(0, 2**32))
@settings(max_examples=1500, deadline=None)
def test_policy_ends_with_an_odd_number_or_says_why(seed: int) -> None:
    """Every step is legal and can be committed; at the end nothing obvious is left to do."""
    rng = Random(seed)
    view = settle(random_view(rng), rng)
    voters, peers = view.voters.voters, view.peers
    if count_here(view, voters) < majority(len(voters)):
        assert "too few" in explain(view)
        return
    bonded = {m: s.status for m, s in peers.items() if s.status is not None and not s.has_left}
    if len(voters) % 2 == 0:
        assert "even number: waits for" in explain(view)
        hopes = [m for m in view.voters.learners if m in bonded and not bonded[m].is_observer]
        assert hopes
    unwanted = [
        m
        for m in voters
        if m != view.me and (peers[m].has_left or (m in bonded and is_unwanted(bonded[m])))
    ]
    for member in unwanted:
        # Only one that the others could not do without is left.
        rest = [m for m in voters if m != member]
        assert count_here(view, rest) < majority(len(rest))
    dead = [m for m in voters if m != view.me and (peers[m].silent_s or 0) > 5]
    assert not dead or len(voters) <= 3
    for member, status in bonded.items():
        if status.history == MINE and not status.is_leaving and member not in voters:
            assert member in view.voters.learners


@given(st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_healthy_group_reaches_the_most_voters_it_can_have(seed: int) -> None:
    rng = Random(seed)
    count_max, count = rng.choice((1, 3, 5, 7)), rng.randint(1, 10)
    view = settle(
        view_of(
            make_voters([peer(0)]),
            dict.fromkeys(range(1, count), SEEKING),
            config=ConsensusConfig(max_voters=count_max),
        ),
        Random(1 << 40),
    )
    slow = [m for m, seen in view.peers.items() if seen != FIT]
    able = count - len(slow)
    expected = min(count_max, able if able % 2 else able - 1)
    assert len(view.voters.voters) == expected
