"""Tickets on virtual time: what they let in, and the moment at which they do not any more."""

from collections.abc import Awaitable
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from mosaik_actors import (
    ChannelInfo,
    CollectionConfig,
    CollectionOffline,
    ConfigError,
    DiscoveryConfig,
    Expiration,
    GroupKey,
    Hs256,
    InvalidTicket,
    Jwt,
    JwtTicketBuilder,
    Map,
    NotAdmitted,
    NotAllowed,
    PeerId,
    QueryOffline,
    Ticket,
    TransportConfig,
    collection,
    stream,
    unique_id,
)
from mosaik_actors.clock import validation_time
from mosaik_actors.network_gate import ANSWER_S, HELD_MAX
from mosaik_actors.testing.cluster import Cluster
from mosaik_actors.testing.scenario import scenario
from mosaik_actors.tickets.wire import PROTOCOL
from mosaik_actors.transport.close import CloseCode, CloseReason
from mosaik_actors.transport.interface import Link, LinkRefused

SETTINGS: dict[str, Any] = {
    "transport": TransportConfig(idle_timeout=3.0, keep_alive_interval=0.8),
    "discovery": DiscoveryConfig(purge_after=60, announce_interval=4),
}
KEY = Hs256(b"k" * 32)
STAFF = Jwt(KEY, issuers=["acme"])
LATE_S = 0.1


class Price(msgspec.Struct, frozen=True):
    value: int


class Badge:
    """The shortest validator: a word that everybody may show."""

    class_id = unique_id("test.badge")
    signature = unique_id("test.badge v1")

    def validate(self, data: bytes, peer: Any) -> Expiration:
        if data != b"open sesame":
            raise InvalidTicket("not the word")
        return Expiration.NEVER


BADGE = Ticket(Badge.class_id, b"open sesame")


def staff(cluster: Cluster, index: int, expires_in: float, **settings: Any) -> Ticket:
    builder = JwtTicketBuilder(KEY, issuer="acme", expires_in=expires_in, **settings)
    return builder.build(cluster.nodes[index].peer_id)


async def subscribed(cluster: Cluster, producer: Any, count: int = 1) -> None:
    await cluster.until(lambda: len(producer.consumers()) == count)


async def ended(channel: ChannelInfo) -> CloseReason:
    await channel.disconnected()
    assert channel.reason is not None
    return channel.reason


# Streams.


@scenario(nodes=2, seeds=range(1), **SETTINGS)
async def test_a_consumer_without_a_ticket_is_refused_until_it_shows_one(cluster: Cluster) -> None:
    producer = cluster.net(0).streams.producer(Price, require_ticket=STAFF)
    consumer = cluster.net(1).streams.consume(Price)
    await cluster.until(lambda: bool(consumer.refusals()))
    (refusal,) = consumer.refusals().values()
    assert isinstance(refusal, NotAllowed)
    assert "shows no ticket" in str(refusal)
    assert not producer.consumers()

    # It is refused for as long as it takes, and let in at once when it shows a ticket.
    await cluster.sleep(60)
    shown_at = cluster.loop.time()
    cluster.net(1).discovery.add_ticket(staff(cluster, 1, 3600))
    await subscribed(cluster, producer)
    assert cluster.loop.time() - shown_at < 1.0
    await producer.send(Price(1))
    assert await consumer.recv() == Price(1)
    tickets = cluster.net(0).status().tickets
    assert (tickets.valid, tickets.expiring, tickets.awaited, tickets.accepted) == (1, 0, 0, 1)
    assert cluster.net(1).status().tickets.shown == 1


@scenario(nodes=2, seeds=range(1), **SETTINGS)
async def test_a_subscription_ends_when_the_ticket_expires(cluster: Cluster) -> None:
    cluster.net(1).discovery.add_ticket(staff(cluster, 1, 20))
    ends_at = validation_time() + 20
    producer = cluster.net(0).streams.producer(Price, require_ticket=[STAFF])
    consumer = cluster.net(1).streams.consume(Price)
    await subscribed(cluster, producer)
    await consumer.when().online()
    here, there = producer.consumers()[0], consumer.producers()[0]
    assert cluster.net(0).status().tickets.expiring == 1
    got = 0
    while producer.consumers():
        if producer.is_online:
            await producer.send(Price(got))
            assert await consumer.recv() == Price(got)
            got += 1
        await cluster.sleep(0.01)
        assert validation_time() < ends_at + LATE_S
    assert validation_time() >= ends_at - 0.002  # tokens say milliseconds
    assert got > 100
    reason, told = await ended(here), await ended(there)
    assert reason.code == told.code == CloseCode.STREAM_NOT_ALLOWED
    assert reason.text == told.text
    assert "expired at" in told.text
    assert told.remote
    assert isinstance(consumer.refusals()[cluster.nodes[0].peer_id], NotAllowed)


@scenario(nodes=2, seeds=range(1), **SETTINGS)
async def test_a_ticket_renewed_in_time_keeps_the_subscription(cluster: Cluster) -> None:
    old = staff(cluster, 1, 20)
    cluster.net(1).discovery.add_ticket(old)
    producer = cluster.net(0).streams.producer(Price, require_ticket=STAFF)
    consumer = cluster.net(1).streams.consume(Price)
    await subscribed(cluster, producer)
    channel = producer.consumers()[0]
    await cluster.sleep(18)
    cluster.net(1).discovery.replace_ticket(staff(cluster, 1, 40))
    await cluster.sleep(30)
    assert channel.is_connected
    assert consumer.producers()

    # Too late: it has ended by then, and begins anew.
    await cluster.sleep(12)
    assert channel.reason is not None
    cluster.net(1).discovery.replace_ticket(staff(cluster, 1, 40))
    await subscribed(cluster, producer)


@scenario(nodes=2, seeds=range(1), **SETTINGS)
async def test_a_ticket_taken_back_ends_the_subscription(cluster: Cluster) -> None:
    ticket = staff(cluster, 1, 3600)
    cluster.net(1).discovery.add_ticket(ticket)
    producer = cluster.net(0).streams.producer(Price, require_ticket=STAFF)
    consumer = cluster.net(1).streams.consume(Price)
    await subscribed(cluster, producer)
    cluster.net(1).discovery.remove_ticket(ticket.id)
    taken_at = cluster.loop.time()
    await subscribed(cluster, producer, 0)
    assert cluster.loop.time() - taken_at < 1.0  # one announcement
    await cluster.until(lambda: not consumer.producers())


@scenario(nodes=2, seeds=range(1), **SETTINGS)
async def test_several_validators_are_all_required(cluster: Cluster) -> None:
    """The one that ends first ends it, and says so."""
    ops = Jwt(KEY, issuers=["acme"], claims={"role": "ops"})
    producer = cluster.net(0).streams.producer(Price, require_ticket=[STAFF, ops, Badge()])
    consumer = cluster.net(1).streams.consume(Price)
    mine = cluster.net(1).discovery
    mine.add_ticket(staff(cluster, 1, 40))
    mine.add_ticket(staff(cluster, 1, 15, claims={"role": "ops"}))
    ends_at = validation_time() + 15
    await cluster.sleep(3)
    assert not producer.consumers()
    mine.add_ticket(BADGE)
    await subscribed(cluster, producer)
    channel = producer.consumers()[0]
    reason = await ended(channel)
    assert ends_at - 0.002 <= validation_time() < ends_at + LATE_S
    assert "expired" in reason.text
    await cluster.until(lambda: not consumer.producers())


@scenario(nodes=2, seeds=range(1), **SETTINGS)
async def test_a_consumer_requires_tickets_of_producers(cluster: Cluster) -> None:
    declared = stream(Price, "prices", require_ticket=STAFF)
    producer = declared.producer(cluster.net(0))
    consumer = declared.consumer(cluster.net(1))
    cluster.net(1).discovery.add_ticket(staff(cluster, 1, 3600))
    await cluster.until(lambda: bool(consumer.refusals()))
    assert not producer.consumers()
    cluster.net(0).discovery.add_ticket(staff(cluster, 0, 20))
    ends_at = validation_time() + 20
    await consumer.when().online()
    reason = await ended(consumer.producers()[0])
    assert ends_at - 0.002 <= validation_time() < ends_at + LATE_S
    assert reason.code == CloseCode.STREAM_NOT_ALLOWED
    assert isinstance(consumer.refusals()[cluster.nodes[0].peer_id], NotAllowed)


@scenario(nodes=2, seeds=range(1), **SETTINGS)
async def test_a_token_from_a_clock_that_is_ahead_holds_later(cluster: Cluster) -> None:
    waited_s = await let_in_from_the_future(cluster, leeway=1.0)
    assert 3.99 <= waited_s < 4.0 + 2


@scenario(nodes=2, seeds=range(1), **SETTINGS)
async def test_a_token_from_a_clock_that_is_ahead_by_the_leeway_holds(cluster: Cluster) -> None:
    waited_s = await let_in_from_the_future(cluster, leeway=5.0)
    assert waited_s < 2


async def let_in_from_the_future(cluster: Cluster, leeway: float) -> float:
    """Return after how many seconds a token that was issued 5 s ahead of time lets in."""
    validator = Jwt(KEY, leeway=leeway)
    producer = cluster.net(0).streams.producer(Price, require_ticket=validator)
    consumer = cluster.net(1).streams.consume(Price)
    await cluster.sleep(2)
    cluster.skew(1, 5.0)
    shown_at = cluster.loop.time()
    cluster.nodes[1].spawn(show_staff(cluster))
    required = producer._source.spec.tickets
    assert required is not None
    peer = cluster.nodes[1].peer_id
    await cluster.until(lambda: required.requirement.why_not(peer) is None)
    waited_s = cluster.loop.time() - shown_at
    await consumer.when().online()
    return waited_s


async def show_staff(cluster: Cluster) -> None:
    cluster.net(1).discovery.add_ticket(staff(cluster, 1, 3600))


@scenario(nodes=2, seeds=range(1), **SETTINGS)
async def test_a_validator_that_fails_refuses(cluster: Cluster) -> None:
    class Broken(Badge):
        signature = unique_id("test.badge broken")

        def validate(self, data: bytes, peer: Any) -> Expiration:
            raise RuntimeError("of its own")

    cluster.net(1).discovery.add_ticket(BADGE)
    producer = cluster.net(0).streams.producer(Price, require_ticket=Broken())
    consumer = cluster.net(1).streams.consume(Price)
    text = "the validator failed: RuntimeError"
    await cluster.until(lambda: any(text in str(one) for one in consumer.refusals().values()))
    assert not producer.consumers()


# Groups and collections.


@scenario(nodes=3, seeds=range(1), **SETTINGS)
async def test_a_voter_leaves_the_configuration_when_its_ticket_expires(cluster: Cluster) -> None:
    key = GroupKey.from_validator(STAFF)
    for index in range(3):
        cluster.net(index).discovery.add_ticket(staff(cluster, index, 3600))
    groups = [cluster.net(i).groups.join(key, require_ticket=STAFF) for i in range(3)]

    def voters(index: int) -> set[PeerId]:
        return {one.peer_id for one in groups[index].members if one.is_voter}

    await cluster.until(lambda: all(len(voters(i)) == 3 for i in range(3)), timeout=25)

    # It is the leader's, so the others have to find another one first.
    old = next(index for index in range(3) if groups[index].is_leader)
    expired, others = cluster.nodes[old].peer_id, [index for index in range(3) if index != old]
    cluster.net(old).discovery.replace_ticket(staff(cluster, old, 10))
    ends_at = validation_time() + 10

    # The bonds end at that moment, and a change that the others commit takes its vote.
    def is_bonded() -> bool:
        return any(expired in bond for bond in groups[others[0]].bonds)

    await cluster.until(lambda: not is_bonded(), timeout=60)
    assert ends_at - 0.002 <= validation_time() < ends_at + LATE_S
    await cluster.until(lambda: all(expired not in voters(i) for i in others), timeout=10)
    await cluster.until(lambda: any(groups[i].is_leader for i in others), timeout=10)
    with pytest.raises(QueryOffline):
        await groups[old].query(None)

    # With a new one it is a member again.
    cluster.net(old).discovery.replace_ticket(staff(cluster, old, 3600))
    await cluster.until(lambda: all(len(voters(i)) == 3 for i in range(3)), timeout=30)


@scenario(nodes=3, seeds=range(1), **SETTINGS)
async def test_a_collection_is_for_those_with_a_ticket(cluster: Cluster) -> None:
    prices = collection(Map[str, int], "prices", require_ticket=[STAFF])
    for index in range(2):
        cluster.net(index).discovery.add_ticket(staff(cluster, index, 3600))
    writer, reader, outsider = (
        prices.writer(cluster.net(0)),
        prices.reader(cluster.net(1)),
        prices.reader(cluster.net(2)),
    )
    await writer.when().online()
    version = await writer.insert("a", 1)
    await reader.when().reaches(version)
    await cluster.sleep(10)
    assert dict(reader) == {"a": 1}
    assert dict(outsider) == {}
    cluster.net(2).discovery.add_ticket(staff(cluster, 2, 3600))
    await outsider.when().reaches(version)
    assert dict(outsider) == {"a": 1}


@scenario(nodes=2, seeds=range(1), **SETTINGS)
async def test_who_knows_only_names_clears_no_collection(cluster: Cluster) -> None:
    """It reads the id of the store in the catalog, and joins as a writer with the same settings."""
    settings = {"require_ticket": [STAFF]}
    owned = collection(Map[str, int], "treasury", **settings).writer(cluster.net(0))
    cluster.net(0).discovery.add_ticket(staff(cluster, 0, 3600))
    await owned.when().online()
    await owned.insert("balance", 1)
    stranger = collection(Map[str, int], "treasury", **settings).writer(cluster.net(1))
    await cluster.sleep(30)
    assert cluster.nodes[0].peer_id in cluster.net(1).discovery.catalog()
    assert dict(stranger) == {}
    with pytest.raises(CollectionOffline):
        await stranger.clear()
    assert dict(owned) == {"balance": 1}
    # It has become no voter either: what the owner writes is committed without it.
    await owned.insert("balance", 2)
    assert dict(owned) == {"balance": 2}
    assert dict(stranger) == {}


@scenario(nodes=1, seeds=range(1), **SETTINGS)
async def test_what_is_required_is_part_of_a_groups_id(cluster: Cluster) -> None:
    groups = cluster.net(0).groups
    one = groups.join("key")
    two = groups.join("key", require_ticket=STAFF)
    three = groups.join("key", require_ticket=[Badge(), STAFF])
    assert len({one.id, two.id, three.id}) == 3
    assert groups.join("key", require_ticket=[STAFF, Badge()]) is three
    assert CollectionConfig(require_ticket=STAFF).require_ticket == (STAFF,)


# The network.


GATED = {**SETTINGS, "starts": False}


@scenario(nodes=3, seeds=range(1), **GATED)
async def test_a_network_lets_nobody_in_without_a_ticket(cluster: Cluster) -> None:
    """Node 0 requires tickets; node 1 has one, for a while; node 2 has none."""
    cluster.nodes[0].require_ticket = STAFF
    for node in cluster.nodes:
        await node.start()
    host, member = cluster.net(0).discovery, cluster.net(1).discovery
    await cluster.sleep(10)
    assert not host.catalog()
    with pytest.raises(NotAdmitted, match="shows no ticket") as refused:
        await cluster.net(2).discovery.sync_with(cluster.net(0).addr)
    assert refused.value.gate == "ticket"

    # With a ticket it is in at once: it dials anew.
    member.add_ticket(staff(cluster, 1, 20))
    ends_at = validation_time() + 20
    me = cluster.nodes[1].peer_id
    await cluster.until(lambda: me in host.catalog(), timeout=2)
    await cluster.until(lambda: bool(member.catalog()), timeout=2)
    producer = cluster.net(0).streams.produce(Price)
    consumer = cluster.net(1).streams.consume(Price)
    await consumer.when().online()

    # A renewed one keeps the connection, and its end ends it.
    await cluster.sleep(10)
    renewed_at = validation_time()
    assert renewed_at < ends_at
    member.replace_ticket(staff(cluster, 1, 30))
    await cluster.sleep(15)
    assert validation_time() > ends_at
    assert consumer.is_online
    channel = producer.consumers()[0]
    endpoint = cluster.net(0).node.endpoint
    reason = await ended(channel)
    assert -0.002 <= validation_time() - (renewed_at + 30) < LATE_S
    assert reason.code == CloseCode.NO_TICKET
    assert me not in endpoint.connected_peers()
    await cluster.until(lambda: not consumer.is_online)


@scenario(nodes=3, seeds=range(1), **GATED)
async def test_all_of_a_network_may_require_tickets_of_each_other(cluster: Cluster) -> None:
    for node in cluster.nodes:
        node.require_ticket = (STAFF, Badge())
        await node.start()
        node.net.discovery.add_ticket(staff(cluster, node.index, 3600))
        node.net.discovery.add_ticket(BADGE)
    await cluster.until(lambda: all(len(n.net.discovery.catalog()) == 2 for n in cluster.nodes))


@scenario(nodes=2, seeds=range(1), fidelity="quic", **GATED)
async def test_the_gate_over_quic(cluster: Cluster) -> None:
    for node in cluster.nodes:
        node.require_ticket = STAFF
        await node.start()
    await cluster.sleep(3)
    assert not cluster.net(0).discovery.catalog()
    for node in cluster.nodes:
        node.net.discovery.add_ticket(staff(cluster, node.index, 30))
    ends_at = validation_time() + 30
    await cluster.until(lambda: all(n.net.discovery.catalog() for n in cluster.nodes), timeout=20)
    endpoint = cluster.net(0).node.endpoint
    await cluster.until(lambda: not endpoint.connected_peers(), timeout=60)
    assert -0.002 <= validation_time() - ends_at < LATE_S


@scenario(nodes=2, seeds=range(1), **GATED)
async def test_who_answers_nonsense_or_nothing_has_no_tickets(cluster: Cluster) -> None:
    cluster.nodes[0].require_ticket = STAFF
    for node in cluster.nodes:
        await node.start()
    host, stranger = cluster.net(0), cluster.net(1).node.endpoint
    await cluster.until(lambda: not host.node.endpoint.connected_peers())

    def answer(link: Link) -> None:
        link.attach(lambda _event: None)
        link.accept(b"\xff" * 100)

    stranger.serve(PROTOCOL, answer)
    with pytest.raises(NotAdmitted, match="unreadable"):
        await cluster.net(1).discovery.sync_with(host.addr)

    # One that says nothing may hold a few links for a while, and they are never read.
    def hold(link: Link) -> None:
        link.attach(lambda _event: None)

    stranger.serve(PROTOCOL, hold)
    begun_at, links = cluster.loop.time(), []
    for _ in range(HELD_MAX + 5):
        opening = stranger.open_link(host.addr, "mosaik/streams/1", timeout=60)
        links.append(cluster.nodes[1].spawn(refused(opening)))
    reasons = [await one for one in links]
    assert cluster.loop.time() - begun_at < ANSWER_S + 1
    assert {reason.code for reason in reasons} == {CloseCode.NO_TICKET}
    assert sum("too many" in reason.text for reason in reasons) == 5
    assert not host.node.endpoint.connected_peers()


async def refused(opening: Awaitable[Link]) -> CloseReason:
    try:
        await opening
    except LinkRefused as exc:
        return exc.reason
    raise AssertionError("it was let in")


# Renewal.


@scenario(nodes=2, seeds=range(1), **SETTINGS)
async def test_a_kept_ticket_is_renewed_before_it_expires(cluster: Cluster) -> None:
    mine = cluster.net(1).discovery
    mine.add_ticket(other := staff(cluster, 1, 3600))
    kept = mine.keep_ticket(JwtTicketBuilder(KEY, claims={"role": "ops"}, expires_in=30), before=5)
    ops = Jwt(KEY, claims={"role": "ops"})
    assert await kept in mine.me.entry.tickets
    producer = cluster.net(0).streams.producer(Price, require_ticket=ops)
    consumer = cluster.net(1).streams.consume(Price)
    await consumer.when().online()
    channel = producer.consumers()[0]
    first = kept.ticket
    await cluster.sleep(120)
    assert channel.is_connected
    assert kept.ticket != first
    assert mine.me.entry.tickets == (other, kept.ticket)
    kept.close()
    await ended(channel)


@scenario(nodes=1, seeds=range(1), **SETTINGS)
async def test_a_builder_may_be_asynchronous_and_fail(cluster: Cluster) -> None:
    mine, made = cluster.net(0).discovery, []

    class Office:
        async def build(self, peer_id: PeerId) -> Ticket:
            await cluster.sleep(1)
            made.append(validation_time())
            if len(made) in (1, 3, 4):
                raise RuntimeError("closed")
            return Ticket(Badge.class_id, b"%d" % len(made))

    kept = mine.keep_ticket(Office(), every=10)
    assert kept.ticket is None
    assert (await kept).data == b"2"
    await cluster.sleep(20)
    assert [round(b - a) for a, b in pairwise(made)] == [2, 11, 2, 3]
    assert [one.data for one in mine.me.entry.tickets] == [b"5"]
    with pytest.raises(ConfigError, match="expires"):
        mine.keep_ticket(Silent())
    with pytest.raises(ConfigError, match="before"):
        mine.keep_ticket(Silent(), before=0)


class Silent:
    def build(self, peer_id: PeerId) -> Ticket:
        return BADGE
