"""What users would pick instead of streams, each behind the same five calls.

All are used with the settings and calls that serve them best, as far as their documentations
name them: what has no need of asyncio is used without it, and nothing that could be told to
keep what a slow reader has not taken yet is left to drop it. None is a dependency of the
project: modules are imported when they are used.

A client lives in a process of its own, one that receives and one that sends.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from queue import SimpleQueue
from threading import Event
from typing import Any, Protocol

from .carriers import AUTHORITY, CERTIFICATE, KEY, own_folder

Take = Callable[[bytes], bool]  # takes a message in, and returns whether it was the last one
Answer = Callable[[bytes], bytes]

PIPED_BYTES, PIPED_COUNT = 256 * 1024, 500
LINGER_MS = 2000
READY_WITHIN_S = 10.0


class Client(Protocol):
    """One side of a connection, by way of a server or not."""

    async def receive(self, ready: Callable[[], None], take: Take) -> None:
        """Subscribe, call `ready`, and hand out what comes until the last message."""

    async def send(self, messages: Iterable[bytes]) -> None:
        """Send messages to who receives."""

    async def echo(self, ready: Callable[[], None], answer: Answer) -> None:
        """Call `ready`, and answer each message: until the last, or beside this call."""

    async def ask(self, messages: Iterable[bytes], take: Callable[[bytes], Any]) -> list[float]:
        """Send messages to who answers, each after the answer to the one before; return times."""

    async def close(self) -> None:
        """Let go of all."""


@asynccontextmanager
async def client(options: dict[str, Any], *, listens: bool) -> AsyncIterator[Client]:
    """Connect a client of the kind that the options name."""
    kinds: dict[str, Callable[..., Any]] = {
        "zenoh": Zenoh, "zmq": ZeroMq, "nats": Nats.connect, "redis": Redis,
    }  # fmt: skip
    made = kinds[options["client"]](options, listens=listens)
    found: Client = await made if asyncio.iscoroutine(made) else made
    try:
        yield found
    finally:
        await found.close()


class Zenoh:
    """Two peers, without discovery; over TLS and QUIC each asks for the other's certificate."""

    def __init__(self, options: dict[str, Any], *, listens: bool) -> None:
        self._zenoh = importlib.import_module("zenoh")
        config = self._zenoh.Config()
        for key, value in zenoh_settings(options, listens=listens).items():
            config.insert_json5(key, json.dumps(value))
        self._session = self._zenoh.open(config)
        self._kept: list[Any] = []  # subscriptions end when they are forgotten

    async def receive(self, ready: Callable[[], None], take: Take) -> None:
        """Have its threads call back, which is faster than its channels."""
        done = Event()

        def on_sample(sample: Any) -> None:
            if take(sample.payload.to_bytes()):
                done.set()

        self._subscribe("bench/items", on_sample)
        ready()
        await asyncio.to_thread(done.wait)

    async def send(self, messages: Iterable[bytes]) -> None:
        """Put each message; one that does not fit waits."""
        put = (await self._publisher("bench/items", express=False)).put
        for message in messages:
            put(message)

    async def echo(self, ready: Callable[[], None], answer: Answer) -> None:
        """Answer on its threads."""
        put = self._declare("bench/answers", express=True).put
        self._subscribe("bench/asked", lambda sample: put(answer(sample.payload.to_bytes())))
        ready()

    async def ask(self, messages: Iterable[bytes], take: Callable[[bytes], Any]) -> list[float]:
        """Wait in this thread for what its threads bring."""
        answers: SimpleQueue[bytes] = SimpleQueue()
        self._subscribe("bench/answers", lambda sample: answers.put(sample.payload.to_bytes()))
        put = (await self._publisher("bench/asked", express=True)).put
        messages = iter(messages)
        first = next(messages)
        while answers.empty():  # until the other side knows of the subscription to answers
            put(first)
            await asyncio.sleep(0.1)
        while not answers.empty():
            answers.get()
        return _timed(messages, put, answers.get, take)

    async def close(self) -> None:
        """End the session."""
        self._session.close()

    def _subscribe(self, key: str, on_sample: Callable[[Any], Any]) -> None:
        self._kept.append(self._session.declare_subscriber(key, on_sample))

    def _declare(self, key: str, *, express: bool) -> Any:
        block = self._zenoh.CongestionControl.BLOCK
        found = self._session.declare_publisher(key, congestion_control=block, express=express)
        self._kept.append(found)
        return found

    async def _publisher(self, key: str, *, express: bool) -> Any:
        publisher = self._declare(key, express=express)
        async with asyncio.timeout(READY_WITHIN_S):
            while not publisher.matching_status.matching:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return publisher


def zenoh_settings(options: dict[str, Any], *, listens: bool) -> dict[str, Any]:
    """Return the settings of a peer that knows of one other on loopback, and looks for no more."""
    folder = own_folder()
    where = f"127.0.0.1:{options['port']}"
    if options["carrier"] == "unixsock-stream":
        where = str(folder / f"zenoh-{options['port']}")
    endpoint = f"{options['carrier']}/{where}"
    return {
        "mode": "peer",
        "scouting/multicast/enabled": False,
        "scouting/gossip/enabled": False,
        "listen/endpoints": [endpoint] if listens else [],
        "connect/endpoints": [] if listens else [endpoint],
        "transport/shared_memory/enabled": options["shared_memory"],
        "transport/link/tls": {
            "enable_mtls": True,
            "verify_name_on_connect": True,
            "root_ca_certificate": str(folder / AUTHORITY),
            "listen_certificate": str(folder / CERTIFICATE),
            "listen_private_key": str(folder / KEY),
            "connect_certificate": str(folder / CERTIFICATE),
            "connect_private_key": str(folder / KEY),
        },
    }


class ZeroMq:
    """Sockets of ZeroMQ: XPUB to SUB, and REQ to REP; over TCP encrypted by CURVE."""

    def __init__(self, options: dict[str, Any], *, listens: bool) -> None:
        self._zmq = importlib.import_module("zmq")
        self._context = self._zmq.Context()
        self._is_encrypted = options["carrier"] == "tcp"
        where = f"127.0.0.1:{options['port']}"
        if not self._is_encrypted:
            where = str(own_folder() / f"zmq-{options['port']}")
        self._endpoint = f"{options['carrier']}://{where}"

    async def receive(self, ready: Callable[[], None], take: Take) -> None:
        """Subscribe to all, with no bound to what waits."""
        inlet = self._socket(self._zmq.SUB)
        inlet.setsockopt(self._zmq.RCVHWM, 0)
        inlet.subscribe(b"")
        inlet.connect(self._endpoint)
        ready()
        while not take(inlet.recv()):
            pass

    async def send(self, messages: Iterable[bytes]) -> None:
        """Send when the subscription is there, which an XPUB shows: a PUB would drop until then."""
        outlet = self._socket(self._zmq.XPUB, is_server=True)
        outlet.setsockopt(self._zmq.SNDHWM, 0)
        outlet.bind(self._endpoint)
        outlet.recv()
        for message in messages:
            outlet.send(message)

    async def echo(self, ready: Callable[[], None], answer: Answer) -> None:
        """Answer requests."""
        answers = self._socket(self._zmq.REP, is_server=True)
        answers.bind(self._endpoint)
        ready()
        await asyncio.to_thread(self._echo, answers, answer)

    def _echo(self, answers: Any, answer: Answer) -> None:
        while asked := answers.recv():
            answers.send(answer(asked))
        answers.send(b"")

    async def ask(self, messages: Iterable[bytes], take: Callable[[bytes], Any]) -> list[float]:
        """Request answers."""
        asks = self._socket(self._zmq.REQ)
        asks.connect(self._endpoint)
        found = _timed(messages, asks.send, asks.recv, take)
        asks.send(b"")  # the thread that answers ends
        asks.recv()
        return found

    async def close(self) -> None:
        """Let what was sent go out for a while."""
        self._context.destroy(linger=LINGER_MS)

    def _socket(self, kind: int, *, is_server: bool = False) -> Any:
        made = self._context.socket(kind)
        if self._is_encrypted:
            encode = importlib.import_module("zmq.utils.z85").encode
            server, client = (encode(bytes([number]) * 32) for number in (1, 2))
            secret = server if is_server else client
            made.curve_secretkey, made.curve_publickey = secret, self._zmq.curve_public(secret)
            if is_server:
                made.curve_server = True
            else:
                made.curve_serverkey = self._zmq.curve_public(server)
        return made


class Nats:
    """A client of a NATS server, from asyncio, the only interface that it has."""

    def __init__(self, connection: Any, count: int) -> None:
        self._connection = connection
        self._count = count

    @classmethod
    async def connect(cls, options: dict[str, Any], *, listens: bool) -> Nats:
        """Connect to the server."""
        nats = importlib.import_module("nats")
        return cls(await nats.connect(f"nats://127.0.0.1:{options['port']}"), options["count"])

    async def receive(self, ready: Callable[[], None], take: Take) -> None:
        """Subscribe, with room for all that comes."""
        subscription = await self._connection.subscribe(
            "items", pending_msgs_limit=self._count + 10, pending_bytes_limit=1 << 32
        )
        await self._connection.flush()
        ready()
        async for message in subscription.messages:
            if take(message.data):
                break

    async def send(self, messages: Iterable[bytes]) -> None:
        """Publish."""
        publish = self._connection.publish
        for message in messages:
            await publish("items", message)
        await self._connection.flush()

    async def echo(self, ready: Callable[[], None], answer: Answer) -> None:
        """Respond to requests."""

        async def respond(message: Any) -> None:
            await message.respond(answer(message.data))

        await self._connection.subscribe("asked", cb=respond)
        await self._connection.flush()
        ready()

    async def ask(self, messages: Iterable[bytes], take: Callable[[bytes], Any]) -> list[float]:
        """Request answers."""
        samples_s = []
        for message in messages:
            began = time.perf_counter()
            take((await self._connection.request("asked", message)).data)
            samples_s.append(time.perf_counter() - began)
        return samples_s

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()


class Redis:
    """A client of a Redis server: publish and subscribe, without asyncio, which is slower."""

    def __init__(self, options: dict[str, Any], *, listens: bool) -> None:
        self._client = importlib.import_module("redis").Redis(port=options["port"])
        self._channels: list[Any] = []

    async def receive(self, ready: Callable[[], None], take: Take) -> None:
        """Subscribe, and listen."""
        messages = self._subscribe("items")
        ready()
        while not take(next(messages)["data"]):
            pass

    async def send(self, messages: Iterable[bytes]) -> None:
        """Publish in pipelines, which is its fast way to publish many."""
        batch = self._client.pipeline(transaction=False)
        waiting_bytes = 0
        for message in messages:
            batch.publish("items", message)
            waiting_bytes += len(message)
            if waiting_bytes >= PIPED_BYTES or len(batch) >= PIPED_COUNT:
                batch.execute()
                waiting_bytes = 0
        batch.execute()

    async def echo(self, ready: Callable[[], None], answer: Answer) -> None:
        """Publish an answer to all that comes."""
        messages = self._subscribe("asked")
        ready()
        await asyncio.to_thread(self._echo, messages, answer)

    def _echo(self, messages: Any, answer: Answer) -> None:
        while asked := next(messages)["data"]:
            self._client.publish("answers", answer(asked))

    async def ask(self, messages: Iterable[bytes], take: Callable[[bytes], Any]) -> list[float]:
        """Publish what is asked, and wait for what is published in answer."""
        answers = self._subscribe("answers")
        found = _timed(
            messages,
            lambda message: self._client.publish("asked", message),
            lambda: next(answers)["data"],
            take,
        )
        self._client.publish("asked", b"")  # the thread that answers ends
        return found

    async def close(self) -> None:
        """Close all connections."""
        for channel in self._channels:
            channel.close()
        self._client.close()

    def _subscribe(self, name: str) -> Any:
        channel = self._client.pubsub()
        channel.subscribe(name)
        messages = channel.listen()
        next(messages)  # that the subscription is there
        self._channels.append(channel)
        return messages


def _timed(
    messages: Iterable[bytes],
    send: Callable[[bytes], Any],
    receive: Callable[[], bytes],
    take: Callable[[bytes], Any],
) -> list[float]:
    samples_s = []
    for message in messages:
        began = time.perf_counter()
        send(message)
        take(receive())
        samples_s.append(time.perf_counter() - began)
    return samples_s
