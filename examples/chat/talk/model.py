"""What one person sees of the chat. A pure state machine, without I/O and clock.

It is given what is in the rooms and who is there, and finds out what that changes.
Whoever shows it draws its state, or prints its events (`next_event`), each once.

Invariants:
    * A line that was shown as sent stays shown as sent, whatever becomes of the room's state.
      While two rooms merge, that state begins anew, and one half's lines come back one by one.
    * A line is shown once, however often the room has it: lines are told apart by their ids.
    * Sent lines have the room's order, the same for all. After them come those that were sent and
      are not in the room at this moment, then those that are pending.
    * A line is pending until it is in the room, which is when it is committed and here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from mosaik_actors import PeerId

from .messages import Line, Person, as_person

NOTICES_MAX = 500
EVENTS_MAX = 100_000
SHOWN_AT_FIRST = 50
"""Lines that are shown of a room that somebody joins; `history` has the others."""


@dataclass(frozen=True, slots=True)
class LineSent:
    """A line is in the room that was not there before."""

    room: str
    line: Line


@dataclass(frozen=True, slots=True)
class Noticed:
    """Something to know that is no line."""

    room: str
    text: str


@dataclass(frozen=True, slots=True)
class HistoryShown:
    """Somebody wants to see the last lines of a room, which has `total` of them."""

    room: str
    lines: tuple[Line, ...]
    total: int


Event = LineSent | Noticed | HistoryShown


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a room as it is drawn: a line, or a notice.

    Attributes:
        line: The line; None for a notice.
        text: What the notice or the line says.
        is_sent: Whether it is sent; a notice is.
    """

    line: Line | None
    text: str
    is_sent: bool = True


class Room:
    """What one person sees of a room.

    Attributes:
        name: What it is called.
        is_open: Whether its history is here.
        unread: Lines of others that came since it was last looked at.
        scroll: How many rows are below the last one that is drawn.
        problem: Why a line is not sent yet; None when all goes well.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_open = False
        self.unread = 0
        self.scroll = 0
        self.problem: str | None = None
        self._sent: list[Line] = []
        self._ids: set[str] = set()
        self._missing: dict[str, Line] = {}
        self._pending: dict[str, Line] = {}
        self._notices: deque[tuple[int, str]] = deque(maxlen=NOTICES_MAX)

    @property
    def lines(self) -> list[Line]:
        """All lines that are sent."""
        return [*self._sent, *self._missing.values()]

    @property
    def pending(self) -> list[Line]:
        """The lines that are not sent yet."""
        return list(self._pending.values())

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        counts = self._sent, self._missing, self._pending, self._notices
        return sum(map(len, counts))

    def rows(self, count: int) -> list[Row]:
        """Return the last `count` rows above those that are scrolled away."""
        needed = count + self.scroll
        start = max(0, len(self._sent) - needed)
        rows = []
        notices = deque(one for one in self._notices if one[0] >= start)
        for number, line in enumerate([*self._sent[start:], *self._missing.values()], start):
            while notices and notices[0][0] <= number:
                rows.append(Row(None, notices.popleft()[1]))
            rows.append(Row(line, line.text))
        rows.extend(Row(None, text) for _, text in notices)
        rows.extend(Row(line, line.text, is_sent=False) for line in self._pending.values())
        end = max(0, len(rows) - self.scroll)
        return rows[max(0, end - count) : end]

    def scroll_to(self, lines: int, height: int) -> None:
        """Look at so many of the last lines, the first of them on top of `height` rows."""
        first = max(0, len(self._sent) + len(self._missing) - lines)
        notices = sum(1 for at, _ in self._notices if at > first)
        self.scroll = max(0, lines + notices + len(self._pending) - height)

    def scroll_by(self, rows: int) -> None:
        """Look at older rows, or at newer ones if `rows` is negative."""
        self.scroll = max(0, min(self.scroll + rows, self.row_count - 1))

    def add_pending(self, line: Line) -> None:
        """Take in a line that was typed here; whoever types wants to see it."""
        self._pending[line.id] = line
        self.scroll = 0

    def add_notice(self, text: str) -> None:
        """Take in something to know, after the lines that are there."""
        self._notices.append((len(self._sent) + len(self._missing), text))
        self._hold_still(1)

    def take(self, line: Line) -> bool:
        """Take in the next line of the room; return whether it was never shown as sent."""
        if line.id in self._ids:
            return False
        self._ids.add(line.id)
        self._sent.append(line)
        was_pending = self._pending.pop(line.id, None) is not None
        if self._missing.pop(line.id, None) is not None:
            return False
        if not was_pending:
            self._hold_still(1)
        return True

    def take_all(self, lines: Iterable[Line]) -> list[Line]:
        """Take in the room's state as a whole; return the lines that were never shown as sent.

        Rows never get fewer by that, so notices and what is looked at stay where they are.
        """
        self._missing = {line.id: line for line in self.lines}
        self._sent, self._ids = [], set()
        return [line for line in lines if self.take(line)]

    def _hold_still(self, rows: int) -> None:
        """Keep what somebody looks at where it is, if that is not the end."""
        if self.scroll:
            self.scroll += rows


class Model:
    """What one person sees of all rooms.

    Args:
        nick: What the user is called.
        draw_id: Returns an id for a line that nobody else has, or can tell before.

    Attributes:
        rooms: The rooms that the user is in, by name, in the order of joining.
        current: The one that is looked at; empty when there is none.
        people: Who is there beside this user.
    """

    def __init__(self, nick: str, draw_id: Callable[[], str]) -> None:
        self.nick = nick
        self.rooms: dict[str, Room] = {}
        self.current = ""
        self.people: dict[PeerId, Person] = {}
        self._draw_id = draw_id
        self._my_ids: set[str] = set()
        self._knows_people = False
        self._events: deque[Event] = deque(maxlen=EVENTS_MAX)

    @property
    def room(self) -> Room | None:
        """The room that is looked at."""
        return self.rooms.get(self.current)

    @property
    def pending_count(self) -> int:
        """How many lines are not sent yet."""
        return sum(len(room.pending) for room in self.rooms.values())

    def next_event(self) -> Event | None:
        """Return the oldest event not yet handed out, or None."""
        return self._events.popleft() if self._events else None

    # Rooms.

    def enter(self, name: str) -> bool:
        """Look at a room; return whether it is a new one, whose history is to be fetched."""
        is_new = name not in self.rooms
        if is_new:
            self.rooms[name] = Room(name)
        self.current = name
        self.rooms[name].unread = 0
        return is_new

    def leave(self, name: str) -> None:
        """Forget a room, and look at the one that was joined before."""
        del self.rooms[name]
        if self.current == name:
            self.current = ""
            if self.rooms:
                self.enter(list(self.rooms)[-1])

    def turn(self, step: int) -> None:
        """Look at the next room, or at the one before if `step` is -1."""
        names = list(self.rooms)
        if names:
            self.enter(names[(names.index(self.current) + step) % len(names)])

    def count_people(self) -> dict[str, int]:
        """Return all rooms that anybody is in, by name, with how many there are."""
        counts = dict.fromkeys(self.rooms, 1)
        for person in self.people.values():
            for name in person.rooms:
                counts[name] = counts.get(name, 0) + 1
        return dict(sorted(counts.items()))

    # Lines.

    def compose(self, text: str, at: float) -> Line:
        """Return a new line of this user in the room that is looked at; it is pending."""
        room = self.rooms[self.current]
        line = Line(self._draw_id(), self.nick, text, at)
        self._my_ids.add(line.id)
        room.add_pending(line)
        return line

    def receive_line(self, name: str, line: Line) -> None:
        """Take in the next line of a room."""
        if self.rooms[name].take(line):
            self._show(name, line)

    def receive_history(self, name: str, lines: Iterable[Line]) -> None:
        """Take in all that is in a room, at first and whenever its state is another one."""
        room = self.rooms[name]
        new = room.take_all(lines)
        if not room.is_open:
            room.is_open = True
            self.notice(f"you are in {name}, {len(room.lines)} lines so far", name)
            for line in new[-SHOWN_AT_FIRST:]:
                self._events.append(LineSent(name, line))
            return
        for line in new:
            self._show(name, line)

    def show_history(self, count: int) -> None:
        """Let the last `count` lines of the room be shown."""
        room = self.rooms[self.current]
        lines = room.lines
        self._events.append(HistoryShown(room.name, tuple(lines[-count:]), len(lines)))

    def notice(self, text: str, name: str | None = None) -> None:
        """Let the user know something, in a room or in the one that is looked at."""
        name = self.current if name is None else name
        if name in self.rooms:
            self.rooms[name].add_notice(text)
        self._events.append(Noticed(name, text))

    def _show(self, name: str, line: Line) -> None:
        if name != self.current and line.id not in self._my_ids:
            self.rooms[name].unread += 1
        self._events.append(LineSent(name, line))

    # People.

    def people_in(self, name: str) -> list[str]:
        """Return who is in a room: this user first, then the others by nick."""
        nicks = (one.nick for one in self.people.values() if name in one.rooms)
        return [f"{self.nick} (you)", *sorted(nicks, key=lambda nick: (nick.casefold(), nick))]

    def receive_people(self, said: Mapping[PeerId, Person]) -> None:
        """Take in who else is there, and say of each room of this user who came and went.

        Those of the first call were there before: nothing is said of them.
        """
        before, self.people = self.people, {peer: as_person(one) for peer, one in said.items()}
        if not self._knows_people:
            self._knows_people = True
            return
        nobody = Person("", ())
        for peer in dict.fromkeys([*before, *self.people]):
            old, new = before.get(peer, nobody), self.people.get(peer, nobody)
            for name in self.rooms:
                if name not in old.rooms and name in new.rooms:
                    self.notice(f"{new.nick} has joined {name}", name)
                elif name in old.rooms and name not in new.rooms:
                    self.notice(f"{old.nick} has left {name}", name)
                elif name in new.rooms and old.nick != new.nick:
                    self.notice(f"{old.nick} is now called {new.nick}", name)
