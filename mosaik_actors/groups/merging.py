"""What a member does about other histories of its group: `merge`, driven.

Feeds the core with what this member's history says and does, carries out what
it wants, and tells users what came of it: one `HistoryMerged` for each history
that was taken in, to those who were in the one that goes on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final

from ..ids import PeerId
from . import frames
from .acts import Act
from .history import History
from .host import Host
from .ledger import MergeFinished
from .member_events import HistoriesConflicted, HistoryMerged, Logged, Told
from .merge import Merge
from .merge_view import (
    HandOver,
    HistoriesConflict,
    HistoryAbandoned,
    MergeStarted,
    MergeView,
    ProposeAct,
    SendMerge,
)
from .status import Status

_GIVEN_UP_KEPT: Final = 64


class Merging:
    """The meeting of histories, as one member sees it.

    Args:
        me: This member.
        rng: Draws ids and waits.
        host: The machine.
        statuses: Who is bonded with this member, and what they say.
        send: Sends a frame to a bonded member.
        emit: Takes events for the caller.
        now: Monotonic time in seconds.
    """

    def __init__(
        self,
        me: PeerId,
        rng: Random,
        host: Host,
        *,
        statuses: Callable[[], Mapping[PeerId, Status]],
        send: Callable[[PeerId, bytes], None],
        emit: Callable[[Any], None],
        now: float,
    ) -> None:
        self._me = me
        self._rng = rng
        self._host = host
        self._statuses = statuses
        self._send = send
        self._emit = emit
        self._core = Merge(me, rng, now=now)
        self._seen: object = None
        self._replayed: dict[bytes, list[bytes]] = {}
        self._given_up: deque[bytes] = deque(maxlen=_GIVEN_UP_KEPT)

    @property
    def keeps_log(self) -> bool:
        """Whether the log must not be cut at the moment."""
        return self._core.keeps_log

    def receive(self, peer: PeerId, data: bytes, *, now: float) -> None:
        """Take in a message of another history's member. Raises `RemoteError`."""
        self._core.receive_message(peer, data, now=now)

    def get_timer(self) -> float:
        """Return when to call `handle_timer`."""
        return self._core.get_timer()

    def handle_timer(self, *, now: float) -> None:
        """Do what is due; then call `look`."""
        self._core.handle_timer(now=now)

    def give_up(self, history: bytes, *, now: float) -> None:
        """Begin anew: this member has given up a history."""
        self._given_up.append(history)
        self._replayed.clear()
        self._core = Merge(self._me, self._rng, now=now)

    def look(
        self, history: History, status_count: int, *, now: float
    ) -> tuple[HistoryAbandoned | None, bool]:
        """See to what has changed; return what to give up, and whether anything was done.

        Args:
            history: The history that is followed.
            status_count: Differs when somebody's status does.
            now: Monotonic time in seconds.
        """
        core, raft = self._core, history.raft
        seen = (history, raft.is_leader, raft.leader, raft.configuration_index, status_count)
        failed: list[Act] = []
        applied: list[Act] = []
        if history.has_news:
            self._note_replays(history)
            failed, applied = history.take_failed_acts(), history.take_acts()
        if not (failed or applied) and seen == self._seen and core.is_resting:
            return None, False
        self._seen = seen
        for act in failed:
            core.act_failed(act, now=now)
        core.update(self._view(history), now=now)
        for act in applied:
            core.act_applied(act, now=now)
        return self._carry_out(history)

    def _carry_out(self, history: History) -> tuple[HistoryAbandoned | None, bool]:
        has_acted = False
        while (event := self._core.next_event()) is not None:
            has_acted = True
            match event:
                case SendMerge(peer, data):
                    self._send(peer, frames.plain(frames.MERGE, data))
                case ProposeAct(act):
                    history.propose_act(act)
                case HandOver(to):
                    history.raft.transfer_leadership(to)
                case MergeStarted(winner, loser):
                    text = f"history {loser.hex()} goes into {winner.hex()}"
                    self._emit(Logged(False, text))
                case HistoryAbandoned(loser, _):
                    if loser == history.id:
                        return event, True
                case HistoriesConflict(other):
                    self._emit(Told(HistoriesConflicted(history.id, other)))
                    text = f"history {other.hex()} cannot be merged: both logs were cut"
                    self._emit(Logged(True, text))
        return None, has_acted

    def _view(self, history: History) -> MergeView:
        raft = history.raft
        return MergeView(
            history=history.id,
            is_leader=raft.is_leader,
            has_leader=raft.leader is not None,
            voter_count=len(raft.configuration.voters),
            position=self._host.position,
            ledger=self._host.ledger,
            log=raft,
            peers=self._statuses(),
        )

    def _note_replays(self, history: History) -> None:
        """Collect what comes from another history, and tell when all of it is here."""
        for replayed in history.take_replayed():
            self._replayed.setdefault(replayed.history, []).extend(replayed.payloads)
        for event in history.take_ledger_events():
            if isinstance(event, MergeFinished):
                payloads = self._replayed.pop(event.history, [])
                if history.is_catching_up or event.history in self._given_up:
                    continue  # it was told when it happened, or before this member was here
                commands = tuple(self._host.decode_commands(payloads))
                merged = HistoryMerged(history.id, event.history, commands, is_loser=False)
                self._emit(Told(merged))
