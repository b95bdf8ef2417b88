"""The settings of a collection, and declarations that are checked when they are made."""

from datetime import timedelta
from typing import Any

import pytest

from mosaik_actors import (
    Cell,
    CollectionConfig,
    ConfigError,
    Map,
    MapReader,
    PriorityQueue,
    SnapshotSync,
    Vec,
    collection,
)
from mosaik_actors.collections.config import CollectionSettings, combine
from mosaik_actors.handles.collections.declarations import (
    CollectionDeclaration,
    ReaderDeclaration,
    WriterDeclaration,
)


def test_settings_go_before_the_configuration() -> None:
    config = CollectionConfig(write_timeout=timedelta(seconds=3), changes_backlog=5)  # type: ignore[arg-type]
    assert config.write_timeout == 3.0
    combined = combine(config, {"changes_backlog": 7})
    assert (combined.write_timeout, combined.changes_backlog) == (3.0, 7)
    assert combine(None, {}) == CollectionConfig()
    assert isinstance(CollectionConfig().sync, SnapshotSync)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"write_timeout": 0}, "write_timeout is 0"),
        ({"changes_backlog": 0}, "changes_backlog is 0"),
        ({"secret": ""}, "secret is empty"),
        ({"secret": b""}, "secret is empty"),
        ({"secret": 7}, "secret is of type int, expected str or bytes"),
        ({"secret": "half \ud800"}, "secret has characters that UTF-8 cannot encode"),
        ({"no_such": 1}, "a collection has no setting 'no_such'; it has sync, consensus"),
    ],
)
def test_wrong_settings_are_named(settings: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        combine(None, settings)


def test_settings_can_all_be_given_as_keywords() -> None:
    assert list(CollectionSettings.__annotations__) == list(CollectionConfig.__dataclass_fields__)


def test_a_secret_is_not_shown() -> None:
    config = CollectionConfig(secret="swordfish")
    assert "swordfish" not in repr(config)
    assert "swordfish" not in repr(collection(Map[str, int], "counts", secret="swordfish"))
    for wrong in (["swordfish"], bytearray(b"swordfish"), "swordfish\udfff"):
        with pytest.raises(ConfigError) as caught:
            combine(None, {"secret": wrong})  # type: ignore[typeddict-item]
        assert "swordfish" not in str(caught.value)
        assert caught.value.__context__ is None


def test_a_declaration_is_checked_when_it_is_made() -> None:
    with pytest.raises(ConfigError, match="secret is empty"):
        collection(Map[str, int], "counts", secret="")
    with pytest.raises(ConfigError, match="no setting 'storrage'"):
        collection(Map[str, int], "counts", storrage=None)
    with pytest.raises(ConfigError, match="no setting 'capacity'"):
        collection(Map[str, int], "counts", capacity=3)
    with pytest.raises(ConfigError, match="no collection with its types"):
        collection(Map, "counts")
    assert collection(PriorityQueue[int, str, int], "jobs", capacity=3).settings == {"capacity": 3}


def test_an_empty_store_id_is_refused() -> None:
    nowhere: Any = None
    for open_one in (Map[str, int].writer, Map[str, int].reader):
        with pytest.raises(ConfigError, match="the store id is empty"):
            open_one(nowhere, "")
    with pytest.raises(ConfigError, match="the store id is empty"):
        collection(Map[str, int], "")


def test_a_declaration_has_the_sides_it_is_asked_for() -> None:
    both = collection(Map[str, int], "counts", changes_backlog=9)
    assert isinstance(both, CollectionDeclaration)
    reading, writing = both.as_reader(), both.as_writer()
    assert type(reading) is ReaderDeclaration
    assert type(writing) is WriterDeclaration
    assert not hasattr(reading, "writer")
    assert not hasattr(writing, "reader")
    assert type(collection.reader_only(Vec[int], "v")) is ReaderDeclaration
    assert type(collection.writer_only(Vec[int], "v")) is WriterDeclaration
    assert reading.settings == writing.settings == {"changes_backlog": 9}
    assert repr(both) == "CollectionDeclaration(Map[str, int], 'counts')"


def test_types_are_there_at_run_time() -> None:
    assert Map[str, int].types == (str, int)
    assert Map[str, int] is Map[str, int]
    assert Map[str, int].__name__ == "Map[str, int]"
    assert issubclass(Map[str, int], Map)
    assert Cell[int | None].types == (int | None,)
    assert Vec[tuple[int, str]].types == (tuple[int, str],)
    # Unions are equal in any order, but their names are not, and names make ids.
    assert Cell[int | str].types[0].__args__ == (int, str)
    assert Cell[str | int].types[0].__args__ == (str, int)


def test_types_must_be_as_many_as_are_wanted() -> None:
    wrong: Any = Map
    with pytest.raises(TypeError, match="Map has 2 types, got 1"):
        wrong[str]
    with pytest.raises(TypeError, match=r"Map without types: write Map\[str, int\]"):
        Map.writer(None, "counts")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not a generic class"):
        wrong[str, int][str, int]


def test_readers_have_no_way_to_write() -> None:
    writing = {name for name in dir(Map) if not name.startswith("_")} - set(dir(MapReader))
    assert writing == {
        "clear", "compare_exchange", "extend", "force_new_group", "insert", "new", "reader",
        "remove", "writer",
    }  # fmt: skip
