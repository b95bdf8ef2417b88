"""What passes between the catalog and the gossip: news, claims, and who may be tried.

The catalog decides what is true, the gossip who hears of it; this brings what comes out of one to
the other, without a detour, because it happens for each burst of announcements. ``now`` is
monotonic time in seconds, ``wall`` what the catalog's clock says.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

from ...ids import PeerId
from ...transport.address import PeerAddr
from ..catalog.catalog import Catalog
from ..catalog.verdict import EXPECTED_VERDICTS, EntryVerdict
from .gossip import Gossip

_BROKEN_CLAIM = (EntryVerdict.FORGED, EntryVerdict.MALFORMED, EntryVerdict.OVERSIZED)


class Exchange:
    """The way from one to the other, and back.

    Args:
        catalog: Who judges.
        gossip: Who passes it on.
    """

    def __init__(self, catalog: Catalog, gossip: Gossip) -> None:
        self._catalog = catalog
        self._gossip = gossip
        self._shown_version = 0

    def receive_entries(
        self,
        entries: Sequence[bytes],
        source: PeerId,
        *,
        is_from_afar: bool,
        now: float,
        wall: float,
    ) -> list[EntryVerdict]:
        """Take in entries that a neighbour announced; return why some were refused."""
        refused = self._catalog.receive_many(
            entries, source=source, is_from_afar=is_from_afar, now=wall
        )
        self._pass_on(source, now)
        return refused

    def receive_claims(
        self, claims: Sequence[bytes], source: PeerId, *, wall: float
    ) -> list[EntryVerdict]:
        """Take in who does not answer, as a neighbour says; return why some was refused.

        Call `spread_claims` next.
        """
        refused: list[EntryVerdict] = []
        for encoded in claims:
            verdict = self._catalog.receive_claim(encoded, now=wall)
            if verdict not in EXPECTED_VERDICTS:
                refused.append(verdict)
            if verdict in _BROKEN_CLAIM:
                break  # neighbours pass on what they checked: the rest is not worth the work
        return refused

    def spread_claims(self, source: PeerId | None, *, now: float) -> bool:
        """Pass on claims that were accepted; return whether anybody is accused.

        What this node says for itself follows at once. The catalog has a timer then.
        """
        reachability = self._catalog.reachability
        claims, accused = reachability.take_claims(), reachability.take_accused()
        if not accused:
            return False
        self._gossip.receive_claims(claims, accused, source, now=now)
        self._pass_on(source, now)
        return True

    def lose_link(
        self, peer_id: PeerId, *, code: int, is_broken: bool, now: float, wall: float
    ) -> bool:
        """Take in that the link to a neighbour ended; return whether anybody is accused for it.

        Args:
            peer_id: The neighbour.
            code: Why.
            is_broken: Whether that is its fault, for all that is known.
            now: Monotonic time in seconds.
            wall: What the catalog's clock says.
        """
        self._catalog.receive_link_down(peer_id, is_broken=is_broken, now=wall)
        self._gossip.receive_link_down(peer_id, code=code, now=now)
        return is_broken and self.accuse(peer_id, now=now, wall=wall)

    def accuse(self, peer_id: PeerId, *, now: float, wall: float) -> bool:
        """Say that a peer does not answer this node; return whether that is said."""
        self._catalog.suspect(peer_id, now=wall)
        return self.spread_claims(None, now=now)

    def choose_probes(self, connected: Container[PeerId], *, now: float) -> list[PeerAddr]:
        """Return a few of those that there is no connection with, to be measured."""
        catalog, gossip = self._catalog, self._gossip
        candidates = [peer_id for peer_id in catalog.store.live() if peer_id not in connected]
        return self.live_addrs(gossip.rtt.choose_probes(candidates, catalog.is_measured, now=now))

    def live_addrs(self, peers: Iterable[PeerId]) -> list[PeerAddr]:
        """Return where those of `peers` can be reached that are in the catalog."""
        found = map(self._catalog.store.live_addr, peers)
        return [self._gossip.complete_addr(addr) for addr in found if addr is not None]

    def has_changed(self) -> bool:
        """Return whether the catalog shows something else than at the last call."""
        before, self._shown_version = self._shown_version, self._catalog.version
        return before != self._shown_version

    def _pass_on(self, source: PeerId | None, now: float) -> None:
        replaced, fresh = self._catalog.take_replaced(), self._catalog.take_fresh()
        if fresh:
            self._gossip.receive_fresh(fresh, source, replaced, now=now)
