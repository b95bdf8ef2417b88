"""The port by which datagrams go to, and come from, peers behind relays.

To the endpoint it is a port as any other, with a family and addresses of its own (`paths`).
Whatever holds for connections over UDP holds for these: who may have one, who is banned, and
how much strangers may get. What does not fit is dropped, as on any path.

Where there is a direct way to a peer by now (`transport.paths`), datagrams take that, and the
endpoint need not know.
"""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from typing import Final

from ...errors import DecodeError
from ...ids import PeerId
from ..address import RELAYED_FAMILY, PeerAddr, SocketAddr
from ..interface import Link
from ..paths.driver import DirectPaths
from ..sockets import DatagramPort, batch_sender
from .config import RelayConfig
from .frames import HEAD_BYTES, PEER_BYTES, RELAY_ITSELF, encode_frames, read_sizes, split_datagrams
from .paths import relayed_addr, relayed_peer

INBOX_BYTES_MAX: Final = 4 * 1024 * 1024

_NO_ROOM: Final = (errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS)


class RelayPort:
    """A `DatagramPort` over the links to some relays.

    Args:
        config: The settings; the relays are numbered from 1 in its order.
        on_move: Called when the addresses of this machine have changed.

    Attributes:
        dropped_count: Datagrams that came and found no room.
    """

    family: int = RELAYED_FAMILY

    def __init__(self, config: RelayConfig, on_move: Callable[[], object]) -> None:
        self.addrs: list[SocketAddr] = []
        self.local_addrs: list[SocketAddr] = []
        self.dropped_count = 0
        self.on_move = on_move
        self._config = config
        self._links: dict[int, Link] = {}
        self._direct: DirectPaths | None = None
        self._inbox: deque[tuple[list[bytes], SocketAddr]] = deque()  # frame by frame
        self._inbox_bytes = 0
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._on_readable: Callable[[DatagramPort], None] | None = None
        self._is_woken = False
        self._is_closed = False

    @property
    def linked(self) -> list[int]:
        """The numbers of the relays that can be used now."""
        return list(self._links)

    def set_link(self, number: int, link: Link | None) -> None:
        """Use a link to the relay of that number, or none."""
        if link is None:
            self._links.pop(number, None)
        else:
            self._links[number] = link
        self._tell_direct(number, link)

    def use_direct(self, direct: DirectPaths) -> None:
        """Send past the relays where there is a direct way."""
        self._direct = direct
        for number, link in self._links.items():
            self._tell_direct(number, link)

    def _tell_direct(self, number: int, link: Link | None) -> None:
        if self._direct is None:
            return

        def write(request: bytes) -> None:
            if link is not None:
                link.write(RELAY_ITSELF + request)

        relay = self._config.relays[number - 1]
        self._direct.receive_relay(number, relay, None if link is None else write)

    def addrs_of(self, to: PeerAddr) -> list[SocketAddr]:
        """Return where to dial a peer, the relay that it names first. Any may have it."""
        peer = bytes(to.peer_id)
        names = {number: str(self._config.relays[number - 1]) for number in self._links}
        found = sorted(names, key=lambda number: names[number] != to.relay)
        return [relayed_addr(peer, number) for number in found]

    def all_addrs_of(self, peer_id: PeerId) -> list[SocketAddr]:
        """Return where a peer is behind any of the relays, whether they can be used now or not."""
        peer = bytes(peer_id)
        return [relayed_addr(peer, number + 1) for number in range(len(self._config.relays))]

    def receive(self, number: int, frames: list[bytes]) -> None:
        """Take in what a relay sent. Whoever sends what is no datagram is ignored."""
        ways = {} if self._direct is None else self._direct.ways
        for frame in frames:
            try:
                size, count = read_sizes(frame)
            except DecodeError:
                self.dropped_count += 1
                continue
            if self._inbox_bytes + len(frame) > INBOX_BYTES_MAX:
                self.dropped_count += count
                continue
            source = relayed_addr(frame[:PEER_BYTES], number)
            datagrams = split_datagrams(frame, size)
            self._inbox.append((datagrams, source))
            self._inbox_bytes += len(frame)
            way = ways.get(source[0])
            if (
                way is not None
                and not way.selector.is_doubted
                and any(not datagram[0] & 0x80 for datagram in datagrams)
            ):
                way.selector.is_doubted = True
                way.on_doubted()
        self._wake()

    def start(self, on_readable: Callable[[DatagramPort], None]) -> None:
        """Call `on_readable` from the event loop whenever there is something to `read`."""
        self._on_readable = on_readable
        self._wake()

    def read(self) -> tuple[bytes, SocketAddr] | None:
        """Return the next datagram and where it came from, None when there is none."""
        if not self._inbox:
            return None
        datagrams, source = self._inbox[0]
        if len(datagrams) == 1:
            self.read_batch()
        else:
            self._inbox_bytes -= len(datagrams[0])
        return datagrams.pop(0), source

    def read_batch(self) -> tuple[list[bytes], SocketAddr] | None:
        """Return some datagrams that came from one place together, None when there are none."""
        if not self._inbox:
            return None
        datagrams, source = self._inbox.popleft()
        self._inbox_bytes -= HEAD_BYTES + sum(map(len, datagrams))
        return datagrams, source

    def send(self, data: bytes, remote: SocketAddr) -> None:
        """Send a datagram, or raise OSError when there is no relay, or it is slow."""
        if not self._send_direct([data], remote):
            self._send_relayed([data], remote)

    def send_batch(self, datagrams: list[bytes], remote: SocketAddr) -> int:
        """Send datagrams in order until one is not taken; return how many were.

        Raises:
            OSError: Not even the first one was taken.
        """
        sent = self._send_direct(datagrams, remote)
        if not sent:
            self._send_relayed(datagrams, remote)
        return sent or len(datagrams)

    def _send_direct(self, datagrams: list[bytes], remote: SocketAddr) -> int:
        """Send datagrams past the relay; return how many went, 0 when they cannot go there.

        Handshakes never do: the peer may be a new one by now, that knows of no direct way.

        Raises:
            OSError: The socket is full, and not even the first one was taken.
        """
        way = None if self._direct is None else self._direct.ways.get(remote[0])
        if (
            way is None
            or datagrams[0][0] & 0x80
            or max(map(len, datagrams)) > way.selector.direct_bytes
        ):
            return 0
        if not way.selector.is_used:
            way.selector.is_used = True
            way.on_used()
        sent = 0
        try:
            send_batch = batch_sender(way.port) if len(datagrams) > 1 else None
            if send_batch is not None:
                return send_batch(datagrams, way.remote)
            for data in datagrams:
                way.port.send(data, way.remote)
                sent += 1
        except OSError as exc:
            if exc.errno not in _NO_ROOM:
                way.on_failed()  # its interface is gone, or what else the kernel knows of it
            elif not sent:
                raise
        return sent

    def _send_relayed(self, datagrams: list[bytes], remote: SocketAddr) -> None:
        link = self._links.get(remote[1])
        if link is None or link.unsent_bytes > self._config.queue_bytes_max:
            raise OSError(errno.ENOBUFS, "the relay takes nothing now")
        link.write_many(encode_frames(bytes(relayed_peer(remote[0])), datagrams))

    def close(self) -> None:
        """Stop; nothing is sent or received from now on."""
        self._is_closed = True
        self._links.clear()
        self._inbox.clear()
        self._inbox_bytes = 0

    def _wake(self) -> None:
        if self._inbox and not self._is_woken and self._on_readable is not None:
            self._is_woken = True
            self._loop.call_soon(self._read_all, context=self._context)

    def _read_all(self) -> None:
        self._is_woken = False
        if self._is_closed or self._on_readable is None:
            return
        self._on_readable(self)
        self._wake()
