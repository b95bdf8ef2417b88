"""One fixture, three system bases: Thespian's two and ours, the same actors on each.

`multiprocTCPBase` starts slowly, so one system serves a whole module; each test
works through a private context of its own and ends the actors it created. The
other two start fresh for each test.
"""

from __future__ import annotations

import gc
import os
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any

import pytest
from thespian.actors import (
    ActorAddress,
    ActorExitRequest,
    ActorSystem,
    ActorSystemFailure,
    Thespian_StatusReq,
)

from mosaik_actors.custom.actor import MosaikActor
from mosaik_actors.runtime import AsyncioSystemBase

SIMPLE, MULTIPROC, ASYNCIO = "simpleSystemBase", "multiprocTCPBase", "AsyncioSystemBase"
# Our base once more, with each actor a `MosaikActor` as well.
MOSAIK = "MosaikActor"

# Requests to actors take milliseconds; only a failing test waits this long.
PATIENCE_S = 10.0

CAPABILITIES = {"Color": "Blue", "Fast": True}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "departs(bases, reason): these bases do not do what Thespian documents"
    )
    config.addinivalue_line("markers", "lacks(bases, reason): these bases do not have it")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Thespian's TCP transport leaves its sockets to the garbage collector, which
    # comes in any test. Ours is held to account in tests/unit/runtime.
    for item in items:
        if "tests/conformance" in item.path.as_posix():
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@cache
def as_mosaik(actor_class: Any) -> Any:
    """Return an actor class that is a `MosaikActor` too; a class's name as it is."""
    if isinstance(actor_class, str) or issubclass(actor_class, MosaikActor):
        return actor_class
    bases = (actor_class, MosaikActor)
    return type(actor_class.__name__, bases, {"__module__": actor_class.__module__})


class Sut:
    """A system under test: an ActorSystem and the context to use it from."""

    def __init__(self, base: str, system: ActorSystem, context: ActorSystem) -> None:
        self.base = base
        self.system = system
        self._context = context
        self._created: list[ActorAddress] = []

    def create(self, actor_class: Any, *arguments: Any, **named: Any) -> ActorAddress:
        if self.base == MOSAIK:
            actor_class = as_mosaik(actor_class)
        address = self._context.createActor(actor_class, *arguments, **named)
        self._created.append(address)
        return address

    def tell(self, address: ActorAddress, message: Any) -> None:
        while True:
            try:
                self._context.tell(address, message)
                return
            except ActorSystemFailure:
                # multiprocTCPBase raises where an actor's socket closes just then: not sent.
                if self.base != MULTIPROC:
                    raise

    def ask(self, address: ActorAddress, message: Any, timeout: float = PATIENCE_S) -> Any:
        return self._context.ask(address, message, timeout)

    def listen(self, timeout: float = PATIENCE_S) -> Any:
        return self._context.listen(timeout)

    def collect(self, count: int) -> list[Any]:
        return [self.listen() for _ in range(count)]

    def wait(self, condition: Callable[[], bool]) -> None:
        """Repeat requests until a condition holds; the test's time limit is the limit."""
        while not condition():
            self._context.listen(0.01)

    def wait_for_status(self, condition: Callable[[Any], bool]) -> None:
        """Wait until the system's status shows what an actor has asked of it.

        multiprocTCPBase does it some time after the actor goes on.
        """
        if self.base != SIMPLE:
            self.wait(
                lambda: condition(self._context.ask(self.system_address, Thespian_StatusReq(), 5))
            )

    @property
    def system_address(self) -> ActorAddress:
        address: ActorAddress = self.system._systemBase.adminAddr
        return address

    def clean_up(self) -> None:
        for address in self._created:
            self.tell(address, ActorExitRequest())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def multiproc_system() -> Iterator[ActorSystem]:
    previous = os.environ.get("THESPIAN_BASE_IPADDR")
    os.environ["THESPIAN_BASE_IPADDR"] = "127.0.0.1"
    with warnings.catch_warnings():
        # The processes of the system inherit these: see below, and test_sources.
        warnings.simplefilter("ignore", ResourceWarning)
        warnings.simplefilter("ignore", ImportWarning)
        system = ActorSystem(
            "multiprocTCPBase",
            capabilities={**CAPABILITIES, "Admin Port": free_port()},
            # Otherwise the actors' expected failures are printed over the test report.
            logDefs={"version": 1, "handlers": {}, "root": {"level": "CRITICAL", "handlers": []}},
            transientUnique=True,
        )
    yield system
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        system.shutdown()
        gc.collect()
    if previous is None:
        del os.environ["THESPIAN_BASE_IPADDR"]
    else:
        os.environ["THESPIAN_BASE_IPADDR"] = previous


@pytest.fixture(params=[SIMPLE, MULTIPROC, ASYNCIO, MOSAIK])
def sut(request: pytest.FixtureRequest) -> Iterator[Sut]:
    base = request.param
    departs = request.node.get_closest_marker("departs")
    if departs is not None and base in departs.args[0]:
        request.applymarker(pytest.mark.xfail(strict=True, reason=departs.args[1]))
    lacks = request.node.get_closest_marker("lacks")
    if lacks is not None and base in lacks.args[0]:
        pytest.skip(lacks.args[1])
    with ExitStack() as stack:
        if base == MULTIPROC:
            system = request.getfixturevalue("multiproc_system")
            context = stack.enter_context(system.private())
        elif base == SIMPLE:
            system = context = ActorSystem(
                SIMPLE, dict(CAPABILITIES), logDefs=False, transientUnique=True
            )
            stack.callback(system.shutdown)
        else:
            system = context = AsyncioSystemBase(CAPABILITIES).actor_system()
            stack.callback(system.shutdown)
        sut = Sut(base, system, context)
        stack.callback(sut.clean_up)
        yield sut
