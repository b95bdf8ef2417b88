"""Classes named by text: ``package.module:Class``, and the built-in types by their names."""

from __future__ import annotations

import importlib
from typing import Any, Final

from ..errors import ConfigError

TYPES: Final[dict[str, type]] = {kind.__name__: kind for kind in (str, int, float, bool, bytes)}


def load_class(text: str) -> Any:
    """Return the class that ``package.module:Class`` names. Raises `ConfigError`."""
    module_name, _, names = text.partition(":")
    if not names:
        raise ConfigError(f"{text!r} is neither a type nor module:Type")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        raise ConfigError(f"{exc}; modules are looked for beside the file and here") from exc
    for name in names.split("."):
        if not hasattr(found, name):
            raise ConfigError(f"{module_name} has no {names}")
        found = getattr(found, name)
    if not isinstance(found, type):
        raise ConfigError(f"{text} is a {type(found).__name__}, not a class")
    return found


def load_type(text: str) -> Any:
    """Return a built-in type, or a class as `load_class` does. Raises `ConfigError`."""
    return TYPES.get(text) or load_class(text)
