"""The simulated network, which keeps the promises of every other transport, too."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mosaik_actors.testing import NetworkConditions, simulate
from mosaik_actors.testing.network import Fidelity
from tests.unit.transport import test_conformance as conformance
from tests.unit.transport.endpoints import SIMULATED, MakeEndpoint, simulated_endpoint_maker

TESTS: list[Callable[[MakeEndpoint], Awaitable[Any]]] = [
    test for name, test in sorted(vars(conformance).items()) if name.startswith("test_")
]
CALM = NetworkConditions(latency=0.01)
# Large frames take many lossy round trips there; they have had their test on the calm one.
ROUGH = NetworkConditions(latency=0.01, jitter=0.01, loss=0.02, duplication=0.02, reordering=0.05)
TOO_LARGE_FOR_ROUGH = ("many_frames_of_all_sizes", "largest_frame", "closing_endpoint_delivers")


def run(
    test: Callable[[MakeEndpoint], Awaitable[Any]],
    fidelity: Fidelity,
    conditions: NetworkConditions,
) -> None:
    async def main() -> None:
        async with simulated_endpoint_maker(fidelity, conditions) as make:
            await test(make)

    simulate(main())


def test_all_conformance_tests_are_run_here() -> None:
    assert len(TESTS) > 18
    assert all(list(inspect.signature(test).parameters) == ["make"] for test in TESTS)


@pytest.mark.parametrize("fidelity", SIMULATED)
@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.__name__)
def test_simulated_network_conforms(
    test: Callable[[MakeEndpoint], Awaitable[Any]], fidelity: Fidelity
) -> None:
    run(test, fidelity, CALM)


@pytest.mark.parametrize("fidelity", SIMULATED)
@pytest.mark.parametrize(
    "test",
    [test for test in TESTS if not any(part in test.__name__ for part in TOO_LARGE_FOR_ROUGH)],
    ids=lambda test: test.__name__,
)
def test_rough_network_conforms(
    test: Callable[[MakeEndpoint], Awaitable[Any]], fidelity: Fidelity
) -> None:
    run(test, fidelity, ROUGH)
