"""Which stream a type's items are of, and whether a consumer can read what a producer writes."""

from __future__ import annotations

from typing import Any, Final

from ..ids import StreamId
from ..schema import UNTYPED, Schema, check_compatible, check_sendable, describe, type_name

NAME_CHARACTERS_MAX: Final = 256


def stream_id_of(type_: Any) -> StreamId:
    """Return the id of a stream of `type_` that was not given another one."""
    return StreamId(type_name(type_))


def identify(type_: Any, stream_id: StreamId | str | None) -> tuple[StreamId, str]:
    """Return a stream's id and the name behind it.

    Args:
        type_: What its items are.
        stream_id: The stream, or its name; None for the type's own.
    """
    if stream_id is None:
        return stream_id_of(type_), type_name(type_)[:NAME_CHARACTERS_MAX]
    if isinstance(stream_id, str):
        return StreamId(stream_id), stream_id[:NAME_CHARACTERS_MAX]
    return StreamId(stream_id), type_name(type_)[:NAME_CHARACTERS_MAX]


def describe_items(type_: Any) -> Schema:
    """Return the schema of a type. For anything else a `TypeError` says what is expected."""
    try:
        schema = describe(type_)
        check_sendable(type_)
        return schema
    except TypeError as exc:
        hint = f"; a stream is given a name with stream_id={type_!r}" if type(type_) is str else ""
        raise TypeError(
            f"items cannot be {type_!r}, expected their type: a msgspec.Struct, a dataclass, or "
            f"another type that travels, such as int or dict[str, float]{hint} ({exc})"
        ) from exc


def check_readable(here: Schema, there: Schema) -> None:
    """Raise `SchemaMismatch` unless a consumer of `there` can read what is written as `here`."""
    if there != UNTYPED:  # that takes whatever comes, as inspection tools do
        check_compatible(here, there)
