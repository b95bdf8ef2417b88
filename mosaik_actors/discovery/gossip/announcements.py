"""What the broadcast has to spread, and the frames that come of it.

A part of `broadcast`, which says when.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...ids import PeerId
from ..entry import SignedPeerEntry
from ..wire import MESSAGE_COUNT_MAX, Announce, IHave, encode_frame, pack_entries


class SendFrames(msgspec.Struct, frozen=True):
    """Write these frames to the links of these neighbours."""

    peers: tuple[PeerId, ...]
    frames: tuple[bytes, ...]


class RefreshOwnEntry(msgspec.Struct, frozen=True):
    """Give the own entry a new version, and bring it back with `receive_own`."""


BroadcastEvent = SendFrames | RefreshOwnEntry


class ToSpread(msgspec.Struct):
    """An entry on its way out.

    Attributes:
        signed: The entry.
        round: Over how many links it came here.
        source: The neighbour that it came from, None when from nobody.
        is_quick: Whether it does not wait for company: it is news, or shapes the tree.
        pushed: The neighbours that it was pushed to.
    """

    signed: SignedPeerEntry
    round: int
    source: PeerId | None
    is_quick: bool
    pushed: tuple[PeerId, ...] = ()


def announce_frames(messages: Sequence[ToSpread]) -> tuple[bytes, ...]:
    """Return the frames that bring entries to a neighbour."""
    frames = []
    first = 0
    for group in pack_entries(message.signed.encode() for message in messages):
        part = messages[first : first + len(group)]
        first += len(group)
        frames.append(encode_frame(Announce(group, bytes(message.round for message in part))))
    return tuple(frames)


def ihave_frames(messages: Sequence[ToSpread], is_quick: bool) -> tuple[bytes, ...]:
    """Return the frames that announce these entries to a neighbour."""
    frames = []
    for first in range(0, len(messages), MESSAGE_COUNT_MAX):
        part = messages[first : first + MESSAGE_COUNT_MAX]
        ids = b"".join(message.signed.message_id for message in part)
        frames.append(encode_frame(IHave(ids, bytes(message.round for message in part), is_quick)))
    return tuple(frames)
