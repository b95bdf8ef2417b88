"""The simulated network: what joins the nodes of a cluster, and what may go wrong on it.

Two fidelities with one interface:

    * ``link``: the links of the in-memory transport, delayed. For hundreds of
      nodes. Loss and bandwidth show as delay, as on a stream that retransmits.
    * ``quic``: real QUIC endpoints, their datagrams carried by the simulation.
      Loss, duplication, reordering and the path's MTU hit real datagrams.

One direction between two nodes is a `Path` with conditions and a generator of
its own. Every delivery goes into the trace: in ``link`` with a checksum of its
content, in ``quic`` with its size only, since keys and padding differ from run
to run. So do peers that connect and disconnect.

Where ``link`` differs from ``quic``, and from a real network: dialling a peer
that cannot be reached is refused at once, and a connection stands as soon as
it is wanted, without a handshake.
"""

from __future__ import annotations

import asyncio
import contextvars
import socket
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Literal

from ..clock import Clock, Randomness
from ..errors import ConfigError
from ..ids import NetworkId, PeerId, SecretKey
from ..transport.address import SocketAddr
from ..transport.config import TransportConfig
from ..transport.endpoint import QuicEndpoint
from ..transport.frames import ControlFrame, encode_control
from ..transport.interface import ConnectionEvent, Endpoint, PeerConnected
from ..transport.memory import MemoryEndpoint, MemoryNetwork
from ..transport.relay.frames import RELAY_NETWORK
from ..transport.sockets import DatagramPort
from .conditions import NetworkConditions, Path
from .nat import Nat, NatKind
from .trace import Trace

Fidelity = Literal["link", "quic"]

PORT = 4433
INBOX_BYTES_MAX = 4 << 20  # what a port holds for a node that does not read, as a socket's buffer


@dataclass(slots=True)
class Traffic:
    """What one node has sent and been sent so far."""

    messages_sent: int = 0
    bytes_sent: int = 0
    messages_received: int = 0
    bytes_received: int = 0


class SimNetwork(MemoryNetwork):
    """The network of one simulation.

    Args:
        loop: The simulation's event loop.
        randomness: Where its paths draw from.
        trace: Where its deliveries are noted.
        conditions: How its paths are, until `set_conditions`.
        fidelity: "link" or "quic".
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        randomness: Randomness,
        trace: Trace,
        conditions: NetworkConditions,
        fidelity: Fidelity = "link",
    ) -> None:
        super().__init__()
        if fidelity not in ("link", "quic"):
            raise ConfigError(f"fidelity is {fidelity!r}, expected 'link' or 'quic'")
        self.loop = loop
        self.fidelity = fidelity
        self.trace = trace
        self.traces_messages = True
        self.conditions = conditions
        self.traffic: dict[PeerId, Traffic] = {}
        self._randomness = randomness
        self._paths: dict[tuple[PeerId, PeerId], Path] = {}
        self._names: dict[PeerId, str] = {}
        self._ports: dict[SocketAddr, SimPort] = {}
        self._nats: dict[str, Nat] = {}
        self._nats_outside: dict[str, Nat] = {}
        # Datagrams on their way to a port, by when they arrive: one timer for a burst of them.
        self._arriving: dict[tuple[SimPort, float], list[tuple[PeerId, bytes, SocketAddr]]] = {}
        self._context = contextvars.copy_context()

    async def open_endpoint(
        self,
        name: str,
        address: str,
        network_id: NetworkId,
        secret_key: SecretKey,
        config: TransportConfig,
        clock: Clock,
        randomness: Randomness,
        nat: NatKind | None = None,
        secrets: Sequence[bytes] = (),
    ) -> Endpoint:
        """Return a new presence on the network for the node called `name`.

        Args:
            name: What the trace calls it.
            address: Its numeric address; means something in "quic" only.
            network_id: The network whose links it accepts.
            secret_key: Its identity.
            config: The transport's settings.
            clock: The node's clocks.
            randomness: Where the node draws from.
            nat: The kind of NAT that it is behind; means something in "quic" only.
            secrets: The network's secrets.
        """
        peer_id = secret_key.peer_id
        self._names[peer_id] = name
        self.traffic.setdefault(peer_id, Traffic())
        endpoint: Endpoint
        if self.fidelity == "link":
            endpoint = MemoryEndpoint(self, network_id, secret_key, config, secrets)
        else:
            if nat is not None and address not in self._nats:
                self._add_nat(nat, address)
            number = next(n for n in count(PORT) if (address, n) not in self._ports)
            port = SimPort(self, peer_id, (address, number))
            self._ports[port.at] = port
            rng = randomness.branch("transport" if network_id != RELAY_NETWORK else "relay")
            ports: list[DatagramPort] = [port]
            # Native packets draw from the system: no run would be like another one.
            config = replace(config, quic_engine="aioquic")
            endpoint = QuicEndpoint(network_id, secret_key, ports, clock, rng, config, secrets)
        endpoint.on_connection_event(lambda event: self._note_connection(name, event))
        return endpoint

    def name(self, peer_id: PeerId) -> str:
        """Return what the trace calls a peer."""
        return self._names.get(peer_id, peer_id.short)

    def set_conditions(
        self,
        conditions: NetworkConditions,
        sender: PeerId | None = None,
        receiver: PeerId | None = None,
    ) -> None:
        """Change how the path from `sender` to `receiver` is; None stands for every node."""
        if sender is None and receiver is None:
            self.conditions = conditions
            for path in self._paths.values():
                path.conditions = conditions
            return
        for one in self._names if sender is None else (sender,):
            for other in self._names if receiver is None else (receiver,):
                if one != other:
                    self._path(one, other).conditions = conditions

    def move(self, address: str, to: str, nat: NatKind | None = None) -> None:
        """Give a node another address; its endpoints notice when they `look_where`.

        Args:
            address: The one that it has, which is gone from now on.
            to: The one that it gets.
            nat: The kind of NAT that it is behind there.
        """
        if nat is not None and to not in self._nats:
            self._add_nat(nat, to)
        for at, port in list(self._ports.items()):
            if at[0] == address:
                del self._ports[at]
                port.at = (to, at[1])
                self._ports[port.at] = port

    # What the in-memory transport asks.

    def plan_delay(self, sender: PeerId, receiver: PeerId, size: int) -> float:
        """Return after how many seconds a chunk of a stream arrives."""
        now = self.loop.time()
        return self._path(sender, receiver).plan_chunk(size, now=now) - now

    def rtt(self, one: PeerId, other: PeerId) -> float:
        """Return a usual round-trip time between two peers in seconds."""
        return self._path(one, other).usual_delay() + self._path(other, one).usual_delay()

    def note(self, sender: PeerId, receiver: PeerId, frames: list[bytes | ControlFrame]) -> None:
        """Count and trace what was delivered on a link."""
        parts = [frame if type(frame) is bytes else encode_control(frame) for frame in frames]  # type: ignore[arg-type]
        size = sum(map(len, parts))
        self._count(sender, receiver, size)
        if self.traces_messages:
            checksum = 0
            for part in parts:
                checksum = zlib.crc32(part, checksum)
            self._trace(sender, receiver, f"{len(parts)} frames, {size} bytes, {checksum:08x}")

    # Datagrams.

    def carry(self, port: SimPort, data: bytes, remote: SocketAddr) -> None:
        """Take a datagram from a port and let its copies arrive, or not."""
        now = self.loop.time()
        source = port.at
        if nat := self._nats.get(source[0]):
            source = nat.send(source, remote, now=now)
        target = self._find_port(source, remote, now)
        if target is None or not self.reaches(port.peer_id, target.peer_id):
            return
        for arrival in self._path(port.peer_id, target.peer_id).plan_datagram(len(data), now=now):
            together = self._arriving.setdefault((target, arrival), [])
            if not together:
                # On the network's account: a sender that stands still does not hold it up.
                self.loop.call_at(arrival, self._arrive, target, arrival, context=self._context)
            together.append((port.peer_id, data, source))

    def release(self, port: SimPort) -> None:
        """Forget a port that was closed."""
        if self._ports.get(port.at) is port:
            del self._ports[port.at]

    def _arrive(self, target: SimPort, arrival: float) -> None:
        """Deliver what arrives at a port at the same instant, in the order it was sent."""
        for sender, data, source in self._arriving.pop((target, arrival)):
            if target.is_closed or not self.reaches(sender, target.peer_id):
                continue
            if not target.take(data, source):
                continue
            self._count(sender, target.peer_id, len(data))
            if self.traces_messages:
                self._trace(sender, target.peer_id, f"{len(data)} bytes")

    def _find_port(self, source: SocketAddr, remote: SocketAddr, now: float) -> SimPort | None:
        """Return the port that a datagram to `remote` ends up at, None when none takes it."""
        if nat := self._nats_outside.get(remote[0]):
            inside = nat.receive(remote, source, now=now)
            return None if inside is None else self._ports.get(inside)
        if remote[0] in self._nats:
            return None  # an address behind a NAT means nothing outside
        return self._ports.get(remote)

    def _add_nat(self, kind: NatKind, inside: str) -> None:
        number = len(self._nats)
        nat = Nat(kind, f"198.18.{number // 250}.{number % 250 + 1}")
        self._nats[inside] = self._nats_outside[nat.address] = nat

    def _note_connection(self, name: str, event: ConnectionEvent) -> None:
        other = self.name(event.peer_id)
        if isinstance(event, PeerConnected):
            self.trace.add(self.loop.time(), "peer", f"{name} is connected to {other}")
        else:
            self.trace.add(self.loop.time(), "peer", f"{name} lost {other}: {event.reason}")

    def _path(self, sender: PeerId, receiver: PeerId) -> Path:
        path = self._paths.get((sender, receiver))
        if path is None:
            rng = self._randomness.branch(f"path {self.name(sender)}>{self.name(receiver)}")
            path = self._paths[sender, receiver] = Path(self.conditions, rng)
        return path

    def _count(self, sender: PeerId, receiver: PeerId, size: int) -> None:
        sent, received = self.traffic[sender], self.traffic[receiver]
        sent.messages_sent += 1
        sent.bytes_sent += size
        received.messages_received += 1
        received.bytes_received += size

    def _trace(self, sender: PeerId, receiver: PeerId, text: str) -> None:
        self.trace.add(
            self.loop.time(), "message", f"{self.name(sender)} > {self.name(receiver)}  {text}"
        )


class SimPort:
    """A datagram port on the simulated network."""

    family = int(socket.AF_INET)
    is_on_all_interfaces = False  # tests look by themselves: simulated nodes mostly stay

    def __init__(self, network: SimNetwork, peer_id: PeerId, addr: SocketAddr) -> None:
        self.at = addr
        self.addrs = self.local_addrs = [addr]
        self.peer_id = peer_id
        self.is_closed = False
        self._network = network
        self._inbox: deque[tuple[bytes, SocketAddr]] = deque()
        self._inbox_bytes = 0
        self._context = contextvars.copy_context()  # reading is the node's business
        self._on_readable: Callable[[DatagramPort], None] | None = None
        self._is_woken = False

    def look_anew(self) -> bool:
        """Look where others can reach it by now; return whether that has changed."""
        before = self.addrs
        self.addrs = self.local_addrs = [self.at]
        return before != self.addrs

    def start(self, on_readable: Callable[[DatagramPort], None]) -> None:
        """Call `on_readable` whenever there is something to `read`."""
        self._on_readable = on_readable

    def take(self, data: bytes, source: SocketAddr) -> bool:
        """Put a datagram where `read` finds it, and return whether there was room for it."""
        if self._inbox_bytes + len(data) > INBOX_BYTES_MAX:
            return False
        self._inbox.append((data, source))
        self._inbox_bytes += len(data)
        self._wake()
        return True

    def read(self) -> tuple[bytes, SocketAddr] | None:
        """Return the next datagram and where it came from, None when there is none."""
        if not self._inbox:
            return None
        data, source = self._inbox.popleft()
        self._inbox_bytes -= len(data)
        return data, source

    def send(self, data: bytes, remote: SocketAddr) -> None:
        """Give a datagram to the network."""
        if not self.is_closed:
            self._network.carry(self, data, remote)

    def close(self) -> None:
        """Stop; what comes for it from now on is lost."""
        self.is_closed = True
        self._inbox.clear()
        self._inbox_bytes = 0
        self._network.release(self)

    def _wake(self) -> None:
        if not self._is_woken and self._on_readable is not None:
            self._is_woken = True
            self._network.loop.call_soon(self._read_all, context=self._context)

    def _read_all(self) -> None:
        self._is_woken = False
        if self.is_closed or self._on_readable is None:
            return
        self._on_readable(self)
        if self._inbox:
            self._wake()
