"""The event loop on virtual time."""

import asyncio
import contextvars
import selectors
import socket
import threading
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import pytest

from mosaik_actors.testing import loop as sim
from mosaik_actors.testing.loop import SimDeadlock, SimLivelock, SimLoop, context_of, run


def now() -> float:
    return asyncio.get_running_loop().time()


def test_sleeping_takes_virtual_time_only() -> None:
    async def main() -> float:
        await asyncio.sleep(86_400 * 365)
        return now()

    assert run(main()) == 86_400 * 365


def test_timers_fire_at_their_times_in_order() -> None:
    async def main() -> list[tuple[str, float]]:
        loop = asyncio.get_running_loop()
        fired: list[tuple[str, float]] = []

        def note(name: str) -> None:
            fired.append((name, now()))

        for name, at in (("c", 3.5), ("a", 0.25), ("b", 3.25)):
            loop.call_later(at, note, name)
        loop.call_later(1.0, fired.append, ("cancelled", 0.0)).cancel()
        await asyncio.sleep(4)
        return fired

    assert run(main()) == [("a", 0.25), ("b", 3.25), ("c", 3.5)]


def test_timeout_ends_a_wait_at_its_time() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.Event().wait()
        return now()

    assert run(main()) == 30


def test_timer_in_the_past_is_due_at_once_and_time_never_goes_back() -> None:
    async def main() -> list[float]:
        loop, seen = asyncio.get_running_loop(), []
        await asyncio.sleep(10)
        loop.call_at(3, lambda: seen.append(now()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return seen

    assert run(main()) == [10.0]


class _Waiting(selectors.DefaultSelector):
    """asyncio's own selector, but for time, which passes without waiting."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout:
            self.now_s += timeout
        return ready


def on_asyncio(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on asyncio's own loop."""
    selector = _Waiting()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now_s  # type: ignore[method-assign]
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()


@pytest.mark.parametrize("seed", range(10))
def test_order_is_that_of_asyncio_also_for_equal_timers(seed: int) -> None:
    async def main() -> list[tuple[int, float]]:
        """Make timers, tasks and callbacks that make and cancel others, many due together."""
        loop, rng, done = asyncio.get_running_loop(), Random(seed), []
        handles: list[asyncio.Handle] = []

        def act(number: int) -> None:
            done.append((number, round(loop.time(), 6)))
            if len(done) > 3000:
                return
            handles.extend(
                loop.call_at(rng.randrange(50), act, number * 3 + offset)
                for offset in range(rng.randrange(3))
            )
            if rng.random() < 0.3:
                loop.call_soon(act, -number)
            if handles and rng.random() < 0.5:
                rng.choice(handles).cancel()

        async def sleeper(number: int) -> None:
            for _ in range(5):
                await asyncio.sleep(rng.randrange(5))
                act(number)

        tasks = [loop.create_task(sleeper(number)) for number in range(1, 20)]
        handles.extend(loop.call_at(rng.randrange(10), act, number) for number in range(200))
        await asyncio.gather(*tasks)
        await asyncio.sleep(100)
        return done

    ours = run(main())
    assert len(ours) > 300
    assert ours == on_asyncio(main())


def test_executor_runs_in_place_on_this_thread() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(None, threading.get_ident) == threading.get_ident()
        assert await asyncio.to_thread(lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)

    run(main())


def test_deadlock_names_who_waits() -> None:
    async def waits_for_ever() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        await asyncio.sleep(5)
        await asyncio.create_task(waits_for_ever(), name="patience")

    with pytest.raises(SimDeadlock) as caught:
        run(main())
    assert caught.value.now == 5
    assert "at 5.000000 s nothing is left to happen" in str(caught.value)
    assert any(text.startswith("patience in ") for text in caught.value.waiting)
    assert any("waits_for_ever" in text for text in caught.value.waiting)


def test_livelock_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim, "TURNS_MAX_PER_INSTANT", 1000)

    async def main() -> None:
        await asyncio.sleep(2)
        while True:  # noqa: ASYNC110  # that is what is tested
            await asyncio.sleep(0)

    with pytest.raises(SimLivelock, match=r"at 2\.0+ s callbacks go on for ever"):
        run(main())


def test_many_turns_are_no_livelock_while_time_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim, "TURNS_MAX_PER_INSTANT", 100)

    async def main() -> None:
        for _ in range(50):
            for _ in range(50):
                await asyncio.sleep(0)
            await asyncio.sleep(0.001)

    run(main())


REFUSED: list[Callable[[asyncio.AbstractEventLoop], Any]] = [
    lambda loop: loop.add_reader(0, print),
    lambda loop: loop.add_writer(0, print),
    lambda loop: loop.add_signal_handler(2, print),
    lambda loop: loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0)),
    lambda loop: loop.create_server(asyncio.Protocol, "127.0.0.1", 0),
    lambda loop: loop.create_connection(asyncio.Protocol, "127.0.0.1", 1),
    lambda loop: loop.getaddrinfo("localhost", 1),
    lambda loop: loop.subprocess_exec(asyncio.SubprocessProtocol, "true"),
    lambda loop: loop.connect_read_pipe(asyncio.Protocol, None),
]


@pytest.mark.parametrize("ask", REFUSED)
def test_what_is_outside_is_refused(ask: Callable[[asyncio.AbstractEventLoop], Any]) -> None:
    async def main() -> None:
        result = ask(asyncio.get_running_loop())
        if asyncio.iscoroutine(result):
            await result

    with pytest.raises(RuntimeError, match="a simulated event loop has no sockets"):
        run(main())


def test_socket_operations_are_refused() -> None:
    async def main() -> None:
        with socket.socket() as sock:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", 1))

    with pytest.raises(RuntimeError, match="has no sockets"):
        run(main())


def test_run_cancels_what_is_left_and_raises_what_main_raised() -> None:
    ended: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.sleep(1e9)
        finally:
            ended.append("cancelled")

    async def main() -> None:
        task = asyncio.create_task(forever())
        await asyncio.sleep(1)
        assert not task.done()
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run(main())
    assert ended == ["cancelled"]


def test_paused_owner_stands_still_and_catches_up_in_order() -> None:
    async def main() -> list[tuple[str, float]]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        seen: list[tuple[str, float]] = []

        async def ticks(name: str) -> None:
            for _ in range(4):
                await asyncio.sleep(1)
                seen.append((name, now()))

        def later(at: float, name: str) -> None:
            loop.call_at(at, lambda: seen.append((name, now())))

        def timers() -> None:
            for at, name in ((2.5, "first"), (2.75, "second"), (20.0, "third")):
                later(at, name)

        owned = context_of("node")
        owned.run(timers)
        tasks = [loop.create_task(ticks("node"), context=owned), loop.create_task(ticks("free"))]
        await asyncio.sleep(1.5)
        loop.pause("node")
        loop.pause("node")
        await asyncio.sleep(8.5)
        assert [entry for entry in seen if entry[0] != "free"] == [("node", 1.0)]
        loop.resume("node")
        loop.resume("node")
        await asyncio.gather(*tasks)
        await asyncio.sleep(30)
        return seen

    seen = run(main())
    assert [entry for entry in seen if entry[0] == "free"] == [("free", n) for n in (1, 2, 3, 4)]
    assert [entry for entry in seen if entry[0] != "free"] == [
        ("node", 1.0),
        ("first", 10.0),
        ("second", 10.0),
        ("node", 10.0),  # it slept from 1 on, was to wake at 2, and wakes when it goes on
        ("node", 11.0),
        ("node", 12.0),
        ("third", 20.0),
    ]


def test_timer_cancelled_while_its_owner_stands_still_does_not_fire() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        seen: list[str] = []
        handle = loop.call_later(1, seen.append, "late", context=context_of("node"))
        loop.pause("node")
        await asyncio.sleep(2)
        handle.cancel()
        loop.resume("node")
        await asyncio.sleep(1)
        assert seen == []

    run(main())


def test_waiting_for_a_paused_owner_alone_is_a_deadlock() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        task = loop.create_task(asyncio.sleep(1), context=context_of("node"))
        await asyncio.sleep(0.5)
        loop.pause("node")
        await task

    with pytest.raises(SimDeadlock):
        run(main())


def test_owner_is_inherited_and_other_context_kept() -> None:
    mine: contextvars.ContextVar[int] = contextvars.ContextVar("mine")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        mine.set(5)
        seen: list[int] = []

        async def grandchild() -> None:
            await asyncio.sleep(1)
            seen.append(mine.get())

        async def child() -> None:
            await loop.create_task(grandchild())

        task = loop.create_task(child(), context=context_of("node"))
        await asyncio.sleep(0.5)
        loop.pause("node")
        await asyncio.sleep(10)
        assert seen == []
        loop.resume("node")
        await task
        assert seen == [5]

    run(main())
