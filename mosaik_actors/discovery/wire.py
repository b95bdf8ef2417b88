"""The frames of the discovery protocol, and the header its links are opened with.

MessagePack arrays with a tag. Whoever opens a link says in the header what it
wants it for:

    * ``neighbour``: to exchange announcements for as long as both like. A
      catalog sync comes first.
    * ``sync``: one catalog sync, then the link ends.

Every list has a limit here, and senders stay well below the limit of a frame,
so that nobody can be made to hold more than it asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

import msgspec

from ..errors import DecodeError
from ..ids import PeerId
from .entry import ENTRY_BYTES_MAX, Version, read_id, write_id

PROTOCOL = "mosaik/discovery/1"

FRAME_BYTES_MAX = 512 * 1024
PAYLOAD_BYTES_MAX = FRAME_BYTES_MAX - 2 * ENTRY_BYTES_MAX
ENTRY_COUNT_MAX = 4096
VERSION_COUNT_MAX = 4096
BUCKET_COUNT_MAX = 512
ROOT_HASH_BYTES = 16
BUCKET_HASH_BYTES = 8

_Entries = Annotated[tuple[bytes, ...], msgspec.Meta(max_length=ENTRY_COUNT_MAX)]


class LinkPurpose(msgspec.Struct, frozen=True, array_like=True):
    """The header of a discovery link.

    Attributes:
        purpose: What the opener wants the link for.
        urgent: Whether the opener has no neighbour at all. It is then not
            refused for want of room.
    """

    purpose: Literal["neighbour", "sync"]
    urgent: bool = False


class Announce(msgspec.Struct, frozen=True, array_like=True, tag="announce"):
    """Entries that are new to the sender, signed and encoded."""

    entries: _Entries


class SyncRoot(msgspec.Struct, frozen=True, array_like=True, tag="root"):
    """First step of a sync: the digest of everything the opener would tell."""

    digest: Annotated[bytes, msgspec.Meta(min_length=ROOT_HASH_BYTES, max_length=ROOT_HASH_BYTES)]
    entry_count: Annotated[int, msgspec.Meta(ge=0)]


class SyncBuckets(msgspec.Struct, frozen=True, array_like=True, tag="buckets"):
    """Second step: the acceptor's digest of each bucket, one after the other."""

    digests: Annotated[
        bytes,
        msgspec.Meta(min_length=BUCKET_HASH_BYTES, max_length=BUCKET_HASH_BYTES * BUCKET_COUNT_MAX),
    ]


class SyncVersions(msgspec.Struct, frozen=True, array_like=True, tag="versions"):
    """Third step: what the opener has in the buckets that differ."""

    buckets: Annotated[
        tuple[Annotated[int, msgspec.Meta(ge=0, lt=BUCKET_COUNT_MAX)], ...],
        msgspec.Meta(max_length=BUCKET_COUNT_MAX),
    ]
    versions: Annotated[
        tuple[tuple[PeerId, Version], ...], msgspec.Meta(max_length=VERSION_COUNT_MAX)
    ]
    more: bool


class SyncEntries(msgspec.Struct, frozen=True, array_like=True, tag="entries"):
    """Entries that the other side lacks or has in an older version."""

    entries: _Entries


class SyncWant(msgspec.Struct, frozen=True, array_like=True, tag="want"):
    """Fourth step: whose entries the acceptor wants."""

    peers: Annotated[tuple[PeerId, ...], msgspec.Meta(max_length=VERSION_COUNT_MAX)]
    more: bool


class SyncDone(msgspec.Struct, frozen=True, array_like=True, tag="done"):
    """The sender has nothing more to say in this sync."""


SyncFrame = SyncRoot | SyncBuckets | SyncVersions | SyncEntries | SyncWant | SyncDone
Frame = Announce | SyncFrame


def encode_frame(frame: Frame) -> bytes:
    """Return a frame as it travels."""
    return _encoder.encode(frame)


def decode_frame(data: bytes) -> Frame:
    """Return the frame that travelled as `data`.

    Raises:
        DecodeError: The bytes are no frame, or break a limit.
    """
    if len(data) > FRAME_BYTES_MAX:
        raise DecodeError(f"a discovery frame of {len(data)} bytes, at most {FRAME_BYTES_MAX}")
    try:
        return _frame_decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, ValueError, TypeError) as exc:
        raise DecodeError(f"not a discovery frame: {exc}") from exc


def encode_purpose(purpose: LinkPurpose) -> bytes:
    """Return the header of a link."""
    return _encoder.encode(purpose)


def decode_purpose(header: bytes) -> LinkPurpose:
    """Return what a link was opened for.

    Raises:
        DecodeError: The header is not one of this protocol.
    """
    try:
        return _purpose_decoder.decode(header)
    except (msgspec.MsgspecError, RecursionError, ValueError, TypeError) as exc:
        raise DecodeError(f"not the header of a discovery link: {exc}") from exc


def pack_entries(entries: Iterable[bytes]) -> Iterator[tuple[bytes, ...]]:
    """Split encoded entries into groups that each fit into one frame, in order."""
    group: list[bytes] = []
    size = 0
    for encoded in entries:
        if group and (size + len(encoded) > PAYLOAD_BYTES_MAX or len(group) == ENTRY_COUNT_MAX):
            yield tuple(group)
            group, size = [], 0
        group.append(encoded)
        size += len(encoded) + 5
    if group:
        yield tuple(group)


_encoder = msgspec.msgpack.Encoder(enc_hook=write_id)
_frame_decoder: msgspec.msgpack.Decoder[Frame] = msgspec.msgpack.Decoder(Frame, dec_hook=read_id)
_purpose_decoder = msgspec.msgpack.Decoder(LinkPurpose)
