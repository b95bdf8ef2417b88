"""Proposals, outcomes, batches, flow control, and the order of pending I/O."""

import pytest

from mosaik_actors.errors import ConfigError, RemoteError
from mosaik_actors.groups.raft.config import RaftConfig
from mosaik_actors.groups.raft.progress import ProgressState
from mosaik_actors.groups.raft.ready import ProposalOutcome, ProposalVerdict, Reason
from mosaik_actors.groups.wire.raft import Append, Appended, Heartbeat

from ..cores import Cores, peer


def led(count: int = 3, settings: RaftConfig | None = None) -> Cores:
    cores = Cores(count, settings=settings)
    cores.elect(0)
    cores.beat(0)
    return cores


def test_proposal_is_committed_applied_everywhere_and_reported_once() -> None:
    cores = led()
    assert cores.rafts[0].propose(b"a", "token")
    cores.settle()
    assert cores.outcomes[0] == [ProposalOutcome("token", ProposalVerdict.COMMITTED, 2)]
    assert [[entry.data for entry in applied] for applied in cores.applied] == [[b"", b"a"]] * 3


def test_proposal_elsewhere_is_not_taken() -> None:
    cores = led()
    assert not cores.rafts[1].propose(b"a", "token")
    cores.pump(1)
    assert cores.outcomes[1] == [
        ProposalOutcome("token", ProposalVerdict.NOT_TAKEN, 0, Reason.NOT_LEADER)
    ]


def test_proposal_that_a_later_leader_overwrites_is_reported_when_that_is_certain() -> None:
    """Not when the entry is removed: another replica may still have it and win."""
    cores = led()
    cores.isolate(0)
    cores.rafts[0].propose(b"lost", "token")
    cores.pump(0)
    cores.elect(1)
    while cores.rafts[0].is_leader:
        cores.beat(0)
    cores.heal()
    assert cores.outcomes[0] == []
    cores.beat(1)
    cores.beat(1)
    assert cores.outcomes[0] == [
        ProposalOutcome("token", ProposalVerdict.NOT_TAKEN, 0, Reason.OVERWRITTEN)
    ]


def test_proposal_that_survives_its_leader_is_reported_as_committed() -> None:
    cores = led()
    cores.rafts[0].propose(b"kept", "token")
    cores.pump(0)
    cores.deliver()
    cores.isolate(0)
    cores.mail.clear()
    while cores.rafts[0].is_leader:
        cores.beat(0)
    cores.elect(1)
    cores.heal()
    cores.beat(1)
    cores.beat(1)
    assert cores.outcomes[0] == [ProposalOutcome("token", ProposalVerdict.COMMITTED, 2)]


def test_own_entries_count_when_they_are_saved() -> None:
    cores = led(3)
    cores.isolate(2)
    cores.hold_disk(0)
    cores.rafts[0].propose(b"a", "token")
    cores.settle()
    # The follower has it saved, the leader not: that is no majority of three.
    assert cores.rafts[0].progress[peer(1)].match_index == 2
    assert cores.rafts[0].commit_index == 1
    cores.release_disk(0)
    assert cores.rafts[0].commit_index == 2


def test_slow_leader_commits_through_its_followers() -> None:
    """10.2.1: two of three have saved; but nothing is applied here before it is saved here."""
    cores = led(3)
    cores.hold_disk(0)
    cores.rafts[0].propose(b"a", "token")
    cores.settle()
    assert cores.rafts[0].commit_index == 2
    assert cores.applied[0][-1].index == 1
    cores.release_disk(0)
    assert cores.applied[0][-1].index == 2


def test_follower_acknowledges_after_saving() -> None:
    cores = led(3)
    cores.isolate(2)
    cores.hold_disk(1)
    cores.rafts[0].propose(b"a", "token")
    cores.settle()
    assert cores.rafts[0].commit_index == 1
    cores.release_disk(1)
    cores.settle()
    assert cores.rafts[0].commit_index == 2


def test_what_piled_up_leaves_in_one_message_for_each() -> None:
    cores = led(3)
    before = len(cores.sent_of(0, Append))
    for number in range(100):
        cores.rafts[0].propose(b"%d" % number)
    cores.settle()
    assert len(cores.sent_of(0, Append)) == before + 2
    assert cores.rafts[0].commit_index == 101


def test_messages_are_cut_by_count_and_bytes() -> None:
    cores = led(2, RaftConfig(append_entries=10, append_bytes=1000, window_count=100))
    for _ in range(25):
        cores.rafts[0].propose(b"x")
    cores.settle()
    for _ in range(4):
        cores.rafts[0].propose(b"x" * 600)
    cores.settle()
    sizes = [len(m.entries) for m in cores.sent_of(0, Append)][1:]  # type: ignore[union-attr]
    assert sizes == [10, 10, 5, 1, 1, 1, 1]


def test_window_bounds_what_is_on_its_way() -> None:
    cores = led(2, RaftConfig(append_entries=1, window_count=3))
    for _ in range(10):
        cores.rafts[0].propose(b"x")
    cores.pump(0)
    progress = cores.rafts[0].progress[peer(1)]
    assert (len(progress.flight), progress.next_index) == (3, 5)
    cores.settle()
    assert cores.rafts[1].last_index == 11


def test_window_bounds_bytes() -> None:
    cores = led(2, RaftConfig(append_entries=1, window_bytes=1000))
    for _ in range(10):
        cores.rafts[0].propose(b"x" * 400)
    cores.pump(0)
    assert len(cores.rafts[0].progress[peer(1)].flight) == 3


def test_lost_messages_are_found_by_the_next_heartbeat() -> None:
    cores = led(3)
    cores.rafts[0].propose(b"lost")
    cores.pump(0)
    cores.mail.clear()
    assert cores.rafts[0].progress[peer(1)].state is ProgressState.REPLICATE
    cores.beat(0)
    cores.beat(0)
    assert [raft.commit_index for raft in cores.rafts] == [2, 2, 2]


def test_restarted_follower_is_told_what_is_committed() -> None:
    """What agrees is known for one term and one life; the leader must say it again."""
    cores = led(3)
    cores.rafts[0].propose(b"a")
    cores.settle()
    cores.restart(1)
    assert cores.rafts[1].commit_index == 0
    cores.beat(0)
    assert cores.rafts[1].commit_index == 2


def test_followers_hear_of_a_commit_without_waiting_for_a_heartbeat() -> None:
    cores = led(3)
    cores.rafts[0].propose(b"a")
    cores.settle()
    assert [raft.commit_index for raft in cores.rafts] == [2, 2, 2]
    assert Heartbeat(1, 2, 0) in cores.sent_of(0, Heartbeat)


@pytest.mark.parametrize(
    ("settings", "size", "reason"),
    [
        (RaftConfig(uncommitted_count=3), 1, Reason.FULL),
        (RaftConfig(uncommitted_bytes=200), 40, Reason.FULL),
        (RaftConfig(log_bytes=200), 40, Reason.FULL),
        (RaftConfig(entry_bytes=10), 11, Reason.TOO_LARGE),
    ],
)
def test_proposals_are_bounded(settings: RaftConfig, size: int, reason: Reason) -> None:
    cores = led(3, settings)
    cores.isolate(0)
    taken = [cores.rafts[0].propose(b"x" * size, n) for n in range(8)]
    cores.pump(0)
    assert not taken[-1]
    assert cores.outcomes[0][-1] == ProposalOutcome(7, ProposalVerdict.NOT_TAKEN, 0, reason)


def test_committing_makes_room_again() -> None:
    cores = led(3, RaftConfig(uncommitted_count=3, uncommitted_bytes=500))
    for _ in range(10):
        assert all(cores.rafts[0].propose(b"x" * 20) for _ in range(3))
        assert not cores.rafts[0].propose(b"x")
        cores.settle()


def test_committed_entries_come_in_bounded_batches() -> None:
    cores = led(1, RaftConfig(apply_count=4, apply_backlog=10))
    for _ in range(20):
        cores.rafts[0].propose(b"x")
    raft = cores.rafts[0]
    ready = raft.next_ready()
    assert ready is not None
    raft.persisted(ready)
    sizes = []
    while (ready := raft.next_ready()) is not None:
        raft.persisted(ready)
        sizes.append(len(ready.committed))
    assert sizes == [4, 4, 2]
    raft.applied(raft.applied_index + 10)
    ready = raft.next_ready()
    assert ready is not None
    assert len(ready.committed) == 4


def test_batches_are_saved_in_order() -> None:
    cores = led(1)
    raft = cores.rafts[0]
    raft.propose(b"a")
    first = raft.next_ready()
    raft.propose(b"b")
    second = raft.next_ready()
    assert first is not None
    assert second is not None
    with pytest.raises(AssertionError, match="saved before"):
        raft.persisted(second)


def test_applied_cannot_pass_what_was_handed_out() -> None:
    cores = led(1)
    with pytest.raises(AssertionError, match="applied 99"):
        cores.rafts[0].applied(99)


def test_agreement_beyond_the_log_is_a_broken_rule() -> None:
    cores = led(3)
    with pytest.raises(RemoteError, match="agrees up to 99"):
        cores.give(1, 0, Appended(1, 99))


def test_idle_replica_has_nothing_to_do() -> None:
    cores = led(3)
    assert [raft.next_ready() for raft in cores.rafts] == [None] * 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"heartbeat_interval": 0},
        {"election_timeout": 0.3},
        {"election_timeout_jitter": 0},
        {"append_entries": 0},
        {"append_bytes": 1 << 40},
    ],
)
def test_settings_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        RaftConfig(**wrong)  # type: ignore[arg-type]


PATIENT = RaftConfig(commit_delay=0.05)


def commits(cores: Cores) -> list[int]:
    return [raft.commit_index for raft in cores.rafts]


def test_commit_travels_with_the_next_entries() -> None:
    cores = led(settings=PATIENT)
    cores.rafts[0].propose(b"a")
    cores.settle()
    assert commits(cores) == [2, 1, 1]
    cores.rafts[0].propose(b"b")
    cores.settle()
    assert commits(cores) == [3, 2, 2]


def test_commit_is_told_by_itself_when_no_entries_follow() -> None:
    cores = led(settings=PATIENT)
    cores.rafts[0].propose(b"a")
    cores.settle()
    due_at = cores.rafts[0].get_timer()
    assert due_at == cores.now + 0.05  # before the heartbeat
    cores.now = due_at
    cores.rafts[0].handle_timer(now=due_at)
    cores.settle()
    assert commits(cores) == [2, 2, 2]
    assert cores.rafts[0].get_timer() > due_at + 0.05


def test_commit_that_another_member_awaits_is_told_at_once() -> None:
    cores = led(settings=PATIENT)
    cores.rafts[0].propose(b"a", is_awaited=True)
    cores.settle()
    assert commits(cores) == [2, 2, 2]
    cores.rafts[0].propose(b"b")
    cores.settle()
    assert commits(cores) == [3, 2, 2]


def test_commit_delay_is_checked() -> None:
    with pytest.raises(ConfigError, match=r"commit_delay is 0\.3"):
        RaftConfig(commit_delay=0.3)
