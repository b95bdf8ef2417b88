"""The search for an order of calls that a model agrees with.

The search is that of Wing and Gong 1993 ("Testing and verifying concurrent
objects") with the refinements of Lowe 2017 ("Testing for linearizability"):

    * Calls are placed just in time. A response is a moment at which one call
      must have been placed; before it, some calls that wait may be placed, and
      none needs to be placed that is not followed by that one.
    * What was reached once (moment, calls placed, state) is not entered again.
      The calls placed are bits of an int, and an answered call gives its bit
      back, so that the int stays small.

We add three refinements, each justified where it is made: calls that only read
are placed at the first chance; a configuration is skipped when another one was
there with the same state and more choices left; of unknown calls that ask for
the same, the first to begin is placed first. Without them every call with an
unknown outcome would double the work.

The search keeps its own stack and never recurses. It goes depth first and is
quick to accept. To reject, it has to visit everything, and so it knows every
state that was possible at the last moment that could be reached.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from ..errors import ConfigError
from .history import ORDER_MAX, Call, Outcome
from .models import UNKNOWN, Model
from .values import Value, show

_STEPS_PER_ANSWER = 5
_NEVER = (math.inf, ORDER_MAX)

# The calls placed, last first: (call, how many, those before).
_Trail: TypeAlias = "tuple[int, int, _Trail] | None"
# A place in the search: moment, bits of the writes placed, price, state, trail.
_Node: TypeAlias = tuple[int, int, int, int, _Trail]


class Decision(Enum):
    """What the checker found."""

    LINEARIZABLE = "linearizable"
    VIOLATION = "not linearizable"
    UNDECIDED = "undecided"


def result_of(call: Call) -> Value:
    """Return what the client was told, `UNKNOWN` if nothing."""
    return call.result if call.outcome is Outcome.OK else UNKNOWN


class _Steps:
    """The model's answers, asked once each; a state is known by its number."""

    def __init__(self, model: Model[Any], calls: list[Call]) -> None:
        self._model = model
        self._calls = calls
        self._numbers: dict[Hashable, int] = {}
        self._known: dict[tuple[int, int], tuple[int, ...]] = {}
        self.states: list[Any] = []
        self.asked_count = 0

    def after(self, state: int, call: int) -> tuple[int, ...]:
        """Return the states in which a call may leave, having returned what it did."""
        left = self._known.get((state, call))
        if left is None:
            self.asked_count += 1
            asked = self._calls[call]
            told = self._model.step(self.states[state], asked.operation, result_of(asked))
            left = self._known[state, call] = tuple(self.number(each) for each in told)
        return left

    def number(self, state: Any) -> int:
        """Return the number of a state."""
        try:
            number = self._numbers.setdefault(state, len(self.states))
        except TypeError as error:
            name = type(self._model).__name__
            raise ConfigError(f"{name} has a state without a hash: {show(state)}") from error
        if number == len(self.states):
            self.states.append(state)
        return number


@dataclass(slots=True)
class _Moment:
    """A response, and what waits when it comes.

    Attributes:
        call: The call that is answered.
        bit: Its bit, among the writes or among the reads.
        is_read: Whether it is a call that never changes the state.
        reads_begun: Bits of the reads that began since the moment before.
        reads: (bit, call) of each read that waits, this one included.
        writes: (bit, call) of each other write that waits and has an answer.
    """

    call: int
    bit: int
    is_read: bool
    reads_begun: int
    reads: tuple[tuple[int, int], ...]
    writes: tuple[tuple[int, int], ...]


class _Chain:
    """Unknown calls that ask for the same, by beginning; placed in that order only.

    Of two, the one that began first can always take the other's place.
    """

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.from_moments: list[int] = []
        self.shift = 0

    def next(self, price: int, at: int) -> tuple[int, int] | None:
        """Return (bit, call) of the first call not yet used, if it has begun at that moment."""
        unused = (~price >> self.shift) & ((1 << len(self.calls)) - 1)
        place = (unused & -unused).bit_length() - 1
        if place < 0 or self.from_moments[place] > at:
            return None
        return 1 << (self.shift + place), self.calls[place]


class _Slots:
    """Bits for calls that wait. A bit that was given back is used again."""

    def __init__(self) -> None:
        self._free: list[int] = []
        self.count = 0

    def take(self) -> int:
        if self._free:
            return self._free.pop()
        self.count += 1
        return 1 << (self.count - 1)

    def give(self, bit: int) -> None:
        self._free.append(bit)


class _Plan:
    """The moments of a part, laid out before the search."""

    def __init__(self, calls: list[Call], model: Model[Any], until: tuple[float, int]) -> None:
        self.moments: list[_Moment] = []
        self.chains: list[_Chain] = []
        self._calls = calls
        self._reads: dict[int, int] = {}
        self._writes: dict[int, int] = {}
        self._read_slots, self._write_slots = _Slots(), _Slots()
        self._begun = 0
        self._is_read = [model.is_read_only(call.operation, result_of(call)) for call in calls]
        chains: dict[Hashable, _Chain] = {}
        for is_end, index in self._events(until):
            if is_end:
                self._end(index)
            elif calls[index].outcome is Outcome.OK:
                self._begin(index)
            elif not self._is_read[index]:
                chain = chains.setdefault(calls[index].operation, _Chain())
                chain.calls.append(index)
                chain.from_moments.append(len(self.moments))
        # Their bits come after those of the reads, because both are in the price of a node.
        shift = self._read_slots.count
        for chain in chains.values():
            chain.shift = shift
            shift += len(chain.calls)
        self.chains = list(chains.values())

    def _events(self, until: tuple[float, int]) -> list[tuple[bool, int]]:
        """Return (is an answer, call) in the order of time; a call begins before it ends."""
        events: list[tuple[tuple[float, int], bool, int]] = []
        for index, call in enumerate(self._calls):
            events.append((call.began_key, False, index))
            if call.outcome is Outcome.OK:
                events.append((call.ended_key, True, index))
        return [(is_end, index) for key, is_end, index in sorted(events) if key <= until]

    def _begin(self, index: int) -> None:
        if self._is_read[index]:
            bit = self._reads[index] = self._read_slots.take()
            self._begun |= bit
        else:
            self._writes[index] = self._write_slots.take()

    def _end(self, index: int) -> None:
        is_read = self._is_read[index]
        bit = (self._reads if is_read else self._writes)[index]
        reads = tuple((bit, call) for call, bit in self._reads.items())
        writes = tuple((bit, call) for call, bit in self._writes.items() if call != index)
        moment = _Moment(index, bit, is_read, self._begun, reads, writes)
        self.moments.append(moment)
        self._begun = 0
        if is_read:
            self._read_slots.give(self._reads.pop(index))
        else:
            self._write_slots.give(self._writes.pop(index))


class Search:
    """The search through one part; `run` it once, then ask.

    Args:
        calls: The calls of the part that may have happened.
        model: What they should do.
        steps_max: When to give up.
        starts: The states it may start in; by default the model's initial one.
        until: Answers that come later need not be reached. The calls may
            still be placed, with the results they have then.

    A node's price holds a bit for each read that still waits and for each
    unknown call that is used up. At the same moment, with the same writes
    placed and the same state, the node whose bits are a subset of the other's
    can do whatever the other can: a read placed is a duty less, and an unknown
    call never has to be placed.
    """

    def __init__(
        self,
        calls: list[Call],
        model: Model[Any],
        steps_max: int,
        starts: Iterable[Any] | None = None,
        until: tuple[float, int] = _NEVER,
    ) -> None:
        self._tries = 0
        self.calls = calls
        self._steps_max = steps_max
        self._plan = _Plan(calls, model, until)
        self._model = _Steps(model, calls)
        self._starts = [model.initial()] if starts is None else list(starts)
        self._seen: list[dict[tuple[int, int], list[int]]] = [{} for _ in self._plan.moments]
        self._stack: list[_Node] = []
        self._best: _Node | None = None
        self._end: _Node | None = None

    @property
    def steps(self) -> int:
        """How much work it was so far: nodes tried, and answers of the model, which cost more."""
        return self._tries + _STEPS_PER_ANSWER * self._model.asked_count

    def run(self) -> Decision:
        """Search until an order is found, all was tried, or the steps are used up."""
        for state in self._starts:
            self._enter(self._settle(0, 0, 0, self._model.number(state), None, arrives=True))
        while self._stack and self._end is None:
            if self.steps >= self._steps_max:
                return Decision.UNDECIDED
            self._expand(self._stack.pop())
        return Decision.VIOLATION if self._end is None else Decision.LINEARIZABLE

    def order(self) -> tuple[Call, ...]:
        """Return the order that was found; of a failed search, the longest one."""
        node = self._end or self._best
        placed = []
        trail = node[4] if node else None
        while trail is not None:
            placed.append(self.calls[trail[0]])
            trail = trail[2]
        return tuple(reversed(placed))

    def stuck_call(self) -> Call:
        """Return, after a violation, the call of the last moment that was reached."""
        return self.calls[self._plan.moments[self._last_moment()].call]

    def stuck_states(self) -> list[Any]:
        """Return, after a violation, every state that was possible at that moment."""
        numbers = dict.fromkeys(state for _, state in self._seen[self._last_moment()])
        return [self._model.states[number] for number in numbers]

    def known_states(self) -> list[Any]:
        """Return, after a violation, every state that any order of calls can lead to."""
        return list(self._model.states)

    def _last_moment(self) -> int:
        assert self._best is not None, "asked why, but the search did not fail"
        return self._best[0]

    def _expand(self, node: _Node) -> None:
        """Enter every node that is one placed call away; the most promising is popped first."""
        at, placed, price, state, trail = node
        moment = self._plan.moments[at]
        after = self._model.after
        # The youngest are popped first: most late effects are not very late.
        for chain in self._plan.chains:
            self._tries += 1
            if chain.from_moments[0] > at:
                break  # and so do those after it
            if (found := chain.next(price, at)) is not None:
                bit, call = found
                for left in after(state, call):
                    if left != state:  # else it is as good as never placed
                        grown = _grow(trail, call)
                        self._enter(self._settle(at, placed, price | bit, left, grown))
        for bit, call in moment.writes:
            if not placed & bit:
                self._tries += 1
                for left in after(state, call):
                    self._enter(self._settle(at, placed | bit, price, left, _grow(trail, call)))
        if not moment.is_read:  # a read that fitted would have been placed by _settle
            self._tries += 1
            for left in after(state, moment.call):
                grown = _grow(trail, moment.call)
                self._enter(self._settle(at, placed | moment.bit, price, left, grown))

    def _settle(
        self, at: int, placed: int, price: int, state: int, trail: _Trail, arrives: bool = False
    ) -> _Node:
        """Place what can be placed without a choice, and go on to a moment that has one.

        A read that fits is placed at once: it leaves the state alone, so
        whatever could follow without it can follow with it.
        """
        moments = self._plan.moments
        after = self._model.after
        while at < len(moments):
            moment = moments[at]
            if arrives:
                price |= moment.reads_begun
            for bit, call in moment.reads:
                if price & bit and after(state, call):
                    price &= ~bit
                    trail = _grow(trail, call)
            if moment.is_read:
                if price & moment.bit:
                    break
            elif placed & moment.bit:
                placed &= ~moment.bit
            else:
                break
            at += 1
            arrives = True
        return at, placed, price, state, trail

    def _enter(self, node: _Node) -> None:
        """Put a node on the stack, unless one at least as good was there already."""
        at, placed, price, state, trail = node
        if at == len(self._plan.moments):
            self._end = node
            return
        prices = self._seen[at].setdefault((placed, state), [])
        self._tries += len(prices) // 16
        for paid in prices:
            if paid & price == paid:
                return
        if prices:
            prices[:] = [paid for paid in prices if paid & price != price]
        prices.append(price)
        self._stack.append(node)
        if self._best is None or (at, _length(trail)) > (self._best[0], _length(self._best[4])):
            self._best = node


def _grow(trail: _Trail, call: int) -> _Trail:
    return (call, _length(trail) + 1, trail)


def _length(trail: _Trail) -> int:
    return 0 if trail is None else trail[1]
