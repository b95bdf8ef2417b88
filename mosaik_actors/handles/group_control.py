"""Groups that are controlled from outside the program: by ``mosaik-actors group``."""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, Protocol

from ..actors.group_control import GroupControlActor
from ..errors import DecodeError, MosaikError, TransportError
from ..groups.messages import StartGroupControl
from ..groups.wire.control import (
    ERROR_CHARACTERS_MAX,
    PROTOCOL,
    ControlAnswer,
    ControlRequest,
    TransferAsked,
    decode_answer,
)
from ..ids import GroupId, PeerId
from ..node import Node
from ..transport.address import PeerAddr
from ..transport.close import CloseCode
from ..transport.interface import LinkRefused
from ..wire_encoding import encode
from .one_answer import ask_once

logger = logging.getLogger(__name__)


class ControlledGroup(Protocol):
    """A node's member of a group, a `Group`, as far as its operator controls it."""

    @property
    def id(self) -> GroupId:
        """The group's id."""

    @property
    def members(self) -> Sequence[Any]:
        """Who is in it."""

    @property
    def leader(self) -> PeerId | None:
        """Who leads it."""

    async def transfer_leadership(self, to: PeerId | None = None) -> PeerId:
        """Hand leadership over."""

    def leave(self) -> Coroutine[Any, Any, None]:
        """Leave it."""


class GroupControl:
    """Does with the groups of a node what its operator asks for.

    Args:
        node: The node.
        groups: Its groups.
    """

    def __init__(self, node: Node, groups: Iterable[ControlledGroup]) -> None:
        self._groups = groups
        actor = node.system.createActor(GroupControlActor)
        node.system.tell(actor, StartGroupControl(node, self.carry_out))

    async def carry_out(self, request: ControlRequest) -> ControlAnswer:
        """Do what is asked, and return what became of it."""
        group = next((one for one in self._groups if one.id == request.group_id), None)
        if group is None:
            return ControlAnswer("the node is no member of the group")
        logger.warning("group %s: its operator asks to %s", group.id.short, _named(request))
        try:
            if isinstance(request, TransferAsked):
                return ControlAnswer(leader=await group.transfer_leadership(request.to))
            others = [one for one in group.members if one.is_bonded and one.role != "observer"]
            if len(others) < 2 and not request.may_be_last:
                return ControlAnswer(
                    "no other member is there that keeps the state: what only this one has would "
                    "be gone; --last does it all the same"
                )
            leader = group.leader
            await group.leave()
        except MosaikError as exc:
            return ControlAnswer(str(exc)[:ERROR_CHARACTERS_MAX])
        return ControlAnswer(leader=leader)


async def ask_control(
    node: Node, addr: PeerAddr, request: ControlRequest, timeout_s: float
) -> ControlAnswer:
    """Have the node of the same user at `addr` do something with a group. May be cancelled.

    Raises:
        LinkRefused: It does not, or could not be reached.
        TransportError: It ended the link without an answer, or sent something else.
        TimeoutError: No answer in time.
    """
    try:
        frame = await ask_once(node, addr, PROTOCOL, encode(request), timeout_s=timeout_s)
    except LinkRefused as refused:
        if refused.reason.code == CloseCode.INVALID_PROTOCOL:
            return ControlAnswer("the node is no member of the group, nor of any")
        raise
    try:
        return decode_answer(frame)
    except DecodeError as exc:
        raise TransportError(f"the answer could not be decoded: {exc}") from exc


def _named(request: ControlRequest) -> str:
    return "hand over leadership" if isinstance(request, TransferAsked) else "leave it"
