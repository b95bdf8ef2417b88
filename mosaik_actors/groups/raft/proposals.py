"""Whose proposal an entry is, and what becomes of it."""

from __future__ import annotations

from typing import Any, Literal

from .log import RaftLog
from .ready import ProposalOutcome, ProposalVerdict, Reason


class Proposals:
    """The proposals of one replica; its length is how many indexes have one that waits."""

    def __init__(self) -> None:
        self.outcomes: list[ProposalOutcome] = []  # what became of some, to be handed out
        self._waiting: dict[int, list[tuple[int, Any]]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def note(self, index: int, term: int, token: Any) -> None:
        """Remember whose proposal an entry of the current term is."""
        self._waiting.setdefault(index, []).append((term, token))

    def refuse(self, token: Any, reason: Reason) -> Literal[False]:
        """Notify the caller that a proposal is not taken, and never will be; return False."""
        self.outcomes.append(ProposalOutcome(token, ProposalVerdict.NOT_TAKEN, 0, reason))
        return False

    def give_up(self, index: int) -> None:
        """Notify the caller that nobody knows about proposals up to `index`."""
        for at in [at for at in self._waiting if at <= index]:
            for _, token in self._waiting.pop(at):
                outcome = ProposalOutcome(token, ProposalVerdict.UNKNOWN, 0, Reason.COMPACTED)
                self.outcomes.append(outcome)

    def resolve(self, log: RaftLog, before: int, index: int) -> None:
        """Report what became of proposals at places that are committed now.

        Another entry being committed there proves that the proposal never will
        be; that its own copy was removed would not: a later leader may hold one.
        """
        if not self._waiting:
            return
        for at in range(before + 1, index + 1):
            for term, token in self._waiting.pop(at, ()):
                if log.term_at(at) == term:
                    self.outcomes.append(ProposalOutcome(token, ProposalVerdict.COMMITTED, at))
                else:
                    self.refuse(token, Reason.OVERWRITTEN)
