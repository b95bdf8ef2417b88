"""Round-trip times: how they are smoothed, and when they are measured.

Two ways lead to a figure. The transport keeps a smoothed round-trip time of each
connection; it is read as it is. And this node asks: with a `Ping` over the links
of neighbours that said nothing for an interval, as the transport measures only
where something travels; and, where `max_rtt` makes figures of everybody matter,
with a probe of a few peers that it has no connection with. A probe is a link of its
own for one `Ping`.

`RttEstimate` is RFC 6298 section 2: SRTT and RTTVAR with the gains 1/8 and 1/4.
Two things differ. There is no RTO, as nothing here is sent again. And what the
transport says replaces SRTT: it is smoothed in the same way already (RFC 9002
section 5.3), and to smooth it twice would only make it late.

Invariants of `RttProber`, whose ``now`` is monotonic:
    * A pong counts once, for the peer that was asked, in the round it was asked in.
    * At most `rtt_probes_max` probes are under way.
    * It remembers nothing of peers that were not candidates in the last round,
      but the probes under way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random

import msgspec

from ..ids import PeerId
from .config import DiscoveryConfig

_SMOOTHED_GAIN = 1 / 8  # RFC 6298: alpha
_VARIATION_GAIN = 1 / 4  # RFC 6298: beta
_BACKOFF_ROUNDS_MAX = 32
_RTT_CHANGE_SHOWN = 0.1  # a smoothed measurement that moves less is noise to a reader


class RttSampled(msgspec.Struct, frozen=True):
    """A neighbour answered a ping after so many seconds."""

    peer_id: PeerId
    rtt_s: float


class ProbesDue(msgspec.Struct, frozen=True):
    """Choose peers without a connection with `RttProber.choose_probes`, and probe them."""


class RttEstimate:
    """What is known of the round-trip time to one peer.

    Attributes:
        smoothed_s: SRTT in seconds; None before the first measurement.
        variation_s: RTTVAR in seconds.
    """

    __slots__ = ("smoothed_s", "variation_s")

    def __init__(self) -> None:
        self.smoothed_s: float | None = None
        self.variation_s = 0.0

    def receive_sample(self, rtt_s: float) -> float:
        """Take in one measurement in seconds; return SRTT."""
        if self.smoothed_s is None:
            self.smoothed_s, self.variation_s = rtt_s, rtt_s / 2  # RFC 6298 (2.2)
            return rtt_s
        # RFC 6298 (2.3): the variation first, with the SRTT of before.
        self._vary(abs(self.smoothed_s - rtt_s))
        self.smoothed_s += _SMOOTHED_GAIN * (rtt_s - self.smoothed_s)
        return self.smoothed_s

    def receive_smoothed(self, rtt_s: float) -> float:
        """Take in what the transport has smoothed already, in seconds; return SRTT."""
        if self.smoothed_s is None:
            return self.receive_sample(rtt_s)
        self._vary(abs(self.smoothed_s - rtt_s))
        self.smoothed_s = rtt_s
        return rtt_s

    def _vary(self, deviation_s: float) -> None:
        self.variation_s += _VARIATION_GAIN * (deviation_s - self.variation_s)


class RttTable:
    """The round-trip times of peers, as they are shown: a small change of one is none."""

    def __init__(self) -> None:
        self._shown: dict[PeerId, float] = {}
        self._estimates: dict[PeerId, RttEstimate] = {}

    def find(self, peer_id: PeerId) -> float | None:
        """Return the round-trip time of a peer in seconds, None while it is not known."""
        return self._shown.get(peer_id)

    def receive_smoothed(self, peer_id: PeerId, rtt_s: float) -> bool:
        """Take in what the transport has smoothed; return whether it shows another one now."""
        return self._note(peer_id, self._estimate(peer_id).receive_smoothed(rtt_s))

    def receive_sample(self, peer_id: PeerId, rtt_s: float) -> bool:
        """Take in one measurement; return whether it shows another one now."""
        return self._note(peer_id, self._estimate(peer_id).receive_sample(rtt_s))

    def forget(self, peer_id: PeerId) -> None:
        """Forget a peer."""
        self._shown.pop(peer_id, None)
        self._estimates.pop(peer_id, None)

    def _estimate(self, peer_id: PeerId) -> RttEstimate:
        return self._estimates.setdefault(peer_id, RttEstimate())

    def _note(self, peer_id: PeerId, rtt_s: float) -> bool:
        known_s = self._shown.get(peer_id)
        if known_s is not None and abs(rtt_s - known_s) <= known_s * _RTT_CHANGE_SHOWN:
            return False
        self._shown[peer_id] = rtt_s
        return True


class _Failure(msgspec.Struct, frozen=True):
    count: int
    wait_until: float


class RttProber:
    """When to ask whom for how long an answer takes.

    Args:
        config: `rtt_probe_interval` and `rtt_probes_max` matter.
        rng: Where numbers and choices come from.
        now: Monotonic time in seconds.
    """

    def __init__(self, config: DiscoveryConfig, rng: Random, *, now: float) -> None:
        self._interval_s = config.rtt_probe_interval
        self._probes_max = config.rtt_probes_max
        self._rng = rng
        self._due_at = now + self._interval_s
        self._number = 0
        self._asked_at: dict[PeerId, float] = {}
        self._probing: dict[PeerId, None] = {}
        self._failures: dict[PeerId, _Failure] = {}

    def get_timer(self) -> float:
        """Return when the next round is due."""
        return self._due_at

    def start_round(self, neighbours: Iterable[PeerId], *, now: float) -> int:
        """Begin a round; return the number to ping the neighbours with.

        Who has not answered the round before is not waited for any more. The
        number cannot be guessed, so that nobody answers before it was asked.
        """
        self._due_at = now + self._interval_s
        self._number = self._rng.getrandbits(32)
        self._asked_at = dict.fromkeys(neighbours, now)
        return self._number

    def receive_pong(self, peer_id: PeerId, number: int, *, now: float) -> float | None:
        """Return how long a neighbour took in seconds; None when nothing was asked."""
        if number != self._number:
            return None
        asked_at = self._asked_at.pop(peer_id, None)
        return None if asked_at is None else now - asked_at

    def choose_probes(
        self,
        candidates: Iterable[PeerId],
        is_measured: Callable[[PeerId], bool],
        *,
        now: float,
    ) -> list[PeerId]:
        """Return whom to probe now; report the end of each with `receive_probe_ended`.

        Args:
            candidates: All peers there are without a connection.
            is_measured: Whether there is a figure of one; those without come first.
            now: Monotonic time in seconds.
        """
        there = dict.fromkeys(candidates)
        self._failures = {peer: f for peer, f in self._failures.items() if peer in there}
        ready = [peer for peer in there if self._is_ready(peer, now)]
        self._rng.shuffle(ready)
        ready.sort(key=is_measured)
        chosen = ready[: max(0, self._probes_max - len(self._probing))]
        self._probing.update(dict.fromkeys(chosen))
        return chosen

    def receive_probe_ended(self, peer_id: PeerId, *, was_answered: bool, now: float) -> None:
        """Note how a probe ended; each failure in a row doubles the wait for the next."""
        if peer_id not in self._probing:
            return
        del self._probing[peer_id]
        if was_answered:
            self._failures.pop(peer_id, None)
            return
        failure = self._failures.get(peer_id)
        count = 1 if failure is None else failure.count + 1
        rounds = _BACKOFF_ROUNDS_MAX if count > 5 else min(2**count, _BACKOFF_ROUNDS_MAX)
        self._failures[peer_id] = _Failure(count, now + rounds * self._interval_s)

    def _is_ready(self, peer_id: PeerId, now: float) -> bool:
        failure = self._failures.get(peer_id)
        is_waiting = failure is not None and now < failure.wait_until
        return not is_waiting and peer_id not in self._probing
