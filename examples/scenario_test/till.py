"""A till: sells numbered tickets to buyers on other nodes, and remembers what it sold.

The `Till` is an actor. `run_till` and `Buyer` join it to a network by two
streams: orders one way, receipts the other. A buyer repeats an order until the
receipt comes; the till gives the same receipt for the same order, also after a
crash, because it writes each sale to its disk before it says so.
"""

import asyncio
from typing import Any, Protocol

import msgspec
from thespian.actors import ActorAddress

from mosaik_actors import MosaikError, Network, TypeDispatcher

REPEAT_S = 1.0


class Order(msgspec.Struct, frozen=True):
    buyer: str
    number: int


class Receipt(msgspec.Struct, frozen=True):
    order: Order
    ticket: int


class File(Protocol):
    """What the till needs of a file; a simulated one has it."""

    def append(self, data: bytes) -> None: ...
    def read(self) -> bytes: ...
    def sync(self) -> None: ...
    def truncate(self, size: int) -> None: ...


class OpenTill(msgspec.Struct, frozen=True):
    file: Any


class Till(TypeDispatcher):
    """Gives out tickets 1, 2, 3 and so on, each once."""

    def __init__(self) -> None:
        super().__init__()
        self._sold: dict[Order, Receipt] = {}
        self._file: File | None = None

    def receiveMsg_OpenTill(self, message: OpenTill, sender: ActorAddress) -> None:
        self._file = message.file
        data = message.file.read()
        whole = data[: data.rfind(b"\n") + 1]  # a crash may have torn the last line
        message.file.truncate(len(whole))
        for line in whole.splitlines():
            receipt = msgspec.json.decode(line, type=Receipt)
            self._sold[receipt.order] = receipt

    def receiveMsg_Order(self, order: Order, sender: ActorAddress) -> None:
        if order not in self._sold:
            receipt = Receipt(order, len(self._sold) + 1)
            self._save(receipt)
            self._sold[order] = receipt
        self.send(sender, self._sold[order])

    def _save(self, receipt: Receipt) -> None:
        assert self._file is not None, "open the till first"
        self._file.append(msgspec.json.encode(receipt) + b"\n")
        self._file.sync()


async def run_till(net: Network, file: File, till_class: type[Till] = Till) -> None:
    """Sell for as long as the node lives."""
    system = net.node.system
    till = system.createActor(till_class)
    system.tell(till, OpenTill(file))
    receipts = net.streams.producer(Receipt, stream_id="receipts")
    async for order in net.streams.consumer(Order, stream_id="orders"):
        receipt = await system.ask(till, order, timeout=5)
        try:
            receipts.try_send(receipt)
        except MosaikError:
            continue  # the buyer is away; it will ask again


class Buyer:
    """Buys tickets, one at a time."""

    def __init__(self, net: Network, name: str) -> None:
        self._name = name
        self._orders = net.streams.producer(Order, stream_id="orders")
        self._receipts = net.streams.consumer(Receipt, stream_id="receipts")
        self._count = 0

    async def buy(self) -> int:
        """Return the number of a ticket, however long it takes."""
        self._count += 1
        order = Order(self._name, self._count)
        while True:
            try:
                self._orders.try_send(order)
                async with asyncio.timeout(REPEAT_S):
                    while (receipt := await self._receipts.recv()).order != order:
                        pass
                return receipt.ticket
            except TimeoutError:
                continue
            except MosaikError:
                await asyncio.sleep(REPEAT_S)
