"""What stands in a slot of the DHT: where a peer is.

A record is a DNS packet, as pkarr stores it, so that its tools can read an open network's::

    _id.<key> 600 IN TXT "<peer id>"
    _ip.<key> 600 IN TXT "<host:port>"      one for each address
    _r.<key>  600 IN TXT "<relay>"          where there is one

``<key>`` is the slot's public key in z-base-32. The item's sequence number is the time it was
written, in microseconds. In a network with a secret the packet is sealed (ChaCha20-Poly1305,
RFC 8439) under a key of network and secret: whoever stores it learns nothing.

A record is a hint, written by whoever knows the network's name: who answers at an address
proves its identity and its network. It is bounded, and refused with a reason, all the same.
A core: no time.
"""

from __future__ import annotations

from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from dns.rdtypes.ANY.TXT import TXT

from ..errors import DecodeError
from ..ids import PeerId
from ..transport.address import PeerAddr, format_socket_addr, parse_socket_addr
from .bencode import Value

TTL_S: Final = 600
PACKET_BYTES_MAX: Final = 900
ADDR_COUNT_MAX: Final = 4
TEXTS_MAX: Final = 16
TEXT_BYTES_MAX: Final = 255
NONCE_BYTES: Final = 12

_SEALED: Final = b"\x01"
_ALPHABET: Final = "ybndrfg8ejkmcpqxot1uwisza345h769"


def z_base_32(data: bytes) -> str:
    """Return bytes in z-base-32 (the spelling of keys in pkarr): 52 characters for 32 bytes."""
    bits = len(data) * 8
    digits = -(-bits // 5)
    number = int.from_bytes(data, "big") << (digits * 5 - bits)
    return "".join(_ALPHABET[number >> (5 * at) & 31] for at in reversed(range(digits)))


def encode_record(
    addr: PeerAddr, slot_key: bytes, seal_key: bytes | None = None, nonce: bytes = b""
) -> Value:
    """Return what is stored in a slot.

    Args:
        addr: The peer, with at most `ADDR_COUNT_MAX` addresses.
        slot_key: The slot's public key.
        seal_key: What the record is sealed with; None in an open network.
        nonce: `NONCE_BYTES` never used with `seal_key` before.
    """
    texts = [("_id", str(addr.peer_id))]
    texts += [("_ip", format_socket_addr(one)) for one in addr.direct[:ADDR_COUNT_MAX]]
    if addr.relay and len(addr.relay) <= TEXT_BYTES_MAX:
        texts.append(("_r", addr.relay))
    message = dns.message.Message(id=0)
    message.flags = dns.flags.QR | dns.flags.AA
    origin = z_base_32(slot_key)
    for name, text in texts:
        owner = dns.name.from_text(f"{name}.{origin}.")
        rrset = message.find_rrset(
            dns.message.ANSWER, owner, dns.rdataclass.IN, dns.rdatatype.TXT, create=True
        )
        rrset.add(TXT(dns.rdataclass.IN, dns.rdatatype.TXT, [text]), TTL_S)
    packet = message.to_wire(want_shuffle=False)  # the most likely address comes first
    if seal_key is None:
        return packet
    return _SEALED + nonce + ChaCha20Poly1305(seal_key).encrypt(nonce, packet, slot_key)


def decode_record(value: Value, slot_key: bytes, seal_key: bytes | None = None) -> PeerAddr:
    """Return the peer of a record.

    Raises:
        DecodeError: It is no record, too large, or was sealed with another key.
    """
    if not isinstance(value, bytes):
        raise DecodeError("a record is no byte string")
    packet = value if seal_key is None else _unseal(value, slot_key, seal_key)
    if len(packet) > PACKET_BYTES_MAX:
        raise DecodeError(f"a record has {len(packet)} bytes, at most {PACKET_BYTES_MAX}")
    try:
        message = dns.message.from_wire(packet)
        texts = _read_texts(message, z_base_32(slot_key))
        peer = PeerId(_only(texts, "_id"))
        addrs = tuple(parse_socket_addr(one) for one in texts.get("_ip", ())[:ADDR_COUNT_MAX])
        relay = _only(texts, "_r") if "_r" in texts else None
        return PeerAddr(peer, addrs, relay)
    except (dns.exception.DNSException, ValueError, TypeError) as exc:
        raise DecodeError(f"not the record of a peer: {exc}") from exc


def _unseal(value: bytes, slot_key: bytes, seal_key: bytes) -> bytes:
    head = len(_SEALED)
    if not value.startswith(_SEALED):
        raise DecodeError("a record is not sealed")
    nonce, sealed = value[head : head + NONCE_BYTES], value[head + NONCE_BYTES :]
    try:
        return ChaCha20Poly1305(seal_key).decrypt(nonce, sealed, slot_key)
    except (InvalidTag, ValueError):
        raise DecodeError("a record was sealed with another key") from None


def _read_texts(message: dns.message.Message, origin: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    count = 0
    for rrset in message.answer:
        name, _, rest = rrset.name.to_text().partition(".")
        if rrset.rdtype != dns.rdatatype.TXT or rest.rstrip(".").lower() != origin:
            continue
        for record in rrset:
            count += 1
            if count > TEXTS_MAX:
                raise ValueError(f"more than {TEXTS_MAX} texts")
            text = b"".join(getattr(record, "strings", ()))
            found.setdefault(name, []).append(text.decode("ascii"))
    return found


def _only(texts: dict[str, list[str]], name: str) -> str:
    if len(texts.get(name, ())) != 1:
        raise ValueError(f"there is not one {name}")
    return texts[name][0]
