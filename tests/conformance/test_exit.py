"""The end of actors (user guide, "Killing an Actor", "Parent Actor")."""

from __future__ import annotations

import pytest
from thespian.actors import ActorAddress, ActorExitRequest

from . import bodies
from .conftest import SIMPLE, Sut

TREE = ["root", "root.l", "root.l.l", "root.l.r", "root.r", "root.r.l", "root.r.r"]


def observer_of(sut: Sut) -> ActorAddress:
    return sut.create(bodies.Observer)


def names(sut: Sut, observer: ActorAddress, kind: str) -> list[str]:
    return sorted(seen[1] for seen in sut.ask(observer, "what?") if seen[0] == kind)


def test_parent_hears_of_its_childs_exit(sut: Sut) -> None:
    parent = sut.create(bodies.Parent)
    _, child = sut.ask(parent, bodies.Create(bodies.Echo))
    sut.tell(child, ActorExitRequest())
    kind, exited = sut.listen()
    assert kind == "exited"
    assert exited == child


def test_exit_request_ends_the_whole_tree(sut: Sut) -> None:
    observer = observer_of(sut)
    root = sut.create(bodies.Tree)
    sut.tell(root, bodies.Grow(observer, 2))
    sut.wait(lambda: names(sut, observer, "grown") == TREE)
    sut.tell(root, ActorExitRequest())
    sut.wait(lambda: names(sut, observer, "exits") == TREE)


@pytest.mark.departs([SIMPLE], "ends the children whatever the exit request says")
def test_exit_that_is_not_recursive_leaves_the_children(sut: Sut) -> None:
    observer = observer_of(sut)
    parent = sut.create(bodies.Parent)
    _, root = sut.ask(parent, bodies.Create(bodies.Tree))
    sut.tell(root, bodies.Grow(observer, 1, is_recursive=False))
    sut.wait(lambda: names(sut, observer, "grown") == ["root", "root.l", "root.r"])
    sut.tell(root, ActorExitRequest())
    assert sut.listen()[0] == "exited"
    assert names(sut, observer, "exits") == ["root"]
    # Nobody else will end them.
    for seen in sut.ask(observer, "what?"):
        if seen[0] == "grown" and seen[1] != "root":
            sut.tell(seen[2], ActorExitRequest())
    sut.wait(lambda: names(sut, observer, "exits") == ["root", "root.l", "root.r"])


def test_exit_of_one_child_leaves_its_siblings_alone(sut: Sut) -> None:
    parent = sut.create(bodies.Parent)
    _, first = sut.ask(parent, bodies.Create(bodies.Echo))
    _, second = sut.ask(parent, bodies.Create(bodies.Echo))
    sut.tell(first, ActorExitRequest())
    assert sut.listen()[0] == "exited"
    assert sut.ask(second, 1) == ("echo", 1)


def test_failure_in_handling_an_exit_request_does_not_prevent_the_exit(sut: Sut) -> None:
    parent = sut.create(bodies.Parent)
    _, child = sut.ask(parent, bodies.Create(bodies.FailsAtExit))
    sut.tell(child, ActorExitRequest())
    assert sut.listen()[0] == "exited"


def test_transient_actor_ends_by_itself(sut: Sut) -> None:
    parent = sut.create(bodies.Parent)
    _, child = sut.ask(parent, bodies.Create(bodies.ShortLived))
    assert sut.ask(child, 1) == ("echo", 1)
    # Its wake-up echoes back to itself first, then it goes.
    assert sut.listen()[0] == "exited"
