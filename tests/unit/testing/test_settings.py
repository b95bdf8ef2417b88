"""What the environment tells a test run."""

import pytest

from mosaik_actors.errors import ConfigError
from mosaik_actors.testing.settings import read_test_trace, read_time_factor

pytest_plugins = ["pytester"]


@pytest.mark.parametrize(("text", "factor"), [("", 1.0), ("1", 1.0), ("2.5", 2.5), ("0.1", 0.1)])
def test_time_factor_is_a_number(text: str, factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIME_FACTOR", text)
    assert read_time_factor() == factor


def test_without_settings_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIME_FACTOR", raising=False)
    monkeypatch.delenv("TEST_TRACE", raising=False)
    assert (read_time_factor(), read_test_trace()) == (1.0, None)


@pytest.mark.parametrize("text", ["x", "0", "-1", "nan", "inf"])
def test_time_factor_that_cannot_be_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIME_FACTOR", text)
    with pytest.raises(ConfigError, match=f"TIME_FACTOR is '{text}'"):
        read_time_factor()


def test_test_trace_is_a_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_TRACE", "Debug")
    assert read_test_trace() == "DEBUG"
    monkeypatch.setenv("TEST_TRACE", "loud")
    with pytest.raises(ConfigError, match="TEST_TRACE is 'loud', expected one of debug, info"):
        read_test_trace()


def test_a_run_heeds_both(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIME_FACTOR", "3")
    monkeypatch.setenv("TEST_TRACE", "debug")
    pytester.makeini("[pytest]\ntimeout = 20\n")
    pytester.makeconftest("from tests.conftest import pytest_configure")
    pytester.makepyfile(
        """
        import logging

        def test_it(pytestconfig):
            logging.getLogger("mosaik_actors.anything").debug("details")
            assert pytestconfig.getoption("timeout") == 60
            assert False, "so that the log is shown"
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:asyncio", "-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    out = result.stdout.str()
    assert "so that the log is shown" in out
    assert "details" in out
