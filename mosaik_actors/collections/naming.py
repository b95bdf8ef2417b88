"""What a collection is called: its key, its group's name, and who nearly shares it.

A collection's group has an id that is made of all that its nodes must agree on.
Nodes that disagree therefore never meet, and would never know why. So the name
that each advertises beside that id says what it has and of which store: the same
store with another id is logged as a warning, with what differs.

    4d07a1f3c2: Map[str, myapp.Price] store=0b1c...

Invariants:
    * What is advertised opens nothing. The digits after ``store=`` are a hash of the
      store's id, and whoever opens a collection under them gets another one.
      Without a secret the store's name makes the key, so the name is not advertised
      either. With a secret it is, in place of the first digits, for tools to show.
    * The secret goes into the key alone, never into a name.

Names come from peers: one that is not of this form is nobody's near miss.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from blake3 import blake3

from ..discovery.info import PeerInfo
from ..errors import ConfigError
from ..groups.mesh.key import GroupKey
from ..ids import GroupId, PeerId, StoreId, UniqueId
from ..schema import type_name

_LABEL_CHARACTERS_MAX: Final = 48
_KIND_CHARACTERS_MAX: Final = 120

_SHOWN_CONTEXT: Final = "mosaik_actors collection, store as shown v1"
_SECRET_CONTEXT: Final = "mosaik_actors collection, secret v1"

_NAME: Final = re.compile(r"(?P<label>\S+): (?P<kind>.+) store=(?P<store>[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class CollectionName:
    """What a collection is called.

    Attributes:
        store: The store, for people at this node.
        kind: What it is, such as ``Map[str, int]``.
        shown: What its group is advertised as.
    """

    store: str
    kind: str
    shown: str

    def __str__(self) -> str:
        return f"{self.store}: {self.kind}"


class NearMisses:
    """What the collection actor found at its last look, for the handles to show.

    Attributes:
        why: Why a peer that means the same collection is never met; None without one.
    """

    def __init__(self) -> None:
        self.why: str | None = None


def key_of(store_id: StoreId, secret: str | bytes | None = None) -> GroupKey:
    """Return the key of a collection's group: whoever knows the store and the secret may join.

    Args:
        store_id: The store.
        secret: Its secret; text counts as its UTF-8 bytes. None: the store alone makes the key.
    """
    if secret is None:
        return GroupKey(bytes(UniqueId.from_parts("mosaik_actors collection", store_id)))
    data = secret.encode() if isinstance(secret, str) else secret
    mixed = blake3(data, derive_key_context=_SECRET_CONTEXT).digest()
    return GroupKey(
        bytes(UniqueId.from_parts("mosaik_actors collection with a secret", store_id, mixed))
    )


def shown_store(store_id: StoreId) -> UniqueId:
    """Return what others see of a store: a hash that tells equal stores and opens none."""
    return UniqueId(blake3(bytes(store_id), derive_key_context=_SHOWN_CONTEXT).digest())


def check_store(store_id: StoreId | str) -> None:
    """Raise `ConfigError` for an empty name, which is a mistake and never meant."""
    if not store_id:
        raise ConfigError("the store id is empty, expected a name or an id")


def kind_name(kind: str, types: Iterable[Any]) -> str:
    """Return what a collection is, such as ``Map[str, int]``."""
    return f"{kind}[{', '.join(map(type_name, types))}]"


def name_of(kind: str, store_id: StoreId | str, *, has_secret: bool) -> CollectionName:
    """Return what a collection is called.

    Args:
        kind: Its kind with its types.
        store_id: The store, as it was given.
        has_secret: Whether its key has a secret in it: else knowing the store is enough.
    """
    mark = shown_store(StoreId(store_id))
    store = _readable(store_id) or mark.short
    if len(kind) > _KIND_CHARACTERS_MAX:
        kind = kind[: _KIND_CHARACTERS_MAX - 3] + "..."
    label = store if has_secret else mark.short
    return CollectionName(store, kind, f"{label}: {kind} store={mark.hex}")


def is_of_store(shown: str, store: str) -> bool:
    """Return whether what a group is advertised as is a collection of that store."""
    return bool(store) and shown.endswith(f" store={shown_store(StoreId(store)).hex}")


def without_store(shown: str) -> str:
    """Return what a collection is advertised as without the hash of its store, for people."""
    parts = parts_of(shown)
    return shown if parts is None else f"{parts[0]}: {parts[1]}"


def parts_of(shown: str) -> tuple[str, str, str] | None:
    """Return the label, the kind and the store's hash of what a collection is advertised as.

    None for the name of any other group.
    """
    found = _NAME.fullmatch(shown)
    return None if found is None else (found["label"], found["kind"], found["store"])


def near_miss(
    name: CollectionName, group_id: GroupId, peer: PeerId, groups: Iterable[tuple[UniqueId, str]]
) -> str | None:
    """Return why a peer's collection of the same store is another one; None when it has none.

    Args:
        name: The name of the own collection.
        group_id: Its id.
        peer: The peer.
        groups: What the peer advertises.
    """
    mine = _NAME.fullmatch(name.shown)
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
            found = found or _difference(mine["kind"], theirs["kind"], name.store, peer)
    return found


def near_misses(
    name: CollectionName, group_id: GroupId, peers: Iterable[PeerInfo]
) -> Iterable[tuple[PeerId, str]]:
    """Iterate over the peers that have the same store as another collection, and why."""
    for peer in peers:
        if not peer.is_reachable:
            continue  # its memberships count as away
        if peer.groups and (why := near_miss(name, group_id, peer.peer_id, peer.groups.items())):
            yield peer.peer_id, why


def _difference(mine: str, theirs: str, store: str, peer: PeerId) -> str:
    if mine != theirs:
        return (
            f"store {store} is {mine} here and {theirs} at peer {peer.short}: they are two "
            "collections and share nothing; give both the same kind and types, or other stores"
        )
    return (
        f"store {store} is {mine} here and at peer {peer.short}, but with other settings or "
        "another version of a type: they share nothing; give both the same fields, constraints "
        "and defaults of each type, sync, consensus, capacity, tickets and secret"
    )


def _readable(store_id: StoreId | str) -> str:
    """Return a store's name as one printable word, cut to a length; "" for an id."""
    if not isinstance(store_id, str) or StoreId(store_id).hex == store_id.lower():
        return ""
    return re.sub(r"[^\x21-\x7e]+", "_", store_id)[:_LABEL_CHARACTERS_MAX]
