"""Which router leads out of this network: the gateway of the default route."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

_ROUTES: Final = Path("/proc/net/route")
_UP_AND_GATEWAY: Final = 0x0003  # RTF_UP | RTF_GATEWAY, route(8)


def parse_routes(text: str) -> str | None:
    """Return the gateway of the default route that Linux prefers; None without one.

    Args:
        text: What /proc/net/route holds (proc(5)).
    """
    found: list[tuple[int, str]] = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        try:
            destination, gateway, flags = (int(fields[at], 16) for at in (1, 2, 3))
            metric, mask = int(fields[6]), int(fields[7], 16)
        except (IndexError, ValueError):
            continue
        if destination == mask == 0 and flags & _UP_AND_GATEWAY == _UP_AND_GATEWAY:
            found.append((metric, str(IPv4Address(gateway.to_bytes(4, "little")))))
    return min(found, default=(0, None))[1]


def find_gateway() -> str | None:
    """Return the gateway of the default route; None where there is none, or it cannot be seen."""
    try:
        return parse_routes(_ROUTES.read_text())
    except OSError:
        return None
