"""Port mapping by UPnP, for gateways that answer neither PCP nor NAT-PMP: many routers at home.

async-upnp-client (the extra ``upnp``) finds the gateway and calls its actions. What is fetched is
bounded in size and time, and comes from the gateway's own address alone: whoever else in the
network answers the search is not believed (`find_description`), and the library fetches nothing
from another host than the description's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ..address import SocketAddr, format_socket_addr
from . import codec
from .mapper import LIFETIME_S, why_not_external

if TYPE_CHECKING:
    from async_upnp_client.client import UpnpService

GATEWAY_TYPE: Final = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"
SEARCH_S: Final = 3
REQUEST_S: Final = 5.0
BODY_BYTES_MAX: Final = 256 * 1024
ALL_BYTES_MAX: Final = 1024 * 1024  # of what is fetched in a row: each service has a description
REQUEST_BYTES: Final = 8 * 1024  # what a request counts for beside its answer
PORTS_TRIED: Final = 4
RETRY_S: Final = 600.0
DESCRIPTION: Final = "mosaik-actors"
MISSING: Final = "UPnP needs the extra upnp: pip install 'mosaik-actors[upnp]'"

_CONFLICT: Final = 718  # of WANIPConnection:1, section 2.4.16
_ONLY_PERMANENT: Final = 725
_NAMES: Final = {codec.UDP: "UDP", codec.TCP: "TCP"}

Search = Callable[[str, str], Awaitable[str | None]]
Call = Callable[..., Awaitable[Mapping[str, Any]]]


class MappingRefused(Exception):
    """The gateway does not map; says why."""


class UpnpMapper:
    """The mappings of one port, by UPnP: an `OtherMapper`.

    Args:
        gateway: The gateway's host.
        own_host: The address that this node has towards it.
        port: The port that is to be reached from outside.
        protocols: For which of `codec.UDP` and `codec.TCP`, the most wanted one first.
        rng: Where ports outside are drawn from when the same one is taken.
        search: Returns where the gateway describes itself, None when it does not.
    """

    def __init__(
        self,
        gateway: str,
        own_host: str,
        port: int,
        protocols: tuple[int, ...],
        rng: Random,
        search: Search | None = None,
    ) -> None:
        self.external: SocketAddr | None = None
        self.error = ""
        self._gateway = gateway
        self._own_host = own_host
        self._port = port
        self._protocols = protocols
        self._rng = rng
        self._search = search or find_description
        self._url: str | None = None
        self._mapped: dict[int, int] = {}

    async def run(self) -> None:
        """Map, and renew, until cancelled."""
        while True:
            wait_s = RETRY_S
            try:
                await self._map()
                wait_s = LIFETIME_S / 2
            except ImportError:
                self.error = MISSING
                return
            except MappingRefused as refused:
                self._lose(str(refused))
            except Exception as exc:  # whatever the library makes of what the gateway says
                self._lose(f"{type(exc).__name__}: {exc}")
            await asyncio.sleep(wait_s)

    async def release(self) -> None:
        """End the mappings."""
        if self._url is None or not self._mapped:
            return
        mapped, self._mapped = self._mapped, {}
        self.external = None
        try:
            async with self._service(self._url) as service:
                for protocol, port in mapped.items():
                    await self._call(service, "DeletePortMapping", port, protocol)
        except Exception as exc:  # it ends by itself, or is replaced by the next one
            self._lose(f"{type(exc).__name__}: {exc}")

    def _lose(self, why: str) -> None:
        self.external = None
        self._mapped.clear()
        self._url = None
        self.error = f"UPnP at {self._gateway}: {why[:200]}"

    async def _map(self) -> None:
        import async_upnp_client  # noqa: F401

        self._url = self._url or await self._search(self._gateway, self._own_host)
        if self._url is None:
            raise MappingRefused("no answer")
        async with self._service(self._url) as service:
            answer = await service.action("GetExternalIPAddress").async_call()
            host = str(answer.get("NewExternalIPAddress") or "0.0.0.0")
            try:
                why = why_not_external((host, self._port))
            except ValueError:
                why = f"{host!r} is no address"
            if why:
                raise MappingRefused(why)
            first, *others = self._protocols
            port = await self._add_first(service, first)
            for protocol in others:
                try:
                    await self._add(service, protocol, port)
                except MappingRefused:
                    continue  # an address names one port for all
        self.error = ""
        self.external = (host, port)

    async def _add_first(self, service: UpnpService, protocol: int) -> int:
        port = self._mapped.get(protocol, self._port)
        for _ in range(PORTS_TRIED - 1):
            try:
                await self._add(service, protocol, port)
                return port
            except MappingRefused:
                port = self._rng.randrange(20_000, 60_000)
        await self._add(service, protocol, port)
        return port

    async def _add(self, service: UpnpService, protocol: int, port: int) -> None:
        """Map a port. Raises `MappingRefused` when somebody else has it."""
        from async_upnp_client.exceptions import UpnpActionError

        for lifetime_s in (LIFETIME_S, 0):
            try:
                await self._call(
                    service,
                    "AddPortMapping",
                    port,
                    protocol,
                    NewInternalPort=self._port,
                    NewInternalClient=self._own_host,
                    NewEnabled=True,
                    NewPortMappingDescription=DESCRIPTION,
                    NewLeaseDuration=lifetime_s,
                )
            except UpnpActionError as error:
                if error.error_code == _ONLY_PERMANENT and lifetime_s:
                    continue
                if error.error_code == _CONFLICT:
                    where = format_socket_addr((self._gateway, port))
                    raise MappingRefused(f"{where} is taken") from error
                raise
            self._mapped[protocol] = port
            return

    async def _call(
        self, service: UpnpService, name: str, port: int, protocol: int, **more: Any
    ) -> None:
        call: Call = service.action(name).async_call
        await call(NewRemoteHost="", NewExternalPort=port, NewProtocol=_NAMES[protocol], **more)

    @asynccontextmanager
    async def _service(self, url: str) -> AsyncIterator[UpnpService]:
        """Give the service of the gateway that maps ports."""
        import aiohttp
        from async_upnp_client.client import UpnpRequester
        from async_upnp_client.client_factory import UpnpFactory
        from async_upnp_client.const import HttpRequest, HttpResponse

        timeout = aiohttp.ClientTimeout(total=REQUEST_S)
        left = ALL_BYTES_MAX
        # What is unpacked on arrival has any size before it is counted.
        plain = {"Accept-Encoding": "identity"}
        async with aiohttp.ClientSession(
            timeout=timeout, headers=plain, auto_decompress=False
        ) as session:

            class Requester(UpnpRequester):
                async def async_http_request(self, http_request: HttpRequest) -> HttpResponse:
                    nonlocal left
                    left -= REQUEST_BYTES
                    async with session.request(
                        http_request.method,
                        http_request.url,
                        headers=http_request.headers,
                        data=http_request.body,
                        allow_redirects=False,
                    ) as response:
                        body = b""
                        async for piece in response.content.iter_any():
                            body += piece
                            left -= len(piece)
                            if left < 0:
                                text = f"all it says is more than {ALL_BYTES_MAX} bytes"
                                raise MappingRefused(text)
                            if len(body) > BODY_BYTES_MAX:
                                raise MappingRefused(f"it sends more than {BODY_BYTES_MAX} bytes")
                        text = body.decode("utf-8", "replace")
                        return HttpResponse(response.status, response.headers, text)

            device = await UpnpFactory(Requester(), non_strict=True).async_create_device(url)
            for service in device.all_services:
                if service.has_action("AddPortMapping") and service.has_action(
                    "GetExternalIPAddress"
                ):
                    yield service
                    return
            raise MappingRefused("it has no service that maps ports")


async def find_description(gateway: str, own_host: str) -> str | None:
    """Search for gateways (SSDP); return where that one describes itself, None when it does not."""
    from async_upnp_client.search import async_search

    found: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    async def take(headers: Mapping[str, Any]) -> None:
        if (url := own_url(headers, gateway)) and not found.done():
            found.set_result(url)

    async def search() -> str | None:
        await async_search(take, SEARCH_S, GATEWAY_TYPE, source=(own_host, 0))
        return None

    searching = asyncio.ensure_future(search())
    try:
        await asyncio.wait([found, searching], return_when=asyncio.FIRST_COMPLETED)
        return found.result() if found.done() else None
    finally:
        searching.cancel()
        await asyncio.wait([searching])


def own_url(headers: Mapping[str, Any], gateway: str) -> str | None:
    """Return where an answer to a search says that the gateway describes itself.

    None when the answer does not come from the gateway, or leads elsewhere.
    """
    source, url = headers.get("_remote_addr"), str(headers.get("location", ""))
    try:
        parts = urlsplit(url)
        is_own = parts.scheme == "http" and parts.hostname == gateway
    except ValueError:
        return None
    return url if is_own and source is not None and source[0] == gateway else None
