"""The types that records of groups are made of, each with its limit."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

INDEX_MAX: Final = (1 << 62) - 1
HISTORY_BYTES: Final = 16
REQUEST_BYTES: Final = 16
CLIENT_BYTES: Final = 16


def exactly(length: int) -> msgspec.Meta:
    """Return what says of bytes that there are so many."""
    return msgspec.Meta(min_length=length, max_length=length)


# A place in a log, from 1 on; 0 is before the first. Also counts of commands.
Index = Annotated[int, msgspec.Meta(ge=0, le=INDEX_MAX)]
# A place in a log where something is.
Place = Annotated[int, msgspec.Meta(ge=1, le=INDEX_MAX)]
# A term of Raft.
Term = Annotated[int, msgspec.Meta(ge=0, le=INDEX_MAX)]
# A count, or what tells a request from the one before.
Number = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
# Which history of a group: 16 bytes drawn at random when it begins; empty for none.
HistoryId = Annotated[bytes, msgspec.Meta(max_length=HISTORY_BYTES)]
# Which history of a group, where there is one.
KnownHistoryId = Annotated[bytes, exactly(HISTORY_BYTES)]
# Which system entry was asked for; drawn at random.
RequestId = Annotated[bytes, exactly(REQUEST_BYTES)]
# Whose commands these are; drawn at random by each member as it starts.
ClientId = Annotated[bytes, exactly(CLIENT_BYTES)]
