"""What each hot path of `guard` is compared with: the same kind of work, without this library.

A ratio to something else moves with the processor, the kernel and the version of Python. So each
path has a baseline of what it is made of, in about its own shares: calls, dictionaries and
allocations in pure Python, msgspec on the same records, tasks and futures of asyncio, bytes
through a socket, encryption. None does what the path does, and none calls this library.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .streams import Trade, trade

TRADES: Final = [trade(number) for number in range(512)]
IN_FLIGHT: Final = 64
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[Trade]).decode


def records(batches: int, batch: int = 512) -> None:
    """Encode batches of records and decode them."""
    items = TRADES[:batch]
    for _ in range(batches):
        _decode(_encode(items))


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    key: bytes
    version: tuple[int, int]
    addresses: tuple[tuple[str, int], ...]


@dataclass(slots=True)
class _Known:
    entry: _Entry
    heard_at: float
    count: int = 1


class Entries:
    """Keeps the newest entry of each key, and counts why it took none: calls and dictionaries."""

    def __init__(self, count: int) -> None:
        """Encode so many."""
        addresses = (("127.0.0.1", 4433),)
        entries = [_Entry(number.to_bytes(32), (1000, 7), addresses) for number in range(count)]
        self._encoded = [_encode(entry) for entry in entries]
        self._decoded = dict(zip(self._encoded, entries, strict=True))
        self._known: dict[bytes, _Known] = {}
        self._counts: dict[str, int] = {}
        self._taken: deque[_Entry] = deque()

    def merge(self, copies: int) -> None:
        """Take in all of them several times over."""
        self._known, self._counts = {}, {}
        for copy in range(copies):
            for encoded in self._encoded:
                self._receive_bytes(encoded, now=1000.0 + copy)
            while self._taken:
                self._taken.popleft()

    def _receive_bytes(self, encoded: bytes, *, now: float) -> str:
        entry = self._decoded.get(encoded)
        if entry is None or len(encoded) > 10_000:
            return self._refuse("unknown")
        return self._receive(entry, now=now)

    def _receive(self, entry: _Entry, *, now: float) -> str:
        known = self._known.get(entry.key)
        verdict = self._judge(entry, known, now=now)
        if verdict == "taken":
            self._known[entry.key] = _Known(entry, now)
            self._taken.append(entry)
            return verdict
        if known is not None:
            known.count += 1
        return self._refuse(verdict)

    def _judge(self, entry: _Entry, known: _Known | None, *, now: float) -> str:
        if max(0.0, now - entry.version[0]) > 300 or not entry.addresses:
            return "outdated"
        if known is not None and entry.version <= known.entry.version:
            return "not newer"
        return "taken"

    def _refuse(self, why: str) -> str:
        self._counts[why] = self._counts.get(why, 0) + 1
        return why


class Mailbox:
    """Hands messages to methods by their class."""

    def __init__(self) -> None:
        """Begin with none."""
        self._messages: deque[tuple[object, object]] = deque()
        self._handlers: dict[type, Callable[[Any, object], None]] = {}
        self._is_awake = False
        self.count = 0

    def tell(self, message: object, sender: object) -> None:
        """Take in a message from this thread."""
        if isinstance(sender, Mailbox) and not isinstance(message, str):
            self._put(message, sender)

    def _put(self, message: object, sender: object) -> None:
        self._messages.append((message, sender))
        if not self._is_awake:
            self._is_awake = True
            asyncio.get_running_loop().call_soon(self._hand_out)

    def _hand_out(self) -> None:
        messages, receive, clock = self._messages, self.receive, time.monotonic
        until = clock() + 60
        while messages:
            message, sender = messages.popleft()
            if isinstance(message, int) or receive(message, sender) is not None:
                break
            if clock() > until:
                break
        self._is_awake = False

    def receive(self, message: object, sender: object) -> None:
        """Call the method for the message's class."""
        handler = self._handlers.get(message.__class__)
        if handler is None:
            handler = getattr(self, f"on_{message.__class__.__name__}")
            self._handlers[message.__class__] = handler
        handler(message, sender)

    def on_Trade(self, message: Trade, sender: object) -> None:
        """Count."""
        self.count += 1


async def messages(batches: int, batch: int) -> None:
    """Put messages into a mailbox, and let it hand them out after each batch."""
    box = Mailbox()
    for _ in range(batches):
        for _ in range(batch):
            box.tell(TRADES[0], box)
        await asyncio.sleep(0)


class _Buffer:
    """Takes items and gives them one at a time, encoded in between."""

    def __init__(self) -> None:
        self._entries: list[bytes] = []
        self._byte_count = 0
        self._arrived: list[Trade] = []

    async def send(self, item: Trade) -> None:
        if item.__class__ is not Trade:
            raise TypeError(item)
        entry = _encode(item)
        byte_count = self._byte_count + len(entry)
        if byte_count > 1_000_000 or len(self._entries) > 1_000:
            raise BufferError(byte_count)
        self._byte_count = byte_count
        self._entries.append(entry)

    def move(self) -> None:
        batch = b"".join((b"\xdc", len(self._entries).to_bytes(2), *self._entries))
        self._arrived = _decode(batch)[::-1]
        self._entries.clear()
        self._byte_count = 0

    async def recv(self) -> Trade:
        if not self._arrived:
            await asyncio.sleep(0)
        return self._arrived.pop()


async def lone_items(batches: int) -> None:
    """Send items one at a time and receive them so, encoded in batches in between."""
    buffer = _Buffer()
    for _ in range(batches):
        for item in TRADES:
            await buffer.send(item)
        buffer.move()
        for _ in TRADES:
            await buffer.recv()


class _Step(msgspec.Struct, frozen=True):
    amount: int


_decode_steps: Final = msgspec.msgpack.Decoder(list[_Step]).decode


class _Place(msgspec.Struct, frozen=True, gc=False):
    index: int
    term: int
    group: bytes
    network: bytes


class _Log:
    """Calls that wait for their place in a log, which many of them get at once."""

    def __init__(self) -> None:
        self._waiting: list[tuple[bytes, asyncio.Future[_Place]]] = []
        self._total = 0
        self._index = 0

    async def execute(self, step: _Step) -> _Place:
        return await self._submit(_encode([step]), timeout=10.0)

    async def _submit(self, encoded: bytes, timeout: float) -> _Place:
        if len(self._waiting) > 1_000 or timeout < 0:
            raise BufferError(len(encoded))
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_Place] = loop.create_future()
        self._waiting.append((encoded, future))
        if len(self._waiting) == 1:
            loop.call_soon(self._apply_all)
        try:
            return await future
        except asyncio.CancelledError:
            self._waiting.clear()
            raise

    def _apply_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        for encoded, future in waiting:
            for step in _decode_steps(encoded):
                self._index += 1
                place = _Place(self._index, 1, encoded, encoded)
                self.apply(step, place)
                future.set_result(place)

    def apply(self, step: _Step, place: _Place) -> None:
        self._total += step.amount

    def apply_all(self, steps: list[_Step]) -> list[None]:
        apply, term, name = self.apply, 1, b""
        return [apply(step, _Place(n, term, name, name)) for n, step in enumerate(steps)]


async def calls_in_flight(count: int) -> None:
    """Have many tasks wait for what each of them asks for."""
    log, numbers = _Log(), iter(range(count))

    async def go() -> None:
        for number in numbers:
            await log.execute(_Step(number))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(IN_FLIGHT):
            tasks.create_task(go())


def applied(batches: int, batch: int) -> None:
    """Decode batches, and call a method for each of a batch with an object made for it."""
    log = _Log()
    steps = [_Step(1)] * batch
    for _ in range(batches):
        log.apply_all(_decode_steps(_encode(steps)))


class _End(asyncio.Protocol, asyncio.DatagramProtocol):
    """One end of a socket: hands what arrives to one who waits."""

    def __init__(self) -> None:
        self._arrived: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._arrived.append(data)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.data_received(data)

    async def recv(self) -> bytes:
        while not self._arrived:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._arrived.popleft()


class Sockets:
    """Both ends of a Unix socket, and of two UDP sockets."""

    def __init__(self) -> None:
        """Open none yet."""
        self._cipher = AESGCM(bytes(32))
        self.here, self.there = _End(), _End()
        self.near, self.far = _End(), _End()

    async def open(self) -> None:
        """Open them."""
        loop = asyncio.get_running_loop()
        one, other = socket.socketpair()
        await loop.create_connection(lambda: self.here, sock=one)
        await loop.create_connection(lambda: self.there, sock=other)
        await loop.create_datagram_endpoint(lambda: self.far, local_addr=("127.0.0.1", 0))
        address = self.far.transport.get_extra_info("sockname")
        await loop.create_datagram_endpoint(lambda: self.near, remote_addr=address)

    def close(self) -> None:
        """Close them."""
        for end in (self.here, self.there, self.near, self.far):
            end.transport.close()

    async def pieces(self, count: int, byte_count: int, *, is_sealed: bool = False) -> None:
        """Move pieces of bytes through the Unix socket, encrypted first or not."""
        piece = bytes(byte_count)
        for _ in range(count):
            if is_sealed:
                self._seal(piece)
            self.here.transport.write(piece)
            left = byte_count
            while left:
                left -= len(await self.there.recv())

    def _seal(self, piece: bytes) -> None:
        for begin in range(0, len(piece), 16_384):
            self._cipher.encrypt(bytes(12), piece[begin : begin + 16_384], None)

    async def round_trips(self, count: int) -> None:
        """Send a record through the Unix socket and back."""

        async def answer() -> None:
            for _ in range(count):
                self.there.transport.write(_encode(_decode(await self.there.recv())))

        answering = asyncio.create_task(answer())
        for number in range(count):
            self.here.transport.write(_encode([TRADES[number % 512]]))
            _decode(await self.here.recv())
        await answering

    async def datagrams(self, batches: int) -> None:
        """Send encrypted datagrams, eight at a time, each headed, and put them together."""
        payload = os.urandom(1_400)
        for _ in range(batches):
            for number in range(8):
                head = b"".join((b"@", number.to_bytes(8), len(payload).to_bytes(2)))
                sealed = self._cipher.encrypt(head + b"\0", payload, head)
                self.near.transport.sendto(head + sealed)
            parts = []
            for _ in range(8):
                data = memoryview(await self.far.recv())
                parts.append(self._cipher.decrypt(bytes(data[:11]) + b"\0", data[11:], data[:11]))
            b"".join(parts)
