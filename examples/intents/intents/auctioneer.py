"""One of three that hold the auction. The one that leads submits, clears rounds and publishes.

All of that may be done twice, as when a leader is deposed in the middle of it: the auction
knows each message and each round, and each settlement has a number.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from mosaik_actors import ActorRef, Consistency, Consumer, LeaderElected, MosaikActor, MosaikError

from .auction import PASSING
from .commands import (
    ClearRound,
    Command,
    IsKnown,
    Published,
    SubmitIntent,
    SubmitQuote,
    SubmitSealed,
    Unpublished,
    View,
)
from .inbox import Inbox
from .messages import Intent, Quote, RoundView, Submission, is_signed, message_id
from .service import (
    SECRET,
    AuctionConfig,
    IntentAuction,
    auctioneers_key,
    demo_from_environment,
    make_machine,
)

BATCH = 256
SEALED_KEPT_S = 60.0
VIEW_INTERVAL_S = 0.25


class Auctioneer(MosaikActor):
    """Hears all messages, and holds the auction with the two others."""

    def __init__(self, config: AuctionConfig | None = None, secret: str = SECRET) -> None:
        self.config = config or demo_from_environment()
        self.secret = secret
        self.domain = bytes(IntentAuction.deployment_id(self.config))
        self.inbox = Inbox()
        self.wake = asyncio.Event()
        self.forged = 0
        self.shown: tuple[float, RoundView | None] = (0.0, None)

    async def started(self) -> None:
        self.auction = IntentAuction.bind(self.net, self.config)
        self.group = self.join(
            auctioneers_key(self.config, self.secret),
            make_machine(self.config),
            consensus=self.config.consensus,
            name="auctioneers",
        )
        self.settlements = self.keep(self.auction.settlements.writer())
        self.round = self.keep(self.auction.round.writer())
        for part in (self.auction.intents, self.auction.quotes, self.auction.sealed):
            self.start_task(self._hear(self.keep(part.consumer())))
        self.net.discovery.add_tags("auctioneer")
        self.start_task(self._follow())
        self.start_task(self._work())

    def receiveMsg_LeaderElected(self, event: LeaderElected, sender: ActorRef) -> None:
        if event.leader == self.net.peer_id:
            self.inbox.hurry(now=self._now())
        self.wake.set()

    async def _hear(self, consumer: Consumer[Any]) -> None:
        """Take in what is signed; nothing else gets into the log."""
        while True:
            for message in await consumer.recv_many(BATCH):
                if not is_signed(message, self.domain):
                    self.forged += 1
                    continue
                self.inbox.receive(
                    message_id(message, self.domain),
                    message,
                    now=self._now(),
                    until=self._now() + self._worth_s(message),
                    is_leader=self.group.is_leader,
                )
            self.wake.set()
            await asyncio.sleep(0)

    async def _follow(self) -> None:
        advanced = self.group.when().committed().advanced()
        while True:
            await advanced
            self.wake.set()

    async def _work(self) -> None:
        """Do what is due, and wait until something else may be."""
        await self.group.when().online()
        while True:
            self.wake.clear()
            try:
                await self._submit()
                if self.group.is_leader:
                    await self._clear()
                    await self._publish()
                    await self._show()
                delay_s = await self._delay_s()
            except MosaikError:  # the group or a collection is offline: all of it is repeated
                delay_s = VIEW_INTERVAL_S
            with suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self.wake.wait()

    async def _submit(self) -> None:
        due = self.inbox.due(BATCH, now=self._now())
        if not due:
            return
        known = await self._ask(IsKnown(tuple(message for _, message in due)))
        self.inbox.settle([n for (n, _), is_known in zip(due, known, strict=True) if is_known])
        due = [one for one, is_known in zip(due, known, strict=True) if not is_known]
        if not due:
            return
        self.inbox.postpone([number for number, _ in due], now=self._now())
        positions = await self.group.execute_many([self._command(one) for _, one in due])
        for (number, _), position in zip(due, positions, strict=True):
            if position.has_result and position.result.reason not in PASSING:
                self.inbox.settle([number])

    async def _clear(self) -> None:
        view = await self._view()
        if view.phase != "idle" and self._wall_ms() > self._clearing_ms(view):
            await self.group.execute(ClearRound(view.round, self._wall_ms()))

    async def _publish(self) -> None:
        """Put settlements where everybody reads them, those that are not there yet."""
        settlements = await self._ask(Unpublished())
        if not settlements:
            return
        await self.settlements.refresh()
        count = self.settlements[-1].number + 1 if self.settlements else 0
        await self.settlements.extend([one for one in settlements if one.number >= count])
        await self.group.execute(Published(settlements[-1].number + 1))

    async def _show(self) -> None:
        """Let everybody see the round, not more often than people can look."""
        shown_at, shown = self.shown
        view = await self._view()
        is_next = shown is None or (view.round, view.phase) != (shown.round, shown.phase)
        if is_next or (view != shown and self._now() >= shown_at + VIEW_INTERVAL_S):
            self.shown = (self._now(), view)
            await self.round.write(view)

    async def _delay_s(self) -> float | None:
        """Return for how long nothing is due, if nothing comes; None for ever."""
        delays = []
        if (due := self.inbox.get_timer()) is not None:
            delays.append(due - self._now())
        if self.group.is_leader:
            view = await self._view()
            if view.phase != "idle":
                delays.append((self._clearing_ms(view) + 1 - self._wall_ms()) / 1000)
            shown_at, shown = self.shown
            if view != shown:
                delays.append(shown_at + VIEW_INTERVAL_S - self._now())
        return max(0.0, min(delays)) if delays else None

    # --- helpers ---

    async def _ask(self, query: Any) -> Any:
        return (await self.group.query(query, Consistency.WEAK)).result

    async def _view(self) -> RoundView:
        view: RoundView = await self._ask(View())
        return view

    def _clearing_ms(self, view: RoundView) -> int:
        rules = self.config.rules
        return view.window_end_ms + (rules.reveal_ms if rules.is_sealed else 0)

    def _command(self, message: Submission) -> Command:
        now_ms = self._wall_ms()
        match message:
            case Intent():
                return SubmitIntent(message, now_ms)
            case Quote():
                return SubmitQuote(message, now_ms)
            case _:
                return SubmitSealed(message, now_ms)

    def _worth_s(self, message: Submission) -> float:
        match message:
            case Intent(deadline_ms=until_ms) | Quote(expires_ms=until_ms):
                return (until_ms - self._wall_ms()) / 1000
            case _:
                return SEALED_KEPT_S

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _wall_ms(self) -> int:
        wall_s: float = self.net.node.clock.wall()
        return int(wall_s * 1000)
