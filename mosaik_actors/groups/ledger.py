"""What a group knows of itself: replicated state beside the machine's.

It changes only while acts are applied, in log order, with nothing but their
content, and it is part of every snapshot: so it is the same on every member at
the same place in the log. What does not fit the present state is void, alike
everywhere.

Invariants:
    * A history is closed once, into one other; after that nothing changes it.
    * A closed history accepts no guests.
    * A history that has accepted another is not closed into it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

import msgspec

from .acts import AcceptMerge, Act, CloseInto, CutSnapshot, FinishMerge, Replay
from .encoding import Decoder, encode
from .status import HistoryId

GUEST_COUNT_MAX: Final = 64
MERGED_KEPT_MAX: Final = 4096
LEDGER_BYTES_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class GuestAccepted:
    """This history will take in another one."""

    history: bytes


@dataclass(frozen=True, slots=True)
class HistoryClosed:
    """This history ends, and its commands go into another one."""

    into: bytes


@dataclass(frozen=True, slots=True)
class MergeFinished:
    """This history has taken in another one whole."""

    history: bytes
    command_count: int


LedgerEvent = GuestAccepted | HistoryClosed | MergeFinished


class Ledger:
    """The ledger of one history.

    Args:
        history: Its id; empty for a member that has none.

    Attributes:
        history: Its id.
        guests: The histories it has accepted and not yet taken in whole, in order.
        closed_into: Where it was closed into; empty while it is open.
        merged: The histories it has taken in whole, the latest last.
    """

    __slots__ = ("closed_into", "guests", "history", "merged")

    def __init__(self, history: bytes = b"") -> None:
        self.history = history
        self.guests: tuple[bytes, ...] = ()
        self.closed_into = b""
        self.merged: tuple[bytes, ...] = ()

    @property
    def is_closed(self) -> bool:
        """Whether no more commands are applied in this history."""
        return bool(self.closed_into)

    def apply(self, act: Act) -> LedgerEvent | None:
        """Take in a committed act; return what came of it, None when it is void or changes nothing.

        `Replay` and `CutSnapshot` change nothing here.
        """
        if self.is_closed:
            return None
        match act:
            case AcceptMerge(history):
                return self._accept(history)
            case CloseInto(history):
                if history in self.guests or history == self.history:
                    return None
                self.closed_into = history
                return HistoryClosed(history)
            case FinishMerge(history, count):
                return self._finish(history, count)
            case Replay() | CutSnapshot():
                return None

    def takes_replays_of(self, history: bytes) -> bool:
        """Return whether commands of `history` may be replayed here: an accepted guest's."""
        return not self.is_closed and history in self.guests

    def to_bytes(self) -> bytes:
        """Return it for a snapshot: the same bytes on every member."""
        return encode(_Ledger(self.history, self.guests, self.closed_into, self.merged))

    @classmethod
    def from_bytes(cls, data: bytes) -> Ledger:
        """Return the ledger of a snapshot. Raises `DecodeError` when it is none."""
        read = _decoder.decode(data)
        ledger = cls(read.history)
        ledger.guests, ledger.closed_into, ledger.merged = (
            read.guests,
            read.closed_into,
            read.merged,
        )
        return ledger

    # Helpers.

    def _accept(self, history: bytes) -> LedgerEvent | None:
        is_known = history in self.guests or history in self.merged or history == self.history
        if is_known or len(self.guests) >= GUEST_COUNT_MAX:
            return None
        self.guests = (*self.guests, history)
        return GuestAccepted(history)

    def _finish(self, history: bytes, count: int) -> LedgerEvent | None:
        if history not in self.guests:
            return None
        self.guests = tuple(guest for guest in self.guests if guest != history)
        self.merged = (*self.merged, history)[-MERGED_KEPT_MAX:]
        return MergeFinished(history, count)


class _Ledger(msgspec.Struct, frozen=True, array_like=True):
    history: HistoryId
    guests: Annotated[tuple[HistoryId, ...], msgspec.Meta(max_length=GUEST_COUNT_MAX)]
    closed_into: HistoryId
    merged: Annotated[tuple[HistoryId, ...], msgspec.Meta(max_length=MERGED_KEPT_MAX)]


_decoder: Decoder[_Ledger] = Decoder(_Ledger, "a ledger", LEDGER_BYTES_MAX)
