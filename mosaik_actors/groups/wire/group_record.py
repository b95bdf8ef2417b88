"""What a durable member saves beside its log: which history, and the snapshot's parts.

It is the content of a storage's snapshot, from the very first one at index 0,
which holds no state yet: so a member that restarts knows which history its log
belongs to, and whether it has promised itself to one that has not begun.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from ...wire_encoding import BoundedDecoder, encode
from .records import PART_BYTES_MAX, PARTS_COUNT_MAX
from .types import HistoryId, Index

STORED_BYTES_MAX: Final = (1 << 32) - 1
PREPARE_VOTE_BYTES_MAX: Final = 64 * 1024


class StoredGroup(msgspec.Struct, frozen=True, array_like=True):
    """What is saved with a snapshot.

    Attributes:
        history: The history; empty for none.
        join_index: The member is non-voting until its log has reached this.
        prepare_vote: The promise to a history that has not begun, encoded; empty for none.
        parts: The snapshot's parts; none at index 0.
        root: The history in which the log begins, when `history` continues
            another one; empty for `history`.
    """

    history: HistoryId = b""
    join_index: Index = 0
    prepare_vote: Annotated[bytes, msgspec.Meta(max_length=PREPARE_VOTE_BYTES_MAX)] = b""
    parts: Annotated[
        tuple[Annotated[bytes, msgspec.Meta(max_length=PART_BYTES_MAX)], ...],
        msgspec.Meta(max_length=PARTS_COUNT_MAX),
    ] = ()
    root: HistoryId = b""


_decoder: BoundedDecoder[StoredGroup] = BoundedDecoder(
    StoredGroup, "a stored group", STORED_BYTES_MAX
)


def encode_stored(stored: StoredGroup) -> bytes:
    """Return it as the content of a storage's snapshot."""
    return encode(stored)


def decode_stored(data: bytes) -> StoredGroup:
    """Return what was saved. Raises `DecodeError`."""
    return _decoder.decode(data)
