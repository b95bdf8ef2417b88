"""What a collection is called: its key, its group's name, and who nearly shares it.

A collection's group has an id that is made of all that its nodes must agree on.
Nodes that disagree therefore never meet, and would never know why. So the name
that each advertises beside that id says what it has and of which store: the same
store with another id is told as a warning, with what differs.

    prices: Map[str, myapp.Price] store=0b1c...

Names come from peers: one that is not of this form is nobody's near miss.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from ..discovery.info import PeerInfo
from ..errors import ConfigError
from ..groups.key import GroupKey
from ..ids import GroupId, PeerId, StoreId, UniqueId
from ..streams.schema import stream_name

_LABEL_CHARACTERS_MAX: Final = 48
_KIND_CHARACTERS_MAX: Final = 120

_NAME: Final = re.compile(r"(?P<label>\S+): (?P<kind>.+) store=(?P<store>[0-9a-f]{64})")


def key_of(store_id: StoreId) -> GroupKey:
    """Return the key of a collection's group: whoever knows the store may join."""
    return GroupKey(bytes(UniqueId.from_parts("mosaik_actors collection", bytes(store_id))))


def check_store(store_id: StoreId | str) -> None:
    """Raise `ConfigError` for an empty name, which is a mistake and never meant."""
    if not store_id:
        raise ConfigError("the store id is empty, expected a name or an id")


def kind_name(kind: str, types: Iterable[Any]) -> str:
    """Return what a collection is, such as ``Map[str, int]``."""
    return f"{kind}[{', '.join(map(stream_name, types))}]"


def group_name(what: str, store_id: StoreId | str) -> str:
    """Return what a collection's group is advertised as.

    Args:
        what: Its kind with its types.
        store_id: The store, as it was given: a text is shown.
    """
    store = StoreId(store_id)
    label = _label(store_id) if isinstance(store_id, str) else store.short
    clipped = (
        what if len(what) <= _KIND_CHARACTERS_MAX else what[: _KIND_CHARACTERS_MAX - 3] + "..."
    )
    return f"{label}: {clipped} store={store.hex}"


def near_miss(
    name: str, group_id: GroupId, peer: PeerId, groups: Iterable[tuple[UniqueId, str]]
) -> str | None:
    """Return why a peer's collection of the same store is another one; None when it has none.

    Args:
        name: The name of the own collection's group.
        group_id: Its id.
        peer: The peer.
        groups: What the peer advertises.
    """
    mine = _NAME.fullmatch(name)
    found: str | None = None
    if mine is None:
        return None
    for other_id, other_name in groups:
        if other_id == group_id:
            return None  # it has both; one of them is shared
        if not other_name.endswith(mine["store"]) or not other_name.isprintable():
            continue
        theirs = _NAME.fullmatch(other_name)
        if theirs is not None:
            found = found or _difference(mine["kind"], theirs["kind"], mine["label"], peer)
    return found


def near_misses(
    name: str, group_id: GroupId, peers: Iterable[PeerInfo]
) -> Iterable[tuple[PeerId, str]]:
    """Iterate over the peers that have the same store as another collection, and why."""
    for peer in peers:
        if not peer.is_reachable:
            continue  # its memberships count as away
        if peer.groups and (why := near_miss(name, group_id, peer.peer_id, peer.groups.items())):
            yield peer.peer_id, why


def _difference(mine: str, theirs: str, label: str, peer: PeerId) -> str:
    if mine != theirs:
        return (
            f"store {label} is {mine} here and {theirs} at peer {peer.short}: they are two "
            "collections and share nothing; give both the same kind and types, or other stores"
        )
    return (
        f"store {label} is {mine} here and at peer {peer.short}, but with other settings or "
        "another version of a type: they share nothing; give both the same fields, constraints "
        "and defaults of each type, sync, consensus, capacity and tickets"
    )


def _label(text: str) -> str:
    """Return a store's name as one printable word, cut to a length."""
    if not text or UniqueId(text).hex == text.lower():
        return UniqueId(text).short
    return re.sub(r"[^\x21-\x7e]+", "_", text)[:_LABEL_CHARACTERS_MAX]
