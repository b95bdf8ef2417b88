"""The users, who say what they want, and the solvers, who compete for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Final

from blake3 import blake3

from mosaik_actors import MosaikActor, where

from .messages import (
    Intent,
    Quote,
    SealedQuote,
    account_of,
    as_amounts,
    demo_key,
    message_id,
    sign,
)
from .service import (
    STNEAR,
    UNIT,
    USDC,
    USERS,
    WETH,
    WRAP,
    AuctionConfig,
    IntentAuction,
    demo_from_environment,
    intent_count,
    units,
)

PRICES: Final = {USDC: 1_000_000, WRAP: 3_100_000, WETH: 3_120_000_000, STNEAR: 3_650_000}
"""Millionths of a dollar, for one of each."""

PAIRS: Final = ((USDC, WRAP), (USDC, WETH), (WRAP, STNEAR), (WRAP, USDC), (WETH, USDC))


def fair_amount(given: str, amount: int, wanted: str, spread_bp: int) -> int:
    """Return how much of `wanted` a solver gives for an amount of `given`."""
    value = amount * PRICES[given] * UNIT[wanted] * (10_000 - spread_bp)
    return value // (PRICES[wanted] * UNIT[given] * 10_000)


def make_intents(
    count: int, domain: bytes, now_ms: Callable[[], int], window_ms: int, seed: int = 1
) -> Iterator[Intent]:
    """Yield the demo's intents: trades, one of them greedy, and other ones in between."""
    rng = Random(seed)
    for number in range(count):
        name = USERS[number % len(USERS)]
        key = demo_key(name)
        kind, receiver, lives_ms = "token_diff", "", 20 * window_ms + 60_000
        given, wanted = rng.choice(PAIRS)
        dollars = rng.randint(10, 200)
        amount = units(given, dollars * 1_000_000 / PRICES[given])
        diff = {given: -amount, wanted: fair_amount(given, amount, wanted, 50)}
        if number == 2:  # nobody gives that much: it expires
            diff[wanted], lives_ms = diff[wanted] * 2, window_ms + 3000
        if number % 6 == 5:
            diff = {USDC: -units(USDC, dollars)}
            kind, receiver = (
                ("transfer", account_of(demo_key(USERS[(number + 1) % len(USERS)])))
                if number % 12 == 5
                else ("ft_withdraw", "alice.near")
            )
        unsigned = Intent(
            signer=account_of(key),
            kind=kind,  # type: ignore[arg-type]  # one of those that there are
            diff={asset: str(change) for asset, change in diff.items()},
            deadline_ms=now_ms() + lives_ms,
            nonce=rng.randbytes(16),
            receiver=receiver,
        )
        yield sign(unsigned, key, domain)


class Users(MosaikActor):
    """Streams the intents of a few people, and again what nobody has settled for long."""

    def __init__(
        self,
        config: AuctionConfig | None = None,
        count: int | None = None,
        per_second: float = 4.0,
        again_s: float = 10.0,
    ) -> None:
        self.config = config or demo_from_environment()
        self.count = count or intent_count()
        self.interval_s = 1 / per_second
        self.again_s = again_s
        self.sent: list[Intent] = []

    def started(self) -> None:
        # The producer is made here, however long ago this node was discovered.
        self.net.discovery.add_tags("user")
        self.auction = IntentAuction.bind(self.net, self.config)
        self.intents = self.keep(self.auction.intents.producer())
        self.settlements = self.keep(self.auction.settlements.reader())
        self.round = self.keep(self.auction.round.reader())
        self.start_task(self._speak())

    async def _speak(self) -> None:
        subscribed = self.intents.when().subscribed
        await subscribed().minimum_of(3).with_tags("auctioneer")
        await subscribed().minimum_of(2).with_tags("solver")
        domain = bytes(IntentAuction.deployment_id(self.config))
        updated = self.round.when().updated()
        while self.round.is_empty():  # no auctioneer leads yet
            await updated
        clock = self.net.node.clock
        intents = make_intents(
            self.count, domain, lambda: int(clock.wall() * 1000), self.config.rules.window_ms
        )
        for intent in intents:
            self.sent.append(intent)
            await self.intents.send(intent)
            await asyncio.sleep(self.interval_s)
        # What no rule would let in: the same again, and one that somebody else has signed.
        await self.intents.send(self.sent[0])
        await self.intents.send(sign(self.sent[-1], demo_key("mallory"), domain))
        while True:
            await asyncio.sleep(self.again_s)
            over = {
                number
                for one in self.settlements
                for number in (*(message_id(f.intent, domain) for f in one.fills), *one.expired)
            }
            again = [one for one in self.sent if message_id(one, domain) not in over]
            if again:
                await self.intents.send_many(again)


class Solver(MosaikActor):
    """Quotes what it can trade, at its spread; sealed until the window's end if need be."""

    def __init__(
        self,
        name: str,
        assets: list[str],
        spread_bp: int,
        config: AuctionConfig | None = None,
    ) -> None:
        self.config = config or demo_from_environment()
        self.assets = assets
        self.spread_bp = spread_bp
        self.key = demo_key(name)
        self.domain = bytes(IntentAuction.deployment_id(self.config))
        self.promised: dict[str, tuple[int, Quote]] = {}  # what is sealed, and since when

    def started(self) -> None:
        self.auction = IntentAuction.bind(self.net, self.config)
        self.quotes = self.keep(self.auction.quotes.producer())
        self.sealed = self.keep(self.auction.sealed.producer())
        self.round = self.keep(self.auction.round.reader())
        criteria: Any = where(Intent).diff.contains(self.assets[0])
        for asset in self.assets[1:]:
            criteria |= where(Intent).diff.contains(asset)
        # Only what it may trade is sent to it, and only by users.
        intents = self.auction.intents.consumer(
            require=lambda peer: "user" in peer.tags,
            criteria=(where(Intent).kind == "token_diff") & criteria,
        )
        self.start_task(self._solve(self.keep(intents)))
        # Now the users know whom they wait for.
        self.net.discovery.add_tags("solver")
        if self.config.rules.is_sealed:
            self.start_task(self._open())

    async def _solve(self, intents: Any) -> None:
        async for intent in intents:
            quote = self.quote(intent)
            if quote is None:
                continue
            if not self.config.rules.is_sealed:
                await self.quotes.when().online()
                await self.quotes.send(quote)
                continue
            number = message_id(quote, self.domain)
            now_ms = int(self.net.node.clock.wall() * 1000)
            self.promised[quote.intent_id] = (now_ms, quote)
            sealed = SealedQuote(quote.intent_id, quote.solver, number)
            await self.sealed.when().online()
            await self.sealed.send(sign(sealed, self.key, self.domain))

    def quote(self, intent: Intent) -> Quote | None:
        """Return a quote at this solver's price; None if that is worse than what is asked."""
        amounts = as_amounts(intent.diff)
        if len(amounts) != 2 or not all(asset in self.assets for asset in amounts):
            return None
        (given,) = (asset for asset, amount in amounts.items() if amount < 0)
        (wanted,) = (asset for asset, amount in amounts.items() if amount > 0)
        number = message_id(intent, self.domain)
        # The price is not the same each time, but it is for the same intent.
        salted = blake3(number.encode(), key=self.key.private_bytes_raw()).digest(20)
        spread_bp = self.spread_bp + salted[16] % 20
        offered = fair_amount(given, -amounts[given], wanted, spread_bp)
        if offered < amounts[wanted]:
            return None
        return sign(
            Quote(
                intent_id=number,
                solver=account_of(self.key),
                diff={given: str(-amounts[given]), wanted: str(-offered)},
                expires_ms=intent.deadline_ms,
                nonce=salted[:16],
            ),
            self.key,
            self.domain,
        )

    async def _open(self) -> None:
        """Open the sealed quotes of each window when it has ended."""
        updated = self.round.when().updated()
        while True:
            view = self.round.read()
            if view is not None and view.window_end_ms:
                wait_s = (view.window_end_ms + 1) / 1000 - self.net.node.clock.wall()
                await asyncio.sleep(max(0.0, wait_s))
                await self._open_until(view.window_end_ms)
            await updated

    async def _open_until(self, end_ms: int) -> None:
        due = [n for n, (sealed_ms, _) in self.promised.items() if sealed_ms <= end_ms]
        if due:
            await self.quotes.when().online()
            await self.quotes.send_many([self.promised.pop(number)[1] for number in due])
