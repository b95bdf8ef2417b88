"""The catalog: which peers this node currently believes in.

A pure state machine. It opens no socket, reads no clock and sends nothing: the
caller passes ``now``, which is the wall clock in seconds everywhere in this
module because it is compared with the versions that peers write, and then
collects what happened with `Catalog.next_event` and `Catalog.take_fresh`.

A peer's signed entry goes through three states:

    1. live: shown in snapshots, told to others.
    2. hidden: its last update is ``purge_after`` ago. It is no longer shown or
       told, and no longer accepted from others, so that it cannot come back
       from a peer that has not noticed yet. It is kept for one more
       ``purge_after``, for its version and its addresses.
    3. forgotten.

A departure notice replaces the live entry, is told to others, and is forgotten
after ``purge_after``: by then nobody accepts what it replaced.

Invariants:
    * A peer has at most one signed entry, and its version never goes down.
    * No entry of this node's own id comes from anybody else.
    * There are at most ``peers_max`` signed entries, and as many unsigned ones.
    * `get_timer` is never later than the next moment at which time alone
      changes something.
    * A snapshot never changes after it was taken.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from ..errors import DecodeError
from ..ids import NetworkId, PeerId, SecretKey, Tag
from ..transport.address import PeerAddr
from .config import DiscoveryConfig
from .entry import ENTRY_BYTES_MAX, PeerEntry, SignedPeerEntry, Version
from .info import PeerInfo
from .local import LocalEntry
from .rtt import RttEstimate

_RTT_CHANGE_SHOWN = 0.1  # a smoothed measurement that moves less is noise to a reader


class Verdict(StrEnum):
    """What became of an entry that was offered."""

    ACCEPTED = "accepted"
    NOT_NEWER = "not newer"
    MALFORMED = "malformed"
    OVERSIZED = "oversized"
    FORGED = "forged"
    DIFFERENT_NETWORK = "different network"
    OWN_ID = "own id"
    FUTURE = "future"
    OUTDATED = "outdated"
    FULL = "full"


# After a partition old entries arrive late: nothing to tell anybody.
EXPECTED_VERDICTS = frozenset([Verdict.ACCEPTED, Verdict.NOT_NEWER, Verdict.OUTDATED])


class DepartureReason(StrEnum):
    """Why a peer is not shown any more."""

    LEFT = "left"
    SILENT = "silent"
    REMOVED = "removed"
    TOO_FAR = "too far"


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


CatalogEvent = PeerDiscovered | PeerUpdated | PeerDeparted


class CatalogSnapshot(Mapping[PeerId, PeerInfo]):
    """The peers that were known at one moment, without this node itself.

    Immutable; look up by id or by its hexadecimal digits.

    Attributes:
        me: This node's own entry at that moment.
        version: Grows with each change that can be seen in a snapshot.
    """

    __slots__ = ("_peers", "me", "version")

    def __init__(self, peers: dict[PeerId, PeerInfo], me: SignedPeerEntry, version: int) -> None:
        self._peers = peers
        self.me = me
        self.version = version

    def __getitem__(self, key: PeerId | str) -> PeerInfo:
        return self._peers[PeerId(key) if isinstance(key, str) else key]

    def __contains__(self, key: object) -> bool:
        return (PeerId(key) if isinstance(key, str) else key) in self._peers

    def __iter__(self) -> Iterator[PeerId]:
        return iter(self._peers)

    def __len__(self) -> int:
        return len(self._peers)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CatalogSnapshot):
            return NotImplemented
        return self.me == other.me and self._peers == other._peers

    __hash__ = None  # type: ignore[assignment]  # equal by content, like every mapping

    def __repr__(self) -> str:
        return f"CatalogSnapshot(version {self.version}, {len(self)} peers)"


class Catalog:
    """The state machine of this module's docstring.

    Args:
        network_id: Entries of other networks are refused.
        secret_key: This node's identity; signs the own entry.
        addr: Where this node can be reached.
        config: The limits.
        tags: The own entry's labels at first.
        now: Wall-clock time in seconds.

    Raises:
        EntryTooLarge: There are too many tags.
    """

    def __init__(
        self,
        *,
        network_id: NetworkId,
        secret_key: SecretKey,
        addr: PeerAddr,
        config: DiscoveryConfig,
        tags: tuple[Tag, ...] = (),
        now: float,
    ) -> None:
        self.local = LocalEntry(network_id, secret_key, addr, now=now)
        self.local.change_tags(tags, now=now)
        self.network_id = network_id
        self.peer_id = secret_key.peer_id
        self._purge_after_s = config.purge_after
        self._drift_s = config.max_time_drift
        self._supersede_gap_s = config.announce_interval
        self._max_rtt_s = config.max_rtt
        self._peers_max = config.peers_max
        self._signed: dict[PeerId, SignedPeerEntry] = {}
        self._unsigned: dict[PeerId, PeerEntry] = {}
        self._rtts: dict[PeerId, float] = {}  # as shown
        self._estimates: dict[PeerId, RttEstimate] = {}
        self._shown: dict[PeerId, PeerInfo] = {}
        self._shown_is_shared = False
        self._snapshot: CatalogSnapshot | None = None
        self._told: Mapping[PeerId, SignedPeerEntry] | None = None
        self._version = 0
        self._deadlines: list[tuple[float, PeerId]] = []
        self._deadline_of: dict[PeerId, float] = {}
        # Hidden or departed, with whether it is hidden: the first to make room.
        self._gone: dict[PeerId, bool] = {}
        self._hidden: tuple[SignedPeerEntry, ...] | None = ()
        self._events: deque[CatalogEvent] = deque()
        self._fresh: dict[PeerId, SignedPeerEntry] = {}
        self._own_told: Version | None = None
        self._own_shown = self.local.entry
        self._superseded_at = float("-inf")
        self._refused: dict[Verdict, int] = {}

    # What is known.

    @property
    def me(self) -> SignedPeerEntry:
        """The own entry."""
        return self.local.signed

    @property
    def version(self) -> int:
        """Grows with each change that can be seen in a snapshot."""
        return self._version

    @property
    def refused(self) -> Mapping[Verdict, int]:
        """How many entries were refused, by reason."""
        return MappingProxyType(self._refused)

    def snapshot(self) -> CatalogSnapshot:
        """Return the peers that are shown now. Costs nothing while nothing changes.

        Taking one makes the next change copy the table, once.
        """
        if self._snapshot is None or self._snapshot.me is not self.me:
            self._shown_is_shared = True
            self._snapshot = CatalogSnapshot(self._shown, self.me, self._version)
        return self._snapshot

    def told_entries(self) -> Mapping[PeerId, SignedPeerEntry]:
        """Return what is told to others: live entries, departures, and the own entry.

        The mapping does not change afterwards.
        """
        if self._told is None or self._told[self.peer_id] is not self.me:
            gone = self._gone
            told = {peer: one for peer, one in self._signed.items() if not gone.get(peer)}
            told[self.peer_id] = self.me
            self._told = MappingProxyType(told)
        return self._told

    def hidden_entries(self) -> tuple[SignedPeerEntry, ...]:
        """Return what hidden peers said last, for a node that lost everybody else."""
        if self._hidden is None:
            self._hidden = tuple(
                self._signed[peer_id] for peer_id, is_hidden in self._gone.items() if is_hidden
            )
        return self._hidden

    # What others say.

    def receive_bytes(self, encoded: bytes, *, now: float) -> Verdict:
        """Take in an entry as it travels; as `receive_entry`, and counts what is no entry."""
        if len(encoded) > ENTRY_BYTES_MAX:
            return self._refuse(Verdict.OVERSIZED)
        try:
            signed = SignedPeerEntry.decode(encoded)
        except DecodeError:
            return self._refuse(Verdict.MALFORMED)
        return self.receive_entry(signed, now=now)

    def receive_entry(self, signed: SignedPeerEntry, *, now: float) -> Verdict:
        """Take in an entry that another peer announced or synced, or that a user fed.

        An entry that is not newer than the stored one is ignored, so the call
        may be repeated. Afterwards drain `next_event` and `take_fresh`, and
        re-read `get_timer`. The signature is checked last: it costs the most.

        Args:
            signed: The entry, in good form, its signature not yet trusted.
            now: Wall-clock time in seconds.
        """
        verdict = self._judge(signed, now)
        if verdict is Verdict.OWN_ID:
            self._receive_own(signed, now)
        if verdict is not Verdict.ACCEPTED:
            return self._refuse(verdict)
        self._store(signed)
        return verdict

    def receive_rtt(self, peer_id: PeerId, rtt_s: float) -> bool:
        """Take in a round-trip time that the transport has smoothed, in seconds.

        Returns:
            Whether the peer now shows another one.
        """
        estimate = self._find_estimate(peer_id)
        return estimate is not None and self._note_rtt(peer_id, estimate.receive_smoothed(rtt_s))

    def receive_rtt_sample(self, peer_id: PeerId, rtt_s: float) -> bool:
        """Take in one measured round-trip time in seconds, and smooth it; as `receive_rtt`."""
        estimate = self._find_estimate(peer_id)
        return estimate is not None and self._note_rtt(peer_id, estimate.receive_sample(rtt_s))

    def is_measured(self, peer_id: PeerId) -> bool:
        """Return whether a round-trip time of the peer is known."""
        return peer_id in self._rtts

    def live_addrs(self) -> dict[PeerId, PeerAddr]:
        """Return where the others are that live, also those that are too far to be shown."""
        gone = self._gone
        return {peer: signed.addr for peer, signed in self._signed.items() if peer not in gone}

    # What the user says.

    def insert(self, entry: PeerEntry) -> bool:
        """Show a peer that has not signed an entry; it is never told to others.

        A signed entry of the same peer takes precedence, now and later.

        Returns:
            Whether it is shown: False for the own id, another network, a
            departed entry, a peer with a signed entry, or when there is no room.
        """
        peer_id = entry.peer
        if (
            peer_id == self.peer_id
            or entry.network != self.network_id
            or entry.departed
            or self._is_live(peer_id)
            or (peer_id not in self._unsigned and len(self._unsigned) >= self._peers_max)
        ):
            return False
        self._unsigned[peer_id] = entry
        self._show(peer_id, DepartureReason.REMOVED)
        return True

    def remove(self, peer_id: PeerId) -> bool:
        """Forget a peer. It is shown again when it announces itself again.

        Returns:
            Whether it was known.
        """
        known = self._forget(peer_id)
        known = self._unsigned.pop(peer_id, None) is not None or known
        if known:
            self._show(peer_id, DepartureReason.REMOVED)
        return known

    def clear_unsigned(self) -> int:
        """Forget all entries made with `insert`; return how many there were."""
        cleared = list(self._unsigned)
        self._unsigned.clear()
        for peer_id in cleared:
            self._show(peer_id, DepartureReason.REMOVED)
        return len(cleared)

    # Time, and what came of it all.

    def get_timer(self) -> float | None:
        """Return when `handle_timer` is due, in seconds of the wall clock; None for never."""
        return self._deadlines[0][0] if self._deadlines else None

    def handle_timer(self, *, now: float) -> None:
        """Hide and forget what time has overtaken. May be called early."""
        while self._deadlines and self._deadlines[0][0] <= now:
            due_at, peer_id = heapq.heappop(self._deadlines)
            if self._deadline_of.get(peer_id) != due_at:
                continue
            del self._deadline_of[peer_id]
            signed = self._signed.get(peer_id)
            if signed is not None:
                self._age(peer_id, signed, now)

    def next_event(self) -> CatalogEvent | None:
        """Return the oldest event not yet handed out, or None."""
        return self._events.popleft() if self._events else None

    def take_fresh(self) -> list[SignedPeerEntry]:
        """Return the entries accepted since the last call: what others may not know yet.

        The own entry is among them, last, when it has changed.
        """
        fresh = list(self._fresh.values())
        self._fresh.clear()
        own = self.local.entry
        if self._own_told != own.version:
            if not own.says_the_same_as(self._own_shown):
                self._version += 1
                self._snapshot = None
            self._own_told, self._own_shown = own.version, own
            fresh.append(self.me)
        return fresh

    # Helpers.

    def _judge(self, signed: SignedPeerEntry, now: float) -> Verdict:
        entry = signed.entry
        version, peer_id = entry.version, entry.peer
        if entry.network != self.network_id:
            return Verdict.DIFFERENT_NETWORK
        if max(version) / 1000 > now + self._drift_s:
            return Verdict.FUTURE
        if peer_id == self.peer_id:
            # What we said ourselves comes back on other ways.
            is_echo = version <= self.local.entry.version and signed.is_valid
            return Verdict.NOT_NEWER if is_echo else Verdict.OWN_ID
        if version.update / 1000 + self._purge_after_s <= now:
            return Verdict.OUTDATED
        known = self._signed.get(peer_id)
        if known is not None and version <= known.entry.version:
            return Verdict.NOT_NEWER
        if not signed.is_valid:
            return Verdict.FORGED
        if known is None and len(self._signed) >= self._peers_max and not self._evict():
            return Verdict.FULL
        return Verdict.ACCEPTED

    def _refuse(self, verdict: Verdict) -> Verdict:
        self._refused[verdict] = self._refused.get(verdict, 0) + 1
        return verdict

    def _receive_own(self, signed: SignedPeerEntry, now: float) -> None:
        # An earlier self with a clock ahead of ours would outlive us in every
        # catalog. At most once per interval: a second node with our key, which
        # would answer in kind, must not start a storm.
        if signed.is_valid and now >= self._superseded_at + self._supersede_gap_s:
            self._superseded_at = now
            self.local.supersede(signed.version, now=now)

    def _store(self, signed: SignedPeerEntry) -> None:
        peer_id = signed.peer_id
        before = self._signed.get(peer_id)
        is_refresh = (
            before is not None and peer_id not in self._gone and signed.says_the_same_as(before)
        )
        self._signed[peer_id] = signed
        self._note_gone(peer_id, False if signed.entry.departed else None)
        self._arm(peer_id, self._expires_at(signed))
        self._fresh[peer_id] = signed
        self._told = None
        if is_refresh and peer_id in self._shown:
            # Only the time of writing differs: nothing to look at.
            self._replace_shown(peer_id, self._find_info(peer_id))
        else:
            self._show(peer_id, DepartureReason.LEFT)

    def _age(self, peer_id: PeerId, signed: SignedPeerEntry, now: float) -> None:
        expires_at = self._expires_at(signed)
        is_hidden = self._gone.get(peer_id)
        if is_hidden is not None:
            expires_at += self._purge_after_s if is_hidden else 0.0
            if expires_at <= now:
                self._forget(peer_id)
                return
        elif expires_at <= now:
            self._note_gone(peer_id, True)
            self._told = None
            self._show(peer_id, DepartureReason.SILENT)
            expires_at += self._purge_after_s
        self._arm(peer_id, expires_at)

    def _is_live(self, peer_id: PeerId) -> bool:
        return peer_id in self._signed and peer_id not in self._gone

    def _note_gone(self, peer_id: PeerId, is_hidden: bool | None) -> None:
        """Note that a peer is hidden, has departed (False), or is there (None)."""
        if self._gone.pop(peer_id, False) or is_hidden:
            self._hidden = None
        if is_hidden is not None:
            self._gone[peer_id] = is_hidden

    def _expires_at(self, signed: SignedPeerEntry) -> float:
        return signed.version.update / 1000 + self._purge_after_s

    def _arm(self, peer_id: PeerId, due_at: float) -> None:
        # One deadline per peer is enough, as long as it is not late: what is
        # due is looked at again when it passes.
        if due_at < self._deadline_of.get(peer_id, float("inf")):
            self._deadline_of[peer_id] = due_at
            heapq.heappush(self._deadlines, (due_at, peer_id))

    def _evict(self) -> bool:
        for peer_id in self._gone:
            self._forget(peer_id)
            return True
        return False

    def _forget(self, peer_id: PeerId) -> bool:
        known = self._signed.pop(peer_id, None) is not None
        self._note_gone(peer_id, None)
        if known:
            self._told = None
            if peer_id not in self._shown:
                self._forget_rtt(peer_id)
        return known

    def _show(self, peer_id: PeerId, reason: DepartureReason) -> bool:
        """Bring what is shown of a peer in line with what is known of it."""
        info = self._find_info(peer_id)
        shown = self._shown.get(peer_id)
        if info is shown or info == shown:
            return False
        self._replace_shown(peer_id, info)
        if info is None:
            assert shown is not None
            if peer_id not in self._signed and peer_id not in self._unsigned:
                self._forget_rtt(peer_id)
            self._events.append(PeerDeparted(shown, reason))
        elif shown is None:
            self._events.append(PeerDiscovered(info))
        elif info.is_signed != shown.is_signed or not info.entry.says_the_same_as(shown.entry):
            self._events.append(PeerUpdated(info, shown))
        elif info.rtt == shown.rtt:
            return False  # only the time of writing differs: nothing to look at
        self._version += 1
        return True

    def _replace_shown(self, peer_id: PeerId, info: PeerInfo | None) -> None:
        if self._shown_is_shared:
            self._shown = dict(self._shown)
            self._shown_is_shared = False
        self._snapshot = None
        if info is None:
            del self._shown[peer_id]
        else:
            self._shown[peer_id] = info

    def _find_estimate(self, peer_id: PeerId) -> RttEstimate | None:
        if peer_id not in self._signed and peer_id not in self._unsigned:
            return None
        return self._estimates.setdefault(peer_id, RttEstimate())

    def _note_rtt(self, peer_id: PeerId, rtt_s: float) -> bool:
        known_s = self._rtts.get(peer_id)
        if known_s is not None and abs(rtt_s - known_s) <= known_s * _RTT_CHANGE_SHOWN:
            return False
        self._rtts[peer_id] = rtt_s
        return self._show(peer_id, DepartureReason.TOO_FAR)

    def _forget_rtt(self, peer_id: PeerId) -> None:
        self._rtts.pop(peer_id, None)
        self._estimates.pop(peer_id, None)

    def _find_info(self, peer_id: PeerId) -> PeerInfo | None:
        rtt_s = self._rtts.get(peer_id)
        if rtt_s is not None and self._max_rtt_s is not None and rtt_s > self._max_rtt_s:
            return None
        if peer_id in self._signed and peer_id not in self._gone:
            signed = self._signed[peer_id]
            if rtt_s is not None:
                return PeerInfo(signed.entry, rtt_s)
            info: PeerInfo | None = signed.shown
            if info is None:
                info = signed.shown = PeerInfo(signed.entry)
            return info
        entry = self._unsigned.get(peer_id)
        return None if entry is None else PeerInfo(entry, rtt_s, is_signed=False)
