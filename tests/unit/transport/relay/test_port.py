"""The port to peers behind relays: addresses, room, and what a hostile relay can do."""

import asyncio
import errno
import socket
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mosaik_actors import (
    ConfigError,
    RelayConfig,
    SecretKey,
    Ticket,
    TransportConfig,
    unique_id,
)
from mosaik_actors.handles.relaying import show_tickets
from mosaik_actors.tickets.wire import decode_shown
from mosaik_actors.transport.address import (
    RELAYED_FAMILY,
    PeerAddr,
    is_loopback,
    is_relayed,
)
from mosaik_actors.transport.interface import Endpoint, Link
from mosaik_actors.transport.quic.choice import choose_engine
from mosaik_actors.transport.relay.client import RelayClient
from mosaik_actors.transport.relay.config import own_config
from mosaik_actors.transport.relay.frames import DATAGRAM_BYTES_MAX, FRAME_BYTES_MAX, encode_frames
from mosaik_actors.transport.relay.paths import relayed_addr, relayed_peer
from mosaik_actors.transport.relay.port import INBOX_BYTES_MAX, RelayPort
from mosaik_actors.transport.sockets import family_of
from mosaik_actors.transport.tls.session import _in_few

PEER = SecretKey.from_seed("peer").peer_id
RELAYS = tuple(
    PeerAddr(SecretKey.from_seed(name).peer_id, (("192.0.2.1", 4434),)) for name in ("one", "two")
)


def fake_link() -> Any:
    written: list[bytes] = []
    return SimpleNamespace(unsent_bytes=0, written=written, write_many=written.extend)


def port() -> RelayPort:
    return RelayPort(RelayConfig(relays=RELAYS), on_move=lambda: None)


def test_an_address_behind_a_relay_names_the_peer_and_nothing_else_is_one() -> None:
    host, number = relayed_addr(bytes(PEER), 2)
    assert relayed_peer(host) == PEER
    assert number == 2
    assert is_relayed(host)
    assert family_of(host) == RELAYED_FAMILY
    assert not is_loopback(host)
    assert not is_relayed("fd6d:6f73:616b::1")
    assert not is_relayed("fe80::1%eth0")


@pytest.mark.parametrize("zone", ["eth0", str(PEER)[:32]])
def test_no_address_of_a_peer_can_say_that_it_is_behind_a_relay(zone: str) -> None:
    """Else an entry could have it dialled past what holds for relays."""
    whole = relayed_addr(bytes(PEER), 1)
    with pytest.raises(ValueError, match="not an address of an interface"):
        PeerAddr(PEER, (whole,))
    host = f"{whole[0].partition('%')[0]}%{zone}"
    assert PeerAddr(PEER, ((host, 1),)).direct  # an address as any other, if a useless one
    assert not is_relayed(host)
    assert family_of(host) == socket.AF_INET6


async def test_datagrams_go_to_the_relay_with_whom_they_are_for() -> None:
    relayed, link = port(), fake_link()
    to = relayed_addr(bytes(PEER), 1)
    with pytest.raises(OSError, match="takes nothing"):
        relayed.send(b"data", to)
    relayed.set_link(1, cast(Link, link))
    relayed.send(b"data", to)
    assert link.written == encode_frames(bytes(PEER), [b"data"])
    link.unsent_bytes = 10**9
    with pytest.raises(OSError, match="takes nothing"):
        relayed.send(b"data", to)
    relayed.set_link(1, None)
    assert relayed.linked == []


class FullSocket:
    """Takes some datagrams, and then fails."""

    def __init__(self, room: int, code: int) -> None:
        self.sent: list[bytes] = []
        self._room = room
        self._code = code

    def send(self, data: bytes, _remote: Any) -> None:
        if len(self.sent) == self._room:
            raise OSError(self._code, "not taken")
        self.sent.append(data)


class FullBatches(FullSocket):
    def send_batch(self, datagrams: list[bytes], remote: Any) -> int:
        for data in datagrams[: self._room]:
            self.send(data, remote)
        if not self.sent:
            raise OSError(self._code, "not taken")
        return len(self.sent)


def port_past_relay(sock: FullSocket) -> tuple[RelayPort, list[str], Any]:
    """Return a port with a direct way, what becomes of the way, and the link to the relay."""
    relayed, link, said = port(), fake_link(), list[str]()
    relayed.set_link(1, cast(Link, link))
    to = relayed_addr(bytes(PEER), 1)
    way = SimpleNamespace(
        port=sock,
        remote=("192.0.2.9", 1),
        selector=SimpleNamespace(is_used=False, direct_bytes=1200),
        on_used=lambda: said.append("used"),
        on_failed=lambda: said.append("failed"),
    )
    relayed._direct = cast(Any, SimpleNamespace(ways={to[0]: way}))
    return relayed, said, link


@pytest.mark.parametrize("kind", [FullSocket, FullBatches])
@pytest.mark.parametrize(
    ("room", "code", "sent", "relayed_count", "said"),
    [
        (3, errno.EAGAIN, 3, 0, ["used"]),  # all
        (2, errno.EAGAIN, 2, 0, ["used"]),  # some: no error, since they are gone
        (0, errno.ENOBUFS, None, 0, ["used"]),  # not even the first
        (0, errno.ENETUNREACH, 3, 3, ["used", "failed"]),  # by the relay, then
    ],
)
async def test_a_batch_past_the_relay_says_how_many_went(
    kind: type[FullSocket],
    room: int,
    code: int,
    sent: int | None,
    relayed_count: int,
    said: list[str],
) -> None:
    sock = kind(room, code)
    relayed, found, link = port_past_relay(sock)
    batch = [b"\x40" + bytes([number]) for number in range(3)]
    to = relayed_addr(bytes(PEER), 1)
    if sent is None:
        with pytest.raises(OSError, match="not taken"):
            relayed.send_batch(batch, to)
    else:
        assert relayed.send_batch(batch, to) == sent
    assert sock.sent == batch[:room]
    assert link.written == encode_frames(bytes(PEER), batch[:relayed_count])
    assert found == said


async def test_a_way_that_fails_after_some_datagrams_is_given_up() -> None:
    relayed, said, link = port_past_relay(FullSocket(1, errno.ENETUNREACH))
    batch = [b"\x40" + bytes([number]) for number in range(3)]
    assert relayed.send_batch(batch, relayed_addr(bytes(PEER), 1)) == 1
    assert (said, link.written) == (["used", "failed"], [])


async def test_a_peer_is_dialled_through_the_relay_that_it_names_first() -> None:
    relayed = port()
    for number in (1, 2):
        relayed.set_link(number, cast(Link, fake_link()))
    named = PeerAddr(PEER, (), str(RELAYS[1]))
    assert [number for _, number in relayed.addrs_of(named)] == [2, 1]
    assert [number for _, number in relayed.addrs_of(PeerAddr(PEER))] == [1, 2]
    assert relayed.addrs_of(PeerAddr(PEER, (), "nonsense"))[0][1] == 1


async def test_what_a_relay_sends_is_bounded_and_read_in_order() -> None:
    relayed = port()
    read: list[bytes] = []
    done = asyncio.Event()

    def on_readable(readable: Any) -> None:
        while (datagram := readable.read()) is not None:
            read.append(datagram[0])
            assert datagram[1] == relayed_addr(bytes(PEER), 1)
        done.set()

    first, last = (encode_frames(bytes(PEER), one) for one in ([b"1", b"2"], [b"3"]))
    relayed.receive(1, [*first, b"", bytes(PEER), bytes(40_000), *last])
    relayed.start(on_readable)
    await done.wait()
    assert read == [b"1", b"2", b"3"]
    assert relayed.dropped_count == 3
    large = encode_frames(bytes(PEER), [bytes(DATAGRAM_BYTES_MAX // 2)] * 2)
    count = INBOX_BYTES_MAX // FRAME_BYTES_MAX
    relayed.receive(1, large * (count + 7))
    assert relayed.dropped_count == 3 + 2 * 7
    for _ in range(count):
        assert relayed.read_batch() is not None
    assert relayed.read_batch() is None
    assert relayed._inbox_bytes == 0
    relayed.receive(1, large)
    relayed.close()
    assert relayed.read() is None


def test_the_largest_datagrams_of_a_turn_are_encrypted_by_one_call() -> None:
    """A frame that was larger by a few bytes would be two calls and two records."""
    frames = encode_frames(bytes(PEER), [bytes(DATAGRAM_BYTES_MAX)] * 20)
    assert len(list(_in_few([piece for one in frames for piece in (bytes(4), one)]))) == 1


def test_the_argument_of_a_network_is_addresses_or_a_configuration() -> None:
    assert own_config(None) is None
    config = own_config([str(relay) for relay in RELAYS])
    assert config is not None
    assert config.relays == RELAYS
    assert own_config(config) is config


@pytest.mark.parametrize(
    ("relays", "text"),
    [
        ("nonsense", "64 hexadecimal"),
        ((), "number of relays is 0"),
        (str(PEER), "has no address"),
        ((RELAYS[0], RELAYS[0]), "twice"),
        (5, "expected an address"),
        ((5,), "relay"),
    ],
)
def test_wrong_relays_are_refused(relays: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        own_config(relays)


@pytest.mark.parametrize("tickets", [5, (5,), b"short"])
def test_what_is_no_class_of_tickets_is_refused(tickets: Any) -> None:
    with pytest.raises(ConfigError, match="tickets is"):
        RelayConfig(relays=RELAYS, tickets=tickets)


def test_relays_are_shown_the_tickets_of_the_classes_meant_for_them_only() -> None:
    shown: list[bytes] = []
    client = cast(RelayClient, SimpleNamespace(show=shown.append))
    mine, other = Ticket(unique_id("for relays"), b"1"), Ticket(unique_id("not for relays"), b"2")
    show_tickets(client, RelayConfig(relays=RELAYS), [mine, other])
    assert shown == []
    named = cast(Any, "for relays")
    show_tickets(client, RelayConfig(relays=RELAYS, tickets=named), [mine, other])
    assert decode_shown(shown[0]).tickets == (mine,)


async def test_the_nearest_relay_is_told_and_the_first_while_there_is_none() -> None:
    rtts = {RELAYS[0].peer_id: 0.2, RELAYS[1].peer_id: 0.1}
    endpoint = cast(Endpoint, SimpleNamespace(rtt=rtts.get))
    client = RelayClient(endpoint, RelayConfig(relays=RELAYS), Random(0))
    assert client.home == str(RELAYS[0])
    for number in (1, 2):
        client.port.set_link(number, cast(Link, fake_link()))
    assert client.home == str(RELAYS[1])
    client.port.set_link(2, None)
    assert client.home == str(RELAYS[0])


def test_what_goes_through_a_relay_is_the_native_engines_where_there_is_one() -> None:
    """It may go directly in a moment, in datagrams as small as networks carry them."""
    pytest.importorskip("qh3")
    relayed = relayed_addr(bytes(PEER), 1)
    chosen = {
        engine: choose_engine(TransportConfig(quic_engine=engine))(relayed)
        for engine in ("auto", "aioquic", "qh3")
    }
    assert chosen == {"auto": True, "aioquic": False, "qh3": True}
