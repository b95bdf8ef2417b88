"""What a command costs in the client and in the host, without log and network.

CPU time, the best of some runs, beside a yardstick: these machines are two or
three times slower at one moment than at the next. Print it:
``python -m tests.unit.groups.client.test_client_speed``.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from random import Random
from time import process_time
from typing import Any

from mosaik_actors.groups.client.calls import Submission
from mosaik_actors.groups.client.client import CommandClient
from mosaik_actors.groups.machine.machine import ApplyContext, StateMachine
from mosaik_actors.groups.machine.payloads import encode_position
from mosaik_actors.groups.machine.sessions import CommandAnswer
from mosaik_actors.groups.wire.commands import CommandBatch, encode_command_batches
from mosaik_actors.groups.wire.records import Entry, EntryKind

from ..host_machines import Put, host_of

CLIENT = b"c" * 16
COMMANDS = 40_960
BAR_US = 8.0  # on a machine on which the yardstick takes `YARDSTICK_US`
YARDSTICK_US = 0.6


class Tally(StateMachine):
    """As cheap as a machine can be."""

    Command = Put

    def __init__(self) -> None:
        self.count = 0

    def apply_batch(self, commands: Sequence[Any], ctx: ApplyContext) -> None:
        self.count += len(commands)


def client_us(in_flight: int) -> float:
    """Return what one command costs from `submit` to `Submission`, one token for each."""
    client = CommandClient(
        CLIENT, pending_commands=65_536, pending_bytes=1 << 26, resend_s=1.0, rng=Random(1)
    )
    client.set_leader(True, 1, 0.0)
    position, resolved, payload = 0, 0, bytes(100)
    cost_s = 0.0
    for token in range(0, COMMANDS, in_flight):
        began_s = process_time()
        for number in range(in_flight):
            call = Submission((payload,), 1, len(payload), token + number, 2.0, waits=True)
            client.submit(call, now=0.0)
        command_batches = client.take_command_batches(0.0, 1)
        cost_s += process_time() - began_s
        answers = []
        for command_batch in command_batches:
            for offset in range(len(command_batch.payloads)):
                position += 1
                answers.append(
                    CommandAnswer(command_batch.first_sequence + offset, encode_position(position))
                )
        began_s = process_time()
        client.receive_answers(answers, 0.0)
        client.get_timer()
        resolved += sum(isinstance(event, Submission) for event in client.take_events())
        cost_s += process_time() - began_s
    assert resolved == COMMANDS
    assert client.is_idle
    return cost_s / COMMANDS * 1e6


def host_us(per_entry: int) -> float:
    """Return what one command costs a host that answers it: sessions, decoding, applying."""
    machine = Tally()
    host = host_of(machine)
    payloads = tuple(host.codec.encode([Put(str(number))])[0] for number in range(256))
    command_batches = [payloads[at : at + per_entry] for at in range(0, 256, per_entry)]
    entries: list[Entry] = []
    sequence = 1
    for number in range(COMMANDS // per_entry):
        chosen = command_batches[number % len(command_batches)]
        data = encode_command_batches(
            [CommandBatch(CLIENT, 0, sequence, max(0, sequence - 300), chosen)]
        )
        entries.append(Entry(number + 1, 1, EntryKind.COMMANDS, data))
        sequence += len(chosen)
    began_s = process_time()
    for at in range(0, len(entries), 64):
        host.apply(entries[at : at + 64], CLIENT, len(entries))
    cost_s = process_time() - began_s
    assert machine.count == COMMANDS
    return cost_s / COMMANDS * 1e6


def yardstick_us(_size: int) -> float:
    """Return what a little work of the same kind costs: a heap, a dictionary, a deque."""
    heap: list[tuple[float, int]] = []
    known: dict[int, int] = {}
    waiting: deque[int] = deque()
    began_s = process_time()
    for number in range(COMMANDS):
        heappush(heap, (1.0, number))
        known[number] = number
        waiting.append(number)
    while waiting:
        heappop(heap)
        del known[waiting.popleft()]
    return (process_time() - began_s) / COMMANDS * 1e6


def bar_us() -> float:
    """Return the bar for the machine as it is at this moment."""
    return BAR_US * max(1.0, best(yardstick_us, 0) / YARDSTICK_US)


def best(measure: Callable[[int], float], size: int) -> float:
    """Return the best of some runs, without what collecting the garbage of all tests takes."""
    gc.collect()
    gc.disable()
    try:
        return min(measure(size) for _ in range(5))
    finally:
        gc.enable()


def idle_us(_size: int) -> float:
    """Return what a turn of the loop costs with nothing to send."""
    client = CommandClient(
        CLIENT, pending_commands=10, pending_bytes=100, resend_s=1.0, rng=Random(1)
    )
    client.set_leader(True, 1, 0.0)
    began_s = process_time()
    for _ in range(10_000):
        client.take_command_batches(0.0, 1)
    return (process_time() - began_s) / 10_000 * 1e6


def main() -> None:
    """Print the costs, a line for each."""
    costs = {"bar": bar_us(), "idle": best(idle_us, 0)}
    for in_flight in (1, 256, 4096):
        costs[f"client, {in_flight} in flight"] = best(client_us, in_flight)
    for per_entry in (1, 16, 256):
        costs[f"host, {per_entry} in an entry"] = best(host_us, per_entry)
    for name, cost_us in costs.items():
        print(f"{name}: {cost_us:.2f} us")  # noqa: T201


def test_commands_cost_little() -> None:
    """In a process of its own: one that has run thousands of tests is several times slower."""
    command = [sys.executable, "-m", __name__]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=True)
    lines = [line.removesuffix(" us").rsplit(": ", 1) for line in done.stdout.splitlines()]
    costs = {name: float(cost) for name, cost in lines}
    for name in (
        "idle",
        "client, 256 in flight",
        "client, 4096 in flight",
        "host, 256 in an entry",
    ):
        assert costs[name] < costs["bar"], done.stdout


if __name__ == "__main__":
    main()
