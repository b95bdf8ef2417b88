"""What a transport has seen, for whoever watches it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class TransportCounters:
    """What an endpoint has seen since it started. All are counts but the two of bytes.

    Evicted is what had to make room for a newcomer: connections without an accepted
    link, and handshakes that were not finished. Deferred is a newcomer that had to try again
    later (`handshake_budget`). Refused is a peer that is of the network and may not be
    connected all the same (`gate`). A path is the direct way to a peer that is connected through
    a relay (`paths`).
    """

    datagrams_received: int = 0
    datagrams_sent: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    datagrams_refused: int = 0
    datagrams_unsent: int = 0
    connections_opened: int = 0
    connections_refused: int = 0
    connections_evicted: int = 0
    handshakes_evicted: int = 0
    handshakes_failed: int = 0
    handshakes_deferred: int = 0
    peers_refused: int = 0
    links_opened: int = 0
    links_accepted: int = 0
    links_refused: int = 0
    violations: int = 0
    paths_taken: int = 0
    paths_lost: int = 0
