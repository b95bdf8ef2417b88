"""Elections, pre-votes, check-quorum, transfer (thesis 3.4, 3.10, 4.2.3, 6.2, 9.6)."""

import pytest

from mosaik_actors.errors import RemoteError
from mosaik_actors.groups.raft.ready import (
    BecameLeader,
    LeaderChanged,
    ProposalVerdict,
    Reason,
    SteppedDown,
)
from mosaik_actors.groups.wire.raft import (
    Append,
    AppendRejected,
    Heartbeat,
    HeartbeatReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from mosaik_actors.groups.wire.records import Entry, HardState

from ..cores import Cores, log_of, peer, voters_of


def test_majority_elects_a_leader_that_commits_an_entry_of_its_own() -> None:
    cores = Cores(3)
    cores.elect(0)
    assert cores.events_of(0, BecameLeader) == [BecameLeader()]
    assert [raft.leader for raft in cores.rafts] == [peer(0)] * 3
    assert [raft.commit_index for raft in cores.rafts] == [1, 1, 1]


def test_lone_voter_leads_once_its_vote_is_saved() -> None:
    cores = Cores(1)
    cores.hold_disk(0)
    cores.time_out(0)
    assert cores.rafts[0].role.name == "candidate"
    cores.release_disk(0)
    assert cores.rafts[0].is_leader


def test_vote_is_given_once_in_a_term_and_survives_a_restart() -> None:
    """Figure 3.1: the vote is saved before it is sent."""
    cores = Cores(3)
    cores.give(0, 2, VoteRequest(5, 0, 0))
    cores.restart(2)
    cores.give(1, 2, VoteRequest(5, 0, 0))
    replies = cores.sent_of(2, VoteReply)
    assert [(r.term, r.is_granted) for r in replies] == [  # type: ignore[union-attr]
        (5, True),
        (5, False),
    ]
    cores.give(0, 2, VoteRequest(5, 0, 0))
    assert cores.sent_of(2, VoteReply)[-1] == VoteReply(5, is_granted=True)


def test_saved_state_holds_the_vote() -> None:
    cores = Cores(3)
    cores.rafts[2].receive_message(peer(0), VoteRequest(5, 0, 0), now=0.0)
    ready = cores.rafts[2].next_ready()
    assert ready is not None
    assert ready.hard_state == HardState(5, peer(0), 0)
    assert [message for _, message in ready.messages] == [VoteReply(5, is_granted=True)]
    assert ready.early_messages == ()


@pytest.mark.parametrize(
    ("mine", "theirs", "is_granted"),
    [
        (log_of(1, 2), (2, 2), True),
        (log_of(1, 2), (1, 2), False),
        (log_of(1, 2), (3, 1), False),
        (log_of(1, 1, 1), (1, 2), True),
    ],
)
def test_vote_goes_to_logs_as_complete_as_the_own(
    mine: list[Entry], theirs: tuple[int, int], is_granted: bool
) -> None:
    """3.6.1: by the last term, then by length."""
    cores = Cores(3, logs=[mine, [], []])
    cores.give(1, 0, VoteRequest(9, theirs[0], theirs[1]))
    assert cores.sent_of(0, VoteReply)[-1].is_granted is is_granted  # type: ignore[union-attr]


def test_only_voters_are_counted() -> None:
    cores = Cores(5, voters=voters_of(0, 1, 2, learners=(3, 4)))
    cores.isolate(0, 3, 4)
    cores.time_out(0)
    for learner in (3, 4):
        cores.give(learner, 0, VoteReply(1, is_granted=True, is_pre_vote=True))
    assert cores.rafts[0].role.name == "pre-candidate"


def test_one_peer_is_one_vote() -> None:
    cores = Cores(5)
    cores.isolate(0)
    cores.time_out(0)
    for _ in range(3):
        cores.give(1, 0, VoteReply(1, is_granted=True, is_pre_vote=True))
    assert cores.rafts[0].role.name == "pre-candidate"
    cores.give(2, 0, VoteReply(1, is_granted=True, is_pre_vote=True))
    assert cores.rafts[0].role.name == "candidate"


def test_learner_never_stands_but_votes() -> None:
    cores = Cores(3, voters=voters_of(0, 1, learners=(2,)))
    for _ in range(3):
        cores.time_out(2)
    assert cores.rafts[2].role.name == "follower"
    cores.give(0, 2, VoteRequest(1, 0, 0))
    assert cores.sent_of(2, VoteReply) == [VoteReply(1, is_granted=True)]


def test_replica_that_was_cut_off_does_not_disturb_the_leader() -> None:
    """9.6: it asks before it stands, so its term stays, and the leader too.

    It hears nobody, but the others hear it.
    """
    cores = Cores(3)
    cores.elect(0)
    cores.cut = {(0, 2), (1, 2)}
    for _ in range(5):
        while cores.rafts[0].get_timer() < cores.rafts[2].get_timer():
            cores.beat(0)
        cores.time_out(2)
        cores.settle()
    assert cores.rafts[2].role.name == "pre-candidate"
    cores.heal()
    cores.beat(0)
    assert cores.rafts[2].leader == peer(0)
    assert cores.rafts[0].is_leader
    assert [raft.term for raft in cores.rafts] == [1, 1, 1]


def test_voters_that_hear_a_leader_ignore_elections() -> None:
    """4.2.3: neither term nor leader changes for a removed server that does not know it."""
    cores = Cores(4, voters=voters_of(0, 1, 2))
    cores.elect(0)
    for number in (0, 1):
        cores.give(3, number, VoteRequest(9, 99, 8))
        cores.give(3, number, VoteRequest(9, 99, 8, is_pre_vote=True))
    assert [raft.term for raft in cores.rafts[:3]] == [1, 1, 1]
    assert cores.rafts[0].is_leader
    refusals = [m for n in (0, 1) for m in cores.sent_of(n, VoteReply) if m.is_granted is False]  # type: ignore[union-attr]
    assert [m.is_pre_vote for m in refusals] == [True, True]  # type: ignore[union-attr]


def test_replica_stuck_in_a_higher_term_gets_a_leader() -> None:
    """The leader learns the term from the refusal of its heartbeat, and a new one is elected."""
    cores = Cores(3)
    cores.elect(0)
    cores.restart(2)
    cores.give(1, 2, VoteRequest(3, 9, 9))
    cores.mail.clear()
    cores.beat(0)
    assert AppendRejected(3, 0, 0, 0) in cores.sent_of(2, AppendRejected)
    assert not cores.rafts[0].is_leader
    cores.time_out(1)
    cores.settle()
    cores.elect(1)
    assert {raft.term for raft in cores.rafts} == {4}


def test_leader_without_a_quorum_steps_down() -> None:
    """6.2: so that its clients hear of it."""
    cores = Cores(3)
    cores.elect(0)
    cores.isolate(0)
    began_s = cores.now
    for _ in range(10):
        if cores.rafts[0].is_leader:
            cores.time_out(0)
            assert cores.now <= began_s + cores.settings.election_timeout + 1e-9
    assert cores.events_of(0, SteppedDown) == [SteppedDown(1, "heard no quorum")]
    assert cores.events_of(0, LeaderChanged)[-1] == LeaderChanged(None, 1)


def test_learners_do_not_keep_a_leader_in_office() -> None:
    cores = Cores(4, voters=voters_of(0, 1, learners=(2, 3)))
    cores.elect(0)
    cores.isolate(1)
    for _ in range(20):
        if cores.rafts[0].is_leader:
            cores.beat(0)
    assert not cores.rafts[0].is_leader


def test_leader_that_hears_a_quorum_stays() -> None:
    cores = Cores(3)
    cores.elect(0)
    cores.isolate(2)
    while cores.now < 20:
        cores.beat(0)
    assert cores.rafts[0].is_leader
    assert cores.rafts[0].term == 1


def test_split_votes_end_with_a_new_election() -> None:
    cores = Cores(2)
    cores.time_out(0)
    cores.rafts[1].handle_timer(now=cores.now + 2)
    cores.pump(1)
    cores.settle()
    for _ in range(20):
        if any(raft.is_leader for raft in cores.rafts):
            break
        late = max((0, 1), key=lambda n: -cores.rafts[n].get_timer())
        cores.time_out(late)
        cores.settle()
    assert sum(raft.is_leader for raft in cores.rafts) == 1


def test_election_timeouts_are_spread() -> None:
    cores = Cores(8)
    timers = [raft.get_timer() for raft in cores.rafts]
    assert len(set(timers)) == 8
    assert all(1.0 <= timer <= 1.5 for timer in timers)


def test_transfer_hands_over_without_waiting_for_a_timeout() -> None:
    """3.10."""
    cores = Cores(3)
    cores.elect(0)
    began_s = cores.now
    cores.isolate(1)
    assert cores.rafts[0].propose(b"a", 1)
    cores.settle()
    cores.heal()
    assert cores.rafts[0].transfer_leadership(peer(1))
    assert not cores.rafts[0].propose(b"b", 2)
    cores.settle()
    cores.beat(0)
    cores.settle()
    assert cores.rafts[1].is_leader
    assert cores.rafts[1].term == 2
    assert cores.now - began_s < cores.settings.election_timeout
    outcome = cores.outcomes[0][-1]
    assert (outcome.token, outcome.verdict, outcome.reason) == (
        2,
        ProposalVerdict.NOT_TAKEN,
        Reason.TRANSFERRING,
    )


def test_transfer_to_a_silent_peer_ends_and_proposals_are_taken_again() -> None:
    cores = Cores(3)
    cores.elect(0)
    cores.isolate(1)
    assert cores.rafts[0].transfer_leadership(peer(1))
    assert not cores.rafts[0].propose(b"a", 1)
    until_s = cores.now + cores.rafts[0].settings.election_timeout
    while cores.now < until_s:
        cores.beat(0)
    assert cores.rafts[0].is_leader
    assert cores.rafts[0].propose(b"a", 1)


@pytest.mark.parametrize("to", [0, 2, 7])
def test_transfer_goes_only_to_another_voter(to: int) -> None:
    cores = Cores(3, voters=voters_of(0, 1, learners=(2,)))
    cores.elect(0)
    assert not cores.rafts[0].transfer_leadership(peer(to))
    assert not cores.rafts[1].transfer_leadership(peer(0))


def test_only_the_leader_can_order_an_election() -> None:
    cores = Cores(3)
    cores.elect(0)
    cores.give(2, 1, TimeoutNow(1))
    assert cores.rafts[1].role.name == "follower"


def test_two_leaders_in_a_term_are_a_broken_rule() -> None:
    cores = Cores(3)
    cores.elect(0)
    with pytest.raises(RemoteError, match="second leader in term 1"):
        cores.give(1, 0, Append(1, 0, 0, 0))


def test_answer_to_a_round_that_never_was_is_a_broken_rule() -> None:
    cores = Cores(3)
    cores.elect(0)
    with pytest.raises(RemoteError, match="round 99"):
        cores.give(1, 0, HeartbeatReply(1, 99, 0))


def test_clock_that_goes_back_delays_nothing() -> None:
    """The replica carries on from where it was."""
    cores = Cores(3)
    before_s = cores.rafts[0].get_timer()
    cores.rafts[0].handle_timer(now=0.5)
    cores.rafts[0].handle_timer(now=-100.0)
    assert cores.rafts[0].get_timer() == pytest.approx(before_s - 100.5)


def test_heartbeat_of_an_old_term_is_answered_with_the_new_one() -> None:
    cores = Cores(3)
    cores.elect(0)
    cores.elect(1)
    cores.give(2, 0, Heartbeat(1, 0, 1))
    assert cores.sent_of(0, AppendRejected)[-1] == AppendRejected(2, 0, 0, 0)


def test_role_changes_that_may_not_be_name_both_roles() -> None:
    cores = Cores(3)
    cores.elect(0)
    with pytest.raises(AssertionError, match="leader cannot become candidate"):
        cores.rafts[0].become_candidate(is_transfer=False)


def test_who_has_not_the_log_up_to_where_it_joined_neither_stands_nor_votes() -> None:
    """Whatever the configuration in its log says: it may have voted in a former life."""
    cores = Cores(3, join_indexes=[0, 0, 2])
    cores.rafts[2].campaign(now=cores.now)
    cores.time_out(2)
    cores.give(0, 2, VoteRequest(5, 9, 4))
    cores.give(0, 2, VoteRequest(5, 9, 4, is_pre_vote=True))
    cores.give(0, 2, TimeoutNow(0))
    assert cores.rafts[2].role.name == "follower"
    assert cores.rafts[2].term == 0
    assert cores.sent_of(2, VoteRequest) == cores.sent_of(2, VoteReply) == []
    cores.elect(0)  # the others are enough
    assert [raft.is_non_voting for raft in cores.rafts] == [False, False, True]
    cores.rafts[0].propose(b"second")
    cores.settle()
    cores.time_out(0)
    cores.settle()
    assert cores.rafts[2].commit_index == 2
    assert not any(raft.is_non_voting for raft in cores.rafts)
    cores.cut = {(0, 1), (1, 0), (0, 2), (2, 0)}
    cores.elect(2)
    assert cores.rafts[2].is_leader


def test_who_is_alone_and_has_not_the_log_yet_does_not_lead() -> None:
    cores = Cores(1, join_indexes=[1])
    cores.rafts[0].campaign(now=cores.now)
    cores.time_out(0)
    assert cores.rafts[0].role.name == "follower"
