"""Measures rounds per second and latency: python examples/zipnet/measure.py [--clients 50]

All parties are nodes of this one process, over loopback: one core does everything that 56
machines would. The first rounds, in which the parties meet, do not count.
"""

import argparse
import asyncio
import sys
import time
from contextlib import AsyncExitStack
from random import Random
from statistics import median, quantiles

from zipnet.aggregator import Aggregator
from zipnet.client import Client
from zipnet.demo import SECRET, make_config, server_key, show_ticket
from zipnet.reader import read
from zipnet.server import Server
from zipnet.service import Envelope

from mosaik_actors import Network, SecretKey, run


async def main(servers: int, clients: int, talkers: int, seconds: float) -> None:
    config = make_config(servers, participants_min=clients, window_s=5.0)
    rng = Random(1)
    latencies: list[float] = []
    rounds: dict[int, int] = {}
    async with AsyncExitStack() as stack:

        async def open_node() -> tuple[Network, SecretKey]:
            key = SecretKey.generate()
            net = await stack.enter_async_context(Network("zipnet-measure", secret_key=key))
            show_ticket(net)
            return net, key

        tasks = []
        for index in range(servers):
            net, _ = await open_node()
            server = Server(net, config, server_key(index), secret=SECRET)
            tasks.append(asyncio.create_task(server.run()))
        net, _ = await open_node()
        tasks.append(asyncio.create_task(Aggregator(net, config).run()))
        crowd = []
        for _ in range(clients):
            net, key = await open_node()
            crowd.append(await stack.enter_async_context(Client(net, config, key)))

        async def talk(client: Client) -> None:
            while True:
                started = time.perf_counter()
                await client.submit(rng.randbytes(32))
                latencies.append(time.perf_counter() - started)

        async def listen() -> None:
            async for said in read(net, config):
                rounds[said.round] = rounds.get(said.round, 0) + 1

        tasks += [asyncio.create_task(talk(one)) for one in crowd[:talkers]]
        tasks.append(asyncio.create_task(listen()))
        while len(rounds) < 8:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        latencies.clear()
        rounds.clear()
        started, opened = time.perf_counter(), crowd[0].opened
        await asyncio.sleep(seconds)
        took = time.perf_counter() - started
        count = crowd[0].opened - opened
        for task in tasks:
            task.cancel()
        p95 = quantiles(latencies, n=20)[-1]
        print(
            f"{servers} servers, {clients} clients of which {talkers} talk, in one process\n"
            f"{count / took:.2f} rounds/s, {sum(rounds.values()) / took:.1f} messages/s\n"
            f"latency from submit to receipt: {median(latencies):.2f} s median, {p95:.2f} s p95\n"
            f"{Envelope.WIRE_SIZE} bytes for each client and round, talk or cover"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--servers", type=int, default=5)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--talkers", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    sys.exit(run(main, options.servers, options.clients, options.talkers, options.seconds))
