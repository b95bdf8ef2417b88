"""Calls of users' plain functions, whose answer must be an answer and no promise of one.

A coroutine function is refused where it is given (`gate.require_sync`). But a
function such as ``lambda peer: ask(peer)`` shows only when it is called that what it
returns has to be awaited. Such an answer counts as true to Python, so ``require``
would let everybody in. Here it is an error that names the function, and the
coroutine is closed, because nobody will ever await it.

Invariant: `call_plain` returns no awaitable.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from inspect import isawaitable
from logging import Logger
from typing import Any
from weakref import WeakSet

from ..errors import ConfigError

_told: WeakSet[Any] = WeakSet()


class AwaitableAnswer(ConfigError):
    """A function that must be plain returned something to await.

    Attributes:
        function: The function.
    """

    def __init__(self, what: str, function: Any, answer: object) -> None:
        code = getattr(function, "__code__", None)
        name = getattr(function, "__qualname__", None) or repr(function)
        place = f" (line {code.co_firstlineno})" if code is not None else ""
        kind = type(answer).__name__
        super().__init__(
            f"{what} {name}{place} returned a {kind}, which has to be awaited; "
            "expected a plain function, its answer counts as no"
        )
        self.function = function


def call_plain(what: str, function: Callable[[Any], Any], argument: object) -> Any:
    """Return what a function says of `argument`.

    Raises:
        AwaitableAnswer: That has to be awaited. A coroutine is closed.
    """
    answer = function(argument)
    if isawaitable(answer):
        if isinstance(answer, Coroutine):
            answer.close()
        raise AwaitableAnswer(what, function, answer)
    return answer


def tell_once(logger: Logger, error: AwaitableAnswer) -> None:
    """Log an error, but not again for the same function."""
    # A bound method is another object each time.
    function = getattr(error.function, "__func__", error.function)
    try:
        if function in _told:
            return
        _told.add(function)
    except TypeError:
        pass  # it cannot be remembered
    logger.error("%s", error)
