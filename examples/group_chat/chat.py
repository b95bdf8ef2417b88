"""A chat in the terminal. What is typed in a room stays there, in one order for all.

The room is a `Vec` that all who chat in it write: there is no server. Rooms of the
same name that began apart, on two machines that could not reach each other, become
one when they meet, and everything that was typed in either is there.
"""

import argparse
import asyncio
import contextlib
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from mosaik_actors import (
    CollectionOffline,
    ItemInserted,
    Network,
    SecretKey,
    SqliteLog,
    StateReplaced,
    Vec,
    collection,
    run,
)


class Line(msgspec.Struct, frozen=True):
    """One line. Who typed it and the number of it there tell it from all others."""

    who: str
    number: int
    text: str


Room = collection(Vec[Line], "examples.group_chat", write_timeout=5.0)


class Chat:
    """One person's view of the room."""

    def __init__(self, net: Network, room: Vec[Line], who: str) -> None:
        self.net = net
        self.room = room
        self.who = who
        self.shown: set[Line] = set()

    async def show(self) -> None:
        """Print every line once: those that are there, and then those that come."""
        changes = self.room.changes()
        self.show_all()
        async for change in changes:
            match change:
                case ItemInserted(_, line):
                    self.show_line(line)
                case StateReplaced():
                    # The state came from others as a whole: when we joined, or when
                    # two rooms met.
                    self.show_all()

    def show_all(self) -> None:
        for line in self.room:
            self.show_line(line)

    def show_line(self, line: Line) -> None:
        if line not in self.shown:
            self.shown.add(line)
            print(f"{line.who}: {line.text}", flush=True)

    async def say(self, text: str) -> None:
        """Write a line, however long that takes, and only once."""
        number = sum(line.who == self.who for line in self.room)
        line = Line(self.who, number, text)
        while True:
            try:
                await self.room.push_back(line)
                return
            except CollectionOffline as error:
                print(f"* not sent yet: {error.reason}", flush=True)
                await self.room.when().online()
                if error.may_take_effect and line in self.room:
                    return

    async def obey(self, command: str) -> None:
        """Do what a line that begins with a slash says."""
        match command.split():
            case ["/meet", addr]:
                try:
                    self.net.discovery.dial(addr)
                except ValueError as error:
                    print(f"* that is no address: {error}", flush=True)
            case ["/all"]:
                print(f"* {len(self.room)} lines", flush=True)
                for line in self.room:
                    print(f"*   {line.who}: {line.text}", flush=True)
            case ["/who"]:
                here = [member for member in self.room.members if member.is_bonded]
                voters = [member.peer_id for member in here if member.is_voter]
                mine = "one" if self.net.peer_id in voters else "none"
                print(
                    f"* {len(here)} in the room, {len(voters)} votes, you have {mine}", flush=True
                )
            case _:
                print("* /meet ADDRESS, /all for all lines, /who for who is here", flush=True)


async def typed() -> AsyncIterator[str]:
    """Yield the lines of standard input, be it a terminal, a pipe or a file.

    A thread waits for them that nobody waits for: so Ctrl-C ends the chat at once. It
    reads without a buffer, whose lock could not be had when the program ends.
    """
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[bytes] = asyncio.Queue()

    def read() -> None:
        with (
            open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as file,
            contextlib.suppress(RuntimeError),  # the loop is closed: the chat has ended
        ):
            while line := file.readline():
                loop.call_soon_threadsafe(lines.put_nowait, line)
            loop.call_soon_threadsafe(lines.put_nowait, b"")

    threading.Thread(target=read, daemon=True).start()
    while line := await lines.get():
        if text := line.decode(errors="replace").strip():
            yield text


def key_beside(log: Path | None) -> SecretKey | None:
    """Return this node's identity: a log belongs to one, so the two are kept together."""
    if log is None:
        return None
    return SecretKey.load_or_create(log.with_suffix(".key"))


async def main(room: str, who: str, log: Path | None) -> None:
    storage = SqliteLog(log) if log is not None else None
    async with Network(f"chat {room}", secret_key=key_beside(log)) as net:
        print(f"* others can /meet {net.addr}", flush=True)
        async with Room.writer(net, storage=storage) as lines:
            await lines.when().online()
            print(f"* you are in {room}, {len(lines)} lines so far", flush=True)
            chat = Chat(net, lines, who)
            showing = asyncio.create_task(chat.show())
            async for text in typed():
                await (chat.obey(text) if text.startswith("/") else chat.say(text))
            showing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await showing


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Chat in a room, in the terminal.")
    parser.add_argument("who", help="your name")
    parser.add_argument("--room", default="lobby")
    parser.add_argument("--log", type=Path, help="a file that keeps the room on this machine")
    options = parser.parse_args()
    sys.exit(run(main, options.room, options.who, options.log))
