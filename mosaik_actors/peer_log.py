"""What a node logs on the word of its peers: bounded, and never silent for good.

A peer can cause as many reasons for a warning as it sends frames, and comes back
under as many keys as it likes. So for each kind of line:

    * A peer gets one line in `QUIET_S` seconds, or a few where it is only informed
      of what happens.
    * All peers together get `LINES_MAX`.
    * What was held back is counted, and said in one line when the time is over. Then
      the kind starts anew.

A kind is a logger and the text of the line before values are put in, which is a
constant of the program: there are as many kinds as places that log, and no peer uses up another
kind's lines. Values are escaped and cut (`peer_text`).

One per node, for all its actors. ``now`` is monotonic time in seconds; `flush` is to
be called now and then, so that a summary comes out though nothing else happens.

Invariants:
    * At most `LINES_MAX` + 1 lines a kind in `QUIET_S` seconds, whatever peers do.
    * At most `LINES_MAX` entries a kind are remembered.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Final

from .errors import clip
from .ids import PeerId
from .peer_text import printable

QUIET_S: Final = 600.0
LINES_MAX: Final = 100
INFO_LINES_MAX: Final = 5  # for one peer
VALUE_CHARACTERS_MAX: Final = 400


@dataclass(slots=True)
class _Kind:
    """The lines of one kind since `since`."""

    logger: logging.Logger
    level: int
    since: float
    line_count: int = 0
    held_back: int = 0
    by_peer: dict[tuple[PeerId | None, object], int] = field(default_factory=dict)


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
        key = (peer_id, about)
        said = kind.by_peer.get(key, 0)
        limit = INFO_LINES_MAX if level <= logging.INFO else 1
        if said >= limit or kind.line_count >= LINES_MAX:
            kind.held_back += 1
            return
        kind.by_peer[key] = said + 1
        kind.line_count += 1
        logger.log(level, text, *map(_shown, values))


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
