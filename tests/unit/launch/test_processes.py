"""Several processes: their output, their readiness, their ends."""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mosaik_actors.launch.log_format import JsonFormatter
from mosaik_actors.launch.notify import notify
from mosaik_actors.launch.processes import Processes, ProcessSpec
from tests.waiting import until

# Says that it is ready, as a node does, and waits to be ended.
READY = """
import os, socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
    s.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
print("up", flush=True)
sys.stdin.read()
"""


def processes(*codes: str, lines: list[str], drain_s: float = 5.0) -> Processes:
    specs = [ProcessSpec(f"p{n}", ["-S", "-c", code]) for n, code in enumerate(codes)]
    return Processes(specs, drain_s=drain_s, write=lines.append)


async def test_all_are_ready_then_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "n"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "n"))
        running = asyncio.create_task(processes(READY, READY, lines=lines).run())
        told = await asyncio.get_running_loop().sock_recv(manager, 100)
        assert told == b"READY=1\nSTATUS=2 processes"
        await until(lambda: len(lines) == 2)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert manager.recv(100) == b"STOPPING=1"
    assert sorted(lines) == ["p0 | up", "p1 | up"]


async def test_one_that_ends_ends_all_with_its_code() -> None:
    lines: list[str] = []
    failing = "print('no line end', end=''); raise SystemExit(3)"
    assert await processes(READY, failing, lines=lines).run() == 3
    assert "p1 | no line end" in lines


async def test_one_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mosaik_actors.launch.processes.CLOSE_SLACK_S", 0.05)
    lines: list[str] = []
    deaf = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{READY}"
    running = asyncio.create_task(processes(deaf, lines=lines, drain_s=0.05).run())
    await until(lambda: lines)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_change_starts_them_anew() -> None:
    lines: list[str] = []

    async def changes() -> AsyncIterator[object]:
        await until(lambda: len(lines) == 1)
        yield "change"
        await until(lambda: len(lines) == 2)
        yield "change"
        await until(lambda: len(lines) == 3)

    shown = READY.replace('"up"', "os.getpid()")
    assert await processes(shown, lines=lines).run(changes) == 0
    assert len(set(lines)) == 3


async def test_a_child_ends_with_its_launcher() -> None:
    """Its standard input ends when the launcher is gone, however that came."""
    code = """
import asyncio
from mosaik_actors.launch.processes import end_with_parent
async def main():
    end_with_parent(asyncio.get_running_loop())
    await asyncio.get_running_loop().create_future()
asyncio.run(main())
"""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdin=asyncio.subprocess.PIPE
    )
    assert child.stdin is not None
    child.stdin.close()
    assert await child.wait() == -signal.SIGTERM


def test_without_a_manager_nobody_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")
    assert not notify("READY=1", path=str(tmp_path / "nobody"))


def test_the_abstract_namespace() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        name = f"mosaik-test-{os.getpid()}"
        manager.bind(f"\0{name}")
        assert notify("READY=1", path=f"@{name}")
        assert manager.recv(100) == b"READY=1"


def test_log_lines_as_json() -> None:
    record = logging.LogRecord("a.b", logging.WARNING, "", 0, "it %s\nbroke", ("all",), None)
    record.created = 0.0
    assert JsonFormatter().format(record) == (
        '{"time": "1970-01-01T00:00:00.000+00:00", "level": "warning", "logger": "a.b", '
        '"message": "it all\\nbroke"}'
    )
