"""A snapshot of a member: its parts.

The first part is a `Header`: what the group knows beside its machine, and how far it is. When the
table of sessions is large, some parts go on with it. The machine's own parts follow. All of it is
the same on every member at the same place in the log: nothing local is in it.

A header alone, with no parts of the machine, stands for a history in which no
command was applied yet: it is what a member begins one with.

What is read comes from a peer or a file: parts are bounded in size and number,
and whatever does not fit raises `DecodeError`. Sessions and ledger must be
written as we would write them, which refuses doubled clients and the like.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated, Any, Final

import msgspec

from ...errors import MosaikError
from ...wire_encoding import BoundedDecoder, encode
from ..wire.records import PART_BYTES_MAX, PARTS_COUNT_MAX
from ..wire.types import Index
from .ledger import LEDGER_BYTES_MAX, Ledger
from .sessions import TABLE_BYTES_MAX, SessionLimits, Sessions

PIECE_BYTES: Final = 256 * 1024
"""How much of the table of sessions is in one part."""

_PIECES_MAX: Final = TABLE_BYTES_MAX // PIECE_BYTES


class SnapshotError(MosaikError):
    """The machine made no snapshot that could be used; its state is not in doubt."""


class Header(msgspec.Struct, frozen=True, eq=False):
    """What the group knows beside its machine, as of one place in the log."""

    ledger: Ledger  # the group's own decisions, its history's id among them
    sessions: Sessions
    index: int = 0  # the last entry that is included
    position: int = 0  # how many commands were applied
    # Whether the machine's parts follow; else it is as it was when it was made.
    has_machine: bool = False

    def to_parts(self) -> list[bytes]:
        """Return it as the first parts of a snapshot: one, unless the sessions are many."""
        table = self.sessions.to_bytes()
        first, *more = [table[at : at + PIECE_BYTES] for at in range(0, len(table), PIECE_BYTES)]
        ledger = self.ledger.to_bytes()
        head = _Header(self.index, self.position, self.has_machine, ledger, len(more), first)
        return [encode(head), *more]

    @classmethod
    def read(cls, parts: Iterator[bytes], limits: SessionLimits | None = None) -> Header:
        """Take the header from a snapshot's parts; the machine's are left.

        Raises `DecodeError`: there is none, or it breaks a limit.
        """
        first = _decoder.decode(next(parts, b""))
        table = b"".join([first.piece, *islice(parts, first.more_count)])
        ledger, sessions = Ledger.from_bytes(first.ledger), Sessions.from_bytes(table, limits)
        return cls(ledger, sessions, first.index, first.position, first.has_machine)


def checked_parts(
    parts: Iterable[Any], error: type[MosaikError], *, from_count: int = 0
) -> Iterator[bytes]:
    """Yield parts; raise `error` for one that is no bytes, too large or too much."""
    for count, part in enumerate(parts, from_count + 1):
        if not isinstance(part, bytes):
            raise error(f"a part of a snapshot is bytes, got {type(part).__name__}")
        if len(part) > PART_BYTES_MAX:
            raise error(f"a part of {len(part)} bytes, at most {PART_BYTES_MAX}")
        if count > PARTS_COUNT_MAX:
            raise error(f"more than {PARTS_COUNT_MAX} parts")
        yield part


class _Header(msgspec.Struct, frozen=True, array_like=True, tag="state-1"):
    index: Index
    position: Index
    has_machine: bool
    ledger: Annotated[bytes, msgspec.Meta(max_length=LEDGER_BYTES_MAX)]
    more_count: Annotated[int, msgspec.Meta(ge=0, le=_PIECES_MAX)]
    piece: Annotated[bytes, msgspec.Meta(max_length=PIECE_BYTES)]


_decoder = BoundedDecoder[_Header](_Header, "the header of a snapshot", PART_BYTES_MAX)
