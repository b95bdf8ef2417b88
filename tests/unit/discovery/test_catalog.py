"""Which peers a node believes in. `now` is wall-clock time."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors.discovery.catalog.catalog import Catalog
from mosaik_actors.discovery.catalog.verdict import EntryVerdict
from mosaik_actors.discovery.config import DiscoveryConfig
from mosaik_actors.discovery.entry import SIGNATURE_BYTES, SignedPeerEntry
from mosaik_actors.discovery.view import (
    CatalogEvent,
    DepartureReason,
    PeerDeparted,
    PeerDiscovered,
    PeerUpdated,
)
from mosaik_actors.ids import NetworkId, UniqueId

from .helpers import NETWORK, NOW, addr, catalog, entry, key, peer, signed


def drain(core: Catalog) -> list[CatalogEvent]:
    events = []
    while (event := core.next_event()) is not None:
        events.append(event)
    return events


def test_a_valid_entry_is_shown_and_told_on() -> None:
    core = catalog()
    assert core.receive_entry(signed("a"), now=NOW) is EntryVerdict.ACCEPTED
    assert list(core.snapshot()) == [peer("a")]
    assert [event.peer_id for event in drain(core)] == [peer("a")]
    assert core.take_fresh() == [signed("a"), core.me]
    assert core.take_fresh() == []
    assert set(core.told_entries()) == {peer("a"), peer("me")}


def test_what_fresh_entries_replaced_is_what_others_were_given_before() -> None:
    core = catalog()
    one, two, three = (signed("a", update=NOW + n) for n in range(3))
    core.receive_entry(one, now=NOW)
    assert core.take_replaced() == {}
    core.take_fresh()
    core.receive_entry(two, now=NOW)
    core.receive_entry(three, now=NOW)
    core.receive_entry(signed("b"), now=NOW)
    assert core.take_replaced() == {peer("a"): one}
    assert core.take_fresh() == [three, signed("b")]
    assert core.take_replaced() == {}


def test_the_newest_version_wins_in_any_order() -> None:
    versions = [signed("a", update=NOW + n, tags=(UniqueId(str(n)),)) for n in range(4)]
    restarted = signed("a", start=NOW + 1, update=NOW + 1, tags=(UniqueId("new"),))
    for seed in range(20):
        core = catalog()
        offered = [*versions, restarted]
        Random(seed).shuffle(offered)
        for one in offered:
            core.receive_entry(one, now=NOW)
        assert "new" in core.snapshot()[peer("a")].tags


def test_a_restarted_peer_supersedes_its_old_self() -> None:
    core = catalog()
    core.receive_entry(signed("a", start=NOW, update=NOW + 5), now=NOW + 5)
    drain(core)
    assert core.receive_entry(signed("a", start=NOW + 2, update=NOW + 2), now=NOW + 5)
    assert [type(event) for event in drain(core)] == [PeerUpdated]
    assert core.receive_entry(signed("a", update=NOW + 6), now=NOW + 6) is EntryVerdict.NOT_NEWER


@pytest.mark.parametrize(
    ("offered", "verdict"),
    [
        (SignedPeerEntry.decode(bytes(SIGNATURE_BYTES) + signed("a").data), EntryVerdict.FORGED),
        (signed("a", network=NetworkId("another")), EntryVerdict.DIFFERENT_NETWORK),
        (signed("a", start=NOW + 11, update=NOW + 11), EntryVerdict.FUTURE),
        (signed("a", update=NOW + 11), EntryVerdict.FUTURE),
        (signed("a", update=NOW - 300), EntryVerdict.OUTDATED),
        (SignedPeerEntry.decode(bytes(SIGNATURE_BYTES) + signed("me").data), EntryVerdict.OWN_ID),
        (signed("me", update=NOW - 1), EntryVerdict.NOT_NEWER),
    ],
)
def test_a_bad_entry_is_refused_and_counted(
    offered: SignedPeerEntry, verdict: EntryVerdict
) -> None:
    core = catalog()
    before = core.me
    assert core.receive_entry(offered, now=NOW) is verdict
    assert core.refused == {verdict: 1}
    assert len(core.snapshot()) == 0
    assert core.me is before
    assert drain(core) == []


def test_bytes_that_are_no_entry_are_counted() -> None:
    core = catalog()
    assert core.receive_bytes(b"rubbish", now=NOW) is EntryVerdict.MALFORMED
    assert core.receive_bytes(bytes(64 * 1024 + 1), now=NOW) is EntryVerdict.OVERSIZED
    assert core.receive_bytes(signed("a").encode(), now=NOW) is EntryVerdict.ACCEPTED
    assert core.refused == {EntryVerdict.MALFORMED: 1, EntryVerdict.OVERSIZED: 1}


def test_a_forged_newer_entry_does_not_replace_the_real_one() -> None:
    core = catalog()
    core.receive_entry(signed("a", tags=(UniqueId("real"),)), now=NOW)
    newer = signed("a", update=NOW + 1)
    forged = SignedPeerEntry.decode(bytes(SIGNATURE_BYTES) + newer.data)
    assert core.receive_entry(forged, now=NOW + 1) is EntryVerdict.FORGED
    assert "real" in core.snapshot()[peer("a")].tags


def test_a_clock_within_the_drift_is_accepted() -> None:
    core = catalog()
    assert core.receive_entry(signed("a", update=NOW + 10), now=NOW) is EntryVerdict.ACCEPTED


def test_a_silent_peer_is_hidden_then_forgotten() -> None:
    core = catalog()
    core.receive_entry(signed("a"), now=NOW)
    drain(core)
    assert core.get_timer() == NOW + 300

    # One moment before: still there.
    core.handle_timer(now=NOW + 299.9)
    assert peer("a") in core.snapshot()

    # Hidden: not shown, not told, not accepted from others again.
    core.handle_timer(now=NOW + 300)
    assert peer("a") not in core.snapshot()
    assert peer("a") not in core.told_entries()
    assert [(type(e), e.reason) for e in drain(core) if isinstance(e, PeerDeparted)] == [
        (PeerDeparted, DepartureReason.SILENT)
    ]
    assert core.receive_entry(signed("a"), now=NOW + 300) is EntryVerdict.OUTDATED
    assert [one.peer_id for one in core.store.hidden()] == [peer("a")]

    # Forgotten.
    assert core.get_timer() == NOW + 600
    core.handle_timer(now=NOW + 600)
    assert core.store.hidden() == ()
    assert core.get_timer() is None


def test_a_hidden_peer_that_announces_again_is_discovered_again() -> None:
    core = catalog()
    core.receive_entry(signed("a"), now=NOW)
    core.handle_timer(now=NOW + 301)
    drain(core)
    core.receive_entry(signed("a", update=NOW + 301), now=NOW + 301)
    assert [type(event) for event in drain(core)] == [PeerDiscovered]


def test_an_announcement_postpones_the_purge() -> None:
    core = catalog()
    core.receive_entry(signed("a"), now=NOW)
    core.receive_entry(signed("a", update=NOW + 200), now=NOW + 200)
    core.handle_timer(now=NOW + 300)
    assert peer("a") in core.snapshot()
    assert core.get_timer() == NOW + 500
    core.handle_timer(now=NOW + 500)
    assert peer("a") not in core.snapshot()


def test_a_departure_is_seen_at_once_and_outlives_older_entries() -> None:
    core = catalog()
    core.receive_entry(signed("a"), now=NOW)
    drain(core)
    core.take_fresh()
    notice = signed("a", update=NOW + 1, departed=True)
    assert core.receive_entry(notice, now=NOW + 1) is EntryVerdict.ACCEPTED
    assert [(type(e), e.reason) for e in drain(core) if isinstance(e, PeerDeparted)] == [
        (PeerDeparted, DepartureReason.LEFT)
    ]
    assert core.take_fresh() == [notice]
    assert peer("a") in core.told_entries()
    assert core.receive_entry(signed("a", update=NOW + 0.5), now=NOW + 2) is EntryVerdict.NOT_NEWER

    # The notice itself is forgotten once nobody accepts what it replaced.
    core.handle_timer(now=NOW + 301)
    assert peer("a") not in core.told_entries()
    assert core.get_timer() is None


def test_a_peer_that_left_may_come_back() -> None:
    core = catalog()
    core.receive_entry(signed("a", departed=True), now=NOW)
    assert core.receive_entry(signed("a", start=NOW + 1, update=NOW + 1), now=NOW + 1)
    assert peer("a") in core.snapshot()


def test_a_refreshed_entry_is_told_but_is_no_event() -> None:
    core = catalog()
    core.receive_entry(signed("a"), now=NOW)
    drain(core)
    core.take_fresh()
    version = core.version
    core.receive_entry(signed("a", update=NOW + 15), now=NOW + 15)
    assert drain(core) == []
    assert core.version == version
    assert len(core.take_fresh()) == 1
    assert core.snapshot()[peer("a")].version.update == (NOW + 15) * 1000


def test_entry_bombs_are_bounded_and_the_gone_make_room() -> None:
    core = catalog(peers_max=10)
    for n in range(30):
        core.receive_entry(signed(f"p{n}"), now=NOW)
        assert len(core.snapshot()) == min(n + 1, 10)
    # Who was there first stays, and who came last is in.
    kept = [n for n in range(30) if peer(f"p{n}") in core.snapshot()]
    assert kept[:5] == [0, 1, 2, 3, 4]
    assert kept[-1] == 29
    gone = next(n for n in range(30) if n not in kept)
    events = drain(core)
    lost = [one for one in events if isinstance(one, PeerDeparted)]
    assert [one.reason for one in lost] == [DepartureReason.NO_ROOM] * 20

    # Known peers are still updated. What had to go comes back with news only.
    assert core.receive_entry(signed("p3", update=NOW + 1), now=NOW + 1) is EntryVerdict.ACCEPTED
    assert core.receive_entry(signed(f"p{gone}"), now=NOW + 1) is EntryVerdict.FULL

    # One that left makes room for one other, before anybody who is there.
    core.receive_entry(signed("p29", update=NOW + 2, departed=True), now=NOW + 2)
    again = signed(f"p{gone}", update=NOW + 2)
    assert core.receive_entry(again, now=NOW + 2) is EntryVerdict.ACCEPTED
    assert set(core.snapshot()) == {peer(f"p{n}") for n in (gone, *kept[:-1])}
    # Its word that it left is not forgotten with it.
    assert core.receive_entry(signed("p29", update=NOW + 1), now=NOW + 2) is EntryVerdict.FULL


def test_a_thousand_self_signed_strangers_do_not_keep_honest_peers_out() -> None:
    core = catalog(peers_max=10)
    core.receive_link_up(peer("evil"))
    core.receive_link_up(peer("friend"))
    known = ["evil", "friend", "f1", "f2"]
    for name in known:
        core.receive_entry(signed(name), source=peer("friend"), now=NOW)
    for n in range(40):
        core.receive_entry(signed(f"s{n}"), source=peer("evil"), now=NOW)
    assert {peer(name) for name in known} < core.snapshot().keys()

    # A newcomer that a friend tells of, and one that comes itself.
    for name, source in (("n1", "friend"), ("n2", "n2")):
        assert (
            core.receive_entry(signed(name), source=peer(source), now=NOW) is EntryVerdict.ACCEPTED
        )
    assert {peer(name) for name in [*known, "n1", "n2"]} < core.snapshot().keys()
    assert len(core.snapshot()) == 10


def test_what_another_machine_says_of_the_loopback_interface_is_not_dialled() -> None:
    core = catalog()
    both = (("127.0.0.1", 4433), ("192.0.2.7", 4433))
    core.receive_entry(signed("a", direct=both), source=peer("b"), is_from_afar=True, now=NOW)
    core.receive_entry(signed("c", direct=both), source=peer("b"), now=NOW)
    found = core.snapshot()
    assert found[peer("a")].addr == core.store.live_addr(peer("a"))
    assert found[peer("a")].addr.direct == both[1:]
    assert found[peer("c")].addr == core.store.live_addr(peer("c"))
    assert found[peer("c")].addr.direct == both
    # A neighbour on this machine may say it.
    core.receive_entry(signed("a", update=NOW + 1, direct=both), source=peer("c"), now=NOW + 1)
    assert core.snapshot()[peer("a")].addr.direct == both


def test_a_snapshot_never_changes_and_costs_nothing_when_unchanged() -> None:
    core = catalog()
    core.receive_entry(signed("a"), now=NOW)
    first = core.snapshot()
    assert core.snapshot() is first
    core.receive_entry(signed("b"), now=NOW)
    assert list(first) == [peer("a")]
    assert list(core.snapshot()) == [peer("a"), peer("b")]
    assert core.snapshot().version > first.version


def test_a_snapshot_is_looked_up_by_id_or_digits_and_carries_the_own_entry() -> None:
    core = catalog()
    core.receive_entry(signed("a"), now=NOW)
    snapshot = core.snapshot()
    assert snapshot[str(peer("a"))] is snapshot[peer("a")]
    assert snapshot.get(str(peer("a")))  # type: ignore[call-overload]
    assert peer("me") not in snapshot
    assert snapshot.me == core.me
    core.local.change_tags((UniqueId("x"),), now=NOW)
    assert core.snapshot().me == core.me != snapshot.me


def test_unsigned_entries_are_shown_but_never_told() -> None:
    core = catalog()
    assert core.insert(entry("a"))
    assert not core.snapshot()[peer("a")].is_signed
    assert peer("a") not in core.told_entries()
    assert core.take_fresh() == [core.me]

    # A signed one takes precedence; without it the other shows again.
    core.receive_entry(signed("a"), now=NOW)
    assert core.snapshot()[peer("a")].is_signed
    assert not core.insert(entry("a"))

    core.insert(entry("b"))
    assert core.clear_unsigned() == 2
    assert list(core.snapshot()) == [peer("a")]


def test_an_unsigned_entry_of_another_network_or_of_oneself_is_refused() -> None:
    core = catalog()
    assert not core.insert(entry("a", network=NetworkId("another")))
    assert not core.insert(entry("me"))
    assert not core.insert(entry("a", departed=True))


def test_a_removed_peer_is_back_when_it_announces_itself() -> None:
    core = catalog()
    core.receive_entry(signed("a"), now=NOW)
    assert core.remove(peer("a"))
    assert not core.remove(peer("a"))
    assert len(core.snapshot()) == 0
    assert core.receive_entry(signed("a"), now=NOW) is EntryVerdict.ACCEPTED
    drain(core)
    core.handle_timer(now=NOW + 300)
    core.handle_timer(now=NOW + 600)
    assert core.get_timer() is None


def test_a_peer_measured_too_far_is_not_shown() -> None:
    core = catalog(max_rtt=0.1)
    core.receive_entry(signed("a"), now=NOW)
    assert peer("a") in core.snapshot()  # not measured yet
    assert core.receive_rtt(peer("a"), 0.05)
    assert core.snapshot()[peer("a")].rtt == 0.05
    assert core.receive_rtt(peer("a"), 0.2)
    assert peer("a") not in core.snapshot()
    assert peer("a") in core.told_entries()
    assert core.receive_rtt(peer("a"), 0.01)
    assert peer("a") in core.snapshot()


def test_a_measurement_that_hardly_moves_is_not_shown() -> None:
    core = catalog()
    core.receive_entry(signed("a"), now=NOW)
    assert core.receive_rtt(peer("a"), 0.100)
    assert not core.receive_rtt(peer("a"), 0.105)
    assert not core.receive_rtt(peer("nobody"), 0.1)


def test_samples_are_smoothed_and_forgotten_with_the_peer() -> None:
    core = catalog(max_rtt=0.15)
    core.receive_entry(signed("a"), now=NOW)
    assert not core.is_measured(peer("a"))
    assert core.receive_rtt_sample(peer("a"), 0.1)
    assert core.receive_rtt_sample(peer("a"), 0.2)
    assert core.snapshot()[peer("a")].rtt == pytest.approx(0.1125)
    # Too far, it is not shown, and it is still somebody to be measured.
    assert core.receive_rtt_sample(peer("a"), 0.9)
    assert peer("a") not in core.snapshot()
    assert core.store.live() == [peer("a")]
    # Who comes back is measured anew; of strangers nothing is kept.
    assert core.remove(peer("a"))
    assert not core.is_measured(peer("a"))
    assert not core.receive_rtt_sample(peer("a"), 0.9)
    core.receive_entry(signed("a"), now=NOW)
    assert core.receive_rtt_sample(peer("a"), 0.01)
    assert core.snapshot()[peer("a")].rtt == 0.01


def test_an_earlier_self_is_superseded_once_per_interval() -> None:
    core = catalog()
    ahead = signed("me", start=NOW + 5, update=NOW + 5)
    assert core.receive_entry(ahead, now=NOW) is EntryVerdict.OWN_ID
    assert core.me.version > ahead.version
    bumped = core.me
    further = signed("me", start=NOW + 6, update=NOW + 6)
    core.receive_entry(further, now=NOW)
    assert core.me is bumped
    core.receive_entry(further, now=NOW + 15)
    assert core.me.version > further.version


def test_a_forged_own_entry_supersedes_nothing() -> None:
    core = catalog()
    before = core.me
    ahead = signed("me", start=NOW + 5, update=NOW + 5)
    core.receive_entry(SignedPeerEntry.decode(bytes(SIGNATURE_BYTES) + ahead.data), now=NOW)
    assert core.me is before


NAMES = ("a", "b", "c", "me")
steps = st.lists(
    st.tuples(
        st.sampled_from(("receive", "receive", "leave", "time", "remove", "insert", "rtt")),
        st.sampled_from(NAMES),
        st.integers(0, 3),
        st.integers(-400, 400),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(steps)
def test_the_invariants_hold_in_any_history(history: list[tuple[str, str, int, int]]) -> None:
    core = catalog(peers_max=2)
    now = NOW
    shown: set[object] = set()
    newest: dict[object, object] = {}
    for action, name, start, offset in history:
        if action == "time":
            now += abs(offset)
            core.handle_timer(now=now)
            timer = core.get_timer()
            assert timer is None or timer > now
        elif action == "remove":
            core.remove(peer(name))
            newest.pop(peer(name), None)
        elif action == "insert":
            core.insert(entry(name))
        elif action == "rtt":
            core.receive_rtt(peer(name), abs(offset) / 1000)
        else:
            offered = signed(
                name, start=NOW + start, update=now + offset, departed=action == "leave"
            )
            if core.receive_entry(offered, now=now) is EntryVerdict.ACCEPTED:
                assert offered.version >= newest.get(peer(name), offered.version)  # type: ignore[operator]
                newest[peer(name)] = offered.version
        for event in drain(core):
            if isinstance(event, PeerDiscovered):
                assert event.peer.peer_id not in shown
                shown.add(event.peer.peer_id)
            elif isinstance(event, PeerDeparted):
                shown.remove(event.peer.peer_id)
            else:
                assert event.peer_id in shown
        told = core.told_entries()
        assert shown == set(core.snapshot())
        assert len(told) <= 3
        assert told[peer("me")] == core.me
        for known in told:
            if known != peer("me"):
                newest.setdefault(known, told[known].version)
        # What was forgotten may start again from any version.
        newest = {k: v for k, v in newest.items() if k in core.store}


def test_nothing_is_due_when_peers_have_come_and_gone() -> None:
    core = catalog()
    for n in range(200):
        core.receive_entry(signed("a", update=NOW + n), now=NOW + n)
        core.remove(peer("a"))
    assert core.get_timer() is None
    assert key("a").peer_id not in core.snapshot()


def test_the_silent_are_given_up_the_earliest_first_and_each_at_its_time() -> None:
    core = catalog()
    for name, update in (("a", 5), ("b", 1), ("c", 3), ("d", 200)):
        core.receive_entry(signed(name, update=NOW + update), now=NOW + update)
    core.receive_entry(signed("b", update=NOW + 2), now=NOW + 200)
    core.receive_entry(signed("e", update=NOW + 209), now=NOW + 200)  # a clock that is ahead
    drain(core)
    core.handle_timer(now=NOW + 305)
    gone = [event.peer_id for event in drain(core)]
    assert gone == [peer("b"), peer("c"), peer("a")]
    # Being ahead prolongs nothing.
    assert core.get_timer() == NOW + 500
    core.handle_timer(now=NOW + 500)
    assert set(core.snapshot()) == set()


def test_an_entry_becomes_what_users_see_when_somebody_looks_at_it() -> None:
    core = catalog()
    core.receive_entry(signed("a", tags=(UniqueId("one"),)), now=NOW)
    [discovered] = drain(core)
    assert isinstance(discovered, PeerDiscovered)
    snapshot = core.snapshot()
    info = snapshot[peer("a")]
    assert info == discovered.peer
    assert info is snapshot[peer("a")] is core.snapshot()[peer("a")]
    assert "one" in info.tags
    # What comes later changes nothing in it, nor does looking later.
    core.receive_entry(signed("a", update=NOW + 1), now=NOW + 1)
    core.receive_entry(signed("b"), now=NOW + 1)
    assert snapshot[peer("a")] is info
    assert list(snapshot) == [peer("a")]
    assert core.snapshot()[peer("a")].version > info.version


def test_a_departure_removes_an_inserted_peer_too() -> None:
    core = catalog()
    assert core.insert(entry("a"))
    core.receive_entry(signed("a"), now=NOW)
    core.receive_entry(signed("a", update=NOW + 1, departed=True), now=NOW + 1)
    assert peer("a") not in core.snapshot()
    assert core.clear_unsigned() == 0
    # The same when it leaves before its entry was ever seen.
    core.insert(entry("b"))
    core.receive_entry(signed("b", departed=True), now=NOW)
    assert peer("b") not in core.snapshot()
    assert [type(event).__name__ for event in drain(core) if event.peer_id == peer("b")] == [
        "PeerDiscovered",
        "PeerDeparted",
    ]


def read(core: Catalog, wall: float, monotonic: float) -> float:
    """Let a catalog read clocks that show the same until somebody jumps."""
    return core.read_clock(NOW + wall, monotonic)


def test_a_short_jump_of_the_clock_dates_nothing() -> None:
    core = catalog()
    now = read(core, 0, 0)
    for wall in (3600, -3600):
        now = read(core, 1 + wall, 1)
        core.local.change_tags((UniqueId(str(wall)),), now=now)
        assert core.me.version.update <= (NOW + 2) * 1000
    now = read(core, 2, 2)
    other = catalog("other")
    assert other.receive_entry(core.me, now=NOW + 2) is EntryVerdict.ACCEPTED


def test_an_entry_dated_by_a_wrong_clock_is_dated_anew_when_it_is_put_right() -> None:
    core, friend = catalog(), catalog("friend")
    read(core, 0, 0)
    friend.receive_entry(core.me, now=NOW)
    # The clock is an hour ahead for a minute, long enough to be believed.
    read(core, 3601, 1)
    now = read(core, 3630, 30)
    core.local.change_tags((UniqueId("meanwhile"),), now=now)
    assert friend.receive_entry(core.me, now=NOW + 30) is EntryVerdict.FUTURE
    # Put right, and this is believed too.
    read(core, 60, 60)
    now = read(core, 75, 75)
    assert core.get_urgent_timer() is None
    for observer in (friend, catalog("newcomer")):
        assert observer.receive_entry(core.me, now=NOW + 75) is EntryVerdict.ACCEPTED
        assert UniqueId("meanwhile") in observer.snapshot()[peer("me")].tags
    # From here on it goes on as ever.
    core.local.refresh(now=now + 1)
    assert friend.receive_entry(core.me, now=NOW + 76) is EntryVerdict.ACCEPTED


def test_a_start_with_a_wrong_clock_is_put_right() -> None:
    core = catalog(now=NOW + 3600)
    read(core, 3600, 0)
    core.receive_entry(signed("a", update=NOW), now=NOW + 3600)  # refused as too old
    read(core, 2, 2)
    read(core, 15, 15)
    assert catalog("b").receive_entry(core.me, now=NOW + 15) is EntryVerdict.ACCEPTED


def test_a_clock_that_is_put_back_wrongly_does_not_take_the_entry_back() -> None:
    core, friend = catalog(), catalog("friend")
    read(core, 0, 0)
    core.receive_entry(signed("friend", update=NOW), now=NOW)
    friend.receive_entry(core.me, now=NOW)
    read(core, 1 - 60, 1)
    now = read(core, 20 - 60, 20)
    core.local.change_tags((UniqueId("still here"),), now=now)
    assert friend.receive_entry(core.me, now=NOW + 20) is EntryVerdict.ACCEPTED


def test_a_jump_of_the_own_clock_gives_nobody_up() -> None:
    core = catalog()
    read(core, 0, 0)
    core.receive_entry(signed("a"), now=NOW)
    read(core, 3601, 1)
    now = read(core, 3620, 20)
    core.handle_timer(now=now)
    assert peer("a") in core.snapshot()
    # Time that passes still counts: five minutes of silence, by whatever clock.
    core.handle_timer(now=read(core, 3899, 299))
    assert peer("a") in core.snapshot()
    core.handle_timer(now=read(core, 3901, 301))
    assert peer("a") not in core.snapshot()


def test_what_came_while_all_clocks_were_wrong_gives_way_to_what_is_right() -> None:
    core = catalog()
    ahead = signed("a", start=NOW, update=NOW + 3600)
    assert core.receive_entry(ahead, now=NOW + 3600) is EntryVerdict.ACCEPTED
    # An hour back. The peer, dated right, or restarted, supersedes what it said then.
    assert core.receive_entry(signed("a", update=NOW + 5), now=NOW + 5) is EntryVerdict.ACCEPTED
    assert core.receive_entry(signed("a", update=NOW + 4), now=NOW + 5) is EntryVerdict.NOT_NEWER
    assert core.receive_entry(ahead, now=NOW + 6) is EntryVerdict.FUTURE
    restarted = signed("a", start=NOW + 7, update=NOW + 7)
    assert core.receive_entry(restarted, now=NOW + 7) is EntryVerdict.ACCEPTED


def test_how_long_ago_a_peer_was_heard_of() -> None:
    now = NOW
    core = Catalog(
        network_id=NETWORK,
        secret_key=key("me"),
        addr=addr("me"),
        config=DiscoveryConfig(),
        clock=lambda: now,
        now=NOW,
    )
    core.receive_entry(signed("a"), now=NOW)
    info = core.snapshot()[peer("a")]
    assert info.last_heard_s == 0
    now += 12.5
    assert info.last_heard_s == 12.5
    core.receive_entry(signed("a", update=NOW + 12), now=now)
    assert core.snapshot()[peer("a")].last_heard_s == 0.5
