"""What a forked child must not keep: the node is its parent's alone.

A process pool forks the process that a node runs in. Each child then has every
descriptor too: it keeps the node's port and its locks after the parent has
closed them; and what it does with them, by mistake or when its garbage is
collected, reaches the parent's peers, and the loop that the parent waits on,
as both processes share what the descriptors stand for.

So in a child all of them lead nowhere: each number is made one of the null
device, which closes the child's copy and no more. The objects that own them are
as they were, and whatever the child does with them fails, or does nothing. In
particular, closing does not say farewell to peers, does not unlock or remove
files, and does not unregister anything from the parent's selector.

Signals that the parent's loop handles would reach the parent: they do in a
child what they do in any new process.

Owners are held weakly, and asked for their descriptors when a fork happens. Not
on systems without fork. Log files look after themselves (`groups.sqlite`):
SQLite must not be used across a fork in any way.
"""

from __future__ import annotations

import os
import signal
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")

_owners: WeakKeyDictionary[Any, Callable[[Any], Iterable[int]]] = WeakKeyDictionary()


def keep_from_children(owner: T, list_descriptors: Callable[[T], Iterable[int]]) -> None:
    """Let no forked child have what `owner` has open.

    Args:
        owner: What owns the descriptors; it is not kept alive by this.
        list_descriptors: Returns those it has open at the moment; negative ones
            are none. It must not hold `owner`.
    """
    _owners[owner] = list_descriptors


def keep_loop_from_children(loop: AbstractEventLoop) -> None:
    """Let no forked child have the selector of an event loop, nor what wakes it up."""
    keep_from_children(loop, _list_of_loop)


def _list_of_loop(loop: AbstractEventLoop) -> Iterator[int]:
    if loop.is_closed():
        return
    # Not every loop has all of these, and not every selector is a file.
    for name in ("_selector", "_ssock", "_csock"):
        with suppress(AttributeError):
            yield getattr(loop, name).fileno()


def _leave_to_parent() -> None:
    """In a child, right after the fork."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        for owner, list_descriptors in list(_owners.items()):
            for descriptor in list_descriptors(owner):
                if descriptor >= 0:
                    with suppress(OSError):
                        os.dup2(null, descriptor, inheritable=False)
            if isinstance(owner, AbstractEventLoop):
                _restore_signals(owner)
    finally:
        os.close(null)
    _owners.clear()


def _restore_signals(loop: AbstractEventLoop) -> None:
    for number in getattr(loop, "_signal_handlers", ()):
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        with suppress(ValueError, OSError):
            signal.signal(number, usual)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
