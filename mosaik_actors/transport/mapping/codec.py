"""What gateways are asked for mappings in: PCP (RFC 6887) and NAT-PMP (RFC 6886).

A pure module. Both are spoken at one port of the gateway. A gateway that knows NAT-PMP alone
answers a request of PCP with a version of 0 and `UNSUPPORTED_VERSION` (RFC 6887 appendix A).

Only mappings are asked for, and of PCP no options, which answers may have and are ignored
(RFC 6887 section 7.3).
"""

from __future__ import annotations

import ipaddress
import struct
from typing import Final

import msgspec

from ...errors import DecodeError

UDP: Final = 17
TCP: Final = 6
NONCE_BYTES: Final = 12
PCP_VERSION: Final = 2
NAT_PMP_VERSION: Final = 0
UNSUPPORTED_VERSION: Final = 1
ANSWER_BYTES_MAX: Final = 1100  # RFC 6887 section 7

_RESPONSE: Final = 0x80
_OPCODE_MAP: Final = 1
_NAT_PMP_OPCODES: Final = {UDP: 1, TCP: 2}

_PCP_REQUEST: Final = struct.Struct(">BBxxI16s")
_PCP_RESPONSE: Final = struct.Struct(">BBxBII12x")
_PCP_MAP: Final = struct.Struct(">12sB3xHH16s")
_NAT_PMP_REQUEST: Final = struct.Struct(">BBxxHHI")
_NAT_PMP_HEAD: Final = struct.Struct(">BBHI")
_NAT_PMP_MAPPED: Final = struct.Struct(">HHI")

_PCP_RESULTS: Final = (
    "success",
    "unsupported version",
    "not authorized",
    "malformed request",
    "unsupported operation",
    "unsupported option",
    "malformed option",
    "its network has failed",
    "it has no room",
    "unsupported protocol",
    "this user has too many mappings",
    "it cannot give that external address",
    "the request does not come from the address that it names: there is another NAT between",
    "too many remote peers",
)
_NAT_PMP_RESULTS: Final = (
    "success",
    "unsupported version",
    "not authorized, or mapping is turned off",
    "its network has failed",
    "it has no room",
    "unsupported operation",
)


class PcpMapped(msgspec.Struct, frozen=True):
    """The answer to a MAP request of PCP.

    Attributes:
        result: 0 for success.
        lifetime_s: How long the mapping is held; of an error how long to ask for no other.
        epoch_s: Since when the gateway has held mappings, in seconds.
        nonce: The request's; so are the protocol and `internal_port`.
        external: The address and port outside; means nothing without success.
    """

    result: int
    lifetime_s: int
    epoch_s: int
    nonce: bytes
    protocol: int
    internal_port: int
    external: tuple[str, int]


class NatPmpMapped(msgspec.Struct, frozen=True):
    """The answer to a request of NAT-PMP for a mapping; `result` is 0 for success."""

    result: int
    epoch_s: int
    protocol: int
    internal_port: int
    external_port: int
    lifetime_s: int


class NatPmpAddress(msgspec.Struct, frozen=True):
    """The answer of NAT-PMP to who asks for the gateway's external address."""

    result: int
    epoch_s: int
    host: str


class VersionRefused(msgspec.Struct, frozen=True):
    """The gateway does not know PCP in version 2, but perhaps NAT-PMP."""


Answer = PcpMapped | NatPmpMapped | NatPmpAddress | VersionRefused


def encode_pcp_map(
    own_host: str,
    nonce: bytes,
    protocol: int,
    internal_port: int,
    lifetime_s: int,
    external: tuple[str, int] | None = None,
) -> bytes:
    """Return a MAP request of PCP.

    Args:
        own_host: Where it is sent from.
        nonce: What the answer has to repeat: `NONCE_BYTES`.
        protocol: `UDP` or `TCP`.
        internal_port: What is to be reached from outside.
        lifetime_s: For how long; 0 ends the mapping.
        external: The address and port outside that were had before; None for any.
    """
    host, port = external or ("0.0.0.0", 0)
    head = _PCP_REQUEST.pack(PCP_VERSION, _OPCODE_MAP, lifetime_s, _pack_host(own_host))
    return head + _PCP_MAP.pack(nonce, protocol, internal_port, port, _pack_host(host))


def encode_nat_pmp_map(
    protocol: int, internal_port: int, lifetime_s: int, external_port: int = 0
) -> bytes:
    """Return a request of NAT-PMP for a mapping, or to end one with a lifetime of 0."""
    opcode = _NAT_PMP_OPCODES[protocol]
    return _NAT_PMP_REQUEST.pack(NAT_PMP_VERSION, opcode, internal_port, external_port, lifetime_s)


def encode_nat_pmp_address() -> bytes:
    """Return a request of NAT-PMP for the gateway's external address."""
    return bytes((NAT_PMP_VERSION, 0))


def decode_answer(data: bytes) -> Answer:
    """Return what a gateway has answered.

    Raises:
        DecodeError: It is no answer of either protocol.
    """
    if len(data) < _NAT_PMP_HEAD.size or len(data) > ANSWER_BYTES_MAX or not data[1] & _RESPONSE:
        raise DecodeError("not an answer of PCP or NAT-PMP")
    if data[0] == PCP_VERSION:
        return _decode_pcp(data)
    if data[0] == NAT_PMP_VERSION:
        return _decode_nat_pmp(data)
    if len(data) >= _PCP_RESPONSE.size and data[3] == UNSUPPORTED_VERSION:
        return VersionRefused()
    raise DecodeError(f"an answer of version {data[0]}")


def _decode_pcp(data: bytes) -> Answer:
    if len(data) % 4 or len(data) < _PCP_RESPONSE.size:
        raise DecodeError(f"an answer of PCP with {len(data)} bytes")
    _, opcode, result, lifetime_s, epoch_s = _PCP_RESPONSE.unpack_from(data)
    if result == UNSUPPORTED_VERSION:
        return VersionRefused()
    if opcode != _RESPONSE | _OPCODE_MAP or len(data) < _PCP_RESPONSE.size + _PCP_MAP.size:
        raise DecodeError("an answer of PCP to no MAP request")
    nonce, protocol, internal_port, port, host = _PCP_MAP.unpack_from(data, _PCP_RESPONSE.size)
    external = (_unpack_host(host), port)
    return PcpMapped(result, lifetime_s, epoch_s, nonce, protocol, internal_port, external)


def _decode_nat_pmp(data: bytes) -> Answer:
    _, opcode, result, epoch_s = _NAT_PMP_HEAD.unpack_from(data)
    if result == UNSUPPORTED_VERSION:
        return VersionRefused()
    rest = data[_NAT_PMP_HEAD.size :]
    if opcode == _RESPONSE:
        if len(rest) != 4 and result == 0:
            raise DecodeError("an answer of NAT-PMP without an address")
        host = str(ipaddress.IPv4Address(rest)) if len(rest) == 4 else "0.0.0.0"
        return NatPmpAddress(result, epoch_s, host)
    for protocol, asked in _NAT_PMP_OPCODES.items():
        if opcode == _RESPONSE | asked and len(rest) == _NAT_PMP_MAPPED.size:
            internal_port, external_port, lifetime_s = _NAT_PMP_MAPPED.unpack(rest)
            return NatPmpMapped(result, epoch_s, protocol, internal_port, external_port, lifetime_s)
    raise DecodeError(f"an answer of NAT-PMP to operation {opcode & 0x7F}")


def describe_result(result: int, *, is_pcp: bool) -> str:
    """Return in words why a gateway refuses."""
    words = _PCP_RESULTS if is_pcp else _NAT_PMP_RESULTS
    return words[result] if result < len(words) else f"result {result}"


def _pack_host(host: str) -> bytes:
    address = ipaddress.ip_address(host)
    if isinstance(address, ipaddress.IPv6Address):
        return address.packed
    return b"\0" * 10 + b"\xff\xff" + address.packed  # RFC 6887 section 5


def _unpack_host(packed: bytes) -> str:
    address = ipaddress.IPv6Address(packed)
    return str(address.ipv4_mapped or address)
