"""Which mappings are asked for, and what a gateway, or who says to be one, may answer."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from random import Random

import pytest

from mosaik_actors.errors import DecodeError
from mosaik_actors.transport.address import SocketAddr
from mosaik_actors.transport.mapping import codec
from mosaik_actors.transport.mapping.codec import TCP, UDP, decode_answer
from mosaik_actors.transport.mapping.mapper import (
    LIFETIME_S,
    NAT_PMP_RETRY_S,
    NAT_PMP_TRIES,
    PCP_RETRY_S,
    REFUSED_RETRY_MIN_S,
    SILENT_RETRY_S,
    PortMapper,
    why_not_external,
)

from .gateways import OUTSIDE, Gateway

AT: SocketAddr = ("192.0.2.1", 5351)
OWN = "192.0.2.7"
PORT = 4433


@dataclass
class World:
    """A mapper and its gateway, with time that jumps from timer to timer."""

    gateway: Gateway = field(default_factory=Gateway)
    protocols: tuple[int, ...] = (UDP, TCP)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.mapper = PortMapper(AT, OWN, PORT, self.protocols, Random(1), now=self.now)

    def external(self) -> SocketAddr | None:
        return self.mapper.external(now=self.now)

    def exchange(self, requests: list[bytes]) -> None:
        while requests:
            answers = [one for data in requests for one in self.gateway.answer(data, (OWN, 9))]
            requests = [
                data
                for answer in answers
                for data in self.mapper.receive_datagram(answer, AT, now=self.now)
            ]

    def run_until(self, at: float) -> None:
        while self.mapper.get_timer() <= at:
            began_at = self.now
            self.now = max(self.now, self.mapper.get_timer())
            self.gateway.epoch_s += round(self.now - began_at)
            self.exchange(self.mapper.handle_timer(now=self.now))
        self.gateway.epoch_s += round(at - self.now)
        self.now = at


# What is on the wire.


def test_a_map_request_of_pcp_is_as_rfc_6887_draws_it() -> None:
    """Sections 7.1 and 11.1."""
    nonce = bytes(range(12))
    data = codec.encode_pcp_map(OWN, nonce, UDP, PORT, 7200, (OUTSIDE, 9))
    assert data.hex() == (
        "02010000" + "00001c20" + "00000000000000000000ffffc0000207"
        "000102030405060708090a0b" + "11000000" + "11510009" + "00000000000000000000ffffcb007107"
    )


def test_requests_of_nat_pmp_are_as_rfc_6886_draws_them() -> None:
    """Sections 3.2 and 3.3."""
    assert codec.encode_nat_pmp_address().hex() == "0000"
    assert codec.encode_nat_pmp_map(UDP, PORT, 7200, 9).hex() == "000100001151000900001c20"
    assert codec.encode_nat_pmp_map(TCP, PORT, 0).hex() == "000200001151000000000000"


def test_answers_are_read_as_the_rfcs_draw_them() -> None:
    pcp = bytes.fromhex(
        "02810000"
        + "00000e10"
        + "00000007"
        + 24 * "0"
        + "000102030405060708090a0b"
        + "06000000"
        + "1151dead"
        + "00000000000000000000ffffcb007107"
    )
    assert decode_answer(pcp) == codec.PcpMapped(
        0, 3600, 7, bytes(range(12)), TCP, PORT, (OUTSIDE, 0xDEAD)
    )
    assert decode_answer(pcp + bytes(8)) == decode_answer(pcp)  # an option, ignored
    assert decode_answer(bytes.fromhex("0080000000000007cb007107")) == codec.NatPmpAddress(
        0, 7, OUTSIDE
    )
    assert decode_answer(bytes.fromhex("00810000000000071151dead00000e10")) == codec.NatPmpMapped(
        0, 7, UDP, PORT, 0xDEAD, 3600
    )
    # From a gateway of NAT-PMP alone to a request of PCP, and from one of another version.
    assert decode_answer(bytes.fromhex("0081000100000007")) == codec.VersionRefused()
    refused = bytes.fromhex("01810001") + bytes(20)
    assert decode_answer(refused) == codec.VersionRefused()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x02\x81",
        b"\x02\x81" + bytes(21),
        b"\x02\x81" + bytes(23),
        b"\x02\x82" + bytes(58),
        b"\x02\x01" + bytes(58),  # a request
        b"\x00\x80" + bytes(7),
        b"\x00\x81" + bytes(15),
        b"\x00\x83" + bytes(14),
        b"\x07\x81" + bytes(58),
        b"\x02\x81" + bytes(1102),
    ],
)
def test_what_is_no_answer_is_refused_with_a_reason(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_answer(data)
    world = World()
    world.mapper.handle_timer(now=0.0)
    assert world.mapper.receive_datagram(data, AT, now=0.0) == []
    assert world.mapper.refused_count == 1
    assert world.mapper.refused


def test_any_bytes_are_read_or_refused() -> None:
    rng = Random(1)
    for _ in range(1000):
        data = bytearray(rng.randbytes(rng.choice((2, 8, 12, 16, 24, 60, 64))))
        data[0] = rng.choice((0, 1, 2, data[0]))
        data[1] |= rng.choice((0, 0x80, 0x81))
        world = World()
        world.mapper.handle_timer(now=0.0)
        world.mapper.receive_datagram(bytes(data), AT, now=0.0)
        assert world.external() is None


# What is asked for.


@pytest.mark.parametrize("knows", ["PCP", "NAT-PMP"])
def test_both_protocols_are_mapped_renewed_and_given_back(knows: str) -> None:
    world = World(Gateway(knows=(knows,)))
    world.run_until(0.0)
    assert world.external() == (OUTSIDE, PORT)
    assert world.mapper.mapped(now=0.0) == [UDP, TCP]
    assert (world.mapper.method, world.mapper.error) == (knows, "")
    count = len(world.gateway.requests)
    world.run_until(LIFETIME_S / 2 - 1)
    assert len(world.gateway.requests) == count
    world.run_until(LIFETIME_S / 2 + 1)
    assert len(world.gateway.requests) == count + 2
    world.run_until(10 * LIFETIME_S)
    assert world.external() == (OUTSIDE, PORT)
    world.exchange(world.mapper.release(now=world.now))
    assert world.gateway.mapped == {}
    assert world.external() is None
    assert world.mapper.release(now=world.now) == []


def test_the_port_outside_is_the_gateways_choice_and_one_for_both() -> None:
    world = World(Gateway(taken={UDP: {PORT}}))
    world.run_until(0.0)
    assert world.external() == (OUTSIDE, PORT + 1)
    assert world.gateway.mapped == {(UDP, PORT): PORT + 1, (TCP, PORT): PORT + 1}
    # Where the second cannot have the same, it is given back, and not asked for again.
    world = World(Gateway(taken={TCP: {PORT}}))
    world.run_until(5 * LIFETIME_S)
    assert world.external() == (OUTSIDE, PORT)
    assert world.gateway.mapped == {(UDP, PORT): PORT}
    assert world.mapper.mapped(now=world.now) == [UDP]


def test_a_gateway_that_says_nothing_is_asked_in_both_and_then_seldom() -> None:
    world = World(Gateway(knows=()))
    world.run_until(PCP_RETRY_S * 2 + NAT_PMP_RETRY_S * 2**NAT_PMP_TRIES)
    kinds = [data[0] for data in world.gateway.requests]
    assert kinds == [2, 2] + [0, 0] * NAT_PMP_TRIES
    assert world.mapper.is_silent
    assert world.mapper.error == "192.0.2.1 answers neither PCP nor NAT-PMP"
    count = len(world.gateway.requests)
    world.run_until(world.now + SILENT_RETRY_S - 10)
    assert len(world.gateway.requests) == count
    # It has been turned on meanwhile.
    world.gateway.knows = ("PCP",)
    world.run_until(world.now + 20)
    assert world.external() == (OUTSIDE, PORT)
    assert not world.mapper.is_silent


def test_a_gateway_without_a_server_is_not_waited_for() -> None:
    world = World()
    world.mapper.handle_timer(now=0.0)
    assert world.mapper.receive_unreachable(now=0.0)[0][0] == codec.NAT_PMP_VERSION
    assert world.mapper.receive_unreachable(now=0.0) == []
    assert world.mapper.is_silent


def test_a_refusal_is_told_and_tried_again_ever_more_seldom() -> None:
    world = World(Gateway(result=2))
    world.run_until(0.0)
    assert world.external() is None
    assert world.mapper.error == "192.0.2.1 refuses: not authorized"
    world.run_until(10 * REFUSED_RETRY_MIN_S)
    assert 2 <= len(world.gateway.requests) <= 4
    world.gateway.result = 0
    world.run_until(world.now + 1800)
    assert (world.external(), world.mapper.error) == ((OUTSIDE, PORT), "")


def test_a_gateway_that_has_lost_its_mappings_is_asked_at_once() -> None:
    """RFC 6887 section 8.5, RFC 6886 section 3.6."""
    world = World()
    world.run_until(LIFETIME_S / 2 - 1)
    world.gateway.epoch_s = 0
    world.gateway.mapped.clear()
    world.run_until(LIFETIME_S / 2)
    assert world.gateway.mapped == {(UDP, PORT): PORT, (TCP, PORT): PORT}


def test_a_gateway_whose_clock_goes_back_with_each_answer_is_not_asked_all_the_time() -> None:
    """Each answer about one protocol would have the mapping of the other one asked for again."""

    class Backwards(Gateway):
        asked_count = 0

        def answer(self, data: bytes, source: SocketAddr) -> list[bytes]:
            self.asked_count += 1
            assert self.asked_count < 500
            self.epoch_s = max(0, 100_000 - 10 * self.asked_count)
            return super().answer(data, source)

    gateway = Backwards()
    world = World(gateway)
    world.run_until(LIFETIME_S)
    assert gateway.asked_count < 20
    assert world.external() == (OUTSIDE, PORT)


def test_what_is_not_renewed_ends_when_it_expires() -> None:
    world = World(Gateway(lifetime_s=600))
    world.run_until(1.0)
    world.gateway.knows = ()
    world.run_until(599.0)
    assert world.external() == (OUTSIDE, PORT)
    world.run_until(601.0)
    assert world.external() is None


# What others may try.


def test_an_answer_from_elsewhere_does_not_count() -> None:
    for source in (("192.0.2.2", 5351), ("192.0.2.1", 5352)):
        world = World()
        [request] = world.mapper.handle_timer(now=0.0)
        [answer] = world.gateway.answer(request, (OWN, 9))
        assert world.mapper.receive_datagram(answer, source, now=0.0) == []
        assert world.external() is None
        assert source[0] in world.mapper.refused


@pytest.mark.parametrize(
    ("at", "value"),
    [(24, bytes(12)), (36, b"\x01"), (40, b"\x00\x01")],
    ids=["nonce", "protocol", "port"],
)
def test_an_answer_to_what_was_not_asked_does_not_count(at: int, value: bytes) -> None:
    world = World()
    [request] = world.mapper.handle_timer(now=0.0)
    answer = bytearray(world.gateway.answer(request, (OWN, 9))[0])
    answer[at : at + len(value)] = value
    assert world.mapper.receive_datagram(bytes(answer), AT, now=0.0) == []
    assert world.external() is None
    assert "not that of a request" in world.mapper.refused


def test_an_answer_counts_once() -> None:
    world = World()
    [request] = world.mapper.handle_timer(now=0.0)
    [answer] = world.gateway.answer(request, (OWN, 9))
    world.mapper.receive_datagram(answer, AT, now=0.0)
    assert world.mapper.receive_datagram(answer, AT, now=5000.0) == []
    assert world.mapper.refused_count == 1
    # NAT-PMP has no nonces, and means nothing to who speaks PCP.
    forged = struct.pack(">BBHI", 0, 0x80, 0, 1) + bytes((6, 6, 6, 6))
    world.mapper.receive_datagram(forged, AT, now=1.0)
    assert world.external() == (OUTSIDE, PORT)
    assert world.mapper.refused_count == 2


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "192.168.1.1", "100.64.0.9", "127.0.0.1", "169.254.1.1", "224.0.0.1"]
)
@pytest.mark.parametrize("knows", ["PCP", "NAT-PMP"])
def test_an_external_address_that_is_private_is_refused_and_given_back(
    host: str, knows: str
) -> None:
    world = World(Gateway(knows=(knows,), outside=host))
    world.run_until(0.0)
    assert world.external() is None
    assert "behind another NAT" in world.mapper.error
    assert world.gateway.mapped == {}


def test_a_mapping_for_no_time_or_port_is_none() -> None:
    world = World(Gateway(lifetime_s=3))
    world.run_until(0.0)
    assert world.external() is None
    assert "for 3 s only" in world.mapper.error
    assert why_not_external((OUTSIDE, 0)) == "it names no port"
    assert "no IPv4" in why_not_external(("2001:db8::1", 1))
    assert why_not_external((OUTSIDE, 1)) == ""
