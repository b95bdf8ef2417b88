"""Whether datagrams for one peer go directly or through the relay: the decision.

A pure core; ``now`` is monotonic time in seconds. The connection above it knows nothing of
this: for it the peer has one address, whichever way its datagrams go (the idea of Tailscale's
magicsock, and of the connectivity checks of ICE, RFC 8445).

Both sides send probes to all candidates of the other in rounds, so that each opens its NAT for
the other. An address at which probes of ours were answered, the last one as large as a
datagram of QUIC, is a way in both directions, and is taken. From then on it is kept alive, and
given up when `LOST_MAX` probes in a row stay without an answer: datagrams go through the relay
again at once, and new rounds begin. The peer gets a probe through the relay, which says no
more than that: this side gives the way up, so give it up, too. Where that is lost, there is
doubt, and probes follow each other more quickly: the peer sends through the relay, or from an
address that is new, as after its own has changed.

Invariants:
    * Nothing is sent to an address but probes until a probe was answered from there, with the
      secret of the pair, and a sequence that was sent to that very address.
    * Candidates are bounded, and so is what is sent: `ROUNDS_S` for each offer, then nothing
      until the next one. Answers go through a leaky bucket.
    * A datagram that is larger than the direct way is known to carry goes through the relay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from ..address import SocketAddr
from ..dial_budget import LeakyBucket
from ..quic.path_mtu import BASE, PathMtu
from .candidates import CANDIDATES_MAX
from .probes import PROBE_BYTES_MIN, PathKey, PathProbe, ProbeAnswer, ReplayWindow

ROUNDS_S: Final = (0.0, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
SETTLED_S: Final = 1.0  # so long a better way is looked for, after the rounds began
TRIGGER_S: Final = 0.1  # so often at most a probe is answered with one of our own as well
SEEN_MAX: Final = 8  # addresses that probes came from, beside those that were named
OUTSTANDING_MAX: Final = 256
KEEP_S: Final = 1.0
KEEP_UNUSED_S: Final = 10.0  # NATs forget after 30 s at the earliest, mostly (RFC 4787 4.3)
RETRY_S: Final = 0.75
DOUBT_RETRY_S: Final = 0.1  # or a round trip, where that is longer
LOST_MAX: Final = 4
ANSWERS_MAX: Final = 64
ANSWERS_PER_S: Final = 32.0
BETTER: Final = 0.75
OFFER_MIN_S: Final = 2.0  # until offers are exchanged again without a way; doubles each time
OFFER_MAX_S: Final = 300.0


class SendTo(msgspec.Struct, frozen=True):
    """Send a datagram to an address."""

    data: bytes
    remote: SocketAddr


class WayChanged(msgspec.Struct, frozen=True):
    """Datagrams go to `remote` from now on, or through the relay where that is None."""

    remote: SocketAddr | None


class Withdraw(msgspec.Struct, frozen=True):
    """Send a datagram through the relay."""

    data: bytes


class OfferDue(msgspec.Struct, frozen=True):
    """Exchange offers with the peer (again), then call `receive_offer`."""


Event = SendTo | WayChanged | Withdraw | OfferDue


class _Sent(msgspec.Struct):
    remote: SocketAddr
    at: float
    size: int
    mtu_sequence: int | None


class PathSelector:
    """The ways to one peer.

    Args:
        is_worth_probing: Says of an address whether probes may go there.
        bytes_max: Returns the largest datagram that is worth trying to an address.
        opens: Whether this side is the one that begins an exchange of offers.
        now: When it begins.

    Attributes:
        direct: Where datagrams go; None while they go through the relay.
        direct_bytes: The largest datagram that may go there.
        is_used: Whether anything went there since the way was last known to be alive.
        is_doubted: Whether it was asked after `receive_doubt`, and not again since.
    """

    def __init__(
        self,
        is_worth_probing: Callable[[SocketAddr], bool],
        bytes_max: Callable[[SocketAddr], int],
        *,
        opens: bool,
        now: float,
    ) -> None:
        self.direct: SocketAddr | None = None
        self.direct_bytes = BASE
        self.is_used = False
        self.is_doubted = False
        self._retry_s = RETRY_S
        self._is_worth_probing = is_worth_probing
        self._bytes_max = bytes_max
        self._key: PathKey | None = None
        self._window = ReplayWindow()
        self._sequence = 0
        self._candidates: dict[SocketAddr, None] = {}
        self._seen: dict[SocketAddr, None] = {}
        self._outstanding: dict[int, _Sent] = {}
        self._triggered_at = now - TRIGGER_S
        self._began_at = 0.0
        self._round = len(ROUNDS_S)
        self._rtt = 0.0
        self._keep_at: float | None = None
        self._lost_count = 0
        self._mtu: PathMtu | None = None
        self._answers = LeakyBucket(ANSWERS_MAX, ANSWERS_PER_S, leaked_at=now)
        self._offer_at = now if opens else None
        self._offer_wait_s = OFFER_MIN_S
        self._events: list[Event] = []

    @property
    def key_id(self) -> bytes | None:
        """What probes of this pair are known by."""
        return None if self._key is None else self._key.id

    @property
    def is_searching(self) -> bool:
        """Whether rounds of probes are under way."""
        return self._round < len(ROUNDS_S)

    def next_events(self) -> list[Event]:
        """Return what is to be done, in order."""
        events, self._events = self._events, []
        return events

    def get_timer(self) -> float | None:
        """Return when `handle_timer` is due, None for never."""
        due = [] if self._keep_at is None else [self._keep_at]
        if self.is_searching:
            due.append(self._began_at + ROUNDS_S[self._round])
        if self._mtu is not None and (probe_at := self._mtu.get_timer()) is not None:
            due.append(probe_at)
        if self._offer_at is not None:
            due.append(self._offer_at)
        return min(due, default=None)

    def comes_from_peer(self, remote: SocketAddr) -> bool:
        """Return whether the peer has proven to send from an address."""
        return remote == self.direct or remote in self._seen

    def receive_offer(self, key: PathKey, candidates: Iterable[SocketAddr], *, now: float) -> None:
        """Take in that the peer has agreed on a key, and where it may be. Begins the rounds.

        The way that is taken stays so; it has to answer with the new key.
        """
        self._key = key
        self._window = ReplayWindow()
        self._sequence = 0
        self._outstanding.clear()
        self._seen.clear()
        worth = [one for one in dict.fromkeys(candidates) if self._is_worth_probing(one)]
        self._candidates = dict.fromkeys(worth[:CANDIDATES_MAX])
        if self.direct is not None:
            self._candidates[self.direct] = None
            self._lost_count = 0
            self._keep_at = now + RETRY_S
        self.begin(now=now)

    def begin(self, *, now: float) -> None:
        """Begin the rounds of probes anew, if there is a key to make any with."""
        if self._key is None:
            return
        self._began_at = now
        self._round = 0
        self.handle_timer(now=now)

    def handle_timer(self, *, now: float) -> None:
        """Do what is due."""
        if self._offer_at is not None and now >= self._offer_at:
            self._ask_for_offer(now)
        if self._key is None:
            return
        if self.is_searching and now >= self._began_at + ROUNDS_S[self._round]:
            self._round += 1
            for remote in list(self._candidates):
                self._probe(remote, now)
            if self.direct is not None and now >= self._began_at + SETTLED_S:
                self._round = len(ROUNDS_S)
        if self._keep_at is not None and now >= self._keep_at:
            self._keep_alive(now)
        if self._mtu is not None and self.direct is not None:
            probe = self._mtu.handle_timer(now=now)
            if probe is not None:
                self._probe(self.direct, now, probe.datagram_bytes, probe.sequence)

    def receive_use(self, *, now: float) -> None:
        """Take in that something goes to `direct`: look soon whether it arrives."""
        self.is_used = True
        if self._keep_at is not None:
            self._keep_at = min(self._keep_at, now + KEEP_S)

    def receive_doubt(self, *, now: float) -> None:
        """Take in that `direct` may lead nowhere by now: ask, and know soon."""
        if self._keep_at is None or self._retry_s < RETRY_S:
            return
        self.is_doubted = True
        self._retry_s = min(RETRY_S, max(DOUBT_RETRY_S, self._rtt))
        self._lost_count = 0
        self._keep_at = now
        self.handle_timer(now=now)

    def receive_move(self, *, now: float) -> None:
        """Take in that this node is elsewhere than before, or that others see it there."""
        self._offer_wait_s = OFFER_MIN_S
        if self._offer_at is not None:
            self._offer_at = min(self._offer_at, now)
        self.begin(now=now)

    def receive_datagram(self, data: bytes, remote: SocketAddr, *, now: float) -> bool:
        """Take in a probe or an answer; return whether it is one of the peer's, and counts."""
        found = None if self._key is None else self._key.read(data)
        match found:
            case PathProbe():
                return self._receive_probe(found, remote, now)
            case ProbeAnswer():
                return self._receive_answer(found, remote, now)
            case _:
                return False

    def _ask_for_offer(self, now: float) -> None:
        # While there is a way: seldom, for the case that there is a better one by now.
        wait_s = self._offer_wait_s if self.direct is None else OFFER_MAX_S
        self._offer_at = now + wait_s
        self._offer_wait_s = min(2 * self._offer_wait_s, OFFER_MAX_S)
        self._events.append(OfferDue())

    # Probes of the peer's.

    def _receive_probe(self, probe: PathProbe, remote: SocketAddr, now: float) -> bool:
        assert self._key is not None, "what was read was read with a key"
        if not self._is_worth_probing(remote) or not self._window.take(probe.sequence):
            return False
        if self._answers.fill(now) >= ANSWERS_MAX:
            return False
        self._answers.add(1)
        self._events.append(SendTo(self._key.answer(probe, remote), remote))
        if remote not in self._seen:
            if len(self._seen) >= SEEN_MAX:
                self._seen.pop(next(iter(self._seen)))
            self._seen[remote] = None
            if remote != self.direct:
                self.receive_doubt(now=now)
            # It has come through: the same way back is open, whoever named it or not.
            if len(self._candidates) < CANDIDATES_MAX + SEEN_MAX:
                self._candidates[remote] = None
        if self.direct is None and now >= self._triggered_at + TRIGGER_S:
            self._triggered_at = now
            self._probe(remote, now)
        return True

    # Answers to ours.

    def _receive_answer(self, answer: ProbeAnswer, remote: SocketAddr, now: float) -> bool:
        sent = self._outstanding.get(answer.sequence)
        if sent is None or sent.remote != remote or sent.size != answer.size:
            return False
        del self._outstanding[answer.sequence]
        if sent.mtu_sequence is not None:
            self._receive_mtu_answer(sent, now)
            return True
        rtt = now - sent.at
        if remote == self.direct:
            self._rtt = rtt
            self._lost_count = 0
            is_asked_soon = self.is_used or self.is_doubted
            self._keep_at = now + (KEEP_S if is_asked_soon else KEEP_UNUSED_S)
            self._retry_s = RETRY_S
            self.is_used = False
        elif self.direct is None or rtt < BETTER * self._rtt:
            if sent.size < BASE:
                self._probe(remote, now, BASE)  # it has to carry what QUIC sends
            else:
                self._take(remote, rtt, now)
        return True

    def _receive_mtu_answer(self, sent: _Sent, now: float) -> None:
        if self._mtu is not None and sent.remote == self.direct and sent.mtu_sequence:
            self._mtu.receive_answer(sent.mtu_sequence, now=now)
            if self._mtu.current_bytes != self.direct_bytes:
                self.direct_bytes = self._mtu.current_bytes
                self._events.append(WayChanged(self.direct))

    def _take(self, remote: SocketAddr, rtt: float, now: float) -> None:
        self.direct = remote
        self._rtt = rtt
        self._lost_count = 0
        self._retry_s = RETRY_S
        self.is_doubted = False
        self._keep_at = now + KEEP_S
        self.direct_bytes = BASE
        self._mtu = PathMtu(max(BASE, self._bytes_max(remote)), now=now)
        self._events.append(WayChanged(remote))

    # Keeping alive.

    def _keep_alive(self, now: float) -> None:
        assert self.direct is not None, "what is kept alive is taken"
        if self._lost_count >= LOST_MAX:
            self.give_up(now=now)
            return
        if self._retry_s >= RETRY_S:
            self.is_doubted = False  # it may be again
        self._lost_count += 1  # until it is answered
        self._keep_at = now + self._retry_s
        # As large as what goes there: a way that swallows those is dead, too.
        self._probe(self.direct, now, self.direct_bytes)

    def give_up(self, *, now: float) -> None:
        """Send through the relay from now on, and look for a way again."""
        if self.direct is None:
            return
        self._leave(now)
        assert self._key is not None, "a way was taken with a key"
        self._sequence += 1
        self._events.append(Withdraw(self._key.probe(self._sequence)))
        self.begin(now=now)

    def receive_withdrawal(self, data: bytes, *, now: float) -> bool:
        """Take in what came through the relay; return whether it says that the way is given up."""
        found = None if self._key is None else self._key.read(data)
        if not isinstance(found, PathProbe) or not self._window.take(found.sequence):
            return False
        if self.direct is not None:
            self._leave(now)
            if self._offer_at is not None:
                self._offer_at = now  # the peer may be elsewhere
            self.begin(now=now)
        return True

    def _leave(self, now: float) -> None:
        assert self.direct is not None, "what is left was taken"
        self._candidates[self.direct] = None
        self.direct = None
        self._keep_at = None
        self._mtu = None
        self._events.append(WayChanged(None))
        self._offer_wait_s = OFFER_MIN_S
        if self._offer_at is not None:
            # Where there was doubt the peer is elsewhere, and has found out where.
            self._offer_at = now if self._retry_s < RETRY_S else now + OFFER_MIN_S
        self._retry_s = RETRY_S

    def _probe(
        self,
        remote: SocketAddr,
        now: float,
        size: int = PROBE_BYTES_MIN,
        mtu_sequence: int | None = None,
    ) -> None:
        assert self._key is not None, "probes are made with a key"
        self._sequence += 1
        if len(self._outstanding) >= OUTSTANDING_MAX:
            del self._outstanding[next(iter(self._outstanding))]
        self._outstanding[self._sequence] = _Sent(remote, now, size, mtu_sequence)
        self._events.append(SendTo(self._key.probe(self._sequence, size), remote))
