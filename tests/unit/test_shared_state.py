from __future__ import annotations

import gc

import pytest

from mosaik_actors.errors import Closed
from mosaik_actors.events import Events
from mosaik_actors.shared_state import Lagged, SharedState


class Eye:
    """Somebody who looks."""

    def __init__(self) -> None:
        self.look_count = 0

    def look(self) -> None:
        self.look_count += 1


def test_those_who_are_held_look_after_each_change() -> None:
    state, eye = SharedState(), Eye()
    state.hold(eye)
    state.hold(eye)  # counts once
    state.changed()
    state.close()
    assert eye.look_count == 2


def test_one_that_is_released_looks_on_while_somebody_refers_to_it() -> None:
    state, eye = SharedState(), Eye()
    state.hold(eye)
    state.release(eye)
    state.changed()
    assert eye.look_count == 1
    del eye
    gc.collect()
    assert not state.is_watched


def test_one_that_is_held_is_kept() -> None:
    state = SharedState()
    state.hold(Eye())
    gc.collect()
    assert state.is_watched


def test_only_the_first_reason_of_an_end_counts() -> None:
    state = SharedState()
    state.close(Closed(reason="first"))
    state.close(Closed(reason="second"))
    assert state.is_closed
    assert str(state.ended()) == "first"
    assert state.ended() is not state.ended()


def test_events_are_kept_in_order_up_to_the_backlog() -> None:
    state, eye = SharedState(events_backlog=3), Eye()
    state.hold(eye)
    state.publish("a", "b")
    state.publish("c")
    assert eye.look_count == 2
    assert [state.read_event(number) for number in range(4)] == ["a", "b", "c", None]
    state.publish("d", "e")
    assert state.event_count == 5
    assert state.read_event(0) == Lagged(2)
    assert state.read_event(1) == Lagged(1)
    assert [state.read_event(number) for number in range(2, 5)] == ["c", "d", "e"]


@pytest.mark.parametrize("backlog", [0, 1])
def test_a_backlog_may_be_small(backlog: int) -> None:
    state = SharedState(events_backlog=backlog)
    state.publish(*"abc")
    assert state.read_event(0) == Lagged(3 - backlog)


def test_a_state_knows_whether_anybody_reads_its_events() -> None:
    state = SharedState(events_backlog=3)
    state.publish("before")
    was_read = state.is_read
    events: Events[str] = Events(state)
    assert (was_read, state.is_read) == (False, True)
    state.publish("after")
    assert state.read_event(events._next) == "after"
    del events
    assert state.is_read is False
