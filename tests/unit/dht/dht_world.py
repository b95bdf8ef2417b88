"""A DHT in one thread: nodes, the datagrams between them, and time that jumps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from random import Random

from mosaik_actors.dht.chain import PeersFound, SlotChain
from mosaik_actors.dht.meeting import Meeting
from mosaik_actors.dht.node import DhtNode, Effect, LookupDone, PutDone, SendDatagram
from mosaik_actors.dht.slots import derive_slots
from mosaik_actors.ids import PeerId, SecretKey, UniqueId
from mosaik_actors.transport.address import PeerAddr, SocketAddr
from mosaik_actors.transport.admission import NetworkKeys

START_WALL_S = 1_700_000_000.0


@dataclass(slots=True)
class Joined:
    """A peer of a network that meets others over the DHT."""

    meeting: Meeting
    addr: SocketAddr
    found: dict[PeerId, PeerAddr] = field(default_factory=dict)

    @property
    def chain(self) -> SlotChain:
        return self.meeting.chain


class World:
    """Nodes at 203.0.113.x and the like, which always serve.

    Args:
        node_count: How many.
        seed: What everything is drawn from.
        loss: The share of datagrams that are lost.
    """

    def __init__(self, node_count: int, *, seed: int = 1, loss: float = 0.0) -> None:
        self.rng = Random(seed)
        self.now = 0.0
        self.loss = loss
        self.sent_count = 0
        self.done: dict[tuple[SocketAddr, int], LookupDone | PutDone] = {}
        self.nodes: dict[SocketAddr, DhtNode] = {}
        self.joined: dict[SocketAddr, Joined] = {}
        self.dead: set[SocketAddr] = set()
        self._queue: list[tuple[float, int, SocketAddr, SocketAddr, bytes]] = []
        self._order = count()
        self._timers: dict[SocketAddr, float] = {}
        for _ in range(node_count):
            self.add_node()

    @property
    def wall(self) -> float:
        return START_WALL_S + self.now

    def draw_addr(self) -> SocketAddr:
        number = len(self.nodes) + len(self.joined)
        return f"5.{number // 250}.{number % 250}.7", 6881

    def add_node(self, *, serves: bool = True) -> SocketAddr:
        addr = self.draw_addr()
        node = DhtNode(self.rng.randbytes(20), rng=Random(self.rng.random()), serves=serves)
        first = next(iter(self.nodes), None)
        self.nodes[addr] = node
        if first is not None:
            node.join([first], now=self.now)
        self._collect(addr)
        return addr

    def add_peer(
        self,
        name: str,
        *,
        network: str = "net",
        secrets: tuple[bytes, ...] = (),
        listens: tuple[SocketAddr, ...] | None = None,
    ) -> Joined:
        addr = self.draw_addr()
        slots = derive_slots(NetworkKeys(UniqueId(network), secrets))
        peer = SecretKey.from_seed(name).peer_id
        chain = SlotChain(slots, peer, rng=Random(name), is_private=bool(secrets))
        chain.set_addr(PeerAddr(peer, listens or ((addr[0], 4433),)), now=self.now)
        node = DhtNode(self.rng.randbytes(20), rng=Random(name), serves=False)
        joined = Joined(Meeting(node, chain, slots), addr)
        self.joined[addr] = joined
        joined.meeting.begin([next(iter(self.nodes))], now=self.now, wall=self.wall)
        self._collect(addr)
        return joined

    def find(self, addr: SocketAddr, target: bytes, salt: bytes = b"") -> LookupDone:
        number = self.nodes[addr].find(target, salt, now=self.now)
        done = self._result(addr, number)
        assert isinstance(done, LookupDone)
        return done

    def put(self, addr: SocketAddr, item: object, expected: int | None = None) -> PutDone:
        number = self.nodes[addr].put(item, expected=expected, now=self.now)  # type: ignore[arg-type]
        done = self._result(addr, number)
        assert isinstance(done, PutDone)
        return done

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._step(end):
            pass
        self.now = end

    def until(self, holds: Callable[[], bool], seconds: float = 600) -> None:
        end = self.now + seconds
        while not holds():
            assert self._step(end), f"it did not come true in {seconds:g} s"

    def send(self, data: bytes, source: SocketAddr, addr: SocketAddr) -> None:
        """Send a datagram as anybody, at once."""
        heappush(self._queue, (self.now, next(self._order), addr, source, data))

    # Helpers.

    def _result(self, addr: SocketAddr, number: int) -> LookupDone | PutDone:
        self._collect(addr)
        self.until(lambda: (addr, number) in self.done, 60)
        return self.done[addr, number]

    def _step(self, end: float) -> bool:
        due, addr = min((at, one) for one, at in self._timers.items() if one not in self.dead)
        arrival = self._queue[0][0] if self._queue else end + 1
        if min(due, arrival) > end:
            return False
        if arrival <= due:
            self.now, _, addr, source, data = heappop(self._queue)
            if addr not in self.dead:
                self._deliver(addr, source, data)
        else:
            self.now = max(self.now, due)
            if addr in self.nodes:
                self.nodes[addr].handle_timer(now=self.now)
            else:
                self.joined[addr].meeting.handle_timer(now=self.now, wall=self.wall)
        self._collect(addr)
        return True

    def _deliver(self, addr: SocketAddr, source: SocketAddr, data: bytes) -> None:
        if addr in self.nodes:
            self.nodes[addr].receive_data(data, source, now=self.now)
        elif addr in self.joined:
            meeting = self.joined[addr].meeting
            meeting.receive_data(data, source, now=self.now, wall=self.wall)

    def _collect(self, addr: SocketAddr) -> None:
        effects: list[Effect | PeersFound] = []
        if addr in self.nodes:
            effects += self.nodes[addr].take_effects()
        elif addr in self.joined:
            effects += self.joined[addr].meeting.take_effects()
        for effect in effects:
            match effect:
                case SendDatagram(data, there):
                    self.sent_count += 1
                    if self.rng.random() >= self.loss:
                        arrival = self.now + self.rng.uniform(0.01, 0.2)
                        entry = (arrival, next(self._order), there, addr, data)
                        heappush(self._queue, entry)
                case PeersFound(addrs):
                    self.joined[addr].found = {one.peer_id: one for one in addrs}
                case LookupDone(number) | PutDone(number):
                    self.done[addr, number] = effect
        actor = self.nodes[addr] if addr in self.nodes else self.joined[addr].meeting
        self._timers[addr] = actor.timer_s
