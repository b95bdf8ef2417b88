"""Replicas of collections without a group: commands go through bytes, as in a log."""

from collections.abc import Iterable, Sequence
from typing import Any

from mosaik_actors.codec import codec_for
from mosaik_actors.collections.commands import CollectionMachine
from mosaik_actors.groups.machine.machine import ApplyContext
from mosaik_actors.ids import UniqueId

GROUP, NETWORK = UniqueId("group"), UniqueId("network")


def context(position: int) -> ApplyContext:
    return ApplyContext(position, position, 1, position, GROUP, NETWORK)


def travelled(machine: CollectionMachine, commands: Iterable[Any]) -> list[Any]:
    """Return commands as another member decodes them."""
    codec = codec_for(machine.Command)
    return [codec.decode(codec.encode(command)) for command in commands]


def apply(machine: CollectionMachine, *commands: Any, position: int = 1) -> None:
    """Apply commands as one batch that begins at a position."""
    machine.apply_batch(travelled(machine, commands), context(position))


def restore(machine: CollectionMachine, parts: Sequence[bytes]) -> None:
    """Restore a machine from parts, in one go."""
    steps = machine.restore(parts)
    assert steps is not None
    for _ in steps:
        pass
