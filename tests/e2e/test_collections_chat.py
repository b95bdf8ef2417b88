"""The group chat of the examples, as people use it: in terminals of their own."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mosaik_actors.testing import TIME_FACTOR

CHAT = Path(__file__).parents[2] / "examples" / "group_chat" / "chat.py"
TIMEOUT_S = 40.0 * TIME_FACTOR


class Terminal:
    """One who chats."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        self.process = process
        self.stdin = process.stdin
        self.out: list[str] = []

    def type(self, text: str) -> None:
        self.stdin.write(f"{text}\n".encode())

    async def sees(self, pattern: str) -> re.Match[str]:
        """Wait until a line matches, and return the match."""
        for line in self.out:
            if found := re.fullmatch(pattern, line):
                return found
        while True:
            line = await self._read()
            if found := re.fullmatch(pattern, line):
                return found

    async def asks_until(self, command: str, pattern: str) -> re.Match[str]:
        """Give a command over and over until its answer matches, and return the match."""
        while True:
            self.type(command)
            while not (line := await self._read()).startswith("*"):
                pass
            if found := re.fullmatch(pattern, line):
                return found
            await asyncio.sleep(0.1)  # between two questions

    async def all_lines(self) -> list[str]:
        """Ask for everything in the room."""
        self.type("/all")
        while not (found := re.fullmatch(r"\* (\d+) lines", await self._read())):
            pass
        return [(await self._read()).removeprefix("*   ") for _ in range(int(found[1]))]

    async def _read(self) -> str:
        assert self.process.stdout is not None
        data = await self.process.stdout.readline()
        assert data, self.out
        self.out.append(data.decode().rstrip("\n"))
        return self.out[-1]


@asynccontextmanager
async def chat(who: str, runtime_dir: Path, *arguments: str | Path) -> AsyncIterator[Terminal]:
    """Run one chat, in the room; killed in the end if it still runs."""
    runtime_dir.mkdir(exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-X", "dev", "-W", "error", CHAT, who, *arguments,
        stdin=PIPE, stdout=PIPE, env={**os.environ, "MOSAIK_RUNTIME_DIR": str(runtime_dir)},
    )  # fmt: skip
    terminal = Terminal(process)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await terminal.sees(r"\* you are in .*")
            yield terminal
    except BaseException as error:
        error.add_note("\n".join([f"{who} saw:", *terminal.out[-20:]]))
        raise
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_everybody_sees_every_line_also_who_comes_late(tmp_path: Path) -> None:
    async with chat("ann", tmp_path) as ann, chat("ben", tmp_path) as ben:
        ann.type("hello")
        await ben.sees("ann: hello")
        ben.type("good morning")
        await ann.sees("ben: good morning")
        async with chat("cem", tmp_path) as cem:
            await cem.sees("ben: good morning")
            # One goes without a word, and what it said stays.
            cem.type("bye")
            await ann.sees("cem: bye")
            cem.process.kill()
        ben.type("was that all")
        await ann.sees("ben: was that all")
        lines = ["ann: hello", "ben: good morning", "cem: bye", "ben: was that all"]
        assert await ann.all_lines() == await ben.all_lines() == lines
        # A mistake ends nothing.
        ben.type("/meet rubbish")
        await ben.sees(r"\* that is no address: .*rubbish.*")
        # They leave as one should: at the end of input, and with Ctrl-C.
        ben.stdin.close()
        assert await ben.process.wait() == 0
        ann.process.send_signal(signal.SIGINT)
        assert await ann.process.wait() == 130


async def test_of_three_any_one_may_be_killed_and_of_two_the_second(tmp_path: Path) -> None:
    async with chat("ann", tmp_path) as ann, chat("ben", tmp_path) as ben:
        ann.type("hello")
        await ben.sees("ann: hello")
        async with chat("cem", tmp_path) as cem:
            # All three vote after a moment. It shows before it is committed, which it is
            # once lines written later are: one for each step of the change.
            await ben.asks_until("/who", r"\* 3 in the room, 3 votes, .*")
            for text in ("now we are three", "and all vote"):
                ben.type(text)
                await cem.sees(f"ben: {text}")
            ann.process.kill()
            ben.type("who was that")
            await cem.sees("ben: who was that")
            lines = [
                "ann: hello",
                "ben: now we are three",
                "ben: and all vote",
                "ben: who was that",
            ]
            assert await cem.all_lines() == lines
    async with chat("dan", tmp_path) as dan, chat("eve", tmp_path) as eve:
        dan.type("hello")
        await eve.sees("dan: hello")
        # As a rule the first votes. On a busy machine they may have begun apart, and met.
        voter, other = dan, eve
        if (await dan.asks_until("/who", r"\* 2 in the room, 1 votes, you have (\w+)"))[
            1
        ] == "none":
            voter, other = eve, dan
        voter.process.kill()
        assert await other.all_lines() == ["dan: hello"]
        other.type("is anybody there")
        # Until it goes on without the voter, which it may have done on a busy machine.
        await other.sees(r"\* not sent yet: .*|(dan|eve): is anybody there")


async def test_two_rooms_that_began_apart_meet_and_nothing_is_lost(tmp_path: Path) -> None:
    async with (
        chat("ann", tmp_path / "here") as ann,
        chat("ben", tmp_path / "here") as ben,
        chat("cem", tmp_path / "there") as cem,
    ):
        for number in range(5):
            ann.type(f"a{number}")
            ben.type(f"b{number}")
            cem.type(f"c{number}")
        await asyncio.gather(ann.sees("ben: b4"), ben.sees("ann: a4"), cem.sees("cem: c4"))
        address = (await cem.sees(r"\* others can /meet (\S+)"))[1]
        ann.type(f"/meet {address}")
        for one, line in ((ann, "cem: c4"), (ben, "cem: c4"), (cem, "ann: a4"), (cem, "ben: b4")):
            await one.sees(line)
        ann.type("now we are one")
        last = "ann: now we are one"
        await asyncio.gather(ben.sees(last), cem.sees(last), ann.sees(last))
        lines = await ann.all_lines()
        assert lines == await ben.all_lines() == await cem.all_lines()
        assert len(lines) == 16
        for who in ("ann", "ben", "cem"):
            mine = [line for line in lines if line.startswith(f"{who}: {who[0]}")]
            assert mine == [f"{who}: {who[0]}{number}" for number in range(5)]
        # Nobody saw a line twice.
        for one in (ann, ben, cem):
            shown = [line for line in one.out if not line.startswith("*")]
            assert len(shown) == len(set(shown)) == 16


async def test_a_room_with_a_log_is_there_again(tmp_path: Path) -> None:
    log = tmp_path / "room.db"
    async with chat("ann", tmp_path, "--log", log) as ann:
        ann.type("remember this")
        await ann.sees("ann: remember this")
        ann.process.kill()
    async with chat("ann", tmp_path, "--log", log) as ann:
        await ann.sees("ann: remember this")
