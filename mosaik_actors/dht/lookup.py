"""An iterative lookup: ask ever closer nodes until the closest have all answered (Kademlia, 2.3).

Three questions are under way at a time; one that is not answered soon counts no longer, and
may still be answered. The lookup is over when the eight closest nodes it has
heard of have answered, or nobody is left to ask. It asks `ASKED_MAX` nodes at most and keeps
`CANDIDATES_MAX` in mind: nodes that invent others can lead it astray, not keep it going.

A core; whoever drives it sends the questions and says when one has failed.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from .krpc import NodeContact
from .routing import BUCKET_SIZE, distance, may_name

PARALLEL: Final = 3
ASKED_MAX: Final = 96
CANDIDATES_MAX: Final = 128


class _State(Enum):
    NEW = auto()
    ASKED = auto()
    SLOW = auto()
    ANSWERED = auto()
    FAILED = auto()


_OPEN = (_State.ASKED, _State.SLOW)


@dataclass(slots=True)
class _Candidate:
    contact: NodeContact
    distance: int
    state: _State = _State.NEW


class Lookup:
    """Who is closest to a target.

    Args:
        target: What is looked for: 20 bytes.
        known: Nodes to begin with.
    """

    def __init__(self, target: bytes, known: Iterable[NodeContact]) -> None:
        self.target = target
        self._candidates: dict[NodeContact, _Candidate] = {}
        self._ordered: list[_Candidate] = []  # the closest first
        self._under_way = 0
        self._open = 0
        self._asked_count = 0
        for contact in known:
            self._add(contact)

    @property
    def is_over(self) -> bool:
        """Whether nobody is left to ask."""
        return not self._open and self._next() is None

    @property
    def answered(self) -> list[NodeContact]:
        """The eight closest of those that have answered, the closest first."""
        done = [one.contact for one in self._ordered if one.state is _State.ANSWERED]
        return done[:BUCKET_SIZE]

    def take_questions(self) -> list[NodeContact]:
        """Return whom to ask now, each once."""
        found = []
        while self._under_way < PARALLEL and (candidate := self._next()) is not None:
            candidate.state = _State.ASKED
            self._asked_count += 1
            self._under_way += 1
            self._open += 1
            found.append(candidate.contact)
        return found

    def receive_answer(self, contact: NodeContact, named: Iterable[NodeContact]) -> None:
        """Take in that a node has answered, and whom it named."""
        if not self._close(contact, _State.ANSWERED):
            return
        for one in named:
            if one not in self._candidates and may_name(contact.addr, one.addr):
                self._add(one)

    def receive_delay(self, contact: NodeContact) -> None:
        """Take in that a node has not answered so far: another one is asked meanwhile."""
        candidate = self._candidates.get(contact)
        if candidate is not None and candidate.state is _State.ASKED:
            candidate.state = _State.SLOW
            self._under_way -= 1

    def receive_failure(self, contact: NodeContact) -> None:
        """Take in that a node has not answered."""
        self._close(contact, _State.FAILED)

    # Helpers.

    def _close(self, contact: NodeContact, state: _State) -> bool:
        candidate = self._candidates.get(contact)
        if candidate is None or candidate.state not in _OPEN:
            return False
        self._under_way -= candidate.state is _State.ASKED
        self._open -= 1
        candidate.state = state
        return True

    def _add(self, contact: NodeContact) -> None:
        if contact in self._candidates:
            return
        candidate = _Candidate(contact, distance(contact.id, self.target))
        self._candidates[contact] = candidate
        insort(self._ordered, candidate, key=lambda one: one.distance)
        if len(self._ordered) > CANDIDATES_MAX:
            self._forget_farthest()

    def _forget_farthest(self) -> None:
        for at in reversed(range(len(self._ordered))):
            if self._ordered[at].state is _State.NEW:
                del self._candidates[self._ordered.pop(at).contact]
                return

    def _next(self) -> _Candidate | None:
        """Return the closest one not asked, if it is closer than the eighth that is good."""
        if self._asked_count >= ASKED_MAX:
            return None
        good = 0
        for candidate in self._ordered:
            if candidate.state is _State.NEW:
                return candidate
            good += candidate.state is _State.ANSWERED
            if good >= BUCKET_SIZE:
                return None
        return None
