"""The frames of the discovery protocol."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.discovery.wire import (
    ENTRY_COUNT_MAX,
    FRAME_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    Announce,
    Contact,
    ForwardJoin,
    GossipFrame,
    Graft,
    IHave,
    LinkPurpose,
    Ping,
    Pong,
    Prune,
    Shuffle,
    ShuffleReply,
    SyncDone,
    decode_frame,
    decode_purpose,
    encode_frame,
    encode_purpose,
    pack_entries,
    split_ids,
    without_loopback_contacts,
)
from mosaik_actors.errors import DecodeError

from .helpers import addr, peer

CONTACT = Contact.of(addr("somebody"))


@given(st.binary(max_size=300))
def test_garbage_is_refused_as_a_decode_error(garbage: bytes) -> None:
    for decode in (decode_frame, decode_purpose):
        try:
            decode(garbage)
        except DecodeError:
            continue


def test_text_that_is_not_utf8_is_refused() -> None:
    """A find of the test before this one."""
    with pytest.raises(DecodeError):
        decode_purpose(b"\x91\xa1\x80")
    with pytest.raises(DecodeError):
        decode_frame(b"\x91\xa1\x80")


@pytest.mark.parametrize("length", [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff"])
def test_a_length_that_is_only_claimed_costs_nothing(length: bytes) -> None:
    for data in (length, b"\x92\xa8announce" + length, b"\x92" + length):
        with pytest.raises(DecodeError):
            decode_frame(data)


@given(st.recursive(st.none() | st.integers(-(2**63), 2**64 - 1) | st.binary(), st.lists))
def test_any_other_message_is_refused_as_a_decode_error(value: object) -> None:
    data = msgspec.msgpack.encode(value)
    for decode in (decode_frame, decode_purpose):
        with pytest.raises(DecodeError):
            decode(data)


def test_a_frame_beyond_a_limit_is_refused() -> None:
    with pytest.raises(DecodeError, match="at most"):
        decode_frame(bytes(FRAME_BYTES_MAX + 1))
    with pytest.raises(DecodeError, match="length <= 4096"):
        decode_frame(encode_frame(Announce((b"",) * (ENTRY_COUNT_MAX + 1))))
    with pytest.raises(DecodeError):
        decode_frame(b"\x91" * 100_000)


@pytest.mark.parametrize(
    "frame",
    [
        Announce((b"entry",), b"\1"),
        IHave(b"12345678", b"\3", True),
        Graft(b"12345678", False),
        Prune(),
        ForwardJoin(CONTACT, 6),
        Shuffle((CONTACT, CONTACT), 3, (peer("a"), peer("b"))),
        ShuffleReply((CONTACT,), (peer("a"),)),
        Ping(2**32 - 1),
        Pong(0),
    ],
)
def test_a_frame_of_the_overlay_or_the_broadcast_survives_the_way(frame: GossipFrame) -> None:
    assert decode_frame(encode_frame(frame)) == frame


def test_a_contact_whose_address_is_none_is_refused() -> None:
    wrong = Contact(peer("a"), (("not numeric", 1),))
    for frame in (ForwardJoin(wrong, 1), Shuffle((wrong,), 1, ()), ShuffleReply((wrong,), ())):
        with pytest.raises(DecodeError, match="not numeric"):
            decode_frame(encode_frame(frame))
    with pytest.raises(DecodeError, match="not numeric"):
        decode_purpose(encode_purpose(LinkPurpose("join", True, wrong)))


def test_walks_and_lists_have_limits() -> None:
    for frame in (
        ForwardJoin(CONTACT, 17),
        Shuffle((CONTACT,) * 33, 1, ()),
        Shuffle((), 1, (peer("a"),) * 18),
        ShuffleReply((CONTACT,) * 33, ()),
        Graft(bytes(8 * 4097)),
        IHave(bytes(8 * 4097), b"", True),
    ):
        with pytest.raises(DecodeError):
            decode_frame(encode_frame(frame))


def test_ids_are_split_and_a_rest_is_dropped() -> None:
    assert list(split_ids(b"1234567812345678123")) == [b"12345678", b"12345678"]


@pytest.mark.parametrize(
    "purpose",
    [LinkPurpose("neighbour", True), LinkPurpose("sync"), LinkPurpose("join", True, CONTACT)],
)
def test_a_purpose_survives_the_header(purpose: LinkPurpose) -> None:
    assert decode_purpose(encode_purpose(purpose)) == purpose


def test_fields_of_a_newer_version_are_skipped() -> None:
    assert decode_purpose(msgspec.msgpack.encode(["sync", False, None, "more"])) == LinkPurpose(
        "sync"
    )
    assert decode_frame(msgspec.msgpack.encode(["done", "more"])) == SyncDone()


@given(st.lists(st.integers(0, 60_000), max_size=60))
def test_packed_entries_keep_their_order_and_fit(sizes: list[int]) -> None:
    entries = [bytes(size) for size in sizes]
    groups = list(pack_entries(entries))
    assert [entry for group in groups for entry in group] == entries
    for group in groups:
        assert len(encode_frame(Announce(group))) <= FRAME_BYTES_MAX
    # No more frames than needed: two that follow each other would not fit into one.
    for one, two in pairwise(groups):
        assert sum(map(len, one)) + 5 * len(one) + len(two[0]) > PAYLOAD_BYTES_MAX


def test_contacts_that_another_machine_sent_are_not_on_the_loopback_interface() -> None:
    both = Contact(peer("a"), (("127.0.0.1", 1), ("192.0.2.1", 1)))
    far = Contact(peer("a"), (("192.0.2.1", 1),))
    path = (peer("b"),)
    for sent, kept in (
        (ForwardJoin(both, 3), ForwardJoin(far, 3)),
        (Shuffle((both, far), 3, path), Shuffle((far, far), 3, path)),
        (ShuffleReply((both,), path), ShuffleReply((far,), path)),
        (Ping(1), Ping(1)),
    ):
        assert without_loopback_contacts(sent) == kept
