"""The leader of a history that goes on: it accepts merging histories and takes in their commands.

It puts into the log what it is asked to, and answers when that is applied. It need not get anything
right beyond that: a system entry that comes too early, too late or twice is void by the ledger's
rules. So nothing here has to survive a change of the leader; whoever replays asks the next one how
far it is, and goes on.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...ids import PeerId
from ..wire import merge as wire
from ..wire.system_entries import AcceptMerge, FinishMerge, Replay
from .asking import Asking, MergePhase
from .view import (
    Emit,
    MergeConfig,
    MergeView,
    ProposeSystemEntry,
    others_of,
    own_rank,
    rank_of,
    to_peer,
)

ACCEPTING_MAX = 64
WAITING_MAX = 8
HELD_BYTES_MAX = 32 * 1024 * 1024


@dataclass(slots=True)
class _Held:
    """A system entry that was proposed for somebody, and who waits for it, with its run."""

    waiting: dict[PeerId, int]
    size_bytes: int = 0


class Hosting:
    """Takes in other histories, unless `asking` is about to have this one taken in."""

    def __init__(self, config: MergeConfig, asking: Asking, emit: Emit) -> None:
        self._config = config
        self._asking = asking
        self._emit = emit
        self._accepting: dict[bytes, PeerId] = {}
        self._held: dict[tuple[bytes, int, int], _Held] = {}

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for anything."""
        return not (self._accepting or self._held)

    def look(self, view: MergeView) -> None:
        """Let those who wait know when this member leads no more."""
        if view.is_leading:
            return
        for request_id, peer in self._accepting.items():
            self._send(peer, wire.MergeRefused(request_id, wire.MergeRefusal.NOT_LEADER))
        for held in self._held.values():
            self._refuse(held, wire.MergeRefusal.NOT_LEADER)
        self._accepting.clear()
        self._held.clear()

    # What merging histories say.

    def receive_request(
        self, peer: PeerId, request: wire.MergeRequest, view: MergeView, *, now: float
    ) -> None:
        """Accept a shorter history, with a system entry in the log, or say why not."""
        history, request_id = request.history, request.request_id
        if view.is_open and history != view.history and view.ledger.has_all_of(history):
            self._send_state(peer, history, view)
            return
        why = self._why_not(request, view, now)
        if why is not None:
            self._send(peer, wire.MergeRefused(request_id, why))
        elif request_id not in self._accepting:
            self._accepting[request_id] = peer
            self._emit(ProposeSystemEntry(AcceptMerge(history, request_id)))

    def receive_query(self, peer: PeerId, query: wire.ReplayQuery, view: MergeView) -> None:
        """Say how much of another history is here."""
        if view.history and query.history != view.history:
            self._send_state(peer, query.history, view)

    def receive_replay(
        self, peer: PeerId, message: wire.ReplayCommands | wire.ReplayEnd, view: MergeView
    ) -> None:
        """Put commands of a history that ended into the log; note its end there when all are."""
        run, system_entry = message.run, message.system_entry
        key = _key_of(system_entry)
        if not view.is_leading:
            self._refuse_run(peer, run, wire.MergeRefusal.NOT_LEADER)
        elif _is_here(view, system_entry):
            self._send_done(peer, run, system_entry, view)
        elif key in self._held:
            self._wait(self._held[key], peer, run)
        elif self._has_gap(system_entry, view):
            self._refuse_run(peer, run, wire.MergeRefusal.GAP)
        elif not self._has_room():
            self._refuse_run(peer, run, wire.MergeRefusal.BUSY)
        else:
            batches = system_entry.command_batches if isinstance(system_entry, Replay) else ()
            payloads = [payload for batch in batches for payload in batch.payloads]
            if payloads and not view.is_readable(peer, payloads):
                self._refuse_run(peer, run, wire.MergeRefusal.FAILED)
                return
            self._held[key] = _Held({peer: run}, sum(map(len, payloads)))
            self._emit(ProposeSystemEntry(system_entry))

    # What became of system entries.

    def accept_settled(
        self, system_entry: AcceptMerge, view: MergeView, *, is_applied: bool
    ) -> None:
        """Answer a request: its system entry is applied, or is not in the log."""
        peer = self._accepting.pop(system_entry.request_id, None)
        if peer is None:
            return
        if is_applied and view.is_open and not view.ledger.has_all_of(system_entry.history):
            self._send(peer, wire.MergeAccepted(view.history, system_entry.request_id))
        else:
            self._send(peer, wire.MergeRefused(system_entry.request_id, wire.MergeRefusal.FAILED))

    def replay_settled(self, system_entry: Replay | FinishMerge, view: MergeView) -> None:
        """Answer those who wait for commands or the end: applied, void, or not in the log."""
        held = self._held.pop(_key_of(system_entry), _Held({}))
        if not _is_here(view, system_entry):
            self._refuse(held, wire.MergeRefusal.FAILED)
            return
        for peer, run in held.waiting.items():
            self._send_done(peer, run, system_entry, view)

    def _why_not(
        self, request: wire.MergeRequest, view: MergeView, now: float
    ) -> wire.MergeRefusal | None:
        """Return why a request is refused, None to accept it."""
        if view.is_open and request.history == view.history:
            return wire.MergeRefusal.SAME
        if not view.is_leading:
            return wire.MergeRefusal.NOT_LEADER
        asking = self._asking
        if asking.crosses(request):
            if asking.yields_to(request):
                return wire.MergeRefusal.BUSY
            asking.withdraw(now=now)
        elif asking.phase is not MergePhase.IDLE or len(self._accepting) >= ACCEPTING_MAX:
            return wire.MergeRefusal.BUSY
        else:
            other = others_of(view).get(request.history)
            if own_rank(view, other) < rank_of(request.history, request.command_count):
                asking.note_longer(request, now=now)
                return wire.MergeRefusal.SHORTER
        return None

    def _has_gap(self, system_entry: Replay | FinishMerge, view: MergeView) -> bool:
        """Return whether commands before these are neither here nor on their way into the log."""
        history, after, _ = _key_of(system_entry)
        known = view.ledger.taken_of(history)
        if isinstance(system_entry, FinishMerge):
            return known != after
        return after > max([known, *(upto for other, _, upto in self._held if other == history)])

    def _has_room(self) -> bool:
        size_bytes = sum(held.size_bytes for held in self._held.values())
        return len(self._held) < self._config.hosted and size_bytes < HELD_BYTES_MAX

    def _wait(self, held: _Held, peer: PeerId, run: int) -> None:
        if peer in held.waiting or len(held.waiting) < WAITING_MAX:
            held.waiting[peer] = run
        else:
            self._refuse_run(peer, run, wire.MergeRefusal.BUSY)

    def _refuse(self, held: _Held, why: wire.MergeRefusal) -> None:
        for peer, run in held.waiting.items():
            self._refuse_run(peer, run, why)

    def _refuse_run(self, peer: PeerId, run: int, why: wire.MergeRefusal) -> None:
        self._send(peer, wire.ReplayRefused(run, why))

    def _send_done(
        self, peer: PeerId, run: int, system_entry: Replay | FinishMerge, view: MergeView
    ) -> None:
        if isinstance(system_entry, FinishMerge):
            self._send_state(peer, system_entry.history, view)
        else:
            self._send(peer, wire.ReplayDone(run, _key_of(system_entry)[2]))

    def _send_state(self, peer: PeerId, history: bytes, view: MergeView) -> None:
        ledger = view.ledger
        if view.may_vouch:
            taken, is_merged = ledger.taken_of(history), ledger.has_all_of(history)
            self._send(peer, wire.ReplayState(history, view.history, taken, is_merged))

    def _send(self, peer: PeerId, message: wire.MergeMessage) -> None:
        self._emit(to_peer(peer, message))


def _key_of(system_entry: Replay | FinishMerge) -> tuple[bytes, int, int]:
    """Return what tells the commands of one history apart: the places before and at their end."""
    history, count = system_entry.history, system_entry.command_count
    if isinstance(system_entry, FinishMerge):
        return (history, count, count)
    return (history, system_entry.after, system_entry.after + count)


def _is_here(view: MergeView, system_entry: Replay | FinishMerge) -> bool:
    history, after, upto = _key_of(system_entry)
    return view.ledger.has_all_of(history) or after < upto <= view.ledger.taken_of(history)
