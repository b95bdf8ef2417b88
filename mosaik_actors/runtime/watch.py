"""Watches: file descriptors that an actor wants to hear about.

Thespian's rule (user guide, "Watching File Descriptors"): the watch that a
handler returns holds until the next call of the actor. So a WatchMessage that
is already in the mailbox when another message replaces the watch is stale, and
is dropped: a descriptor that is still readable reports again.

Descriptors that are closed or invalid are ignored, as the guide says. Regular
files, which an event loop cannot wait for, are always ready.

Any number of actors may watch one descriptor, also those of several actor systems
on one loop: a loop has room for one reader of a descriptor, so all share it. A
descriptor that a transport of asyncio reads is not to be had, which is an error
of the handler that asks for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from weakref import WeakKeyDictionary

from thespian.actors import WatchMessage

_Watchers = dict[int, dict["LoopWatch", None]]

_watchers: WeakKeyDictionary[asyncio.AbstractEventLoop, _Watchers] = WeakKeyDictionary()


class LoopWatch:
    """One returned ThespianWatch, from its return to the next call of the actor.

    All descriptors that are ready in the same turn of the loop are reported
    in one WatchMessage, in the order in which the actor listed them.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        descriptors: Iterable[int],
        report: Callable[[WatchMessage], None],
    ) -> None:
        self.message: WatchMessage | None = None
        self._loop = loop
        self._report = report
        self._descriptors = list(dict.fromkeys(descriptors))
        self._watched: dict[int, None] = {}
        self._ready: dict[int, None] = {}
        self._watchers = _watchers.setdefault(loop, {})
        try:
            for descriptor in self._descriptors:
                self._add(descriptor)
        except RuntimeError:  # a transport reads it
            self.close()
            raise

    def _add(self, descriptor: int) -> None:
        try:
            if descriptor in self._watchers:
                # By now the number may be that of another file.
                with suppress(OSError):
                    self._loop.remove_reader(descriptor)
            self._loop.add_reader(descriptor, _on_readable, self._watchers, descriptor)
        except PermissionError:
            self._on_ready(descriptor)  # a regular file: epoll refuses it, select reports it
        except (OSError, ValueError, TypeError):
            return
        else:
            self._watched[descriptor] = None
            self._watchers.setdefault(descriptor, {})[self] = None

    def _on_ready(self, descriptor: int) -> None:
        if not self._ready:
            self._loop.call_soon(self._flush)
        self._ready[descriptor] = None
        if descriptor in self._watched:
            self._forget(descriptor)

    def _flush(self) -> None:
        if not self._ready:
            return  # closed in between
        ready = [descriptor for descriptor in self._descriptors if descriptor in self._ready]
        self.close()
        self.message = WatchMessage(ready)
        self._report(self.message)

    def _forget(self, descriptor: int) -> None:
        del self._watched[descriptor]
        others = self._watchers[descriptor]
        del others[self]
        if others:
            return
        del self._watchers[descriptor]
        with suppress(OSError, ValueError):  # closed by the actor in the meantime
            self._loop.remove_reader(descriptor)

    def close(self) -> None:
        """Stop watching. May be repeated."""
        self._ready.clear()
        for descriptor in list(self._watched):
            self._forget(descriptor)


def _on_readable(watchers: _Watchers, descriptor: int) -> None:
    for watch in list(watchers[descriptor]):
        watch._on_ready(descriptor)
