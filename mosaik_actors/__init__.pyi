"""The names that `mosaik_actors` offers, and where each is at home."""

from .codec import (
    Codec as Codec,
)
from .codec import (
    EncodeError as EncodeError,
)
from .collections.cell import (
    ValueWritten as ValueWritten,
)
from .collections.commands import (
    ABSENT as ABSENT,
)
from .collections.commands import (
    Absent as Absent,
)
from .collections.commands import (
    Cleared as Cleared,
)
from .collections.config import (
    CollectionConfig as CollectionConfig,
)
from .collections.errors import (
    CollectionOffline as CollectionOffline,
)
from .collections.errors import (
    NetworkDown as NetworkDown,
)
from .collections.map import (
    EntryInserted as EntryInserted,
)
from .collections.map import (
    EntryRemoved as EntryRemoved,
)
from .collections.map import (
    EntryUpdated as EntryUpdated,
)
from .collections.queue_records import (
    QueueEvicted as QueueEvicted,
)
from .collections.queue_records import (
    QueueInserted as QueueInserted,
)
from .collections.queue_records import (
    QueueRemoved as QueueRemoved,
)
from .collections.set import (
    MemberInserted as MemberInserted,
)
from .collections.set import (
    MemberRemoved as MemberRemoved,
)
from .collections.vec import (
    ItemInserted as ItemInserted,
)
from .collections.vec import (
    ItemRemoved as ItemRemoved,
)
from .collections.vec import (
    ItemsSwapped as ItemsSwapped,
)
from .collections.vec import (
    Truncated as Truncated,
)
from .collections.version import (
    Version as Version,
)
from .custom.actor import (
    MosaikActor as MosaikActor,
)
from .custom.actors import (
    Actors as Actors,
)
from .custom.actors import (
    NotResolved as NotResolved,
)
from .custom.isolation import (
    ProcessEnded as ProcessEnded,
)
from .custom.pool import (
    LEAST_LOADED as LEAST_LOADED,
)
from .custom.pool import (
    NEAREST as NEAREST,
)
from .custom.pool import (
    ROUND_ROBIN as ROUND_ROBIN,
)
from .custom.pool import (
    Balance as Balance,
)
from .custom.pool import (
    Pool as Pool,
)
from .custom.timers import (
    Timer as Timer,
)
from .deployment.config import (
    DeploymentConfig as DeploymentConfig,
)
from .deployment.directory import (
    DeploymentListing as DeploymentListing,
)
from .deployment.directory import (
    deployment_directory as deployment_directory,
)
from .deployment.migration import (
    migrate as migrate,
)
from .deployment.receipts import (
    ReceiptKey as ReceiptKey,
)
from .deployment.receipts import (
    seal as seal,
)
from .deployment.service import (
    Deployment as Deployment,
)
from .deployment.surface import (
    actor as actor,
)
from .deployment.surface import (
    public as public,
)
from .dht.config import (
    DhtConfig as DhtConfig,
)
from .discovery.config import (
    DiscoveryConfig as DiscoveryConfig,
)
from .discovery.entry import (
    PeerEntry as PeerEntry,
)
from .discovery.entry import (
    SignedPeerEntry as SignedPeerEntry,
)
from .discovery.errors import (
    DifferentNetwork as DifferentNetwork,
)
from .discovery.errors import (
    SyncError as SyncError,
)
from .discovery.info import (
    PeerInfo as PeerInfo,
)
from .discovery.view import CatalogSnapshot as CatalogSnapshot
from .discovery.view import PeerDeparted as PeerDeparted
from .discovery.view import PeerDiscovered as PeerDiscovered
from .discovery.view import PeerUpdated as PeerUpdated
from .discovery.view import SecretKeyShared as SecretKeyShared
from .errors import (
    AlreadyExists as AlreadyExists,
)
from .errors import (
    Closed as Closed,
)
from .errors import (
    ConfigError as ConfigError,
)
from .errors import (
    DecodeError as DecodeError,
)
from .errors import (
    Empty as Empty,
)
from .errors import (
    Full as Full,
)
from .errors import (
    GroupOffline as GroupOffline,
)
from .errors import (
    GroupTerminated as GroupTerminated,
)
from .errors import (
    MosaikError as MosaikError,
)
from .errors import (
    NoCommands as NoCommands,
)
from .errors import (
    NotAdmitted as NotAdmitted,
)
from .errors import (
    Offline as Offline,
)
from .errors import (
    ProducerOffline as ProducerOffline,
)
from .errors import (
    QueryOffline as QueryOffline,
)
from .errors import (
    RemoteError as RemoteError,
)
from .errors import (
    ResultError as ResultError,
)
from .errors import (
    TransportError as TransportError,
)
from .groups.config import (
    ConsensusConfig as ConsensusConfig,
)
from .groups.config import (
    GroupsConfig as GroupsConfig,
)
from .groups.machine.machine import (
    ApplyContext as ApplyContext,
)
from .groups.machine.machine import (
    Consistency as Consistency,
)
from .groups.machine.machine import (
    LeadershipPreference as LeadershipPreference,
)
from .groups.machine.machine import (
    NoOp as NoOp,
)
from .groups.machine.machine import (
    QueryAnswer as QueryAnswer,
)
from .groups.machine.machine import (
    StateMachine as StateMachine,
)
from .groups.machine.state_sync import (
    StateSync as StateSync,
)
from .groups.member.events import (
    GroupEvent as GroupEvent,
)
from .groups.member.events import (
    GroupForced as GroupForced,
)
from .groups.member.events import (
    GroupTakenOver as GroupTakenOver,
)
from .groups.member.events import (
    HistoriesConflicted as HistoriesConflicted,
)
from .groups.member.events import (
    HistoryMerged as HistoryMerged,
)
from .groups.member.events import (
    LeaderElected as LeaderElected,
)
from .groups.member.events import (
    MembersChanged as MembersChanged,
)
from .groups.member.events import (
    StateReplaced as StateReplaced,
)
from .groups.mesh.key import (
    GroupKey as GroupKey,
)
from .groups.mesh.topology import (
    Bond as Bond,
)
from .groups.position import (
    Position as Position,
)
from .groups.storage.interface import (
    InMemory as InMemory,
)
from .groups.storage.interface import (
    LogStorage as LogStorage,
)
from .groups.storage.interface import (
    StorageCorrupt as StorageCorrupt,
)
from .groups.storage.interface import (
    StorageError as StorageError,
)
from .groups.storage.interface import (
    StorageFull as StorageFull,
)
from .groups.storage.interface import (
    StorageInUse as StorageInUse,
)
from .groups.storage.interface import (
    StorageMismatch as StorageMismatch,
)
from .groups.storage.sqlite import (
    SqliteLog as SqliteLog,
)
from .groups.sync.settings import (
    LogReplaySync as LogReplaySync,
)
from .groups.sync.settings import (
    SnapshotSync as SnapshotSync,
)
from .handles.channels import (
    ChannelInfo as ChannelInfo,
)
from .handles.channels import (
    Stats as Stats,
)
from .handles.collections import (
    Cell as Cell,
)
from .handles.collections import (
    CellReader as CellReader,
)
from .handles.collections import (
    Changes as Changes,
)
from .handles.collections import (
    Map as Map,
)
from .handles.collections import (
    MapReader as MapReader,
)
from .handles.collections import (
    Once as Once,
)
from .handles.collections import (
    OnceReader as OnceReader,
)
from .handles.collections import (
    PriorityQueue as PriorityQueue,
)
from .handles.collections import (
    PriorityQueueReader as PriorityQueueReader,
)
from .handles.collections import (
    Set as Set,
)
from .handles.collections import (
    SetReader as SetReader,
)
from .handles.collections import (
    Vec as Vec,
)
from .handles.collections import (
    VecReader as VecReader,
)
from .handles.collections.declarations import (
    collection as collection,
)
from .handles.consumer import (
    Consumer as Consumer,
)
from .handles.group_view import (
    GroupMetrics as GroupMetrics,
)
from .handles.group_view import (
    Member as Member,
)
from .handles.groups import (
    Group as Group,
)
from .handles.kept_ticket import (
    KeptTicket as KeptTicket,
)
from .handles.kept_ticket import (
    TicketBuilder as TicketBuilder,
)
from .handles.producer import (
    Producer as Producer,
)
from .handles.stream_declarations import (
    stream as stream,
)
from .handles.trusted_domain import (
    TdxStatus as TdxStatus,
)
from .ids import (
    GroupId as GroupId,
)
from .ids import (
    NetworkId as NetworkId,
)
from .ids import (
    PeerId as PeerId,
)
from .ids import (
    SecretKey as SecretKey,
)
from .ids import (
    StoreId as StoreId,
)
from .ids import (
    StreamId as StreamId,
)
from .ids import (
    Tag as Tag,
)
from .ids import (
    UniqueId as UniqueId,
)
from .ids import (
    unique_id as unique_id,
)
from .metrics.records import (
    NodeStatus as NodeStatus,
)
from .network import (
    Network as Network,
)
from .remote.config import (
    ActorsConfig as ActorsConfig,
)
from .running import (
    run as run,
)
from .runtime import (
    DROP_NEWEST as DROP_NEWEST,
)
from .runtime import (
    DROP_OLDEST as DROP_OLDEST,
)
from .runtime import (
    REJECT as REJECT,
)
from .runtime import (
    ActorGone as ActorGone,
)
from .runtime import (
    ActorRef as ActorRef,
)
from .runtime import (
    AskCircle as AskCircle,
)
from .runtime import (
    AskFailed as AskFailed,
)
from .runtime import (
    AskPoisoned as AskPoisoned,
)
from .runtime import (
    AskRejected as AskRejected,
)
from .runtime import (
    AskTimeout as AskTimeout,
)
from .runtime import (
    AskUndeliverable as AskUndeliverable,
)
from .runtime import (
    AsyncActorSystem as AsyncActorSystem,
)
from .runtime import (
    AsyncioSystemBase as AsyncioSystemBase,
)
from .runtime import (
    ChildFailed as ChildFailed,
)
from .runtime import (
    DeadLetter as DeadLetter,
)
from .runtime import (
    Escalate as Escalate,
)
from .runtime import (
    Mailbox as Mailbox,
)
from .runtime import (
    MessageRejected as MessageRejected,
)
from .runtime import (
    Overflow as Overflow,
)
from .runtime import (
    Replies as Replies,
)
from .runtime import (
    Request as Request,
)
from .runtime import (
    Restart as Restart,
)
from .runtime import (
    Resume as Resume,
)
from .runtime import (
    RuntimeConfig as RuntimeConfig,
)
from .runtime import (
    Stop as Stop,
)
from .runtime import (
    TypeDispatcher as TypeDispatcher,
)
from .schema import (
    SchemaMismatch as SchemaMismatch,
)
from .shared_state import (
    Lagged as Lagged,
)
from .singletons.config import (
    Singleton as Singleton,
)
from .singletons.fence import (
    Fence as Fence,
)
from .singletons.fence import (
    OutdatedToken as OutdatedToken,
)
from .singletons.tenure import (
    LeaseOver as LeaseOver,
)
from .streams.config import (
    Backoff as Backoff,
)
from .streams.config import (
    StreamsConfig as StreamsConfig,
)
from .streams.consuming.preference import (
    Preference as Preference,
)
from .streams.consuming.preference import (
    best as best,
)
from .streams.consuming.preference import (
    nearest as nearest,
)
from .streams.consuming.preference import (
    with_tags as with_tags,
)
from .streams.criteria.criteria import (
    Criteria as Criteria,
)
from .streams.criteria.criteria import (
    CriteriaError as CriteriaError,
)
from .streams.criteria.criteria import (
    Record as Record,
)
from .streams.criteria.criteria import (
    where as where,
)
from .streams.producing.encoding import (
    TooLargeError as TooLargeError,
)
from .streams.producing.limits import (
    Rate as Rate,
)
from .streams.shared import (
    ChannelState as ChannelState,
)
from .tee.config import (
    TeeConfig as TeeConfig,
)
from .tee.measurement import (
    Measurement as Measurement,
)
from .tee.measurements import (
    Measurements as Measurements,
)
from .tee.simulated import (
    SimulatedRoot as SimulatedRoot,
)
from .tee.simulated import (
    SimulatedTd as SimulatedTd,
)
from .tee.sources import (
    QuoteSource as QuoteSource,
)
from .tee.sources import (
    TdxUnavailable as TdxUnavailable,
)
from .tee.ticket import (
    TdxTicket as TdxTicket,
)
from .tee.validator import (
    Tdx as Tdx,
)
from .tickets.jwt import (
    Jwt as Jwt,
)
from .tickets.jwt import (
    JwtTicketBuilder as JwtTicketBuilder,
)
from .tickets.keys import (
    EdDsa as EdDsa,
)
from .tickets.keys import (
    EdDsaSigningKey as EdDsaSigningKey,
)
from .tickets.keys import (
    Es256 as Es256,
)
from .tickets.keys import (
    Es256k as Es256k,
)
from .tickets.keys import (
    Es256kSigningKey as Es256kSigningKey,
)
from .tickets.keys import (
    Es256SigningKey as Es256SigningKey,
)
from .tickets.keys import (
    Es384 as Es384,
)
from .tickets.keys import (
    Es384SigningKey as Es384SigningKey,
)
from .tickets.keys import (
    Es512 as Es512,
)
from .tickets.keys import (
    Es512SigningKey as Es512SigningKey,
)
from .tickets.keys import (
    Hs256 as Hs256,
)
from .tickets.keys import (
    Hs256SigningKey as Hs256SigningKey,
)
from .tickets.keys import (
    Hs384 as Hs384,
)
from .tickets.keys import (
    Hs384SigningKey as Hs384SigningKey,
)
from .tickets.keys import (
    Hs512 as Hs512,
)
from .tickets.keys import (
    Hs512SigningKey as Hs512SigningKey,
)
from .tickets.ticket import (
    Ticket as Ticket,
)
from .tickets.validator import (
    Expiration as Expiration,
)
from .tickets.validator import (
    InvalidTicket as InvalidTicket,
)
from .tickets.validator import (
    TicketHolder as TicketHolder,
)
from .tickets.validator import (
    TicketValidator as TicketValidator,
)
from .transport.address import (
    PeerAddr as PeerAddr,
)
from .transport.close import (
    CloseCode as CloseCode,
)
from .transport.close import (
    CloseReason as CloseReason,
)
from .transport.config import (
    TransportConfig as TransportConfig,
)
from .transport.gate import (
    Standing as Standing,
)
from .transport.interface import (
    LinkRefused as LinkRefused,
)
from .transport.interface import (
    NotAllowed as NotAllowed,
)
from .transport.relay.config import (
    RelayConfig as RelayConfig,
)
from .when import (
    Wait as Wait,
)

__version__: str
__all__: list[str]
