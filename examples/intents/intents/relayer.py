"""The relayer: connects late, gets every settlement all the same, checks each, shows the table.

On NEAR it would now submit the signed intents and quotes to the contract; here it ends the
demo, with a check that can fail, when every intent is settled or has expired.
"""

from __future__ import annotations

import asyncio

from thespian.actors import ActorExitRequest

from mosaik_actors import MosaikActor

from .audit import Audit, Wrong
from .service import AuctionConfig, IntentAuction, demo_from_environment, intent_count
from .table import COLUMNS, line, rows_of


class Relayer(MosaikActor):
    """Reads the settlements from the first one on, though it connects after some were made.

    Args:
        config: The auction's configuration; the demo's by default.
        count: How many intents there are; then it is done.
        patience_s: For how long no settlement may come before it gives up.
    """

    def __init__(
        self,
        config: AuctionConfig | None = None,
        count: int | None = None,
        patience_s: float = 30.0,
    ) -> None:
        self.config = config or demo_from_environment()
        self.count = count or intent_count()
        self.patience_s = patience_s
        self.audit = Audit(self.config)

    def started(self) -> None:
        self.auction = IntentAuction.bind(self.net, self.config)
        self.round = self.keep(self.auction.round.reader())
        self.start_task(self._relay())

    async def _relay(self) -> None:
        async with asyncio.timeout(self.patience_s):
            missed = await self._wait_for_the_second_round()
        settlements = self.keep(self.auction.settlements.reader())
        updated = settlements.when().updated()
        print(f"connected after {missed} rounds were cleared", flush=True)
        print(line(COLUMNS), flush=True)
        seen = 0
        while self.audit.finished_count < self.count:
            for settlement in settlements[seen:]:
                seen += 1
                if self.audit.receive(settlement):
                    for row in rows_of(settlement):
                        print(line(row), flush=True)
            if self.audit.finished_count < self.count:
                async with asyncio.timeout(self.patience_s):
                    await updated
        self._conclude()
        self.send(self.ref, ActorExitRequest())

    async def _wait_for_the_second_round(self) -> int:
        updated = self.round.when().updated()
        while (view := self.round.read()) is None or view.round < 2:
            await updated
        return view.round - 1

    def _conclude(self) -> None:
        view, audit = self.round.read(), self.audit
        if audit.finished_count != self.count:
            raise Wrong(f"{audit.finished_count} intents are through, of {self.count}")
        best = sum(fill.quote_count > 1 for fill in audit.settled.values())
        print(
            f"checked: {len(audit.settled)} settled once each, {best} by the best of several "
            f"quotes, {len(audit.expired)} expired; flows sum to zero per asset",
            flush=True,
        )
        if view is not None and view.refused:
            refused = ", ".join(f"{count} {reason}" for reason, count in view.refused.items())
            print(f"refused by the auction: {refused}", flush=True)
