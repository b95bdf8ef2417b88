"""How long the checker takes to decide histories of five clients.

The histories come from a real sequential object: each client calls, waits,
calls again, and each call takes effect at a random moment of its interval. Each
client spends most of its time in a call, so that nearly always all five overlap,
and a few calls lose their answer. The same histories with one wrong answer near
the end are decided too: that is the harder case, because everything has to be
tried, and because the time includes reducing it to the contradiction.

The bar is an upper one: a thousand calls in five seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random
from typing import Any

from mosaik_actors.testing.history import Call, History, Operation, Outcome
from mosaik_actors.testing.linearizability import Decision, check_linearizable
from mosaik_actors.testing.models import Counter, MapModel, Model, Register, SetModel

from .report import Row

CLIENT_COUNT = 5
BAR_S = 5.0

_SEEDS = (1, 2, 3)
_LOST_SHARE = 0.02
_VALUE_COUNT = 5
_KEY_COUNT = 10

Draw = Callable[[Random], Operation]


def run(quick: bool) -> list[Row]:
    """Time the decision on each model, of a correct history and of one that is not."""
    call_count = 50 if quick else 1_000
    rows = []
    for name, model, draw in (
        ("register", Register(), draw_register),
        ("map", MapModel(), draw_map),
        ("counter", Counter(), draw_counter),
        ("set with its size", SetModel(), draw_set),
    ):
        for expected in (Decision.LINEARIZABLE, Decision.VIOLATION):
            worst_s = max(_time(model, draw, call_count, seed, expected) for seed in _SEEDS)
            rows.append(
                Row(
                    f"{call_count} calls on a {name}, {expected.value}, slowest of {len(_SEEDS)}",
                    worst_s * 1e3,
                    "ms",
                    bar=BAR_S * 1e3,
                    ok=worst_s < BAR_S,
                )
            )
    return rows


def make_history(model: Model[Any], draw: Draw, call_count: int, rng: Random) -> History:
    """Return what `CLIENT_COUNT` clients saw of an object that follows `model`."""
    free_at = [0.0] * CLIENT_COUNT
    calls = []
    for number in range(call_count):
        client = number % CLIENT_COUNT
        began = free_at[client] + rng.expovariate(5.0)
        ended = free_at[client] = began + rng.expovariate(1.0)
        calls.append((rng.uniform(began, ended), f"c{client}", draw(rng), began, ended))
    history = History()
    state = model.initial()
    for _, client_name, operation, began, ended in sorted(calls, key=lambda call: call[0]):
        is_lost = rng.random() < _LOST_SHARE
        if is_lost and rng.random() < 0.5:
            history.add(client_name, operation, began)
            continue
        state, told = model.apply(state, operation)
        if is_lost:
            history.add(client_name, operation, began)
        else:
            history.add(client_name, operation, began, ended, result=told)
    return history


def with_wrong_answer(history: History) -> History:
    """Return a copy in which a late read tells what never was."""
    number = max(c.call_id for c in history if _is_read(c) and c.call_id < len(history) * 0.95)
    wrong = History()
    for call in history:
        result = 10**9 if call.call_id == number else call.result
        wrong.add(
            call.client,
            call.operation,
            call.began_s,
            call.ended_s,
            result=result,
            outcome=call.outcome,
        )
    return wrong


def _is_read(call: Call) -> bool:
    return call.outcome is Outcome.OK and call.operation.name in ("read", "get", "size")


def _time(model: Model[Any], draw: Draw, call_count: int, seed: int, expected: Decision) -> float:
    history = make_history(model, draw, call_count, Random(seed))
    if expected is Decision.VIOLATION:
        history = with_wrong_answer(history)
    started = time.perf_counter()
    verdict = check_linearizable(history, model)
    took_s = time.perf_counter() - started
    if verdict.decision is not expected:
        raise AssertionError(f"seed {seed}, expected {expected.value}, got: {verdict.reason}")
    return took_s


def draw_register(rng: Random) -> Operation:
    """Read, write or compare and set one of a few values."""
    value, other = rng.randrange(_VALUE_COUNT), rng.randrange(_VALUE_COUNT)
    choices = [Register.read(), Register.write(value), Register.compare_and_set(other, value)]
    return rng.choice(choices)


def draw_map(rng: Random) -> Operation:
    """Do the same with one of a few keys."""
    key = rng.randrange(_KEY_COUNT)
    value, other = rng.randrange(_VALUE_COUNT), rng.randrange(_VALUE_COUNT)
    choices = [
        MapModel.get(key),
        MapModel.insert(key, value),
        MapModel.remove(key),
        MapModel.compare_and_set(key, other, value),
    ]
    return rng.choice(choices)


def draw_counter(rng: Random) -> Operation:
    """Read or add."""
    return rng.choice([Counter.get(), Counter.increment(), Counter.increment_and_get(2)])


def draw_set(rng: Random) -> Operation:
    """Change or look; the size keeps the elements from being checked apart."""
    element = rng.randrange(_VALUE_COUNT)
    choices = [SetModel.insert(element), SetModel.remove(element), SetModel.contains(element)]
    return rng.choice([*choices, SetModel.size()])
