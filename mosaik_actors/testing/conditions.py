"""What a simulated path does to what travels on it.

A pure model. `NetworkConditions` says how paths are; `Path` is one direction
between two nodes and draws from a generator of its own, so that traffic on one
path does not change what happens on another.

Two views of the same conditions:
    * `plan_datagram`: when the copies of one datagram arrive. None when it is
      lost, two when it is duplicated.
    * `plan_chunk`: when a chunk of a reliable, ordered stream arrives. A loss
      costs a retransmission, so it shows as a delay; order is kept.

Times are seconds, sizes bytes; ``now`` is the simulation's time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from ..config import require_above, require_between
from ..errors import ConfigError

Latency = float | Callable[[Random], float]

RETRANSMISSIONS_MAX = 6


def uniform(low: float, high: float) -> Callable[[Random], float]:
    """Return a latency that is anywhere from `low` to `high` seconds."""

    def draw(rng: Random) -> float:
        return rng.uniform(low, high)

    draw.__qualname__ = f"uniform({low:g}, {high:g})"
    return draw


def lognormal(median: float, sigma: float = 0.5) -> Callable[[Random], float]:
    """Return a latency with a long tail, as wide-area paths have: half are below `median`."""

    def draw(rng: Random) -> float:
        return median * rng.lognormvariate(0.0, sigma)

    draw.__qualname__ = f"lognormal({median:g}, {sigma:g})"
    return draw


@dataclass(frozen=True, kw_only=True)
class NetworkConditions:
    """How the paths of a simulated network are.

    Attributes:
        latency: One-way delay in seconds, or a function that draws one.
        jitter: Added to it, anywhere from 0 to so many seconds.
        loss: The share of datagrams that vanish, 0 to below 1.
        duplication: The share that arrives twice.
        reordering: The share that is held back long enough to be overtaken.
        bandwidth: Bytes per second of each direction, None for no limit.
        queue_bytes: What may wait for bandwidth; beyond it datagrams vanish.
        mtu: The largest datagram that gets through, in bytes of UDP payload.
    """

    latency: Latency = 0.001
    jitter: float = 0.0
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    bandwidth: float | None = None
    queue_bytes: int = 1 << 20
    mtu: int = 1472

    def __post_init__(self) -> None:
        if not callable(self.latency):
            require_between("latency", self.latency, 0, 3600)
        require_between("jitter", self.jitter, 0, 3600)
        if not 0 <= self.loss < 1:
            raise ConfigError(f"loss is {self.loss}, expected 0 to below 1")
        require_between("duplication", self.duplication, 0, 1)
        require_between("reordering", self.reordering, 0, 1)
        if self.bandwidth is not None:
            require_above("bandwidth", self.bandwidth)
        require_above("queue_bytes", self.queue_bytes)
        require_between("mtu", self.mtu, 1200, 65_507)


class Path:
    """One direction between two nodes.

    Args:
        conditions: How it is; may be replaced at any time.
        rng: Its own generator.
    """

    def __init__(self, conditions: NetworkConditions, rng: Random) -> None:
        self.conditions = conditions
        self._rng = rng
        self._busy_until = 0.0
        self._last_arrival = 0.0

    def usual_delay(self) -> float:
        """Return about what one way takes in seconds, without drawing from the path's generator."""
        how = self.conditions
        if not callable(how.latency):
            return how.latency + how.jitter / 2
        draws = sorted(how.latency(Random(number)) for number in range(15))
        return draws[7] + how.jitter / 2

    def plan_datagram(self, size: int, *, now: float) -> list[float]:
        """Return when the copies of a datagram arrive; empty when it is lost."""
        how = self.conditions
        departure = self._depart(size, now)
        if departure is None or size > how.mtu or self._happens(how.loss):
            return []
        arrival = departure + self._delay()
        if self._happens(how.reordering):
            arrival += self._delay() + how.jitter
        arrivals = [arrival]
        if self._happens(how.duplication):
            arrivals.append(departure + self._delay())
        return arrivals

    def plan_chunk(self, size: int, *, now: float) -> float:
        """Return when a chunk of a reliable stream arrives, in order behind the ones before."""
        how = self.conditions
        departure = self._depart(size, now, is_patient=True)
        arrival = (now if departure is None else departure) + self._delay()
        for attempt in range(RETRANSMISSIONS_MAX):
            if not self._happens(how.loss):
                break
            # A lost packet is noticed after about a round trip, and later each time.
            arrival += 2 * self._delay() * 2**attempt
        self._last_arrival = max(self._last_arrival, arrival)
        return self._last_arrival

    def _depart(self, size: int, now: float, *, is_patient: bool = False) -> float | None:
        """Return when the last byte is on the line, None when the queue is full."""
        how = self.conditions
        if how.bandwidth is None:
            return now
        waiting_s = max(0.0, self._busy_until - now)
        if not is_patient and waiting_s * how.bandwidth > how.queue_bytes:
            return None
        self._busy_until = max(now, self._busy_until) + size / how.bandwidth
        return self._busy_until

    def _delay(self) -> float:
        how = self.conditions
        base = how.latency(self._rng) if callable(how.latency) else how.latency
        return max(0.0, base) + (self._rng.uniform(0, how.jitter) if how.jitter else 0.0)

    def _happens(self, share: float) -> bool:
        return share > 0 and self._rng.random() < share
