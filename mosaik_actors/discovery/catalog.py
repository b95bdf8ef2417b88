"""The catalog: which peers this node currently believes in.

A pure state machine. It opens no socket, reads no clock and sends nothing: the
caller passes ``now``, which is the wall clock in seconds everywhere in this
module because it is compared with the versions that peers write, and then
collects what happened with `Catalog.next_event`, `Catalog.take_fresh`,
`Catalog.take_claims` and `Catalog.take_probes`. `Catalog.read_clock` makes that
``now`` from the machine's clocks.

A peer's signed entry goes through three states:

    1. live: shown in snapshots, told to others.
    2. hidden: its last update is ``purge_after`` ago. It is no longer shown or
       told, and no longer accepted from others, so that it cannot come back
       from a peer that has not noticed yet. It is kept for one more
       ``purge_after``, for its version and its addresses.
    3. forgotten.

A departure notice replaces the live entry, is told to others, and is forgotten
after ``purge_after``: by then nobody accepts what it replaced.

A live peer that does not answer is shown as unreachable: see `suspicion`.

What happens to clocks:
    * Short jumps of this machine's clock are not followed (`SteadyClock`). A jump
      that lasts moves no deadline: what is due in ten seconds stays due in ten.
    * An own entry that turns out to be dated too late is dated anew.
    * A peer's entry that turns out to be dated too late, because this node's
      clock was wrong when it came, gives way to any entry that is not.

Another node with this node's key shows in entries that name one of ours as
superseded: only a node that lives can have written that. An earlier self cannot.

Invariants:
    * A peer has at most one signed entry, and its version never goes down, unless
      it was dated in what is now the future.
    * No entry of this node's own id comes from anybody else.
    * There are at most ``peers_max`` signed entries, and as many unsigned ones, and the
      signed ones have at most ``catalog_bytes_max`` bytes. When they are full, hidden
      and departed peers make room first, then who `Room` says.
    * `get_timer` is never later than the next moment at which time alone
      changes something.
    * A snapshot never changes after it was taken.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from ..errors import DecodeError
from ..ids import NetworkId, PeerId, SecretKey, Tag
from ..transport.address import PeerAddr, without_loopback
from .config import DiscoveryConfig
from .entry import ENTRY_BYTES_MAX, PeerEntry, SignedPeerEntry, Version
from .info import PeerInfo
from .local import LocalEntry
from .room import Room
from .rtt import RttEstimate
from .steady import SETTLE_S, SteadyClock
from .suspicion import (
    CLAIM_BYTES_MAX,
    CONFIRM_S,
    PROBES,
    Claim,
    Suspicions,
    decode_claim,
    is_signed,
)

_CHARGED_MIN = 1024  # bytes that an entry counts as in sharing out room, with what is kept of it
_OWN_KEPT_MAX = 64  # own entries by which a second node with our key is known
_SUPERSEDE_WAIT_S = 1.0  # after the first answer to an entry under our id; then twice as long
_REFUTE_GAP_S = 1.0
_EARLY_MAX = 32  # strangers whose claims are kept, and claims of each
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
        clock: What time it is, for `PeerInfo.last_heard_s` of whoever reads it later.
        draw: Returns a random number from 0 to 1.
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
        clock: Callable[[], float] | None = None,
        draw: Callable[[], float] = lambda: 0.0,
        now: float,
    ) -> None:
        self.local = LocalEntry(network_id, secret_key, addr, now=now)
        self.local.change_tags(tags, now=now)
        self.network_id = network_id
        self.peer_id = secret_key.peer_id
        self._purge_after_s = config.purge_after
        self._drift_s = config.max_time_drift
        self._supersede_wait_max_s = config.announce_interval
        self._max_rtt_s = config.max_rtt
        self._peers_max = config.peers_max
        self._bytes_max = config.catalog_bytes_max
        self._entry_bytes = 0  # of all in `_signed`
        self._room = Room(config.peers_max)
        self._afar: dict[PeerId, None] = {}  # whose entry another machine brought
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
        self._own_ids: deque[bytes] = deque(maxlen=_OWN_KEPT_MAX)
        self._supersede_at = float("-inf")
        self._supersede_wait_s = 0.0
        self._refused: dict[Verdict, int] = {}
        # Clocks. Deadlines are kept in seconds that no jump moves: `now` less `_shift_s`.
        self._steady = SteadyClock()
        self._shift_s = 0.0
        self._was_ahead = False
        self._newest_seen_s = float("-inf")
        self._clock_due_at: float | None = None
        self._expiry: dict[PeerId, float] = {}
        self._clock = clock
        # Who does not answer.
        self._suspicions = Suspicions(config.peers_max)
        self._linked: dict[PeerId, None] = {}
        self._isolated_at: float | None = None
        self._is_isolated = False
        self._refute_at: float | None = None
        self._refuted_at = float("-inf")
        self._refuted_version = Version(0, 0)
        self._claims: list[bytes] = []
        self._accused: dict[PeerId, None] = {}
        self._early: dict[PeerId, dict[bytes, None]] = {}
        self._to_probe: dict[PeerId, None] = {}
        self._to_dial: dict[PeerId, None] = {}
        self._draw = draw

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

    def receive_bytes(
        self,
        encoded: bytes,
        *,
        source: PeerId | None = None,
        is_from_afar: bool = False,
        now: float,
    ) -> Verdict:
        """Take in an entry as it travels; as `receive_entry`, and counts what is no entry."""
        if len(encoded) > ENTRY_BYTES_MAX:
            return self._refuse(Verdict.OVERSIZED)
        try:
            signed = SignedPeerEntry.decode(encoded)
        except DecodeError:
            return self._refuse(Verdict.MALFORMED)
        return self.receive_entry(signed, source=source, is_from_afar=is_from_afar, now=now)

    def receive_entry(
        self,
        signed: SignedPeerEntry,
        *,
        source: PeerId | None = None,
        is_from_afar: bool = False,
        now: float,
    ) -> Verdict:
        """Take in an entry that another peer announced or synced, or that a user fed.

        An entry that is not newer than the stored one is ignored, so the call
        may be repeated. Afterwards drain `next_event` and `take_fresh`, and
        re-read `get_timer`. The signature is checked last: it costs the most.

        Args:
            signed: The entry, in good form, its signature not yet trusted.
            source: Who brought it, proven by its connection; None for the user.
            is_from_afar: Whether that is another machine: it cannot know who is on
                the loopback interface of this one.
            now: Wall-clock time in seconds.
        """
        verdict = self._judge(signed, source, now)
        if verdict is Verdict.OWN_ID:
            self._receive_own(signed, now)
        if verdict is Verdict.NOT_NEWER:
            self._room.receive_again(signed.peer_id, source)
        if verdict is not Verdict.ACCEPTED:
            return self._refuse(verdict)
        if is_from_afar:
            self._afar[signed.peer_id] = None
        else:
            self._afar.pop(signed.peer_id, None)
        self._room.receive_heard(signed.peer_id, source, max(_CHARGED_MIN, len(signed.encode())))
        self._store(signed, now)
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
        gone, afar = self._gone, self._afar
        return {
            peer: without_loopback(signed.addr) if peer in afar else signed.addr
            for peer, signed in self._signed.items()
            if peer not in gone
        }

    def receive_met(self, peer_id: PeerId) -> None:
        """Note that a peer has proven to this node who it is: it is no stranger from now on."""
        self._room.receive_met(peer_id)

    # Who does not answer.

    def receive_link_up(self, peer_id: PeerId) -> None:
        """Note that this node has a link to a peer: while it has, it believes no claim."""
        self._linked[peer_id] = None
        self._room.receive_met(peer_id)
        self._isolated_at = None
        self._set_isolated(False)

    def receive_link_down(self, peer_id: PeerId, *, is_broken: bool, now: float) -> None:
        """Note that a link ended. Without any, after one that broke, nobody is reachable."""
        self._linked.pop(peer_id, None)
        self._suspicions.recheck(peer_id, now=now - self._shift_s)
        if is_broken and not self._linked:
            self._isolated_at = now - self._shift_s + CONFIRM_S

    def suspect(self, peer_id: PeerId, *, now: float) -> None:
        """Claim that a peer does not answer this node, if it is known as living."""
        signed = self._signed.get(peer_id)
        if signed is None or peer_id in self._gone or peer_id in self._linked:
            return
        if self._suspicions.is_new(Claim(self.peer_id, peer_id, signed.version)):
            claim, encoded = self.local.sign_claim(peer_id, signed.version)
            self._add_claim(claim, encoded, now)

    def receive_claim(self, encoded: bytes, *, now: float) -> Verdict:
        """Take in a claim that a neighbour passed on; afterwards drain `take_claims`."""
        if len(encoded) > CLAIM_BYTES_MAX:
            return self._refuse(Verdict.OVERSIZED)
        try:
            claim = decode_claim(encoded)
        except DecodeError:
            return self._refuse(Verdict.MALFORMED)
        if claim.accuser not in self._signed:
            self._keep_early(claim.accuser, encoded)
        if not self._is_worth_checking(claim, now):
            return Verdict.NOT_NEWER
        if not self._suspicions.may_spend(claim.accuser, now=now - self._shift_s):
            return self._refuse(Verdict.FULL)
        if not is_signed(claim, encoded, self.network_id):
            return self._refuse(Verdict.FORGED)
        self._suspicions.spend(claim.accuser, now=now - self._shift_s)
        self._accused[claim.accused] = None
        if claim.accused == self.peer_id:
            steady = now - self._shift_s
            self._refute_at = max(steady, self._refuted_at + _REFUTE_GAP_S)
            if self._refute_at <= steady:
                self._refute(now)
        else:
            self._add_claim(claim, encoded, now)
        return Verdict.ACCEPTED

    def take_claims(self) -> list[bytes]:
        """Return the claims accepted since the last call: pass them on."""
        claims, self._claims = self._claims, []
        return claims

    def take_accused(self) -> list[PeerId]:
        """Return who was accused since the last call: what they say next is urgent."""
        accused = list(self._accused)
        self._accused.clear()
        return accused

    def held_claims(self) -> list[bytes]:
        """Return the claims that a new neighbour may not know."""
        return self._suspicions.held()

    def take_probes(self) -> list[PeerId]:
        """Return the peers to try to reach now; `suspect` those that do not answer."""
        probes = list(self._to_probe)
        self._to_probe.clear()
        return probes

    def take_dials(self) -> list[PeerId]:
        """Return the unreachable peers that this node should try to have as neighbours."""
        dials = list(self._to_dial)
        self._to_dial.clear()
        return dials

    def note_shared_key(self) -> None:
        """Note that another node that lives uses this node's key."""
        self._events.append(SecretKeyShared(self.peer_id))
        self._version += 1
        self._snapshot = None

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

    def read_clock(self, wall: float, monotonic: float) -> float:
        """Return the ``now`` for the other calls, and see to what a jump of the clock did.

        Args:
            wall: What the machine's wall clock says, in seconds.
            monotonic: What its monotonic clock says, in seconds.
        """
        now, jump_s = self._steady.read(wall, monotonic)
        if not self._steady.is_unsettled:
            self._clock_due_at = None
        elif self._clock_due_at is None:
            self._clock_due_at = now + SETTLE_S
        if jump_s:
            self._shift_s += jump_s
            self._was_ahead = self._was_ahead or jump_s > self._drift_s
        if jump_s < 0 and self._is_dated_ahead(now):
            self._was_ahead = False
            self.local.correct(now=now)
        return now

    def get_timer(self) -> float | None:
        """Return when `handle_timer` is due, in seconds of the wall clock; None for never."""
        urgent_at = self.get_urgent_timer()
        if not self._deadlines:
            return urgent_at
        due_at = self._deadlines[0][0] + self._shift_s
        return due_at if urgent_at is None else min(due_at, urgent_at)

    def get_urgent_timer(self) -> float | None:
        """Return the part of `get_timer` that must not be late: all but giving up the silent."""
        due_at = [
            at + self._shift_s
            for at in (self._suspicions.get_timer(), self._isolated_at, self._refute_at)
            if at is not None
        ]
        if self._clock_due_at is not None:
            due_at.append(self._clock_due_at)
        return min(due_at, default=None)

    def handle_timer(self, *, now: float) -> None:
        """Hide and forget what time has overtaken, decide on suspects. May be called early."""
        steady = now - self._shift_s
        while self._deadlines and self._deadlines[0][0] <= steady:
            due_at, peer_id = heapq.heappop(self._deadlines)
            if self._deadline_of.get(peer_id) != due_at:
                continue
            del self._deadline_of[peer_id]
            if peer_id in self._signed:
                self._age(peer_id, steady)
        for peer_id in self._suspicions.take_due(now=steady):
            self._decide(peer_id, steady)
        if self._isolated_at is not None and steady >= self._isolated_at:
            self._isolated_at = None
            self._set_isolated(True)
        if self._refute_at is not None and steady >= self._refute_at:
            self._refute(now)

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
            self._own_ids.append(self.me.message_id)
            fresh.append(self.me)
        return fresh

    # Helpers.

    def _judge(self, signed: SignedPeerEntry, source: PeerId | None, now: float) -> Verdict:
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
        self._newest_seen_s = max(self._newest_seen_s, version.update / 1000)
        if version.update / 1000 + self._purge_after_s <= now:
            return Verdict.OUTDATED
        known = self._signed.get(peer_id)
        if (
            known is not None
            and version <= known.entry.version
            and max(known.entry.version) / 1000 <= now + self._drift_s
        ):
            return Verdict.NOT_NEWER
        is_full = self._is_full(signed)
        if is_full and known is None and self._room.was_dropped(peer_id, version, source):
            return Verdict.FULL
        if not signed.is_valid:
            return Verdict.FORGED
        if is_full and not self._make_room(signed, source, now):
            return Verdict.FULL
        return Verdict.ACCEPTED

    def _refuse(self, verdict: Verdict) -> Verdict:
        self._refused[verdict] = self._refused.get(verdict, 0) + 1
        return verdict

    def _receive_own(self, signed: SignedPeerEntry, now: float) -> None:
        """Answer an entry under the own id that this node did not write."""
        if not signed.is_valid:
            return
        if signed.entry.supersedes in self._own_ids:
            self.note_shared_key()
        # An earlier self with a clock ahead of ours would outlive us in every
        # catalog. More and more rarely: a second node with our key, which
        # answers in kind, must not start a storm.
        if now < self._supersede_at:
            return
        longest_s = self._supersede_wait_max_s
        if now >= self._supersede_at + 2 * longest_s:
            self._supersede_wait_s = 0.0
        self._supersede_wait_s = min(max(_SUPERSEDE_WAIT_S, 2 * self._supersede_wait_s), longest_s)
        self._supersede_at = now + self._supersede_wait_s
        self.local.supersede(signed, now=now)

    def _is_dated_ahead(self, now: float) -> bool:
        """Return whether the own entry is dated too late, now that the clock was put back.

        If it is only ahead of a clock that was put back wrongly, it is about as
        new as what others wrote last.
        """
        written_s = max(self.local.entry.version) / 1000
        is_ahead_of_others = written_s > self._newest_seen_s + self._drift_s
        return written_s > now + self._drift_s and (self._was_ahead or is_ahead_of_others)

    def _store(self, signed: SignedPeerEntry, now: float) -> None:
        peer_id = signed.peer_id
        before = self._signed.get(peer_id)
        was_reachable = self._is_reachable(peer_id)
        self._suspicions.clear(peer_id, signed.version)
        is_refresh = (
            before is not None
            and peer_id not in self._gone
            and was_reachable == self._is_reachable(peer_id)
            and signed.says_the_same_as(before)
        )
        self._signed[peer_id] = signed
        self._entry_bytes += len(signed.encode()) - (0 if before is None else len(before.encode()))
        if signed.entry.departed:
            self._unsigned.pop(peer_id, None)  # it has left, whoever knew it from where
            self._suspicions.clear(peer_id)
        if before is None:
            self._suspicions.recheck(peer_id, now=now - self._shift_s)
        self._note_gone(peer_id, False if signed.entry.departed else None)
        age_s = max(0.0, now - signed.version.update / 1000)
        self._expiry[peer_id] = expires_at = now - self._shift_s + self._purge_after_s - age_s
        self._arm(peer_id, expires_at)
        self._fresh[peer_id] = signed
        self._told = None
        for encoded in self._early.pop(peer_id, ()):
            self.receive_claim(encoded, now=now)
        if is_refresh and peer_id in self._shown:
            # Only the time of writing differs: nothing to look at.
            self._replace_shown(peer_id, self._find_info(peer_id))
        else:
            self._show(peer_id, DepartureReason.LEFT)

    def _age(self, peer_id: PeerId, steady: float) -> None:
        expires_at = self._expiry[peer_id]
        is_hidden = self._gone.get(peer_id)
        if is_hidden is not None:
            expires_at += self._purge_after_s if is_hidden else 0.0
            if expires_at <= steady:
                self._forget(peer_id)
                return
        elif expires_at <= steady:
            self._note_gone(peer_id, True)
            self._told = None
            self._suspicions.clear(peer_id)
            self._show(peer_id, DepartureReason.SILENT)
            expires_at += self._purge_after_s
        self._arm(peer_id, expires_at)

    def _is_worth_checking(self, claim: Claim, now: float) -> bool:
        """Return whether a claim may change anything, before its signature is looked at."""
        if claim.accuser == claim.accused or claim.accuser not in self._signed:
            return False
        if claim.accused == self.peer_id:
            return claim.version >= self._refuted_version and not self.local.entry.departed
        known = self._signed.get(claim.accused)
        return (
            self._is_live(claim.accuser)
            and claim.accused not in self._gone
            and (known is None or claim.version >= known.version)
            and max(claim.version) / 1000 <= now + self._drift_s
            and self._suspicions.is_new(claim)
        )

    def _keep_early(self, accuser: PeerId, encoded: bytes) -> None:
        """Keep a claim of a stranger for a while: a sync may be bringing its entry."""
        if len(self._early) >= _EARLY_MAX and accuser not in self._early:
            del self._early[next(iter(self._early))]
        kept = self._early.setdefault(accuser, {})
        if len(kept) < _EARLY_MAX:
            kept[encoded] = None

    def _add_claim(self, claim: Claim, encoded: bytes, now: float) -> None:
        is_own = claim.accuser == self.peer_id
        self._suspicions.add(claim, encoded, is_own=is_own, now=now - self._shift_s)
        self._claims.append(encoded)
        self._accused[claim.accused] = None

    def _decide(self, peer_id: PeerId, steady: float) -> None:
        """Decide on a suspect: have it verified, or take it for unreachable when time is up."""
        suspicion, signed = self._suspicions.find(peer_id), self._signed.get(peer_id)
        if suspicion is None or signed is None or peer_id in self._linked:
            return
        if signed.version > suspicion.version:
            self._suspicions.clear(peer_id)
        elif suspicion.is_confirmed:
            if suspicion.is_noticed:
                self._to_dial[peer_id] = None
                self._suspicions.retry(peer_id, now=steady)
        elif suspicion.is_enough and steady < suspicion.since + CONFIRM_S:
            return  # it has some time left to answer
        elif suspicion.is_enough:
            suspicion.is_confirmed = True
            self._show(peer_id, DepartureReason.SILENT)
            self._suspicions.retry(peer_id, now=steady)
        elif self._draw() * len(self._signed) < PROBES:
            self._to_probe[peer_id] = None

    def _refute(self, now: float) -> None:
        self._refute_at = None
        self._refuted_at = now - self._shift_s
        self.local.refresh(now=now)
        self._refuted_version = self.local.entry.version

    def _set_isolated(self, is_isolated: bool) -> None:
        if is_isolated is self._is_isolated:
            return
        self._is_isolated = is_isolated
        for peer_id in list(self._signed):
            self._show(peer_id, DepartureReason.SILENT)

    def _is_reachable(self, peer_id: PeerId) -> bool:
        return not self._is_isolated and not self._suspicions.is_unreachable(peer_id)

    def _is_live(self, peer_id: PeerId) -> bool:
        return peer_id in self._signed and peer_id not in self._gone

    def _note_gone(self, peer_id: PeerId, is_hidden: bool | None) -> None:
        """Note that a peer is hidden, has departed (False), or is there (None)."""
        if self._gone.pop(peer_id, False) or is_hidden:
            self._hidden = None
        if is_hidden is not None:
            self._gone[peer_id] = is_hidden

    def _arm(self, peer_id: PeerId, due_at: float) -> None:
        # One deadline per peer is enough, as long as it is not late: what is
        # due is looked at again when it passes.
        if due_at < self._deadline_of.get(peer_id, float("inf")):
            self._deadline_of[peer_id] = due_at
            heapq.heappush(self._deadlines, (due_at, peer_id))

    def _is_full(self, signed: SignedPeerEntry) -> bool:
        """Return whether there is no room for an entry, beside or in place of its peer's own."""
        known = self._signed.get(signed.peer_id)
        if known is None and len(self._signed) >= self._peers_max:
            return True
        grown = len(signed.encode()) - (0 if known is None else len(known.encode()))
        return grown > 0 and self._entry_bytes + grown > self._bytes_max

    def _make_room(self, signed: SignedPeerEntry, source: PeerId | None, now: float) -> bool:
        """Forget others for an entry; return whether that was enough."""
        while self._is_full(signed):
            gone = next((one for one in self._gone if one != signed.peer_id), None)
            peer_id = gone or self._room.choose(signed.peer_id, source, self._linked)
            if peer_id is None or peer_id == signed.peer_id:
                return False
            self._room.receive_dropped(peer_id, self._signed[peer_id].version, now=now)
            self._fresh.pop(peer_id, None)
            self._forget(peer_id)
            self._show(peer_id, DepartureReason.NO_ROOM)
        return True

    def _forget(self, peer_id: PeerId) -> bool:
        stored = self._signed.pop(peer_id, None)
        known = stored is not None
        if stored is not None:
            self._entry_bytes -= len(stored.encode())
        self._expiry.pop(peer_id, None)
        self._afar.pop(peer_id, None)
        self._room.receive_forgotten(peer_id)
        self._suspicions.clear(peer_id)
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
        elif (
            info.is_signed != shown.is_signed
            or info.is_reachable != shown.is_reachable
            or not info.entry.says_the_same_as(shown.entry)
        ):
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
            return PeerInfo(
                self._signed[peer_id].entry,
                rtt_s,
                is_reachable=self._is_reachable(peer_id),
                is_from_afar=peer_id in self._afar,
                clock=self._clock,
            )
        entry = self._unsigned.get(peer_id)
        return None if entry is None else PeerInfo(entry, rtt_s, is_signed=False, clock=self._clock)
