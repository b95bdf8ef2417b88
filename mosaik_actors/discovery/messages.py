"""The messages between the actors of discovery, and to them from others.

Actors of other subsystems, and of users, talk to the catalog actor only: they
watch it, advertise through it, and ask it for a sync.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
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


class WatchCatalog(msgspec.Struct, frozen=True):
    """Send `CatalogChanged` to `watcher` now, and after each change.

    A watcher that exits sends `UnwatchCatalog` before.
    """

    watcher: ActorAddress


class UnwatchCatalog(msgspec.Struct, frozen=True):
    """Send nothing more to `watcher`."""

    watcher: ActorAddress


class CatalogChanged(msgspec.Struct, frozen=True):
    """What is known now. Changes that came close together are one message."""

    snapshot: CatalogSnapshot


class AdvertiseStream(msgspec.Struct, frozen=True):
    """Say in the own entry that this node produces a stream. May be repeated.

    The sender gets `StreamAdvertised` when there is no room for it, and when there is later.
    """

    stream: StreamInfo


class StreamAdvertised(msgspec.Struct, frozen=True):
    """The stream is in the own entry now; or it is not, and `error` says why."""

    stream_id: StreamId
    error: EntryTooLarge | None


class WithdrawStream(msgspec.Struct, frozen=True):
    """Take a stream out of the own entry. May be repeated."""

    stream_id: StreamId


class AdvertiseGroup(msgspec.Struct, frozen=True):
    """Say in the own entry that this node is a member of a group. May be repeated.

    Attributes:
        group: The group.
        outcome: A future that gets None when the entry has it, and the
            `EntryTooLarge` when there is no room for it.
    """

    group: GroupInfo
    outcome: Any


class WithdrawGroup(msgspec.Struct, frozen=True):
    """Take a group out of the own entry. May be repeated."""

    group_id: GroupId


class AdvertiseActor(msgspec.Struct, frozen=True):
    """Say in the own entry that an actor can be resolved here. May be repeated.

    Attributes:
        actor: The actor.
        outcome: A future that gets None when the entry has it, and the
            `EntryTooLarge` when there is no room for it.
    """

    actor: ActorInfo
    outcome: Any


class WithdrawActor(msgspec.Struct, frozen=True):
    """Take an actor out of the own entry. May be repeated."""

    actor_id: UniqueId


class ChangeTags(msgspec.Struct, frozen=True):
    """Change the tags in the own entry."""

    add: tuple[Tag, ...] = ()
    remove: tuple[Tag, ...] = ()


class SyncWith(msgspec.Struct, frozen=True):
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


class DialPeer(msgspec.Struct, frozen=True):
    """As `SyncWith`, and keep the address: try it again whenever the peer is not known."""

    addr: PeerAddr
    token: Any = None


class SyncFinished(msgspec.Struct, frozen=True):
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


class SyncFailed(msgspec.Struct, frozen=True):
    """A sync did not happen, or was broken off. `token` is the request's."""

    error: SyncError
    token: Any


class AnnounceDeparture(msgspec.Struct, frozen=True):
    """Notify everybody that this node leaves; the sender gets `OverlayLeft`."""


class OverlayLeft(msgspec.Struct, frozen=True):
    """The departure is out as far as it will get, and all discovery links are closed."""


# Between the actors of discovery.


class LeaveOverlay(msgspec.Struct, frozen=True):
    """Close all discovery links once what was written is out; answer `asker`."""

    asker: ActorAddress


class StartCatalog(msgspec.Struct, frozen=True):
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


class ProbeSuspects(msgspec.Struct, frozen=True):
    """Try to reach peers that are said not to answer.

    Attributes:
        peers: Accuse these if they do not answer.
        unreachable: Try to be neighbours with these again.
    """

    peers: tuple[PeerId, ...]
    unreachable: tuple[PeerId, ...]


class StartGossip(msgspec.Struct, frozen=True):
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


class StartRendezvous(msgspec.Struct, frozen=True):
    """The first message of the rendezvous actor."""

    node: Node
    gossip: ActorAddress


class LeaveRendezvous(msgspec.Struct, frozen=True):
    """Take the notice away; the sender gets `RendezvousLeft`."""


class RendezvousLeft(msgspec.Struct, frozen=True):
    """The notice is gone."""


class StartMdns(msgspec.Struct, frozen=True):
    """The first message of the mDNS actor."""

    node: Node
    gossip: ActorAddress


class LeaveMdns(msgspec.Struct, frozen=True):
    """Say goodbye to the local network; the sender gets `MdnsLeft`."""


class MdnsLeft(msgspec.Struct, frozen=True):
    """The service is withdrawn, and the sockets are closed."""


class CatalogTouched(msgspec.Struct, frozen=True):
    """The core was changed by somebody else: look what came of it."""


class FlushCatalog(msgspec.Struct, frozen=True):
    """To oneself: notify the watchers, after what is in the mailbox already."""


class EntriesReceived(msgspec.Struct, frozen=True):
    """A sync brought these encoded entries; the sender gets `EntriesJudged`."""

    entries: tuple[bytes, ...]
    source: PeerId


class FramesHeard(msgspec.Struct, frozen=True):
    """From a peer actor: frames of the overlay and the broadcast.

    Attributes:
        peer_id: From whom.
        frames: The frames.
        receipt_bytes: Answer with `EntriesJudged` of so many bytes; 0 for no answer.
    """

    peer_id: PeerId
    frames: tuple[GossipFrame, ...]
    receipt_bytes: int = 0


class EntriesJudged(msgspec.Struct, frozen=True):
    """So many bytes of entries have been dealt with."""

    byte_count: int


class EntriesMerged(msgspec.Struct, frozen=True):
    """The catalog accepted these; they are new to it.

    Attributes:
        entries: The entries.
        source: Who brought them in a sync; None for the own, and for those of the user.
        replaced: What there was before of their peers.
    """

    entries: tuple[SignedPeerEntry, ...]
    source: PeerId | None
    replaced: Mapping[PeerId, SignedPeerEntry]


class PeersKnown(msgspec.Struct, frozen=True):
    """The catalog, and what hidden peers said last."""

    snapshot: CatalogSnapshot
    past: tuple[SignedPeerEntry, ...]


class PeersSighted(msgspec.Struct, frozen=True):
    """Somebody named `source` saw these peers, in place of those it saw before."""

    source: str
    addrs: tuple[PeerAddr, ...]


class RefreshEntry(msgspec.Struct, frozen=True):
    """Give the own entry a new version."""


class TakeToldEntries(msgspec.Struct, frozen=True):
    """Send back what others are sent, as `ToldEntries`."""


class ToldEntries(msgspec.Struct, frozen=True):
    """What others are sent; does not change."""

    entries: Mapping[PeerId, SignedPeerEntry]


class AwaitMerge(msgspec.Struct, frozen=True):
    """Answer with `MergeDone` once all earlier messages are dealt with and flushed."""


class MergeDone(msgspec.Struct, frozen=True):
    """All that was sent before `AwaitMerge` is in the catalog, and its watchers know."""


class StartSync(msgspec.Struct, frozen=True):
    """Sync once for `asker`; keep the address when it `is_lasting`."""

    request: SyncWith
    asker: ActorAddress
    is_lasting: bool = False


class SyncEnded(msgspec.Struct, frozen=True):
    """Pass the outcome on to `asker`, after all entries that came with it."""

    asker: ActorAddress
    outcome: SyncFinished | SyncFailed


class DialLink(msgspec.Struct, frozen=True):
    """The first message of a peer actor for a link it opens itself."""

    node: Node
    config: DiscoveryConfig
    catalog: ActorAddress
    addr: PeerAddr
    purpose: LinkPurpose
    requests: tuple[StartSync, ...] = ()


class AdoptLink(msgspec.Struct, frozen=True):
    """The first message of a peer actor for a link that the peer opened."""

    node: Node
    config: DiscoveryConfig
    catalog: ActorAddress
    link: Link
    purpose: LinkPurpose


class LinkUp(msgspec.Struct, frozen=True):
    """From a peer actor: the neighbour link it dialled is open."""

    peer_id: PeerId
    link: Link


class LinkDown(msgspec.Struct, frozen=True):
    """From a peer actor, its last word: its link ended, or could not be opened."""

    peer_id: PeerId
    reason: CloseReason
    was_open: bool


class ProbeAnswered(msgspec.Struct, frozen=True):
    """From a peer actor with a link for a probe: the answer took so many seconds."""

    peer_id: PeerId
    rtt_s: float


class BeginSync(msgspec.Struct, frozen=True):
    """To a peer actor: the link is known to the broadcast, begin the catalog sync."""


class EndLink(msgspec.Struct, frozen=True):
    """To a peer actor: close the link and exit.

    Attributes:
        reason: What the peer is sent.
        drain_s: Seconds to wait for the peer to acknowledge what was written.
    """

    reason: CloseReason
    drain_s: float = 0.0
