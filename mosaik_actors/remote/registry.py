"""Which types of messages an actor takes from other nodes, and how they travel.

Nothing has to be declared twice: an actor takes the types that the first parameters of its
``receiveMsg_`` handlers are annotated with. So it can be said on arrival, before anything
is built, that it has no handler for a type. An actor without typed handlers takes plain
values only: numbers, texts, bytes, lists, mappings and the like.

On the wire a record is called by module and qualified name (``__main__`` is left out), and
plain values by an empty name. A reference in a field annotated `ActorRef`, or Thespian's
`ActorAddress`, arrives as a reference to the same actor.
"""

from __future__ import annotations

import inspect
import logging
import types
from collections.abc import Callable
from typing import Any, Union, get_args, get_origin, get_type_hints
from weakref import WeakKeyDictionary

from thespian.actors import ActorAddress, ActorSystemMessage

from ..codec import Codec, EncodeError, TypedCodec, UntypedCodec
from ..errors import DecodeError
from ..ids import id_as_bytes, id_from_bytes
from ..runtime.messaging.address import LocalAddress
from ..runtime.messaging.notices import Notice
from ..schema import type_name
from .wire import TYPE_MAX

logger = logging.getLogger(__name__)

PLAIN = ""
_PLAIN_TYPES = (int, float, str, bytes, bool, type(None), list, dict, tuple, set, frozenset)
_HANDLER = "receiveMsg_"

Types = dict[str, Any]

_types_of: WeakKeyDictionary[type, Types] = WeakKeyDictionary()


def handled_types(actor_class: type) -> Types:
    """Return the types of messages that an actor's handlers name, by their names on the wire."""
    known = _types_of.get(actor_class)
    if known is None:
        known = _types_of[actor_class] = _find_types(actor_class)
    return known


def _find_types(actor_class: type) -> Types:
    found: Types = {}
    for name in dir(actor_class):
        if not name.startswith(_HANDLER):
            continue
        handler = inspect.unwrap(getattr(actor_class, name))
        annotated = _annotation(handler)
        if isinstance(annotated, str):  # a name that only type checkers know, or a local one
            logger.warning(
                "%s.%s: no %s can come from other nodes: its class is not found in %s",
                *(actor_class.__name__, name, annotated, handler.__module__),
            )
            continue
        for type_ in _members(annotated):
            if _can_travel(type_):
                found[wire_name(type_)] = type_
    return found


def _annotation(handler: Any) -> Any:
    """Return what the message of a handler is annotated with; its text if that means nothing."""
    parameters = list(inspect.signature(handler).parameters.values())
    if len(parameters) < 2 or parameters[1].annotation is inspect.Parameter.empty:
        return None
    annotated = parameters[1].annotation
    if not isinstance(annotated, str):
        return annotated
    try:
        return get_type_hints(_only_parameter(annotated), handler.__globals__)["message"]
    except Exception:
        return annotated


def _only_parameter(annotation: str) -> Any:
    def annotated() -> None: ...

    annotated.__annotations__ = {"message": annotation}
    return annotated


def _members(annotated: Any) -> tuple[Any, ...]:
    if get_origin(annotated) in (Union, types.UnionType):
        return get_args(annotated)
    return () if annotated is None else (annotated,)


def _can_travel(type_: Any) -> bool:
    if not isinstance(type_, type) or type_ in _PLAIN_TYPES or type_ is object:
        return False
    return not issubclass(type_, ActorSystemMessage | Notice | ActorAddress)


def wire_name(type_: Any) -> str:
    """Return what a type is called on the wire."""
    return type_name(type_)


def is_plain(kind: type) -> bool:
    """Return whether values of a class travel without a type."""
    return kind in _PLAIN_TYPES


def takes_plain(actor_class: type, kind: type) -> bool:
    """Return whether an actor takes plain values of a class."""
    if any(name.startswith(_HANDLER) for name in dir(actor_class)):
        bases = (base.__name__ for base in kind.__mro__)
        named = any(hasattr(actor_class, _HANDLER + base) for base in bases)
        return named or hasattr(actor_class, "receiveUnrecognizedMessage")
    return True


class Codecs:
    """The codecs of one node's messages, which know its references.

    Args:
        encode_ref: Makes bytes of a reference.
        decode_ref: Makes a reference of those.
    """

    def __init__(
        self,
        encode_ref: Callable[[LocalAddress], bytes],
        decode_ref: Callable[[object], ActorAddress],
    ) -> None:
        self._encode_ref = encode_ref
        self._decode_ref = decode_ref
        self._codecs: dict[Any, Codec[Any]] = {}
        self._names: dict[type, tuple[str, Codec[Any]]] = {}
        self.plain: Codec[Any] = UntypedCodec()

    def of_class(self, kind: type) -> tuple[str, Codec[Any]]:
        """Return the name and the codec of a message's class. Raises `EncodeError`."""
        found = self._names.get(kind)
        if found is None:
            found = (PLAIN, self.plain) if is_plain(kind) else (wire_name(kind), self.of_type(kind))
            if len(found[0]) > TYPE_MAX:
                raise EncodeError(kind, f"the name {found[0][:50]}... is longer than {TYPE_MAX}")
            self._names[kind] = found
        return found

    def of_type(self, type_: Any) -> Codec[Any]:
        """Return the codec of a type. Raises `EncodeError` if values of it cannot travel."""
        codec = self._codecs.get(type_)
        if codec is None:
            if type_ is Any or type_ is object:
                codec = self.plain
            else:
                try:
                    codec = TypedCodec(type_, custom=(self._encode_custom, self._decode_custom))
                except TypeError as error:
                    raise EncodeError(
                        type_, f"{type_name(type_)} cannot travel: {error}"
                    ) from error
            self._codecs[type_] = codec
        return codec

    def _encode_custom(self, value: Any) -> bytes:
        return self._encode_ref(value) if isinstance(value, LocalAddress) else id_as_bytes(value)

    def _decode_custom(self, type_: type, value: Any) -> Any:
        if issubclass(type_, ActorAddress):
            found = self._decode_ref(value)
            if not isinstance(found, type_):
                raise DecodeError(f"expected {type_.__name__}")
            return found
        return value if type_ is object else id_from_bytes(type_, value)
