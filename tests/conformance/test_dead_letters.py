"""Messages that nobody is there for (user guide, "Dead Letter Handling")."""

from __future__ import annotations

import pytest
from thespian.actors import ActorAddress, ActorExitRequest

from . import bodies
from .conftest import MULTIPROC, SIMPLE, Sut


def dead_actor(sut: Sut) -> ActorAddress:
    parent = sut.create(bodies.Parent)
    _, child = sut.ask(parent, bodies.Create(bodies.Echo))
    sut.tell(child, ActorExitRequest())
    assert sut.listen()[0] == "exited"
    address: ActorAddress = child
    return address


def letters(sut: Sut, handler: ActorAddress) -> list[str]:
    return [letter for letter in sut.ask(handler, "letters") if letter != "probe"]


def unreachable_actor(sut: Sut, handler: ActorAddress) -> ActorAddress:
    """Return a dead actor whose messages reach the handler already.

    A process of multiprocTCPBase takes messages in for a moment after its exit
    was announced.
    """
    dead = dead_actor(sut)

    def is_reported() -> bool:
        sut.tell(dead, "probe")
        return "probe" in sut.ask(handler, "letters")

    sut.wait(is_reported)
    return dead


def started_handler(sut: Sut) -> ActorAddress:
    handler = sut.create(bodies.DeadLetterHandler)
    start(sut, handler)
    return handler


def start(sut: Sut, handler: ActorAddress) -> None:
    assert sut.ask(handler, "start") == "started"
    # Of several handlers our status shows the first one.
    sut.wait_for_status(lambda status: status.deadLetterHandler is not None)


def stop(sut: Sut, handler: ActorAddress) -> None:
    assert sut.ask(handler, "stop") == "stopped"
    sut.wait_for_status(lambda status: status.deadLetterHandler is None)


def test_message_to_an_exited_actor_reaches_the_handler(sut: Sut) -> None:
    handler = started_handler(sut)
    dead = unreachable_actor(sut, handler)
    sut.tell(dead, "one")
    sut.tell(dead, "two")
    sut.wait(lambda: len(letters(sut, handler)) == 2)
    assert letters(sut, handler) == ["one", "two"]


def test_handler_that_stopped_gets_no_more(sut: Sut) -> None:
    handler = started_handler(sut)
    dead = unreachable_actor(sut, handler)
    sut.tell(dead, "one")
    sut.wait(lambda: letters(sut, handler) == ["one"])
    stop(sut, handler)
    sut.tell(dead, "lost")
    # A letter of multiprocTCPBase goes to the system first; so does this.
    sut.wait_for_status(lambda status: status is not None)
    start(sut, handler)
    sut.tell(dead, "two")
    sut.wait(lambda: "two" in letters(sut, handler))
    assert letters(sut, handler) == ["one", "two"]


@pytest.mark.departs(
    [SIMPLE, MULTIPROC], "the last handler replaces the others; Actor.handleDeadLetters says each"
)
def test_each_of_several_handlers_gets_the_letter(sut: Sut) -> None:
    first, second = started_handler(sut), started_handler(sut)
    dead = unreachable_actor(sut, second)
    sut.tell(dead, "letter")
    sut.wait(lambda: letters(sut, second) == ["letter"])
    assert letters(sut, first) == ["letter"]


def test_ask_of_an_exited_actor_returns_none(sut: Sut) -> None:
    assert sut.ask(dead_actor(sut), "anyone?", timeout=1.0) is None
