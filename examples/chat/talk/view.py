"""How the model looks: styled texts, for whatever draws them. Pure, and nothing of a terminal."""

from __future__ import annotations

from .messages import NICK_MAX, line_time, printable
from .model import Model, Row

Texts = list[tuple[str, str]]
"""Styles, each with the text that has it."""

STYLES = {
    "tab": "fg:ansibrightblack",
    "tab.current": "bold reverse",
    "tab.unread": "bold",
    "time": "fg:ansibrightblack",
    "notice": "fg:ansibrightblack italic",
    "pending": "fg:ansibrightblack",
    "mark": "fg:ansigreen",
    "title": "bold",
    "status": "reverse",
    "problem": "fg:ansired reverse",
    **{
        f"nick{number}": f"bold fg:ansi{color}"
        for number, color in enumerate(("cyan", "magenta", "yellow", "green", "blue", "red"))
    },
}
_NICK_STYLES = 6


def tabs(model: Model) -> Texts:
    """Return the rooms, each with its lines that were not looked at."""
    texts: Texts = []
    for name, room in model.rooms.items():
        if name == model.current:
            style = "class:tab.current"
        else:
            style = "class:tab.unread" if room.unread else "class:tab"
        unread = f" ({room.unread})" if room.unread else ""
        texts += [(style, f" {name}{unread} "), ("", " ")]
    return texts


def timeline(model: Model, height: int) -> Texts:
    """Return what is drawn of the room that is looked at: so many rows, the newest last."""
    room = model.room
    if room is None:
        return [("class:notice", "you are in no room: /join one")]
    texts: Texts = []
    for row in room.rows(height):
        texts += [*_row(row), ("", "\n")]
    return texts[:-1]


def _row(row: Row) -> Texts:
    if row.line is None:
        return [("class:notice", f"      * {printable(row.text)}")]
    style = "" if row.is_sent else "class:pending"
    mark = ("class:mark", "✓ ") if row.is_sent else ("class:pending", "… ")
    nick = printable(row.line.nick, NICK_MAX)
    nick_style = f"class:nick{sum(nick.encode()) % _NICK_STYLES}"
    return [
        ("class:time", f"{line_time(row.line)} "),
        mark,
        (nick_style, nick),
        (style, f" {printable(row.text)}"),
    ]


def people(model: Model) -> Texts:
    """Return who is in the room that is looked at, one in a row."""
    if model.room is None:
        return []
    nicks = model.people_in(model.current)
    return [("class:title", f"{len(nicks)} here\n"), ("", "\n".join(nicks))]


def status(model: Model) -> Texts:
    """Return how things stand: what is pending and why, and what is below."""
    room = model.room
    parts = [f" {model.nick}"]
    if room is not None and not room.is_open:
        parts.append("joining")
    if model.pending_count:
        parts.append(f"{model.pending_count} pending")
    if room is not None and room.scroll:
        parts.append(f"{room.scroll} rows below")
    texts = [("class:status", " · ".join(parts) + " ")]
    if room is not None and room.problem:
        texts.append(("class:problem", f" {printable(room.problem)} "))
    return texts
