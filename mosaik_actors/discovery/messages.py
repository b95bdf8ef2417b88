"""The messages between the actors of discovery, and to them from others.

Actors of other subsystems, and of users, talk to the catalog actor only: they
watch it, advertise through it, and ask it for a sync.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from thespian.actors import ActorAddress

from ..ids import GroupId, PeerId, StreamId, Tag, UniqueId
from ..transport.address import PeerAddr
from ..transport.close import CloseReason
from ..transport.interface import Link
from .catalog.catalog import Catalog
from .config import DiscoveryConfig
from .entry import ActorInfo, EntryTooLarge, GroupInfo, SignedPeerEntry, StreamInfo
from .errors import SyncError
from .gossip.gossip import Gossip
from .view import CatalogEvent, CatalogSnapshot
from .wire import GossipFrame, LinkPurpose

if TYPE_CHECKING:
    from ..node import Node

Publish = Callable[[CatalogSnapshot, tuple[CatalogEvent, ...]], None]


# To the catalog actor, from anybody.


@dataclass(frozen=True, slots=True)
class WatchCatalog:
    """Send `CatalogChanged` to `watcher` now, and after each change.

    A watcher that exits sends `UnwatchCatalog` before.
    """

    watcher: ActorAddress


@dataclass(frozen=True, slots=True)
class UnwatchCatalog:
    """Send nothing more to `watcher`."""

    watcher: ActorAddress


@dataclass(frozen=True, slots=True)
class CatalogChanged:
    """What is known now. Changes that came close together are one message."""

    snapshot: CatalogSnapshot


@dataclass(frozen=True, slots=True)
class AdvertiseStream:
    """Say in the own entry that this node produces a stream. May be repeated.

    The sender gets `StreamAdvertised` when there is no room for it, and when there is later.
    """

    stream: StreamInfo


@dataclass(frozen=True, slots=True)
class StreamAdvertised:
    """The stream is in the own entry now; or it is not, and `error` says why."""

    stream_id: StreamId
    error: EntryTooLarge | None


@dataclass(frozen=True, slots=True)
class WithdrawStream:
    """Take a stream out of the own entry. May be repeated."""

    stream_id: StreamId


@dataclass(frozen=True, slots=True)
class AdvertiseGroup:
    """Say in the own entry that this node is a member of a group. May be repeated.

    Attributes:
        group: The group.
        outcome: A future that gets None when the entry has it, and the
            `EntryTooLarge` when there is no room for it.
    """

    group: GroupInfo
    outcome: Any


@dataclass(frozen=True, slots=True)
class WithdrawGroup:
    """Take a group out of the own entry. May be repeated."""

    group_id: GroupId


@dataclass(frozen=True, slots=True)
class AdvertiseActor:
    """Say in the own entry that an actor can be resolved here. May be repeated.

    Attributes:
        actor: The actor.
        outcome: A future that gets None when the entry has it, and the
            `EntryTooLarge` when there is no room for it.
    """

    actor: ActorInfo
    outcome: Any


@dataclass(frozen=True, slots=True)
class WithdrawActor:
    """Take an actor out of the own entry. May be repeated."""

    actor_id: UniqueId


@dataclass(frozen=True, slots=True)
class ChangeTags:
    """Change the tags in the own entry."""

    add: tuple[Tag, ...] = ()
    remove: tuple[Tag, ...] = ()


@dataclass(frozen=True, slots=True)
class SyncWith:
    """Exchange catalogs with a peer; the sender gets `SyncFinished` or `SyncFailed`.

    When it is finished, both sides' catalogs have what the other had, and both
    sides' watchers have been sent it. Requests that come while a sync with the
    same peer runs share the next one.

    Attributes:
        addr: The peer, and where it is.
        token: Anything by which the sender knows its request again.
    """

    addr: PeerAddr
    token: Any = None


@dataclass(frozen=True, slots=True)
class DialPeer:
    """As `SyncWith`, and keep the address: try it again whenever the peer is not known."""

    addr: PeerAddr
    token: Any = None


@dataclass(frozen=True, slots=True)
class SyncFinished:
    """A sync is through.

    Attributes:
        peer_id: With whom.
        received_count: Entries that came.
        sent_count: Entries that went.
        token: The request's.
    """

    peer_id: PeerId
    received_count: int
    sent_count: int
    token: Any


@dataclass(frozen=True, slots=True)
class SyncFailed:
    """A sync did not happen, or was broken off. `token` is the request's."""

    error: SyncError
    token: Any


@dataclass(frozen=True, slots=True)
class AnnounceDeparture:
    """Notify everybody that this node leaves; the sender gets `OverlayLeft`."""


@dataclass(frozen=True, slots=True)
class OverlayLeft:
    """The departure is out as far as it will get, and all discovery links are closed."""


# Between the actors of discovery.


@dataclass(frozen=True, slots=True)
class LeaveOverlay:
    """Close all discovery links once what was written is out; answer `asker`."""

    asker: ActorAddress


@dataclass(frozen=True, slots=True)
class StartCatalog:
    """The first message of the catalog actor.

    Attributes:
        node: The node.
        config: The settings.
        catalog: The core; the handle changes it too, and then sends `CatalogTouched`.
        publish: Called with each new snapshot and what happened since the last.
        is_read: Returns whether anybody wants to know what happens.
        gossip: The gossip actor.
    """

    node: Node
    config: DiscoveryConfig
    catalog: Catalog
    publish: Publish
    is_read: Callable[[], bool]
    gossip: ActorAddress


@dataclass(frozen=True, slots=True)
class ProbeSuspects:
    """Try to reach peers that are said not to answer.

    Attributes:
        peers: Accuse these if they do not answer.
        unreachable: Try to be neighbours with these again.
    """

    peers: tuple[PeerId, ...]
    unreachable: tuple[PeerId, ...]


@dataclass(frozen=True, slots=True)
class StartGossip:
    """The first message of the gossip actor.

    Attributes:
        node: The node.
        config: The settings.
        gossip: Its core; the handle reads who the neighbours are.
        core: The catalog: what neighbours announce is judged here, without a detour.
        catalog: The catalog actor; gets `CatalogTouched` when something came of it.
        bootstrap: Peers to begin with.
        network_name: The network as people know it: its name, or its id's first digits.
    """

    node: Node
    config: DiscoveryConfig
    gossip: Gossip
    core: Catalog
    catalog: ActorAddress
    bootstrap: tuple[PeerAddr, ...]
    network_name: str


@dataclass(frozen=True, slots=True)
class StartRendezvous:
    """The first message of the rendezvous actor."""

    node: Node
    gossip: ActorAddress


@dataclass(frozen=True, slots=True)
class LeaveRendezvous:
    """Take the notice away; the sender gets `RendezvousLeft`."""


@dataclass(frozen=True, slots=True)
class RendezvousLeft:
    """The notice is gone."""


@dataclass(frozen=True, slots=True)
class StartMdns:
    """The first message of the mDNS actor."""

    node: Node
    gossip: ActorAddress


@dataclass(frozen=True, slots=True)
class LeaveMdns:
    """Say goodbye to the local network; the sender gets `MdnsLeft`."""


@dataclass(frozen=True, slots=True)
class MdnsLeft:
    """The service is withdrawn, and the sockets are closed."""


@dataclass(frozen=True, slots=True)
class CatalogTouched:
    """The core was changed by somebody else: look what came of it."""


@dataclass(frozen=True, slots=True)
class FlushCatalog:
    """To oneself: notify the watchers, after what is in the mailbox already."""


@dataclass(frozen=True, slots=True)
class EntriesReceived:
    """A sync brought these encoded entries; the sender gets `EntriesJudged`."""

    entries: tuple[bytes, ...]
    source: PeerId


@dataclass(frozen=True, slots=True)
class FramesHeard:
    """From a peer actor: frames of the overlay and the broadcast.

    Attributes:
        peer_id: From whom.
        frames: The frames.
        receipt_bytes: Answer with `EntriesJudged` of so many bytes; 0 for no answer.
    """

    peer_id: PeerId
    frames: tuple[GossipFrame, ...]
    receipt_bytes: int = 0


@dataclass(frozen=True, slots=True)
class EntriesJudged:
    """So many bytes of entries have been dealt with."""

    byte_count: int


@dataclass(frozen=True, slots=True)
class EntriesMerged:
    """The catalog accepted these; they are new to it.

    Attributes:
        entries: The entries.
        source: Who brought them in a sync; None for the own, and for those of the user.
    """

    entries: tuple[SignedPeerEntry, ...]
    source: PeerId | None


@dataclass(frozen=True, slots=True)
class PeersKnown:
    """The catalog, and what hidden peers said last."""

    snapshot: CatalogSnapshot
    past: tuple[SignedPeerEntry, ...]


@dataclass(frozen=True, slots=True)
class PeersSighted:
    """Somebody named `source` saw these peers, in place of those it saw before."""

    source: str
    addrs: tuple[PeerAddr, ...]


@dataclass(frozen=True, slots=True)
class RefreshEntry:
    """Give the own entry a new version."""


@dataclass(frozen=True, slots=True)
class TakeToldEntries:
    """Send back what others are sent, as `ToldEntries`."""


@dataclass(frozen=True, slots=True)
class ToldEntries:
    """What others are sent; does not change."""

    entries: Mapping[PeerId, SignedPeerEntry]


@dataclass(frozen=True, slots=True)
class AwaitMerge:
    """Answer with `MergeDone` once all earlier messages are dealt with and flushed."""


@dataclass(frozen=True, slots=True)
class MergeDone:
    """All that was sent before `AwaitMerge` is in the catalog, and its watchers know."""


@dataclass(frozen=True, slots=True)
class StartSync:
    """Sync once for `asker`; keep the address when it `is_lasting`."""

    request: SyncWith
    asker: ActorAddress
    is_lasting: bool = False


@dataclass(frozen=True, slots=True)
class SyncEnded:
    """Pass the outcome on to `asker`, after all entries that came with it."""

    asker: ActorAddress
    outcome: SyncFinished | SyncFailed


@dataclass(frozen=True, slots=True)
class DialLink:
    """The first message of a peer actor for a link it opens itself."""

    node: Node
    config: DiscoveryConfig
    catalog: ActorAddress
    addr: PeerAddr
    purpose: LinkPurpose
    requests: tuple[StartSync, ...] = ()


@dataclass(frozen=True, slots=True)
class AdoptLink:
    """The first message of a peer actor for a link that the peer opened."""

    node: Node
    config: DiscoveryConfig
    catalog: ActorAddress
    link: Link
    purpose: LinkPurpose


@dataclass(frozen=True, slots=True)
class LinkUp:
    """From a peer actor: the neighbour link it dialled is open."""

    peer_id: PeerId
    link: Link


@dataclass(frozen=True, slots=True)
class LinkDown:
    """From a peer actor, its last word: its link ended, or could not be opened."""

    peer_id: PeerId
    reason: CloseReason
    was_open: bool


@dataclass(frozen=True, slots=True)
class ProbeAnswered:
    """From a peer actor with a link for a probe: the answer took so many seconds."""

    peer_id: PeerId
    rtt_s: float


@dataclass(frozen=True, slots=True)
class BeginSync:
    """To a peer actor: the link is known to the broadcast, begin the catalog sync."""


@dataclass(frozen=True, slots=True)
class EndLink:
    """To a peer actor: close the link and exit.

    Attributes:
        reason: What the peer is sent.
        drain_s: Seconds to wait for the peer to acknowledge what was written.
    """

    reason: CloseReason
    drain_s: float = 0.0
