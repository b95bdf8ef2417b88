"""A member of a history that is closed: it replays its log into an open one.

    RESTING  nothing to do, or nobody to send to, or it is another one's turn
    ASKING   the leader of the open history is asked how much it has
    SENDING  commands are on their way, a few system entries at a time, in order
    ENDING   all are there; the leader puts the end of the merge into the log

A closed history's commands do not change any more, so anybody who has its whole log can replay it,
with or without a leader or a majority. The leader does; others with the log step in when nothing
moves for a while. That two do it at once costs traffic, and nothing else.

Whatever goes wrong (a message lost, a leader changed, a system entry not taken), the attempt,
called a run, is given up and the next one begins with the question.

The commands go to the history that this one was closed into, or to the one that this one was closed
into in turn. If no leader of that is in sight for long, they go to any open history: the ledger
there knows what it has, whatever way it came.
"""

from __future__ import annotations

from enum import Enum
from math import inf
from random import Random
from typing import Final

from ...ids import PeerId
from ..wire import merge as wire
from .replay import ReplayStream, is_whole
from .view import Emit, MergeConfig, MergeView, Others, best_of, follow, to_peer

SLICES_PER_TURN: Final = 4

_RUN_BITS = 60


class Stage(Enum):
    """See the module's docstring."""

    RESTING = "resting"
    ASKING = "asking"
    SENDING = "sending"
    ENDING = "ending"


class Sending:
    """Replays this member's closed history."""

    def __init__(self, rng: Random, config: MergeConfig, emit: Emit) -> None:
        self.stage = Stage.RESTING
        self.has_sent = False  # whether this member has replayed anything, or tried
        self.timer_s = inf  # when `look` is due at the latest
        self._rng = rng
        self._config = config
        self._emit = emit
        self._run = 0
        self._target: tuple[bytes, PeerId] | None = None
        self._in_sight_s: float | None = None
        self._start_s = self._deadline_s = inf
        self._retry_s = config.retry
        self._seen_count = -1
        self._stream: ReplayStream | None = None
        self._on_their_way: dict[int, None] = {}

    def look(self, view: MergeView, others: Others, *, now: float) -> None:
        """Begin, go on or begin again, when it is time and there is somebody to send to."""
        self.timer_s = inf
        if not view.ledger.closed_into or not is_whole(view.log):
            self.stage = Stage.RESTING
            return
        if self._in_sight_s is None:
            self._in_sight_s = now
            self._watch(now)
        target = self._find_target(view, others, now)
        if self.stage is not Stage.RESTING and (target != self._target or now >= self._deadline_s):
            self._rest(now)
        if self.stage is Stage.RESTING:
            self._begin(view, target, now)
        elif self.stage is Stage.SENDING:
            self._send_on(now)
        if self.stage is not Stage.RESTING:
            self.timer_s = min(self.timer_s, self._deadline_s)

    def receive_state(
        self, peer: PeerId, message: wire.ReplayState, view: MergeView, now: float
    ) -> None:
        """Take in how much of this history is there; not all of it."""
        if message.taken > self._seen_count:
            # Somebody gets on with it.
            self._seen_count = message.taken
            if not self.has_sent:
                self._watch(now)
        if self.stage is not Stage.ASKING or (message.here, peer) != self._target:
            return
        self.stage = Stage.SENDING
        ancestors = view.ledger.ancestors
        self._stream = ReplayStream(
            view.history, view.log, skip_count=message.taken, ancestors=ancestors
        )
        self._on_their_way.clear()
        self._send_on(now)

    def receive_done(self, message: wire.ReplayDone, *, now: float) -> None:
        """Take in that commands are applied there, and send more."""
        if self.stage is Stage.SENDING and message.run == self._run:
            self._on_their_way.pop(message.upto, None)
            self._retry_s = self._config.retry
            self._deadline_s = now + self._config.stall
            self._send_on(now)

    def receive_refused(self, message: wire.ReplayRefused, *, now: float) -> None:
        """Begin again a little later."""
        if self.stage is not Stage.RESTING and message.run == self._run:
            self._rest(now)

    def _find_target(
        self, view: MergeView, others: Others, now: float
    ) -> tuple[bytes, PeerId] | None:
        """Return an open history, and its leader."""
        other = others.get(follow(view.ledger.closed_into, others))
        if other is not None and other.is_ready:
            self._in_sight_s = now
        else:
            assert self._in_sight_s is not None, "looked for before it began"
            lost_s = self._in_sight_s + self._config.lost
            if now < lost_s:
                self.timer_s = lost_s
                return None
            other = best_of(others)
        if other is None or other.leader is None:
            return None
        return other.history, other.leader

    def _watch(self, now: float) -> None:
        """Give the leader, or whoever replays, time to get on."""
        self._start_s = now + self._config.takeover * (1 + self._rng.random())

    def _rest(self, now: float) -> None:
        self.stage = Stage.RESTING
        self._stream = None
        self._on_their_way.clear()
        self._start_s = now + self._retry_s * (0.5 + self._rng.random())
        self._retry_s = min(2 * self._retry_s, self._config.retry_max)

    def _begin(self, view: MergeView, target: tuple[bytes, PeerId] | None, now: float) -> None:
        if target is None:
            return
        if view.is_leader and not self.has_sent:
            self._start_s = now
        if now < self._start_s:
            self.timer_s = min(self.timer_s, self._start_s)
            return
        self.has_sent = True
        self.stage = Stage.ASKING
        self._target = target
        self._run = self._rng.getrandbits(_RUN_BITS)
        self._deadline_s = now + self._config.stall
        self._emit(to_peer(target[1], wire.ReplayQuery(view.history)))

    def _send_on(self, now: float) -> None:
        """Send as much as may be on its way; read no more of the log than a turn allows."""
        stream, target = self._stream, self._target
        assert stream is not None, "sends without a log"
        assert target is not None, "sends to nobody"
        slices = 0
        while len(self._on_their_way) < self._config.window:
            system_entry = stream.take()
            if system_entry is not None:
                self._on_their_way[system_entry.after + system_entry.command_count] = None
                self._deadline_s = now + self._config.stall
                self._emit(to_peer(target[1], wire.ReplayCommands(self._run, system_entry)))
            elif not stream.has_more:
                break
            elif slices == SLICES_PER_TURN:
                # The rest in the next turn, which comes at once.
                self.timer_s = now
                self._deadline_s = now + self._config.stall
                return
            else:
                slices += 1
                stream.read()
        if stream.is_at_end and not self._on_their_way:
            self.stage = Stage.ENDING
            self._deadline_s = now + self._config.stall
            self._emit(to_peer(target[1], wire.ReplayEnd(self._run, stream.finish())))
