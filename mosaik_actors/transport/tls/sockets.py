"""TCP sockets: where one endpoint listens, and how it dials.

A node takes TCP connections at the very addresses of its datagrams, the same port, so
that one address is enough to be reached at over both. Where that port is another's, it does
without.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final

from ...clock import Clock
from ...ids import SecretKey
from ...peer_log import PeerLog
from ..address import SocketAddr
from ..byte_streams.engine import StreamEngine, make_engine
from ..byte_streams.listening import Listener
from ..byte_streams.port import StreamPort
from ..config import TransportConfig
from ..sockets import family_of

if TYPE_CHECKING:
    from OpenSSL import SSL

logger = logging.getLogger(__name__)

BACKLOG: Final = 256
SYN_RETRIES_MAX: Final = 2  # a stranger's word sends three packets of 60 bytes there at most
_TCP_SYNCNT: Final = getattr(socket, "TCP_SYNCNT", None)


MakeTlsPort = Callable[
    [Callable[[float], None], Callable[[], None], Callable[[StreamPort], None]], StreamPort
]
"""Takes what is called with data, with room, and with the end (`StreamPort`)."""


class TlsSockets:
    """Where one endpoint takes TCP connections, and how it makes them.

    Args:
        secret_key: The identity that is proven.
        instance: Which run of the endpoint this is.
        listeners: Sockets that listen.
        config: The transport's settings.
        clock: Where `now` comes from.
        log: What peers make it say.
        admit: Returns whether a newcomer from an address may begin a handshake.
        adopt: Takes a new connection that a peer opened.
    """

    def __init__(
        self,
        secret_key: SecretKey,
        instance: int,
        listeners: Sequence[socket.socket],
        config: TransportConfig,
        clock: Clock,
        log: PeerLog,
        *,
        admit: Callable[[SocketAddr], bool],
        adopt: Callable[[StreamEngine, MakeTlsPort], None],
    ) -> None:
        self._secret_key = secret_key
        self._instance = instance
        self._config = config
        self._clock = clock
        self._admit = admit
        self._adopt = adopt
        self._loop = asyncio.get_running_loop()
        self._listeners = [Listener(sock, self._accept, clock, log) for sock in listeners]

    async def connect(self, addr: SocketAddr) -> socket.socket:
        """Return a socket that is connected to an address.

        Raises:
            OSError: Nobody takes connections there.
        """
        sock = socket.socket(family_of(addr[0]), socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            if _TCP_SYNCNT is not None:
                sock.setsockopt(socket.IPPROTO_TCP, _TCP_SYNCNT, SYN_RETRIES_MAX)
            await self._loop.sock_connect(sock, addr)
            set_options(sock)
        except BaseException:
            sock.close()
            raise
        return sock

    def begin(
        self, sock: socket.socket, remote: SocketAddr, *, is_initiator: bool
    ) -> tuple[StreamEngine, MakeTlsPort]:
        """Return what speaks on a connected socket, and what makes the port that joins both."""
        from .port import TlsPort  # OpenSSL is loaded with the first connection
        from .session import TlsSession

        engine = make_engine(
            self._config, is_initiator=is_initiator, now=self._clock.monotonic(), remote=remote
        )
        session = TlsSession(self._context, is_initiator=is_initiator)

        def make_port(
            on_data: Callable[[float], None],
            on_room: Callable[[], None],
            on_closed: Callable[[StreamPort], None],
        ) -> StreamPort:
            return TlsPort(sock, session, engine, on_data, on_room, on_closed, self._clock)

        return engine, make_port

    def load(self) -> None:
        """Load OpenSSL now, and make what all sessions share."""
        assert self._context is not None

    @cached_property
    def _context(self) -> SSL.Context:
        from .session import make_context

        return make_context(self._secret_key, self._instance)

    def close(self) -> None:
        """Take no more connections."""
        for listener in self._listeners:
            listener.close()

    def _accept(self, sock: socket.socket, address: tuple[str, int]) -> None:
        remote = address[0], address[1]
        if not self._admit(remote):
            sock.close()
            return
        try:
            set_options(sock)
        except OSError:  # it is gone again
            sock.close()
            return
        self._adopt(*self.begin(sock, remote, is_initiator=False))


def listen_beside(host: str, port: int) -> socket.socket | None:
    """Return a socket that listens at the address of a datagram socket, None where it cannot."""
    family = family_of(host)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        # Connections of a former run that linger keep no successor out.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as exc:
        sock.close()
        logger.info("no TCP at %s port %d (%s): peers reach it by UDP", host, port, exc)
        return None
    return sock


def set_options(sock: socket.socket) -> None:
    """Let small bursts leave at once: what belongs together is written together."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
