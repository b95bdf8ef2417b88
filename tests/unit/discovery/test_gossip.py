"""The cores of many nodes together, in virtual time, with no actor and no socket."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import partial
from itertools import count
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors.discovery.catalog.catalog import Catalog
from mosaik_actors.discovery.config import DiscoveryConfig
from mosaik_actors.discovery.gossip.announcements import RefreshOwnEntry, SendFrames
from mosaik_actors.discovery.gossip.edges import DialNeighbour, DropNeighbour, Offer, SendFrame
from mosaik_actors.discovery.gossip.gossip import Gossip, LookAtLinks, VerifyNeighbours
from mosaik_actors.discovery.reconcile import Reconciler
from mosaik_actors.discovery.rtt import ProbesDue, RttSampled
from mosaik_actors.discovery.wire import Ping, Pong, Prune, Suspect, decode_frame, encode_frame
from mosaik_actors.ids import PeerId, Tag
from mosaik_actors.transport.address import PeerAddr
from mosaik_actors.transport.close import CloseCode

from .helpers import NETWORK, NOW, addr, key, peer, signed

LATENCY_S = 0.01


class World:
    """Nodes joined by links that take LATENCY_S, and a clock that jumps."""

    def __init__(self, seed: int, **settings: Any) -> None:
        self.config = DiscoveryConfig(**settings)
        self.seed = seed
        self.now = 0.0
        self.nodes: dict[PeerId, SimNode] = {}
        self.down: set[PeerId] = set()
        self.watched = b"the signature of an entry whose copies are counted"
        self.sent_count = 0
        self.cut: Callable[[PeerId, PeerId], bool] = lambda one, other: False
        self._order = count()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []

    def add(self, name: str, *bootstrap: str) -> SimNode:
        node = SimNode(self, name, [addr(other) for other in bootstrap])
        self.nodes[node.peer_id] = node
        node.pump()
        return node

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (self.now + delay_s, next(self._order), action))

    def reaches(self, one: PeerId, other: PeerId) -> bool:
        return other in self.nodes and other not in self.down and not self.cut(one, other)

    def run_until(self, is_met: Callable[[], bool], limit_s: float) -> float:
        """Run until a condition holds and return how long it took."""
        began = self.now
        while not is_met():
            at, _, action = heapq.heappop(self._agenda)
            assert at <= began + limit_s, f"not met within {limit_s} s"
            self.now = at
            action()
        return self.now - began

    def is_busy(self) -> bool:
        """Whether anything but timers is under way."""
        return any(at <= self.now + LATENCY_S for at, _, _ in self._agenda)

    def living(self) -> list[SimNode]:
        return [node for node in self.nodes.values() if node.peer_id not in self.down]

    def is_converged(self) -> bool:
        living = self.living()
        return all(len(node.catalog.snapshot()) == len(living) - 1 for node in living)

    def is_connected(self) -> bool:
        """Whether the links that both ends know of join all living nodes."""
        living = {node.peer_id: node for node in self.living()}
        reached = {next(iter(living))}
        frontier = list(reached)
        while frontier:
            node = living[frontier.pop()]
            for other in node.gossip.neighbours:
                is_new = other in living and other not in reached
                if is_new and node.peer_id in living[other].gossip.neighbours:
                    reached.add(other)
                    frontier.append(other)
        return len(reached) == len(living)


class SimNode:
    def __init__(self, world: World, name: str, bootstrap: list[PeerAddr]) -> None:
        self.world = world
        self.name = name
        self.peer_id = key(name).peer_id
        self.catalog = Catalog(
            network_id=NETWORK,
            secret_key=key(name),
            addr=addr(name),
            config=world.config,
            now=NOW + world.now,
        )
        rng = Random(f"{world.seed} {name}")
        self.gossip = Gossip(self.peer_id, world.config, rng, now=world.now)
        self._armed: float | None = None
        self.gossip.receive_hints("bootstrap", bootstrap, now=world.now)

    def pump(self, source: PeerId | None = None, *, is_synced: bool = False) -> None:
        world = self.world
        replaced, fresh = self.catalog.take_replaced(), self.catalog.take_fresh()
        self.gossip.receive_fresh(fresh, source, replaced, is_synced=is_synced, now=world.now)
        while self.catalog.next_event() is not None:
            pass
        self.gossip.receive_known(
            self.catalog.snapshot(), self.catalog.store.hidden(), now=world.now
        )
        while (event := self.gossip.next_event()) is not None:
            match event:
                case RefreshOwnEntry():
                    self.catalog.local.refresh(now=NOW + world.now)
                    own = self.catalog.take_fresh()
                    self.gossip.receive_fresh(own, None, {}, now=world.now)
                case SendFrames(peers, frames):
                    copies = sum(frame.count(world.watched) for frame in frames)
                    world.sent_count += len(peers) * copies
                    for other in peers:
                        self._to(other, partial(SimNode.receive, sender=self, frames=frames))
                case SendFrame(other, frame):
                    frames = (encode_frame(frame),)
                    self._to(other, partial(SimNode.receive, sender=self, frames=frames))
                case DialNeighbour():
                    self._dial(event)
                case DropNeighbour(other):
                    self._to(other, lambda node: node.lose(self.peer_id, 204))
        self._arm()

    def _to(self, other: PeerId, action: Callable[[SimNode], None]) -> None:
        def arrive() -> None:
            if self.world.reaches(self.peer_id, other) and self.peer_id not in self.world.down:
                action(self.world.nodes[other])

        self.world.later(LATENCY_S, arrive)

    def _arm(self) -> None:
        due = self.gossip.get_timer()
        if due is not None and due != self._armed:
            self._armed = due
            self.world.later(max(0.0, due - self.world.now), lambda: self._fire(due))

    def _fire(self, due: float) -> None:
        if self._armed == due and self.peer_id not in self.world.down:
            self._armed = None
            self.gossip.handle_timer(now=self.world.now)
            self.catalog.handle_timer(now=NOW + self.world.now)
            self.pump()

    def _dial(self, dial: DialNeighbour) -> None:
        other = dial.addr.peer_id

        def answer() -> None:
            if self.peer_id in self.world.down:
                return None
            now = self.world.now
            if not self.world.reaches(self.peer_id, other):
                self.gossip.receive_dial_failed(other, code=int(CloseCode.CANCELLED), now=now)
                return self.pump()
            remote = self.world.nodes[other]
            offer = remote.gossip.receive_offer(
                self.peer_id, dial.purpose, addr(self.name), urgent=dial.urgent, now=now
            )
            if offer is Offer.ACCEPT:
                self.gossip.receive_link_up(other, now=now)
                self._sync(remote)
            elif offer is Offer.GUEST:
                self._sync(remote)
                self.gossip.receive_guest_done(other, now=now)
            else:
                self.gossip.receive_dial_failed(other, code=204, now=now)
            remote.pump()
            return self.pump()

        self.world.later(2 * LATENCY_S, answer)

    def _sync(self, remote: SimNode) -> None:
        nodes = (self, remote)
        sides = [Reconciler(n.catalog.told_entries(), peers_max=10_000) for n in nodes]
        waiting = [(1, frame) for frame in sides[0].open().frames]
        while waiting:
            to, frame = waiting.pop(0)
            step = sides[to].receive_frame(frame)
            for encoded in step.entries:
                nodes[to].catalog.receive_bytes(encoded, now=NOW + self.world.now)
            waiting.extend((1 - to, one) for one in step.frames)
            nodes[to].pump(nodes[1 - to].peer_id, is_synced=True)

    def receive(self, sender: SimNode, frames: tuple[bytes, ...]) -> None:
        now = self.world.now
        if sender.peer_id not in self.gossip.neighbours:
            return  # the link has ended here
        for frame in map(decode_frame, frames):
            for encoded in self.gossip.receive_frame(sender.peer_id, frame, now=now):  # type: ignore[arg-type]
                self.catalog.receive_bytes(encoded, now=NOW + now)
            self.pump(sender.peer_id)
        self.pump()

    def lose(self, other: PeerId, code: int) -> None:
        self.gossip.receive_link_down(other, code=code, now=self.world.now)
        self.pump()


NAMES = [f"n{n}" for n in range(24)]


def start(seed: int, **settings: Any) -> World:
    world = World(seed, **settings)
    world.add(NAMES[0])
    for name in NAMES[1:]:
        world.add(name, NAMES[0])
    return world


@pytest.mark.parametrize("seed", range(3))
def test_all_meet_through_one_and_keep_few_links(seed: int) -> None:
    world = start(seed)
    took_s = world.run_until(world.is_converged, limit_s=5.0)
    assert took_s < 2.0

    def is_settled() -> bool:
        degrees = [len(node.gossip.neighbours) for node in world.living()]
        return min(degrees) >= 4 and max(degrees) <= 7 and world.is_connected()

    world.run_until(is_settled, limit_s=10.0)


def test_a_tag_reaches_everyone_within_a_few_hops() -> None:
    world = start(2)
    world.run_until(world.is_converged, limit_s=5.0)
    world.run_until(lambda: world.now > 40.0, limit_s=42.0)
    origin = world.living()[7]
    origin.catalog.local.change_tags((Tag("x"),), now=NOW + world.now)
    world.watched = origin.catalog.me.signature
    origin.pump()

    def all_see_it() -> bool:
        others = [node for node in world.living() if node is not origin]
        return all("x" in n.catalog.snapshot()[origin.peer_id].tags for n in others)

    assert world.run_until(all_see_it, limit_s=5.0) <= 10 * LATENCY_S
    # A tree: every other node gets it once. The rest is ids, a little later.
    world.run_until(lambda: not world.is_busy(), limit_s=1.0)
    assert world.sent_count == len(NAMES) - 1


def test_a_departure_is_known_to_all_at_once() -> None:
    world = start(2)
    world.run_until(world.is_converged, limit_s=5.0)
    leaver = world.living()[3]
    leaver.catalog.local.depart(now=NOW + world.now)
    leaver.pump()
    others = [node for node in world.living() if node is not leaver]

    def is_gone() -> bool:
        return all(leaver.peer_id not in node.catalog.snapshot() for node in others)

    assert world.run_until(is_gone, limit_s=5.0) <= 10 * LATENCY_S


def test_the_overlay_heals_after_a_third_crashes_and_the_dead_are_purged() -> None:
    world = start(3, announce_interval=2.0, purge_after=20.0)
    world.run_until(world.is_converged, limit_s=5.0)
    victims = world.living()[::3]
    for victim in victims:
        world.down.add(victim.peer_id)
        for node in world.living():
            world.later(1.0, lambda node=node, v=victim: node.lose(v.peer_id, 103))  # type: ignore[misc]
    world.run_until(lambda: world.now > 4.0 and world.is_connected(), limit_s=15.0)
    world.run_until(world.is_converged, limit_s=25.0)
    assert all(len(node.gossip.neighbours) >= 4 for node in world.living())


@pytest.mark.parametrize("seconds", [60, 250, 700])
def test_two_halves_grow_together_after_a_partition(seconds: float) -> None:
    """Before they miss each other, while they do, and after they have forgotten each other."""
    world = start(4)
    world.run_until(world.is_converged, limit_s=5.0)
    left = {key(name).peer_id for name in NAMES[:12]}
    world.cut = lambda one, other: (one in left) != (other in left)
    for node in world.living():
        for other in node.gossip.neighbours:
            if world.cut(node.peer_id, other):
                world.later(1.0, lambda node=node, other=other: node.lose(other, 103))  # type: ignore[misc]
    world.run_until(lambda: world.now > seconds, limit_s=seconds + 50)
    assert not world.is_connected()
    world.cut = lambda one, other: False
    took_s = world.run_until(world.is_connected, limit_s=200.0)
    assert took_s < 110.0
    world.run_until(world.is_converged, limit_s=10.0)


def test_the_same_seed_gives_the_same_history() -> None:
    def play(seed: int) -> list[tuple[PeerId, ...]]:
        world = start(seed)
        world.run_until(lambda: world.now > 30.0, limit_s=60.0)
        return [node.gossip.neighbours for node in world.living()]

    assert play(5) == play(5)
    assert play(5) != play(6)


events = st.lists(
    st.tuples(st.sampled_from(["add", "crash", "leave", "break", "wait"]), st.integers(0, 11)),
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(events, st.integers(0, 99))
def test_views_are_symmetric_bounded_and_joined_after_any_history(
    history: list[tuple[str, int]], seed: int
) -> None:
    """HyParView, section 4: links have two ends, and repair keeps the overlay in one piece.

    Only the first node, which all know, stays to the end.
    """
    world = World(seed)
    world.add(NAMES[0])
    for name in NAMES[1:4]:
        world.add(name, NAMES[0])
    fresh = iter(range(1000))
    for action, number in history:
        living = world.living()
        node = living[1 + number % (len(living) - 1)] if len(living) > 1 else living[0]
        neighbours = node.gossip.neighbours
        match action:
            case "add":
                world.add(f"new {next(fresh)}", NAMES[0])
            case "crash" if len(living) > 1:
                crash(world, node)
            case "leave" if len(living) > 1:
                node.catalog.local.depart(now=NOW + world.now)
                node.pump()
                world.later(LATENCY_S / 2, partial(crash, world, node))
            case "break" if neighbours:
                other = world.nodes[neighbours[number % len(neighbours)]]
                node.lose(other.peer_id, 103)
                other.lose(node.peer_id, 103)
            case _:
                run_for(world, 0.1 * number)
    run_for(world, 60.0)
    for node in world.living():
        assert len(node.gossip.neighbours) <= world.config.neighbours_max
        for peer_id in node.gossip.neighbours:
            assert node.peer_id in world.nodes[peer_id].gossip.neighbours
    assert world.is_connected()


def crash(world: World, victim: SimNode) -> None:
    world.down.add(victim.peer_id)
    for node in world.living():
        if victim.peer_id in node.gossip.neighbours:
            world.later(1.0, partial(node.lose, victim.peer_id, 103))


def run_for(world: World, seconds: float) -> None:
    end = world.now + seconds
    world.later(seconds, lambda: None)
    world.run_until(lambda: world.now >= end, limit_s=seconds + 1)


# Neighbours that do not answer.


def make(*neighbours: str) -> Gossip:
    core = Gossip(peer("me"), DiscoveryConfig(), Random(1), now=0.0)
    for name in neighbours:
        offer = core.receive_offer(peer(name), "neighbour", None, urgent=True, now=0.0)
        assert offer is Offer.ACCEPT
    return core


def run_until_event(core: Gossip, kind: type) -> float:
    """Return when the core first hands out an event of a kind."""
    while True:
        due = core.get_timer()
        assert due is not None
        assert due < 100
        core.handle_timer(now=due)
        while (event := core.next_event()) is not None:
            if isinstance(event, kind):
                return due


def test_a_neighbour_that_is_silent_for_five_seconds_is_verified_whatever_others_say() -> None:
    core = make("a", "b")
    assert run_until_event(core, LookAtLinks) == 5.0
    core.receive_heard({peer("a"): 2.0, peer("b"): 4.5}, now=5.0)
    assert not any(isinstance(event, VerifyNeighbours) for event in iter(core.next_event, None))
    assert run_until_event(core, LookAtLinks) == 7.0
    core.receive_heard({peer("a"): 2.0, peer("b"): 6.5}, now=7.0)
    events = [one for one in iter(core.next_event, None) if isinstance(one, VerifyNeighbours)]
    assert events == [VerifyNeighbours((peer("a"),))]
    # It is looked at again soon, not in a storm.
    assert run_until_event(core, LookAtLinks) == 8.0


def test_while_all_are_heard_nothing_is_sent() -> None:
    core = make("a", "b")
    while core.next_event() is not None:
        pass
    for now in (5.0, 10.0):
        assert run_until_event(core, LookAtLinks) == now
        core.receive_heard({peer("a"): now, peer("b"): now}, now=now)
        assert core.next_event() is None


def test_silent_neighbours_are_pinged_at_the_interval_and_their_pong_is_a_sample() -> None:
    core = make("a", "b")
    asked: list[Ping] = []
    pinged: list[PeerId] = []
    while not asked:
        now = core.get_timer()
        assert now is not None
        core.receive_frame(peer("b"), Prune(), now=now)  # it says something now and then
        core.handle_timer(now=now)
        while (event := core.next_event()) is not None:
            if isinstance(event, SendFrames):
                frames = map(decode_frame, event.frames)
                asked += [frame for frame in frames if isinstance(frame, Ping)]
                pinged += event.peers if asked else ()
    assert (now, pinged) == (30.0, [peer("a")])
    core.receive_frame(peer("a"), Pong(asked[0].number), now=30.25)
    events = list(iter(core.next_event, None))
    assert RttSampled(peer("a"), 0.25) in events
    assert ProbesDue() not in events  # nobody asked for figures of all


def test_a_ping_is_answered_with_its_number() -> None:
    core = make("a")
    while core.next_event() is not None:
        pass
    core.receive_frame(peer("a"), Ping(7), now=1.0)
    assert core.next_event() == SendFrames((peer("a"),), (encode_frame(Pong(7)),))


def test_nobody_is_tested_by_a_node_without_neighbours() -> None:
    core = make()
    due = core.get_timer()
    assert due is not None
    assert due > 7


def with_neighbours(*names: str) -> Gossip:
    gossip = Gossip(peer("me"), DiscoveryConfig(), Random(1), now=0.0)
    for name in names:
        gossip.receive_link_up(peer(name), now=0.0)
    assert list(iter(gossip.next_event, None)) == []
    return gossip


def test_a_process_that_stood_still_tests_its_neighbours_at_once() -> None:
    gossip = with_neighbours("a", "b")
    assert gossip.receive_late(6.0, now=100.0)
    assert next(iter(gossip.next_event, None)) == VerifyNeighbours((peer("a"), peer("b")))


def test_claims_go_to_all_but_their_source() -> None:
    gossip = with_neighbours("a", "b", "c")
    gossip.receive_claims([b"claim"], [peer("d")], peer("b"), now=1.0)
    (sent,) = iter(gossip.next_event, None)
    assert isinstance(sent, SendFrames)
    assert set(sent.peers) == {peer("a"), peer("c")}
    assert [decode_frame(frame) for frame in sent.frames] == [Suspect((b"claim",))]


def test_what_the_accused_says_next_does_not_wait_for_company() -> None:
    for is_accused in (True, False):
        gossip = with_neighbours("a", "b")
        before = signed("d")
        gossip.receive_fresh([before], peer("a"), {}, now=1.0)
        list(iter(gossip.next_event, None))
        if is_accused:
            gossip.receive_claims([], [peer("d")], peer("a"), now=20.0)
        after, replaced = signed("d", update=NOW + 1), {peer("d"): before}
        gossip.receive_fresh([after], peer("a"), replaced, now=20.0)
        sent = [event for event in iter(gossip.next_event, None) if isinstance(event, SendFrames)]
        pushed = [event for event in sent if peer("b") in event.peers]
        assert bool(pushed) is is_accused
