"""Many mesh cores and the links between them: no sockets, no actors, no event loop.

Links keep the order of what is sent over them, as real ones do; two links keep
no order between them. They break, loudly or silently, in one direction or in
both; nodes restart and leave; pairs are cut off from each other. One seed
decides all.

What must hold at every moment is checked here as it happens: see `Node.do` and
`Simulation.check`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import partial
from itertools import combinations, count
from random import Random

import msgspec

from mosaik_actors.groups.config import ConsensusConfig
from mosaik_actors.groups.mesh.bond import (
    AcceptLink,
    BondFormed,
    BondLost,
    CloseLink,
    DialWanted,
    MeshEvent,
    SendBondFrame,
    StatusChanged,
)
from mosaik_actors.groups.mesh.handshake import Credentials
from mosaik_actors.groups.mesh.key import GroupKey
from mosaik_actors.groups.mesh.mesh import Mesh
from mosaik_actors.groups.mesh.topology import Bond
from mosaik_actors.groups.wire.frames import MESH
from mosaik_actors.groups.wire.status import MemberStanding, Status
from mosaik_actors.ids import GroupId, NetworkId, PeerId
from mosaik_actors.transport.address import PeerAddr
from mosaik_actors.transport.close import CloseCode, CloseReason

from .cores import peer

NETWORK = NetworkId("a network for tests")
GROUP = GroupId("a group for tests")
KEY = GroupKey("the key of the group")

BROKEN = CloseReason(CloseCode.UNEXPECTED_CLOSE, "the link broke", remote=True)


def addr_of(one: PeerId) -> PeerAddr:
    return PeerAddr(one, (("127.0.0.1", 1 + one[0]),))


class End:
    """One end of a link."""

    def __init__(self, node: Node, link_id: int) -> None:
        self.node = node
        self.life = node.life
        self.link_id = link_id
        self.other: End
        self.is_open = True
        self.is_mute = False  # whatever is sent from here is lost from now on
        self.arrives_at = 0.0

    @property
    def is_live(self) -> bool:
        return self.is_open and self.node.is_up and self.node.life == self.life


class Node:
    """One member: a core, its links, and what it said of them."""

    def __init__(self, sim: Simulation, number: int) -> None:
        self.sim = sim
        self.me = peer(number)
        self.life = 0
        self.is_up = False
        self.known: dict[PeerId, PeerAddr] = {}
        self.mesh: Mesh
        self.ends: dict[int, End] = {}
        self.tokens: dict[End, int] = {}
        self.bonds: dict[PeerId, int] = {}
        self.statuses: dict[PeerId, Status] = {}
        self.events: list[tuple[float, MeshEvent]] = []
        self.status = Status()

    def start(self) -> None:
        """Begin a new life, with nothing remembered."""
        self.life += 1
        self.is_up = True
        self.ends, self.tokens, self.bonds, self.statuses = {}, {}, {}, {}
        rng = Random(f"{self.sim.seed} {self.me} {self.life}")
        self.mesh = Mesh(
            Credentials(self.me, NETWORK, GROUP, KEY),
            self.sim.config,
            rng,
            status=self.status,
        )
        self.learn(self.known)

    def stop(self) -> None:
        """Vanish; nothing is closed."""
        self.is_up = False
        for end in self.ends.values():
            end.is_open = False

    def learn(self, peers: dict[PeerId, PeerAddr]) -> None:
        """Let the catalog show these peers."""
        self.known = dict(peers)
        if self.is_up:
            self.mesh.receive_peers(self.known, now=self.sim.now)
            self.pump()

    def say(self, status: Status) -> None:
        self.status = status
        if self.is_up:
            self.mesh.set_status(status, now=self.sim.now)
            self.pump()

    def pump(self) -> None:
        """Do all that the core wants, and see to its timer."""
        while (event := self.mesh.next_event()) is not None:
            self.events.append((self.sim.now, event))
            self.do(event)
        self.sim.wake(self)

    def do(self, event: MeshEvent) -> None:
        match event:
            case DialWanted(to, addr, token, header, timeout_s):
                assert addr == self.known[to]
                self.sim.dial(self, to, token, header, timeout_s)
            case AcceptLink(link_id, reply):
                end = self.ends[link_id]
                other = end.other
                self.sim.send(end, lambda: other.node.take_opened(other, reply))
            case SendBondFrame(link_id, data):
                assert data[0] == MESH
                end = self.ends[link_id]
                self.sim.send(end, lambda: end.other.node.take_frame(end.other, data))
            case CloseLink(link_id, reason):
                end = self.ends.pop(link_id)  # a link is closed once
                assert end.is_open
                end.is_open = False
                told = CloseReason(reason.code, reason.text, remote=True)
                self.sim.send(end, lambda: end.other.node.take_closed(end.other, told))
            case BondFormed(to, link_id, status):
                assert to not in self.bonds
                assert self.ends[link_id].other.node.me == to
                self.bonds[to] = link_id
                self.statuses[to] = status
            case BondLost(to, _, _):
                del self.bonds[to]
                del self.statuses[to]
            case StatusChanged(to, status):
                assert self.statuses[to] != status
                self.statuses[to] = status

    # What the network brings.

    def take_offer(self, end: End, header: bytes) -> None:
        self.mesh.receive_offer(end.link_id, end.other.node.me, header, now=self.sim.now)
        self.pump()

    def take_opened(self, end: End, reply: bytes) -> None:
        token = self.tokens.pop(end)
        self.mesh.receive_opened(end.link_id, token, reply, now=self.sim.now)
        self.pump()

    def take_frame(self, end: End, data: bytes) -> None:
        self.mesh.receive_frame(end.link_id, data, now=self.sim.now)
        self.pump()

    def take_closed(self, end: End, reason: CloseReason) -> None:
        end.is_open = False
        if self.ends.pop(end.link_id, None) is None:
            return  # it was not even offered
        if (token := self.tokens.pop(end, None)) is not None:
            self.mesh.receive_failed(token, reason, now=self.sim.now)
        else:
            self.mesh.receive_closed(end.link_id, reason, now=self.sim.now)
        self.pump()

    def take_timer(self, life: int) -> None:
        due_at = self.mesh.get_timer()
        if self.is_up and self.life == life and due_at is not None and due_at <= self.sim.now:
            self.mesh.handle_timer(now=self.sim.now)
            later = self.mesh.get_timer()
            assert later is None or later > self.sim.now, "the timer would fire for ever"
            self.pump()


class Simulation:
    """Nodes and links; time passes in `run_for`."""

    def __init__(
        self,
        seed: object = 0,
        *,
        count_of_nodes: int = 3,
        latency_s: tuple[float, float] = (0.001, 0.001),
        config: ConsensusConfig | None = None,
    ) -> None:
        self.seed = seed
        self.rng = Random(f"network {seed}")
        self.config = config or ConsensusConfig()
        self.latency_s = latency_s
        self.now = 0.0
        self.cut: dict[tuple[PeerId, PeerId], None] = {}
        self.nodes = [Node(self, number) for number in range(count_of_nodes)]
        self.by_id = {node.me: node for node in self.nodes}
        self._links: list[tuple[End, End]] = []
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = count(1)

    def start(self) -> None:
        """Start all nodes at once; each one knows all others."""
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.learn(self.others_of(node))

    def others_of(self, node: Node) -> dict[PeerId, PeerAddr]:
        return {one.me: addr_of(one.me) for one in self.nodes if one is not node}

    # Time.

    def at(self, when: float, system_entry: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (max(when, self.now), next(self._count), system_entry))

    def wake(self, node: Node) -> None:
        if (due_at := node.mesh.get_timer()) is not None:
            life = node.life
            self.at(due_at, lambda: node.take_timer(life))

    def run_for(self, seconds: float) -> None:
        end_at = self.now + seconds
        while self._queue and self._queue[0][0] <= end_at:
            self.now, _, system_entry = heapq.heappop(self._queue)
            system_entry()
            self.check()
        self.now = end_at

    def check(self) -> None:
        """No pair has two bonds that stand at both ends."""
        found: dict[tuple[PeerId, PeerId], None] = {}
        for one, other in self.live_links():
            if self.is_bond(one) and self.is_bond(other):
                pair = (one.node.me, other.node.me)
                assert pair not in found
                assert pair[::-1] not in found
                found[pair] = None

    # Links.

    def dial(self, node: Node, to: PeerId, token: int, header: bytes, timeout_s: float) -> None:
        end = End(node, next(self._count))
        target = self.by_id[to]
        node.ends[end.link_id] = end
        node.tokens[end] = token
        if target.is_up and not self.is_cut(node.me, to):
            end.other = End(target, next(self._count))
            end.other.other = end
            self._links.append((end, end.other))

            def offer() -> None:
                target.ends[end.other.link_id] = end.other
                target.take_offer(end.other, header)

            def expire() -> None:
                if end in node.tokens and end.is_live:
                    self._fail(end)
                    self.send(end, lambda: target.take_closed(end.other, BROKEN))

            self.send(end, offer)
            self.at(self.now + timeout_s, expire)
        else:
            # Nobody answers; sometimes that is noticed at once.
            wait_s = self.rng.choice((0.01, timeout_s))
            self.at(self.now + wait_s, lambda: self._fail(end))

    def _fail(self, end: End) -> None:
        if end.is_live:
            end.node.take_closed(end, BROKEN)

    def send(self, end: End, deliver: Callable[[], None]) -> None:
        """Let something arrive at the other end after everything that was sent before."""
        end.arrives_at = max(self.now + self.rng.uniform(*self.latency_s), end.arrives_at)

        def arrive() -> None:
            is_heard = not end.is_mute and not self.is_cut(end.node.me, end.other.node.me)
            if is_heard and end.other.is_live:
                deliver()

        self.at(end.arrives_at, arrive)

    def live_links(self) -> list[tuple[End, End]]:
        """Return the links that at least one end takes for open."""
        self._links = [pair for pair in self._links if pair[0].is_live or pair[1].is_live]
        return self._links

    @staticmethod
    def is_bond(end: End) -> bool:
        return end.is_live and end.node.mesh.link_of(end.other.node.me) == end.link_id

    def is_cut(self, one: PeerId, other: PeerId) -> bool:
        return (one, other) in self.cut

    # Faults.

    def break_link(self, pair: tuple[End, End]) -> None:
        """Both ends notice, each in its own time."""
        for end in pair:
            end.is_mute = True
            self.at(self.now + self.rng.uniform(0, 0.3), partial(self._fail, end))

    def restart(self, node: Node, down_s: float, *, is_noticed: bool) -> None:
        """Let a node die and come back with nothing."""
        ends = [end.other for end in node.ends.values() if hasattr(end, "other")]
        node.stop()
        if is_noticed:
            for end in ends:
                self.at(self.now + self.rng.uniform(0, 0.3), partial(self._fail, end))
        self.at(self.now + down_s, lambda: None if node.is_up else node.start())

    def leave(self, node: Node, away_s: float) -> None:
        """Let a node leave and come back later."""
        node.mesh.leave(now=self.now)
        node.pump()
        assert not node.mesh.bonded
        assert node.mesh.get_timer() is None
        node.is_up = False
        self.at(self.now + away_s, lambda: None if node.is_up else node.start())

    def misbehave(self) -> None:
        """Do one thing that goes wrong."""
        rng = self.rng
        node = rng.choice(self.nodes)
        links = self.live_links()
        match rng.randrange(8):
            case 0 | 1 if links:
                self.break_link(rng.choice(links))
            case 2 if links:
                for end in rng.choice(links):
                    end.is_mute = True
            case 3 if links:
                rng.choice(rng.choice(links)).is_mute = True
            case 4 if node.is_up:
                self.restart(node, rng.uniform(0, 3), is_noticed=rng.random() < 0.5)
            case 5 if node.is_up and rng.random() < 0.5:
                self.leave(node, rng.uniform(0, 3))
            case 6:
                one, other = rng.sample(self.nodes, 2)
                self.cut[one.me, other.me] = None
                if rng.random() < 0.5:
                    self.cut[other.me, one.me] = None
                self.at(self.now + rng.uniform(0, 4), self.cut.clear)
            case 7:
                others = self.others_of(node).items()
                node.learn({to: addr for to, addr in others if rng.random() < 0.7})
            case _:
                node.say(random_status(rng))

    # At the end.

    def check_converged(self) -> None:
        """Everybody is bonded with everybody, over one link, and knows all there is to know."""
        ids = [node.me for node in self.nodes]
        mesh = tuple(Bond(*pair) for pair in combinations(sorted(ids), 2))
        for one, other in combinations(self.nodes, 2):
            link_id = one.mesh.link_of(other.me)
            assert link_id is not None
            assert one.ends[link_id].other.link_id == other.mesh.link_of(one.me)
        for node in self.nodes:
            assert node.mesh.bonds() == mesh
            assert node.mesh.bonds() == mesh
            assert len(node.ends) == len(ids) - 1, "links are left over"
            assert not node.tokens
            assert node.bonds == {to: bond.link_id for to, bond in node.mesh.bonded.items()}
            for other in self.nodes:
                if other is not node:
                    assert node.mesh.bonded[other.me].status == other.status
                    assert node.statuses[other.me] == other.status


def random_status(rng: Random) -> Status:
    """Return any status: some changes are published at once, others with the next heartbeat."""
    return msgspec.structs.replace(
        Status(),
        standing=rng.choice(list(MemberStanding)),
        commit_index=rng.randrange(1000),
        leader=rng.choice([None, peer(0), peer(1)]),
    )
