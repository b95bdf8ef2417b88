"""Peers with keys and signed entries, made quickly."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from mosaik_actors.discovery.catalog.catalog import Catalog
from mosaik_actors.discovery.config import DiscoveryConfig
from mosaik_actors.discovery.entry import EntryVersion, PeerEntry, SignedPeerEntry
from mosaik_actors.ids import NetworkId, PeerId, SecretKey
from mosaik_actors.transport.address import PeerAddr

NETWORK = NetworkId("a network for tests")
NOW = 1_000_000.0


@cache
def key(name: str) -> SecretKey:
    """Return the key of the peer called `name`."""
    return SecretKey.from_seed(name)


def peer(name: str) -> PeerId:
    """Return the id of the peer called `name`."""
    return key(name).peer_id


def addr(name: str, port: int = 4433) -> PeerAddr:
    """Return an address of the peer called `name`."""
    return PeerAddr(peer(name), (("127.0.0.1", port),))


def entry(name: str, *, start: float = NOW, update: float = NOW, **fields: Any) -> PeerEntry:
    """Return an entry of the peer called `name`; moments in seconds."""
    fields.setdefault("network", NETWORK)
    fields.setdefault("direct", (("127.0.0.1", 4433),))
    return PeerEntry(
        peer=peer(name), version=EntryVersion(int(start * 1000), int(update * 1000)), **fields
    )


def signed(name: str, *, start: float = NOW, update: float = NOW, **fields: Any) -> SignedPeerEntry:
    """Return a signed entry of the peer called `name`; moments in seconds."""
    return SignedPeerEntry.sign(entry(name, start=start, update=update, **fields), key(name))


def catalog(
    name: str = "me",
    *,
    now: float = NOW,
    draw: Callable[[], float] = lambda: 1.0,
    **settings: Any,
) -> Catalog:
    """Return the catalog of the peer called `name`."""
    return Catalog(
        network_id=NETWORK,
        secret_key=key(name),
        addr=addr(name),
        config=DiscoveryConfig(**settings),
        draw=draw,
        now=now,
    )
