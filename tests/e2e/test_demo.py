"""The demo as a user starts it: what it shows, and how it ends."""

import os
import pty
import re
import signal
import subprocess
from pathlib import Path

import pytest

from .command import EXECUTABLE, Command, command, is_alive, until_slowly

STARTED = r"started \S+ \(process (\d+)\)"
STREAMS = r"streams$"


def pids_of_sensors(demo: Command) -> list[int]:
    matches = (re.search(STARTED, line) for line in demo.out)
    return [int(match.group(1)) for match in matches if match]


async def test_the_demo_does_all_it_claims(tmp_path: Path) -> None:
    arguments = ("demo", "--plain", "--seconds", "6", "--seed", "1")
    strict = {"PYTHONDEVMODE": "1", "PYTHONWARNINGS": "error"}  # inherited by the sensors
    async with command(*arguments, runtime_dir=tmp_path, environment=strict) as demo:
        await demo.line(STARTED, count=4)
        assert await demo.end() == 0, demo.transcript()
    # In debug mode asyncio says which step was slow; on a busy machine some are.
    assert [line for line in demo.err if " WARNING asyncio: Executing " not in line] == []
    assert not re.search(r"Warning|ignored|Traceback", demo.transcript()), demo.transcript()
    claims = [line for line in demo.out if line.startswith(("✔", "✘"))]
    assert len(claims) == 11
    assert all(line.startswith("✔") for line in claims), demo.transcript()

    # The summary's rows: name, peer, found all, first item, items, latencies, wrong, lost.
    head = next(index for index, line in enumerate(demo.out) if line.startswith("process "))
    rows = [line.replace(" (killed)", "").split() for line in demo.out[head + 2 : head + 8]]
    names = [row[0] for row in rows]
    assert names[:5] == ["collector", "cpu", "memory", "disk", "net-io"]
    assert re.fullmatch(r"(cpu|memory|disk|net-io)-2", names[5])
    for row in rows:
        assert float(row[2]) > 0  # how long it took follows from how busy the machine is
    for _, _, found, first_item, items, p50_ms, p99_ms, wrong, lost in rows[1:]:
        assert float(found) > 0
        assert float(first_item) > 0
        assert int(items) > 10
        assert 0 < float(p50_ms) <= float(p99_ms)
        assert (wrong, lost) == ("0", "0")
    assert not any(map(is_alive, pids_of_sensors(demo)))


@pytest.mark.parametrize(
    ("moment", "count", "number", "code"),
    [
        (STARTED, 1, signal.SIGINT, 130),
        ("killed", 1, signal.SIGINT, 130),
        (STREAMS, 1, signal.SIGTERM, 143),
    ],
)
async def test_a_signal_ends_everything_quietly(
    moment: str, count: int, number: signal.Signals, code: int, tmp_path: Path
) -> None:
    async with command("demo", "--plain", "--seconds", "5", runtime_dir=tmp_path) as demo:
        await demo.line(moment, count=count)
        assert await demo.end(number) == code
    assert demo.err == []
    assert pids_of_sensors(demo)
    assert not any(map(is_alive, pids_of_sensors(demo)))


async def test_an_impatient_second_ctrl_c_leaves_no_process_either(tmp_path: Path) -> None:
    async with command("demo", "--plain", runtime_dir=tmp_path) as demo:
        await demo.line(STREAMS, count=4)
        os.kill(demo.pid, signal.SIGINT)
        assert await demo.end(signal.SIGINT) == 130
    assert "Traceback" not in demo.transcript()
    pids = pids_of_sensors(demo)
    await until_slowly(lambda: not any(map(is_alive, pids)))


async def test_sensors_end_when_the_demo_is_killed(tmp_path: Path) -> None:
    async with command("demo", "--plain", runtime_dir=tmp_path) as demo:
        await demo.line(STREAMS, count=4)
        pids = pids_of_sensors(demo)
        assert len(pids) == 4
        assert all(map(is_alive, pids))
        assert await demo.end(signal.SIGKILL) == -signal.SIGKILL
        await until_slowly(lambda: not any(map(is_alive, pids)))


async def test_a_claim_that_does_not_hold_fails_the_demo(tmp_path: Path) -> None:
    """A sensor dies that the demo did not kill."""
    async with command("demo", "--plain", runtime_dir=tmp_path) as demo:
        await demo.line(STREAMS, count=4)
        os.kill(pids_of_sensors(demo)[0], signal.SIGKILL)
        assert await demo.end() == 1
    assert any("cpu ended by itself with code -9" in line for line in demo.out)
    assert any("✘ every process that was not killed left" in line for line in demo.out)
    assert any("not so: one was killed" in line for line in demo.err)
    assert all(line.startswith("mosaik-actors: demo: not so: ") for line in demo.err)
    assert not any(map(is_alive, pids_of_sensors(demo)))


def test_in_a_terminal_a_table_is_drawn_and_the_cursor_given_back(tmp_path: Path) -> None:
    terminal, theirs = pty.openpty()
    environment = {
        **os.environ,
        "MOSAIK_RUNTIME_DIR": str(tmp_path),
        "TERM": "xterm-256color",
        "COLUMNS": "100",
        "LINES": "30",
    }
    with subprocess.Popen(
        [EXECUTABLE, "demo"], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as demo:
        os.close(theirs)
        shown = ""
        try:
            while shown.count("● live") < 4:
                shown += os.read(terminal, 65536).decode(errors="replace")
            demo.send_signal(signal.SIGINT)
            while True:
                shown += os.read(terminal, 65536).decode(errors="replace")
        except OSError:
            pass  # Linux's way to say that the other end is closed
        finally:
            os.close(terminal)
            if demo.poll() is None and shown.count("● live") < 4:
                demo.kill()
        assert demo.wait(20) == 130
    assert "find each other" in shown
    assert "Traceback" not in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
