"""How an entry spreads. `now` is monotonic time."""

from __future__ import annotations

from random import Random

from mosaik_actors.discovery.broadcast import Broadcast, RefreshOwnEntry, SendFrames
from mosaik_actors.discovery.config import DiscoveryConfig
from mosaik_actors.discovery.entry import SignedPeerEntry
from mosaik_actors.discovery.wire import Announce, decode_frame
from mosaik_actors.ids import PeerId

from .helpers import NOW, peer, signed


def make(*neighbours: str) -> Broadcast:
    core = Broadcast(DiscoveryConfig(), Random(1), now=0.0)
    for name in neighbours:
        core.receive_neighbour_up(peer(name))
    return core


def sent(core: Broadcast) -> list[tuple[tuple[PeerId, ...], list[SignedPeerEntry]]]:
    found = []
    while (event := core.next_event()) is not None:
        assert isinstance(event, SendFrames)
        entries = []
        for frame in map(decode_frame, event.frames):
            assert isinstance(frame, Announce)
            entries += [SignedPeerEntry.decode(one) for one in frame.entries]
        found.append((event.peers, entries))
    return found


def test_news_goes_to_every_neighbour_but_its_source() -> None:
    core = make("a", "b", "c")
    news = [signed("x"), signed("y")]
    core.receive_fresh(news, peer("b"))
    assert sent(core) == [((peer("a"), peer("c")), news)]
    core.receive_neighbour_down(peer("a"))
    core.receive_fresh(news, None)
    assert sent(core) == [((peer("b"), peer("c")), news)]


def test_no_news_or_no_neighbours_send_nothing() -> None:
    core = make("a")
    core.receive_fresh([], None)
    core.receive_fresh([signed("x")], peer("a"))
    assert core.next_event() is None
    make().receive_own(signed("me"), now=0.0)
    assert core.next_event() is None


def test_a_change_goes_out_at_once_and_many_go_out_together() -> None:
    core = make("a")
    changes = [signed("me", update=NOW + n) for n in range(5)]
    core.receive_own(changes[0], now=1.0)
    assert sent(core) == [((peer("a"),), changes[:1])]
    for n in range(1, 5):
        core.receive_own(changes[n], now=1.0 + n / 100)
    assert sent(core) == []
    assert core.get_timer() == 1.05
    core.handle_timer(now=1.05)
    assert sent(core) == [((peer("a"),), changes[4:])]


def test_a_departure_does_not_wait_and_is_the_last_word() -> None:
    core = make("a")
    core.receive_own(signed("me"), now=1.0)
    sent(core)
    notice = signed("me", update=NOW + 1, departed=True)
    core.receive_own(notice, now=1.01)
    assert sent(core) == [((peer("a"),), [notice])]
    assert core.get_timer() is None


def test_an_unchanged_entry_is_refreshed_within_the_jitter() -> None:
    core = make("a")
    now = 0.0
    waits = []
    for _ in range(200):
        due = core.get_timer()
        assert due is not None
        waits.append(due - now)
        now = due
        core.handle_timer(now=now)
        assert core.next_event() == RefreshOwnEntry()
        core.receive_own(signed("me"), now=now)
        sent(core)
    assert 7.5 <= min(waits) < 9
    assert 21 < max(waits) <= 22.5


def test_many_large_entries_are_split_over_frames() -> None:
    core = make("a")
    news = [signed(f"p{n}") for n in range(3)]
    core.receive_fresh(news * 2000, None)
    event = core.next_event()
    assert isinstance(event, SendFrames)
    assert len(event.frames) > 1
    assert all(len(frame) <= 512 * 1024 for frame in event.frames)
