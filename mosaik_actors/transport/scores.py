"""Who breaks rules, how often, and for how long nothing more is heard from them.

Each broken rule counts one. The sum decays, by half in `fault_half_life` seconds, so that
a mistake now and then is forgotten. With `faults_max` of them, rounded up, a peer is refused for
`refusal_min` seconds, and for twice as long each time that it comes to that again, up to
`refusal_max`. It begins anew with nothing against it but that count, which is forgotten
after `refusal_max` seconds without a refusal.

A pure core; ``now`` is monotonic time in seconds.

Invariants:
    * `PEERS_MAX` peers are remembered; who broke a rule least lately is forgotten first.
    * A sum never grows by itself, and a refusal never gets longer by waiting.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Final, Protocol

import msgspec

from ..ids import PeerId

PEERS_MAX: Final = 4096


class FaultLimits(Protocol):
    """The settings that say how many faults are tolerated; `TransportConfig` has them."""

    @property
    def faults_max(self) -> float:
        """With so many a peer is refused."""

    @property
    def fault_half_life(self) -> float:
        """In so many seconds half is forgotten."""

    @property
    def refusal_min(self) -> float:
        """The shortest refusal in seconds."""

    @property
    def refusal_max(self) -> float:
        """The longest refusal in seconds."""


class _Record(msgspec.Struct):
    count: int = 0  # since it is known
    score: float = 0.0
    scored_at: float = 0.0
    refusal_count: int = 0
    refused_until: float = float("-inf")


class Scores:
    """The state machine of this module's docstring."""

    def __init__(self, config: FaultLimits) -> None:
        self._config = config
        self._records: OrderedDict[PeerId, _Record] = OrderedDict()

    def receive_fault(self, peer_id: PeerId, *, now: float) -> float:
        """Take in that a peer broke a rule.

        Returns:
            For how many seconds it is refused for that; 0 when it is not, or was already.
        """
        record = self._records.pop(peer_id, None) or _Record(scored_at=now)
        self._records[peer_id] = record
        if len(self._records) > PEERS_MAX:
            self._records.popitem(last=False)
        record.count += 1
        if now < record.refused_until:
            return 0.0
        record.score = self._decayed(record, now) + 1
        record.scored_at = now
        if record.score <= self._config.faults_max - 1:  # a little of each is forgotten at once
            return 0.0
        if now - record.refused_until > self._config.refusal_max:
            record.refusal_count = 0
        refusal_s = min(
            self._config.refusal_min * 2.0**record.refusal_count, self._config.refusal_max
        )
        if refusal_s < self._config.refusal_max:
            record.refusal_count += 1
        record.score = 0.0
        record.refused_until = now + refusal_s
        return refusal_s

    def refused_for_s(self, peer_id: PeerId, *, now: float) -> float:
        """Return for how many more seconds a peer is refused; 0 when it is not."""
        record = self._records.get(peer_id)
        return 0.0 if record is None else max(0.0, record.refused_until - now)

    def forgive(self, peer_id: PeerId) -> None:
        """Forget all that a peer did."""
        self._records.pop(peer_id, None)

    def known(self) -> list[PeerId]:
        """Return who broke rules, those last who did last."""
        return list(self._records)

    def fault_count(self, peer_id: PeerId) -> int:
        """Return how many rules a peer broke since it is known."""
        record = self._records.get(peer_id)
        return 0 if record is None else record.count

    def score(self, peer_id: PeerId, *, now: float) -> float:
        """Return what of that counts still; with `faults_max` a peer is refused."""
        record = self._records.get(peer_id)
        return 0.0 if record is None else self._decayed(record, now)

    def _decayed(self, record: _Record, now: float) -> float:
        half_lives = max(0.0, now - record.scored_at) / self._config.fault_half_life
        return record.score * math.pow(0.5, half_lives)
