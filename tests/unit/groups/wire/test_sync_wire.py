"""What the two sides of a state sync say to each other."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.errors import DecodeError
from mosaik_actors.groups.wire.records import (
    PART_BYTES_MAX,
    PARTS_COUNT_MAX,
    Entry,
    EntryKind,
    SnapshotMetadata,
    Voters,
)
from mosaik_actors.groups.wire.sync import (
    ANSWER_BYTES,
    ANSWER_ENTRIES_MAX,
    ANSWER_PARTS_MAX,
    Answer,
    EntryRange,
    FetchEntries,
    FetchParts,
    NotHere,
    PartRange,
    PartsDigest,
    Request,
    SnapshotNamed,
    SnapshotSummary,
    WantSnapshot,
    decode_answer,
    decode_request,
    encode_message,
)

from ..cores import voters_of

METADATA = SnapshotMetadata(9, 2, voters_of(1, 2))
ID = bytes(16)


@pytest.mark.parametrize(
    "request_",
    [FetchEntries(1, 5, 100), WantSnapshot(2, 1), FetchParts(3, ID, 0, 16)],
)
def test_requests_survive_the_wire(request_: Request) -> None:
    assert decode_request(encode_message(request_)) == request_


@pytest.mark.parametrize(
    "answer",
    [
        EntryRange(1, 1, 9, 0, (Entry(1, 1, EntryKind.SYSTEM, b"x"), Entry(2, 1, EntryKind.NOOP))),
        EntryRange(1, 1, 0, 0, ()),
        SnapshotNamed(2, ID, METADATA),
        PartRange(3, (b"", b"part"), SnapshotSummary(2, bytes(32))),
        PartRange(3, ()),
        NotHere(4, is_final=True),
    ],
)
def test_answers_survive_the_wire(answer: Answer) -> None:
    assert decode_answer(encode_message(answer)) == answer


@pytest.mark.parametrize(
    "request_",
    [
        FetchEntries(1, 0, 100),
        FetchEntries(1, 1, 0),
        FetchEntries(1, 1, ANSWER_ENTRIES_MAX + 1),
        FetchEntries(-1, 1, 1),
        FetchEntries(1 << 63, 1, 1),
        WantSnapshot(1, 0),
        FetchParts(1, bytes(15), 0, 1),
        FetchParts(1, ID, PARTS_COUNT_MAX + 1, 1),
        FetchParts(1, ID, 0, 0),
        FetchParts(1, ID, 0, ANSWER_PARTS_MAX + 1),
        FetchParts(1, bytes(1000), 0, 1),
    ],
)
def test_requests_beyond_the_limits_are_refused(request_: Request) -> None:
    with pytest.raises(DecodeError):
        decode_request(encode_message(request_))


@pytest.mark.parametrize(
    "answer",
    [
        EntryRange(1, -1, 9, 0, ()),
        EntryRange(1, 1, 1 << 62, 0, ()),
        EntryRange(1, 1, 9, 0, tuple([Entry(1, 1, EntryKind.NOOP)] * (ANSWER_ENTRIES_MAX + 1))),
        SnapshotNamed(2, bytes(17), METADATA),
        SnapshotNamed(2, ID, SnapshotMetadata(0, 0, voters_of(1))),
        SnapshotNamed(2, ID, SnapshotMetadata(5, 0, voters_of(1))),
        SnapshotNamed(2, ID, SnapshotMetadata(5, 1, Voters())),
        PartRange(3, (b"",) * (ANSWER_PARTS_MAX + 1)),
        PartRange(3, (bytes(PART_BYTES_MAX + 1),)),
        PartRange(3, (bytes(ANSWER_BYTES),) * 3),
        PartRange(3, (), SnapshotSummary(PARTS_COUNT_MAX + 1, bytes(32))),
        PartRange(3, (), SnapshotSummary(1, bytes(31))),
    ],
)
def test_answers_beyond_the_limits_are_refused(answer: Answer) -> None:
    with pytest.raises(DecodeError):
        decode_answer(encode_message(answer))


def test_one_part_may_be_large() -> None:
    answer = PartRange(3, (bytes(PART_BYTES_MAX),))
    assert decode_answer(encode_message(answer)) == answer


def test_requests_are_no_answers_and_answers_no_requests() -> None:
    with pytest.raises(DecodeError):
        decode_answer(encode_message(FetchEntries(1, 5, 100)))
    with pytest.raises(DecodeError):
        decode_request(encode_message(NotHere(1)))


_plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), 1 << 63) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)
_tags = st.sampled_from(
    ["entries?", "snapshot?", "parts?", "entries", "snapshot", "parts", "not here"]
)


@given(_tags, st.lists(_plain, max_size=6))
def test_anything_that_looks_like_a_message_is_one_or_is_refused(
    tag: str, fields: list[object]
) -> None:
    data = msgspec.msgpack.encode([tag, *fields])
    for decode in (decode_request, decode_answer):
        try:
            decode(data)
        except DecodeError as exc:
            # The reason is given, and nothing else comes out.
            assert str(exc)  # noqa: PT017


# Digests.


def digest(metadata: SnapshotMetadata, *parts: bytes) -> bytes:
    whole = PartsDigest(metadata)
    for part in parts:
        whole.add(part)
    return whole.digest()


def test_digest_covers_where_one_part_ends() -> None:
    assert digest(METADATA, b"ab", b"c") != digest(METADATA, b"a", b"bc")
    assert digest(METADATA, b"ab") != digest(METADATA, b"ab", b"")


def test_digest_covers_the_metadata() -> None:
    others = [
        SnapshotMetadata(8, 2, METADATA.configuration),
        SnapshotMetadata(9, 1, METADATA.configuration),
        SnapshotMetadata(9, 2, voters_of(1, 2, 3)),
    ]
    assert len({digest(metadata, b"a") for metadata in (METADATA, *others)}) == 4


def test_same_parts_have_the_same_digest() -> None:
    assert digest(METADATA, b"a", b"b") == digest(METADATA, b"a", b"b")
