"""The aggregator: takes the envelopes of a round and hands one to the committee.

It follows the live round, closes it when nobody is missing or the window is over, and sends
the folded envelope again until another round is live: servers may come back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

from mosaik_actors import Closed, Network, NetworkDown, Offline

from .folding import Fold, is_signed, peek
from .pads import Refused
from .service import Folded, Plumbing, Zipnet, ZipnetConfig

logger = logging.getLogger(__name__)

AGAIN_S: Final = 0.5


class Aggregator:
    """One aggregator; a deployment has one.

    Attributes:
        refused: How many envelopes were refused.
    """

    def __init__(self, net: Network, config: ZipnetConfig) -> None:
        self._net = net
        self._config = config
        self._context = bytes(Zipnet.deployment_id(config))
        self._fold = Fold(0, (), self._context, config.shape)
        self._early: dict[bytes, bytes] = {}
        self._changed = asyncio.Event()
        self.refused = 0

    async def run(self) -> None:
        """Fold until the network is closed, with which all closes that this opens. Run it once."""
        inner = Plumbing.bind(self._net, self._config)
        self._live = inner.live.reader()
        self._out = inner.folded.producer()
        self._in = Zipnet.bind(self._net, self._config).submit.consumer()
        try:
            async with asyncio.TaskGroup() as tasks:
                for work in (self._follow(), self._take(), self._close_rounds()):
                    tasks.create_task(work)
        except* (Closed, NetworkDown):
            logger.info("the network is closed")

    async def _follow(self) -> None:
        changes = self._live.changes()
        self._begin()
        async for _ in changes:
            self._begin()

    def _begin(self) -> None:
        live = self._live.read()
        if live is None or live.round == self._fold.round:
            return
        if not live.is_genuine(self._config.servers, self._context):
            logger.warning("a live round that no server has signed")
            return
        self._fold = Fold(live.round, live.clients, self._context, self._config.shape)
        early, self._early = self._early, {}
        for envelope in early.values():
            self._receive(envelope)
        self._changed.set()

    async def _take(self) -> None:
        async for envelope in self._in:
            self._receive(envelope.data)

    def _receive(self, data: bytes) -> None:
        client, round_ = peek(data)
        if round_ == self._fold.round + 1 and len(self._early) < self._config.clients_max:
            if is_signed(data, self._context):
                self._early[client] = data  # it sees the round before this one does
            return
        try:
            self._fold.receive_envelope(data)
        except Refused as refused:
            self.refused += 1
            logger.info("%s", refused)
        if self._fold.is_complete:
            self._changed.set()

    async def _close_rounds(self) -> None:
        loop = asyncio.get_running_loop()
        round_, closes_at = 0, 0.0
        closed: Folded | None = None
        while True:
            fold = self._fold
            if fold.round != round_:
                round_, closes_at, closed = fold.round, loop.time() + self._config.window_s, None
            is_due = fold.is_complete or loop.time() >= closes_at
            if closed is None and is_due and fold.count >= self._config.participants_min:
                closed = Folded(fold.round, fold.participants, fold.folded)
            if closed is not None:
                with contextlib.suppress(Offline):
                    await self._out.send(closed)
            self._changed.clear()
            left_s = closes_at - loop.time()
            wait_s = AGAIN_S if closed or left_s <= 0 else max(left_s, 0.01)
            if self._fold is fold:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), wait_s)
