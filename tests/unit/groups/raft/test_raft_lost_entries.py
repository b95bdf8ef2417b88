"""A replica that comes back with a shorter log than its leader has counted."""

from mosaik_actors.groups.raft.ready import EntriesLost
from mosaik_actors.groups.wire.raft import (
    Appended,
    Heartbeat,
    HeartbeatReply,
    VoteReply,
    VoteRequest,
)
from mosaik_actors.groups.wire.records import Entry, EntryKind, HardState

from ..cores import Cores, log_of, peer


def led(*numbers: int) -> Cores:
    """Replica 0 leads three, and the last entry is saved by it and by `numbers` only."""
    cores = Cores(3)
    cores.elect(0)
    cores.beat(0)
    cores.isolate(*({1, 2} - set(numbers)))
    assert cores.rafts[0].propose(b"acknowledged")
    cores.settle()
    return cores


def come_back_short(cores: Cores, number: int) -> None:
    cores.restart(number, entries=cores.log(number)[:-1])


def test_short_follower_takes_no_part_any_more() -> None:
    cores = led(1)
    assert cores.rafts[0].commit_index == 2
    come_back_short(cores, 1)
    cores.sent.clear()
    cores.beat(0)
    assert cores.events_of(1, EntriesLost) == [EntriesLost(1, 2, peer(0))]
    assert cores.rafts[1].has_lost_entries
    # The leader never takes back what it counted, and hears nothing more from it.
    assert cores.rafts[0].progress[peer(1)].match_index == 2
    assert cores.sent_of(1, HeartbeatReply) == cores.sent_of(1, Appended) == []
    # It votes for nobody who lacks the entry, in no term, and does not stand itself.
    cores.heal()
    cores.isolate(0)
    for _ in range(5):
        cores.time_out(2)
        cores.settle()
        cores.time_out(1)
        cores.settle()
    assert cores.sent_of(1, VoteReply) == cores.sent_of(1, VoteRequest) == []
    assert not any(raft.is_leader for raft in cores.rafts[1:])


def test_that_entries_are_lost_is_remembered() -> None:
    cores = led(1)
    come_back_short(cores, 1)
    cores.beat(0)
    assert cores.saved[1].has_lost_entries
    cores.restart(1)
    cores.heal()
    cores.isolate(0)
    for _ in range(3):
        cores.time_out(2)
        cores.settle()
    assert not cores.rafts[2].is_leader
    # The leader has everything: with the third one it goes on.
    cores.heal()
    cores.beat(0)
    cores.elect(0)
    cores.beat(0)
    assert [entry.data for entry in cores.applied[2]][1] == b"acknowledged"


def test_short_by_what_was_only_appended_is_no_different() -> None:
    """The leader counts what is not committed as well, and may commit it with that at any time."""
    cores = led(1)
    cores.isolate(2)
    cores.cut |= {(1, 0)}
    assert cores.rafts[0].propose(b"appended")
    cores.settle()
    cores.cut.discard((1, 0))
    cores.give(1, 0, Appended(1, 3))
    come_back_short(cores, 1)
    cores.beat(0)
    assert cores.rafts[1].has_lost_entries


def test_two_short_followers_of_three_stop_the_group() -> None:
    """A leader that counted on both cannot go on; nor can they, without what they lost."""
    cores = led(1, 2)
    come_back_short(cores, 1)
    come_back_short(cores, 2)
    cores.beat(0)
    assert cores.rafts[0].propose(b"never acknowledged")
    for _ in range(20):
        for number in range(3):
            cores.time_out(number)
            cores.settle()
    assert not any(raft.is_leader for raft in cores.rafts)
    assert cores.rafts[0].commit_index == 2


def test_whole_log_is_never_taken_for_a_short_one() -> None:
    cores = led(1, 2)
    cores.restart(1)
    cores.beat(0)
    cores.beat(0)
    assert not cores.rafts[1].has_lost_entries
    assert cores.rafts[1].commit_index == 2


def test_log_that_a_later_leader_has_rewritten_is_not_short() -> None:
    """What came by state sync may be of a later leader, whose term is not known here yet."""
    cores = Cores(3, logs=[log_of(1, 2, 3)] * 3, states=[HardState(3)] * 3)
    raft = cores.rafts[1]
    # The leader of term 4 has committed this in place of what the one of term 3 had.
    assert raft.install(None, [*log_of(1)[:1], Entry(2, 1, EntryKind.NOOP)])
    cores.pump(1)
    assert cores.terms(1) == [1, 1]
    cores.give(0, 1, Heartbeat(3, 0, 1, counted_index=3))
    assert not raft.has_lost_entries
