"""Which peers are not dialled for a while, because of how the last attempt went.

A pure bookkeeper, a part of `overlay`. ``now`` is monotonic time in seconds. A peer that had
enough of us, or we of it, is left in peace for `AVOID_S`. One that could not be reached waits
twice as long after each failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Final

from ...ids import PeerId
from ...transport.close import CloseCode, gate_of
from ..config import DiscoveryConfig

AVOID_S: Final = 2.0
_DOUBLINGS_MAX: Final = 16


class DialPauses:
    """Until when peers are not dialled.

    Args:
        config: Between what the pauses after failures are.
        rng: Where they are drawn from, so that not all dial at once.
    """

    def __init__(self, config: DiscoveryConfig, rng: Random) -> None:
        self._config = config
        self._rng = rng
        self._failures: dict[PeerId, int] = {}
        self._until: dict[PeerId, float] = {}

    def __contains__(self, peer_id: PeerId) -> bool:
        """Return whether a peer is not to be dialled."""
        return peer_id in self._until

    def items(self) -> Iterator[tuple[PeerId, float]]:
        """Give all peers that are not to be dialled, and until when."""
        yield from self._until.items()

    def until(self, peer_id: PeerId, default: float) -> float:
        """Return until when a peer is not to be dialled; `default` when it may be."""
        return self._until.get(peer_id, default)

    def expire(self, *, now: float) -> None:
        """End the pauses whose time is over."""
        for peer_id in [peer for peer, until in self._until.items() if until <= now]:
            del self._until[peer_id]

    def avoid(self, peer_id: PeerId, *, now: float) -> None:
        """Leave a peer in peace that we had enough of."""
        self._until[peer_id] = now + AVOID_S

    def block(self, peer_id: PeerId, code: int, *, now: float) -> bool:
        """Take in with what code a link ended; return whether the peer was out of reach."""
        if code in (CloseCode.GRACEFUL_SHUTDOWN, CloseCode.SUCCESS):
            self._until[peer_id] = now + self.spread(AVOID_S)
            return False
        # A ticket can be shown later, and then at once.
        is_hopeless = gate_of(code) not in (None, "ticket")
        first_s = self._config.retry_max if is_hopeless else self._config.retry_min
        self.back_off(peer_id, first_s, now=now)
        return True

    def back_off(self, peer_id: PeerId, first_s: float, *, now: float) -> None:
        """Wait for `first_s` after the first failure, and twice as long after each further one."""
        count = min(self._failures.get(peer_id, 0) + 1, _DOUBLINGS_MAX)
        self._failures[peer_id] = count
        wait_s = min(first_s * 2 ** (count - 1), self._config.retry_max)
        self._until[peer_id] = now + self.spread(wait_s)

    def forget(self, peer_id: PeerId) -> None:
        """Take in that a peer was reached."""
        self._failures.pop(peer_id, None)
        self._until.pop(peer_id, None)

    def keep_failures(self, is_known: Callable[[PeerId], bool]) -> None:
        """Forget the failures of peers that nobody knows any more."""
        for peer_id in list(self._failures):
            if peer_id not in self._until and not is_known(peer_id):
                del self._failures[peer_id]

    def spread(self, duration_s: float) -> float:
        """Return a duration near the one given."""
        return duration_s * (0.75 + self._rng.random() / 2)
