"""A node of the Mainline DHT: asks others, and answers them when it serves.

    node = DhtNode(own_id, rng=..., serves=False)
    node.join(addrs, now=now)          # nodes to begin with
    number = node.find(target, now=now)
    node.receive_data(data, addr, now=now); node.handle_timer(now=now)
    for effect in node.take_effects(): ...   # `SendDatagram`, `LookupDone`, `PutDone`

A node that does not *serve* marks its queries as read-only (BEP 43) and answers nobody: right
for one behind a NAT, or there for a moment. Answers count only from the address that was
asked, with the transaction that was drawn for it.

A core: no sockets; ``now`` is monotonic time in seconds. All that it keeps is bounded: the
table by its buckets, items and tokens in `store`, operations by `OPERATIONS_MAX`, and what it
answers by `QUERIES_PER_S`.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import inf
from random import Random
from typing import Final

from ..errors import DecodeError
from ..transport.address import SocketAddr
from . import krpc
from .items import Item, ItemRefused, MutableItem, check_item
from .krpc import ErrorReply, Message, NodeContact, NodeId, Query, Response
from .lookup import Lookup
from .routing import ID_BITS, RoutingTable, is_global
from .store import ItemStore, Tokens

ANSWER_S: Final = 2.0
SLOW_S: Final = 0.7
LOOK_AFTER_S: Final = 60.0
REJOIN_S: Final = 5.0
REJOIN_MAX_S: Final = 120.0
OPERATIONS_MAX: Final = 256
QUERIES_PER_S: Final = 200.0
QUERIES_BURST: Final = 400.0
CHECKED_MAX: Final = 16
VOTERS_MAX: Final = 32
VOTES_MIN: Final = 3
TRANSACTION_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class SendDatagram:
    """Send this there."""

    data: bytes
    addr: SocketAddr


@dataclass(frozen=True, slots=True)
class LookupDone:
    """What was looked for has been found, or is not there.

    Attributes:
        number: Which lookup it was.
        item: The item with the highest sequence number, checked; None when there is none.
        answered_count: How many of the closest nodes have answered: none means that this
            node reaches nobody, and knows nothing of the item.
    """

    number: int
    item: Item | None
    answered_count: int


@dataclass(frozen=True, slots=True)
class PutDone:
    """An item has been offered to the nodes closest to its target.

    Attributes:
        number: Which operation it was.
        stored_count: How many have taken it.
        refusals: What the others said.
    """

    number: int
    stored_count: int
    refusals: tuple[ErrorReply, ...] = ()


Effect = SendDatagram | LookupDone | PutDone


@dataclass(slots=True)
class _Operation:
    """A lookup, and for a put what comes after it."""

    number: int
    lookup: Lookup
    method: str
    salt: bytes = b""
    found: Item | None = None
    put: Item | None = None
    expected: int | None = None
    tokens: dict[NodeContact, bytes] = field(default_factory=dict)
    putting: int = 0
    stored: int = 0
    refusals: list[ErrorReply] = field(default_factory=list)


@dataclass(slots=True)
class _Pending:
    """A question that is not answered yet; `id` is empty when only the address is known."""

    id: NodeId
    addr: SocketAddr
    method: str
    sent_at: float
    operation: _Operation | None
    is_slow: bool = False

    @property
    def contact(self) -> NodeContact:
        return NodeContact(self.id, self.addr)


class DhtNode:
    """One node; see the module.

    Args:
        own_id: Its id, 20 random bytes.
        rng: What transactions, tokens and refreshed targets are drawn from.
        serves: Whether it answers queries and keeps items for others.
        is_ipv6: Which of the two DHTs it is in (BEP 32).

    Attributes:
        refused_count: Datagrams that were no messages, or answers nobody asked for.
        dropped_count: Queries not answered, as there were too many.
    """

    def __init__(
        self, own_id: NodeId, *, rng: Random, serves: bool = False, is_ipv6: bool = False
    ) -> None:
        self.own_id = own_id
        self.table = RoutingTable(own_id)
        self.store = ItemStore()
        self.refused_count = 0
        self.dropped_count = 0
        self._rng = rng
        self._serves = serves
        self._is_ipv6 = is_ipv6
        self._tokens = Tokens(rng)
        self._pending: OrderedDict[bytes, _Pending] = OrderedDict()
        self._operations: dict[int, _Operation] = {}
        self._number = 0
        self._effects: list[Effect] = []
        self._entry_addrs: tuple[SocketAddr, ...] = ()
        self._rejoin_s = REJOIN_S
        self._rejoin_at = inf
        self._look_at: float | None = None
        self._allowance = QUERIES_BURST
        self._allowance_at = 0.0
        self._seen_from: OrderedDict[str, str] = OrderedDict()

    # What is known.

    @property
    def timer_s(self) -> float:
        """When to call `handle_timer`."""
        # Questions are in the order in which they were sent, and so those that are slow come first.
        waiting = self._pending.values()
        failing = next((one.sent_at + ANSWER_S for one in waiting), inf)
        slow = next((one.sent_at + SLOW_S for one in waiting if not one.is_slow), inf)
        look_at = inf if self._look_at is None else self._look_at
        return min(failing, slow, self._rejoin_at, look_at)

    @property
    def seen_host(self) -> str | None:
        """The host that others see this node at, once `VOTES_MIN` of them agree on it."""
        votes = Counter(self._seen_from.values()).most_common(1)
        if not votes or votes[0][1] < VOTES_MIN or 2 * votes[0][1] <= len(self._seen_from):
            return None
        return votes[0][0]

    def take_effects(self) -> list[Effect]:
        """Return what is to be done, in order, each once."""
        effects, self._effects = self._effects, []
        return effects

    # What the user wants.

    def join(self, addrs: Iterable[SocketAddr], *, now: float) -> None:
        """Ask the nodes at these addresses for others; again while nobody is known."""
        self._entry_addrs = tuple(dict.fromkeys(addrs))
        if self._look_at is None:
            self._look_at = now + LOOK_AFTER_S
        self._ask_entries(now)

    def find(self, target: bytes, salt: bytes = b"", *, now: float) -> int:
        """Look for an item; return the number that `LookupDone` has."""
        lookup = Lookup(target, self.table.closest(target))
        return self._begin(krpc.GET, lookup, now, salt=salt)

    def put(self, item: Item, *, expected: int | None = None, now: float) -> int:
        """Store an item with the nodes closest to it; return the number that `PutDone` has.

        Args:
            item: The item.
            expected: The sequence number that it replaces, None for any lower one.
            now: The time.
        """
        salt = item.salt if isinstance(item, MutableItem) else b""
        lookup = Lookup(item.target, self.table.closest(item.target))
        return self._begin(krpc.GET, lookup, now, salt=salt, put=item, expected=expected)

    # What happens.

    def receive_data(self, data: bytes, addr: SocketAddr, *, now: float) -> None:
        """Take in a datagram."""
        try:
            message = krpc.decode_message(data, is_ipv6=self._is_ipv6)
        except DecodeError:
            self.refused_count += 1
            return
        if isinstance(message, Query):
            self._answer(message, addr, now)
            return
        pending = self._pending.get(message.transaction)
        if pending is None or pending.addr != addr:
            self.refused_count += 1
            return
        del self._pending[message.transaction]
        if isinstance(message, ErrorReply):
            self._receive_error(pending, message, now)
        elif pending.id and message.sender != pending.id:
            self._fail(pending, now)
        else:
            self._receive_answer(pending, message, now)

    def handle_timer(self, *, now: float) -> None:
        """Give up on what was not answered, look after the table, join again when alone."""
        for transaction, pending in list(self._pending.items()):
            if pending.sent_at + ANSWER_S <= now:
                del self._pending[transaction]
                self._fail(pending, now)
            elif pending.sent_at + SLOW_S <= now and not pending.is_slow:
                pending.is_slow = True
                if pending.operation is not None:
                    pending.operation.lookup.receive_delay(pending.contact)
                    self._advance(pending.operation, now)
        if self._rejoin_at <= now:
            self._rejoin_at = inf
            if not len(self.table):
                self._rejoin_s = min(2 * self._rejoin_s, REJOIN_MAX_S)
                self._ask_entries(now)
        if self._look_at is not None and self._look_at <= now:
            self._look_at = now + LOOK_AFTER_S
            self._look_after_table(now)

    # Asking.

    def _begin(
        self,
        method: str,
        lookup: Lookup,
        now: float,
        *,
        salt: bytes = b"",
        put: Item | None = None,
        expected: int | None = None,
    ) -> int:
        self._number += 1
        operation = _Operation(self._number, lookup, method, salt=salt, put=put, expected=expected)
        if len(self._operations) >= OPERATIONS_MAX:
            self._end(operation)
        else:
            self._operations[self._number] = operation
            self._advance(operation, now)
        return operation.number

    def _advance(self, operation: _Operation, now: float) -> None:
        """Ask whom it is the turn of; end the lookup when it is over."""
        if operation.number not in self._operations or operation.putting:
            return
        for contact in operation.lookup.take_questions():
            query = Query(b"", operation.method, self.own_id, operation.lookup.target)
            self._ask(contact, query, now, operation)
        if not operation.lookup.is_over:
            return
        if operation.put is None:
            self._end(operation)
        else:
            self._put_everywhere(operation, operation.put, now)

    def _put_everywhere(self, operation: _Operation, item: Item, now: float) -> None:
        targets = [one for one in operation.lookup.answered if one in operation.tokens]
        operation.putting = len(targets)
        for contact in targets:
            query = Query(
                b"",
                krpc.PUT,
                self.own_id,
                token=operation.tokens[contact],
                item=item,
                expected=operation.expected,
            )
            self._ask(contact, query, now, operation)
        if not targets:
            self._end(operation)

    def _end(self, operation: _Operation) -> None:
        self._operations.pop(operation.number, None)
        number = operation.number
        if operation.put is not None:
            self._effects.append(PutDone(number, operation.stored, tuple(operation.refusals)))
        elif operation.method == krpc.GET:
            count = len(operation.lookup.answered)
            self._effects.append(LookupDone(number, operation.found, count))

    def _ask(
        self, contact: NodeContact, query: Query, now: float, operation: _Operation | None = None
    ) -> None:
        transaction = self._rng.randbytes(TRANSACTION_BYTES)
        pending = _Pending(contact.id, contact.addr, query.method, now, operation)
        self._pending[transaction] = pending
        query = replace(query, transaction=transaction, is_read_only=not self._serves)
        self._send(query, contact.addr)

    def _ask_entries(self, now: float) -> None:
        for addr in self._entry_addrs:
            query = Query(b"", krpc.FIND_NODE, self.own_id, self.own_id)
            self._ask(NodeContact(b"", addr), query, now)
        self._rejoin_at = now + self._rejoin_s if self._entry_addrs else inf

    def _look_after_table(self, now: float) -> None:
        for contact in self.table.questionable(now=now)[:CHECKED_MAX]:
            self._ask(contact, Query(b"", krpc.PING, self.own_id), now)
        stale = self.table.stale_buckets(now=now)
        if stale:
            self.table.note_refresh(stale[0], now=now)
            self._look_around(self._draw_id(stale[0]), now)
        if not len(self.table):
            self._ask_entries(now)

    def _look_around(self, target: bytes, now: float) -> None:
        self._begin(krpc.FIND_NODE, Lookup(target, self.table.closest(target)), now)

    def _draw_id(self, shared_bits: int) -> NodeId:
        """Return a random id that shares so many leading bits with the own one, and no more."""
        free = ID_BITS - shared_bits - 1
        own = int.from_bytes(self.own_id, "big")
        prefix = ((own >> free) ^ 1) << free
        return (prefix | self._rng.getrandbits(free) if free else prefix).to_bytes(20, "big")

    # Answers.

    def _receive_answer(self, pending: _Pending, response: Response, now: float) -> None:
        contact = NodeContact(response.sender, pending.addr)
        self.table.note_answer(contact, now=now)
        self._note_vote(pending.addr[0], response.seen_addr)
        operation = pending.operation
        if operation is None:
            if pending.method == krpc.FIND_NODE:
                self._rejoin_s = REJOIN_S
                known = (contact, *response.contacts)
                self._begin(krpc.FIND_NODE, Lookup(self.own_id, known), now)
            return
        if pending.method == krpc.PUT:
            operation.stored += 1
            self._put_done(operation)
            return
        if response.token:
            operation.tokens[contact] = response.token
        self._take_item(operation, response)
        operation.lookup.receive_answer(contact, response.contacts)
        self._advance(operation, now)

    def _take_item(self, operation: _Operation, response: Response) -> None:
        item = response.item_for(operation.lookup.target, operation.salt)
        if item is None:
            return
        found = operation.found
        if found is not None and not (
            isinstance(item, MutableItem)
            and isinstance(found, MutableItem)
            and item.sequence > found.sequence
        ):
            return
        try:
            check_item(item)
        except ItemRefused:
            self.refused_count += 1
            return
        operation.found = item

    def _receive_error(self, pending: _Pending, error: ErrorReply, now: float) -> None:
        """A node that answers with an error is there; it is of no use for this."""
        if pending.operation is not None and pending.method == krpc.PUT:
            pending.operation.refusals.append(error)
            self._put_done(pending.operation)
        elif pending.operation is not None:
            pending.operation.lookup.receive_failure(pending.contact)
            self._advance(pending.operation, now)

    def _fail(self, pending: _Pending, now: float) -> None:
        if pending.id:
            self.table.note_failure(pending.contact, now=now)
        operation = pending.operation
        if operation is None:
            return
        if pending.method == krpc.PUT:
            self._put_done(operation)
        else:
            operation.lookup.receive_failure(pending.contact)
            self._advance(operation, now)

    def _put_done(self, operation: _Operation) -> None:
        operation.putting -= 1
        if operation.putting == 0:
            self._end(operation)

    def _note_vote(self, voter: str, seen: SocketAddr | None) -> None:
        if seen is None or not is_global(seen[0]):
            return
        self._seen_from[voter] = seen[0]
        self._seen_from.move_to_end(voter)
        if len(self._seen_from) > VOTERS_MAX:
            self._seen_from.popitem(last=False)

    # Serving.

    def _answer(self, query: Query, addr: SocketAddr, now: float) -> None:
        if not self._serves:
            return
        self._allowance = min(
            QUERIES_BURST, self._allowance + (now - self._allowance_at) * QUERIES_PER_S
        )
        self._allowance_at = now
        if self._allowance < 1:
            self.dropped_count += 1
            return
        self._allowance -= 1
        self._send(self._reply_to(query, addr, now), addr)
        self._meet(query, addr, now)

    def _reply_to(self, query: Query, addr: SocketAddr, now: float) -> Message:
        reply = Response(query.transaction, self.own_id, seen_addr=addr)
        if query.method == krpc.PING:
            return reply
        if query.method == krpc.PUT:
            return self._store(query, addr, reply, now)
        if query.method not in (krpc.FIND_NODE, krpc.GET, krpc.GET_PEERS):
            return ErrorReply(query.transaction, krpc.UNKNOWN_METHOD, "method unknown")
        near = self.table.closest(query.target)
        reply = replace(reply, contacts=tuple(near))
        if query.method == krpc.FIND_NODE:
            return reply
        token = self._tokens.make(addr, query.target, now=now)
        item = self.store.find(query.target, now=now) if query.method == krpc.GET else None
        return replace(reply, token=token, item=item)

    def _store(self, query: Query, addr: SocketAddr, reply: Response, now: float) -> Message:
        item = query.item
        assert item is not None, "a put without an item was not decoded"
        target = item.target
        if not self._tokens.is_valid(query.token, addr, target, now=now):
            return ErrorReply(query.transaction, krpc.PROTOCOL_ERROR, "bad token")
        try:
            self.store.put(item, expected=query.expected, now=now)
        except ItemRefused as refused:
            return ErrorReply(query.transaction, refused.code, refused.reason)
        return reply

    def _meet(self, query: Query, addr: SocketAddr, now: float) -> None:
        """Ask a node that asks whether it is there, and then take it into the table."""
        if query.is_read_only or self.table.knows(query.sender):
            return
        asked = sum(one.operation is None for one in self._pending.values())
        if asked < CHECKED_MAX and query.sender != self.own_id:
            self._ask(NodeContact(query.sender, addr), Query(b"", krpc.PING, self.own_id), now)

    def _send(self, message: Message, addr: SocketAddr) -> None:
        data = krpc.encode_message(message, is_ipv6=self._is_ipv6)
        self._effects.append(SendDatagram(data, addr))
