"""Capabilities that change (user guide, "updateCapability")."""

from __future__ import annotations

import pytest
from thespian.actors import NoCompatibleSystemForActor

from . import bodies
from .conftest import SIMPLE, Sut

pytestmark = pytest.mark.departs(
    [SIMPLE], "neither refuses an actor that does not fit, nor stops one that no longer fits"
)


def set_from_outside(sut: Sut, value: object) -> None:
    sut.system.updateCapability("Switch", value)


def set_by_an_actor(sut: Sut, value: object) -> None:
    controller = sut.create(bodies.Controller)
    assert sut.ask(controller, bodies.SetCapability("Switch", value)) == "set"


def can_start(sut: Sut) -> bool:
    # An actor's update reaches the system of multiprocTCPBase some time later.
    try:
        sut.create(bodies.NeedsSwitch)
    except NoCompatibleSystemForActor:
        return False
    return True


@pytest.mark.parametrize("update", [set_from_outside, set_by_an_actor])
def test_actor_lives_as_long_as_its_capability(sut: Sut, update: object) -> None:
    assert callable(update)
    with pytest.raises(NoCompatibleSystemForActor):
        sut.create(bodies.NeedsSwitch)
    update(sut, "on")
    sut.wait(lambda: can_start(sut))
    parent = sut.create(bodies.Parent)
    _, child = sut.ask(parent, bodies.Create(bodies.NeedsSwitch))
    assert sut.ask(child, 1) == ("echo", 1)
    # A change of another capability, or of the value to one that fits too.
    update(sut, "brighter")
    assert sut.ask(child, 2) == ("echo", 2)
    update(sut, None)
    assert sut.listen() == ("exited", child)
    with pytest.raises(NoCompatibleSystemForActor):
        sut.create(bodies.NeedsSwitch)
