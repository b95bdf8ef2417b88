"""A pytest plugin: Thespian's own tests, on our base, ten times as fast.

Thespian installs its tests as the package ``thespian.test``. They get their actor
system from a fixture `asys`, which is replaced here before any of them is imported.
Only tests that use it are run: the others are about Thespian alone.

Most of their time is spent in sleeping, in the tests and in the actors. So all
clocks they can see run `SPEED` times as fast here: the event loop's, `time.sleep`,
`datetime.now` and the timeouts of `ask` and `listen`.
"""

from __future__ import annotations

import asyncio
import importlib
import selectors
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from thespian.system.timing import timePeriodSeconds

from mosaik_actors.runtime import AsyncioSystemBase, system_base

SPEED = 10
# An answer may take this long on a busy machine, however short the test's patience.
PATIENCE_S = 0.3

CAPABILITIES = {"Foo Allowed": True, "Cows Allowed": True, "Dogs Allowed": True, "dog": "food"}

CONVENTIONS = "needs several actor systems in a convention; ours is one by itself"

# What we do otherwise, by the name of the test. Each must fail.
DEPARTURES = {
    "test04_DLMultipleHandlers": "the guide says that each dead letter handler gets the letters",
    "test14_DLMultipleHandlers": "the guide says that each dead letter handler gets the letters",
    "test05_DLAutoRemoval": "the guide says that each dead letter handler gets the letters",
    "test15_DLAutoRemoval": "the guide says that each dead letter handler gets the letters",
    "test05_verifyUnloadOfHashedSourceDoesNotKillActiveActors": (
        "in one process an unload takes the modules from actors that run, as simpleSystemBase does"
    ),
}

# What proves nothing here, by the name of the test.
_HOLDS_THE_LOOP = "a hundred actors that sleep for a minute in all, and share one loop here"
UNFIT = {
    # The message is changed before it is sent, so two refused attempts look like the way
    # to another system and back; see tests/unit/runtime/test_systems.py.
    "testConnectToExistingActorSystem": "an address is good in its own actor system only",
    "test_init_transient": "its actor lives for a second, less than a busy machine needs here",
    "test_multiple_threads_private_context[100]": _HOLDS_THE_LOOP,
    "test_multiple_threads_private_context_ask[100]": _HOLDS_THE_LOOP,
}

_sleep = time.sleep
_now = datetime.now
_started = datetime.now()


class FastSelector(selectors.DefaultSelector):
    def select(self, timeout: float | None = None) -> Any:
        return super().select(timeout / SPEED if timeout else timeout)


class FastLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        super().__init__(FastSelector())

    def time(self) -> float:
        return time.monotonic() * SPEED


class FastDatetime(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return _started + (_now() - _started) * SPEED


def fast_seconds(period: timedelta | float) -> float:
    seconds = timePeriodSeconds(period)
    return max(seconds / SPEED, min(seconds, PATIENCE_S))


def make_system(capabilities: dict[str, Any]) -> Any:
    system: Any = AsyncioSystemBase(capabilities).actor_system()
    # What the tests look at to see where they run.
    system.base_name, system.port_num, system.txonly = "AsyncioSystemBase", None, False
    return system


@pytest.fixture
def asys() -> Iterator[Any]:
    system = make_system(dict(CAPABILITIES))
    yield system
    system.shutdown()


def similar_asys(
    asys: Any,
    in_convention: bool = True,
    start_wait: bool = True,
    capabilities: dict[str, Any] | None = None,
) -> Any:
    if in_convention:
        pytest.skip(CONVENTIONS)
    return make_system(dict(capabilities or {}))


def pytest_configure() -> None:
    time.sleep = lambda seconds: _sleep(float(seconds) / SPEED)
    asyncio.new_event_loop = FastLoop
    vars(system_base)["timePeriodSeconds"] = fast_seconds
    suite: Any = importlib.import_module("thespian.test")
    suite.asys, suite.similar_asys = asys, similar_asys
    transient: Any = importlib.import_module("thespian.transient")
    transient.datetime = FastDatetime


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    ours = [item for item in items if "asys" in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=[item for item in items if item not in ours])
    items[:] = ours
    for item in ours:
        module: Any = item.getparent(pytest.Module)
        if vars(module.obj).get("datetime") is datetime:
            module.obj.datetime = FastDatetime
        if item.name in DEPARTURES:
            item.add_marker(pytest.mark.xfail(strict=True, reason=DEPARTURES[item.name]))
        if item.name in UNFIT:
            item.add_marker(pytest.mark.skip(reason=UNFIT[item.name]))
        if "preRegistration" in item.path.name:
            item.add_marker(pytest.mark.skip(reason=CONVENTIONS))
