"""What nodes say to each other about their actors.

A node opens a link of `PROTOCOL`; header and reply are the *incarnation* of either side: 8
bytes that a node draws at each start. Actors are known by number, and a number means
nothing in another incarnation: so a restarted node never gets what was meant for its
former self.

Each frame is a `Burst`: whatever piled up since the last turn of the loop, in order, as
*sections*. Messages in a row of one type from one sender to one actor are one section, with
one batch that is encoded and decoded in one call. Types are named in full, and mean what
the receiving actor has a handler for; nothing else is ever built.

Everything is decoded by types with limits. What is no frame raises `RemoteError`, and the
link is closed.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from ..errors import DecodeError
from ..ids import PeerId
from ..transport.interface import FRAME_BYTES_MAX
from ..wire_encoding import BoundedDecoder, encode

PROTOCOL: Final = "actors/1"
INCARNATION_BYTES: Final = 8
NAME_MAX: Final = 256
TYPE_MAX: Final = 512
REASON_MAX: Final = 4096
# Why an actor took nothing, in words that the asker's node knows: then nothing was delivered.
NOT_THERE: Final = "it has exited, or was never announced to other nodes"
IDS_MAX: Final = 4096
CHAIN_MAX: Final = 64
SECTIONS_MAX: Final = 4096

_Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Name = Annotated[str, msgspec.Meta(max_length=NAME_MAX)]
_Type = Annotated[str, msgspec.Meta(max_length=TYPE_MAX)]
_Reason = Annotated[str, msgspec.Meta(max_length=REASON_MAX)]
_Ids = Annotated[tuple[_Number, ...], msgspec.Meta(max_length=IDS_MAX)]


class WireRef(msgspec.Struct, frozen=True, array_like=True):
    """A reference as it travels: the node, its incarnation, the actor, and what to call it."""

    peer: PeerId
    incarnation: Annotated[bytes, msgspec.Meta(max_length=INCARNATION_BYTES)]
    number: _Number
    name: _Name = ""
    class_name: _Name = ""


_Chain = Annotated[tuple[WireRef, ...], msgspec.Meta(max_length=CHAIN_MAX)]


class Tell(msgspec.Struct, frozen=True, array_like=True, tag_field="kind", tag=1):
    """Messages to one actor. `sender` is one more than the sender's number, 0 for nobody."""

    target: _Number
    sender: _Number
    type: _Type
    batch: bytes


class Ask(msgspec.Struct, frozen=True, array_like=True, tag_field="kind", tag=2):
    """Questions to one actor.

    Attributes:
        target: The actor.
        type: What the questions are.
        ids: The number of each; the asker's.
        left_ms: How long the answer of each is waited for; 0 for ever.
        window: 0 for one answer, else how many of a stream may be under way.
        chain: Who waits for the answers besides, the first asker first.
        batch: The questions.
    """

    target: _Number
    type: _Type
    ids: _Ids
    left_ms: _Ids
    window: Annotated[int, msgspec.Meta(ge=0, le=65_536)]
    chain: _Chain
    batch: bytes


class Answer(msgspec.Struct, frozen=True, array_like=True, tag_field="kind", tag=3):
    """Answers to questions; of a stream, some more of them."""

    ids: _Ids
    type: _Type
    batch: bytes


class Failed(msgspec.Struct, frozen=True, array_like=True, tag_field="kind", tag=4):
    """A question that gets no answer. `why` is "poisoned", "rejected", "gone" or "circle"."""

    id: _Number
    why: Annotated[str, msgspec.Meta(max_length=16)]
    reason: _Reason
    circle: Annotated[tuple[_Name, ...], msgspec.Meta(max_length=CHAIN_MAX + 2)] = ()


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag_field="kind", tag=5):
    """Nobody waits for the answer to a question any more."""

    id: _Number


class Ended(msgspec.Struct, frozen=True, array_like=True, tag_field="kind", tag=6):
    """A stream of answers has ended."""

    id: _Number


class Grant(msgspec.Struct, frozen=True, array_like=True, tag_field="kind", tag=7):
    """So many more answers of a stream may be sent."""

    id: _Number
    count: Annotated[int, msgspec.Meta(ge=0, le=65_536)]


class Watch(msgspec.Struct, frozen=True, array_like=True, tag_field="kind", tag=8):
    """Notify when an actor ends. May be repeated."""

    target: _Number


class Unwatch(msgspec.Struct, frozen=True, array_like=True, tag_field="kind", tag=9):
    """Do not notify of an actor's end."""

    target: _Number


class Gone(msgspec.Struct, frozen=True, array_like=True, tag_field="kind", tag=10):
    """An actor that was watched has ended."""

    target: _Number
    reason: _Reason


class Resolve(msgspec.Struct, frozen=True, array_like=True, tag_field="kind", tag=11):
    """Which actor has a name?"""

    id: _Number
    name: _Name


class Resolved(msgspec.Struct, frozen=True, array_like=True, tag_field="kind", tag=12):
    """The actor that has the name that was asked for; None: there is none."""

    id: _Number
    ref: WireRef | None


class Exit(msgspec.Struct, frozen=True, array_like=True, tag_field="kind", tag=13):
    """Let an actor exit."""

    target: _Number


class Refused(msgspec.Struct, frozen=True, array_like=True, tag_field="kind", tag=14):
    """Messages to an actor were not taken in."""

    target: _Number
    type: _Type
    count: _Number
    reason: _Reason


Section = (
    Tell
    | Ask
    | Answer
    | Failed
    | Cancel
    | Ended
    | Grant
    | Watch
    | Unwatch
    | Gone
    | Resolve
    | Resolved
    | Exit
    | Refused
)


class Burst(msgspec.Struct, frozen=True, array_like=True):
    """One frame."""

    sections: Annotated[tuple[Section, ...], msgspec.Meta(max_length=SECTIONS_MAX)]


_bursts: BoundedDecoder[Burst] = BoundedDecoder(Burst, "a burst of messages", FRAME_BYTES_MAX)
_refs: BoundedDecoder[WireRef] = BoundedDecoder(WireRef, "a reference", 4 * NAME_MAX * 2 + 256)


def encode_burst(sections: list[Section]) -> bytes:
    """Return a frame."""
    return encode(Burst(tuple(sections)))


def decode_burst(data: bytes) -> tuple[Section, ...]:
    """Return the sections of a frame. Raises `DecodeError`."""
    return _bursts.decode(data).sections


def encode_ref(ref: WireRef) -> bytes:
    """Return a reference as it is inside of messages."""
    return encode(ref)


def decode_ref(data: object) -> WireRef:
    """Return the reference that was encoded as `data`. Raises `DecodeError`."""
    if not isinstance(data, bytes):
        raise DecodeError("a reference is expected as bytes")
    return _refs.decode(data)


def check_incarnation(data: bytes) -> bytes:
    """Return an incarnation as a link brought it. Raises `DecodeError`."""
    if len(data) != INCARNATION_BYTES:
        raise DecodeError(f"an incarnation of {len(data)} bytes, expected {INCARNATION_BYTES}")
    return data
