"""The small parts of a producer: who may subscribe, and what becomes of items nobody takes."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from mosaik_actors.schema import describe
from mosaik_actors.streams.criteria.budget import CriteriaBudget
from mosaik_actors.streams.criteria.criteria import Record, encode_criteria, where
from mosaik_actors.streams.producing.admission import (
    TOO_COSTLY,
    AdmittedPeer,
    Awaited,
    ConsumerAdmission,
)
from mosaik_actors.streams.producing.encoding import ItemEncoder
from mosaik_actors.streams.producing.fanout import FanOut
from mosaik_actors.streams.producing.item_filter import ItemFilter
from mosaik_actors.streams.producing.outbox import Outbox
from mosaik_actors.streams.producing.publisher import Publisher
from mosaik_actors.streams.producing.undelivered import Undelivered
from mosaik_actors.streams.wire import Subscribe
from mosaik_actors.tickets.table import TicketVerdict
from mosaik_actors.transport.close import CloseCode

from .fakes import peer, peer_id


class Reading(Record, frozen=True):
    n: int


class Other(Record, frozen=True):
    name: str


class FakeTickets:
    """A requirement with a verdict that the test sets."""

    verdict = TicketVerdict(0.0, "none shown")

    def judge(self, peer: Any) -> TicketVerdict:
        return self.verdict

    def allows(self, verdict: TicketVerdict) -> bool:
        return verdict.allows(1.0)


def item_filter() -> ItemFilter:
    return ItemFilter(Reading, lambda: None, lambda: None, lambda: 0.0)


def admission(tickets: Any = None, budget: CriteriaBudget | None = None) -> ConsumerAdmission:
    budget = budget or CriteriaBudget(0.1, 1.0)
    return ConsumerAdmission(None, tickets, describe(Reading), 1, item_filter(), budget)


def header(criteria: bytes = b"") -> Subscribe:
    schema = describe(Reading)
    return Subscribe(
        stream=bytes(32), name="", schema=schema, window_items=64, window_bytes=1024,
        criteria=criteria,
    )  # fmt: skip


def judge(rules: ConsumerAdmission, criteria: bytes = b"", *, taken: int = 0) -> Any:
    consumers = [peer_id(f"c{n}") for n in range(taken)]
    return rules.judge(peer("a"), header(criteria), consumers, now=0.0)


ODD = encode_criteria(where(Reading.n == 1))


def test_whoever_is_known_and_fits_is_admitted_with_its_criteria() -> None:
    assert judge(admission()) == AdmittedPeer(peer("a"), None)
    admitted = judge(admission(), ODD)
    assert admitted.filter_group.key == ODD


@pytest.mark.parametrize(
    ("criteria", "taken", "code"),
    [
        (b"", 1, CloseCode.STREAM_NO_CAPACITY),
        (b"nonsense", 0, CloseCode.PROTOCOL_VIOLATION),
        (encode_criteria(where(Other.name == "x")), 0, CloseCode.STREAM_INVALID_CRITERIA),
    ],
)
def test_who_does_not_fit_is_refused_with_a_code(criteria: bytes, taken: int, code: int) -> None:
    assert judge(admission(), criteria, taken=taken).code == code


def test_tickets_that_are_not_judged_yet_are_waited_for() -> None:
    tickets = FakeTickets()
    rules = admission(tickets)
    assert judge(rules).code == CloseCode.STREAM_NOT_ALLOWED
    tickets.verdict = TicketVerdict(0.0, "is asked", is_awaited=True)
    assert isinstance(judge(rules), Awaited)
    tickets.verdict = TicketVerdict(2.0)
    assert isinstance(judge(rules), AdmittedPeer)
    assert rules.judge_tickets(peer("a")) is None


def test_criteria_of_who_asks_for_too_much_are_refused() -> None:
    budget = CriteriaBudget(0.1, 1.0)
    budget.charge(peer_id("a"), 2.0, 0, now=0.0)
    assert judge(admission(budget=budget), ODD) is TOO_COSTLY
    assert isinstance(judge(admission(budget=budget)), AdmittedPeer)  # without any it may


def no_future() -> Any:
    raise AssertionError("nobody waits here")


def test_items_go_back_when_the_last_subscriber_is_gone() -> None:
    """Also those that waited for room because of it: nobody is there to take them."""
    returned: list[Any] = []
    encoder = ItemEncoder(int)
    fan_out = FanOut(buffer_items=1, buffer_bytes=1 << 20, lag_grace_s=0.0)
    outbox = Outbox(items_max=8, bytes_max=1 << 20, wake=lambda: None, make_future=no_future)
    undelivered = Undelivered("n", logging.getLogger("test"), encoder, returned.append)
    publisher = Publisher(outbox, fan_out, item_filter(), encoder, 1 << 16, undelivered)
    outbox.set_online(True)
    fan_out.subscribe("slow", window_items=64, window_bytes=1 << 20)
    outbox.append(encoder.encode(1))
    publisher.publish(now=0.0)
    assert not outbox.entries
    assert returned == []
    outbox.append(encoder.encode(2))
    publisher.publish(now=0.0)
    assert returned == []  # there is no room
    fan_out.note_blocked(now=1.0)  # it is too slow, and its link is not closed yet
    publisher.publish(now=1.0)
    assert returned == [2]
    assert publisher.is_drained
    outbox.append(encoder.encode(3))
    assert (publisher.end(), returned) == (1, [2, 3])


def test_a_failing_callback_keeps_no_other_item_back(caplog: pytest.LogCaptureFixture) -> None:
    encoder = ItemEncoder(int)
    seen: list[int] = []

    def fail(item: int) -> None:
        seen.append(item)
        raise ValueError(item)

    items = [encoder.encode(n) for n in range(3)]
    Undelivered("n", logging.getLogger("test"), encoder, fail).hand_back(items)
    assert seen == [0, 1, 2]
    assert len(caplog.records) == 3


def test_without_a_callback_the_number_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    encoder = ItemEncoder(int)
    Undelivered("n", logging.getLogger("test"), encoder, None).hand_back([encoder.encode(1)])
    assert [record.getMessage() for record in caplog.records] == ["n: 1 items had no consumer"]
