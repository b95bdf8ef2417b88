"""`run`: what becomes of a program that is stopped."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mosaik_actors import ConfigError, Network, run

from ..waiting import until

HEAD = """
import asyncio, signal, sys, time
from mosaik_actors import Network, run

"""

NODE = """
async def main(name):
    async with Network("running", tags=[name]) as net:
        print(net.peer_id, flush=True)
        await asyncio.Event().wait()

sys.exit(run(main, "worker"))
"""

HANGING = """
async def main():
    try:
        print("up", flush=True)
        await asyncio.Event().wait()
    finally:
        print("closing", flush=True)
        time.sleep(60)

sys.exit(run(main, close_timeout={timeout}))
"""


@contextmanager
def program(text: str, **settings: object) -> Iterator[subprocess.Popen[str]]:
    """Run a program; killed if it still runs in the end."""
    process: subprocess.Popen[str] = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", HEAD + text],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **settings,  # type: ignore[call-overload]
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
async def test_a_signal_closes_the_node_in_order(
    number: signal.Signals, code: int, runtime_dir: Path
) -> None:
    async with Network("running") as other:
        with program(NODE) as node:
            peer_id = await asyncio.to_thread(line, node)
            await until(lambda: peer_id in map(str, other.discovery.catalog()))
            node.send_signal(number)
            # It says goodbye: nobody has to find out.
            await until(lambda: not other.discovery.catalog(), timeout=5)
            out, err = await asyncio.to_thread(node.communicate)
        assert (out, err, node.returncode) == ("", "", code)
    assert not [path for path in runtime_dir.rglob("*") if path.is_file()]


def test_a_second_signal_ends_at_once() -> None:
    with program(HANGING.format(timeout=60)) as hanging:
        assert line(hanging) == "up"
        hanging.send_signal(signal.SIGINT)
        assert line(hanging) == "closing"
        hanging.send_signal(signal.SIGTERM)
        assert hanging.communicate(timeout=20) == ("", "")
    assert hanging.returncode == 143


def test_a_close_that_hangs_is_given_up() -> None:
    with program(HANGING.format(timeout=0.2)) as hanging:
        assert line(hanging) == "up"
        hanging.send_signal(signal.SIGTERM)
        _, err = hanging.communicate(timeout=20)
    assert "not closed 0.2 s after SIGTERM; ending at once" in err
    assert hanging.returncode == 143


def test_a_signal_that_was_ignored_at_the_start_stays_ignored() -> None:
    def ignore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    text = """
async def main():
    signal.raise_signal(signal.SIGINT)
    print("up", flush=True)
    await asyncio.Event().wait()

sys.exit(run(main))
"""
    with program(text, preexec_fn=ignore) as background:
        assert line(background) == "up"
        background.send_signal(signal.SIGTERM)
        assert background.communicate(timeout=20) == ("", "")
    assert background.returncode == 143


def test_it_returns_what_the_program_returns() -> None:
    async def nothing() -> None:
        await asyncio.sleep(0)

    async def add(a: int, b: int) -> int:
        await asyncio.sleep(0)
        return a + b

    assert run(nothing) == 0
    assert run(nothing()) == 0
    assert run(add, 1, 2) == 3

    # A program may say itself what it means to be stopped.
    async def stopped() -> int:
        try:
            signal.raise_signal(signal.SIGTERM)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return 0
        return 1

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert run(stopped) == 0
    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def test_errors_are_raised() -> None:
    async def fail() -> None:
        raise LookupError("no such thing")

    async def cancelled() -> None:
        raise asyncio.CancelledError

    async def fails_to_close() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
            await asyncio.Event().wait()
        finally:
            raise LookupError("while closing")

    async def nested() -> None:
        run(fail())

    with pytest.raises(LookupError, match="no such thing"):
        run(fail)
    with pytest.raises(asyncio.CancelledError):
        run(cancelled)
    with pytest.raises(LookupError, match="while closing"):
        run(fails_to_close)
    with pytest.raises(RuntimeError, match="await the coroutine"):
        run(nested)
    with pytest.raises(ConfigError, match="close_timeout"):
        run(fail, close_timeout=0)


def test_it_runs_in_other_threads_without_signals() -> None:
    async def main() -> int:
        await asyncio.sleep(0)
        return 7

    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(run(main)))
    thread.start()
    thread.join()
    assert codes == [7]
