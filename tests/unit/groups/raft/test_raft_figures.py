"""The figures and arguments of the thesis, replayed."""

import pytest

from mosaik_actors.errors import RemoteError
from mosaik_actors.groups.raft.ready import (
    ConfigurationCommitted,
    ProposalOutcome,
    ProposalVerdict,
    Reason,
    SteppedDown,
)
from mosaik_actors.groups.wire.configuration import demote, promote, remove
from mosaik_actors.groups.wire.raft import Append, Appended, AppendRejected
from mosaik_actors.groups.wire.records import Entry, EntryKind, HardState, Voters

from ..cores import Cores, add_learner, configuration_entry, log_of, peer, voters_of

# Figure 3.6 of the thesis (7 of the paper): the leader of term 8, and six followers.
LEADER = (1, 1, 1, 4, 4, 5, 5, 6, 6, 6)
FOLLOWERS = {
    "a: one entry is missing": (1, 1, 1, 4, 4, 5, 5, 6, 6),
    "b: many are missing": (1, 1, 1, 4),
    "c: one too many": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6),
    "d: too many, of a later term": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7),
    "e: missing and too many": (1, 1, 1, 4, 4, 4, 4),
    "f: two lost leaderships": (1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3),
}


@pytest.mark.parametrize("terms", FOLLOWERS.values(), ids=FOLLOWERS.keys())
def test_leader_repairs_every_kind_of_log(terms: tuple[int, ...]) -> None:
    cores = Cores(
        3,
        logs=[log_of(*LEADER), log_of(*terms), log_of(*LEADER)],
        states=[HardState(7), HardState(7), HardState(7)],
    )
    cores.elect(0)
    assert cores.rafts[0].term == 8
    assert cores.terms(1) == [*LEADER, 8]
    assert cores.log(1) == cores.log(0) == cores.log(2)


def test_repair_skips_whole_terms() -> None:
    """End of 3.5: a rejection names the last place where the logs may agree."""
    mine = (1,) * 3 + (2,) * 200
    theirs = (1,) * 3 + (3,) * 200
    cores = Cores(
        3,
        logs=[log_of(*theirs), log_of(*mine), log_of(*theirs)],
        states=[HardState(3), HardState(3), HardState(3)],
    )
    cores.elect(0)
    assert cores.log(1) == cores.log(0)
    assert len(cores.sent_of(1, AppendRejected)) <= 3


def test_figure_3_8_old_entries_commit_only_with_one_of_the_own_term() -> None:
    """3.6.2, figure 3.8 (c): an old entry on a majority may still be lost.

    S1 leads term 4 and has replicated the entry of term 2 to a majority; S5 has
    one of term 3, and could still win.
    """
    cores = Cores(
        5,
        logs=[log_of(1, 2), log_of(1, 2), log_of(1), log_of(1), log_of(1, 3)],
        states=[HardState(3)] * 5,
    )
    cores.isolate(4)
    # S1 is elected; its own entry does not arrive anywhere, the old one does at S3.
    cores.time_out(0)
    for _ in range(4):
        cores.deliver()
    assert cores.rafts[0].is_leader
    cores.mail.clear()
    cores.give(2, 0, AppendRejected(4, 2, 1, 1))
    cores.mail.clear()
    cores.give(1, 0, Appended(4, 2))
    cores.give(2, 0, Appended(4, 2))
    cores.mail.clear()
    assert cores.rafts[0].progress[peer(2)].match_index == 2
    assert cores.rafts[0].commit_index == 0
    # (e): with an entry of term 4 on a majority all before it is committed.
    cores.give(1, 0, Appended(4, 3))
    assert cores.rafts[0].commit_index == 0
    cores.give(2, 0, Appended(4, 3))
    assert cores.rafts[0].commit_index == 3


def test_figure_3_8_the_later_term_wins_when_nothing_is_committed() -> None:
    """Figure 3.8 (d): S5 may overwrite the entry of term 2, on a majority though it is."""
    cores = Cores(
        5,
        logs=[log_of(1, 2), log_of(1, 2), log_of(1, 2), log_of(1), log_of(1, 3)],
        states=[HardState(4)] * 5,
    )
    cores.isolate(0)
    cores.elect(4)
    cores.heal()
    cores.beat(4)
    cores.beat(4)
    assert [cores.terms(number) for number in range(5)] == [[1, 3, 5]] * 5


def test_committed_entries_are_never_overwritten() -> None:
    cores = Cores(3)
    cores.elect(0)
    bad = Entry(1, 9, EntryKind.NOOP)
    with pytest.raises(RemoteError, match="contradicts"):
        cores.give(2, 1, Append(9, 0, 0, 0, (bad,)))
    assert cores.terms(1) == [1]


def test_leader_never_contradicts_itself() -> None:
    """3.4: it only appends to its log; whoever sends otherwise breaks a rule."""
    cores = Cores(3, states=[HardState(3)] * 3)
    cores.give(0, 1, Append(3, 0, 0, 0, tuple(log_of(1, 2))))
    with pytest.raises(RemoteError, match="contradicts"):
        cores.give(0, 1, Append(3, 0, 0, 0, tuple(log_of(1, 3))))
    assert cores.terms(1) == [1, 2]


def test_late_append_cuts_nothing_that_agrees() -> None:
    """3.5: a follower removes entries only where they conflict."""
    cores = Cores(3, states=[HardState(1)] * 3)
    entries = tuple(log_of(1, 1, 1))
    cores.give(0, 1, Append(1, 0, 0, 0, entries))
    cores.give(0, 1, Append(1, 0, 0, 0, entries[:1]))
    assert cores.terms(1) == [1, 1, 1]
    assert cores.sent_of(1, Appended) == [Appended(1, 3), Appended(1, 1)]


def test_append_after_another_term_is_refused() -> None:
    """3.5: the term before must agree, not only the index."""
    cores = Cores(3, logs=[[], log_of(1, 1), []], states=[HardState(3)] * 3)
    cores.give(0, 1, Append(3, 2, 2, 0, (Entry(3, 3, EntryKind.NOOP),)))
    assert cores.sent_of(1, AppendRejected) == [AppendRejected(3, 2, 2, 1)]
    assert cores.terms(1) == [1, 1]


def test_follower_commits_only_what_agrees_with_the_leader() -> None:
    """Figure 3.1: the smaller of the leader's commit index and the last *new* entry."""
    cores = Cores(3, logs=[[], log_of(1, 1, 1), []], states=[HardState(3)] * 3)
    cores.give(0, 1, Append(3, 1, 1, 3))
    assert cores.rafts[1].commit_index == 1


# Chapter 4.


def grown(count: int, *, learners: int = 0) -> Cores:
    """Return replicas of which the first leads the first `count` - `learners` voters."""
    voters = voters_of(*range(count - learners), learners=tuple(range(count - learners, count)))
    cores = Cores(count, voters=voters)
    cores.elect(0)
    cores.beat(0)
    return cores


def change(cores: Cores, target: Voters, token: object = "change") -> ProposalOutcome | None:
    """Ask the first replica for a change and let it happen; return its outcome, if any."""
    before = len(cores.outcomes[0])
    cores.rafts[0].change_configuration(target, token)
    cores.settle()
    return cores.outcomes[0][before] if len(cores.outcomes[0]) > before else None


def test_learner_becomes_a_voter_and_counts() -> None:
    """4.2.1."""
    cores = grown(3, learners=1)
    outcome = change(cores, promote(cores.rafts[0].configuration, peer(2)))
    assert outcome == ProposalOutcome("change", ProposalVerdict.COMMITTED, 2)
    assert [raft.configuration for raft in cores.rafts] == [voters_of(0, 1, 2)] * 3
    assert cores.events_of(2, ConfigurationCommitted)[-1].voters == voters_of(0, 1, 2)
    cores.isolate(1)
    assert cores.rafts[0].propose(b"x", "x")
    cores.settle()
    assert cores.rafts[0].commit_index == 3


def test_learners_do_not_commit() -> None:
    cores = grown(4, learners=2)
    cores.isolate(1)
    assert cores.rafts[0].propose(b"x", "x")
    cores.settle()
    assert cores.rafts[0].progress[peer(2)].match_index == 2
    assert cores.rafts[0].commit_index == 1


def test_configuration_is_in_force_before_it_is_committed() -> None:
    """4.1."""
    cores = grown(3)
    cores.isolate(1, 2)
    change(cores, demote(cores.rafts[0].configuration, peer(2)))
    assert cores.rafts[0].configuration == voters_of(0, 1, learners=(2,))
    assert cores.rafts[0].is_configuration_pending


def test_one_change_at_a_time() -> None:
    """4.1."""
    cores = grown(4, learners=1)
    cores.isolate(1, 2)
    current = cores.rafts[0].configuration
    assert change(cores, promote(current, peer(3))) is None
    outcome = change(cores, add_learner(cores.rafts[0].configuration, peer(7)))
    assert outcome == ProposalOutcome("change", ProposalVerdict.NOT_TAKEN, 0, Reason.PENDING)


def test_voters_change_one_at_a_time() -> None:
    """Figure 4.3: one server more or less, so that majorities overlap."""
    cores = grown(5, learners=2)
    outcome = change(cores, voters_of(0, 1, 2, 3, 4))
    assert outcome is not None
    assert outcome.reason is Reason.ILLEGAL


def test_peer_votes_only_after_it_was_a_learner_and_caught_up() -> None:
    cores = grown(3)
    outcome = change(cores, voters_of(0, 1, 2, 5))
    assert outcome is not None
    assert outcome.reason is Reason.ILLEGAL
    change(cores, add_learner(cores.rafts[0].configuration, peer(5)))
    outcome = change(cores, voters_of(0, 1, 2, 5))
    assert outcome == ProposalOutcome("change", ProposalVerdict.NOT_TAKEN, 0, Reason.BEHIND)


def test_change_waits_for_an_entry_of_the_own_term() -> None:
    """The bug of 2015: both leaders of the example must commit before they may change."""
    cores = Cores(4)
    cores.time_out(0)
    for _ in range(4):
        cores.deliver()
    assert cores.rafts[0].is_leader
    assert cores.rafts[0].commit_index == 0
    target = demote(cores.rafts[0].configuration, peer(3))
    assert not cores.rafts[0].change_configuration(target, "early")
    cores.settle()
    assert (
        ProposalOutcome("early", ProposalVerdict.NOT_TAKEN, 0, Reason.TOO_EARLY)
        in cores.outcomes[0]
    )
    assert change(cores, target) == ProposalOutcome("change", ProposalVerdict.COMMITTED, 2)


def test_bug_of_2015_one_add_one_remove() -> None:
    """Raft-dev, 2015: S1 has appended a change, S2 leads without it, S1 comes back.

    Voters 1 to 4 (0 to 3 here). S1 appends {1..5} in term 1 and nobody else gets it. S2
    leads term 2 and removes S1: {2, 3, 4}. Had S2 not to commit an entry of
    term 2 first, that change could be committed with S3 while S1 still
    believes in {1..5}, wins with S4 and S5, and overwrites it.
    """
    first = log_of(1)
    adds = configuration_entry(2, 1, voters_of(0, 1, 2, 3, 4))
    cores = Cores(
        5,
        voters=voters_of(0, 1, 2, 3, learners=(4,)),
        logs=[[*first, adds], first, first, first, [*first, adds]],
        states=[HardState(1)] * 5,
    )
    cores.isolate(0, 4)
    cores.elect(1)
    target = remove(cores.rafts[1].configuration, peer(0))
    assert cores.rafts[1].change_configuration(target, "remove")
    cores.settle()
    assert cores.rafts[1].commit_index == 3
    cores.heal()
    # S1 stands with its longer but older log: nobody of the old majority votes for it.
    for _ in range(3):
        cores.time_out(0)
        cores.settle()
        cores.beat(1) if cores.rafts[1].is_leader else cores.time_out(1)
        cores.settle()
    assert not cores.rafts[0].is_leader
    committed = cores.log(1)[:3]
    assert [entry.term for entry in committed] == [1, 2, 2]
    assert all(cores.log(number)[:3] == committed for number in (2, 3))


def test_half_of_a_group_removes_nobody() -> None:
    """Here the old voters must agree as well: two of four are no majority."""
    cores = grown(4)
    cores.isolate(0, 1)
    outcome = change(cores, remove(cores.rafts[0].configuration, peer(3)))
    # Of the three voters that would be left, two have it.
    assert cores.rafts[1].last_index == 2
    assert outcome is None
    assert cores.rafts[0].commit_index == 1
    while cores.rafts[0].is_leader:
        cores.beat(0)
    for _ in range(5):
        for number in (0, 1):
            cores.time_out(number)
            cores.settle()
    assert not any(raft.is_leader for raft in cores.rafts[:2])


def test_survivor_of_a_committed_removal_restarts_alone() -> None:
    """The commit index of a configuration is saved with it."""
    cores = grown(2)
    assert change(cores, remove(cores.rafts[0].configuration, peer(1))) is not None
    cores.isolate(0)
    cores.restart(0)
    cores.elect(0)
    assert cores.rafts[0].configuration == voters_of(0)


def test_survivor_that_missed_the_commit_learns_it_from_the_removed() -> None:
    """The leader that removed itself knows; its refusal of a vote says so."""
    cores = grown(2)
    cores.cut = {(0, 1)}
    cores.rafts[0].change_configuration(voters_of(1), "leave")
    cores.pump(0)
    entry = cores.log(0)[-1]
    cores.give(0, 1, Append(1, 1, 1, 1, (entry,)))
    cores.settle()
    assert cores.events_of(0, SteppedDown)[-1].why == "removed from the voters"
    cores.heal()
    cores.time_out(1)
    cores.settle()
    cores.time_out(1) if not cores.rafts[1].is_leader else None
    cores.settle()
    assert cores.rafts[1].is_leader


def test_leader_that_removes_itself_hands_over() -> None:
    """4.2.2: it leads until that is committed, without counting itself."""
    cores = grown(3)
    outcome = change(cores, voters_of(1, 2))
    assert outcome is not None
    assert outcome.verdict is ProposalVerdict.COMMITTED
    assert not cores.rafts[0].is_leader
    assert sum(raft.is_leader for raft in cores.rafts) == 1


def test_removed_configuration_is_void_again() -> None:
    """4.1: when the entry goes, the configuration before it is in force."""
    cores = grown(3)
    cores.isolate(0)
    change(cores, demote(cores.rafts[0].configuration, peer(2)))
    cores.elect(1)
    cores.heal()
    cores.beat(1)
    cores.beat(1)
    assert cores.rafts[0].configuration == voters_of(0, 1, 2)
    assert cores.outcomes[0][-1] == ProposalOutcome(
        "change", ProposalVerdict.NOT_TAKEN, 0, Reason.OVERWRITTEN
    )
