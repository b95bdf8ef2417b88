"""Which members to dial, and when again.

A member is dialled as soon as it is advertised. After a failure, or after its
bond has ended, it is dialled again, each time after twice as long as before;
half of that is random, so that two that fail together do not return together.
A bond that lasted longer than the wait before it ends the row of failures.

Of two members the one with the smaller id dials first: the other one waits a
moment, mostly to be dialled meanwhile, so that few dials cross. It waits no
longer, as the first may not know of it yet, or not reach it.

One that left is dialled as late as one that failed often: it may still be
advertised, and if it comes back it dials.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from ...ids import PeerId
from ...transport.address import PeerAddr
from ...transport.close import GATES, CloseCode, CloseReason

FIRST_WAIT_S: Final = 0.1
WAIT_S_MAX: Final = 5.0
YIELD_S: Final = 0.05
CANDIDATES_MAX: Final = 4096

LEFT: Final = CloseReason(CloseCode.GROUP_NOT_FOUND, "it has left the group")
# What a peer says that is no member, or will not be one together with us.
NO_MEMBER: Final = frozenset(
    {
        CloseCode.INVALID_PROTOCOL,
        *GATES,
        CloseCode.UNKNOWN_PEER,
        CloseCode.GRACEFUL_SHUTDOWN,
        CloseCode.GROUP_NOT_FOUND,
        CloseCode.GROUP_INVALID_HANDSHAKE,
        CloseCode.GROUP_INVALID_PROOF,
    }
)

_JITTER: Final = 0.5
_DOUBLINGS_MAX: Final = 10


@dataclass(slots=True)
class _Candidate:
    addr: PeerAddr
    retry_at: float
    failures: int = 0
    waited_s: float = 0.0
    is_refused: bool = False
    trouble: CloseReason | None = None


class Redial:
    """The members that are advertised, and when each may be dialled."""

    def __init__(self, me: PeerId, rng: Random) -> None:
        self._me = me
        self._rng = rng
        self._candidates: dict[PeerId, _Candidate] = {}

    def receive_peers(self, peers: Mapping[PeerId, PeerAddr], *, now: float) -> None:
        """Take in who is advertised, and where: the first `CANDIDATES_MAX` of them.

        Who is new, or has moved, may be dialled at once.
        """
        before, self._candidates = self._candidates, {}
        for peer, addr in peers.items():
            if peer == self._me or len(self._candidates) >= CANDIDATES_MAX:
                continue
            known = before.get(peer)
            if known is None or known.addr != addr:
                known = _Candidate(addr, now + self._yield_s(peer))
            self._candidates[peer] = known

    def next_at(self, is_free: Callable[[PeerId], bool]) -> float | None:
        """Return when the next one that `is_free` may be dialled, None for never."""
        times = (one.retry_at for peer, one in self._candidates.items() if is_free(peer))
        return min(times, default=None)

    def list_due(self, is_free: Callable[[PeerId], bool], *, now: float) -> list[PeerAddr]:
        """Return the addresses of those that `is_free` and may be dialled, in the order listed."""
        candidates = self._candidates.items()
        return [one.addr for peer, one in candidates if one.retry_at <= now and is_free(peer)]

    def list_apart(self) -> dict[PeerId, str]:
        """Return who may well be a member, and why the last attempt to bond with it failed.

        Not those that we refuse, that refused us as a group does, or that have left.
        """
        return {
            peer: "no answer yet" if one.trouble is None else str(one.trouble)
            for peer, one in self._candidates.items()
            if not one.is_refused and (one.trouble is None or one.trouble.code not in NO_MEMBER)
        }

    def note_failure(
        self, peer: PeerId, why: CloseReason | None = None, *, now: float, is_refused: bool = False
    ) -> None:
        """Wait before this one is dialled again; `is_refused` when it is we who refuse it."""
        if (one := self._candidates.get(peer)) is not None:
            one.failures += 1
            one.is_refused = is_refused
            one.trouble = why or one.trouble
            self._wait(peer, one, now)

    def note_lost(self, peer: PeerId, lasted_s: float, *, now: float) -> None:
        """Note that the bond with this one has ended after so many seconds."""
        if (one := self._candidates.get(peer)) is not None:
            if lasted_s > one.waited_s:
                one.failures = 0
            self.note_failure(peer, now=now)

    def note_left(self, peer: PeerId, *, now: float) -> None:
        """Note that this one has left."""
        if (one := self._candidates.get(peer)) is not None:
            one.failures = _DOUBLINGS_MAX
            self.note_failure(peer, LEFT, now=now)

    def hurry_refused(self, *, now: float) -> None:
        """Let those that we refused be dialled at once: we may have changed our mind."""
        for one in self._candidates.values():
            if one.is_refused:
                one.is_refused = False
                one.retry_at = now

    def _wait(self, peer: PeerId, one: _Candidate, now: float) -> None:
        doublings = min(one.failures - 1, _DOUBLINGS_MAX)
        wait_s = min(WAIT_S_MAX, FIRST_WAIT_S * (1 << doublings))
        one.waited_s = wait_s * (1 - _JITTER * self._rng.random())
        one.retry_at = now + one.waited_s + self._yield_s(peer)

    def _yield_s(self, peer: PeerId) -> float:
        return 0.0 if self._me < peer else YIELD_S
