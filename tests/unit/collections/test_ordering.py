"""Which types can be priorities, and which values."""

import enum
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

import msgspec
import pytest

from mosaik_actors import PeerId, UniqueId
from mosaik_actors.collections.ordering import order_of
from mosaik_actors.errors import ConfigError

NAN = float("nan")


class Level(enum.IntEnum):
    LOW = 1


class Colour(enum.Enum):
    RED = "red"


class Price(msgspec.Struct, frozen=True, order=True):
    units: int


class Unordered(msgspec.Struct, frozen=True):
    units: int


class WithinItself(msgspec.Struct, frozen=True, order=True):
    inner: "tuple[WithinItself, ...]" = ()


@dataclass(frozen=True, order=True)
class Fee:
    rate: float
    units: int


@dataclass(frozen=True)
class UnorderedFee:
    rate: float


class Pair(NamedTuple):
    one: int
    other: float


@pytest.mark.parametrize(
    "type_",
    [
        int,
        bool,
        str,
        bytes,
        date,
        timedelta,
        UUID,
        PeerId,
        UniqueId,
        Level,
        Price,
        int | bool,
        tuple[int, str],
        tuple[int, ...],
        Literal[1, 2],
        Annotated[int, msgspec.Meta(ge=0)],
    ],
)
def test_every_value_of_these_has_a_place(type_: Any) -> None:
    assert order_of(type_) is None


@pytest.mark.parametrize(
    ("type_", "good", "bad"),
    [
        (float, float("inf"), NAN),
        (int | float, 1, NAN),
        (Decimal, Decimal(1), Decimal("NaN")),
        (Decimal, Decimal("-Infinity"), Decimal("sNaN")),
        (datetime, datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 1)),
        (time, time(1, tzinfo=UTC), time(1)),
        (
            Annotated[datetime, msgspec.Meta(tz=False)],
            datetime(2020, 1, 1),
            datetime(2020, 1, 1, tzinfo=UTC),
        ),
        (tuple[int, float], (1, 1.0), (1, NAN)),
        (tuple[float, ...], (1.0, 1.0), (1.0, NAN)),
        (Fee, Fee(1.0, 1), Fee(NAN, 1)),
        (Pair, Pair(1, 1.0), Pair(1, NAN)),
    ],
)
def test_some_values_of_these_have_no_place(type_: Any, good: Any, bad: Any) -> None:
    has_place = order_of(type_)
    assert has_place is not None
    assert has_place(good)
    assert not has_place(bad)


@pytest.mark.parametrize(
    "type_",
    [
        object,
        Any,
        complex,
        None,
        int | None,
        int | str,
        list[int],
        dict[str, int],
        set[int],
        tuple,
        tuple[int, Any],
        Literal[1, "a"],
        Colour,
        Unordered,
        UnorderedFee,
        WithinItself,
    ],
)
def test_types_whose_values_need_not_compare_are_refused(type_: Any) -> None:
    with pytest.raises(ConfigError, match="cannot be a priority"):
        order_of(type_)
