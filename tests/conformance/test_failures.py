"""Failing handlers (user guide, "PoisonMessage Returns")."""

from __future__ import annotations

import pytest
from thespian.actors import PoisonMessage

from . import bodies
from .conftest import SIMPLE, Sut


def test_message_that_fails_once_is_handled_at_the_second_attempt(sut: Sut) -> None:
    actor = sut.create(bodies.Fails)
    assert sut.ask(actor, bodies.FailTimes(1)) == ("answered at attempt", 2)


def test_message_that_keeps_failing_comes_back_as_poison(sut: Sut) -> None:
    actor = sut.create(bodies.Fails)
    answer = sut.ask(actor, bodies.FailTimes(100))
    assert isinstance(answer, PoisonMessage)
    assert answer.poisonMessage == bodies.FailTimes(100)
    assert answer.details is not None
    assert "ValueError: on purpose" in answer.details


@pytest.mark.departs([SIMPLE], "tries three times, where the guide says twice")
def test_message_is_tried_twice(sut: Sut) -> None:
    actor = sut.create(bodies.Fails)
    assert isinstance(sut.ask(actor, bodies.FailTimes(100)), PoisonMessage)
    assert sut.ask(actor, "attempts") == 2


def test_actor_goes_on_after_a_poison_message(sut: Sut) -> None:
    actor = sut.create(bodies.FailsOnEverything)
    assert isinstance(sut.ask(actor, "bad"), PoisonMessage)
    assert sut.ask(actor, "alive?") == "alive"


def test_actor_that_sent_the_message_gets_the_poison(sut: Sut) -> None:
    parent = sut.create(bodies.Parent)
    _, child = sut.ask(parent, bodies.Create(bodies.FailsOnEverything))
    sut.tell(parent, bodies.Forward(child, "bad"))
    kind, message, details = sut.listen()
    assert (kind, message) == ("poison", "bad")
    assert "on everything" in details


def test_poison_that_fails_makes_no_more_poison(sut: Sut) -> None:
    first = sut.create(bodies.FailsOnEverything)
    second = sut.create(bodies.FailsOnEverything)
    sut.tell(first, bodies.Forward(second, "bad"))
    assert sut.ask(second, "alive?") == "alive"
    assert sut.ask(first, "alive?") == "alive"


def test_failure_leaves_other_actors_alone(sut: Sut) -> None:
    bad, good = sut.create(bodies.FailsOnEverything), sut.create(bodies.Echo)
    for _ in range(5):
        assert isinstance(sut.ask(bad, "bad"), PoisonMessage)
        assert sut.ask(good, 1) == ("echo", 1)
