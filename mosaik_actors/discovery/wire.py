"""The frames of the discovery protocol, and the header its links are opened with.

MessagePack arrays with a tag. Whoever opens a link says in the header what it
wants it for:

    * ``join``: to get into the network; as a neighbour where there is room. The
      acceptor's reply `GUEST` says that there is none: the link is then for one
      sync, and the acceptor's neighbours are asked to take the opener in.
    * ``neighbour``: to be a neighbour for as long as both like. A catalog sync
      comes first.
    * ``sync``: one catalog sync, then the link ends.
    * ``probe``: one `Ping` and its `Pong`, then the link ends.

Between neighbours travel the frames of the membership (`ForwardJoin`, `Shuffle`,
`ShuffleReply`) and of the broadcast (`Announce`, `IHave`, `Graft`, `Prune`), now
and then a `Ping` and its `Pong`, and `Suspect` when somebody does not answer.

Every list has a limit here, and senders stay well below the limit of a frame,
so that nobody can be made to hold more than it asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated, Literal

import msgspec

from ..errors import DecodeError
from ..ids import ID_BYTES, PeerId
from ..transport.address import DIRECT_COUNT_MAX, PeerAddr, without_loopback
from ..transport.interface import HEADER_BYTES_MAX
from ..wire_encoding import BoundedDecoder
from ..wire_encoding import encode as encode_record
from .entry import (
    ENTRY_BYTES_MAX,
    MESSAGE_ID_BYTES,
    EntryVersion,
    Host,
    Port,
    Relay,
    make_addr,
)
from .suspicion import Claims

PROTOCOL = "mosaik/discovery/2"
GUEST = b"guest"

FRAME_BYTES_MAX = 512 * 1024
PAYLOAD_BYTES_MAX = FRAME_BYTES_MAX - 2 * ENTRY_BYTES_MAX
ENTRY_COUNT_MAX = 4096
MESSAGE_COUNT_MAX = 4096
CONTACT_COUNT_MAX = 32
WALK_LENGTH_MAX = 16
VERSION_COUNT_MAX = 4096
BUCKET_COUNT_MAX = 512
ROOT_HASH_BYTES = 16
BUCKET_HASH_BYTES = 8

_Entries = Annotated[tuple[bytes, ...], msgspec.Meta(max_length=ENTRY_COUNT_MAX)]
_MessageIds = Annotated[bytes, msgspec.Meta(max_length=MESSAGE_COUNT_MAX * MESSAGE_ID_BYTES)]
_Rounds = Annotated[bytes, msgspec.Meta(max_length=MESSAGE_COUNT_MAX)]
_Number = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
_Steps = Annotated[int, msgspec.Meta(ge=0, le=WALK_LENGTH_MAX)]


class Contact(msgspec.Struct, frozen=True, array_like=True):
    """A peer and the ways to it."""

    peer: PeerId
    direct: Annotated[tuple[tuple[Host, Port], ...], msgspec.Meta(max_length=DIRECT_COUNT_MAX)] = ()
    relay: Relay | None = None

    @classmethod
    def of(cls, addr: PeerAddr) -> Contact:
        """Return an address as it travels."""
        return cls(addr.peer_id, addr.direct, addr.relay)

    @property
    def addr(self) -> PeerAddr:
        """The address; raises ValueError when it is none, which decoding rules out."""
        return make_addr(self.peer, self.direct, self.relay)

    def without_loopback(self) -> Contact:
        """Return the contact without what only its own machine can reach."""
        return Contact.of(without_loopback(self.addr))


_Contacts = Annotated[tuple[Contact, ...], msgspec.Meta(max_length=CONTACT_COUNT_MAX)]
# An id as its bytes, which it is equal to: a sync has thousands of them, and looks most up only.
_PeerBytes = Annotated[bytes, msgspec.Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
_Path = Annotated[tuple[PeerId, ...], msgspec.Meta(max_length=WALK_LENGTH_MAX + 1)]


class LinkPurpose(msgspec.Struct, frozen=True, array_like=True):
    """The header of a discovery link.

    Attributes:
        purpose: What the opener wants the link for.
        urgent: Whether the opener has no neighbour at all, or was asked to take
            the acceptor in. It is then not refused for want of room.
        contact: Where the opener can be reached; only with ``join``.
    """

    purpose: Literal["join", "neighbour", "sync", "probe"]
    urgent: bool = False
    contact: Contact | None = None


class Announce(msgspec.Struct, frozen=True, array_like=True, tag="announce"):
    """Entries that are new to the sender, signed and encoded.

    Attributes:
        entries: The entries.
        rounds: One byte for each: over how many links it came to the sender.
    """

    entries: _Entries
    rounds: _Rounds = b""


class IHave(msgspec.Struct, frozen=True, array_like=True, tag="ihave"):
    """Entries that the sender has and does not send unless asked with `Graft`.

    Attributes:
        ids: The message ids, one after the other.
        rounds: One byte for each, as in `Announce`.
        is_quick: Whether they go from node to node at once, so that they are
            missed soon; or give a sign of life, which takes its time.
    """

    ids: _MessageIds
    rounds: _Rounds
    is_quick: bool


class Graft(msgspec.Struct, frozen=True, array_like=True, tag="graft"):
    """Send these; and from now on everything at once, if the link is to become eager.

    Attributes:
        ids: The message ids, one after the other.
        is_lasting: Whether the link becomes eager.
    """

    ids: _MessageIds
    is_lasting: bool = True


class Prune(msgspec.Struct, frozen=True, array_like=True, tag="prune"):
    """Send no more than `IHave` from now on: the link becomes lazy."""


class ForwardJoin(msgspec.Struct, frozen=True, array_like=True, tag="join"):
    """Somebody has joined: take it as a neighbour, or pass this on.

    Attributes:
        contact: Who, and where it is.
        steps: How many times it is passed on yet.
    """

    contact: Contact
    steps: _Steps


class Shuffle(msgspec.Struct, frozen=True, array_like=True, tag="shuffle"):
    """Some of those that the origin knows, for as many of those that the last one knows.

    Attributes:
        contacts: The origin first, then some neighbours and others of it.
        steps: How many times it is passed on yet.
        path: Who passed it on, the origin first and the sender last.
    """

    contacts: _Contacts
    steps: _Steps
    path: _Path


class ShuffleReply(msgspec.Struct, frozen=True, array_like=True, tag="shuffled"):
    """The answer to a shuffle; goes back the way that the shuffle came.

    Attributes:
        contacts: Some of those that the answerer knows.
        path: Who passes it on yet, the origin first and the receiver last.
    """

    contacts: _Contacts
    path: _Path


class Ping(msgspec.Struct, frozen=True, array_like=True, tag="ping"):
    """Answer with a `Pong` of the same number at once."""

    number: _Number


class Pong(msgspec.Struct, frozen=True, array_like=True, tag="pong"):
    """The answer to a `Ping`."""

    number: _Number


class Suspect(msgspec.Struct, frozen=True, array_like=True, tag="suspect"):
    """Some peers do not answer, say the signed claims of others; see `suspicion`."""

    claims: Claims


class SyncRoot(msgspec.Struct, frozen=True, array_like=True, tag="root"):
    """First step of a sync: the digest of everything the opener would send."""

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
        tuple[tuple[_PeerBytes, EntryVersion], ...], msgspec.Meta(max_length=VERSION_COUNT_MAX)
    ]
    more: bool


class SyncEntries(msgspec.Struct, frozen=True, array_like=True, tag="entries"):
    """Entries that the other side lacks or has in an older version."""

    entries: _Entries


class SyncWant(msgspec.Struct, frozen=True, array_like=True, tag="want"):
    """Fourth step: whose entries the acceptor wants."""

    peers: Annotated[tuple[_PeerBytes, ...], msgspec.Meta(max_length=VERSION_COUNT_MAX)]
    more: bool


class SyncDone(msgspec.Struct, frozen=True, array_like=True, tag="done"):
    """The sender has nothing more to say in this sync."""


SyncFrame = SyncRoot | SyncBuckets | SyncVersions | SyncEntries | SyncWant | SyncDone
MembershipFrame = ForwardJoin | Shuffle | ShuffleReply
BroadcastFrame = Announce | IHave | Graft | Prune
ProbeFrame = Ping | Pong
GossipFrame = MembershipFrame | BroadcastFrame | ProbeFrame | Suspect
Frame = GossipFrame | SyncFrame


def encode_frame(frame: Frame) -> bytes:
    """Return a frame as it travels."""
    return encode_record(frame)


def decode_frame(data: bytes) -> Frame:
    """Return the frame that travelled as `data`.

    Raises:
        DecodeError: The bytes are no frame, or break a limit.
    """
    frame = _frame_decoder.decode(data)
    try:
        for contact in _contacts_of(frame):
            _ = contact.addr
        return frame
    except ValueError as exc:
        raise DecodeError(f"not a discovery frame: {exc}") from exc


def encode_purpose(purpose: LinkPurpose) -> bytes:
    """Return the header of a link."""
    return encode_record(purpose)


def without_loopback_contacts(frame: GossipFrame) -> GossipFrame:
    """Return what another machine sent without contacts on the loopback interface."""
    match frame:
        case ForwardJoin(contact, steps):
            return ForwardJoin(contact.without_loopback(), steps)
        case Shuffle(contacts, steps, path):
            return Shuffle(tuple(one.without_loopback() for one in contacts), steps, path)
        case ShuffleReply(contacts, path):
            return ShuffleReply(tuple(one.without_loopback() for one in contacts), path)
    return frame


def decode_purpose(header: bytes) -> LinkPurpose:
    """Return what a link was opened for.

    Raises:
        DecodeError: The header is not one of this protocol.
    """
    purpose = _purpose_decoder.decode(header)
    try:
        if purpose.contact is not None:
            _ = purpose.contact.addr
        return purpose
    except ValueError as exc:
        raise DecodeError(f"not the header of a discovery link: {exc}") from exc


def pack_entries(entries: Iterable[bytes]) -> Iterator[tuple[bytes, ...]]:
    """Split encoded entries into groups that each fit into one frame, in order."""
    group = tuple(entries)
    while group:
        count, size = 0, 0
        for encoded in islice(group, ENTRY_COUNT_MAX):
            if count and size + len(encoded) > PAYLOAD_BYTES_MAX:
                break
            count += 1
            size += len(encoded) + 5
        yield group[:count]
        group = group[count:]


def split_ids(ids: bytes) -> list[bytes]:
    """Return the message ids in `ids`; what is left over at the end is none."""
    starts = range(0, len(ids) - MESSAGE_ID_BYTES + 1, MESSAGE_ID_BYTES)
    return [ids[start : start + MESSAGE_ID_BYTES] for start in starts]


def _contacts_of(frame: Frame) -> tuple[Contact, ...]:
    if isinstance(frame, Shuffle | ShuffleReply):
        return frame.contacts
    return (frame.contact,) if isinstance(frame, ForwardJoin) else ()


_frame_decoder: BoundedDecoder[Frame] = BoundedDecoder(Frame, "a discovery frame", FRAME_BYTES_MAX)
_purpose_decoder: BoundedDecoder[LinkPurpose] = BoundedDecoder(
    LinkPurpose, "the header of a discovery link", HEADER_BYTES_MAX
)
