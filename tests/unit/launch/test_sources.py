"""Settings from files, variables and flags, and what is said of those that are wrong."""

import tomllib
from typing import Any

import pytest

from mosaik_actors.cli.run_command import SETTINGS
from mosaik_actors.errors import ConfigError
from mosaik_actors.launch.settings import FIELDS
from mosaik_actors.launch.sources import SettingsSource, line_of, load, render

FILE = """\
# A comment.
network = "shop"
tags = [
    "eu",
    "fast",
]

[logging]
level = "debug"

[[actors]]
class = "shop:Matcher"
args = ["ETH"]

[[actors]]
class = "shop:Teller"
count = 2
"""


def loaded(text: str = FILE, **given: Any) -> Any:
    return load(
        SettingsSource("launch.toml", text), given.get("environment", {}), given.get("flags", {}),
        given.get("target"),
    )  # fmt: skip


def test_every_field_is_a_flag() -> None:
    """The list of flags is by hand, so that the help needs no import of the records."""
    listed = [(".".join(field.path), field.shape) for field in FIELDS]
    assert listed == [(name, shape) for name, shape, _ in SETTINGS]
    assert all(field.help for field in FIELDS)


def test_flags_go_before_variables_before_the_file() -> None:
    environment = {"MOSAIK_TAGS": "us, slow", "MOSAIK_LOGGING_LEVEL": "error", "MOSAIK_MDNS": "1"}
    flags = {("tags",): ["asia"], ("drain_timeout",): "3", ("rendezvous",): "no"}
    settings, origins = loaded(environment=environment, flags=flags)
    assert settings.tags == ("asia",)
    assert settings.logging.level == "error"
    assert settings.mdns
    assert not settings.rendezvous
    assert settings.drain_timeout == 3
    assert [one.count for one in settings.actors] == [1, 2]
    found = [origins.of(path) for path in (("tags",), ("mdns",), ("network",), ("storage",))]
    assert found == ["--tags", "MOSAIK_MDNS", "launch.toml:2", ""]


def test_tables_are_given_as_toml() -> None:
    flags = {("actors",): ['{class = "a:B", kwargs = {n = 1}}', '[{class = "c:D"}]']}
    settings, _ = loaded(flags=flags)
    assert [one.actor_class for one in settings.actors] == ["a:B", "c:D"]
    assert settings.actors[0].kwargs == {"n": 1}


def test_a_target_is_one_more_actor() -> None:
    settings, _ = loaded(target={"class": "a:B", "args": [1]})
    assert [one.actor_class for one in settings.actors][-1] == "a:B"


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("network",), 2),
        (("tags",), 3),
        (("tags", 1), 3),
        (("logging", "level"), 9),
        (("actors", 0), 11),
        (("actors", 0, "args"), 13),
        (("actors", 1, "count"), 17),
        (("actors", 2), None),
        (("bind",), None),
    ],
)
def test_lines(path: tuple[str | int, ...], line: int | None) -> None:
    assert line_of(FILE, path) == line


def test_a_value_of_several_lines_is_found_where_it_begins() -> None:
    assert line_of('a = """\nx = 1\n"""\n\nx = 2', ("x",)) == 5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("count = 2", 'count = "two"'), "launch.toml:17: actors[1].count: expected `int`"),
        (("count = 2", "count = 0"), "launch.toml:17: actors[1].count: expected `int` >= 1"),
        (("count = 2", "conut = 2"), "launch.toml:17: actors[1].conut: there is no such"),
        (('"eu",', "7,"), "launch.toml:3: tags[0]: expected `str`, got `int`"),
        (('level = "debug"', 'level = "loud"'), "launch.toml:9: logging.level: invalid enum"),
        (('"shop:Teller"', '"shop.Teller"'), "launch.toml:16: actors[1].class: expected `str`"),
        (("count = 2", "count = = 2"), "launch.toml:17: Invalid value"),
        (('network = "shop"', ""), "launch.toml: network is missing"),
        (('network = "shop"', 'netwrok = "shop"'), "launch.toml:2: netwrok: there is no such"),
        (
            ('network = "shop"', 'network = "shop"\nsecret = "x"'),
            "launch.toml:3: secret: the secret itself",
        ),
        (
            ("count = 2", 'count = 2\nname = "t"'),
            "launch.toml:17: actors[1].count: an actor with a name",
        ),
        (
            ("count = 2", 'process = "x"'),
            "launch.toml:17: actors[1].process: there is no process 'x'",
        ),
        (
            ("count = 2", '[[collections]]\nname = "m"\nkind = "Map"\ntypes = []\ndurable = true'),
            "launch.toml:21: collections[0].durable: expected a folder in storage",
        ),
        (
            ('network = "shop"', 'network = "shop"\nsecret_file = "a"\nsecret_env = "B"'),
            "launch.toml:4: secret_env: secret_file is given, too",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_line(change: tuple[str, str], said: str) -> None:
    assert change[0] in FILE
    with pytest.raises(ConfigError) as failed:
        loaded(FILE.replace(*change, 1))
    assert str(failed.value).startswith(said)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"environment": {"MOSAIK_NODES": "many"}}, "MOSAIK_NODES: nodes: expected `int`"),
        ({"flags": {("drain_timeout",): "-1"}}, "--drain-timeout: drain_timeout: expected"),
        ({"flags": {("mdns",): "perhaps"}}, "--mdns: mdns: expected `bool`, got `str`"),
        ({"flags": {("actors",): ["{count = 1}"]}}, "--actors: actors[0]: object missing"),
    ],
)
def test_what_is_wrong_outside_the_file_is_said_with_its_name(
    given: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as failed:
        loaded(**given)
    assert str(failed.value).startswith(said)


def test_processes_have_names_of_their_own() -> None:
    with pytest.raises(ConfigError, match=r"launch.toml:5: processes\[1\].name: 'a' is there"):
        loaded('network = "n"\n[[processes]]\nname = "a"\n[[processes]]\nname = "a"')


def test_what_is_printed_can_be_read_again() -> None:
    settings, origins = loaded(flags={("tags",): ['a"b', "ü\n"]})
    text = render(settings, origins)
    assert 'level = "debug"  # launch.toml:9' in text
    again, _ = load(SettingsSource("again.toml", text), {}, {})
    assert again == settings
    assert tomllib.loads(text)["tags"] == ['a"b', "ü\n"]
