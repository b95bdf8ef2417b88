"""How an entry spreads (Plumtree, SRDS 2007). `now` is monotonic time."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from random import Random
from weakref import WeakKeyDictionary

from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors.discovery.config import DiscoveryConfig
from mosaik_actors.discovery.entry import SignedPeerEntry
from mosaik_actors.discovery.gossip.announcements import RefreshOwnEntry, SendFrames
from mosaik_actors.discovery.gossip.broadcast import Broadcast
from mosaik_actors.discovery.wire import (
    Announce,
    Frame,
    Graft,
    IHave,
    Prune,
    decode_frame,
    split_ids,
)
from mosaik_actors.ids import PeerId

from .helpers import NOW, peer, signed

BY_ID = sorted(("n0", "n1", "n2", "n3", "n4", "n5"), key=peer)
SHAPER, ME, *OTHERS = BY_ID  # the smallest id shapes the tree
A, B, C, D = OTHERS


def make(*neighbours: str, me: str = ME) -> Broadcast:
    core = Broadcast(peer(me), DiscoveryConfig(), Random(1), now=0.0)
    for name in neighbours:
        core.receive_neighbour_up(peer(name))
    return core


def sent(core: Broadcast) -> list[tuple[PeerId, Frame]]:
    found = []
    while (event := core.next_event()) is not None:
        if isinstance(event, SendFrames):
            found += [(to, decode_frame(frame)) for to in event.peers for frame in event.frames]
    return found


def pushed(core: Broadcast) -> dict[PeerId, list[SignedPeerEntry]]:
    """Return which entries went to whom."""
    entries: dict[PeerId, list[SignedPeerEntry]] = {}
    for to, frame in sent(core):
        if isinstance(frame, Announce):
            entries.setdefault(to, []).extend(map(SignedPeerEntry.decode, frame.entries))
    return entries


def told(core: Broadcast) -> dict[PeerId, list[bytes]]:
    """Return which ids went to whom."""
    ids: dict[PeerId, list[bytes]] = {}
    for to, frame in sent(core):
        if isinstance(frame, IHave):
            ids.setdefault(to, []).extend(split_ids(frame.ids))
    return ids


def hear(
    core: Broadcast, source: str, *entries: SignedPeerEntry, now: float, came_over: int = 0
) -> None:
    """Let `source` announce entries that the catalog accepts if they are new."""
    announce = Announce(tuple(one.encode() for one in entries), bytes([came_over]) * len(entries))
    unseen = core.receive_announce(peer(source), announce)
    accept(core, list(map(SignedPeerEntry.decode, unseen)), peer(source), now=now)


_accepted: WeakKeyDictionary[Broadcast, dict[PeerId, SignedPeerEntry]] = WeakKeyDictionary()


def accept(
    core: Broadcast,
    entries: list[SignedPeerEntry],
    source: PeerId | None,
    *,
    is_synced: bool = False,
    now: float,
) -> None:
    """Bring entries as a catalog does, with what it had before of their peers."""
    known = _accepted.setdefault(core, {})
    replaced = {one.peer_id: known[one.peer_id] for one in entries if one.peer_id in known}
    known.update({one.peer_id: one for one in entries})
    core.receive_fresh(entries, source, replaced, is_synced=is_synced, now=now)


def peers(names: Iterable[str]) -> list[PeerId]:
    return [peer(name) for name in names]


def make_with_shaper(*neighbours: str) -> Broadcast:
    """Return a core that knows who shapes the tree, and has nothing more to send."""
    core = make(*neighbours)
    hear(core, neighbours[0], signed(SHAPER), now=0.0)
    core.handle_timer(now=1.0)
    sent(core)
    return core


# News.


def test_news_goes_to_every_eager_neighbour_but_its_source() -> None:
    core = make(A, B, C)
    news = [signed("x"), signed("y")]
    hear(core, B, *news, now=0.0)
    assert pushed(core) == dict.fromkeys(peers([A, C]), news)
    core.receive_neighbour_down(peer(A))
    more = signed("z")
    accept(core, [more], None, now=1.0)
    assert pushed(core) == {key: [more] for key in peers([B, C])}


def test_news_from_several_in_one_burst_goes_back_to_none_of_them() -> None:
    core = make(A, B, C)
    first, *burst = signed("w"), signed("x"), signed("y")
    hear(core, A, first, now=0.0)
    pushed(core)
    hear(core, A, burst[0], now=0.01)
    hear(core, B, burst[1], now=0.02)
    assert pushed(core) == {}
    assert core.get_timer() == 0.05
    core.handle_timer(now=0.05)
    expected = {peer(A): [burst[1]], peer(B): [burst[0]], peer(C): burst}
    assert pushed(core) == expected


def test_while_there_is_much_news_all_the_time_it_goes_out_in_fewer_and_larger_frames() -> None:
    core = make_with_shaper(A, B)
    pushed_at = []
    for turn in range(100):
        now = round(10 + turn / 100, 3)
        core.handle_timer(now=now)
        hear(core, A, signed(f"news {turn}"), signed(f"more {turn}"), now=now)
        if peer(B) in pushed(core):
            pushed_at.append(now)
    waits = [round(later - sooner, 2) for sooner, later in pairwise(pushed_at)]
    assert waits[:3] == [0.05, 0.1, 0.2]
    assert set(waits[3:]) == {0.2}
    # After a pause it is as before: at once, and then after one gap.
    hear(core, A, signed("late"), now=20.0)
    assert peer(B) in pushed(core)
    hear(core, A, signed("later"), now=20.01)
    core.handle_timer(now=20.05)
    assert peer(B) in pushed(core)


def test_no_news_or_no_neighbours_send_nothing() -> None:
    core = make(A)
    accept(core, [], None, now=0.0)
    hear(core, A, signed("x"), now=0.0)
    assert core.next_event() is None
    core = make()
    core.receive_own(signed(ME), now=0.0)
    assert core.next_event() is None


def test_the_first_neighbour_of_a_newcomer_hears_of_it_at_once() -> None:
    core = make()
    own = signed(ME)
    core.receive_own(own, now=0.0)
    core.receive_neighbour_up(peer(A))
    core.receive_neighbour_up(peer(B))
    assert pushed(core) == {peer(A): [own]}


def test_a_change_goes_out_at_once_and_many_go_out_together() -> None:
    core = make(A)
    changes = [signed(ME, update=NOW + n) for n in range(5)]
    core.receive_own(changes[0], now=1.0)
    assert pushed(core) == {peer(A): changes[:1]}
    for n in range(1, 5):
        core.receive_own(changes[n], now=1.0 + n / 100)
    assert pushed(core) == {}
    core.handle_timer(now=1.05)
    assert pushed(core) == {peer(A): changes[4:]}


def test_a_departure_goes_to_all_at_once_and_is_the_last_word() -> None:
    core = make(A, B)
    core.receive_prune(peer(B))
    core.receive_own(signed(ME), now=1.0)
    sent(core)
    notice = signed(ME, update=NOW + 1, departed=True)
    core.receive_own(notice, now=1.01)
    assert pushed(core) == {key: [notice] for key in peers([A, B])}
    assert core.get_timer() is None


def test_many_large_entries_are_split_over_frames() -> None:
    core = make(A)
    streams = [signed(f"p{n}", tags=tuple(map(peer, ["t"] * 500))) for n in range(60)]
    accept(core, streams, None, now=0.0)
    event = core.next_event()
    assert isinstance(event, SendFrames)
    assert len(event.frames) > 1
    assert all(len(frame) <= 512 * 1024 for frame in event.frames)
    total = [entry for frame in event.frames for entry in decode_frame(frame).entries]  # type: ignore[union-attr]
    assert total == [one.encode() for one in streams]


# Refreshes.


def test_refreshes_wait_for_company() -> None:
    core = make_with_shaper(A, B)
    hear(core, A, signed(C), signed(D), now=10.0)
    sent(core)
    hear(core, A, signed(C, update=NOW + 1), now=20.0)
    hear(core, A, signed(D, update=NOW + 1), now=22.0)
    assert pushed(core) == {}
    core.handle_timer(now=23.0)
    assert pushed(core) == {peer(B): [signed(C, update=NOW + 1), signed(D, update=NOW + 1)]}


def test_a_lone_node_or_the_shaper_refreshes_within_the_jitter_of_the_interval() -> None:
    core = make(A)
    core.receive_peer_count(5000)
    now = 0.0
    waits = []
    for n in range(200):
        due = core.get_timer()
        assert due is not None
        if due - now < 1:  # ids that wait to be announced
            core.handle_timer(now=due)
            due = core.get_timer()
            assert due is not None
        waits.append(due - now)
        now = due
        core.handle_timer(now=now)
        while (event := core.next_event()) != RefreshOwnEntry():
            assert isinstance(event, SendFrames)
        core.receive_own(signed(ME, update=NOW + n), now=now)
        sent(core)
    assert 7.5 <= min(waits) < 9
    assert 21 < max(waits) <= 22.5


def test_the_more_peers_are_known_the_longer_a_node_waits() -> None:
    """Also while it waits already: all nodes of a large network start with knowing nobody."""
    core = make_with_shaper(A)
    due = core.get_timer()
    assert due is not None
    assert due < 23
    core.receive_peer_count(1000)
    due = core.get_timer()
    assert due is not None
    assert 160 < due < 181


# The tree: rules of the paper.


def test_all_links_are_eager_at_first() -> None:
    """Section 3.4: the tree begins as a flood."""
    assert make(A, B).eager == tuple(peers([A, B]))


def test_a_duplicate_of_the_shapers_entry_prunes_its_link_at_both_ends() -> None:
    """Section 3.4, algorithm 1."""
    core = make(A, B)
    wave = signed(SHAPER)
    hear(core, A, wave, now=0.0)
    sent(core)
    hear(core, B, wave, now=0.1)
    assert sent(core) == [(peer(B), Prune())]
    assert (core.eager, tuple(core._lazy)) == ((peer(A),), (peer(B),))
    other = make(A, B)
    other.receive_prune(peer(A))
    assert (other.eager, tuple(other._lazy)) == ((peer(B),), (peer(A),))


def test_duplicates_of_others_do_not_prune() -> None:
    """Else links would be cut in several places of one circle."""
    core = make_with_shaper(A, B)
    hear(core, A, signed(C), now=2.0)
    sent(core)
    hear(core, B, signed(C), now=2.1)
    assert sent(core) == []
    assert core.eager == tuple(peers([A, B]))


def test_lazy_neighbours_get_ids_together_and_not_of_what_they_sent() -> None:
    """Section 3.5: lazy push, in batches."""
    core = make_with_shaper(A, B, C)
    core.receive_prune(peer(B))
    core.receive_prune(peer(C))
    first, second = signed("x"), signed("y")
    hear(core, A, first, now=10.0)
    hear(core, C, second, now=10.06)  # an eager push over a lazy link makes it eager again
    assert tuple(core._lazy) == (peer(B),)
    sent(core)
    core.handle_timer(now=10.2)
    assert told(core) == {
        peer(B): [first.message_id, second.message_id],
        peer(C): [first.message_id],
    }


def test_what_is_told_of_and_does_not_come_is_fetched_and_the_link_becomes_eager() -> None:
    """Section 3.6, algorithm 2: first from who told first, then from the next."""
    core = make_with_shaper(A, B, C)
    for name in (B, C):
        core.receive_prune(peer(name))
    lost = signed("x")
    for name in (B, C):
        core.receive_ihave(peer(name), IHave(lost.message_id, b"\1", True), now=10.0)
    core.handle_timer(now=10.4)
    assert sent(core) == []
    core.handle_timer(now=10.5)
    assert sent(core) == [(peer(B), Graft(lost.message_id))]
    core.handle_timer(now=11.0)
    assert sent(core) == [(peer(C), Graft(lost.message_id))]
    assert tuple(core._lazy) == ()
    hear(core, C, lost, now=11.1)
    sent(core)
    core.handle_timer(now=20.0)
    assert not any(isinstance(frame, Graft) for _, frame in sent(core))


def test_what_came_meanwhile_is_not_fetched() -> None:
    """Section 3.6: the timer is cancelled when the payload arrives."""
    core = make_with_shaper(A, B)
    late = signed("x")
    core.receive_ihave(peer(B), IHave(late.message_id, b"\1", True), now=10.0)
    hear(core, A, late, now=10.1)
    core.handle_timer(now=12.0)
    assert not any(isinstance(frame, Graft) for _, frame in sent(core))


def test_a_missed_refresh_is_fetched_later_and_leaves_the_tree_alone() -> None:
    core = make_with_shaper(A, B)
    core.receive_prune(peer(B))
    lost = signed(C, update=NOW + 1)
    core.receive_ihave(peer(B), IHave(lost.message_id, b"\1", False), now=10.0)
    core.handle_timer(now=20.0)
    assert not any(isinstance(frame, Graft) for _, frame in sent(core))
    core.handle_timer(now=40.0)
    assert (peer(B), Graft(lost.message_id, False)) in sent(core)
    assert tuple(core._lazy) == (peer(B),)


def test_a_graft_is_served_and_makes_the_link_eager() -> None:
    """Section 3.6: GRAFT adds the link to the tree and asks for the payload."""
    core = make_with_shaper(A, B)
    core.receive_prune(peer(B))
    wanted = signed("x")
    hear(core, A, wanted, now=10.0)
    sent(core)
    core.receive_graft(peer(B), Graft(wanted.message_id + b"unknown!" + b"rest"))
    assert pushed(core) == {peer(B): [wanted]}
    assert tuple(core._lazy) == ()


def test_a_graft_of_what_was_replaced_gets_nothing_and_its_successor_is_sent_anyway() -> None:
    core = make(A, B)
    old, new = signed("x"), signed("x", update=NOW + 1, tags=(peer("t"),))
    hear(core, A, old, now=10.0)
    hear(core, A, new, now=11.0)
    assert pushed(core) == {peer(B): [old, new]}
    core.receive_graft(peer(B), Graft(old.message_id))
    assert sent(core) == []


def test_what_was_replaced_before_it_came_is_not_spread() -> None:
    """A sync's entries come over the catalog actor's mailbox, announced ones at once."""
    core = make_with_shaper(A, B)
    old, new = signed("x"), signed("x", update=NOW + 1)
    core.receive_fresh([new], peer(A), {peer("x"): old}, now=10.0)
    sent(core)
    core.receive_fresh([old], peer(A), {}, is_synced=True, now=10.0)
    core.handle_timer(now=11.0)
    assert old.message_id not in [one for ids in told(core).values() for one in ids]
    core.receive_graft(peer(B), Graft(old.message_id + new.message_id))
    assert pushed(core) == {peer(B): [new]}


def test_a_much_shorter_way_is_traded_for_a_longer_one() -> None:
    """Section 3.8: an IHAVE with a smaller round than the payload's."""
    core = make(A, B)
    wave = signed(SHAPER)
    hear(core, A, wave, now=0.0, came_over=9)
    core.receive_prune(peer(B))
    sent(core)
    core.receive_ihave(peer(B), IHave(wave.message_id, b"\7", True), now=0.2)
    assert sent(core) == []
    core.receive_ihave(peer(B), IHave(wave.message_id, b"\2", True), now=0.2)
    assert sent(core) == [(peer(B), Graft(b"")), (peer(A), Prune())]
    assert (core.eager, tuple(core._lazy)) == ((peer(B),), (peer(A),))


def test_what_a_sync_brought_is_told_and_not_pushed() -> None:
    core = make_with_shaper(A, B, C)
    synced = signed("x")
    accept(core, [synced], peer(A), is_synced=True, now=10.0)
    core.handle_timer(now=10.2)
    assert told(core) == {key: [synced.message_id] for key in peers([B, C])}


def test_the_shaper_is_replaced_when_it_has_been_silent_for_long() -> None:
    core = make_with_shaper(B, C)
    hear(core, B, signed(A), now=50.0)
    hear(core, C, signed(A), now=50.1)
    assert list(core._lazy) == []
    later = signed(A, update=NOW + 1)
    hear(core, B, later, now=70.0)
    hear(core, C, later, now=70.1)
    assert list(core._lazy) == [peer(C)]


def test_the_shaper_shapes_again_soon_after_news() -> None:
    core = make(A, me=SHAPER)
    core.receive_own(signed(SHAPER), now=0.0)
    hear(core, A, signed("x"), now=1.0)
    core.handle_timer(now=1.1)
    found = []
    while (event := core.next_event()) is not None:
        found.append(event)
    assert RefreshOwnEntry() in found


def test_what_was_seen_is_dropped_before_it_is_decoded() -> None:
    core = make(A, B)
    rubbish = Announce((b"rubbish", b"rubbish"), b"\0\0")
    assert core.receive_announce(peer(A), rubbish) == [b"rubbish"]
    assert core.receive_announce(peer(B), rubbish) == []


steps = st.lists(
    st.tuples(
        st.sampled_from(["up", "down", "hear", "ihave", "graft", "prune", "synced", "own", "time"]),
        st.sampled_from(OTHERS),
        st.integers(0, 8),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(steps)
def test_the_invariants_hold_in_any_history(history: list[tuple[str, str, int]]) -> None:
    core = make()
    entries = [signed(name, update=NOW + n) for n in range(3) for name in (SHAPER, "x", "y")]
    up: set[PeerId] = set()
    now = 0.0
    for action, name, number in history:
        source, entry = peer(name), entries[number]
        match action:
            case "up":
                up.add(source)
                core.receive_neighbour_up(source)
            case "down":
                up.discard(source)
                core.receive_neighbour_down(source)
            case "hear":
                hear(core, name, entry, now=now, came_over=number)
            case "ihave":
                ids = IHave(entry.message_id, bytes([number]), number % 2 == 0)
                core.receive_ihave(source, ids, now=now)
            case "graft":
                core.receive_graft(source, Graft(entry.message_id, number % 2 == 0))
            case "prune":
                core.receive_prune(source)
            case "synced":
                accept(core, [entry], source, is_synced=True, now=now)
            case "own":
                core.receive_own(signed(ME, update=NOW + now), now=now)
            case "time":
                due = core.get_timer()
                assert due is not None
                now = max(now, due)
                core.handle_timer(now=now)
                due = core.get_timer()
                assert due is not None
                assert due > now
        assert not set(core.eager) & set(core._lazy)
        assert set(core.eager) | set(core._lazy) == up
        sent(core)
