"""What a node of the DHT keeps for others, and who may put something there (BEP 44, BEP 5).

A *token* shows that who puts something has asked from the same address before. It is a keyed
hash of the address and the target; the key changes every five minutes and the one before is
still good. Items are dropped two hours after they were last put, and when there are too many
those that were put the longest time ago.

A core; ``now`` is monotonic time in seconds.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from random import Random
from typing import Final

from blake3 import blake3

from ..transport.address import SocketAddr, format_socket_addr
from .items import MISMATCH, SEQUENCE_BELOW, Item, ItemRefused, MutableItem, check_item

ITEMS_MAX: Final = 4096
ITEM_LIFE_S: Final = 2 * 3600.0
TOKEN_LIFE_S: Final = 300.0
TOKEN_BYTES: Final = 8


class Tokens:
    """Makes tokens, and knows its own again.

    Args:
        rng: What the keys are drawn from.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._keys = [rng.randbytes(32), rng.randbytes(32)]
        self._renewed_at: float | None = None

    def make(self, addr: SocketAddr, target: bytes, *, now: float) -> bytes:
        """Return what allows `addr` to put something under `target`."""
        self._renew(now)
        return _token(self._keys[0], addr, target)

    def is_valid(self, token: bytes, addr: SocketAddr, target: bytes, *, now: float) -> bool:
        """Return whether a token was made for that address and target lately."""
        self._renew(now)
        return any(hmac.compare_digest(token, _token(key, addr, target)) for key in self._keys)

    def _renew(self, now: float) -> None:
        if self._renewed_at is None:
            self._renewed_at = now
        while self._renewed_at + TOKEN_LIFE_S <= now:
            self._keys = [self._rng.randbytes(32), self._keys[0]]
            # After a long silence both are to be other ones; more often makes no difference.
            self._renewed_at = max(self._renewed_at + TOKEN_LIFE_S, now - TOKEN_LIFE_S)


class ItemStore:
    """The items that this node keeps: at most `ITEMS_MAX`."""

    def __init__(self) -> None:
        self._items: OrderedDict[bytes, tuple[Item, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def find(self, target: bytes, *, now: float) -> Item | None:
        """Return the item under a target, None when there is none."""
        self._forget(now)
        found = self._items.get(target)
        return None if found is None else found[0]

    def put(self, item: Item, *, expected: int | None = None, now: float) -> None:
        """Keep an item.

        Args:
            item: From the network; it is checked here.
            expected: The sequence number that it may replace, None for any lower one.
            now: The time.

        Raises:
            ItemRefused: It does not check out, or another one is there.
        """
        self._forget(now)
        kept = self._items.get(item.target, (None, 0.0))[0]
        if isinstance(kept, MutableItem) and isinstance(item, MutableItem):
            if expected is not None and kept.sequence != expected:
                raise ItemRefused(MISMATCH, f"the sequence number is {kept.sequence}")
            if item.sequence < kept.sequence:
                raise ItemRefused(SEQUENCE_BELOW, f"the sequence number is {kept.sequence}")
            if item.sequence == kept.sequence and item.value != kept.value:
                raise ItemRefused(SEQUENCE_BELOW, "another value has that sequence number")
        check_item(item)
        self._items[item.target] = item, now
        self._items.move_to_end(item.target)
        if len(self._items) > ITEMS_MAX:
            self._items.popitem(last=False)

    def _forget(self, now: float) -> None:
        while self._items:
            target, (_, put_at) = next(iter(self._items.items()))
            if put_at + ITEM_LIFE_S > now:
                return
            del self._items[target]


def _token(key: bytes, addr: SocketAddr, target: bytes) -> bytes:
    text = format_socket_addr(addr).encode()
    return blake3(target + text, key=key).digest()[:TOKEN_BYTES]
