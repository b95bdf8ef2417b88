"""What a leader knows of one follower."""

from mosaik_actors.groups.raft.progress import FollowerProgress, ProgressState


def progress_at(next_index: int = 11) -> FollowerProgress:
    return FollowerProgress(next_index, heard_s=0.0, window_count=3, window_bytes=100)


def replicating() -> FollowerProgress:
    progress = progress_at()
    progress.sent(10, 0)
    progress.accept(10)
    return progress


def test_probe_is_one_message_at_a_time() -> None:
    progress = progress_at()
    assert progress.may_send()
    progress.sent(12, 50)
    assert not progress.may_send()
    assert progress.next_index == 11
    progress.retry()
    assert progress.may_send()


def test_answered_probe_begins_replication() -> None:
    progress = progress_at()
    progress.sent(12, 50)
    assert progress.accept(12)
    assert (progress.state, progress.match_index, progress.next_index) == (
        ProgressState.REPLICATE,
        12,
        13,
    )


def test_messages_are_pipelined_up_to_the_window() -> None:
    progress = replicating()
    for last in (11, 12, 13):
        assert progress.may_send()
        progress.sent(last, 1)
    assert not progress.may_send()
    assert (len(progress.flight), progress.flight_bytes, progress.next_index) == (3, 3, 14)
    progress.accept(12)
    assert (len(progress.flight), progress.flight_bytes) == (1, 1)


def test_window_is_exceeded_by_one_message_at_most() -> None:
    progress = replicating()
    progress.sent(11, 99)
    assert progress.may_send()
    progress.sent(12, 10_000)
    assert not progress.may_send()


def test_late_and_repeated_answers_change_nothing() -> None:
    progress = replicating()
    progress.sent(11, 1)
    assert progress.accept(11)
    assert not progress.accept(11)
    assert not progress.accept(5)
    assert progress.match_index == 11
    progress.reject(9, 5)
    assert progress.state is ProgressState.REPLICATE


def test_gap_falls_back_to_probing_after_what_agrees() -> None:
    progress = replicating()
    progress.sent(11, 1)
    progress.sent(12, 1)
    progress.reject(11, 4)
    assert (progress.state, progress.next_index) == (ProgressState.PROBE, 11)
    assert (len(progress.flight), progress.flight_bytes) == (0, 0)


def test_rejection_of_another_probe_is_ignored() -> None:
    progress = progress_at()
    progress.sent(11, 1)
    progress.reject(8, 3)
    assert progress.next_index == 11
    progress.reject(10, 6)
    assert progress.next_index == 6


def test_rejection_always_goes_back() -> None:
    """Whatever the hint says, the same place is not tried twice."""
    progress = progress_at()
    progress.sent(11, 1)
    progress.reject(10, 99)
    assert progress.next_index == 10


def test_snapshot_stops_sending_until_it_is_installed() -> None:
    progress = progress_at()
    progress.wait_for_snapshot(20)
    assert not progress.may_send()
    progress.reject(19, 3)
    progress.accept(15)
    assert progress.state is ProgressState.SNAPSHOT
    progress.accept(20)
    assert (progress.state, progress.next_index) == (ProgressState.REPLICATE, 21)
