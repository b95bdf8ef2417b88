"""Who is bonded with whom, as far as the bonded say.

Every member tells those it is bonded with whom else it is bonded with: all of them when a bond
forms, and from then on what changed. What a member told is forgotten when the bond with it ends.
All bonds of a member have been told the same, so one frame serves all of them.

Invariants:
    * What is known of others comes from somebody this member is bonded with.
    * A member tells of `MEMBERS_MAX` peers at most.
"""

from __future__ import annotations

from collections.abc import Collection
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
        self._told_by: dict[PeerId, dict[PeerId, None]] = {}
        self._told: dict[PeerId, None] = {}
        self._bonds: tuple[Bond, ...] | None = ()

    def add(self, peer: PeerId) -> Peers:
        """Note a new bond of ours; return what its other end is to be told now.

        That is what all others were told before, so that `take_news` suits all.
        """
        self._told_by[peer] = {}
        self._bonds = None
        return Peers(tuple(self._told))

    def remove(self, peer: PeerId) -> None:
        """Note that a bond of ours has ended."""
        del self._told_by[peer]
        self._bonds = None

    def take_news(self) -> Peers | None:
        """Return what to tell all our bonds, None for nothing; then they have been notified."""
        own, told = self._told_by, self._told
        news = Peers(
            tuple([peer for peer in own if peer not in told]),
            tuple([peer for peer in told if peer not in own]),
        )
        self._told = dict.fromkeys(own)
        return news if news.added or news.removed else None

    def receive(self, teller: PeerId, news: Peers) -> bool:
        """Take in what a bonded peer says of its bonds; return whether that changed anything.

        Raises `RemoteError` where it would have too many.
        """
        known = self._told_by[teller]
        changed = False
        for peer in news.removed:
            if peer in known:
                del known[peer]
                changed = True
        added = [p for p in news.added if p not in known and p != self._me and p != teller]
        known.update(dict.fromkeys(added))
        changed = changed or bool(added)
        if len(known) > MEMBERS_MAX:
            raise RemoteError(f"bonds with {len(known)} peers, {MEMBERS_MAX} at most")
        if changed:
            self._bonds = None
        return changed

    def list_of(self, teller: PeerId | None) -> Collection[PeerId]:
        """Return whom a peer is bonded with, as it says; nobody if this member is not with it."""
        return self._told_by.get(teller, ()) if teller is not None else ()

    def bonds(self) -> tuple[Bond, ...]:
        """Return every bond that is known, our own included, in order."""
        if self._bonds is None:
            known = {make_bond(self._me, peer): None for peer in self._told_by}
            for teller, told in self._told_by.items():
                known |= {make_bond(teller, peer): None for peer in told}
            self._bonds = tuple(sorted(known))
        return self._bonds


def make_bond(one: PeerId, other: PeerId) -> Bond:
    """Return the bond of two members."""
    return Bond(one, other) if one < other else Bond(other, one)
