"""What every endpoint promises, on the in-memory network and on QUIC alike."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from mosaik_actors.ids import SecretKey
from mosaik_actors.transport.address import PeerAddr
from mosaik_actors.transport.close import CloseCode, CloseReason
from mosaik_actors.transport.config import TransportConfig
from mosaik_actors.transport.interface import (
    FRAME_BYTES_MAX,
    Endpoint,
    Link,
    LinkRefused,
    PeerConnected,
    PeerDisconnected,
)
from tests.waiting import until

from .endpoints import KINDS, Inbox, MakeEndpoint, Server, endpoint_maker


@pytest.fixture(params=KINDS)
async def make(request: pytest.FixtureRequest) -> AsyncIterator[MakeEndpoint]:
    async with endpoint_maker(request.param) as maker:
        yield maker


async def test_link_carries_header_reply_and_frames_both_ways(make: MakeEndpoint) -> None:
    a, b = await make("a"), await make("b")
    server = Server(b, "echo", reply=b"welcome")
    link = await a.open_link(b.addr, "echo", b"hello")
    here, there = Inbox(link), await server.inbox()
    assert (link.peer_id, link.reply, link.protocol) == (b.peer_id, b"welcome", "echo")
    assert (there.link.peer_id, there.link.header) == (a.peer_id, b"hello")
    link.write_many([b"one", b"", b"three"])
    there.link.write(b"back")
    assert await there.until_frames(3) == [b"one", b"", b"three"]
    assert await here.until_frames(1) == [b"back"]


async def test_frames_of_one_turn_arrive_as_one_batch(make: MakeEndpoint) -> None:
    a, b = await make("a"), await make("b")
    server = Server(b, "p")
    link = await a.open_link(b.addr, "p")
    for number in range(100):
        link.write(bytes([number]))
    inbox = await server.inbox()
    await inbox.until_frames(100)
    assert inbox.batches == [100]


async def test_what_is_written_right_before_a_flush_leaves_with_it(make: MakeEndpoint) -> None:
    a, b = await make("a"), await make("b")
    server = Server(b, "p")
    link = await a.open_link(b.addr, "p")
    inbox = await server.inbox()

    def write_last() -> None:
        link.write(b"last")
        link.call_before_flush(lambda: link.write(b"next"))

    # One that fails costs the others nothing, and what one asks for is for the next flush.
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("mosaik_actors").addHandler(handler)
    try:
        link.call_before_flush(lambda: [][0])
        link.call_before_flush(write_last)
        link.write(b"first")
        assert await inbox.until_frames(3) == [b"first", b"last", b"next"]
    finally:
        logging.getLogger("mosaik_actors").removeHandler(handler)
    assert inbox.batches[0] >= 2
    assert said == ["what a turn of the loop sends could not be written"]


async def test_many_frames_of_all_sizes_keep_their_order(make: MakeEndpoint) -> None:
    a, b = await make("a"), await make("b")
    server = Server(b, "p")
    link = await a.open_link(b.addr, "p")
    sent = [bytes([n % 256]) * (n * 997 % 70_000) for n in range(200)]
    link.write_many(sent)
    assert await (await server.inbox()).until_frames(200) == sent
    await until(lambda: not link.unsent_bytes)


async def test_largest_frame_arrives_and_a_larger_one_is_refused_here(make: MakeEndpoint) -> None:
    a, b = await make("a"), await make("b")
    server = Server(b, "p")
    link = await a.open_link(b.addr, "p")
    with pytest.raises(ValueError, match="at most"):
        link.write(bytes(FRAME_BYTES_MAX + 1))
    link.write(bytes(FRAME_BYTES_MAX))
    frames = await (await server.inbox()).until_frames(1)
    assert len(frames[0]) == FRAME_BYTES_MAX


async def test_close_reason_arrives_after_the_last_frame(make: MakeEndpoint) -> None:
    a, b = await make("a"), await make("b")
    server = Server(b, "p")
    link = await a.open_link(b.addr, "p")
    here = Inbox(link)
    link.write(b"last")
    link.close(CloseReason(10509, "full up"))
    link.close()
    link.write(b"dropped")
    there = await server.inbox()
    closed = await there.until_closed()
    assert there.frames == [b"last"]
    assert closed.reason == CloseReason(10509, "full up", remote=True)
    assert not there.link.is_open
    assert here.closed == []


async def test_unknown_protocol_is_refused(make: MakeEndpoint) -> None:
    a, b = await make("a"), await make("b")
    with pytest.raises(LinkRefused) as caught:
        await a.open_link(b.addr, "nobody")
    assert caught.value.reason.code == CloseCode.INVALID_PROTOCOL
    Server(b, "p")
    assert (await a.open_link(b.addr, "p")).is_open
    b.unserve("p")
    with pytest.raises(LinkRefused, match="nothing serves 'p' here"):
        await a.open_link(b.addr, "p")


async def test_different_network_is_refused_and_not_named(make: MakeEndpoint) -> None:
    a, b = await make("a"), await make("b", "other")
    Server(b, "p")
    with pytest.raises(LinkRefused) as caught:
        await a.open_link(b.addr, "p")
    assert caught.value.reason.code == CloseCode.DIFFERENT_NETWORK
    assert caught.value.reason.remote
    # Neither side learns the other's network, not even some digits of its id.
    assert "different network" in str(caught.value)
    assert caught.value.reason.text == "different network"


OLD, NEW = b"the old secret..", b"the new secret.."


async def test_peers_without_a_common_secret_do_not_meet(make: MakeEndpoint) -> None:
    pairs: list[tuple[tuple[bytes, ...], tuple[bytes, ...]]] = [
        ((OLD,), (NEW,)),
        ((), (NEW,)),
        ((OLD, NEW), ()),
    ]
    events: list[object] = []
    for number, (here, there) in enumerate(pairs):
        a = await make(f"a{number}", secrets=here)
        b = await make(f"b{number}", secrets=there)
        for endpoint in (a, b):
            Server(endpoint, "p")
            endpoint.on_connection_event(events.append)
        for one, other in ((a, b), (b, a)):
            with pytest.raises(LinkRefused) as caught:
                await one.open_link(other.addr, "p")
            assert caught.value.reason.code == CloseCode.DIFFERENT_NETWORK
            assert caught.value.reason.text == "different network"
        assert a.connected_peers() == b.connected_peers() == []
    assert events == []


async def test_peers_with_a_common_secret_meet(make: MakeEndpoint) -> None:
    old, new = await make("old", secrets=(OLD,)), await make("new", secrets=(NEW,))
    both = await make("both", secrets=(NEW, OLD))
    Server(both, "p")
    for endpoint in (old, new):
        Server(endpoint, "p")
        assert (await endpoint.open_link(both.addr, "p")).is_open
        assert (await both.open_link(endpoint.addr, "p")).is_open
    assert both.connected_peers() == [old.peer_id, new.peer_id]


async def test_acceptor_may_refuse_with_its_own_reason(make: MakeEndpoint) -> None:
    a, b = await make("a"), await make("b")
    b.serve("p", lambda link: link.close(CloseReason(CloseCode.STREAM_NOT_ALLOWED, "not you")))
    with pytest.raises(LinkRefused) as caught:
        await a.open_link(b.addr, "p")
    assert caught.value.reason == CloseReason(10403, "not you", remote=True)


async def test_open_times_out_when_nobody_answers(make: MakeEndpoint) -> None:
    a, b = await make("a"), await make("b")
    offered: list[Link] = []
    b.serve("p", offered.append)
    with pytest.raises(LinkRefused, match="within"):
        await a.open_link(b.addr, "p", timeout=0.2)
    inbox = Inbox(offered[0])
    assert (await inbox.until_closed()).reason.code == CloseCode.CANCELLED


async def test_cancelled_open_closes_the_half_open_link(make: MakeEndpoint) -> None:
    a, b = await make("a"), await make("b")
    came = asyncio.Event()
    offered: list[Link] = []

    def hold(link: Link) -> None:
        offered.append(link)
        came.set()

    b.serve("p", hold)
    opening = asyncio.create_task(a.open_link(b.addr, "p"))
    await came.wait()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert (await Inbox(offered[0]).until_closed()).reason.code == CloseCode.CANCELLED


async def test_events_wait_for_a_sink(make: MakeEndpoint) -> None:
    a, b = await make("a"), await make("b")
    accepted: asyncio.Future[Link] = asyncio.get_running_loop().create_future()

    def accept(link: Link) -> None:
        link.accept()
        accepted.set_result(link)

    b.serve("p", accept)
    link = await a.open_link(b.addr, "p")
    link.write(b"early")
    link.close()
    there = await accepted
    await until(lambda: not there.is_open)
    inbox = Inbox(there)
    assert inbox.frames == [b"early"]
    assert len(inbox.closed) == 1


async def test_connection_events_name_the_peer(make: MakeEndpoint) -> None:
    a, b = await make("a"), await make("b")
    Server(b, "p")
    seen: asyncio.Queue[PeerConnected | PeerDisconnected] = asyncio.Queue()
    b.on_connection_event(seen.put_nowait)
    link = await a.open_link(b.addr, "p")
    connected = await asyncio.wait_for(seen.get(), 10)
    assert isinstance(connected, PeerConnected)
    assert connected.peer_id == a.peer_id
    assert a.connected_peers() == [b.peer_id]
    assert a.rtt(b.peer_id) is not None
    inbox = Inbox(link)
    b.disconnect(a.peer_id, CloseReason(CloseCode.GRACEFUL_SHUTDOWN, "bye"))
    closed = await inbox.until_closed()
    assert closed.reason == CloseReason(204, "bye", remote=True)
    disconnected = await asyncio.wait_for(seen.get(), 10)
    assert isinstance(disconnected, PeerDisconnected)
    await until(lambda: not a.connected_peers())


async def test_disconnecting_a_peer_tells_the_owners_of_links_on_both_sides(
    make: MakeEndpoint,
) -> None:
    a, b = await make("a"), await make("b")
    server = Server(b, "p")
    here = Inbox(await a.open_link(b.addr, "p"))
    there = await server.inbox()
    a.disconnect(b.peer_id, CloseReason(CloseCode.UNEXPECTED_CLOSE, "enough"))
    assert (await here.until_closed()).reason == CloseReason(103, "enough")
    assert (await there.until_closed()).reason == CloseReason(103, "enough", remote=True)


async def test_closing_endpoint_delivers_what_was_written_and_says_why(make: MakeEndpoint) -> None:
    a, b = await make("a"), await make("b")
    server = Server(b, "p")
    link = await a.open_link(b.addr, "p")
    sent = [bytes(50_000) for _ in range(100)]
    link.write_many(sent)
    await a.close(CloseReason(CloseCode.GRACEFUL_SHUTDOWN, "done"))
    inbox = await server.inbox()
    closed = await inbox.until_closed()
    assert inbox.frames == sent
    assert closed.reason == CloseReason(204, "done", remote=True)
    with pytest.raises(LinkRefused):
        await a.open_link(b.addr, "p")
    await a.close(CloseReason(CloseCode.GRACEFUL_SHUTDOWN))


async def test_closing_endpoint_ends_its_own_pending_opens(make: MakeEndpoint) -> None:
    a, b = await make("a"), await make("b")
    offered: list[Link] = []
    b.serve("p", offered.append)
    opening = asyncio.create_task(a.open_link(b.addr, "p", timeout=30))
    await until(lambda: offered)
    await a.close(CloseReason(CloseCode.GRACEFUL_SHUTDOWN, "leaving"))
    with pytest.raises(LinkRefused, match="leaving"):
        await asyncio.wait_for(opening, 5)


async def test_congested_link_tells_when_there_is_room(make: MakeEndpoint) -> None:
    config = TransportConfig(high_water_bytes=100_000)
    a, b = await make("a", config=config), await make("b")
    server = Server(b, "p")
    link = await a.open_link(b.addr, "p")
    inbox = Inbox(link)
    link.write(bytes(300_000))
    assert link.unsent_bytes >= 300_000
    await inbox.until(lambda: inbox.drained_count > 0)
    assert link.unsent_bytes < 50_000
    assert inbox.drained_count == 1
    await (await server.inbox()).until_frames(1)


async def test_congested_link_tells_so_though_the_peer_says_nothing(make: MakeEndpoint) -> None:
    """What a socket takes at once is gone: there is nothing else that could say it."""
    config = TransportConfig(high_water_bytes=50_000, keep_alive_interval=600, idle_timeout=3600)
    a, b = await make("a", config=config), await make("b", config=config)
    server = Server(b, "p")
    link = await a.open_link(b.addr, "p")
    inbox = Inbox(link)
    for number in range(1, 4):
        link.write(bytes(90_000))
        await inbox.until(lambda count=number: inbox.drained_count == count)  # type: ignore[misc]
    await (await server.inbox()).until_frames(3)


async def test_many_links_share_one_connection(make: MakeEndpoint) -> None:
    a, b = await make("a"), await make("b")
    events: list[object] = []
    b.on_connection_event(events.append)
    server = Server(b, "p")
    links = await asyncio.gather(*(a.open_link(b.addr, "p") for _ in range(100)))
    for number, link in enumerate(links):
        link.write(bytes([number]))
    got = [(await (await server.inbox(n)).until_frames(1))[0] for n in range(100)]
    assert sorted(got) == [bytes([n]) for n in range(100)]
    assert len(events) == 1
    # Closed links make room for new ones: more in all than may stand at once.
    for link in links:
        link.close()
    more = await asyncio.gather(*(a.open_link(b.addr, "p") for _ in range(100)))
    assert all(link.is_open for link in more)


async def test_simultaneous_dials_settle_and_links_work_both_ways(make: MakeEndpoint) -> None:
    a, b = await make("a"), await make("b")
    at_a, at_b = Server(a, "p"), Server(b, "p")
    to_b, to_a = await asyncio.gather(a.open_link(b.addr, "p"), b.open_link(a.addr, "p"))
    to_b.write(b"to b")
    to_a.write(b"to a")
    assert await (await at_b.inbox()).until_frames(1) == [b"to b"]
    assert await (await at_a.inbox()).until_frames(1) == [b"to a"]
    assert a.connected_peers() == [b.peer_id]
    assert b.connected_peers() == [a.peer_id]


async def test_dialling_oneself_is_refused(make: MakeEndpoint) -> None:
    a = await make("a")
    with pytest.raises(LinkRefused, match="this peer itself"):
        await a.open_link(a.addr, "p")


async def test_peer_without_an_address_is_refused_at_once(make: MakeEndpoint) -> None:
    a = await make("a")
    stranger = PeerAddr(SecretKey.from_seed("a stranger").peer_id)
    if a.__class__.__name__ == "QuicEndpoint":
        with pytest.raises(LinkRefused, match="no address of peer"):
            await a.open_link(stranger, "p")


async def test_oversized_header_is_refused_here(make: MakeEndpoint) -> None:
    a, b = await make("a"), await make("b")
    with pytest.raises(ValueError, match="link header"):
        await a.open_link(b.addr, "p", bytes(100_000))


async def test_acceptor_may_take_smaller_frames_only(make: MakeEndpoint) -> None:
    a, b = await make("a"), await make("b")
    taken: list[Inbox] = []

    def accept(link: Link) -> None:
        taken.append(Inbox(link))
        link.accept(frame_bytes_max=100)

    b.serve("p", accept)
    inbox = Inbox(await a.open_link(b.addr, "p"))
    inbox.link.write(bytes(100))
    await taken[0].until_frames(1)
    taken[0].link.write(bytes(100_000))
    await inbox.until_frames(1)
    inbox.link.write(bytes(101))
    closed = await inbox.until_closed()
    assert (closed.reason.code, closed.reason.remote) == (CloseCode.PROTOCOL_VIOLATION, True)
    assert "a frame of 101 bytes, at most 100" in closed.reason.text
    assert len(taken[0].frames) == 1


# Who may be connected.


async def refused(one: Endpoint, other: Endpoint) -> CloseReason:
    """Return why `other` does not admit `one`."""
    with pytest.raises(LinkRefused) as caught:
        await one.open_link(other.addr, "p")
    return caught.value.reason


async def test_ban_ends_what_is_open_on_both_sides_and_lasts_until_allowed(
    make: MakeEndpoint,
) -> None:
    a, b = await make("a"), await make("b")
    server = Server(b, "p")
    Server(a, "p")
    here = Inbox(await a.open_link(b.addr, "p"))
    there = await server.inbox()
    b.ban(a.peer_id, why="spam")
    text = "this peer is banned: spam"
    assert (await there.until_closed()).reason == CloseReason(CloseCode.BANNED, text)
    closed = CloseReason(CloseCode.BANNED, text, remote=True)
    assert (await here.until_closed()).reason == closed
    # Who was banned is told so when it comes again, and who banned it does not dial it.
    assert await refused(a, b) == closed
    assert await refused(b, a) == CloseReason(CloseCode.BANNED, text)
    assert [(one.peer_id, one.gate) for one in b.standings()] == [(a.peer_id, "deny")]
    b.allow(a.peer_id)
    async with asyncio.timeout(30):
        while (refusal := await refusal_of(a, b)) is not None:
            assert refusal == closed  # a dial that was under way already
            await asyncio.sleep(0.02)
    assert b.connected_peers() == [a.peer_id]
    assert b.standings() == []


async def test_ban_for_a_time_ends_by_itself(make: MakeEndpoint) -> None:
    a, b = await make("a"), await make("b")
    Server(b, "p")
    b.ban(a.peer_id, for_s=0.2)
    assert (await refused(a, b)).code == CloseCode.BANNED
    began_s = asyncio.get_running_loop().time()
    async with asyncio.timeout(30):
        while (refusal := await refusal_of(a, b)) is not None:
            assert refusal.code == CloseCode.BANNED
            await asyncio.sleep(0.02)
    assert asyncio.get_running_loop().time() - began_s < 10  # not longer for being asked


async def test_only_those_on_the_list_are_admitted(make: MakeEndpoint) -> None:
    a, b, c = await make("a"), await make("b"), await make("c")
    for endpoint in (a, b, c):
        Server(endpoint, "p")
    b.gate.set_lists([a.peer_id], ())
    assert (await a.open_link(b.addr, "p")).is_open
    reason = await refused(c, b)
    assert (reason.code, reason.remote) == (CloseCode.NOT_ALLOWED, True)
    assert (await refused(b, c)).code == CloseCode.NOT_ALLOWED
    assert b.connected_peers() == [a.peer_id]
    assert c.connected_peers() == []
    b.allow(c.peer_id)
    assert (await c.open_link(b.addr, "p")).is_open


async def refusal_of(a: Endpoint, b: Endpoint) -> CloseReason | None:
    """Return why a peer takes no link, None when it does."""
    try:
        assert (await a.open_link(b.addr, "p")).is_open
    except LinkRefused as error:
        return error.reason
    return None


async def test_who_breaks_rules_again_and_again_is_refused_for_a_time(make: MakeEndpoint) -> None:
    config = TransportConfig(faults_max=3, refusal_min=0.5)
    a, b = await make("a"), await make("b", config=config)
    server = Server(b, "p")
    for number in range(3):
        link = await a.open_link(b.addr, "p")
        inbox = await server.inbox(number)
        # Found by whoever owns the link.
        inbox.link.close(CloseReason(CloseCode.PROTOCOL_VIOLATION, "no such thing"))
        await Inbox(link).until_closed()
    await until(lambda: not b.connected_peers())
    reason = await refused(a, b)
    assert (reason.code, reason.remote) == (CloseCode.BROKE_RULES, True)
    [standing] = b.standings()
    assert (standing.gate, standing.fault_count) == ("conduct", 3)
    began_s = asyncio.get_running_loop().time()
    async with asyncio.timeout(30):
        while (refusal := await refusal_of(a, b)) is not None:
            assert refusal.code in (CloseCode.BANNED, CloseCode.BROKE_RULES)
            await asyncio.sleep(0.02)
    assert asyncio.get_running_loop().time() - began_s < 10  # not longer for being asked
    a.note_fault(b.peer_id, "found elsewhere")
    assert [one.fault_count for one in a.standings()] == [1]
