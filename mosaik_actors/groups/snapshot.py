"""A snapshot of a member: its parts, and their form on disk.

The first part is a `Header`: what the group knows beside its machine, and how
far it is. When the table of sessions is large, some parts go on with it. The
machine's own parts follow. All of it is the same on every member at the same
place in the log: nothing local is in it.

A header alone, with no parts of the machine, stands for a history in which no
command was applied yet: it is what a member begins one with.

Stored form: a magic number, each part after its length in 4 bytes, and an end
mark, so that one cut short is noticed. Damage is the storage's affair: it keeps
a digest.

What is read comes from a peer or a file: parts are bounded in size and number,
and whatever does not fit raises `DecodeError`. Sessions and ledger must be
written as we would write them, which refuses doubled clients and the like.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import msgspec

from ..errors import DecodeError, MosaikError
from .encoding import Decoder, encode
from .ledger import LEDGER_BYTES_MAX, Ledger
from .machine import PART_BYTES_MAX, PARTS_COUNT_MAX
from .sessions import TABLE_BYTES_MAX, SessionLimits, Sessions
from .wire import INDEX_MAX

PIECE_BYTES: Final = 256 * 1024
"""How much of the table of sessions is in one part."""

_PIECES_MAX: Final = TABLE_BYTES_MAX // PIECE_BYTES
_MAGIC: Final = b"MAS1"
_END: Final = b"\xff\xff\xff\xff"
_LENGTH_BYTES: Final = 4


class SnapshotError(MosaikError):
    """The machine made no snapshot that could be used; the text says why.

    Its state is not in doubt.
    """


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Header:
    """What the group knows beside its machine, as of one place in the log.

    Attributes:
        ledger: The group's own decisions, its history's id among them.
        sessions: Which commands of which client were applied.
        index: The last entry that is included.
        position: How many commands were applied.
        has_machine: Whether the machine's parts follow; else it is as it was
            when it was made.
    """

    ledger: Ledger = field(default_factory=Ledger)
    sessions: Sessions = field(default_factory=Sessions)
    index: int = 0
    position: int = 0
    has_machine: bool = False

    @classmethod
    def founding(cls, history: bytes) -> Header:
        """Return the header of a history that begins."""
        return cls(ledger=Ledger(history))

    @property
    def history(self) -> bytes:
        """The history's id."""
        return self.ledger.history

    def to_parts(self) -> list[bytes]:
        """Return it as the first parts of a snapshot: one, unless the sessions are many."""
        table = self.sessions.to_bytes()
        pieces = [table[at : at + PIECE_BYTES] for at in range(0, len(table), PIECE_BYTES)]
        first = _Header(
            self.index,
            self.position,
            self.has_machine,
            self.ledger.to_bytes(),
            len(pieces) - 1,
            pieces[0],
        )
        return [encode(first), *pieces[1:]]

    @classmethod
    def read(cls, parts: Iterator[bytes], limits: SessionLimits | None = None) -> Header:
        """Return the header at the beginning of a snapshot.

        Args:
            parts: The snapshot's parts. The machine's are left in it.
            limits: The limits of the sessions.

        Raises:
            DecodeError: There is none, or it breaks a limit.
        """
        first = _decoder.decode(_next(parts))
        table = b"".join([first.piece, *[_next(parts) for _ in range(first.more_count)]])
        ledger = Ledger.from_bytes(first.ledger)
        sessions = Sessions.from_bytes(table, limits)
        if ledger.to_bytes() != first.ledger or sessions.to_bytes() != table:
            raise DecodeError("the header of a snapshot is not written as it should be")
        client_count = (limits or SessionLimits()).client_count
        if len(sessions) > client_count:
            raise DecodeError(f"{len(sessions)} clients in a snapshot, at most {client_count}")
        return cls(
            ledger=ledger,
            sessions=sessions,
            index=first.index,
            position=first.position,
            has_machine=first.has_machine,
        )


def checked_parts(
    parts: Iterable[Any], error: type[MosaikError], *, from_count: int = 0
) -> Iterator[bytes]:
    """Yield parts of a snapshot; raise `error` for one that is no bytes, too large or too much.

    Args:
        parts: The parts.
        error: `SnapshotError` for a machine's own, `DecodeError` for a peer's.
        from_count: How many parts there were before these.
    """
    for count, part in enumerate(parts, from_count + 1):
        if not isinstance(part, bytes):
            raise error(f"a part of a snapshot is bytes, got {type(part).__name__}")
        if len(part) > PART_BYTES_MAX:
            raise error(f"a part of {len(part)} bytes, at most {PART_BYTES_MAX}")
        if count > PARTS_COUNT_MAX:
            raise error(f"more than {PARTS_COUNT_MAX} parts")
        yield part


def to_stored(parts: Iterable[bytes]) -> bytes:
    """Return a snapshot's parts as the one piece that a storage keeps.

    Raises:
        SnapshotError: The machine does not make the parts as it should.
    """
    pieces = [_MAGIC]
    for part in checked_parts(parts, SnapshotError):
        pieces += (len(part).to_bytes(_LENGTH_BYTES), part)
    pieces.append(_END)
    return b"".join(pieces)


def from_stored(data: bytes) -> Iterator[bytes]:
    """Return the parts of a stored snapshot, one at a time.

    Raises:
        DecodeError: It is none, or was cut short. Raised at once, not on the way.
    """
    return _slices(memoryview(data), _bounds(data))


def _bounds(data: bytes) -> list[tuple[int, int]]:
    """Return where each part begins and ends."""
    if data[: len(_MAGIC)] != _MAGIC:
        raise DecodeError(f"not a stored snapshot: it begins with {data[: len(_MAGIC)]!r}")
    bounds: list[tuple[int, int]] = []
    at = len(_MAGIC)
    while (length_bytes := data[at : at + _LENGTH_BYTES]) != _END:
        at += _LENGTH_BYTES
        length = int.from_bytes(length_bytes)
        if len(length_bytes) < _LENGTH_BYTES or at + length > len(data):
            raise DecodeError(f"a stored snapshot ends in part {len(bounds)}")
        if length > PART_BYTES_MAX or len(bounds) >= PARTS_COUNT_MAX:
            raise DecodeError(f"part {len(bounds)} of a stored snapshot has {length} bytes")
        bounds.append((at, at + length))
        at += length
    if at + _LENGTH_BYTES != len(data):
        raise DecodeError(f"{len(data) - at - _LENGTH_BYTES} bytes after a stored snapshot")
    return bounds


def _slices(data: memoryview, bounds: list[tuple[int, int]]) -> Iterator[bytes]:
    for begin, end in bounds:
        yield bytes(data[begin:end])


def _next(parts: Iterator[bytes]) -> bytes:
    part = next(parts, None)
    if part is None:
        raise DecodeError("a snapshot ends in its header")
    return part


class _Header(msgspec.Struct, frozen=True, array_like=True, tag="state-1"):
    index: Annotated[int, msgspec.Meta(ge=0, le=INDEX_MAX)]
    position: Annotated[int, msgspec.Meta(ge=0, le=INDEX_MAX)]
    has_machine: bool
    ledger: Annotated[bytes, msgspec.Meta(max_length=LEDGER_BYTES_MAX)]
    more_count: Annotated[int, msgspec.Meta(ge=0, le=_PIECES_MAX)]
    piece: Annotated[bytes, msgspec.Meta(max_length=PIECE_BYTES)]


_decoder: Decoder[_Header] = Decoder(_Header, "the header of a snapshot", PART_BYTES_MAX)
