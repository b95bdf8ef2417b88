"""Messages: the examples of BEP 5, both ways, and hostile ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.dht.bencode import decode, encode
from mosaik_actors.dht.items import ImmutableItem, MutableItem
from mosaik_actors.dht.krpc import (
    CONTACTS_MAX,
    FIND_NODE,
    GET,
    GET_PEERS,
    MESSAGE_BYTES_MAX,
    PING,
    PUT,
    ErrorReply,
    Message,
    NodeContact,
    Query,
    Response,
    decode_message,
    encode_message,
    unpack_contacts,
)
from mosaik_actors.errors import DecodeError

ME, OTHER = b"abcdefghij0123456789", b"mnopqrstuvwxyz123456"
MUTABLE = MutableItem(bytes(32), 4, [b"value"], bytes(64), b"salt")


@pytest.mark.parametrize(
    ("message", "data"),
    [
        (Query(b"aa", PING, ME), b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"),
        (Response(b"aa", OTHER), b"d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re"),
        (
            ErrorReply(b"aa", 201, "A Generic Error Ocurred"),
            b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee",
        ),
        (
            Query(b"aa", FIND_NODE, ME, OTHER),
            b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e"
            b"1:q9:find_node1:t2:aa1:y1:qe",
        ),
        (
            Query(b"aa", GET_PEERS, ME, OTHER),
            b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e"
            b"1:q9:get_peers1:t2:aa1:y1:qe",
        ),
    ],
)
def test_examples_of_the_specification(message: Message, data: bytes) -> None:
    assert encode_message(message) == data
    assert decode_message(data) == message


@pytest.mark.parametrize("is_ipv6", [False, True])
@pytest.mark.parametrize(
    "message",
    [
        Query(b"t", GET, ME, OTHER, is_read_only=True),
        Query(b"t", PUT, ME, token=b"token", item=MUTABLE, expected=3),
        Query(b"t", PUT, ME, token=b"token", item=ImmutableItem(b"value")),
        Query(b"t", "announce_peer", ME),
        Response(b"t", ME, token=b"token", item=ImmutableItem(7)),
        ErrorReply(b"t", 302, "below"),
    ],
)
def test_what_is_encoded_comes_back(message: Message, is_ipv6: bool) -> None:
    data = encode_message(message, is_ipv6=is_ipv6)
    assert decode_message(data, is_ipv6=is_ipv6) == message


@pytest.mark.parametrize(
    ("is_ipv6", "hosts"), [(False, ("192.0.2.1", "10.0.0.1")), (True, ("2001:db8::1", "::1"))]
)
def test_contacts_are_packed(is_ipv6: bool, hosts: tuple[str, str]) -> None:
    contacts = tuple(NodeContact(ME, (host, 6881)) for host in hosts)
    message = Response(b"t", OTHER, contacts, seen_addr=(hosts[0], 9))
    data = encode_message(message, is_ipv6=is_ipv6)
    assert decode_message(data, is_ipv6=is_ipv6) == message


def test_answer_is_for_what_was_asked() -> None:
    """The salt is not in an answer, so only who asked can tell whether it is the item."""
    answer = decode_message(encode_message(Response(b"t", ME, item=MUTABLE)))
    assert isinstance(answer, Response)
    assert answer.item_for(MUTABLE.target, b"salt") == MUTABLE
    assert answer.item_for(MUTABLE.target, b"") is None
    assert answer.item_for(bytes(20), b"salt") is None
    immutable = ImmutableItem(b"value")
    assert Response(b"t", ME, item=immutable).item_for(immutable.target, b"") == immutable
    assert Response(b"t", ME, item=immutable).item_for(bytes(20), b"") is None
    assert Response(b"t", ME).item_for(bytes(20), b"") is None


def wrong(**changes: object) -> bytes:
    """Return a put with something changed; None takes a field out."""
    top = decode(encode_message(Query(b"t", PUT, ME, token=b"token", item=MUTABLE)))
    assert isinstance(top, dict)
    arguments = top[b"a"]
    assert isinstance(arguments, dict)
    for name, value in changes.items():
        fields, key = (
            (top, name[4:].encode()) if name.startswith("top_") else (arguments, name.encode())
        )
        if value is None:
            del fields[key]
        else:
            fields[key] = value  # type: ignore[assignment]
    return encode(top)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"i1e",
        b"le",
        bytes(MESSAGE_BYTES_MAX + 1),
        wrong(top_t=None),
        wrong(top_t=bytes(17)),
        wrong(top_t=4),
        wrong(top_y=b"z"),
        wrong(top_y=None),
        wrong(top_q=None),
        wrong(top_a=None),
        wrong(top_a=[]),
        wrong(id=None),
        wrong(id=bytes(19)),
        wrong(id=bytes(21)),
        wrong(token=None),
        wrong(token=bytes(65)),
        wrong(v=None),
        wrong(seq=b"1"),
        wrong(sig=None),
        wrong(k=1),
        wrong(cas=b"x"),
        encode({b"t": b"t", b"y": b"e"}),
        encode({b"t": b"t", b"y": b"e", b"e": [b"x", 1]}),
        encode({b"t": b"t", b"y": b"r"}),
        encode({b"t": b"t", b"y": b"r", b"r": {b"id": ME, b"nodes": bytes(25)}}),
        encode({b"t": b"t", b"y": b"r", b"r": {b"id": ME, b"v": b"x", b"k": bytes(32)}}),
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_message(data)


@given(st.binary(max_size=200))
def test_nothing_else_than_a_refusal_comes_of_noise(data: bytes) -> None:
    try:
        decode_message(data)
    except DecodeError:
        return


def test_more_contacts_than_anybody_needs_are_left_out() -> None:
    assert len(unpack_contacts(bytes(26 * 100), is_ipv6=False)) == CONTACTS_MAX


def test_what_a_node_says_of_our_address_may_be_nonsense() -> None:
    data = encode({b"t": b"t", b"y": b"r", b"r": {b"id": ME}, b"ip": b"nonsense"})
    assert decode_message(data) == Response(b"t", ME)
