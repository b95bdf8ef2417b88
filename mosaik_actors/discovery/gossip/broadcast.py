"""Broadcast: how an entry that is new to one node gets to all of them.

A pure state machine. ``now`` is monotonic time in seconds.

Plumtree (Leitao, Pereira, Rodrigues: Epidemic Broadcast Trees, SRDS 2007). The
links to neighbours are *eager* or *lazy*. An entry goes over the eager links at
once, and over the lazy ones as a short id (`IHave`). At first all links are
eager:

    1. An entry that is here already makes the link it came on lazy, at both
       ends (`Prune`). What stays eager becomes a tree that spans the network,
       so that each node gets an entry once.
    2. An id whose entry does not come makes the link eager again and fetches it
       (`Graft`): this is how the tree heals after a loss.
    3. An id that came over much fewer links than its entry did trades the two
       links, so that the tree stays flat.

A node says something new (news) or only gives a sign of life with a new version
(a refresh). News goes out at once, and what comes within ``announce_gap`` of it
follows together. While there is much news in every gap, as when many nodes start, the
gap doubles, up to `_GAPS_MAX` times: fewer frames with more in each. Refreshes are held
back until there are several to a frame: they are most of the traffic and none of the hurry.

Who shapes the tree: the paper's trees are each for one sender. Here everybody
sends, and if everybody's duplicates pruned, links would be cut in several places
of one circle before anybody noticed. So one node shapes the tree for all: of the
peers heard of lately, the one with the smallest id. Its refreshes come often,
oftener still while there is news, and go out at once; a duplicate of one always
prunes. Duplicates of others never do.

The own entry is announced

    * at once when it has changed, but not more often than every
      ``announce_gap``: what changes within it goes out together;
    * as a refresh every `DiscoveryConfig.plan_announcements`, which takes
      longer the more peers are known;
    * immediately, and to all, when it is the departure.

Where we differ from the paper, and why:
    * A message is the entry of a peer, and a newer one replaces it. The store
      from which grafts are served holds the last one of each peer only.
    * A refresh that was missed is fetched without changing the tree.
    * Frames hold many entries or ids, and one node shapes the tree.
    * What a catalog sync brought is announced lazily everywhere: most neighbours
      have it, and pushing it would prune links for no reason.
    * Both of the paper's timers for a missing message have one length.

Invariants:
    * No entry is sent back to the neighbour it came from.
    * A neighbour is eager or lazy, never both.
    * Memory is bounded by the constants below, whatever neighbours send.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from random import Random

from ...ids import PeerId
from ..config import DiscoveryConfig
from ..entry import SignedPeerEntry, message_id_of
from ..recent import Recent
from ..wire import (
    MESSAGE_COUNT_MAX,
    Announce,
    BroadcastFrame,
    Graft,
    IHave,
    Prune,
    encode_frame,
    split_ids,
)
from .announcements import (
    BroadcastEvent,
    RefreshOwnEntry,
    SendFrames,
    ToSpread,
    announce_frames,
    ihave_frames,
)
from .missing import MissingEntries
from .spread_entries import GONE, SpreadEntries, Way

_ROUND_MAX = 255
_ROUNDS_TO_TRADE = 3  # what a link must save before it is worth a trade (section 3.8)
_SHAPING_MAX = 256  # ids of those that shape the tree, of one generation
_TELL_S = 0.1  # ids of news wait this long for company, or less where all goes faster
_HOLDS_PER_INTERVAL = 5  # a refresh waits a fifth of the announce interval at each node
_GRAFT_S = 0.5  # news that is announced and not there after this is fetched, likewise
_REFRESH_HOPS = 8  # a refresh is missed after it could have been held so often
_NEWS_S = 2.0  # for so long what is said of a peer stays news
_NEWS_MAX = 256  # peers with news of which one generation is remembered...
_ACCUSED_MAX = 4096  # ...and peers that were accused
_RESHAPE_S = 1.0  # after news, which often is of newcomers with new links, the tree is shaped again
_GAPS_MAX = 4
_MANY = 4  # entries in one gap: so many at once are no answer that somebody waits for
_SHAPER_SILENT_INTERVALS = 4  # after so many announce intervals somebody else shapes the tree


class Broadcast:
    """The state machine of this module's docstring.

    Args:
        me: This node.
        config: When to announce.
        rng: Where the jitter is drawn from.
        now: Monotonic time in seconds.
    """

    def __init__(self, me: PeerId, config: DiscoveryConfig, rng: Random, *, now: float) -> None:
        self._me = me
        self._config = config
        self._gap_s = self._push_gap_s = config.announce_gap
        self._hold_s = config.announce_interval / _HOLDS_PER_INTERVAL
        self._reshape_s = min(_RESHAPE_S, self._hold_s)
        self._news_until: Recent[PeerId, float] = Recent(_NEWS_MAX)
        self._accused_until: Recent[PeerId, float] = Recent(_ACCUSED_MAX)
        self._has_accused = False  # ever: most never have, and it is asked for each entry
        self._news_s = min(_NEWS_S, config.announce_interval)
        self._tell_s = min(_TELL_S, self._hold_s)
        self._graft_s = min(_GRAFT_S, config.announce_interval)
        self._tell_refresh_s = config.announce_interval
        self._graft_refresh_s = self._hold_s * _REFRESH_HOPS
        self._rng = rng
        self._eager: dict[PeerId, None] = {}
        self._lazy: dict[PeerId, None] = {}
        self._known = SpreadEntries()
        self._shaping: Recent[bytes, Way] = Recent(_SHAPING_MAX)
        self._shaper = me
        self._has_news = False
        self._shaper_until = now + _SHAPER_SILENT_INTERVALS * config.announce_interval
        self._missing = MissingEntries(self._graft_s)
        self._to_push: list[ToSpread] = []
        self._push_at: float | None = None
        self._pushed_at = float("-inf")
        self._to_tell: list[ToSpread] = []
        self._tell_at: float | None = None
        self._events: deque[BroadcastEvent] = deque()
        self._own: SignedPeerEntry | None = None  # as it was announced last
        self._pending: SignedPeerEntry | None = None
        self._untold: SignedPeerEntry | None = None
        self._has_left = False
        self._plan = self._shaper_plan = config.plan_announcements(0)
        self._announced_at = now
        self._changed_at = float("-inf")
        self._draw = rng.random()

    @property
    def eager(self) -> tuple[PeerId, ...]:
        """The neighbours that are sent everything."""
        return tuple(self._eager)

    # Neighbours.

    def receive_neighbour_up(self, peer_id: PeerId) -> None:
        """Send what is new to this peer too. What is not new, the sync brings."""
        if peer_id not in self._lazy:
            self._eager[peer_id] = None
        if self._untold is not None:
            # Nobody has heard of this node: its first neighbour passes it on at once.
            own, self._untold = ToSpread(self._untold, 0, None, True), None
            self._events.append(SendFrames((peer_id,), announce_frames([own])))

    def receive_neighbour_down(self, peer_id: PeerId) -> None:
        """Send nothing more to this peer, and wait for nothing from it."""
        self._eager.pop(peer_id, None)
        self._lazy.pop(peer_id, None)

    def receive_peer_count(self, count: int) -> None:
        """Take in how many peers are known: the more, the longer the refreshes wait."""
        self._plan = self._config.plan_announcements(count)

    # What neighbours send.

    def receive_announce(self, source: PeerId, announce: Announce) -> list[bytes]:
        """Take in entries from a neighbour; return those that were not here before.

        Let the catalog judge them, and bring those that it accepts back with
        `receive_fresh`.
        """
        rounds = announce.rounds
        unseen = []
        is_redundant = False
        for index, encoded in enumerate(announce.entries):
            message_id = message_id_of(encoded)
            if message_id in self._known:
                is_redundant = is_redundant or message_id in self._shaping
                continue
            came_over = (rounds[index] if index < len(rounds) else 0) + 1
            self._known.note_announced(message_id, (min(came_over, _ROUND_MAX), source))
            self._missing.discard(message_id)
            unseen.append(encoded)
        if is_redundant:
            self._send(source, Prune())
            self._make_lazy(source)
        elif unseen:
            self._make_eager(source)
        return unseen

    def receive_ihave(self, source: PeerId, ihave: IHave, *, now: float) -> None:
        """Take in which entries a neighbour has: wait for those that are not here."""
        ids = split_ids(ihave.ids)
        self._trade_for(source, ids, ihave.rounds)
        unknown = self._known.unknown(ids)
        if not unknown:
            return
        late_s = self._push_gap_s - self._gap_s
        wait_s = self._graft_s + late_s if ihave.is_quick else self._graft_refresh_s
        self._missing.add(unknown, source, is_quick=ihave.is_quick, due_at=now + wait_s)

    def receive_graft(self, source: PeerId, graft: Graft) -> None:
        """Send a neighbour what it misses, and everything from now on unless it says no."""
        if graft.is_lasting:
            self._make_eager(source)
        wanted = []
        for message_id in split_ids(graft.ids):
            signed = self._known.find(message_id)
            if signed is not None:
                way = self._shaping.get(message_id)
                round_ = 0 if way is None else way[0]  # it matters for those that shape the tree
                wanted.append(ToSpread(signed, round_, None, True))
        if wanted:
            self._events.append(SendFrames((source,), announce_frames(wanted)))

    def receive_accused(self, peer_id: PeerId, *, now: float) -> None:
        """Note that a peer is said not to answer: what it says next is news."""
        self._accused_until.put(peer_id, now + self._config.purge_after)
        self._has_accused = True

    def receive_prune(self, source: PeerId) -> None:
        """Send a neighbour only ids from now on."""
        self._make_lazy(source)

    # What the catalog accepted.

    def receive_fresh(
        self,
        entries: Iterable[SignedPeerEntry],
        source: PeerId | None,
        replaced: Mapping[PeerId, SignedPeerEntry],
        *,
        is_synced: bool = False,
        now: float,
    ) -> None:
        """Take in entries that the catalog has just accepted from `source`.

        Args:
            entries: The entries of others, signatures checked.
            source: The neighbour that sent them; None when it was nobody.
            replaced: What the catalog had before of the peers that it knew.
            is_synced: Whether a sync brought them, and not a broadcast.
            now: Monotonic time in seconds.
        """
        until = now + self._news_s
        to_spread: list[ToSpread] = [] if is_synced else self._to_push
        for signed in entries:
            self._take(signed, replaced.get(signed.peer_id), source, now, until, to_spread)
        if is_synced and to_spread:
            self._tell_later(to_spread, now)
        self._push_when_due(now)

    def receive_own(self, own: SignedPeerEntry, *, now: float) -> None:
        """Take in the own entry after it changed."""
        if own.entry.departed:
            self._leave(own, now)
        elif now >= self._changed_at + self._gap_s:
            self._announce(own, now)
        else:
            self._pending = own

    # Time, and what came of it all.

    def get_timer(self) -> float | None:
        """Return when `handle_timer` is due, in monotonic seconds; None for never."""
        if self._has_left:
            return None
        due_at = self._refresh_at()
        if self._pending is not None:
            due_at = min(due_at, self._changed_at + self._gap_s)
        if self._push_at is not None:
            due_at = min(due_at, self._push_at)
        if self._tell_at is not None:
            due_at = min(due_at, self._tell_at)
        missed_at = self._missing.get_timer()
        return due_at if missed_at is None else min(due_at, missed_at)

    def handle_timer(self, *, now: float) -> None:
        """Do what is due. May be called early."""
        if self._has_left:
            return
        if self._pending is not None and now >= self._changed_at + self._gap_s:
            self._announce(self._pending, now)
        if now >= self._refresh_at():
            self._plan_refresh(now)
            self._events.append(RefreshOwnEntry())
        self._push_when_due(now)
        if self._tell_at is not None and now >= self._tell_at:
            self._tell()
        self._fetch_missing(now)

    def next_event(self) -> BroadcastEvent | None:
        """Return the oldest event not yet handed out, or None."""
        return self._events.popleft() if self._events else None

    # Helpers: the own entry.

    def _announce(self, own: SignedPeerEntry, now: float) -> None:
        self._pending = None
        self._changed_at = now
        self._plan_refresh(now)
        self._untold = None if self._eager or self._lazy else own
        self._take_own(own, now)
        self._push_when_due(now)

    def _leave(self, own: SignedPeerEntry, now: float) -> None:
        # The links end soon: nobody could ask for it later.
        self._take_own(own, now)
        self._eager.update(self._lazy)
        self._lazy.clear()
        self._push(now)
        self._has_left = True

    def _take_own(self, own: SignedPeerEntry, now: float) -> None:
        before, self._own = self._own, own
        self._take(own, before, None, now, now + self._news_s, self._to_push)

    def _plan_refresh(self, now: float) -> None:
        self._announced_at = now
        self._has_news = False
        self._draw = self._rng.random()

    def _refresh_at(self) -> float:
        # Computed anew: while a network starts, every node learns of more and more others.
        is_shaper = self._shaper == self._me
        if is_shaper and self._has_news:
            return self._announced_at + self._reshape_s
        interval_s, spread_s = self._shaper_plan if is_shaper else self._plan
        return self._announced_at + interval_s + spread_s * (2 * self._draw - 1)

    # Helpers: sending.

    def _take(
        self,
        signed: SignedPeerEntry,
        before: SignedPeerEntry | None,
        source: PeerId | None,
        now: float,
        until: float,
        to_spread: list[ToSpread],
    ) -> None:
        """Store an entry, and let it wait for its turn; what is news now is so `until` then.

        It waits in `to_spread`: to be pushed, or with what a sync brought.
        """
        message_id, peer_id = signed.message_id, signed.peer_id
        way = self._known.take_way(message_id) or (0, source)
        if way is GONE:
            # What replaced it took a shorter way from the catalog to here.
            self._known.note_announced(message_id, GONE)
            return
        self._missing.discard(message_id)
        self._known.store(signed, before)
        is_shaper = peer_id <= self._shaper or now >= self._shaper_until
        if is_shaper:
            self._follow_shaper(peer_id, now)
        has_changed = before is None or self._has_changed(signed, before)
        # A refresh right after news replaces it where it has not been announced yet.
        is_accused = self._has_accused and now < (self._accused_until.get(peer_id) or now)
        is_news = has_changed or is_accused
        is_quick = is_news or is_shaper or now < (self._news_until.get(peer_id) or now)
        if is_news:
            self._news_until.put(peer_id, until)
        if is_accused:
            self._accused_until.put(peer_id, now)
        if is_shaper:
            self._shaping.put(message_id, way)
        elif has_changed:
            self._has_news = True
        if not self._eager and not self._lazy:
            return
        to_spread.append(ToSpread(signed, way[0], source, is_quick))
        if to_spread is not self._to_push:
            return
        due_at = max(now, self._pushed_at + self._push_gap_s) if is_quick else now + self._hold_s
        if self._push_at is None or due_at < self._push_at:
            self._push_at = due_at

    def _has_changed(self, signed: SignedPeerEntry, before: SignedPeerEntry) -> bool:
        """Return whether an entry says more than that its owner is still there."""
        silent_ms = signed.version.update - before.version.update
        was_forgotten = silent_ms >= self._config.purge_after * 1000
        return was_forgotten or not signed.says_the_same_as(before)

    def _follow_shaper(self, peer_id: PeerId, now: float) -> None:
        """Let a peer that was heard of shape the tree: the smallest id does."""
        self._shaper = peer_id
        self._shaper_until = now + _SHAPER_SILENT_INTERVALS * self._config.announce_interval

    def _push_when_due(self, now: float) -> None:
        if self._push_at is not None and now >= self._push_at:
            self._push(now)

    def _push(self, now: float) -> None:
        messages, self._to_push = self._to_push, []
        self._push_at = None
        if any(message.is_quick for message in messages):
            is_soon = now < self._pushed_at + 2 * self._push_gap_s
            is_busy = is_soon and len(messages) >= _MANY
            longest_s = _GAPS_MAX * self._gap_s
            self._push_gap_s = min(2 * self._push_gap_s, longest_s) if is_busy else self._gap_s
            self._pushed_at = now
        eager = tuple(self._eager)
        sources = {message.source for message in messages}
        others = tuple(peer_id for peer_id in eager if peer_id not in sources)
        if others:
            self._events.append(SendFrames(others, announce_frames(messages)))
        for peer_id in eager:
            if peer_id in sources:
                rest = [message for message in messages if message.source != peer_id]
                if rest:
                    self._events.append(SendFrames((peer_id,), announce_frames(rest)))
        for message in messages:
            message.pushed = eager
        self._tell_later(messages, now)

    def _tell_later(self, messages: list[ToSpread], now: float) -> None:
        self._to_tell += messages
        is_quick = any(message.is_quick for message in messages)
        wait_s = max(self._tell_s, self._push_gap_s) if is_quick else self._tell_refresh_s
        if self._tell_at is None or now + wait_s < self._tell_at:
            self._tell_at = now + wait_s

    def _tell(self) -> None:
        """Send ids to whom nothing was pushed, lazy or not: links change meanwhile."""
        messages, self._to_tell = self._to_tell, []
        self._tell_at = None
        # What was replaced meanwhile is not announced: its successor is.
        messages = [one for one in messages if self._known.is_last(one.signed)]
        for kind in (True, False):
            of_kind = [message for message in messages if message.is_quick is kind]
            told: dict[tuple[bytes, ...], list[PeerId]] = {}
            for peer_id in (*self._eager, *self._lazy):
                rest = [
                    message
                    for message in of_kind
                    if message.source != peer_id and peer_id not in message.pushed
                ]
                if rest:
                    told.setdefault(ihave_frames(rest, kind), []).append(peer_id)
            for frames, peers in told.items():
                self._events.append(SendFrames(tuple(peers), frames))

    def _fetch_missing(self, now: float) -> None:
        """Graft whoever was first to have what did not come (section 3.6)."""
        wanted = self._missing.take_due(self._eager, self._lazy, now=now)
        for (source, is_lasting), ids in wanted.items():
            if is_lasting:
                self._make_eager(source)
            for first in range(0, len(ids), MESSAGE_COUNT_MAX):
                part = b"".join(ids[first : first + MESSAGE_COUNT_MAX])
                self._send(source, Graft(part, is_lasting))

    # Helpers: the tree.

    def _make_eager(self, peer_id: PeerId) -> None:
        if peer_id in self._lazy:
            del self._lazy[peer_id]
            self._eager[peer_id] = None

    def _make_lazy(self, peer_id: PeerId) -> None:
        if peer_id in self._eager:
            del self._eager[peer_id]
            self._lazy[peer_id] = None

    def _trade_for(self, source: PeerId, ids: Sequence[bytes], rounds: bytes) -> None:
        """Trade links where what shapes the tree came over a much shorter way to `source`."""
        for index in self._shaping.among(ids):
            way = self._shaping.get(ids[index])
            came_over = (rounds[index] if index < len(rounds) else 0) + 1
            if way is not None and way[0] - came_over >= _ROUNDS_TO_TRADE:
                self._trade(source, way[1])

    def _trade(self, shorter: PeerId, longer: PeerId | None) -> None:
        """Make the shorter way eager instead of the longer one (section 3.8)."""
        if shorter in self._lazy and longer in self._eager and longer is not None:
            self._make_eager(shorter)
            self._send(shorter, Graft(b""))
            self._make_lazy(longer)
            self._send(longer, Prune())

    def _send(self, peer_id: PeerId, frame: BroadcastFrame) -> None:
        self._events.append(SendFrames((peer_id,), (encode_frame(frame),)))
