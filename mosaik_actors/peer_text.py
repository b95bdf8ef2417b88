"""Text that a peer has written, made fit to be shown.

Names, tags, close reasons and error texts come from peers and end in logs and on
terminals. There a line break forges a line, an escape sequence moves the cursor or
sets the clipboard, and a mark of direction shows words in another order.
"""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return `text` with an escape such as ``\x1b`` for each character that is not shown.

    What is shown as it is, is what `str.isprintable` says: no control characters of
    either range, line separators, marks of direction, or halves of surrogate pairs.
    A text that has been through here comes back as it is.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escape(ord(one)) for one in text)


def json_printable(text: str) -> str:
    """Return JSON `text`, which has no line breaks, with JSON's own escapes in the same places."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escape_json(one) for one in text)


def _escape(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _escape_json(character: str) -> str:
    units = character.encode("utf-16-be", errors="surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
