"""The signed entries that a catalog keeps: how many, how large, and until when.

A pure state machine. ``now`` is in seconds that no jump of the clock moves, except
where it says that it is the wall clock.

A simulation has millions of these, one for each node and peer. So hardly anything is kept
but the entry itself, which nodes of one process share: when it expires follows from the time in
it, and who is due is looked up when somebody may be.

An entry is live, then hidden once its last update is ``purge_after`` ago, and forgotten
after one more ``purge_after``. A departure notice is never shown, and is forgotten after
``purge_after``. Why this is so: see `catalog`.

Invariants:
    * There are at most ``peers_max`` entries, and they have at most ``bytes_max`` bytes, if
      the caller asks `is_full` before each `put`.
    * When there is no room hidden and departed peers go first, then who `Capacity` says.
    * `get_timer` is never late; it may be early after an entry was replaced.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Container, Iterator, Mapping
from math import inf
from types import MappingProxyType
from typing import Final

from ...ids import PeerId
from ...transport.address import PeerAddr, without_loopback
from ..entry import ENTRY_BYTES_MAX, SignedPeerEntry
from .capacity import Capacity

_CHARGED_MIN: Final = 1024  # bytes that an entry counts as in sharing out room, with what is kept


class EntryStore:
    """The state machine of this module's docstring.

    Args:
        peers_max: How many entries there is room for.
        bytes_max: How many bytes they may have.
        purge_after_s: After how long an entry is hidden.
        draw: Returns a random number from 0 to 1.
    """

    def __init__(
        self,
        *,
        peers_max: int,
        bytes_max: int,
        purge_after_s: float,
        draw: Callable[[], float],
    ) -> None:
        self._peers_max = peers_max
        self._bytes_max = bytes_max
        self._purge_after_s = purge_after_s
        self._signed: dict[PeerId, SignedPeerEntry] = {}
        self._in_order: list[PeerId] = []  # the same peers by their ids
        self._byte_count = 0
        self._room = Capacity(peers_max, draw)
        self._afar: dict[PeerId, None] = {}  # whose entry another machine brought
        self._shift_s = 0.0  # the wall clock less this is what no jump moves
        # When an entry was written, where that is not what its version says now.
        self._written_at: dict[PeerId, float] = {}
        self._due_at = inf
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

    def find_live(self, peer_id: PeerId) -> SignedPeerEntry | None:
        """Return what is kept of a peer that is neither hidden nor departed."""
        return None if peer_id in self._gone else self._signed.get(peer_id)

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
        """Return live entries, departures, and the own entry; it does not change afterwards.

        It is in the order of the ids, but for the own one, which is last: a sync sorts it.
        """
        own_id = me.peer_id
        if self._published is None or self._published[own_id] is not me:
            signed, gone = self._signed, self._gone
            published = {peer: signed[peer] for peer in self._in_order if not gone.get(peer)}
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

    def is_full(self, signed: SignedPeerEntry, known: SignedPeerEntry | None) -> bool:
        """Return whether there is no room for an entry, in place of `known` or beside others."""
        if known is None and len(self._signed) >= self._peers_max:
            return True
        if self._byte_count + ENTRY_BYTES_MAX <= self._bytes_max:
            return False
        grown = signed.byte_count - (0 if known is None else known.byte_count)
        return grown > 0 and self._byte_count + grown > self._bytes_max

    def was_dropped(self, signed: SignedPeerEntry, source: PeerId | None) -> bool:
        """Return whether an entry had to make room, or may have had to."""
        return self._room.was_dropped(signed.peer_id, signed.version, source)

    def make_room(
        self,
        signed: SignedPeerEntry,
        source: PeerId | None,
        linked: Container[PeerId],
        overdue_s: float,
        *,
        now: float,
    ) -> Iterator[PeerId]:
        """Forget others until there is room for an entry, or nobody has to go for it; yield whom.

        They come back with a newer entry only. Who was never met and said nothing for
        longer than `overdue_s` goes first, whoever brought it. ``now`` is the wall clock.
        """
        newcomer = signed.peer_id
        while self.is_full(signed, self._signed.get(newcomer)):
            gone = next((one for one in self._gone if one != newcomer), None)
            victim = gone or self._find_overdue(overdue_s, now)
            victim = victim or self._room.choose(newcomer, source, linked)
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
        before: SignedPeerEntry | None,
        source: PeerId | None,
        *,
        is_from_afar: bool,
        now: float,
        shift_s: float,
    ) -> None:
        """Keep an entry in place of what there is of its peer.

        Args:
            signed: The entry, which was checked.
            before: What there is of its peer.
            source: Who brought it; None for the user.
            is_from_afar: Whether that is another machine.
            now: The wall clock.
            shift_s: By how much it has jumped so far.
        """
        peer_id, size = signed.peer_id, signed.byte_count
        if is_from_afar:
            self._afar[peer_id] = None
        elif self._afar:
            self._afar.pop(peer_id, None)
        self._room.receive_heard(peer_id, source, max(_CHARGED_MIN, size))
        if before is None:
            insort(self._in_order, peer_id)
            self._byte_count += size
        else:
            self._byte_count += size - before.byte_count
        self._signed[peer_id] = signed
        if self._gone or signed.entry.departed:
            self._note_gone(peer_id, False if signed.entry.departed else None)
        if shift_s != self._shift_s:
            self._follow_jump(shift_s)
        written_at = signed.version.update / 1000 - shift_s
        if written_at > now - shift_s:  # its clock is ahead: that prolongs nothing
            written_at = self._written_at[peer_id] = now - shift_s
        elif self._written_at:
            self._written_at.pop(peer_id, None)
        if (due_at := written_at + self._purge_after_s) < self._due_at:
            self._due_at = due_at
        self._published = None

    def forget(self, peer_id: PeerId) -> bool:
        """Forget a peer; return whether it was known."""
        stored = self._signed.pop(peer_id, None)
        if stored is not None:
            self._byte_count -= stored.byte_count
            self._published = None
            del self._in_order[bisect_left(self._in_order, peer_id)]
        self._written_at.pop(peer_id, None)
        self._afar.pop(peer_id, None)
        self._room.receive_forgotten(peer_id)
        self._note_gone(peer_id, None)
        return stored is not None

    # Time.

    def get_timer(self) -> float | None:
        """Return when `take_due` is due, in seconds that no jump moves; None for never."""
        return self._due_at if self._signed else None

    def take_due(self, *, now: float) -> list[PeerId]:
        """Hide and forget what time has overtaken; return whom, the earliest first."""
        if now < self._due_at:
            return []
        overtaken: list[tuple[float, PeerId]] = []
        for peer_id, signed in list(self._signed.items()):
            due_at = self._find_due(peer_id, signed)
            if due_at <= now and self._age(peer_id, due_at, now):
                overtaken.append((due_at, peer_id))
        dues = (self._find_due(peer_id, signed) for peer_id, signed in self._signed.items())
        self._due_at = min(dues, default=inf)
        return [peer_id for _, peer_id in sorted(overtaken)]

    def _find_overdue(self, overdue_s: float, now: float) -> PeerId | None:
        """Return the stranger that was silent the longest, if who lives says something sooner."""
        silent = self._room.longest_silent
        if silent is None or now - self._signed[silent].version.update / 1000 <= overdue_s:
            return None
        return silent

    def _find_due(self, peer_id: PeerId, signed: SignedPeerEntry) -> float:
        """Return when a peer is to be hidden, or is to be forgotten that is hidden or departed."""
        written_at = self._written_at.get(peer_id)
        if written_at is None:
            written_at = signed.version.update / 1000 - self._shift_s
        is_hidden = self._gone.get(peer_id)
        return written_at + self._purge_after_s * (2 if is_hidden else 1)

    def _age(self, peer_id: PeerId, due_at: float, now: float) -> bool:
        """Hide or forget a peer that is due; return whether it was known."""
        if peer_id in self._gone or due_at + self._purge_after_s <= now:
            return self.forget(peer_id)
        self._note_gone(peer_id, True)
        self._published = None
        return True

    def _follow_jump(self, shift_s: float) -> None:
        """Note when all were written by the clock of before: what is due stays due then."""
        for peer_id, signed in self._signed.items():
            written_at = signed.version.update / 1000 - self._shift_s
            self._written_at.setdefault(peer_id, written_at)
        self._shift_s = shift_s

    def _note_gone(self, peer_id: PeerId, is_hidden: bool | None) -> None:
        """Note that a peer is hidden, has departed (False), or is there (None)."""
        if self._gone.pop(peer_id, False) or is_hidden:
            self._hidden = None
        if is_hidden is not None:
            self._gone[peer_id] = is_hidden
