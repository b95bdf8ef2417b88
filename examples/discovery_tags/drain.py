"""Nodes that choose each other by tags: taking a worker out of service without losing a job.

A dispatcher serves workers that say they are ready. For maintenance a worker takes
back its tag; the dispatcher lets go of it, and the other one gets the jobs.
"""

import asyncio
import sys

import msgspec

from mosaik_actors import Network, run


class Job(msgspec.Struct, frozen=True):
    number: int


class Worker:
    """A node that does the jobs it gets and counts them."""

    def __init__(self, name: str, net: Network) -> None:
        self.name = name
        self.net = net
        self.done: list[int] = []
        self.jobs = net.streams.consumer(Job, require=lambda peer: "dispatcher" in peer.tags)

    async def work(self) -> None:
        async for job in self.jobs:
            self.done.append(job.number)


async def main() -> None:
    network = "discovery-tags"
    async with (
        Network(network, tags=["dispatcher"]) as office,
        Network(network, tags=["worker", "ready"]) as first,
        Network(network, tags=["worker", "ready"]) as second,
        Network(network, tags=["worker"]) as trainee,
    ):
        workers = [Worker("first", first), Worker("second", second), Worker("trainee", trainee)]
        working = [asyncio.create_task(worker.work()) for worker in workers]
        jobs = office.streams.producer(Job, require=lambda peer: "ready" in peer.tags)

        # Two are ready. The trainee is known but has no tag for it, and is refused.
        await jobs.when().subscribed().with_tags("ready").minimum_of(2)
        names = {worker.net.peer_id: worker.name for worker in workers}
        print("serving", sorted(names[channel.consumer_id] for channel in jobs.consumers()))
        for number in range(100):
            await jobs.send(Job(number))

        # Maintenance: the tag goes, and the dispatcher lets go of the node by itself.
        only_one = jobs.when().subscribed().minimum_of(2).unmet()
        first.discovery.remove_tags("ready")
        await only_one
        print("serving", sorted(names[channel.consumer_id] for channel in jobs.consumers()))
        for number in range(100, 200):
            await jobs.send(Job(number))

        # Back in service.
        first.discovery.add_tags("ready")
        await jobs.when().subscribed().minimum_of(2)
        print("serving", sorted(names[channel.consumer_id] for channel in jobs.consumers()))
        for number in range(200, 300):
            await jobs.send(Job(number))

        await jobs.close()  # everything that was accepted has left
        for worker in workers:
            await worker.jobs.close()
        await asyncio.gather(*working)
        for worker in workers:
            print(f"{worker.name} did {len(worker.done)} jobs")
        assert workers[0].done == [*range(100), *range(200, 300)]
        assert workers[1].done == list(range(300))
        assert workers[2].done == []


if __name__ == "__main__":
    sys.exit(run(main))
