"""Wake-ups (user guide, "Timer Messages")."""

from __future__ import annotations

from . import bodies
from .conftest import Sut


def test_wakeup_brings_its_payload_and_period_from_the_actor_itself(sut: Sut) -> None:
    sleeper = sut.create(bodies.Sleeper)
    payload = {"any": ["thing", 1]}
    assert sut.ask(sleeper, [(0.01, payload)]) == (payload, 0.01, True)


def test_wakeups_come_in_order_of_time(sut: Sut) -> None:
    sleeper = sut.create(bodies.Sleeper)
    sut.tell(sleeper, [(0.25, "late"), (0.01, "early"), (0.12, None)])
    assert [answer[0] for answer in sut.collect(3)] == ["early", None, "late"]


def test_wakeup_after_nothing_still_comes_as_a_message(sut: Sut) -> None:
    sleeper = sut.create(bodies.Sleeper)
    assert sut.ask(sleeper, [(0.0, "now")]) == ("now", 0.0, True)
