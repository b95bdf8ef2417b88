"""Pings that are not answered yet, and the round-trip time that answers show."""

from __future__ import annotations

from typing import Final

PINGS_MAX: Final = 8


class Pings:
    """The pings of one connection.

    Attributes:
        rtt: The smoothed round-trip time in seconds (RFC 6298), None while unmeasured.
    """

    def __init__(self) -> None:
        self.rtt: float | None = None
        self._sent_at: dict[int, float] = {}
        self._number = 0

    def __len__(self) -> int:
        return len(self._sent_at)

    def begin(self, *, now: float) -> int | None:
        """Return the number of a new one, None while too many are not answered."""
        if len(self._sent_at) >= PINGS_MAX:
            return None
        self._number += 1
        self._sent_at[self._number] = now
        return self._number

    def receive_answer(self, number: int, *, now: float) -> None:
        """Take in an answer; one to nothing is ignored."""
        sent_at = self._sent_at.pop(number, None)
        if sent_at is not None:
            rtt = now - sent_at
            self.rtt = rtt if self.rtt is None else self.rtt + (rtt - self.rtt) / 8
