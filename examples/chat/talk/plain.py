"""The chat in lines, for pipes, tests, and terminals without more.

A line is printed when it is sent, and once. What begins with a star is no line.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import AsyncIterator

from .messages import line_text, line_time, printable
from .model import HistoryShown, LineSent, Noticed
from .session import Chat

FLUSH_TIMEOUT_S = 10.0


async def chat_in_lines(chat: Chat) -> int:
    """Chat until the input ends; return the exit code, 1 if something typed could not be sent."""
    printing = asyncio.create_task(_print_events(chat))
    try:
        async for text in _typed():
            if not chat.type(text):
                break
        return await end(chat)
    finally:
        printing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await printing


async def end(chat: Chat) -> int:
    """Wait until all is sent, and say what of it will be gone; return the exit code."""
    unsent = await chat.flush(FLUSH_TIMEOUT_S)
    print_events(chat)
    if unsent:
        print(f"* not sent: {unsent} lines", flush=True)
    elif chat.is_last_copy:
        print("* nobody else is here, so what was said is gone; --keep would keep it", flush=True)
    return 1 if unsent else 0


def print_events(chat: Chat) -> None:
    """Print what has happened and was not printed yet."""
    while event := chat.model.next_event():
        match event:
            case LineSent(room, line):
                print(f"[{room}] {line_text(line)}")
            case Noticed(_, text):
                print(f"* {printable(text)}")
            case HistoryShown(room, lines, total):
                print(f"* {len(lines)} of {total} lines in {room}")
                for line in lines:
                    print(f"*   {line_time(line)} {line_text(line)}")
    sys.stdout.flush()


async def _print_events(chat: Chat) -> None:
    while True:
        print_events(chat)
        await chat.change()


async def _typed() -> AsyncIterator[str]:
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
        yield line.decode(errors="replace")
