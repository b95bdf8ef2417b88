"""The settings of streams, and how a consumer waits before it tries again."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from ..config import as_seconds, require_above, require_between
from ..errors import ConfigError

BUFFER_ITEMS_MAX = 1 << 24
WINDOW_ITEMS_MIN = 64
SHARE_ITEMS_MIN = 16  # of one subscription: less would cut everybody's frames to a few items
SHARE_BYTES_MIN = 16 * 1024  # the same in bytes, unless the whole window is smaller
WINDOW_BYTES_MAX = 1 << 31


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long a consumer waits before it subscribes to a producer again.

    Attempt n waits ``initial * factor ** n`` seconds, at most `max`, and up to
    `jitter` of that more or less, so that consumers that lost one producer
    together do not return together. Durations are seconds or a `timedelta`;
    they are kept as seconds.

    Attributes:
        initial: Seconds before the first retry.
        factor: What each further failure multiplies the wait by.
        max: The longest wait in seconds, before jitter.
        jitter: The share of the wait that is random, 0 to 1.
        attempts_max: Failures in a row after which a producer is given up,
            until it restarts, moves or produces anew. None: never.
    """

    initial: float = 0.1
    factor: float = 2.0
    max: float = 15.0
    jitter: float = 0.2
    attempts_max: int | None = None

    def __post_init__(self) -> None:
        as_seconds(self, "initial", "max")
        require_above("backoff initial", self.initial)
        require_between("backoff factor", self.factor, 1, 100)
        if self.max < self.initial:
            raise ConfigError(f"backoff max is {self.max}, expected at least {self.initial}")
        require_between("backoff jitter", self.jitter, 0, 1)
        if self.attempts_max is not None:
            require_above("backoff attempts_max", self.attempts_max)

    def delay_s(self, failures: int, rng: Random) -> float:
        """Return the seconds to wait after `failures` failures in a row (1 or more)."""
        wait_s = self.initial
        for _ in range(failures - 1):
            wait_s *= self.factor
            if wait_s >= self.max:
                break
        return min(wait_s, self.max) * (1 + self.jitter * rng.uniform(-1, 1))

    def is_exhausted(self, failures: int) -> bool:
        """Return whether `failures` in a row are too many."""
        return self.attempts_max is not None and failures >= self.attempts_max


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamsConfig:
    """What all streams of a node start from.

    Durations are seconds or a `timedelta`; they are kept as seconds.

    Attributes:
        buffer_size: Items a producer holds for `send`, and items a consumer may
            be behind; the default of each producer's own `buffer_size`.
        buffer_bytes: The same bound in bytes. One frame is always let through.
        lag_grace: Seconds for which a consumer that is `buffer_size` behind may
            hold its producer up without taking half of that, before it is
            disconnected as too slow. 0: at once.
        frame_bytes: The size a frame of many items is cut at. A larger item
            travels alone, up to the transport's limit.
        window_items: Items a consumer takes in before its application does, from all
            producers together; 64 or more. Each subscription has 16 at least.
        window_bytes: The same bound in bytes; each subscription has 16 KiB at least.
        open_timeout: Seconds a subscription may take to be answered.
        drain_timeout: Seconds that closing waits for accepted items to leave.
        backoff: How consumers retry.
        criteria_share: How much of the time of one processor core all producers of the
            node spend at most for judging one peer's criteria, 0 to 1. What takes
            less than 2 us per item is not counted. 0.25: one peer that asks for as
            much work as it may leaves three quarters to all others.
        criteria_grace: So many seconds of work beyond that a peer's criteria may take
            before its subscriptions with criteria end, with the code 10429. They are
            accepted again once it is half as many. 2.0: a burst of large items is
            forgiven.
    """

    buffer_size: int = 1024
    buffer_bytes: int = 4 * 1024 * 1024
    lag_grace: float = 1.0
    frame_bytes: int = 256 * 1024
    window_items: int = 16_384
    window_bytes: int = 16 * 1024 * 1024
    open_timeout: float = 10.0
    drain_timeout: float = 5.0
    backoff: Backoff = field(default_factory=Backoff)
    criteria_share: float = 0.25
    criteria_grace: float = 2.0

    def __post_init__(self) -> None:
        as_seconds(self, "lag_grace", "open_timeout", "drain_timeout", "criteria_grace")
        require_between("buffer_size", self.buffer_size, 1, BUFFER_ITEMS_MAX)
        require_between("buffer_bytes", self.buffer_bytes, 1, WINDOW_BYTES_MAX)
        require_between("window_items", self.window_items, WINDOW_ITEMS_MIN, BUFFER_ITEMS_MAX)
        require_between("window_bytes", self.window_bytes, 1, WINDOW_BYTES_MAX)
        require_between("lag_grace", self.lag_grace, 0, 3600)
        require_between("frame_bytes", self.frame_bytes, 1024, 16 * 1024 * 1024)
        require_above("open_timeout", self.open_timeout)
        require_above("drain_timeout", self.drain_timeout)
        require_between("criteria_share", self.criteria_share, 0, 1)
        require_above("criteria_grace", self.criteria_grace)
