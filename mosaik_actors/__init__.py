"""Self-organizing, leaderless distributed systems, as actors over QUIC.

    async with Network("my-app") as net:
        producer = net.streams.produce(Price)
        await producer.when().online()
        await producer.send(Price("ETH/USDC", 3120.5))

Everything a user needs is importable from here; the sub-modules exist for
structure. What is not in ``__all__`` may change at any time.
"""

from importlib.metadata import version as _version

from .codec import Codec, EncodeError
from .discovery.api import Lagged
from .discovery.catalog import CatalogSnapshot, PeerDeparted, PeerDiscovered, PeerUpdated
from .discovery.config import DiscoveryConfig
from .discovery.entry import PeerEntry, SignedPeerEntry, Ticket
from .discovery.errors import DifferentNetwork, SyncError
from .discovery.info import PeerInfo
from .errors import (
    AlreadyExists,
    Closed,
    ConfigError,
    DecodeError,
    Empty,
    Full,
    MosaikError,
    Offline,
    ProducerOffline,
    RemoteError,
    TransportError,
)
from .ids import (
    GroupId,
    NetworkId,
    PeerId,
    SecretKey,
    StoreId,
    StreamId,
    Tag,
    UniqueId,
    unique_id,
)
from .network import Network
from .runtime import AsyncActorSystem, AsyncioSystemBase, RuntimeConfig, TypeDispatcher
from .streams.api import ChannelInfo, Consumer, Producer, Stats
from .streams.config import Backoff, StreamsConfig
from .streams.schema import SchemaMismatch
from .transport.address import PeerAddr
from .transport.close import CloseCode, CloseReason
from .transport.config import TransportConfig
from .transport.interface import LinkRefused

__version__ = _version("mosaik-actors")

__all__ = [
    "AlreadyExists",
    "AsyncActorSystem",
    "AsyncioSystemBase",
    "Backoff",
    "CatalogSnapshot",
    "ChannelInfo",
    "CloseCode",
    "CloseReason",
    "Closed",
    "Codec",
    "ConfigError",
    "Consumer",
    "DecodeError",
    "DifferentNetwork",
    "DiscoveryConfig",
    "Empty",
    "EncodeError",
    "Full",
    "GroupId",
    "Lagged",
    "LinkRefused",
    "MosaikError",
    "Network",
    "NetworkId",
    "Offline",
    "PeerAddr",
    "PeerDeparted",
    "PeerDiscovered",
    "PeerEntry",
    "PeerId",
    "PeerInfo",
    "PeerUpdated",
    "Producer",
    "ProducerOffline",
    "RemoteError",
    "RuntimeConfig",
    "SchemaMismatch",
    "SecretKey",
    "SignedPeerEntry",
    "Stats",
    "StoreId",
    "StreamId",
    "StreamsConfig",
    "SyncError",
    "Tag",
    "Ticket",
    "TransportConfig",
    "TransportError",
    "TypeDispatcher",
    "UniqueId",
    "unique_id",
]
