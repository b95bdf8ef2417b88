"""Where others can reach an endpoint by now: at its own addresses, and at what is mapped to it."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import TYPE_CHECKING

import msgspec

from ...clock import Clock
from ..address import DIRECT_COUNT_MAX, PeerAddr, SocketAddr
from ..config import TransportConfig
from ..sockets import DatagramPort, MovingPort

if TYPE_CHECKING:
    from ..mapping.driver import PortMapping


class AddressesChanged(msgspec.Struct, frozen=True):
    """What has changed.

    Attributes:
        addrs: What others are told, at most `DIRECT_COUNT_MAX`.
        hosts: The addresses that this machine has.
        mapped: Where the gateway sends on what comes from outside.
        has_moved: Whether those of this machine have changed.
        left: The families of which some are gone.
    """

    addrs: tuple[SocketAddr, ...]
    hosts: frozenset[str]
    mapped: tuple[SocketAddr, ...]
    has_moved: bool
    left: frozenset[int]


class Whereabouts:
    """Looks where an endpoint can be reached.

    Args:
        ports: Its sockets.

    Attributes:
        mapping: How the gateway sends on what comes from outside; None where nobody wants that.
    """

    def __init__(self, ports: Iterable[DatagramPort]) -> None:
        self.mapping: PortMapping | None = None
        self._ports = [port for port in ports if isinstance(port, MovingPort)]
        self._mapped: tuple[SocketAddr, ...] = ()

    def start_mapping(
        self, config: TransportConfig, addr: PeerAddr, clock: Clock, rng: Random
    ) -> None:
        """Have the gateway send on what comes from outside, if that is wanted and of use."""
        if config.port_mapping:
            from ..mapping.driver import start_mapping  # most nodes want none

            self.mapping = start_mapping(config, addr.direct, addr.carriers, clock, rng)

    @property
    def may_change(self) -> bool:
        """Whether it is worth looking again."""
        return self.mapping is not None or any(port.is_on_all_interfaces for port in self._ports)

    def look(self) -> AddressesChanged | None:
        """Return what has changed since the last look; None for nothing."""
        before = {port.family: set(port.addrs) for port in self._ports}
        moved = [port.look_anew() for port in self._ports]
        has_moved = any(moved)
        if has_moved and self.mapping is not None:
            self.mapping.receive_move()
        external = None if self.mapping is None else self.mapping.external
        former, self._mapped = self._mapped, () if external is None else (external,)
        if not has_moved and former == self._mapped:
            return None
        own = [addr for port in self._ports for addr in port.addrs]
        told = (*own[: DIRECT_COUNT_MAX - len(self._mapped)], *self._mapped)
        left = [port.family for port in self._ports if before[port.family] - set(port.addrs)]
        return AddressesChanged(
            addrs=tuple(dict.fromkeys(told)),
            hosts=frozenset(host for host, _ in own),
            mapped=self._mapped,
            has_moved=has_moved,
            left=frozenset(left),
        )
