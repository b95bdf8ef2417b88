"""What a node logs on the word of its peers: bounded, and never silent for good.

A peer can cause as many reasons for a warning as it sends frames, and comes back
under as many keys as it likes. So for each kind of line:

    * A peer gets one line in `QUIET_S` seconds about each thing of ours, or a few where
      it is only informed of what happens, and `PEER_LINES_MAX` about all of them: it can
      name as many streams as it likes.
    * All peers together get `BURST_LINES_MAX` at once, and as many again spread over the
      time: when a hundred keys have used up the first, another peer waits for seconds.
    * What was held back is counted, and said in one line when the time is over. Then
      the kind starts anew.

A kind is a logger and the text of the line before values are put in, which is a
constant of the program: there are as many kinds as places that log, and no peer uses up another
kind's lines. Values are escaped and cut (`peer_text`).

One per node: the endpoint has it, and all its actors use it. ``now`` is monotonic time
in seconds; `flush` is to be called now and then, so that a summary comes out though
nothing else happens.

Invariants:
    * At most `LINES_MAX` + 1 lines a kind from one summary to the next, whatever peers do.
    * At most `LINES_MAX` entries a kind are remembered.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from .errors import clip
from .ids import PeerId
from .peer_text import printable

QUIET_S: Final = 600.0
BURST_LINES_MAX: Final = 100
LINES_MAX: Final = 2 * BURST_LINES_MAX
INFO_LINES_MAX: Final = 5  # for one peer, about one thing
PEER_LINES_MAX: Final = 10
VALUE_CHARACTERS_MAX: Final = 400


@dataclass(slots=True)
class _Kind:
    """The lines of one kind since `since`."""

    logger: logging.Logger
    level: int
    since: float
    line_count: int = 0
    held_back: int = 0
    by_peer: dict[PeerId | None, dict[object, int]] = field(default_factory=dict)

    def take(self, peer_id: PeerId | None, about: object, now: float) -> bool:
        """Return whether a peer may have one more line, and count it."""
        spread = (LINES_MAX - BURST_LINES_MAX) * (now - self.since) / QUIET_S
        lines = self.by_peer.get(peer_id, {})
        limit = INFO_LINES_MAX if self.level <= logging.INFO else 1
        if (
            self.line_count >= min(LINES_MAX, BURST_LINES_MAX + int(spread))
            or lines.get(about, 0) >= limit
            or sum(lines.values()) >= PEER_LINES_MAX
        ):
            self.held_back += 1
            return False
        self.by_peer.setdefault(peer_id, lines)[about] = lines.get(about, 0) + 1
        self.line_count += 1
        return True


class PeerLog:
    """The facility of this module's docstring."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], _Kind] = {}
        self._flush_at = float("inf")

    def error(
        self,
        logger: logging.Logger,
        peer_id: PeerId | None,
        text: str,
        *values: object,
        now: float,
        about: object = None,
    ) -> None:
        """Log, as `warning`, what somebody has to do something about."""
        self._say(logger, logging.ERROR, peer_id, text, values, now, about)

    def warning(
        self,
        logger: logging.Logger,
        peer_id: PeerId | None,
        text: str,
        *values: object,
        now: float,
        about: object = None,
    ) -> None:
        """Log something that a peer did, within the budget.

        Args:
            logger: Where to.
            peer_id: Which peer; None for whoever it was.
            text: The line, as for `logging`: a constant, it names the kind.
            values: What goes into it.
            now: Monotonic time in seconds.
            about: What of ours the line is about, such as a stream: each gets lines of its own.
        """
        self._say(logger, logging.WARNING, peer_id, text, values, now, about)

    def info(
        self,
        logger: logging.Logger,
        peer_id: PeerId | None,
        text: str,
        *values: object,
        now: float,
        about: object = None,
    ) -> None:
        """Log, as `warning`, what happens in the usual run: `INFO_LINES_MAX` for a peer."""
        if logger.isEnabledFor(logging.INFO):
            self._say(logger, logging.INFO, peer_id, text, values, now, about)

    def flush(self, *, now: float) -> None:
        """Say what was held back in kinds whose time is over; costs nothing while there is none."""
        if now < self._flush_at:
            return
        for (name, text), kind in list(self._kinds.items()):
            if now - kind.since >= QUIET_S:
                del self._kinds[name, text]
                if kind.held_back:
                    kind.logger.log(
                        kind.level,
                        "%d more like this were held back in the last %.0f s: %r",
                        kind.held_back,
                        now - kind.since,
                        text,
                    )
        since = (kind.since for kind in self._kinds.values())
        self._flush_at = min(since, default=float("inf")) + QUIET_S

    def _say(
        self,
        logger: logging.Logger,
        level: int,
        peer_id: PeerId | None,
        text: str,
        values: tuple[object, ...],
        now: float,
        about: object,
    ) -> None:
        self.flush(now=now)
        kind = self._kinds.get((logger.name, text))
        if kind is None:
            kind = self._kinds[logger.name, text] = _Kind(logger, level, now)
            self._flush_at = min(self._flush_at, now + QUIET_S)
        if kind.take(peer_id, about, now):
            logger.log(level, text, *map(_shown, values))


class TopicLog:
    """What is logged about one thing of this node, such as a stream; each line begins with it.

    Args:
        log: The node's.
        logger: Where to.
        name: The thing: the first value of each line, and what `about` is by default.
        now: The monotonic clock.
    """

    def __init__(
        self, log: PeerLog, logger: logging.Logger, name: str, now: Callable[[], float]
    ) -> None:
        self._log = log
        self._logger = logger
        self._name = name
        self._now = now

    def warning(
        self, peer_id: PeerId | None, text: str, *values: object, about: object = None
    ) -> None:
        """Warn of a peer, but not again each time that it does the same."""
        about = self._name if about is None else about
        now = self._now()
        self._log.warning(self._logger, peer_id, text, self._name, *values, now=now, about=about)

    def info(self, peer_id: PeerId | None, text: str, *values: object) -> None:
        """Say what happens with a peer in the usual run."""
        now, name = self._now(), self._name
        self._log.info(self._logger, peer_id, text, name, *values, now=now, about=name)


def _shown(value: object) -> object:
    """Return a value fit for a line; numbers as they are, for their formats."""
    if isinstance(value, int | float):
        return value
    try:
        text = str(value)
    except Exception:
        text = clip(value)
    if len(text) > VALUE_CHARACTERS_MAX:
        text = text[: VALUE_CHARACTERS_MAX - 3] + "..."
    return printable(text)
