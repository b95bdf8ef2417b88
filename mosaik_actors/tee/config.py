"""The settings of trusted domains. All of them are local."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..config import as_seconds, require_above
from ..errors import ConfigError
from .sources import QuoteSource

INTEL_COLLATERAL_URL: Final = "https://api.trustedservices.intel.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class TeeConfig:
    """Where quotes and collateral come from.

    Durations are seconds or a `timedelta`; they are kept as seconds.

    Attributes:
        source: Who makes this node's quotes, such as a `SimulatedTd`; the kernel when None.
        collateral_url: The base URL of a service of collateral: a PCCS, or Intel's own
            (`INTEL_COLLATERAL_URL`). None fetches nothing: the files have to be there.
        collateral_folder: Where collateral is kept; the folder of ``MOSAIK_COLLATERAL_DIR``,
            or of the user's cache, when None. Validators name the same one.
        collateral_refresh: Collateral that was issued so long ago is fetched again.
        collateral_check_interval: Time between two looks for what is missing or old.
        collateral_timeout: How long one fetch may take.
    """

    source: QuoteSource | None = None
    collateral_url: str | None = None
    collateral_folder: Path | str | None = None
    collateral_refresh: float = 86_400.0
    collateral_check_interval: float = 5.0
    collateral_timeout: float = 60.0

    def __post_init__(self) -> None:
        names = ("collateral_refresh", "collateral_check_interval", "collateral_timeout")
        as_seconds(self, *names)
        for name in names:
            require_above(name, getattr(self, name))
        url = self.collateral_url
        if url is not None and not url.startswith(("https://", "http://")):
            raise ConfigError(f"collateral_url is {url!r}, expected one of http or https")
