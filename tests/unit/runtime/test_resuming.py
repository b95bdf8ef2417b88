"""Who awaits a future goes on at once."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

import pytest

from mosaik_actors.runtime.resuming import resume

_WHERE: ContextVar[str] = ContextVar("where", default="outside")


async def play(seen: list[str], *, call: str = "resume") -> asyncio.Task[None]:
    """Let a task await a future, then resume it, or call a method, right from the loop."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait() -> None:
        _WHERE.set("the task's own")
        try:
            await future
        finally:
            seen.append(_WHERE.get())

    def wake() -> None:
        if call == "resume":
            assert resume(future)
            assert not resume(future)
        else:
            getattr(future, call)(*([None] if call == "set_result" else []))
            assert not resume(future)
        seen.append("woken")

    task = asyncio.ensure_future(wait())
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(wake)
    await asyncio.wait([task], timeout=5)
    return task


async def test_the_waiter_goes_on_before_resume_returns_in_a_context_of_its_own() -> None:
    seen: list[str] = []
    task = await play(seen)
    assert seen == ["the task's own", "woken"]
    assert task.done()
    assert task.exception() is None


@pytest.mark.parametrize("call", ["set_result", "cancel"])
async def test_else_it_is_a_future_as_any_other(call: str) -> None:
    seen: list[str] = []
    task = await play(seen, call=call)
    assert seen == ["woken", "the task's own"]
    assert task.cancelled() == (call == "cancel")


async def test_what_nobody_awaits_is_done_all_the_same() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    assert resume(future)
    await future


async def test_what_several_await_is_done_for_all_of_them() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    tasks = [asyncio.ensure_future(asyncio.wait([future])) for _ in range(2)]
    await asyncio.sleep(0)
    assert resume(future)
    await asyncio.wait_for(asyncio.gather(*tasks), 5)


async def test_what_the_waiter_raises_is_its_task_s_affair() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait() -> None:
        await future
        raise ValueError("its own")

    task = asyncio.ensure_future(wait())
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(resume, future)
    with pytest.raises(ValueError, match="its own"):
        await task
