"""What the two sides of the built-in state syncs say to each other.

A task asks (`FetchEntries`, `WantSnapshot`, `FetchParts`), a provider answers each request with one
message that carries the request's number. An answer holds about `ANSWER_BYTES` at most, unless its
one entry or part is larger than that: so a bond is never blocked for long, and an answer may hold
less than was asked for.

Digests cover the metadata and, with its length, each part: what was put together from several peers
is what one peer would have sent, or it is seen.

Whether entries fit what was asked for, the task checks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

import msgspec
from blake3 import blake3

from ...errors import DecodeError
from ...wire_encoding import BoundedDecoder, encode
from .raft import MESSAGE_BYTES_MAX, check_metadata
from .records import PART_BYTES_MAX, PARTS_COUNT_MAX, Entry, SnapshotMetadata
from .types import Index, Number, Place, RequestId, exactly

ANSWER_BYTES: Final = 512 * 1024
ANSWER_ENTRIES_MAX: Final = 32_768
ANSWER_PARTS_MAX: Final = 4096
REQUEST_BYTES_MAX: Final = 256
DIGEST_BYTES: Final = 32
SNAPSHOT_BYTES_MAX: Final = 1 << 30

_PartNumber = Annotated[int, msgspec.Meta(ge=0, le=PARTS_COUNT_MAX)]
_Part = Annotated[bytes, msgspec.Meta(max_length=PART_BYTES_MAX)]
_Digest = Annotated[bytes, exactly(DIGEST_BYTES)]


class FetchEntries(msgspec.Struct, frozen=True, array_like=True, tag="entries?"):
    """Send committed entries."""

    number: Number  # the asker's number for this request
    first_index: Place  # the first one wanted
    entry_count: Annotated[int, msgspec.Meta(ge=1, le=ANSWER_ENTRIES_MAX)]  # how many at most


class WantSnapshot(msgspec.Struct, frozen=True, array_like=True, tag="snapshot?"):
    """Have all members take a snapshot, or name one that they have."""

    number: Number  # the asker's number for this request
    next_index: Place  # the first entry the asker lacks; an earlier snapshot is of no use


class FetchParts(msgspec.Struct, frozen=True, array_like=True, tag="parts?"):
    """Send parts of a snapshot."""

    number: Number  # the asker's number for this request
    request_id: RequestId  # which snapshot
    first_part: _PartNumber  # the first one wanted, counted from 0; may lie behind the end
    part_count: Annotated[int, msgspec.Meta(ge=1, le=ANSWER_PARTS_MAX)]  # how many at most


class EntryRange(msgspec.Struct, frozen=True, array_like=True, tag="entries"):
    """The answer to `FetchEntries`."""

    number: Number  # the request's
    first_index: Index  # the first entry the sender still has
    commit_index: Index  # the last that it knows to be committed
    prev_term: Index  # the term at the place before the entries
    # Those wanted, or the first of them; none if it has none of them.
    entries: Annotated[tuple[Entry, ...], msgspec.Meta(max_length=ANSWER_ENTRIES_MAX)]


class SnapshotNamed(msgspec.Struct, frozen=True, array_like=True, tag="snapshot"):
    """The answer to `WantSnapshot`: all members have this one, or soon will."""

    number: Number
    request_id: RequestId
    metadata: SnapshotMetadata


class SnapshotSummary(msgspec.Struct, frozen=True, array_like=True):
    """What a provider knows of a snapshot once it has made all of it."""

    part_count: _PartNumber  # how many parts it has
    digest: _Digest  # `PartsDigest` of its metadata and all parts


class PartRange(msgspec.Struct, frozen=True, array_like=True, tag="parts"):
    """The answer to `FetchParts`."""

    number: Number  # the request's
    # Those wanted, or the first of them; none when they are not made yet, or lie behind the end.
    parts: Annotated[tuple[_Part, ...], msgspec.Meta(max_length=ANSWER_PARTS_MAX)]
    whole: SnapshotSummary | None = None  # what the whole is; None while the sender still makes it


class NotHere(msgspec.Struct, frozen=True, array_like=True, tag="not here"):
    """The sender cannot serve the request; `is_final` says that it never will."""

    number: Number
    is_final: bool = False


Request = FetchEntries | WantSnapshot | FetchParts
Answer = EntryRange | SnapshotNamed | PartRange | NotHere

_answer_decoder = BoundedDecoder[Answer](Answer, "an answer of a sync", MESSAGE_BYTES_MAX)

encode_message: Callable[[Request | Answer], bytes] = encode
decode_request: Final = BoundedDecoder[Request](
    Request, "a request of a sync", REQUEST_BYTES_MAX
).decode


def decode_answer(data: bytes) -> Answer:
    """Return the answer in `data`. Raises `DecodeError`, also when it holds more than one may."""
    answer = _answer_decoder.decode(data)
    if isinstance(answer, SnapshotNamed):
        check_metadata(answer.metadata)
    # A single entry or part may be large. What several cost besides their
    # content is little: twice the limit is never reached by honest ones.
    elif isinstance(answer, EntryRange | PartRange) and len(data) > 2 * ANSWER_BYTES:
        count = len(answer.entries if isinstance(answer, EntryRange) else answer.parts)
        if count > 1:
            raise DecodeError(f"an answer of {len(data)} bytes, {2 * ANSWER_BYTES} at most")
    return answer


class PartsDigest:
    """The digest of a snapshot, built part by part."""

    __slots__ = ("_hasher",)

    def __init__(self, metadata: SnapshotMetadata) -> None:
        self._hasher = blake3(encode(metadata))

    def add(self, part: bytes) -> None:
        """Take in the next part."""
        self._hasher.update(len(part).to_bytes(4))
        self._hasher.update(part)

    def digest(self) -> bytes:
        """Return the digest of what was taken in so far."""
        return self._hasher.digest()
