"""What a group decides about itself: the content of entries of kind ACT.

Acts are ordered, committed and applied with everything else, so every member
comes to the same conclusion at the same place in the log. They change the
`ledger`, or tell every member to do one thing at the same index.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from .commands import BURSTS_MAX, Burst
from .encoding import Decoder, encode
from .status import HISTORY_BYTES
from .wire import ENTRY_BYTES_MAX

REQUEST_BYTES: Final = 16

_History = Annotated[bytes, msgspec.Meta(min_length=HISTORY_BYTES, max_length=HISTORY_BYTES)]
_Request = Annotated[bytes, msgspec.Meta(min_length=REQUEST_BYTES, max_length=REQUEST_BYTES)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 62) - 1)]


class CutSnapshot(msgspec.Struct, frozen=True, array_like=True, tag="cut"):
    """Every member takes a snapshot of the state at this very entry.

    Attributes:
        request_id: 16 random bytes by which those who asked know it.
    """

    request_id: _Request


class AcceptMerge(msgspec.Struct, frozen=True, array_like=True, tag="accept"):
    """This history will take in `history`, and will not itself be closed into it."""

    history: _History


class CloseInto(msgspec.Struct, frozen=True, array_like=True, tag="close"):
    """This history ends here: no command after this entry is applied, all go into `history`."""

    history: _History


class Replay(msgspec.Struct, frozen=True, array_like=True, tag="replay"):
    """Commands that were committed in `history`, applied here once more and only once."""

    history: _History
    bursts: Annotated[tuple[Burst, ...], msgspec.Meta(min_length=1, max_length=BURSTS_MAX)]


class FinishMerge(msgspec.Struct, frozen=True, array_like=True, tag="finish"):
    """Everything that was ever committed in `history` is here now; it had so many commands."""

    history: _History
    command_count: _Count


Act = CutSnapshot | AcceptMerge | CloseInto | Replay | FinishMerge

_decoder: Decoder[Act] = Decoder(Act, "an act", ENTRY_BYTES_MAX)


def encode_act(act: Act) -> bytes:
    """Return an act as the content of an entry."""
    return encode(act)


def decode_act(data: bytes) -> Act:
    """Return the act in an entry. Raises `DecodeError` when there is none."""
    return _decoder.decode(data)
