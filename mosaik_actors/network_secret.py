"""The secrets of a network: where they come from, and which are refused.

A secret is text or bytes. Text is taken without the space around it, and 64
hexadecimal digits, as ``mosaik-actors secret new`` makes them, are decoded, so that
text and bytes of one secret are the same. Text, a file and the environment may hold
several, one per line; all are accepted, for a change of secret without a pause.

A secret that is shorter than `SECRET_BYTES_MIN` bytes is refused: who is dialled gets
something to compare guesses with, on his own machine and as fast as that is
(`mosaik_actors.transport.admission`). No message repeats what was read. A file has
to be this user's alone, as one with a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .ids import UniqueId
from .key_file import read_private_file
from .transport.admission import SECRETS_MAX

VARIABLE = "MOSAIK_SECRET"
SECRET_BYTES_MIN = 16
SECRET_BYTES_MAX = 1024

_HEX_DIGITS = re.compile(r"[0-9a-fA-F]{64}")
_ADVICE = "`mosaik-actors secret new` makes one"

SecretSource = str | bytes | Path


def generate_secret() -> str:
    """Return a new secret: 64 hexadecimal digits, from the system's entropy."""
    return UniqueId.random().hex


def load_secrets(
    given: SecretSource | Iterable[SecretSource] | None, environment: Mapping[str, str]
) -> tuple[bytes, ...]:
    """Return the secrets that were given, each once, in order; none for a network without.

    Args:
        given: Text, bytes, a file's `Path`, or several of these. None: what the
            environment says.
        environment: Where `VARIABLE` is looked for when `given` is None.

    Raises:
        ConfigError: There is one that is too short or too long, too many, none where
            some were promised, or a file that is not there or not this user's alone.
    """
    if given is None:
        if VARIABLE not in environment:
            return ()
        # Empty is not the same as absent: a script that failed must not open the network.
        secrets = _from_text(environment[VARIABLE], VARIABLE)
    elif isinstance(given, str | bytes | Path):
        secrets = _from_source(given)
    else:
        secrets = [secret for one in _as_list(given) for secret in _from_source(one)]
    kept = tuple(dict.fromkeys(secrets))
    if not 1 <= len(kept) <= SECRETS_MAX:
        raise ConfigError(f"secret has {len(kept)} secrets, expected 1 to {SECRETS_MAX}")
    return kept


def _as_list(given: Any) -> list[Any]:
    if not isinstance(given, Iterable):
        raise ConfigError(
            f"secret is a {type(given).__name__}, expected text, bytes, a Path, or several of them"
        )
    return list(given)


def _from_source(source: Any) -> list[bytes]:
    match source:
        case str():
            return _from_text(source, "secret")
        case bytes():
            return [_check_length(source, "secret")]
        case Path():
            return _from_file(source)
    raise ConfigError(f"secret has a {type(source).__name__} in it, expected text, bytes or a Path")


def _from_file(path: Path) -> list[bytes]:
    content = read_private_file(path, "secret")
    if content is None:
        raise ConfigError(f"there is no secret file {path}; {_ADVICE}")
    try:
        text = content.decode("utf-8-sig")  # editors begin a file with a mark that nobody sees
    except UnicodeDecodeError:
        raise ConfigError(f"the secret file {path} is not text; {_ADVICE}") from None
    return _from_text(text, f"the secret file {path}")


def _from_text(text: str, source: str) -> list[bytes]:
    lines = [line.strip() for line in text.splitlines()]
    secrets = [_check_length(_decode(line, source), source) for line in lines if line]
    if not secrets:
        raise ConfigError(f"{source} is empty, expected a secret; {_ADVICE}")
    return secrets


def _decode(line: str, source: str) -> bytes:
    if _HEX_DIGITS.fullmatch(line):
        return bytes.fromhex(line)
    try:
        return line.encode()
    except UnicodeEncodeError:  # bytes in the environment that are not UTF-8; it has the secret
        raise ConfigError(f"{source} is not text; {_ADVICE}") from None


def _check_length(secret: bytes, source: str) -> bytes:
    if SECRET_BYTES_MIN <= len(secret) <= SECRET_BYTES_MAX:
        return secret
    raise ConfigError(
        f"{source}: a secret of {len(secret)} bytes, expected {SECRET_BYTES_MIN} to "
        f"{SECRET_BYTES_MAX}, since a short one can be guessed; {_ADVICE}"
    )
