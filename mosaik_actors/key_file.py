"""Files for their owner alone: a node's secret key, 64 hexadecimal digits and a line end.

A network's secret is kept in the same way (`network_secret`).

A file is made whole or not at all: the digits are written to a new file beside
it, synced, and that file is then linked to the name. Linking fails where the
name is taken, so of two processes that make a key at once, one makes it and
the other reads it.

A file is refused, with the reason, when it

    * holds anything but a key: it is empty, torn, or something else;
    * belongs to another user, or can be read or changed by one;
    * is no regular file.

No message repeats what was read: it may be a secret. Files are small and rare,
so the calls block.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from pathlib import Path

from .errors import ConfigError

FILE_BYTES_MAX = 8192
KEY_DIGITS = 64

_HEX_DIGITS = re.compile(r"[0-9a-fA-F]*")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def read_key_file(path: Path) -> str | None:
    """Return the 64 digits in the file; None when there is no such file.

    Raises:
        ConfigError: The file cannot be read, is no key file, or is not this user's alone.
    """
    content = read_private_file(path, "key")
    return None if content is None else parse_key_text(content, source=f"the key file {path}")


def read_private_file(path: Path, what: str) -> bytes | None:
    """Return what is in a file, up to `FILE_BYTES_MAX` bytes; None when there is no such file.

    Args:
        path: The file.
        what: What it holds, for messages: "key" or "secret".

    Raises:
        ConfigError: The file cannot be read, is larger, or is not this user's alone.
    """
    try:
        # Without O_NONBLOCK a FIFO would be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as exc:  # a name with a zero byte in it is a ValueError
        why = exc.strerror if isinstance(exc, OSError) else exc
        raise ConfigError(f"cannot read the {what} file {path}: {why}") from exc
    try:
        _check_owner(path, os.fstat(descriptor), what)
        content = os.read(descriptor, FILE_BYTES_MAX + 1)
    except OSError as exc:
        raise ConfigError(f"cannot read the {what} file {path}: {exc.strerror}") from exc
    finally:
        os.close(descriptor)
    if len(content) > FILE_BYTES_MAX:  # what is cut off would be another secret
        raise ConfigError(
            f"the {what} file {path} has more than {FILE_BYTES_MAX} bytes; it is no {what} file"
        )
    return content


def create_key_file(path: Path, digits: str, what: str = "key") -> bool:
    """Store a key's or a secret's digits under a new name; return False when the name is taken.

    Raises:
        ConfigError: The file cannot be made; says why.
    """
    if not path.parent.is_dir():
        raise ConfigError(
            f"cannot store a {what} in {path}: there is no folder {path.parent}; make it first, "
            "readable by this user alone"
        )
    try:
        descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(digits + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, path)
        except FileExistsError:
            return False
        finally:
            Path(draft).unlink()
        _sync_folder(path.parent)
    except OSError as exc:
        raise ConfigError(f"cannot store a {what} in {path}: {exc.strerror}") from exc
    return True


def parse_key_text(content: bytes, *, source: str) -> str:
    """Return the 64 digits that a key file's content gives.

    Raises:
        ConfigError: It is something else; `source` says in the text where it is from.
    """
    text = content.decode("ascii", errors="replace").strip()
    is_hexadecimal = _HEX_DIGITS.fullmatch(text) is not None
    if is_hexadecimal and len(text) == KEY_DIGITS:
        return text
    if not text:
        found = "is empty"
    elif is_hexadecimal:
        found = f"holds {len(text)} hexadecimal digits"
    else:
        found = "holds something else"
    raise ConfigError(
        f"{source} {found}, expected {KEY_DIGITS} hexadecimal digits; restore it, or "
        "move it away to get a new key, which is another peer"
    )


def _check_owner(path: Path, status: os.stat_result, what: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"the {what} file {path} is no regular file")
    if status.st_uid != os.geteuid():
        raise ConfigError(
            f"the {what} file {path} belongs to user {status.st_uid}, this process is user "
            f"{os.geteuid()}; who owns the file can read the {what}"
        )
    if status.st_mode & _OTHERS:
        mode = stat.S_IMODE(status.st_mode)
        raise ConfigError(
            f"the {what} file {path} has mode {mode:04o}, expected 0600: others could read or "
            f"change the {what}; `chmod 600` it if nobody has"
        )


def _sync_folder(folder: Path) -> None:
    """Make the new name survive a power failure, where folders can be synced."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
