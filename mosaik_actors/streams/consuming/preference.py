"""Which producers a consumer prefers when it wants only the best few.

    net.streams.consumer(Price, prefer=nearest(2))
    net.streams.consumer(Price, prefer=with_tags("eu", "fast"))
    net.streams.consumer(Price, prefer=best(1, key=lambda peer: load_of(peer)))

A preference ranks producers: less is better, and None is worse than any number.
What is done with the ranks is in `subscriptions`: who is subscribed to stays
until somebody is better by a margin for a while. Equals are told apart by lot.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from inspect import iscoroutinefunction
from math import isnan
from typing import TYPE_CHECKING

from ...config import as_seconds, require_above, require_between
from ...discovery.info import depends_on_rtt, for_predicate
from ...errors import ConfigError
from ...ids import Tag
from ..predicates import AwaitableAnswer, call_plain, tell_once

if TYPE_CHECKING:
    from ...discovery.info import PeerInfo

logger = logging.getLogger(__name__)

Rank = float | None
Key = Callable[["PeerInfo"], Rank]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """The best `count` producers by `key`. Made by `nearest`, `with_tags` and `best`.

    Attributes:
        key: Ranks a producer: less is better, None is worse than any number.
        count: How many are wanted.
        margin: The share of a rank by which another one must be less to be better.
        patience: Seconds for which it must be, before the consumer moves.
    """

    key: Key
    count: int = 1
    margin: float = 0.0
    patience: float = 5.0

    def __post_init__(self) -> None:
        if not callable(self.key):
            raise ConfigError(f"a preference's key is {self.key!r}, expected a function")
        if iscoroutinefunction(self.key):
            raise ConfigError("a preference's key is a coroutine function, expected a plain one")
        as_seconds(self, "patience")
        require_above("count", self.count)
        require_between("margin", self.margin, 0, 1)
        require_between("patience", self.patience, 0, 3600)

    def rank(self, peer: PeerInfo) -> Rank:
        """Return the rank of a producer. A key that raises gives None.

        So does one that looks at a round-trip time which nobody has measured yet.
        """
        return self.judge(peer)[0]

    def judge(self, peer: PeerInfo) -> tuple[Rank, bool]:
        """Return the rank of a producer, and whether a round-trip time is missing for it."""
        shown = for_predicate(peer)
        rank = self._ask(shown)
        is_missing = depends_on_rtt(shown)
        return (None if is_missing else rank), is_missing

    def _ask(self, peer: PeerInfo) -> Rank:
        try:
            rank = call_plain("the preference's key", self.key, peer)
            if rank is None or isnan(rank):
                return None
            return float(rank)
        except AwaitableAnswer as exc:
            tell_once(logger, exc)
            return None
        except Exception:
            if depends_on_rtt(peer):
                return None
            logger.exception("a preference's key failed for peer %s", peer.peer_id.short)
            return None


def best(count: int = 1, *, key: Key, margin: float = 0.0, patience: float = 5.0) -> Preference:
    """Return a preference for the producers with the smallest `key`."""
    return Preference(key=key, count=count, margin=margin, patience=patience)


def nearest(count: int = 1, *, margin: float = 0.25, patience: float = 5.0) -> Preference:
    """Return a preference for the producers with the shortest round-trip time.

    Producers not measured yet come last; each is connected to once to measure it.
    While there is a connection, every `DiscoveryConfig.rtt_probe_interval` brings a
    new measurement.
    """
    return Preference(key=_rtt, count=count, margin=margin, patience=patience)


def with_tags(*tags: str | Tag, k: int = 1, patience: float = 5.0) -> Preference:
    """Return a preference for the producers with the most of `tags`; others will do, too."""
    wanted = [Tag(tag) for tag in tags]

    def missing(peer: PeerInfo) -> float:
        return sum(tag not in peer.tags for tag in wanted)

    return Preference(key=missing, count=k, patience=patience)


def is_better(rank: Rank, than: Rank, margin: float) -> bool:
    """Return whether a rank is less than another one by the margin."""
    if rank is None:
        return False
    if than is None:
        return True
    return rank < than - abs(than) * margin


def _rtt(peer: PeerInfo) -> Rank:
    return peer.rtt
