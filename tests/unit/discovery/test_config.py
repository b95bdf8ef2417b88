"""The settings of discovery, and what is wrong with some of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from mosaik_actors.discovery.config import DiscoveryConfig
from mosaik_actors.errors import ConfigError


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"announce_interval": 0}, "announce_interval is 0"),
        ({"announce_jitter": 1.5}, "announce_jitter is 1.5"),
        ({"purge_after": timedelta(seconds=-1)}, "purge_after is -1"),
        ({"purge_after": 20}, "the longest time between two announcements"),
        ({"max_rtt": 0}, "max_rtt is 0"),
        ({"events_backlog": 0}, "events_backlog is 0"),
        ({"neighbours_max": 3}, "at least neighbours_min"),
        ({"links_max": 3}, "at least neighbours_max"),
        ({"retry_max": 0.1}, "at least retry_min"),
        ({"max_time_drift": -1}, "max_time_drift is -1"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        DiscoveryConfig(**settings)


def test_a_timedelta_is_kept_as_seconds() -> None:
    settings: dict[str, Any] = {"purge_after": timedelta(minutes=1), "max_rtt": timedelta(1)}
    config = DiscoveryConfig(**settings)
    assert (config.purge_after, config.max_rtt) == (60.0, 86400.0)


def test_the_defaults_are_those_of_the_public_surface() -> None:
    config = DiscoveryConfig()
    assert (config.announce_interval, config.announce_jitter) == (15, 0.5)
    assert (config.purge_after, config.max_time_drift) == (300, 10)
    assert (config.events_backlog, config.rtt_probe_interval) == (100, 30)
    assert config.max_rtt is None
    assert config.graceful_departure_window == 0.5
