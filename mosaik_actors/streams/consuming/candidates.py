"""Which of the peers in the catalog a consumer may subscribe to, and which it prefers.

A pure function of the catalog and of what the consumer requires: its predicate, the tickets
that its producers need, and its preference. Where one of these looks at a distance that nobody
has measured, it is asked again once a probe has measured it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...ids import PeerId, StreamId
from ...tickets.requirement import TicketRequirement
from ...transport.close import CloseReason
from ..gate import Requirement, is_allowed, without_ticket
from .distances import Distances
from .preference import Preference, Rank
from .subscriptions import NOT_WANTED, ProducerCandidate

if TYPE_CHECKING:
    from ...discovery.info import PeerInfo
    from ...discovery.view import CatalogSnapshot


@dataclass(slots=True)
class Found:
    """What a look at the catalog came to.

    Attributes:
        candidates: The producers of the stream.
        peers: The same, as the catalog shows them.
        ticketless: Those that are refused for want of a ticket, and why.
        unmeasured: Those whose distance would have to be known.
    """

    candidates: dict[PeerId, ProducerCandidate] = field(default_factory=dict)
    peers: dict[PeerId, PeerInfo] = field(default_factory=dict)
    ticketless: dict[PeerId, CloseReason] = field(default_factory=dict)
    unmeasured: dict[PeerId, PeerInfo] = field(default_factory=dict)


class Candidates:
    """What one consumer requires and prefers.

    Args:
        stream_id: The stream.
        require: Which producers it wants; None is all.
        tickets: What tickets they need besides; None is none.
        prefer: How it chooses among producers; None is all of them.
        distances: How far away producers are.
    """

    def __init__(
        self,
        stream_id: StreamId,
        require: Requirement | None,
        tickets: TicketRequirement | None,
        prefer: Preference | None,
        distances: Distances,
    ) -> None:
        self._stream_id = stream_id
        self._require = require
        self._tickets = tickets
        self._prefer = prefer
        self._distances = distances

    def find(self, snapshot: CatalogSnapshot) -> Found:
        """Return who produces the stream, and who of them may be subscribed to."""
        found = Found()
        # Where only the best are wanted, one that is away must not keep the next one out.
        takes_all = self._prefer is None
        for peer_id, info in snapshot.items():
            if self._stream_id in info.streams and (takes_all or info.is_reachable):
                found.peers[peer_id] = info = self._distances.measured(info)
                found.candidates[peer_id] = self._judge(info, found)
        return found

    def judge_tickets(self, info: PeerInfo, found: Found) -> CloseReason | None:
        """Return why a producer's tickets do not let it be subscribed to, None when they do."""
        if self._tickets is None:
            return None
        verdict = self._tickets.judge(info)
        if self._tickets.allows(verdict):
            return None
        reason = without_ticket(verdict.reason)
        if not verdict.is_awaited:
            found.ticketless[info.peer_id] = reason
        return reason

    def _judge(self, info: PeerInfo, found: Found) -> ProducerCandidate:
        allowed, why_not = is_allowed(info, self._require), NOT_WANTED
        if allowed is None:
            found.unmeasured[info.peer_id] = info
        if allowed and (refused := self.judge_tickets(info, found)) is not None:
            allowed, why_not = False, refused
        rank = self._rank(info, found) if allowed else None
        return ProducerCandidate(info.addr, info.version.start, bool(allowed), rank, why_not)

    def _rank(self, info: PeerInfo, found: Found) -> Rank:
        if self._prefer is None:
            return None
        rank, is_unmeasured = self._prefer.judge(info)
        if is_unmeasured:
            found.unmeasured[info.peer_id] = info
        return rank
