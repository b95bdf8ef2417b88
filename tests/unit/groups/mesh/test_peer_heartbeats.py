"""One heartbeat per connection, whatever the number of groups; and bonds that rely on it."""

from __future__ import annotations

from collections import deque
from random import Random

from mosaik_actors.groups.config import ConsensusConfig
from mosaik_actors.groups.mesh.bond import MeshEvent, SendBondFrame
from mosaik_actors.groups.mesh.peer_heartbeats import (
    HEARTBEAT_FRAME,
    ConnectionHeartbeats,
    PeerHeartbeats,
)
from mosaik_actors.groups.mesh.standing_bonds import StandingBonds
from mosaik_actors.groups.mesh.wire import Beat, decode_frame
from mosaik_actors.groups.wire.status import Status

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


def test_one_frame_per_connection_and_interval_for_all_bonds() -> None:
    heartbeats = PeerHeartbeats()
    assert heartbeats.get_timer() is None
    bonds = [FakeLink("to b") for _ in range(100)]
    other = FakeLink("to c")
    for link in (*bonds, other):
        heartbeats.add(link, 0.2, now=1.0)
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
    heartbeats.add(slow, 1.0, now=0.0)
    heartbeats.handle_timer(now=0.0)
    assert heartbeats.get_timer() == 1.0
    heartbeats.add(quick, 0.1, now=0.3)
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
        heartbeats.add(link, 0.2, now=0.0)
        link.unsent_bytes = unsent_bytes
    heartbeats.handle_timer(now=0.0)
    assert [len(link.written) for link in links] == [0, 1, 0]
    links[1].unsent_bytes, links[2].unsent_bytes = 2, 1
    heartbeats.handle_timer(now=0.2)
    assert [len(link.written) for link in links] == [0, 1, 1]


def test_what_is_heard_counts_for_the_bonds_of_that_connection_only() -> None:
    heartbeats = PeerHeartbeats()
    old, new = FakeLink("first to b"), FakeLink("second to b")
    first = heartbeats.add(old, 0.2, now=0.0)
    second = heartbeats.add(new, 0.2, now=0.0)
    heartbeats.receive(new, now=3.0)
    assert first.heard_at < 0 < second.heard_at
    # One over a connection without a bond is nothing.
    heartbeats.receive(FakeLink("to c"), now=3.0)
    assert len({id(heartbeats.add(FakeLink("to c"), 0.2, now=3.0)), id(first), id(second)}) == 3


class Bonds:
    """The bonds of a member with `peer(1)` and `peer(2)`, and what comes of time."""

    def __init__(self, **heard: ConnectionHeartbeats) -> None:
        self.events: deque[MeshEvent] = deque()
        joined: list[int] = []
        by_link = {1: heard.get("one"), 2: heard.get("two")}

        def join(link_id: int) -> ConnectionHeartbeats | None:
            joined.append(link_id)
            return by_link[link_id]

        self.bonds = StandingBonds(peer(0), CONFIG, Random(1), self.events, Status(), join, now=0.0)
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


def heard(at: float) -> ConnectionHeartbeats:
    heartbeats = ConnectionHeartbeats()
    heartbeats.heard_at = at
    return heartbeats


def test_bonds_whose_nodes_are_heard_say_the_same_again_next_to_never() -> None:
    rest_s = 5 * CONFIG.bond_timeout_s
    assert Bonds(one=heard(0.0), two=heard(0.0)).count_beats(rest_s) <= 3
    # Where one of the others sends none, they go on as ever: it may be of an earlier version.
    often = rest_s / (CONFIG.bond_timeout_s / 4 + CONFIG.heartbeat_jitter)
    assert Bonds(one=heard(0.0), two=ConnectionHeartbeats()).count_beats(rest_s) >= often
    assert Bonds(one=heard(0.0)).count_beats(rest_s) >= often


def test_new_bond_and_new_status_are_not_kept_waiting() -> None:
    bonds = Bonds(one=heard(0.0), two=heard(0.0))
    bonds.count_beats(4.0)
    bonds.events.clear()
    bonds.bonds.set_status(Status(commit_index=7), now=4.0)
    bonds.bonds.tell(4.0)
    assert any(isinstance(event, SendBondFrame) for event in bonds.events)


def test_bond_ends_when_neither_it_nor_the_node_is_heard() -> None:
    one = heard(0.0)
    bonds = Bonds(one=one, two=heard(100.0)).bonds
    one.heard_at = 5.0
    timeout_s = CONFIG.bond_timeout_s
    assert bonds.list_silent(5.0 + timeout_s - 0.01) == []
    assert [bond.peer for bond in bonds.list_silent(5.0 + timeout_s)] == [peer(1)]
    assert 5.0 + timeout_s in list(bonds.list_due_times())
    # What this node slept through is no silence of others.
    bonds.forgive(3.0, now=8.0)
    assert bonds.list_silent(8.0 + timeout_s - 0.01) == []
