"""Why a link or connection ended: a code for programs and a text for people.

The codes are the protocol's, the same on both sides and in every language:
1xx and 2xx ends that are nobody's fault, 4xx broken rules and limits of the transport,
104xx and 105xx of streams, 304xx of groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

REASON_BYTES_MAX = 256


class CloseCode(IntEnum):
    """The known close codes. A newer peer may send others."""

    INVALID_PROTOCOL = 100
    DIFFERENT_NETWORK = 101
    CANCELLED = 102
    UNEXPECTED_CLOSE = 103
    SUCCESS = 200
    GRACEFUL_SHUTDOWN = 204
    PROTOCOL_VIOLATION = 400
    UNKNOWN_PEER = 401
    NO_TICKET = 402
    NOT_ALLOWED = 403
    KEY_IN_USE = 409
    TOO_MANY_BYTES = 413
    BROKE_RULES = 420
    BANNED = 423
    TOO_MANY_LINKS = 429
    STREAM_NOT_FOUND = 10404
    STREAM_NOT_ALLOWED = 10403
    STREAM_SCHEMA_MISMATCH = 10409
    STREAM_NO_CAPACITY = 10509
    STREAM_TOO_SLOW = 10413
    STREAM_INVALID_CRITERIA = 10422
    STREAM_COSTLY_CRITERIA = 10429
    GROUP_INVALID_HANDSHAKE = 30400
    GROUP_NOT_ALLOWED = 30403
    GROUP_NOT_FOUND = 30404
    GROUP_INVALID_PROOF = 30405
    GROUP_TIMEOUT = 30408
    GROUP_ALREADY_BONDED = 30429


@dataclass(frozen=True, slots=True)
class CloseReason:
    """Why something was closed.

    Attributes:
        code: One of `CloseCode`, or a number that a newer peer sent.
        text: A sentence for people, at most `REASON_BYTES_MAX` bytes on the wire.
        remote: Whether the other side closed.
    """

    code: int
    text: str = ""
    remote: bool = False

    @property
    def name(self) -> str:
        """The code's name in words, such as ``different network``."""
        try:
            return CloseCode(self.code).name.lower().replace("_", " ")
        except ValueError:
            return "unknown code"

    @property
    def why(self) -> str:
        """Why, in words alone, and that the other side says so where it does."""
        return (self.text or self.name) + (", says the peer" if self.remote else "")

    def __str__(self) -> str:
        side = "by the peer" if self.remote else "here"
        return f"closed {side}: {self.code} {self.name}" + (f" ({self.text})" if self.text else "")


# The gates of a network, as `NotAdmitted.gate` names them, by what they refuse a peer with.
GATES: Final = {
    CloseCode.DIFFERENT_NETWORK: "network",
    CloseCode.NO_TICKET: "ticket",
    CloseCode.NOT_ALLOWED: "allow",
    CloseCode.BANNED: "deny",
    CloseCode.BROKE_RULES: "conduct",
    CloseCode.KEY_IN_USE: "key",
}


def gate_of(code: int) -> str | None:
    """Return at which gate a peer is refused with a code, None when that is no refusal of it."""
    return GATES.get(CloseCode(code)) if code in GATES else None


SUCCESS = CloseReason(CloseCode.SUCCESS)
SHUTDOWN = CloseReason(CloseCode.GRACEFUL_SHUTDOWN)
# Without the id of either network: whoever is refused does not know this one.
DIFFERENT_NETWORK = CloseReason(CloseCode.DIFFERENT_NETWORK, "different network")
CANCELLED = CloseReason(CloseCode.CANCELLED)
MOVED = CloseReason(CloseCode.UNEXPECTED_CLOSE, "this machine has that address no longer")
