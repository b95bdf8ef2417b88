"""Timeouts are longer for a process that is late itself, and bounded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mosaik_actors.transport.config import TransportConfig
from mosaik_actors.transport.connection.connection import ConnectionState
from mosaik_actors.transport.endpoint.connections import Connections
from mosaik_actors.transport.late import STRETCH_MAX, find_extension


@pytest.mark.parametrize(
    ("due_at", "now", "extension"),
    [
        (10.0, 10.0, None),
        (10.0, 10.04, None),  # as late as any loop is now and then
        (10.0, 11.0, 15.0),
        (10.0, 13.0, 25.0),
        (25.0, 25.0, None),  # in time again
        (25.0, 50.0, STRETCH_MAX * 10.0),
        (25.0, 79.0, STRETCH_MAX * 10.0),
        (80.0, 81.0, None),  # whatever the process is like
    ],
)
def test_a_timeout_grows_by_several_times_how_late_it_is_noticed(
    due_at: float, now: float, extension: float | None
) -> None:
    assert find_extension(due_at, began_at=0.0, timeout_s=10.0, now=now) == extension


def test_a_process_that_is_always_late_comes_to_an_end() -> None:
    due_at: float | None = 10.0
    looks = 0
    while due_at is not None:
        due_at = find_extension(due_at, began_at=0.0, timeout_s=10.0, now=due_at + 0.1)
        looks += 1
    assert looks < STRETCH_MAX * 10 / 0.1


def test_a_proof_has_more_time_where_the_look_for_it_is_late() -> None:
    config = TransportConfig(dial_timeout=10)
    connections: Any = SimpleNamespace(_config=config)
    connection: Any = SimpleNamespace(
        state=ConnectionState.PROVING, identified_at=0.0, proven_by=10.0
    )

    def is_over(due_at: float, now: float) -> bool:
        return Connections._is_unproven_for_long(connections, connection, due_at, now)

    assert not is_over(9.0, 9.9)
    assert not is_over(9.5, 12.0)  # late by 2.5 s
    assert connection.proven_by == 22.0
    assert not is_over(21.0, 21.9)
    assert is_over(22.5, 22.5)
