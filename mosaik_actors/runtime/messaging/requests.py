"""Requests: messages that say what they are answered with.

    class Load(Request[int]):
        queue: str

    load = await ref.ask(Load("orders"))        # an int, for mypy too

    class Rows(Request[Row]):
        table: str

    async for row in ref.stream(Rows("users")):  # each a Row
        ...

A `MosaikActor` answers with what its handler returns, or yields. Any other actor, or one
whose handler returns None, answers by sending to the sender.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar, dataclass_transform, get_args, get_origin

import msgspec

R = TypeVar("R", covariant=True)

if TYPE_CHECKING:
    from msgspec import StructMeta as _StructMeta
else:
    _StructMeta = type(msgspec.Struct)  # the name is newer than what is required


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class _FrozenMeta(_StructMeta):
    """Makes a request frozen without saying so."""

    def __new__(
        mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any
    ) -> Any:
        options.setdefault("frozen", True)
        return super().__new__(mcls, name, bases, namespace, **options)


class Request(msgspec.Struct, Generic[R], metaclass=_FrozenMeta):
    """The base of messages that are answered with an `R`. A `msgspec.Struct`, and frozen."""


@lru_cache(maxsize=1024)
def answer_type(request: type) -> Any:
    """Return what a class of requests is answered with; ``Any`` where it does not say."""
    for owner in request.__mro__:
        for base in getattr(owner, "__orig_bases__", ()):
            origin = get_origin(base)
            if isinstance(origin, type) and issubclass(origin, Request):
                found = get_args(base)[0]
                return Any if isinstance(found, TypeVar) else found
    return Any
