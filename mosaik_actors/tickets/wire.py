"""What a peer shows over a connection to who admits nobody without a ticket.

Tickets ride in entries, and entries come by links, which a gated network does not
open to a peer before it has seen its tickets. So there is one link that is never
gated: its header is empty, and the reply is what the acceptor's entry says about
tickets. Nobody signs it, because the connection has proven whose it is. It has the
entry's version, so that the newer of the two counts.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from ..wire_encoding import BoundedDecoder
from ..wire_encoding import encode as encode_record
from .ticket import TICKET_COUNT_MAX, Ticket

PROTOCOL: Final = "mosaik/tickets/1"
SHOWN_BYTES_MAX: Final = 64 * 1024

_Timestamp = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class ShownTickets(msgspec.Struct, frozen=True, array_like=True):
    """What a peer's entry says about tickets.

    Attributes:
        version: The version of the entry.
        tickets: The tickets in it.
    """

    version: tuple[_Timestamp, _Timestamp]
    tickets: Annotated[tuple[Ticket, ...], msgspec.Meta(max_length=TICKET_COUNT_MAX)]


def encode_shown(shown: ShownTickets) -> bytes:
    """Return the bytes of a reply."""
    return encode_record(shown)


def decode_shown(data: bytes) -> ShownTickets:
    """Return what a reply says. Raises `DecodeError`."""
    return _decoder.decode(data)


_decoder: BoundedDecoder[ShownTickets] = BoundedDecoder(
    ShownTickets, "a reply about tickets", SHOWN_BYTES_MAX
)
