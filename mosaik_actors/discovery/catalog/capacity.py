"""Who makes room when the catalog is full.

Anybody can sign entries with as many keys as it likes, and have them announced by
one neighbour. So room is shared out by who *brought* a peer, which costs a
connection, and not by peer, which costs nothing:

    * A peer is *met* when this node is or was connected with it, or has its entry
      from itself. Only a peer that is met itself takes the place of one that is
      met, of the one that was silent the longest and has no link.
    * Every other peer is charged to the neighbour that brought it first. When
      another one brings it too it is charged to the one that brought fewer: who is
      heard of over several neighbours does not suffer for the worst of them.
    * What is charged is the size of entries, not their number: a few large ones fill a
      catalog as many small ones do.
    * A new peer takes the place of one that is charged to whoever brought the
      most: `brought` says of which one.
    * What had to go comes back with a newer entry only: else two full catalogs
      would send each other what the other has dropped, without end. Of those that
      are not remembered one by one, the time is: nobody comes in with what was
      written before that, unless it brings it itself.

Below the limit none of this has an effect. ``None`` as the bringer is this node's
user. The caller keeps the entries, and asks for room before it stores one.

Invariants:
    * Each peer that was stored is in exactly one place: met, or charged to one bringer.
    * As long as there was room for all, nothing is kept of a peer but its charge.
    * At most ``peers_max`` peers that were met, and `DROPPED_SHARE` times as many
      that had to go, are remembered without an entry.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator

from ...ids import PeerId
from ..entry import EntryVersion
from .brought import Brought

DROPPED_SHARE = 4

_Charge = tuple[PeerId | None, int]  # to whom, and how much


class Capacity:
    """The state machine of this module's docstring.

    Args:
        peers_max: How many peers the catalog has room for.
        draw: Returns a random number from 0 to 1.
    """

    def __init__(self, peers_max: int, draw: Callable[[], float]) -> None:
        self._peers_max = peers_max
        self._met: dict[PeerId, None] = {}
        self._draw = draw
        # This and the charges: from the one that was silent the longest to the one heard last.
        self._met_stored: dict[PeerId, None] = {}
        self._charge_of: dict[PeerId, _Charge] = {}
        self._charged: dict[PeerId | None, int] = {}  # the sum of each bringer
        self._usual: dict[PeerId | None, _Charge] = {}  # the last charge of each: most are alike
        self._heard = 0  # how many entries were heard, since somebody had to make room
        # Who was brought by whom: from when somebody has to make room on.
        self._brought: dict[PeerId | None, Brought] | None = None
        self._dropped: dict[PeerId, EntryVersion] = {}
        self._forgotten_ms = 0

    @property
    def longest_silent(self) -> PeerId | None:
        """Of the peers that are not met the one that was heard of the longest ago."""
        return next(iter(self._charge_of), None)

    def receive_met(self, peer_id: PeerId) -> None:
        """Note that this node has a connection with a peer."""
        self._met.pop(peer_id, None)
        self._met[peer_id] = None
        if peer_id in self._charge_of:
            self._discharge(peer_id)
            self._met_stored[peer_id] = None
        self._forget_met()

    def receive_heard(self, peer_id: PeerId, source: PeerId | None, size: int = 1) -> None:
        """Note that an entry of a peer was stored, who brought it, and how large it is."""
        if self._dropped:
            self._dropped.pop(peer_id, None)
        if peer_id == source and peer_id not in self._met:
            self.receive_met(peer_id)
        if peer_id in self._met:
            self._met_stored.pop(peer_id, None)
            self._met_stored[peer_id] = None
            return
        bringer, since = source, self._heard + 1
        known = self._charge_of.get(peer_id)
        if known is not None:
            if known[0] != source:
                bringer = self._choose_bringer(known, source)
            since = self._discharge(peer_id)
        charge = self._usual.get(bringer)
        if charge is None or charge[1] != size:
            charge = self._usual[bringer] = (bringer, size)
        self._charge_of[peer_id] = charge
        self._charged[bringer] = self._charged.get(bringer, 0) + size
        if self._brought is not None:
            self._heard += 1
            self._put_brought(self._brought, bringer, peer_id, size, since)

    def receive_again(self, peer_id: PeerId, source: PeerId | None) -> None:
        """Note that somebody brought what is known of a peer already."""
        known = self._charge_of.get(peer_id)
        if known is None or known[0] == source:
            return
        if peer_id == source or self._choose_bringer(known, source) == source:
            self.receive_heard(peer_id, source, known[1])

    def receive_forgotten(self, peer_id: PeerId) -> None:
        """Note that the entry of a peer is not stored any more."""
        self._met_stored.pop(peer_id, None)
        if peer_id in self._charge_of:
            self._discharge(peer_id)
        self._forget_met()

    def receive_dropped(self, peer_id: PeerId, version: EntryVersion, *, now: float) -> None:
        """Note that a peer had to go, with the version that does not come back.

        ``now`` is the wall clock in seconds: nobody's clock ahead of it counts.
        """
        now_ms = int(now * 1000)
        self.receive_forgotten(peer_id)
        self._dropped.pop(peer_id, None)
        self._dropped[peer_id] = version
        if len(self._dropped) > DROPPED_SHARE * self._peers_max:
            oldest = self._dropped.pop(next(iter(self._dropped)))
            self._forgotten_ms = max(self._forgotten_ms, min(oldest.update, now_ms))

    def was_dropped(self, peer_id: PeerId, version: EntryVersion, source: PeerId | None) -> bool:
        """Return whether this entry, or one that was newer, had to go, or may have had to."""
        dropped = self._dropped.get(peer_id)
        if dropped is not None:
            return version <= dropped
        return version.update <= self._forgotten_ms and peer_id != source

    def choose(
        self, newcomer: PeerId, source: PeerId | None, linked: Container[PeerId]
    ) -> PeerId | None:
        """Return who gives its place to a newcomer, None when it has to stay outside.

        Args:
            newcomer: Whom there is no entry of.
            source: Who brought it.
            linked: Who has a link to this node, and so keeps its place.
        """
        if self._charged:
            bringer = max(self._charged, key=self._charged.__getitem__)
            return self._list_brought()[bringer].choose(now=self._heard)
        if newcomer != source and newcomer not in self._met:
            return None
        return next((peer_id for peer_id in self._met_stored if peer_id not in linked), None)

    def _forget_met(self) -> None:
        """Forget who was met the longest ago, of those without an entry, beyond the limit."""
        if len(self._met) - len(self._met_stored) > self._peers_max:
            del self._met[next(one for one in self._met if one not in self._met_stored)]

    def counts(self) -> Iterator[tuple[PeerId | None, int]]:
        """Yield who brought how many of the peers that are not met."""
        for bringer, brought in self._list_brought().items():
            yield bringer, len(brought)

    def _list_brought(self) -> dict[PeerId | None, Brought]:
        """Return who was brought by each; those known by now count in the order last heard."""
        if self._brought is None:
            self._brought = {}
            for peer_id, (bringer, size) in self._charge_of.items():
                self._heard += 1
                self._put_brought(self._brought, bringer, peer_id, size, self._heard)
        return self._brought

    def _put_brought(
        self,
        brought: dict[PeerId | None, Brought],
        bringer: PeerId | None,
        peer_id: PeerId,
        size: int,
        since: int,
    ) -> None:
        if bringer not in brought:
            brought[bringer] = Brought(self._draw)
        brought[bringer].put(peer_id, size, since=since, now=self._heard)

    def _choose_bringer(self, known: _Charge, source: PeerId | None) -> PeerId | None:
        bringer, size = known
        is_smaller = self._charged.get(source, 0) + size < self._charged[bringer]
        return source if is_smaller else bringer

    def _discharge(self, peer_id: PeerId) -> int:
        """Charge nobody for a peer any more; return since when it was known."""
        bringer, size = self._charge_of.pop(peer_id)
        self._charged[bringer] -= size
        if not self._charged[bringer]:
            del self._charged[bringer]
            self._usual.pop(bringer, None)
        if self._brought is None:
            return 0
        since = self._brought[bringer].take(peer_id)
        if not self._brought[bringer]:
            del self._brought[bringer]
        return since
