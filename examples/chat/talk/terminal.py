"""The chat drawn on a terminal: rooms above, people at the side, what is typed below.

Thin: what is drawn is decided in `view`, from the model. Needs the package prompt_toolkit.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.data_structures import Point
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import FormattedTextControl, HSplit, Layout, VSplit, Window
from prompt_toolkit.styles import Style
from prompt_toolkit.widgets import TextArea

from . import view
from .model import HistoryShown
from .plain import end
from .session import Chat

PEOPLE_WIDTH = 20
KEYS = "Ctrl-N and Ctrl-P turn to another room, PageUp and PageDown show what was; /help says more"


class Screen:
    """What is drawn, and what keys do.

    Args:
        chat: Whose chat it is.

    Attributes:
        application: What draws, and reads keys.
    """

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._typed = TextArea(multiline=False, height=1, prompt="> ", accept_handler=self._accept)
        timeline = FormattedTextControl(self._timeline, get_cursor_position=self._end)
        self._row_count = 1
        people = FormattedTextControl(lambda: _texts(view.people(chat.model)))
        layout = HSplit(
            [
                Window(FormattedTextControl(lambda: _texts(view.tabs(chat.model))), height=1),
                VSplit(
                    [
                        Window(timeline, wrap_lines=True, always_hide_cursor=True),
                        Window(width=1, char="│"),
                        Window(people, width=PEOPLE_WIDTH),
                    ]
                ),
                Window(
                    FormattedTextControl(lambda: _texts(view.status(chat.model))),
                    height=1,
                    style="class:status",
                ),
                self._typed,
            ]
        )
        self.application: Application[None] = Application(
            layout=Layout(layout, focused_element=self._typed),
            key_bindings=self._bindings(),
            style=Style.from_dict(view.STYLES),
            full_screen=True,
        )

    async def run(self) -> None:
        """Draw, and do what is typed, until the user has enough."""
        redrawing = asyncio.create_task(self._redraw())
        try:
            # Signals are `mosaik_actors.run`'s; Ctrl-C is a key here.
            await self.application.run_async(handle_sigint=False)
        finally:
            redrawing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await redrawing

    async def _redraw(self) -> None:
        model = self._chat.model
        while True:
            while event := model.next_event():  # all else is in the model, and drawn
                if isinstance(event, HistoryShown) and event.room in model.rooms:
                    model.rooms[event.room].scroll_to(len(event.lines), self._height)
            self.application.invalidate()
            await self._chat.change()

    @property
    def _height(self) -> int:
        """How many rows of the room there is space for."""
        return max(1, self.application.output.get_size().rows - 3)

    def _timeline(self) -> StyleAndTextTuples:
        # A row takes one line of the terminal at least; the end is drawn, see `_end`.
        texts = view.timeline(self._chat.model, self._height)
        self._row_count = 1 + sum(text == "\n" for _, text in texts)
        return _texts(texts)

    def _end(self) -> Point:
        return Point(0, self._row_count - 1)

    def _accept(self, buffer: Buffer) -> bool:
        if not self._chat.type(buffer.text):
            self.application.exit()
        return False  # the line is emptied

    def _bindings(self) -> KeyBindings:
        bindings = KeyBindings()
        model = self._chat.model

        @bindings.add("c-c")
        @bindings.add("c-d", filter=Condition(lambda: not self._typed.text))
        def _(event: KeyPressEvent) -> None:
            event.app.exit()

        @bindings.add("c-n")
        def _(event: KeyPressEvent) -> None:
            model.turn(1)

        @bindings.add("c-p")
        def _(event: KeyPressEvent) -> None:
            model.turn(-1)

        @bindings.add("pageup")
        def _(event: KeyPressEvent) -> None:
            self._scroll(1)

        @bindings.add("pagedown")
        def _(event: KeyPressEvent) -> None:
            self._scroll(-1)

        return bindings

    def _scroll(self, pages: int) -> None:
        if room := self._chat.model.room:
            room.scroll_by(pages * max(1, self._height - 1))


class NoticeHandler(logging.Handler):
    """Shows what is logged as notices: on the screen it would be in the way."""

    def __init__(self, chat: Chat) -> None:
        super().__init__(logging.WARNING)
        self._chat = chat
        self._loop = asyncio.get_running_loop()

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record, whichever thread it comes from."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._show, record.getMessage())

    def _show(self, text: str) -> None:
        self._chat.model.notice(text)
        self._chat.changed()


async def chat_in_terminal(chat: Chat) -> int:
    """Chat until the user has enough; return the exit code, 1 if something could not be sent."""
    handler = NoticeHandler(chat)
    logging.getLogger().addHandler(handler)
    chat.model.notice(KEYS)
    try:
        await Screen(chat).run()
    finally:
        logging.getLogger().removeHandler(handler)
    return await end(chat)


def _texts(texts: view.Texts) -> StyleAndTextTuples:
    return list(texts)
