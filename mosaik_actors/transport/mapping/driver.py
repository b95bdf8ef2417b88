"""Port mapping of an endpoint: a `mapper` and its socket, and UPnP where that gets no answer."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import copy_context
from math import inf
from random import Random
from typing import Final, Protocol

from ...clock import Clock
from ..address import SocketAddr, format_socket_addr, is_loopback
from ..config import GATEWAY_PORT, TransportConfig
from ..sockets import family_of
from . import codec
from .gateway import find_gateway
from .mapper import PortMapper
from .upnp import UpnpMapper

logger = logging.getLogger(__name__)

CLOSE_S: Final = 1.0
ANSWERS_AT_ONCE: Final = 16
GATEWAY_RETRY_S: Final = 10.0
SAID_MAX: Final = 32  # lines in the log, whatever a gateway answers

NO_GATEWAY: Final = (
    "there is no default route to be seen here: name the gateway with "
    'TransportConfig(port_gateway="192.168.1.1")'
)
NOTHING_TO_MAP: Final = (
    'nothing of this node can be mapped: it needs bind="0.0.0.0:0" or another IPv4 address '
    "that is not of the loopback interface, and QUIC or TCP among its carriers"
)


def start_mapping(
    config: TransportConfig,
    addrs: Iterable[SocketAddr],
    listening: Iterable[str],
    clock: Clock,
    rng: Random,
) -> PortMapping | None:
    """Return the mapping of an endpoint's port; None where it is of no use.

    Args:
        config: Its settings.
        addrs: Where it can be reached.
        listening: The carriers that it can be reached over there.
        clock: Where `now` comes from.
        rng: Where nonces are drawn from.
    """
    gateway = config.gateway
    may_be_local = gateway is not None and is_loopback(gateway[0])
    ports = [
        port
        for host, port in addrs
        if family_of(host) == socket.AF_INET and (may_be_local or not is_loopback(host))
    ]
    protocols = {"quic": codec.UDP, "tcp": codec.TCP}
    wanted = tuple(protocols[one] for one in protocols if one in listening)
    if not (ports and wanted):
        logger.warning("port mapping: %s", NOTHING_TO_MAP)
        return None

    def make_upnp(host: str, own_host: str) -> OtherMapper:
        return UpnpMapper(host, own_host, ports[0], wanted, rng)

    return PortMapping(ports[0], wanted, gateway, make_upnp, clock, rng)


class OtherMapper(Protocol):
    """Another protocol, for gateways that answer neither PCP nor NAT-PMP.

    Attributes:
        external: Where this node can be reached from outside; None where it cannot.
        error: Why there is no mapping; empty when there is one, or nothing is known yet.
    """

    external: SocketAddr | None
    error: str

    async def run(self) -> None:
        """Map, and renew, until cancelled."""

    async def release(self) -> None:
        """End the mappings."""


MakeOther = Callable[[str, str], OtherMapper]
"""Takes the gateway's host, and the address that this node has towards it."""


class PortMapping:
    """The mapping of one port. `close` it in the end.

    Args:
        port: The port, which has UDP and TCP.
        protocols: What is mapped of `codec.UDP` and `codec.TCP`, the most wanted one first.
        gateway: Where the gateway is asked; None to look for it.
        make_other: Returns what is tried when the gateway does not answer.
        clock: Where `now` comes from.
        rng: Where nonces are drawn from.
    """

    def __init__(
        self,
        port: int,
        protocols: tuple[int, ...],
        gateway: SocketAddr | None,
        make_other: MakeOther,
        clock: Clock,
        rng: Random,
    ) -> None:
        self._port = port
        self._protocols = protocols
        self._named = gateway
        self._make_other = make_other
        self._clock = clock
        self._rng = rng
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._socket: socket.socket | None = None
        self._mapper: PortMapper | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._other: OtherMapper | None = None
        self._task: asyncio.Task[None] | None = None
        self._error = ""
        self._said: dict[str, None] = {}
        self._is_closed = False
        self._begin()

    @property
    def external(self) -> SocketAddr | None:
        """Where this node can be reached from outside; None where it cannot."""
        if self._mapper is not None:
            found = self._mapper.external(now=self._clock.monotonic())
            if found is not None:
                return found
        return None if self._other is None else self._other.external

    @property
    def method(self) -> str:
        """By what the mapping is had; empty without one."""
        if self._other is not None and self._other.external is not None:
            return "UPnP"
        return "" if self._mapper is None or self.external is None else self._mapper.method

    @property
    def error(self) -> str:
        """Why there is no mapping; empty when there is one, or nothing is known yet."""
        if self.external is not None:
            return ""
        errors = [self._error, "" if self._mapper is None else self._mapper.error]
        errors.append("" if self._other is None else self._other.error)
        return "; ".join(filter(None, errors))

    @property
    def is_settled(self) -> bool:
        """Whether there is a mapping, or all that could be asked has said why there is none."""
        if self.external is not None or self._error:
            return True
        mapper, other = self._mapper, self._other
        if mapper is None or not mapper.error:
            return False
        return not mapper.is_silent or other is None or bool(other.error)

    def receive_move(self) -> None:
        """Take in that this machine has other addresses: ask whoever is the gateway by now."""
        if not self._is_closed:
            self._end()
            self._begin()

    async def close(self) -> None:
        """End the mappings. May be repeated."""
        if self._is_closed:
            return
        self._is_closed = True
        other = self._other
        if self._mapper is not None:
            self._send(self._mapper.release(now=self._clock.monotonic()))
        self._end()
        if other is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await other.release()

    def crash(self) -> None:
        """Vanish without a word."""
        self._is_closed = True
        self._end()

    # The socket.

    def _begin(self) -> None:
        host = self._named[0] if self._named else find_gateway()
        if host is None:
            self._error = NO_GATEWAY
            self._note()
            self._arm(self._clock.monotonic() + GATEWAY_RETRY_S)
            return
        gateway = self._named or (host, GATEWAY_PORT)
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.connect(gateway)  # the system drops what comes from anybody else
            own_host = str(sock.getsockname()[0])
        except OSError as exc:
            sock.close()
            self._error = f"cannot reach the gateway at {host}: {exc.strerror}"
            self._note()
            self._arm(self._clock.monotonic() + GATEWAY_RETRY_S)
            return
        self._error = ""
        self._socket = sock
        now = self._clock.monotonic()
        self._mapper = PortMapper(
            gateway, own_host, self._port, self._protocols, self._rng, now=now
        )
        self._loop.add_reader(sock, self._read)
        self._on_timer()

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            self._task.cancel()
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
        self._socket = self._mapper = self._other = self._task = None

    def _on_timer(self) -> None:
        self._timer = None
        if self._mapper is None:
            self._begin()
            return
        self._send(self._mapper.handle_timer(now=self._clock.monotonic()))
        self._follow_up()

    def _read(self) -> None:
        assert self._socket is not None, "what is read was opened"
        assert self._mapper is not None, "a socket has its mapper"
        for _ in range(ANSWERS_AT_ONCE):  # whatever comes, others have their turn
            now = self._clock.monotonic()
            try:
                data, source = self._socket.recvfrom(codec.ANSWER_BYTES_MAX + 1)
            except BlockingIOError:
                break
            except OSError:
                self._on_unreachable()
                return
            answers = self._mapper.receive_datagram(data, (source[0], source[1]), now=now)
            self._send(answers)
        self._follow_up()

    def _on_unreachable(self) -> None:
        """Go on after the gateway's machine said that nobody listens there."""
        if self._mapper is not None:
            self._send(self._mapper.receive_unreachable(now=self._clock.monotonic()))
            self._follow_up()

    def _send(self, requests: list[bytes]) -> None:
        if self._socket is None:
            return
        for data in requests:
            try:
                self._socket.send(data)
            except ConnectionRefusedError:
                self._loop.call_soon(self._on_unreachable, context=self._context)
            except OSError as exc:  # it is asked again later, as when a datagram is lost
                logger.debug("the gateway could not be asked for a mapping: %s", exc)

    def _follow_up(self) -> None:
        mapper = self._mapper
        assert mapper is not None, "there is a mapper while there is a timer or a socket"
        if mapper.is_silent and self._other is None:
            self._try_other()
        self._note()
        self._arm(mapper.get_timer())

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due < inf and not self._is_closed:
            self._timer = self._loop.call_at(due, self._on_timer, context=self._context)

    def _try_other(self) -> None:
        assert self._socket is not None, "what does not answer was asked"
        own_host = str(self._socket.getsockname()[0])
        gateway = self._socket.getpeername()
        if is_loopback(gateway[0]):
            return
        self._other = other = self._make_other(gateway[0], own_host)
        self._task = self._loop.create_task(
            other.run(), name="UPnP port mapping", context=self._context
        )

    def _note(self) -> None:
        """Say in the log what has changed."""
        external = self.external
        mapper = self._mapper
        said = self.error or (mapper.refused if mapper is not None else "")
        if external is not None:
            said = f"reached from outside at {format_socket_addr(external)}, by {self.method}"
        if said and said not in self._said and len(self._said) < SAID_MAX:
            self._said[said] = None
            level = logging.INFO if external is not None else logging.WARNING
            logger.log(level, "port mapping: %s", said)
