"""A stranger with every capability but the secret, against two nodes that are busy.

    python -m tests.attacks.strangers 600

Two honest nodes in one process exchange frames as fast as they can. Another process, which
has heard all that they said and knows the network's name, then does all of this at once:

    * replays datagrams of theirs, also changed in places;
    * floods them with garbage, with what looks like the begin of connections, and with
      true begins of connections that it never finishes;
    * completes handshakes and proves the name without the secret;
    * completes handshakes and sends its proof byte by byte;
    * connects to its TCP port, and babbles, or begins a handshake byte by byte.

Both say what they spend. The honest process does nothing else, so what the attack costs
it is what it has less for frames: frames for each second of CPU, which the load of the
machine changes little. Nobody may be admitted, what comes back to the
attacker is less than what it sends, and memory does not grow with the time.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import cast

from mosaik_actors.clock import LoopClock
from mosaik_actors.ids import SecretKey
from mosaik_actors.transport.address import PeerAddr, SocketAddr
from mosaik_actors.transport.close import SHUTDOWN
from mosaik_actors.transport.config import TransportConfig
from mosaik_actors.transport.endpoint import QuicEndpoint
from mosaik_actors.transport.interface import Link, LinkRefused
from mosaik_actors.transport.sockets import UdpPort
from tests.unit.transport.raw import RawPeer, Stranger, configuration, raw_client
from tests.waiting import until

NETWORK, SECRET = "attacked", b"what the stranger does not have"
FRAMES = [bytes(1000)] * 64
UNSENT_BYTES_MAX = 1 << 20
RECORDED_MAX = 200
TURN_S = 0.02
DATAGRAMS_PER_S = 2000
HANDSHAKES_PER_S = 20
SLOW_MAX = 16
WARM_UP_S = 2.0


@dataclass
class Spent:
    """What the honest process has done so far."""

    frames: int
    cpu_s: float
    rss_mb: float
    peers: int
    bytes_received: int  # from strangers and friends
    admitted: int
    refused: int
    deferred: int


async def start(
    name: str, carrier: str | None = None, network: str = NETWORK, secret: bytes | None = SECRET
) -> QuicEndpoint:
    """Start an endpoint on loopback, for one carrier alone if named."""
    return await QuicEndpoint.start(
        network,
        SecretKey.from_seed(name),
        clock=LoopClock(asyncio.get_running_loop()),
        rng=Random(os.urandom(8)),
        secrets=[secret] if secret else [],
        config=TransportConfig(carriers=(carrier,) if carrier else "auto"),
    )


# The honest process.


async def be_honest() -> None:
    """Exchange frames until killed; say once a second, and when asked, what was spent."""
    recorded: list[str] = []
    read = UdpPort.read

    def record(port: UdpPort) -> tuple[bytes, SocketAddr] | None:
        found = read(port)
        if found is not None and len(recorded) < RECORDED_MAX:
            recorded.append(found[0].hex())
        return found

    UdpPort.read = record  # type: ignore[assignment,method-assign]
    victim, friend = await start("victim"), await start("friend", "quic")
    count = 0

    def accept(link: Link) -> None:
        nonlocal count

        def take(event: object) -> None:
            nonlocal count
            count += len(getattr(event, "frames", ()))

        link.attach(take)
        link.accept()

    victim.serve("p", accept)
    link = await friend.open_link(victim.addr, "p")
    link.attach(lambda event: None)

    async def write() -> None:
        while True:
            while link.unsent_bytes < UNSENT_BYTES_MAX:
                link.write_many(FRAMES)
            await asyncio.sleep(0)

    writing = asyncio.get_running_loop().create_task(write())
    await until(lambda: len(recorded) == RECORDED_MAX)
    UdpPort.read = read  # type: ignore[method-assign]
    say([str(victim.addr), recorded])
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while await reader.readline():
        counters = victim.counters
        spent = Spent(
            frames=count,
            cpu_s=time.process_time(),
            rss_mb=_rss_mb(),
            peers=len(victim.connected_peers()),
            bytes_received=counters.bytes_received,
            admitted=counters.connections_opened,
            refused=counters.datagrams_refused,
            deferred=counters.handshakes_deferred,
        )
        say(asdict(spent))
    writing.cancel()


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


def say(value: object) -> None:
    """Write a line for whoever started this process."""
    sys.stdout.write(f"{json.dumps(value)}\n")
    sys.stdout.flush()


# The attacker.


class Flood(asyncio.DatagramProtocol):
    """Sends datagrams of all kinds, and counts what comes back."""

    def __init__(self, addr: SocketAddr, recorded: list[bytes]) -> None:
        self.sent_bytes = 0
        self.answer_bytes = 0
        self._addr = addr
        self._recorded = recorded
        self._rng = Random(1)
        self._number = 0
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.answer_bytes += len(data)

    async def run(self) -> None:
        while True:
            for _ in range(int(DATAGRAMS_PER_S * TURN_S)):
                data = self._next()
                self.sent_bytes += len(data)
                self._transport.sendto(data, self._addr)
            await asyncio.sleep(TURN_S)

    def _next(self) -> bytes:
        self._number += 1
        rng, kind = self._rng, self._number % 4
        heard = rng.choice(self._recorded)
        if kind == 0:
            return heard
        if kind == 1:
            at = rng.randrange(len(heard))
            return heard[:at] + rng.randbytes(1) + heard[at + 1 :]
        if kind == 2:
            return rng.randbytes(rng.randrange(1, 1400))
        head = b"\xc0" + (1).to_bytes(4) + b"\x08" + rng.randbytes(8) + b"\x08" + rng.randbytes(8)
        return head + b"\0\x44\x70" + rng.randbytes(1200 - len(head) - 3)


async def prove_wrongly(addr: PeerAddr) -> None:
    """Complete handshakes with new keys, and prove the name without the secret."""
    number = 0
    while True:
        number += 1
        carrier = ("quic", "tcp")[number % 2]
        stranger = await start(f"stranger {number}", carrier, secret=None)
        with suppress(LinkRefused, TimeoutError):
            await stranger.open_link(addr, "p", timeout=0.5)
        await stranger.close(SHUTDOWN)
        await asyncio.sleep(1 / HANDSHAKES_PER_S)


async def be_slow(addr: SocketAddr) -> None:
    """Complete handshakes, and send a proof byte by byte."""
    async with AsyncExitStack() as stack:
        clients: list[tuple[RawPeer, int]] = []
        while True:
            if len(clients) < SLOW_MAX:
                client = await stack.enter_async_context(
                    raw_client(addr, configuration(), kind=Stranger)
                )
                clients.append((client, client._quic.get_next_available_stream_id()))
            for client, stream_id in clients:
                with suppress(Exception):
                    client.send(b"\x01", stream_id=stream_id)
            await asyncio.sleep(0.1)


async def babble(addr: SocketAddr) -> None:
    """Connect to the TCP port; send what is no handshake, or one that has no end."""
    rng = Random(2)
    slow: list[asyncio.StreamWriter] = []
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection(*addr)
            if len(slow) < SLOW_MAX:
                writer.write(b"\x16\x03\x01\x40\x00")
                slow.append(writer)
            else:
                writer.write(rng.randbytes(rng.randrange(1, 5000)))
                writer.transport.abort()
        slow = [one for one in slow if not one.is_closing()]
        for one in slow:
            one.write(b"\0")
        await asyncio.sleep(1 / HANDSHAKES_PER_S)


class Honest:
    """The other process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.attacks.strangers", "honest"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        addr, recorded = json.loads(self._readline())
        self.addr = PeerAddr.parse(addr)
        self.recorded = [bytes.fromhex(one) for one in recorded]

    async def spent(self) -> Spent:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        line = await asyncio.get_running_loop().run_in_executor(None, self._readline)
        return Spent(**json.loads(line))

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _readline(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@dataclass
class AttackOutcome:
    """What came of it."""

    throughput: float  # under attack, of what it was before
    grown_mb: float
    admitted: int
    peers: int
    sent_mb: float
    answered_mb: float
    attacker_cpu_s: float
    node_cpu_s: float
    deferred: int
    refused: int


async def attack(quiet_s: float, attack_s: float) -> AttackOutcome:
    """Run both, and return what they spent."""
    honest = Honest()
    try:
        await asyncio.sleep(min(quiet_s, WARM_UP_S))
        begin = await honest.spent()
        await asyncio.sleep(quiet_s)
        calm = await honest.spent()
        addr = honest.addr.direct[0]
        transport, flood = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: Flood(addr, honest.recorded), local_addr=("127.0.0.1", 0)
        )
        cpu_s = time.process_time()
        tasks = [
            asyncio.ensure_future(one)
            for one in (flood.run(), prove_wrongly(honest.addr), be_slow(addr), babble(addr))
        ]
        await asyncio.sleep(attack_s / 3)
        early = await honest.spent()
        await asyncio.sleep(attack_s * 2 / 3)
        late = await honest.spent()
        cpu_s = time.process_time() - cpu_s
        assert not any(task.done() for task in tasks), "the attack goes on until the end"
        transport.abort()
    finally:
        honest.end()
    before = (calm.frames - begin.frames) / (calm.cpu_s - begin.cpu_s)
    under = (late.frames - calm.frames) / (late.cpu_s - calm.cpu_s)
    return AttackOutcome(
        throughput=under / before,
        grown_mb=late.rss_mb - early.rss_mb,
        admitted=late.admitted - calm.admitted,
        peers=late.peers,
        sent_mb=flood.sent_bytes / 1e6,
        answered_mb=flood.answer_bytes / 1e6,
        attacker_cpu_s=cpu_s,
        node_cpu_s=(late.cpu_s - calm.cpu_s) * max(0.0, 1 - under / before),
        deferred=late.deferred,
        refused=late.refused - calm.refused,
    )


def main() -> None:
    """Run for as long as asked, ten minutes by default."""
    if sys.argv[1:] == ["honest"]:
        asyncio.run(be_honest())
        return
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
    asyncio.run(report(seconds))


async def report(seconds: float) -> None:
    """Attack, say what came of it, and exit: to take leave of each connection takes longer."""
    outcome = await attack(seconds / 10, seconds * 9 / 10)
    say(asdict(outcome))
    is_fine = outcome.throughput > 0.7 and outcome.grown_mb < 20 and not outcome.admitted
    os._exit(0 if is_fine else 1)


if __name__ == "__main__":
    main()
