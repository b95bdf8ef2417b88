"""A future whose waiter can go on at once."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

import pytest

from mosaik_actors.runtime.eager_future import EagerFuture

_WHERE: ContextVar[str] = ContextVar("where", default="outside")


async def play(future: EagerFuture, seen: list[str], *, call: str = "resume") -> asyncio.Task[None]:
    """Let a task await the future, then call a method of it right from the loop."""

    async def wait() -> None:
        _WHERE.set("the task's own")
        try:
            await future
        finally:
            seen.append(_WHERE.get())

    def wake() -> None:
        getattr(future, call)(*([None] if call == "set_result" else []))
        seen.append("woken")

    task = asyncio.ensure_future(wait())
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(wake)
    await asyncio.wait([task], timeout=5)
    return task


async def test_the_waiter_goes_on_before_resume_returns_in_a_context_of_its_own() -> None:
    seen: list[str] = []
    task = await play(EagerFuture(loop=asyncio.get_running_loop()), seen)
    assert seen == ["the task's own", "woken"]
    assert task.done()
    assert task.exception() is None


@pytest.mark.parametrize("call", ["set_result", "cancel"])
async def test_else_it_is_a_future_as_any_other(call: str) -> None:
    seen: list[str] = []
    task = await play(EagerFuture(loop=asyncio.get_running_loop()), seen, call=call)
    assert seen == ["woken", "the task's own"]
    assert task.cancelled() == (call == "cancel")


async def test_what_nobody_awaits_is_done_all_the_same() -> None:
    future = EagerFuture(loop=asyncio.get_running_loop())
    future.resume()
    await future


async def test_what_the_waiter_raises_is_its_task_s_affair() -> None:
    future = EagerFuture(loop=asyncio.get_running_loop())

    async def wait() -> None:
        await future
        raise ValueError("its own")

    task = asyncio.ensure_future(wait())
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(future.resume)
    with pytest.raises(ValueError, match="its own"):
        await task
