"""How fast a producer may send: token buckets in items and in bytes.

A bucket fills at its rate, up to what `BURST_S` seconds bring. It lets a frame
pass while it holds anything at all, and takes the whole frame out, below zero
if need be. So any frame passes, however large, and the rate holds in the long
run exactly: what was taken too much is waited for afterwards.

Clock: monotonic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ...config import require_above

BURST_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A limit on what is sent.

    Attributes:
        items: Items per second; None is no limit.
        bytes: Bytes of frames per second; None is no limit.
    """

    items: float | None = None
    bytes: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("items", self.items), ("bytes", self.bytes)):
            if value is not None:
                require_above(f"rate {name}", value)


class TokenBucket:
    """One rate."""

    __slots__ = ("_filled_at", "_level", "burst", "rate")

    def __init__(self, rate: float, *, now: float) -> None:
        self.rate = rate
        self.burst = max(1.0, rate * BURST_S)
        self._level = self.burst
        self._filled_at = now

    def is_open(self, *, now: float) -> bool:
        """Return whether something may pass."""
        self._fill(now)
        return self._level > 0

    def take(self, amount: int) -> None:
        """Note that so much passed."""
        self._level -= amount

    def opens_at(self) -> float:
        """Return when something may pass again."""
        if self._level > 0:
            return self._filled_at
        # A little more than nothing, so that rounding cannot leave it closed at that moment.
        return self._filled_at + (min(1.0, self.burst / 2) - self._level) / self.rate

    def _fill(self, now: float) -> None:
        if now > self._filled_at:
            self._level = min(self.burst, self._level + (now - self._filled_at) * self.rate)
            self._filled_at = now


class Throttle:
    """The buckets of one `Rate`."""

    __slots__ = ("_bytes", "_items")

    def __init__(self, rate: Rate, *, now: float) -> None:
        self._items = TokenBucket(rate.items, now=now) if rate.items is not None else None
        self._bytes = TokenBucket(rate.bytes, now=now) if rate.bytes is not None else None

    def is_open(self, *, now: float) -> bool:
        """Return whether a frame may pass."""
        return (self._items is None or self._items.is_open(now=now)) and (
            self._bytes is None or self._bytes.is_open(now=now)
        )

    def take(self, item_count: int, byte_count: int) -> None:
        """Note that a frame passed."""
        if self._items is not None:
            self._items.take(item_count)
        if self._bytes is not None:
            self._bytes.take(byte_count)

    def opens_at(self) -> float:
        """Return when a frame may pass again."""
        return max(bucket.opens_at() for bucket in (self._items, self._bytes) if bucket is not None)


def frame_limits(*rates: Rate | None) -> tuple[int | None, int | None]:
    """Return how many items and bytes a frame may have, so that frames stay small bursts."""
    items = [r.items for r in rates if r is not None and r.items is not None]
    byte_counts = [r.bytes for r in rates if r is not None and r.bytes is not None]
    return (
        max(1, int(min(items) * BURST_S)) if items else None,
        max(1, int(min(byte_counts) * BURST_S)) if byte_counts else None,
    )


def throttle_of(rate: Rate | None, *, now: float) -> Throttle | None:
    """Return the throttle of a rate, None when it limits nothing."""
    if rate is None or (rate.items is None and rate.bytes is None):
        return None
    return Throttle(rate, now=now)
