"""Who makes room in a full catalog."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors.discovery.catalog.capacity import DROPPED_SHARE, Capacity
from mosaik_actors.discovery.entry import EntryVersion

from .helpers import peer


def test_the_place_is_taken_from_whoever_brought_the_most() -> None:
    room = Capacity(10, lambda: 0.0)
    for name in ("e1", "e2", "e3", "e4"):
        room.receive_heard(peer(name), peer("evil"))
    room.receive_heard(peer("f1"), peer("friend"))
    # Of the younger half the one that was silent the longest.
    assert room.choose(peer("n"), peer("friend"), ()) == peer("e3")
    assert room.choose(peer("n"), peer("evil"), ()) == peer("e3")
    room.receive_heard(peer("e3"), peer("evil"))
    assert room.choose(peer("n"), peer("friend"), ()) == peer("e4")


def test_what_is_beyond_the_room_takes_the_place_of_large_newcomers_not_of_who_came_before() -> (
    None
):
    """Old peers, then newcomers, then large entries in number, all over the same neighbour."""
    rng = Random(1)
    room = Capacity(100, rng.random)
    honest = [peer(f"old {number}") for number in range(50)]
    honest += [peer(f"new {number}") for number in range(6)]
    for peer_id in honest:
        room.receive_heard(peer_id, peer("bridge"), 1024)
    for number in range(44):
        room.receive_heard(peer(f"flood {number}"), peer("bridge"), 5000)
    gone = set()
    for number in range(44, 60):  # those beyond the room: silence counts less than size so far
        victim = room.choose(peer(f"flood {number}"), peer("bridge"), ())
        assert victim is not None
        room.receive_dropped(victim, EntryVersion(1, 1), now=1)
        gone.add(victim)
        room.receive_heard(peer(f"flood {number}"), peer("bridge"), 5000)
    assert not gone & set(honest)


def test_who_was_connected_keeps_its_place_against_strangers() -> None:
    room = Capacity(10, lambda: 0.0)
    room.receive_met(peer("a"))
    room.receive_heard(peer("a"), peer("evil"))
    room.receive_heard(peer("b"), peer("b"))
    room.receive_heard(peer("c"), peer("evil"))
    room.receive_met(peer("c"))
    assert list(room.counts()) == []
    assert room.choose(peer("stranger"), peer("evil"), ()) is None
    # One that comes itself replaces the one that was silent the longest and has no link.
    assert room.choose(peer("n"), peer("n"), (peer("a"),)) == peer("b")


def test_who_is_stored_as_met_stays_so_however_many_are_met_after_it() -> None:
    room = Capacity(2, lambda: 0.0)
    room.receive_heard(peer("a"), peer("a"))
    for number in range(5):
        room.receive_met(peer(f"b{number}"))
    room.receive_heard(peer("a"), peer("evil"))
    assert list(room.counts()) == []
    # Of those without an entry as many are remembered as there is room for.
    assert list(room._met) == [peer("a"), peer("b3"), peer("b4")]
    room.receive_forgotten(peer("a"))
    assert list(room._met) == [peer("b3"), peer("b4")]


def test_who_is_heard_of_over_several_neighbours_is_charged_to_the_smaller_one() -> None:
    room = Capacity(10, lambda: 0.0)
    for name in ("h", "e1", "e2"):
        room.receive_heard(peer(name), peer("evil"))
    room.receive_again(peer("h"), peer("friend"))
    assert dict(room.counts()) == {peer("evil"): 2, peer("friend"): 1}
    # The larger one does not get it back, and what it heard from itself is met.
    room.receive_again(peer("h"), peer("evil"))
    assert dict(room.counts()) == {peer("evil"): 2, peer("friend"): 1}
    room.receive_again(peer("h"), peer("h"))
    assert dict(room.counts()) == {peer("evil"): 2}


def test_what_had_to_go_comes_back_with_a_newer_entry_only() -> None:
    room = Capacity(2, lambda: 0.0)
    room.receive_heard(peer("a"), None)
    room.receive_dropped(peer("a"), EntryVersion(1, 5000), now=9)
    assert room.was_dropped(peer("a"), EntryVersion(1, 5000), None)
    assert not room.was_dropped(peer("a"), EntryVersion(1, 5001), None)
    room.receive_heard(peer("a"), None)
    assert not room.was_dropped(peer("a"), EntryVersion(1, 5000), None)
    # Not many more of them are kept than there is room for peers; of the others the time is.
    for name, update in (("b", 7000), ("c", 99_000), ("d", 7000)):
        room.receive_dropped(peer(name), EntryVersion(1, update), now=9)
    for number in range(DROPPED_SHARE * 2 - 1):
        room.receive_dropped(peer(f"e{number}"), EntryVersion(1, 7000), now=9)
    room.receive_dropped(peer("e"), EntryVersion(1, 7000), now=9)
    assert room.was_dropped(peer("e"), EntryVersion(1, 7000), peer("e"))
    assert room.was_dropped(peer("b"), EntryVersion(1, 7000), None)
    assert room.was_dropped(peer("x"), EntryVersion(1, 9000), None)
    assert not room.was_dropped(peer("x"), EntryVersion(1, 9000), peer("x"))
    assert not room.was_dropped(peer("x"), EntryVersion(1, 9001), None)  # whatever c's clock said


PEERS = [peer(f"p{n}") for n in range(12)]
moves = st.lists(
    st.tuples(
        st.sampled_from(["heard", "again", "met", "forgotten", "full"]),
        st.sampled_from(PEERS),
        st.sampled_from([*PEERS[:4], None]),
    ),
    max_size=80,
)


@settings(max_examples=200, deadline=None)
@given(moves)
def test_each_peer_has_one_place_and_the_largest_bringer_pays(
    history: list[tuple[str, object, object]],
) -> None:
    room = Capacity(6, lambda: 0.0)
    stored: dict[object, None] = {}
    met: set[object] = set()
    for action, one, source in history:
        peer_id, bringer = PEERS[PEERS.index(one)], source  # type: ignore[arg-type]
        if action == "heard":
            if peer_id not in stored and len(stored) >= 6:
                continue
            room.receive_heard(peer_id, bringer)  # type: ignore[arg-type]
            stored[peer_id] = None
            if peer_id == bringer:
                met.add(peer_id)
        elif action == "again" and peer_id in stored:
            room.receive_again(peer_id, bringer)  # type: ignore[arg-type]
            if peer_id == bringer and peer_id not in met:
                met.add(peer_id)
        elif action == "met":
            room.receive_met(peer_id)
            met = {*met, peer_id}
        elif action == "forgotten":
            room.receive_forgotten(peer_id)
            stored.pop(peer_id, None)
        elif action == "full":
            before = dict(room.counts())
            chosen = room.choose(peer_id, bringer, ())  # type: ignore[arg-type]
            if before:
                assert chosen in stored
                assert chosen not in room._met
                room.receive_dropped(chosen, EntryVersion(1, 1), now=1)  # type: ignore[arg-type]
                stored.pop(chosen)
                after = dict(room.counts())
                largest = max(before.values())
                lost = [who for who in before if after.get(who, 0) < before[who]]
                assert [before[who] for who in lost] == [largest]
            else:
                assert chosen is None or chosen in stored
        counted = sum(count for _, count in room.counts()) + len(room._met_stored)
        assert counted == len(stored)
        assert room._met_stored.keys() <= room._met.keys()


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("xyz"), st.booleans())))
def test_who_is_asked_for_the_first_time_knows_the_same_as_who_kept_it(
    steps: list[tuple[str, str, bool]],
) -> None:
    early, late = Capacity(10, lambda: 0.0), Capacity(10, lambda: 0.0)
    early.choose(peer("n"), peer("x"), ())  # it has kept the order from the start
    for name, source, is_forgotten in steps:
        for room in (early, late):
            if is_forgotten:
                room.receive_forgotten(peer(name))
            else:
                room.receive_heard(peer(name), peer(source), 1024)
    assert early.longest_silent == late.longest_silent
    late.choose(peer("n"), peer("x"), ())
    assert dict(early.counts()) == dict(late.counts())
