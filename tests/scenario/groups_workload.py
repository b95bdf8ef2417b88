"""What group scenarios do with their nodes: join, wait, write, and compare."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from mosaik_actors import TransportConfig
from mosaik_actors.groups.config import ConsensusConfig
from mosaik_actors.handles.groups import Group
from mosaik_actors.testing.cluster import Cluster, SimNode
from mosaik_actors.testing.simlog import SimLog

from .groups_machines import Journal, Put

KEY = "the key of the group"
BOOTSTRAP_OF_3 = ConsensusConfig(initial_voters=3)
# Links end soon when the other side is gone, as they do in a data centre.
SETTINGS: dict[str, Any] = {
    "transport": TransportConfig(idle_timeout=3.0, keep_alive_interval=0.8),
    "traces_messages": False,
}


def join(node: SimNode, machine: Journal | None = None, **options: Any) -> Group:
    """Join the group of this test on a node that runs."""
    return node.net.groups.join(KEY, machine or Journal(), name="test", **options)


def join_durably(node: SimNode, machine: Journal | None = None, **options: Any) -> Group:
    """Join with a log on the node's disk."""
    return join(node, machine, storage=SimLog(node.disk, "group"), **options)


async def form(
    cluster: Cluster, count: int, *, is_durable: bool = False, **options: Any
) -> list[Group]:
    """Join on the first `count` nodes and wait until all that may vote do."""
    joining = join_durably if is_durable else join
    groups = [joining(node, **options) for node in cluster.nodes[:count]]
    await all_online(groups)
    wanted = min(count if count % 2 else count - 1, groups[0].config.max_voters)
    await cluster.until(
        lambda: all(len(voters_of(group)) == wanted for group in groups),
        timeout=30,
        what=f"{wanted} voters",
    )
    return groups


async def all_online(groups: Sequence[Group]) -> None:
    """Wait until every member takes commands."""
    async with asyncio.timeout(30):
        for group in groups:
            await group.when().online()


def voters_of(group: Group) -> list[bytes]:
    """Return who votes, as this member knows."""
    return [bytes(member.peer_id) for member in group.members if member.is_voter]


def is_voter(group: Group, node: SimNode) -> bool:
    """Return whether a node votes, as a member knows."""
    return bytes(node.peer_id) in voters_of(group)


def leader_of(groups: Sequence[Group]) -> int:
    """Return the index of the member that leads."""
    return next(index for index, group in enumerate(groups) if group.is_leader)


def journal_of(group: Group) -> list[tuple[str, int]]:
    """Return all commands that were applied at a member."""
    machine = group.machine
    assert isinstance(machine, Journal)
    return machine.journal


def digests_of(group: Group) -> list[bytes]:
    """Return what the journal of a member came to after each command; the first is of none."""
    machine = group.machine
    assert isinstance(machine, Journal)
    return machine.digests


async def write(group: Group, client: str, numbers: range | list[int], **options: Any) -> int:
    """Execute commands one after the other; return the position of the last."""
    position = 0
    for number in numbers:
        position = await group.execute(Put(client, number, value=number), **options)
    return position


async def all_equal(
    cluster: Cluster, members: Sequence[Group] | Mapping[int, Group], *, timeout: float = 30
) -> None:
    """Wait until all members are online in one history and have applied the same commands."""

    def now() -> list[Group]:
        # Those in a mapping may be replaced while this waits.
        return list(members.values() if isinstance(members, Mapping) else members)

    def are_equal() -> bool:
        groups = now()
        return (
            all(group.is_online for group in groups)
            and len({group.history for group in groups}) == 1
            and len({tuple(journal_of(group)) for group in groups}) == 1
        )

    def state() -> str:
        return "; ".join(
            f"{group.history.hex()[:6]} {len(journal_of(group))} {group.why_offline}"
            for group in now()
        )

    try:
        await cluster.until(are_equal, timeout=timeout, what="the same state everywhere")
    except TimeoutError as exc:
        raise TimeoutError(f"{exc}: {state()}") from None


async def collect(group: Group, events: list[object]) -> None:
    """Append what a member tells, as it comes, until it ends."""
    async for event in group.events():
        events.append(event)  # noqa: PERF401  # one at a time
