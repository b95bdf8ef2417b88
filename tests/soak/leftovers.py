"""What an endpoint still holds when all its links have ended, and that it should not."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from tracemalloc import Filter, take_snapshot
from typing import Any, Final

import mosaik_actors
from mosaik_actors.transport.byte_streams.engine import StreamEngine
from mosaik_actors.transport.byte_streams.port import StreamPort
from mosaik_actors.transport.connection.connection import Connection
from mosaik_actors.transport.endpoint import QuicEndpoint
from mosaik_actors.transport.interface import Endpoint
from mosaik_actors.transport.link import FramedLink
from mosaik_actors.transport.memory import MemoryEndpoint, _Connection
from mosaik_actors.transport.quic.engine import Engine
from mosaik_actors.transport.quic.native import NativeEngine

Held = dict[str, int]

_MATCH_NAME_BYTES: Final = sys.getsizeof("__match_args__")

# What each part holds for as long as links or dials need it: collections, and counts.
_CONNECTION = (
    "_links _accepted _unopened _draining _congested _dirty _before_flush _touched "
    "_half_received_bytes _peer_link_count _own_link_count has_unsent"
)
_STREAM_ENGINE = "events _streams ready control untaken_bytes is_blocked _left _head _short _pings"
_NATIVE_ENGINE = "events _heard _written _unsettled _unopened blocked_stream_count"
_QUIC_ENGINE = "_events blocked_stream_count _has_written"
_MEMORY = "links own_link_count _dirty _before_flush _on_the_way _due_count _is_flushing"


def held_by(endpoint: Endpoint) -> Held:
    """Return what an endpoint without links holds, by name; empty when that is nothing.

    A connection that another one replaced goes a second later; so it counts for nothing here.
    """
    held: Held = {}
    if isinstance(endpoint, MemoryEndpoint):
        for memory in endpoint._connections.values():
            held |= _held(memory, _MEMORY)
        return held
    assert isinstance(endpoint, QuicEndpoint)
    connections = list(endpoint._connections)
    held |= _held(endpoint._dialer, "_line _dials _races") | _held(endpoint._moves, "_going_on")
    held |= _held(endpoint._outbound, "_dirty _is_flush_scheduled _paths")
    peers = endpoint._connections.peers
    surplus = {
        "connections": sum(not one.is_retiring for one in connections) - 1,
        "connections by peer": sum(map(len, peers._by_peer.values())) - len(connections),
        "addresses": len(endpoint._connections.datagrams._remotes) - len(connections),
        "timers": len(endpoint._outbound._timers) - len(connections),
    }
    held |= {name: count for name, count in surplus.items() if count > 0}
    for connection in connections:
        held |= _held_by_connection(connection)
    return held


def _held_by_connection(connection: Connection) -> Held:
    engine = connection.engine
    held = _held(connection, _CONNECTION)
    if isinstance(engine, StreamEngine):
        held |= _held(engine, _STREAM_ENGINE)
        port = vars(connection)["port"]
        assert isinstance(port, StreamPort)
        held |= _held(port, "_rest")
    elif isinstance(engine, NativeEngine):
        held |= _held(engine, _NATIVE_ENGINE)
    else:
        assert isinstance(engine, Engine)
        held |= _held(engine, _QUIC_ENGINE) | _held(engine._quic, "_streams _touched _gapped")
    return held


def _held(holder: Any, names: str) -> Held:
    found = {name: getattr(holder, name) for name in names.split()}
    counts = {
        name: int(value) if isinstance(value, int) else len(value) for name, value in found.items()
    }
    kind = type(holder).__name__
    return {f"{kind}.{name}": count for name, count in counts.items() if count}


def living() -> Held:
    """Return what is alive of what belongs to an endpoint, and what waits in the loop."""
    gc.collect()
    loop = asyncio.get_running_loop()
    found = [type(one).__name__ for one in _objects()]
    counts = {name: found.count(name) for name in dict.fromkeys(found)}
    scheduled: list[asyncio.TimerHandle] = vars(loop)["_scheduled"]
    # But for those of `asyncio.timeout`: who waits is a task.
    counts["timers"] = sum(
        not timer.cancelled() and "Timeout._on_timeout" not in repr(timer) for timer in scheduled
    )
    counts["tasks"] = len(asyncio.all_tasks(loop))
    return {name: count for name, count in counts.items() if count}


def _objects() -> Iterator[object]:
    kinds = (FramedLink, Connection, _Connection, StreamEngine, StreamPort, Engine, NativeEngine)
    for one in gc.get_objects():
        if issubclass(type(one), kinds) or (type(one) is asyncio.Future and not one.done()):
            yield one


def package_bytes() -> int:
    """Return how much memory is held that the package's files allocated, by `tracemalloc`.

    Of the name that `match` looks up for a class it has traces, hundreds for each line, when
    the memory has long been free (CPython 3.11): they are left out, by their size.
    """
    gc.collect()
    files = str(Path(mosaik_actors.__file__).parent / "*")
    traces = take_snapshot().filter_traces([Filter(True, files)]).traces
    return sum(trace.size for trace in traces if trace.size != _MATCH_NAME_BYTES)
