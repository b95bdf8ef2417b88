"""Where settings come from: flags before environment variables before the file.

A value that is wrong is reported with where it was written: the flag, the variable, or the
line of the file. The standard library's TOML reader does not keep lines. `line_of` finds one
with that reader itself: it reads the first lines of the file, then one more, until what
was read has the value. So it knows every way of writing TOML, and is only used for errors
and for ``--print-config``.

A core: texts and mappings in, settings out.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from ..errors import ConfigError
from .settings import FIELDS, LaunchSettings, SettingField

Path = tuple[str | int, ...]

_SECRET_HINT: Final = (
    "the secret itself does not belong in a file of settings or a command line; "
    "name a file with secret_file, or a variable with secret_env"
)
_STEP: Final = re.compile(r"\.(\w+)|\[(\d+)\]")
_WHERE: Final = re.compile(r" - at `(?:key in )?\$([^`]*)`$")
_UNKNOWN: Final = re.compile(r"unknown field `(\w+)`")


@dataclass(frozen=True, slots=True)
class SettingsSource:
    """The file that settings come from.

    Attributes:
        name: What it is called in errors; empty for none.
        text: What is in it.
    """

    name: str = ""
    text: str = ""


class Origins:
    """Which setting was written where."""

    def __init__(self, source: SettingsSource) -> None:
        self._source = source
        self._given: dict[Path, str] = {}

    def note(self, path: Path, where: str) -> None:
        """Note that a setting was given by a flag or a variable."""
        self._given[path] = where

    def of(self, path: Path) -> str:
        """Return where a setting was written; empty for a default."""
        for length in range(len(path), 0, -1):
            where = self._given.get(path[:length])
            if where is not None:
                return where
        if not self._source.name or not path:
            return ""
        line = line_of(self._source.text, path)
        return "" if line is None else f"{self._source.name}:{line}"

    def error(self, path: Path, text: str) -> ConfigError:
        """Return the error to raise for a setting."""
        where = self.of(path)
        for length in range(len(path) - 1, 0, -1):
            where = where or self.of(path[:length])
        shown = _shown(path)
        text = text.removeprefix(f"{shown}: ")
        where = where or self._source.name
        return ConfigError(": ".join(part for part in (where, shown, text) if part))


def load(
    source: SettingsSource,
    environment: Mapping[str, str],
    flags: Mapping[tuple[str, ...], str | Sequence[str]],
    target: Mapping[str, Any] | None = None,
) -> tuple[LaunchSettings, Origins]:
    """Return the settings, and where each was written.

    Args:
        source: The file.
        environment: The environment variables.
        flags: What was given as flags, by the path of the field; several for lists.
        target: One actor's table that was given beside all that.

    Raises:
        ConfigError: A setting is wrong; says which, where it is, and what was expected.
    """
    origins = Origins(source)
    values = _read_toml(source)
    for field in FIELDS:
        text = environment.get(field.variable)
        if text:
            origins.note(field.path, field.variable)
            _put(values, field.path, _read_variable(field, text))
    for field in FIELDS:
        given = flags.get(field.path)
        if given is not None:
            origins.note(field.path, field.flag)
            _put(values, field.path, _read_flag(field, given))
    if target is not None:
        values["actors"] = [*values.get("actors", ()), target]
    for field in FIELDS:
        one = values.get(field.path[0])
        if field.shape == "texts" and isinstance(one, str):
            values[field.path[0]] = [one]
    if "secret" in values:
        raise origins.error(("secret",), _SECRET_HINT)
    try:
        settings = msgspec.convert(values, LaunchSettings)
    except msgspec.ValidationError as exc:
        raise _located(exc, origins) from exc
    _check_relations(settings, origins)
    return settings, origins


def line_of(text: str, path: Path) -> int | None:
    """Return the line on which a value of a TOML file begins, from 1; None when it is not there."""
    lines = text.splitlines()
    whole_lines = 0
    for count in range(1, len(lines) + 1):
        try:
            values = tomllib.loads("\n".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            continue  # in the midst of a value that takes several lines
        if _has(values, path):
            return whole_lines + 1
        whole_lines = count
    return None


def render(settings: LaunchSettings, origins: Origins) -> str:
    """Return settings as TOML, each line with where it was written."""
    values = msgspec.to_builtins(settings)
    tables = {key: values.pop(key) for key in list(values) if isinstance(values[key], dict)}
    lines = [_line(key, value, origins.of((key,))) for key, value in values.items()]
    for name, table in tables.items():
        lines += ["", f"[{name}]"]
        lines += [_line(key, value, origins.of((name, key))) for key, value in table.items()]
    return "\n".join(lines) + "\n"


def read_value(text: str) -> Any:
    """Return a value written as in TOML; a text that is no such value is itself."""
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text


def _read_toml(source: SettingsSource) -> dict[str, Any]:
    try:
        return tomllib.loads(source.text)
    except tomllib.TOMLDecodeError as exc:
        text = str(exc)
        found = re.search(r" \(at line (\d+), column \d+\)$", text)
        where = source.name if found is None else f"{source.name}:{found[1]}"
        raise ConfigError(f"{where}: {text if found is None else text[: found.start()]}") from exc


def _read_variable(field: SettingField, text: str) -> Any:
    if field.shape == "texts":
        return [part.strip() for part in text.split(",") if part.strip()]
    return _read_one(field, text)


def _read_flag(field: SettingField, given: str | Sequence[str]) -> Any:
    if isinstance(given, str):
        return _read_one(field, given)
    if field.shape == "texts":
        return list(given)
    tables: list[Any] = []
    for text in given:
        value = read_value(text)
        tables += value if isinstance(value, list) else [value]
    return tables


def _read_one(field: SettingField, text: str) -> Any:
    if field.shape == "text":
        return text
    if field.shape == "bool":
        return {"1": True, "yes": True, "0": False, "no": False}.get(text, read_value(text))
    return read_value(text)


def _put(values: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        inner = values.get(key)
        values[key] = inner = dict(inner) if isinstance(inner, dict) else {}
        values = inner
    values[path[-1]] = value


def _has(values: Any, path: Path) -> bool:
    for step in path:
        try:
            values = values[step]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def _located(exc: msgspec.ValidationError, origins: Origins) -> ConfigError:
    text = str(exc)
    path: Path = ()
    found = _WHERE.search(text)
    if found is not None:
        text = text[: found.start()]
        path = tuple(key or int(index) for key, index in _STEP.findall(found[1]))
    if path == () and "required field `network`" in text:
        text = "network is missing: name it in the file, or with --network"
    unknown = _UNKNOWN.search(text)
    if unknown is not None:
        path, text = (*path, unknown[1]), "there is no such setting"
    return origins.error(path, text[:1].lower() + text[1:])


def _check_relations(settings: LaunchSettings, origins: Origins) -> None:
    if settings.secret_file and settings.secret_env:
        raise origins.error(("secret_env",), "secret_file is given, too; expected one of them")
    names = [process.name for process in settings.processes]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise origins.error(("processes", index, "name"), f"{name!r} is there already")
    if settings.processes and settings.nodes > 1:
        raise origins.error(("nodes",), "processes are given, too; say count in each of them")
    for index, actor in enumerate(settings.actors):
        if actor.name and actor.count > 1:
            text = "an actor with a name is the only one of it; for several, name a pool in serves"
            raise origins.error(("actors", index, "count"), text)
    for area in ("actors", "streams", "collections"):
        for index, one in enumerate(getattr(settings, area)):
            if one.process and one.process not in names:
                listed = ", ".join(names) or "none"
                text = f"there is no process {one.process!r}; there are: {listed}"
                raise origins.error((area, index, "process"), text)
    folders = [one.storage for one in settings.processes] or [""]
    for index, one in enumerate(settings.collections):
        if one.durable and not settings.storage and not all(folders):
            raise origins.error(("collections", index, "durable"), "expected a folder in storage")


def _shown(path: Path) -> str:
    parts = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return "".join(parts).removeprefix(".")


def _line(key: str, value: Any, where: str) -> str:
    return f"{key} = {_as_toml(value)}" + (f"  # {where}" if where else "")


def _as_toml(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(key)} = {_as_toml(one)}" for key, one in value.items())
        return f"{{{inner}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_as_toml, value))}]"
    # What JSON escapes, TOML's basic strings escape alike.
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool) else str(value)
