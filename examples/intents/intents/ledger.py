"""Balances, and the one way to change them: legs that sum to zero, all or none of them.

Invariants:
    * No balance is negative, or above `AMOUNT_MAX`.
    * The sum of each asset over all accounts never changes after the grants. What is withdrawn
      goes to the account `OUTSIDE`, so it stays in the sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from .messages import AMOUNT_MAX, Grant, Leg, as_amounts

OUTSIDE: Final = "outside"


class Unbalanced(Exception):
    """The legs of a fill do not sum to zero."""


class Ledger:
    """Who has how much of what."""

    def __init__(self, grants: Iterable[Grant] = ()) -> None:
        self.balances: dict[str, dict[str, int]] = {}
        for grant in grants:
            own = self.balances.setdefault(grant.account, {})
            for asset, text in grant.amounts:
                own[asset] = own.get(asset, 0) + int(text)
                if not 0 < int(text) <= own[asset] <= AMOUNT_MAX:
                    raise ValueError(f"a grant of {asset} is not between 1 and {AMOUNT_MAX}")

    def balance(self, account: str, asset: str) -> int:
        """Return how much of an asset an account has."""
        return self.balances.get(account, {}).get(asset, 0)

    def why_not(self, legs: Sequence[Leg]) -> str | None:
        """Return which account cannot carry its part of the legs; None if all can.

        Raises:
            Unbalanced: The legs do not sum to zero for each asset.
        """
        if left := net_flow(legs):
            raise Unbalanced(f"the legs leave {left}")
        changes: dict[tuple[str, str], int] = {}
        for leg in legs:
            for asset, amount in as_amounts(leg.diff).items():
                key = (leg.account, asset)
                changes[key] = changes.get(key, 0) + amount
        for (account, asset), change in changes.items():
            if not 0 <= self.balance(account, asset) + change <= AMOUNT_MAX:
                return account
        return None

    def move(self, legs: Sequence[Leg]) -> None:
        """Carry out legs that `why_not` has nothing against."""
        assert self.why_not(legs) is None
        for leg in legs:
            own = self.balances.setdefault(leg.account, {})
            for asset, amount in as_amounts(leg.diff).items():
                own[asset] = own.get(asset, 0) + amount
                if not own[asset]:
                    del own[asset]

    def supply(self) -> dict[str, int]:
        """Return how much there is of each asset in all."""
        total: dict[str, int] = {}
        for own in self.balances.values():
            for asset, amount in own.items():
                total[asset] = total.get(asset, 0) + amount
        return dict(sorted(total.items()))


def net_flow(legs: Sequence[Leg]) -> dict[str, int]:
    """Return what is left of all legs for each asset; empty if they sum to zero."""
    sums: dict[str, int] = {}
    for leg in legs:
        for asset, amount in as_amounts(leg.diff).items():
            sums[asset] = sums.get(asset, 0) + amount
    return {asset: amount for asset, amount in sums.items() if amount}
