"""What users write to be replicated: the state machine, and the words around it.

A machine is deterministic: the same commands in the same order give the same state on every member.
So it takes no time, randomness or identity but what a command or its `ApplyContext` says.
Everything about it runs on the event loop's thread, one call at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from inspect import iscoroutinefunction, signature
from typing import Any, ClassVar, Generic

import msgspec

from ...config import require_between
from ...errors import ConfigError
from ...ids import GroupId, NetworkId
from ...schema import check_sendable, identity
from .state_sync import StateSync
from .types import A, C, Q, R, Typed, types_of


class Consistency(Enum):
    """How fresh the state is that a query sees.

    WEAK: this member's own, at once; it may lag behind the leader's. STRONG: at least everything
    that was committed anywhere when the query began (linearizable; Raft thesis 6.4).
    """

    WEAK = "weak"
    STRONG = "strong"


@dataclass(frozen=True, slots=True)
class LeadershipPreference:
    """Whether a member wants to lead, or even to vote.

    Attributes:
        factor: Its election timeouts are longer by this factor; above 1 it also
            hands leadership over to a voter with 1 when there is one.
        is_observer: It does not vote or lead, but for the moment in which it hands on a
            group whose voters are all gone.
    """

    factor: float = 1.0
    is_observer: bool = False

    NORMAL: ClassVar[LeadershipPreference]
    OBSERVER: ClassVar[LeadershipPreference]

    def __post_init__(self) -> None:
        require_between("leadership factor", self.factor, 1, 1000)

    @classmethod
    def reluctant(cls, factor: float = 4.0) -> LeadershipPreference:
        """Return the preference of a member that leads only if nobody else does."""
        return cls(factor=factor)


LeadershipPreference.NORMAL = LeadershipPreference()
LeadershipPreference.OBSERVER = LeadershipPreference(is_observer=True)


class ApplyContext(msgspec.Struct, frozen=True, gc=False):
    """Where in the group's history a command is applied; the same on every member."""

    # The command's position, as `Group.execute` returns it: commands applied before it, and one.
    index: int  # in `apply_batch` the first command's
    log_position: int  # the place in the log of the entry that carries it
    term: int  # the term of the leader that ordered it
    committed: int  # the highest position known to be committed, the whole entry's
    group_id: GroupId
    network_id: NetworkId


@dataclass(frozen=True, slots=True)
class QueryAnswer(Generic[A]):
    """What a query found."""

    result: A  # what the machine's `query` returned
    at_position: int  # how many commands the state had seen


class StateMachine(Typed, Generic[C, Q, A, R]):
    """The base of replicated state machines.

    Give `Command` and `Result` the types of your records, or unions of them: what a
    peer sends as a command is validated against `Command`, and what `apply` returns
    comes back from `Group.execute` if it is of `Result`. Then write `apply` and `query`:

        class Counter(StateMachine):
            Command = Increment | Reset
            Result = int

            def __init__(self) -> None:
                self.value = 0

            def apply(self, command, ctx):
                self.value = 0 if isinstance(command, Reset) else self.value + command.amount
                return self.value

            def query(self, query):
                return self.value

    Or give the types in the class's head, and type checkers know what the group takes and
    returns: ``class Counter(StateMachine[Increment | Reset, Value, int, int])`` is of these
    commands, queries, answers and results. Those left out are anything, and no results.

    A member that gives up its history begins anew with the machine as it was
    given; one that cannot be copied needs a method `reset()` that does that.

    With `snapshot` and `restore` the log is compacted when it has grown, and those
    who join fetch the state instead of the log.

    Attributes:
        Command: The type of commands.
        Query: The type of queries, for people.
        Answer: What `query` returns, for people.
        Result: The type of what `apply` returns; None: what it returns is not looked at.
        signature: Names the machine and its version. Members with another
            signature never meet. Empty: the class's module and name.
        leadership_preference: This member's, as a class or instance attribute.
        state_sync: How those who join get the state; None chooses `SnapshotSync`
            for a machine with `snapshot` and `LogReplaySync` for one without.
    """

    Command: ClassVar[Any] = Any
    Query: ClassVar[Any] = Any
    Answer: ClassVar[Any] = Any
    Result: ClassVar[Any] = None
    signature: str = ""
    leadership_preference: LeadershipPreference = LeadershipPreference.NORMAL
    state_sync: StateSync | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name, type_ in types_of(cls, StateMachine).items():
            if cls.__dict__.get(name, type_) != type_:
                raise TypeError(f"{cls.__name__}.{name} is another type than in the class's head")
            setattr(cls, name, type_)

    def apply(self, command: C, ctx: ApplyContext) -> R:
        """Change the state by one committed command; return its result, for its caller.

        The result is as deterministic as the state: alike on every member. It goes to
        the caller as a copy. One that is not of `Result` changes nothing about the
        command, which is applied; its caller gets `ResultError` for it. None always fits.

        It must not fail for a command of the declared type: an exception would
        leave this member's state in doubt, so the member stops and says so.
        """
        raise NotImplementedError(f"{type(self).__name__} has no apply")

    def apply_batch(self, commands: Sequence[C], ctx: ApplyContext) -> Sequence[R] | None:
        """Change the state by several commands in order; `ctx` is the first one's.

        Returns the result of each, or None when none has one. The default calls `apply` for each.
        """
        apply, group_id, network_id = self.apply, ctx.group_id, ctx.network_id
        place, term, committed = ctx.log_position, ctx.term, ctx.committed
        return [
            apply(command, ApplyContext(index, place, term, committed, group_id, network_id))
            for index, command in enumerate(commands, ctx.index)
        ]

    def check_readable(self, commands: Sequence[C]) -> None:
        """Raise `DecodeError` if what commands carry as bytes of their own could not be decoded.

        A leader asks before it takes in another member's commands: one that is
        committed and cannot be decoded would end all members.
        """

    def query(self, query: Q) -> A:
        """Return the answer to a query, changing nothing."""
        raise NotImplementedError(f"{type(self).__name__} has no query")

    def snapshot(self) -> Iterable[bytes]:
        """Return the state of this moment in parts, each at most a few hundred kilobytes.

        The parts may be made lazily, one per loop turn, while later commands are
        applied; they show the state when `snapshot` was called all the same. The
        same state gives the same parts on every member.
        """
        raise NotImplementedError(f"{type(self).__name__} has no snapshot")

    def restore(self, parts: Iterable[bytes]) -> Iterator[None] | None:
        """Replace the state by that of a snapshot, from its parts in order.

        May be a generator: it is then carried on piece by piece, and each ``yield`` gives the event
        loop a turn. Nothing else is asked of the machine before it is through.

        Raises:
            DecodeError: The parts are no snapshot of this machine.
        """
        raise NotImplementedError(f"{type(self).__name__} has no restore")

    @classmethod
    def has_snapshot(cls) -> bool:
        """Return whether both `snapshot` and `restore` are written."""
        return cls.snapshot is not StateMachine.snapshot and cls.restore is not StateMachine.restore


class NoOp(StateMachine):
    """The machine of a group that only elects leaders: any command does nothing."""

    signature = "mosaik_actors.NoOp"

    def apply(self, command: Any, ctx: ApplyContext) -> None:
        """Do nothing."""

    def query(self, query: Any) -> None:
        """Return None."""

    def snapshot(self) -> Iterable[bytes]:
        """Return no parts."""
        return ()

    def restore(self, parts: Iterable[bytes]) -> None:
        """Take in no parts."""


def signature_of(machine: StateMachine) -> bytes:
    """Return what names a machine: its signature and the identity of its types.

    Members that understand different commands, or keep different results, would come to different
    states, so they never meet: constraints and defaults differ as fields do. Without a signature
    the class's module and name are taken; ``__main__`` is left out, so that a program and one that
    imports it agree.

    Raises:
        TypeError: `Command` or `Result` is no type that can be sent; the text says which.
    """
    kind = type(machine)
    module = "" if kind.__module__ == "__main__" else f"{kind.__module__}."
    name = machine.signature or f"{module}{kind.__qualname__}"
    named = name.encode() + b"\0" + _identity_of(machine, "Command")
    # A machine without results is called what it was before there were any.
    return named if machine.Result is None else named + b"\0" + _identity_of(machine, "Result")


def _identity_of(machine: StateMachine, name: str) -> bytes:
    try:
        check_sendable(getattr(machine, name))
        return identity(getattr(machine, name))
    except TypeError as exc:
        raise TypeError(f"{type(machine).__name__}.{name}: {exc}") from exc


def check_machine(machine: StateMachine) -> None:
    """Raise `ConfigError` for what would only show with the first command, or never."""
    kind = type(machine)
    name = kind.__name__
    if not isinstance(machine, StateMachine):
        raise ConfigError(f"machine is {machine!r}, expected an instance of StateMachine")
    if machine.Command is StateMachine.Command and kind is not NoOp:
        what = "the type of its commands, or `Command = object`"
        raise ConfigError(f"{name} has no `Command`: {what}")
    if kind.apply is StateMachine.apply and kind.apply_batch is StateMachine.apply_batch:
        raise ConfigError(f"{name} has neither `apply` nor `apply_batch`")
    for method in ("apply", "apply_batch", "query", "snapshot", "restore"):
        if iscoroutinefunction(getattr(machine, method)):
            raise ConfigError(f"{name}.{method} is a coroutine function, expected a plain one")
    for method, arguments in (("apply", 2), ("apply_batch", 2), ("query", 1)):
        try:
            signature(getattr(machine, method)).bind(*range(arguments))
        except TypeError as exc:
            raise ConfigError(
                f"{name}.{method} does not take {arguments} arguments beside self: {exc}"
            ) from exc
