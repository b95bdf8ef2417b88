"""A chat in the terminal, without a server. What was shown as sent stays.

Rooms of the same name that began apart, on machines that could not reach each other, become
one when they meet, and everything that was typed in either is there.
"""

import argparse
import getpass
import importlib.util
import sys
from pathlib import Path

from talk.messages import as_nick, as_room
from talk.plain import chat_in_lines
from talk.session import Chat

from mosaik_actors import Network, NetworkDown, run


def can_draw() -> bool:
    """Return whether there is a terminal, and what it takes to draw on it."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    if importlib.util.find_spec("prompt_toolkit") is None:
        print("* in lines only: pip install 'mosaik-actors[chat]' draws the chat", flush=True)
        return False
    return True


def can_search_lan() -> bool:
    """Return whether others on the local network can be found."""
    if importlib.util.find_spec("zeroconf") is None:
        print("* this machine only: pip install 'mosaik-actors[mdns]' finds others", flush=True)
        return False
    return True


async def main(options: argparse.Namespace) -> int:
    try:
        return await chat_until_end(options)
    except NetworkDown as error:
        print(f"* the chat has ended: {error}", file=sys.stderr)
        return 1


async def chat_until_end(options: argparse.Namespace) -> int:
    draws = not options.plain and can_draw()
    mdns = not options.local and can_search_lan()
    async with (
        Network(f"chat {options.network}", mdns=mdns) as net,
        Chat(net, options.nick, options.keep) as chat,
    ):
        for room in options.room or ["lobby"]:
            chat.join(room)
        chat.model.notice(f"others can /meet {net.addr}")
        if not draws:
            return await chat_in_lines(chat)
        from talk.terminal import chat_in_terminal  # with the package that draws

        return await chat_in_terminal(chat)


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Chat in the terminal.")
    parser.add_argument("nick", nargs="?", help="what you are called; your login without")
    parser.add_argument(
        "--room", action="append", help="where to go; may be repeated, the last one shows"
    )
    parser.add_argument("--network", default="lobby", help="who has another one never meets you")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="keeps your rooms on this machine"
    )
    parser.add_argument("--local", action="store_true", help="do not search the local network")
    parser.add_argument("--plain", action="store_true", help="in lines, also on a terminal")
    options = parser.parse_args(arguments)
    try:
        options.nick = as_nick(options.nick or getpass.getuser())
        options.room = [as_room(text) for text in options.room or ()]
    except ValueError as error:
        parser.error(str(error))
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
    return options


if __name__ == "__main__":
    sys.exit(run(main, parse_options()))
