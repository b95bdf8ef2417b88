"""What is in a room and in the list of people, and which names there are.

A room is a set of lines, and each line says where it belongs. So two rooms that began apart
become one by putting them together, in any order and as often as one likes.

Lines and people come from others: whatever is shown of them goes through `printable`, so
that nobody's text moves another one's cursor.
"""

from __future__ import annotations

import re
import time
import unicodedata

import msgspec

from mosaik_actors import NetworkId, StoreId

NICK_MAX = 24
TEXT_MAX = 4000
ROOMS_MAX = 32

_JOINER = "\N{ZERO WIDTH JOINER}"  # of emoji


class Line(msgspec.Struct, frozen=True):
    """One line.

    Attributes:
        id: Random. It tells the line from all others, also from one that says the same.
        nick: What its author was called.
        text: What it says.
        at_ms: When it was typed, in milliseconds since the Unix epoch, by its author's clock; and
            later than all that its author had seen by then. So answers come after questions.
    """

    id: str
    nick: str
    text: str
    at_ms: int

    @property
    def place(self) -> tuple[int, str]:
        """Where it belongs among others: the same for all who have it."""
        return self.at_ms, self.id


class Person(msgspec.Struct, frozen=True):
    """What somebody says of themselves: what they are called, and which rooms they are in."""

    nick: str
    rooms: tuple[str, ...]


def printable(text: str, length_max: int = TEXT_MAX) -> str:
    """Return what may be shown of a text: no control characters, and not too much of it."""
    shown = text[:length_max]
    if not shown.isprintable():
        shown = "".join(
            c if c.isprintable() or c == _JOINER else "\N{REPLACEMENT CHARACTER}" for c in shown
        )
    return shown if len(text) <= length_max else shown + "..."


def line_text(line: Line) -> str:
    """Return a line as it is shown: who, and what."""
    return f"{printable(line.nick, NICK_MAX)}: {printable(line.text)}"


def line_time(line: Line) -> str:
    """Return when a line was typed, as its author's clock said, in this machine's time zone."""
    try:
        return time.strftime("%H:%M", time.localtime(line.at_ms / 1000))
    except (OverflowError, OSError, ValueError):
        return "--:--"  # no clock says that


def as_room(text: str) -> str:
    """Return the name of a room as everybody writes it; it is fit for the name of a file.

    Raises:
        ValueError: It is no name of a room; says why.
    """
    name = unicodedata.normalize("NFKC", text.removeprefix("#")).lower()
    if not re.fullmatch(r"[\w-]{1,32}", name):
        raise ValueError("a room's name has up to 32 letters, digits, _ and -")
    return name


def as_nick(text: str) -> str:
    """Return what somebody may be called.

    Raises:
        ValueError: Nobody may be called that; says why.
    """
    if not re.fullmatch(r"[\w.-]+", text) or len(text) > NICK_MAX:
        raise ValueError(f"a nick has up to {NICK_MAX} letters, digits, '_', '.' and '-'")
    return text


def as_person(said: Person) -> Person:
    """Return what may be shown of what somebody says of themselves."""
    rooms = []
    for text in said.rooms[:ROOMS_MAX]:
        try:
            rooms.append(as_room(text))
        except ValueError:
            continue
    return Person(printable(said.nick, NICK_MAX), tuple(rooms))


def store_of_room(network: NetworkId, room: str) -> StoreId:
    """Return which collection is a room."""
    return network.derive("chat room").derive(room)


def store_of_people(network: NetworkId) -> StoreId:
    """Return which collection says who is there."""
    return network.derive("chat people")
