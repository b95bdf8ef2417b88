"""When which collateral is fetched.

A pure core. `list_due` says what to fetch: what is missing, expires or was issued long ago. A
fetch that failed is tried again after `RETRY_MIN_S`, and after twice that each further time, up
to `RETRY_MAX_S`. Times are wall clocks, as those in collateral are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from ..errors import DecodeError
from .collateral import Collateral, CollateralKey

RETRY_MIN_S: Final = 60.0
RETRY_MAX_S: Final = 3600.0


class CollateralRefresh:
    """The plan of this module's docstring.

    Args:
        refresh_s: Collateral that was issued so long ago is fetched again.
    """

    def __init__(self, refresh_s: float) -> None:
        self._refresh_s = refresh_s
        self._failed: dict[CollateralKey, tuple[float, float]] = {}
        self._fetched: dict[CollateralKey, float] = {}

    def list_due(
        self,
        wanted: Iterable[CollateralKey],
        load: Callable[[CollateralKey], Collateral | None],
        *,
        now: float,
    ) -> list[CollateralKey]:
        """Return what to fetch now."""
        return [
            key
            for key in wanted
            if self._failed.get(key, (0.0, 0.0))[0] <= now and self._is_old(key, load(key), now)
        ]

    def _is_old(self, key: CollateralKey, known: Collateral | None, now: float) -> bool:
        if known is None or known.expires <= now:
            return True
        # A service that has nothing newer is not asked all the time.
        newest = max(known.issued, self._fetched.get(key, 0.0))
        return newest + self._refresh_s <= now

    def receive_collateral(
        self, key: CollateralKey, fetched: Collateral, known: Collateral | None, *, now: float
    ) -> None:
        """Take in what was fetched; it may be saved when this returns.

        Raises:
            DecodeError: It is of another machine, older than what is known, or expired.
        """
        if fetched.fmspc != key.fmspc:
            raise DecodeError(f"collateral of {fetched.fmspc} came for {key}")
        if fetched.expires <= now:
            raise DecodeError(f"the collateral of {key} that came has expired")
        if known is not None and fetched.issued < known.issued and known.expires > now:
            raise DecodeError(f"the collateral of {key} that came is older than what is known")
        self._failed.pop(key, None)
        self._fetched[key] = now

    def receive_failure(self, key: CollateralKey, *, now: float) -> float:
        """Return how long to wait before the next try, in seconds."""
        last_s = self._failed.get(key, (0.0, 0.0))[1]
        wait_s = min(max(2 * last_s, RETRY_MIN_S), RETRY_MAX_S)
        self._failed[key] = (now + wait_s, wait_s)
        return wait_s
