"""What a node that only streams loads: the rest costs time at each start, and memory for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HEAVY = (
    *("aioquic", "qh3", "cryptography.x509", "OpenSSL", "service_identity", "attr"),
    *("ctypes", "dns", "jwt", "joserfc", "prometheus_client", "psutil", "rich", "zeroconf"),
    *(
        "thespian.system.sourceLoader",
        "http",
        "importlib.metadata",
        "multiprocessing",
        "sqlite3",
        "statistics",
        "unittest",
    ),
    *(
        f"mosaik_actors.{part}"
        for part in (
            *("cli", "collections", "groups.machine", "groups.member", "groups.storage"),
            *("handles.groups", "launch", "metrics.families", "singletons.claims", "tee"),
            *("testing", "transport.quic.engine", "handles.relaying", "runtime.isolated"),
            *("actors.mdns", "transport.mapping", "transport.relay.port", "transport.relay.server"),
            *("transport.paths.driver", "dht.messages"),
        )
    ),
)

PROGRAM = """
import asyncio, dataclasses, sys

made, make = [], dataclasses._process_class
dataclasses._process_class = lambda cls, *args: made.append(cls) or make(cls, *args)

import mosaik_actors

print([name for name in sys.modules if name.startswith("mosaik_actors.")])

from dataclasses import dataclass
from mosaik_actors import Network

@dataclass
class Reading:
    value: int

async def main():
    async with Network("what is loaded") as net:
        producer, consumer = net.streams.produce(Reading), net.streams.consume(Reading)
        print(len(made))
        net.status()
        print([name for name in HEAVY if name in sys.modules])
        net.groups.join("a key")
        net.tdx.available()
        print([name for name in HEAVY if name in sys.modules])

asyncio.run(main())
"""


def test_a_node_with_streams_loads_neither_groups_nor_what_is_under_quic(tmp_path: Path) -> None:
    """In a process of its own; with the first use of a part the part is there."""
    program = PROGRAM.replace("HEAVY", repr(HEAVY))
    run = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program],
        env=os.environ | {"MOSAIK_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    at_import, data_classes, with_streams, with_groups = run.stdout.splitlines()
    assert at_import == "[]"
    # Each is source text that is compiled: a millisecond. Messages and events are Structs.
    assert int(data_classes) < 60
    assert with_streams == "['importlib.metadata']"  # for the version that `status` shows
    assert "mosaik_actors.groups.member" in with_groups
    assert "mosaik_actors.tee" in with_groups
