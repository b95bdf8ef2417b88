"""A connection whose bytes QUIC carries, in datagrams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..address import RELAYED_FAMILY, SocketAddr
from ..config import TransportConfig
from ..connection.connection import Connection, close_failed
from ..connection.owner import ConnectionOwner
from ..engine_face import QuicEngine


class QuicConnection(Connection):
    """One connection over QUIC.

    Args:
        owner: The endpoint.
        engine: The QUIC connection.
        config: The transport's settings.
        send: What its datagrams leave by.
        family: Of what port that is.
        is_initiator: Whether this side dialled.

    Attributes:
        quic: The engine again, with what only QUIC has.
        unheard_max: How many more datagrams may leave before something comes back;
            None for any. What is too much is as good as lost on its way.
    """

    def __init__(
        self,
        owner: ConnectionOwner[Connection],
        engine: QuicEngine,
        config: TransportConfig,
        send: Callable[[list[tuple[bytes, Any]]], None],
        family: int,
        *,
        is_initiator: bool,
    ) -> None:
        super().__init__(owner, engine, config, is_initiator=is_initiator)
        self.carrier = "relay" if family == RELAYED_FAMILY else "quic"
        self.family = family
        self.quic = engine
        self.cids[engine.host_cid] = None
        self.unheard_max: int | None = None
        self._send = send

    def receive_datagram(self, data: bytes, remote: SocketAddr, *, now: float) -> None:
        """Take in a datagram; call `process` when this loop turn has no more."""
        self.last_heard_at = now
        self.unheard_max = None
        try:
            self.quic.receive_datagram(data, remote, now=now)
        except Exception:  # or those whose datagrams came with it would have to wait
            close_failed(self)

    def receive_datagrams(self, datagrams: list[bytes], remote: SocketAddr, *, now: float) -> None:
        """As `receive_datagram`, with several at once."""
        self.last_heard_at = now
        self.unheard_max = None
        try:
            self.quic.receive_datagrams(datagrams, remote, now=now)
        except Exception:
            close_failed(self)

    def _transmit(self, *, now: float) -> bool:
        datagrams = self.quic.datagrams_to_send(now=now)
        if self.unheard_max is not None:
            # A goodbye to nobody is not worth a datagram either.
            datagrams = [] if self.is_over else datagrams[: self.unheard_max]
            self.unheard_max -= len(datagrams)
        if datagrams:
            self._send(datagrams)
        return bool(datagrams)
