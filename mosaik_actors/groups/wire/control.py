"""What the operator of a node asks of its groups, by ``mosaik-actors group``: hand over, leave.

One link is one request: the request is its header, the answer its only frame. Who may ask is
decided by what carries the link (`handles.group_control`), not by anything in here.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from ...ids import GroupId, PeerId
from ...wire_encoding import BoundedDecoder

PROTOCOL: Final = "mosaik/group-control/1"
REQUEST_BYTES_MAX: Final = 512
ANSWER_BYTES_MAX: Final = 4096
ERROR_CHARACTERS_MAX: Final = 1000


class TransferAsked(msgspec.Struct, frozen=True, array_like=True, tag="transfer"):
    """Hand leadership of a group to another voter."""

    group_id: GroupId  # the group, of which this node's member leads
    to: PeerId | None = None  # the other voter; None: the one with most of the log


class LeaveAsked(msgspec.Struct, frozen=True, array_like=True, tag="leave"):
    """Leave a group for good."""

    group_id: GroupId
    may_be_last: bool = False  # whether also when no other member is there to keep the state


ControlRequest = TransferAsked | LeaveAsked


class ControlAnswer(msgspec.Struct, frozen=True, array_like=True):
    """What became of it."""

    # Why it was not done, empty when it was.
    error: Annotated[str, msgspec.Meta(max_length=ERROR_CHARACTERS_MAX)] = ""
    leader: PeerId | None = None  # who leads now, as far as that is known


decode_request: Final = BoundedDecoder[ControlRequest](
    ControlRequest, "a request to a group's member", REQUEST_BYTES_MAX
).decode
decode_answer: Final = BoundedDecoder[ControlAnswer](
    ControlAnswer, "an answer of a group's member", ANSWER_BYTES_MAX
).decode
