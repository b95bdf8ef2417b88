"""Checks that the configuration classes of all subsystems share."""

from __future__ import annotations

from datetime import timedelta

from .errors import ConfigError


def seconds(value: float | timedelta) -> float:
    """Return a duration in seconds, given in seconds or as a `timedelta`."""
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def as_seconds(config: object, *names: str) -> None:
    """Turn the fields `names` of a frozen configuration, given as `timedelta`, into seconds."""
    for name in names:
        object.__setattr__(config, name, seconds(getattr(config, name)))


def require_above(name: str, value: float, limit: float = 0) -> None:
    """Raise `ConfigError` unless `value` is more than `limit`."""
    if not value > limit:
        raise ConfigError(f"{name} is {value}, expected more than {limit}")


def require_between(name: str, value: float, low: float, high: float) -> None:
    """Raise `ConfigError` unless `value` is from `low` to `high`, both included."""
    if not low <= value <= high:
        raise ConfigError(f"{name} is {value}, expected {low} to {high}")
