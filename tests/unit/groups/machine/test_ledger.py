"""The replicated state beside the machine's: what fits, what is void, what came already."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors.errors import DecodeError
from mosaik_actors.groups.machine.ledger import (
    ANCESTORS_KEPT_MAX,
    MERGING_COUNT_MAX,
    Ledger,
    skip_commands,
)
from mosaik_actors.groups.wire.commands import CommandBatch
from mosaik_actors.groups.wire.status import Ancestor
from mosaik_actors.groups.wire.system_entries import (
    AcceptMerge,
    CloseInto,
    ContinueAs,
    FinishMerge,
    Replay,
    TakeSnapshot,
    decode_system_entry,
    encode_system_entry,
)

OWN, ONE, TWO, THREE = (bytes([number]) * 16 for number in range(1, 5))
CLIENT = b"c" * 16


def replay(
    history: bytes, first: int, last: int, *, origin: bytes = b"", origin_first: int | None = None
) -> Replay:
    """Return a system entry with the commands `first` to `last` of a history, by their numbers."""
    payloads = tuple(b"%d" % number for number in range(first, last + 1))
    command_batch = CommandBatch(CLIENT, 0, first, 0, payloads)
    origin_after = (first if origin_first is None else origin_first) - 1
    return Replay(history, (command_batch,), first - 1, origin, origin_after)


def taken(command_batches: tuple[CommandBatch, ...] | None) -> list[int]:
    """Return the numbers of the commands that are to be applied."""
    assert command_batches is not None
    return [int(payload) for batch in command_batches for payload in batch.payloads]


def test_history_is_closed_once() -> None:
    ledger = Ledger(OWN)
    assert ledger.apply(CloseInto(ONE)) == ()
    assert ledger.apply(CloseInto(TWO)) is None
    assert ledger.closed_into == ONE


def test_closed_history_takes_in_nobody() -> None:
    ledger = Ledger(OWN)
    ledger.apply(CloseInto(ONE))
    before = ledger.to_bytes()
    assert ledger.apply(AcceptMerge(TWO)) is None
    assert ledger.apply(replay(TWO, 1, 3)) is None
    assert ledger.apply(FinishMerge(TWO, 0)) is None
    assert ledger.to_bytes() == before


def test_history_that_has_accepted_a_merging_history_since_it_asked_is_not_closed() -> None:
    """From this follows that no circle can be: see `merge`."""
    ledger = Ledger(OWN)
    count = ledger.accept_count
    assert ledger.apply(AcceptMerge(TWO)) == ()
    assert ledger.apply(CloseInto(ONE, count)) is None
    assert ledger.apply(CloseInto(ONE, ledger.accept_count)) == ()


def test_merging_history_that_asks_again_is_accepted_again() -> None:
    """An answer to an earlier request says nothing about what has happened since."""
    ledger = Ledger(OWN)
    assert ledger.apply(AcceptMerge(ONE, b"1" * 16)) == ()
    count = ledger.accept_count
    assert ledger.apply(AcceptMerge(ONE, b"2" * 16)) == ()
    assert ledger.accept_count == count + 1
    assert ledger.merging_histories == (ONE,)


def test_circle_of_three_cannot_close() -> None:
    """All three ask and are accepted; whoever accepted after it had asked stays open."""
    ring = [Ledger(OWN), Ledger(ONE), Ledger(TWO)]
    counts = [ledger.accept_count for ledger in ring]
    for number, ledger in enumerate(ring):
        assert ring[(number + 1) % 3].apply(AcceptMerge(ledger.history)) is not None
    for number, ledger in enumerate(ring):
        ledger.apply(CloseInto(ring[(number + 1) % 3].history, counts[number]))
    assert not any(ledger.closed_into for ledger in ring)


def test_history_is_not_closed_into_itself_nor_into_one_it_has_taken_in() -> None:
    ledger = Ledger(OWN)
    ledger.apply(FinishMerge(ONE, 0))
    assert ledger.apply(CloseInto(OWN)) is None
    assert ledger.apply(CloseInto(ONE)) is None


def test_replayed_commands_are_taken_once_and_without_a_gap() -> None:
    ledger = Ledger(OWN)
    assert taken(ledger.apply(replay(ONE, 1, 3))) == [1, 2, 3]
    assert ledger.apply(replay(ONE, 1, 3)) is None
    assert ledger.apply(replay(ONE, 5, 6)) is None, "the fourth is missing"
    assert taken(ledger.apply(replay(ONE, 2, 5))) == [4, 5]
    assert ledger.taken_of(ONE) == 5


def test_own_commands_are_never_taken() -> None:
    ledger = Ledger(OWN)
    assert ledger.apply(replay(OWN, 1, 3)) is None
    assert taken(ledger.apply(replay(ONE, 1, 3, origin=OWN))) == []
    assert ledger.taken_of(ONE) == 3


def test_command_that_comes_two_ways_is_taken_once() -> None:
    """TWO took in part of ONE before it was closed; ONE then comes by itself."""
    ledger = Ledger(OWN)
    assert taken(ledger.apply(replay(TWO, 1, 4, origin=ONE))) == [1, 2, 3, 4]
    assert taken(ledger.apply(replay(ONE, 1, 6))) == [5, 6]
    assert taken(ledger.apply(replay(THREE, 1, 7, origin=ONE))) == [7]
    assert ledger.taken_of(ONE) == 6, "what THREE brought was not counted for this way"


def test_merge_is_finished_only_when_everything_is_here() -> None:
    ledger = Ledger(OWN)
    ledger.apply(AcceptMerge(ONE))
    ledger.apply(replay(ONE, 1, 3))
    assert ledger.apply(FinishMerge(ONE, 4)) is None
    assert ledger.apply(FinishMerge(ONE, 2)) is None
    assert ledger.apply(FinishMerge(ONE, 3)) == ()
    assert ledger.merged == (ONE,)
    assert ledger.merging_histories == ()
    assert ledger.apply(FinishMerge(ONE, 3)) is None
    assert ledger.apply(AcceptMerge(ONE)) is None
    assert ledger.apply(replay(ONE, 4, 4)) is None


def test_what_a_merging_history_had_taken_in_whole_is_here_whole() -> None:
    ledger = Ledger(OWN)
    ledger.apply(replay(TWO, 1, 2, origin=ONE))
    assert ledger.apply(FinishMerge(TWO, 2, (ONE, OWN))) == ()
    assert ledger.merged == (ONE, TWO)
    assert taken(ledger.apply(replay(THREE, 1, 2, origin=ONE))) == []


def test_old_merging_histories_are_forgotten() -> None:
    ledger = Ledger(OWN)
    for number in range(MERGING_COUNT_MAX + 5):
        ledger.apply(AcceptMerge(bytes([100 + number]) * 16))
    assert len(ledger.merging_histories) == MERGING_COUNT_MAX
    assert ledger.merging_histories[-1] == bytes([100 + MERGING_COUNT_MAX + 4]) * 16


def test_cutting_a_snapshot_changes_nothing() -> None:
    ledger = Ledger(OWN)
    before = ledger.to_bytes()
    assert ledger.apply(TakeSnapshot(b"r" * 16)) is None
    assert ledger.to_bytes() == before


def test_commands_are_skipped_across_command_batches() -> None:
    one = CommandBatch(CLIENT, 7, 1, 0, (b"1", b"2"))
    two = CommandBatch(CLIENT, 7, 3, 2, (b"3", b"4"))
    assert skip_commands((one, two), 0) == (one, two)
    assert skip_commands((one, two), 1) == (CommandBatch(CLIENT, 7, 2, 0, (b"2",)), two)
    assert skip_commands((one, two), 2) == (two,)
    assert skip_commands((one, two), 9) == ()


def test_ledger_survives_a_snapshot() -> None:
    ledger = Ledger(OWN)
    for system_entry in (
        AcceptMerge(ONE),
        replay(ONE, 1, 3),
        FinishMerge(ONE, 3),
        AcceptMerge(TWO),
        replay(TWO, 1, 2, origin=THREE, origin_first=5),
        CloseInto(THREE, 2),
    ):
        ledger.apply(system_entry)
    copy = Ledger.from_bytes(ledger.to_bytes())
    assert copy.to_bytes() == ledger.to_bytes()
    assert (copy.history, copy.merged, copy.merging_histories) == (OWN, (ONE,), (TWO,))
    assert (copy.closed_into, copy.accept_count, copy.taken_of(TWO)) == (THREE, 2, 2)


@pytest.mark.parametrize("data", [b"", b"\x00", b"\xc0", b"\x91\xc4\x00", b"\xff" * 40])
def test_what_is_no_ledger_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        Ledger.from_bytes(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_ledger_or_refused(data: bytes) -> None:
    try:
        Ledger.from_bytes(data)
    except DecodeError:
        return


@given(st.binary(max_size=200))
def test_any_bytes_are_an_act_or_refused(data: bytes) -> None:
    try:
        system_entry = decode_system_entry(data)
    except DecodeError:
        return
    assert decode_system_entry(encode_system_entry(system_entry)) == system_entry


def test_largest_counts_of_a_peer_still_make_a_snapshot() -> None:
    ledger = Ledger(OWN)
    system_entry = replay(TWO, 1, 3, origin=ONE)
    largest = Replay(TWO, system_entry.command_batches, 0, ONE, (1 << 62) - 1)
    assert decode_system_entry(encode_system_entry(largest)) == largest
    ledger.apply(largest)
    assert Ledger.from_bytes(ledger.to_bytes()).to_bytes() == ledger.to_bytes()


@settings(deadline=None)
@given(st.integers(0, 1 << 32))
def test_each_command_is_taken_once_and_in_order_whatever_way_it_comes(seed: int) -> None:
    """ONE comes by itself, and through two histories that had taken in parts of it."""
    rng = Random(seed)
    ways: list[list[tuple[bytes, int]]] = [[(ONE, n) for n in range(1, 11)]]
    for history in (TWO, THREE):
        part = [(ONE, n) for n in range(1, rng.randint(1, 11))]
        own = [(history, n) for n in range(1, 6)]
        ways.append(_woven(rng, part, own))
    ledger = Ledger(OWN)
    applied: list[tuple[bytes, int]] = []
    places = [0, 0, 0]
    while any(place < len(way) for place, way in zip(places, ways, strict=True)):
        number = rng.randrange(3)
        way = ways[number]
        # Sometimes from an earlier place once more, sometimes from too late a one.
        start = max(0, min(places[number] + rng.choice((0, 0, 0, -2, 1)), len(way) - 1))
        origin = way[start][0]
        stop = start + 1
        while stop < len(way) and way[stop][0] == origin and rng.random() < 0.6:
            stop += 1
        system_entry = _system_entry((ONE, TWO, THREE)[number], way, start, stop)
        event = ledger.apply(system_entry)
        assert (event is None) == (start > places[number] or stop <= places[number])
        if event is not None:
            places[number] = stop
            applied += [(origin, n) for n in taken(event)]
    for origin in (ONE, TWO, THREE):
        count = 10 if origin == ONE else 5
        assert [n for history, n in applied if history == origin] == list(range(1, count + 1))


def _woven(
    rng: Random, one: list[tuple[bytes, int]], two: list[tuple[bytes, int]]
) -> list[tuple[bytes, int]]:
    one, two, woven = list(one), list(two), []
    while one or two:
        source = one if one and (not two or rng.random() < 0.5) else two
        woven.append(source.pop(0))
    return woven


def _system_entry(history: bytes, way: list[tuple[bytes, int]], start: int, stop: int) -> Replay:
    payloads = tuple(b"%d" % number for _, number in way[start:stop])
    origin, first = way[start]
    command_batch = CommandBatch(CLIENT, 0, first, 0, payloads)
    return Replay(history, (command_batch,), start, origin, first - 1)


def continued(own_count: int, through_count: int) -> Ledger:
    """Return the ledger of TWO, which continues OWN after so many commands."""
    ledger = Ledger(OWN)
    system_entry = ContinueAs(OWN, TWO, 9, through_count, own_count, through_count)
    assert ledger.apply(system_entry) == ()
    return ledger


def test_history_that_goes_on_under_another_id_keeps_its_past() -> None:
    ledger = continued(5, 5)
    assert (ledger.history, ledger.root) == (TWO, OWN)
    assert ledger.ancestors == (Ancestor(OWN, 9, 5, 5),)
    assert (ledger.shared_position(OWN), ledger.shared_position(ONE)) == (5, None)
    assert ledger.has_all_of(TWO)
    assert not ledger.has_all_of(OWN)
    assert Ledger.from_bytes(ledger.to_bytes()).to_bytes() == ledger.to_bytes()


def test_of_a_continued_history_that_ends_only_what_is_new_is_taken_in() -> None:
    """By the count of its commands, whatever the sessions remember."""
    ledger = continued(5, 5)
    assert ledger.taken_of(OWN) == 5
    assert ledger.apply(replay(OWN, 1, 5)) is None
    assert taken(ledger.apply(replay(OWN, 4, 7))) == [6, 7]
    assert ledger.apply(FinishMerge(OWN, 6)) is None
    assert ledger.apply(FinishMerge(OWN, 7)) == ()


def test_of_two_that_continue_one_history_the_shared_past_is_here_once() -> None:
    """ONE continues OWN after 7 commands, TWO after 5: it lacks two of them."""
    ledger = continued(5, 5)
    assert taken(ledger.apply(replay(ONE, 1, 7, origin=OWN))) == [6, 7]
    assert taken(ledger.apply(replay(ONE, 8, 9))) == [8, 9]
    # And when OWN itself ends, that has been here by the other way.
    assert taken(ledger.apply(replay(OWN, 6, 8))) == [8]


def test_another_history_is_not_continued() -> None:
    ledger = continued(5, 5)
    before = ledger.to_bytes()
    assert ledger.apply(ContinueAs(OWN, THREE, 9, 5, 5, 5)) is None
    assert ledger.apply(ContinueAs(TWO, TWO, 9, 5, 5, 5)) is None
    assert ledger.to_bytes() == before


def test_ancestors_are_bounded_and_the_first_one_stays() -> None:
    ledger = Ledger(OWN)
    for number in range(ANCESTORS_KEPT_MAX + 50):
        history = number.to_bytes(16, "big")
        ledger.apply(ContinueAs(ledger.history, history, number, number, number, number))
        assert ledger.history == history
    assert len(ledger.ancestors) == ANCESTORS_KEPT_MAX
    assert ledger.root == OWN
    assert Ledger.from_bytes(ledger.to_bytes()).ancestors == ledger.ancestors


def test_history_that_cannot_be_replayed_is_closed_only_while_it_has_no_more() -> None:
    ledger = continued(5, 5)
    ledger.own_count = 6
    assert ledger.apply(CloseInto(OWN, 0, 5)) is None
    assert ledger.apply(CloseInto(OWN, 0, 6)) == ()
