"""What was measured of this machine, and the judgement of it.

A pure module: each `judge_` takes measured values and returns a finding. Durations are
seconds, sizes are bytes. The limits below are the only opinions in here.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from .finding import Finding, fail, ok, skip, warn

PYTHON_MIN: Final = (3, 11)
# A QUIC packet of 1,200 bytes (RFC 9000 section 14) with the headers of UDP and IP.
MTU_MIN_IPV4: Final = 1228
MTU_MIN_IPV6: Final = 1280
IP_UDP_BYTES: Final = 28
OPEN_FILES_MIN: Final = 128
OPEN_FILES_GOOD: Final = 1024
SYNC_UNREAL_S: Final = 20e-6
SYNC_SLOW_S: Final = 0.02
SYNC_BROKEN_S: Final = 0.5
FREE_LOW_BYTES: Final = 1_000_000_000
FREE_MIN_BYTES: Final = 100_000_000
LOOKUP_SLOW_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Package:
    """A package that the library uses.

    Attributes:
        name: The package.
        extra: The extra that brings it; empty for those that are always needed.
        version: Which one is installed; None when none is, or one that is too old.
    """

    name: str
    extra: str
    version: str | None


@dataclass(frozen=True, slots=True)
class Echo:
    """A datagram that this machine sent to an address of its own; `error` is empty if it came."""

    host: str
    is_loopback: bool
    error: str


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface other than loopback, with its largest packet; None where unknown."""

    name: str
    mtu_bytes: int | None


@dataclass(frozen=True, slots=True)
class Buffers:
    """What the kernel gave a UDP socket that asked for `wanted_bytes` in both directions."""

    receive_bytes: int
    send_bytes: int
    wanted_bytes: int


@dataclass(frozen=True, slots=True)
class Storage:
    """A folder in which groups keep their logs.

    Attributes:
        folder: Its path.
        error: Why it cannot be written to; empty if it can.
        mode: Its permissions; None where it cannot be looked at.
        free_bytes: The room that is left there.
        sync_s: How long appending 4 KiB and one `fsync` took, several times.
    """

    folder: str
    error: str = ""
    mode: int | None = None
    free_bytes: int = 0
    sync_s: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class NameLookup:
    """A host that the system's resolver was asked for; `error` is empty if it answered."""

    host: str
    addrs: tuple[str, ...]
    took_s: float
    error: str


_REQUIREMENT = re.compile(r"([A-Za-z0-9_.-]+)\s*(?:>=\s*([0-9.]+))?")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")


def parse_requirement(text: str) -> tuple[str, str, str]:
    """Return the package, the extra and the least version of a line of a package's metadata."""
    named, _, marker = text.partition(";")
    match = _REQUIREMENT.match(named.strip())
    assert match is not None, "the metadata is our own"
    extra = _EXTRA.search(marker)
    return match[1], "" if extra is None else extra[1], match[2] or "0"


def is_at_least(version: str, least: str) -> bool:
    """Return whether a version is not older than another, by the numbers that they begin with."""
    return _numbers(version) >= _numbers(least)


def _numbers(version: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", version)[: version.count(".") + 1]]


def median(values: Sequence[float]) -> float:
    """Return the middle one of some values, the upper one of two."""
    return sorted(values)[len(values) // 2]


def judge_python(version: tuple[int, int, int], packages: Sequence[Package]) -> Finding:
    """Judge the interpreter, and the packages without which nothing runs."""
    found = "Python " + ".".join(map(str, version))
    missing = [one.name for one in packages if not one.extra and one.version is None]
    if version[:2] < PYTHON_MIN:
        return fail("python", found, "install Python 3.11 or newer, and mosaik-actors with it")
    if missing:
        text = f"{found}; not installed: {', '.join(missing)}"
        return fail("python", text, "install mosaik-actors anew: its dependencies are not whole")
    return ok("python", found)


def judge_extras(packages: Sequence[Package], wanted: Collection[str]) -> Finding:
    """Judge the optional packages; those of the extras in `wanted` were asked for."""
    extras = {one.extra: True for one in packages if one.extra}
    for one in packages:
        if one.extra and one.version is None:
            extras[one.extra] = False
    there = [f"{one.name} {one.version}" for one in packages if one.extra and one.version]
    lacking = [extra for extra, is_whole in extras.items() if not is_whole]
    found = f"installed: {', '.join(there) or 'none'}"
    if lacking:
        found += f"; extras that are not there: {', '.join(lacking)}"
    if asked := [extra for extra in lacking if extra in wanted]:
        return fail("extras", found, f"pip install 'mosaik-actors[{','.join(asked)}]'")
    if "quic-native" in lacking:
        advice = "pip install 'mosaik-actors[quic-native]': a sixth of the CPU on real networks"
        return warn("extras", found, advice)
    return ok("extras", found)


def judge_udp(echoes: Sequence[Echo]) -> Finding:
    """Judge whether datagrams reach this machine's own addresses."""
    bad = [one for one in echoes if one.error]
    remote = [one.host for one in echoes if not one.is_loopback]
    if bad:
        found = "no datagram arrived at " + ", ".join(f"{one.host} ({one.error})" for one in bad)
        return fail("udp", found, "a firewall of this machine drops UDP: allow it, also on lo")
    if not echoes:
        return fail("udp", "this machine has no address", "bring an interface up, lo at least")
    if not remote:
        found = "only the loopback interface has an address"
        return warn("udp", found, "other machines cannot be reached: connect this one to a network")
    return ok("udp", f"datagrams arrive at {', '.join(one.host for one in echoes)}")


def judge_datagrams(
    interfaces: Sequence[Interface], loopback_bytes: int, wanted_loopback_bytes: int
) -> Finding:
    """Judge the largest packet of each interface, and the largest datagram over loopback."""
    known = [(one.name, one.mtu_bytes) for one in interfaces if one.mtu_bytes is not None]
    parts = [f"{name} {mtu} (datagrams up to {mtu - IP_UDP_BYTES})" for name, mtu in known]
    found = "; ".join([*parts, f"loopback carries datagrams of {loopback_bytes} bytes"])
    advice = "set a larger MTU ('ip link set dev NAME mtu 1500'), also of the VPN if it is one"
    if any(mtu < MTU_MIN_IPV4 for _, mtu in known):
        return fail("mtu", found, f"QUIC needs {MTU_MIN_IPV4} bytes: {advice}")
    if any(mtu < MTU_MIN_IPV6 for _, mtu in known):
        return warn("mtu", found, f"IPv6 needs {MTU_MIN_IPV6} bytes: {advice}")
    if loopback_bytes < wanted_loopback_bytes:
        advice = f"'ip link set dev lo mtu 65536', or datagram_bytes_loopback={loopback_bytes}"
        return warn("mtu", found, advice)
    return ok("mtu", found)


def judge_buffers(buffers: Buffers) -> Finding:
    """Judge what the kernel gives to a UDP socket."""
    found = (
        f"{buffers.receive_bytes} bytes to receive and {buffers.send_bytes} to send, "
        f"asked for {buffers.wanted_bytes}"
    )
    if min(buffers.receive_bytes, buffers.send_bytes) >= buffers.wanted_bytes:
        return ok("buffers", found)
    wanted = buffers.wanted_bytes
    return warn(
        "buffers",
        f"{found}: datagrams that come at once may be lost",
        f"sysctl -w net.core.rmem_max={wanted} net.core.wmem_max={wanted}, and the same in "
        "/etc/sysctl.d for the next start",
    )


def judge_open_files(soft: int | None, hard: int | None) -> Finding:
    """Judge how many files and sockets a process may have open; None is without a limit."""
    if soft is None:
        return ok("open files", "no limit")
    found = f"{soft} for a process, at most {'no limit' if hard is None else hard} when raised"
    advice = (
        f"ulimit -n {OPEN_FILES_GOOD * 4}, or LimitNOFILE= in the unit: each process on this "
        "machine that a node talks to takes one, each group with a log three"
    )
    if soft < OPEN_FILES_MIN:
        return fail("open files", found, advice)
    if soft < OPEN_FILES_GOOD:
        return warn("open files", found, advice)
    return ok("open files", found)


def judge_rendezvous(folder: str, error: str) -> Finding:
    """Judge the private folder through which nodes of one user meet; `error` is empty if fine."""
    if not error:
        return ok("rendezvous", f"{folder} is private, and files in it can be locked")
    return fail(
        "rendezvous",
        error,
        f"give {folder} to this user alone (chmod 700), remove it, or name another place in "
        "MOSAIK_RUNTIME_DIR; or use bootstrap= and rendezvous=False",
    )


def judge_storage(storage: Storage) -> list[Finding]:
    """Judge the folder of logs: its permissions, the room in it, and how fast it syncs."""
    if storage.error:
        advice = "make the folder, owned by the user that runs the node, or name another (--data)"
        return [fail("storage", f"{storage.folder}: {storage.error}", advice)]
    return [_judge_permissions(storage), _judge_room(storage), _judge_sync(storage)]


def _judge_permissions(storage: Storage) -> Finding:
    mode = storage.mode
    if mode is not None and mode & (stat.S_IWGRP | stat.S_IWOTH) and not mode & stat.S_ISVTX:
        found = f"{storage.folder} can be written to by others (mode {stat.S_IMODE(mode):o})"
        return warn("storage", found, f"chmod go-w {storage.folder}")
    return ok("storage", f"{storage.folder} can be written to")


def _judge_room(storage: Storage) -> Finding:
    found = f"{storage.free_bytes / 1e9:.1f} GB are free in {storage.folder}"
    advice = "make room: a group whose log cannot be written stops voting"
    if storage.free_bytes < FREE_MIN_BYTES:
        return fail("free space", found, advice)
    if storage.free_bytes < FREE_LOW_BYTES:
        return warn("free space", found, advice)
    return ok("free space", found)


def _judge_sync(storage: Storage) -> Finding:
    middle, worst = median(storage.sync_s), max(storage.sync_s)
    found = (
        f"4 KiB and a sync take {middle * 1000:.2f} ms (median of {len(storage.sync_s)}), "
        f"{worst * 1000:.2f} ms at most"
    )
    advice = "every commit of a group waits for one sync: use a local SSD for its log"
    if middle > SYNC_BROKEN_S:
        return fail("sync", found, f"{advice}; so slow a disk makes leaders change")
    if middle > SYNC_SLOW_S:
        return warn("sync", found, advice)
    if middle < SYNC_UNREAL_S:
        return warn(
            "sync",
            f"{found}: no disk is so fast",
            "the folder is in memory, or its file system does not sync: what is acknowledged is "
            "lost with the power; name a folder on a disk (--data)",
        )
    return ok("sync", found)


def judge_lookups(lookups: Sequence[NameLookup]) -> Finding:
    """Judge how the system's resolver did with the hosts that were named."""
    if not lookups:
        return skip("dns", "no host name was given (--resolve, --dht-bootstrap)")
    bad = [one for one in lookups if one.error]
    slow = [one for one in lookups if not one.error and one.took_s > LOOKUP_SLOW_S]
    if bad:
        found = "; ".join(f"{one.host}: {one.error}" for one in bad)
        advice = "check the name, and the resolver in /etc/resolv.conf"
        # A DHT and a list of peers need one that answers.
        return (
            fail("dns", found, advice) if len(bad) == len(lookups) else warn("dns", found, advice)
        )
    found = "; ".join(f"{one.host} is {', '.join(one.addrs[:4])}" for one in lookups)
    if slow:
        text = ", ".join(f"{one.host} took {one.took_s:.1f} s" for one in slow)
        return warn("dns", text, "the first resolver of /etc/resolv.conf may be dead: replace it")
    return ok("dns", found)
