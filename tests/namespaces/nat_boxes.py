"""NATs in user space, each between two TUN devices in network namespaces.

    python -m tests.namespaces.nat_boxes SPECIFICATION

What a NAT does to addresses is `mosaik_actors.testing.nat`'s, the model of the simulation; here it
is applied to the packets of real kernels: IPv4 with UDP and TCP. The specification is the
JSON of a `World`. The process says ``ready`` and runs until it is killed; the devices go with it.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import selectors
import signal
import struct
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from socket import inet_aton, inet_ntoa
from typing import Any

from mosaik_actors.testing.nat import Nat
from mosaik_actors.transport.address import SocketAddr

TCP, UDP = 6, 17
_CHECKSUM_AT = {TCP: 16, UDP: 6}
_PACKET_BYTES_MAX = 65_536
_PACKETS_PER_TURN = 64
_CLONE_NEWNET = 0x40000000  # setns(2)
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # if_tun.h


@dataclass(frozen=True)
class Box:
    """One NAT.

    Attributes:
        inside: The namespace of the machine behind it.
        kind: How it behaves.
        outside_host: Its address in the public namespace.
        inside_host: The machine's.
        has_udp: Whether it lets UDP through.
        has_tcp: Whether it lets TCP through. When this process gets SIGUSR1, each box lets
            through what it did not, and no longer what it did.
    """

    inside: str
    kind: Any
    outside_host: str
    inside_host: str
    has_udp: bool = True
    has_tcp: bool = True


@dataclass(frozen=True)
class World:
    """A public namespace, the addresses of its machines, and the NATs at its edge."""

    public: str
    public_hosts: tuple[str, ...]
    boxes: tuple[Box, ...] = field(default=())

    def encode(self) -> str:
        """Return it as text."""
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> World:
        """Return what `encode` made text of."""
        found = json.loads(text)
        boxes = tuple(Box(**one) for one in found["boxes"])
        return cls(found["public"], tuple(found["public_hosts"]), boxes)


def enter(namespace: str) -> None:
    """Move this process into a network namespace."""
    fd = os.open(namespace, os.O_RDONLY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(fd, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
    finally:
        os.close(fd)


def open_tun(name: str) -> int:
    """Return the descriptor of a new device in this namespace."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return fd


def ip(*arguments: str) -> None:
    """Set something up in this namespace, as ``ip ...`` does (iproute2)."""
    subprocess.run(["ip", *arguments], check=True)


class NatBox:
    """Moves packets between two devices, and changes their addresses."""

    def __init__(self, box: Box, inside_fd: int, outside_fd: int) -> None:
        self.inside_fd = inside_fd
        self.outside_fd = outside_fd
        self._nats = {kind: Nat(box.kind, box.outside_host) for kind in (TCP, UDP)}
        self._passes = {TCP: box.has_tcp, UDP: box.has_udp}

    def swap(self) -> None:
        """Let through what was dropped, and drop what was let through."""
        self._passes = {kind: not passes for kind, passes in self._passes.items()}

    def move(self, fd: int) -> None:
        """Take packets from one side to the other."""
        is_outward = fd == self.inside_fd
        to = self.outside_fd if is_outward else self.inside_fd
        for _ in range(_PACKETS_PER_TURN):
            try:
                packet = bytearray(os.read(fd, _PACKET_BYTES_MAX))
            except BlockingIOError:
                return
            if self.translate(packet, is_outward=is_outward, now=time.monotonic()):
                try:
                    os.write(to, packet)
                except OSError:  # what a full queue or a device that goes away drops
                    return

    def translate(self, packet: bytearray, *, is_outward: bool, now: float) -> bool:
        """Change the addresses of a packet in place; return whether it may pass."""
        if len(packet) < 28 or packet[0] >> 4 != 4:
            return False
        head_bytes = (packet[0] & 15) * 4
        nat = self._nats.get(packet[9])
        if nat is None or not self._passes[packet[9]] or len(packet) < head_bytes + 8:
            return False
        source = _read(packet, 12, head_bytes)
        remote = _read(packet, 16, head_bytes + 2)
        if is_outward:
            _write(packet, nat.send(source, remote, now=now), 12, head_bytes, head_bytes)
            return True
        inside = nat.receive(remote, source, now=now)
        if inside is None:
            return False
        _write(packet, inside, 16, head_bytes + 2, head_bytes)
        return True


def _read(packet: bytearray, host_at: int, port_at: int) -> SocketAddr:
    host = inet_ntoa(bytes(packet[host_at : host_at + 4]))
    return host, int.from_bytes(packet[port_at : port_at + 2])


def _write(
    packet: bytearray, addr: SocketAddr, host_at: int, port_at: int, head_bytes: int
) -> None:
    """Put an address in a packet, and have its checksums hold."""
    host, port = inet_aton(addr[0]), addr[1].to_bytes(2)
    before = bytes(packet[host_at : host_at + 4])
    ports_before = bytes(packet[port_at : port_at + 2])
    packet[host_at : host_at + 4], packet[port_at : port_at + 2] = host, port
    _adjust(packet, 10, before, host)
    checksum_at = head_bytes + _CHECKSUM_AT[packet[9]]
    if any(packet[checksum_at : checksum_at + 2]):  # over IPv4 UDP may do without
        _adjust(packet, checksum_at, before + ports_before, host + port)


def _adjust(packet: bytearray, at: int, before: bytes, after: bytes) -> None:
    """Correct a checksum for what was changed (RFC 1624, equation 3)."""
    total = ~int.from_bytes(packet[at : at + 2]) & 0xFFFF
    for start in range(0, len(before), 2):
        total += ~int.from_bytes(before[start : start + 2]) & 0xFFFF
        total += int.from_bytes(after[start : start + 2])
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    packet[at : at + 2] = (~total & 0xFFFF).to_bytes(2)


def main() -> None:
    """Set the devices up, and move packets until killed."""
    world = World.decode(sys.argv[1])
    selector = selectors.DefaultSelector()
    boxes: list[NatBox] = []

    def swap(*_: object) -> None:
        for one in boxes:
            one.swap()

    signal.signal(signal.SIGUSR1, swap)
    for number, box in enumerate(world.boxes):
        enter(box.inside)
        inside_fd = open_tun("lan")
        ip("link", "set", "lo", "up")
        ip("addr", "add", f"{box.inside_host}/24", "dev", "lan")
        ip("link", "set", "lan", "up")
        ip("route", "add", "default", "dev", "lan")
        enter(world.public)
        outside_fd = open_tun(f"nat{number}")
        ip("link", "set", f"nat{number}", "up")
        ip("route", "add", f"{box.outside_host}/32", "dev", f"nat{number}")
        boxes.append(one := NatBox(box, inside_fd, outside_fd))
        for fd in (inside_fd, outside_fd):
            selector.register(fd, selectors.EVENT_READ, one)
    enter(world.public)
    ip("link", "set", "lo", "up")
    for host in world.public_hosts:
        ip("addr", "add", f"{host}/32", "dev", "lo")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        for key, _ in selector.select():
            key.data.move(key.fd)


if __name__ == "__main__":
    main()
