"""The catalog: which peers this node currently believes in.

A pure state machine. It opens no socket, reads no clock and sends nothing: the
caller passes ``now``, which is the wall clock in seconds everywhere in this
module because it is compared with the versions that peers write, and then
collects what happened with `Catalog.next_event`, `Catalog.take_fresh` and
from its `reachability`. `Catalog.read_clock` makes that ``now`` from the machine's clocks.

`EntryJudge` says what is taken in, `EntryStore` keeps the entries and their deadlines,
`Reachability` knows who answers, `CatalogView` what is shown, and `Advertisement` what others
have of this node's own entry. This module hands what comes in to them in turn.

A peer's signed entry goes through three states:

    1. live: shown in snapshots, sent to others.
    2. hidden: its last update is ``purge_after`` ago. It is no longer shown or
       told, and no longer accepted from others, so that it cannot come back
       from a peer that has not noticed yet. It is kept for one more
       ``purge_after``, for its version and its addresses.
    3. forgotten.

A departure notice replaces the live entry, is sent to others, and is forgotten
after ``purge_after``: by then nobody accepts what it replaced.

A live peer that does not answer is shown as unreachable: see `reachability`.

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
      and departed peers make room first, then who `Capacity` says.
    * `get_timer` is never later than the next moment at which time alone
      changes something.
    * A snapshot never changes after it was taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import inf
from types import MappingProxyType
from typing import Final

from ...errors import DecodeError
from ...ids import NetworkId, PeerId, SecretKey, Tag
from ...transport.address import PeerAddr
from ..config import DiscoveryConfig
from ..entry import ENTRY_BYTES_MAX, PeerEntry, SignedPeerEntry
from ..info import PeerInfo
from ..rtt import RttTable
from ..view import CatalogEvent, CatalogSnapshot, CatalogView, DepartureReason, Shown
from .advertisement import Advertisement
from .entry_store import EntryStore
from .judge import EntryJudge
from .local import LocalEntry
from .reachability import Reachability
from .steady import SteadyClock
from .verdict import EXPECTED_VERDICTS, EntryVerdict

# Looked up once: each is a function call of Python 3.11, and these are for every entry.
_ACCEPTED: Final = EntryVerdict.ACCEPTED
_LEFT: Final = DepartureReason.LEFT


class Catalog:
    """The state machine of this module's docstring.

    Args:
        network_id: Entries of other networks are refused.
        secret_key: This node's identity; signs the own entry.
        addr: Where this node can be reached.
        config: The limits.
        tags: The own entry's labels at first; `EntryTooLarge` is raised for too many.
        clock: What time it is, for `PeerInfo.last_heard_s` of whoever reads it later.
        draw: Returns a random number from 0 to 1.
        now: Wall-clock time in seconds.
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
        self._config = config
        self.store = EntryStore(
            peers_max=config.peers_max,
            bytes_max=config.catalog_bytes_max,
            purge_after_s=config.purge_after,
            draw=draw,
        )
        self._unsigned: dict[PeerId, PeerEntry] = {}
        self._rtts = RttTable()
        self._view = CatalogView(clock)
        self.reachability = Reachability(
            network_id=network_id,
            local=self.local,
            store=self.store,
            peers_max=config.peers_max,
            drift_s=config.max_time_drift,
            draw=draw,
        )
        self._fresh: dict[PeerId, SignedPeerEntry] = {}
        self._replaced: dict[PeerId, SignedPeerEntry] = {}  # what those in `_fresh` replaced
        self._advertisement = Advertisement(
            self.local, drift_s=config.max_time_drift, wait_max_s=config.announce_interval
        )
        self._judge = EntryJudge(
            network_id, self.peer_id, self.store, self._advertisement, config, self._make_room
        )
        self._refused: dict[EntryVerdict, int] = {}
        # Deadlines are kept in seconds that no jump moves: `now` less `shift_s`.
        self._steady = SteadyClock()
        self._clock = clock

    # What is known.

    @property
    def me(self) -> SignedPeerEntry:
        """The own entry."""
        return self.local.signed

    @property
    def version(self) -> int:
        """Grows with each change that can be seen in a snapshot."""
        return self._view.version

    @property
    def refused(self) -> Mapping[EntryVerdict, int]:
        """How many entries were refused, by reason."""
        return MappingProxyType(self._refused)

    def snapshot(self) -> CatalogSnapshot:
        """Return the peers that are shown now. Costs nothing while nothing changes."""
        return self._view.snapshot(self.me)

    def told_entries(self) -> Mapping[PeerId, SignedPeerEntry]:
        """Return what is sent to others: live entries, departures, and the own entry.

        The mapping does not change afterwards.
        """
        return self.store.published(self.me)

    # What others say.

    def receive_bytes(
        self,
        encoded: bytes,
        *,
        source: PeerId | None = None,
        is_from_afar: bool = False,
        now: float,
    ) -> EntryVerdict:
        """Take in an entry as it travels; as `receive_entry`, and counts what is no entry."""
        if len(encoded) > ENTRY_BYTES_MAX:
            return self._refuse(EntryVerdict.OVERSIZED)
        try:
            signed = SignedPeerEntry.decode(encoded)
        except DecodeError:
            return self._refuse(EntryVerdict.MALFORMED)
        return self.receive_entry(signed, source=source, is_from_afar=is_from_afar, now=now)

    def receive_many(
        self,
        entries: Iterable[bytes],
        *,
        source: PeerId | None = None,
        is_from_afar: bool = False,
        now: float,
    ) -> list[EntryVerdict]:
        """Take in entries as `receive_bytes`; return why those were refused that nobody expects."""
        verdicts = [
            self.receive_bytes(encoded, source=source, is_from_afar=is_from_afar, now=now)
            for encoded in entries
        ]
        return [verdict for verdict in verdicts if verdict not in EXPECTED_VERDICTS]

    def receive_entry(
        self,
        signed: SignedPeerEntry,
        *,
        source: PeerId | None = None,
        is_from_afar: bool = False,
        now: float,
    ) -> EntryVerdict:
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
        known = self.store.find(signed.peer_id)
        verdict = self._judge.judge(signed, known, source, now=now)
        if verdict is _ACCEPTED:
            self._take(signed, known, source, is_from_afar, now)
            return verdict
        is_own = verdict is EntryVerdict.OWN_ID
        if is_own and self._advertisement.receive_other_self(signed, now=now):
            self.note_shared_key()
        if verdict is EntryVerdict.NOT_NEWER:
            self.store.receive_again(signed.peer_id, source)
        return self._refuse(verdict)

    def receive_rtt(self, peer_id: PeerId, rtt_s: float) -> bool:
        """Take in a smoothed round-trip time in seconds; return whether the peer shows another."""
        has_changed = self._is_known(peer_id) and self._rtts.receive_smoothed(peer_id, rtt_s)
        return has_changed and self._show(peer_id, DepartureReason.TOO_FAR)

    def receive_rtt_sample(self, peer_id: PeerId, rtt_s: float) -> bool:
        """Take in one measured round-trip time in seconds, and smooth it; as `receive_rtt`."""
        has_changed = self._is_known(peer_id) and self._rtts.receive_sample(peer_id, rtt_s)
        return has_changed and self._show(peer_id, DepartureReason.TOO_FAR)

    def is_measured(self, peer_id: PeerId) -> bool:
        """Return whether a round-trip time of the peer is known."""
        return self._rtts.find(peer_id) is not None

    def receive_met(self, peer_id: PeerId) -> None:
        """Note that a peer has proven to this node who it is: it is no stranger from now on."""
        self.store.receive_met(peer_id)

    # Who does not answer.

    def receive_link_up(self, peer_id: PeerId) -> None:
        """Note that this node has a link to a peer: while it has, it believes no claim."""
        self.store.receive_met(peer_id)
        self.reachability.receive_link_up(peer_id)
        self._show_reachability()

    def receive_link_down(self, peer_id: PeerId, *, is_broken: bool, now: float) -> None:
        """Note that a link ended. Without any, after one that broke, nobody is reachable."""
        steady = now - self._steady.shift_s
        self.reachability.receive_link_down(peer_id, is_broken=is_broken, steady=steady)

    def suspect(self, peer_id: PeerId, *, now: float) -> None:
        """Claim that a peer does not answer this node, if it is known as living."""
        self.reachability.suspect(peer_id, steady=now - self._steady.shift_s)

    def receive_claim(self, encoded: bytes, *, now: float) -> EntryVerdict:
        """Take in a claim that a neighbour passed on; afterwards drain `take_claims`."""
        steady = now - self._steady.shift_s
        verdict = self.reachability.receive_claim(encoded, now=now, steady=steady)
        is_usual = verdict is EntryVerdict.ACCEPTED or verdict is EntryVerdict.NOT_NEWER
        return verdict if is_usual else self._refuse(verdict)

    def note_shared_key(self) -> None:
        """Note that another node that lives uses this node's key."""
        self._view.note_shared_key(self.peer_id)

    # What the user says.

    def insert(self, entry: PeerEntry) -> bool:
        """Show a peer that has not signed an entry; it is never sent to others.

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
            or self.store.is_live(peer_id)
            or (peer_id not in self._unsigned and len(self._unsigned) >= self._config.peers_max)
        ):
            return False
        self._unsigned[peer_id] = entry
        self._show(peer_id, DepartureReason.REMOVED)
        return True

    def remove(self, peer_id: PeerId) -> bool:
        """Forget a peer until it announces itself again; return whether it was known."""
        known = self.store.forget(peer_id)
        self.reachability.forget(peer_id)
        known = self._unsigned.pop(peer_id, None) is not None or known
        if known:
            self._show(peer_id, DepartureReason.REMOVED)
        return known

    def clear_unsigned(self) -> int:
        """Forget all entries made with `insert`; return how many there were."""
        cleared, self._unsigned = list(self._unsigned), {}
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
        if jump_s:
            self._advertisement.receive_jump(jump_s, now=now)
        return now

    def get_timer(self) -> float | None:
        """Return when `handle_timer` is due, in seconds of the wall clock; None for never."""
        urgent_at, expiry_at = self.get_urgent_timer(), self.store.get_timer()
        due_at = [] if urgent_at is None else [urgent_at]
        if expiry_at is not None:
            due_at.append(expiry_at + self._steady.shift_s)
        return min(due_at, default=None)

    def get_urgent_timer(self) -> float | None:
        """Return the part of `get_timer` that must not be late: all but giving up the silent."""
        at = self.reachability.get_timer()
        due_at = [] if at is None else [at + self._steady.shift_s]
        if self._steady.due_at is not None:
            due_at.append(self._steady.due_at)
        return min(due_at, default=None)

    def handle_timer(self, *, now: float) -> None:
        """Hide and forget what time has overtaken, decide on suspects. May be called early."""
        steady = now - self._steady.shift_s
        for peer_id in self.store.take_due(now=steady):
            self.reachability.forget(peer_id)
            self._show(peer_id, DepartureReason.SILENT)
        self.reachability.handle_timer(now=now, steady=steady)
        self._show_reachability()

    def next_event(self) -> CatalogEvent | None:
        """Return the oldest event not yet handed out, or None."""
        return self._view.next_event()

    def skip_arrivals(self) -> None:
        """Drop the events of peers that came or left, where nobody wants them; changes stay."""
        self._view.skip_arrivals()

    def take_replaced(self) -> dict[PeerId, SignedPeerEntry]:
        """Return what those entries replaced that `take_fresh` is about to return."""
        replaced, self._replaced = self._replaced, {}
        return replaced

    def take_fresh(self) -> list[SignedPeerEntry]:
        """Return the entries accepted since the last call: what others may not know yet.

        The own entry is among them, last, when it has changed. Call `take_replaced` before.
        """
        fresh, self._fresh, self._replaced = list(self._fresh.values()), {}, {}
        if self._advertisement.has_changed():
            if self._advertisement.take():
                self._view.note_own_change()
            fresh.append(self.me)
        return fresh

    # Helpers.

    def _refuse(self, verdict: EntryVerdict) -> EntryVerdict:
        self._refused[verdict] = self._refused.get(verdict, 0) + 1
        return verdict

    def _take(
        self,
        signed: SignedPeerEntry,
        before: SignedPeerEntry | None,
        source: PeerId | None,
        is_from_afar: bool,
        now: float,
    ) -> None:
        """Keep an entry that was accepted, and show what it changes."""
        peer_id, store, reachability = signed.peer_id, self.store, self.reachability
        has_changed, has_doubts = False, reachability.has_doubts
        if has_doubts:
            was_reachable = reachability.is_reachable(peer_id)
            reachability.receive_entry(signed)
            has_changed = was_reachable != reachability.is_reachable(peer_id)
        is_refresh = (
            before is not None
            and not has_changed
            and not store.is_gone(peer_id)
            and signed.says_the_same_as(before)
        )
        if signed.entry.departed:
            self._unsigned.pop(peer_id, None)  # it has left, whoever knew it from where
            reachability.forget(peer_id)
        shift_s = self._steady.shift_s
        if before is None and has_doubts:
            reachability.receive_newcomer(peer_id, steady=now - shift_s)
        store.put(signed, before, source, is_from_afar=is_from_afar, now=now, shift_s=shift_s)
        if before is not None and peer_id not in self._fresh:
            self._replaced[peer_id] = before
        self._fresh[peer_id] = signed
        if reachability.has_early:
            for encoded in reachability.take_early(peer_id):
                self.receive_claim(encoded, now=now)
            has_doubts = reachability.has_doubts
        is_plain = not (has_doubts or is_from_afar or signed.entry.departed)
        shown = signed if is_plain and not self.is_measured(peer_id) else self._find_info(peer_id)
        if is_refresh and peer_id in self._view:
            # Only the time of writing differs: nothing to look at.
            self._view.replace(peer_id, shown)
        else:
            self._view.show(peer_id, shown, _LEFT)

    def _make_room(self, signed: SignedPeerEntry, source: PeerId | None, now: float) -> bool:
        """Forget others for an entry; return whether that was enough."""
        linked = self.reachability.linked
        overdue_s = sum(self._config.plan_announcements(len(self.store)))
        for victim in self.store.make_room(signed, source, linked, overdue_s, now=now):
            self.reachability.forget(victim)
            self._fresh.pop(victim, None)
            self._replaced.pop(victim, None)
            self._show(victim, DepartureReason.NO_ROOM)
        return not self.store.is_full(signed, self.store.find(signed.peer_id))

    def _is_known(self, peer_id: PeerId) -> bool:
        return peer_id in self.store or peer_id in self._unsigned

    def _show_reachability(self) -> None:
        for peer_id in self.reachability.take_changed():
            self._show(peer_id, DepartureReason.SILENT)

    def _show(self, peer_id: PeerId, reason: DepartureReason) -> bool:
        """Bring what is shown of a peer in line with what is known of it."""
        shown = self._find_info(peer_id)
        if shown is None and not self._is_known(peer_id):
            self._rtts.forget(peer_id)
        return self._view.show(peer_id, shown, reason)

    def _find_info(self, peer_id: PeerId) -> Shown | None:
        rtt_s = self._rtts.find(peer_id)
        if rtt_s is not None and rtt_s > (self._config.max_rtt or inf):
            return None
        signed = self.store.find_live(peer_id)
        if signed is not None:
            doubts = self.reachability if self.reachability.has_doubts else None
            is_reachable = doubts is None or doubts.is_reachable(peer_id)
            is_from_afar = self.store.is_from_afar(peer_id)
            if rtt_s is None and is_reachable and not is_from_afar:
                return signed  # says it all: most are never looked at
            return PeerInfo(
                signed.entry,
                rtt_s,
                is_reachable=is_reachable,
                is_from_afar=is_from_afar,
                clock=self._clock,
            )
        entry = self._unsigned.get(peer_id)
        return None if entry is None else PeerInfo(entry, rtt_s, is_signed=False, clock=self._clock)
