"""Measures this machine. Blocking; everything here takes well under a second together.

Datagrams go from an address of this machine to the same address, so that none leaves it.
"""

from __future__ import annotations

import ipaddress
import os
import resource
import select
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

import ifaddr

from ...actors.rendezvous import check_user_folder
from ...transport.config import DATAGRAM_BYTES_MIN, TransportConfig
from .finding import Finding
from .machine import (
    Buffers,
    Echo,
    Interface,
    Package,
    Storage,
    is_at_least,
    judge_buffers,
    judge_datagrams,
    judge_extras,
    judge_open_files,
    judge_python,
    judge_rendezvous,
    judge_storage,
    judge_udp,
    parse_requirement,
)

ECHO_S: Final = 0.5
SYNCS: Final = 15
_BLOCK: Final = bytes(4096)
_DEVELOPERS: Final = "dev"


def check_machine(data: Path, wanted_extras: Sequence[str] = ()) -> list[Finding]:
    """Measure this machine, and return what is made of it.

    Args:
        data: The folder of logs.
        wanted_extras: The extras without which the node would not start.
    """
    config = TransportConfig()
    packages = read_packages()
    rendezvous, error = check_user_folder()
    loopback_bytes = next(
        (
            size
            for size in (config.datagram_bytes_loopback, DATAGRAM_BYTES_MIN)
            if not echo("127.0.0.1", size)
        ),
        0,
    )
    return [
        judge_python(sys.version_info[:3], packages),
        judge_extras(packages, wanted_extras),
        judge_udp(send_echoes()),
        judge_datagrams(read_interfaces(), loopback_bytes, config.datagram_bytes_loopback),
        judge_buffers(measure_buffers(config.socket_buffer_bytes)),
        judge_open_files(*read_open_files()),
        judge_rendezvous(str(rendezvous), error),
        *judge_storage(measure_storage(data)),
    ]


def read_packages() -> list[Package]:
    """Return the packages that this one uses, each with the installed version."""
    found = []
    for requirement in metadata.requires("mosaik-actors") or []:
        name, extra, least = parse_requirement(requirement)
        if extra == _DEVELOPERS:
            continue
        try:
            version: str | None = metadata.version(name)
        except metadata.PackageNotFoundError:
            version = None
        if version is not None and not is_at_least(version, least):
            version = None
        found.append(Package(name, extra, version))
    return found


def send_echoes() -> list[Echo]:
    """Send a datagram to each of this machine's addresses."""
    found = []
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            text = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            address = ipaddress.ip_address(text.partition("%")[0])
            if not address.is_link_local:
                host = str(address)
                found.append(Echo(host, address.is_loopback, echo(host, DATAGRAM_BYTES_MIN)))
    return found


def echo(host: str, size: int) -> str:
    """Send a datagram of `size` bytes from an address to itself; return why it did not come."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.bind((host, 0))
            sock.sendto(bytes(size), sock.getsockname())
            readable, _, _ = select.select([sock], [], [], ECHO_S)
            if not readable:
                return f"nothing within {ECHO_S:g} s"
            return "" if len(sock.recv(size + 1)) == size else "it arrived in part"
    except OSError as exc:
        return exc.strerror or str(exc)


def read_interfaces() -> list[Interface]:
    """Return the interfaces with addresses that are not loopback."""
    found = []
    for adapter in ifaddr.get_adapters():
        texts = [ip.ip if isinstance(ip.ip, str) else ip.ip[0] for ip in adapter.ips]
        if all(ipaddress.ip_address(text.partition("%")[0]).is_loopback for text in texts):
            continue
        try:
            mtu = int(Path("/sys/class/net", adapter.name, "mtu").read_text())
        except (OSError, ValueError):
            found.append(Interface(adapter.name, None))
        else:
            found.append(Interface(adapter.name, mtu))
    return found


def measure_buffers(wanted_bytes: int) -> Buffers:
    """Ask the kernel for the buffers of a UDP socket."""
    given = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, wanted_bytes)
            size = sock.getsockopt(socket.SOL_SOCKET, option)
            # Linux books twice what is asked for, to cover its own overhead (socket(7)).
            given.append(size // 2 if sys.platform == "linux" else size)
    return Buffers(given[0], given[1], wanted_bytes)


def read_open_files() -> tuple[int | None, int | None]:
    """Return the limit of open files, and how far it can be raised; None for no limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        None if soft == resource.RLIM_INFINITY else soft,
        None if hard == resource.RLIM_INFINITY else hard,
    )


def measure_storage(folder: Path) -> Storage:
    """Append to a new file in a folder and sync it, some times; the file is removed again."""
    try:
        mode = folder.stat().st_mode
        took = []
        with tempfile.TemporaryFile(dir=folder) as file:
            for _ in range(SYNCS):
                begun = time.perf_counter()
                os.write(file.fileno(), _BLOCK)
                os.fsync(file.fileno())
                took.append(time.perf_counter() - begun)
        return Storage(
            str(folder),
            mode=mode,
            free_bytes=shutil.disk_usage(folder).free,
            sync_s=tuple(took),
        )
    except OSError as exc:
        return Storage(str(folder), error=exc.strerror or str(exc))
