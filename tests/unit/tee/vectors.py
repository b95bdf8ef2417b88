"""The real quotes, and simulated ones that several tests share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from mosaik_actors.clock import validating_at
from mosaik_actors.ids import NetworkId, PeerId, SecretKey, unique_id
from mosaik_actors.tee.collateral import Collateral
from mosaik_actors.tee.packing import TdxBinding
from mosaik_actors.tee.simulated import SimulatedRoot, SimulatedTd
from mosaik_actors.tee.ticket import TdxTicket

FOLDER = Path(__file__).parents[4] / "shared" / "vectors" / "tdx"
NOW = 1_700_000_000.0
PEER = SecretKey.from_seed("a peer").peer_id
NETWORK = unique_id("a network")
MRTD = "11" * 48


@dataclass(frozen=True)
class RealQuote:
    """A quote of real hardware, and what judges it."""

    data: bytes
    collateral_file: Path

    @property
    def collateral(self) -> Collateral:
        return Collateral.parse(self.collateral_file.read_bytes())

    @property
    def now(self) -> float:
        """When the collateral was new."""
        return self.collateral.issued + 1


def real_quote(name: str) -> RealQuote:
    if not FOLDER.is_dir():
        pytest.skip(f"the real quotes are not here: {FOLDER}")
    return RealQuote((FOLDER / name).read_bytes(), FOLDER / f"{name}_collateral.json")


@cache
def root() -> SimulatedRoot:
    return SimulatedRoot("the tests' root")


@dataclass(frozen=True)
class Holder:
    """Who shows a ticket."""

    peer_id: PeerId = PEER
    network_id: NetworkId = NETWORK


def bind(
    *,
    peer: PeerId = PEER,
    network: NetworkId = NETWORK,
    started: float = NOW - 100,
    quoted: float = NOW - 10,
    expiration: float = 0,
) -> TdxBinding:
    return TdxBinding(
        peer=peer,
        network=network,
        started=int(started),
        quoted=int(quoted),
        expiration=int(expiration),
    )


def make_ticket(td: SimulatedTd | None = None, binding: TdxBinding | None = None) -> TdxTicket:
    td = td or SimulatedTd(root(), mrtd=MRTD)
    binding = binding or bind()
    return TdxTicket.make(td.quote(binding.report_data), binding)


@contextmanager
def at(now: float) -> Iterator[None]:
    with validating_at(now):
        yield
