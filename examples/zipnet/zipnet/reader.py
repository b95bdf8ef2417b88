"""A reader: what was said, in order, each message once. It needs no key, only a ticket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from mosaik_actors import Network

from .service import Broadcast, Zipnet, ZipnetConfig

IDS_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Said:
    """A message that somebody said.

    Attributes:
        round: In which round.
        text: What.
        among: How many clients took part: it could be any of them.
    """

    round: int
    text: bytes
    among: int


class OnceOnly:
    """Takes each round once, and each message once: one whose receipt was lost is said again."""

    def __init__(self, config: ZipnetConfig) -> None:
        self._servers = config.servers
        self._context = bytes(Zipnet.deployment_id(config))
        self._last = 0
        self._ids: dict[bytes, None] = {}

    @property
    def last_round(self) -> int:
        """The last round that was taken."""
        return self._last

    def receive_broadcast(self, one: Broadcast) -> list[Said]:
        """Return what is new; nothing for a round that was taken, or that no server signed."""
        if one.round <= self._last or not one.is_genuine(self._servers, self._context):
            return []
        self._last = one.round
        said = []
        for message in one.messages:
            if message.id not in self._ids:
                self._ids[message.id] = None
                said.append(Said(one.round, message.text, one.participants))
        while len(self._ids) > IDS_MAX:
            del self._ids[next(iter(self._ids))]
        return said


async def read(net: Network, config: ZipnetConfig) -> AsyncIterator[Said]:
    """Yield what was said, from the oldest that is kept on, and what will be."""
    new_only = OnceOnly(config)
    async with Zipnet.bind(net, config).read.reader() as broadcasts:
        changes = broadcasts.changes()
        while True:
            new = [one for one in broadcasts if one.round > new_only.last_round]
            for one in new:
                for said in new_only.receive_broadcast(one):
                    yield said
            await anext(changes)
