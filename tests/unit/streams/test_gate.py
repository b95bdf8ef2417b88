import asyncio
import gc
import logging
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
import pytest

from mosaik_actors.discovery.info import PeerInfo
from mosaik_actors.errors import ConfigError
from mosaik_actors.ids import StreamId
from mosaik_actors.schema import describe
from mosaik_actors.streams.conditions import Condition
from mosaik_actors.streams.consuming.preference import best
from mosaik_actors.streams.gate import (
    PEER_SUBSCRIPTIONS_MAX,
    clip,
    holds,
    is_allowed,
    near_miss,
    refusal,
    require_sync,
)
from mosaik_actors.streams.predicates import AwaitableAnswer
from mosaik_actors.transport.close import CloseCode

from .fakes import peer, peer_id


def code(**changes: Any) -> int | None:
    arguments: dict[str, Any] = {
        "require": None,
        "here": describe(int),
        "there": describe(int),
        "consumers": [],
        "consumers_max": None,
        **changes,
    }
    who = arguments.pop("who", peer("a", ["good"]))
    reason = refusal(who, **arguments)
    return reason.code if reason is not None else None


def test_everybody_known_may_subscribe_by_default() -> None:
    assert code() is None
    assert code(consumers=[peer_id(str(n)) for n in range(100)]) is None


def test_a_consumer_without_a_type_takes_everything() -> None:
    assert code(there=describe(object)) is None
    assert code(there=describe(Any)) is None
    # The other way round a type is asked for that nobody promised.
    assert code(here=describe(object)) == CloseCode.STREAM_SCHEMA_MISMATCH


def test_each_refusal_has_its_code() -> None:
    assert code(who=None) == CloseCode.UNKNOWN_PEER
    assert code(require=lambda info: "bad" in info.tags) == CloseCode.STREAM_NOT_ALLOWED
    assert (
        code(consumers=[peer_id("b"), peer_id("c")], consumers_max=2)
        == CloseCode.STREAM_NO_CAPACITY
    )
    assert code(there=describe(str)) == CloseCode.STREAM_SCHEMA_MISMATCH
    assert code(require=lambda info: "good" in info.tags, consumers_max=1) is None


def test_a_predicate_that_raises_is_not_met() -> None:
    def broken(info: PeerInfo) -> bool:
        raise RuntimeError(info)

    assert not is_allowed(peer("a"), broken)
    assert not holds(Condition().with_predicate(broken), [peer("a")])
    assert holds(Condition(), [peer("a")])


async def promise(answer: bool) -> bool:
    return answer


class Rule:
    def applies(self, _info: PeerInfo) -> Any:
        return promise(True)


@pytest.mark.parametrize(
    ("what", "name"),
    [
        (lambda: lambda _info: promise(True), "<lambda>"),
        (lambda: Rule().applies, "Rule.applies"),
        (lambda: partial(lambda _a, _info: promise(True), 1), "functools.partial"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_predicate_that_returns_a_coroutine_lets_nobody_in_and_is_named_once(
    what: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As a truth value a coroutine is true, whatever it would say."""
    predicate = what()
    assert code(require=predicate) == CloseCode.STREAM_NOT_ALLOWED
    assert not is_allowed(peer("b"), predicate)
    assert not holds(Condition().with_predicate(predicate), [peer("a")])
    assert not holds(Condition().with_predicate(predicate).unmet(), [peer("a")])
    gc.collect()  # a coroutine that was not closed warns here
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert name in record.getMessage()
    assert "returned a coroutine, which has to be awaited" in record.getMessage()


def test_a_predicate_that_returns_a_future_is_not_met() -> None:
    loop = asyncio.new_event_loop()
    answer: Any = loop.create_future()
    answer.set_result(True)
    assert not is_allowed(peer("a"), lambda _info: answer)
    with pytest.raises(AwaitableAnswer, match="expected a plain function"):
        Condition().with_predicate(lambda _info: answer).holds([peer("a")])
    assert best(key=lambda _info: answer).rank(peer("a")) is None
    loop.close()


def test_a_peer_is_one_consumer_however_often_it_subscribes() -> None:
    a, b = peer_id("a"), peer_id("b")
    assert code(consumers=[b, b], consumers_max=2) is None
    assert code(consumers=[a, b], consumers_max=2) is None  # it counts already
    assert code(consumers=[a] * (PEER_SUBSCRIPTIONS_MAX - 1)) is None
    assert code(consumers=[a] * PEER_SUBSCRIPTIONS_MAX) == CloseCode.STREAM_NO_CAPACITY
    assert code(consumers=[b] * PEER_SUBSCRIPTIONS_MAX) is None


def test_a_near_miss_is_explained() -> None:
    peers = [peer("a", streams=["other.Thing"]), peer("b", streams=["feeds.Price"])]
    hint = near_miss("myapp.Price", StreamId("myapp.Price"), peers)
    assert hint is not None
    assert hint.startswith("no producer of myapp.Price; peer ")
    assert hint.endswith(" offers feeds.Price; give both the same stream_id")
    assert near_miss("myapp.Cost", StreamId("myapp.Cost"), peers) is None
    # Who was chosen by its id, as streams of deployments are, has no wrong name.
    assert near_miss("myapp.Price", StreamId("chosen by its id"), peers) is None
    # What a peer offered that does not answer is away.
    away = [replace(one, is_reachable=False) for one in peers]
    assert near_miss("myapp.Price", StreamId("myapp.Price"), away) is None


def test_a_reason_fits_a_close_frame() -> None:
    long_name = "é" * 400
    huge = msgspec.defstruct("R", [(long_name, int)])
    reason = refusal(
        peer("a"),
        require=None,
        here=describe(huge),
        there=describe(msgspec.defstruct("R", [("b", int)])),
        consumers=[],
        consumers_max=None,
    )
    assert reason is not None
    assert len(reason.text.encode()) <= 250
    assert clip("short") == "short"


def test_a_predicate_that_looks_at_an_unmeasured_distance_is_asked_again() -> None:
    near = peer("a", ["good"])
    for require in (
        lambda info: info.rtt_below(5),
        lambda info: not info.rtt_below(5),
        lambda info: info.rtt < 5,  # raises, as there is none
        lambda info: info.rtt is None,
    ):
        assert is_allowed(near, require) is None
        assert code(who=near, require=require) == CloseCode.STREAM_NOT_ALLOWED
    assert is_allowed(near.measured(0.1), lambda info: info.rtt_below(5)) is True
    assert is_allowed(near.measured(6.0), lambda info: info.rtt_below(5)) is False
    # One that does not look is answered at once, and sees everything else.
    assert is_allowed(near, lambda info: "unmeasured" in repr(info)) is True
    assert is_allowed(near, lambda info: "good" in info.tags and info.peer_id == near.peer_id)
    assert is_allowed(near, lambda info: "bad" in info.tags and info.rtt_below(5)) is False


def test_what_is_no_function_is_refused_where_it_is_given() -> None:
    require_sync("require", None)
    with pytest.raises(ConfigError, match=r"^require is 'eu', expected a function$"):
        require_sync("require", "eu")
