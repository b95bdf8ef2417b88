"""Port mapping by UPnP, with a gateway's HTTP server on loopback."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from random import Random

import pytest

from mosaik_actors.transport.mapping.codec import TCP, UDP
from mosaik_actors.transport.mapping.upnp import BODY_BYTES_MAX, UpnpMapper, own_url
from tests.waiting import until

aiohttp = pytest.importorskip("aiohttp", reason="the extra upnp is not installed")
pytest.importorskip("async_upnp_client", reason="the extra upnp is not installed")

from aiohttp import web  # noqa: E402

HOST, OWN, PORT, OUTSIDE = "127.0.0.1", "192.168.1.7", 4433, "203.0.113.7"
SERVICE = "urn:schemas-upnp-org:service:WANIPConnection:1"

DEVICE = f"""<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><device>
<deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType><UDN>uuid:1</UDN>
<friendlyName>gateway</friendlyName><manufacturer>m</manufacturer><modelName>m</modelName>
<serviceList><service><serviceType>{SERVICE}</serviceType><serviceId>urn:1</serviceId>
<SCPDURL>/scpd.xml</SCPDURL><controlURL>/control</controlURL><eventSubURL>/events</eventSubURL>
</service></serviceList></device></root>"""

MANY_SERVICES = re.sub(r"<service>.*</service>", lambda found: found[0] * 400, DEVICE, flags=re.S)

ARGUMENTS = {
    "GetExternalIPAddress": {"NewExternalIPAddress": "string"},
    "AddPortMapping": {
        "NewRemoteHost": "string",
        "NewExternalPort": "ui2",
        "NewProtocol": "string",
        "NewInternalPort": "ui2",
        "NewInternalClient": "string",
        "NewEnabled": "boolean",
        "NewPortMappingDescription": "string",
        "NewLeaseDuration": "ui4",
    },
    "DeletePortMapping": {
        "NewRemoteHost": "string",
        "NewExternalPort": "ui2",
        "NewProtocol": "string",
    },
}


def scpd() -> str:
    """Return the description of the service."""
    actions = ""
    variables: dict[str, str] = {}
    for name, arguments in ARGUMENTS.items():
        direction = "out" if name.startswith("Get") else "in"
        inner = "".join(
            f"<argument><name>{one}</name><direction>{direction}</direction>"
            f"<relatedStateVariable>{one[3:]}</relatedStateVariable></argument>"
            for one in arguments
        )
        actions += f"<action><name>{name}</name><argumentList>{inner}</argumentList></action>"
        variables |= {one[3:]: kind for one, kind in arguments.items()}
    table = "".join(
        f'<stateVariable sendEvents="no"><name>{name}</name><dataType>{kind}</dataType>'
        "</stateVariable>"
        for name, kind in variables.items()
    )
    return (
        '<?xml version="1.0"?><scpd xmlns="urn:schemas-upnp-org:service-1-0">'
        f"<actionList>{actions}</actionList><serviceStateTable>{table}</serviceStateTable></scpd>"
    )


def envelope(inner: str) -> str:
    return (
        '<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/">'
        f"<s:Body>{inner}</s:Body></s:Envelope>"
    )


@dataclass
class Router:
    """What answers; `fault` is the code that actions are refused with, by name."""

    outside: str = OUTSIDE
    device: str = DEVICE
    taken: set[int] = field(default_factory=set)
    only_permanent: bool = False
    is_packed: bool = False
    mapped: dict[str, dict[str, str]] = field(default_factory=dict)
    url: str = ""

    async def control(self, request: web.Request) -> web.Response:
        text = await request.text()
        name = request.headers["SOAPAction"].strip('"').partition("#")[2]
        arguments = dict(re.findall(r"<(New\w+)>([^<]*)</", text))
        key = arguments.get("NewProtocol", "") + arguments.get("NewExternalPort", "")
        if name == "AddPortMapping":
            if int(arguments["NewExternalPort"]) in self.taken:
                return self.fault(718)
            if self.only_permanent and arguments["NewLeaseDuration"] != "0":
                return self.fault(725)
            self.mapped[key] = arguments
        elif name == "DeletePortMapping":
            del self.mapped[key]
        said = "" if name != "GetExternalIPAddress" else self.outside
        inner = f"<NewExternalIPAddress>{said}</NewExternalIPAddress>" if said else ""
        answer = f'<u:{name}Response xmlns:u="{SERVICE}">{inner}</u:{name}Response>'
        return web.Response(text=envelope(answer), content_type="text/xml")

    async def describe(self, request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "identity"
        answer = web.Response(text=self.device, content_type="text/xml")
        if self.is_packed:
            answer.enable_compression(web.ContentCoding.gzip)
        return answer

    async def describe_service(self, _request: web.Request) -> web.Response:
        return web.Response(text=scpd(), content_type="text/xml")

    def fault(self, code: int) -> web.Response:
        inner = (
            "<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>"
            '<UPnPError xmlns="urn:schemas-upnp-org:control-1-0">'
            f"<errorCode>{code}</errorCode><errorDescription>no</errorDescription></UPnPError>"
            "</detail></s:Fault>"
        )
        return web.Response(text=envelope(inner), status=500, content_type="text/xml")

    async def search(self, _gateway: str, _own_host: str) -> str | None:
        return self.url or None


Serve = Callable[[Router], Awaitable[UpnpMapper]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Give ``serve(router)``, which returns a mapper that is running."""
    async with AsyncExitStack() as stack:

        async def start(router: Router) -> UpnpMapper:
            app = web.Application()
            app.router.add_get("/d.xml", router.describe)
            app.router.add_get("/scpd.xml", router.describe_service)
            app.router.add_post("/control", router.control)
            runner = web.AppRunner(app)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, HOST, 0)
            await site.start()
            router.url = f"http://{HOST}:{runner.addresses[0][1]}/d.xml"
            mapper = UpnpMapper(HOST, OWN, PORT, (UDP, TCP), Random(1), router.search)
            task = asyncio.create_task(mapper.run())
            stack.callback(task.cancel)
            return mapper

        yield start


async def test_both_protocols_are_mapped_and_given_back(serve: Serve) -> None:
    router = Router()
    mapper = await serve(router)
    await until(lambda: mapper.external == (OUTSIDE, PORT))
    assert sorted(router.mapped) == [f"TCP{PORT}", f"UDP{PORT}"]
    one = router.mapped[f"UDP{PORT}"]
    assert (one["NewInternalClient"], one["NewInternalPort"]) == (OWN, str(PORT))
    assert (one["NewLeaseDuration"], one["NewRemoteHost"]) == ("7200", "")
    await mapper.release()
    assert router.mapped == {}
    assert mapper.external is None


async def test_a_port_that_is_taken_and_leases_that_are_none_are_coped_with(serve: Serve) -> None:
    router = Router(taken={PORT}, only_permanent=True)
    mapper = await serve(router)
    await until(lambda: mapper.external is not None)
    assert mapper.external is not None
    assert mapper.external[1] >= 20_000
    assert {one["NewLeaseDuration"] for one in router.mapped.values()} == {"0"}
    assert len(router.mapped) == 2


@pytest.mark.parametrize(
    ("router", "why"),
    [
        (Router(outside="192.168.1.1"), "behind another NAT"),
        (Router(outside="nonsense"), "is no address"),
        (Router(device="<root/>"), "UPnP at"),
        (Router(device="nonsense"), "UPnP at"),
        (Router(device=f"<root>{' ' * BODY_BYTES_MAX}</root>"), "it sends more than"),
        (Router(device=MANY_SERVICES), "all it says is more than"),
        (Router(device="<root>" + " " * BODY_BYTES_MAX, is_packed=True), "not well-formed"),
        (Router(device=DEVICE.replace(">/control<", ">http://192.0.2.1/control<")), "no service"),
    ],
    ids=[
        "private",
        "no address",
        "no device",
        "no xml",
        "large",
        "services",
        "packed",
        "elsewhere",
    ],
)
async def test_what_is_of_no_use_is_refused_with_a_reason(
    serve: Serve, router: Router, why: str
) -> None:
    mapper = await serve(router)
    await until(lambda: bool(mapper.error))
    assert why in mapper.error
    assert mapper.external is None


async def test_a_gateway_that_does_not_answer_is_told() -> None:
    router = Router()
    mapper = UpnpMapper(HOST, OWN, PORT, (UDP,), Random(1), router.search)
    task = asyncio.create_task(mapper.run())
    await until(lambda: bool(mapper.error))
    assert mapper.error == "UPnP at 127.0.0.1: no answer"
    await mapper.release()
    task.cancel()


def test_only_the_gateway_says_where_it_describes_itself() -> None:
    good = {"_remote_addr": (HOST, 1900), "location": f"http://{HOST}:5000/d.xml"}
    assert own_url(good, HOST) == good["location"]
    for change in (
        {"_remote_addr": ("192.0.2.1", 1900)},
        {"location": "http://192.0.2.1/d.xml"},
        {"location": f"https://{HOST}/d.xml"},
        {"location": "http://[::1/"},
        {"location": ""},
    ):
        assert own_url(good | change, HOST) is None
    assert own_url({}, HOST) is None
