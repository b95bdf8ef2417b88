"""The one way all processes of the demo join their network.

They share its name and nothing else: no address, no port, no key. The timeouts
are shorter than the defaults, so that a killed process is missed within a few
seconds and not within minutes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ...discovery.config import DiscoveryConfig
from ...network import Network
from ...transport.config import TransportConfig

SENSOR_TAG: Final = "sensor"
COLLECTOR_TAG: Final = "collector"

DISCOVERY: Final = DiscoveryConfig(
    announce_interval=0.8, purge_after=3.0, rtt_probe_interval=1.0, shuffle_interval=2.0
)
TRANSPORT: Final = TransportConfig(idle_timeout=2.0, keep_alive_interval=0.4)


def demo_network(name: str, *, tags: Iterable[str]) -> Network:
    """Return a node of the demo's network, not started yet."""
    return Network(name, tags=tuple(tags), discovery=DISCOVERY, transport=TRANSPORT)
