"""KRPC: the messages of the Mainline DHT (BEP 5), with items (BEP 44).

A message is one datagram with one bencoded dictionary. `decode_message` gives a `Query`, a
`Response` or an `ErrorReply`, or says what is wrong. A node that only asks, and keeps nothing
for others, says so in its queries (BEP 43), and is then not taken into anybody's table.

Contacts are packed in 26 bytes (BEP 5) or, in the DHT of IPv6, 38 (BEP 32). A core: no time.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from ..errors import DecodeError
from ..transport.address import SocketAddr
from .bencode import Value, decode, encode
from .items import ImmutableItem, Item, MutableItem, mutable_target

ID_BYTES: Final = 20
MESSAGE_BYTES_MAX: Final = 4096
CONTACTS_MAX: Final = 32
TOKEN_BYTES_MAX: Final = 64
TRANSACTION_BYTES_MAX: Final = 16
TEXT_BYTES_MAX: Final = 200

# Generic, server, protocol error, method unknown (BEP 5, "Errors").
GENERIC_ERROR: Final = 201
PROTOCOL_ERROR: Final = 203
UNKNOWN_METHOD: Final = 204

PING: Final = "ping"
FIND_NODE: Final = "find_node"
GET_PEERS: Final = "get_peers"
GET: Final = "get"
PUT: Final = "put"

NodeId = bytes


@dataclass(frozen=True, slots=True)
class NodeContact:
    """Another node: its id and where it is."""

    id: NodeId
    addr: SocketAddr


@dataclass(frozen=True, slots=True)
class Query:
    """A question.

    Attributes:
        transaction: What the answer repeats.
        method: What is asked: `PING`, `FIND_NODE`, `GET_PEERS`, `GET`, `PUT`, or another name.
        sender: Who asks.
        target: What it is about; empty for `PING` and `PUT`.
        is_read_only: Whether the sender answers no queries (BEP 43).
        token: For `PUT`: what the node gave to who asked for the same target before.
        item: For `PUT`: what to store.
        expected: For `PUT`: the sequence number that is replaced ("cas"), None for any.
    """

    transaction: bytes
    method: str
    sender: NodeId
    target: bytes = b""
    is_read_only: bool = False
    token: bytes = b""
    item: Item | None = None
    expected: int | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """An answer.

    Attributes:
        transaction: That of the query.
        sender: Who answers.
        contacts: The nodes closest to the target that it knows.
        token: What allows to put something under the target.
        item: What is stored there, as far as it can be told without the query: see
            `Response.item_for`.
        seen_addr: Where the query came from (BEP 42); None when it is not said.
    """

    transaction: bytes
    sender: NodeId
    contacts: tuple[NodeContact, ...] = ()
    token: bytes = b""
    item: Item | None = None
    seen_addr: SocketAddr | None = None

    def item_for(self, target: bytes, salt: bytes) -> Item | None:
        """Return the item that was asked for, None when there is none or another one.

        It is not checked: see `items.check_item`.
        """
        item = self.item
        if isinstance(item, MutableItem):
            # The salt is not in the answer: who asks knows it.
            if mutable_target(item.key, salt) != target:
                return None
            return MutableItem(item.key, item.sequence, item.value, item.signature, salt)
        return item if item is not None and item.target == target else None


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """A refusal, with a number and a text."""

    transaction: bytes
    code: int
    text: str


Message = Query | Response | ErrorReply


def encode_message(message: Message, *, is_ipv6: bool = False) -> bytes:
    """Return the datagram of a message."""
    match message:
        case Query():
            return encode(_query_fields(message))
        case Response():
            return encode(_response_fields(message, is_ipv6=is_ipv6))
        case ErrorReply(transaction, code, text):
            said: list[Value] = [code, text.encode()[:TEXT_BYTES_MAX]]
            return encode({b"e": said, b"t": transaction, b"y": b"e"})


def decode_message(data: bytes, *, is_ipv6: bool = False) -> Message:
    """Return the message of a datagram.

    Raises:
        DecodeError: It is none, or breaks a limit.
    """
    if len(data) > MESSAGE_BYTES_MAX:
        raise DecodeError(f"a message has {len(data)} bytes, at most {MESSAGE_BYTES_MAX}")
    top = _Fields(decode(data))
    transaction = top.take_bytes(b"t", TRANSACTION_BYTES_MAX)
    kind = top.take_bytes(b"y", 1)
    if kind == b"q":
        return _query_from(top, transaction)
    if kind == b"r":
        return _response_from(top, transaction, is_ipv6=is_ipv6)
    if kind == b"e":
        return _error_from(top, transaction)
    raise DecodeError("a message is neither query, response nor error")


@lru_cache(maxsize=4096)
def pack_addr(addr: SocketAddr) -> bytes:
    """Return an address in 6 or 18 bytes."""
    return ipaddress.ip_address(addr[0]).packed + addr[1].to_bytes(2, "big")


@lru_cache(maxsize=4096)
def unpack_addr(data: bytes) -> SocketAddr:
    """Return the address of 6 or 18 bytes."""
    return str(ipaddress.ip_address(data[:-2])), int.from_bytes(data[-2:], "big")


def pack_contacts(contacts: Iterable[NodeContact]) -> bytes:
    """Return contacts, 26 or 38 bytes each."""
    return b"".join(one.id + pack_addr(one.addr) for one in contacts)


def unpack_contacts(data: bytes, *, is_ipv6: bool) -> tuple[NodeContact, ...]:
    """Return up to `CONTACTS_MAX` contacts.

    Raises:
        DecodeError: There is half a contact.
    """
    size = ID_BYTES + (18 if is_ipv6 else 6)
    if len(data) % size:
        raise DecodeError(f"{len(data)} bytes of contacts are no multiple of {size}")
    starts = range(0, min(len(data), CONTACTS_MAX * size), size)
    return tuple(
        NodeContact(data[at : at + ID_BYTES], unpack_addr(data[at + ID_BYTES : at + size]))
        for at in starts
    )


# Helpers.


def _query_fields(query: Query) -> dict[bytes, Value]:
    arguments: dict[bytes, Value] = {b"id": query.sender}
    if query.target:
        name = b"info_hash" if query.method == GET_PEERS else b"target"
        arguments[name] = query.target
    if query.token:
        arguments[b"token"] = query.token
    if query.item is not None:
        arguments |= _item_fields(query.item)
        if isinstance(query.item, MutableItem) and query.item.salt:
            arguments[b"salt"] = query.item.salt
    if query.expected is not None:
        arguments[b"cas"] = query.expected
    top: dict[bytes, Value] = {
        b"a": arguments,
        b"q": query.method.encode(),
        b"t": query.transaction,
        b"y": b"q",
    }
    if query.is_read_only:
        top[b"ro"] = 1
    return top


def _response_fields(response: Response, *, is_ipv6: bool) -> dict[bytes, Value]:
    said: dict[bytes, Value] = {b"id": response.sender}
    if response.contacts:
        said[b"nodes6" if is_ipv6 else b"nodes"] = pack_contacts(response.contacts)
    if response.token:
        said[b"token"] = response.token
    if response.item is not None:
        said |= _item_fields(response.item)
    top: dict[bytes, Value] = {b"r": said, b"t": response.transaction, b"y": b"r"}
    if response.seen_addr is not None:
        top[b"ip"] = pack_addr(response.seen_addr)
    return top


def _item_fields(item: Item) -> dict[bytes, Value]:
    if isinstance(item, ImmutableItem):
        return {b"v": item.value}
    return {b"k": item.key, b"seq": item.sequence, b"sig": item.signature, b"v": item.value}


@dataclass(slots=True)
class _Fields:
    """A dictionary from the network, of which fields are taken with their limits."""

    value: Value
    fields: dict[bytes, Value] = field(init=False)

    def __post_init__(self) -> None:
        if not isinstance(self.value, dict):
            raise DecodeError("a dictionary was expected")
        self.fields = self.value

    def has(self, name: bytes) -> bool:
        return name in self.fields

    def take(self, name: bytes) -> Value:
        if name not in self.fields:
            raise DecodeError(f"{name!r} is missing")
        return self.fields[name]

    def take_bytes(self, name: bytes, limit: int) -> bytes:
        value = self.take(name)
        if not isinstance(value, bytes) or len(value) > limit:
            raise DecodeError(f"{name!r} is not a string of at most {limit} bytes")
        return value

    def take_id(self, name: bytes) -> bytes:
        value = self.take_bytes(name, ID_BYTES)
        if len(value) != ID_BYTES:
            raise DecodeError(f"{name!r} has {len(value)} bytes, expected {ID_BYTES}")
        return value

    def take_number(self, name: bytes) -> int:
        value = self.take(name)
        if not isinstance(value, int):
            raise DecodeError(f"{name!r} is not a number")
        return value

    def take_dictionary(self, name: bytes) -> _Fields:
        return _Fields(self.take(name))


def _query_from(top: _Fields, transaction: bytes) -> Query:
    # A name that is not known is answered, so it must be kept: any bytes will do.
    method = top.take_bytes(b"q", TEXT_BYTES_MAX).decode("ascii", "replace")
    arguments = top.take_dictionary(b"a")
    sender = arguments.take_id(b"id")
    is_read_only = top.has(b"ro") and top.take(b"ro") == 1
    if method in (FIND_NODE, GET):
        target = arguments.take_id(b"target")
        return Query(transaction, method, sender, target, is_read_only)
    if method == GET_PEERS:
        return Query(transaction, method, sender, arguments.take_id(b"info_hash"), is_read_only)
    if method != PUT:
        return Query(transaction, method, sender, is_read_only=is_read_only)
    return Query(
        transaction,
        method,
        sender,
        b"",
        is_read_only,
        arguments.take_bytes(b"token", TOKEN_BYTES_MAX),
        _item_from(arguments),
        arguments.take_number(b"cas") if arguments.has(b"cas") else None,
    )


def _response_from(top: _Fields, transaction: bytes, *, is_ipv6: bool) -> Response:
    said = top.take_dictionary(b"r")
    contacts: tuple[NodeContact, ...] = ()
    name = b"nodes6" if is_ipv6 else b"nodes"
    if said.has(name):
        contacts = unpack_contacts(said.take_bytes(name, MESSAGE_BYTES_MAX), is_ipv6=is_ipv6)
    return Response(
        transaction,
        said.take_id(b"id"),
        contacts,
        said.take_bytes(b"token", TOKEN_BYTES_MAX) if said.has(b"token") else b"",
        _item_from(said) if said.has(b"v") else None,
        _seen_addr_from(top, is_ipv6=is_ipv6),
    )


def _seen_addr_from(top: _Fields, *, is_ipv6: bool) -> SocketAddr | None:
    """Return what a node says of where a query came from; many say nothing, or nonsense."""
    value = top.fields.get(b"ip")
    if not isinstance(value, bytes) or len(value) != (18 if is_ipv6 else 6):
        return None
    return unpack_addr(value)


def _item_from(fields: _Fields) -> Item:
    value = fields.take(b"v")
    if not fields.has(b"k"):
        return ImmutableItem(value)
    return MutableItem(
        fields.take_bytes(b"k", MESSAGE_BYTES_MAX),
        fields.take_number(b"seq"),
        value,
        fields.take_bytes(b"sig", MESSAGE_BYTES_MAX),
        fields.take_bytes(b"salt", MESSAGE_BYTES_MAX) if fields.has(b"salt") else b"",
    )


def _error_from(top: _Fields, transaction: bytes) -> ErrorReply:
    match top.take(b"e"):
        case [int(code), bytes(text), *_]:
            return ErrorReply(transaction, code, text[:TEXT_BYTES_MAX].decode("utf-8", "replace"))
    raise DecodeError("an error has no number and text")
