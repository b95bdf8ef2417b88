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


@pytest.mark.parametrize(("carrier", "most"), [("unix", 165), ("tcp", 185)])
def test_a_lone_item_takes_few_calls(
    carrier: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the library's own at both ends, which no machine and no version of Python changes.

    It is about 140 and 160; the rest is for what a node does beside it on a slow machine.
    """
    monkeypatch.setattr(round_trip, "TRIPS", 200)
    monkeypatch.setattr(round_trip, "ROUNDS", 1)
    found = round_trip.measure(carrier)
    assert found["calls in transport"] + found["calls in streams"] <= most
