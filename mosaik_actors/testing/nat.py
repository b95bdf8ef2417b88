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

An outside address that nothing was sent from for `MAPPING_TIMEOUT_S` is given
up (RFC 4787 section 4.3); so is leave to answer to it. What comes in does not
keep it. There is one machine behind each NAT, and it reaches itself at its own
outside address (hairpinning, section 6) if it may answer.
"""

from __future__ import annotations

from typing import Literal

from ..transport.address import SocketAddr

NatKind = Literal["full_cone", "restricted", "port_restricted", "symmetric"]

MAPPING_TIMEOUT_S = 120.0
_FIRST_PORT = 20_000
_PORT_COUNT = 40_000


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
        self._sent_to: dict[SocketAddr, dict[SocketAddr, float]] = {}
        self._used_at: dict[SocketAddr, float] = {}
        self._mapping_count = 0

    def send(self, source: SocketAddr, remote: SocketAddr, *, now: float) -> SocketAddr:
        """Return the outside address that a datagram from `source` to `remote` shows."""
        key = (source, remote if self.kind == "symmetric" else None)
        outside = self._outside.get(key)
        if outside is None or self._is_given_up(outside, now):
            outside = self._outside[key] = self._map(source, outside)
        self._used_at[outside] = now
        self._sent_to[outside][remote] = now
        return outside

    def receive(self, outside: SocketAddr, source: SocketAddr, *, now: float) -> SocketAddr | None:
        """Return where inside a datagram to `outside` goes, None when it is dropped."""
        inside = self._inside.get(outside)
        if inside is None or self._is_given_up(outside, now):
            return None
        may_answer = [
            remote
            for remote, sent_at in self._sent_to[outside].items()
            if now - sent_at <= MAPPING_TIMEOUT_S
        ]
        match self.kind:
            case "full_cone":
                allowed = True
            case "restricted":
                allowed = any(host == source[0] for host, _ in may_answer)
            case _:
                allowed = source in may_answer
        return inside if allowed else None

    def _is_given_up(self, outside: SocketAddr, now: float) -> bool:
        return now - self._used_at[outside] > MAPPING_TIMEOUT_S

    def _map(self, source: SocketAddr, former: SocketAddr | None) -> SocketAddr:
        """Return a new outside address for `source`, in place of its former one."""
        if former is not None:
            for table in (self._inside, self._sent_to, self._used_at):
                table.pop(former, None)
        outside = (self.address, _FIRST_PORT + self._mapping_count % _PORT_COUNT)
        self._mapping_count += 1
        self._inside[outside] = source
        self._sent_to[outside] = {}
        return outside
