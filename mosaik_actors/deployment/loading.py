"""Configurations of deployments by name or from files, and what differs between two of them.

``module:CONFIG`` imports a module, which runs it: it is for names that a person typed. A file
(TOML or JSON) is data only; it is read as the class of the configuration it is compared
with, or else as the fields it has. Bytes are written in base64 there.
"""

from __future__ import annotations

import importlib
import sys
import tomllib
from pathlib import Path
from typing import Any, Final, NamedTuple, get_type_hints

import msgspec

from ..errors import ConfigError
from ..ids import UniqueId
from ..peer_text import printable
from .config import DeploymentConfig, Inputs, split_inputs
from .service import Deployment

SHOWN_CHARACTERS_MAX: Final = 80


class Loaded(NamedTuple):
    """A configuration and what its identity is made of."""

    config: DeploymentConfig
    inputs: Inputs

    def differences(self, other: Loaded) -> list[str]:
        """Return a line for each input that differs: its name, and what each side has."""
        mine, theirs = self.inputs.flat(), other.inputs.flat()
        names = sorted(key for key in {**mine, **theirs} if mine.get(key) != theirs.get(key))
        return [f"{key}: {self._show(key)} | {other._show(key)}" for key in names]

    def _show(self, name: str) -> str:
        encoded = self.inputs.flat().get(name)
        if encoded is None:
            return "(nothing)"
        if hasattr(self.config, name):
            text = repr(getattr(self.config, name))
            if len(text) <= SHOWN_CHARACTERS_MAX:
                return printable(text)
        return f"#{UniqueId.from_parts(encoded).short}"


def load(source: str) -> Loaded:
    """Return the configuration that a name or a file stands for.

    Raises:
        ConfigError: There is none; says why.
    """
    if _is_file(source):
        return _from_file(source, None)
    return _from_module(source)


def load_both(one: str, other: str) -> tuple[Loaded, Loaded]:
    """Return two configurations; a file is read as the class of the other one."""
    if _is_file(one) == _is_file(other):
        return load(one), load(other)
    if _is_file(one):
        named = load(other)
        return _from_file(one, named), named
    named = load(one)
    return named, _from_file(other, named)


def _is_file(source: str) -> bool:
    return source.endswith((".toml", ".json"))


def _from_module(source: str) -> Loaded:
    module_name, colon, names = source.partition(":")
    if not colon or not names:
        raise ConfigError(f"{source!r} is no configuration: expected MODULE:NAME or a file")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ImportError as exc:
        raise ConfigError(f"{module_name} cannot be imported: {exc}") from exc
    found = []
    for name in names.split("@"):
        if not hasattr(module, name):
            raise ConfigError(f"{module_name} has no {name}")
        found.append(getattr(module, name))
    *services, config = found
    if not isinstance(config, DeploymentConfig):
        raise ConfigError(f"{source} is a {type(config).__name__}, expected a DeploymentConfig")
    if not services:
        return Loaded(config, split_inputs(config))
    service: Any = services[0]
    if not isinstance(service, type) or not issubclass(service, Deployment):
        raise ConfigError(f"{names.split('@')[0]} is no Deployment")
    return Loaded(config, service.inputs(config))


def _from_file(source: str, other: Loaded | None) -> Loaded:
    try:
        text = Path(source).read_text("utf-8")
        given = tomllib.loads(text) if source.endswith(".toml") else msgspec.json.decode(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.DecodeError) as exc:
        raise ConfigError(f"{source} cannot be read: {exc}") from exc
    if not isinstance(given, dict):
        raise ConfigError(f"{source} holds no fields")
    kind = DeploymentConfig if other is None else type(other.config)
    config = _convert(source, given, kind)
    if other is None:
        return Loaded(config, split_inputs(config))
    inputs = split_inputs(config)
    # The public parts are those of the code that the file is compared with.
    surface = {key: one for key, one in other.inputs.content.items() if key.startswith("surface.")}
    content = {**inputs.content, **surface}
    acl = {**other.inputs.acl, "acl": inputs.acl["acl"]}
    intent = {**other.inputs.intent, "name": inputs.intent["name"]}
    return Loaded(config, Inputs(intent, content, acl))


def _convert(source: str, given: dict[str, Any], kind: type[DeploymentConfig]) -> DeploymentConfig:
    known = kind.__dataclass_fields__
    unknown = [name for name in given if name not in known]
    if unknown:
        raise ConfigError(f"{source}: {kind.__name__} has no field {', '.join(unknown)}")
    if "acl" in given:
        raise ConfigError(f"{source}: acl is code, it cannot be in a file")
    hints = get_type_hints(kind)
    values = {}
    for name, value in given.items():
        try:
            values[name] = msgspec.convert(value, hints[name], strict=True)
        except msgspec.ValidationError as exc:
            raise ConfigError(f"{source}: {name}: {exc}") from exc
    try:
        return kind(**values)
    except TypeError as exc:
        raise ConfigError(f"{source}: {exc}") from exc
