"""What all tests share."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def runtime_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the nodes of a test from meeting any others on this machine."""
    monkeypatch.setenv("MOSAIK_RUNTIME_DIR", str(tmp_path))
    return tmp_path
