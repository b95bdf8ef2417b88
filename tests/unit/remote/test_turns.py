"""How many turns of the event loop a question to another node costs."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from mosaik_actors import ActorRef, MosaikActor, Network, Request, TransportConfig
from mosaik_actors.transport.endpoint.outbound import Outbound

ASKS = 50


class Ping(Request[int]):
    number: int


class Echo(MosaikActor):
    def receiveMsg_Ping(self, message: Ping, _sender: ActorRef) -> int:
        return message.number


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count turns of the loop, flushes of endpoints, and timers of connections."""
    counts: Counter[str] = Counter()

    def count(owner: type, name: str) -> None:
        original = getattr(owner, name)

        def counted(self: Any, *args: Any) -> Any:
            counts[name] += 1
            return original(self, *args)

        monkeypatch.setattr(owner, name, counted)

    count(asyncio.BaseEventLoop, "_run_once")
    count(Outbound, "flush")
    count(Outbound, "_on_timer")
    return counts


@pytest.mark.parametrize("carrier", ["quic", "unix"])
async def test_lone_question_costs_two_turns_at_either_end(
    carrier: str, counts: Counter[str]
) -> None:
    """One takes in what came, one handles it and sends what follows, in one flush."""
    transport = TransportConfig(carriers=(carrier,))
    async with (
        Network("turns", transport=transport) as there,
        Network("turns", transport=transport) as here,
    ):
        await there.actors.spawn(Echo, name="echo")
        ref = await here.actors.resolve("echo", timeout=30)
        for number in range(20):
            await ref.ask(Ping(number))
        counts.clear()
        for number in range(ASKS):
            assert await ref.ask(Ping(number)) == number
        # What else a node does now and then is in here too.
        assert counts["_run_once"] <= 5 * ASKS
        assert counts["flush"] <= 2.5 * ASKS
        assert counts["_on_timer"] <= 0.5 * ASKS


@pytest.mark.parametrize("carrier", ["quic", "unix"])
async def test_questions_of_one_turn_leave_with_one_flush(
    carrier: str, counts: Counter[str]
) -> None:
    transport = TransportConfig(carriers=(carrier,))
    async with (
        Network("turns", transport=transport) as there,
        Network("turns", transport=transport) as here,
    ):
        await there.actors.spawn(Echo, name="echo")
        ref = await here.actors.resolve("echo", timeout=30)
        await ref.ask(Ping(0))
        counts.clear()
        for _ in range(5):
            asks = [ref.ask(Ping(number)) for number in range(64)]
            assert await asyncio.gather(*asks) == list(range(64))
        assert counts["flush"] <= 5 * 5
