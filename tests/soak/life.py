"""From the first round to the end of both endpoints, and what must be gone then."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Callable
from contextlib import suppress

from mosaik_actors.transport.config import TransportConfig
from tests.unit.transport.endpoints import endpoint_maker
from tests.waiting import until

from .driver import HIGH_WATER_BYTES, Soak, SoakFailed, Tally
from .leftovers import living, package_bytes

WARM_UP_ROUNDS = 6
GROWN_BYTES_MAX = 64 * 1024


async def live(carrier: str, seed: int, goes_on: Callable[[Tally], bool]) -> int:
    """Play rounds as long as `goes_on` says so. Return by how many bytes the package has grown.

    It is asked after each round but those to warm up, and from then on `tracemalloc` runs.
    Cancelled meanwhile, it does what comes at the end.

    Raises:
        SoakFailed: Something was not as it must be.
    """
    before = living()
    async with endpoint_maker(carrier) as make:
        config = TransportConfig(high_water_bytes=HIGH_WATER_BYTES)
        soak = Soak((await make("a", config=config), await make("b", config=config)), seed)
        try:
            grown_bytes = await _play(soak, goes_on)
        finally:
            soak.end()
    del soak, make
    with suppress(TimeoutError):
        await until(lambda: not _risen(before))
    if risen := _risen(before):
        raise SoakFailed(f"alive after the end: {risen}")
    if grown_bytes > GROWN_BYTES_MAX:
        raise SoakFailed(f"memory has grown by {grown_bytes} bytes, at most {GROWN_BYTES_MAX}")
    return grown_bytes


async def _play(soak: Soak, goes_on: Callable[[Tally], bool]) -> int:
    for _ in range(WARM_UP_ROUNDS):
        await soak.play()
    tracemalloc.start()
    try:
        await soak.settle()
        held_bytes = package_bytes()
        with suppress(asyncio.CancelledError):
            while goes_on(soak.tally):
                await soak.play()
        await soak.settle()
        return package_bytes() - held_bytes
    finally:
        tracemalloc.stop()


def _risen(before: dict[str, int]) -> dict[str, int]:
    """Return what there is more of than before, and how much."""
    return {
        name: count - before.get(name, 0)
        for name, count in living().items()
        if count > before.get(name, 0)
    }
