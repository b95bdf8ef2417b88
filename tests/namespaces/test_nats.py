"""Real processes in network namespaces, behind NATs of every kind: who is direct, who relayed.

No packet leaves this machine: the namespaces are joined with each other alone. Where they, or
TUN devices, are not to be had, the tests are skipped with the reason. In `make test` a few pairs
stand for all; ``MOSAIK_ALL_NATS=1`` tries all pairs.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mosaik_actors.testing import TIME_FACTOR
from mosaik_actors.testing.nat import NatKind
from tests import nat_pairs
from tests.e2e.command import EXECUTABLE

from .nat_boxes import Box, World

RELAY_HOST, PUBLIC_HOST = "203.0.113.1", "203.0.113.2"  # RFC 5737: for documentation
HAS_ALL = bool(os.environ.get("MOSAIK_ALL_NATS"))
FEW_PAIRS = [
    ("port_restricted", "port_restricted"),
    ("port_restricted", "symmetric"),
]
PAIRS = nat_pairs.PAIRS if HAS_ALL else FEW_PAIRS


@dataclass(frozen=True)
class Pair:
    """Two nodes, of which the first one moves.

    Attributes:
        carrier: What carries their connection, before and afterwards.
        nats: What they are behind.
        has_relay: Whether they meet at a relay.
        has_udp: Whether their NATs let UDP through.
        may_lose: Whether items may be lost, as a connection is made anew.
    """

    carrier: str
    nats: tuple[NatKind | None, NatKind | None]
    has_relay: bool = False
    has_udp: bool = True
    may_lose: bool = False


ALL_MOVES = {
    "quic": Pair("quic", ("full_cone", None)),
    "tcp": Pair("tcp", ("full_cone", None), may_lose=True),
    "direct path": Pair("quic", ("port_restricted", "port_restricted"), has_relay=True),
    "relay over tcp": Pair("relay", ("symmetric", "symmetric"), has_relay=True, has_udp=False),
}
FEW_MOVES = ("quic", "tcp")
MOVES = tuple(ALL_MOVES) if HAS_ALL else FEW_MOVES
PAUSE_ITEMS = 40
PAUSE_S_MAX = 2.0 * TIME_FACTOR  # one second, and what two busy processors add
WRITES = 40  # a few seconds of them
ITEMS_WHILE_RELAYED = 100  # five seconds: probing has long been given up by then


def why_not() -> str | None:
    """Return why there are no namespaces here, None when there are."""
    if not Path("/dev/net/tun").exists():
        return "there is no /dev/net/tun"
    try:
        run = subprocess.run(
            ["unshare", "--net", "ip", "link", "set", "lo", "up"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as exc:
        return str(exc)
    return run.stderr.strip() or "not permitted" if run.returncode else None


REASON = why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"no network namespaces: {REASON}")


@contextmanager
def namespace() -> Iterator[str]:
    """Give the path of a new network namespace, which ends with the block."""
    holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE)
    path, own = Path(f"/proc/{holder.pid}/ns/net"), Path("/proc/self/ns/net").readlink()
    try:
        while path.readlink() == own:
            assert holder.poll() is None, "unshare has ended"
        yield str(path)
    finally:
        holder.communicate()


class Process:
    """A process in a namespace, whose lines are read one by one.

    Attributes:
        where: Where its peers are, as it said last.
        carrier: What carries its connection, as it said last.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.where = ""
        self.carrier = ""
        self._process = process

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    async def line(self) -> str:
        """Return the next line; the end of the process is a failure."""
        assert self._process.stdout is not None
        async with asyncio.timeout(60 * TIME_FACTOR):
            line = await self._process.stdout.readline()
        assert line, f"it ended: {await self._process.wait()}"
        return line.decode().strip()

    async def says(self, key: str) -> dict[str, Any]:
        """Return the next line that says something of `key`."""
        while True:
            line = await self.line()
            if not line.startswith("{"):
                continue
            said = dict(json.loads(line))
            self.where = str(said.get("where", self.where))
            self.carrier = said.get("carrier", self.carrier)
            if key in said:
                return said

    async def longest_pause(self, count: int) -> float:
        """Wait for so many items; return for how many seconds none came."""
        first = said = await self.says("got")
        pause_s = float(first["pause_s"])
        while said["got"] < first["got"] + count:
            said = await self.says("got")
            pause_s = max(pause_s, said["pause_s"])
        return pause_s

    async def until_carried_by(self, *carriers: str) -> int:
        """Wait until the connection is carried so; return how many items have come."""
        while (said := await self.says("carrier"))["carrier"] not in carriers:
            pass
        return int(said["got"])

    async def carrier_after(self, count: int) -> str:
        """Return what carries the connection once so many items have come."""
        while (said := await self.says("carrier"))["got"] < count:
            pass
        return str(said["carrier"])


class Internet:
    """A public namespace, and machines behind NATs at its edge."""

    def __init__(self, stack: AsyncExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self._public = stack.enter_context(namespace())
        self._boxes: list[Box] = []

    def machine(self, kind: Any, *, has_udp: bool = True, has_tcp: bool = True) -> str:
        """Return the namespace of a new machine behind a NAT, or of the public ones."""
        if kind is None:
            return self._public
        number = len(self._boxes)
        inside = self._stack.enter_context(namespace())
        self._boxes.append(
            Box(inside, kind, f"203.0.113.{11 + number}", f"10.0.{number}.2", has_udp, has_tcp)
        )
        return inside

    async def connect(self) -> None:
        """Join all that there is."""
        world = World(self._public, (RELAY_HOST, PUBLIC_HOST), tuple(self._boxes))
        self._nats = await self._start("-m", "tests.namespaces.nat_boxes", world.encode())
        assert await self._nats.line() == "ready"

    def swap(self) -> None:
        """Have the NATs drop what they let through, and let through what they dropped."""
        self._nats.signal(signal.SIGUSR1)

    def change(self, machine: str, *arguments: str) -> None:
        """Have ip(8) change something on a machine."""
        subprocess.run(["nsenter", f"--net={machine}", "ip", *arguments], check=True)

    async def relay(self) -> str:
        """Start a relay with a public address, and return its address."""
        key = str(self._folder / "relay.key")
        relay = await self._start(
            *(str(EXECUTABLE), "relay", "--bind", f"{RELAY_HOST}:443", "--key-file", key),
            inside=self._public,
        )
        while not (found := re.search(r"[0-9a-f]{64}@[0-9.]+:443", await relay.line())):
            pass
        return found.group()

    async def node(self, name: str, machine: str, **options: str) -> Process:
        """Start a node on a machine."""
        pairs = ((f"--{key}", value) for key, value in options.items())
        given = [text for pair in pairs for text in pair if text]
        bind = ["--bind", f"{PUBLIC_HOST}:0"] if machine == self._public else []
        return await self._start("-m", "tests.namespaces.node", name, *bind, *given, inside=machine)

    async def member(self, name: str, machine: str, bootstrap: str = "") -> Process:
        """Start a member of the group on a machine."""
        host = PUBLIC_HOST if machine == self._public else "0.0.0.0"
        return await self._start(
            "-m", "tests.namespaces.member", name, host, bootstrap, inside=machine
        )

    async def _start(self, *arguments: str, inside: str | None = None) -> Process:
        enter = ["nsenter", f"--net={inside}"] if inside else []
        process = await asyncio.create_subprocess_exec(
            *enter,
            sys.executable,
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"MOSAIK_RUNTIME_DIR": str(self._folder)},
        )

        async def end() -> None:
            if process.returncode is None:
                process.kill()
            await process.communicate()

        self._stack.push_async_callback(end)
        return Process(process)


@pytest.fixture
async def internet(tmp_path: Path) -> AsyncIterator[Internet]:
    """Give an empty one."""
    async with AsyncExitStack() as stack:
        yield Internet(stack, tmp_path)


@pytest.mark.parametrize("kinds", PAIRS, ids=str)
async def test_pairs_behind_nats_are_direct_where_their_nats_allow_it(
    internet: Internet, kinds: tuple[NatKind | None, NatKind | None]
) -> None:
    """Both send all the while: no item is lost or out of order while they move."""
    machines = [internet.machine(kind) for kind in kinds]
    await internet.connect()
    relay = await internet.relay()
    a = await internet.node("a", machines[0], relay=relay)
    peer = (await a.says("peer"))["peer"]
    b = await internet.node("b", machines[1], relay=relay, bootstrap=peer)
    for one in (a, b):
        if nat_pairs.is_punchable(*kinds):
            await one.until_carried_by("quic", "tcp")
        else:
            assert await one.carrier_after(ITEMS_WHILE_RELAYED) == "relay"


@pytest.mark.parametrize("name", MOVES)
async def test_a_machine_that_gets_another_address_goes_on(internet: Internet, name: str) -> None:
    """Within a second, and mostly without losing an item. Others learn where it is."""
    pair = ALL_MOVES[name]
    inside, other = [internet.machine(kind, has_udp=pair.has_udp) for kind in pair.nats]
    await internet.connect()
    options = {"gaps": ""} if pair.may_lose else {}
    if pair.has_relay:
        options["relay"] = await internet.relay()
    else:
        options["carrier"] = pair.carrier
    a = await internet.node("a", other, **options)
    addr = (await a.says("addr"))["addr"]
    bootstrap = addr.partition("@")[0] if pair.has_relay else addr
    b = await internet.node("b", inside, bootstrap=bootstrap, **options)
    for one in (a, b):
        await one.until_carried_by(pair.carrier)
        assert await one.carrier_after(20) == pair.carrier
    for change in (("add", "10.1.0.77/24"), ("del", "10.0.0.2/24")):
        internet.change(inside, "addr", change[0], change[1], "dev", "lan")
    internet.change(inside, "route", "replace", "default", "dev", "lan")
    pauses = await asyncio.gather(a.longest_pause(PAUSE_ITEMS), b.longest_pause(PAUSE_ITEMS))
    assert max(pauses) < PAUSE_S_MAX
    while "10.1.0.77" not in a.where:
        await a.says("where")
    for one in (a, b):
        assert one.carrier == pair.carrier


async def test_a_network_that_drops_udp_needs_no_setting(internet: Internet) -> None:
    """To a public node over TCP, at the address that says nothing of it."""
    public, inside = internet.machine(None), internet.machine("symmetric", has_udp=False)
    await internet.connect()
    a = await internet.node("a", public)
    addr = (await a.says("addr"))["addr"]
    b = await internet.node("b", inside, bootstrap=addr)
    assert await b.carrier_after(20) == "tcp"


async def test_two_networks_that_drop_udp_meet_at_a_relay(internet: Internet) -> None:
    """Which they reach over TCP, at port 443."""
    machines = [internet.machine("symmetric", has_udp=False) for _ in range(2)]
    await internet.connect()
    relay = await internet.relay()
    a = await internet.node("a", machines[0], relay=relay)
    peer = (await a.says("peer"))["peer"]
    b = await internet.node("b", machines[1], relay=relay, bootstrap=peer)
    for one in (a, b):
        assert await one.carrier_after(20) == "relay"


async def test_udp_that_is_blocked_under_load_costs_no_more_than_a_connection(
    internet: Internet,
) -> None:
    """The pair goes on over TCP, which was not to be had before; what was acknowledged is there."""
    public, inside = internet.machine(None), internet.machine("full_cone", has_tcp=False)
    await internet.connect()
    a = await internet.member("a", public)
    b = await internet.member("b", inside, (await a.says("addr"))["addr"])
    async with asyncio.timeout(120 * TIME_FACTOR):
        for one in (a, b):
            while (said := await one.says("acknowledged"))["acknowledged"] < WRITES:
                assert said["carrier"] in (None, "quic")
        internet.swap()
        for one, other in ((a, b), (b, a)):
            while (said := await one.says("acknowledged"))["carrier"] != "tcp":
                pass
            while (await other.says("held"))["held"].get(said["name"], 0) < said["acknowledged"]:
                pass
