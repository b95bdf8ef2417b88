"""Who is bonded with whom, as far as the bonded say.

Every member tells those it is bonded with whom else it is bonded with: all of them when a bond
forms, and from then on what changed. What a member told is forgotten when the bond with it ends.
All bonds of a member have been told the same, so one frame serves all of them.

Invariants:
    * What is known of others comes from somebody this member is bonded with.
    * A member tells of `MEMBERS_MAX` peers at most.
"""

from __future__ import annotations

from typing import NamedTuple

from ...errors import RemoteError
from ...ids import PeerId
from .wire import MEMBERS_MAX, Peers


class Bond(NamedTuple):
    """Two members that are bonded; `a` has the smaller id."""

    a: PeerId
    b: PeerId


class Topology:
    """The bonds of this member, and those it has heard of."""

    def __init__(self, me: PeerId) -> None:
        self._me = me
        self.told_by: dict[PeerId, dict[PeerId, None]] = {}  # whom each says it is bonded with
        self._told: dict[PeerId, None] = {}
        self._bonds: tuple[Bond, ...] | None = ()

    def add(self, peer: PeerId) -> Peers:
        """Note a new bond of ours; return what its other end is to be told now.

        That is what all others were told before, so that `take_news` suits all.
        """
        self.told_by[peer] = {}
        self._bonds = None
        return Peers(tuple(self._told))

    def remove(self, peer: PeerId) -> None:
        """Note that a bond of ours has ended."""
        del self.told_by[peer]
        self._bonds = None

    def take_news(self) -> Peers | None:
        """Return what to tell all our bonds, None for nothing; then they have been notified."""
        own, told = self.told_by, self._told
        news = Peers(
            tuple([peer for peer in own if peer not in told]),
            tuple([peer for peer in told if peer not in own]),
        )
        self._told = dict.fromkeys(own)
        return news if news.added or news.removed else None

    def receive(self, teller: PeerId, news: Peers) -> None:
        """Take in a peer's bonds, as it says. Raises `RemoteError` where they are too many."""
        known = self.told_by[teller]
        for peer in news.removed:
            known.pop(peer, None)
        known.update(dict.fromkeys([p for p in news.added if p not in (self._me, teller)]))
        if len(known) > MEMBERS_MAX:
            raise RemoteError(f"bonds with {len(known)} peers, {MEMBERS_MAX} at most")
        self._bonds = None

    def bonds(self) -> tuple[Bond, ...]:
        """Return every bond that is known, our own included, in order."""
        if self._bonds is None:
            known = {make_bond(self._me, peer): None for peer in self.told_by}
            for teller, told in self.told_by.items():
                known |= {make_bond(teller, peer): None for peer in told}
            self._bonds = tuple(sorted(known))
        return self._bonds


def make_bond(one: PeerId, other: PeerId) -> Bond:
    """Return the bond of two members."""
    return Bond(one, other) if one < other else Bond(other, one)
