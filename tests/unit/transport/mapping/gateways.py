"""Gateways for tests: what one answers, byte for byte, as RFC 6886 and RFC 6887 draw it."""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

from mosaik_actors import TransportConfig
from mosaik_actors.transport.address import SocketAddr
from mosaik_actors.transport.mapping.codec import TCP, UDP

OUTSIDE = "203.0.113.7"


@dataclass
class Gateway:
    """One gateway.

    Attributes:
        knows: The protocols that it speaks.
        outside: Its external address.
        lifetime_s: The longest that it maps for.
        result: What it refuses with; 0 for success.
        epoch_s: Since when it has held mappings.
        taken: Ports outside that others have, by protocol.
        mapped: The ports outside of protocols and ports inside.
        requests: What came, newest last.
    """

    knows: tuple[str, ...] = ("PCP", "NAT-PMP")
    outside: str = OUTSIDE
    lifetime_s: int = 7200
    result: int = 0
    epoch_s: int = 1000
    taken: dict[int, set[int]] = field(default_factory=dict)
    mapped: dict[tuple[int, int], int] = field(default_factory=dict)
    requests: list[bytes] = field(default_factory=list)

    def answer(self, data: bytes, source: SocketAddr) -> list[bytes]:
        """Return what it answers."""
        self.requests.append(data)
        if data[0] == 2:
            if "PCP" in self.knows:
                return [self._answer_pcp(data, source)]
            # RFC 6887 appendix A: as NAT-PMP answers what it does not understand.
            refusal = struct.pack(">BBHI", 0, 0x80 | data[1], 1, self.epoch_s)
            return [refusal] if "NAT-PMP" in self.knows else []
        return [self._answer_nat_pmp(data)] if "NAT-PMP" in self.knows else []

    def _map(self, protocol: int, inside: int, wanted: int, lifetime_s: int) -> tuple[int, int]:
        if lifetime_s == 0:
            return self.mapped.pop((protocol, inside), 0), 0
        port = self.mapped.get((protocol, inside)) or wanted or inside
        while port in self.taken.get(protocol, ()):
            port += 1
        if not self.result:
            self.mapped[protocol, inside] = port
        return port, min(lifetime_s, self.lifetime_s)

    def _answer_pcp(self, data: bytes, source: SocketAddr) -> bytes:
        _, opcode, lifetime_s, client = struct.unpack(">BBxxI16s", data[:24])
        nonce, protocol, inside, wanted, _ = struct.unpack(">12sB3xHH16s", data[24:])
        result = self.result
        if opcode == 1 and ipaddress.IPv6Address(client).ipv4_mapped != ipaddress.ip_address(
            source[0]
        ):
            result = 12
        port, held_s = self._map(protocol, inside, wanted, lifetime_s)
        if self.result:
            held_s = 60
        host = b"\0" * 10 + b"\xff\xff" + ipaddress.ip_address(self.outside).packed
        head = struct.pack(">BBxBII12x", 2, 0x81, result, held_s, self.epoch_s)
        return head + struct.pack(">12sB3xHH16s", nonce, protocol, inside, port, host)

    def _answer_nat_pmp(self, data: bytes) -> bytes:
        if data[1] == 0:
            host = ipaddress.ip_address(self.outside).packed
            return struct.pack(">BBHI", 0, 0x80, self.result, self.epoch_s) + host
        _, opcode, inside, wanted, lifetime_s = struct.unpack(">BBxxHHI", data)
        port, held_s = self._map({1: UDP, 2: TCP}[opcode], inside, wanted, lifetime_s)
        head = struct.pack(">BBHI", 0, 0x80 | opcode, self.result, self.epoch_s)
        return head + struct.pack(">HHI", inside, port, held_s)


class GatewayProtocol(asyncio.DatagramProtocol):
    """A gateway at a real socket."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        for answer in self.gateway.answer(data, addr):
            self._transport.sendto(answer, addr)


@asynccontextmanager
async def serving(gateway: Gateway) -> AsyncIterator[TransportConfig]:
    """Give the settings with which a gateway at loopback is asked."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: GatewayProtocol(gateway), local_addr=("127.0.0.1", 0)
    )
    port = transport.get_extra_info("sockname")[1]
    try:
        yield TransportConfig(port_mapping=True, port_gateway=f"127.0.0.1:{port}")
    finally:
        transport.close()
