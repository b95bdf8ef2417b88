"""Why producers that were found are not subscribed to: what `Consumer.refusals` shows.

A pure bookkeeper. Either side may be the cause: the producer refused or broke a rule, or its
tickets are not what this consumer requires. Each reason is logged once while it stays the
same: as a warning when somebody has to change something, else for debugging.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final

from ...ids import PeerId
from ...schema import mismatch_from
from ...transport.close import CloseCode, CloseReason
from ...transport.interface import LinkRefused, NotAllowed
from ..criteria.criteria import CriteriaError

_ILL_CRITERIA: Final = (
    CloseCode.STREAM_INVALID_CRITERIA,
    CloseCode.STREAM_COSTLY_CRITERIA,
)
_SOMEBODY_IS_WRONG: Final = (
    CloseCode.STREAM_SCHEMA_MISMATCH,
    *_ILL_CRITERIA,
    CloseCode.PROTOCOL_VIOLATION,
)


class Refusals:
    """The reasons of one consumer.

    Args:
        name: The stream, for the log.
        logger: Where they are logged.
        shown: Where they are written, for the handle.
    """

    def __init__(self, name: str, logger: logging.Logger, shown: dict[PeerId, Exception]) -> None:
        self._name = name
        self._logger = logger
        self._shown = shown
        self._by_us: dict[PeerId, CloseReason] = {}

    def note(self, peer_id: PeerId, error: Exception) -> None:
        """Take in why there is no subscription to a producer, which was logged already."""
        self._shown[peer_id] = error

    def note_waiting(self, peers: Iterable[PeerId], waiting_items: int) -> None:
        """Take in that producers wait until the application takes what is there of others."""
        text = f"{waiting_items} items of ended subscriptions wait to be taken"
        error = LinkRefused(CloseReason(CloseCode.STREAM_TOO_SLOW, text))
        self._shown.update((peer_id, error) for peer_id in peers)

    def note_refused(self, peer_id: PeerId, error: LinkRefused) -> None:
        """Take in why a link to a producer could not be opened."""
        reason = error.reason
        refusal: Exception = error
        if reason.code == CloseCode.STREAM_NOT_ALLOWED:
            refusal = NotAllowed(reason)
        elif reason.code == CloseCode.STREAM_SCHEMA_MISMATCH:
            refusal = mismatch_from(reason.text)
        elif reason.code in _ILL_CRITERIA:
            refusal = CriteriaError(reason.text)
        if str(self._shown.get(peer_id)) != str(refusal):
            level = logging.WARNING if reason.code in _SOMEBODY_IS_WRONG else logging.DEBUG
            self._logger.log(level, "%s: peer %s: %s", self._name, peer_id.short, refusal)
        self._shown[peer_id] = refusal

    def receive_ticketless(self, reasons: dict[PeerId, CloseReason]) -> None:
        """Take in all producers that this consumer refuses for want of a ticket."""
        self._by_us = reasons

    def note_subscribed(self, peer_id: PeerId) -> None:
        """Take in that a producer is subscribed to."""
        self._shown.pop(peer_id, None)

    def settle(self, is_tried: Callable[[PeerId], bool]) -> None:
        """Say no more of producers that left or are not wanted; say whom we refuse ourselves."""
        shown = self._shown
        for peer_id in [one for one in shown if not is_tried(one)]:
            if peer_id not in self._by_us:
                del shown[peer_id]
        for peer_id, reason in self._by_us.items():
            if str(shown.get(peer_id)) != str(refusal := NotAllowed(reason)):
                self._logger.info("%s: peer %s: %s", self._name, peer_id.short, refusal)
                shown[peer_id] = refusal
