"""Ports: what datagrams leave and come in by; and UDP sockets as QUIC wants them.

A `DatagramPort` is all that the endpoint knows of sockets, so that a simulated
network can stand in for them. `UdpPort` is the real one: large buffers, no
fragments, clear errors.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import socket
import sys
from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from ..errors import TransportError
from ..forking import keep_from_children, keep_loop_from_children
from .address import RELAYED_FAMILY, SocketAddr, format_socket_addr, is_relayed

logger = logging.getLogger(__name__)

# From <netinet/in.h> of Linux; Python does not name them.
_IP_MTU_DISCOVER = 10
_IPV6_MTU_DISCOVER = 23
_PMTUDISC_PROBE = 3


def family_of(host: str) -> int:
    """Return the family of a numeric address, as `DatagramPort.family`."""
    if ":" not in host:
        return socket.AF_INET
    return RELAYED_FAMILY if is_relayed(host) else socket.AF_INET6


class DatagramPort(Protocol):
    """One address that datagrams are sent from and received at."""

    @property
    def family(self) -> int:
        """The address family that it can send to: of sockets, or `RELAYED_FAMILY`."""

    @property
    def addrs(self) -> list[SocketAddr]:
        """Where others can reach it."""

    @property
    def local_addrs(self) -> list[SocketAddr]:
        """Where others on the same machine can reach it."""

    def start(self, on_readable: Callable[[DatagramPort], None]) -> None:
        """Call `on_readable` from the event loop whenever there is something to `read`."""

    def read(self) -> tuple[bytes, SocketAddr] | None:
        """Return the next datagram and where it came from, None when there is none.

        Raises:
            OSError: Reading failed.
        """

    def send(self, data: bytes, remote: SocketAddr) -> None:
        """Send one datagram, or raise OSError when the system does not take it."""

    def close(self) -> None:
        """Stop; nothing is sent or received from now on."""


@runtime_checkable
class BatchingPort(Protocol):
    """A port that gives the system many datagrams at once."""

    def send_batch(self, datagrams: list[bytes], remote: SocketAddr) -> int:
        """Send datagrams in order until one is not taken; return how many were.

        Raises:
            OSError: Not even the first one was taken.
        """


def batch_sender(port: DatagramPort) -> Callable[[list[bytes], SocketAddr], int] | None:
    """Return `send_batch` of a port that is a `BatchingPort`, None where it is not.

    Asking for the protocol at run time takes longer than a datagram does.
    """
    return getattr(port, "send_batch", None)


@runtime_checkable
class MovingPort(Protocol):
    """A port whose addresses may change."""

    @property
    def family(self) -> int:
        """As `DatagramPort.family`."""

    @property
    def addrs(self) -> list[SocketAddr]:
        """Where others could reach it when somebody looked last."""

    @property
    def is_on_all_interfaces(self) -> bool:
        """Whether its addresses are those of the machine, which come and go."""

    def look_anew(self) -> bool:
        """Look where others can reach it by now; return whether that has changed."""


class UdpPort:
    """A bound UDP socket. Made by `bind_udp`."""

    def __init__(self, sock: socket.socket, loop: AbstractEventLoop) -> None:
        self.family: int = sock.family
        self.addrs = advertised_addrs(sock)
        self.local_addrs = local_addrs(sock) or self.addrs
        self._socket = sock
        self._loop = loop
        self._buffer = bytearray(65_536)
        self._view = memoryview(self._buffer)
        keep_from_children(sock, lambda one: [one.fileno()])
        keep_loop_from_children(loop)

    @property
    def is_on_all_interfaces(self) -> bool:
        """Whether its addresses are those of the machine, which come and go."""
        return bool(local_addrs(self._socket))

    def look_anew(self) -> bool:
        """Look where others can reach it by now; return whether that has changed."""
        before, self.addrs = self.addrs, advertised_addrs(self._socket)
        return set(before) != set(self.addrs)

    def start(self, on_readable: Callable[[DatagramPort], None]) -> None:
        """Call `on_readable` from the event loop whenever there is something to `read`."""
        self._loop.add_reader(self._socket, on_readable, self)

    def read(self) -> tuple[bytes, SocketAddr] | None:
        """Return the next datagram and where it came from, None when there is none."""
        try:
            size, remote = self._socket.recvfrom_into(self._view)
        except (BlockingIOError, InterruptedError):
            return None
        return bytes(self._view[:size]), (remote[0], remote[1])

    def send(self, data: bytes, remote: SocketAddr) -> None:
        """Send one datagram, or raise OSError when the system does not take it."""
        self._socket.sendto(data, remote)

    def close(self) -> None:
        """Close the socket."""
        self._loop.remove_reader(self._socket)
        self._socket.close()


def bind_udp(
    addr: SocketAddr,
    buffer_bytes: int,
    loop: AbstractEventLoop,
    make: Callable[[socket.socket, AbstractEventLoop], UdpPort] | None = None,
) -> UdpPort:
    """Return a port at a bound, non-blocking UDP socket.

    The kernel may give smaller buffers than asked for; then bursts are lost
    even on loopback, and this is logged with what to do.

    Args:
        addr: Where.
        buffer_bytes: What is asked of the kernel for each direction.
        loop: The event loop.
        make: What makes the port of the socket; `UdpPort` when None.

    Raises:
        TransportError: The address cannot be bound; says which and why.
    """
    host, port = addr
    try:
        family = family_of(host)
        ipaddress.ip_address(host.partition("%")[0])
        if not 0 <= port <= 65_535:
            raise ValueError(f"port is {port}, expected 0 to 65535")
        sock = socket.socket(family, socket.SOCK_DGRAM)
    except (ValueError, OSError) as exc:
        raise TransportError(
            f"cannot listen at {host!r}: {exc}; names are not looked up: give an IP address, "
            "127.0.0.1 for this machine only, 0.0.0.0 for all interfaces"
        ) from exc
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _forbid_fragments(sock, family)
        _set_buffers(sock, buffer_bytes)
        sock.bind((host, port))
    except OSError as exc:
        sock.close()
        raise TransportError(_explain_bind(addr, exc)) from exc
    except BaseException:
        sock.close()
        raise
    return (make or UdpPort)(sock, loop)


def advertised_addrs(sock: socket.socket) -> list[SocketAddr]:
    """Return where others can reach a socket: all interfaces when it is bound to all."""
    host, port = sock.getsockname()[:2]
    if not ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
        return [(host, port)]
    wanted = 4 if sock.family == socket.AF_INET else 6
    import ifaddr  # it loads ctypes, and most nodes are bound to one address

    found = []
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            text = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            address = ipaddress.ip_address(text.partition("%")[0])
            if address.version == wanted and not address.is_link_local:
                found.append(address)
    remote = [address for address in found if not address.is_loopback]
    return [(str(address), port) for address in remote or found]


def local_addrs(sock: socket.socket) -> list[SocketAddr]:
    """Return the loopback address of a socket that is bound to all interfaces, else nothing."""
    host, port = sock.getsockname()[:2]
    if not ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
        return []
    return [("127.0.0.1" if sock.family == socket.AF_INET else "::1", port)]


def explain_in_use(protocol: str, addr: SocketAddr) -> str:
    """Return what to say of a port that another process has."""
    return (
        f"{protocol} port {addr[1]} is in use at {format_socket_addr(addr)}: another node may be "
        "running there; bind another port, or port 0 for any free one"
    )


def _explain_bind(addr: SocketAddr, exc: OSError) -> str:
    where = format_socket_addr(addr)
    if exc.errno == errno.EADDRINUSE:
        return explain_in_use("UDP", addr)
    if exc.errno == errno.EACCES:
        return (
            f"not allowed to bind UDP port {addr[1]} at {where}: ports below 1024 need privileges"
        )
    return f"cannot listen at {where}: {exc.strerror or exc}"


def _forbid_fragments(sock: socket.socket, family: int) -> None:
    """Let no router or kernel cut our datagrams up (RFC 9000 section 14)."""
    if sys.platform != "linux":
        return
    if family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)


def _set_buffers(sock: socket.socket, buffer_bytes: int) -> None:
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, buffer_bytes)
    given = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    # Linux books twice what is asked for, to cover its own overhead (socket(7)).
    usable = given // 2 if sys.platform == "linux" else given
    if usable < buffer_bytes:
        logger.info(
            "the kernel gave a UDP receive buffer of %d bytes where %d were asked for; "
            "bursts may be lost. Raise net.core.rmem_max to at least %d",
            usable,
            buffer_bytes,
            buffer_bytes,
        )
