"""Actor addresses that hold their target.

Sending is the hottest thing the runtime does, so an address is not looked up:
its `deliver` is the bound method that puts a message into the mailbox. When the
actor changes state (busy with a coroutine, exiting, dead) its cell exchanges
`deliver`, and so the usual case needs no check.

Invariants:
    * One address object per target, equal to itself only. Addresses are hashed
      by their number, so nothing depends on where objects lie in memory.
    * `deliver` is only called on the thread of the event loop, and only by the
      system that the address belongs to: whoever sends compares `host` first.
    * Numbers are given in order of creation, so a replay gives the same ones.

Thespian's guide says that addresses may be used as dictionary keys; here they
may. An address is worthless in another process, so pickling one is an error
that says so, while a copy of a message shares the address. It is worthless in
another actor system of the same process, too, whose loop may run in another
thread: a message to it is refused (`ForeignAddress`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, Protocol

from thespian.actors import ActorAddress

from .errors import AddressNotPortable

Deliver = Callable[[Any, ActorAddress], None]
Undeliverable = Callable[[Any, ActorAddress, str], None]


class AddressOwner(Protocol):
    """The actor system that an address belongs to, as far as the address knows it."""

    @property
    def name(self) -> str:
        """What the system is called in the text form of its addresses."""


class LocalAddress(ActorAddress):
    """The address of an actor, or of code outside, on one event loop.

    Attributes:
        host: The actor system that it belongs to.
        deliver: Takes (message, sender) in. Exchanged by the target's owner.
        cell: The actor's cell while `deliver` is the ordinary one, so that a
            sender may save the call; else None.
        undeliverable: Called as (message, target, reason) when something sent from
            here found nobody; None for those who do not want to know.
        question: What is asked from here, where this is the address of an ask; else None.
    """

    __slots__ = ("cell", "deliver", "host", "number", "question", "undeliverable")

    def __init__(self, host: AddressOwner, number: int, deliver: Deliver) -> None:
        self.host = host
        self.number = number
        self.deliver = deliver
        self.cell: Any = None
        self.undeliverable: Undeliverable | None = None
        self.question: Any = None

    @property
    def _aaddr(self) -> str:
        return f"{self.host.name}/{self.number}"

    @property
    def addressDetails(self) -> str:
        """The text form, which is all there is to show."""
        return self._aaddr

    @property
    def actorAddressString(self) -> str:
        """The text form."""
        return self._aaddr

    def __str__(self) -> str:
        return f"ActorAddr-{self._aaddr}"

    def __repr__(self) -> str:
        return f"<ActorAddr-{self._aaddr}>"

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __copy__(self) -> LocalAddress:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> LocalAddress:
        return self

    def __reduce__(self) -> NoReturn:
        raise AddressNotPortable(self)
