"""The own entry."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from mosaik_actors.discovery.catalog.local import GROUPS_BYTES_RESERVED, LocalEntry
from mosaik_actors.discovery.entry import (
    ENTRY_BYTES_MAX,
    TAG_COUNT_MAX,
    ActorInfo,
    EntryTooLarge,
    GroupInfo,
    StreamInfo,
)
from mosaik_actors.ids import StreamId, UniqueId
from mosaik_actors.tickets.ticket import Ticket

from .helpers import NETWORK, NOW, addr, key, signed


def make() -> LocalEntry:
    return LocalEntry(NETWORK, key("me"), addr("me"), now=NOW)


def test_each_change_has_a_greater_version_and_a_valid_signature() -> None:
    local = make()
    seen = [local.signed]
    changes: list[Callable[[], bool]] = [
        lambda: local.change_tags((UniqueId("b"), UniqueId("a")), now=NOW),
        lambda: local.put_stream(StreamInfo(StreamId("s"), "s"), now=NOW),
        lambda: local.put_group(GroupInfo(UniqueId("g"), "g"), now=NOW),
        lambda: local.put_actor(ActorInfo(UniqueId("x"), "x"), now=NOW),
        lambda: local.put_ticket(Ticket(UniqueId("c"), b"1"), now=NOW),
        lambda: local.replace_ticket(Ticket(UniqueId("c"), b"2"), now=NOW),
        lambda: local.remove_tickets_of(UniqueId("c"), now=NOW),
        lambda: local.remove_actor(UniqueId("x"), now=NOW),
        lambda: local.remove_group(UniqueId("g"), now=NOW),
        lambda: local.remove_stream(StreamId("s"), now=NOW),
        lambda: local.change_addr(addr("me", 5000), now=NOW),
        lambda: local.refresh(now=NOW),
        lambda: local.depart(now=NOW),
    ]
    for change in changes:
        assert change()
        assert local.signed.version > seen[-1].version
        assert local.signed.is_valid
        seen.append(local.signed)


def test_a_change_that_changes_nothing_keeps_the_version() -> None:
    local = make()
    local.change_tags((UniqueId("a"),), now=NOW)
    before = local.signed
    assert not local.change_tags((UniqueId("a"),), (UniqueId("b"),), now=NOW + 1)
    assert not local.remove_stream(StreamId("s"), now=NOW + 1)
    assert local.signed is before


def test_a_stream_advertised_again_is_replaced() -> None:
    local = make()
    local.put_stream(StreamInfo(StreamId("s"), "s"), now=NOW)
    local.put_stream(StreamInfo(StreamId("s"), "s", b"schema"), now=NOW)
    assert local.entry.streams == (StreamInfo(StreamId("s"), "s", b"schema"),)


def test_a_change_beyond_a_limit_changes_nothing() -> None:
    local = make()
    before = local.signed
    with pytest.raises(EntryTooLarge):
        local.change_tags(tuple(UniqueId(str(n)) for n in range(TAG_COUNT_MAX + 1)), now=NOW)
    assert local.signed is before


def test_a_departed_entry_is_empty_and_final() -> None:
    local = make()
    local.change_tags((UniqueId("a"),), now=NOW)
    local.depart(now=NOW + 1)
    assert local.entry.departed
    assert not local.entry.tags
    assert not local.entry.direct
    assert not local.change_tags((UniqueId("b"),), now=NOW + 2)
    assert not local.refresh(now=NOW + 2)
    assert not local.depart(now=NOW + 2)


def test_a_clock_that_is_set_back_does_not_lower_the_version() -> None:
    local = make()
    before = local.entry.version
    local.refresh(now=NOW - 500)
    assert local.entry.version > before


def test_an_earlier_self_with_a_clock_ahead_is_superseded() -> None:
    local = make()
    ahead = signed("me", start=NOW + 5, update=NOW + 5)
    assert local.supersede(ahead, now=NOW)
    assert local.entry.version > ahead.version
    assert local.entry.supersedes == ahead.message_id
    assert not local.supersede(ahead, now=NOW)


def fill_with_streams(local: LocalEntry) -> int:
    count = 0
    with suppress(EntryTooLarge):
        while local.put_stream(StreamInfo(StreamId(str(count)), "x" * 200), now=NOW):
            count += 1
    return count


def test_groups_have_room_that_streams_and_tags_leave() -> None:
    local = make()
    # A group that was there before the streams does not count against their room.
    local.put_group(GroupInfo(UniqueId("first"), "g" * 200), now=NOW)
    count = fill_with_streams(local)
    kept = ENTRY_BYTES_MAX - GROUPS_BYTES_RESERVED
    assert kept - 400 < len(local.signed.encode()) <= kept + 300
    with pytest.raises(EntryTooLarge, match="are kept for groups"):
        local.change_tags(tuple(UniqueId(f"t{n}") for n in range(50)), now=NOW)
    for number in range(30):
        assert local.put_group(GroupInfo(UniqueId(f"g{number}"), "g" * 200), now=NOW)
    # What is there may shrink and move, and what makes no difference changes nothing.
    assert local.change_addr(addr("me", 5000), now=NOW)
    assert local.remove_stream(StreamId("0"), now=NOW)
    assert local.put_stream(StreamInfo(StreamId("1"), "y" * 200), now=NOW)
    assert not local.put_stream(StreamInfo(StreamId("1"), "y" * 200), now=NOW)
    assert len(local.entry.streams) == count - 1
    # Beyond all room a group is refused as well.
    number = 0
    with suppress(EntryTooLarge):
        while local.put_group(GroupInfo(UniqueId(f"more {number}"), "g" * 200), now=NOW):
            number += 1
    before = local.signed
    with pytest.raises(EntryTooLarge, match="at most 65536"):
        local.put_group(GroupInfo(UniqueId("one more"), "g" * 250), now=NOW)
    assert local.signed is before
