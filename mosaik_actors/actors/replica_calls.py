"""What the handles of a replica have asked for, and the answers; a part of `replica`.

Handles put commands and reads with a future each into the state that they share with the
actor. Whoever waits may have given up meanwhile: its future is done then.
"""

from __future__ import annotations

from asyncio import Future
from typing import Any

from ..codec import EncodeError
from ..errors import Full
from ..groups.client.client import CommandClient
from ..groups.messages import CallFailed
from ..groups.shared import GroupState


class ReplicaCalls:
    """The calls of one replica's handles."""

    def __init__(self, state: GroupState, client: CommandClient) -> None:
        self._state = state
        self._client = client
        self._taken_count = 0

    @property
    def come_alone(self) -> bool:
        """Whether commands come one at a time, as far as the last ones tell."""
        return self._taken_count <= 1

    def take(self, now: float) -> None:
        """Give the core all commands that wait."""
        state = self._state
        waiting = state.submissions
        if not waiting:
            return
        self._taken_count = len(waiting)
        while waiting:
            one = waiting.popleft()
            if one.token.done():
                continue
            try:
                self._client.submit(one, now=now)
            except Full:  # handles see to it that this does not happen
                self.fail(one.token, CallFailed("too many commands wait to be committed"))
            except EncodeError as error:
                one.token.set_exception(error)
        state.queued_count = state.queued_bytes = 0

    def answer(self, future: Future[Any]) -> None:
        """Let a read that was granted see the machine, and say what it saw."""
        read = self._state.reads.get(future)
        if read is None or future.done():
            return
        try:
            future.set_result(read())
        except StopIteration as error:  # which no future takes, nor any coroutine raises
            stopped = RuntimeError("the machine's query raised StopIteration")
            stopped.__cause__ = error
            future.set_exception(stopped)
        except Exception as error:
            future.set_exception(error)

    def fail(self, future: Future[Any], error: Exception) -> None:
        """Say that there is no answer."""
        if not future.done():
            future.set_exception(error)
