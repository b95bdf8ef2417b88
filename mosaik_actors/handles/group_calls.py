"""Calls of a group's member on their way to its actor: commands and strong queries.

What is handed in waits in line until there is room, and a call that is cancelled is
forgotten by the actor too.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from thespian.actors import ActorAddress

from ..config import require_above, seconds
from ..errors import Closed, ConfigError, GroupOffline, GroupTerminated, QueryOffline
from ..groups.client.calls import Submission
from ..groups.machine.machine import Consistency, QueryAnswer
from ..groups.member.context import MemberSpec
from ..groups.messages import CallCancelled, CallFailed, CommandsQueued, ReadAsked
from ..groups.shared import GroupState
from ..node import Node
from ..runtime import ActorSystemClosed
from ..when import Wait
from .group_view import why_offline


class GroupCalls:
    """The calls of one member.

    Args:
        node: The node.
        address: The member's actor.
        spec: The member.
        state: What the actor publishes, and where it looks for calls.
    """

    def __init__(
        self, node: Node, address: ActorAddress, spec: MemberSpec, state: GroupState
    ) -> None:
        self._system = node.system
        self._address = address
        self._spec = spec
        self._state = state
        self._make_future = asyncio.get_running_loop().create_future
        self._line = asyncio.Lock()

    async def submit(
        self,
        payloads: list[bytes],
        count: int,
        value: Any,
        timeout: float | timedelta | None,
        *,
        waits: bool,
    ) -> Submission:
        """Have `count` commands replicated; return when they are applied here, or handed over.

        Raises:
            GroupOffline, GroupTerminated: As for `Group.execute`.
        """
        if self._state.error is not None:  # as `is_closed`, on a hot path
            raise self._state.ended(value)
        wait_s = _wait_s(timeout, self._spec.consensus.forward_timeout)
        state = self._state
        byte_count = sum(map(len, payloads))
        if self._line.locked() or not self._has_room(count, byte_count):
            wait_s = await self._wait_for_room(count, byte_count, value, wait_s)
        future = self._make_future()
        state.submissions.append(Submission(payloads, count, byte_count, future, wait_s, waits))
        state.queued_count += count
        state.queued_bytes += byte_count
        if len(state.submissions) == 1 and not state.take_now():
            self.send(CommandsQueued())
        try:
            if future.done():  # a lone voter commits at once: others have their turn all the same
                await asyncio.sleep(0)
            done: Submission = await future
        except asyncio.CancelledError:
            self._forget_call(future)
            raise
        except CallFailed as exc:
            why = why_offline(self._state) or exc.reason
            raise GroupOffline(value, why, exc.may_take_effect) from None
        except GroupTerminated:
            raise self._state.ended(value) from self._state.error
        return done

    async def query(
        self, query: Any, consistency: Consistency, timeout: float | timedelta | None
    ) -> QueryAnswer[Any]:
        """Ask the machine here, as `Group.query` says."""
        if self._state.is_closed:
            raise self._state.ended(query)
        host = self._spec.host
        if consistency is Consistency.WEAK:
            member = self._state.member
            if member is not None and not member.may_query:
                raise QueryOffline(query, "the state is being replaced by a snapshot")
            return host.query(query)
        wait_s = _wait_s(timeout, self._spec.consensus.query_timeout)
        if self._state.member is None:
            wait_s = await self._wait_for_start(query, wait_s)
        future = self._make_future()
        self._state.reads[future] = lambda: host.query(query)
        try:
            self.send(ReadAsked(future, wait_s))
            answer: QueryAnswer[Any] = await future
        except asyncio.CancelledError:
            self._forget_call(future)
            raise
        except CallFailed as exc:
            why = why_offline(self._state) or exc.reason
            raise QueryOffline(query, f"the group did not answer: {why}") from None
        except GroupTerminated:
            raise self._state.ended(query) from self._state.error
        finally:
            self._state.reads.pop(future, None)
        return answer

    async def _wait_for_room(self, count: int, byte_count: int, value: Any, wait_s: float) -> float:
        """Wait in line until there is room; return how long the call may still take."""
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        try:
            async with asyncio.timeout_at(until), self._line:
                while not self._has_room(count, byte_count):
                    await self._state.room.wait()
        except TimeoutError:
            why = why_offline(self._state) or "too many commands wait to be committed"
            raise GroupOffline(value, why) from None
        if self._state.is_closed:
            raise self._state.ended(value)
        return until - loop.time()

    def _has_room(self, count: int, byte_count: int) -> bool:
        state, client, settings = self._state, self._spec.client, self._spec.settings
        if state.error is not None:
            return True
        if state.member is None:
            return False  # while it starts, nobody looks at how long commands wait
        if not state.submissions:
            return client.has_room(count, byte_count)
        # Those that were made in the same turn go first. What is in the shared state must find
        # room, for there nobody looks at how long it waits.
        return (
            client.pending_count + state.queued_count + count <= settings.pending_commands
            and client.pending_bytes + state.queued_bytes + byte_count <= settings.pending_bytes
        )

    async def _wait_for_start(self, query: Any, wait_s: float) -> float:
        """Wait until the member has started; return how long the call may still take."""
        state, loop = self._state, asyncio.get_running_loop()
        until = loop.time() + wait_s
        try:
            async with asyncio.timeout_at(until):
                await Wait(state, lambda: state.member is not None)
        except TimeoutError:
            raise QueryOffline(query, "the group did not answer: starting") from None
        except GroupTerminated:
            raise state.ended(query) from state.error
        return until - loop.time()

    def _forget_call(self, future: Any) -> None:
        if not self._state.is_closed:
            self.send(CallCancelled(future))

    def send(self, message: Any) -> None:
        """Send to the member's actor. Raises `Closed` when that is gone."""
        try:
            self._system.tell(self._address, message)
        except ActorSystemClosed:
            self.abandon()
            raise Closed(reason="the network handle is closed") from None

    def abandon(self) -> None:
        """End here and now: the actor is gone. May be repeated."""
        self._state.close(GroupTerminated(None, "the network handle is closed"))
        self._state.end_calls()


def _wait_s(timeout: float | timedelta | None, default_s: float) -> float:
    """Return how many seconds a call may take. Raises `ConfigError`."""
    if timeout is None:
        return default_s
    if isinstance(timeout, int | float) and timeout > 0:  # on a hot path
        return timeout
    try:
        wait_s = seconds(timeout) + 0
    except (TypeError, ValueError) as exc:
        raise ConfigError(f"timeout is {timeout!r}, expected seconds or a timedelta") from exc
    require_above("timeout", wait_s)
    return wait_s
