"""What all tests share."""

import signal
from pathlib import Path

import pytest

from mosaik_actors.testing.settings import read_test_trace, read_time_factor


@pytest.fixture(autouse=True)
def runtime_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the nodes of a test from meeting any others on this machine."""
    monkeypatch.setenv("MOSAIK_RUNTIME_DIR", str(tmp_path))
    return tmp_path


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Heed TIME_FACTOR (each test's time limit) and TEST_TRACE (what is logged).

    What a shell runs in the background ignores SIGINT, and so would all processes that
    tests start, and send SIGINT. Those get its default handler back.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if (factor := read_time_factor()) != 1 and config.getoption("timeout") is None:
        config.option.timeout = float(config.getini("timeout")) * factor
    if level := read_test_trace():
        config.option.log_level = level
