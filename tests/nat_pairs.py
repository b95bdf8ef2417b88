"""Which pairs of nodes behind NATs are expected to meet directly, and which at a relay.

What the simulation and the network namespaces are both held to, and the table in
`docs/networking.md`.
"""

from __future__ import annotations

from itertools import combinations_with_replacement

from mosaik_actors.testing.nat import NatKind

KINDS: tuple[NatKind | None, ...] = (
    None,
    "full_cone",
    "restricted",
    "port_restricted",
    "symmetric",
)
PAIRS = tuple(combinations_with_replacement(KINDS, 2))
WORDS = {
    None: "none",
    "full_cone": "full cone",
    "restricted": "address-restricted",
    "port_restricted": "port-restricted",
    "symmetric": "symmetric",
}


def is_punchable(one: NatKind | None, other: NatKind | None) -> bool:
    """Return whether two nodes meet directly: each has to know where the other will answer.

    A symmetric NAT shows every destination another port, so what the relay has seen says
    nothing to a NAT that lets in only ports that were sent to (RFC 5128 section 3.3).
    """
    by_port = {"port_restricted", "symmetric"}
    return "symmetric" not in (one, other) or not {one, other} <= by_port
