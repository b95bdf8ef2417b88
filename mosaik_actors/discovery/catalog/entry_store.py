"""The signed entries that a catalog keeps: how many, how large, and until when.

A pure state machine. ``now`` is in seconds that no jump of the clock moves, except
where it says that it is the wall clock.

An entry is live, then hidden once its last update is ``purge_after`` ago, and forgotten
after one more ``purge_after``. A departure notice is never shown, and is forgotten after
``purge_after``. Why this is so: see `catalog`.

Invariants:
    * There are at most ``peers_max`` entries, and they have at most ``bytes_max`` bytes, if
      the caller asks `is_full` before each `put`.
    * When there is no room hidden and departed peers go first, then who `Capacity` says.
    * There is at most one deadline per peer that counts, and it is never late.
"""

from __future__ import annotations

import heapq
from collections.abc import Container, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from ...ids import PeerId
from ...transport.address import PeerAddr, without_loopback
from ..entry import SignedPeerEntry
from .capacity import Capacity

_CHARGED_MIN: Final = 1024  # bytes that an entry counts as in sharing out room, with what is kept


class EntryStore:
    """The state machine of this module's docstring.

    Args:
        peers_max: How many entries there is room for.
        bytes_max: How many bytes they may have.
        purge_after_s: After how long an entry is hidden.
    """

    def __init__(self, *, peers_max: int, bytes_max: int, purge_after_s: float) -> None:
        self._peers_max = peers_max
        self._bytes_max = bytes_max
        self._purge_after_s = purge_after_s
        self._signed: dict[PeerId, SignedPeerEntry] = {}
        self._byte_count = 0
        self._room = Capacity(peers_max)
        self._afar: dict[PeerId, None] = {}  # whose entry another machine brought
        self._expiry: dict[PeerId, float] = {}
        self._deadlines: list[tuple[float, PeerId]] = []
        self._deadline_of: dict[PeerId, float] = {}
        # Hidden or departed, with whether it is hidden: the first to make room.
        self._gone: dict[PeerId, bool] = {}
        self._hidden: tuple[SignedPeerEntry, ...] | None = ()
        self._published: Mapping[PeerId, SignedPeerEntry] | None = None

    # What is there.

    @property
    def byte_count(self) -> int:
        """How many bytes all entries have."""
        return self._byte_count

    def __len__(self) -> int:
        return len(self._signed)

    def __contains__(self, peer_id: object) -> bool:
        return peer_id in self._signed

    def __iter__(self) -> Iterator[PeerId]:
        return iter(self._signed)

    def find(self, peer_id: PeerId) -> SignedPeerEntry | None:
        """Return what is kept of a peer, also when it is hidden or has departed."""
        return self._signed.get(peer_id)

    def is_live(self, peer_id: PeerId) -> bool:
        """Return whether a peer is here, and neither hidden nor departed."""
        return peer_id in self._signed and peer_id not in self._gone

    def is_gone(self, peer_id: PeerId) -> bool:
        """Return whether a peer is kept that is hidden or has departed."""
        return peer_id in self._gone

    def is_from_afar(self, peer_id: PeerId) -> bool:
        """Return whether another machine brought the entry of a peer."""
        return peer_id in self._afar

    def live(self) -> list[PeerId]:
        """Return the peers that live."""
        return [peer_id for peer_id in self._signed if peer_id not in self._gone]

    def live_addr(self, peer_id: PeerId) -> PeerAddr | None:
        """Return where a peer is; None for one that does not live."""
        if not self.is_live(peer_id):
            return None
        addr = self._signed[peer_id].addr
        return without_loopback(addr) if peer_id in self._afar else addr

    def published(self, me: SignedPeerEntry) -> Mapping[PeerId, SignedPeerEntry]:
        """Return live entries, departures, and the own entry; it does not change afterwards."""
        own_id = me.peer_id
        if self._published is None or self._published[own_id] is not me:
            gone = self._gone
            published = {peer: one for peer, one in self._signed.items() if not gone.get(peer)}
            published[own_id] = me
            self._published = MappingProxyType(published)
        return self._published

    def hidden(self) -> tuple[SignedPeerEntry, ...]:
        """Return what hidden peers said last."""
        if self._hidden is None:
            self._hidden = tuple(
                self._signed[peer_id] for peer_id, is_hidden in self._gone.items() if is_hidden
            )
        return self._hidden

    # Room.

    def is_full(self, signed: SignedPeerEntry) -> bool:
        """Return whether there is no room for an entry, beside or in place of its peer's own."""
        known = self._signed.get(signed.peer_id)
        if known is None and len(self._signed) >= self._peers_max:
            return True
        grown = len(signed.encode()) - (0 if known is None else len(known.encode()))
        return grown > 0 and self._byte_count + grown > self._bytes_max

    def was_dropped(self, signed: SignedPeerEntry, source: PeerId | None) -> bool:
        """Return whether an entry had to make room, or may have had to."""
        return self._room.was_dropped(signed.peer_id, signed.version, source)

    def make_room(
        self,
        signed: SignedPeerEntry,
        source: PeerId | None,
        linked: Container[PeerId],
        *,
        now: float,
    ) -> Iterator[PeerId]:
        """Forget others until there is room for an entry, or nobody has to go for it; yield whom.

        They come back with a newer entry only. ``now`` is the wall clock.
        """
        newcomer = signed.peer_id
        while self.is_full(signed):
            gone = next((one for one in self._gone if one != newcomer), None)
            victim = gone or self._room.choose(newcomer, source, linked)
            if victim is None or victim == newcomer:
                return
            self._room.receive_dropped(victim, self._signed[victim].version, now=now)
            self.forget(victim)
            yield victim

    def receive_met(self, peer_id: PeerId) -> None:
        """Note that a peer has proven to this node who it is."""
        self._room.receive_met(peer_id)

    def receive_again(self, peer_id: PeerId, source: PeerId | None) -> None:
        """Note that somebody brought what is known of a peer already."""
        self._room.receive_again(peer_id, source)

    # What changes.

    def put(
        self,
        signed: SignedPeerEntry,
        source: PeerId | None,
        *,
        is_from_afar: bool,
        age_s: float,
        now: float,
    ) -> None:
        """Keep an entry in place of what there is of its peer.

        Args:
            signed: The entry, which was checked.
            source: Who brought it; None for the user.
            is_from_afar: Whether that is another machine.
            age_s: How long ago it was written, in seconds.
            now: Seconds that no jump of the clock moves.
        """
        peer_id, size = signed.peer_id, len(signed.encode())
        if is_from_afar:
            self._afar[peer_id] = None
        else:
            self._afar.pop(peer_id, None)
        self._room.receive_heard(peer_id, source, max(_CHARGED_MIN, size))
        before = self._signed.get(peer_id)
        self._signed[peer_id] = signed
        self._byte_count += size - (0 if before is None else len(before.encode()))
        self._note_gone(peer_id, False if signed.entry.departed else None)
        self._expiry[peer_id] = expires_at = now + self._purge_after_s - age_s
        self._arm(peer_id, expires_at)
        self._published = None

    def forget(self, peer_id: PeerId) -> bool:
        """Forget a peer; return whether it was known."""
        stored = self._signed.pop(peer_id, None)
        if stored is not None:
            self._byte_count -= len(stored.encode())
            self._published = None
        self._expiry.pop(peer_id, None)
        self._afar.pop(peer_id, None)
        self._room.receive_forgotten(peer_id)
        self._note_gone(peer_id, None)
        return stored is not None

    # Time.

    def get_timer(self) -> float | None:
        """Return when `take_due` is due, in seconds that no jump moves; None for never."""
        return self._deadlines[0][0] if self._deadlines else None

    def take_due(self, *, now: float) -> list[PeerId]:
        """Hide and forget what time has overtaken; return whom, the earliest first."""
        overtaken = []
        while self._deadlines and self._deadlines[0][0] <= now:
            due_at, peer_id = heapq.heappop(self._deadlines)
            if self._deadline_of.get(peer_id) != due_at:
                continue
            del self._deadline_of[peer_id]
            if peer_id in self._signed and self._age(peer_id, now):
                overtaken.append(peer_id)
        return overtaken

    def _age(self, peer_id: PeerId, now: float) -> bool:
        expires_at = self._expiry[peer_id]
        is_hidden = self._gone.get(peer_id)
        is_overtaken = False
        if is_hidden is not None:
            expires_at += self._purge_after_s if is_hidden else 0.0
            if expires_at <= now:
                return self.forget(peer_id)
        elif expires_at <= now:
            self._note_gone(peer_id, True)
            self._published = None
            expires_at += self._purge_after_s
            is_overtaken = True
        self._arm(peer_id, expires_at)
        return is_overtaken

    def _note_gone(self, peer_id: PeerId, is_hidden: bool | None) -> None:
        """Note that a peer is hidden, has departed (False), or is there (None)."""
        if self._gone.pop(peer_id, False) or is_hidden:
            self._hidden = None
        if is_hidden is not None:
            self._gone[peer_id] = is_hidden

    def _arm(self, peer_id: PeerId, due_at: float) -> None:
        # One deadline per peer is enough, as long as it is not late: what is
        # due is looked at again when it passes.
        if due_at < self._deadline_of.get(peer_id, float("inf")):
            self._deadline_of[peer_id] = due_at
            heapq.heappush(self._deadlines, (due_at, peer_id))
