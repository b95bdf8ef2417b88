from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from mosaik_actors.errors import ConfigError
from mosaik_actors.streams.config import Backoff, StreamsConfig


def test_a_wrong_setting_is_named_with_its_value() -> None:
    with pytest.raises(ConfigError, match="buffer_size is 0"):
        StreamsConfig(buffer_size=0)
    with pytest.raises(ConfigError, match="lag_grace is -1"):
        StreamsConfig(lag_grace=-1)
    with pytest.raises(ConfigError, match=r"backoff max is 0\.01, expected at least 0\.1"):
        Backoff(max=0.01)
    with pytest.raises(ConfigError, match="attempts_max is 0"):
        Backoff(attempts_max=0)


def test_durations_may_be_timedeltas() -> None:
    config = StreamsConfig(lag_grace=timedelta(milliseconds=20))  # type: ignore[arg-type]
    assert config.lag_grace == 0.02
    assert Backoff(max=timedelta(minutes=1)).max == 60  # type: ignore[arg-type]


def test_waits_grow_by_the_factor_up_to_the_maximum() -> None:
    backoff = Backoff(initial=1, factor=2, max=10, jitter=0)
    assert [backoff.delay_s(n, Random(0)) for n in range(1, 7)] == [1, 2, 4, 8, 10, 10]
    assert backoff.delay_s(10**9, Random(0)) == 10  # ends early, however many failures


def test_jitter_stays_within_its_share() -> None:
    backoff = Backoff(initial=1, factor=1, max=1, jitter=0.25)
    rng = Random(7)
    waits = [backoff.delay_s(1, rng) for _ in range(200)]
    assert 0.75 <= min(waits) < 0.8 < 1.2 < max(waits) <= 1.25


def test_attempts_are_limited_only_when_configured() -> None:
    assert not Backoff().is_exhausted(10**6)
    assert not Backoff(attempts_max=3).is_exhausted(2)
    assert Backoff(attempts_max=3).is_exhausted(3)


def test_the_page_shows_the_defaults_of_the_code() -> None:
    page = (Path(__file__).parents[3] / "docs" / "streams.md").read_text()
    for name, default in (
        (field.name, getattr(StreamsConfig(), field.name)) for field in fields(StreamsConfig)
    ):
        shown = "`Backoff()`" if name == "backoff" else str(default)
        assert f"| `{name}` | {shown} |" in page
    assert repr(Backoff()) in page
