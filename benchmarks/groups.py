"""Groups: three processes on loopback, and what is compared with them in the same run.

    * commands per second, many in flight, in memory and with the durable log, and many in a call;
    * one command at a time, beside a bare aioquic echo;
    * how long a start takes, and how long the group is without a leader when
      its leader is killed, or leaves;
    * a joiner that catches up while the group works.

Whatever needs a quiet machine says little on a busy one: the ratio to the echo tells.
What users would pick instead is measured by `group_rivals`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from .report import Row, print_table
from .transport import bare_echo_us

ELECTION_TIMEOUT_S = 1.0
VOTERS_WITHIN_S = 30.0
BUSY_S = 20.0
BUSY_COMMANDS = 5000


class Node:
    """A process with one member."""

    def __init__(self, network: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.group_nodes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.tell("start", network=network)
        self.answer()

    def tell(self, name: str, **arguments: Any) -> None:
        """Have the node do something; `answer` waits for it."""
        assert self._process.stdin is not None, "a pipe was asked for"
        self._process.stdin.write(json.dumps([name, arguments]) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Return what came of it."""
        assert self._process.stdout is not None, "a pipe was asked for"
        line = self._process.stdout.readline()
        came: dict[str, Any] = json.loads(line) if line else {"error": "the process has ended"}
        if "error" in came:
            raise RuntimeError(came["error"])
        return came

    def ask(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Tell and wait."""
        self.tell(name, **arguments)
        return self.answer()

    def kill(self) -> None:
        """Kill the process, as a crash does. May be repeated."""
        with suppress(BrokenPipeError), self._process:  # closes its pipes, and waits
            self._process.kill()


class Group:
    """Some nodes of one group."""

    def __init__(self) -> None:
        self.network = f"benchmark {time.time_ns()}"
        self.nodes: list[Node] = []
        self.online_s = 0.0

    def start(self, count: int, logs: Path | None) -> None:
        """Start the nodes and wait until as many of them vote as can."""
        for _ in range(count):
            self.nodes.append(Node(self.network))
        for number, node in enumerate(self.nodes):
            node.tell("join", log="" if logs is None else str(logs / f"{number}.log"))
        self.online_s = max(node.answer()["s"] for node in self.nodes)
        deadline = time.monotonic() + VOTERS_WITHIN_S
        wanted = count if count % 2 else count - 1
        while self.states()[0]["voters"] < wanted:
            assert time.monotonic() < deadline, f"not {wanted} voters: {self.states()}"

    def states(self) -> list[dict[str, Any]]:
        """Return what each member sees."""
        return [node.ask("state") for node in self.nodes]

    def split(self) -> tuple[Node, list[Node]]:
        """Return the leader and the others."""
        leads = [state["is_leader"] for state in self.states()]
        leader = self.nodes[leads.index(True)]
        return leader, [node for node in self.nodes if node is not leader]


@contextmanager
def running_group(count: int, logs: Path | None = None) -> Iterator[Group]:
    """Give a group of so many nodes that run, with a log in `logs` each."""
    group = Group()
    try:
        group.start(count, logs)
        yield group
    finally:
        for node in group.nodes:
            node.kill()


def best_rate(group: Group, count: int, in_flight: int) -> float:
    """Return the better of two rates of commits at the leader, per second."""
    leader, _ = group.split()
    leader.ask("load", count=max(100, count // 10), in_flight=in_flight)  # to warm up
    return max(
        float(leader.ask("load", count=count, in_flight=in_flight)["per_s"]) for _ in range(2)
    )


def _throughput(group: Group, scale: int) -> list[Row]:
    rates = [
        best_rate(group, count // scale, many) for count, many in ((40_000, 256), (100_000, 4096))
    ]
    leader, _ = group.split()
    leader.ask("feed", count=10_000, at_once=1000)  # to warm up
    count = max(10_000, 1_000_000 // scale)
    fed = max(float(leader.ask("feed", count=count, at_once=1000)["per_s"]) for _ in range(2))
    # By turns: how fast a machine is changes by the second.
    turns = [
        (leader.ask("one_by_one", count=1000 // scale)["median_ms"], bare_echo_us(1000 // scale))
        for _ in range(5)
    ]
    alone_ms, echo_us = (median(values) for values in zip(*turns, strict=True))
    return [
        _at_least("groups: commands, 256 in flight, in memory", rates[0], 20_000),
        _at_least("groups: commands, 4,096 in flight, in memory", rates[1], 29_000),
        _at_least("groups: feed_many of 1,000, applied at the leader", fed, 1_500_000),
        Row(
            "groups: one command at a time, median",
            alone_ms * 1e3,
            "us",
            baseline=echo_us,
            baseline_name="us of a bare aioquic echo",
            bar=1000,
            ok=alone_ms < 1,
        ),
    ]


def _durable(scale: int) -> Row:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name, running_group(3, Path(name)) as group:
        rate = best_rate(group, 20_000 // scale, 256)
    return _at_least("groups: commands, 256 in flight, durable", rate, 10_000)


def _starting() -> list[Row]:
    with running_group(1) as lone, running_group(3) as three:
        return [
            _at_most("groups: a lone member is online after", lone.online_s * 1e3, "ms", 1500),
            _at_most("groups: three members are online after", three.online_s * 1e3, "ms", 2500),
        ]


def _failing_over() -> list[Row]:
    """Measure the gap in a survivor's commits when the leader is killed, and when it leaves."""
    with running_group(3) as group:
        leader, others = group.split()
        watcher = others[0]
        watcher.ask("steady", per_s=200)
        _run_on(watcher, 100)
        killed_at = time.monotonic()
        leader.kill()
        _run_on(watcher, 100)
        commits = watcher.ask("end_steady")["commits"]
        # Commits that were on their way arrive a moment later; the gap comes after them.
        after = [at for at in commits if at > killed_at - 0.2]
        gap = max(pairwise(sorted(after)), key=lambda pair: pair[1] - pair[0])
        first_s = gap[1] - killed_at
    with running_group(3) as group:
        leader, others = group.split()
        watcher = others[0]
        watcher.ask("steady", per_s=200)
        _run_on(watcher, 100)
        left = leader.ask("leave")
        _run_on(watcher, 100)
        commits = sorted(watcher.ask("end_steady")["commits"])
    around = [at for at in commits if left["began"] - 0.2 < at < left["ended"] + 0.5]
    gap_ms = max(b - a for a, b in pairwise(around)) * 1e3
    bar_ms = 1.5 * ELECTION_TIMEOUT_S * 1e3
    return [
        _at_most("groups: leader killed, next commit after", first_s * 1e3, "ms", bar_ms),
        _at_most("groups: leader leaves, longest gap", gap_ms, "ms", 100),
    ]


def _run_on(node: Node, commands: int) -> None:
    """Let the group go on for so many commands."""
    committed = node.ask("state")["committed"]
    node.ask("wait_committed", position=committed + commands)


def _joining(group: Group, scale: int) -> list[Row]:
    count = 100_000 // scale
    leader, others = group.split()
    position = leader.ask("fill", count=count)["committed"]
    others[0].ask("steady", per_s=1000)
    before = [node.ask("state")["served"] for node in (leader, *others)]
    joiner = Node(group.network)
    group.nodes.append(joiner)
    began = time.monotonic()
    joiner.ask("join")
    caught_up_s = joiner.ask("wait_committed", position=position)["at"] - began
    after = [node.ask("state")["served"] for node in (leader, *others)]
    others[0].ask("end_steady")
    served = [b - a for a, b in zip(before, after, strict=True)]
    return [
        _at_most(f"groups: a joiner has {count:,} commands after", caught_up_s * 1e3, "ms", 2000),
        Row(
            "groups: the leader's share of what the joiner fetched",
            served[0] / max(1, sum(served)) * 100,
            "%",
            ok=served[0] == min(served),
        ),
    ]


def _busy(group: Group, seconds: float) -> Row:
    """Count elections while both cores are kept busy: there should be none."""
    before = [state["elections"] for state in group.states()]
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for node in group.nodes:
            node.tell("load", count=BUSY_COMMANDS, in_flight=256)
        for node in group.nodes:
            node.answer()
    elections = sum(state["elections"] for state in group.states()) - sum(before)
    return Row(
        f"groups: elections in {seconds:.0f} s under full load",
        elections,
        "",
        bar=0,
        ok=elections == 0,
    )


def _at_least(name: str, value: float, bar: float, unit: str = "commands/s") -> Row:
    return Row(name, value, unit, bar=bar, ok=value >= bar)


def _at_most(name: str, value: float, unit: str, bar: float) -> Row:
    return Row(name, value, unit, bar=bar, ok=value <= bar)


def run(quick: bool = False, busy_s: float = BUSY_S) -> list[Row]:
    """Measure, and return one row per figure; `quick` uses tiny inputs and one group for all."""
    if quick:
        with running_group(3) as group:
            rows = _throughput(group, 100) + _joining(group, 100) + [_busy(group, 0.1)]
        return [replace(row, ok=None) for row in rows]
    with running_group(3) as group:
        rows = _throughput(group, 1)
    rows += [_durable(1), *_starting(), *_failing_over()]
    with running_group(3) as group:
        rows += _joining(group, 1)
    with running_group(3) as group:
        rows.append(_busy(group, busy_s))
    return rows


def main() -> None:
    """Measure groups alone, and look longer for needless elections when asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.groups", description=main.__doc__)
    parser.add_argument("--long", type=float, default=BUSY_S, metavar="SECONDS")
    print_table(run(busy_s=parser.parse_args().long))


if __name__ == "__main__":
    main()
