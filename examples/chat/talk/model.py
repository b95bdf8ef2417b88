"""What one person sees of the chat. A pure state machine, without I/O and clock.

It is given what is in the rooms and who is there, and finds out what that changes.
Whoever shows it draws its state, or prints its events (`next_event`), each once.

Invariants:
    * A line that was shown as sent stays shown as sent, whatever becomes of the room's state.
      While two rooms merge, that state begins anew, and one half's lines come back one by one.
    * A line is shown once, however often it comes: lines are told apart by their ids.
    * Sent lines are ordered by their places, in the same way for all. Pending ones come after them.
    * A line is pending until it is in the room, which is when it is committed and here.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from mosaik_actors import PeerId

from .messages import Line, Person, as_person

NOTICES_MAX = 500
EVENTS_MAX = 100_000
CLOCKS_DIFFER_MS = 24 * 3600 * 1000
FIRST = (-(1 << 63), "")
"""The place before all lines."""
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
        lines: All lines that are sent, each at its place.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_open = False
        self.unread = 0
        self.scroll = 0
        self.problem: str | None = None
        self.lines: list[Line] = []
        self._ids: set[str] = set()
        self._pending: dict[str, Line] = {}
        # Each after the line that was the last one then.
        self._notices: deque[tuple[tuple[int, str], str]] = deque(maxlen=NOTICES_MAX)

    @property
    def pending(self) -> list[Line]:
        """The lines that are not sent yet."""
        return list(self._pending.values())

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return len(self.lines) + len(self._pending) + len(self._notices)

    def rows(self, count: int) -> list[Row]:
        """Return the last `count` rows above those that are scrolled away."""
        start = max(0, len(self.lines) - count - self.scroll)
        first = self.lines[start].place if start else FIRST
        notices = deque(one for one in self._notices if one[0] >= first)
        rows = []
        for line in self.lines[start:]:
            while notices and notices[0][0] < line.place:
                rows.append(Row(None, notices.popleft()[1]))
            rows.append(Row(line, line.text))
        rows.extend(Row(None, text) for _, text in notices)
        rows.extend(Row(line, line.text, is_sent=False) for line in self._pending.values())
        end = max(0, len(rows) - self.scroll)
        return rows[max(0, end - count) : end]

    def scroll_by(self, rows: int) -> None:
        """Look at older rows, or at newer ones if `rows` is negative."""
        self.scroll = max(0, min(self.scroll + rows, self.row_count - 1))

    def scroll_to(self, lines: int, height: int) -> None:
        """Look at so many of the last lines, the first of them on top of `height` rows."""
        if self.lines:
            first = self.lines[max(0, len(self.lines) - lines)].place
            self.scroll = max(0, 1 + self._count_below(first) - height)

    def place_for(self, now_ms: int) -> int:
        """Return when a line is typed that is typed now: after all that is to be seen here."""
        last_ms = self.lines[-1].at_ms if self.lines else 0
        pending_ms = max((line.at_ms for line in self._pending.values()), default=0)
        last_ms = max(last_ms, pending_ms)
        # Not after a clock that is wrong by more than a day, however.
        return last_ms + 1 if now_ms <= last_ms < now_ms + CLOCKS_DIFFER_MS else now_ms

    def add_pending(self, line: Line) -> None:
        """Take in a line that was typed here; whoever types wants to see it."""
        self._pending[line.id] = line
        self.scroll = 0

    def add_notice(self, text: str) -> None:
        """Take in something to know, after the lines that are there."""
        self._notices.append((self.lines[-1].place if self.lines else FIRST, text))
        if self.scroll:
            self.scroll += 1

    def take(self, line: Line) -> bool:
        """Take in a line of the room; return whether it was never shown as sent."""
        if line.id in self._ids:
            return False
        self._ids.add(line.id)
        # Who looks at something older goes on looking at it: a row may go, and one comes.
        is_scrolled = self.scroll > 0
        if line.id in self._pending:
            rows_from_it = len(self._pending) - list(self._pending).index(line.id)
            del self._pending[line.id]
            self.scroll -= rows_from_it <= self.scroll
        self.scroll += is_scrolled and self._count_below(line.place) <= self.scroll
        insort(self.lines, line, key=_place_of)
        return True

    def _count_below(self, place: tuple[int, str]) -> int:
        """Return how many rows are below a place."""
        lines = len(self.lines) - bisect_right(self.lines, place, key=_place_of)
        notices = sum(at >= place for at, _ in self._notices)
        return lines + notices + len(self._pending)


def _place_of(line: Line) -> tuple[int, str]:
    return line.place


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

    def compose(self, text: str, now_ms: int) -> Line:
        """Return a new line of this user in the room that is looked at; it is pending."""
        room = self.rooms[self.current]
        line = Line(self._draw_id(), self.nick, text, room.place_for(now_ms))
        self._my_ids.add(line.id)
        room.add_pending(line)
        return line

    def receive_line(self, name: str, line: Line) -> bool:
        """Take in a line that is in a room now; return whether it was never shown as sent."""
        is_new = self.rooms[name].take(line)
        if is_new:
            if name != self.current and line.id not in self._my_ids:
                self.rooms[name].unread += 1
            self._events.append(LineSent(name, line))
        return is_new

    def receive_kept(self, name: str, lines: Iterable[Line]) -> None:
        """Take in what was in a room when this user was last there, before its history."""
        self._take_first(name, lines)

    def receive_history(self, name: str, lines: Iterable[Line]) -> list[Line]:
        """Take in all that is in a room, at first and whenever its state is another one.

        Returns:
            What was never shown as sent.
        """
        room = self.rooms[name]
        if room.is_open:
            return [line for line in lines if self.receive_line(name, line)]
        new = self._take_first(name, lines)
        room.is_open = True
        count = len(room.lines)
        self.notice(f"you are in {name}, {count} line{'s' * (count != 1)} so far", name)
        return new

    def _take_first(self, name: str, lines: Iterable[Line]) -> list[Line]:
        room = self.rooms[name]
        new = [line for line in lines if room.take(line)]
        shown = sorted(new, key=_place_of)[-SHOWN_AT_FIRST:]
        self._events.extend(LineSent(name, line) for line in shown)
        return new

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
