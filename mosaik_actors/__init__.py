"""Self-organizing, leaderless distributed systems, as actors over QUIC.

    async with Network("my-app") as net:
        producer = net.streams.produce(Price)
        await producer.when().online()
        await producer.send(Price("ETH/USDC", 3120.5))

Everything a user needs is importable from here; the sub-modules exist for
structure. What is not in ``__all__`` may change at any time. Names are looked
up when they are first used, so that importing one part does not load all.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
        GroupOffline,
        GroupTerminated,
        MosaikError,
        NoCommands,
        Offline,
        ProducerOffline,
        QueryOffline,
        RemoteError,
        TransportError,
    )
    from .groups.api import Group, GroupMetrics, Member
    from .groups.config import ConsensusConfig, GroupsConfig
    from .groups.key import GroupKey
    from .groups.machine import (
        ApplyContext,
        Consistency,
        LeadershipPreference,
        NoOp,
        QueryAnswer,
        StateMachine,
    )
    from .groups.member_events import (
        GroupEvent,
        GroupForced,
        HistoriesConflicted,
        HistoryMerged,
        LeaderElected,
        MembersChanged,
        StateReplaced,
    )
    from .groups.mesh import Bond
    from .groups.sqlite import SqliteLog
    from .groups.storage import (
        InMemory,
        LogStorage,
        StorageCorrupt,
        StorageError,
        StorageFull,
        StorageInUse,
        StorageMismatch,
    )
    from .groups.sync import LogReplaySync, SnapshotSync, StateSync
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
    from .streams.api import Consumer, Producer
    from .streams.board import ChannelState
    from .streams.channels import ChannelInfo, Stats
    from .streams.config import Backoff, StreamsConfig
    from .streams.criteria import Criteria, CriteriaError, Record, where
    from .streams.declarations import stream
    from .streams.limits import Rate
    from .streams.parts import TooLargeError
    from .streams.preference import Preference, best, nearest, with_tags
    from .streams.schema import SchemaMismatch
    from .transport.address import PeerAddr
    from .transport.close import CloseCode, CloseReason
    from .transport.config import TransportConfig
    from .transport.interface import LinkRefused

_HOMES = {
    "Codec": ".codec",
    "EncodeError": ".codec",
    "Lagged": ".discovery.api",
    "CatalogSnapshot": ".discovery.catalog",
    "PeerDeparted": ".discovery.catalog",
    "PeerDiscovered": ".discovery.catalog",
    "PeerUpdated": ".discovery.catalog",
    "DiscoveryConfig": ".discovery.config",
    "PeerEntry": ".discovery.entry",
    "SignedPeerEntry": ".discovery.entry",
    "Ticket": ".discovery.entry",
    "DifferentNetwork": ".discovery.errors",
    "SyncError": ".discovery.errors",
    "PeerInfo": ".discovery.info",
    "AlreadyExists": ".errors",
    "Closed": ".errors",
    "ConfigError": ".errors",
    "DecodeError": ".errors",
    "Empty": ".errors",
    "Full": ".errors",
    "GroupOffline": ".errors",
    "GroupTerminated": ".errors",
    "MosaikError": ".errors",
    "NoCommands": ".errors",
    "Offline": ".errors",
    "ProducerOffline": ".errors",
    "QueryOffline": ".errors",
    "RemoteError": ".errors",
    "TransportError": ".errors",
    "Group": ".groups.api",
    "GroupMetrics": ".groups.api",
    "Member": ".groups.api",
    "ConsensusConfig": ".groups.config",
    "GroupsConfig": ".groups.config",
    "GroupKey": ".groups.key",
    "ApplyContext": ".groups.machine",
    "Consistency": ".groups.machine",
    "LeadershipPreference": ".groups.machine",
    "NoOp": ".groups.machine",
    "QueryAnswer": ".groups.machine",
    "StateMachine": ".groups.machine",
    "GroupEvent": ".groups.member_events",
    "GroupForced": ".groups.member_events",
    "HistoriesConflicted": ".groups.member_events",
    "HistoryMerged": ".groups.member_events",
    "LeaderElected": ".groups.member_events",
    "MembersChanged": ".groups.member_events",
    "StateReplaced": ".groups.member_events",
    "Bond": ".groups.mesh",
    "SqliteLog": ".groups.sqlite",
    "InMemory": ".groups.storage",
    "LogStorage": ".groups.storage",
    "StorageCorrupt": ".groups.storage",
    "StorageError": ".groups.storage",
    "StorageFull": ".groups.storage",
    "StorageInUse": ".groups.storage",
    "StorageMismatch": ".groups.storage",
    "LogReplaySync": ".groups.sync",
    "SnapshotSync": ".groups.sync",
    "StateSync": ".groups.sync",
    "GroupId": ".ids",
    "NetworkId": ".ids",
    "PeerId": ".ids",
    "SecretKey": ".ids",
    "StoreId": ".ids",
    "StreamId": ".ids",
    "Tag": ".ids",
    "UniqueId": ".ids",
    "unique_id": ".ids",
    "Network": ".network",
    "AsyncActorSystem": ".runtime",
    "AsyncioSystemBase": ".runtime",
    "RuntimeConfig": ".runtime",
    "TypeDispatcher": ".runtime",
    "Consumer": ".streams.api",
    "Producer": ".streams.api",
    "ChannelState": ".streams.board",
    "ChannelInfo": ".streams.channels",
    "Stats": ".streams.channels",
    "Backoff": ".streams.config",
    "StreamsConfig": ".streams.config",
    "Criteria": ".streams.criteria",
    "CriteriaError": ".streams.criteria",
    "Record": ".streams.criteria",
    "where": ".streams.criteria",
    "stream": ".streams.declarations",
    "Rate": ".streams.limits",
    "TooLargeError": ".streams.parts",
    "Preference": ".streams.preference",
    "best": ".streams.preference",
    "nearest": ".streams.preference",
    "with_tags": ".streams.preference",
    "SchemaMismatch": ".streams.schema",
    "PeerAddr": ".transport.address",
    "CloseCode": ".transport.close",
    "CloseReason": ".transport.close",
    "TransportConfig": ".transport.config",
    "LinkRefused": ".transport.interface",
}

__all__ = [
    "AlreadyExists",
    "ApplyContext",
    "AsyncActorSystem",
    "AsyncioSystemBase",
    "Backoff",
    "Bond",
    "CatalogSnapshot",
    "ChannelInfo",
    "ChannelState",
    "CloseCode",
    "CloseReason",
    "Closed",
    "Codec",
    "ConfigError",
    "ConsensusConfig",
    "Consistency",
    "Consumer",
    "Criteria",
    "CriteriaError",
    "DecodeError",
    "DifferentNetwork",
    "DiscoveryConfig",
    "Empty",
    "EncodeError",
    "Full",
    "Group",
    "GroupEvent",
    "GroupForced",
    "GroupId",
    "GroupKey",
    "GroupMetrics",
    "GroupOffline",
    "GroupTerminated",
    "GroupsConfig",
    "HistoriesConflicted",
    "HistoryMerged",
    "InMemory",
    "Lagged",
    "LeaderElected",
    "LeadershipPreference",
    "LinkRefused",
    "LogReplaySync",
    "LogStorage",
    "Member",
    "MembersChanged",
    "MosaikError",
    "Network",
    "NetworkId",
    "NoCommands",
    "NoOp",
    "Offline",
    "PeerAddr",
    "PeerDeparted",
    "PeerDiscovered",
    "PeerEntry",
    "PeerId",
    "PeerInfo",
    "PeerUpdated",
    "Preference",
    "Producer",
    "ProducerOffline",
    "QueryAnswer",
    "QueryOffline",
    "Rate",
    "Record",
    "RemoteError",
    "RuntimeConfig",
    "SchemaMismatch",
    "SecretKey",
    "SignedPeerEntry",
    "SnapshotSync",
    "SqliteLog",
    "StateMachine",
    "StateReplaced",
    "StateSync",
    "Stats",
    "StorageCorrupt",
    "StorageError",
    "StorageFull",
    "StorageInUse",
    "StorageMismatch",
    "StoreId",
    "StreamId",
    "StreamsConfig",
    "SyncError",
    "Tag",
    "Ticket",
    "TooLargeError",
    "TransportConfig",
    "TransportError",
    "TypeDispatcher",
    "UniqueId",
    "best",
    "nearest",
    "stream",
    "unique_id",
    "where",
    "with_tags",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("mosaik-actors")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(_import_module(home, __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
