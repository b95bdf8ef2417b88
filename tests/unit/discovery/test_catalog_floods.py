"""What one neighbour can do to a catalog with keys that it makes itself, and what it cannot."""

from __future__ import annotations

from mosaik_actors.discovery.catalog.verdict import EntryVerdict
from mosaik_actors.ids import UniqueId

from .helpers import NOW, catalog, peer, signed

MEBIBYTE = 1024 * 1024
TAGS = tuple(sorted(UniqueId(number.to_bytes(32)) for number in range(1000)))


def test_strangers_with_large_entries_fill_no_memory_and_keep_nobody_out() -> None:
    """The attacker spends 300 signatures and 10 MB; the node keeps 2 MiB and all honest peers."""
    core = catalog(catalog_bytes_max=2 * MEBIBYTE)
    for number in range(100):
        offered = signed(f"honest {number}")
        assert core.receive_entry(offered, source=peer("friend"), now=NOW) is EntryVerdict.ACCEPTED
    spent = 0
    for number in range(300):
        flood = signed(f"evil {number}", tags=TAGS)
        spent += len(flood.encode())
        core.receive_entry(flood, source=peer("evil"), now=NOW)
        kept = sum(len(one.encode()) for one in core.told_entries().values())
        assert kept <= 2 * MEBIBYTE + 1024
    assert spent > 9 * MEBIBYTE

    # Those from before are still there, and newcomers get in, large ones too.
    assert all(peer(f"honest {number}") in core.snapshot() for number in range(100))
    for number in range(100):
        offered = signed(f"newcomer {number}")
        assert core.receive_entry(offered, source=peer("friend"), now=NOW) is EntryVerdict.ACCEPTED
    large = signed("honest 0", update=NOW + 1, tags=TAGS)
    assert core.receive_entry(large, source=peer("friend"), now=NOW + 1) is EntryVerdict.ACCEPTED
    assert all(peer(f"newcomer {number}") in core.snapshot() for number in range(100))


def test_who_is_overdue_makes_room_whoever_brought_it() -> None:
    core = catalog(peers_max=4)
    core.receive_entry(signed("silent"), source=peer("evil"), now=NOW)
    now = NOW + 60  # longer than between two announcements
    for name in ("a", "b", "c"):
        core.receive_entry(signed(name, update=now), source=peer("friend"), now=now)
    offered = signed("d", update=now)
    assert core.receive_entry(offered, source=peer("friend"), now=now) is EntryVerdict.ACCEPTED
    assert core.snapshot().keys() == {peer(name) for name in "abcd"}


def test_an_entry_that_grows_beyond_all_room_is_refused_and_the_old_one_stays() -> None:
    core = catalog(catalog_bytes_max=60 * 1024)
    assert core.receive_entry(signed("a"), source=peer("a"), now=NOW) is EntryVerdict.ACCEPTED
    core.receive_link_up(peer("a"))
    offered = signed("b", tags=TAGS)
    assert core.receive_entry(offered, source=peer("b"), now=NOW) is EntryVerdict.ACCEPTED
    core.receive_link_up(peer("b"))
    # What does not fit beside those who are connected is refused, and the old entry stays.
    grown = signed("a", update=NOW + 2, tags=TAGS)
    assert core.receive_entry(grown, source=peer("a"), now=NOW + 2) is EntryVerdict.FULL
    assert peer("a") in core.snapshot()
    assert core.refused[EntryVerdict.FULL] == 1


def test_a_thousand_nodes_that_join_at_once_are_all_taken_in() -> None:
    """The honest extreme: 1,000 within ten seconds, over one neighbour, with the defaults."""
    core = catalog()
    for number in range(1000):
        now = NOW + number / 100
        offered = signed(f"n{number}", start=now, update=now, tags=TAGS[:20])
        assert core.receive_entry(offered, source=peer("friend"), now=now) is EntryVerdict.ACCEPTED
    assert len(core.snapshot()) == 1000
    assert not core.refused


def test_a_departure_cannot_be_undone_by_what_was_said_before_it() -> None:
    core = catalog()
    first = signed("a")
    core.receive_entry(first, source=peer("a"), now=NOW)
    gone = signed("a", update=NOW + 1, direct=(), departed=True)
    assert core.receive_entry(gone, source=peer("a"), now=NOW + 1) is EntryVerdict.ACCEPTED
    for seconds in range(2, 700, 7):
        now = NOW + seconds
        core.handle_timer(now=now)
        assert core.receive_entry(first, source=peer("evil"), now=now) in (
            EntryVerdict.NOT_NEWER,
            EntryVerdict.OUTDATED,
        )
    assert peer("a") not in core.snapshot()
    assert len(core.store) == 0  # the notice is forgotten when nobody accepts the entry


def test_departures_in_number_take_no_room_from_those_who_live() -> None:
    """Tombstones: the attacker spends 2,000 signatures and 350 KB; the node keeps 36 KB in all.

    Each departure costs it a signature, the node one check and at most one entry. None of
    the honest goes for it, and all that is kept of them is over after `purge_after`.
    """
    core = catalog(peers_max=200)
    for number in range(100):
        offered = signed(f"honest {number}")
        core.receive_entry(offered, source=peer("friend"), now=NOW)
    spent = kept_max = 0
    for number in range(2000):
        notice = signed(f"gone {number % 500}", update=NOW + number / 100, direct=(), departed=True)
        spent += len(notice.encode())
        core.receive_entry(notice, source=peer("evil"), now=NOW + number / 100)
        kept_max = max(kept_max, core.store.byte_count)
        assert len(core.store) <= 200
    assert all(peer(f"honest {number}") in core.snapshot() for number in range(100))
    assert spent > 9 * kept_max
    assert core.refused.keys() <= {EntryVerdict.FULL}

    # A newcomer takes the place of a departure, not of somebody who lives.
    newcomer = signed("newcomer", start=NOW + 20, update=NOW + 20)
    assert (
        core.receive_entry(newcomer, source=peer("friend"), now=NOW + 20) is EntryVerdict.ACCEPTED
    )
    assert len(core.snapshot()) == 101
    due_at = core.get_timer()
    while due_at is not None:
        core.handle_timer(now=due_at)
        due_at = core.get_timer()
    assert len(core.store) == 0
    assert core.store.byte_count == 0
