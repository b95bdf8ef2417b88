"""How far away producers are, where the catalog does not say: it measures now and then only.

A pure bookkeeper. ``now`` is monotonic time in seconds. A round-trip time is known while there
is a connection to a peer. Where there is none, one is made by a *probe*, an exchange of entries;
what it showed is kept, since the connection ends when nobody uses it.

Invariant: at most `PROBES_MAX` peers are probed, each at most once in `PROBE_AGAIN_S`.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Final

from ...ids import PeerId

if TYPE_CHECKING:
    from ...discovery.info import PeerInfo

PROBES_MAX: Final = 1024
PROBE_AGAIN_S: Final = 30.0


class Distances:
    """The round-trip times that one consumer goes by.

    Args:
        rtt: Returns that of a connected peer in seconds, else None.
    """

    def __init__(self, rtt: Callable[[PeerId], float | None]) -> None:
        self._rtt = rtt
        self._kept: dict[PeerId, float] = {}
        self._probed_at: dict[PeerId, float] = {}

    def measured(self, info: PeerInfo) -> PeerInfo:
        """Return a peer with what is known of its distance."""
        if info.rtt is not None:
            return info
        rtt_s = self._rtt(info.peer_id)
        return info.measured(self._kept.get(info.peer_id) if rtt_s is None else rtt_s)

    def begin_probe(self, peer_id: PeerId, *, now: float) -> bool:
        """Return whether to probe a peer now; it counts as probed then."""
        probed_at = self._probed_at.get(peer_id)
        if probed_at is None:
            is_due = len(self._probed_at) < PROBES_MAX
        else:
            is_due = now >= probed_at + PROBE_AGAIN_S
        if is_due:
            self._probed_at[peer_id] = now
        return is_due

    def receive_probed(self, peer_id: PeerId) -> bool:
        """Take in that a probe is over; return whether it brought a measurement."""
        rtt_s = self._rtt(peer_id)
        if rtt_s is not None:
            self._kept[peer_id] = rtt_s
        return rtt_s is not None

    def keep_only(self, known: Container[PeerId]) -> None:
        """Forget all peers that are not among `known`."""
        for peer_id in [one for one in self._probed_at if one not in known]:
            del self._probed_at[peer_id]
            self._kept.pop(peer_id, None)
