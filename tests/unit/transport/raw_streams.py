"""A peer that is not ours over a Unix socket or TLS: sends what no endpoint of ours would.

Its bytes are those of our engine, what it writes to streams is anything; `raw` is the same
over QUIC.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from mosaik_actors.errors import RemoteError
from mosaik_actors.ids import NetworkId
from mosaik_actors.transport.address import SocketAddr
from mosaik_actors.transport.admission import Admission, NetworkKeys
from mosaik_actors.transport.byte_streams.engine import StreamEngine, make_engine
from mosaik_actors.transport.config import TransportConfig
from mosaik_actors.transport.connection.proving import PROOF_STREAM
from mosaik_actors.transport.engine_events import ConnectionEnded, HandshakeDone, StreamData
from mosaik_actors.transport.local.identity import NONCE_BYTES, LocalIdentity
from mosaik_actors.transport.tls.session import TlsSession, make_context
from tests.waiting import until

from .raw import MALLORY, Answers, Ended

INSTANCE = 7


class RawStreamPeer(Answers):
    """One raw connection that this side dialled."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        is_encrypted: bool,
        is_proving: bool,
    ) -> None:
        super().__init__()
        self.is_proving = is_proving
        self._reader = reader
        self._writer = writer
        self._clock = asyncio.get_running_loop().time
        self._done: HandshakeDone | None = None
        self._tls = (
            TlsSession(make_context(MALLORY, INSTANCE), is_initiator=True) if is_encrypted else None
        )
        self.engine: StreamEngine = make_engine(
            TransportConfig(), is_initiator=True, now=self._clock()
        )
        self.engine.set_held_bytes(0)

    async def run(self) -> None:
        """Say who is here, and take in what comes until it ends."""
        if self._tls is None:
            identity = LocalIdentity(MALLORY, INSTANCE, os.urandom(NONCE_BYTES), is_initiator=True)
            self.engine.begin(identity.receive, identity.begin())
            self.transmit()
        else:
            self._shake_hands(self._tls, b"")
        with suppress(ConnectionError, RemoteError):
            while data := await self._reader.read(1 << 16):
                if self._tls is None:
                    self.engine.receive_data(data, self._clock())
                elif not self._tls.is_done:
                    self._shake_hands(self._tls, data)
                else:
                    self.engine.receive_data(self._tls.decrypt(data), self._clock())
                self._take_events()
        self.engine.receive_end()
        self._take_events()

    async def wait_connected(self) -> None:
        """Wait until both sides have said who they are."""
        await until(lambda: self._done)

    def admission(self, network: str = "net", *secrets: bytes) -> Admission:
        """Return what this peer can prove on this connection."""
        assert self._done is not None
        return Admission(
            NetworkKeys(NetworkId(network), secrets),
            binding=self._done.binding,
            here=MALLORY.peer_id,
            there=self._done.peer.peer_id,
            is_dialler=True,
        )

    def send(self, data: bytes, stream_id: int | None = None, *, is_end: bool = False) -> int:
        """Write raw bytes to a stream, a new one by default, and return its id.

        What is written to a connection that is over goes nowhere, as over QUIC.
        """
        while stream_id is None or stream_id not in self.engine._streams:
            if self.engine._is_over:
                return self.engine.open_stream() if stream_id is None else stream_id
            opened = self.engine.open_stream()
            stream_id = opened if stream_id is None else stream_id
        self.engine.write(stream_id, data, is_end=is_end)
        self.transmit()
        return stream_id

    def reset(self, stream_id: int, code: int) -> None:
        """Give a stream up."""
        self.engine.abort_stream(stream_id, code)
        self.transmit()

    def make_answer(self) -> None:
        """Make the endpoint answer, which asks nothing of it."""
        self.engine.ping(now=self._clock())
        self.transmit()

    def transmit(self) -> None:
        """Send what the engine has to send."""
        if self._writer.is_closing() or not (self._tls is None or self._tls.is_done):
            return
        while pieces := self.engine.data_to_send():
            self.engine.untaken_bytes -= sum(map(len, pieces))
            self.send_plainly(b"".join(pieces) if self._tls is None else self._tls.encrypt(pieces))

    def send_plainly(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(data)

    def _shake_hands(self, tls: TlsSession, data: bytes) -> None:
        done = tls.shake_hands(data)
        self.send_plainly(tls.take_output())
        if done is not None:
            self.engine.receive_identity(done)
            self.engine.receive_data(tls.decrypt(b""), self._clock())
            self._take_events()

    def _take_events(self) -> None:
        events = self.engine.events
        while events:
            event = events.popleft()
            if isinstance(event, HandshakeDone):
                self._done = event
                if self.is_proving:
                    assert self.send(self.admission().begin(), is_end=True) == PROOF_STREAM
            elif isinstance(event, StreamData) and event.stream_id == PROOF_STREAM:
                self.proof += bytes(event.data)
            elif isinstance(event, StreamData):
                self.take(event.stream_id, bytes(event.data))
            elif isinstance(event, ConnectionEnded):
                self.ended = Ended(int(event.reason.code), event.reason.text)
        self.transmit()


@asynccontextmanager
async def raw_stream_client(
    where: SocketAddr | Path, *, is_proving: bool = True
) -> AsyncIterator[RawStreamPeer]:
    """Connect a raw client to a port, over TLS, or to a Unix socket."""
    if isinstance(where, Path):
        reader, writer = await asyncio.open_unix_connection(where)
    else:
        reader, writer = await asyncio.open_connection(*where)
    is_encrypted = not isinstance(where, Path)
    client = RawStreamPeer(reader, writer, is_encrypted=is_encrypted, is_proving=is_proving)
    running = asyncio.create_task(client.run())
    try:
        yield client
    finally:
        running.cancel()
        writer.transport.abort()
        with suppress(asyncio.CancelledError):
            await running
