"""The one way all processes of the demo join their network.

They share its name and nothing else: no address, no port, no key. All settings
are the defaults: a killed process is missed within 15 seconds, as anywhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from ...discovery.info import PeerInfo
from ...ids import PeerId
from ...network import Network

SENSOR_TAG: Final = "sensor"
COLLECTOR_TAG: Final = "collector"


def demo_network(name: str, *, tags: Iterable[str]) -> Network:
    """Return a node of the demo's network, not started yet."""
    return Network(name, tags=tuple(tags))


def living(catalog: Mapping[PeerId, PeerInfo]) -> dict[str, PeerInfo]:
    """Return the peers in a catalog that answer, by the text of their ids."""
    return {str(peer): info for peer, info in catalog.items() if info.is_reachable}
