"""The own entry: what this node says about itself.

A pure state machine. Each change gives the entry a greater version; it is
signed when somebody asks for it, so that many changes in a row cost one
signature.

Invariants:
    * The version never repeats, and never goes down but in `correct`.
    * A change that would break a limit of the entry changes nothing.
    * After `depart` nothing changes any more.
    * The last `GROUPS_BYTES_RESERVED` bytes of the entry are for groups: a group
      that nobody can see would go on alone, while a stream only has no consumer.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ...ids import NetworkId, PeerId, SecretKey, StreamId, Tag, UniqueId
from ...tickets.ticket import Ticket
from ...transport.address import PeerAddr
from ..entry import (
    ENTRY_BYTES_MAX,
    SIGNATURE_BYTES,
    ActorInfo,
    EntryTooLarge,
    EntryVersion,
    GroupInfo,
    PeerEntry,
    SignedPeerEntry,
    StreamInfo,
    encode_entry,
    encoded_bytes,
)
from ..suspicion import SuspicionClaim, sign_claim

GROUPS_BYTES_RESERVED = 8 * 1024


class LocalEntry:
    """The entry of this node and the ways to change it.

    Every method that changes something takes ``now``, the wall clock in
    seconds, and returns whether anything is different.

    Args:
        network_id: The network that the entry is about.
        secret_key: The key that signs it.
        addr: Where this node can be reached.
        now: Wall-clock time in seconds: when this node started.
    """

    def __init__(
        self,
        network_id: NetworkId,
        secret_key: SecretKey,
        addr: PeerAddr,
        *,
        now: float,
    ) -> None:
        start_ms = milliseconds(now)
        self._key = secret_key
        self._signed: SignedPeerEntry | None = None
        self._entry = PeerEntry(
            network=network_id,
            peer=secret_key.peer_id,
            version=EntryVersion(start_ms, start_ms),
            direct=addr.direct,
            relay=addr.relay,
            carriers=addr.carriers,
        )

    @property
    def entry(self) -> PeerEntry:
        """The entry as it is now."""
        return self._entry

    @property
    def signed(self) -> SignedPeerEntry:
        """The entry as it is now, signed."""
        if self._signed is None:
            self._signed = SignedPeerEntry.sign(self._entry, self._key)
        return self._signed

    def change_tags(
        self, add: tuple[Tag, ...] = (), remove: tuple[Tag, ...] = (), *, now: float
    ) -> bool:
        """Add some tags and remove others. May be repeated.

        Raises:
            EntryTooLarge: There are too many; nothing was changed.
        """
        kept = (set(self._entry.tags) | set(add)) - set(remove)
        return self._change(now, tags=tuple(sorted(kept)))

    def change_addr(self, addr: PeerAddr, *, now: float) -> bool:
        """Say that this node can be reached at `addr` from now on."""
        return self._change(now, direct=addr.direct, relay=addr.relay, carriers=addr.carriers)

    def put_stream(self, stream: StreamInfo, *, now: float) -> bool:
        """Advertise a stream, or replace what was said about it."""
        return self._put("streams", self._entry.streams, stream, now)

    def remove_stream(self, stream_id: StreamId, *, now: float) -> bool:
        """Stop advertising a stream."""
        return self._drop("streams", self._entry.streams, stream_id, now)

    def put_group(self, group: GroupInfo, *, now: float) -> bool:
        """Advertise a membership, or replace what was said about it."""
        return self._put("groups", self._entry.groups, group, now)

    def remove_group(self, group_id: UniqueId, *, now: float) -> bool:
        """Stop advertising a membership."""
        return self._drop("groups", self._entry.groups, group_id, now)

    def put_actor(self, actor: ActorInfo, *, now: float) -> bool:
        """Advertise an actor, or replace what was said about it."""
        return self._put("actors", self._entry.actors, actor, now)

    def remove_actor(self, actor_id: UniqueId, *, now: float) -> bool:
        """Stop advertising an actor."""
        return self._drop("actors", self._entry.actors, actor_id, now)

    def put_ticket(self, ticket: Ticket, *, now: float) -> bool:
        """Show one more ticket."""
        return self._put("tickets", self._entry.tickets, ticket, now)

    def remove_ticket(self, ticket_id: UniqueId, *, now: float) -> bool:
        """Stop showing a ticket."""
        return self._drop("tickets", self._entry.tickets, ticket_id, now)

    def remove_tickets_of(self, class_id: UniqueId, *, now: float) -> bool:
        """Stop showing all tickets of a class."""
        kept = tuple(one for one in self._entry.tickets if one.class_id != class_id)
        return self._change(now, tickets=kept)

    def replace_ticket(self, ticket: Ticket, *, now: float) -> bool:
        """Show `ticket` instead of all others of its class, in one step."""
        kept = tuple(one for one in self._entry.tickets if one.class_id != ticket.class_id)
        return self._change(now, tickets=(*kept, ticket))

    def exchange_ticket(self, ticket: Ticket, previous: Ticket | None, *, now: float) -> bool:
        """Show `ticket` instead of `previous`, in one step; other tickets stay."""
        gone = (ticket, previous)
        kept = tuple(one for one in self._entry.tickets if one not in gone)
        return self._change(now, tickets=(*kept, ticket))

    def refresh(self, *, now: float) -> bool:
        """Give the entry a version of ``now``: this node is still there."""
        if self._entry.departed:
            return False
        self._write(self._next_version(now))
        return True

    def supersede(self, other: SignedPeerEntry, *, now: float) -> bool:
        """Make the entry newer than one of an earlier self whose clock was ahead.

        It names the other one: if that is by a node that lives, and not by an
        earlier self, that node learns that it is not alone with its key.
        """
        if self._entry.departed or other.version < self._entry.version:
            return False
        start_ms = other.version.start + 1
        self._entry = msgspec.structs.replace(self._entry, supersedes=other.message_id)
        self._write(EntryVersion(start_ms, max(start_ms, milliseconds(now))))
        return True

    def correct(self, *, now: float) -> None:
        """Date the entry anew, after a clock that dated it too late was put back.

        Whoever has the right time has refused the entry that was dated too late;
        who has not takes any other in its place (`Catalog`).
        """
        if not self._entry.departed:
            now_ms = milliseconds(now)
            self._write(EntryVersion(min(self._entry.version.start, now_ms), now_ms))

    def sign_claim(self, accused: PeerId, version: EntryVersion) -> tuple[SuspicionClaim, bytes]:
        """Return the claim that a peer does not answer, and the same as it travels."""
        claim = SuspicionClaim(self._entry.peer, accused, version)
        return claim, sign_claim(claim, self._entry.network, self._key)

    def depart(self, *, now: float) -> bool:
        """Replace the entry by the notice that this node has left."""
        if self._entry.departed:
            return False
        self._entry = PeerEntry(
            network=self._entry.network,
            peer=self._entry.peer,
            version=self._next_version(now),
            departed=True,
        )
        self._signed = None
        return True

    def _put(self, name: str, items: tuple[Any, ...], item: Any, now: float) -> bool:
        if item in items:
            return False
        kept = tuple(one for one in items if one.id != item.id)
        return self._change(now, **{name: (*kept, item)})

    def _drop(self, name: str, items: tuple[Any, ...], item_id: UniqueId, now: float) -> bool:
        return self._change(now, **{name: tuple(one for one in items if one.id != item_id)})

    def _change(self, now: float, **fields: Any) -> bool:
        entry = self._entry
        if entry.departed or all(getattr(entry, name) == new for name, new in fields.items()):
            return False
        changed = msgspec.structs.replace(entry, version=self._next_version(now), **fields)
        data = encode_entry(changed)  # raises before anything is changed
        if "groups" not in fields and "direct" not in fields:
            _check_reserve(entry, changed, len(data) + SIGNATURE_BYTES)
        self._entry = changed
        self._signed = None
        return True

    def _write(self, version: EntryVersion) -> None:
        self._entry = msgspec.structs.replace(self._entry, version=version)
        self._signed = None

    def _next_version(self, now: float) -> EntryVersion:
        start_ms, update_ms = self._entry.version
        return EntryVersion(start_ms, max(update_ms + 1, milliseconds(now)))


def _check_reserve(before: PeerEntry, after: PeerEntry, entry_bytes: int) -> None:
    """Raise `EntryTooLarge` when a change that lets the entry grow takes the room of groups."""
    limit = ENTRY_BYTES_MAX - GROUPS_BYTES_RESERVED
    if entry_bytes <= limit:
        return
    other_bytes = entry_bytes - encoded_bytes(after.groups)
    if other_bytes > limit and encoded_bytes(after) > encoded_bytes(before):
        raise EntryTooLarge(
            f"the entry without its groups has {other_bytes} bytes, at most {limit}: "
            f"{GROUPS_BYTES_RESERVED} of {ENTRY_BYTES_MAX} are kept for groups"
        )


def milliseconds(now: float) -> int:
    """Return a moment in seconds as the milliseconds of a version."""
    return max(0, int(now * 1000))
