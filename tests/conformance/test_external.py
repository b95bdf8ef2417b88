"""Code outside actors (user guide, "tell", "ask", "listen", "private")."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

import pytest
from thespian.actors import ActorSystem, Thespian_ActorStatus, Thespian_StatusReq

from . import bodies
from .conftest import PATIENCE_S, SIMPLE, Sut


def test_messages_keep_their_order(sut: Sut) -> None:
    echo = sut.create(bodies.Echo)
    for number in range(50):
        sut.tell(echo, number)
    assert sut.collect(50) == [("echo", number) for number in range(50)]


def test_listen_returns_none_when_nothing_comes(sut: Sut) -> None:
    assert sut.listen(timeout=0.01) is None


def test_ask_returns_none_when_no_answer_comes(sut: Sut) -> None:
    observer = sut.create(bodies.Observer)
    assert sut.ask(observer, "no answer to this", timeout=0.05) is None


def test_ask_ends_with_any_message_to_the_endpoint(sut: Sut) -> None:
    echo, observer = sut.create(bodies.Echo), sut.create(bodies.Observer)
    sut.tell(echo, "earlier")
    assert sut.ask(observer, "no answer to this") == ("echo", "earlier")


def test_address_that_is_none_is_refused(sut: Sut) -> None:
    nowhere: Any = "nowhere"
    with pytest.raises(ValueError, match="address"):
        sut.tell(nowhere, 1)
    with pytest.raises(ValueError, match="address"):
        sut.ask(nowhere, 1)


def in_thread(work: Callable[[], Any]) -> Future[Any]:
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run).start()
    return future


def converse(system: ActorSystem, name: str) -> list[Any]:
    """Work with actors through a private context; return what was heard."""
    with system.private() as context:
        echo = context.createActor(bodies.Echo)
        heard = [context.ask(echo, (name, number), PATIENCE_S) for number in range(10)]
        context.tell(echo, (name, "told"))
        heard.append(context.listen(PATIENCE_S))
        return heard


def expected(name: str) -> list[Any]:
    return [("echo", (name, number)) for number in [*range(10), "told"]]


def test_private_contexts_of_threads_never_mix_their_answers(sut: Sut) -> None:
    threads = {name: in_thread(partial(converse, sut.system, name)) for name in "abcd"}
    # simpleSystemBase runs its actors only inside calls of the main thread.
    sut.wait(lambda: all(thread.done() for thread in threads.values()))
    for name, thread in threads.items():
        assert thread.result() == expected(name)


def test_private_contexts_in_one_thread_are_separate(sut: Sut) -> None:
    if sut.base == SIMPLE:
        pytest.skip("a private context waits for the main thread, which is the one that asks")
    echo = sut.create(bodies.Echo)
    with sut.system.private() as first, sut.system.private() as second:
        first.tell(echo, 1)
        second.tell(echo, 2)
        assert second.listen(PATIENCE_S) == ("echo", 2)
        assert first.listen(PATIENCE_S) == ("echo", 1)


@pytest.mark.lacks([SIMPLE], "not re-entrant: only the main thread may use the system itself")
def test_other_threads_may_use_the_system_itself(sut: Sut) -> None:
    echo = sut.create(bodies.Echo)
    asked = in_thread(lambda: sut.system.ask(echo, "from a thread", PATIENCE_S))
    assert asked.result(PATIENCE_S) == ("echo", "from a thread")


def test_actor_reports_its_status(sut: Sut) -> None:
    parent = sut.create(bodies.Parent)
    _, child = sut.ask(parent, bodies.Create(bodies.Echo))
    status = sut.ask(parent, Thespian_StatusReq())
    assert isinstance(status, Thespian_ActorStatus)
    assert status.childActors == [child]
    assert "Parent" in status.actorClass


def test_status_counts_pending_wakeups(sut: Sut) -> None:
    sleeper = sut.create(bodies.Sleeper)
    sut.tell(sleeper, [(60.0, "later"), (60.0, "later too")])
    assert len(sut.ask(sleeper, Thespian_StatusReq()).pendingWakeups) == 2


@pytest.mark.lacks([SIMPLE], "has no system actor; answers with the status of an actor")
def test_system_reports_its_status(sut: Sut) -> None:
    named = sut.create(bodies.Echo, globalName="listed")
    handler = sut.create(bodies.DeadLetterHandler)
    assert sut.ask(handler, "start") == "started"
    sut.wait_for_status(lambda status: status.deadLetterHandler is not None)
    status = sut.ask(sut.system_address, Thespian_StatusReq())
    assert status.capabilities["Color"] == "Blue"
    assert status.globalActors["listed"] == named
    assert status.deadLetterHandler == handler
    assert named in status.childActors
    assert status.inShutdown is False
