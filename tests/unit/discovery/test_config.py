"""The settings of discovery, and what is wrong with some of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        ({"announce_peers": 0}, "announce_peers is 0"),
        ({"passive_max": 0}, "passive_max is 0"),
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


def test_a_small_network_announces_at_the_configured_interval() -> None:
    assert DiscoveryConfig().plan_announcements(50) == (15, 7.5)


def test_a_large_network_announces_less_often_so_that_each_node_hears_about_the_same() -> None:
    config = DiscoveryConfig()
    rates = {count: count / config.plan_announcements(count)[0] for count in (50, 100, 400, 1000)}
    assert rates[100] == pytest.approx(rates[50])
    assert rates[400] == pytest.approx(rates[50])
    assert rates[1000] <= 1.8 * rates[50]


@given(
    st.floats(0.01, 100),
    st.floats(0, 1),
    st.floats(1.01, 100),
    st.integers(1, 500),
    st.integers(0, 20_000),
)
def test_whoever_lives_announces_itself_in_time(
    interval_s: float, jitter: float, factor: float, peers: int, count: int
) -> None:
    longest_s = interval_s * (1 + jitter)
    config = DiscoveryConfig(
        announce_interval=interval_s,
        announce_jitter=jitter,
        announce_peers=peers,
        purge_after=longest_s * factor,
    )
    planned_s, spread_s = config.plan_announcements(count)
    assert planned_s >= interval_s
    assert 0 <= spread_s <= planned_s
    assert planned_s + spread_s <= max(longest_s, config.purge_after * 0.6) * (1 + 1e-9)
