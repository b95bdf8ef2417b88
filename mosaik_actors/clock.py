"""The two clocks of a node, and the randomness it was given.

Nothing in the library reads time or randomness for a decision except through
these, so that a scenario test can hand in virtual time and one seed.

    * `Clock.monotonic` is for timeouts and rates. It is the event loop's own.
    * `Clock.wall` is seconds since the Unix epoch, only for what crosses the
      network or outlives the process: entry versions, ticket expiry.

Validators of tickets are the users' own, and are given no clock: one validator may
serve several nodes with a clock each. `validation_time` is that of the node that asks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from random import Random
from typing import Protocol

from blake3 import blake3


class Clock(Protocol):
    """What time it is, in seconds."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""

    def wall(self) -> float:
        """Seconds since the Unix epoch; may be wrong and may be set back."""


class LoopClock:
    """The clocks of a real node: the event loop's, and the machine's.

    Attributes:
        monotonic: Returns the event loop's time in seconds.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # asyncio's own loops ask the machine, and so may we: it is read for each item.
        is_plain = getattr(loop.time, "__func__", None) is asyncio.BaseEventLoop.time
        self.monotonic: Callable[[], float] = time.monotonic if is_plain else loop.time

    def wall(self) -> float:
        """Return the machine's time in seconds since the Unix epoch."""
        return time.time()


class Randomness:
    """A tree of independent random generators that grows from one seed.

    Each part of a node draws from a branch of its own, so that one part
    drawing more does not change what another part draws.
    """

    def __init__(self, seed: bytes) -> None:
        self._seed = seed

    def branch(self, name: str) -> Random:
        """Return the generator called `name`; the same seed and name give the same draws."""
        return Random(int.from_bytes(self.secret(name)))

    def secret(self, name: str) -> bytes:
        """Return 32 bytes that nobody without the seed can tell, the same for the same name."""
        return blake3(self._seed + name.encode()).digest()


_validators_clock: ContextVar[Callable[[], float]] = ContextVar(
    "validators_clock", default=time.time
)


def validation_time() -> float:
    """Return what time it is for validators of tickets, in seconds since the Unix epoch.

    While a node asks a validator it is that node's wall clock; elsewhere the
    machine's, or in a simulation the virtual one.
    """
    return _validators_clock.get()()


def set_validation_clock(clock: Callable[[], float]) -> None:
    """Have `validation_time` read `clock` from now on, in this context and those made of it."""
    _validators_clock.set(clock)


@contextmanager
def validating_at(now: float) -> Iterator[None]:
    """Have `validation_time` return `now` in the block."""
    token = _validators_clock.set(lambda: now)
    try:
        yield
    finally:
        _validators_clock.reset(token)
