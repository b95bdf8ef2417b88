"""Timeouts are longer for a process that is late itself, and bounded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mosaik_actors.transport.connection.connection import ConnectionState
from mosaik_actors.transport.endpoint.connections import Connections
from mosaik_actors.transport.late import STRETCH_MAX, Deadline


@pytest.mark.parametrize(
    ("looks", "due_at"),
    [
        ([9.9], 10.0),  # too early does no harm
        ([10.0], None),
        ([10.04], None),  # as late as any loop is now and then
        ([11.0], 15.0),
        ([11.0, 15.0], 17.0),  # in time again: how late it was is forgotten by halves
        ([11.0, 15.0, 17.0, 18.0, 18.5, 18.75], None),
        ([11.0, 18.0], 30.0),
        ([50.0], STRETCH_MAX * 10.0),
        ([50.0, 80.0], None),
        ([81.0], None),  # whatever the process is like
    ],
)
def test_a_deadline_moves_by_several_times_how_late_it_is_noticed(
    looks: list[float], due_at: float | None
) -> None:
    deadline = Deadline(10.0, now=0.0)
    *before, last = looks
    for now in before:
        assert not deadline.is_over(now=now)
    assert deadline.is_over(now=last) == (due_at is None)
    assert due_at is None or deadline.due_at == due_at


def test_what_was_late_before_what_is_waited_for_began_is_forgotten() -> None:
    deadline = Deadline(10.0, now=0.0)
    assert not deadline.is_over(now=12.0)
    deadline.began_at = 30.0
    assert deadline.due_at == 40.0
    assert deadline.is_over(now=40.0)


def test_a_process_that_is_always_late_comes_to_an_end() -> None:
    deadline = Deadline(10.0, now=0.0)
    looks = 1
    while not deadline.is_over(now=deadline.due_at + 0.1):
        looks += 1
    assert looks < STRETCH_MAX * 10 / 0.4


def test_a_proof_has_more_time_where_the_look_for_it_is_late() -> None:
    """One looks at all connections now and then, so how late that is says when it was due."""
    connections: Any = None
    connection: Any = SimpleNamespace(
        state=ConnectionState.PROVING, proven_by=Deadline(10.0, now=0.0)
    )

    def is_over(due_at: float, now: float) -> bool:
        return Connections._is_unproven_for_long(connections, connection, due_at, now)

    assert not is_over(9.0, 9.9)
    assert not is_over(9.5, 12.0)  # late by 2.5 s
    assert connection.proven_by.due_at == 22.0
    assert not is_over(21.0, 21.9)
    connection.state = ConnectionState.READY
    assert not is_over(22.5, 22.5)
    connection.state = ConnectionState.PROVING
    connection.proven_by = Deadline(10.0, now=0.0)
    assert is_over(12.0, 12.0)
