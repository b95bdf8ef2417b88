"""What a durable member saves beside its log, and what it makes of a file that is damaged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.errors import DecodeError
from mosaik_actors.groups.wire.group_record import StoredGroup, decode_stored, encode_stored

STORED = st.builds(
    StoredGroup,
    history=st.sampled_from([b"", b"h" * 16]),
    join_index=st.integers(0, 1 << 40),
    prepare_vote=st.binary(max_size=40),
    parts=st.lists(st.binary(max_size=40), max_size=6).map(tuple),
)


@given(STORED)
def test_it_survives(stored: StoredGroup) -> None:
    assert decode_stored(encode_stored(stored)) == stored


@given(STORED, st.data())
def test_what_was_cut_or_grew_is_refused(stored: StoredGroup, data: st.DataObject) -> None:
    whole = encode_stored(stored)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(DecodeError):
        decode_stored(whole[:cut])
    with pytest.raises(DecodeError):
        decode_stored(whole + data.draw(st.binary(min_size=1, max_size=9)))


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_or_are_read(data: bytes) -> None:
    try:
        stored = decode_stored(data)
    except DecodeError:
        return
    assert decode_stored(encode_stored(stored)) == stored
