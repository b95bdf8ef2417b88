"""The DHT actor: nodes that share nothing but a network's name find each other.

Receives: `StartDht` first, `LeaveDht` last; `_Arrived` from its own socket.
Sends: `PeersSighted` to the gossip actor; `DhtLeft` in the end.
Owns: the `Meeting`, with a DHT node and the network's slots, and its UDP socket.
Failure: when the socket cannot be had or no name of an entry node can be resolved the reason
    is logged, and the latter is tried again; what comes wrong from outside is counted and
    dropped.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from thespian.actors import ActorAddress, ActorExitRequest, WakeupMessage

from ..dht.chain import PeersFound, SlotChain
from ..dht.config import parse_host_port
from ..dht.meeting import Meeting
from ..dht.messages import DhtLeft, LeaveDht, StartDht
from ..dht.node import DhtNode, SendDatagram
from ..dht.node_id import draw_id
from ..dht.routing import is_global
from ..dht.slots import derive_slots
from ..discovery.mdns import choose_addrs
from ..discovery.messages import PeersSighted
from ..errors import TransportError
from ..node import Node
from ..runtime import TypeDispatcher
from ..transport.address import PeerAddr, SocketAddr
from ..transport.sockets import DatagramPort, bind_udp, family_of

logger = logging.getLogger(__name__)

_DATAGRAMS_PER_TURN = 64
_BUFFER_BYTES = 256 * 1024
_RESOLVE_AGAIN_S = 30.0


@dataclass(frozen=True, slots=True)
class _Arrived:
    pass


@dataclass(frozen=True, slots=True)
class _TimerDue:
    due_at: float


@dataclass(frozen=True, slots=True)
class _JoinDue:
    pass


class DhtActor(TypeDispatcher):
    """Reads the slots of the network, and keeps one of its own."""

    def __init__(self) -> None:
        self._node: Node
        self._gossip: ActorAddress
        self._start: StartDht
        self._meeting: Meeting
        self._port: DatagramPort | None = None
        self._has_arrived = False
        self._due_at = inf

    # Lifecycle.

    async def receiveMsg_StartDht(self, message: StartDht, _sender: ActorAddress) -> None:
        """Open the socket, and join through the nodes of the settings."""
        self._start, self._gossip = message, message.gossip
        self._node = node = message.node
        config = message.config
        try:
            addr, loop = parse_host_port(config.bind), asyncio.get_running_loop()
            self._port = bind_udp(addr, _BUFFER_BYTES, loop)
        except TransportError as error:
            logger.warning("no DHT: its socket cannot be had: %s", error)
            return
        slots = derive_slots(node.endpoint.keys)
        rng = node.randomness.branch("dht")
        chain = SlotChain(
            slots,
            node.peer_id,
            rng=rng,
            is_private=node.endpoint.keys.has_secret,
            is_claiming=config.claims,
        )
        is_ipv6 = self._port.family == socket.AF_INET6
        own_id = draw_id([host for host, _ in self._port.addrs], rng)
        dht_node = DhtNode(own_id, rng=rng, serves=config.serves, is_ipv6=is_ipv6)
        self._meeting = Meeting(dht_node, chain, slots)
        self._port.start(self._note_arrival)
        await self._join()

    def receiveMsg_LeaveDht(self, _message: LeaveDht, sender: ActorAddress) -> None:
        """Give the socket back; the record of this node expires by itself."""
        self._close()
        self.send(sender, DhtLeft())

    def receiveMsg_ActorExitRequest(
        self, _message: ActorExitRequest, _sender: ActorAddress
    ) -> None:
        """Give the socket back, if nobody asked for it before."""
        self._close()

    # What arrives.

    def receiveMsg__Arrived(self, _message: _Arrived, _sender: ActorAddress) -> None:
        """Read what waits at the socket; the rest in another turn."""
        self._has_arrived = False
        if self._port is None:
            return
        now, wall = self._read_clocks()
        for _ in range(_DATAGRAMS_PER_TURN):
            try:
                found = self._port.read()
            except OSError:
                continue  # an answer of the network to something that was sent
            if found is None:
                break
            self._meeting.receive_data(*found, now=now, wall=wall)
        self._pump()

    # Timers.

    async def receiveMsg_WakeupMessage(self, message: WakeupMessage, _sender: ActorAddress) -> None:
        """Do what is due."""
        if self._port is None:
            return
        if isinstance(message.payload, _JoinDue):
            await self._join()
        elif message.payload == _TimerDue(self._due_at):
            self._due_at = inf
            self._look_around()
            now, wall = self._read_clocks()
            self._meeting.handle_timer(now=now, wall=wall)
            self._pump()

    # Helpers.

    def _read_clocks(self) -> tuple[float, float]:
        return self._node.clock.monotonic(), self._node.clock.wall()

    def _note_arrival(self, _port: DatagramPort) -> None:
        if not self._has_arrived:
            self._has_arrived = True
            self.send(self.myAddress, _Arrived())

    async def _join(self) -> None:
        config = self._start.config
        addrs = await resolve(config.bootstrap, family_of(parse_host_port(config.bind)[0]))
        if self._port is None:
            return  # closed meanwhile
        if not addrs and config.bootstrap:
            text = "no DHT so far: none of its first nodes could be resolved: %s"
            names, now = ", ".join(config.bootstrap), self._node.clock.monotonic()
            self._node.peer_log.info(logger, None, text, names, now=now)
            self.wakeupAfter(_RESOLVE_AGAIN_S, _JoinDue())
            return
        if addrs and not any(is_global(host) for host, _ in addrs):
            self._meeting.chain.believe_private()  # it is a DHT of the user's own
        self._look_around()
        now, wall = self._read_clocks()
        self._meeting.begin(addrs, now=now, wall=wall)
        self._pump()

    def _look_around(self) -> None:
        """Take in where this node is now, and who else is known to be there."""
        now = self._node.clock.monotonic()
        self._meeting.chain.set_addr(self._own_addr(), now=now)
        self._meeting.chain.note_reached(self._start.known_peers())

    def _own_addr(self) -> PeerAddr:
        """Return where this node hears, and where it may be heard behind a NAT.

        A NAT that forwards the port, as those of clouds and of home routers told to, shows
        the node at the host that other nodes of the DHT see, with the port that it has.
        """
        addr = self._node.endpoint.addr
        direct = list(choose_addrs(addr))
        seen = self._meeting.node.seen_host
        if seen is not None and direct and all(host != seen for host, _ in direct):
            direct.insert(0, (seen, direct[0][1]))
        return PeerAddr(addr.peer_id, tuple(direct), addr.relay)

    def _pump(self) -> None:
        if self._port is None:
            return
        for effect in self._meeting.take_effects():
            match effect:
                case SendDatagram(data, addr):
                    self._send(data, addr)
                case PeersFound(addrs):
                    self.send(self._gossip, PeersSighted("dht", addrs))
        due_at = self._meeting.timer_s
        if due_at < self._due_at:
            self._due_at = due_at
            delay = max(0.0, due_at - self._node.clock.monotonic())
            self.wakeupAfter(delay, _TimerDue(due_at))

    def _send(self, data: bytes, addr: SocketAddr) -> None:
        assert self._port is not None
        try:
            self._port.send(data, addr)
        except OSError as error:
            # Full buffers, no route: as good as lost on the way, and asked again.
            logger.debug("nothing goes to %s: %s", addr, error)

    def _close(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            port.close()


async def resolve(names: Iterable[str], family: int) -> list[SocketAddr]:
    """Return the addresses of hosts, those that can be resolved, each once."""
    loop = asyncio.get_running_loop()

    async def look_up(name: str) -> list[SocketAddr]:
        host, port = parse_host_port(name)
        try:
            found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_DGRAM)
        except OSError:
            return []
        return [(addr[0], addr[1]) for *_, addr in found if isinstance(addr[0], str)]

    looked_up = await asyncio.gather(*map(look_up, names))
    return list(dict.fromkeys(addr for addrs in looked_up for addr in addrs))
