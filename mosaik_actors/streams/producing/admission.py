"""Who may subscribe to a producer: its own rules, tickets, and what criteria cost.

Asked for each subscription that is offered, and again for those whose peer's tickets were not
judged yet. What is in the catalog of a peer, and which subscriptions stand, the caller says.
``now`` is monotonic time in seconds.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

import msgspec

from ...errors import RemoteError
from ...ids import PeerId
from ...schema import Schema
from ...tickets.requirement import TicketRequirement
from ...transport.close import CloseCode, CloseReason
from ..criteria.budget import CriteriaBudget
from ..criteria.criteria import CriteriaError
from ..gate import Requirement, clip, refusal, without_ticket
from ..wire import Subscribe
from .item_filter import FilterGroup, ItemFilter

if TYPE_CHECKING:
    from ...discovery.info import PeerInfo

TOO_COSTLY: Final = CloseReason(
    CloseCode.STREAM_COSTLY_CRITERIA, "to judge by your criteria takes more time than a peer may"
)


class AdmittedPeer(msgspec.Struct, frozen=True):
    """A peer may subscribe; its items are those of `filter_group`."""

    peer: PeerInfo
    filter_group: FilterGroup | None


class Awaited(msgspec.Struct, frozen=True):
    """Ask again when its tickets are judged; until then it would be refused with `reason`."""

    reason: CloseReason


class ConsumerAdmission:
    """The rules of one producer.

    Args:
        require: Who may subscribe; None is everybody known.
        tickets: What tickets they need besides; None is none.
        schema: What the items look like.
        consumers_max: How many may subscribe; None is no limit.
        filter: The criteria of those who have subscribed.
        budget: What the criteria of all peers cost.
    """

    def __init__(
        self,
        require: Requirement | None,
        tickets: TicketRequirement | None,
        schema: Schema,
        consumers_max: int | None,
        item_filter: ItemFilter,
        budget: CriteriaBudget,
    ) -> None:
        self._require = require
        self._tickets = tickets
        self._schema = schema
        self._consumers_max = consumers_max
        self._item_filter = item_filter
        self._budget = budget

    def judge(
        self,
        peer: PeerInfo | None,
        header: Subscribe,
        consumers: Collection[PeerId],
        *,
        now: float,
    ) -> AdmittedPeer | Awaited | CloseReason:
        """Return whether a peer may subscribe, or why not.

        Args:
            peer: It, as the catalog has it; None when that knows nothing.
            header: What it asks for.
            consumers: Who has subscribed, each as often as it has.
            now: Monotonic time in seconds.
        """
        reason = refusal(
            peer,
            require=self._require,
            here=self._schema,
            there=header.schema,
            consumers=consumers,
            consumers_max=self._consumers_max,
        )
        if reason is not None or peer is None:
            assert reason is not None, "an unknown peer is refused with a reason"
            return reason
        missing = self.judge_tickets(peer)
        if missing is not None:
            return missing
        if header.criteria and not self._budget.may_subscribe(peer.peer_id, now=now):
            return TOO_COSTLY
        try:
            return AdmittedPeer(peer, self._item_filter.open_filter_group(header.criteria))
        except CriteriaError as exc:
            text = f"the criteria do not fit: {exc}"
            return CloseReason(CloseCode.STREAM_INVALID_CRITERIA, clip(text))
        except RemoteError as exc:
            return CloseReason(exc.close_code, clip(str(exc)))

    def judge_tickets(self, peer: PeerInfo) -> Awaited | CloseReason | None:
        """Return why a peer's tickets do not let it in, None when they do."""
        if self._tickets is None:
            return None
        verdict = self._tickets.judge(peer)
        if self._tickets.allows(verdict):
            return None
        reason = without_ticket(verdict.reason)
        return Awaited(reason) if verdict.is_awaited else reason

    def charge_criteria(self, *, now: float) -> list[PeerId]:
        """Charge peers for what their criteria took; return who has asked for too much."""
        spent, item_count = self._item_filter.settle()
        for peer_id, seconds in spent.items():
            self._budget.charge(peer_id, seconds, item_count, now=now)
        return [peer_id for peer_id in spent if self._budget.is_over(peer_id, now=now)]
