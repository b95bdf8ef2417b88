"""The parts of one snapshot: whose are believed."""

from __future__ import annotations

from random import Random

import pytest

from mosaik_actors.groups.sync.fetch_plan import ABSENCES_MAX
from mosaik_actors.groups.sync.parts_fetch import FIRST_ASK_PARTS, PartsFetch
from mosaik_actors.groups.wire.records import SnapshotMetadata
from mosaik_actors.groups.wire.sync import (
    FetchParts,
    NotHere,
    PartRange,
    PartsDigest,
    SnapshotSummary,
)

from ..cores import peer, voters_of
from ..sync_world import strike_count

METADATA = SnapshotMetadata(9, 2, voters_of(1, 2))
ID = bytes(16)
PARTS = tuple(b"part %d" % number for number in range(20))


def whole_of(parts: tuple[bytes, ...]) -> SnapshotSummary:
    digest = PartsDigest(METADATA)
    for part in parts:
        digest.add(part)
    return SnapshotSummary(len(parts), digest.digest())


WHOLE = whole_of(PARTS)


class Fetch:
    """A fetch from members 1 to n; the first leads."""

    def __init__(self, server_count: int) -> None:
        self.core = PartsFetch(METADATA, ID, Random(1), fetch_timeout=5.0)
        self.core.set_sources([peer(n) for n in range(1, server_count + 1)], peer(1))
        self.asked: dict[int, FetchParts] = {}
        self.ask()

    @property
    def part_count(self) -> int:
        return len(self.core._parts)

    def ask(self, *, now: float = 0.1) -> list[int]:
        asked = self.core.next_requests(now=now)
        requests = {bytes(to)[0] - 1: request for to, request in asked}
        self.asked |= requests
        return list(requests)

    def answer(
        self,
        number: int,
        parts: tuple[bytes, ...],
        whole: SnapshotSummary | None,
        *,
        now: float = 0.1,
    ) -> bool:
        request = self.asked.pop(number)
        return self.core.receive(peer(number), PartRange(request.number, parts, whole), now=now)

    def serve(self, number: int, parts: tuple[bytes, ...] = PARTS, *, now: float = 0.1) -> None:
        """Answer as a member with these parts does."""
        request = self.asked[number]
        end = request.first_part + request.part_count
        self.answer(number, parts[request.first_part : end], whole_of(parts), now=now)


def test_parts_of_two_make_a_whole() -> None:
    fetch = Fetch(3)
    assert list(fetch.asked) == [2, 3]
    assert [request.first_part for request in fetch.asked.values()] == [0, FIRST_ASK_PARTS]
    fetch.serve(2)
    assert fetch.core.assembled(now=0.1) is None
    fetch.serve(3)
    assert fetch.core.assembled(now=0.1) == PARTS


def test_one_who_tells_the_digest_is_enough() -> None:
    fetch = Fetch(3)
    fetch.serve(2)
    fetch.answer(3, PARTS[16:], None)
    assert fetch.core.assembled(now=0.1) == PARTS


def test_more_parts_than_were_asked_for_are_wrong() -> None:
    fetch = Fetch(2)
    assert not fetch.answer(2, (b"x",) * (FIRST_ASK_PARTS + 1), None)
    assert fetch.part_count == 0
    assert strike_count(fetch.core.plan) == 1


def test_parts_behind_the_end_that_their_sender_tells_are_wrong() -> None:
    fetch = Fetch(2)
    assert not fetch.answer(2, PARTS[:5], SnapshotSummary(4, bytes(32)))
    assert fetch.part_count == 0
    assert fetch.core.whole is None


def test_no_parts_where_there_should_be_some_are_wrong() -> None:
    fetch = Fetch(2)
    assert not fetch.answer(2, (), WHOLE)
    assert strike_count(fetch.core.plan) == 1
    assert fetch.core.whole is None


def test_maker_that_is_not_there_yet_is_asked_again_after_a_rest() -> None:
    fetch = Fetch(2)
    assert not fetch.answer(2, (), None)
    assert strike_count(fetch.core.plan) == 0
    assert fetch.ask() == [1]  # meanwhile the leader
    due = fetch.core.plan.get_timer(now=0.1)
    assert due is not None
    fetch.core.plan.time_out(now=due)
    assert fetch.ask(now=due) == [2]


def test_what_does_not_fit_together_is_fetched_anew_from_the_leader_alone() -> None:
    """One tells 40 parts, the other 20."""
    fetch = Fetch(3)
    fetch.serve(2, (*PARTS, *PARTS))
    fetch.serve(3)
    assert fetch.core.mismatch_count == 1
    assert fetch.core._bytes_count == 0
    assert fetch.core.assembled(now=0.1) is None
    while fetch.core.assembled(now=0.1) is None:
        assert fetch.ask() == [1]
        fetch.serve(1)
    assert fetch.core.assembled(now=0.1) == PARTS


def test_parts_of_another_digest_are_fetched_anew_once() -> None:
    fetch = Fetch(2)
    wrong = (b"wrong", *PARTS[1:])
    for asked in (2, 1):
        assert fetch.core.assembled(now=0.1) is None
        while fetch.part_count < len(PARTS):
            first = fetch.asked[asked].first_part
            fetch.answer(asked, wrong[first : first + FIRST_ASK_PARTS], WHOLE)
            fetch.ask()
        assert not fetch.core.has_failed
        assert fetch.core.assembled(now=0.1) is None
        assert fetch.ask() == ([1] if asked == 2 else [])
    assert fetch.core.has_failed
    assert fetch.core.mismatch_count == 2


def test_digest_of_nothing_that_is_wrong_is_asked_for_anew() -> None:
    fetch = Fetch(2)
    fetch.answer(2, (), SnapshotSummary(0, bytes(32)))
    assert fetch.core.assembled(now=0.1) is None
    assert fetch.ask() == [1]
    fetch.serve(1)
    assert fetch.core.whole == WHOLE


@pytest.mark.parametrize("is_gone", [True, False])
def test_fetch_fails_when_the_one_that_is_left_cannot_serve(is_gone: bool) -> None:
    fetch = Fetch(3)
    fetch.serve(2, (*PARTS, *PARTS))
    fetch.serve(3)
    assert fetch.ask() == [1]
    if is_gone:
        fetch.core.set_sources([peer(2), peer(3)], peer(2))
    else:
        answer = NotHere(fetch.asked[1].number, True)
        fetch.core.receive(peer(1), answer, now=0.2)
    assert fetch.ask() == []
    assert fetch.core.has_failed


def test_fetch_fails_when_nobody_has_it() -> None:
    fetch = Fetch(2)
    for number in (2, 1):
        request = fetch.asked.pop(number)
        fetch.core.receive(peer(number), NotHere(request.number, True), now=0.1)
        fetch.ask()
    assert fetch.core.has_failed


def test_member_that_does_not_have_it_yet_is_asked_a_few_times() -> None:
    fetch = Fetch(1)
    now = 0.0
    for _ in range(ABSENCES_MAX):
        assert not fetch.core.has_failed
        request = fetch.asked.pop(1)
        fetch.core.receive(peer(1), NotHere(request.number), now=now)
        fetch.ask(now=now)
        now = fetch.core.plan.get_timer(now=now) or now
        fetch.core.plan.time_out(now=now)
        fetch.ask(now=now)
    assert fetch.core.has_failed
