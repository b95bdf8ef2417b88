"""Capabilities that change (user guide, "updateCapability")."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from thespian.actors import NoCompatibleSystemForActor

from . import bodies
from .conftest import SIMPLE, Sut

pytestmark = pytest.mark.departs(
    [SIMPLE], "neither refuses an actor that does not fit, nor stops one that no longer fits"
)


def set_from_outside(sut: Sut, value: object) -> list[str]:
    """Set the capability; return the answers that come."""
    sut.system.updateCapability("Switch", value)
    return []


def set_by_an_actor(sut: Sut, value: object) -> list[str]:
    """Have an actor set the capability; return the answers that come."""
    controller = sut.create(bodies.Controller)
    sut.tell(controller, bodies.SetCapability("Switch", value))
    return ["set"]


def can_start(sut: Sut) -> bool:
    # An actor's update reaches the system of multiprocTCPBase some time later.
    try:
        sut.create(bodies.NeedsSwitch)
    except NoCompatibleSystemForActor:
        return False
    return True


@pytest.mark.parametrize("update", [set_from_outside, set_by_an_actor])
def test_actor_lives_as_long_as_its_capability(
    sut: Sut, update: Callable[[Sut, object], list[str]]
) -> None:
    with pytest.raises(NoCompatibleSystemForActor):
        sut.create(bodies.NeedsSwitch)
    expected = update(sut, "on")
    assert sut.collect(len(expected)) == expected
    sut.wait(lambda: can_start(sut))
    parent = sut.create(bodies.Parent)
    _, child = sut.ask(parent, bodies.Create(bodies.NeedsSwitch))
    assert sut.ask(child, 1) == ("echo", 1)
    # A change of the value to one that fits too.
    expected = update(sut, "brighter")
    assert sut.collect(len(expected)) == expected
    assert sut.ask(child, 2) == ("echo", 2)
    expected = update(sut, None)
    heard = sut.collect(len(expected) + 1)
    # The two come from different actors, in any order.
    assert [message for message in heard if message == "set"] == expected
    assert ("exited", child) in heard
    with pytest.raises(NoCompatibleSystemForActor):
        sut.create(bodies.NeedsSwitch)
