"""Records: what is written comes back, other tools can read it, and hostile ones are refused."""

from __future__ import annotations

import dns.message
import dns.rrset
import pytest

from mosaik_actors.dht.bencode import Value, encode
from mosaik_actors.dht.items import VALUE_BYTES_MAX
from mosaik_actors.dht.record import decode_record, encode_record, z_base_32
from mosaik_actors.dht.slots import SLOT_COUNT, derive_slots
from mosaik_actors.errors import DecodeError
from mosaik_actors.ids import PeerId, SecretKey, UniqueId
from mosaik_actors.transport.address import PeerAddr
from mosaik_actors.transport.admission import NetworkKeys

PEER = SecretKey.from_seed("record").peer_id
RELAY = f"{PEER}@192.0.2.9:443"
ADDR = PeerAddr(PEER, (("192.0.2.1", 4433), ("2001:db8::1", 4433)), RELAY)
SLOT, SEAL, NONCE = bytes(range(32)), b"s" * 32, b"n" * 12


@pytest.mark.parametrize("seal", [None, SEAL])
@pytest.mark.parametrize("addr", [ADDR, PeerAddr(PEER, (("10.0.0.1", 1),))])
def test_what_is_written_comes_back(addr: PeerAddr, seal: bytes | None) -> None:
    assert decode_record(encode_record(addr, SLOT, seal, NONCE), SLOT, seal) == addr


def test_no_more_addresses_than_one_slot_holds() -> None:
    many = PeerAddr(
        PEER, tuple((f"2001:db8:1111:2222:3333:4444:5555:{n}", 65535) for n in range(9))
    )
    value = encode_record(many, SLOT, SEAL, NONCE)
    assert len(encode(value)) <= VALUE_BYTES_MAX
    assert decode_record(value, SLOT, SEAL).direct == many.direct[:4]


def test_other_tools_read_an_open_record() -> None:
    value = encode_record(ADDR, SLOT)
    assert isinstance(value, bytes)
    answer = dns.message.from_wire(value).answer
    origin = z_base_32(SLOT)
    assert [one.to_text() for one in answer] == [
        f'_id.{origin}. 600 IN TXT "{PEER}"',
        f'_ip.{origin}. 600 IN TXT "192.0.2.1:4433"\n_ip.{origin}. 600 IN TXT "[2001:db8::1]:4433"',
        f'_r.{origin}. 600 IN TXT "{RELAY}"',
    ]


def test_spelling_of_keys() -> None:
    """The examples of the specification of z-base-32 that are whole bytes."""
    assert z_base_32(b"\xf0\xbf\xc7") == "6n9hq"
    assert z_base_32(b"\xd4\x7a\x04") == "4t7ye"
    assert z_base_32(bytes(32)) == "y" * 52


def test_sealed_record_shows_nothing() -> None:
    value = encode_record(ADDR, SLOT, SEAL, NONCE)
    assert isinstance(value, bytes)
    assert str(PEER).encode() not in value
    assert b"_ip" not in value


def packet(*lines: str) -> bytes:
    message = dns.message.Message(id=0)
    for line in lines:
        name, ttl, kind, rdtype, text = line.split(" ", 4)
        message.answer.append(dns.rrset.from_text(name, int(ttl), kind, rdtype, text))
    return message.to_wire()


ORIGIN = z_base_32(SLOT)
ID = f"_id.{ORIGIN}. 600 IN TXT {PEER}"


@pytest.mark.parametrize(
    ("value", "seal"),
    [
        (7, None),
        ([b"x"], None),
        (b"", None),
        (b"x" * 900, None),
        (bytes(901), None),
        (packet(), None),
        (packet(f"_id.{ORIGIN}. 600 IN TXT nonsense"), None),
        (packet(f"_id.{z_base_32(bytes(32))}. 600 IN TXT {PEER}"), None),
        (packet(f"_id.{ORIGIN}. 600 IN A 192.0.2.1"), None),
        (packet(ID, f"_ip.{ORIGIN}. 600 IN TXT nowhere"), None),
        (packet(ID, f"_ip.{ORIGIN}. 600 IN TXT example.org:80"), None),
        (packet(ID, f"_ip.{ORIGIN}. 600 IN TXT 192.0.2.1:0"), None),
        (packet(ID, *(f"_ip.{ORIGIN}. 600 IN TXT 192.0.2.1:{n}" for n in range(1, 18))), None),
        (encode_record(ADDR, bytes(32)), None),
        (encode_record(ADDR, SLOT, b"t" * 32, NONCE), SEAL),
        (encode_record(ADDR, bytes(32), SEAL, NONCE), SEAL),
        (encode_record(ADDR, SLOT), SEAL),
        (b"\x01", SEAL),
        # A name that points to itself.
        (bytes.fromhex("0000840000000001000000000c000c0010000100000258000100"), None),
    ],
)
def test_anything_else_is_refused(value: Value, seal: bytes | None) -> None:
    with pytest.raises(DecodeError):
        decode_record(value, SLOT, seal)


def test_slots_follow_from_the_network() -> None:
    """Vectors: every node must find the same places, also one of another version."""
    open_slots = derive_slots(NetworkKeys(UniqueId("my-app")))
    assert [slot.number for slot in open_slots] == list(range(SLOT_COUNT))
    assert open_slots[0].public_key == bytes(
        SecretKey.from_bytes(bytes(UniqueId("my-app"))).peer_id
    )
    second = UniqueId("my-app").derive(UniqueId("my-app"))
    assert open_slots[1].public_key == bytes(PeerId(SecretKey.from_bytes(bytes(second)).peer_id))
    assert all(slot.seal_key is None for slot in open_slots)
    closed = derive_slots(NetworkKeys(UniqueId("my-app"), (b"one", b"two")))
    assert len(closed) == 2 * SLOT_COUNT
    keys = {slot.public_key for slot in (*open_slots, *closed)}
    assert len(keys) == 3 * SLOT_COUNT
    assert len({slot.seal_key for slot in closed}) == 2
