"""The processes of the singleton test: each may run the one instance that writes to the ledger.

    python -c "from tests.e2e.singletons_worker import main; main('<bootstrap>')"

Not by ``-m``: messages are known by their module, which has to be the same in both processes.
"""

from __future__ import annotations

import asyncio
import os

import msgspec

from mosaik_actors import ActorRef, Fence, MosaikActor, Network, Singleton

NETWORK = "singletons-e2e"
NAME = "writer"
SETTINGS = Singleton(lease=2)
PERIOD_S = 0.05


class Line(msgspec.Struct, frozen=True):
    """One line for the ledger, of a process, with the token that it was written with."""

    pid: int
    token: int


class Ledger(MosaikActor):
    """What is written to: it has the fence."""

    def __init__(self, accepted: list[Line], refused: list[Line]) -> None:
        self._fence = Fence()
        self._accepted = accepted
        self._refused = refused

    def receiveMsg_Line(self, line: Line, sender: ActorRef) -> None:
        lines = self._accepted if self._fence.admits(line.token) else self._refused
        lines.append(line)


class Driver:
    """Writes what it was given some time later, and knows of no lease, as drivers do."""

    def __init__(self, ledger: ActorRef) -> None:
        self._ledger = ledger
        self._waiting: list[Line] = []

    def write(self, line: Line) -> None:
        self._waiting.append(line)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_S)
            for line in self._waiting:
                self._ledger.tell(line)
            del self._waiting[:-1]  # the last one is written again, lest it was lost


class Writer(MosaikActor):
    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def started(self) -> None:
        self.every(PERIOD_S, "write")

    def receiveMsg_str(self, text: str, sender: ActorRef) -> None:
        self._driver.write(Line(os.getpid(), self.fencing_token))


async def write(net: Network) -> None:
    """Be a node that may run it."""
    driver = Driver(await net.actors.resolve("ledger", timeout=30))
    await net.actors.spawn(Writer, args=(driver,), name=NAME, singleton=SETTINGS)
    await driver.run()


async def _run(bootstrap: str) -> None:
    async with Network(NETWORK, bootstrap=bootstrap, rendezvous=False) as net:
        await write(net)


def main(bootstrap: str) -> None:
    """Run one node until the process is killed."""
    asyncio.run(_run(bootstrap))
