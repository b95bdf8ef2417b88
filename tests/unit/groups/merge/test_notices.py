"""With which commands users are notified of which histories."""

import itertools
from collections.abc import Sequence
from typing import Any

from mosaik_actors.groups.machine.host import Replayed
from mosaik_actors.groups.merge.notices import MergeNotice, MergeNotices

OWN, ONE, TWO = (bytes([number]) * 16 for number in range(1, 4))


def decode(payloads: Sequence[bytes]) -> tuple[list[Any], Exception | None]:
    return list(payloads), None


def read(notices: list[MergeNotice]) -> dict[bytes, list[Any]]:
    for notice in notices:
        assert notice.read(decode)
    return {notice.loser: notice.commands for notice in notices}


def begun() -> MergeNotices:
    """Return the notices of a member that has seen that nothing is merged yet."""
    notices = MergeNotices()
    assert not notices.take(OWN, (), [], is_told=True)
    return notices


def test_commands_wait_for_the_end_of_the_history_that_held_them() -> None:
    """Some came with another one, which ended while it took that history in."""
    notices = begun()
    replayed = [Replayed(ONE, (b"a",)), Replayed(TWO, (b"b",))]
    assert read(notices.take(OWN, (TWO,), replayed, is_told=True)) == {TWO: [b"b"]}
    more = [Replayed(ONE, (b"c",))]
    assert not notices.take(OWN, merged := (TWO, b"x" * 16), more, is_told=False)
    assert read(notices.take(OWN, (*merged, ONE), [], is_told=True)) == {ONE: [b"a", b"c"]}


def test_what_is_known_is_not_notified_again() -> None:
    notices = begun()
    notices.note_known([ONE])
    replayed = [Replayed(ONE, (b"a",)), Replayed(TWO, (b"b",))]
    assert read(notices.take(OWN, (ONE, TWO), replayed, is_told=True)) == {TWO: [b"b"]}


def test_one_that_came_over_is_notified_before_it_has_caught_up() -> None:
    notices = MergeNotices()
    notices.note_given_up(ONE, is_merged=True)
    replayed = [Replayed(ONE, (b"a",)), Replayed(TWO, (b"b",))]
    assert read(notices.take(OWN, (ONE, TWO), replayed, is_told=False)) == {TWO: [b"b"]}


def test_long_history_is_decoded_a_little_at_a_time() -> None:
    notices = begun()
    payloads = tuple(b"%d" % number for number in range(1000))
    replayed = [Replayed(ONE, payloads) for _ in range(20)]
    [notice] = notices.take(OWN, (ONE,), replayed, is_told=True)
    counts = [0]
    while not notice.read(decode):
        counts.append(len(notice.commands))
    assert max(after - before for before, after in itertools.pairwise(counts)) <= 3000
    assert notice.commands == [*payloads] * 20
