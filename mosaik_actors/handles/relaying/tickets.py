"""Who may use a relay that requires tickets.

What tickets are worth the `TicketTable` says, as on a node. There are no entries here: each
peer shows its tickets to the relay itself, with its link and whenever they change. Validators are
asked in a thread, and acted upon is the moment at which the last ticket ends.

Its network, for validators, is that of relays: a ticket that is bound to a network of nodes, as
those of trusted domains are, does not hold here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from ...clock import Clock
from ...ids import PeerId
from ...tickets.requirement import TicketRequirement
from ...tickets.table import JOBS_MAX, LOOK_S, Shown, TicketJob, TicketTable, do_timed
from ...tickets.ticket import Ticket
from ...tickets.validator import TicketValidator
from ...tickets.wire import ShownTickets, decode_shown, encode_shown
from ...transport.relay.frames import RELAY_NETWORK


class RelayTickets:
    """Asks validators about the tickets that peers show to a relay; a `RelayAdmission`.

    Args:
        validators: All of which must accept a peer.
        clock: Where `now` comes from.
    """

    def __init__(self, validators: Iterable[TicketValidator], clock: Clock) -> None:
        self._clock = clock
        self._table = TicketTable()
        self._requirement = TicketRequirement(validators, self._table, clock.wall)
        self._take: Callable[[PeerId, str | None, bool], None]
        self._shown_count = 0
        self._loop = asyncio.get_running_loop()
        self._asking: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self, take: Callable[[PeerId, str | None, bool], None]) -> None:
        """Begin. `take` is called with each verdict: whose, why not, and whether one follows."""
        self._take = take

    def receive_shown(self, peer_id: PeerId, data: bytes) -> None:
        """Take in what a peer shows. Raises `DecodeError`."""
        tickets = decode_shown(data).tickets if data else ()
        self._shown_count += 1
        # In the order in which they come, which a peer's clock may not be in.
        shown = Shown(peer_id, RELAY_NETWORK, (0, self._shown_count), tickets)
        self._requirement.judge(shown)
        self._pump(peer_id)

    def receive_end(self, peer_id: PeerId) -> None:
        """Take in that a peer is gone."""
        self._table.receive_end(peer_id)

    def close(self) -> None:
        """Ask nobody any more."""
        if self._asking is not None:
            self._asking.cancel()
        if self._timer is not None:
            self._timer.cancel()

    def _pump(self, *others: PeerId) -> None:
        """Ask what there is to ask, and say whose verdict is another one."""
        if self._asking is None and (jobs := self._table.take_jobs(JOBS_MAX)):
            self._asking = self._loop.create_task(self._ask(jobs), name="validate tickets")
        now = self._clock.wall()
        for peer_id in dict.fromkeys((*self._table.take_changed(), *others)):
            verdict = self._requirement.judge_id(peer_id)
            why_not = None if verdict.allows(now) else verdict.reason
            self._take(peer_id, why_not, verdict.is_awaited)
        self._arm()

    async def _ask(self, jobs: list[TicketJob]) -> None:
        answers, took_s = await asyncio.to_thread(
            do_timed, jobs, self._clock.wall(), self._clock.monotonic
        )
        self._asking = None
        self._table.receive_answers(jobs, answers, took_s=took_s, now=self._clock.wall())
        self._pump()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        due_at = self._table.get_timer()
        wait_s = LOOK_S if due_at is None else due_at - self._clock.wall()
        self._timer = self._loop.call_later(min(max(0.0, wait_s), LOOK_S), self._look)

    def _look(self) -> None:
        self._table.handle_timer(now=self._clock.wall())
        self._pump()


def encode_tickets(tickets: Iterable[Ticket]) -> bytes:
    """Return what a node shows to a relay."""
    return encode_shown(ShownTickets((0, 0), tuple(tickets)))
