"""Dead letters: the messages that nobody handles, counted, shown and logged.

Three ways to see them: Thespian's own (an actor that calls `handleDeadLetters` gets a
`DeadEnvelope` for each), the `DeadLetter` events of ``net.actors.events()``, and the log,
which has the first of each kind at once and then one line a minute with their number.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from thespian.actors import (
    ActorAddress,
    ChildActorExited,
    DeadEnvelope,
    WakeupMessage,
    WatchMessage,
)

from .address import LocalAddress
from .notices import DeadLetter, Notice

logger = logging.getLogger(__name__)

# Never worth a dead letter: notices to someone who is gone, and its own alarms.
_NEVER_LETTERS = (DeadEnvelope, ChildActorExited, WakeupMessage, WatchMessage, Notice)

# Kinds of dead letters that are logged; all are counted.
_KINDS_LOGGED_MAX = 100
_LOG_INTERVAL_S = 60.0

EXITED = "it has exited or takes no more messages"


class LetterLog:
    """Which dead letters get a line in the log: a pure core."""

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[float, int]] = {}

    def note(self, kind: str, now: float) -> int | None:
        """Take in a letter; return how many of its kind a line now stands for, None for no line."""
        since, count = self._kinds.get(kind, (float("-inf"), 0))
        if since == float("-inf") and len(self._kinds) >= _KINDS_LOGGED_MAX:
            return None
        if now - since < _LOG_INTERVAL_S:
            self._kinds[kind] = (since, count + 1)
            return None
        self._kinds[kind] = (now, 0)
        return count + 1


class DeadLetters:
    """The dead letters of one actor system.

    Attributes:
        count: How many there were.
        handlers: The actors that get each as `DeadEnvelope`.
        listener: Called with each as an event; None while nobody listens.
    """

    def __init__(self, address: LocalAddress, clock: Callable[[], float]) -> None:
        self.count = 0
        self.handlers: dict[LocalAddress, None] = {}
        self.listener: Callable[[DeadLetter], None] | None = None
        self._address = address
        self._clock = clock
        self._log = LetterLog()

    def report(
        self,
        message: Any,
        target: ActorAddress,
        sender: ActorAddress,
        reason: str,
        *,
        is_stopping: bool,
    ) -> None:
        """Report a message that nobody will handle."""
        if isinstance(message, _NEVER_LETTERS):
            return
        self.count += 1
        kind = type(message).__name__
        reason = reason or EXITED
        if not self.handlers and not is_stopping:
            self._log_letter(message, kind, target, reason)
        for handler in list(self.handlers):
            handler.deliver(DeadEnvelope(target, message), self._address)
        if self.listener is not None:
            self.listener(DeadLetter(_label(sender), _label(target), kind, reason))
        if isinstance(sender, LocalAddress) and sender.undeliverable is not None:
            sender.undeliverable(message, target, reason)

    def note(self, letter: DeadLetter, count: int) -> None:
        """Take in that messages were dead letters at another node."""
        self.count += count
        lines = self._log.note(letter.type, self._clock())
        if lines is not None:
            logger.warning(
                "dead letters: %s of %s to %s: %s",
                count,
                letter.type,
                letter.receiver,
                letter.reason,
            )
        if self.listener is not None:
            self.listener(letter)

    def _log_letter(self, message: Any, kind: str, target: ActorAddress, reason: str) -> None:
        count = self._log.note(kind, self._clock())
        if count is None:
            return
        # Our own actors' messages cross each other whenever a peer or a link goes.
        is_ours = type(message).__module__.startswith(f"{__name__.partition('.')[0]}.")
        logger.log(
            logging.DEBUG if is_ours else logging.WARNING,
            "dead letter: %s to %s: %s%s; further ones of this kind are counted, "
            "and logged once a minute",
            kind,
            target,
            reason,
            f" ({count} of this kind since the last line)" if count > 1 else "",
        )


def _label(address: ActorAddress) -> str:
    return str(getattr(address, "label", address))
