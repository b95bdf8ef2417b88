"""The leader's queue of strong reads (thesis 6.4)."""

from mosaik_actors.groups.raft.read_index import PendingRead, ReadQueue

from ..cores import peer

FIRST, SECOND, THIRD = (PendingRead(peer(0), number) for number in range(3))


def test_round_confirms_the_reads_that_waited_when_it_began() -> None:
    queue = ReadQueue(10)
    queue.add(FIRST)
    assert queue.start_round(5)
    queue.add(SECOND)
    assert queue.confirm(1) == [(FIRST, 5)]
    assert queue.confirm(1) == []
    assert queue.start_round(7)
    assert queue.round == 2
    assert queue.confirm(1) == []
    assert queue.confirm(2) == [(SECOND, 7)]


def test_later_round_confirms_earlier_ones() -> None:
    queue = ReadQueue(10)
    for index, read in enumerate((FIRST, SECOND, THIRD), 1):
        queue.add(read)
        queue.start_round(index)
    assert queue.confirm(2) == [(FIRST, 1), (SECOND, 2)]
    assert len(queue) == 1


def test_no_reads_need_no_round() -> None:
    queue = ReadQueue(10)
    assert not queue.start_round(5)
    assert queue.round == 0


def test_queue_is_bounded_and_confirming_makes_room() -> None:
    queue = ReadQueue(2)
    assert queue.add(FIRST)
    queue.start_round(1)
    assert queue.add(SECOND)
    assert not queue.add(THIRD)
    queue.confirm(1)
    assert queue.add(THIRD)


def test_draining_returns_all_that_wait() -> None:
    queue = ReadQueue(10)
    queue.add(FIRST)
    queue.start_round(1)
    queue.add(SECOND)
    assert queue.drain() == [FIRST, SECOND]
    assert len(queue) == 0
    assert queue.confirm(99) == []
