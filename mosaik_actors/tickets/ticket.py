"""What travels: tickets, opaque to everything but the validator of their class.

A ticket is shown in its owner's signed entry, so whoever gets it knows who
shows it, and nobody can show another one's entry as an own one. That the ticket
was made *for* that peer is for its validator to check.

A ticket has at most `TICKET_BYTES_MAX` bytes and an entry `TICKET_COUNT_MAX`
tickets; all of an entry is limited beside that (`discovery.entry`). What
validators unpack from a ticket they limit themselves.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from ..ids import UniqueId

TICKET_COUNT_MAX = 32
TICKET_BYTES_MAX = 32 * 1024


class Ticket(msgspec.Struct, frozen=True):
    """A proof that a peer shows to others, opaque to discovery.

    Attributes:
        class_id: What kind of proof it is: which validators read it.
        data: The proof itself.
    """

    class_id: UniqueId
    data: Annotated[bytes, msgspec.Meta(max_length=TICKET_BYTES_MAX)]

    @property
    def id(self) -> UniqueId:
        """The hash of the class and the data."""
        return self.class_id.derive(self.data)
