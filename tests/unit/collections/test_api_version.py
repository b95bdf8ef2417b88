"""Versions are numbers that know where they were counted; errors carry what was written."""

import pickle

import pytest

from mosaik_actors.collections.commands import Cleared
from mosaik_actors.collections.errors import CollectionOffline, NetworkDown
from mosaik_actors.collections.version import Version
from mosaik_actors.errors import Closed, Offline


def test_a_version_is_the_number_it_is() -> None:
    version = Version(7, b"h", (Cleared(7),))
    assert version == 7
    assert hash(version) == hash(7)
    assert Version(8) > version >= Version(7)
    assert sorted([Version(3), Version(1), Version(2)]) == [1, 2, 3]
    assert (str(version), f"{version}", repr(version)) == ("7", "7", "Version(7)")


@pytest.mark.parametrize(
    ("changes", "took_effect"), [(None, None), ((), False), ((Cleared(1),), True)]
)
def test_a_version_says_whether_its_write_took_effect(
    changes: tuple[Cleared, ...] | None, took_effect: bool | None
) -> None:
    assert Version(1, b"", changes).took_effect is took_effect


def test_a_version_travels_whole() -> None:
    version = pickle.loads(pickle.dumps(Version(7, b"history", (Cleared(7),))))  # noqa: S301
    assert (version, version.history, version.changes) == (7, b"history", (Cleared(7),))


def test_errors_carry_the_write_and_travel() -> None:
    offline = CollectionOffline(("k", 1), "no leader", True)
    assert isinstance(offline, Offline)
    assert "no leader" in str(offline)
    assert "may still take effect" in str(offline)
    assert "did not take effect" in str(CollectionOffline(1, "no leader"))
    copy = pickle.loads(pickle.dumps(offline))  # noqa: S301
    assert (copy.value, copy.reason, copy.may_take_effect) == (("k", 1), "no leader", True)
    down = NetworkDown(("k", 1), "the network handle is closed")
    assert isinstance(down, Closed)
    assert (down.value, str(down)) == (
        ("k", 1),
        "the collection has ended at this node: the network handle is closed",
    )
