"""Members that say of themselves what is not so: they cost little, and stop nobody."""

import pytest

from mosaik_actors.groups.member.voter_changes import CHANGES_MAX
from mosaik_actors.groups.mesh.wire import Beat, encode_frame
from mosaik_actors.groups.wire.status import MemberStanding, Status
from tests.scenario.groups_machines import Journal, Put

from ..member_world import Node, World

LIES = {
    "seeking with a history": Status(MemberStanding.SEEKING, bytes([7]) * 16),
    "seeking without one": Status(MemberStanding.SEEKING),
    "elsewhere": Status(MemberStanding.VOTER, bytes([7]) * 16, leader=None),
    "prepared": Status(MemberStanding.PREPARED),
    "far ahead": Status(MemberStanding.VOTER, b"?", term=1 << 61, commit_index=1 << 61),
}


def lie(liar: Node, victim: Node, status: Status) -> None:
    """Have a member say something over its bond that it would never say."""
    history = victim.member.history
    assert history is not None
    if status.history == b"?":
        status = Status(
            status.standing, history.id, status.term, liar.peer, status.commit_index, 1 << 60
        )
    link_id = victim.member.mesh.link_of(liar.peer)
    if link_id is not None:
        victim.pump(victim.member.receive_frames, link_id, [encode_frame(Beat(status))])


@pytest.mark.parametrize("what", list(LIES))
@pytest.mark.parametrize("count", [2, 3])
def test_lies_do_not_keep_a_leader_busy(what: str, count: int) -> None:
    world = World(count, Journal)
    leader = world.form(*range(count), voters=1 if count == 2 else 3)
    history = leader.member.history
    assert history is not None
    liar = world.nodes[(leader.number + 1) % count]
    before = history.raft.log.last_index
    # It lies for two seconds, in between its own true heartbeats.
    for _ in range(200):
        lie(liar, leader, LIES[what])
        world.run(0.01)
    # The changes that this brings about are few: so many are allowed in one second.
    assert history.raft.log.last_index - before <= 3 * CHANGES_MAX
    # The group serves meanwhile, or soon after.
    world.run(5)
    world.execute(leader.number, Put("a", 0))
