"""The stages of a pipeline, an actor each: texts, words counted in them, the commonest so far.

launch.toml puts each into a process of its own; they find each other by the types of what
they produce and consume. Ask the counter from another terminal:

    cd examples/pipeline
    mosaik-actors call pipeline-example counter stages:Progress
"""

import itertools
from collections import Counter as Tally

import msgspec

from mosaik_actors import ActorRef, MosaikActor, Request

TEXTS = ("the quick brown fox", "jumps over the lazy dog", "the dog sleeps")


class Text(msgspec.Struct, frozen=True):
    number: int
    text: str


class Words(msgspec.Struct, frozen=True):
    number: int
    counts: dict[str, int]


class Progress(Request[int]):
    """How many texts were counted?"""


class Source(MosaikActor):
    """Produces texts, once somebody takes them."""

    def __init__(self, per_second: float) -> None:
        self.interval_s = 1 / per_second
        self.numbers = itertools.count()

    async def started(self) -> None:
        self.texts = self.produce(Text)
        self.every(self.interval_s, "next")

    async def receiveMsg_str(self, message: str, sender: ActorRef) -> None:
        if self.texts.is_online:
            number = next(self.numbers)
            await self.texts.send(Text(number, TEXTS[number % len(TEXTS)]))


class Counter(MosaikActor):
    """Counts the words of each text."""

    done = 0

    async def started(self) -> None:
        self.words = self.produce(Words)
        self.consume(Text)

    async def receiveMsg_Text(self, text: Text, sender: ActorRef) -> None:
        await self.words.send(Words(text.number, dict(Tally(text.text.split()))))
        self.done += 1

    def receiveMsg_Progress(self, message: Progress, sender: ActorRef) -> int:
        return self.done


class Sink(MosaikActor):
    """Adds up, and prints the commonest word now and then."""

    async def started(self) -> None:
        self.total: Tally[str] = Tally()
        self.consume(Words)

    def receiveMsg_Words(self, words: Words, sender: ActorRef) -> None:
        self.total.update(words.counts)
        if words.number % 10 == 9:
            word, count = self.total.most_common(1)[0]
            print(f"after {words.number + 1} texts: {word!r} {count} times", flush=True)
