"""Many `Bootstrap` cores, a hostile network, slow disks, and a witness.

One seed decides all: loss, duplicates, late messages, partitions one-way and
two-way, crashes that lose what is not saved, and crashes that lose everything.
An adversary strikes where it hurts: at those who have just begun a history or
prepared themselves. Raft is an oracle here: a history commits once a majority of its first voters
follow it and can talk, and then it accepts whoever seeks and is in reach.

Run many seeds as::

    python -m tests.unit.groups.bootstrap_simulator FIRST_SEED COUNT
"""

from __future__ import annotations

import heapq
import sys
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from random import Random

from mosaik_actors.groups.bootstrap.bootstrap import Bootstrap
from mosaik_actors.groups.bootstrap.events import (
    BootstrapStuck,
    Founded,
    HistoryDied,
    SavePrepareVote,
    SendBootstrap,
)
from mosaik_actors.groups.config import ConsensusConfig
from mosaik_actors.groups.raft.quorum import majority
from mosaik_actors.groups.wire.bootstrap import (
    decode_message,
    decode_prepare_vote,
    encode_message,
    encode_prepare_vote,
)
from mosaik_actors.groups.wire.status import MemberStanding, Status
from mosaik_actors.ids import PeerId

from .cores import peer

STATUS_INTERVAL_S = 0.3
BOND_TIMEOUT_S = 1.0


class Violation(AssertionError):
    """What must never be."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a run is like.

    Attributes:
        initial_voters: n.
        voter_count: How many may vote.
        observer_count: How many more only follow.
        forgetful_count: So many of those that may vote lose their memory in a crash.
        doomed_count: So many never come back after the faults.
        loss: How many messages are lost.
        late: How many messages come very late.
        faults_until_s: When the faults end.
    """

    initial_voters: int = 3
    voter_count: int = 3
    observer_count: int = 0
    forgetful_count: int = 0
    doomed_count: int = 0
    loss: float = 0.1
    late: float = 0.05
    faults_until_s: float = 30.0


@dataclass
class Disk:
    """What survives a crash."""

    prepare_vote: bytes = b""
    history: bytes = b""


@dataclass
class Node:
    """One member."""

    me: PeerId
    is_observer: bool
    is_forgetful: bool
    disk: Disk = field(default_factory=Disk)
    life: int = 0
    is_up: bool = False
    follows: bytes = b""
    is_joining: bool = False
    has_log: bool = False
    is_doomed: bool = False
    seen: dict[PeerId, tuple[Status, float]] = field(default_factory=dict)
    saves: deque[tuple[Callable[[], None], Callable[[], None]]] = field(default_factory=deque)
    timer_s: float | None = None
    stuck: list[str] = field(default_factory=list)
    bootstrap: Bootstrap = field(init=False)

    @property
    def has(self) -> bytes:
        """The history it counts for, now or after its restart."""
        return (self.follows or self.disk.history) if self.is_up else self.disk.history


class Simulation:
    """One run; see the module's docstring."""

    def __init__(self, options: Options, seed: int) -> None:
        self.options = options
        self.rng = Random(seed)
        self.config = ConsensusConfig(
            initial_voters=options.initial_voters,
            max_voters=9,
            bootstrap_delay=0.3,
            election_timeout=0.5,
        )
        self.now = 0.0
        self._order = count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        total = options.voter_count + options.observer_count
        numbers = self.rng.sample(range(200), total)
        forgetful = self.rng.sample(range(options.voter_count), options.forgetful_count)
        self.nodes = {
            peer(number): Node(
                peer(number),
                is_observer=place >= options.voter_count,
                is_forgetful=place in forgetful,
            )
            for place, number in enumerate(numbers)
        }
        self.cut: set[tuple[PeerId, PeerId]] = set()
        self.voters: dict[bytes, tuple[PeerId, ...]] = {}
        self.committed: list[bytes] = []
        self.died: list[bytes] = []
        self.has_faults = True
        for node in self.nodes.values():
            self.after(self.rng.uniform(0, 2), partial(self.start, node))
        self.after(0.1, self._oracle)

    # Time.

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now + delay_s, next(self._order), action))

    def run_until(self, end_s: float, is_done: Callable[[], bool] = lambda: False) -> bool:
        while self._due and self._due[0][0] <= end_s:
            if is_done():
                return True
            self.now, _, action = heapq.heappop(self._due)
            action()
        self.now = max(self.now, end_s)
        return is_done()

    # Lives.

    def start(self, node: Node) -> None:
        if node.is_up or node.is_doomed:
            return
        node.is_up, node.follows, node.is_joining = True, node.disk.history, False
        node.seen, node.saves, node.timer_s = {}, deque(), None
        prepare_vote = node.disk.prepare_vote
        node.bootstrap = Bootstrap(
            node.me,
            self.config,
            self.rng,
            now=self.now,
            is_observer=node.is_observer,
            prepare_vote=decode_prepare_vote(prepare_vote) if prepare_vote else None,
            history=node.disk.history,
        )
        if node.has_log:
            node.bootstrap.log_began(now=self.now)
        self._beat(node, node.life)
        self.pump(node)

    def crash(self, node: Node) -> None:
        if not node.is_up:
            return
        if node.saves and self.rng.random() < 0.5:
            node.saves[0][0]()  # it had reached the disk, and nobody heard
        node.is_up = False
        node.life += 1
        node.follows = b""
        if node.is_forgetful:
            node.disk, node.has_log = Disk(), False
        self.check()

    def _beat(self, node: Node, life: int) -> None:
        """Say who one is, and look who is there, again and again."""
        if not node.is_up or node.life != life:
            return
        status = self.status(node)
        for other in self.nodes.values():
            if other is not node:
                self.carry(node, other, partial(self.see, other, node.me, status))
        self.look(node)
        self.after(STATUS_INTERVAL_S * self.rng.uniform(0.8, 1.2), lambda: self._beat(node, life))

    def status(self, node: Node) -> Status:
        if node.follows:
            index = 1 if node.follows in self.committed and node.has_log else 0
            standing = MemberStanding.VOTER
            return Status(standing, node.follows, commit_index=index, is_observer=node.is_observer)
        return Status(node.bootstrap.standing, is_observer=node.is_observer)

    def see(self, node: Node, sender: PeerId, status: Status) -> None:
        node.seen[sender] = (status, self.now)
        self.look(node)

    def look(self, node: Node) -> None:
        bonded = {
            other: status
            for other, (status, seen_s) in node.seen.items()
            if self.now - seen_s < BOND_TIMEOUT_S
        }
        node.bootstrap.update_peers(bonded, now=self.now)
        self.pump(node)

    # Messages and pending I/O.

    def carry(self, sender: Node, to: Node, arrive: Callable[[], None]) -> None:
        """Deliver something, perhaps late, twice or never."""
        for _ in range(2 if self.has_faults and self.rng.random() < 0.1 else 1):
            delay_s = self.rng.uniform(0.001, 0.1)
            if self.has_faults:
                if self.rng.random() < self.options.loss:
                    continue
                if self.rng.random() < self.options.late:
                    delay_s = self.rng.uniform(0.1, 20)
            self.after(delay_s, lambda: self._arrive(sender, to, arrive))

    def _arrive(self, sender: Node, to: Node, arrive: Callable[[], None]) -> None:
        if to.is_up and (sender.me, to.me) not in self.cut:
            arrive()

    def receive(self, node: Node, sender: PeerId, data: bytes) -> None:
        node.bootstrap.receive_message(sender, decode_message(data), now=self.now)
        self.pump(node)

    def pump(self, node: Node) -> None:
        while node.is_up and (event := node.bootstrap.next_event()) is not None:
            self._ambush(node, event)
            match event:
                case SendBootstrap(to, message):
                    data, other = encode_message(message), self.nodes[to]
                    self.carry(node, other, partial(self.receive, other, node.me, data))
                case SavePrepareVote(prepare_vote):
                    data = b"" if prepare_vote is None else encode_prepare_vote(prepare_vote)
                    self.save(
                        node,
                        partial(setattr, node.disk, "prepare_vote", data),
                        lambda: node.bootstrap.prepare_vote_saved(now=self.now),
                    )
                case Founded(history, voters):
                    if self.voters.setdefault(history, voters.voters) != voters.voters:
                        raise Violation("one history with two sets of voters")
                    self.follow(node, history)
                case HistoryDied(history):
                    assert history == node.follows
                    self.died.append(history)
                    self.follow(node, b"")
                case BootstrapStuck(why):
                    node.stuck.append(why)
        self.arm(node)
        self.check()

    def follow(self, node: Node, history: bytes) -> None:
        node.follows, node.has_log = history, False
        self.save(node, lambda: setattr(node.disk, "history", history), lambda: None)

    def save(self, node: Node, write: Callable[[], None], done: Callable[[], None]) -> None:
        node.saves.append((write, done))
        if len(node.saves) == 1:
            self._save_next(node, node.life)

    def _save_next(self, node: Node, life: int) -> None:
        is_slow = self.has_faults and self.rng.random() < 0.1
        self.after(self.rng.uniform(0, 3 if is_slow else 0.02), lambda: self._saved(node, life))

    def _saved(self, node: Node, life: int) -> None:
        if node.life != life or not node.saves:
            return
        write, done = node.saves.popleft()
        write()
        done()
        if node.saves:
            self._save_next(node, life)
        self.pump(node)

    def arm(self, node: Node) -> None:
        due_s = node.bootstrap.get_timer()
        if due_s is None or due_s == node.timer_s:
            return
        node.timer_s, life = due_s, node.life
        self.after(max(0.0, due_s - self.now), lambda: self._time(node, life, due_s))

    def _time(self, node: Node, life: int, due_s: float) -> None:
        if node.is_up and node.life == life and node.timer_s == due_s:
            node.timer_s = None
            node.bootstrap.handle_timer(now=self.now)
            self.pump(node)

    # Raft.

    def _oracle(self) -> None:
        for history, voters in list(self.voters.items()):
            quorum = self._quorum(history, voters)
            if not quorum or (self.has_faults and self.rng.random() < 0.8):
                continue
            for node in quorum:
                if not self.has_faults or self.rng.random() < 0.5:
                    node.has_log = True
                    node.bootstrap.log_began(now=self.now)
                    self.pump(node)
            if self.has_faults and self.rng.random() < 0.5:
                continue  # elected, and not yet through with the first entry
            if history not in self.committed:
                self.committed.append(history)
            for node in self.nodes.values():
                if self._may_join(node, quorum[0]):
                    self._join(node, history)
        self.check()
        self.after(0.3, self._oracle)

    def _quorum(self, history: bytes, voters: tuple[PeerId, ...]) -> list[Node]:
        """Return followers of a history that are a majority, the first in touch with each."""
        followers = [self.nodes[p] for p in voters if self.nodes[p].is_up]
        followers = [node for node in followers if node.disk.history == history == node.follows]
        for first in followers:
            near = [first] + [node for node in followers if self._in_touch(first, node)]
            if len(near) >= majority(len(voters)):
                return near
        return []

    def _in_touch(self, one: Node, other: Node) -> bool:
        pairs = {(one.me, other.me), (other.me, one.me)}
        return one is not other and one.is_up and other.is_up and not pairs & self.cut

    def _may_join(self, node: Node, leader: Node) -> bool:
        return (
            self._in_touch(node, leader)
            and not node.follows
            and not node.is_joining
            and node.bootstrap.standing is MemberStanding.SEEKING
            and leader.me in node.seen
            and self.now - node.seen[leader.me][1] < BOND_TIMEOUT_S
        )

    def _join(self, node: Node, history: bytes) -> None:
        node.is_joining = True

        def write() -> None:
            if not node.follows:
                node.disk = Disk(history=history)

        def done() -> None:
            node.is_joining = False
            if not node.follows:
                node.follows, node.has_log = history, True
                node.bootstrap.joined(history, now=self.now)

        self.save(node, write, done)

    # Faults.

    def trouble(self) -> None:
        """Do something bad, and plan the next."""
        if not self.has_faults:
            return
        node = self.rng.choice(list(self.nodes.values()))
        match self.rng.randrange(7):
            case 0 | 1:
                self._strike(node)
            case 2:
                half = [n.me for n in self.nodes.values() if self.rng.random() < 0.5]
                self.cut |= {
                    (a, b) for a in self.nodes for b in self.nodes if (a in half) ^ (b in half)
                }
            case 3:
                self.cut.add((node.me, self.rng.choice(list(self.nodes))))
            case 4:
                self._isolate(node)
            case _:
                self.cut.clear()
        self.after(self.rng.uniform(0.05, 6), self.trouble)

    def _ambush(self, node: Node, event: object) -> None:
        """Strike at the worst moment, often enough."""
        if not self.has_faults:
            return
        odds = {Founded: 0.7, SavePrepareVote: 0.15}.get(type(event), 0.0)
        if self.rng.random() < odds:
            strike = self.rng.choice((self._strike, self._isolate))
            self.after(self.rng.choice((0.0, 0.02, 0.3)), lambda: strike(node))

    def _strike(self, node: Node) -> None:
        if self.has_faults:
            self.crash(node)
            self.after(self.rng.choice((0.1, 1, 5, 20)), lambda: self.start(node))

    def _isolate(self, node: Node) -> None:
        """Cut a node off, but perhaps for one other."""
        friend = self.rng.choice(list(self.nodes))
        for other in self.nodes if self.has_faults else ():
            if other != friend or self.rng.random() < 0.5:
                self.cut |= {(node.me, other), (other, node.me)}

    def heal(self) -> None:
        """End all faults; those that are doomed stay away for good."""
        self.has_faults = False
        self.cut.clear()
        voters = [node for node in self.nodes.values() if not node.is_observer]
        for node in self.rng.sample(voters, self.options.doomed_count):
            self.crash(node)
            node.is_doomed = True
        for node in self.nodes.values():
            self.start(node)

    # The witness.

    def check(self) -> None:
        """No two histories have a majority of their first voters, now or ever."""
        strong = []
        for history, voters in self.voters.items():
            followers = [p for p in voters if self.nodes[p].has == history]
            if len(followers) >= majority(len(voters)):
                strong.append(history)
        if len(strong) > 1:
            raise Violation(f"{len(strong)} histories have a majority")
        if len(self.committed) > 1 and not self.options.forgetful_count:
            raise Violation(f"{len(self.committed)} histories were committed")

    def is_lost(self) -> bool:
        """Whether too many have forgotten a committed history: then it is up to people."""
        return any(
            sum(self.nodes[p].has == history for p in self.voters[history])
            < majority(len(self.voters[history]))
            for history in self.committed
            if self.options.forgetful_count
        )

    def is_blocked(self) -> bool:
        """Whether some begun a history and others promised not to, and nobody is a majority.

        That takes a voter that never comes back: it is up to people, too.
        """
        for history, voters in self.voters.items():
            alive = [self.nodes[p] for p in voters if not self.nodes[p].is_doomed]
            never = [node for node in alive if self._never_begins(node, history)]
            needed = majority(len(voters))
            if len(never) < needed and len(alive) - len(never) < needed:
                return True
        return False

    def _never_begins(self, node: Node, history: bytes) -> bool:
        prepare_vote = node.bootstrap._promises.prepare_vote
        is_open = (
            prepare_vote is not None
            and prepare_vote.proposal.history == history
            and not prepare_vote.is_promised
        )
        return node.has != history and not is_open

    def is_settled(self) -> bool:
        up = [node for node in self.nodes.values() if node.is_up]
        histories = {node.follows for node in up}
        return len(histories) == 1 and histories <= set(self.committed)

    def run(self) -> bool:
        """Play the faults, then heal; return whether it settled.

        Raises:
            Violation: Something was wrong, or it should have settled.
        """
        self.after(self.rng.uniform(0, 3), self.trouble)
        self.run_until(self.options.faults_until_s)
        self.heal()
        if self.run_until(self.now + 60, self.is_settled):
            return True
        if self.is_lost() or self.is_blocked():
            return False
        states = [
            (n.me.short[:2], n.is_up, n.bootstrap.phase.name, n.follows.hex()[:4], n.stuck[-1:])
            for n in self.nodes.values()
        ]
        raise Violation(f"never settled: {states}")


def options_of(rng: Random) -> Options:
    """Return random options within what `bootstrap` promises.

    Enough keep their memory for safety (see there), and so many stay that there
    are n, and of the first voters of any history a majority that remembers it.
    """
    n = rng.choice((3, 3, 5))
    voter_count = rng.randint(n, 2 * n - 1)
    forgetful_count = min(rng.randint(0, 2), 2 * n - 1 - voter_count, n // 2)
    is_lossy = rng.random() < 0.7
    return Options(
        initial_voters=n,
        voter_count=voter_count,
        observer_count=rng.randint(0, 1),
        forgetful_count=forgetful_count,
        doomed_count=min(rng.randint(0, 2), voter_count - n, n // 2 - forgetful_count),
        loss=rng.choice((0.05, 0.3)) if is_lossy else 0.0,
        late=rng.choice((0.05, 0.3)) if is_lossy else 0.0,
        faults_until_s=rng.choice((10.0, 30.0, 60.0)),
    )


def main() -> None:
    """Run seeds from the command line."""
    first, run_count = int(sys.argv[1]), int(sys.argv[2])
    seen: Counter[str] = Counter()
    for seed in range(first, first + run_count):
        options = options_of(Random(seed))
        try:
            simulation = Simulation(options, seed)
            seen["settled" if simulation.run() else "up to people"] += 1
            seen[f"{len(simulation.voters)} histories, {len(set(simulation.died))} died"] += 1
        except AssertionError as exc:
            sys.stdout.write(f"seed {seed}: {options}: {exc!r}\n")
    sys.stdout.write(f"{run_count} seeds: {dict(seen)}\n")


if __name__ == "__main__":
    main()
