"""What a relayer checks before it believes a settlement, from the public record alone.

It keeps balances of its own, from the grants on. So whatever the auctioneers may have done
wrong shows here: a forged signature, a quote that does not fit, legs that do not sum to zero, an
intent settled twice, money that nobody had.
"""

from __future__ import annotations

from .ledger import Ledger, Unbalanced
from .messages import Fill, Settlement, is_signed, message_id
from .rules import is_compatible, legs_of
from .service import AuctionConfig, IntentAuction


class Wrong(Exception):
    """A settlement that must not be."""


class Audit:
    """Settlements in order, each checked.

    Attributes:
        next_number: The settlement that is to come next.
        settled: The ids of all settled intents.
        expired: The ids of those that were given up.
    """

    def __init__(self, config: AuctionConfig) -> None:
        self._domain = bytes(IntentAuction.deployment_id(config))
        self._ledger = Ledger(config.grants)
        self._supply = self._ledger.supply()
        self.next_number = 0
        self.settled: dict[str, Fill] = {}
        self.expired: list[str] = []

    @property
    def finished_count(self) -> int:
        """How many intents are through."""
        return len(self.settled) + len(self.expired)

    def receive(self, settlement: Settlement) -> bool:
        """Check a settlement; return whether it is new.

        Raises:
            Wrong: It is not as it has to be; says how.
        """
        if settlement.number < self.next_number:
            return False  # published again by an auctioneer that could not know
        if settlement.number > self.next_number:
            raise Wrong(f"settlement {self.next_number} is missing")
        for fill in settlement.fills:
            self._check(fill)
            self._ledger.move(fill.legs)
        for number in settlement.expired:
            self._finish(number)
            self.expired.append(number)
        if self._ledger.supply() != self._supply:
            raise Wrong("there is more or less of an asset than before")
        self.next_number += 1
        return True

    def _check(self, fill: Fill) -> None:
        number = message_id(fill.intent, self._domain)
        self._finish(number)
        self.settled[number] = fill
        if not is_signed(fill.intent, self._domain):
            raise Wrong(f"intent {number[:8]} is not signed")
        if (fill.quote is None) != (fill.intent.kind != "token_diff"):
            raise Wrong(f"intent {number[:8]} is settled without the quote it needs")
        if fill.quote is not None:
            if not is_signed(fill.quote, self._domain) or fill.quote.intent_id != number:
                raise Wrong(f"the quote for {number[:8]} is not signed for it")
            if not is_compatible(fill.intent, fill.quote):
                raise Wrong(f"the quote for {number[:8]} does not give what was asked")
        if fill.legs != legs_of(fill.intent, fill.quote):
            raise Wrong(f"the legs of {number[:8]} are not what was signed")
        try:
            unable = self._ledger.why_not(fill.legs)
        except Unbalanced as exc:
            raise Wrong(f"intent {number[:8]}: {exc}") from exc
        if unable is not None:
            raise Wrong(f"intent {number[:8]}: {unable[:8]} has not that much")

    def _finish(self, number: str) -> None:
        if number in self.settled or number in self.expired:
            raise Wrong(f"intent {number[:8]} is settled twice")
