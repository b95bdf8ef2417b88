"""What a node says about itself, on the wire and off it."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.discovery import entry as entry_module
from mosaik_actors.discovery.entry import (
    ENTRY_BYTES_MAX,
    SIGNATURE_BYTES,
    ActorInfo,
    EntryTooLarge,
    EntryVersion,
    GroupInfo,
    PeerEntry,
    SignedPeerEntry,
    StreamInfo,
)
from mosaik_actors.errors import DecodeError
from mosaik_actors.ids import PeerId, UniqueId
from mosaik_actors.tickets.ticket import Ticket
from mosaik_actors.wire_encoding import encode as encode_record

from .helpers import NETWORK, NOW, entry, key, peer, signed

ids = st.binary(min_size=32, max_size=32).map(UniqueId)
names = st.text(max_size=40)
entries = st.builds(
    PeerEntry,
    network=st.just(NETWORK),
    peer=st.just(peer("a")),
    version=st.builds(EntryVersion, st.integers(0, 2**53), st.integers(0, 2**53)),
    direct=st.lists(st.tuples(st.ip_addresses().map(str), st.integers(1, 65535)), max_size=4).map(
        tuple
    ),
    relay=st.none() | names,
    tags=st.lists(ids, max_size=4).map(tuple),
    streams=st.lists(st.builds(StreamInfo, ids, names, st.binary(max_size=64)), max_size=3).map(
        tuple
    ),
    groups=st.lists(st.builds(GroupInfo, ids, names), max_size=3).map(tuple),
    actors=st.lists(st.builds(ActorInfo, ids, names), max_size=3).map(tuple),
    tickets=st.lists(st.builds(Ticket, ids, st.binary(max_size=99)), max_size=3).map(tuple),
    departed=st.booleans(),
)


@given(entries)
def test_an_entry_survives_signing_and_the_wire(original: PeerEntry) -> None:
    sent = SignedPeerEntry.sign(original, key("a"))
    got = SignedPeerEntry.decode(sent.encode())
    assert got.entry == original
    assert got == sent
    assert got.is_valid
    assert all(type(tag) is UniqueId for tag in got.entry.tags)
    assert pickle.loads(pickle.dumps(got)) == sent  # noqa: S301  # our own bytes


@given(entries)
def test_the_same_entry_gives_the_same_bytes(original: PeerEntry) -> None:
    again = msgspec.structs.replace(original)
    assert SignedPeerEntry.sign(original, key("a")).encode() == (
        SignedPeerEntry.sign(again, key("a")).encode()
    )


@given(st.data())
def test_any_flipped_bit_makes_an_entry_invalid(data: st.DataObject) -> None:
    encoded = bytearray(signed("a", tags=(UniqueId("x"),)).encode())
    position = data.draw(st.integers(0, len(encoded) - 1))
    encoded[position] ^= 1 << data.draw(st.integers(0, 7))
    try:
        got = SignedPeerEntry.decode(bytes(encoded))
    except DecodeError:
        return
    assert not got.is_valid


@given(st.binary(max_size=400))
def test_garbage_is_refused_as_a_decode_error(garbage: bytes) -> None:
    with pytest.raises(DecodeError):
        SignedPeerEntry.decode(garbage)


def test_nested_garbage_does_not_exhaust_the_stack() -> None:
    nested = b"\x91" * (sys.getrecursionlimit() * 3)
    with pytest.raises(DecodeError):
        SignedPeerEntry.decode(bytes(SIGNATURE_BYTES) + b"\x81\xa1x" + nested)


def test_a_signature_of_bare_bytes_is_not_a_signature_of_an_entry() -> None:
    """The prefix keeps other things that a node signs apart from its entries."""
    data = signed("a").data
    forged = SignedPeerEntry.decode(key("a").sign(data) + data)
    assert not forged.is_valid


def test_only_the_owner_signs() -> None:
    with pytest.raises(ValueError, match="cannot be signed by"):
        SignedPeerEntry.sign(entry("a"), key("b"))


def test_fields_of_a_newer_version_are_skipped_and_forwarded() -> None:
    fields = msgspec.msgpack.decode(signed("a").data)
    fields["colour"] = {"of": ["the", "future"]}
    data = msgspec.msgpack.encode(fields)
    prefix = entry_module._SIGNED_PREFIX
    newer = SignedPeerEntry.decode(key("a").sign(prefix + data) + data)
    assert newer.entry == entry("a")
    assert newer.is_valid
    assert newer.encode().endswith(data)


@pytest.mark.parametrize(
    "fields",
    [
        {"tags": tuple(UniqueId(str(n)) for n in range(entry_module.TAG_COUNT_MAX + 1))},
        {"streams": (StreamInfo(UniqueId("s"), "n" * 257),)},
        {"tickets": tuple(Ticket(UniqueId("c"), b"x") for _ in range(33))},
        {"tickets": (Ticket(UniqueId("c"), bytes(32 * 1024 + 1)),)},
        {"tickets": (Ticket(UniqueId("c"), bytes(32 * 1024)),) * 2},
        {"relay": "r" * 2000},
        {"direct": (("example.com", 1),)},
        {"direct": (("127.0.0.1", 0),)},
        {"direct": (("127.0.0.1", 1),) * 33},
    ],
)
def test_an_entry_beyond_a_limit_is_neither_signed_nor_read(fields: dict[str, Any]) -> None:
    too_large = entry("a", **fields)
    with pytest.raises(EntryTooLarge):
        SignedPeerEntry.sign(too_large, key("a"))
    data = encode_record(too_large)
    with pytest.raises(DecodeError):
        SignedPeerEntry.decode(key("a").sign(data) + data)


def test_an_entry_as_large_as_allowed_fits() -> None:
    room = ENTRY_BYTES_MAX - len(signed("a").encode()) - 32 * 1024 - 200
    tickets = (Ticket(UniqueId("c"), bytes(32 * 1024)), Ticket(UniqueId("c"), bytes(room)))
    assert SignedPeerEntry.decode(signed("a", tickets=tickets).encode()).is_valid


@pytest.mark.parametrize("value", ["a name", 7, None, [1]])
def test_an_id_that_is_not_bytes_is_refused(value: object) -> None:
    """A name is hashed where a person writes it, never where a peer sends it."""
    fields = msgspec.msgpack.decode(signed("a").data)
    fields["network"] = value
    with pytest.raises(DecodeError):
        SignedPeerEntry.decode(bytes(SIGNATURE_BYTES) + msgspec.msgpack.encode(fields))


def test_versions_order_by_start_first() -> None:
    assert EntryVersion(2, 0) > EntryVersion(1, 9)
    assert EntryVersion(1, 2) > EntryVersion(1, 1)


def test_the_same_bytes_are_decoded_and_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = []

    def verifies(self: PeerId, signature: bytes, data: bytes) -> bool:
        checks.append(self)
        return True

    monkeypatch.setattr(PeerId, "verifies", verifies)
    encoded = bytes(64) + signed("checked once").data
    first, second = (SignedPeerEntry.decode(bytes(bytearray(encoded))) for _ in range(2))
    assert first is second
    assert first.is_valid
    assert second.is_valid
    assert checks == [peer("checked once")]


def test_other_bytes_are_another_entry_however_alike() -> None:
    good = signed("alike")
    forged = SignedPeerEntry.decode(bytes(64) + good.data)
    assert forged is not good
    assert not forged.is_valid
    assert SignedPeerEntry.decode(good.encode()).is_valid


def test_only_the_time_of_writing_may_differ_between_entries_that_say_the_same() -> None:
    one = signed("a")
    assert one.says_the_same_as(signed("a", update=NOW + 9))
    assert not one.says_the_same_as(signed("a", start=NOW + 1, update=NOW + 9))
    assert not one.says_the_same_as(signed("a", update=NOW + 9, relay="elsewhere"))
    assert one.says_the_same_as(signed("a")) is one.entry.says_the_same_as(signed("a").entry)
