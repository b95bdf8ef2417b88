"""What the auction allows: limits, and checks of single messages. Nothing here has a state."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from .ledger import OUTSIDE
from .messages import AMOUNT_MAX, NATIVE, Intent, Leg, Quote, as_amounts, as_texts

REPUTATION_START: Final = 100
REPUTATION_MAX: Final = 1000
REPUTATION_MIN: Final = 40
"""Below it a solver's quotes are refused. It comes back by one a round, up to the start."""
SETTLED_GAIN: Final = 1
UNFUNDED_LOSS: Final = 30
UNREVEALED_LOSS: Final = 30

_ACCOUNT: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How the auction is held. All auctioneers agree on it: it is part of the deployment's id.

    Attributes:
        window_ms: How long quotes are taken for a round.
        is_sealed: Whether quotes are sealed, and opened after the window has ended.
        reveal_ms: How long sealed quotes may be opened.
        deadline_ahead_ms: How far ahead a deadline may be; ids are remembered until then.
        pending_max: How many intents may wait.
        pending_per_account: How many of them may be one account's.
        intents_per_round: How many intents one account may submit in a round.
        quotes_per_round: How many quotes one solver may submit in a round, sealed ones too.
        quotes_per_intent: How many solvers' quotes an intent keeps.
        fills_per_round: How many intents a round settles; the others wait for the next one.
        unpublished_max: How many settlements may wait to be published; then no round is cleared.
        accounts_max: How many accounts the ledger has at most.
    """

    window_ms: int = 3000
    is_sealed: bool = False
    reveal_ms: int = 1000
    deadline_ahead_ms: int = 86_400_000
    pending_max: int = 10_000
    pending_per_account: int = 50
    intents_per_round: int = 50
    quotes_per_round: int = 500
    quotes_per_intent: int = 32
    fills_per_round: int = 128
    unpublished_max: int = 64
    accounts_max: int = 100_000


def why_malformed(intent: Intent) -> str | None:
    """Return what is wrong with an intent as such; None if nothing is."""
    amounts = as_amounts(intent.diff)
    if any(abs(amount) > AMOUNT_MAX for amount in amounts.values()):
        return "amount too large"
    wanted = sum(amount > 0 for amount in amounts.values())
    if intent.kind == "token_diff":
        if wanted != 1 or len(amounts) < 2:
            return "a trade wants one asset, and gives others"
        return "a trade has no receiver" if intent.receiver else None
    if wanted:
        return f"a {intent.kind} only gives"
    if intent.kind == "transfer":
        is_account = _ACCOUNT.fullmatch(intent.receiver) and intent.receiver != intent.signer
        return None if is_account else "a transfer needs another account"
    if not intent.receiver:
        return "a withdrawal needs a receiver"
    if len(amounts) != 1 or (intent.kind == "native_withdraw" and NATIVE not in amounts):
        return "a withdrawal is of one asset"
    return None


def is_compatible(intent: Intent, quote: Quote) -> bool:
    """Return whether a quote gives the user all it wants, for no more than it gives."""
    asked, offered = as_amounts(intent.diff), as_amounts(quote.diff)
    if asked.keys() != offered.keys():
        return False
    return all(
        (amount > 0) == (offered[asset] < 0)
        and -offered[asset] >= amount
        and abs(offered[asset]) <= AMOUNT_MAX
        for asset, amount in asked.items()
    )


def amount_out(intent: Intent, quote: Quote) -> int:
    """Return how much of what it wants the user gets by a quote."""
    offered = as_amounts(quote.diff)
    return next(-offered[asset] for asset, text in intent.diff.items() if int(text) > 0)


def legs_of(intent: Intent, quote: Quote | None) -> tuple[Leg, ...]:
    """Return what changes when an intent is settled, by a quote if it is a trade."""
    if quote is not None:
        received = {asset: -amount for asset, amount in as_amounts(quote.diff).items()}
        return (Leg(intent.signer, as_texts(received)), Leg(quote.solver, quote.diff))
    given = {asset: -amount for asset, amount in as_amounts(intent.diff).items()}
    receiver = intent.receiver if intent.kind == "transfer" else OUTSIDE
    return (Leg(intent.signer, intent.diff), Leg(receiver, as_texts(given)))
