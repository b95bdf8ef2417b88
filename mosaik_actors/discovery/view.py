"""What is shown of the catalog: snapshots, and the events of what changes in them.

A pure state machine. `CatalogView` is given what is to be shown of a peer now and
finds out what that changes: nothing, a new snapshot only, or an event besides.

Of most peers nothing is known but what they signed, and nobody looks at them: their
entry stands for them until somebody does, and becomes a `PeerInfo` then.

Invariants:
    * A snapshot never changes after it was taken.
    * The version grows with each change that can be seen in a snapshot, except that
      a peer is heard of again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from ..ids import PeerId
from .entry import PeerEntry, SignedPeerEntry
from .info import PeerInfo
from .layers import Layers, SharedLayers


class DepartureReason(StrEnum):
    """Why a peer is not shown any more."""

    LEFT = "left"
    SILENT = "silent"
    REMOVED = "removed"
    TOO_FAR = "too far"
    NO_ROOM = "no room"


@dataclass(frozen=True, slots=True)
class _PeerEvent:
    """Something about a peer, as it is known after the event or was last known."""

    peer: PeerInfo

    @property
    def peer_id(self) -> PeerId:
        """Which peer."""
        return self.peer.peer_id


@dataclass(frozen=True, slots=True)
class PeerDiscovered(_PeerEvent):
    """A peer is shown that was not shown before."""


@dataclass(frozen=True, slots=True)
class PeerUpdated(_PeerEvent):
    """A peer says something else about itself than before."""

    previous: PeerInfo


@dataclass(frozen=True, slots=True)
class PeerDeparted(_PeerEvent):
    """A peer is not shown any more; `peer` is the last that was known."""

    reason: DepartureReason


@dataclass(frozen=True, slots=True)
class SecretKeyShared:
    """Another node that lives uses the same secret key as this one."""

    peer_id: PeerId


CatalogEvent = PeerDiscovered | PeerUpdated | PeerDeparted | SecretKeyShared

# What is shown of a peer. An entry stands for the information that it is there: signed,
# reachable, not measured.
Shown = PeerInfo | SignedPeerEntry
Clock = Callable[[], float] | None


class CatalogSnapshot(Mapping[PeerId, PeerInfo]):
    """The peers that were known at one moment, without this node itself.

    Immutable; look up by id or by its hexadecimal digits.

    Attributes:
        me: This node's own entry at that moment.
        version: Grows with each change that can be seen in a snapshot.
    """

    __slots__ = ("_clock", "_peers", "me", "version")

    def __init__(
        self,
        peers: SharedLayers[PeerId, Shown],
        me: SignedPeerEntry,
        version: int,
        clock: Clock = None,
    ) -> None:
        self._peers = peers
        self._clock = clock
        self.me = me
        self.version = version

    def __getitem__(self, key: PeerId | str) -> PeerInfo:
        peer_id = PeerId(key) if isinstance(key, str) else key
        shown = self._peers.get(peer_id)
        if shown is None:
            raise KeyError(key)
        if isinstance(shown, SignedPeerEntry):
            # In its place, so that who looks again finds the same.
            shown = _inform(shown, self._clock)
            self._peers.replace(peer_id, shown)
        return shown

    def entries(self) -> Iterator[PeerEntry]:
        """Return what the peers say of themselves; nothing else is looked up."""
        return (shown.entry for shown in self._peers.values())

    def __contains__(self, key: object) -> bool:
        return (PeerId(key) if isinstance(key, str) else key) in self._peers

    def __iter__(self) -> Iterator[PeerId]:
        return iter(self._peers)

    def __len__(self) -> int:
        return len(self._peers)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CatalogSnapshot):
            return NotImplemented
        return self.me == other.me and dict(self) == dict(other)

    __hash__ = None  # type: ignore[assignment]  # equal by content, like every mapping

    def __repr__(self) -> str:
        return f"CatalogSnapshot(version {self.version}, {len(self)} peers)"


def entries_of(peers: Mapping[PeerId, PeerInfo]) -> Iterator[PeerEntry]:
    """Return what peers say of themselves; in a snapshot nothing else is looked up for it."""
    if isinstance(peers, CatalogSnapshot):
        return peers.entries()
    return (info.entry for info in peers.values())


class CatalogView:
    """The state machine of this module's docstring."""

    def __init__(self, clock: Clock = None) -> None:
        self._clock = clock
        self._shown: Layers[PeerId, Shown] = Layers()
        self._snapshot: CatalogSnapshot | None = None
        self._version = 0
        self._events: deque[_Event] = deque()

    @property
    def version(self) -> int:
        """Grows with each change that can be seen in a snapshot."""
        return self._version

    def __contains__(self, peer_id: object) -> bool:
        return peer_id in self._shown

    def snapshot(self, me: SignedPeerEntry) -> CatalogSnapshot:
        """Return the peers that are shown now. Costs nothing while nothing changes."""
        if self._snapshot is None or self._snapshot.me is not me:
            shown = self._shown.share()
            self._snapshot = CatalogSnapshot(shown, me, self._version, self._clock)
        return self._snapshot

    def show(self, peer_id: PeerId, now: Shown | None, reason: DepartureReason) -> bool:
        """Show this of a peer, or nothing more; return whether a reader has to look.

        Args:
            peer_id: Which peer.
            now: What is known of it; None when it is not to be shown.
            reason: Why not, if it was shown before.
        """
        before = self._shown.get(peer_id)
        if before is None:
            if now is None:
                return False
            self.replace(peer_id, now)
            self._events.append((PeerDiscovered, now, None))
        elif now is None:
            self.replace(peer_id, None)
            self._events.append((PeerDeparted, before, reason))
        else:
            one, other = _inform(now, self._clock), _inform(before, self._clock)
            if one == other:
                return False
            self.replace(peer_id, now)
            if (
                one.is_signed != other.is_signed
                or one.is_reachable != other.is_reachable
                or not one.entry.says_the_same_as(other.entry)
            ):
                self._events.append((PeerUpdated, one, other))
            elif one.rtt == other.rtt:
                return False  # only the time of writing differs: nothing to look at
        self._version += 1
        return True

    def replace(self, peer_id: PeerId, now: Shown | None) -> None:
        """Show this of a peer without looking at what differs from before."""
        self._snapshot = None
        if now is None:
            self._shown.remove(peer_id)
        else:
            self._shown.put(peer_id, now)

    def note_own_change(self) -> None:
        """Note that this node says something else about itself."""
        self._version += 1
        self._snapshot = None

    def note_shared_key(self, peer_id: PeerId) -> None:
        """Note that another node that lives uses this node's key."""
        self._events.append(SecretKeyShared(peer_id))
        self._version += 1
        self._snapshot = None

    def next_event(self) -> CatalogEvent | None:
        """Return the oldest event not yet handed out, or None."""
        if not self._events:
            return None
        event = self._events.popleft()
        if isinstance(event, SecretKeyShared):
            return event
        kind, shown, more = event
        return kind(_inform(shown, self._clock), *(() if more is None else (more,)))

    def skip_arrivals(self) -> None:
        """Drop the events of peers that came or left and are not yet handed out."""
        if self._events:
            self._events = deque(
                one
                for one in self._events
                if isinstance(one, SecretKeyShared) or one[0] is PeerUpdated
            )


# An event, made when it is asked for: what it is, of whom, and what else it says.
_Event = (
    SecretKeyShared
    | tuple[type[PeerDiscovered], Shown, None]
    | tuple[type[PeerUpdated], PeerInfo, PeerInfo]
    | tuple[type[PeerDeparted], Shown, DepartureReason]
)


def _inform(shown: Shown, clock: Clock) -> PeerInfo:
    return PeerInfo(shown.entry, clock=clock) if isinstance(shown, SignedPeerEntry) else shown
