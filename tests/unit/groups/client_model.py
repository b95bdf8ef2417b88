"""A group around one command client, as bad as it may be, with the real `Sessions`.

Command batches to the leader are lost, doubled, delayed and overtaken; the leader
changes, and what it had not committed is gone; the client's member misses
answers, as when a snapshot takes their place; other clients come and go, until
ours is forgotten, when there is little room for clients. Commands are
numbers, so the order of what is applied shows at a glance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import msgspec

from mosaik_actors.errors import Full
from mosaik_actors.groups.client.calls import Submission
from mosaik_actors.groups.client.client import ClientRenewed, CommandClient, SubmissionFailed
from mosaik_actors.groups.machine.payloads import encode_position
from mosaik_actors.groups.machine.sessions import CommandAnswer, SessionLimits, Sessions
from mosaik_actors.groups.wire.commands import CommandBatch, join_commands

STEP_S = 0.01
STRANGER = 1 << 40
FORMS = (b"\x00", b"\x00", b"\x02")


def encoded(form: bytes, commands: Sequence[int]) -> bytes:
    """Return a payload of commands."""
    return join_commands(form, [msgspec.msgpack.encode(number) for number in commands])


@dataclass(frozen=True)
class Faults:
    """How bad it is; shares of command batches or chances per step."""

    loss: float = 0.1
    doubling: float = 0.1
    refusal: float = 0.1
    delay_s: float = 0.2
    leader_change: float = 0.01
    missed_answers: float = 0.01
    client_count: int = 1000


@dataclass
class Call:
    """One submission and what its caller saw."""

    commands: range
    waits: bool
    outcome: Submission | SubmissionFailed | None = None
    is_cancelled: bool = False
    never: bool = False


@dataclass
class Model:
    """The group; `run` plays it, `finish` lets it recover, `check` judges it."""

    rng: Random
    faults: Faults
    now: float = 0.0
    calls: dict[int, Call] = field(default_factory=dict)
    applied: list[int] = field(default_factory=list)
    renewal_count: int = 0

    def __post_init__(self) -> None:
        limits = SessionLimits(client_count=self.faults.client_count)
        self.sessions = Sessions(limits)
        self.client = CommandClient(
            self.rng.randbytes(16),
            pending_commands=200,
            pending_bytes=10_000,
            resend_s=0.5,
            rng=self.rng,
        )
        self.index = 0
        self.log: list[CommandBatch] = []
        self.uncommitted: list[CommandBatch] = []
        self.mail: list[tuple[float, int, CommandBatch]] = []
        self.epoch = 0
        self.has_leader = False
        self.command_count = 0
        self.is_faulty = True

    # The play.

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.act_as_callers()
            self.step()

    def finish(self) -> None:
        """No more faults: everything that is pending must be done in a while."""
        self.is_faulty = False
        self.set_leader(True)
        for _ in range(2000):
            self.step()
            if self.client.is_idle and not self.mail and not self.uncommitted:
                return
        raise AssertionError(f"{self.client.pending_count} commands are still pending")

    def step(self) -> None:
        self.now += STEP_S
        due_at = self.client.get_timer()
        if due_at is not None and due_at <= self.now:
            self.client.handle_timer(now=self.now)
        if self.is_faulty:
            self.disturb()
        for command_batch in self.client.take_command_batches(self.now, self.index):
            self.send(command_batch)
        self.deliver()
        self.commit()
        self.take_events()

    def act_as_callers(self) -> None:
        rng = self.rng
        if rng.random() < 0.6:
            count = rng.choice((1, 1, 1, 2, 5, 30))
            commands = range(self.command_count, self.command_count + count)
            # Of one form or the other, each alone or several in a payload.
            form, size = rng.choice(FORMS), rng.choice((1, 3, 30))
            payloads = [encoded(form, commands[at : at + size]) for at in range(0, count, size)]
            token = len(self.calls)
            waits = rng.random() < 0.7
            timeout_s = rng.choice((0.05, 0.3, 2.0, 100.0))
            try:
                size_bytes = sum(map(len, payloads))
                submission = Submission(payloads, count, size_bytes, token, timeout_s, waits)
                self.client.submit(submission, now=self.now)
            except Full:
                return
            self.command_count += count
            self.calls[token] = Call(commands, waits)
        if self.calls and rng.random() < 0.05:
            token = len(self.calls) - 1 - rng.randrange(min(4, len(self.calls)))
            call = self.calls[token]
            call.never |= self.client.cancel(token)
            call.is_cancelled = call.outcome is None

    def disturb(self) -> None:
        rng = self.rng
        if rng.random() < self.faults.leader_change:
            # What the old leader had not committed is partly lost.
            del self.uncommitted[rng.randrange(len(self.uncommitted) + 1) :]
            self.epoch += 1
            self.set_leader(rng.random() < 0.5)
        elif not self.has_leader and rng.random() < 0.1:
            self.set_leader(True)
        if rng.random() < 0.1:
            self.uncommitted.append(self.stranger())

    def set_leader(self, is_known: bool) -> None:
        self.has_leader = is_known
        self.client.set_leader(is_known, self.epoch, self.now)

    def stranger(self) -> CommandBatch:
        """Return a command of some other client, which the group has to remember."""
        payload = encoded(FORMS[0], [STRANGER])
        return CommandBatch(self.rng.randbytes(16), self.index, 1, 0, (payload,))

    def send(self, command_batch: CommandBatch) -> None:
        rng, faults = self.rng, self.faults
        if not self.is_faulty:
            self.mail.append((self.now, self.epoch, command_batch))
        elif rng.random() < faults.refusal:
            self.client.receive_refused(command_batch.first_sequence, self.now)
        else:
            copies = 0 if rng.random() < faults.loss else 1 + (rng.random() < faults.doubling)
            for _ in range(copies):
                delay_s = rng.random() * rng.choice((0, faults.delay_s, 10 * faults.delay_s))
                self.mail.append((self.now + delay_s, self.epoch, command_batch))

    def deliver(self) -> None:
        due = [item for item in self.mail if item[0] <= self.now]
        self.mail = [item for item in self.mail if item[0] > self.now]
        # Delayed copies reach whoever leads by then: worse than what links do.
        self.uncommitted += [
            command_batch for _, _, command_batch in sorted(due, key=lambda item: item[0])
        ]

    def commit(self) -> None:
        count = len(self.uncommitted)
        if self.is_faulty:
            count = self.rng.randrange(count + 1)
        entries, self.uncommitted = self.uncommitted[:count], self.uncommitted[count:]
        answers: list[CommandAnswer] = []
        for command_batch in entries:
            self.index += 1
            answered = self.sessions.apply(command_batch, self.index, self.machine)
            if command_batch.client == self.client.client_id:
                answers += answered
        if self.is_faulty and self.rng.random() < self.faults.missed_answers:
            return
        self.client.receive_answers(answers, self.now)

    def machine(self, payloads: Sequence[bytes]) -> list[bytes | None]:
        positions: list[bytes | None] = []
        for payload in payloads:
            commands = msgspec.msgpack.decode(payload[1:])
            positions.append(encode_position(len(self.applied) + 1, len(commands)))
            self.applied += commands
        return positions

    def take_events(self) -> None:
        for event in self.client.take_events():
            if isinstance(event, ClientRenewed):
                assert event.client_id == self.client.client_id
                self.renewal_count += 1
                continue
            assert isinstance(event.token, int)
            call = self.calls[event.token]
            assert not call.is_cancelled, "a caller that left was told"
            assert call.outcome is None, "a caller was told twice"
            call.outcome = event
            if isinstance(event, Submission) and call.waits:
                assert [self.applied[at - 1] for at in event.positions] == list(call.commands)

    # The judgement.

    def check(self) -> None:
        mine = [command for command in self.applied if command != STRANGER]
        assert mine == sorted(set(mine)), "applied twice or out of order"
        there = set(mine)
        for call in self.calls.values():
            applied = [command in there for command in call.commands]
            outcome = call.outcome
            assert call.is_cancelled == (outcome is None), "a caller was told nothing"
            if isinstance(outcome, SubmissionFailed) and not outcome.may_take_effect:
                call.never = True
            if call.never:
                assert not any(applied), "what never takes effect did"
            elif isinstance(outcome, Submission) and call.waits:
                assert all(applied), "what was resolved is missing"
            elif not self.renewal_count:
                assert all(applied), "what a leader was handed is missing"
