"""The types that a machine is generic in, and that its group takes over from it.

Each has a default (PEP 696), so a machine or group that is named without types takes and
gives anything. Python knows such defaults from 3.13 on and type checkers before: for them
the variables below have one, and `Typed` fills in at run time what is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args, get_origin

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    C = TypeVar("C", default=Any)
    Q = TypeVar("Q", default=Any)
    A = TypeVar("A", default=Any)
    R = TypeVar("R", default=Any)
else:
    from typing import TypeVar

    C = TypeVar("C")
    Q = TypeVar("Q")
    A = TypeVar("A")
    R = TypeVar("R")

TYPE_NAMES = ("Command", "Query", "Answer", "Result")


class Typed:
    """What is generic in these four types, and may be named with the first few of them."""

    def __class_getitem__(cls, types: Any) -> Any:
        given = types if isinstance(types, tuple) else (types,)
        given += getattr(cls, "__parameters__", ())[len(given) :]
        return super().__class_getitem__(given)  # type: ignore[misc]  # it is `Generic`'s


def types_of(cls: type, base: type) -> dict[str, Any]:
    """Return the types, by name, that a class gives a generic base in its head."""
    for one in cls.__dict__.get("__orig_bases__", ()):
        if get_origin(one) is base:
            named = zip(TYPE_NAMES, get_args(one), strict=False)
            types = {name: type_ for name, type_ in named if not isinstance(type_, TypeVar)}
            return {name: None if type_ is type(None) else type_ for name, type_ in types.items()}
    return {}
