"""A member of a group in a process of its own, driven line by line.

    python -m tests.e2e.groups_worker <seed> <path of the log, or "memory">

It reads orders from its input, one per line, and prints one JSON object per
line: what it saw.

    load    append numbered entries, as fast as they are acknowledged
    stop    stop that
    dump    say all entries, by a strong query
    ways    say what carries the connection to each peer
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import msgspec

from mosaik_actors import (
    ApplyContext,
    Group,
    GroupOffline,
    InMemory,
    LeaderElected,
    MembersChanged,
    Network,
    QueryOffline,
    SecretKey,
    SqliteLog,
    StateMachine,
    TransportConfig,
)

NETWORK = "groups-e2e"
KEY = "the key of the groups under test"
BURST = 5


class Append(msgspec.Struct, frozen=True):
    source: str
    number: int


class Entries(StateMachine):
    """Everything that was appended, in order."""

    Command = Append
    Result = tuple[str, int, int]
    signature = "tests.e2e.entries.1"

    def __init__(self) -> None:
        self.entries: list[Append] = []

    def apply(self, command: Append, ctx: ApplyContext) -> tuple[str, int, int]:
        assert ctx.index == len(self.entries) + 1, "positions count commands"
        self.entries.append(command)
        return command.source, command.number, len(self.entries)

    def query(self, query: object) -> list[Append]:
        return list(self.entries)

    def snapshot(self) -> Iterable[bytes]:
        return [msgspec.msgpack.encode(self.entries)]

    def restore(self, parts: Iterable[bytes]) -> None:
        self.entries = msgspec.msgpack.decode(b"".join(parts), type=list[Append])


def say(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)  # noqa: T201  # that is how it reports


async def load(group: Group, source: str) -> None:
    """Append for ever; say what was acknowledged, and what nobody knows of."""
    number = 1
    while True:
        burst = [Append(source, number + offset) for offset in range(BURST)]
        last = burst[-1].number
        try:
            positions = await group.execute_many(burst)
        except GroupOffline as exc:
            if not exc.may_take_effect:
                continue  # they never will: the same ones again
            say(unknown=last)
        else:
            # Each has the result of its one run, whatever had to be sent again.
            for entry, position in zip(burst, positions, strict=True):
                assert position.result == (entry.source, entry.number, position)
            say(acked=last, position=positions[-1])
        number = last + 1


async def tell_events(group: Group) -> None:
    async for event in group.events():
        match event:
            case LeaderElected(leader):
                say(leader=None if leader is None else str(leader))
            case MembersChanged(voters, learners):
                say(voters=[str(peer) for peer in voters], learners=len(learners))


async def dump(group: Group) -> None:
    while True:
        with suppress(QueryOffline):
            answer = await group.query(None)
            break
    say(entries=[[entry.source, entry.number] for entry in answer.result])


async def obey(group: Group, source: str, net: Network) -> None:
    """Do what the input says until it ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    loading: asyncio.Task[None] | None = None
    while order := (await reader.readline()).decode().strip():
        if order == "load":
            loading = asyncio.create_task(load(group, source))
        elif order == "stop" and loading is not None:
            loading.cancel()
            await asyncio.wait([loading])
            say(stopped=True)
        elif order == "dump":
            await dump(group)
        elif order == "ways":
            endpoint = net.node.endpoint
            say(ways={str(peer): endpoint.carrier(peer) for peer in endpoint.connected_peers()})


async def main(seed: str, path: str) -> None:
    storage = InMemory() if path == "memory" else SqliteLog(path)
    carriers = os.environ.get("GROUPS_WORKER_CARRIERS")  # where the test says so
    transport = TransportConfig(carriers=tuple(carriers.split(",")) if carriers else "auto")
    key = SecretKey.from_seed(seed)
    async with Network(NETWORK, secret_key=key, transport=transport) as net:
        group = net.groups.join(KEY, Entries(), storage=storage, name="entries")
        telling = asyncio.create_task(tell_events(group))
        say(peer=str(net.peer_id))
        await group.when().online()
        say(online=True)
        await obey(group, seed, net)
    await telling


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:]))
    except KeyboardInterrupt:
        say(interrupted=True)
