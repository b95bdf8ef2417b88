"""The auction: a replicated state machine that takes in intents and quotes, and clears rounds.

Invariants:
    * An intent is settled at most once: its id is remembered until its deadline, after which
      it is refused as expired.
    * The legs of each fill sum to zero per asset, and are carried out all or not at all; so the
      supply of each asset never changes.
    * A round has one window. Its end is fixed when it opens, by a committed command, and is
      part of the state; whoever leads then, the round is cleared once, after it. What comes
      later counts for the next round, and so do quotes for what was not settled.
    * A settlement stays here until it is known to be published, so a leader that dies
      between the two loses none.

The clock is the latest that a command carried. An auctioneer whose clock runs ahead ends windows
early: members are trusted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec
from blake3 import blake3
from msgspec.msgpack import decode, encode

from mosaik_actors import ApplyContext, StateMachine

from .commands import (
    ClearRound,
    Command,
    Digest,
    IsKnown,
    Outcome,
    Published,
    Query,
    SubmitIntent,
    SubmitQuote,
    SubmitSealed,
    Supply,
    Unpublished,
    View,
)
from .ledger import Ledger, Unbalanced
from .messages import (
    Fill,
    Grant,
    Intent,
    Quote,
    RoundView,
    SealedQuote,
    Settlement,
    Submission,
    is_signed,
    message_id,
)
from .rules import (
    REPUTATION_MAX,
    REPUTATION_MIN,
    REPUTATION_START,
    SETTLED_GAIN,
    UNFUNDED_LOSS,
    UNREVEALED_LOSS,
    Rules,
    amount_out,
    is_compatible,
    legs_of,
    why_malformed,
)

UNKNOWN_INTENT: Final = "unknown intent"
TOO_MANY: Final = "too many"
NOT_YET: Final = "not open yet"
PASSING: Final = (UNKNOWN_INTENT, TOO_MANY, NOT_YET)
"""Reasons that may not hold any more a moment later; all others are final."""

REFUSALS_KEPT: Final = 1024
EXPIRED_A_ROUND: Final = 1000
PART_BYTES: Final = 2**20


class Offer(msgspec.Struct, array_like=True):
    """A quote for an intent, and from which round on it counts."""

    quote: Quote
    id: str
    round: int


class Seal(msgspec.Struct, array_like=True):
    """The id of a quote that is to be opened, and in which round."""

    quote_id: str
    round: int


class Pending(msgspec.Struct, array_like=True):
    """An intent that waits, with its quotes by solver, the oldest first."""

    id: str
    intent: Intent
    round: int
    offers: dict[str, Offer] = {}
    seals: dict[str, Seal] = {}


class Head(msgspec.Struct, array_like=True):
    """The part of the state that is small."""

    clock_ms: int = 0
    round: int = 1
    window_end_ms: int = 0
    settlement_count: int = 0
    reputation: dict[str, int] = {}
    activity: dict[str, int] = {}
    refused: dict[str, int] = {}
    refusals: list[str] = []


class Auction(StateMachine[Command, Query, Any, Outcome]):
    """The machine that the auctioneers replicate.

    Args:
        rules: How the auction is held.
        grants: What accounts have at the beginning.
        domain: What signatures are for: the deployment's id.
    """

    signature = "examples.intents.1"

    def __init__(self, rules: Rules, grants: Sequence[Grant] = (), domain: bytes = b"") -> None:
        self.rules, self.domain = rules, domain
        self.ledger = Ledger(grants)
        self.head = Head()
        self.pending: dict[str, Pending] = {}
        self.finished: dict[str, int] = {}  # id to deadline
        self.unpublished: list[Settlement] = []

    def apply(self, command: Command, ctx: ApplyContext) -> Outcome:
        if not isinstance(command, Published):
            self.head.clock_ms = max(self.head.clock_ms, command.now_ms)
        match command:
            case SubmitIntent(intent):
                return self._note(self._take_intent(intent), intent)
            case SubmitQuote(quote):
                return self._note(self._take_quote(quote), quote)
            case SubmitSealed(sealed):
                return self._note(self._take_sealed(sealed), sealed)
            case ClearRound(number):
                return Outcome(self._clear(number))
            case Published(count):
                self.unpublished = [one for one in self.unpublished if one.number >= count]
                return Outcome()

    def query(self, query: Query) -> Any:
        match query:
            case View():
                return self._view()
            case Unpublished():
                return list(self.unpublished)
            case IsKnown(messages):
                return [self._knows(message) for message in messages]
            case Supply():
                return {asset: str(amount) for asset, amount in self.ledger.supply().items()}
            case Digest():
                return blake3(b"".join(self.snapshot())).hexdigest()

    # --- time ---

    @property
    def phase(self) -> str:
        """What the round is at: ``idle``, ``quotes``, ``reveal`` or ``over``."""
        head = self.head
        if not head.window_end_ms:
            return "idle"
        if head.clock_ms <= head.window_end_ms:
            return "quotes"
        return "reveal" if head.clock_ms <= self.clearing_ms else "over"

    @property
    def clearing_ms(self) -> int:
        """After which moment the round may be cleared; 0 in an idle auction."""
        end_ms = self.head.window_end_ms
        return end_ms + self.rules.reveal_ms if end_ms and self.rules.is_sealed else end_ms

    @property
    def _round_of_arrivals(self) -> int:
        return self.head.round + (self.phase in ("reveal", "over"))

    # --- submissions ---

    def _take_intent(self, intent: Intent) -> str:
        number, clock_ms, rules = message_id(intent, self.domain), self.head.clock_ms, self.rules
        if number in self.pending or number in self.finished:
            return "duplicate"
        if intent.deadline_ms < clock_ms:
            return "expired"
        if intent.deadline_ms > clock_ms + rules.deadline_ahead_ms:
            return "deadline too far ahead"
        if malformed := why_malformed(intent):
            return malformed
        if intent.signer not in self.ledger.balances:
            return "unknown account"
        own = sum(one.intent.signer == intent.signer for one in self.pending.values())
        if own >= rules.pending_per_account or len(self.pending) >= rules.pending_max:
            return TOO_MANY
        if not is_signed(intent, self.domain):
            return "bad signature"
        if not self._count(intent.signer, rules.intents_per_round):
            return TOO_MANY
        self.pending[number] = Pending(number, intent, self._round_of_arrivals)
        if not self.head.window_end_ms:
            self.head.window_end_ms = clock_ms + rules.window_ms
        return ""

    def _take_quote(self, quote: Quote) -> str:
        pending = self.pending.get(quote.intent_id)
        if pending is None:
            return self._why_no_intent(quote.intent_id)
        number, solver = message_id(quote, self.domain), quote.solver
        if reason := self._why_not_quote(quote, pending):
            return reason
        seal = pending.seals.get(solver)
        if self.rules.is_sealed:
            if seal is None or seal.quote_id != number:
                return "not sealed before"
            if seal.round > self.head.round or self.phase == "quotes":
                return NOT_YET
            if self.phase == "over":
                return "opened too late"
        known = pending.offers.get(solver)
        if known is not None and amount_out(pending.intent, known.quote) >= amount_out(
            pending.intent, quote
        ):
            return "no better than the solver's other quote"
        if known is None and len(pending.offers) >= self.rules.quotes_per_intent:
            return TOO_MANY
        if not is_signed(quote, self.domain):
            return "bad signature"
        # What was sealed has been counted already.
        if not self.rules.is_sealed and not self._count(solver, self.rules.quotes_per_round):
            return TOO_MANY
        pending.seals.pop(solver, None)
        pending.offers.pop(solver, None)  # a new one is the newest
        first = self.head.round if self.rules.is_sealed else self._round_of_arrivals
        pending.offers[solver] = Offer(quote, number, first)
        return ""

    def _why_not_quote(self, quote: Quote, pending: Pending) -> str:
        if pending.intent.kind == "token_diff" and is_compatible(pending.intent, quote):
            if quote.expires_ms < self.head.clock_ms:
                return "expired"
            if self._reputation(quote.solver) < REPUTATION_MIN:
                return "low reputation"
            given = {asset: -int(text) for asset, text in quote.diff.items() if int(text) < 0}
            balance = self.ledger.balance
            is_funded = all(balance(quote.solver, a) >= amount for a, amount in given.items())
            return "" if is_funded else "not funded"
        return "incompatible"

    def _take_sealed(self, sealed: SealedQuote) -> str:
        pending, solver = self.pending.get(sealed.intent_id), sealed.solver
        if pending is None:
            return self._why_no_intent(sealed.intent_id)
        if not self.rules.is_sealed:
            return "quotes are open"
        if pending.intent.kind != "token_diff":
            return "incompatible"
        if solver in pending.seals:
            return "duplicate"
        if self._reputation(solver) < REPUTATION_MIN:
            return "low reputation"
        if solver not in self.ledger.balances:
            return "unknown account"
        if len(pending.seals) >= self.rules.quotes_per_intent:
            return TOO_MANY
        if not is_signed(sealed, self.domain):
            return "bad signature"
        if not self._count(solver, self.rules.quotes_per_round):
            return TOO_MANY
        pending.seals[solver] = Seal(sealed.quote_id, self._round_of_arrivals)
        return ""

    def _why_no_intent(self, number: str) -> str:
        return "settled or expired" if number in self.finished else UNKNOWN_INTENT

    def _count(self, account: str, limit: int) -> bool:
        """Count a message of an account in this round; return whether it may still send it."""
        count = self.head.activity.get(account, 0) + 1
        if count > limit:
            return False
        self.head.activity[account] = count
        return True

    def _note(self, reason: str, message: Submission) -> Outcome:
        if reason:
            head = self.head
            head.refused[reason] = head.refused.get(reason, 0) + 1
            if reason not in PASSING:
                head.refusals.append(message_id(message, self.domain))
                del head.refusals[:-REFUSALS_KEPT]
        return Outcome(reason)

    def _knows(self, message: Submission) -> bool:
        number = message_id(message, self.domain)
        if number in self.head.refusals:
            return True
        if isinstance(message, Intent):
            return number in self.pending or number in self.finished
        if message.intent_id in self.finished:
            return True
        pending = self.pending.get(message.intent_id)
        if pending is None:
            return False
        if isinstance(message, SealedQuote):
            seal = pending.seals.get(message.solver)
            return message.solver in pending.offers or (
                seal is not None and seal.quote_id == message.quote_id
            )
        offer = pending.offers.get(message.solver)
        return offer is not None and offer.id == number

    # --- clearing ---

    def _clear(self, number: int) -> str:
        head = self.head
        if number != head.round:
            return "another round"
        if self.phase != "over":
            return "the window has not ended"
        if len(self.unpublished) >= self.rules.unpublished_max:
            return "settlements wait to be published"
        self._punish_unrevealed()
        fills, expired = self._settle()
        if fills or expired:
            self.unpublished.append(
                Settlement(
                    head.settlement_count, number, head.window_end_ms, tuple(fills), tuple(expired)
                )
            )
            head.settlement_count += 1
        self._begin_next()
        return ""

    def _punish_unrevealed(self) -> None:
        for pending in self.pending.values():
            for solver, seal in list(pending.seals.items()):
                if seal.round <= self.head.round:
                    del pending.seals[solver]
                    self._rate(solver, -UNREVEALED_LOSS)

    def _settle(self) -> tuple[list[Fill], list[str]]:
        fills: list[Fill] = []
        expired: list[str] = []
        for pending in list(self.pending.values()):
            if pending.intent.deadline_ms < self.head.clock_ms:
                if len(expired) < EXPIRED_A_ROUND:
                    expired.append(pending.id)
                    self._finish(pending)
            elif pending.round <= self.head.round and len(fills) < self.rules.fills_per_round:
                fill = self._fill(pending)
                if fill is not None:
                    fills.append(fill)
                    self._finish(pending)
        return fills, expired

    def _fill(self, pending: Pending) -> Fill | None:
        """Settle an intent by the best quote that its solver can carry; None if there is none."""
        if pending.intent.kind != "token_diff":
            legs = legs_of(pending.intent, None)
            is_new = legs[1].account not in self.ledger.balances
            has_room = not is_new or len(self.ledger.balances) < self.rules.accounts_max
            if not has_room or self.ledger.why_not(legs) is not None:
                return None
            self.ledger.move(legs)
            return Fill(pending.intent, None, legs, 0)
        offers = self._ranked(pending)
        for offer in offers:
            legs = legs_of(pending.intent, offer.quote)
            try:
                unable = self.ledger.why_not(legs)
            except Unbalanced:
                unable = offer.quote.solver
            if unable is None:
                self.ledger.move(legs)
                self._rate(offer.quote.solver, SETTLED_GAIN)
                return Fill(pending.intent, offer.quote, legs, len(offers))
            if unable == pending.intent.signer:
                return None
            del pending.offers[offer.quote.solver]
            self._rate(offer.quote.solver, -UNFUNDED_LOSS)
        return None

    def _ranked(self, pending: Pending) -> list[Offer]:
        """Return the quotes that count in this round, the best first; the expired ones go."""
        for solver, offer in list(pending.offers.items()):
            if offer.quote.expires_ms < self.head.clock_ms:
                del pending.offers[solver]
        offers = [one for one in pending.offers.values() if one.round <= self.head.round]
        offers.sort(  # stable: of equals the oldest is first
            key=lambda one: (
                -amount_out(pending.intent, one.quote),
                -self._reputation(one.quote.solver),
            )
        )
        return offers

    def _finish(self, pending: Pending) -> None:
        del self.pending[pending.id]
        self.finished[pending.id] = pending.intent.deadline_ms

    def _begin_next(self) -> None:
        head = self.head
        head.round += 1
        head.window_end_ms = head.clock_ms + self.rules.window_ms if self.pending else 0
        head.activity = {}
        # Who has lost reputation gets it back, by one a round.
        for solver, value in list(head.reputation.items()):
            if value < REPUTATION_START:
                self._rate(solver, 1)
        self.finished = {
            number: deadline_ms
            for number, deadline_ms in self.finished.items()
            if deadline_ms >= head.clock_ms
        }

    def _reputation(self, solver: str) -> int:
        return self.head.reputation.get(solver, REPUTATION_START)

    def _rate(self, solver: str, change: int) -> None:
        value = min(REPUTATION_MAX, max(0, self._reputation(solver) + change))
        self.head.reputation[solver] = value
        if value == REPUTATION_START:
            del self.head.reputation[solver]

    def _view(self) -> RoundView:
        quotes = sum(len(one.offers) + len(one.seals) for one in self.pending.values())
        head = self.head
        return RoundView(
            head.round,
            self.phase,
            head.window_end_ms,
            len(self.pending),
            quotes,
            dict(sorted(head.refused.items())),
        )

    # --- snapshots ---

    def snapshot(self) -> Iterable[bytes]:
        balances = [
            (account, sorted((asset, str(amount)) for asset, amount in own.items()))
            for account, own in sorted(self.ledger.balances.items())
        ]
        lists: tuple[list[Any], ...] = (
            balances,
            list(self.pending.values()),
            sorted(self.finished.items()),
            self.unpublished,
        )
        # Encoded here and now: the auction goes on while the parts are on their way.
        parts = [encode(self.head)]
        for kind, items in enumerate(lists):
            parts += [encode((kind, part)) for part in _batched(items)]
        return parts

    def restore(self, parts: Iterable[bytes]) -> None:
        head, *rest = parts
        self.head = decode(head, type=Head)
        self.ledger, self.pending = Ledger(), {}
        self.finished, self.unpublished = {}, []
        for part in rest:
            kind, items = decode(part)
            match kind:
                case 0:
                    for account, own in items:
                        self.ledger.balances[account] = {asset: int(text) for asset, text in own}
                case 1:
                    found = msgspec.convert(items, list[Pending])
                    self.pending.update((one.id, one) for one in found)
                case 2:
                    self.finished.update(items)
                case _:
                    self.unpublished += msgspec.convert(items, list[Settlement])


def _batched(items: Iterable[Any]) -> Iterator[list[msgspec.Raw]]:
    """Yield encoded items, so many at a time that they make a part of a snapshot."""
    batch: list[msgspec.Raw] = []
    size = 0
    for item in items:
        encoded = encode(item)
        batch.append(msgspec.Raw(encoded))
        size += len(encoded)
        if size >= PART_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
