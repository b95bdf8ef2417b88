"""What the actors of a node find there: its network handle's parts."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ..handles.discovery import Discovery
from ..handles.streams import Streams
from ..runtime import ActorRef

if TYPE_CHECKING:
    from ..handles.groups import Group, Groups


class Net(Protocol):
    """The network handle, as far as actors use it for themselves."""

    @property
    def is_closed(self) -> bool:
        """Whether the node was closed."""

    @property
    def discovery(self) -> Discovery:
        """Who is on the network."""

    @property
    def streams(self) -> Streams:
        """Typed publish and subscribe."""

    @property
    def groups(self) -> Groups:
        """Replicated state machines."""


class NameKeeper(Protocol):
    """Who announces actors with names to other nodes."""

    def advertise(self, name: str, ref: ActorRef) -> None:
        """Let an actor be found by its name, until it ends."""

    def check_free(self, name: str) -> None:
        """Raise `AlreadyExists` if an actor of this node has the name."""


@dataclass(slots=True)
class Services:
    """Given to each actor of a node that asks for it.

    Attributes:
        net: The network handle.
        names: Who announces actors with names to other nodes.
        joins: How many actors hold each group that only actors have joined.
    """

    net: Net
    names: NameKeeper
    joins: dict[Group[Any, Any, Any, Any], int] = field(default_factory=dict)
    _closing: dict[asyncio.Task[Any], None] = field(default_factory=dict)

    def see_through(self, closing: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine beside everything else, until the node closes."""
        task = asyncio.get_running_loop().create_task(closing, name="close for an actor")
        self._closing[task] = None
        task.add_done_callback(lambda done: self._closing.pop(done, None))

    async def drain(self) -> None:
        """Wait until what ended actors held is closed."""
        while self._closing:
            await asyncio.wait(list(self._closing))
