"""Which mappings a gateway is asked for, and which answers count.

    mapper = PortMapper(gateway, own_host, port, (UDP, TCP), rng)
    for data in mapper.handle_timer(now=now): ...   # to the gateway, also of `receive_datagram`
    mapper.external                                 # where this node is to be reached, or None
    for data in mapper.release(now=now): ...        # in the end

A pure core; ``now`` is monotonic time in seconds. It asks by PCP first, and goes on with NAT-PMP
where the gateway knows only that, or says nothing. The first protocol that is wanted decides on
the external port; for the others the same one is asked for, and another one is given back,
since an address names one port for all. Mappings are renewed at half of their lifetime (RFC
6887 section 11.2.1), and at once when the gateway has lost them (section 8.5).

Invariants:
    * Nothing is believed but an answer that comes from the gateway's own address and port, to a
      request that is under way: with its nonce (PCP), its protocol and its port.
    * An external address that the internet cannot reach (private, of a carrier's NAT, of one
      machine or wire) is refused: the gateway is behind another NAT.
    * What is not renewed ends here no later than at the gateway.
"""

from __future__ import annotations

import ipaddress
from math import inf
from random import Random
from typing import Final

import msgspec

from ...errors import DecodeError
from ..address import SocketAddr, format_socket_addr
from . import codec

LIFETIME_S: Final = 7200  # RFC 6886 section 3.3
LIFETIME_MIN_S: Final = 30
LIFETIME_MAX_S: Final = 86_400
PCP_RETRY_S: Final = 3.0  # RFC 6887 section 8.1.1
PCP_TRIES: Final = 2
NAT_PMP_RETRY_S: Final = 0.25  # RFC 6886 section 3.1
NAT_PMP_TRIES: Final = 5
REFUSED_RETRY_MIN_S: Final = 30.0
REFUSED_RETRY_MAX_S: Final = 1800.0
SILENT_RETRY_S: Final = 600.0
RENEW_TRIES: Final = 4

_PRIVATE: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "224.0.0.0/3",
        ),
    )
)


def why_not_external(addr: SocketAddr) -> str:
    """Return why an address outside is of no use, empty when it may be."""
    host = ipaddress.ip_address(addr[0])
    if addr[1] == 0:
        return "it names no port"
    if host.version != 4:
        return f"{host} is no IPv4 address"
    if any(host in network for network in _PRIVATE):
        return f"{host}, its own address, is private: it is behind another NAT"
    return ""


class _Lease(msgspec.Struct):
    """The mapping of one protocol: what is had, and what is asked for."""

    protocol: int
    nonce: bytes
    due_at: float
    external_port: int = 0
    expires_at: float = -inf
    tries: int = 0
    is_asked: bool = False
    is_given_up: bool = False


class PortMapper:
    """The mappings of one port.

    Args:
        gateway: Where it is asked.
        own_host: The address that this node has towards the gateway.
        port: The port that is to be reached from outside.
        protocols: For which of `codec.UDP` and `codec.TCP`, the most wanted one first.
        rng: Where nonces are drawn from.
        now: The time.

    Attributes:
        method: What the gateway understands, ``PCP`` or ``NAT-PMP``; empty before it answered.
        error: Why there is no mapping now; empty when there is one, or nothing is known yet.
        is_silent: Whether the gateway says nothing in either protocol.
        refused_count: Answers that did not count.
        refused: Why the last of them did not.
    """

    def __init__(
        self,
        gateway: SocketAddr,
        own_host: str,
        port: int,
        protocols: tuple[int, ...],
        rng: Random,
        *,
        now: float,
    ) -> None:
        self.method = ""
        self.error = ""
        self.is_silent = False
        self.refused_count = 0
        self.refused = ""
        self._gateway = gateway
        self._own_host = own_host
        self._port = port
        self._is_pcp = True
        self._host = ""  # the gateway's, outside
        self._is_host_asked = False
        self._refusal_wait_s = REFUSED_RETRY_MIN_S
        self._epoch: tuple[int, float] | None = None
        self._may_renew_at = -inf
        self._leases = [
            _Lease(protocol, rng.randbytes(codec.NONCE_BYTES), now if number == 0 else inf)
            for number, protocol in enumerate(protocols)
        ]

    def external(self, *, now: float) -> SocketAddr | None:
        """Return where this node can be reached from outside; None where it cannot."""
        first = self._leases[0]
        if now >= first.expires_at or why_not_external((self._host, first.external_port)):
            return None
        return self._host, first.external_port

    def mapped(self, *, now: float) -> list[int]:
        """Return which protocols are mapped."""
        return [one.protocol for one in self._leases if now < one.expires_at]

    def get_timer(self) -> float:
        """Return when `handle_timer` is due."""
        return min(one.due_at for one in self._leases)

    def handle_timer(self, *, now: float) -> list[bytes]:
        """Return the requests that are due, in order."""
        found: list[bytes] = []
        for lease in self._leases:
            if lease.due_at <= now:
                found += self._ask(lease, now)
        return found

    def receive_datagram(self, data: bytes, source: SocketAddr, *, now: float) -> list[bytes]:
        """Take in an answer; return what to send next."""
        if source != self._gateway:
            return self._refuse(f"it came from {format_socket_addr(source)}")
        try:
            answer = codec.decode_answer(data)
        except DecodeError as error:
            return self._refuse(error.text)
        match answer:
            case codec.VersionRefused():
                return self._receive_version(now)
            case codec.PcpMapped() if self._is_pcp:
                return self._receive_pcp(answer, now)
            case codec.NatPmpAddress() if not self._is_pcp and self._is_host_asked:
                return self._receive_address(answer, now)
            case codec.NatPmpMapped() if not self._is_pcp:
                return self._receive_nat_pmp(answer, now)
            case _:
                return self._refuse("nobody asked for it")

    def receive_unreachable(self, *, now: float) -> list[bytes]:
        """Take in that the gateway has nothing at its port; return what to send next."""
        if self.method or self.is_silent:
            return []
        return self._fall_silent(now)

    def release(self, *, now: float) -> list[bytes]:
        """Return the requests that end the mappings; nothing more is asked for."""
        found = []
        for lease in self._leases:
            lease.due_at = inf
            if now < lease.expires_at:
                found.append(self._encode(lease, 0))
                lease.expires_at = -inf
        return found

    # Asking.

    def _ask(self, lease: _Lease, now: float) -> list[bytes]:
        lease.tries += 1
        tries = RENEW_TRIES if now < lease.expires_at else self._tries_max
        if lease.tries > tries:
            return self._give_up(lease, now)
        first_s = PCP_RETRY_S if self._is_pcp else NAT_PMP_RETRY_S
        lease.due_at = now + first_s * 2 ** (lease.tries - 1)
        if self._is_pcp and lease.tries == PCP_TRIES and not self.method:
            lease.due_at = now + PCP_RETRY_S
        lease.is_asked = True
        found = []
        if not self._is_pcp and not self._host:
            self._is_host_asked = True
            found.append(codec.encode_nat_pmp_address())
        return [*found, self._encode(lease, LIFETIME_S)]

    @property
    def _tries_max(self) -> int:
        return PCP_TRIES if self._is_pcp else NAT_PMP_TRIES

    def _encode(self, lease: _Lease, lifetime_s: int) -> bytes:
        port = lease.external_port or self._leases[0].external_port
        if self._is_pcp:
            external = (self._host or "0.0.0.0", port)
            return codec.encode_pcp_map(
                self._own_host, lease.nonce, lease.protocol, self._port, lifetime_s, external
            )
        asked = port if lifetime_s else 0
        return codec.encode_nat_pmp_map(lease.protocol, self._port, lifetime_s, asked)

    def _give_up(self, lease: _Lease, now: float) -> list[bytes]:
        """Go on without an answer: what is had is had until it expires."""
        left_s = lease.expires_at - now
        if left_s > LIFETIME_MIN_S:
            lease.tries = 0
            lease.due_at = now + left_s / 2
            return []
        if lease is not self._leases[0]:
            lease.is_given_up, lease.due_at = True, inf
            return []
        return self._fall_silent(now)

    def _fall_silent(self, now: float) -> list[bytes]:
        """Try the older protocol, or nothing for long: the gateway does not answer."""
        if self._is_pcp and not self.method:
            return self._receive_version(now)
        self._forget_all(now)
        self.is_silent = True
        self.error = f"{self._gateway[0]} answers neither PCP nor NAT-PMP"
        self._start_over(now + SILENT_RETRY_S)
        return []

    def _start_over(self, at: float) -> None:
        """Ask for all anew, at a time, as if nothing were known of the gateway."""
        self._is_pcp = True
        self.method = ""
        for number, lease in enumerate(self._leases):
            lease.due_at = at if number == 0 else inf
            lease.tries = 0
            lease.is_asked = lease.is_given_up = False

    def _forget_all(self, now: float) -> None:
        for lease in self._leases:
            lease.expires_at = min(lease.expires_at, now)

    # Answers.

    def _receive_version(self, now: float) -> list[bytes]:
        if not self._is_pcp or self.method:
            return self._refuse("it takes back what it has understood before")
        self._is_pcp = False
        first = self._leases[0]
        first.tries = 0
        return self._ask(first, now)

    def _receive_pcp(self, answer: codec.PcpMapped, now: float) -> list[bytes]:
        lease = self._find(answer.protocol, answer.internal_port)
        if lease is None or answer.nonce != lease.nonce:
            return self._refuse("its nonce, protocol or port is not that of a request")
        self.method = "PCP"
        lost = self._check_epoch(answer.epoch_s, now)
        if answer.result:
            text = codec.describe_result(answer.result, is_pcp=True)
            return self._receive_refusal(lease, text, now, answer.lifetime_s) + lost
        return self._receive_mapping(lease, answer.external, answer.lifetime_s, now) + lost

    def _receive_nat_pmp(self, answer: codec.NatPmpMapped, now: float) -> list[bytes]:
        lease = self._find(answer.protocol, answer.internal_port)
        if lease is None:
            return self._refuse("its protocol or port is not that of a request")
        self.method = "NAT-PMP"
        lost = self._check_epoch(answer.epoch_s, now)
        if answer.result:
            text = codec.describe_result(answer.result, is_pcp=False)
            return self._receive_refusal(lease, text, now) + lost
        if not self._host:
            return lost  # whose port that is, is asked for again with the mapping
        external = self._host, answer.external_port
        return self._receive_mapping(lease, external, answer.lifetime_s, now) + lost

    def _receive_address(self, answer: codec.NatPmpAddress, now: float) -> list[bytes]:
        self.method = "NAT-PMP"
        self._is_host_asked = False
        lost = self._check_epoch(answer.epoch_s, now)
        first = self._leases[0]
        if answer.result:
            text = codec.describe_result(answer.result, is_pcp=False)
            return self._receive_refusal(first, text, now) + lost
        if why := why_not_external((answer.host, 1)):
            return self._decline(first, why, now) + lost
        self._host = answer.host
        return lost

    def _find(self, protocol: int, port: int) -> _Lease | None:
        """Return the lease that was asked for, and not answered since."""
        for lease in self._leases:
            if lease.protocol == protocol and port == self._port and lease.is_asked:
                return lease
        return None

    def _receive_mapping(
        self, lease: _Lease, external: SocketAddr, lifetime_s: int, now: float
    ) -> list[bytes]:
        if why := why_not_external(external):
            return self._decline(lease, why, now)
        lease.is_asked = False
        lease.tries = 0
        held_s = min(LIFETIME_MAX_S, lifetime_s)
        if held_s < LIFETIME_MIN_S:
            return self._decline(lease, f"it maps for {lifetime_s} s only", now)
        first = self._leases[0]
        lease.external_port = external[1]
        lease.expires_at = now + held_s
        lease.due_at = now + held_s / 2
        if lease is first:
            self._host = external[0]
            self.error = ""
            self.is_silent = False
            self._refusal_wait_s = REFUSED_RETRY_MIN_S
            for other in self._leases[1:]:
                if not other.is_given_up and (
                    now >= other.expires_at or other.external_port != external[1]
                ):
                    other.external_port, other.due_at, other.tries = 0, now, 0
            return self.handle_timer(now=now)
        if external[1] == first.external_port:
            return []
        # An address names one port for all: others are told of the first one alone.
        ended = self._encode(lease, 0)
        lease.is_given_up = True
        lease.expires_at, lease.due_at = -inf, inf
        return [ended]

    def _decline(self, lease: _Lease, text: str, now: float) -> list[bytes]:
        """Give a mapping back that is of no use."""
        ended = self._encode(lease, 0)
        return [*self._receive_refusal(lease, text, now), ended]

    def _receive_refusal(
        self, lease: _Lease, text: str, now: float, wait_s: float = 0.0
    ) -> list[bytes]:
        lease.is_asked = False
        lease.tries = 0
        lease.expires_at = -inf
        if lease is not self._leases[0]:
            lease.is_given_up, lease.due_at = True, inf
            return []
        self.error = f"{self._gateway[0]} refuses: {text}"
        self._host = ""
        self._forget_all(now)
        lease.due_at = now + max(self._refusal_wait_s, min(wait_s, REFUSED_RETRY_MAX_S))
        self._refusal_wait_s = min(2 * self._refusal_wait_s, REFUSED_RETRY_MAX_S)
        return []

    def _check_epoch(self, epoch_s: int, now: float) -> list[bytes]:
        """Ask for all that is had again when the gateway has lost it (RFC 6887 section 8.5)."""
        former, self._epoch = self._epoch, (epoch_s, now)
        if former is None:
            return []
        here, there = now - former[1], epoch_s - former[0]
        if there >= -1 and there + 2 >= here - here / 16 and here + 2 >= there - there / 16:
            return []
        if now < self._may_renew_at:
            return []  # a clock that never fits would have each answer ask for the next one
        self._may_renew_at = now + LIFETIME_MIN_S
        found = []
        for lease in self._leases:
            if now < lease.expires_at and not lease.is_asked:
                lease.due_at, lease.tries = now, 0
                found += self._ask(lease, now)
        return found

    def _refuse(self, why: str) -> list[bytes]:
        self.refused_count += 1
        self.refused = why
        return []
