"""The peers with which this node has no carrier in common, by what they say they listen on.

Two nodes of which one has TCP alone and the other QUIC alone never meet, and each sees but
silence. What a peer says it listens on, in its entry or in its notice on this machine, is
compared here with what this node dials, so that the silence has a reason.

What a peer says may be old: it may have begun anew with other carriers. So it is dialled all the
same, and only when that came to nothing is the reason given, and logged, once for each peer.

A pure module. ``now`` is monotonic time in seconds.

Invariant: `APART_MAX` peers at most are remembered, those that were dialled last.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

from ..ids import PeerId
from ..peer_log import PeerLog
from ..peer_text import printable
from .address import PeerAddr

logger = logging.getLogger(__name__)

APART_MAX: Final = 1024
_SHOWN_MAX: Final = 8
_CHARACTERS_MAX: Final = 16


class Apart:
    """The facility of this module's docstring.

    Args:
        dials: What this node dials addresses over; empty where there is nothing to compare.
        log: Where it is logged.
        is_reached: Tells whether a peer is connected, or has another way than its addresses.
    """

    def __init__(
        self, dials: tuple[str, ...], log: PeerLog, is_reached: Callable[[PeerAddr], bool]
    ) -> None:
        self._dials = dials
        self._log = log
        self._is_reached = is_reached
        self._dialled: dict[PeerId, str] = {}
        self._logged: set[PeerId] = set()

    @property
    def dialled(self) -> Mapping[PeerId, str]:
        """Why not, of each peer that was dialled and has nothing in common with this node."""
        return self._dialled

    def why_not(self, to: PeerAddr) -> str | None:
        """Return why a peer cannot be connected, None where nothing speaks against it."""
        if not (self._dials and to.carriers and to.direct):
            return None
        if not set(self._dials).isdisjoint(to.carriers) or self._is_reached(to):
            return None
        # The words are the peer's.
        listens = " and ".join(printable(one[:_CHARACTERS_MAX]) for one in to.carriers[:_SHOWN_MAX])
        dials = " and ".join(self._dials)
        return f"no carrier in common: it listens on {listens}, this node dials {dials}"

    def receive_dial(self, to: PeerAddr) -> str | None:
        """Take in that a peer is dialled; return what is the reason if that comes to nothing."""
        why = self.why_not(to)
        if why is None:
            self.receive_met(to.peer_id)
            return None
        self._dialled.pop(to.peer_id, None)
        self._dialled[to.peer_id] = why
        if len(self._dialled) > APART_MAX:
            self.receive_met(next(iter(self._dialled)))
        return why

    def receive_silence(self, peer_id: PeerId, *, now: float) -> None:
        """Take in that a dial came to nothing, and log why."""
        why = self._dialled.get(peer_id)
        if why is not None and peer_id not in self._logged:
            self._logged.add(peer_id)
            text = "peer %s is not reached: %s; give both nodes one carrier more, or a relay"
            self._log.warning(logger, peer_id, text, peer_id.short, why, now=now)

    def receive_met(self, peer_id: PeerId) -> None:
        """Take in that a peer was reached, or may be: nothing is held against it."""
        self._dialled.pop(peer_id, None)
        self._logged.discard(peer_id)
