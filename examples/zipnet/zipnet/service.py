"""The service as others see it: its configuration, its public surface, its records.

    mixer = Zipnet.bind(net, ACME)

`submit` takes envelopes, `receipts` has sealed boxes, `read` has what was said. That is all
that is public. What the parties of a deployment need beside that (the live round, the folded
envelopes) is in `Plumbing`, which no user of the service binds.

Everything that two parties must agree on is a field of the configuration, so it is in the
id; the id is the context of every key, pad, tag and signature. Parties with another window,
salt or committee do not only never meet: their pads would not fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec

from mosaik_actors import (
    Cell,
    ConfigError,
    Deployment,
    DeploymentConfig,
    PeerId,
    SecretKey,
    Ticket,
    UniqueId,
    Vec,
    collection,
    public,
    stream,
)

from .committee import Member, Rules
from .folding import envelope_size
from .slots import Message, Shape

STANDARD = Shape(slots=64, message_bytes=64)
RECEIPT_BYTES = 32  # encrypted: two of length, round, outcome, one bit for each slot
BOX_BYTES = RECEIPT_BYTES + 48


class ZipnetConfig(DeploymentConfig):
    """What all parties of a deployment agree on.

    Attributes:
        servers: The identities of the committee: one honest one among them is enough.
        window_s: How long a round waits for envelopes, in seconds.
        participants_min: No server opens a round of fewer clients.
        clients_max: How many clients there may be.
        slots: How many messages a round has room for.
        message_bytes: How large each one is at most.
    """

    servers: tuple[PeerId, ...]
    window_s: float = 1.0
    participants_min: int = 3
    clients_max: int = 100
    slots: int = STANDARD.slots
    message_bytes: int = STANDARD.message_bytes

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shape.size != STANDARD.size:
            raise ConfigError(f"{self.shape} has {self.shape.size} bytes, not {STANDARD.size}")
        if not 2 <= self.participants_min <= self.clients_max:
            raise ConfigError(f"participants_min is {self.participants_min}, expected 2 or more")
        if not self.servers or len(set(self.servers)) != len(self.servers):
            raise ConfigError(f"servers are {len(self.servers)}, expected one or more, each once")

    @property
    def shape(self) -> Shape:
        """How a round is divided."""
        return Shape(self.slots, self.message_bytes)


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """An envelope: see `folding`."""

    data: bytes
    WIRE_SIZE: ClassVar[int] = 4 + envelope_size(STANDARD)


class Box(msgspec.Struct, frozen=True, array_like=True):
    """A receipt, sealed for one client. All of a round's clients get one, alike to all others."""

    data: bytes
    WIRE_SIZE: ClassVar[int] = 3 + BOX_BYTES


class Broadcast(msgspec.Struct, frozen=True, array_like=True):
    """What a round said, signed by a server.

    Attributes:
        round: Which one. One that is there twice was published by two leaders: take the first.
        messages: The messages of clean slots, in the order of slots.
        garbled: How many slots were garbled.
        participants: How many clients sent an envelope: among so many each author hides.
        server: Who published it.
        signature: Of all that.
    """

    round: int
    messages: tuple[Message, ...]
    garbled: int
    participants: int
    server: bytes
    signature: bytes = b""

    def signed_by(self, key: SecretKey, context: bytes) -> Broadcast:
        """Return it with a signature."""
        return msgspec.structs.replace(self, signature=key.sign(self._signed(context)))

    def is_genuine(self, servers: Sequence[PeerId], context: bytes) -> bool:
        """Return whether a server of the committee has published it."""
        known = self.server in servers
        return known and PeerId(self.server).verifies(self.signature, self._signed(context))

    def _signed(self, context: bytes) -> bytes:
        unsigned = msgspec.structs.replace(self, signature=b"")
        return context + b"broadcast" + msgspec.msgpack.encode(unsigned)


class Live(msgspec.Struct, frozen=True, array_like=True):
    """The round that takes envelopes now, or did last.

    Attributes:
        round: Which one.
        servers: The registry of servers: each with its key, signed by itself.
        clients: Who takes part, in the order in which participants are counted.
        server: Who opened it.
        signature: Of all that.
    """

    round: int
    servers: tuple[Member, ...]
    clients: tuple[bytes, ...]
    server: bytes
    signature: bytes = b""

    def signed_by(self, key: SecretKey, context: bytes) -> Live:
        """Return it with a signature."""
        return msgspec.structs.replace(self, signature=key.sign(self._signed(context)))

    def is_genuine(self, servers: Sequence[PeerId], context: bytes) -> bool:
        """Return whether a server opened it, and each server's key is its own."""
        named = [member.identity for member in self.servers]
        if sorted(named) != sorted(map(bytes, servers)) or self.server not in servers:
            return False
        if not PeerId(self.server).verifies(self.signature, self._signed(context)):
            return False
        return all(one.role == "server" and one.is_genuine(context) for one in self.servers)

    def _signed(self, context: bytes) -> bytes:
        unsigned = msgspec.structs.replace(self, signature=b"")
        return context + b"live" + msgspec.msgpack.encode(unsigned)


class Folded(msgspec.Struct, frozen=True, array_like=True):
    """A round's envelopes in one, and whose they are."""

    round: int
    participants: bytes
    data: bytes


class Zipnet(Deployment[ZipnetConfig]):
    """Anonymous broadcast for a bounded set of clients."""

    service = "example.zipnet"
    submit = public(stream(Envelope))
    receipts = public(stream(Box))
    read = public(collection(Vec[Broadcast], "read"))


class Plumbing(Deployment[ZipnetConfig]):
    """What clients, aggregator and servers of a deployment need of each other beside that."""

    service = "example.zipnet.plumbing"
    live = public(collection(Cell[Live], "live"))
    folded = public(stream(Folded))


def rules_of(config: ZipnetConfig) -> Rules:
    """Return what the committee of a deployment keeps to."""
    return Rules(
        bytes(Zipnet.deployment_id(config)),
        tuple(map(bytes, config.servers)),
        config.shape,
        config.participants_min,
        config.clients_max,
    )


def member_class(config: ZipnetConfig) -> UniqueId:
    """Return the class of the tickets by which members announce their keys."""
    return Zipnet.deployment_id(config).derive("member")


def announce(member: Member, config: ZipnetConfig) -> Ticket:
    """Return a member's announcement: a ticket that its node shows."""
    return Ticket(member_class(config), msgspec.msgpack.encode(member))


def read_announcement(data: bytes) -> Member | None:
    """Return the member of an announcement; None when it is none."""
    try:
        return msgspec.msgpack.decode(data, type=Member)
    except msgspec.MsgspecError:
        return None
