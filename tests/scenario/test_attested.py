"""Nodes in simulated trusted domains, on virtual time."""

from __future__ import annotations

import sys

import pytest

from mosaik_actors import (
    Expiration,
    InvalidTicket,
    SimulatedRoot,
    SimulatedTd,
    Tdx,
    TdxTicket,
    TdxUnavailable,
    TeeConfig,
)
from mosaik_actors.errors import ConfigError
from mosaik_actors.testing import Cluster, scenario

ROOT = SimulatedRoot("attested")
GOOD, BAD = "aa" * 48, "bb" * 48


def domain(index: int) -> TeeConfig | None:
    """Node 0 is outside, 1 and 2 run what they should, 3 something else."""
    measured = {1: GOOD, 2: GOOD, 3: BAD}.get(index)
    return TeeConfig(source=SimulatedTd(ROOT, mrtd=measured)) if measured else None


@scenario(nodes=2, seeds=range(1), tee=domain)
async def test_node_shows_its_ticket_and_others_check_it(cluster: Cluster) -> None:
    outside, inside = cluster.net(0), cluster.net(1)
    assert inside.tdx.available()
    assert inside.tdx.status.is_simulated
    assert "SIMULATED" in str(inside.tdx.status)
    assert (await inside.tdx.measurements()).mrtd.hex() == GOOD

    # One that ends in a minute goes into the entry, in place of the one before.
    await inside.tdx.install_own_ticket()
    ticket = await inside.tdx.install_own_ticket(60)
    assert list(inside.discovery.me.entry.tickets) == [ticket]
    await cluster.sleep(5)
    info = outside.discovery.catalog()[inside.peer_id]
    assert list(info.tickets) == [ticket]

    # The binding names the peer, the network and the times of this node's clock.
    found = TdxTicket.from_ticket(ticket)
    assert (found.peer_id, found.network_id) == (inside.peer_id, inside.id)
    assert found.binding.started <= found.binding.quoted <= cluster.nodes[1].clock.wall()
    end = await outside.tdx.check(ticket, Tdx(GOOD, roots=[ROOT]), info)
    assert end == found.expiration == Expiration.at(found.binding.expiration)
    with pytest.raises(InvalidTicket, match="mrtd"):
        await outside.tdx.check(ticket, Tdx(BAD, roots=[ROOT]), info)
    with pytest.raises(InvalidTicket, match="is not trusted"):
        await outside.tdx.check(ticket, Tdx(GOOD), info)

    # A minute later it is over.
    await cluster.sleep(60)
    with pytest.raises(InvalidTicket, match="it expired"):
        await outside.tdx.check(ticket, Tdx(GOOD, roots=[ROOT]), info)


@scenario(nodes=1, seeds=range(1))
async def test_node_outside_says_why_it_has_no_quotes(cluster: Cluster) -> None:
    tdx = cluster.net(0).tdx
    assert not tdx.available()
    assert tdx.status.reason in str(tdx.status)
    for call in (tdx.ticket, tdx.install_own_ticket, tdx.measurements):
        with pytest.raises(TdxUnavailable, match="of a simulation"):
            await call()
    assert cluster.net(0).discovery.me.entry.tickets == ()


@scenario(nodes=2, seeds=range(1), tee=domain)
async def test_expiration_has_to_come(cluster: Cluster) -> None:
    tdx = cluster.net(1).tdx
    for past in (0, -5, Expiration.at(5.0), 1e12):
        with pytest.raises(ConfigError, match="expected one to come"):
            await tdx.ticket(past)


@scenario(nodes=2, seeds=range(1), tee=domain)
async def test_without_the_extra_nothing_but_trusted_domains_is_missing(cluster: Cluster) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "dcap_qvl", None)
        tdx = cluster.net(1).tdx
        assert not tdx.available()
        assert "mosaik-actors[tdx]" in tdx.status.reason
        with pytest.raises(TdxUnavailable, match="dcap-qvl, which is not installed"):
            await tdx.install_own_ticket()
        with pytest.raises(ConfigError, match=r"mosaik-actors\[tdx\]"):
            Tdx()
    assert cluster.net(1).tdx.available()
