"""What keeps nodes of one network apart without a word, as their entries show it.

Groups of one name, or collections of one store, whose ids differ: their members differ in a
type, a constraint or a setting, and never meet. And nodes that listen on TCP alone while
others listen on QUIC alone.

A pure module. Names and carriers come from peers: what is said is bounded, and whoever shows it
escapes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ...discovery.info import PeerInfo
    from ...ids import PeerId, UniqueId
    from ...transport.interface import Endpoint

PEERS_SHOWN_MAX: Final = 4
GROUPS_SHOWN_MAX: Final = 4
NAME_CHARACTERS_MAX: Final = 80


@dataclass(frozen=True, slots=True)
class DividedGroup:
    """Groups that were probably meant to be one.

    Attributes:
        name: What all of them are called: a group's name, or what stands for a store.
        groups: What kind of collection each is, empty for another group, and who is in it.
    """

    name: str
    groups: Mapping[UniqueId, tuple[str, Sequence[PeerId]]]

    def __str__(self) -> str:
        shown = list(self.groups.items())[:GROUPS_SHOWN_MAX]
        kinds = {kind for kind, _ in self.groups.values()}
        told = "; ".join(
            f"{_cut(kind) or 'group'} #{group_id.short} at {list_peers(peers)}"
            for group_id, (kind, peers) in shown
        )
        if more := len(self.groups) - len(shown):
            told += f"; and {more} more"
        what = _cut(self.name) if kinds == {""} else f"store {_cut(self.name)}"
        difference = "kind or types" if len(kinds) > 1 else "constraints, a type or settings"
        return f"{what} is {len(self.groups)} groups that differ in {difference}: {told}"


def find_divided(peers: Iterable[PeerInfo]) -> list[DividedGroup]:
    """Return the groups of one name, or of one store, that are several; by name."""
    from ...collections.naming import parts_of

    found: dict[str, tuple[str, dict[UniqueId, tuple[str, list[PeerId]]]]] = {}
    for peer in peers:
        if not peer.is_reachable:
            continue  # its memberships count as away
        for group_id, shown in peer.groups.items():
            name, kind, key = parts_of(shown) or (shown, "", shown)
            if key:
                groups = found.setdefault(key, (name, {}))[1]
                groups.setdefault(group_id, (kind, []))[1].append(peer.peer_id)
    divided = [DividedGroup(name, groups) for name, groups in found.values() if _is_split(groups)]
    return sorted(divided, key=lambda one: one.name)


def find_apart(peers: Iterable[PeerInfo], carrier_of: Callable[[PeerId], str | None]) -> str | None:
    """Return which peers say that they have no carrier in common; None where all have.

    Args:
        peers: Who is there.
        carrier_of: What carries the connection to a peer. Those with a Unix socket of this user
            have that in common, and entries do not show it.
    """
    alone: dict[str, list[PeerId]] = {"tcp": [], "quic": []}
    for peer in peers:
        said = [one for one in alone if one in peer.addr.carriers]
        if len(said) != 1 or peer.addr.relay or not peer.is_reachable:
            continue
        if carrier_of(peer.peer_id) != "unix":
            alone[said[0]].append(peer.peer_id)
    if not all(alone.values()):
        return None
    told = "; ".join(f"{carrier} alone at {list_peers(ids)}" for carrier, ids in alone.items())
    return f"no carrier in common: {told}"


def list_apart(endpoint: Endpoint, peers: Sequence[PeerInfo]) -> list[str]:
    """Return who has no carrier in common with whom, this node among them, a sentence each."""
    known = {peer.peer_id for peer in peers}
    told = [
        f"peer {peer.peer_id.short}: {why}"
        for peer in peers
        if (why := endpoint.apart.why_not(peer.addr)) is not None
    ]
    told += [
        f"peer {peer_id.short}: {why}"
        for peer_id, why in endpoint.apart.dialled.items()
        if peer_id not in known and endpoint.carrier(peer_id) is None
    ]
    among = find_apart(peers, endpoint.carrier)
    return told if among is None else [*told, among]


def list_peers(peers: Sequence[PeerId]) -> str:
    """Return peers by their short ids, a few of them."""
    shown = ", ".join(peer.short for peer in peers[:PEERS_SHOWN_MAX])
    more = len(peers) - PEERS_SHOWN_MAX
    return f"{shown} and {more} more" if more > 0 else shown


def _is_split(groups: Mapping[UniqueId, tuple[str, Sequence[PeerId]]]) -> bool:
    """Return whether there are several, and nobody is in all of them, which somebody means."""
    if len(groups) < 2:
        return False
    return not set.intersection(*(set(peers) for _, peers in groups.values()))


def _cut(text: str) -> str:
    return text if len(text) <= NAME_CHARACTERS_MAX else text[: NAME_CHARACTERS_MAX - 3] + "..."
