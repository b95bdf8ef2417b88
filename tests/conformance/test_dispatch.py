"""Type dispatch (user guide, "ActorTypeDispatcher"), with Thespian's class and with ours."""

from __future__ import annotations

from typing import Any

import pytest

from . import bodies
from .conftest import Sut


@pytest.mark.parametrize("dispatcher", [bodies.StockDispatcher, bodies.OurDispatcher])
def test_message_goes_to_the_handler_of_its_nearest_class(sut: Sut, dispatcher: Any) -> None:
    actor = sut.create(dispatcher)
    assert sut.ask(actor, bodies.Base()) == "Base handler, Base"
    assert sut.ask(actor, bodies.Middle()) == "Middle handler, Middle"
    assert sut.ask(actor, bodies.Leaf()) == "Middle handler, Leaf"
    assert sut.ask(actor, "text") == "str handler"


@pytest.mark.parametrize("dispatcher", [bodies.StockDispatcher, bodies.OurDispatcher])
def test_deferred_message_goes_to_the_handler_of_its_base_class(sut: Sut, dispatcher: Any) -> None:
    assert sut.ask(sut.create(dispatcher), bodies.Deferred()) == "Base handler, Deferred"


@pytest.mark.parametrize("dispatcher", [bodies.StockDispatcher, bodies.OurDispatcher])
def test_other_messages_are_unrecognized(sut: Sut, dispatcher: Any) -> None:
    assert sut.ask(sut.create(dispatcher), bodies.Unknown()) == "unrecognized, Unknown"


@pytest.mark.parametrize("dispatcher", [bodies.StockSubDispatcher, bodies.OurSubDispatcher])
def test_handler_of_a_subclass_comes_first_and_may_defer(sut: Sut, dispatcher: Any) -> None:
    actor = sut.create(dispatcher)
    assert sut.ask(actor, "text") == "str handler of the subclass"
    assert sut.ask(actor, "defer") == "str handler"
    assert sut.ask(actor, bodies.Leaf()) == "Middle handler, Leaf"


def test_troupe_shares_the_work_between_several_workers(sut: Sut) -> None:
    crew = sut.create(bodies.Crew)
    for job in range(1, 7):  # a troupe drops what is false, such as 0
        sut.tell(crew, job)
    answers = sut.collect(6)
    assert sorted(job for job, _ in answers) == [1, 2, 3, 4, 5, 6]
    assert 1 < len({worker for _, worker in answers}) <= 4
