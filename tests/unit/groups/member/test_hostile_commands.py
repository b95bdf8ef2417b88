"""Commands of members that no member should ever apply: they stay out of the log."""

from __future__ import annotations

import pytest

from mosaik_actors.groups.machine.payloads import PEER_BATCH_COMMANDS_MAX, PEER_COMMANDS_MAX
from mosaik_actors.groups.wire import frames
from mosaik_actors.groups.wire.commands import CommandBatch, join_commands
from mosaik_actors.groups.wire.merge import ReplayCommands, encode_merge
from mosaik_actors.groups.wire.system_entries import Replay
from tests.scenario.groups_machines import Journal, Put

from ..member_world import Node, World

OTHER = bytes([7]) * 16


def say(leader: Node, other: Node, frame: bytes) -> None:
    """Have the leader receive a frame of another member."""
    link_id = leader.member.mesh.link_of(other.peer)
    assert link_id is not None
    leader.pump(leader.member.receive_frames, link_id, [frame])


@pytest.mark.parametrize(
    "payloads",
    [
        (b"\x00\x91\xc1",),
        (join_commands(b"\0", [b"\xc0"] * 3), b"nothing"),
        (join_commands(b"\0", [b"\xc0"] * (PEER_COMMANDS_MAX + 1)),),
        (join_commands(b"\0", [b"\xc0"] * PEER_COMMANDS_MAX),)
        * (PEER_BATCH_COMMANDS_MAX // PEER_COMMANDS_MAX + 1),
    ],
    ids=["broken", "broken later", "many in one", "many in many"],
)
@pytest.mark.parametrize("way", ["forward", "replay"])
def test_commands_that_would_end_or_stop_every_member_are_not_taken_in(
    payloads: tuple[bytes, ...], way: str
) -> None:
    """Committed, the first two would end every member, and the others hold up each."""
    world = World(3, Journal)
    leader = world.form(0, 1, 2)
    other = world.nodes[(leader.number + 1) % 3]
    batch = CommandBatch(bytes(16), 1, 1, 0, payloads)
    assert leader.member.history is not None
    if way == "forward":
        frame = frames.encode_forward(leader.member.history.id, batch)
    else:
        message = ReplayCommands(1, Replay(OTHER, (batch,)))
        frame = frames.plain(frames.MERGE, encode_merge(message))
    index = leader.member.history.raft.log.last_index
    say(leader, other, frame)
    world.run(1)
    assert leader.member.history.raft.log.last_index == index
    world.execute(other.number, Put("after", 0))
    machines = [node.machine for node in world.nodes if isinstance(node.machine, Journal)]
    world.until(lambda: all(machine.journal == [("after", 0)] for machine in machines))
