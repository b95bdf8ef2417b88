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
    from .collections.api import (
        Cell,
        CellReader,
        Changes,
        Map,
        MapReader,
        Once,
        OnceReader,
        PriorityQueue,
        PriorityQueueReader,
        Set,
        SetReader,
        Vec,
        VecReader,
    )
    from .collections.cell import ValueWritten
    from .collections.commands import ABSENT, Absent, Cleared
    from .collections.config import CollectionConfig
    from .collections.declarations import collection
    from .collections.errors import CollectionOffline, NetworkDown
    from .collections.map import EntryInserted, EntryRemoved, EntryUpdated
    from .collections.queue_records import QueueEvicted, QueueInserted, QueueRemoved
    from .collections.set import MemberInserted, MemberRemoved
    from .collections.vec import ItemInserted, ItemRemoved, ItemsSwapped, Truncated
    from .collections.version import Version
    from .discovery.catalog import (
        CatalogSnapshot,
        PeerDeparted,
        PeerDiscovered,
        PeerUpdated,
        SecretKeyShared,
    )
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
    from .groups.machine.machine import (
        ApplyContext,
        Consistency,
        LeadershipPreference,
        NoOp,
        QueryAnswer,
        StateMachine,
    )
    from .groups.machine.state_sync import StateSync
    from .groups.member.events import (
        GroupEvent,
        GroupForced,
        GroupTakenOver,
        HistoriesConflicted,
        HistoryMerged,
        LeaderElected,
        MembersChanged,
        StateReplaced,
    )
    from .groups.mesh.key import GroupKey
    from .groups.mesh.topology import Bond
    from .groups.storage.interface import (
        InMemory,
        LogStorage,
        StorageCorrupt,
        StorageError,
        StorageFull,
        StorageInUse,
        StorageMismatch,
    )
    from .groups.storage.sqlite import SqliteLog
    from .groups.sync.settings import LogReplaySync, SnapshotSync
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
    from .running import run
    from .runtime import AsyncActorSystem, AsyncioSystemBase, RuntimeConfig, TypeDispatcher
    from .shared_state import Lagged
    from .streams.api import Consumer, Producer
    from .streams.channels import ChannelInfo, Stats
    from .streams.config import Backoff, StreamsConfig
    from .streams.criteria import Criteria, CriteriaError, Record, where
    from .streams.declarations import stream
    from .streams.limits import Rate
    from .streams.parts import TooLargeError
    from .streams.preference import Preference, best, nearest, with_tags
    from .streams.schema import SchemaMismatch
    from .streams.shared import ChannelState
    from .transport.address import PeerAddr
    from .transport.close import CloseCode, CloseReason
    from .transport.config import TransportConfig
    from .transport.interface import LinkRefused
    from .when import Wait

_HOMES = {
    "Codec": ".codec",
    "EncodeError": ".codec",
    "Cell": ".collections.api",
    "CellReader": ".collections.api",
    "Changes": ".collections.api",
    "Map": ".collections.api",
    "MapReader": ".collections.api",
    "Once": ".collections.api",
    "OnceReader": ".collections.api",
    "PriorityQueue": ".collections.api",
    "PriorityQueueReader": ".collections.api",
    "Set": ".collections.api",
    "SetReader": ".collections.api",
    "Vec": ".collections.api",
    "VecReader": ".collections.api",
    "ValueWritten": ".collections.cell",
    "ABSENT": ".collections.commands",
    "Absent": ".collections.commands",
    "Cleared": ".collections.commands",
    "CollectionConfig": ".collections.config",
    "collection": ".collections.declarations",
    "CollectionOffline": ".collections.errors",
    "NetworkDown": ".collections.errors",
    "EntryInserted": ".collections.map",
    "EntryRemoved": ".collections.map",
    "EntryUpdated": ".collections.map",
    "QueueEvicted": ".collections.queue_records",
    "QueueInserted": ".collections.queue_records",
    "QueueRemoved": ".collections.queue_records",
    "MemberInserted": ".collections.set",
    "MemberRemoved": ".collections.set",
    "ItemInserted": ".collections.vec",
    "ItemRemoved": ".collections.vec",
    "ItemsSwapped": ".collections.vec",
    "Truncated": ".collections.vec",
    "Version": ".collections.version",
    "Lagged": ".shared_state",
    "CatalogSnapshot": ".discovery.catalog",
    "PeerDeparted": ".discovery.catalog",
    "PeerDiscovered": ".discovery.catalog",
    "PeerUpdated": ".discovery.catalog",
    "SecretKeyShared": ".discovery.catalog",
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
    "GroupTakenOver": ".groups.member_events",
    "HistoriesConflicted": ".groups.member_events",
    "HistoryMerged": ".groups.member_events",
    "LeaderElected": ".groups.member_events",
    "MembersChanged": ".groups.member_events",
    "StateReplaced": ".groups.member_events",
    "Bond": ".groups.topology",
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
    "run": ".running",
    "AsyncActorSystem": ".runtime",
    "AsyncioSystemBase": ".runtime",
    "RuntimeConfig": ".runtime",
    "TypeDispatcher": ".runtime",
    "Consumer": ".streams.api",
    "Producer": ".streams.api",
    "ChannelState": ".streams.shared",
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
    "Wait": ".when",
}

__all__ = [
    "ABSENT",
    "Absent",
    "AlreadyExists",
    "ApplyContext",
    "AsyncActorSystem",
    "AsyncioSystemBase",
    "Backoff",
    "Bond",
    "CatalogSnapshot",
    "Cell",
    "CellReader",
    "Changes",
    "ChannelInfo",
    "ChannelState",
    "Cleared",
    "CloseCode",
    "CloseReason",
    "Closed",
    "Codec",
    "CollectionConfig",
    "CollectionOffline",
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
    "EntryInserted",
    "EntryRemoved",
    "EntryUpdated",
    "Full",
    "Group",
    "GroupEvent",
    "GroupForced",
    "GroupId",
    "GroupKey",
    "GroupMetrics",
    "GroupOffline",
    "GroupTakenOver",
    "GroupTerminated",
    "GroupsConfig",
    "HistoriesConflicted",
    "HistoryMerged",
    "InMemory",
    "ItemInserted",
    "ItemRemoved",
    "ItemsSwapped",
    "Lagged",
    "LeaderElected",
    "LeadershipPreference",
    "LinkRefused",
    "LogReplaySync",
    "LogStorage",
    "Map",
    "MapReader",
    "Member",
    "MemberInserted",
    "MemberRemoved",
    "MembersChanged",
    "MosaikError",
    "Network",
    "NetworkDown",
    "NetworkId",
    "NoCommands",
    "NoOp",
    "Offline",
    "Once",
    "OnceReader",
    "PeerAddr",
    "PeerDeparted",
    "PeerDiscovered",
    "PeerEntry",
    "PeerId",
    "PeerInfo",
    "PeerUpdated",
    "Preference",
    "PriorityQueue",
    "PriorityQueueReader",
    "Producer",
    "ProducerOffline",
    "QueryAnswer",
    "QueryOffline",
    "QueueEvicted",
    "QueueInserted",
    "QueueRemoved",
    "Rate",
    "Record",
    "RemoteError",
    "RuntimeConfig",
    "SchemaMismatch",
    "SecretKey",
    "SecretKeyShared",
    "Set",
    "SetReader",
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
    "Truncated",
    "TypeDispatcher",
    "UniqueId",
    "ValueWritten",
    "Vec",
    "VecReader",
    "Version",
    "Wait",
    "best",
    "collection",
    "nearest",
    "run",
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
