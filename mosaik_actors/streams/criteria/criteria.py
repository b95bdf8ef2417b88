"""Criteria: which items of a stream a consumer wants, as data that a producer can judge.

    where(Price.symbol == "ETH/USDC") & (Price.qty > 10)          # Price is a Record
    where(lambda price: (price.symbol == "ETH/USDC") & (price.qty > 10))
    where(Price).symbol.in_(["ETH/USDC", "BTC/USDC"])

All three make the same `Criteria`: a small tree of comparisons. Python gives
``Price.symbol`` of a plain struct or dataclass to nobody else to interpret, so
the first form needs a class that derives from `Record`; the other two work with
every type, also with items that are no records (``where(lambda n: n > 5)``).

A tree travels in the header of a subscription as nested MessagePack lists, and
is bounded in bytes, nodes and depth. `bind` checks it against a type and
returns it with the names and values that travel; `compile_criteria` makes a function
of it out of closures (see `binding` and `judges`), whose cost is bounded. Nothing from
the wire is executed: operators come from a fixed table, names must be fields of
the producer's type.

What a comparison means: it holds or it does not. A field that is not there (the
optional record around it is None, another member of a union) and values that
cannot be compared make it not hold; its negation then holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, get_origin, overload

import msgspec

from ...errors import ConfigError, DecodeError, RemoteError
from ...ids import id_as_bytes
from ...wire_encoding import check_objects
from .judges import (
    JOINTS,
    NEGATION,
    ORDER,
    Node,
)

CRITERIA_BYTES_MAX: Final = 8 * 1024
NODES_MAX: Final = 256
DEPTH_MAX: Final = 16
VALUES_MAX: Final = 256
PATH_STEPS_MAX: Final = 16
NESTING_MAX: Final = 2 * DEPTH_MAX  # of lists: those of nodes, and of the values in them

_OPERATORS: Final = ("==", "!=", *ORDER, "in", "contains", "startswith", "none")


class CriteriaError(ConfigError):
    """Criteria that do not fit the type of the items; `field` is the one they fail at."""

    def __init__(self, text: str, field: str = "") -> None:
        super().__init__(text)
        self.args = (text, field)
        self.field = field

    def __str__(self) -> str:
        return str(self.args[0])


class Criteria:
    """Which items are wanted. Combine with ``&``, ``|`` and ``~``; made by `where`."""

    __slots__ = ("node",)

    def __init__(self, node: Node) -> None:
        self.node = node

    def __and__(self, other: Criteria | Field | int) -> Criteria:
        return _joined("&", self, other)

    def __rand__(self, other: Criteria | Field | int) -> Criteria:
        return _joined("&", _as_criteria(other), self)

    def __or__(self, other: Criteria | Field | int) -> Criteria:
        return _joined("|", self, other)

    def __ror__(self, other: Criteria | Field | int) -> Criteria:
        return _joined("|", _as_criteria(other), self)

    def __invert__(self) -> Criteria:
        return Criteria((NEGATION, self.node))

    def __bool__(self) -> bool:
        raise TypeError("criteria are combined with &, | and ~, not with and, or, not")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Criteria) and self.node == other.node

    def __hash__(self) -> int:
        return hash(self.node)

    def __repr__(self) -> str:
        return f"where({_readable(self.node)})"


class Field:
    """A field of the items, or a field of a field; comparing it makes `Criteria`.

    A field that has the name of a method here is reached by ``field["in_"]``,
    and so are the values of a dictionary.
    """

    __slots__ = ("_path",)

    def __init__(self, path: tuple[str, ...] = ()) -> None:
        self._path = path

    def __getattr__(self, name: str) -> Field:
        if name.startswith("__"):
            raise AttributeError(name)
        return Field((*self._path, name))

    def __getitem__(self, name: str) -> Field:
        if not isinstance(name, str):
            raise TypeError(f"a field is named by a text, got {name!r}")
        return Field((*self._path, name))

    def __eq__(self, other: object) -> Criteria:  # type: ignore[override]
        return self._compared("==", other)

    def __ne__(self, other: object) -> Criteria:  # type: ignore[override]
        return self._compared("!=", other)

    def __lt__(self, other: Any) -> Criteria:
        return self._compared("<", other)

    def __le__(self, other: Any) -> Criteria:
        return self._compared("<=", other)

    def __gt__(self, other: Any) -> Criteria:
        return self._compared(">", other)

    def __ge__(self, other: Any) -> Criteria:
        return self._compared(">=", other)

    __hash__ = None  # type: ignore[assignment]

    def in_(self, values: Iterable[Any]) -> Criteria:
        """Return whether it is one of these values."""
        return self._compared("in", list(values))

    def contains(self, value: Any) -> Criteria:
        """Return whether the text, list, set or dictionary has `value` in it.

        Looks at the first 4,096 characters of a text and 512 elements of a list; where
        there are several in one set of criteria, they share these equally.
        """
        return self._compared("contains", value)

    def startswith(self, value: str | bytes) -> Criteria:
        """Return whether the text begins with `value`."""
        return self._compared("startswith", value)

    def is_none(self) -> Criteria:
        """Return whether it is None, or not there at all."""
        return Criteria(("none", self._path, None))

    def __and__(self, other: Criteria | Field | int) -> Criteria:
        return _as_criteria(self) & other

    def __or__(self, other: Criteria | Field | int) -> Criteria:
        return _as_criteria(self) | other

    def __invert__(self) -> Criteria:
        return ~_as_criteria(self)

    def __bool__(self) -> bool:
        raise TypeError("a field has no truth of its own here: compare it, and use &, | and ~")

    def __repr__(self) -> str:
        return ".".join(("item", *self._path))

    def _compared(self, op: str, value: Any) -> Criteria:
        if isinstance(value, Field):
            raise TypeError("a field is compared with a value, not with another field")
        return Criteria((op, self._path, _travelling(value)))


class RecordMeta(msgspec.StructMeta):
    """The class of `Record` classes: their fields, looked up on the class, make criteria.

    Instances are not touched: reading a field of one costs what it always did.
    """

    def __getattribute__(cls, name: str) -> Any:  # noqa: N805  # of classes
        if not name.startswith("_") and name in type.__getattribute__(cls, "__struct_fields__"):
            return Field((name,))
        return super().__getattribute__(name)


if TYPE_CHECKING:
    # To a type checker a Record is a Struct, so that ``frozen=True`` and its like are understood.
    Record = msgspec.Struct
else:

    class Record(msgspec.Struct, metaclass=RecordMeta):
        """A `msgspec.Struct` whose fields can be named on the class: ``where(Price.qty > 10)``."""


# A type checker sees the fields of a Record as what they are in an instance, and so a
# comparison as a bool, and the negation of one as an int.
@overload
def where(target: type) -> Field: ...  # type: ignore[overload-overlap]  # not called as one
@overload
def where(target: Criteria | Field | int) -> Criteria: ...
@overload
def where(target: Callable[[Any], Any]) -> Criteria: ...
def where(target: Any) -> Any:
    """Return criteria.

    Args:
        target: Criteria (``Price.qty > 10``, where ``Price`` is a `Record`); or a
            function that gets a stand-in for the item and returns criteria; or a
            type, and then the result has its fields as attributes.

    Raises:
        TypeError: It is none of these. A plain class's ``Price.symbol == "x"`` is
            simply False, which is said here.
    """
    if isinstance(target, type) or get_origin(target) is not None:
        return Field()
    if callable(target) and not isinstance(target, Criteria | Field):
        return _as_criteria(target(Field()))
    return _as_criteria(target)


def encode_criteria(criteria: Criteria) -> bytes:
    """Return criteria as they travel. Raises `CriteriaError` if there are too many."""
    check_size(criteria.node)
    data = msgspec.msgpack.encode(criteria.node)
    if len(data) > CRITERIA_BYTES_MAX:
        raise CriteriaError(f"criteria of {len(data)} bytes, at most {CRITERIA_BYTES_MAX}")
    try:
        check_objects(data, objects_max=CRITERIA_BYTES_MAX, depth_max=NESTING_MAX)
    except DecodeError as exc:
        raise CriteriaError(f"criteria of {exc}") from exc
    return data


def decode_criteria(data: bytes) -> Criteria:
    """Return the criteria that a peer sent. Raises `RemoteError` if they are none."""
    if len(data) > CRITERIA_BYTES_MAX:
        raise RemoteError(f"criteria of {len(data)} bytes, at most {CRITERIA_BYTES_MAX}")
    try:
        check_objects(data, objects_max=CRITERIA_BYTES_MAX, depth_max=NESTING_MAX)
        node = _checked(msgspec.msgpack.decode(data), depth=1)
        check_size(node)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise RemoteError(f"not criteria: {exc}") from exc
    return Criteria(node)


def _joined(joint: str, one: Criteria, other: Criteria | Field | int) -> Criteria:
    nodes: list[Any] = []
    for node in (one.node, _as_criteria(other).node):
        nodes += node[1:] if node[0] == joint else [node]
    return Criteria((joint, *nodes))


def _as_criteria(value: Any) -> Criteria:
    if isinstance(value, Criteria):
        return value
    if isinstance(value, Field):
        return value._compared("==", True)
    if isinstance(value, bool):
        raise TypeError(
            f"a comparison gave {value} instead of criteria: the class is a plain one. Derive it "
            'from mosaik_actors.Record, or write where(lambda item: item.symbol == "x")'
        )
    raise TypeError(f"expected criteria, got {type(value).__name__}")


def _travelling(value: Any) -> Any:
    """Return a value in the form in which it travels, as a hashable one."""
    try:
        plain = msgspec.to_builtins(value, builtin_types=(bytes,), enc_hook=id_as_bytes)
        msgspec.msgpack.encode(plain)
    except (TypeError, ValueError, OverflowError, RecursionError) as exc:
        raise CriteriaError(f"{value!r} cannot be compared with: {exc}") from exc
    return _frozen(plain)


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        raise CriteriaError("a field cannot be compared with a record or a dictionary")
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple | set) else value


def _checked(node: Any, depth: int) -> Node:
    """Return a node from the wire, or raise ValueError."""
    if not isinstance(node, list) or len(node) < 2 or depth > DEPTH_MAX:
        raise ValueError("a node is no list, too short, or nested too deep")
    head = node[0]
    if head in JOINTS:
        return (head, *(_checked(one, depth + 1) for one in node[1:]))
    if head == NEGATION and len(node) == 2:
        return (head, _checked(node[1], depth + 1))
    if head not in _OPERATORS or len(node) != 3 or not isinstance(node[1], list):
        raise ValueError(f"unknown operator {str(head)[:20]!r}")
    if not all(isinstance(step, str) for step in node[1]):
        raise ValueError("a path is made of texts")
    try:
        return (head, tuple(node[1]), _frozen(node[2]))
    except CriteriaError as exc:
        raise ValueError(str(exc)) from exc


def check_size(node: Node, depth: int = 1) -> int:
    """Return how many nodes there are. Raises `CriteriaError` if too many or too deep."""
    if depth > DEPTH_MAX:
        raise CriteriaError(f"criteria nested deeper than {DEPTH_MAX}")
    if node[0] in JOINTS or node[0] == NEGATION:
        count = 1 + sum(check_size(one, depth + 1) for one in node[1:])
    else:
        count = 1
        if len(node[1]) > PATH_STEPS_MAX:
            raise CriteriaError(f"a path of {len(node[1])} steps, at most {PATH_STEPS_MAX}")
        if isinstance(node[2], tuple) and len(node[2]) > VALUES_MAX:
            raise CriteriaError(f"a list of {len(node[2])} values, at most {VALUES_MAX}")
    if count > NODES_MAX:
        raise CriteriaError(f"criteria of more than {NODES_MAX} comparisons")
    return count


def _readable(node: Node) -> str:
    head = node[0]
    if head in JOINTS:
        return f" {head} ".join(f"({_readable(one)})" for one in node[1:])
    if head == NEGATION:
        return f"~({_readable(node[1])})"
    name = ".".join(("item", *node[1]))
    return f"{name} is None" if head == "none" else f"{name} {head} {node[2]!r}"
