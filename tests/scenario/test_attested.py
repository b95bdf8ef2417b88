"""Nodes in simulated trusted domains, on virtual time."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import pytest

from mosaik_actors import (
    CollectionConfig,
    DiscoveryConfig,
    Expiration,
    GroupKey,
    Hs256,
    InvalidTicket,
    Jwt,
    JwtTicketBuilder,
    Map,
    NotAdmitted,
    PeerId,
    SimulatedRoot,
    SimulatedTd,
    Tdx,
    TdxTicket,
    TdxUnavailable,
    TeeConfig,
    TransportConfig,
)
from mosaik_actors.clock import validation_time
from mosaik_actors.errors import ConfigError
from mosaik_actors.tee.collateral import Collateral
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


# Gates. Node 0 is outside; 1 and 2 run what they should; 3 something else.

ATTESTED = Tdx(GOOD, roots=[ROOT])
SETTINGS: dict[str, Any] = {
    "transport": TransportConfig(idle_timeout=3.0, keep_alive_interval=0.8),
    "discovery": DiscoveryConfig(purge_after=60, announce_interval=4),
    "tee": domain,
}
LATE_S = 0.1
KEY = Hs256(b"k" * 32)
STAFF = Jwt(KEY, issuers=["acme"])


class Reading(msgspec.Struct, frozen=True):
    value: int


@scenario(nodes=4, seeds=range(2), **SETTINGS)
async def test_only_attested_nodes_form_a_group_and_an_expiry_cuts_one_off(
    cluster: Cluster,
) -> None:
    # 1 shows a ticket for an hour, 2 one for half a minute, 3 one of other software; 0 has none.
    await cluster.net(1).tdx.install_own_ticket(3600)
    short = TdxTicket.from_ticket(await cluster.net(2).tdx.install_own_ticket(30))
    ends_at = short.binding.expiration
    await cluster.net(3).tdx.install_own_ticket(3600)
    key = GroupKey.from_validator(ATTESTED)
    groups = [cluster.net(i).groups.join(key, require_ticket=ATTESTED) for i in range(4)]
    ids = [cluster.nodes[i].peer_id for i in range(4)]

    def bonded(index: int) -> set[PeerId]:
        return {peer for bond in groups[index].bonds for peer in bond} - {ids[index]}

    # 1 and 2 are a group, and stay one; the others never bond with anybody.
    await cluster.until(lambda: bonded(1) == {ids[2]} and bonded(2) == {ids[1]}, timeout=20)
    await cluster.until(lambda: any(group.is_leader for group in groups[1:3]), timeout=20)
    while validation_time() < ends_at - 1:
        await cluster.sleep(0.5)
        assert bonded(0) == bonded(3) == set()
        assert bonded(1) == {ids[2]}

    # At that second 2 is cut off; 1 goes on by itself.
    await cluster.until(lambda: not bonded(1), timeout=5)
    assert ends_at - 0.01 <= validation_time() < ends_at + LATE_S
    await cluster.until(lambda: groups[1].is_leader, timeout=20)

    # A new quote brings it back.
    await cluster.net(2).tdx.install_own_ticket(3600)
    await cluster.until(lambda: bonded(1) == {ids[2]}, timeout=20)
    assert bonded(0) == bonded(3) == set()


@scenario(nodes=4, seeds=range(1), **SETTINGS)
async def test_a_stream_goes_to_attested_consumers_only(cluster: Cluster) -> None:
    for index in (1, 3):
        await cluster.net(index).tdx.install_own_ticket(3600)
    producer = cluster.net(0).streams.producer(Reading, require_ticket=ATTESTED)
    consumers = [cluster.net(i).streams.consume(Reading) for i in (1, 2, 3)]
    await cluster.until(lambda: len(producer.consumers()) == 1)
    await cluster.until(lambda: all(c.refusals() for c in consumers[1:]))
    await producer.send(Reading(1))
    assert await consumers[0].recv() == Reading(1)
    refused = [str(next(iter(c.refusals().values()))) for c in consumers[1:]]
    assert "shows no ticket" in refused[0]
    assert "its mrtd is bbbbbbbbbb" in refused[1]
    await cluster.sleep(30)
    assert [channel.consumer_id for channel in producer.consumers()] == [cluster.nodes[1].peer_id]


@scenario(nodes=3, seeds=range(1), **SETTINGS)
async def test_a_domain_and_a_token_are_both_required(cluster: Cluster) -> None:
    """1 shows both, and 2 a quote only, until it has a token."""
    token = JwtTicketBuilder(KEY, issuer="acme", expires_in=3600)
    cluster.net(1).discovery.add_ticket(token.build(cluster.nodes[1].peer_id))
    for index in (1, 2):
        await cluster.net(index).tdx.install_own_ticket(3600)
    producer = cluster.net(0).streams.producer(Reading, require_ticket=[ATTESTED, STAFF])
    consumers = [cluster.net(i).streams.consume(Reading) for i in (1, 2)]
    await cluster.until(lambda: len(producer.consumers()) == 1 and consumers[1].refusals())
    assert consumers[0].producers()
    cluster.net(2).discovery.add_ticket(token.build(cluster.nodes[2].peer_id))
    await cluster.until(lambda: len(producer.consumers()) == 2)


@scenario(nodes=3, seeds=range(1), **SETTINGS)
async def test_a_collection_of_those_who_run_the_same(cluster: Cluster) -> None:
    """Each requires what it runs itself, in all registers."""
    own = Tdx.from_local(SimulatedTd(ROOT, mrtd=GOOD), roots=[ROOT])
    config = CollectionConfig(require_ticket=[own])
    for index in (1, 2):
        await cluster.net(index).tdx.install_own_ticket(3600)
    maps = [Map[str, int].writer(cluster.net(i), "shared", config=config) for i in (1, 2)]
    outsider = Map[str, int].reader(cluster.net(0), "shared", config=config)
    for one in maps:
        await one.when().online()
    version = await maps[0].insert("a", 1)
    await maps[1].when().reaches(version)
    assert dict(maps[1]) == {"a": 1}
    await cluster.sleep(10)
    assert not outsider


@scenario(nodes=3, seeds=range(1), **SETTINGS)
async def test_a_kept_ticket_is_quoted_anew_before_it_ends(cluster: Cluster) -> None:
    mine = cluster.net(1)
    kept = mine.discovery.keep_ticket(mine.tdx.builder(20), before=5)
    first = await kept
    producer = cluster.net(0).streams.producer(Reading, require_ticket=ATTESTED)
    consumer = cluster.net(1).streams.consume(Reading)
    await cluster.until(lambda: len(producer.consumers()) == 1)
    channel = producer.consumers()[0]
    await cluster.sleep(100)
    assert channel.is_connected
    assert consumer.is_online
    assert kept.ticket is not None
    quoted = [TdxTicket.from_ticket(ticket).quoted for ticket in (first, kept.ticket)]
    assert (quoted[1] - quoted[0]).total_seconds() >= 75
    assert list(mine.discovery.me.entry.tickets) == [kept.ticket]

    # Nobody renews it any more: it ends at its second.
    ends_at = TdxTicket.from_ticket(kept.ticket).binding.expiration
    kept.close()
    await channel.disconnected()
    assert ends_at - 0.01 <= validation_time() < ends_at + LATE_S
    with pytest.raises(ConfigError, match="expires_in"):
        mine.tdx.builder(1)


@scenario(nodes=4, seeds=range(1), starts=False, **SETTINGS)
async def test_a_network_of_attested_nodes_only(cluster: Cluster) -> None:
    """0 requires domains; 1 and 2 run the right software, 3 something else."""
    cluster.nodes[0].require_ticket = ATTESTED
    for node in cluster.nodes:
        await node.start()
        if node.index:
            await node.net.tdx.install_own_ticket(30 if node.index == 2 else 3600)
    ends_at = max(
        TdxTicket.from_ticket(ticket).binding.expiration
        for ticket in cluster.net(2).discovery.me.entry.tickets
    )
    endpoint = cluster.net(0).node.endpoint
    inside = {cluster.nodes[i].peer_id for i in (1, 2)}
    await cluster.until(lambda: inside <= set(endpoint.connected_peers()), timeout=20)
    with pytest.raises(NotAdmitted, match="its mrtd is bbbbbbbbbb") as refused:
        await cluster.net(3).discovery.sync_with(cluster.net(0).addr)
    assert refused.value.gate == "ticket"
    expired = cluster.nodes[2].peer_id
    await cluster.until(lambda: expired not in endpoint.connected_peers(), timeout=60)
    assert ends_at - 0.01 <= validation_time() < ends_at + LATE_S
    assert cluster.nodes[1].peer_id in endpoint.connected_peers()


class Papers:
    """Collateral that holds for a while, and is replaced."""

    def __init__(self, issued: float) -> None:
        self.collateral = ROOT.collateral(now=issued)

    def find(self, key: object) -> Collateral:
        return self.collateral


@scenario(nodes=2, seeds=range(1), **SETTINGS)
async def test_end_of_collateral_ends_a_stream_until_there_is_newer(cluster: Cluster) -> None:
    """The ticket itself has no end."""
    papers = Papers(cluster.nodes[0].clock.wall() - 30 * 86_400 + 30)
    ends_at = papers.collateral.expires
    attested = Tdx(GOOD, roots=[ROOT.certificate], collateral=papers)
    await cluster.net(1).tdx.install_own_ticket()
    producer = cluster.net(0).streams.producer(Reading, require_ticket=attested)
    consumer = cluster.net(1).streams.consume(Reading)
    await consumer.when().online()
    await producer.consumers()[0].disconnected()
    assert ends_at - 0.01 <= validation_time() < ends_at + LATE_S
    await cluster.sleep(10)
    assert not producer.consumers()
    assert "expired" in str(next(iter(consumer.refusals().values())))

    papers.collateral = ROOT.collateral(now=ends_at)
    await cluster.until(lambda: producer.consumers(), timeout=30)
