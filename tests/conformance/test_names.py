"""Global names (user guide, "Named Actors")."""

from __future__ import annotations

import pytest
from thespian.actors import ActorExitRequest

from . import bodies
from .conftest import MULTIPROC, SIMPLE, Sut


def test_second_creation_under_a_name_returns_the_first_actor(sut: Sut) -> None:
    first = sut.create(bodies.Fails, globalName="same")
    assert sut.ask(first, bodies.FailTimes(0)) == ("answered at attempt", 1)
    second = sut.create(bodies.Echo, globalName="same")
    assert second == first
    assert sut.ask(second, "attempts") == 1


def test_names_are_separate(sut: Sut) -> None:
    assert sut.create(bodies.Echo, globalName="a") != sut.create(bodies.Echo, globalName="b")


def test_actor_that_creates_under_a_name_gets_the_same_actor(sut: Sut) -> None:
    named = sut.create(bodies.Fails, globalName="shared")
    sut.ask(named, bodies.FailTimes(0))
    parent = sut.create(bodies.Parent)
    _, found = sut.ask(parent, bodies.Create(bodies.Echo, global_name="shared"))
    assert sut.ask(found, "attempts") == 1


def test_name_is_free_again_after_the_exit(sut: Sut) -> None:
    named = sut.create(bodies.Fails, globalName="reused")
    sut.ask(named, bodies.FailTimes(0))
    sut.tell(named, ActorExitRequest())

    def is_new() -> bool:
        again = sut.create(bodies.Fails, globalName="reused")
        return bool(sut.ask(again, "attempts", timeout=0.3) == 0)

    sut.wait(is_new)


@pytest.mark.lacks([MULTIPROC], "tells the creator of the exit, sooner or later")
@pytest.mark.departs(
    [SIMPLE], "tells the creator of the exit, where the guide says only the system knows"
)
def test_exit_of_a_named_actor_is_told_to_nobody(sut: Sut) -> None:
    parent = sut.create(bodies.Parent)
    _, named = sut.ask(parent, bodies.Create(bodies.Echo, global_name="unmourned"))
    _, child = sut.ask(parent, bodies.Create(bodies.Echo))
    sut.tell(named, ActorExitRequest())
    # The name is free again as soon as the system has seen the exit.
    sut.wait(lambda: sut.create(bodies.Echo, globalName="unmourned") != named)
    sut.tell(child, ActorExitRequest())
    assert sut.listen() == ("exited", child)
