"""A type dispatcher that looks a handler up once per message class.

`TypeDispatcher` keeps the rules of Thespian's `ActorTypeDispatcher`: a message
goes to ``receiveMsg_<ClassName>`` of its class or the nearest base class, a
handler that returns `SUPER` passes it on, and what nobody takes goes to
``receiveUnrecognizedMessage`` if there is one. Thespian walks both class
hierarchies for every message; here the walk is done once and remembered.

One difference: a handler that is merely inherited is called once, where
Thespian's walk may call it again for each class that inherits it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

from thespian.actors import ActorAddress, ActorSystemMessage, ActorTypeDispatcher

logger = logging.getLogger(__name__)

_Handler = Callable[[Any, Any, ActorAddress], Any]


class TypeDispatcher(ActorTypeDispatcher):
    """The base class for actors with one handler per message class.

    Handlers may be coroutines. The class of a message is matched by name, so
    names of message classes must be unique in a program.
    """

    _handlers: ClassVar[dict[type, tuple[_Handler, ...]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._handlers = {}

    def receiveMessage(self, message: Any, sender: ActorAddress, /) -> Any:
        """Pass a message to the handler for its class."""
        try:
            handlers = self._handlers[message.__class__]
        except KeyError:
            handlers = self._find_handlers(message.__class__)
        for index, handler in enumerate(handlers):
            result = handler(self, message, sender)
            if result is None:
                return None
            if asyncio.iscoroutine(result):
                rest = handlers[index + 1 :]
                return self._finish(result, rest, message, sender) if rest else result
            if result != self.SUPER:
                return result
        return None

    async def _finish(
        self,
        running: Coroutine[Any, Any, Any],
        rest: tuple[_Handler, ...],
        message: Any,
        sender: ActorAddress,
    ) -> Any:
        result = await running
        for handler in rest:
            if result != self.SUPER:
                break
            result = handler(self, message, sender)
            if asyncio.iscoroutine(result):
                result = await result
        return result

    @classmethod
    def _find_handlers(cls, message_class: type) -> tuple[_Handler, ...]:
        found: list[_Handler] = []
        for base in message_class.__mro__:
            name = f"receiveMsg_{base.__name__}"
            for owner in cls.__mro__:
                handler = owner.__dict__.get(name)
                if handler is not None and handler not in found:
                    found.append(handler)
        unrecognized = getattr(cls, "receiveUnrecognizedMessage", None)
        if unrecognized is not None:
            found.append(unrecognized)
        elif not found and not issubclass(message_class, ActorSystemMessage):
            # Once per class, since the outcome is remembered.
            logger.warning("%s has no handler for %s", cls.__name__, message_class.__name__)
        cls._handlers[message_class] = tuple(found)
        return cls._handlers[message_class]
