"""What can be typed: text, and commands that begin with a slash."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from .messages import TEXT_MAX, as_nick, as_room


@dataclass(frozen=True)
class Say:
    text: str


@dataclass(frozen=True)
class Join:
    room: str


@dataclass(frozen=True)
class Leave:
    """Leave a room; the current one without a name."""

    room: str | None = None


@dataclass(frozen=True)
class ListRooms:
    pass


@dataclass(frozen=True)
class ListPeople:
    pass


@dataclass(frozen=True)
class Rename:
    nick: str


@dataclass(frozen=True)
class ShowHistory:
    count: int


@dataclass(frozen=True)
class Meet:
    addr: str


@dataclass(frozen=True)
class Help:
    pass


@dataclass(frozen=True)
class Quit:
    pass


Command = Say | Join | Leave | ListRooms | ListPeople | Rename | ShowHistory | Meet | Help | Quit

HELP = """\
/join ROOM    go there; it begins with whoever is first
/leave        leave this room
/rooms        which rooms there are
/who          who is in this room
/nick NAME    be called something else
/history N    the last N lines of this room
/meet ADDRESS connect to somebody who is not found by itself
/quit         end; so do Ctrl-C and Ctrl-D
//text        a line that begins with a slash"""


def parse(typed: str) -> Command:
    """Return what a line that was typed, without spaces around it, asks for.

    Raises:
        ValueError: Nothing that there is; says why.
    """
    if not typed.startswith("/") or typed.startswith("//"):
        text = typed.removeprefix("/") if typed.startswith("//") else typed
        if len(text) > TEXT_MAX:
            raise ValueError(f"a line has up to {TEXT_MAX} characters, this one has {len(text)}")
        return Say(text)
    word, *arguments = typed.split()
    match word, arguments:
        case "/leave", []:
            return Leave()
        case "/history", []:
            return ShowHistory(20)
        case _, [argument] if word in _WITH_ARGUMENT:
            return _WITH_ARGUMENT[word](argument)
        case _, [] if word in _ALONE:
            return _ALONE[word]()
    if word in _WITH_ARGUMENT or word in _ALONE:
        raise ValueError(f"{word} is used otherwise; /help says how")
    raise ValueError(f"there is no {word}; /help says what there is")


def _as_count(text: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,8}", text):
        raise ValueError(f"{text[:20]} is no number of lines")
    return int(text)


_WITH_ARGUMENT: dict[str, Callable[[str], Command]] = {
    "/join": lambda text: Join(as_room(text)),
    "/leave": lambda text: Leave(as_room(text)),
    "/nick": lambda text: Rename(as_nick(text)),
    "/history": lambda text: ShowHistory(_as_count(text)),
    "/meet": Meet,
}
_ALONE: dict[str, Callable[[], Command]] = {
    "/rooms": ListRooms,
    "/who": ListPeople,
    "/help": Help,
    "/quit": Quit,
}
