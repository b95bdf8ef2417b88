"""The lines of a room that somebody has seen, in a file: one line of JSON for each.

Everybody keeps their own, and nobody needs another one's: who comes back puts into the room what
is missing there. The file is only appended to, so a program that is killed loses nothing of it; a
machine that loses power may lose the last seconds. Two programs may share one.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from .messages import Line

_decoder = msgspec.json.Decoder(Line)
_encoder = msgspec.json.Encoder()


class Archive:
    """One file.

    Args:
        path: The file; made when there is none.

    Attributes:
        lines: What was in it when it was opened.
        bad_count: How much of it could not be read: what was being written when power failed.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab+", buffering=0)  # a line is one write
        self._file.seek(0)
        data = self._file.read()
        self.lines: list[Line] = []
        self.bad_count = 0
        for text in data.splitlines():
            try:
                self.lines.append(_decoder.decode(text))
            except msgspec.DecodeError:
                self.bad_count += 1
        if data and not data.endswith(b"\n"):
            self._file.write(b"\n")

    def add(self, line: Line) -> None:
        """Keep a line."""
        self._file.write(_encoder.encode(line) + b"\n")

    def close(self) -> None:
        """Close the file. May be repeated."""
        self._file.close()
