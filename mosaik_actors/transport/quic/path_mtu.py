"""How large a datagram a path carries: packetization-layer path MTU discovery.

A pure core after RFC 8899 (DPLPMTUD). It starts at `BASE` bytes, which every
QUIC path carries (RFC 9000 section 14), and searches upward with probes until
a size is lost `PROBES_MAX` times or the limit is reached; then it rests and
tries again after `RAISE_AFTER_S`, since paths change. A path that swallows
datagrams of the found size (a black hole, section 4.3) falls back to `BASE`.

Where it differs from the RFC: probes are datagrams of their own, not padded
QUIC packets, so a lost probe does not look like congestion; and the search
halves the interval (section 5.3.2 leaves the order open).

A probe is a datagram that is not QUIC, the fixed bit 0x40 being clear (RFC
9000 section 17, RFC 9443). It carries a token that only the path's two ends
know, so that nobody else can answer it.

All sizes are UDP payloads in bytes; ``now`` is monotonic time in seconds.
"""

from __future__ import annotations

from typing import Final

import msgspec

BASE: Final = 1200
PROBES_MAX: Final = 3
PROBE_TIMEOUT_S: Final = 1.0
RAISE_AFTER_S: Final = 600.0
RESOLUTION_BYTES: Final = 16

TOKEN_BYTES: Final = 8

_SEQUENCE_BYTES: Final = 4
_PROBE: Final = b"\x01mosaik-probe"
_ANSWER: Final = b"\x02mosaik-answer"


class SendProbe(msgspec.Struct, frozen=True):
    """Send a probe of `datagram_bytes`; a returned `sequence` proves that it arrived."""

    datagram_bytes: int
    sequence: int


class PathMtu:
    """The search on one path.

    Args:
        limit_bytes: The largest size worth trying.
        now: When the search starts.
    """

    def __init__(self, limit_bytes: int, *, now: float) -> None:
        self.current_bytes = BASE
        self._limit_bytes = limit_bytes
        self._known_bad_bytes = limit_bytes + 1
        self._probed_bytes = 0
        self._sequence = 0
        self._tries = 0
        self._timer: float | None = now if limit_bytes > BASE else None

    @property
    def is_searching(self) -> bool:
        """Whether a probe is under way or due."""
        return self._known_bad_bytes - self.current_bytes > RESOLUTION_BYTES

    def get_timer(self) -> float | None:
        """Return when `handle_timer` is due, None for never."""
        return self._timer

    def handle_timer(self, *, now: float) -> SendProbe | None:
        """Count a probe that did not come back, and return the next one, None for none."""
        if self._timer is None or now < self._timer:
            return None
        if self._probed_bytes:
            self._tries += 1
            if self._tries >= PROBES_MAX:
                self._known_bad_bytes = self._probed_bytes
                self._probed_bytes = 0
        if not self.is_searching and not self._probed_bytes:
            return self._rest_or_restart(now)
        return self._probe(now)

    def receive_answer(self, sequence: int, *, now: float) -> None:
        """Take in the answer to a probe. Answers to older probes are ignored."""
        if sequence != self._sequence or not self._probed_bytes:
            return
        self.current_bytes = self._probed_bytes
        self._probed_bytes = 0
        self._tries = 0
        self._timer = now if self.is_searching else now + RAISE_AFTER_S

    def receive_black_hole(self, *, now: float) -> None:
        """Fall back to the base: datagrams of the current size vanish (section 4.3)."""
        if self.current_bytes > BASE:
            self._known_bad_bytes = self.current_bytes
            self.current_bytes = BASE
            self._probed_bytes = 0
            self._timer = now + PROBE_TIMEOUT_S

    def _probe(self, now: float) -> SendProbe:
        if not self._probed_bytes:
            # The limit first: most paths carry it, and then one probe is enough.
            is_first = self._known_bad_bytes > self._limit_bytes
            middle = (self.current_bytes + self._known_bad_bytes) // 2
            self._probed_bytes = self._limit_bytes if is_first else middle
            self._tries = 0
        self._sequence += 1
        self._timer = now + PROBE_TIMEOUT_S
        return SendProbe(self._probed_bytes, self._sequence)

    def _rest_or_restart(self, now: float) -> SendProbe | None:
        if self._known_bad_bytes <= self._limit_bytes and self._tries == 0:
            self._known_bad_bytes = self._limit_bytes + 1  # the rest is over: try again
            return self._probe(now)
        self._tries = 0
        self._timer = now + RAISE_AFTER_S
        return None


class PathProber:
    """A search, and its probes on the wire.

    Args:
        mtu: The search.
        token: `TOKEN_BYTES` random bytes that tell our probes from anybody else's.
    """

    def __init__(self, mtu: PathMtu, token: bytes) -> None:
        self.mtu = mtu
        self._token = token

    def encode_probe(self, probe: SendProbe) -> bytes:
        """Return a datagram of the size to try."""
        head = _PROBE + self._token + probe.sequence.to_bytes(_SEQUENCE_BYTES)
        return head.ljust(probe.datagram_bytes, b"\0")

    def receive_datagram(self, data: bytes, *, now: float) -> bool:
        """Take in the answer to a probe of ours; return whether `data` is one."""
        answer = data.removeprefix(_ANSWER)
        is_ours = answer != data and answer.startswith(self._token)
        if not is_ours or len(answer) != TOKEN_BYTES + _SEQUENCE_BYTES:
            return False
        self.mtu.receive_answer(int.from_bytes(answer[TOKEN_BYTES:]), now=now)
        return True


def answer_probe(data: bytes) -> bytes | None:
    """Return the answer to a peer's probe, None when `data` is no probe."""
    echo = data[len(_PROBE) : len(_PROBE) + TOKEN_BYTES + _SEQUENCE_BYTES]
    if not data.startswith(_PROBE) or len(echo) != TOKEN_BYTES + _SEQUENCE_BYTES:
        return None
    return _ANSWER + echo
