"""The settings of discovery.

All of them are local: two nodes with different settings still understand each
other. What must agree between nodes (the network, the keys, the format of an
entry) is not a setting.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from ..config import require_above, require_between, seconds
from ..errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryConfig:
    """How a node makes itself known, and for how long it believes in others.

    Durations are seconds, or a `timedelta`.

    Attributes:
        announce_interval: Time between two announcements of an unchanged entry.
        announce_jitter: How far that time is spread, as a share of it: 0.5 is
            from half of it to one and a half times.
        announce_gap: Changes of the own entry within this time of the last
            announcement go out together, in one.
        purge_after: An entry whose last update is this old is hidden; after
            twice this time it is forgotten.
        max_time_drift: How far ahead of the own clock a peer's clock may be
            before its entries are refused.
        events_backlog: Events kept for a slow reader of `events`; one that
            falls further behind gets `Lagged`.
        rtt_probe_interval: Time between two readings of the round-trip times.
        max_rtt: Peers measured slower than this many seconds are not shown;
            peers not measured are. None shows all.
        graceful_departure_window: How long closing may wait for the own
            departure to reach the neighbours.
        neighbours_min: Neighbours kept where that many peers are known.
        neighbours_max: Neighbours kept at most.
        links_max: Incoming discovery links served at the same time.
        unsent_bytes_max: A neighbour with more than this many bytes of
            announcements not taken in loses its link.
        dials_max: Neighbours dialled at the same time.
        dial_timeout: How long one dial may take.
        sync_timeout: How long a catalog sync may take.
        retry_min: Wait after the first failure to reach a peer; doubles with
            each further one.
        retry_max: Longest such wait.
        shuffle_interval: Time between two random exchanges of a neighbour.
        peers_max: Peers in the catalog at most; entries of more are refused.
    """

    announce_interval: float | timedelta = 15.0
    announce_jitter: float = 0.5
    announce_gap: float | timedelta = 0.05
    purge_after: float | timedelta = 300.0
    max_time_drift: float | timedelta = 10.0
    events_backlog: int = 100
    rtt_probe_interval: float | timedelta = 30.0
    max_rtt: float | timedelta | None = None
    graceful_departure_window: float | timedelta = 0.5
    neighbours_min: int = 4
    neighbours_max: int = 8
    links_max: int = 64
    unsent_bytes_max: int = 16 * 1024 * 1024
    dials_max: int = 3
    dial_timeout: float | timedelta = 10.0
    sync_timeout: float | timedelta = 10.0
    retry_min: float | timedelta = 0.25
    retry_max: float | timedelta = 30.0
    shuffle_interval: float | timedelta = 15.0
    peers_max: int = 10_000

    def __post_init__(self) -> None:
        for name in (
            "announce_interval",
            "purge_after",
            "rtt_probe_interval",
            "dial_timeout",
            "sync_timeout",
            "retry_min",
            "shuffle_interval",
        ):
            require_above(name, seconds(getattr(self, name)))
        for name in ("announce_gap", "max_time_drift", "graceful_departure_window"):
            require_between(name, seconds(getattr(self, name)), 0, float("inf"))
        for name in (
            "events_backlog",
            "neighbours_min",
            "dials_max",
            "peers_max",
            "unsent_bytes_max",
        ):
            require_above(name, getattr(self, name))
        require_between("announce_jitter", self.announce_jitter, 0, 1)
        if self.max_rtt is not None:
            require_above("max_rtt", seconds(self.max_rtt))
        self._check_relations()

    def _check_relations(self) -> None:
        longest_s = seconds(self.announce_interval) * (1 + self.announce_jitter)
        if seconds(self.purge_after) <= longest_s:
            raise ConfigError(
                f"purge_after is {seconds(self.purge_after)}, expected more than {longest_s}: "
                "the longest time between two announcements"
            )
        if seconds(self.retry_max) < seconds(self.retry_min):
            raise ConfigError(
                f"retry_max is {seconds(self.retry_max)}, "
                f"expected at least retry_min, {seconds(self.retry_min)}"
            )
        if self.neighbours_max < self.neighbours_min:
            raise ConfigError(
                f"neighbours_max is {self.neighbours_max}, "
                f"expected at least neighbours_min, {self.neighbours_min}"
            )
        if self.links_max < self.neighbours_max:
            raise ConfigError(
                f"links_max is {self.links_max}, "
                f"expected at least neighbours_max, {self.neighbours_max}"
            )
