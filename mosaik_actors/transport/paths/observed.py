"""What others see as this node's address: asked of relays, from the socket of direct paths.

Two pure cores; ``now`` is monotonic time in seconds. A NAT shows a relay the same address of a
socket that it shows peers, unless it is a symmetric one. The link to a relay may have another
socket, or be TCP; so the node gives each relay a key over that link, and sends it probes
(`probes`) from the main socket. The answer says where the probe came from.

Asking again every `ASK_S` keeps the NAT's mapping, and shows when it changes.
"""

from __future__ import annotations

from typing import Final

from ..address import SocketAddr, is_unicast
from ..dial_budget import LeakyBucket
from .probes import PathKey, PathProbe, ProbeAnswer, ReplayWindow, path_id

ASK_S: Final = 15.0
RETRY_S: Final = 0.5
RETRIES_MAX: Final = 3
SAME_MAX: Final = 64  # probes that are remembered until they are answered
_BURST: Final = 16
_PER_S: Final = 4.0

NODE: Final = b"node"
RELAY: Final = b"relay"


class Observer:
    """A node's side, of one relay.

    Args:
        secret: What the relay was given.
        relays: Its addresses, at most one of each family.

    Attributes:
        observed: What it has seen, by which of its addresses saw it.
    """

    def __init__(self, secret: bytes, relays: list[SocketAddr], *, now: float) -> None:
        self.observed: dict[SocketAddr, SocketAddr] = {}
        self._key = PathKey(secret, NODE, RELAY)
        self._relays = relays
        self._sequence = 0
        self._sent: dict[int, SocketAddr] = {}
        self._unanswered = 0
        self._due_at = now
        self._asked_at = now - RETRY_S

    @property
    def key_id(self) -> bytes:
        """What the probes are known by."""
        return self._key.id

    def get_timer(self) -> float:
        """Return when `handle_timer` is due."""
        return self._due_at

    def receive_doubt(self, *, now: float) -> None:
        """Ask soon, since this node may be seen elsewhere by now."""
        self._due_at = min(self._due_at, max(now, self._asked_at + RETRY_S))

    def receive_move(self, *, now: float) -> None:
        """Forget what was observed, and ask now: this node has other addresses than before."""
        self.observed.clear()
        self._unanswered = 0
        self._due_at = now

    def handle_timer(self, *, now: float) -> list[tuple[bytes, SocketAddr]]:
        """Return probes that are due, each with where it goes."""
        if now < self._due_at:
            return []
        self._unanswered += 1
        self._asked_at = now
        self._due_at = now + (RETRY_S if self._unanswered <= RETRIES_MAX else ASK_S)
        found = []
        for relay in self._relays:
            self._sequence += 1
            self._sent[self._sequence] = relay
            if len(self._sent) > SAME_MAX:
                del self._sent[next(iter(self._sent))]
            found.append((self._key.probe(self._sequence), relay))
        return found

    def receive_datagram(self, data: bytes, remote: SocketAddr, *, now: float) -> bool:
        """Take in an answer; return whether what is observed has changed."""
        answer = self._key.read(data)
        if not isinstance(answer, ProbeAnswer) or self._sent.get(answer.sequence) != remote:
            return False
        del self._sent[answer.sequence]
        self._unanswered = 0
        self._due_at = now + ASK_S
        if not is_unicast(answer.observed[0]) or not answer.observed[1]:
            return False  # a relay's word is no more than a peer's
        has_changed = self.observed.get(remote) != answer.observed
        self.observed[remote] = answer.observed
        return has_changed


class Reflector:
    """A relay's side: answers the probes of those that it has a link to."""

    def __init__(self) -> None:
        self._keys: dict[bytes, _Asker] = {}
        self._ids: dict[bytes, bytes] = {}

    def receive_secret(self, peer: bytes, secret: bytes, *, now: float) -> None:
        """Answer probes of a peer that has given this secret, and not by its former one."""
        self.leave(peer)
        key = PathKey(secret, RELAY, NODE)
        self._ids[peer] = key.id
        self._keys[key.id] = _Asker(key, now)

    def leave(self, peer: bytes) -> None:
        """Answer a peer no more. May be repeated."""
        if (key_id := self._ids.pop(peer, None)) is not None:
            self._keys.pop(key_id, None)

    def receive_datagram(self, data: bytes, remote: SocketAddr, *, now: float) -> bytes | None:
        """Return the answer to a probe, None for none."""
        asker = self._keys.get(path_id(data) or b"")
        return None if asker is None else asker.receive_datagram(data, remote, now)


class _Asker:
    def __init__(self, key: PathKey, now: float) -> None:
        self._key = key
        self._window = ReplayWindow()
        self._answers = LeakyBucket(_BURST, _PER_S, leaked_at=now)

    def receive_datagram(self, data: bytes, remote: SocketAddr, now: float) -> bytes | None:
        probe = self._key.read(data)
        if not isinstance(probe, PathProbe) or self._answers.fill(now) >= _BURST:
            return None
        if not self._window.take(probe.sequence):
            return None
        self._answers.add(1)
        return self._key.answer(probe, remote)
