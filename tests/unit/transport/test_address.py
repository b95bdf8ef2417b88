"""Which of the addresses that a stranger names are worth a datagram."""

from __future__ import annotations

import pytest

from mosaik_actors.discovery.wire import Contact, LinkPurpose, decode_purpose, encode_purpose
from mosaik_actors.errors import DecodeError
from mosaik_actors.ids import SecretKey
from mosaik_actors.transport.address import (
    PeerAddr,
    is_unicast,
    pick_dialable,
    without_loopback,
)


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",
        "0.1.2.3",
        "224.0.0.251",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
        "169.254.169.254",
        "::",
        "ff02::fb",
        "fe80::1",
        "fe80::1%eth0",
        "::ffff:224.0.0.251",
        "::ffff:255.255.255.255",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "4000::1",
    ],
)
def test_what_reaches_many_nobody_or_the_same_wire_is_not_dialled(host: str) -> None:
    assert not is_unicast(host)
    assert pick_dialable(((host, 1),)) == ()


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "10.0.0.1", "192.168.1.255", "198.51.100.7", "::1", "2001:db8::1", "fd00::1"],
)
def test_an_address_of_one_node_is_kept(host: str) -> None:
    assert pick_dialable(((host, 1),)) == ((host, 1),)


def test_an_address_is_dialled_once_however_it_is_written_and_four_at_most() -> None:
    twice = (("192.0.2.1", 1), ("::ffff:192.0.2.1", 1), ("2001:db8::1", 1), ("2001:DB8:0::1", 1))
    assert pick_dialable(twice) == (("192.0.2.1", 1), ("2001:db8::1", 1))
    many = tuple((f"192.0.2.{n}", 1) for n in range(1, 30))
    assert pick_dialable(many) == many[:4]


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("192.0.2.1%x", 1),  # four of these would be one address
        ("192.0.2.1%\x1b[2J", 1),
        ("fe80::1%\x1b[2J", 1),
        ("::ffff:192.0.2.1% ", 1),
        ("192.0.2.1", 0),
        ("192.0.2.1", 65536),
        ("localhost", 1),
    ],
)
def test_what_is_no_address_is_refused(host: str, port: int) -> None:
    peer_id = SecretKey.from_seed("a").peer_id
    with pytest.raises(ValueError, match=r"address|port|localhost"):
        PeerAddr(peer_id, ((host, port),))
    contact = Contact(peer_id, ((host, port),))
    with pytest.raises(DecodeError):
        decode_purpose(encode_purpose(LinkPurpose("join", contact=contact)))


def test_the_loopback_interface_is_left_out_however_it_is_written() -> None:
    far = ("192.0.2.1", 1)
    addr = PeerAddr(
        SecretKey.from_seed("a").peer_id,
        (("127.0.0.1", 1), far, ("127.9.9.9", 1), ("::1", 1), ("::ffff:127.0.0.1", 1)),
    )
    assert without_loopback(addr).direct == (far,)


def test_a_relay_is_shown_without_escapes() -> None:
    addr = PeerAddr(SecretKey.from_seed("a").peer_id, (), "a relay\x1b[2J")
    assert str(addr).endswith(r"?relay=a relay\x1b[2J")
