"""Checks that the configuration classes of all subsystems share."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from .errors import ConfigError


def seconds(value: float | timedelta) -> float:
    """Return a duration in seconds, given in seconds or as a `timedelta`."""
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def as_seconds(config: object, *names: str) -> None:
    """Turn the fields `names` of a frozen configuration, given as `timedelta`, into seconds."""
    for name in names:
        object.__setattr__(config, name, seconds(getattr(config, name)))


def refuse_tickets(require_ticket: object) -> None:
    """Raise `ConfigError` unless there is nothing in `require_ticket`, where nobody checks any.

    To ignore them would let everybody in.
    """
    if not isinstance(require_ticket, Iterable) or any(True for _ in require_ticket):
        raise ConfigError(
            "require_ticket is given, but tickets of actors are not checked yet; expected nothing "
            "in it. `require`, and what the network requires, is what keeps others out"
        )


def require_above(name: str, value: float, limit: float = 0) -> None:
    """Raise `ConfigError` unless `value` is more than `limit`."""
    if not value > limit:
        raise ConfigError(f"{name} is {value}, expected more than {limit}")


def require_between(name: str, value: float, low: float, high: float) -> None:
    """Raise `ConfigError` unless `value` is from `low` to `high`, both included."""
    if not low <= value <= high:
        raise ConfigError(f"{name} is {value}, expected {low} to {high}")
