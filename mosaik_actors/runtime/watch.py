"""Watches: file descriptors that an actor wants to hear about.

Thespian's rule (user guide, "Watching File Descriptors"): the watch that a
handler returns holds until the next call of the actor. So a WatchMessage that
is already in the mailbox when another message replaces the watch is stale, and
is dropped: a descriptor that is still readable reports again.

Descriptors that are closed or invalid are ignored, as the guide says. Regular
files, which an event loop cannot wait for, are always ready.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from thespian.actors import WatchMessage


class Watch:
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
        for descriptor in self._descriptors:
            self._add(descriptor)

    def _add(self, descriptor: int) -> None:
        try:
            self._loop.add_reader(descriptor, self._on_ready, descriptor)
        except PermissionError:
            self._on_ready(descriptor)  # a regular file: epoll refuses it, select reports it
        except (OSError, ValueError, TypeError):
            return
        else:
            self._watched[descriptor] = None

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
        try:
            self._loop.remove_reader(descriptor)
        except (OSError, ValueError):
            return  # closed by the actor in the meantime

    def close(self) -> None:
        """Stop watching. May be repeated."""
        self._ready.clear()
        for descriptor in list(self._watched):
            self._forget(descriptor)
