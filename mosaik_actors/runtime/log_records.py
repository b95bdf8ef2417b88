"""Log records of isolated actors: they come out where those of the node do.

An isolated actor's process has no handlers of its own: each record that passes
the levels of the node, as they were when the actor was created, is sent to the
node and handled there, by the logger of the same name. A record travels as plain
values: its text is formatted and its traceback written out before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

_PLAIN = (str, int, float, bool, type(None))
_formatter = logging.Formatter()


def levels() -> dict[str, int]:
    """Return the level of each logger of this process that has one; "" is the root's."""
    found = {"": logging.root.level}
    for name, one in list(logging.root.manager.loggerDict.items()):
        if isinstance(one, logging.Logger) and one.level:
            found[name] = one.level
    return found


def forward_records(send: Callable[[dict[str, Any]], None], node_levels: Mapping[str, int]) -> None:
    """Let all log records of this process go to the node, in place of where they went."""
    # Thespian's root logger of an actor's process refuses addHandler.
    logging.root.handlers[:] = [_Forwarder(send)]
    for name, level in node_levels.items():
        logging.getLogger(name or None).setLevel(level)


def handle_record(values: dict[str, Any]) -> None:
    """Handle a record that came from an isolated actor's process."""
    record = logging.makeLogRecord(values)
    one = logging.getLogger(record.name)
    if one.isEnabledFor(record.levelno):
        one.handle(record)


class _Forwarder(logging.Handler):
    """Sends records to the node."""

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; when the node is gone there is nobody to tell."""
        with suppress(OSError):
            self._send(_plain(record))


def _plain(record: logging.LogRecord) -> dict[str, Any]:
    try:
        text = record.getMessage()
    except Exception as error:
        text = f"{record.msg!r} with arguments that do not fit: {error}"
    values = {name: one for name, one in record.__dict__.items() if isinstance(one, _PLAIN)}
    values |= {"msg": text, "args": None, "exc_info": None}
    if record.exc_info and not record.exc_text:
        values["exc_text"] = _formatter.formatException(record.exc_info)
    return values
