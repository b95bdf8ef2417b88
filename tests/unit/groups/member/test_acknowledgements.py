"""What a leader does with what many followers answer: nothing, where nothing follows from it."""

from __future__ import annotations

import pytest

from mosaik_actors.groups.config import ConsensusConfig
from mosaik_actors.groups.member import history as history_module
from mosaik_actors.groups.wire.frames import RAFT, with_history
from mosaik_actors.groups.wire.raft import (
    Append,
    Appended,
    HeartbeatReply,
    Message,
    encode_message,
)
from tests.scenario.groups_machines import Journal, Put

from ..member_world import Node, World

MEMBERS = 5


@pytest.fixture
def world() -> World:
    world = World(MEMBERS, Journal, consensus=ConsensusConfig(max_voters=MEMBERS))
    world.form(*range(MEMBERS), voters=MEMBERS)
    world.execute(0, Put("a", 0))
    world.run(0.5)
    return world


def leader_of(world: World) -> Node:
    leader = world.leader()
    assert leader is not None
    return leader


def needs_pump(world: World, leader: Node, message: Message) -> bool:
    """Give the leader a message of a follower; return whether it has to be pumped then."""
    history = leader.member.history
    assert history is not None
    follower = world.nodes[(leader.number + 1) % MEMBERS]
    link_id = leader.member.mesh.link_of(follower.peer)
    assert link_id is not None
    frame = with_history(RAFT, history.id, encode_message(message))
    return leader.member.receive_frames(link_id, [frame], now=leader.now)


def test_acknowledgement_that_commits_nothing_needs_no_pump(world: World) -> None:
    leader = leader_of(world)
    raft = leader.member.history.raft  # type: ignore[union-attr]
    known = Appended(raft.term, raft.log.last_index)
    assert not needs_pump(world, leader, known)
    assert needs_pump(world, leader, HeartbeatReply(raft.term, 0, raft.commit_index))
    leader.client.set_leader(False, None, leader.now)
    raft.propose(b"x")
    assert needs_pump(world, leader, known)  # the follower lacks what was proposed since


def test_acknowledgement_is_looked_at_while_leadership_is_handed_over(world: World) -> None:
    leader = leader_of(world)
    raft = leader.member.history.raft  # type: ignore[union-attr]
    other = world.nodes[(leader.number + 1) % MEMBERS]
    assert leader.member.transfer_leadership(other.peer)
    assert needs_pump(world, leader, Appended(raft.term, raft.log.last_index))


def test_entries_for_many_followers_are_encoded_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, encoded = leader_of(world), list[Message]()

    def noted(message: Message) -> bytes:
        encoded.append(message)
        return encode_message(message)

    monkeypatch.setattr(history_module, "encode_message", noted)
    world.execute(leader.number, Put("a", 1))
    world.until(lambda: all(len(node.machine.journal) == 2 for node in world.nodes))  # type: ignore[attr-defined]
    entries = [message for message in encoded if isinstance(message, Append) and message.entries]
    assert len(entries) == 1  # after a calm moment everybody hears at once
