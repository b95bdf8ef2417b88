"""What travels over mDNS, and what is believed of it."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.discovery.mdns import (
    ADDR_COUNT_MAX,
    SIGHTED_MAX,
    Sightings,
    choose_addrs,
    choose_interfaces,
    format_properties,
    is_of_network,
    make_service_name,
    make_tag,
    parse_properties,
)
from mosaik_actors.errors import DecodeError
from mosaik_actors.ids import NetworkId
from mosaik_actors.transport.address import PeerAddr

from .helpers import NETWORK, addr, peer

OTHER = NetworkId("another one")
RNG = Random(1)


def record(of: PeerAddr, network: NetworkId = NETWORK) -> dict[bytes, bytes | None]:
    return {k.encode(): v.encode() for k, v in format_properties(network, of).items()}


def service(network: NetworkId = NETWORK) -> str:
    return make_service_name(network, RNG)


def test_what_a_node_says_is_understood() -> None:
    there = PeerAddr(peer("a"), (("192.0.2.1", 4433), ("2001:db8::1", 4434)))
    assert parse_properties(NETWORK, record(there)) == there
    # What a newer version adds is skipped.
    assert parse_properties(NETWORK, record(there) | {b"new": b"\xff", b"flag": None}) == there


def test_the_network_is_not_shown() -> None:
    said = service() + repr(format_properties(NETWORK, addr("a")))
    assert str(NETWORK)[:8] not in said
    assert make_tag(NETWORK) in said


def test_names_are_never_used_twice_and_tell_networks_apart() -> None:
    names = {service() for _ in range(100)}
    assert len(names) == 100
    for name in names:
        assert is_of_network(name, NETWORK)
        assert not is_of_network(name, OTHER)
        assert len(name.split(".")[0]) <= 63  # RFC 1035 section 2.3.4


@pytest.mark.parametrize(
    "name", ["", "x._mosaik._udp.local.", "\0" * 300, "ä" * 40, make_tag(NETWORK)]
)
def test_names_of_others_are_skipped(name: str) -> None:
    assert not is_of_network(name, NETWORK)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({b"v": b"2"}, "another form"),
        ({b"n": b"0" * 16}, "another form or network"),
        ({b"p": None}, "p is missing"),
        ({b"p": b"short"}, "not the service"),
        ({b"p": b"ab" * 200}, "400 bytes, at most 128"),
        ({b"a0": b"a.name:1"}, "not the service"),
        ({b"a0": b"192.0.2.1:0"}, "port is 0"),
        ({b"a0": b"\xff"}, "not the service"),
    ],
)
def test_wrong_records_are_refused(change: dict[bytes, bytes | None], text: str) -> None:
    with pytest.raises(DecodeError, match=text):
        parse_properties(NETWORK, record(addr("a")) | change)


def test_a_record_without_an_address_is_refused() -> None:
    with pytest.raises(DecodeError, match="no address"):
        parse_properties(NETWORK, record(PeerAddr(peer("a"))))


@given(
    st.dictionaries(
        st.sampled_from([b"v", b"n", b"p", b"a0", b"a7", b"x"]), st.none() | st.binary(max_size=300)
    )
)
def test_any_record_is_understood_or_refused(change: dict[bytes, bytes | None]) -> None:
    try:
        found = parse_properties(NETWORK, record(addr("a")) | change)
    except DecodeError:
        return
    assert len(found.direct) <= ADDR_COUNT_MAX


def test_only_addresses_that_others_can_use_are_told() -> None:
    def told(*hosts: str) -> list[str]:
        direct = tuple((host, 4433) for host in hosts)
        return [host for host, _ in choose_addrs(PeerAddr(peer("a"), direct))]

    assert told("127.0.0.1", "192.0.2.1", "fe80::1%eth0", "fe80::2") == ["192.0.2.1"]
    assert told("127.0.0.1", "::1") == ["127.0.0.1", "::1"]
    assert len(told(*(f"192.0.2.{number}" for number in range(20)))) == ADDR_COUNT_MAX


def test_a_node_that_hears_this_machine_only_speaks_to_this_machine_only() -> None:
    def spoken(*hosts: str) -> list[str]:
        direct = tuple((host, 4433) for host in hosts)
        return choose_interfaces(PeerAddr(peer("a"), direct))

    assert spoken("127.0.0.1", "::1") == ["127.0.0.1"]
    assert spoken("127.0.0.1", "192.0.2.1", "2001:db8::1") == ["192.0.2.1"]
    assert spoken("2001:db8::1") == []


def test_services_come_and_go() -> None:
    own, one = service(), service()
    seen = Sightings(NETWORK, own)
    assert not seen.receive_name(own)
    assert not seen.receive_name(service(OTHER))
    assert seen.receive_name(one)
    assert list(seen.addrs) == []
    assert seen.receive_record(one, record(addr("a")))
    assert not seen.receive_record(one, record(addr("a")))
    assert list(seen.addrs) == [addr("a")]
    with pytest.raises(DecodeError):
        seen.receive_record(one, {})
    assert list(seen.addrs) == [addr("a")]
    assert seen.receive_goodbye(one)
    assert not seen.receive_goodbye(one)
    assert not seen.receive_record(one, record(addr("a")))
    assert list(seen.addrs) == []


def test_a_crowd_of_services_is_limited() -> None:
    seen = Sightings(NETWORK, service())
    names = [service() for _ in range(SIGHTED_MAX + 10)]
    asked = [name for name in names if seen.receive_name(name)]
    assert asked == names[:SIGHTED_MAX]
    assert seen.receive_name(names[0])  # a known one may change what it says
    seen.receive_goodbye(names[0])
    assert seen.receive_name(names[-1])
