"""When a node joins one of the strangers that it found: compared with a slow, obvious version."""

from __future__ import annotations

from math import inf
from random import Random

from mosaik_actors.discovery.config import DiscoveryConfig
from mosaik_actors.discovery.gossip.addresses import Addresses
from mosaik_actors.discovery.gossip.pauses import DialPauses
from mosaik_actors.discovery.gossip.strangers import Strangers
from mosaik_actors.ids import PeerId, SecretKey
from mosaik_actors.transport.address import PeerAddr

ME = SecretKey.from_seed("me").peer_id
OTHERS = [SecretKey.from_seed(f"stranger {n}").peer_id for n in range(60)]


class World:
    """A node's strangers, with what they stand on."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        config = DiscoveryConfig()
        self.addresses = Addresses(ME, config.peers_max)
        self.pauses = DialPauses(config, self.rng)
        self.strangers = Strangers(config, self.addresses, self.pauses, self.rng, now=0.0)
        self.linked: set[PeerId] = set()
        self.asked = 0

    def find(self, count: int, *, now: float) -> None:
        hints = [PeerAddr(peer, (("127.0.0.1", 4000),)) for peer in OTHERS[:count]]
        self.addresses.receive_hints("rendezvous", hints)
        self.strangers.find(now=now)

    def is_linked(self, peer_id: PeerId) -> bool:
        self.asked += 1
        return peer_id in self.linked

    def slow_timer(self, alone: bool) -> float:
        """Look at every stranger."""
        strangers = self.strangers
        due_times = []
        for peer_id in strangers._meet_at:
            if peer_id in self.linked:
                continue
            if alone or strangers._are_few:
                due_times.append(self.pauses.until(peer_id, inf))
            else:
                due_times.append(max(strangers._due_at(peer_id), self.pauses.until(peer_id, -inf)))
        return min(due_times, default=inf)


def test_the_timer_is_that_of_a_look_at_every_stranger() -> None:
    for seed in range(20):
        world = World(seed)
        rng, known, count = Random(f"steps {seed}"), {}, 0
        for step in range(40):
            now = float(step)
            match rng.randrange(5):
                case 0:
                    count = rng.randrange(len(OTHERS))
                    world.find(count, now=now)
                case 1:
                    known = dict.fromkeys(rng.sample(OTHERS, rng.randrange(len(OTHERS))))
                    before = len(world.addresses.known)
                    world.addresses.known = known  # type: ignore[assignment]
                    world.strangers.receive_known(before, now=now)
                case 2:
                    world.pauses.back_off(rng.choice(OTHERS), 5.0, now=now)
                case 3:
                    world.pauses.expire(now=now)
                case _:
                    world.linked = set(rng.sample(OTHERS, rng.randrange(8)))
            for alone in (True, False):
                timer = world.strangers.get_timer(alone, 0, world.is_linked)
                assert timer == world.slow_timer(alone), (seed, step, alone)


def test_the_timer_does_not_look_at_every_stranger() -> None:
    """It is read after each message: of n nodes that start at once that would cost n cubed."""
    world = World(1)
    world.find(len(OTHERS), now=0.0)
    assert world.strangers.get_timer(False, 0, world.is_linked) > 0
    assert world.asked <= 2
