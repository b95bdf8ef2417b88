"""Checks the chat: two halves talk apart, then meet, and whatever was shown as sent is everywhere.

Three people in processes of their own. Two of them find each other, the third is kept from that.
Exits with 1, and what everybody saw, if a line is missing, twice, or elsewhere in another's order.
"""

import asyncio
import os
import re
import sys
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

CHAT = Path(__file__).with_name("chat.py")
LIMIT_S = 60.0
LINES = 5


class Person:
    """One who chats, in a process of their own.

    Attributes:
        out: The lines that the process has printed.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        self.process = process
        self.stdin = process.stdin
        self.out: list[str] = []

    def type(self, *lines: str) -> None:
        """Type some lines."""
        self.stdin.write("".join(f"{line}\n" for line in lines).encode())

    async def sees(self, pattern: str) -> re.Match[str]:
        """Wait until a line matches, of those that were there before too; return the match."""
        for line in self.out:
            if found := re.fullmatch(pattern, line):
                return found
        while not (found := re.fullmatch(pattern, await self._read())):
            pass
        return found

    async def asks_until(self, command: str, pattern: str) -> re.Match[str]:
        """Give a command over and over until its answer matches, and return the match."""
        while True:
            self.type(command, "/here")
            while (line := await self._read()) != "* there is no /here; /help says what there is":
                if found := re.fullmatch(pattern, line):
                    return found
            await asyncio.sleep(0.1)  # between two questions

    async def history(self) -> list[str]:
        """Return all lines of the room, without their times."""
        self.type("/history 1000")
        while not (found := re.fullmatch(r"\* (\d+) of \d+ lines in .*", await self._read())):
            pass
        return [(await self._read())[len("*   12:00 ") :] for _ in range(int(found[1]))]

    async def _read(self) -> str:
        assert self.process.stdout is not None
        data = await self.process.stdout.readline()
        assert data, "the chat has ended"
        self.out.append(data.decode().rstrip("\n"))
        return self.out[-1]


@asynccontextmanager
async def person(
    nick: str,
    runtime_dir: Path,
    *arguments: str | Path,
    python: Sequence[str] = (),
    limit_s: float = LIMIT_S,
) -> AsyncIterator[Person]:
    """Let somebody chat; killed in the end if they still do.

    Args:
        nick: What they are called.
        runtime_dir: Where nodes of one machine find each other; another one stands for another.
        arguments: Of the chat.
        python: Arguments of the interpreter.
        limit_s: How long it may take.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, *python, CHAT, nick, "--local", *arguments,
        stdin=PIPE, stdout=PIPE, env={**os.environ, "MOSAIK_RUNTIME_DIR": str(runtime_dir)},
    )  # fmt: skip
    one = Person(process)
    try:
        async with asyncio.timeout(limit_s):
            await one.sees(r"\* you are in .*")
            yield one
    except BaseException as error:
        error.add_note("\n".join([f"{nick} saw:", *one.out[-40:]]))
        raise
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def main(folder: Path, **options: Any) -> None:
    """Let two halves meet, and check; the options are those of `person`."""
    here, there = folder / "here", folder / "there"
    here.mkdir()
    there.mkdir()
    async with (
        person("ann", here, **options) as ann,
        person("ben", here, **options) as ben,
        person("cem", there, **options) as cem,
    ):
        people = {"ann": ann, "ben": ben, "cem": cem}
        # Apart, each half sees its own people and lines.
        await ann.asks_until("/who", r"\* 2 in lobby: ann \(you\), ben")
        await cem.asks_until("/who", r"\* 1 in lobby: cem \(you\)")
        for number in range(LINES):
            for nick, one in people.items():
                one.type(f"{nick} {number}")
        last = LINES - 1
        await asyncio.gather(
            ann.sees(rf"\[lobby\] ben: ben {last}"),
            ben.sees(rf"\[lobby\] ann: ann {last}"),
            cem.sees(rf"\[lobby\] cem: cem {last}"),
        )
        assert not any("cem" in line for line in [*ann.out, *ben.out]), "they were not apart"
        # They meet: all lines come, and so do the people.
        address = (await cem.sees(r"\* others can /meet (\S+)"))[1]
        ann.type(f"/meet {address}")
        for one, others in ((ann, ["cem"]), (ben, ["cem"]), (cem, ["ann", "ben"])):
            for nick in others:
                await one.sees(rf"\[lobby\] {nick}: {nick} {last}")
        await cem.asks_until("/who", r"\* 3 in lobby: cem \(you\), ann, ben")
        ann.type("now we are one")
        said = r"\[lobby\] ann: now we are one"
        await asyncio.gather(*(one.sees(said) for one in people.values()))
        count = check(
            {nick: one.out for nick, one in people.items()},
            {nick: await one.history() for nick, one in people.items()},
        )
    print(f"checked: two halves met, {count} lines are with all {len(people)}, once, in one order")


def check(shown: dict[str, list[str]], histories: dict[str, list[str]]) -> int:
    """Check what people saw, and what they have; return how many lines that is."""
    history = histories["ann"]
    assert all(one == history for one in histories.values()), "histories differ"
    expected = [f"{nick}: {nick} {number}" for nick in histories for number in range(LINES)]
    assert sorted(history) == sorted([*expected, "ann: now we are one"]), "lost or twice"
    for nick, out in shown.items():
        mine = [line for line in history if line.startswith(f"{nick}: {nick} ")]
        assert mine == expected[:LINES], f"the lines of {nick} are in another order"
        expected = expected[LINES:]
        lines = [line.removeprefix("[lobby] ") for line in out if line.startswith("[lobby] ")]
        assert sorted(lines) == sorted(history), f"{nick} was not shown each line once"
    return len(history)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="chat-") as name:
        asyncio.run(main(Path(name)))
