"""A peer's entry: what a node says about itself, signed by that node.

An entry travels as 64 bytes of signature and then the signed bytes, exactly as
their owner wrote them. They are MessagePack; fields that this version does not
know are skipped when reading and stay in the bytes, so that an older node
forwards a newer node's entry whole.

    * The signature (Ed25519, RFC 8032) covers a fixed prefix and the bytes, so
      that nothing else that a node ever signs can pass for an entry.
    * An entry has a version: the moment its node started and the moment it was
      written, in milliseconds of the owner's wall clock. The greater one
      replaces the smaller; a restarted node supersedes its old self.
    * A departure is an entry too, empty and marked, with a greater version.
    * Every field has a limit, checked when an entry is made and when it is
      read, and so has the whole.

What was decoded lately is kept, by its exact bytes, for the whole process: the
same entry that comes from several neighbours, or to several nodes of one
process, is decoded once and its signature checked once.

Sizes come from what must fit: a quote of a trusted domain is 5 to 8 KiB, and a
node with more than a thousand streams is better split.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, NamedTuple, Self

import msgspec
from blake3 import blake3

from ..errors import ConfigError, DecodeError
from ..ids import NetworkId, PeerId, SecretKey, StreamId, Tag, UniqueId
from ..tickets.ticket import TICKET_COUNT_MAX, Ticket
from ..transport.address import DIRECT_COUNT_MAX, PeerAddr, SocketAddr, pick_dialable
from ..wire_encoding import BoundedDecoder
from ..wire_encoding import encode as encode_record
from .recent import Recent

ENTRY_BYTES_MAX = 64 * 1024
SIGNATURE_BYTES = 64
NAME_CHARACTERS_MAX = 256
RELAY_CHARACTERS_MAX = 1024
TAG_COUNT_MAX = 1024
STREAM_COUNT_MAX = 1024
GROUP_COUNT_MAX = 1024
ACTOR_COUNT_MAX = 1024
SCHEMA_BYTES_MAX = 64
CARRIER_COUNT_MAX = 8
CARRIER_LENGTH_MAX = 16
TIMESTAMP_MS_MAX = 2**53
MESSAGE_ID_BYTES = 8
DECODED_BYTES_MAX = 8 * 1024 * 1024
ADDRS_KEPT_MAX = 16 * 1024

_SIGNED_PREFIX = b"mosaik peer entry v1\0"

_Name = Annotated[str, msgspec.Meta(max_length=NAME_CHARACTERS_MAX)]
_Timestamp = Annotated[int, msgspec.Meta(ge=0, le=TIMESTAMP_MS_MAX)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Host = Annotated[str, msgspec.Meta(max_length=64)]
Carrier = Annotated[str, msgspec.Meta(max_length=CARRIER_LENGTH_MAX)]
Relay = Annotated[str, msgspec.Meta(max_length=RELAY_CHARACTERS_MAX)]


class EntryVersion(NamedTuple):
    """Which of two entries of one peer is the newer one: the greater tuple.

    Attributes:
        start: When the peer's node started, in milliseconds since the Unix epoch.
        update: When the entry was written, likewise.
    """

    start: _Timestamp
    update: _Timestamp


class StreamInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """A stream that a peer produces.

    Attributes:
        id: The stream.
        name: The name behind the id, for people; empty when there is none.
        schema: The fingerprint of the item type; empty when unknown.
    """

    id: StreamId
    name: _Name = ""
    schema: Annotated[bytes, msgspec.Meta(max_length=SCHEMA_BYTES_MAX)] = b""


class GroupInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """A group that a peer is a member of, with the name behind its id."""

    id: UniqueId
    name: _Name = ""


class ActorInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """An actor that can be resolved by name at a peer."""

    id: UniqueId
    name: _Name = ""


class PeerEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a node says about itself.

    Attributes:
        network: The network it belongs to.
        peer: Its identity.
        version: Which of its entries this is.
        direct: The socket addresses it can be reached at.
        relay: The relay it listens at, as an address's text, or None.
        tags: Labels that others filter by, sorted.
        streams: What it produces.
        groups: What it is a member of.
        actors: What can be resolved by name.
        tickets: What it may prove.
        departed: Whether this is its last word: it has left the network.
        carriers: What it listens with at `direct`, such as ``tcp`` and ``quic``; empty when
            it does not say, as older versions do not.
        supersedes: The short hash of an entry that came to the owner under its own
            name, and that this one replaces; empty when there was none.
    """

    network: NetworkId
    peer: PeerId
    version: EntryVersion
    direct: Annotated[tuple[tuple[Host, Port], ...], msgspec.Meta(max_length=DIRECT_COUNT_MAX)] = ()
    relay: Relay | None = None
    tags: Annotated[tuple[Tag, ...], msgspec.Meta(max_length=TAG_COUNT_MAX)] = ()
    streams: Annotated[tuple[StreamInfo, ...], msgspec.Meta(max_length=STREAM_COUNT_MAX)] = ()
    groups: Annotated[tuple[GroupInfo, ...], msgspec.Meta(max_length=GROUP_COUNT_MAX)] = ()
    actors: Annotated[tuple[ActorInfo, ...], msgspec.Meta(max_length=ACTOR_COUNT_MAX)] = ()
    tickets: Annotated[tuple[Ticket, ...], msgspec.Meta(max_length=TICKET_COUNT_MAX)] = ()
    departed: bool = False
    carriers: Annotated[tuple[Carrier, ...], msgspec.Meta(max_length=CARRIER_COUNT_MAX)] = ()
    supersedes: Annotated[bytes, msgspec.Meta(max_length=MESSAGE_ID_BYTES)] = b""

    @property
    def addr(self) -> PeerAddr:
        """Where the peer can be reached: see `pick_dialable`."""
        return make_addr(self.peer, self.direct, self.relay, self.carriers)

    def says_the_same_as(self, other: PeerEntry) -> bool:
        """Return whether both entries differ in nothing but when they were written."""
        return self.version.start == other.version.start and self == msgspec.structs.replace(
            other, version=self.version
        )


class SignedPeerEntry:
    """An entry and its owner's signature of it. Immutable.

    `decode` checks the form only. `is_valid` checks the signature, once, when
    it is first asked. The same bytes give the same object while it is kept.

    Attributes:
        entry: The entry, as far as this version understands it.
        peer_id: Whose entry it is.
        version: Which of its owner's entries it is.
        byte_count: How many bytes travel.
        sync_line: What goes into the digests of a sync: the peer and the version.
    """

    __slots__ = (
        "_content",
        "_encoded",
        "_message_id",
        "_valid",
        "byte_count",
        "entry",
        "peer_id",
        "sync_line",
        "version",
    )

    def __init__(self, entry: PeerEntry, data: bytes, signature: bytes) -> None:
        self.entry = entry
        self.peer_id = entry.peer
        self.version = version = entry.version
        self.sync_line = entry.peer + version.start.to_bytes(8) + version.update.to_bytes(8)
        self._encoded = signature + data
        self.byte_count = len(self._encoded)
        self._valid: bool | None = None
        self._message_id: bytes | None = None
        self._content: bytes | None = None

    @classmethod
    def sign(cls, entry: PeerEntry, key: SecretKey) -> Self:
        """Return `entry` signed with its owner's key.

        Raises:
            ValueError: `key` belongs to somebody else.
            EntryTooLarge: The entry breaks a limit; says which.
        """
        if entry.peer != key.peer_id:
            raise ValueError(
                f"an entry of {entry.peer.short} cannot be signed by {key.peer_id.short}"
            )
        data = encode_entry(entry)
        signed = cls(entry, data, key.sign(_SIGNED_PREFIX + data))
        signed._valid = True
        _decoded.put(signed._encoded, signed, len(signed._encoded))
        return signed

    @classmethod
    def decode(cls, encoded: bytes) -> SignedPeerEntry:
        """Return the entry that `encode` wrote. The signature is not checked yet.

        Raises:
            DecodeError: The bytes are not an entry, or break a limit.
        """
        known = _decoded.get(encoded, len(encoded))
        if known is not None:
            return known
        if len(encoded) > ENTRY_BYTES_MAX:
            raise DecodeError(f"an entry of {len(encoded)} bytes, at most {ENTRY_BYTES_MAX}")
        if len(encoded) <= SIGNATURE_BYTES:
            raise DecodeError(f"an entry of {len(encoded)} bytes is shorter than its signature")
        data = encoded[SIGNATURE_BYTES:]
        signed = cls(decode_entry(data), data, encoded[:SIGNATURE_BYTES])
        _decoded.put(signed._encoded, signed, len(encoded))
        return signed

    def encode(self) -> bytes:
        """Return the bytes that travel: the signature, then what was signed."""
        return self._encoded

    @property
    def data(self) -> bytes:
        """The signed bytes, as the owner wrote them."""
        return self._encoded[SIGNATURE_BYTES:]

    @property
    def signature(self) -> bytes:
        """The owner's signature."""
        return self._encoded[:SIGNATURE_BYTES]

    @property
    def message_id(self) -> bytes:
        """By what the broadcast knows it: see `message_id_of`."""
        if self._message_id is None:
            self._message_id = blake3(self._encoded).digest(MESSAGE_ID_BYTES)
        return self._message_id

    def says_the_same_as(self, other: SignedPeerEntry) -> bool:
        """Return whether both entries differ in nothing but when they were written."""
        return (
            self.version.start == other.version.start
            and self._find_content() == other._find_content()
        )

    def _find_content(self) -> bytes:
        if self._content is None:
            blank = msgspec.structs.replace(self.entry, version=EntryVersion(0, 0))
            self._content = blake3(encode_record(blank)).digest()
        return self._content

    @property
    def is_valid(self) -> bool:
        """Whether the peer that the entry names has signed it."""
        if self._valid is None:
            self._valid = self.entry.peer.verifies(self.signature, _SIGNED_PREFIX + self.data)
        return self._valid

    @property
    def network_id(self) -> NetworkId:
        """The network it is about."""
        return self.entry.network

    @property
    def addr(self) -> PeerAddr:
        """Where its owner can be reached."""
        return self.entry.addr

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, SignedPeerEntry) and self._encoded == other._encoded

    def __hash__(self) -> int:
        return hash(self._encoded)

    def __reduce__(self) -> tuple[Any, tuple[bytes]]:
        return type(self).decode, (self.encode(),)

    def __repr__(self) -> str:
        return f"SignedPeerEntry({self.peer_id.short}, {self.version})"


class EntryTooLarge(ConfigError):
    """The own entry would break a limit; nothing was changed."""


def message_id_of(encoded: bytes) -> bytes:
    """Return the short hash by which the broadcast knows an encoded entry.

    Of one that is kept it is the same object each time.
    """
    known = _decoded.get(encoded, len(encoded))
    return blake3(encoded).digest(MESSAGE_ID_BYTES) if known is None else known.message_id


@lru_cache(maxsize=ADDRS_KEPT_MAX)
def make_addr(
    peer: PeerId,
    direct: tuple[SocketAddr, ...],
    relay: str | None,
    carriers: tuple[str, ...] = (),
) -> PeerAddr:
    """Return what is worth dialling of an address; each is checked once while it is kept.

    Raises:
        ValueError: It is not an address; says which part is wrong.
    """
    checked = PeerAddr(peer, direct, relay)
    return PeerAddr(peer, pick_dialable(checked.direct), relay, carriers)


def encode_entry(entry: PeerEntry) -> bytes:
    """Return the bytes of `entry` that are signed; the same entry gives the same bytes.

    Raises:
        EntryTooLarge: The entry breaks a limit; says which.
    """
    data = encode_record(entry)
    if len(data) + SIGNATURE_BYTES > ENTRY_BYTES_MAX:
        raise EntryTooLarge(
            f"the entry has {len(data) + SIGNATURE_BYTES} bytes, at most {ENTRY_BYTES_MAX}"
        )
    try:
        decode_entry(data)
    except DecodeError as exc:
        raise EntryTooLarge(f"the entry breaks a limit: {exc}") from exc
    return data


def encoded_bytes(value: object) -> int:
    """Return how many bytes an entry, or a part of one, takes."""
    return len(encode_record(value))


def decode_entry(data: bytes) -> PeerEntry:
    """Return the entry written as `data`.

    Raises:
        DecodeError: The bytes are not an entry, or break a limit.
    """
    entry = _decoder.decode(data)
    try:
        _ = entry.addr  # raises ValueError when a host is not a numeric address
    except ValueError as exc:
        raise DecodeError(f"not a peer entry: {exc}") from exc
    return entry


_decoder: BoundedDecoder[PeerEntry] = BoundedDecoder(PeerEntry, "a peer entry", ENTRY_BYTES_MAX)
_decoded: Recent[bytes, SignedPeerEntry] = Recent(DECODED_BYTES_MAX)
