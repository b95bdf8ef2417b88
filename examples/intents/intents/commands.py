"""What the auctioneers tell the auction, and what they ask it.

Each command carries its sender's clock. The auction's own clock is the latest that it has seen,
so all auctioneers have the same one, and it never goes back.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from .messages import Intent, Moment, Quote, SealedQuote, Submission

Count = Annotated[int, msgspec.Meta(ge=0)]


class SubmitIntent(msgspec.Struct, frozen=True, tag=True):
    """Take in an intent. The first one in an idle auction opens the window."""

    intent: Intent
    now_ms: Moment


class SubmitQuote(msgspec.Struct, frozen=True, tag=True):
    """Take in a quote; where quotes are sealed, it opens the one that was sealed before."""

    quote: Quote
    now_ms: Moment


class SubmitSealed(msgspec.Struct, frozen=True, tag=True):
    """Take in a sealed quote."""

    sealed: SealedQuote
    now_ms: Moment


class ClearRound(msgspec.Struct, frozen=True, tag=True):
    """Settle what can be settled, once the window of this very round has ended."""

    round: Count
    now_ms: Moment


class Published(msgspec.Struct, frozen=True, tag=True):
    """So many settlements are where everybody can read them."""

    count: Count


Command = SubmitIntent | SubmitQuote | SubmitSealed | ClearRound | Published


class Outcome(msgspec.Struct, frozen=True):
    """The result of a command: empty if it took effect, else why it did not."""

    reason: str = ""


class View(msgspec.Struct, frozen=True, tag=True):
    """A query: the `RoundView`."""


class Unpublished(msgspec.Struct, frozen=True, tag=True):
    """A query: the settlements that are not known to be published, in order."""


class IsKnown(msgspec.Struct, frozen=True, tag=True):
    """A query: of each message, whether to submit it would change nothing."""

    messages: tuple[Submission, ...]


class Supply(msgspec.Struct, frozen=True, tag=True):
    """A query: how much there is of each asset in all, as texts."""


class Digest(msgspec.Struct, frozen=True, tag=True):
    """A query: a hash of the whole state."""


Query = View | Unpublished | IsKnown | Supply | Digest
