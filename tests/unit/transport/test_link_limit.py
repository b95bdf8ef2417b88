"""How many links a connection carries: at both ends, of both kinds of endpoint."""

import asyncio

import pytest

from mosaik_actors.errors import ConfigError
from mosaik_actors.transport.close import CloseCode
from mosaik_actors.transport.config import TransportConfig
from mosaik_actors.transport.interface import LINKS_RESERVED, Endpoint, Link, LinkRefused
from mosaik_actors.transport.link_limit import why_too_many

from .endpoints import KINDS, MakeEndpoint, Server, endpoint_maker

SMALL = TransportConfig(links_max=2 * LINKS_RESERVED)
LARGE = TransportConfig(links_max=4 * LINKS_RESERVED)
both_kinds = pytest.mark.parametrize("kind", KINDS)


async def make_pair(
    make: MakeEndpoint, opener: TransportConfig, acceptor: TransportConfig
) -> tuple[Endpoint, Endpoint]:
    a, b = await make("a", config=opener), await make("b", config=acceptor)
    Server(b, "stream")
    essential = Server(b, "group")
    b.serve("group", essential._accept, is_essential=True)
    return a, b


async def open_links(a: Endpoint, b: Endpoint, count: int) -> list[Link]:
    return await asyncio.gather(*(a.open_link(b.addr, "stream") for _ in range(count)))


@both_kinds
@pytest.mark.parametrize(("opener", "acceptor"), [(SMALL, LARGE), (LARGE, SMALL)])
async def test_link_beyond_the_limit_is_refused_and_bonds_have_room(
    kind: str, opener: TransportConfig, acceptor: TransportConfig
) -> None:
    """The smaller limit of both sides counts, and names itself."""
    async with endpoint_maker(kind) as make:
        a, b = await make_pair(make, opener, acceptor)
        links = await open_links(a, b, LINKS_RESERVED)
        with pytest.raises(LinkRefused) as refused:
            await a.open_link(b.addr, "stream")
        assert refused.value.reason.code == CloseCode.TOO_MANY_LINKS
        assert refused.value.reason.remote == (acceptor is SMALL)
        assert "128 links are open, at most 256 (links_max)" in str(refused.value)
        # An essential protocol has the rest of the room,
        for _ in range(LINKS_RESERVED):
            await a.open_link(b.addr, "group", is_essential=True)
        with pytest.raises(LinkRefused, match="256 links are open, at most 256"):
            await a.open_link(b.addr, "group", is_essential=True)
        # the other direction has its own,
        Server(a, "stream")
        assert (await b.open_link(a.addr, "stream")).is_open
        # and links that end make room for others, as soon as both sides know of it.
        for link in links:
            link.close()
        await until_open(a, b, "group")


async def until_open(a: Endpoint, b: Endpoint, protocol: str) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await a.open_link(b.addr, protocol, is_essential=True)
                return
            except LinkRefused as refused:
                if refused.reason.code != CloseCode.TOO_MANY_LINKS:
                    raise
                await asyncio.sleep(0.001)


@both_kinds
async def test_links_that_end_make_room_again_and_again(kind: str) -> None:
    """More links than QUIC allows at first, and than may be open at a time, one after the other."""
    async with endpoint_maker(kind) as make:
        a, b = await make_pair(make, SMALL, SMALL)
        for _ in range(10):
            for link in await open_links(a, b, LINKS_RESERVED // 2):
                link.close()


async def test_a_thousand_links_are_opened_at_once() -> None:
    """QUIC allows 128 at first; the allowance rises with the links that are taken."""
    async with endpoint_maker("quic") as make:
        a, b = await make_pair(make, TransportConfig(), TransportConfig())
        links = await open_links(a, b, 1000)
        assert all(link.is_open for link in links)


def test_reserve_is_for_essential_links() -> None:
    assert why_too_many(127, 256, is_essential=False) is None
    assert why_too_many(128, 256, is_essential=False) is not None
    assert why_too_many(255, 256, is_essential=True) is None
    assert why_too_many(256, 256, is_essential=True) is not None


def test_limit_leaves_room_beside_the_reserve() -> None:
    with pytest.raises(ConfigError, match="links_max is 255"):
        TransportConfig(links_max=255)
