"""The own entry."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mosaik_actors.discovery.entry import (
    TAG_COUNT_MAX,
    ActorInfo,
    EntryTooLarge,
    GroupInfo,
    StreamInfo,
    Ticket,
)
from mosaik_actors.discovery.local import LocalEntry
from mosaik_actors.ids import StreamId, UniqueId

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
