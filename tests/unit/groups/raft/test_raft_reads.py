"""Strong reads: ReadIndex (thesis 6.4)."""

from mosaik_actors.groups.raft.config import RaftConfig
from mosaik_actors.groups.raft.ready import ReadState
from mosaik_actors.groups.wire.raft import Append, Appended, Heartbeat, ReadReply, ReadRequest
from mosaik_actors.groups.wire.records import HardState

from ..cores import Cores, log_of, peer, voters_of


def test_leader_reads_after_a_round() -> None:
    cores = Cores(3)
    cores.elect(0)
    cores.rafts[0].read("r")
    cores.pump(0)
    assert cores.reads[0] == []
    cores.settle()
    assert cores.reads[0] == [ReadState("r", 1)]


def test_followers_and_learners_read_through_the_leader() -> None:
    cores = Cores(3, voters=voters_of(0, 1, learners=(2,)))
    cores.elect(0)
    cores.beat(0)
    for number in (1, 2):
        cores.rafts[number].read(number)
        cores.settle()
        assert cores.reads[number] == [ReadState(number, 1)]


def test_lone_leader_reads_at_once() -> None:
    cores = Cores(1)
    cores.elect(0)
    cores.rafts[0].read("r")
    cores.pump(0)
    assert cores.reads[0] == [ReadState("r", 1)]


def test_old_leader_that_was_replaced_answers_no_read() -> None:
    """It still believes that it leads; the round tells."""
    cores = Cores(3)
    cores.elect(0)
    cores.isolate(0)
    cores.elect(1)
    cores.rafts[1].propose(b"new")
    cores.settle()
    cores.rafts[0].read("stale")
    cores.settle()
    assert cores.rafts[0].role.name == "leader"
    assert cores.reads[0] == []
    while cores.rafts[0].is_leader:
        cores.beat(0)
    assert cores.reads[0] == [ReadState("stale", None)]


def test_answers_to_earlier_rounds_confirm_nothing() -> None:
    cores = Cores(3)
    cores.elect(0)
    cores.time_out(0)
    late = list(cores.mail)
    cores.mail.clear()
    cores.rafts[0].read("r")
    cores.pump(0)
    cores.mail = late
    cores.settle()
    assert cores.reads[0] == []
    cores.beat(0)
    assert cores.reads[0] == [ReadState("r", 1)]


def test_read_waits_for_an_entry_of_the_own_term() -> None:
    """6.4, step 1: before, the commit index may be behind what was acknowledged.

    The entry at 2 is committed, but the new leader does not know that yet.
    """
    cores = Cores(3, logs=[log_of(1, 1)] * 3, states=[HardState(1)] * 3)
    cores.time_out(0)
    for _ in range(4):
        cores.deliver()
    leader = cores.rafts[0]
    assert (leader.is_leader, leader.commit_index) == (True, 0)
    # Heartbeats are answered, appended entries are not.
    leader.read("r")
    leader.handle_timer(now=cores.now)
    cores.pump(0)
    for _ in range(4):
        cores.mail = [m for m in cores.mail if not isinstance(m[2], Append)]
        cores.deliver()
    assert cores.reads[0] == []
    cores.beat(0)
    cores.beat(0)
    assert cores.reads[0] == [ReadState("r", 3)]


def test_one_round_serves_all_reads_that_wait() -> None:
    cores = Cores(3)
    cores.elect(0)
    before = len(cores.sent_of(0, Heartbeat))
    for number in range(100):
        cores.rafts[0].read(number)
    cores.settle()
    assert len(cores.reads[0]) == 100
    assert len(cores.sent_of(0, Heartbeat)) == before + 2


def test_read_without_a_leader_fails_at_once() -> None:
    cores = Cores(3)
    cores.rafts[0].read("r")
    cores.settle()
    assert cores.reads[0] == [ReadState("r", None)]
    cores.time_out(0)
    cores.rafts[0].read("s")
    cores.settle()
    assert ReadState("s", None) in cores.reads[0]


def test_reads_of_a_follower_fail_when_the_leader_changes() -> None:
    cores = Cores(3)
    cores.elect(0)
    cores.isolate(0)
    cores.rafts[2].read("r")
    cores.pump(2)
    cores.elect(1)
    assert cores.reads[2] == [ReadState("r", None)]


def test_too_many_reads_fail() -> None:
    cores = Cores(3, settings=RaftConfig(reads_count=2))
    cores.elect(0)
    for number in range(3):
        cores.rafts[0].read(number)
    cores.settle()
    assert ReadState(2, None) in cores.reads[0]
    assert len([read for read in cores.reads[0] if read.index]) == 2
    cores.isolate(0)
    for number in (7, 8, 9):
        cores.give(1, 0, ReadRequest(1, number))
    assert cores.sent_of(0, ReadReply) == [ReadReply(1, 9, None)]


def test_answer_to_another_read_is_ignored() -> None:
    """Numbers begin at random, so a late answer from before a restart fits no read."""
    cores = Cores(3)
    cores.elect(0)
    cores.rafts[1].read("before")
    cores.pump(1)
    late = cores.sent_of(1, ReadRequest)[-1].number  # type: ignore[union-attr]
    cores.mail.clear()
    cores.restart(1)
    cores.beat(0)
    cores.isolate(1)
    cores.rafts[1].read("after")
    cores.pump(1)
    cores.give(0, 1, ReadReply(1, late, 1))
    assert cores.reads[1] == []


def test_read_of_a_follower_waits_for_its_own_log() -> None:
    """The last step: the reader must have applied up to the index."""
    cores = Cores(3)
    cores.elect(0)
    cores.rafts[1].read("r")
    cores.pump(1)
    number = cores.sent_of(1, ReadRequest)[-1].number  # type: ignore[union-attr]
    cores.mail.clear()
    cores.give(0, 1, ReadReply(1, number, 2))
    assert cores.reads[1] == []
    cores.rafts[0].propose(b"x")
    cores.settle()
    assert cores.reads[1] == [ReadState("r", 2)]
    assert cores.rafts[1].leader == peer(0)
    assert cores.sent_of(1, Appended)
