"""What a durable member saves beside its log: which history, and the snapshot's parts.

It is the content of a storage's snapshot, from the very first one at index 0,
which holds no state yet: so a member that restarts knows which history its log
belongs to, and whether it has promised itself to one that has not begun.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

import msgspec

from ...wire_encoding import BoundedDecoder, encode
from .records import PART_BYTES_MAX, PARTS_COUNT_MAX
from .types import HistoryId, Index

STORED_BYTES_MAX: Final = (1 << 32) - 1
PREPARE_VOTE_BYTES_MAX: Final = 64 * 1024


class StoredGroup(msgspec.Struct, frozen=True, array_like=True):
    """What is saved with a snapshot."""

    history: HistoryId = b""  # the history; empty for none
    join_index: Index = 0  # the member is non-voting until its log has reached this
    # The promise to a history that has not begun, encoded; empty for none.
    prepare_vote: Annotated[bytes, msgspec.Meta(max_length=PREPARE_VOTE_BYTES_MAX)] = b""
    parts: Annotated[
        tuple[Annotated[bytes, msgspec.Meta(max_length=PART_BYTES_MAX)], ...],
        msgspec.Meta(max_length=PARTS_COUNT_MAX),
    ] = ()  # the snapshot's parts; none at index 0
    root: HistoryId = b""  # in which the log begins, where `history` continues another one


encode_stored: Callable[[StoredGroup], bytes] = encode
decode_stored: Final = BoundedDecoder[StoredGroup](
    StoredGroup, "a stored group", STORED_BYTES_MAX
).decode
