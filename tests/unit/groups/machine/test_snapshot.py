"""The header of a snapshot, and its stored form."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors.errors import DecodeError
from mosaik_actors.groups.machine.ledger import Ledger
from mosaik_actors.groups.machine.sessions import SessionLimits, Sessions
from mosaik_actors.groups.machine.snapshot import (
    PIECE_BYTES,
    Header,
)
from mosaik_actors.groups.wire.commands import CommandBatch
from mosaik_actors.groups.wire.system_entries import AcceptMerge

from ..host_machines import HISTORY, MERGING_HISTORY


def sessions_of(clients: int, results: int = 1) -> Sessions:
    sessions = Sessions()
    for number in range(clients):
        command_batch = CommandBatch(number.to_bytes(16), 0, 1, 0, (b"x",) * results)
        sessions.apply(command_batch, number + 1, lambda payloads: [b"12345678"] * len(payloads))
    return sessions


def header(sessions: Sessions | None = None) -> Header:
    ledger = Ledger(HISTORY)
    ledger.apply(AcceptMerge(MERGING_HISTORY))
    return Header(
        ledger=ledger,
        sessions=sessions or sessions_of(3),
        index=9,
        position=7,
        has_machine=True,
    )


def read(parts: Sequence[bytes], limits: SessionLimits | None = None) -> Header:
    return Header.read(iter(parts), limits)


def test_header_survives_in_one_part() -> None:
    parts = header().to_parts()
    assert len(parts) == 1
    found = read(parts)
    assert (found.index, found.position, found.has_machine) == (9, 7, True)
    assert (found.ledger.history, found.ledger.merging_histories) == (HISTORY, (MERGING_HISTORY,))
    assert found.to_parts() == parts


def test_machine_parts_are_left() -> None:
    for sessions in (sessions_of(1), sessions_of(9000, 8)):
        parts = iter([*header(sessions).to_parts(), b"machine"])
        Header.read(parts)
        assert list(parts) == [b"machine"]


def test_large_table_of_sessions_goes_on_in_more_parts() -> None:
    parts = header(sessions_of(9000, 8)).to_parts()
    assert len(parts) > 3
    assert max(map(len, parts)) < PIECE_BYTES + 1000
    assert read(parts).to_parts() == parts
    for count in range(len(parts)):
        with pytest.raises(DecodeError):
            read(parts[:count])


def test_too_many_clients_are_refused() -> None:
    with pytest.raises(DecodeError, match="3 clients"):
        read(header().to_parts(), SessionLimits(client_count=2))


def test_table_that_is_not_written_as_we_write_it_is_refused() -> None:
    """A doubled client would be read as one, and then members would differ."""
    row = [bytes(16), 1, 1, [b"12345678"]]
    table = msgspec.msgpack.encode([0, [row, row]])
    fields = ["state-1", 1, 1, False, Ledger(HISTORY).to_bytes(), 0, table]
    with pytest.raises(DecodeError, match="not written as it should be"):
        read([msgspec.msgpack.encode(fields)])
    fields[-1] = msgspec.msgpack.encode([0, [row]])
    assert len(read([msgspec.msgpack.encode(fields)]).sessions) == 1


@pytest.mark.parametrize(
    ("at", "value"), [(0, "state-2"), (1, -1), (2, 1 << 62), (4, b""), (5, 1 << 20), (6, None)]
)
def test_header_that_breaks_a_limit_is_refused(at: int, value: object) -> None:
    fields = msgspec.msgpack.decode(header().to_parts()[0])
    fields[at] = value
    with pytest.raises(DecodeError):
        read([msgspec.msgpack.encode(fields)])


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_damaged_header_is_refused_or_another_header(data: st.DataObject) -> None:
    part = bytearray(header().to_parts()[0])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(part) - 1))
        part[at] = data.draw(st.integers(0, 255))
    try:
        found = read([bytes(part)])
    except DecodeError:
        return
    assert read(found.to_parts()).to_parts() == found.to_parts()
