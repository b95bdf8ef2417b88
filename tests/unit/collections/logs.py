"""Several replicas of a collection that apply one log, each in batches of its own."""

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from mosaik_actors.codec import codec_for
from mosaik_actors.collections.commands import CollectionMachine

from . import replicas

M = TypeVar("M", bound=CollectionMachine)


class Replica(Generic[M]):
    """One machine, and how many commands it has applied.

    Attributes:
        machine: The machine.
        position: The position of the last command applied.
        changes: What `on_change` got, once `listen` was called: a list for each call.
    """

    def __init__(self, machine: M) -> None:
        self.machine = machine
        self.position = 0
        self.changes: list[list[Any]] = []
        self.codec = codec_for(machine.Command)

    def listen(self) -> None:
        self.machine.on_change = self.changes.append

    def execute(self, *commands: Any) -> None:
        """Apply commands as one batch, after a journey as bytes."""
        arrived = self.codec.decode_batch(self.codec.encode_batch(list(commands)))
        first = self.position + 1
        self.position += len(arrived)
        self.machine.apply_batch(arrived, replicas.context(first))

    def parts(self) -> list[bytes]:
        return list(self.machine.snapshot())

    def restore(self, parts: Iterable[bytes], position: int = 0) -> None:
        replicas.restore(self.machine, list(parts))
        self.position = position


class Log(Generic[M]):
    """A log, and replicas that apply it: one at a time, or several, or from a snapshot on.

    Args:
        make: Makes a machine.
    """

    def __init__(self, make: Callable[[], M]) -> None:
        self._make = make
        self.commands: list[Any] = []
        self.eager = Replica(make())
        self.lazy = Replica(make())
        self.restored = Replica(make())

    def execute(self, *commands: Any) -> None:
        for command in commands:
            self.commands.append(command)
            self.eager.execute(command)

    def catch_up(self, replica: Replica[M], batch_size: int) -> None:
        """Have a replica apply what it has not, in batches."""
        while rest := self.commands[replica.position :]:
            replica.execute(*rest[:batch_size])

    def restore(self) -> None:
        """Start the third replica anew, from a snapshot of the first."""
        self.restored = Replica(self._make())
        self.restored.restore(self.eager.parts(), self.eager.position)

    def require_same(self) -> None:
        """Check that all replicas hold the same, byte by byte."""
        self.catch_up(self.lazy, 7)
        self.catch_up(self.restored, 1)
        assert self.lazy.parts() == self.eager.parts() == self.restored.parts()
