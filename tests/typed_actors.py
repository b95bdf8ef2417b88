"""What a strict type checker makes of asks: each answer has its type. Checked with all tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_type

from mosaik_actors import ActorRef, MosaikActor, Network, Pool, Producer, Request


class Load(Request[int]):
    """Answered with an int."""


class Rows(Request[Mapping[str, int]]):
    """Answered with mappings."""

    table: str


async def use(net: Network, ref: ActorRef, pool: Pool) -> None:
    """Ask in every way there is."""
    assert_type(await ref.ask(Load()), int)
    assert_type(await ref.ask(Rows("a"), timeout=5), Mapping[str, int])
    assert_type(await ref.ask("text"), Any)
    assert_type(await pool.ask(Load(), repeatable=True), int)
    async for row in ref.stream(Rows("a")):
        assert_type(row, Mapping[str, int])
    assert_type(await net.actors.resolve("a"), ActorRef)
    load = await ref.ask(Load())
    load.upper()  # type: ignore[attr-defined]
    text: str = await ref.ask(Load())  # type: ignore[assignment]
    text = await pool.ask(Load())  # type: ignore[assignment]
    text = await ref.ask("text")
    number: int = await ref.ask(Load())
    wider: float = await ref.ask(Load())
    assert text, number + wider
    Rows(5)  # type: ignore[arg-type]


class Worker(MosaikActor):
    """Opens what is typed."""

    def started(self) -> None:
        """Open it."""
        assert_type(self.produce(Load), Producer[Load])
        assert_type(self.map("prices", str, int)["a"], int)
