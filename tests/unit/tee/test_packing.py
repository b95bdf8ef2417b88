"""Tickets on the wire: bound, packed, and no bombs."""

from __future__ import annotations

import msgspec
import pytest
import zstandard
from blake3 import blake3

from mosaik_actors.ids import SecretKey, unique_id
from mosaik_actors.tee.packing import TDX_CLASS, UNPACKED_BYTES_MAX, pack, unpack
from mosaik_actors.tee.quote import QuoteError
from mosaik_actors.tee.ticket import TdxTicket
from mosaik_actors.tickets.ticket import Ticket
from mosaik_actors.tickets.validator import InvalidTicket
from mosaik_actors.wire_encoding import encode

from .vectors import NETWORK, PEER, bind, make_ticket


def test_report_data_is_the_chain_of_hashes() -> None:
    """Worked out by hand: BLAKE3 of what came before, followed by the next part."""
    binding = bind(started=1, quoted=2, expiration=0)
    digest = blake3(b"mosaik.tdx.ticket.extra").digest()
    parts = [bytes(PEER), bytes(NETWORK), b"\1" + bytes(7), b"\2" + bytes(7), bytes(8)]
    for part in parts:
        digest = blake3(digest + part).digest()
    assert binding.report_data == digest + bytes(32)


def test_each_part_of_the_binding_changes_the_report_data() -> None:
    other = SecretKey.from_seed("another peer").peer_id
    bindings = [
        bind(),
        bind(peer=other),
        bind(network=unique_id("another network")),
        bind(started=1),
        bind(quoted=2),
        bind(expiration=3),
    ]
    assert len({binding.report_data for binding in bindings}) == len(bindings)


def test_ticket_comes_back_from_its_data() -> None:
    ticket = make_ticket()
    again = TdxTicket.from_ticket(ticket.to_ticket())
    assert again == ticket
    assert again.peer_id == PEER
    assert again.network_id == NETWORK
    assert again.expiration.is_never
    assert len(ticket.to_ticket().data) < len(ticket.quote_bytes)


def test_ticket_of_another_class_or_binding_is_refused() -> None:
    ticket = make_ticket()
    with pytest.raises(InvalidTicket, match="is no TDX ticket"):
        TdxTicket.from_ticket(Ticket(unique_id("jwt"), ticket.to_ticket().data))
    moved = pack(ticket.quote_bytes, bind(expiration=5))
    with pytest.raises(InvalidTicket, match="bound to another"):
        TdxTicket.from_ticket(Ticket(TDX_CLASS, moved))


def frame(content: bytes, *, says_size: bool = True) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=says_size).compress(content)


def claim(data: bytes, size: int) -> bytes:
    """Return a frame (RFC 8878, 3.1.1) that claims `size` bytes of content."""
    return data[:4] + b"\xe0" + size.to_bytes(8, "little") + data[4:][:0] + b"\1\0\0"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "could not be unpacked"),
        (b"no frame at all", "could not be unpacked"),
        (frame(bytes(UNPACKED_BYTES_MAX + 1)), "unpacks to 65537 bytes"),
        (frame(bytes(50_000_000)), "unpacks to 50000000 bytes"),
        (frame(bytes(100), says_size=False), "unpacks to -1 bytes"),
        (claim(frame(b""), 2**63), "unpacks to"),
        (claim(frame(b""), 60_000), "could not be unpacked"),
        (frame(b"good") + b"more", "could not be unpacked"),
        (frame(b"good")[:-1], "could not be unpacked"),
        (frame(bytes(1000)), "not a TDX ticket"),
        (frame(encode([b"", {}])), "not a TDX ticket"),
    ],
)
def test_bomb_or_rubbish_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(QuoteError, match=reason):
        unpack(data)


@pytest.mark.parametrize("seconds", [-1, 2**40, 2**63])
def test_absurd_times_are_refused(seconds: int) -> None:
    record = {"quote": b"", "binding": {**msgspec.structs.asdict(bind()), "quoted": seconds}}
    with pytest.raises(QuoteError, match="not a TDX ticket"):
        unpack(frame(encode(record)))
