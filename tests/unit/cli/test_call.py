"""What `mosaik-actors call` sends."""

import pytest

from mosaik_actors import Request
from mosaik_actors.cli.call import make_message
from mosaik_actors.errors import ConfigError

HERE = "tests.unit.cli.test_call"


class Load(Request[int]):
    queue: str = "all"


def test_a_class_with_its_fields() -> None:
    assert make_message(f"{HERE}:Load", '{"queue": "eu"}') == Load(queue="eu")
    assert make_message(f"{HERE}:Load", None) == Load()


@pytest.mark.parametrize(
    ("text", "value"), [('"a:b"', "a:b"), ("3", 3), ('{"a:b": 1}', {"a:b": 1})]
)
def test_a_plain_value(text: str, value: object) -> None:
    assert make_message(text, None) == value


@pytest.mark.parametrize(
    ("text", "fields", "said"),
    [
        (f"{HERE}:Load", '{"queue": 3}', "Expected `str`"),
        (f"{HERE}:Gone", None, "has no Gone"),
        ("no_such_module:A", None, "No module named"),
        ("3", "{}", "there are fields"),
        ("not json", None, "malformed.*; expected JSON, such as .*, or module:Class"),
    ],
)
def test_what_is_no_message_is_refused(text: str, fields: str | None, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_message(text, fields)
