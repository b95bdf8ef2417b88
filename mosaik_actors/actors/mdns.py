"""The mDNS actor: nodes of one local network find each other.

Receives: `StartMdns` first, `LeaveMdns` last; `_ServiceSeen` from its browser.
Sends: `PeersSighted` to the gossip actor; `MdnsLeft` in the end.
Owns: the `Sightings`, the multicast sockets, this node's services, which have new
    names every hour, and other addresses when it moves.
Failure: when there is no multicast the reason is logged once, and the node goes on
    without. What others say wrongly is skipped.

It speaks only on interfaces where the node hears: `choose_interfaces`. The package
`zeroconf` does the protocol (RFC 6762); it is optional, and loaded when asked for.
"""

from __future__ import annotations

import logging
import socket
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
from thespian.actors import ActorAddress, ActorExitRequest, WakeupMessage

from ..discovery.mdns import (
    HOUR_S,
    SERVICE_TYPE,
    SIGHTED_MAX,
    Seal,
    Sightings,
    choose_addrs,
    choose_interfaces,
    format_properties,
    join_hosts,
    make_service_name,
    own_seals,
)
from ..discovery.messages import LeaveMdns, MdnsLeft, PeersSighted, StartMdns
from ..errors import ConfigError, DecodeError
from ..forking import keep_from_children
from ..node import Node
from ..runtime import TypeDispatcher
from ..transport.address import PeerAddr

if TYPE_CHECKING:
    from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

logger = logging.getLogger(__name__)

_ANSWER_MS = 1000
_LOOK_S = 2.0  # between looks whether the node is elsewhere by now


class _ServiceSeen(msgspec.Struct, frozen=True):
    name: str
    is_there: bool


class _HourOver(msgspec.Struct, frozen=True):
    hour: int


class _AddrsLookDue(msgspec.Struct, frozen=True):
    pass


def require_zeroconf() -> None:
    """Raise ConfigError when the package for mDNS is not installed; says how to get it."""
    try:
        import zeroconf.asyncio  # noqa: F401
    except ImportError as exc:
        raise ConfigError(
            "mdns is True, and the package zeroconf is not installed: "
            "install mosaik-actors with its extra, as in 'mosaik-actors[mdns]'"
        ) from exc


class MdnsActor(TypeDispatcher):
    """Advertises this node, and looks for others."""

    def __init__(self) -> None:
        self._node: Node
        self._gossip: ActorAddress
        self._sightings: Sightings
        self._rng: Random
        self._services: dict[Seal, AsyncServiceInfo] = {}
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        self._waiting: dict[_ServiceSeen, None] = {}
        self._addr: PeerAddr | None = None  # what is advertised
        self._hour = 0
        self._has_left = False

    # Lifecycle.

    async def receiveMsg_StartMdns(self, message: StartMdns, _sender: ActorAddress) -> None:
        """Advertise, and look."""
        self._node = node = message.node
        self._gossip = message.gossip
        self._rng = node.randomness.branch("mdns")
        self._sightings = Sightings(node.endpoint.keys, node.peer_id)
        await self._try_open()
        if node.endpoint.may_move:
            self.wakeupAfter(_LOOK_S, _AddrsLookDue())

    async def receiveMsg_LeaveMdns(self, _message: LeaveMdns, sender: ActorAddress) -> None:
        """Say goodbye to the local network."""
        self._has_left = True
        await self._close()
        self.send(sender, MdnsLeft())

    async def receiveMsg_ActorExitRequest(
        self, _message: ActorExitRequest, _sender: ActorAddress
    ) -> None:
        """Give the sockets back, if nobody asked for it before."""
        self._has_left = True
        await self._close()

    # What is heard.

    async def receiveMsg__ServiceSeen(self, message: _ServiceSeen, _sender: ActorAddress) -> None:
        """Ask for what a service says; forget one that is gone."""
        self._waiting.pop(message, None)
        if self._zeroconf is None:
            return
        if not message.is_there:
            if self._sightings.receive_goodbye(message.name):
                self._tell()
        elif self._is_new(message.name) and await self._read(message.name):
            self._tell()

    # Timers.

    async def receiveMsg_WakeupMessage(self, message: WakeupMessage, _sender: ActorAddress) -> None:
        """Take new names when the hour is over; speak where the node is by now."""
        if self._zeroconf is not None and isinstance(message.payload, _HourOver):
            await self._rename(self._zeroconf)
        elif isinstance(message.payload, _AddrsLookDue) and not self._has_left:
            self.wakeupAfter(_LOOK_S, _AddrsLookDue())
            if self._addr != self._node.endpoint.addr:
                await self._close()
                await self._try_open()

    # Helpers.

    def _is_new(self, name: str) -> bool:
        if any(service.name == name for service in self._services.values()):
            return False
        return self._sightings.receive_name(name, now=self._read_clock())

    def _read_clock(self) -> float:
        return self._node.clock.wall()

    async def _try_open(self) -> None:
        from zeroconf import Error

        try:
            await self._open()
        except (OSError, Error) as error:
            logger.warning("no mDNS on this machine: %s", error)
            await self._close()

    async def _open(self) -> None:
        from zeroconf import IPVersion
        from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf

        addr = self._addr = self._node.endpoint.addr
        interfaces = [host for host in choose_interfaces(addr) if _is_own(host)]
        if not interfaces:
            raise OSError("the node has no IPv4 address to speak from")
        self._zeroconf = AsyncZeroconf(interfaces=interfaces, ip_version=IPVersion.V4Only)
        keep_from_children(self._zeroconf, _list_descriptors)
        await self._rename(self._zeroconf)
        self._browser = AsyncServiceBrowser(
            self._zeroconf.zeroconf, SERVICE_TYPE, handlers=[self._hear]
        )

    async def _rename(self, zeroconf: AsyncZeroconf) -> None:
        """Advertise this hour's services, then take those of the hour before back."""
        now = self._read_clock()
        seals = own_seals(self._node.endpoint.keys, now=now)
        former = [self._services[seal] for seal in self._services if seal not in seals]
        for seal in seals:
            if seal not in self._services:
                self._services[seal] = self._make_service(seal)
                # The name is random: there is no need to ask whether somebody has it.
                await zeroconf.async_register_service(
                    self._services[seal], cooperating_responders=True
                )
        self._services = {seal: self._services[seal] for seal in seals}
        for service in former:
            await (await zeroconf.async_unregister_service(service))
        hour = seals[0].hour
        if hour != self._hour:
            self._hour = hour
            self.wakeupAfter((hour + 1) * HOUR_S - now, _HourOver(hour))

    def _make_service(self, seal: Seal) -> AsyncServiceInfo:
        from zeroconf.asyncio import AsyncServiceInfo

        name = make_service_name(seal, self._rng)
        addr = self._node.endpoint.addr
        addrs = choose_addrs(addr)
        return AsyncServiceInfo(
            SERVICE_TYPE,
            name,
            port=addrs[0][1],
            properties=format_properties(seal, name, addr),
            server=name.partition(".")[0] + ".local.",
            parsed_addresses=join_hosts(addrs),
        )

    def _hear(self, *, name: str, state_change: Any, **_other: Any) -> None:
        seen = _ServiceSeen(name, state_change.name != "Removed")
        # What waits to be looked at is limited: beyond, news are lost, as packets are.
        if seen not in self._waiting and len(self._waiting) < SIGHTED_MAX:
            self._waiting[seen] = None
            self.send(self.myAddress, seen)

    async def _read(self, name: str) -> bool:
        from zeroconf.asyncio import AsyncServiceInfo

        assert self._zeroconf is not None
        info = AsyncServiceInfo(SERVICE_TYPE, name)
        try:
            if not await info.async_request(self._zeroconf.zeroconf, _ANSWER_MS):
                self._sightings.receive_goodbye(name)
                return False
            return self._sightings.receive_record(name, info.properties)
        except DecodeError as error:
            now = self._node.clock.monotonic()
            self._node.peer_log.info(logger, None, "a service is skipped: %s", error, now=now)
            return False

    def _tell(self) -> None:
        self.send(self._gossip, PeersSighted("mdns", self._sightings.addrs))

    async def _close(self) -> None:
        zeroconf, self._zeroconf = self._zeroconf, None
        browser, self._browser = self._browser, None
        self._services.clear()
        if browser is not None:
            await browser.async_cancel()
        if zeroconf is not None:
            await zeroconf.async_close()


def _is_own(host: str) -> bool:
    """Return whether this machine has an address itself, and not the gateway one mapped to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((host, 0))
        except OSError:
            return False
    return True


def _list_descriptors(zeroconf: AsyncZeroconf) -> list[int]:
    """Return the sockets of a `zeroconf`, which it shows only one by one."""
    engine = zeroconf.zeroconf.engine
    return [one.sock.fileno() for one in (*engine.readers, *engine.senders)]
