"""The checker: could one copy of the data have given these answers?

A history is linearizable (Herlihy and Wing 1990) when its calls can be put in
one order, such that each call lies between its invocation and its response and
returns what the model returns in that order. Calls that failed are left out;
a call whose outcome is unknown may be placed anywhere after it began, with any
result, or left out.

Parts of a history that the model says are independent are searched apart
(P-compositionality, Horn and Kroening 2015). `wing_gong` has the search, and
`contradiction` the reason for a violation. The worst case is exponential, so
the search counts its steps and gives up with `Decision.UNDECIDED`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConfigError
from .contradiction import Contradiction
from .history import Call, History, Outcome
from .models import WHOLE, Model
from .values import show
from .wing_gong import Decision, Search

__all__ = ["STEPS_MAX", "Decision", "Verdict", "check_linearizable"]

STEPS_MAX = 2_000_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the checker found, and why.

    Attributes:
        decision: Whether there is an order.
        reason: Why, for people; several lines for a violation.
        steps: How much work it was.
        orders: For a history that is linearizable, an order that proves it,
            for each independent part. Unknown calls that are not in it need
            not have happened.
        contradiction: For a violation, calls that contradict each other
            whatever the others did. The last one fits nowhere.
    """

    decision: Decision
    reason: str
    steps: int = 0
    orders: tuple[tuple[Call, ...], ...] = field(default=(), repr=False)
    contradiction: tuple[Call, ...] = field(default=(), repr=False)

    @property
    def ok(self) -> bool:
        """Whether the history is linearizable. Undecided is not ok."""
        return self.decision is Decision.LINEARIZABLE


def check_linearizable(
    history: History, model: Model[Any], *, steps_max: int = STEPS_MAX
) -> Verdict:
    """Decide whether a history is linearizable.

    In a test: ``assert verdict.ok, verdict.reason``.

    Args:
        history: What the clients saw.
        model: What the data should do, one of `mosaik_actors.testing.models`
            or your own.
        steps_max: How much to try before the answer is undecided. The default
            takes some seconds, and some hundred bytes of memory per step.

    Raises:
        ConfigError: The model lacks an operation of the history, or returns
            states or keys that cannot be hashed.
    """
    parts = _parts_of(history.calls, model)
    steps = 0
    orders = []
    undecided = []
    for key, calls in parts:
        search = Search(calls, model, max(0, steps_max - steps))
        decision = search.run()
        steps += search.steps
        if decision is Decision.VIOLATION:
            shown = Contradiction(key, calls, model, search)
            return Verdict(decision, shown.text(), steps, (), shown.calls)
        if decision is Decision.UNDECIDED:
            undecided.append(key)
        orders.append(search.order())
    if undecided:
        keys = ", ".join(show(key) for key in undecided if key is not WHOLE)
        where = f" (keys {keys})" if keys else ""
        return Verdict(
            Decision.UNDECIDED,
            f"undecided after {steps} steps{where}: raise steps_max, or record fewer calls that "
            "overlap or have an unknown outcome",
            steps,
        )
    count = sum(map(len, orders))
    reason = f"linearizable: {count} calls placed in {len(parts)} independent parts"
    return Verdict(Decision.LINEARIZABLE, reason, steps, tuple(orders))


def _parts_of(calls: Iterable[Call], model: Model[Any]) -> list[tuple[Hashable, list[Call]]]:
    """Split the calls that may have happened by key, the smallest part first."""
    happened = [call for call in calls if call.outcome is not Outcome.FAILED]
    parts: dict[Hashable, list[Call]] = {}
    try:
        for call in happened:
            parts.setdefault(model.partition(call.operation), []).append(call)
    except TypeError as error:
        raise ConfigError(
            f"{type(model).__name__} gives a key that has no hash: {error}"
        ) from error
    if WHOLE in parts:
        return [(WHOLE, happened)]
    return sorted(parts.items(), key=lambda part: len(part[1]))
