"""Replicas that have nothing to do: what they agree on, and all that ends it."""

import pytest

from mosaik_actors.groups.raft.quiescence import DOUBT_FACTOR
from mosaik_actors.groups.raft.ready import ReadState, SteppedDown
from mosaik_actors.groups.wire.raft import (
    Append,
    Heartbeat,
    HeartbeatReply,
    ReadRequest,
    TimeoutNow,
    VoteRequest,
)

from ..cores import Cores, Life


def quiesced(count: int = 3) -> Cores:
    """Return replicas of which 0 leads and all are quiesced."""
    cores = Cores(count)
    cores.elect(0)
    cores.note_alive(*range(count))
    for _ in range(2):  # it learns what they know to be committed; they agree
        cores.beat(0)
    assert is_quiesced(cores)
    cores.sent.clear()
    return cores


def is_quiesced(cores: Cores) -> bool:
    return cores.rafts[0].is_quiesced


def follows_quiesced(cores: Cores, number: int) -> bool:
    return cores.rafts[number].role.liveness is not None


def pass_time(cores: Cores, seconds: float, *alive: int) -> None:
    """Let time pass for all, with the nodes of some heard all the time; mail is delivered."""
    until = cores.now + seconds
    while cores.now < until:
        cores.now += 0.05
        cores.note_alive(*alive)
        cores.note_silent()
        for number, raft in enumerate(cores.rafts):
            if raft.get_timer() <= cores.now:
                raft.handle_timer(now=cores.now)
                cores.pump(number)
        while cores.mail:
            cores.deliver()


def test_quiesced_replicas_say_next_to_nothing_and_stay_what_they_are() -> None:
    cores = quiesced()
    pass_time(cores, 12.0, 0, 1, 2)
    assert is_quiesced(cores)
    assert [raft.role.name for raft in cores.rafts] == ["leader", "follower", "follower"]
    assert cores.rafts[0].silent_s(cores.rafts[1].me) == pytest.approx(0.0, abs=0.1)
    # One heartbeat in five election timeouts, and its answer, with each of the two.
    assert len(cores.sent) <= 3 * 4
    assert {type(message) for _, _, message in cores.sent} == {Heartbeat, HeartbeatReply}


def test_without_heartbeats_of_the_nodes_all_stays_as_it_was() -> None:
    cores = Cores(3)
    cores.elect(0)
    pass_time(cores, 3.0)
    assert not is_quiesced(cores)
    assert not any(beat.may_quiesce for beat in cores.sent_of(0, Heartbeat))  # type: ignore[union-attr]


def test_follower_whose_leader_is_not_heard_stands_within_the_same_timeout() -> None:
    cores = quiesced()
    pass_time(cores, 7.3, 0, 1, 2)
    cores.isolate(0)
    heard_at, settings = cores.now, cores.settings
    limit_s = settings.election_timeout + settings.election_timeout_jitter
    while not any(raft.is_leader for raft in cores.rafts[1:]):
        pass_time(cores, 0.05, 1, 2)
        assert cores.now <= heard_at + limit_s + 0.2
    assert cores.now >= heard_at + settings.election_timeout


def test_leader_that_does_not_hear_a_quorum_steps_down_in_the_same_time() -> None:
    cores = quiesced()
    pass_time(cores, 7.3, 0, 1, 2)
    cores.isolate(0)
    heard_at = cores.now
    while cores.rafts[0].is_leader:
        pass_time(cores, 0.05, 0)
        assert cores.now <= heard_at + cores.settings.election_timeout + 0.1
    assert cores.events_of(0, SteppedDown) == [SteppedDown(1, "heard no quorum")]


def test_one_follower_that_is_not_heard_wakes_the_leader_and_does_not_depose_it() -> None:
    cores = quiesced()
    cores.isolate(2)
    pass_time(cores, 2 * cores.settings.election_timeout, 0, 1)
    assert not is_quiesced(cores)
    assert cores.rafts[0].is_leader
    silent_s = cores.rafts[0].silent_s(cores.rafts[2].me)
    assert silent_s is not None
    assert silent_s >= cores.settings.election_timeout
    # It comes back, as a candidate that is refused, and all is quiet again.
    cores.heal()
    pass_time(cores, 2.0, 0, 1, 2)
    assert cores.rafts[0].is_leader
    assert cores.rafts[2].leader == cores.rafts[0].me
    assert is_quiesced(cores)


def test_proposal_wakes_everybody_and_is_committed_at_once() -> None:
    cores = quiesced()
    assert cores.rafts[0].propose(b"x")
    cores.pump(0)
    cores.deliver()
    assert not follows_quiesced(cores, 1)
    assert not is_quiesced(cores)
    cores.settle()
    assert cores.rafts[0].commit_index == 2
    # What comes next if the leader is gone now is what came before there was quiescence.
    assert cores.rafts[0].get_timer() <= cores.now + cores.settings.heartbeat_interval
    pass_time(cores, 2.0, 0, 1, 2)
    assert is_quiesced(cores)


def test_proposal_after_a_long_rest_does_not_depose_the_leader() -> None:
    """It counts when the others were heard, though its core has looked at no clock for long."""
    cores = quiesced()
    leader = cores.rafts[0]
    while cores.now - leader.now < 3 * cores.settings.election_timeout:
        pass_time(cores, 0.05, 0, 1, 2)
    assert leader.propose(b"x")
    cores.pump(0)
    leader.handle_timer(now=cores.now)
    assert leader.is_leader
    # From then on answers count: without any it steps down, as ever.
    cores.isolate(0)
    pass_time(cores, cores.settings.election_timeout - 0.2, 0)
    assert leader.is_leader
    pass_time(cores, 0.4, 0, 1, 2)
    assert not leader.is_leader


def test_agreement_that_comes_after_a_proposal_is_void() -> None:
    cores = quiesced()
    cores.rafts[0].read("has them answer")
    cores.pump(0)
    cores.deliver()  # the followers agree
    cores.rafts[0].propose(b"x")
    cores.pump(0)
    cores.deliver()  # what they said arrives after the entry has left
    assert not is_quiesced(cores)


def test_strong_read_of_a_quiesced_leader_asks_a_quorum() -> None:
    cores = quiesced()
    cores.rafts[0].read("r")
    cores.pump(0)
    assert len(cores.sent_of(0, Heartbeat)) == 2
    assert not cores.reads[0]
    cores.settle()
    assert cores.reads[0] == [ReadState("r", 1)]
    # One that was replaced, unheard of, does not answer it, whatever the nodes do.
    cores.isolate(0)
    cores.rafts[0].read("stale")
    pass_time(cores, 3.0, 0, 1, 2)
    assert cores.reads[0][1:] in ([], [ReadState("stale", None)])


def test_strong_read_of_a_quiesced_follower_asks_the_leader() -> None:
    cores = quiesced()
    cores.rafts[1].read("r")
    cores.settle()
    assert len(cores.sent_of(1, ReadRequest)) == 1
    assert len(cores.sent_of(0, Heartbeat)) == 2
    assert cores.reads[1] == [ReadState("r", 1)]


def test_leader_that_steps_down_says_so_to_those_that_rely_on_its_node() -> None:
    """Its node goes on living, and would be taken for a leader's."""
    cores = quiesced()
    cores.isolate(2)
    cores.give(1, 0, VoteRequest(9, 9, 9, is_transfer=True))
    assert not cores.rafts[0].is_leader
    cores.heal()
    cores.mail = [(s, to, m) for s, to, m in cores.mail if isinstance(m, Heartbeat)]
    cores.deliver()
    assert not follows_quiesced(cores, 1)
    assert not follows_quiesced(cores, 2)
    pass_time(cores, 3.0, 0, 1, 2)
    assert any(raft.is_leader for raft in cores.rafts)


def test_resigning_leader_has_the_others_wake_and_one_take_over() -> None:
    cores = quiesced()
    cores.rafts[0].step_down("the disk hangs", now=cores.now)
    cores.pump(0)
    assert len(cores.sent_of(0, TimeoutNow)) == 1
    cores.settle()
    assert any(raft.is_leader for raft in cores.rafts[1:])


def test_candidate_wakes_a_quiesced_leader() -> None:
    """One that asks for votes does not hear it, whatever its node does."""
    cores = quiesced()
    raft = cores.rafts[1]
    raft.step_down("for a test", now=cores.now)
    assert not follows_quiesced(cores, 1)
    cores.now = raft.get_timer()
    cores.note_alive(0, 1, 2)
    raft.handle_timer(now=cores.now)
    cores.pump(1)
    cores.settle()
    # Both refuse it, for they hear the leader, by its node; and the leader beats again.
    assert cores.rafts[0].is_leader
    assert not is_quiesced(cores)
    pass_time(cores, 0.5, 0, 1, 2)
    assert raft.leader == cores.rafts[0].me


def test_quiesced_follower_helps_nobody_to_depose_a_leader_it_hears() -> None:
    """Thesis 4.2.3, with what is heard of the leader's node."""
    cores = quiesced()
    pass_time(cores, 4.0, 0, 1, 2)
    cores.give(2, 1, VoteRequest(7, 9, 9))
    assert cores.rafts[1].term == 1
    # When the node was not heard for an election timeout, it does.
    cores.now += cores.settings.election_timeout
    cores.give(2, 1, VoteRequest(7, 9, 9))
    assert cores.rafts[1].term == 7


def test_another_liveness_ends_it_on_both_sides() -> None:
    """Another connection, or one that has another leader or history: as the caller says."""
    cores = quiesced()
    pass_time(cores, 2.0, 0, 1, 2)
    for pair in ((0, 1), (1, 0)):
        cores.lives[pair] = Life(cores.now)
    for number in (0, 1):
        cores.rafts[number].recheck_quiescence(now=cores.now)
    assert not is_quiesced(cores)
    assert not follows_quiesced(cores, 1)
    # The follower counts from when it heard the old one, and stands no earlier than ever.
    assert cores.rafts[1].get_timer() >= cores.now + cores.settings.election_timeout
    assert cores.rafts[0].get_timer() <= cores.now + cores.settings.heartbeat_interval


def test_follower_that_gets_no_message_for_long_relies_on_messages_alone() -> None:
    cores = quiesced()
    cores.isolate(0)
    doubt_s = DOUBT_FACTOR * cores.settings.quiesced_interval
    # The nodes live, and not one message comes through.
    pass_time(cores, doubt_s + 3.0, 0, 1, 2)
    assert any(raft.is_leader for raft in cores.rafts[1:])


def test_follower_that_has_more_or_less_than_the_leader_does_not_agree() -> None:
    cores = quiesced()
    cores.rafts[0].propose(b"x")
    cores.pump(0)
    cores.mail.clear()
    cores.give(0, 1, Heartbeat(1, 2, 1, 1, may_quiesce=True))
    assert not follows_quiesced(cores, 1)
    cores.give(0, 1, Append(1, 1, 1, 1, cores.log(0)[1:2]))  # type: ignore[arg-type]
    cores.give(0, 1, Heartbeat(1, 1, 1, 1, may_quiesce=True))
    assert not follows_quiesced(cores, 1)
    replies = cores.sent_of(1, HeartbeatReply)[-2:]
    assert [reply.is_quiesced for reply in replies] == [False, False]  # type: ignore[union-attr]


def test_lone_voter_beats_for_nobody() -> None:
    cores = Cores(1)
    cores.elect(0)
    cores.beat(0)
    wait_s = cores.rafts[0].get_timer() - cores.now
    assert wait_s > cores.settings.heartbeat_interval
