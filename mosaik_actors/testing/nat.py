"""A simulated NAT: what it does to the addresses of datagrams that pass it.

A pure model of the behaviours of RFC 4787 (in RFC 3489's words, which people
still use). All kinds give an inside address an outside one when it first
sends. They differ in when that outside address is used again and in who may
answer to it:

    * ``full_cone``: one outside address; anybody may send to it.
    * ``restricted``: one outside address; only addresses that were sent to.
    * ``port_restricted``: one; only address and port pairs that were sent to.
    * ``symmetric``: another outside address for each destination, which alone
      may answer to it. Hole punching fails between two of these.
"""

from __future__ import annotations

from typing import Literal

from ..transport.address import SocketAddr

NatKind = Literal["full_cone", "restricted", "port_restricted", "symmetric"]

_FIRST_PORT = 20_000


class Nat:
    """One NAT in front of one inside machine.

    Args:
        kind: How it behaves.
        address: Its outside address.
    """

    def __init__(self, kind: NatKind, address: str) -> None:
        self.kind = kind
        self.address = address
        self._outside: dict[tuple[SocketAddr, SocketAddr | None], SocketAddr] = {}
        self._inside: dict[SocketAddr, SocketAddr] = {}
        self._sent_to: dict[SocketAddr, set[SocketAddr]] = {}

    def send(self, source: SocketAddr, remote: SocketAddr) -> SocketAddr:
        """Return the outside address that a datagram from `source` to `remote` shows."""
        key = (source, remote if self.kind == "symmetric" else None)
        outside = self._outside.get(key)
        if outside is None:
            outside = (self.address, _FIRST_PORT + len(self._outside))
            self._outside[key] = outside
            self._inside[outside] = source
        self._sent_to.setdefault(outside, set()).add(remote)
        return outside

    def receive(self, outside: SocketAddr, source: SocketAddr) -> SocketAddr | None:
        """Return where inside a datagram to `outside` goes, None when it is dropped."""
        inside = self._inside.get(outside)
        if inside is None:
            return None
        sent_to = self._sent_to.get(outside, set())
        match self.kind:
            case "full_cone":
                allowed = True
            case "restricted":
                allowed = any(host == source[0] for host, _ in sent_to)
            case _:
                allowed = source in sent_to
        return inside if allowed else None
