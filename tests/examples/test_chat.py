"""The chat's model, commands and looks, by plain calls, and its screen with keys from a pipe."""

import asyncio
import importlib.util
import io
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import chat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from talk import view
from talk.archive import Archive
from talk.commands import Join, Leave, Rename, Say, ShowHistory, parse
from talk.messages import Line, Person, as_nick, as_room, line_text, line_time, printable
from talk.model import SHOWN_AT_FIRST, HistoryShown, LineSent, Model, Noticed
from talk.plain import end
from talk.session import Chat
from talk.terminal import Screen

from mosaik_actors import SecretKey

BEN, CEM = (SecretKey.from_seed(name).peer_id for name in ("ben", "cem"))


def line(number: int, nick: str = "ben") -> Line:
    return Line(f"{nick}-{number}", nick, f"text {number}", 1000 * number)


def model_in(*rooms: str) -> Model:
    """Return a model of somebody who is in rooms, each empty and open."""
    ids = itertools.count()
    model = Model("ann", lambda: f"ann-{next(ids)}")
    for room in rooms:
        model.enter(room)
        model.receive_history(room, [])
    events_of(model)
    return model


def events_of(model: Model) -> list[Any]:
    return list(iter(model.next_event, None))


def shown(model: Model, count: int = 100) -> list[str]:
    """Return the rows of the current room: pending ones with a mark, notices with a star."""
    assert model.room is not None
    return [
        f"* {row.text}"
        if row.line is None
        else row.text + "" * row.is_sent + "?" * (not row.is_sent)
        for row in model.room.rows(count)
        if row.line or not row.text.startswith("you are in")
    ]


def test_a_line_is_pending_until_it_is_in_the_room_and_shows_once() -> None:
    model = model_in("lobby")
    mine = model.compose("hello", 1000)
    other = model.compose("more", 2000)
    assert mine.id != other.id
    assert shown(model) == ["hello?", "more?"]
    assert (model.pending_count, events_of(model)) == (2, [])
    assert model.receive_line("lobby", line(0))
    assert model.receive_line("lobby", mine)
    assert not model.receive_line("lobby", mine)
    assert shown(model) == ["text 0", "hello", "more?"]
    assert events_of(model) == [LineSent("lobby", line(0)), LineSent("lobby", mine)]
    assert model.pending_count == 1


def test_what_was_sent_stays_while_two_rooms_merge() -> None:
    model = model_in("lobby")
    for number in (0, 2, 4):
        model.receive_line("lobby", line(number))
    pending = model.compose("mine", 6000)
    events_of(model)
    # The room begins anew with the state of the others, whose lines come where they belong.
    others = [line(3, "cem"), line(1, "cem")]
    assert model.receive_history("lobby", others) == others
    order = ["ben-0", "cem-1", "ben-2", "cem-3", "ben-4"]
    assert [one.id for one in model.rooms["lobby"].lines] == order
    assert shown(model)[-1] == "mine?"
    assert events_of(model) == [LineSent("lobby", one) for one in others]
    # This half's lines come back one by one, which changes nothing.
    for one in (line(0), line(2), pending, line(4)):
        model.receive_line("lobby", one)
    assert [one.id for one in model.rooms["lobby"].lines] == [*order, pending.id]
    assert events_of(model) == [LineSent("lobby", pending)]
    # Even if the room is emptied.
    assert model.receive_history("lobby", []) == []
    assert [one.id for one in model.rooms["lobby"].lines] == [*order, pending.id]


def test_an_answer_comes_after_what_its_author_had_seen() -> None:
    model = model_in("lobby")
    day_ms = 24 * 3600 * 1000
    # The other one's clock is ahead.
    model.receive_line("lobby", Line("x", "ben", "a question", 90_000))
    assert [model.compose("an answer", 50_000).at_ms, model.compose("more", 50_000).at_ms] == [
        90_001,
        90_002,
    ]
    # Far ahead, and it would be out of the world.
    model.receive_line("lobby", Line("y", "ben", "from the future", 90_002 + 2 * day_ms))
    assert model.compose("well", 100_000).at_ms == 100_000


KINDS = ("compose", "sent", "line", "history", "notice", "scroll")
STEPS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 11)), max_size=20)


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_whatever_comes_nothing_that_was_sent_disappears(steps: list[tuple[str, int]]) -> None:
    model = model_in("lobby")
    room = model.rooms["lobby"]
    sent: set[Line] = set()
    told: list[str] = []
    for kind, number in steps:
        scroll, before = room.scroll, room.rows(1)
        match kind:
            case "compose":
                model.compose("x", 1000 * number)
            case "sent" if room.pending:
                sent.add(room.pending[0])
                model.receive_line("lobby", room.pending[0])
            case "line":
                sent.add(line(number))
                model.receive_line("lobby", line(number))
            case "history":
                lines = [line(one) for one in range(number, 12, 3)]
                sent |= set(lines)
                model.receive_history("lobby", lines)
            case "notice":
                model.notice(f"notice {number}")
            case "scroll":
                room.scroll_by(number - 6)
        told += [event.line.id for event in events_of(model) if isinstance(event, LineSent)]
        assert room.lines == sorted(sent, key=lambda one: one.place)
        assert sorted(told) == sorted(one.id for one in sent)  # each, once
        assert 0 <= room.scroll <= max(0, room.row_count - 1)
        # What is drawn is a part of all rows, whichever part.
        drawn, end = room.rows(3), room.scroll
        room.scroll = 0
        rows = room.rows(1000)
        room.scroll = end
        assert len(rows) == room.row_count
        assert drawn == rows[: len(rows) - end][-3:]
        # Who looks at something older goes on looking at it.
        if scroll and kind not in ("compose", "scroll") and before[0].is_sent:
            assert room.rows(1) == before


def test_lines_that_were_not_looked_at_are_counted() -> None:
    model = model_in("dev", "lobby")
    model.receive_line("dev", line(0))
    model.receive_line("lobby", line(0))
    assert (model.rooms["dev"].unread, model.rooms["lobby"].unread) == (1, 0)
    assert [text for _, text in view.tabs(model)] == [" dev (1) ", " ", " lobby ", " "]
    model.turn(1)
    assert (model.current, model.rooms["dev"].unread) == ("dev", 0)
    # One's own line that is sent elsewhere by now is nothing new.
    mine = model.compose("late", 0)
    model.turn(-1)
    model.receive_line("dev", mine)
    assert (model.current, model.rooms["dev"].unread) == ("lobby", 0)
    model.leave("lobby")
    assert model.current == "dev"
    model.leave("dev")
    model.turn(1)
    assert (model.current, model.room) == ("", None)


def test_of_a_long_history_the_end_is_shown_and_the_rest_when_asked_for() -> None:
    model = model_in()
    model.enter("lobby")
    lines = [line(number) for number in range(200)]
    model.receive_history("lobby", lines)
    *events, notice = events_of(model)
    assert notice == Noticed("lobby", "you are in lobby, 200 lines so far")
    assert events == [LineSent("lobby", one) for one in lines[-SHOWN_AT_FIRST:]]
    model.show_history(120)
    assert events_of(model) == [HistoryShown("lobby", tuple(lines[-120:]), 200)]
    room = model.rooms["lobby"]
    room.scroll_to(120, height=10)
    assert [row.text for row in room.rows(10)] == [f"text {number}" for number in range(80, 90)]


def test_what_was_kept_is_shown_before_the_room_is_there() -> None:
    model = model_in()
    model.enter("lobby")
    kept = [line(number) for number in range(60)]
    model.receive_kept("lobby", kept)
    assert not model.rooms["lobby"].is_open
    assert events_of(model) == [LineSent("lobby", one) for one in kept[-SHOWN_AT_FIRST:]]
    assert model.receive_history("lobby", [line(1), line(99)]) == [line(99)]
    assert events_of(model) == [
        LineSent("lobby", line(99)),
        Noticed("lobby", "you are in lobby, 61 lines so far"),
    ]
    assert model.rooms["lobby"].unread == 0


def test_an_archive_has_what_was_kept_whatever_else_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "lobby.lines"
    archive = Archive(path)
    assert archive.lines == []
    kept = [Line("1", "ann", "two\nlines \u2028 🚀", 5), Line("2", "ben", "", 6)]
    for one in kept:
        archive.add(one)
    archive.close()
    # Power failed while a line was written.
    path.write_bytes(path.read_bytes() + b'{"id": "3", "nick"')
    archive, other = Archive(path), Archive(path)
    assert (archive.lines, archive.bad_count) == (kept, 1)
    archive.add(line(7))
    other.add(line(8))
    archive.close()
    other.close()
    archive = Archive(path)
    archive.close()
    assert (archive.lines, archive.bad_count) == ([*kept, line(7), line(8)], 1)


def test_who_scrolls_back_looks_at_the_same_rows_when_lines_come() -> None:
    model = model_in("lobby")
    for number in range(20):
        model.receive_line("lobby", line(number))
    room = model.rooms["lobby"]
    room.scroll_by(5)
    before = room.rows(4)
    assert [row.text for row in before] == ["text 11", "text 12", "text 13", "text 14"]
    model.receive_line("lobby", line(20))
    model.notice("somebody came")
    assert room.rows(4) == before
    assert "7 rows below" in view.status(model)[0][1]
    room.scroll_by(1000)
    assert len(room.rows(4)) == 1  # the oldest one
    # Who types wants to see it.
    model.compose("and I", 0)
    assert shown(model, 3) == ["text 20", "* somebody came", "and I?"]


def test_people_come_and_go_and_are_renamed() -> None:
    model = model_in("dev", "lobby")
    # Who was there before did not come.
    model.receive_people({BEN: Person("ben", ("lobby",))})
    assert events_of(model) == []
    assert model.people_in("lobby") == ["ann (you)", "ben"]
    model.receive_people({BEN: Person("bob", ("lobby", "dev")), CEM: Person("Cem", ("lobby", "x"))})
    assert events_of(model) == [
        Noticed("dev", "bob has joined dev"),
        Noticed("lobby", "ben is now called bob"),
        Noticed("lobby", "Cem has joined lobby"),
    ]
    assert model.people_in("lobby") == ["ann (you)", "bob", "Cem"]
    assert model.count_people() == {"dev": 2, "lobby": 3, "x": 1}
    model.receive_people({CEM: Person("Cem", ("x",))})
    assert [event.text for event in events_of(model)] == [
        "bob has left dev",
        "bob has left lobby",
        "Cem has left lobby",
    ]
    # What somebody says of themselves is for nobody's terminal.
    model.receive_people(
        {CEM: Person("\x1b[2J" + "c" * 99, ("LOBBY", "../../etc", *map(str, range(99))))}
    )
    (joined,) = events_of(model)
    assert joined.text == "\N{REPLACEMENT CHARACTER}[2J" + "c" * 20 + "... has joined lobby"
    assert len(model.people[CEM].rooms) == 31


def test_what_may_be_typed() -> None:
    assert parse("hello /join") == Say("hello /join")
    assert parse("//etc") == Say("/etc")
    assert parse("/join #Dev") == Join("dev")
    assert (parse("/leave"), parse("/leave dev")) == (Leave(), Leave("dev"))
    assert parse("/nick Ann-Marie") == Rename("Ann-Marie")
    assert (parse("/history"), parse("/history 5")) == (ShowHistory(20), ShowHistory(5))
    for typed, reason in (
        ("/join", "/join is used otherwise"),
        ("/who is there", "/who is used otherwise"),
        ("/dance", "there is no /dance"),
        ("/join ../secrets", "a room's name has"),
        ("/join " + "x" * 33, "a room's name has"),
        ("/nick a\x1bb", "a nick has"),
        ("/history 0", "0 is no number of lines"),
        ("/history -1", "-1 is no number of lines"),
        ("/history " + "9" * 5000, "is no number of lines"),
        ("x" * 4001, "up to 4000 characters, this one has 4001"),
    ):
        with pytest.raises(ValueError, match=reason):
            parse(typed)
    assert (
        as_room("\N{FULLWIDTH LATIN CAPITAL LETTER L}obby") == "lobby"
    )  # one room, however its name is typed
    assert as_nick("zoë.2") == "zoë.2"


def test_nothing_of_others_moves_the_cursor() -> None:
    hostile = Line("x", "a\nb" * 20, "\x1b]0;title\x07 \u202e" + "y" * 5000, 1 << 80)
    assert line_text(hostile).isprintable()
    assert len(line_text(hostile)) < 4100
    assert line_time(hostile) == "--:--"
    assert printable("👩\N{ZERO WIDTH JOINER}🚀") == "👩\N{ZERO WIDTH JOINER}🚀"


def test_how_it_looks() -> None:
    model = model_in("lobby")
    model.receive_people({BEN: Person("ben", ("lobby",))})
    model.receive_line("lobby", line(0))
    model.notice("cem has joined lobby")
    model.compose("hello", 0)
    rows = "".join(text for _, text in view.timeline(model, 3)).split("\n")
    assert [row[6:] for row in rows] == ["✓ ben text 0", "* cem has joined lobby", "… ann hello"]
    assert "".join(text for _, text in view.people(model)) == "2 here\nann (you)\nben"
    model.rooms["lobby"].problem = "no leader"
    assert [text for _, text in view.status(model)] == [" ann · 1 pending ", " no leader "]
    model.leave("lobby")
    assert "you are in no room" in view.timeline(model, 3)[0][1]
    assert view.people(model) == []


class Typing:
    """A chat as far as the screen needs one: what is typed is sent at once."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.typed: list[str] = []

    def type(self, typed: str) -> bool:
        self.typed.append(typed)
        if typed == "/history 10":
            self.model.show_history(10)
        return typed != "/quit"

    async def change(self) -> None:
        await asyncio.get_running_loop().create_future()


async def press(keys: Sequence[str], model: Model) -> Typing:
    """Give keys to a screen, which has to end by that."""
    typing = Typing(model)
    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
        pipe.send_text("".join(keys))
        async with asyncio.timeout(20):
            await Screen(cast("Chat", typing)).run()
    return typing


async def test_the_screen_takes_keys_and_ends() -> None:
    model = model_in("dev", "lobby")
    for number in range(100):
        model.receive_line("lobby", line(number))
    typing = await press(["hello\r", "\x1b[5~", "/quit\r"], model)
    assert typing.typed == ["hello", "/quit"]
    assert model.rooms["lobby"].scroll > 10
    for key in ("\x03", "\x04"):
        await press(["\x0e", key], model)  # Ctrl-N
    assert model.current == "lobby"
    await press(["\x10", "\x03"], model)  # Ctrl-P
    assert model.current == "dev"


class Ending:
    """A chat that ends."""

    def __init__(self, unsent: int, is_last_copy: bool) -> None:
        self.model = model_in("lobby")
        self.is_last_copy = is_last_copy
        self._unsent = unsent

    async def flush(self, timeout: float) -> int:
        return self._unsent


@pytest.mark.parametrize(
    ("unsent", "is_last_copy", "code", "said"),
    [
        (0, False, 0, ""),
        (2, True, 1, "* not sent: 2 lines\n"),
        (0, True, 0, "* nobody else is here, so what was said is gone; --keep would keep it\n"),
    ],
)
async def test_what_will_be_gone_is_said_at_the_end(
    unsent: int, is_last_copy: bool, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await end(cast("Chat", Ending(unsent, is_last_copy))) == code
    assert capsys.readouterr().out == said


def test_without_a_terminal_or_what_draws_on_it_there_are_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Tty(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert not chat.can_draw()
    monkeypatch.setattr(sys, "stdin", Tty())
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert chat.can_draw()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not chat.can_draw()
    assert not chat.can_search_lan()
    said = capsys.readouterr().out
    assert "pip install 'mosaik-actors[chat]'" in said
    assert "pip install 'mosaik-actors[mdns]'" in said


def test_options_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = chat.parse_options(["ann", "--room", "Dev", "--keep", str(tmp_path / "a" / "b")])
    assert (options.nick, options.room) == ("ann", ["dev"])
    assert (tmp_path / "a" / "b").is_dir()
    for arguments in (["a b"], ["ann", "--room", "../x"]):
        with pytest.raises(SystemExit):
            chat.parse_options(arguments)
    assert "a room's name has" in capsys.readouterr().err
