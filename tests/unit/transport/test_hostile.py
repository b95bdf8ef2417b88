"""What outsiders may send: each case costs them their link or connection, and nobody else."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from random import Random
from typing import ClassVar, cast

import pytest
from aioquic.quic.events import ProtocolNegotiated, QuicEvent, StreamDataReceived
from aioquic.tls import AlertDescription
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import Certificate, CertificateBuilder

from mosaik_actors.clock import LoopClock
from mosaik_actors.ids import SecretKey
from mosaik_actors.transport.address import PeerAddr, SocketAddr
from mosaik_actors.transport.close import CloseCode, CloseReason
from mosaik_actors.transport.config import UNDELIVERED_BYTES_MAX, TransportConfig
from mosaik_actors.transport.connection.connection import Connection
from mosaik_actors.transport.endpoint import QuicEndpoint
from mosaik_actors.transport.frames import AcceptFrame, encode_word
from mosaik_actors.transport.identity import make_certificate
from mosaik_actors.transport.interface import LinkRefused
from mosaik_actors.transport.quic.bounded import WINDOW_BYTES_MIN
from mosaik_actors.transport.quic.engine import Engine
from tests.waiting import until

from .endpoints import Inbox, Server, endpoint_maker, quic_connections
from .hostile_scene import Scene, scene, stranger
from .raw import (
    MALLORY,
    Ended,
    OddCertificate,
    RawPeer,
    Stranger,
    configuration,
    forged_certificate,
    open_bytes,
    raw_client,
    raw_server,
)


@pytest.fixture(params=["quic", "native"])
async def attacked(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    async with scene(kind=request.param) as it:
        yield it


@pytest.fixture
async def mallory(attacked: Scene) -> AsyncIterator[RawPeer]:
    async with raw_client(attacked.addr) as client:
        await client.wait_connected()
        yield client


async def test_garbage_datagrams_are_counted_and_dropped(attacked: Scene) -> None:
    rng = Random(1)
    garbage = [
        b"",
        b"\0",
        b"\x40",
        b"\x80",
        b"\xc0",
        b"\xff" * 1500,
        *map(rng.randbytes, range(1, 1400, 7)),
    ]
    before = attacked.victim.counters.datagrams_received
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for datagram in garbage:
            sock.sendto(datagram, attacked.addr)
    counters = attacked.victim.counters
    await until(lambda: counters.datagrams_received >= before + len(garbage))
    assert counters.datagrams_refused >= len(garbage) * 0.9
    assert attacked.victim.connection_count <= 1 + len(garbage) // 50


async def test_datagrams_of_a_connection_from_elsewhere_change_nothing(attacked: Scene) -> None:
    """Bytes that look like the honest connection's, from a stranger without its keys."""
    [cid, *_] = [cid for cid in attacked.victim._connections.datagrams._by_cid if len(cid) == 8]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for size in range(20, 1200, 50):
            sock.sendto(b"\x40" + cid + Random(size).randbytes(size), attacked.addr)
    await attacked.check_undisturbed()


async def test_one_way_streams_are_ignored(attacked: Scene, mallory: RawPeer) -> None:
    one_way = mallory._quic.get_next_available_stream_id(is_unidirectional=True)
    mallory.send(open_bytes(), stream_id=one_way)
    good = mallory.send(open_bytes())
    await until(lambda: mallory.frames.get(good) == [AcceptFrame(b"")])
    assert attacked.victim.counters.links_accepted == 2


async def test_far_ahead_bytes_do_not_move_the_limits(attacked: Scene, mallory: RawPeer) -> None:
    """One byte at the edge of the window, again and again: what is held stays bounded."""
    stream_id = mallory.send(open_bytes())
    await attacked.server.inbox(1)
    stream = mallory._quic._streams[stream_id]
    [connection] = [c for c in quic_connections(attacked.victim) if c.peer_id == MALLORY.peer_id]
    # Native engines have a window that is one for good: there is nothing to try again.
    for _ in range(5 if isinstance(connection.quic, Engine) else 1):
        before = attacked.victim.counters.datagrams_received
        limit = min(stream.max_stream_data_remote, mallory._quic._remote_max_data)
        stream.sender._buffer_start = stream.sender._buffer_stop = limit - 2
        mallory.send(b"x", stream_id=stream_id)
        await until(lambda before=before: attacked.victim.counters.datagrams_received > before)  # type: ignore[misc]
        await attacked.check_undisturbed()
    if isinstance(connection.quic, Engine):
        held = connection.quic._quic._streams[stream_id].receiver._buffer
        assert len(held) <= WINDOW_BYTES_MIN
        assert stream.max_stream_data_remote <= 2 * WINDOW_BYTES_MIN
    else:
        # Its window is one for good, and so is the edge: nothing moves it but what is delivered.
        assert stream.max_stream_data_remote == UNDELIVERED_BYTES_MAX


async def test_refusal_to_hear_more_closes_the_link(attacked: Scene, mallory: RawPeer) -> None:
    stream_id = mallory.send(open_bytes())
    inbox = await attacked.server.inbox(1)
    await until(lambda: mallory.frames.get(stream_id))
    mallory._quic.stop_stream(stream_id, 4243)
    mallory.transmit()
    assert (await inbox.until_closed()).reason.code == 4243
    assert not inbox.link.is_open


async def test_strangers_hold_handshakes_and_no_connections() -> None:
    """With a secret or without, who proves nothing is among those who make way first."""
    config = TransportConfig(handshakes_max=2, known_reserve=0)
    async with scene(config) as attacked, AsyncExitStack() as stack:
        for _ in range(6):
            await stack.enter_async_context(stranger(attacked))
        assert attacked.victim.counters.handshakes_evicted == 4
        assert attacked.victim.counters.connections_evicted == 0


class Liar(RawPeer):
    """A server that says that it is of every network: it sends back what it was sent."""

    heard: ClassVar[list[tuple[int, bytes]]] = []

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived):
            self.heard.append((event.stream_id, event.data))
            self._quic.send_stream_data(event.stream_id, event.data, end_stream=True)


async def test_dialled_stranger_gets_a_proof_that_is_of_no_use_and_nothing_else() -> None:
    Liar.heard.clear()
    async with (
        endpoint_maker("quic") as make,
        raw_server(configuration(is_client=False), Liar) as addr,
    ):
        alice = cast(QuicEndpoint, await make("alice", secrets=(b"sixteen bytes ok",)))
        with pytest.raises(LinkRefused, match="different network") as caught:
            await alice.open_link(PeerAddr(MALLORY.peer_id, (addr,)), "p", b"confidential")
        assert not caught.value.reason.remote
        assert alice.connected_peers() == []
    [(stream_id, proof)] = Liar.heard
    assert (stream_id, len(proof)) == (0, 33)
    assert bytes(alice.network_id) not in proof


class Hasty(RawPeer):
    """An honest acceptor whose first link is quicker than its proof."""

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived) and event.stream_id == 0:
            self.send(open_bytes(header=b"early"))
            proving = self.admission(dialler=SecretKey.from_seed("alice").peer_id)
            answer = proving.receive_data(event.data, is_end=True)
            assert answer
            asyncio.get_running_loop().call_later(0.05, partial(self.send, answer, 0, is_end=True))
        else:
            super().quic_event_received(event)


async def test_link_that_was_quicker_than_the_proof_is_served_after_it() -> None:
    async with (
        endpoint_maker("quic") as make,
        raw_server(configuration(is_client=False), Hasty) as addr,
    ):
        alice = cast(QuicEndpoint, await make("alice"))
        server = Server(alice, "p")
        opening = asyncio.create_task(
            alice.open_link(PeerAddr(MALLORY.peer_id, (addr,)), "q", timeout=0.5)
        )
        inbox = await server.inbox()
        assert inbox.link.header == b"early"
        assert alice.connected_peers() == [MALLORY.peer_id]
        with pytest.raises(LinkRefused, match="within"):
            await opening  # Mallory serves nothing


# Identities.


async def test_anonymous_client_with_early_data_disturbs_nobody(attacked: Scene) -> None:
    async with raw_client(attacked.addr, configuration(is_anonymous=True)) as client:
        client._quic.send_stream_data(0, open_bytes())
        client.transmit()
        ended = await client.end()
    assert ended.error_code == CloseCode.UNKNOWN_PEER
    assert attacked.victim.counters.links_accepted == 1


class PushyServer(RawPeer):
    """Opens a link in the same flight in which it proves who it is."""

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ProtocolNegotiated):
            self._quic.send_stream_data(1, open_bytes())
        super().quic_event_received(event)


async def test_link_of_a_refused_peer_never_reaches_its_protocol() -> None:
    async with (
        endpoint_maker("quic") as make,
        raw_server(configuration(is_client=False), PushyServer) as addr,
    ):
        alice = cast(QuicEndpoint, await make("alice"))
        server = Server(alice, "p")
        bob = SecretKey.from_seed("bob").peer_id
        with pytest.raises(LinkRefused, match="answered where"):
            await alice.open_link(PeerAddr(bob, (addr,)), "p")
        assert server.inboxes == []
        assert alice.counters.links_accepted == 0


async def test_client_without_a_certificate_is_turned_away(attacked: Scene) -> None:
    async with raw_client(attacked.addr, configuration(is_anonymous=True)) as client:
        ended = await client.end()
    assert ended.error_code == CloseCode.UNKNOWN_PEER
    assert "did not say who it is" in ended.reason_phrase
    await until(lambda: attacked.victim.counters.handshakes_failed == 1)
    assert len(attacked.victim.connected_peers()) == 1


async def test_client_that_claims_anothers_id_is_turned_away(attacked: Scene) -> None:
    honest_id = attacked.honest.link.peer_id
    claimed = attacked.victim.connected_peers()[0]
    assert claimed != honest_id
    config = configuration(forged_certificate(claimed, MALLORY), MALLORY.private_key)
    async with raw_client(attacked.addr, config) as client:
        ended = await client.end()
    assert ended.error_code & 0x100, "a TLS alert (RFC 9001 section 4.8)"
    await until(lambda: attacked.victim.counters.handshakes_failed == 1)
    assert attacked.victim.connected_peers() == [claimed]


async def test_client_with_another_kind_of_key_is_turned_away(attacked: Scene) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    template = make_certificate(MALLORY, 7)
    certificate = (
        CertificateBuilder()
        .subject_name(template.subject)
        .issuer_name(template.issuer)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(template.not_valid_before_utc)
        .not_valid_after(template.not_valid_after_utc)
        .sign(key, SHA256())
    )
    async with raw_client(attacked.addr, configuration(certificate, key)) as client:
        ended = await client.end()
    assert ended.error_code == CloseCode.UNKNOWN_PEER
    assert "Ed25519" in ended.reason_phrase


async def test_client_with_an_unreadable_certificate_is_turned_away(
    attacked: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """OpenSSL and aioquic let it pass, and then an error that they do not expect is raised."""
    config = configuration(cast(Certificate, OddCertificate()), MALLORY.private_key)
    async with raw_client(attacked.addr, config, kind=Stranger) as client:
        ended = await client.end()
    assert ended.error_code == 0x100 + AlertDescription.bad_certificate
    await until(lambda: attacked.victim.counters.handshakes_failed == 1)
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    "broken", [("receive_datagram", "receive_datagrams"), ("unacked_bytes", "get_timer")]
)
async def test_what_an_engine_cannot_bear_costs_its_own_connection_only(
    attacked: Scene, mallory: RawPeer, monkeypatch: pytest.MonkeyPatch, broken: tuple[str, ...]
) -> None:
    """Those whose datagrams are read with it must not wait for theirs."""
    [connection] = [
        one for one in quic_connections(attacked.victim) if one.peer_id == MALLORY.peer_id
    ]

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    for name in broken:
        monkeypatch.setattr(connection.quic, name, fail)
    mallory.make_answer()
    ended = await mallory.end()
    assert ended == Ended(CloseCode.UNEXPECTED_CLOSE, "an internal error")
    assert attacked.victim.connected_peers() == [attacked.friend.peer_id]


async def test_server_that_claims_anothers_id_is_not_believed() -> None:
    bob = SecretKey.from_seed("bob")
    config = configuration(
        forged_certificate(bob.peer_id, MALLORY), MALLORY.private_key, is_client=False
    )
    async with endpoint_maker("quic") as make, raw_server(config) as addr:
        alice = await make("alice")
        with pytest.raises(LinkRefused, match="QUIC error 0x1"):
            await alice.open_link(PeerAddr(bob.peer_id, (addr,)), "p")
        assert alice.connected_peers() == []


async def test_server_with_another_id_than_dialled_is_refused_and_named() -> None:
    async with endpoint_maker("quic") as make:
        alice, bob = await make("alice"), await make("bob")
        Server(bob, "p")
        wanted = SecretKey.from_seed("carol").peer_id
        with pytest.raises(LinkRefused) as caught:
            await alice.open_link(PeerAddr(wanted, bob.addr.direct), "p")
        assert caught.value.reason.code == CloseCode.UNKNOWN_PEER
        assert bob.peer_id.short in str(caught.value)
        assert wanted.short in str(caught.value)
        assert alice.connected_peers() == []


class Relay(asyncio.DatagramProtocol):
    """A man in the middle that passes datagrams on and keeps a copy of the client's."""

    def __init__(self, server: SocketAddr) -> None:
        self.server = server
        self.client: SocketAddr | None = None
        self.recorded: list[bytes] = []
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: SocketAddr) -> None:
        assert self.transport is not None
        if addr == self.server:
            self.transport.sendto(data, self.client)
        else:
            self.client = addr
            self.recorded.append(data)
            self.transport.sendto(data, self.server)


async def test_recorded_proof_is_worth_nothing(attacked: Scene) -> None:
    """All that an honest client ever sent, sent again from elsewhere, proves nobody."""
    loop = asyncio.get_running_loop()
    relay = Relay(attacked.addr)
    async with AsyncExitStack() as stack:
        transport, _ = await loop.create_datagram_endpoint(
            lambda: relay, local_addr=("127.0.0.1", 0)
        )
        stack.callback(transport.close)
        make = await stack.enter_async_context(endpoint_maker("quic"))
        client = await make("recorded")
        via = PeerAddr(attacked.victim.peer_id, (transport.get_extra_info("sockname")[:2],))
        link = await client.open_link(via, "p")
        link.write(b"secret order")
        inbox = await attacked.server.inbox(1)
        await inbox.until_frames(1)
        events: list[object] = []
        attacked.victim.on_connection_event(events.append)
        before = attacked.victim.counters.datagrams_received
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as elsewhere:
            for datagram in relay.recorded:
                elsewhere.sendto(datagram, attacked.addr)
        counters = attacked.victim.counters
        await until(lambda: counters.datagrams_received >= before + len(relay.recorded))
        await attacked.check_undisturbed()
        assert events == []
        assert inbox.frames == [b"secret order"]
        assert counters.links_accepted == 2
        # The honest client goes on, although a stranger repeated its datagrams.
        link.write(b"next")
        await inbox.until_frames(2)


# Floods.


async def test_unknown_version_is_answered_with_ours(attacked: Scene) -> None:
    initial = b"\xc0" + (0x1A2A3A4A).to_bytes(4) + b"\x08" + b"d" * 8 + b"\x08" + b"s" * 8
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        await loop.sock_sendto(sock, initial.ljust(1200, b"\0"), attacked.addr)
        answer = await asyncio.wait_for(loop.sock_recv(sock, 2000), 10)
    assert answer[0] & 0x80
    assert answer[1:5] == bytes(4)
    assert (1).to_bytes(4) in answer


async def test_half_open_flood_makes_newcomers_prove_their_address() -> None:
    async with scene(TransportConfig(half_open_max=5)) as attacked, AsyncExitStack() as stack:
        first_datagrams = [await _first_datagram() for _ in range(20)]
        for datagram in first_datagrams:
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.sendto(datagram, attacked.addr)
        await until(lambda: attacked.victim.connection_count >= 6)
        await attacked.check_undisturbed()
        assert attacked.victim.connection_count <= 7
        # A real newcomer answers the challenge and is served.
        client = await stack.enter_async_context(raw_client(attacked.addr))
        await client.wait_connected()
        stream_id = client.send(open_bytes())
        await until(lambda: client.frames.get(stream_id) == [AcceptFrame(b"")])
        assert client._quic._retry_count == 1


async def test_connections_above_the_limit_are_refused() -> None:
    async with scene(TransportConfig(connections_max=1)) as attacked, raw_client(attacked.addr):
        await until(lambda: attacked.victim.counters.connections_refused > 0)
        assert attacked.victim.connection_count == 1


async def test_peers_that_only_connect_keep_nobody_out() -> None:
    config = TransportConfig(connections_max=6, known_reserve=0)
    async with scene(config) as attacked, AsyncExitStack() as stack:
        counters = attacked.victim.counters
        strangers: list[RawPeer] = []
        for number in range(12):
            key = SecretKey.from_seed(f"stranger {number}")
            config_ = configuration(make_certificate(key, 7), key.private_key)
            client = await stack.enter_async_context(raw_client(attacked.addr, config_))
            await client.wait_connected()
            await until(lambda number=number: counters.connections_opened == number + 2)  # type: ignore[misc]
            strangers.append(client)
        assert attacked.victim.connection_count == 6
        assert counters.connections_evicted == 7
        await until(lambda: all(client.ended is not None for client in strangers[:7]))
        make = await stack.enter_async_context(endpoint_maker("quic"))
        newcomer = Inbox(await (await make("newcomer")).open_link(attacked.victim.addr, "p"))
        await attacked.server.inbox(1)
        assert counters.connections_refused == 0
        # Those in use stay, however long they are there and say nothing.
        again = SecretKey.from_seed("one more")
        config_ = configuration(make_certificate(again, 7), again.private_key)
        client = await stack.enter_async_context(raw_client(attacked.addr, config_))
        await client.wait_connected()
        await until(lambda: counters.connections_evicted == 9)
        assert newcomer.link.is_open


async def test_nobody_is_evicted_for_an_address_that_is_not_real() -> None:
    config = TransportConfig(connections_max=2, known_reserve=0)
    async with scene(config) as attacked, raw_client(attacked.addr) as stranger:
        await stranger.wait_connected()
        await until(lambda: attacked.victim.counters.connections_opened == 2)
        sent = attacked.victim.counters.datagrams_received
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for _ in range(5):
                sock.sendto(await _first_datagram(), attacked.addr)
        await until(lambda: attacked.victim.counters.datagrams_received >= sent + 5)
        assert attacked.victim.connection_count == 2
        assert attacked.victim.counters.connections_evicted == 0


async def test_unfinished_handshakes_are_bounded() -> None:
    config = TransportConfig(half_open_max=64, handshakes_max=4, known_reserve=0)
    async with scene(config) as attacked, AsyncExitStack() as stack:
        for _ in range(20):
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.sendto(await _first_datagram(), attacked.addr)
        await until(lambda: attacked.victim.counters.datagrams_received >= 20)
        assert attacked.victim.connection_count <= 1 + 4
        # A real newcomer answers the challenge, and the oldest handshake ends for it.
        client = await stack.enter_async_context(raw_client(attacked.addr))
        await client.wait_connected()
        assert attacked.victim.counters.handshakes_evicted == 1


async def test_path_probes_of_strangers_are_not_answered(attacked: Scene) -> None:
    before = attacked.victim.counters.datagrams_refused
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.sendto(b"\x01mosaik-probe" + bytes(1200), attacked.addr)
        sock.sendto(b"\x02mosaik-answer" + bytes(12), attacked.addr)
        await until(lambda: attacked.victim.counters.datagrams_refused >= before + 2)
        with pytest.raises(BlockingIOError):
            sock.recv(1)


async def _first_datagram() -> bytes:
    """Return a valid first datagram of a client that will never say another word."""
    from aioquic.quic.connection import QuicConnection

    quic = QuicConnection(configuration=configuration())
    quic.connect(("127.0.0.1", 1), now=0.0)
    data: bytes = quic.datagrams_to_send(now=0.0)[0][0]
    return data


async def test_first_datagrams_that_nobody_encrypted_leave_nothing_behind(
    attacked: Scene,
) -> None:
    """Whoever sends what looks like the begin of a connection takes no place for it."""
    real = await _first_datagram()
    forged = [real[:200] + Random(n).randbytes(len(real) - 200) for n in range(200)]
    forged += [real[:at] + bytes([real[at] ^ 1]) + real[at + 1 :] for at in range(30, 300, 30)]
    counters = attacked.victim.counters
    before = counters.datagrams_refused
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for datagram in forged:
            sock.sendto(datagram, attacked.addr)
    await until(lambda: counters.datagrams_refused >= before + len(forged))
    assert attacked.victim.connection_count == 1
    assert counters.handshakes_deferred == 0


async def test_strangers_wait_and_members_do_not() -> None:
    config = TransportConfig(host_handshakes_max=4, host_handshakes_per_s=0.001)
    async with scene(config) as attacked, AsyncExitStack() as stack:
        counters = attacked.victim.counters
        for _ in range(4):
            await stack.enter_async_context(stranger(attacked))
        await stack.enter_async_context(raw_client(attacked.addr, kind=Stranger))
        await until(lambda: counters.handshakes_deferred)
        assert attacked.victim.connection_count == 5
        # Who has been linked from its address before comes in all the same.
        [honest] = attacked.victim.connected_peers()
        attacked.victim.disconnect(honest, CloseReason(CloseCode.UNEXPECTED_CLOSE, "a cut"))
        await until(lambda: not attacked.friend.connected_peers())
        await attacked.connect(1)


async def test_many_members_behind_one_address_take_no_place_of_strangers() -> None:
    """Consumers on one machine, with room for four strangers' handshakes there."""
    config = TransportConfig(host_handshakes_max=4, host_handshakes_per_s=0.001)
    async with scene(config) as attacked:
        for number in range(12):
            key = SecretKey.from_seed(f"member {number}")
            settings = configuration(make_certificate(key, 7), key.private_key)
            async with raw_client(attacked.addr, settings) as client:
                await client.wait_connected()
                stream_id = client.send(open_bytes())
                await until(lambda c=client, s=stream_id: c.frames.get(s))  # type: ignore[misc]
        assert attacked.victim.counters.handshakes_deferred == 0


async def test_frames_that_are_not_complete_are_bounded_for_all_links_together() -> None:
    config = TransportConfig(frame_bytes_max=1 << 20, half_received_bytes_max=2 << 20)
    async with scene(config) as attacked, raw_client(attacked.addr) as client:
        await client.wait_connected()
        streams = [client.send(open_bytes()) for _ in range(3)]
        await until(lambda: all(client.frames.get(one) for one in streams))
        for stream_id, size in zip(streams, (900_000, 700_000, 800_000), strict=True):
            client.send(encode_word(1 << 20) + bytes(size), stream_id=stream_id)
        # The one that holds most ends, and the others go on.
        reason = await client.close_reason(streams[0])
        assert reason.code == CloseCode.TOO_MANY_BYTES
        for stream_id, size in zip(streams[1:], (700_000, 800_000), strict=True):
            client.send(bytes((1 << 20) - size), stream_id=stream_id)
        inboxes = [await attacked.server.inbox(number) for number in (2, 3)]
        for inbox in inboxes:
            await inbox.until_frames(1)
        [held] = [one for one in attacked.victim._connections if one.peer_id == MALLORY.peer_id]
        assert held._half_received_bytes == 0
        assert attacked.victim.counters.violations == 0


async def test_broken_rules_end_the_connection_in_the_end() -> None:
    async with scene(TransportConfig(faults_max=3)) as attacked:
        async with raw_client(attacked.addr) as client:
            await client.wait_connected()
            for _ in range(3):
                await client.close_reason(client.send(encode_word(4) + b"data"))
            assert (await client.end()).error_code == CloseCode.BROKE_RULES
        async with raw_client(attacked.addr) as client:
            assert (await client.end()).error_code == CloseCode.BROKE_RULES
        assert attacked.victim.counters.peers_refused == 1


async def test_two_holders_of_one_key_evict_each_other_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with scene() as attacked, endpoint_maker("quic") as make:
        first = cast(QuicEndpoint, await make("the key"))
        await first.open_link(attacked.victim.addr, "p")
        second = await QuicEndpoint.start(
            "net",
            SecretKey.from_seed("the key"),
            clock=LoopClock(asyncio.get_running_loop()),
            rng=Random("another run"),
        )
        link = await second.open_link(attacked.victim.addr, "p")
        # The first is gone for the second, and does not come back while that is there.
        await until(lambda: not first.connected_peers())
        for _ in range(3):
            with pytest.raises(LinkRefused) as caught:
                await first.open_link(attacked.victim.addr, "p")
            assert caught.value.reason.code == CloseCode.KEY_IN_USE
        assert link.is_open
        loud = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
        assert len(loud) == 2, "once here and once there"
        assert "two nodes have the key of peer" in loud[0]
        assert "give each node its own key" in loud[1]
        # When the second leaves the first may come.
        await second.close(CloseReason(CloseCode.GRACEFUL_SHUTDOWN))
        await until(lambda: len(attacked.victim.connected_peers()) == 1)
        assert (await first.open_link(attacked.victim.addr, "p")).is_open


async def test_forged_hints_probes_and_answers_cost_the_same_with_any_number_of_connections(
    attacked: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None is looked at for a datagram that does not come from where one of them leads."""
    looked_at: list[object] = []

    def look(connection: Connection) -> SocketAddr | None:
        looked_at.append(connection)
        return connection.engine.remote

    monkeypatch.setattr(Connection, "remote", property(look))
    counters = attacked.victim.counters
    before = counters.datagrams_refused
    forged = [b"\x03mosaik-lost" + bytes(8), b"\x01mosaik-probe".ljust(1200, b"\0"), b"\x02" * 30]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for datagram in forged:
            sock.sendto(datagram, attacked.addr)
    await until(lambda: counters.datagrams_refused == before + 3)
    assert looked_at == []


async def test_connection_that_moved_is_found_by_where_it_leads_now(attacked: Scene) -> None:
    datagrams = attacked.victim._connections.datagrams
    [connection] = quic_connections(attacked.victim)
    there = connection.remote
    datagrams._unlist(connection)
    datagrams._list(connection, ("192.0.2.1", 1))
    datagrams.follow(connection)
    assert list(datagrams._by_remote) == [there]
    datagrams.forget(connection)
    assert not datagrams._by_remote
    assert not datagrams._remotes
    datagrams.connections[connection] = None  # to end in order
    datagrams._by_cid.update(dict.fromkeys(connection.cids, connection))
