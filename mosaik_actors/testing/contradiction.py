"""Why a history is not linearizable, told with as few calls as can be had.

The reductions only ever loosen the history, so that what is left contradicts
itself whatever the calls that are not shown did:

    1. The history ends at the moment that no order passes. What began later is
       left out, and what was answered later need not have happened by then.
    2. Of a long history, what was answered early is left out, as long as the
       rest contradicts itself from every state that the history knows.
    3. Calls that only read are left out.
    4. Other calls become unknown: they may have happened at any time after
       they began, or never. When the contradiction stands, they are not shown.

The work is bounded; what cannot be reduced within it is shown as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace
from typing import Any

from .history import Call, Outcome, timeline
from .models import WHOLE, Model
from .values import show
from .wing_gong import Decision, Search, result_of

_STEPS_MAX = 200_000
_TRIAL_STEPS_MAX = 25_000
_LONG_CALLS = 24
_SHOWN_CALLS_MAX = 12
_SHOWN_STATES_MAX = 6


class Contradiction:
    """The reason for one violation.

    Args:
        key: The part's key, or `WHOLE`.
        calls: The calls of the part that may have happened.
        model: What they should have done.
        search: The search that found the violation.
    """

    def __init__(self, key: Hashable, calls: list[Call], model: Model[Any], search: Search) -> None:
        self._key = key
        self._model = model
        self._first_search = self._search = search
        self._originals = {call.call_id: call for call in calls}
        self._starts: list[Any] | None = None
        self._steps_left = _STEPS_MAX
        self._kept: list[Call] = []
        self._until = (0.0, 0)
        self._keep(calls, search)
        self._reduce()
        stuck = self._search.stuck_call().call_id
        definite = [call for call in self._kept if call.outcome is Outcome.OK]
        definite.sort(key=lambda call: (call.call_id == stuck, call.began_key))
        self.calls = tuple(definite)
        """The calls that contradict each other, by beginning; last the one that fits nowhere."""

    def text(self) -> str:
        """Return the reason, for people."""
        stuck = self._search.stuck_call()
        about = "" if self._key is WHOLE else f" at key {show(self._key)}"
        placed = len(self._first_search.order())
        return "\n".join(
            [
                f"not linearizable{about}: {stuck} fits nowhere",
                f"the longest order places {placed} of the {len(self._originals)} calls{about}; "
                f"these contradict each other, {self._premise()}:",
                "",
                self._timeline(stuck),
                "",
                *self._states(stuck),
            ]
        )

    def _premise(self) -> str:
        if self._starts is None:
            return "whatever the others did"
        return "whichever state the calls before them led to"

    def _timeline(self, stuck: Call) -> str:
        order = self._search.order()
        places = {call.call_id: place for place, call in enumerate(order, 1)}
        notes = {stuck.call_id: "fits nowhere"}
        shown = []
        for call in sorted(self._kept, key=lambda call: call.began_key):
            place = places.get(call.call_id)
            # An unknown call that was not needed explains nothing.
            if call.call_id != stuck.call_id and (place or call.outcome is Outcome.OK):
                shown.append(self._originals[call.call_id])
                notes[call.call_id] = f"placed {place}" if place else "not placed yet"
        hidden = max(0, len(shown) - _SHOWN_CALLS_MAX)
        above = [f"({hidden} calls before these)"] if hidden else []
        return "\n".join([*above, timeline([*shown[hidden:], stuck], notes)])

    def _states(self, stuck: Call) -> list[str]:
        # The first search knows the states best, as long as it ended at the same call.
        is_same = self._first_search.stuck_call().call_id == stuck.call_id
        states = (self._first_search if is_same else self._search).stuck_states()
        lines = [
            "what the state can be at that point, and what the call returns there:",
            *(
                f"  {show(state)}: {self._would_return(state, stuck)}"
                for state in states[:_SHOWN_STATES_MAX]
            ),
        ]
        if len(states) > _SHOWN_STATES_MAX:
            lines.append(f"  and {len(states) - _SHOWN_STATES_MAX} more states, none of which fits")
        return lines

    def _would_return(self, state: Any, stuck: Call) -> str:
        try:
            _, told = self._model.apply(state, stuck.operation)
        except NotImplementedError:  # the model has only a step of its own
            return f"not {show(stuck.result)}"
        return f"{show(told)}, not {show(stuck.result)}"

    # Reducing.

    def _reduce(self) -> None:
        if len(self._definite()) > _LONG_CALLS:
            self._leave_out_early_calls()
        self._loosen(self._is_read, lambda call: None)
        self._loosen(lambda call: not self._is_read(call), _make_unknown)

    def _definite(self) -> list[Call]:
        return [call for call in self._kept if call.outcome is Outcome.OK]

    def _is_read(self, call: Call) -> bool:
        return self._model.is_read_only(call.operation, result_of(call))

    def _leave_out_early_calls(self) -> None:
        """Find the latest moment such that what follows it contradicts itself.

        Whatever came before led to one of the states that the search knows.
        """
        calls = self._kept
        states = self._first_search.known_states()
        ends = sorted(call.ended_key for call in self._definite())
        low, high = -1, len(ends)
        while high - low > 1 and self._steps_left > 0:
            middle = (low + high) // 2
            if self._try(_cut_before(calls, ends[middle]), states):
                low, self._starts = middle, states
            else:
                high = middle

    def _loosen(
        self, eligible: Callable[[Call], bool], loosen: Callable[[Call], Call | None]
    ) -> None:
        """Loosen eligible calls, many at a time and then fewer, while it is a violation."""
        chunk = len(self._kept)
        while chunk and self._steps_left > 0:
            stuck = self._search.stuck_call().call_id
            todo = [
                call.call_id
                for call in self._definite()
                if call.call_id != stuck and eligible(call)
            ]
            chunk = min(chunk, len(todo))
            for start in range(0, len(todo), chunk or 1):
                ids = set(todo[start : start + chunk])
                trial = [loosen(call) if call.call_id in ids else call for call in self._kept]
                self._try([call for call in trial if call is not None], self._starts)
            chunk //= 2

    def _try(self, trial: list[Call], starts: Iterable[Any] | None) -> bool:
        """Take `trial` in place of what is kept, if it is a violation."""
        steps_max = min(self._steps_left, _TRIAL_STEPS_MAX)
        search = Search(trial, self._model, steps_max, starts, self._until)
        is_violation = search.run() is Decision.VIOLATION
        self._steps_left -= search.steps + 4 * len(trial)  # laying it out is work too
        if is_violation:
            self._keep(trial, search)
        return is_violation

    def _keep(self, calls: Iterable[Call], search: Search) -> None:
        """Take the calls that `search` found to be a violation, up to where it was stuck.

        Calls that were answered later keep their results, which may rule an
        order out, but not their ends: what they would need may come later.
        """
        self._search = search
        self._until = search.stuck_call().ended_key
        self._kept = [call for call in calls if call.began_key <= self._until]


def _cut_before(calls: Iterable[Call], end_key: tuple[float, int]) -> list[Call]:
    """Return the history after a moment.

    A call that waited at that moment may have had its effect before it, and
    so its outcome in what is left is unknown.
    """
    return [
        call if call.began_key > end_key else _make_unknown(call)
        for call in calls
        if call.outcome is not Outcome.OK or call.ended_key > end_key
    ]


def _make_unknown(call: Call) -> Call:
    return replace(call, outcome=Outcome.UNKNOWN, result=None)
