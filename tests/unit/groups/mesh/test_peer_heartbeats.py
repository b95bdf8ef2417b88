"""One heartbeat per connection, whatever the number of groups; and bonds that rely on it."""

from __future__ import annotations

from collections import deque
from math import inf
from random import Random

import pytest
from msgspec.structs import replace

from mosaik_actors.groups.config import ConsensusConfig
from mosaik_actors.groups.mesh.bond import MeshEvent, SendBondFrame
from mosaik_actors.groups.mesh.peer_heartbeats import (
    ANSWER_FRAME,
    HEARTBEAT_FRAME,
    BondHeartbeats,
    PeerHeartbeats,
)
from mosaik_actors.groups.mesh.standing_bonds import StandingBonds
from mosaik_actors.groups.mesh.wire import Beat, Peers, decode_frame
from mosaik_actors.groups.wire.status import MemberStanding, Status
from mosaik_actors.transport.close import SHUTDOWN

from ..cores import peer

CONFIG = ConsensusConfig()


class FakeLink:
    """A link that keeps what is written to it."""

    def __init__(self, connection: str) -> None:
        self.connection = connection
        self.written: list[bytes] = []
        self.unsent_bytes = 0

    def write(self, frame: bytes) -> None:
        self.written.append(frame)


def add(
    heartbeats: PeerHeartbeats, link: FakeLink, interval_s: float = 0.2, *, now: float = 0.0
) -> tuple[BondHeartbeats, list[float]]:
    """Have a bond take part; return its share, and when it was woken, as a list that grows."""
    woken: list[float] = []
    config = ConsensusConfig(heartbeat_interval=interval_s, election_timeout=max(1, 2 * interval_s))
    bond = heartbeats.add(link, config, lambda: woken.append(1.0), now=now)
    return bond, woken


def is_watched(bond: BondHeartbeats) -> bool:
    return bond.is_watched


def pass_time(heartbeats: PeerHeartbeats, until: float) -> float:
    """Do what is due up to a time, at that time; return it."""
    while (due_at := heartbeats.get_timer()) is not None and due_at <= until:
        heartbeats.handle_timer(now=due_at)
    return until


def test_one_frame_per_connection_and_interval_for_all_bonds() -> None:
    heartbeats = PeerHeartbeats()
    assert heartbeats.get_timer() is None
    bonds = [FakeLink("to b") for _ in range(100)]
    other = FakeLink("to c")
    for link in (*bonds, other):
        add(heartbeats, link, now=1.0)
    now = 1.0
    for _ in range(5):
        assert heartbeats.get_timer() == now
        heartbeats.handle_timer(now=now)
        now += 0.2
    assert sum(len(link.written) for link in bonds) == len(other.written) == 5
    assert set(bonds[0].written) == {HEARTBEAT_FRAME}


def test_shortest_interval_of_the_groups_on_a_connection_holds() -> None:
    heartbeats = PeerHeartbeats()
    slow, quick = FakeLink("to b"), FakeLink("to b")
    add(heartbeats, slow, 1.0)
    heartbeats.handle_timer(now=0.0)
    assert heartbeats.get_timer() == 1.0
    add(heartbeats, quick, 0.1, now=0.3)
    assert heartbeats.get_timer() == 0.4
    heartbeats.handle_timer(now=0.4)
    assert heartbeats.get_timer() == 0.5
    # The other bond carries them when the first one ends.
    heartbeats.remove(slow)
    heartbeats.remove(slow)
    heartbeats.handle_timer(now=0.5)
    assert (slow.written, quick.written) == ([HEARTBEAT_FRAME] * 2, [HEARTBEAT_FRAME])
    heartbeats.remove(quick)
    assert heartbeats.get_timer() is None


def test_heartbeat_does_not_wait_behind_what_another_group_sends() -> None:
    heartbeats = PeerHeartbeats()
    links = [FakeLink("to b") for _ in range(3)]
    for link, unsent_bytes in zip(links, (9_000_000, 0, 0), strict=True):
        add(heartbeats, link)
        link.unsent_bytes = unsent_bytes
    heartbeats.handle_timer(now=0.0)
    assert [len(link.written) for link in links] == [0, 1, 0]
    links[1].unsent_bytes, links[2].unsent_bytes = 2, 1
    heartbeats.handle_timer(now=0.2)
    assert [len(link.written) for link in links] == [0, 1, 1]


def test_what_is_heard_counts_for_the_bonds_of_that_connection_only() -> None:
    heartbeats = PeerHeartbeats()
    old, new = FakeLink("first to b"), FakeLink("second to b")
    first = add(heartbeats, old)[0].connection
    second = add(heartbeats, new)[0].connection
    heartbeats.receive(new, HEARTBEAT_FRAME, now=3.0)
    assert first.heard_at < 0 < second.heard_at
    # One over a connection without a bond is nothing.
    heartbeats.receive(FakeLink("to c"), HEARTBEAT_FRAME, now=3.0)
    third = add(heartbeats, FakeLink("to c"), now=3.0)[0].connection
    assert len({id(third), id(first), id(second)}) == 3


def test_one_timer_serves_all_connections() -> None:
    heartbeats = PeerHeartbeats()
    links = [FakeLink(f"to {number}") for number in range(20)]
    for number, link in enumerate(links):
        now = pass_time(heartbeats, number * 0.07)
        add(heartbeats, link, now=now)
    pass_time(heartbeats, 2.0)
    for link in links:
        link.written.clear()
    count = 0
    while (due_at := heartbeats.get_timer()) is not None and due_at <= 4.0:
        heartbeats.handle_timer(now=due_at)
        count += 1
    assert count <= 11
    assert {len(link.written) for link in links} <= {9, 10, 11}


def test_bonds_are_woken_once_before_a_node_was_silent_for_too_long() -> None:
    heartbeats = PeerHeartbeats()
    link, other = FakeLink("to b"), FakeLink("to c")
    bond, woken = add(heartbeats, link)
    alive, never = add(heartbeats, other)
    assert not is_watched(bond)  # it was not heard yet: somebody has to look
    for number in range(10):
        now = pass_time(heartbeats, number * 0.2)
        heartbeats.receive(link, HEARTBEAT_FRAME, now=now)
        heartbeats.receive(other, HEARTBEAT_FRAME, now=now)
    assert is_watched(bond)
    assert not woken
    # It falls silent: woken within its patience of a second, and not again.
    heard_at = now
    while not woken:
        assert now < heard_at + 1.0
        now = pass_time(heartbeats, now + 0.05)
        heartbeats.receive(other, HEARTBEAT_FRAME, now=now)
    assert heard_at + 0.6 <= now < heard_at + 1.0
    assert not is_watched(bond)
    assert is_watched(alive)
    pass_time(heartbeats, now + 0.6)
    assert (len(woken), never) == (1, [])
    # It is heard again, and falls silent again.
    heartbeats.receive(link, HEARTBEAT_FRAME, now=now + 0.6)
    assert is_watched(bond)
    pass_time(heartbeats, now + 1.6)
    assert len(woken) == 2


def test_own_standstill_is_not_taken_for_the_silence_of_others() -> None:
    heartbeats = PeerHeartbeats()
    link = FakeLink("to b")
    bond, woken = add(heartbeats, link)
    heartbeats.receive(link, HEARTBEAT_FRAME, now=0.1)
    pass_time(heartbeats, 0.2)
    # A second later than due: what came meanwhile is read after this.
    heartbeats.handle_timer(now=5.4)
    assert not woken
    assert bond.connection.heard_at == 5.1
    pass_time(heartbeats, 6.4)
    assert len(woken) == 1


class Pair:
    """Two nodes, and one connection between them."""

    def __init__(self) -> None:
        self.nodes = [PeerHeartbeats(), PeerHeartbeats()]
        self.links = [FakeLink("to b"), FakeLink("to a")]
        self.now = 0.0
        self.bonds = [add(node, link)[0] for node, link in zip(self.nodes, self.links, strict=True)]

    def pass_time(self, seconds: float) -> int:
        """Let time pass; return how many frames were written."""
        until, count = self.now + seconds, 0
        while self.now < until:
            self.now += 0.05
            for number, node in enumerate(self.nodes):
                pass_time(node, self.now)
                written = self.links[number].written
                for frame in written:
                    self.nodes[1 - number].receive(self.links[1 - number], frame, now=self.now)
                count += len(written)
                written.clear()
        return count


def test_nodes_that_do_not_need_each_other_say_nothing() -> None:
    pair = Pair()
    assert pair.pass_time(2.0) >= 18
    pair.bonds[0].need(False)
    # The other one still needs to hear it, asks, and is answered.
    assert pair.pass_time(2.0) >= 18
    assert is_watched(pair.bonds[1])
    pair.bonds[1].need(False)
    pair.pass_time(0.1)
    assert pair.pass_time(60.0) == 0
    assert not is_watched(pair.bonds[0])


def test_node_that_needs_the_other_again_hears_it_at_once() -> None:
    pair = Pair()
    for bond in pair.bonds:
        bond.need(False)
    pair.pass_time(60.0)
    pair.bonds[0].need(True)
    assert not is_watched(pair.bonds[0])  # it has not been heard for long
    pair.pass_time(0.5)
    assert is_watched(pair.bonds[0])
    assert not is_watched(pair.bonds[1])
    assert pair.pass_time(2.0) >= 18


def test_another_bond_over_a_connection_at_rest_is_heard() -> None:
    pair = Pair()
    for bond in pair.bonds:
        bond.need(False)
    pair.pass_time(60.0)
    second, _ = add(pair.nodes[0], FakeLink("to b"), now=pair.now)
    assert not is_watched(second)
    pair.pass_time(0.5)
    assert is_watched(second)
    assert pair.pass_time(2.0) >= 18


def test_answer_calls_for_none() -> None:
    heartbeats, link = PeerHeartbeats(), FakeLink("to b")
    bond, _ = add(heartbeats, link)
    heartbeats.receive(link, HEARTBEAT_FRAME, now=0.0)
    assert link.written == []  # it sends some by itself
    bond.need(False)
    heartbeats.receive(link, HEARTBEAT_FRAME, now=0.1)
    heartbeats.receive(link, ANSWER_FRAME, now=0.2)
    heartbeats.receive(link, ANSWER_FRAME, now=0.4)
    assert link.written == [ANSWER_FRAME]
    assert bond.connection.heard_at == 0.4


def test_flood_of_heartbeats_is_not_answered() -> None:
    heartbeats, link = PeerHeartbeats(), FakeLink("to b")
    bond, _ = add(heartbeats, link)
    bond.need(False)
    for number in range(1000):
        heartbeats.receive(link, HEARTBEAT_FRAME, now=1.0 + number / 1e4)
    assert len(link.written) == 1
    assert not is_watched(bond)
    heartbeats.receive(link, HEARTBEAT_FRAME, now=1.3)
    assert len(link.written) == 2


class Bonds:
    """The bonds of a member with `peer(1)` and `peer(2)`, and what comes of time."""

    def __init__(self, **heard: BondHeartbeats) -> None:
        self.events: deque[MeshEvent] = deque()
        joined: list[int] = []
        by_link = {1: heard.get("one"), 2: heard.get("two")}

        def join(link_id: int) -> BondHeartbeats | None:
            joined.append(link_id)
            return by_link[link_id]

        self.bonds = StandingBonds(peer(0), CONFIG, Random(1), self.events, Status(), join)
        for number in (1, 2):
            self.bonds.add(peer(number), number, Status(), now=0.0)
        assert joined == [1, 2]

    def count_beats(self, until: float) -> int:
        """Let time pass; return how many heartbeats with a status went over one bond."""
        self.events.clear()
        now = 0.0
        while now < until:
            now += 0.05
            self.bonds.tell(now)
        sent = [event for event in self.events if isinstance(event, SendBondFrame)]
        beats = [e for e in sent if isinstance(decode_frame(e.data), Beat) and e.link_id == 1]
        return len(beats)


def heard(at: float) -> BondHeartbeats:
    """Return what one bond has of a connection over which a heartbeat came at this time."""
    heartbeats = PeerHeartbeats()
    link = FakeLink("to somebody")
    bond, _ = add(heartbeats, link)
    heartbeats.receive(link, HEARTBEAT_FRAME, now=at)
    return bond


def unheard() -> BondHeartbeats:
    return add(PeerHeartbeats(), FakeLink("to somebody"))[0]


def test_bonds_whose_nodes_are_heard_never_say_the_same_again() -> None:
    rest_s = 5 * CONFIG.bond_timeout_s
    assert Bonds(one=heard(0.0), two=heard(0.0)).count_beats(rest_s) <= 2
    # Where one of the others sends none, they go on as ever: it may be of an earlier version.
    often = rest_s // (CONFIG.bond_timeout_s / 4 + CONFIG.heartbeat_jitter)
    assert Bonds(one=heard(0.0), two=unheard()).count_beats(rest_s) >= often
    assert Bonds(one=heard(0.0)).count_beats(rest_s) >= often


def test_new_bond_and_new_status_are_not_kept_waiting() -> None:
    bonds = Bonds(one=heard(0.0), two=heard(0.0))
    bonds.count_beats(4.0)
    bonds.events.clear()
    bonds.bonds.set_status(Status(commit_index=7), now=4.0)
    bonds.bonds.tell(4.0)
    assert any(isinstance(event, SendBondFrame) for event in bonds.events)


def test_bond_ends_when_neither_it_nor_the_node_is_heard() -> None:
    one = heard(5.0)
    bonds = Bonds(one=one, two=heard(100.0)).bonds
    timeout_s = CONFIG.bond_timeout_s
    # Before it is woken, nobody looks.
    assert bonds.list_silent(200.0) == []
    assert [due_at for due_at in bonds.list_due_times() if due_at > 5.0] == [inf]
    one.connection.is_silent = True
    assert bonds.list_silent(5.0 + timeout_s - 0.01) == []
    assert [bond.peer for bond in bonds.list_silent(5.0 + timeout_s)] == [peer(1)]
    assert 5.0 + timeout_s in list(bonds.list_due_times())
    # What this node slept through is no silence of others.
    bonds.forgive(3.0, now=8.0)
    assert bonds.list_silent(8.0 + timeout_s - 0.01) == []


class Followers:
    """A follower that is bonded with its leader, `peer(1)`, and with another one, `peer(2)`."""

    def __init__(self) -> None:
        self.said = Status(MemberStanding.VOTER, b"h", 3, leader=peer(1))
        self.two = heard(0.0)
        self.bonds = Bonds(one=heard(0.0), two=self.two).bonds
        self.bonds.set_status(self.said, now=0.0)
        for number in (1, 2):
            self.hear(number, Beat(self.said))

    def hear(self, number: int, frame: Beat | Peers, *, now: float = 1.0) -> None:
        """Take in what one of the others says."""
        bond = self.bonds.by_peer[peer(number)]
        self.bonds.take(bond, frame, now=now)

    def rest(self) -> bool:
        """Whether the two followers need nothing of each other; of its leader it always does."""
        assert not self.bonds.by_peer[peer(1)].is_resting
        return self.bonds.by_peer[peer(2)].is_resting


def test_followers_rest_when_their_leader_says_that_it_has_both() -> None:
    followers = Followers()
    assert not followers.rest()
    followers.hear(1, Peers(added=(peer(0), peer(2))))
    assert followers.rest()
    # What goes on in the log is nothing to that, and silence says nothing.
    followers.hear(2, Beat(replace(followers.said, commit_index=7)))
    assert followers.rest()
    followers.two.connection.is_silent = True
    assert followers.bonds.list_silent(1e6) == []


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param((1, Peers(removed=(peer(2),))), id="the leader has lost it"),
        pytest.param((2, Beat(Status(MemberStanding.VOTER, b"h", 4))), id="it hears no leader"),
        pytest.param((2, Beat(Status(MemberStanding.VOTER, b"h", 4, peer(1)))), id="a later term"),
        pytest.param((2, Beat(Status(MemberStanding.VOTER, b"h", 3, peer(3)))), id="another one"),
        pytest.param((2, Beat(Status(MemberStanding.VOTER, b"i", 3, peer(1)))), id="a history"),
        pytest.param((2, Beat(Status(leader=None))), id="it begins anew"),
    ],
)
def test_followers_need_each_other_again(frame: tuple[int, Beat | Peers]) -> None:
    followers = Followers()
    followers.hear(1, Peers(added=(peer(2),)))
    followers.hear(*frame, now=500.0)
    assert not followers.rest()
    # It has as much time to be heard as a new bond.
    timeout_s = CONFIG.bond_timeout_s
    followers.two.connection.is_silent = True
    assert followers.bonds.list_silent(500.0 + timeout_s - 0.01) == []
    assert [bond.peer for bond in followers.bonds.list_silent(500.0 + timeout_s)] == [peer(2)]


def test_follower_without_a_leader_needs_everybody() -> None:
    followers = Followers()
    followers.hear(1, Peers(added=(peer(2),)))
    followers.bonds.set_status(replace(followers.said, leader=None), now=2.0)
    assert not followers.rest()
    followers.bonds.set_status(followers.said, now=3.0)
    assert followers.rest()
    followers.bonds.set_status(replace(followers.said, is_catching_up=True), now=4.0)
    assert not followers.rest()
    followers.bonds.set_status(followers.said, now=5.0)
    lost = followers.bonds.by_peer[peer(1)]
    followers.bonds.remove(lost, SHUTDOWN, now=6.0, was_graceful=False)
    assert not followers.bonds.by_peer[peer(2)].is_resting
