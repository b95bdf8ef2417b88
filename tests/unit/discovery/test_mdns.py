"""What travels over mDNS, and what is believed of it."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.discovery.mdns import (
    ADDR_COUNT_MAX,
    HOUR_S,
    SIGHTED_MAX,
    Sightings,
    choose_addrs,
    choose_interfaces,
    find_seal,
    format_properties,
    make_service_name,
    own_seals,
    parse_properties,
)
from mosaik_actors.errors import DecodeError
from mosaik_actors.ids import NetworkId
from mosaik_actors.transport.address import PeerAddr
from mosaik_actors.transport.admission import NetworkKeys

from .helpers import NETWORK, addr, peer

NOW = 1_000_000.0
HERE = NetworkKeys(NETWORK)
OTHER = NetworkKeys(NetworkId("another one"))
CLOSED = NetworkKeys(NETWORK, [b"the new secret..", b"the old secret.."])
[SEAL] = own_seals(HERE, now=NOW)
RNG = Random(1)


def service(keys: NetworkKeys = HERE, now: float = NOW) -> str:
    return make_service_name(own_seals(keys, now=now)[0], RNG)


NAME = service()


def record(of: PeerAddr, name: str = NAME) -> dict[bytes, bytes | None]:
    return {k.encode(): v.encode() for k, v in format_properties(SEAL, name, of).items()}


def test_what_a_node_says_is_understood() -> None:
    there = PeerAddr(peer("a"), (("192.0.2.1", 4433), ("2001:db8::1", 4434)))
    assert parse_properties(SEAL, NAME, record(there)) == there
    # What a newer version adds is skipped.
    newer = record(there) | {b"new": b"\xff", b"flag": None}
    assert parse_properties(SEAL, NAME, newer) == there


def test_the_network_is_not_shown_and_cannot_be_followed() -> None:
    said = NAME + repr(format_properties(SEAL, NAME, addr("a")))
    assert str(NETWORK)[:8] not in said
    tags = {service(now=NOW + hour * HOUR_S).split(".")[0][33:] for hour in range(100)}
    assert len(tags) == 100
    assert tags.isdisjoint(service().split(".")[0][33:] for _ in range(100))


def test_names_are_never_used_twice_and_tell_networks_apart() -> None:
    names = {service() for _ in range(100)}
    assert len(names) == 100
    for name in names:
        assert find_seal(name, HERE, now=NOW) == SEAL
        assert find_seal(name, OTHER, now=NOW) is None
        assert find_seal(name, CLOSED, now=NOW) is None
        assert len(name.split(".")[0]) <= 63  # RFC 1035 section 2.3.4


def test_names_of_the_hours_beside_are_taken_for_clocks_differ() -> None:
    for hours, is_taken in {-2: False, -1: True, 0: True, 1: True, 2: False}.items():
        name = service(now=NOW + hours * HOUR_S)
        assert (find_seal(name, HERE, now=NOW) is not None) == is_taken


def test_each_secret_has_a_service_and_any_is_taken() -> None:
    new, old = own_seals(CLOSED, now=NOW)
    for secret, seal in ((b"the new secret..", new), (b"the old secret..", old)):
        name = make_service_name(seal, RNG)
        assert find_seal(name, CLOSED, now=NOW) == seal
        alone = NetworkKeys(NETWORK, [secret])
        assert find_seal(name, alone, now=NOW) == seal
        assert find_seal(name, HERE, now=NOW) is None


@pytest.mark.parametrize(
    "name",
    ["", "x._mosaik._udp.local.", "\0" * 300, "ä" * 40, f"{'0' * 32}{NAME[32:]}", NAME.upper()],
)
def test_names_of_others_are_skipped(name: str) -> None:
    assert find_seal(name, HERE, now=NOW) is None


def test_copied_record_names_only_the_peer_it_is_of() -> None:
    """Who has no key can repeat a record, and change nothing in it: not to be dialled by it."""
    copied = record(addr("a"))
    evil = record(PeerAddr(peer("mallory"), (("192.0.2.66", 6666),)), service())
    for change in ({b"p": evil[b"p"]}, {b"a0": evil[b"a0"]}, {b"a1": evil[b"a0"]}):
        with pytest.raises(DecodeError, match="tag is not of this network"):
            parse_properties(SEAL, NAME, copied | change)
    with pytest.raises(DecodeError, match="tag is not of this network"):
        parse_properties(SEAL, service(), copied)  # nor under another name


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({b"v": b"1"}, "another form"),
        ({b"n": b"0" * 16}, "its tag is not of this network"),
        ({b"n": "é".encode()}, "not the service"),
        ({b"p": None}, "p is missing"),
        ({b"p": b"ab" * 200}, "400 bytes, at most 128"),
        ({b"a0": b"\xff"}, "not the service"),
    ],
)
def test_wrong_records_are_refused(change: dict[bytes, bytes | None], text: str) -> None:
    with pytest.raises(DecodeError, match=text):
        parse_properties(SEAL, NAME, record(addr("a")) | change)


@pytest.mark.parametrize(
    ("peer_text", "addr_text", "text"),
    [
        ("short", "192.0.2.1:1", "not the service"),
        (str(peer("a")), "a.name:1", "not the service"),
        (str(peer("a")), "192.0.2.1:0", "port is 0"),
    ],
)
def test_what_a_member_says_wrongly_is_refused_too(
    peer_text: str, addr_text: str, text: str
) -> None:
    tag = SEAL.tag_record(NAME, peer_text, [addr_text])
    said = {"v": "2", "n": tag, "p": peer_text, "a0": addr_text}
    with pytest.raises(DecodeError, match=text):
        parse_properties(SEAL, NAME, {k.encode(): v.encode() for k, v in said.items()})


def test_a_record_without_an_address_is_refused() -> None:
    with pytest.raises(DecodeError, match="no address"):
        parse_properties(SEAL, NAME, record(PeerAddr(peer("a"))))


@given(
    st.dictionaries(
        st.sampled_from([b"v", b"n", b"p", b"a0", b"a7", b"x"]), st.none() | st.binary(max_size=300)
    )
)
def test_any_record_is_understood_or_refused(change: dict[bytes, bytes | None]) -> None:
    try:
        found = parse_properties(SEAL, NAME, record(addr("a")) | change)
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


def sightings() -> Sightings:
    return Sightings(HERE, peer("me"))


def test_services_come_and_go() -> None:
    one, again = service(), service()
    seen = sightings()
    assert not seen.receive_name(service(OTHER), now=NOW)
    assert seen.receive_name(one, now=NOW)
    assert list(seen.addrs) == []
    assert seen.receive_record(one, record(addr("a"), one))
    assert not seen.receive_record(one, record(addr("a"), one))
    assert list(seen.addrs) == [addr("a")]
    with pytest.raises(DecodeError):
        seen.receive_record(one, {})
    assert list(seen.addrs) == [addr("a")]
    # A peer takes a new name before it gives the old one back.
    assert seen.receive_name(again, now=NOW)
    assert not seen.receive_record(again, record(addr("a"), again))
    assert not seen.receive_goodbye(one)
    assert list(seen.addrs) == [addr("a")]
    assert seen.receive_goodbye(again)
    assert not seen.receive_goodbye(again)
    assert not seen.receive_record(one, record(addr("a"), one))
    assert list(seen.addrs) == []


def test_own_services_are_skipped() -> None:
    seen, name = sightings(), service()
    assert seen.receive_name(name, now=NOW)
    assert not seen.receive_record(name, record(addr("me"), name))
    assert list(seen.addrs) == []


def test_a_crowd_of_services_is_limited() -> None:
    seen = sightings()
    names = [service() for _ in range(SIGHTED_MAX + 10)]
    asked = [name for name in names if seen.receive_name(name, now=NOW)]
    assert asked == names[:SIGHTED_MAX]
    assert seen.receive_name(names[0], now=NOW)  # a known one may change what it says
    seen.receive_goodbye(names[0])
    assert seen.receive_name(names[-1], now=NOW)
