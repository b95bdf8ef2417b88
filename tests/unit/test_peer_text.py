"""What peers write is shown without steering a terminal or forging a line."""

import json

import pytest

from mosaik_actors.errors import DecodeError, RemoteError
from mosaik_actors.peer_text import json_printable, printable
from mosaik_actors.transport.frames import clip_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, also ü and 日本", "plain text, also ü and 日本"),
        ("a\nforged line", r"a\x0aforged line"),
        ("\x1b]52;c;aGk=\x07", r"\x1b]52;c;aGk=\x07"),
        ("\x9b31m", r"\x9b31m"),  # the same as ESC [, in one character
        ("abc\u202edcba", r"abc\u202edcba"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\ud800", r"\ud800"),
        ("\U000e0001", r"\U000e0001"),
        ("", ""),
    ],
)
def test_what_is_not_shown_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


def test_json_keeps_its_meaning() -> None:
    text = 'quote " ü \x1b \x9b \u202e \U000e0001'
    line = json.dumps(text, ensure_ascii=False)
    assert json_printable(line).isprintable()
    assert json.loads(json_printable(line)) == text


def test_errors_and_close_reasons_are_escaped() -> None:
    assert str(RemoteError("no \x1b[2J")) == r"no \x1b[2J"
    assert str(DecodeError("no \nfield")) == r"no \x0afield"
    assert "\x1b" not in repr(RemoteError("no \x1b[2J"))
    assert clip_text("busy\r\n\x9b2J") == r"busy\x0d\x0a\x9b2J"
    assert len(clip_text("\x1b" * 300).encode()) <= 256
