"""The settings of discovery.

All of them are local: two nodes with different settings still understand each
other. What must agree between nodes (the network, the keys, the format of an
entry) is not a setting.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..config import as_seconds, require_above, require_between
from ..errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryConfig:
    """How a node makes itself known, and for how long it believes in others.

    Durations are seconds or a `timedelta`; they are kept as seconds.

    Attributes:
        announce_interval: Time between two announcements of an unchanged entry,
            while few peers are known: see `plan_announcements`.
        announce_jitter: How far that time is spread, as a share of it: 0.5 is
            from half of it to one and a half times.
        announce_peers: Up to so many known peers `announce_interval` is kept;
            beyond, it grows in proportion.
        announce_gap: Changes of the own entry within this time of the last
            announcement go out together, in one.
        purge_after: An entry whose last update is this old is hidden; after
            twice this time it is forgotten.
        max_time_drift: How far ahead of the own clock a peer's clock may be
            before its entries are refused.
        events_backlog: Events kept for a slow reader of `events`; one that
            falls further behind gets `Lagged`.
        rtt_probe_interval: Time between two readings of the round-trip times
            to connected peers, of which silent neighbours are pinged; and, with
            `max_rtt`, between two rounds of probes of a few other peers.
        rtt_probes_max: Peers without a connection probed at the same time, and
            per `rtt_probe_interval`.
        max_rtt: Peers measured slower than this many seconds are not shown;
            peers not measured are. None shows all, and probes nobody that
            there is no connection with.
        graceful_departure_window: How long closing may wait for the own
            departure to reach the neighbours.
        neighbours_min: Neighbours kept where that many peers are known.
        neighbours_max: Neighbours kept at most: the size of the active view.
        passive_max: Further peers kept in mind to replace lost neighbours: the
            size of the passive view.
        links_max: Incoming discovery links served at the same time.
        unsent_bytes_max: A neighbour with more than this many bytes of
            announcements not taken in loses its link.
        unjudged_bytes_max: A peer that sends entries so fast that more than this
            many bytes of them wait to be checked loses its link.
        dials_max: Neighbours dialled at the same time.
        dial_timeout: How long one dial may take.
        sync_timeout: How long a catalog sync may take without going on; four times as long in all.
        retry_min: Wait after the first failure to reach a peer; doubles with
            each further one.
        retry_max: Longest such wait.
        shuffle_interval: Time between two exchanges of parts of the passive view.
        peers_max: Peers in the catalog at most. Further ones take the place of those
            that this node never met, from the neighbour that brought the most of
            them. 10,000 entries take a few megabytes; a network should have fewer.
        catalog_bytes_max: Bytes of all entries in the catalog at most; beyond, room is
            made in the same way. An entry may have 64 KiB, so that without it strangers
            under 10,000 keys would take 640 MB. 10,000 nodes with 6 KiB each fit.
    """

    announce_interval: float = 15.0
    announce_jitter: float = 0.5
    announce_peers: int = 50
    announce_gap: float = 0.05
    purge_after: float = 300.0
    max_time_drift: float = 10.0
    events_backlog: int = 100
    rtt_probe_interval: float = 30.0
    rtt_probes_max: int = 8
    max_rtt: float | None = None
    graceful_departure_window: float = 0.5
    neighbours_min: int = 4
    neighbours_max: int = 7
    passive_max: int = 30
    links_max: int = 64
    unsent_bytes_max: int = 16 * 1024 * 1024
    unjudged_bytes_max: int = 8 * 1024 * 1024
    dials_max: int = 3
    dial_timeout: float = 10.0
    sync_timeout: float = 10.0
    retry_min: float = 0.25
    retry_max: float = 30.0
    shuffle_interval: float = 60.0
    peers_max: int = 10_000
    catalog_bytes_max: int = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        as_seconds(self, *_DURATIONS)
        if self.max_rtt is not None:
            as_seconds(self, "max_rtt")
            require_above("max_rtt", self.max_rtt)
        for name in _DURATIONS + _COUNTS:
            if name not in _MAY_BE_ZERO:
                require_above(name, getattr(self, name))
        for name in _MAY_BE_ZERO:
            require_between(name, getattr(self, name), 0, float("inf"))
        require_between("announce_jitter", self.announce_jitter, 0, 1)
        self._check_relations()

    def plan_announcements(self, peer_count: int) -> tuple[float, float]:
        """Return the time between two announcements, and how far it is spread to both sides.

        In seconds. A network of many announces less often, so that what a node
        gets to hear stays about the same. The longest time is six tenths of
        `purge_after`, or as configured when that is more: what is left is
        several times what an announcement takes to get everywhere, also when
        it was lost and fetched.
        """
        interval_s, jitter = self.announce_interval, self.announce_jitter
        if peer_count <= self.announce_peers:
            return interval_s, interval_s * jitter
        longest_s = max(interval_s * (1 + jitter), self.purge_after * _GROWN_MAX)
        grown_s = interval_s * peer_count / self.announce_peers
        grown_s = max(interval_s, min(grown_s, longest_s / (1 + jitter * _GROWN_SHARE)))
        return grown_s, min(grown_s * jitter, longest_s - grown_s)

    def _check_relations(self) -> None:
        longest_s = self.announce_interval * (1 + self.announce_jitter)
        if self.purge_after <= longest_s:
            raise ConfigError(
                f"purge_after is {self.purge_after}, expected more than {longest_s}: "
                "the longest time between two announcements"
            )
        self._require_at_least("retry_max", "retry_min")
        self._require_at_least("neighbours_max", "neighbours_min")
        self._require_at_least("links_max", "neighbours_max")

    def _require_at_least(self, name: str, other: str) -> None:
        value, least = getattr(self, name), getattr(self, other)
        if value < least:
            raise ConfigError(f"{name} is {value}, expected at least {other}, which is {least}")


# An interval at its limit keeps this share of the jitter, to be long rather than spread.
_GROWN_SHARE = 0.1
_GROWN_MAX = 0.6

_DURATIONS = (
    "announce_interval",
    "announce_gap",
    "purge_after",
    "max_time_drift",
    "rtt_probe_interval",
    "graceful_departure_window",
    "dial_timeout",
    "sync_timeout",
    "retry_min",
    "retry_max",
    "shuffle_interval",
)
_COUNTS = (
    "events_backlog",
    "neighbours_min",
    "announce_peers",
    "passive_max",
    "unsent_bytes_max",
    "unjudged_bytes_max",
    "dials_max",
    "peers_max",
    "catalog_bytes_max",
    "rtt_probes_max",
)
_MAY_BE_ZERO = ("announce_gap", "max_time_drift", "graceful_departure_window")
