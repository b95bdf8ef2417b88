"""Collections as users see them: open one anywhere, read it here, write it for all.

    prices = Map[str, float].writer(net, "prices")
    await prices.when().online()
    await prices.insert("ETH", 3120.5)
    prices["ETH"]

A writer has everything that a reader has. Readers have no methods that write.

Reads are local, synchronous and those of the matching Python type. Writes are
coroutines that return a `Version` once they are committed and applied here, so
each writer reads what it wrote; wait for the version to read it on another node. Calls
take effect in the order they are made, an `extend` of thousands of items once it
is encoded. Each raises:

    EncodeError         an argument is not of its type; nothing was written
    CollectionOffline   it was not committed in time
    NetworkDown         the network handle is closed, or this replica has ended
    Closed              this handle is closed
"""

from .cell import Cell, CellReader, Once, OnceReader
from .handle import Changes
from .map import Map, MapReader
from .priority_queue import PriorityQueue, PriorityQueueReader
from .replica import HasGroups
from .set import Set, SetReader
from .vec import Vec, VecReader

__all__ = [
    "Cell",
    "CellReader",
    "Changes",
    "HasGroups",
    "Map",
    "MapReader",
    "Once",
    "OnceReader",
    "PriorityQueue",
    "PriorityQueueReader",
    "Set",
    "SetReader",
    "Vec",
    "VecReader",
]
