"""Who hears of new entries at once, and who a moment later."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.errors import ConfigError
from mosaik_actors.groups.raft.config import RaftConfig
from mosaik_actors.groups.raft.lagged_followers import LaggedFollowers
from mosaik_actors.groups.raft.progress import ProgressState
from mosaik_actors.groups.raft.quorum import agreed
from mosaik_actors.groups.wire.raft import Append, Heartbeat, HeartbeatReply, SnapshotOffer
from mosaik_actors.ids import PeerId

from ..cores import Cores, peer, voters_of

THRIFTY = RaftConfig(lagged_delay=0.05)


def appends_to(cores: Cores, to: int) -> list[Append]:
    return [m for _, other, m in cores.sent if other == to and isinstance(m, Append) and m.entries]


def led(count: int = 3, **options: object) -> Cores:
    cores = Cores(count, settings=THRIFTY, **options)  # type: ignore[arg-type]
    cores.elect(0)
    cores.beat(0)
    cores.rafts[0].propose(b"to all, after a calm moment")
    cores.settle()
    assert all(raft.log.last_index == 2 for raft in cores.rafts)
    cores.sent.clear()
    return cores


def test_one_command_goes_to_a_quorum_and_commits() -> None:
    cores = led()
    cores.rafts[0].propose(b"a")
    cores.settle()
    assert cores.rafts[0].commit_index == 3
    assert sorted(len(appends_to(cores, to)) for to in (1, 2)) == [0, 1]


def test_spare_gets_what_has_come_together_in_one_message() -> None:
    cores = led()
    began_s = cores.now
    for data in (b"a", b"b", b"c"):
        cores.rafts[0].propose(data)
        cores.settle()
    (spare,) = [to for to in (1, 2) if not appends_to(cores, to)]
    assert cores.rafts[0].get_timer() == pytest.approx(began_s + 0.05)
    cores.time_out(0)
    cores.settle()
    (message,) = appends_to(cores, spare)
    assert [entry.data for entry in message.entries] == [b"a", b"b", b"c"]
    assert message.commit_index == 5
    assert cores.rafts[spare].commit_index == 5
    assert cores.rafts[0].get_timer() > began_s + 0.05  # its timer does not spin


def test_after_a_calm_moment_everybody_hears_at_once() -> None:
    cores = led()
    cores.now += 0.05
    cores.rafts[0].propose(b"a")
    cores.settle()
    assert [len(appends_to(cores, to)) for to in (1, 2)] == [1, 1]


def test_spare_replaces_one_that_does_not_answer() -> None:
    cores = led()
    cores.rafts[0].propose(b"a")
    cores.settle()
    (quick,) = [to for to in (1, 2) if appends_to(cores, to)]
    cores.time_out(0)  # everybody has it
    cores.settle()
    cores.isolate(quick)
    cores.rafts[0].propose(b"b")
    cores.settle()
    assert cores.rafts[0].commit_index == 3
    cores.time_out(0)
    cores.settle()
    assert cores.rafts[0].commit_index == 4  # late by the delay, once
    cores.rafts[0].propose(b"c")
    cores.settle()
    assert cores.rafts[0].commit_index == 5  # at once


def test_learner_is_a_spare() -> None:
    cores = led(3, voters=voters_of(0, 1, learners=(2,)))
    cores.rafts[0].propose(b"a")
    cores.settle()
    assert len(appends_to(cores, 1)) == 1
    assert not appends_to(cores, 2)
    cores.time_out(0)
    cores.settle()
    assert len(appends_to(cores, 2)) == 1


def test_everybody_hears_at_once_of_what_others_wait_for() -> None:
    cores = led()
    cores.rafts[0].propose(b"a", is_awaited=True)
    cores.settle()
    assert [raft.commit_index for raft in cores.rafts] == [3, 3, 3]


def test_spare_hears_at_once_that_it_is_removed() -> None:
    cores = led()
    cores.rafts[0].propose(b"a")
    cores.settle()
    (spare,) = [to for to in (1, 2) if not appends_to(cores, to)]
    cores.rafts[0].change_configuration(voters_of(0, 3 - spare))
    cores.settle()
    assert cores.rafts[spare].configuration == voters_of(0, 3 - spare)
    assert not cores.rafts[spare].is_configuration_pending


def test_transfer_does_not_wait() -> None:
    cores = led()
    cores.rafts[0].propose(b"a")
    cores.settle()
    (spare,) = [to for to in (1, 2) if not appends_to(cores, to)]
    cores.rafts[0].transfer_leadership(peer(spare))
    cores.settle()
    assert cores.rafts[spare].is_leader


def test_spare_with_a_full_window_does_not_spin_the_timer() -> None:
    settings = RaftConfig(lagged_delay=0.05, append_entries=1, window_count=2)
    cores = Cores(3, settings=settings)
    cores.elect(0)
    cores.beat(0)
    for data in (b"a", b"b"):
        cores.rafts[0].propose(data)
        cores.settle()
    (spare,) = [to for to in (1, 2) if cores.rafts[to].log.last_index == 2]
    cores.isolate(spare)
    for number in range(5):
        cores.rafts[0].propose(bytes([number]))
        cores.settle()
    cores.now = cores.rafts[0].get_timer()
    cores.rafts[0].handle_timer(now=cores.now)
    cores.settle()
    assert cores.rafts[0].get_timer() > cores.now


def test_without_a_delay_everybody_hears_at_once() -> None:
    lagged_followers = LaggedFollowers(0)
    lagged_followers.set_members(peer(0), [peer(1), peer(2)], [[peer(0), peer(1), peer(2)]])
    assert not lagged_followers.must_wait(peer(1), 1.0)
    assert not lagged_followers.must_wait(peer(2), 1.0)
    assert lagged_followers.timer_s == inf


VOTERS = st.lists(st.integers(0, 8).map(peer), unique=True, min_size=1, max_size=9)


@given(VOTERS, VOTERS, st.lists(st.integers(1, 8).map(peer), max_size=20))
def test_whoever_need_not_wait_makes_a_quorum_and_nobody_too_many(
    before: list[PeerId], after: list[PeerId], needed: list[PeerId]
) -> None:
    deciding = [before, after]
    followers = {*before, *after, peer(9)} - {peer(0)}
    lagged_followers = LaggedFollowers(0.01)
    lagged_followers.set_members(peer(0), sorted(followers), deciding)
    for each in needed:
        lagged_followers.note_needed(each)
    for each in followers:
        lagged_followers.serve(each, 0.99)
    at_once = {other for other in followers if not lagged_followers.must_wait(other, 0.995)}
    assert agreed(deciding, dict.fromkeys({*at_once, peer(0)}, 1)) == 1
    for last in needed[-1:]:
        assert last not in followers or last in at_once or agreed(deciding, {peer(0): 1}) == 1
    waiting = followers - at_once
    assert (lagged_followers.timer_s == pytest.approx(1.0)) is bool(waiting)
    lagged_followers.pass_time(1.001)
    assert lagged_followers.timer_s == inf
    assert not any(lagged_followers.must_wait(other, 1.001) for other in followers)


def test_spare_delay_is_checked() -> None:
    with pytest.raises(ConfigError, match=r"lagged_delay is 0\.3"):
        RaftConfig(lagged_delay=0.3)


def spare_of(cores: Cores) -> int:
    """Give the leader a command of its own; return which of two followers waits for it."""
    cores.sent.clear()
    cores.rafts[0].propose(b"of the leader")
    cores.settle()
    (spare,) = [to for to in (1, 2) if not appends_to(cores, to)]
    return spare


def test_learners_hear_later_whatever_their_ids() -> None:
    cores = Cores(5, voters=voters_of(2, 3, 4, learners=(0, 1)), settings=THRIFTY)
    cores.elect(4)
    cores.beat(4)
    cores.rafts[4].propose(b"to all, after a calm moment")
    cores.settle()
    cores.sent.clear()
    for number in range(5):
        cores.rafts[4].propose(bytes([number]))
        cores.settle()
    counts = [len(appends_to(cores, to)) for to in range(4)]
    assert counts[:2] == [0, 0]
    assert sorted(counts[2:]) == [0, 5]


def test_log_is_not_cut_before_what_a_spare_waits_for() -> None:
    """One that lets it wait must not send it for a snapshot."""
    cores = led()
    spare = spare_of(cores)
    leader = cores.rafts[0]
    leader.compact(leader.metadata_at(leader.applied_index), keep_count=0)
    cores.time_out(0)
    cores.settle()
    assert leader.progress[peer(spare)].state is ProgressState.REPLICATE
    assert cores.rafts[spare].log.last_index == leader.log.last_index
    assert not cores.sent_of(0, SnapshotOffer)


def test_log_is_cut_whatever_one_that_is_gone_would_want() -> None:
    cores = led()
    spare = spare_of(cores)
    cores.isolate(spare)
    leader = cores.rafts[0]
    cores.time_out(0)
    cores.now += 1
    leader.handle_timer(now=cores.now)
    cores.settle()
    leader.compact(leader.metadata_at(leader.applied_index), keep_count=0)
    assert leader.first_index == leader.applied_index + 1


def test_spare_learns_at_once_what_became_of_its_own_command() -> None:
    cores = led()
    spare = spare_of(cores)
    cores.rafts[0].propose(b"of the spare", is_awaited=True)
    index = cores.rafts[0].log.last_index
    cores.pump(0)
    cores.rafts[0].propose(b"of the leader again")
    cores.settle()
    assert cores.rafts[spare].commit_index >= index


def test_strong_read_of_a_spare_does_not_wait() -> None:
    cores = led()
    spare = spare_of(cores)
    cores.rafts[spare].read("a read")
    cores.settle()
    (read,) = cores.reads[spare]
    assert read.index == cores.rafts[0].commit_index


def test_reads_of_the_leader_do_not_ask_a_spare_twice() -> None:
    cores = led()
    spare_of(cores)
    cores.sent.clear()
    for number in range(10):
        cores.rafts[0].read(number)
        cores.settle()
    assert {type(message) for _, _, message in cores.sent} == {Heartbeat, HeartbeatReply}


def test_leader_with_a_slow_disk_makes_the_quorum_of_others() -> None:
    cores = led()
    cores.hold_disk(0)
    waits = []
    for number in range(10):
        began_s = cores.now
        cores.rafts[0].propose(bytes([number]))
        index = cores.rafts[0].log.last_index
        cores.settle()
        cores.now += 0.0005
        while cores.rafts[0].commit_index < index:
            cores.time_out(0)
            cores.settle()
        waits.append(cores.now - began_s > 0.01)
    assert waits.count(True) <= 1
    # Its disk is quick again: so is a quorum with it.
    cores.release_disk(0)
    cores.rafts[0].propose(b"shows it")
    cores.settle()
    assert spare_of(cores)


def test_spare_that_was_probed_hears_what_is_committed() -> None:
    cores = Cores(3, settings=RaftConfig(lagged_delay=0.05, commit_delay=0.002))
    cores.elect(0)
    cores.beat(0)
    cores.rafts[0].propose(b"to all, after a calm moment")
    cores.settle()
    spare = spare_of(cores)
    leader = cores.rafts[0]
    cores.cut.add((0, spare))
    cores.time_out(0)
    while leader.progress[peer(spare)].next_index <= leader.log.last_index:
        cores.time_out(0)
    cores.settle()
    cores.cut.clear()
    reply = HeartbeatReply(leader.term, 0, cores.rafts[spare].commit_index)
    leader.receive_message(peer(spare), reply, now=cores.now)
    leader.propose(b"it is to wait for this, and gets it with the probe")
    cores.settle()
    assert cores.rafts[spare].log.last_index == leader.log.last_index
    began_s = cores.now
    while cores.rafts[spare].commit_index < leader.commit_index:
        cores.time_out(0)
        cores.settle()
    assert cores.now - began_s <= 0.01
