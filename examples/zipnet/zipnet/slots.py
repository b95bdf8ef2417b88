"""The slots: where in a round a message is, and how it shows that two were in one place.

A round has a number of slots of one size. Who says something takes one slot, which its key
and the round choose for it; nobody assigns slots, so nobody knows whose one is. All others
send zeros: cover. A slot holds an id of the message, its length, the message, zeros, and a
tag of all that. Two messages in one slot, or noise, have a wrong tag: the slot is *garbled*
and whoever was in it tries the next round, in another slot.

A tag has no key: everybody may say something. It tells accidents and noise, not lies.
What tells a lie is arithmetic: a clean slot needs one talker and a garbled one two, so
more than the participants could fill means that somebody did not keep to the protocol.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from blake3 import blake3

from .pads import ROUND_BYTES, Refused

ID_BYTES: Final = 8
LENGTH_BYTES: Final = 2
TAG_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Shape:
    """How a round is divided.

    Attributes:
        slots: How many messages a round has room for; some times the talkers to expect.
        message_bytes: How large each one is at most.
    """

    slots: int
    message_bytes: int

    @property
    def slot_bytes(self) -> int:
        """The size of one slot."""
        return ID_BYTES + LENGTH_BYTES + self.message_bytes + TAG_BYTES

    @property
    def size(self) -> int:
        """The size of all slots, and so of each envelope's masked part."""
        return self.slots * self.slot_bytes


class Message(NamedTuple):
    """What was in a clean slot."""

    slot: int
    id: bytes
    text: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """What a round held.

    Attributes:
        messages: Those of the clean slots, in order.
        garbled: The slots whose tag is wrong.
    """

    messages: tuple[Message, ...]
    garbled: tuple[int, ...]

    def is_disrupted(self, participants: int) -> bool:
        """Return whether so many participants could not have done that by honest collisions."""
        return len(self.messages) + 2 * len(self.garbled) > participants


def choose_slot(key: bytes, round_: int, shape: Shape) -> int:
    """Return the slot of a client in a round: pseudo-random, and known to it alone."""
    drawn = blake3(key + round_.to_bytes(ROUND_BYTES), derive_key_context="zipnet slot v1")
    return int.from_bytes(drawn.digest(length=16)) % shape.slots


def fill(slot: int, message: Message | None, round_: int, context: bytes, shape: Shape) -> bytes:
    """Return all slots with a message in one of them, or none: cover.

    Raises:
        Refused: The message is too long.
    """
    if message is None:
        return bytes(shape.size)
    if len(message.text) > shape.message_bytes or len(message.id) != ID_BYTES:
        raise Refused(f"a message of {len(message.text)} bytes, at most {shape.message_bytes}")
    length = len(message.text).to_bytes(LENGTH_BYTES)
    body = message.id + length + message.text.ljust(shape.message_bytes, b"\0")
    filled = body + _tag(body, slot, round_, context)
    return filled.rjust((slot + 1) * shape.slot_bytes, b"\0").ljust(shape.size, b"\0")


def open_slots(plain: bytes, round_: int, context: bytes, shape: Shape) -> Opened:
    """Return what is in the slots of a round from which all pads are taken away.

    Raises:
        Refused: It has another size.
    """
    if len(plain) != shape.size:
        raise Refused(f"{len(plain)} bytes, expected {shape.size}")
    messages, garbled = [], []
    for slot in range(shape.slots):
        content = plain[slot * shape.slot_bytes :][: shape.slot_bytes]
        if not any(content):
            continue
        body, tag = content[:-TAG_BYTES], content[-TAG_BYTES:]
        length = int.from_bytes(body[ID_BYTES:][:LENGTH_BYTES])
        text = body[ID_BYTES + LENGTH_BYTES :]
        if tag != _tag(body, slot, round_, context) or length > shape.message_bytes:
            garbled.append(slot)
        else:
            messages.append(Message(slot, body[:ID_BYTES], text[:length]))
    return Opened(tuple(messages), tuple(garbled))


def _tag(body: bytes, slot: int, round_: int, context: bytes) -> bytes:
    place = round_.to_bytes(ROUND_BYTES) + slot.to_bytes(4)
    return blake3(context + place + body, derive_key_context="zipnet tag v1").digest(TAG_BYTES)
