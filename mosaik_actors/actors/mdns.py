"""The mDNS actor: nodes of one local network find each other.

Receives: `StartMdns` first, `LeaveMdns` last; `_ServiceSeen` from its browser.
Sends: `PeersSighted` to the gossip actor; `MdnsLeft` in the end.
Owns: the `Sightings`, the multicast sockets, this node's service.
Failure: when there is no multicast the reason is logged once, and the node goes on
    without. What others say wrongly is skipped.

It speaks only on interfaces where the node hears: `choose_interfaces`. The package
`zeroconf` does the protocol (RFC 6762); it is optional, and loaded when asked for.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from thespian.actors import ActorAddress, ActorExitRequest

from ..discovery.mdns import (
    SERVICE_TYPE,
    SIGHTED_MAX,
    Sightings,
    choose_addrs,
    choose_interfaces,
    format_properties,
    join_hosts,
    make_service_name,
)
from ..discovery.messages import LeaveMdns, MdnsLeft, PeersSighted, StartMdns
from ..errors import ConfigError, DecodeError
from ..forking import keep_from_children
from ..node import Node
from ..runtime import TypeDispatcher

if TYPE_CHECKING:
    from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

logger = logging.getLogger(__name__)

_ANSWER_MS = 1000


@dataclass(frozen=True, slots=True)
class _ServiceSeen:
    name: str
    is_there: bool


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
        self._service: AsyncServiceInfo | None = None
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        self._waiting: dict[_ServiceSeen, None] = {}

    # Lifecycle.

    async def receiveMsg_StartMdns(self, message: StartMdns, _sender: ActorAddress) -> None:
        """Advertise, and look."""
        self._node = node = message.node
        self._gossip = message.gossip
        name = make_service_name(node.network_id, node.randomness.branch("mdns"))
        self._sightings = Sightings(node.network_id, name)
        from zeroconf import Error

        try:
            await self._open(name)
        except (OSError, Error) as error:
            logger.warning("no mDNS on this machine: %s", error)
            await self._close()

    async def receiveMsg_LeaveMdns(self, _message: LeaveMdns, sender: ActorAddress) -> None:
        """Say goodbye to the local network."""
        await self._close()
        self.send(sender, MdnsLeft())

    async def receiveMsg_ActorExitRequest(
        self, _message: ActorExitRequest, _sender: ActorAddress
    ) -> None:
        """Give the sockets back, if nobody asked for it before."""
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
        elif self._sightings.receive_name(message.name) and await self._read(message.name):
            self._tell()

    # Helpers.

    async def _open(self, name: str) -> None:
        from zeroconf import IPVersion
        from zeroconf.asyncio import (
            AsyncServiceBrowser,
            AsyncServiceInfo,
            AsyncZeroconf,
        )

        addr = self._node.endpoint.addr
        interfaces = choose_interfaces(addr)
        if not interfaces:
            raise OSError("the node has no IPv4 address to speak from")
        self._zeroconf = AsyncZeroconf(interfaces=interfaces, ip_version=IPVersion.V4Only)
        keep_from_children(self._zeroconf, _list_descriptors)
        addrs = choose_addrs(addr)
        self._service = AsyncServiceInfo(
            SERVICE_TYPE,
            name,
            port=addrs[0][1],
            properties=format_properties(self._node.network_id, addr),
            server=name.partition(".")[0] + ".local.",
            parsed_addresses=join_hosts(addrs),
        )
        # The name is random: there is no need to ask whether somebody has it.
        await self._zeroconf.async_register_service(self._service, cooperating_responders=True)
        self._browser = AsyncServiceBrowser(
            self._zeroconf.zeroconf, SERVICE_TYPE, handlers=[self._hear]
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
            logger.info("a service is skipped: %s", error)
            return False

    def _tell(self) -> None:
        self.send(self._gossip, PeersSighted("mdns", self._sightings.addrs))

    async def _close(self) -> None:
        zeroconf, self._zeroconf = self._zeroconf, None
        browser, self._browser = self._browser, None
        if browser is not None:
            await browser.async_cancel()
        if zeroconf is not None:
            await zeroconf.async_close()


def _list_descriptors(zeroconf: AsyncZeroconf) -> list[int]:
    """Return the sockets of a `zeroconf`, which it shows only one by one."""
    engine = zeroconf.zeroconf.engine
    return [one.sock.fileno() for one in (*engine.readers, *engine.senders)]
