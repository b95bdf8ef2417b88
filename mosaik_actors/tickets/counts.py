"""What became of the tickets that a node has had validated: numbers for its metrics.

A pure core. Reasons of refusals are texts of validators, and so without bound; here they
are one of four.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from .validator import Expiration, ExpiredTicket, InvalidTicket, ValidatorFailed

EXPIRED: Final = "expired"
NOT_YET_VALID: Final = "not yet valid"
VALIDATOR_FAILED: Final = "validator failed"
NOT_ACCEPTED: Final = "not accepted"
REASONS: Final = (EXPIRED, NOT_YET_VALID, VALIDATOR_FAILED, NOT_ACCEPTED)


class TicketCounts:
    """What validators have answered since the start.

    Attributes:
        accepted: How often a ticket was accepted.
        refused: How often one was refused, by reason, one of `REASONS`.
        seconds: How long the validators took for all of them.
    """

    def __init__(self) -> None:
        self.accepted = 0
        self.refused = dict.fromkeys(REASONS, 0)
        self.seconds = 0.0

    def add(
        self, answers: Iterable[Expiration | InvalidTicket], *, took_s: float, now: float
    ) -> None:
        """Count some answers, and the time they took. `now` is wall time."""
        self.seconds += took_s
        for answer in answers:
            if (reason := _reason(answer, now)) is None:
                self.accepted += 1
            else:
                self.refused[reason] += 1


def _reason(answer: Expiration | InvalidTicket, now: float) -> str | None:
    if isinstance(answer, Expiration):
        return EXPIRED if answer.is_past(now) else None
    if isinstance(answer, ExpiredTicket):
        return EXPIRED
    if isinstance(answer, ValidatorFailed):
        return VALIDATOR_FAILED
    return NOT_ACCEPTED if answer.valid_from is None else NOT_YET_VALID
