"""Ids that follow from addresses (BEP 42)."""

from random import Random

import pytest

from mosaik_actors.dht.krpc import NodeContact
from mosaik_actors.dht.node_id import crc32c, draw_id, fits
from mosaik_actors.dht.routing import BUCKET_SIZE, RoutingTable

# The table in BEP 42: an address, the number that was drawn, and an id that fits.
VECTORS = [
    ("124.31.75.21", 1, "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401"),
    ("21.75.31.124", 86, "5a3ce9c14e7a08645677bbd1cfe7d8f956d53256"),
    ("65.23.51.170", 22, "a5d43220bc8f112a3d426c84764f8c2a1150e616"),
    ("84.124.73.14", 65, "1b0321dd1bb1fe518101ceef99462b947a01ff41"),
    ("43.213.53.83", 90, "e56f6cbf5b7c4be0237986d5243b87aa6d51305a"),
]


def test_crc32c_is_castagnolis() -> None:
    """RFC 3720 appendix B.4."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43


@pytest.mark.parametrize(("host", "drawn", "node_id"), VECTORS)
def test_the_ids_of_the_specification_fit(host: str, drawn: int, node_id: str) -> None:
    assert bytes.fromhex(node_id)[-1] == drawn
    assert fits(bytes.fromhex(node_id), host)
    assert fits(bytes.fromhex(node_id), f"::ffff:{host}")
    # One bit of the first 21, or another number drawn, and it does not.
    flipped = bytearray(bytes.fromhex(node_id))
    flipped[2] ^= 8
    assert not fits(bytes(flipped), host)
    flipped[2] ^= 8 | 7  # the bits behind them are free
    assert fits(bytes(flipped), host)
    flipped[-1] ^= 1
    assert not fits(bytes(flipped), host)


def test_an_id_at_an_ipv6_address_is_the_hash_of_its_masked_first_half() -> None:
    """``crc32c((ip & 0x0103070f1f3f7fff) | (r << 61))``, the octets in network order."""
    address = 0x2001_4860_4860_0000
    rng = Random(1)
    for _ in range(50):
        node_id = draw_id(["2001:4860:4860::8888"], rng)
        masked = address & 0x0103070F1F3F7FFF | (node_id[-1] & 7) << 61
        expected = crc32c(masked.to_bytes(8))
        assert int.from_bytes(node_id[:3]) >> 3 == expected >> 11
        assert fits(node_id, "2001:4860:4860::8888")
        assert fits(node_id, "2001:4860:4860::1:2:3")  # of the same network
        assert not fits(node_id, "2606:4700::1111")


@pytest.mark.parametrize("host", ["10.0.0.1", "127.0.0.1", "192.168.1.1", "fe80::1", "fd00::1"])
def test_any_id_fits_an_address_that_is_not_global(host: str) -> None:
    assert fits(bytes(20), host)
    assert draw_id([host], Random(1)) == Random(1).randbytes(20)


def test_a_host_has_eight_places_and_no_more() -> None:
    rng = Random(1)
    ids = [draw_id(["10.0.0.1", "65.23.51.170", "8.8.8.8"], rng) for _ in range(500)]
    assert len({int.from_bytes(one[:3]) >> 3 for one in ids}) == 8
    assert len(set(ids)) == 500
    assert all(fits(one, "65.23.51.170") for one in ids)  # the first that is global


def test_in_a_full_bucket_who_fits_takes_the_place_of_who_does_not() -> None:
    own = bytes(20)
    table = RoutingTable(own)
    rng = Random(1)

    def contact(number: int, *, does_fit: bool) -> NodeContact:
        host = f"{20 + number}.1.2.3"
        while True:
            node_id = draw_id([host], rng) if does_fit else rng.randbytes(20)
            if node_id[0] & 0x80 and fits(node_id, host) == does_fit:
                return NodeContact(node_id, (host, 1))

    strangers = [contact(number, does_fit=False) for number in range(BUCKET_SIZE)]
    for one in strangers:
        table.note_answer(one, now=0.0)
    newcomers = [contact(50 + number, does_fit=True) for number in range(BUCKET_SIZE + 1)]
    table.note_answer(newcomers[0], now=1.0)
    assert table.knows(newcomers[0].id)
    assert not table.knows(strangers[0].id)
    for one in newcomers[1:]:
        table.note_answer(one, now=1.0)
    assert [table.knows(one.id) for one in newcomers] == [True] * BUCKET_SIZE + [False]
