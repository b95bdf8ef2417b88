"""Whom to join of the peers that were found somewhere and that the catalog does not show.

A pure bookkeeper, a part of `overlay`. ``now`` is monotonic time in seconds.

Whoever looks for peers on the spot (the same machine, the same segment) finds all of
them, and so does everyone else: if each joined each, n nodes would dial n^2 times. So:

    * Up to `neighbours_max` that were found are all joined.
    * Of more, a node without neighbours joins through `_JOINS_ALONE`, picked at random.
    * With neighbours it waits until nobody new has come for `_MEET_S`: most likely the
      broadcast brings their entries. Who is unknown still, because it was in another
      network until now, is joined: one at a time, since the sync with that one brings
      its whole network along. After `_MEET_LATE_S` also when somebody new comes all
      the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from random import Random
from typing import Final

from ...ids import PeerId
from ..config import DiscoveryConfig
from .addresses import Addresses
from .pauses import DialPauses

_MEET_S: Final = 2.0
_MEET_LATE_S: Final = 20.0
_JOINS_ALONE: Final = 2


class Strangers:
    """Whom of those that were found to join, and when.

    Args:
        config: How many neighbours and dials there may be.
        addresses: Who was found, and who is known.
        pauses: Who is not to be dialled for a while.
        rng: Where picks are drawn from.
        now: Monotonic time in seconds.
    """

    def __init__(
        self,
        config: DiscoveryConfig,
        addresses: Addresses,
        pauses: DialPauses,
        rng: Random,
        *,
        now: float,
    ) -> None:
        self._config = config
        self._addresses = addresses
        self._pauses = pauses
        self._rng = rng
        self._meet_at: dict[PeerId, float] = {}
        self._by_time: list[tuple[float, PeerId]] = []  # the last first; some are known by now
        self._next_at = now
        self._are_few = True

    @property
    def are_any(self) -> bool:
        """Whether anybody was found that is unknown."""
        return bool(self._meet_at)

    def find(self, *, now: float) -> None:
        """Look anew who was found and is unknown: hints have changed, or somebody is gone."""
        before, self._are_few = self._meet_at, self._addresses.are_few(self._config.neighbours_max)
        self._meet_at = {}
        for peer_id in self._addresses.strangers():
            wait_s = 0.0 if self._are_few else self._pauses.spread(_MEET_S)
            self._meet_at[peer_id] = before.get(peer_id, now + wait_s)
        self._by_time = sorted(((at, peer) for peer, at in self._meet_at.items()), reverse=True)

    def receive_known(self, count_before: int, *, now: float) -> None:
        """Note that the catalog has changed, which showed so many peers before."""
        known = self._addresses.known
        if len(known) < count_before:
            self.find(now=now)
            return
        for peer_id in [peer for peer in self._meet_at if peer in known]:
            del self._meet_at[peer_id]
        if len(known) > count_before and not self._are_few:
            self._wait(now)  # more of them may be on their way

    def receive_joined(self, *, now: float) -> None:
        """Note that this node has joined at one, and is about to hear of others."""
        if not self._are_few:
            self._wait(now)

    def choose(
        self, alone: bool, joins: int, may_dial: Callable[[PeerId], bool], *, now: float
    ) -> list[PeerId]:
        """Return whom to join now.

        Args:
            alone: Whether this node has no neighbour.
            joins: How many it is joining at.
            may_dial: Whether a peer may be dialled at all.
            now: Monotonic time in seconds.
        """
        room = self._room(alone) - joins
        if room <= 0 or not self._meet_at:
            return []
        if not (alone or self._are_few or self._is_anyone_due(now)):
            return []
        found = [
            peer_id
            for peer_id in self._meet_at
            if (alone or self._due_at(peer_id) <= now) and may_dial(peer_id)
        ]
        if self._are_few:
            return found[:room]
        return self._rng.sample(found, min(room, len(found)))

    def get_timer(self, alone: bool, joins: int, is_linked: Callable[[PeerId], bool]) -> float:
        """Return when `choose` may find the next one; infinity for never.

        Args:
            alone: Whether this node has no neighbour.
            joins: How many it is joining at.
            is_linked: Whether a peer is a neighbour or being dialled.
        """
        if not self._meet_at or joins >= self._room(alone):
            return inf
        paused = [
            (peer_id, until)
            for peer_id, until in self._pauses.items()
            if peer_id in self._meet_at and not is_linked(peer_id)
        ]
        if alone or self._are_few:  # who is not paused is dialled as soon as there is room
            return min((until for _, until in paused), default=inf)
        due_at = min((max(self._due_at(peer), until) for peer, until in paused), default=inf)
        free = (
            peer_id
            for _, peer_id in self._list_by_time()
            if peer_id not in self._pauses and not is_linked(peer_id)
        )
        first = next(free, None)  # in the order of time, which is that of their turns
        return due_at if first is None else min(due_at, self._due_at(first))

    # Helpers.

    def _room(self, alone: bool) -> int:
        if self._are_few:
            return self._config.dials_max
        return _JOINS_ALONE if alone else 1

    def _wait(self, now: float) -> None:
        self._next_at = now + self._pauses.spread(_MEET_S)

    def _is_anyone_due(self, now: float) -> bool:
        first = next(self._list_by_time(), None)
        return first is not None and self._due_at(first[1]) <= now

    def _due_at(self, peer_id: PeerId) -> float:
        at = self._meet_at[peer_id]
        return -inf if self._are_few else max(at, min(self._next_at, at + _MEET_LATE_S))

    def _list_by_time(self) -> Iterator[tuple[float, PeerId]]:
        """Give the strangers in the order of their times, of which the first are mostly enough."""
        by_time = self._by_time
        while by_time and by_time[-1][1] not in self._meet_at:
            by_time.pop()
        return (one for one in reversed(by_time) if one[1] in self._meet_at)
