"""Catalog entries for tests of the stream cores: real ones, made by hand."""

from collections.abc import Iterable

from mosaik_actors.discovery.entry import EntryVersion, PeerEntry, StreamInfo
from mosaik_actors.discovery.info import PeerInfo
from mosaik_actors.ids import NetworkId, PeerId, SecretKey, StreamId, Tag

NETWORK = NetworkId("test")


def peer_id(name: str) -> PeerId:
    return SecretKey.from_seed(name).peer_id


def peer(name: str, tags: Iterable[str] = (), streams: Iterable[str] = ()) -> PeerInfo:
    return PeerInfo(
        PeerEntry(
            network=NETWORK,
            peer=peer_id(name),
            version=EntryVersion(1, 1),
            direct=(("127.0.0.1", 4000),),
            tags=tuple(sorted(map(Tag, tags))),
            streams=tuple(StreamInfo(StreamId(stream), stream) for stream in streams),
        )
    )
