"""What a test run is told by the environment.

    TIME_FACTOR   what timeouts on real time are multiplied by; 1 without it
    TEST_TRACE    the level that is logged during tests, such as "debug"

Simulated time is not affected by either.
"""

from __future__ import annotations

import os

from ..errors import ConfigError

LEVELS = ("debug", "info", "warning", "error")


def read_time_factor() -> float:
    """Return TIME_FACTOR, for slow machines. Raises ConfigError."""
    text = os.environ.get("TIME_FACTOR") or "1"
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 0 < factor < 1e6:
        raise ConfigError(f"TIME_FACTOR is {text!r}, expected a number above 0")
    return factor


def read_test_trace() -> str | None:
    """Return TEST_TRACE as the name of a level, None without it. Raises ConfigError."""
    text = os.environ.get("TEST_TRACE", "")
    if text and text.lower() not in LEVELS:
        raise ConfigError(f"TEST_TRACE is {text!r}, expected one of {', '.join(LEVELS)}")
    return text.upper() or None
