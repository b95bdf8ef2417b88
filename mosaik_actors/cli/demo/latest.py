"""The map of the latest reading per sensor, which all processes of the demo share.

Each process has a replica and votes, the collector too: so whichever sensor is
killed, a majority is left, and so is what the killed one had written.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ...collections.errors import CollectionOffline
from ...groups.config import ConsensusConfig
from ...handles.collections import Map
from ...handles.collections.declarations import collection
from ...network import Network
from .records import Reading

WRITE_INTERVAL_S: Final = 0.25

# One history from the start, and a killed process is missed as soon as by discovery.
LATEST: Final = collection(
    Map[str, Reading],
    "demo.latest",
    consensus=ConsensusConfig(initial_voters=3, bootstrap_delay=0.5),
)


class Latest:
    """One process's part in the map.

    Attributes:
        newest: The process's own newest reading; None before the first.
        written: The number of the newest one that is certainly in the map.
    """

    def __init__(self, net: Network, name: str) -> None:
        self.newest: Reading | None = None
        self.written: int | None = None
        self._name = name
        self._map = LATEST.writer(net)

    @property
    def numbers(self) -> dict[str, int]:
        """The number of each sensor's latest reading, as this process has it."""
        return {name: reading.number for name, reading in self._map.items()}

    async def write(self) -> None:
        """Keep the own newest reading in the map, until cancelled."""
        while True:
            reading = self.newest
            if reading is not None and reading.number != self.written:
                try:
                    await self._map.insert(self._name, reading)
                except CollectionOffline:
                    await self._map.when().online()
                    continue
                self.written = reading.number
            await asyncio.sleep(WRITE_INTERVAL_S)

    async def updated(self) -> None:
        """Wait until the map is another one than when this was called."""
        await self._map.when().updated()
