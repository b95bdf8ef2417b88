"""What a round trip is made of, counted."""

from __future__ import annotations

import pytest

from benchmarks import round_trip


def test_what_is_counted_adds_up() -> None:
    found = round_trip.measure("unix", quick=True)
    rooms = sum(found[f"calls in {room}"] for room in round_trip.ROOMS)
    assert found["calls of functions"] == pytest.approx(rooms)
    assert rooms > 0
    assert min(found["calls in transport"], found["calls in streams"], found["CPU"]) > 0
    assert found["turns of the loop"] >= 2  # one for each end
    assert found["reads of sockets"] >= 2 <= found["writes to sockets"]
    assert found["futures"] >= 2
