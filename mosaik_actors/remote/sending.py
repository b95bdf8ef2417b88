"""Bursts: what is to be sent, as the sections of frames.

Messages in a row from one sender to one actor, of one class, share a section and are encoded
in one call. What cannot be encoded is found one by one, and refused; what makes a
frame too large is divided.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any, Protocol

import msgspec
from thespian.actors import ActorAddress, ActorExitRequest, ActorSystemMessage

from ..codec import EncodeError
from ..runtime.messaging.address import LocalAddress
from ..runtime.messaging.replies import StreamItems
from . import wire
from .reference import RemoteQuestion, RemoteRef
from .registry import PLAIN, Codecs


class SectionToSend(msgspec.Struct, frozen=True):
    """A section that is no message of an actor's."""

    section: wire.Section


Message = tuple[Any, Any, ActorAddress]  # a RemoteRef or RemoteQuestion, the message, its sender
Item = SectionToSend | Message


class SendingNode(Protocol):
    """What has to be known of the node that is sent to."""

    @property
    def codecs(self) -> Codecs:
        """The codecs of this node."""

    def register(self, question: LocalAddress) -> int:
        """Give a question of this node a number."""

    def left_ms(self, deadline: float | None) -> int:
        """Return how many milliseconds are left; 0 for no limit."""

    def wire_ref(self, address: LocalAddress) -> wire.WireRef:
        """Return a reference as it travels."""

    def refuse(self, item: Item, reason: str) -> None:
        """Take in that something cannot be sent at all."""


def encode_sections(items: list[Item], peer: SendingNode, frame_bytes_max: int) -> Iterator[bytes]:
    """Return frames with all that is to be sent, in order."""
    frame = wire.encode_burst(list(_sections(items, peer)))
    if len(frame) <= frame_bytes_max:
        yield frame
    elif len(items) > 1:
        half = len(items) // 2
        yield from encode_sections(items[:half], peer, frame_bytes_max)
        yield from encode_sections(items[half:], peer, frame_bytes_max)
    else:
        peer.refuse(items[0], f"{len(frame)} bytes, at most {frame_bytes_max} can be sent")


def _sections(items: list[Item], peer: SendingNode) -> Iterator[wire.Section]:
    for (kind, _target, _sender, _class), run in groupby(items, _key):
        group: list[Any] = list(run)
        if kind == "note":
            for note in group:
                yield note.section
        elif kind == "exit":
            yield wire.Exit(group[0][0].number)
        elif kind == "system":
            for item in group:
                peer.refuse(item, "messages of the actor system stay on their node")
        else:
            yield from _encode_group(kind, group, peer)


def _key(item: Item) -> tuple[str, Any, Any, Any]:
    if isinstance(item, SectionToSend):
        return "note", None, None, None
    target, message, sender = item
    kind = message.__class__
    if target.__class__ is RemoteQuestion:
        if kind is StreamItems:
            return "items", target.number, None, None
        return "answer", target.expected, None, kind
    if isinstance(message, ActorSystemMessage):
        is_exit = isinstance(message, ActorExitRequest)
        return ("exit" if is_exit else "system"), target, None, None
    question = getattr(sender, "question", None)
    if question is not None:
        return "ask", target, (question.chain, getattr(question, "window", 0)), kind
    return "tell", target, sender, kind


def _encode_group(kind: str, group: list[Any], peer: SendingNode) -> Iterator[wire.Section]:
    if kind == "ask":
        group = [item for item in group if not item[2].question.is_over]
        if not group:
            return
    messages = [item[1] for item in group]
    try:
        yield _encode(kind, group, messages, peer)
    except EncodeError as error:
        if len(group) == 1:
            peer.refuse(group[0], error.why)
            return
        for item in group:
            yield from _encode_group(kind, [item], peer)


def _encode(kind: str, group: list[Any], messages: list[Any], peer: SendingNode) -> wire.Section:
    target: RemoteRef | RemoteQuestion = group[0][0]
    if isinstance(target, RemoteQuestion):
        if kind == "items":
            messages = [answer for items in messages for answer in items.items]
            ids = tuple(item[0].number for item in group for _ in item[1].items)
        else:
            ids = tuple(item[0].number for item in group)
        if target.expected is Any:
            name, codec = peer.codecs.of_class(type(messages[0]))
        else:
            name, codec = PLAIN, peer.codecs.of_type(target.expected)
        return wire.Answer(ids, name, codec.encode_batch(messages))
    name, codec = peer.codecs.of_class(type(messages[0]))
    batch = codec.encode_batch(messages)
    if kind == "tell":
        return wire.Tell(target.number, _sender_number(group[0][2], peer), name, batch)
    questions = [item[2].question for item in group]
    return wire.Ask(
        target.number,
        name,
        tuple(peer.register(item[2]) for item in group),
        tuple(peer.left_ms(question.deadline) for question in questions),
        getattr(questions[0], "window", 0),
        tuple(map(peer.wire_ref, questions[0].chain[-wire.CHAIN_MAX :])),
        batch,
    )


def _sender_number(sender: ActorAddress, peer: SendingNode) -> int:
    number: int = 0
    if isinstance(sender, LocalAddress) and hasattr(sender, "is_shared"):
        number = peer.wire_ref(sender).number + 1
    return number
