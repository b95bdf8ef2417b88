"""The order book: a matching engine with price-time priority, as a state machine.

What is placed is matched at once with the best orders of the other side: the
best price first, of one price the oldest first, at the price of the order that
was there. What is left of it rests in the book.

Each trader numbers what it sends: 1, 2, 3... The book does nothing twice, so a
trader that does not know what became of an order may simply send it again.
"""

import hashlib
from bisect import insort
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from mosaik_actors import (
    ApplyContext,
    ConsensusConfig,
    Group,
    GroupOffline,
    LeadershipPreference,
    Network,
    Position,
    SecretKey,
    SqliteLog,
    StateMachine,
)

NETWORK = "orderbook-example"
KEY = "whoever knows this may trade"
TRADES_KEPT = 10_000

Side = Literal["buy", "sell"]
SIDES: tuple[Side, Side] = ("buy", "sell")
Amount = Annotated[int, msgspec.Meta(ge=1, le=10**12)]


class Place(msgspec.Struct, frozen=True, tag=True):
    """A command: buy or sell up to `size`, for `price` or better."""

    trader: str
    number: Amount
    side: Side
    price: Amount
    size: Amount


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """A command: take what is left of the order with the number `order` out of the book."""

    trader: str
    number: Amount
    order: Amount


class Depth(msgspec.Struct, frozen=True, tag=True):
    """A query: both sides, as (price, size) with the best price first."""

    levels: int = 5


class TradesSince(msgspec.Struct, frozen=True, tag=True):
    """A query: the trades after the one with this number; the latest `TRADES_KEPT` are kept."""

    number: int = 0


class LastNumber(msgspec.Struct, frozen=True, tag=True):
    """A query: the last number that the book has seen of a trader."""

    trader: str


class Summary(msgspec.Struct, frozen=True, tag=True):
    """A query: how many trades, how much was traded, and a digest of the whole state."""


class Trade(msgspec.Struct, frozen=True, array_like=True):
    number: int
    buyer: str
    seller: str
    price: int
    size: int


class Done(msgspec.Struct, frozen=True):
    """The result of a command: what was traded at once, and what became of the rest.

    `is_new` is False for a number that the book had seen: then nothing was done.
    """

    trades: tuple[Trade, ...] = ()
    left: int = 0
    is_new: bool = True


class Resting(msgspec.Struct, array_like=True):
    """What is left of an order."""

    trader: str
    number: int
    side: Side
    price: int
    size: int


Command = Place | Cancel
Query = Depth | TradesSince | LastNumber | Summary


class OrderBook(StateMachine[Command, Query, Any, Done]):
    """The machine. Commands of any trader, in one order that all members share."""

    signature = "examples.orderbook.1"

    def __init__(self) -> None:
        # A level holds its orders by (trader, number), the oldest first.
        self.levels: dict[Side, dict[int, dict[tuple[str, int], Resting]]] = {"buy": {}, "sell": {}}
        self.prices: dict[Side, list[int]] = {"buy": [], "sell": []}  # the best last
        self.orders: dict[tuple[str, int], Resting] = {}
        self.last_numbers: dict[str, int] = {}
        self.trades: deque[Trade] = deque(maxlen=TRADES_KEPT)
        self.trade_count = 0
        self.volume = 0

    def apply(self, command: Command, ctx: ApplyContext) -> Done:
        return self.execute(command)

    def execute(self, command: Command) -> Done:
        """Do what a command says; the book needs nothing else to know."""
        if command.number <= self.last_numbers.get(command.trader, 0):
            return Done(is_new=False)  # sent again by a trader that had no answer
        self.last_numbers[command.trader] = command.number
        if isinstance(command, Cancel):
            order = self.orders.get((command.trader, command.order))
            if order is None:
                return Done()
            self._remove(order)
            return Done(left=order.size)
        trades = self._match(command)
        left = command.size - sum(trade.size for trade in trades)
        if left:
            self._rest(Resting(command.trader, command.number, command.side, command.price, left))
        return Done(tuple(trades), left)

    def query(self, query: Query) -> Any:
        match query:
            case Depth(count):
                return {side: self._depth(side, count) for side in SIDES}
            case TradesSince(number):
                return [trade for trade in self.trades if trade.number > number]
            case LastNumber(trader):
                return self.last_numbers.get(trader, 0)
            case Summary():
                digest = hashlib.blake2b(b"".join(self.snapshot()), digest_size=8)
                return self.trade_count, self.volume, digest.hexdigest()

    # Snapshots: with them the log need not be kept for ever.

    def snapshot(self) -> Iterable[bytes]:
        head = (self.last_numbers, self.trade_count, self.volume)
        # Encoded here and now: the book goes on while the parts are on their way.
        return [
            msgspec.msgpack.encode(head),
            msgspec.msgpack.encode(list(self.trades)),
            msgspec.msgpack.encode([list(self._in_order(side)) for side in SIDES]),
        ]

    def restore(self, parts: Iterable[bytes]) -> None:
        head, trades, orders = parts
        vars(self).update(vars(OrderBook()))
        self.last_numbers, self.trade_count, self.volume = msgspec.msgpack.decode(
            head, type=tuple[dict[str, int], int, int]
        )
        self.trades.extend(msgspec.msgpack.decode(trades, type=list[Trade]))
        for side in msgspec.msgpack.decode(orders, type=list[list[Resting]]):
            for order in side:
                self._rest(order)

    # Matching.

    def _match(self, taker: Place) -> list[Trade]:
        """Trade with the other side as far as prices meet."""
        trades: list[Trade] = []
        other: Side = "sell" if taker.side == "buy" else "buy"
        left, prices = taker.size, self.prices[other]
        while left and prices and _meets(taker, prices[-1]):
            maker = next(iter(self.levels[other][prices[-1]].values()))
            size = min(left, maker.size)
            left -= size
            maker.size -= size
            trades.append(self._note_trade(taker, maker, size))
            if not maker.size:
                self._remove(maker)
        return trades

    def _note_trade(self, taker: Place, maker: Resting, size: int) -> Trade:
        self.trade_count += 1
        self.volume += size
        buyer, seller = taker.trader, maker.trader
        if taker.side == "sell":
            buyer, seller = seller, buyer
        trade = Trade(self.trade_count, buyer, seller, maker.price, size)
        self.trades.append(trade)
        return trade

    def _rest(self, order: Resting) -> None:
        levels = self.levels[order.side]
        if order.price not in levels:
            levels[order.price] = {}
            best_last = 1 if order.side == "buy" else -1
            insort(self.prices[order.side], order.price, key=lambda price: price * best_last)
        key = (order.trader, order.number)
        levels[order.price][key] = self.orders[key] = order

    def _remove(self, order: Resting) -> None:
        key = (order.trader, order.number)
        level = self.levels[order.side][order.price]
        del level[key], self.orders[key]
        if not level:
            del self.levels[order.side][order.price]
            self.prices[order.side].remove(order.price)

    def _depth(self, side: Side, count: int) -> list[tuple[int, int]]:
        best = reversed(self.prices[side][-count:])
        levels = self.levels[side]
        return [(price, sum(order.size for order in levels[price].values())) for price in best]

    def _in_order(self, side: Side) -> Iterator[Resting]:
        for price in self.prices[side]:
            yield from self.levels[side][price].values()


def _meets(taker: Place, price: int) -> bool:
    return price <= taker.price if taker.side == "buy" else price >= taker.price


# What the programs share: who is in the group, and how a command is sent.

Book = Group[Command, Query, Any, Done]


def join(net: Network, *, folder: Path | None = None, is_trader: bool = False) -> Book:
    """Join the group: an exchange votes, a trader only follows."""
    book = OrderBook()
    if is_trader:
        book.leadership_preference = LeadershipPreference.OBSERVER
    return net.groups.join(
        KEY,
        book,
        storage=None if folder is None else SqliteLog(folder / "book.log"),
        consensus=ConsensusConfig(initial_voters=3),  # one book from the start, never two to merge
        name="orderbook",
    )


def node_key(folder: Path) -> SecretKey:
    """Return the identity that is kept beside a log, which is good for that node only."""
    folder.mkdir(parents=True, exist_ok=True)
    return SecretKey.load_or_create(folder / "node.key")


async def send(group: Book, *commands: Command) -> Sequence[Position[Done]]:
    """Send commands until they are in the book, and return what became of each.

    In general it would not be safe to repeat what `may_take_effect`. Here it
    is: the book knows each number once.
    """
    while True:
        try:
            return await group.execute_many(commands)
        except GroupOffline as exc:
            print(f"not yet: {exc.reason}", flush=True)
