"""Strong reads of one member: asked again while their time lasts, one outcome each."""

from mosaik_actors.groups.client.reads import ReadFailed, ReadGranted, Reads
from mosaik_actors.groups.raft.ready import ReadState

RETRY_S = 0.2


def asked_by(reads: Reads, now: float) -> list[int]:
    numbers: list[int] = []
    reads.ask(numbers.append, now=now)
    return numbers


def test_a_read_is_granted_when_raft_says_so() -> None:
    reads = Reads(RETRY_S)
    reads.add("a", now=0.0, timeout_s=2.0)
    (number,) = asked_by(reads, 0.0)
    reads.receive_state(ReadState(number, 7))
    assert reads.next_event() == ReadGranted("a")
    assert reads.next_event() is None
    assert not len(reads)


def test_a_silent_read_is_asked_again_under_a_new_number() -> None:
    """A late answer to the first question is true, but it is not the one that is waited for."""
    reads = Reads(RETRY_S)
    reads.add("a", now=0.0, timeout_s=2.0)
    (first,) = asked_by(reads, 0.0)
    assert asked_by(reads, 0.1) == []
    assert reads.get_timer() == RETRY_S
    (second,) = asked_by(reads, RETRY_S)
    assert second != first
    reads.receive_state(ReadState(first, 7))
    assert reads.next_event() is None
    reads.receive_state(ReadState(second, 7))
    assert reads.next_event() == ReadGranted("a")


def test_a_failed_read_is_asked_again_later_and_at_once_of_a_new_leader() -> None:
    reads = Reads(RETRY_S)
    reads.add("a", now=0.0, timeout_s=2.0)
    (number,) = asked_by(reads, 0.0)
    reads.receive_state(ReadState(number, None))
    assert asked_by(reads, 0.1) == []
    reads.retry_now(now=0.15)
    assert len(asked_by(reads, 0.15)) == 1


def test_a_read_fails_once_when_its_time_is_over() -> None:
    reads = Reads(RETRY_S)
    reads.add("a", now=0.0, timeout_s=0.5)
    reads.add("b", now=0.0, timeout_s=5.0)
    reads.handle_timer(now=0.49)
    assert reads.next_event() is None
    reads.handle_timer(now=0.5)
    assert reads.next_event() == ReadFailed("a")
    assert reads.next_event() is None
    assert len(reads) == 1


def test_a_cancelled_read_has_no_outcome() -> None:
    reads = Reads(RETRY_S)
    reads.add("a", now=0.0, timeout_s=0.5)
    reads.cancel("a")
    reads.handle_timer(now=9.0)
    assert reads.next_event() is None
    assert reads.get_timer() is None


def test_all_reads_fail_when_the_member_stops() -> None:
    reads = Reads(RETRY_S)
    for token in "abc":
        reads.add(token, now=0.0, timeout_s=5.0)
    reads.fail_all()
    assert [reads.next_event() for _ in range(4)] == [*map(ReadFailed, "abc"), None]
