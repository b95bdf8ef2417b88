"""A counter that several processes share: each adds to it, and all end with the same total."""

import argparse
import sys

import msgspec

from mosaik_actors import ApplyContext, Network, StateMachine, run


class Add(msgspec.Struct, frozen=True):
    """A command: what is replicated."""

    amount: int


class Counter(StateMachine):
    """The state, one copy on each member. The same commands in the same order: the same total."""

    Command = Add
    Result = int  # what `apply` returns, and `execute` hands back
    signature = "examples.counter.1"

    def __init__(self) -> None:
        self.total = 0

    def apply(self, command: Add, ctx: ApplyContext) -> int:
        self.total += command.amount
        return self.total

    def query(self, query: None) -> int:
        return self.total


async def main(network: str, key: str, members: int, count: int) -> None:
    async with Network(network) as net:
        group = net.groups.join(key, Counter(), name="counter")
        await group.when().online()
        name = net.peer_id.short
        print(f"{name}: online, the leader is {group.leader.short if group.leader else 'unknown'}")
        for _ in range(count):
            position = await group.execute(Add(1))
        print(f"{name}: my last addition was command {position}, and made it {position.result}")
        await group.when().committed().reaches(members * count)  # the others are done, too
        answer = await group.query(None)
        print(f"{name}: the total is {answer.result} after {answer.at_position} commands")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", default="counter-example")
    parser.add_argument("--key", default="anybody may count", help="the group's secret")
    parser.add_argument("--members", type=int, default=3, help="processes that take part")
    parser.add_argument("--count", type=int, default=100, help="additions of each")
    options = parser.parse_args()
    sys.exit(run(main, options.network, options.key, options.members, options.count))
