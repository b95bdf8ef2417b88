"""Discovery with its actors, on the memory network. Its cores have tests of their own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from thespian.actors import ActorAddress

from mosaik_actors.discovery.catalog.verdict import EntryVerdict
from mosaik_actors.discovery.config import DiscoveryConfig
from mosaik_actors.discovery.entry import (
    SIGNATURE_BYTES,
    EntryVersion,
    PeerEntry,
    SignedPeerEntry,
    StreamInfo,
)
from mosaik_actors.discovery.errors import DifferentNetwork, SyncError
from mosaik_actors.discovery.messages import (
    AdvertiseStream,
    CatalogChanged,
    ChangeTags,
    SyncFailed,
    SyncFinished,
    SyncWith,
    UnwatchCatalog,
    WatchCatalog,
    WithdrawStream,
)
from mosaik_actors.discovery.view import (
    CatalogSnapshot,
    DepartureReason,
    PeerDeparted,
    PeerDiscovered,
    PeerUpdated,
)
from mosaik_actors.discovery.wire import (
    PROTOCOL,
    Announce,
    Contact,
    Graft,
    IHave,
    LinkPurpose,
    Ping,
    SyncDone,
    encode_frame,
    encode_purpose,
)
from mosaik_actors.errors import Closed, ConfigError
from mosaik_actors.handles.discovery import Discovery
from mosaik_actors.ids import NetworkId, SecretKey, StreamId, UniqueId
from mosaik_actors.node import Node
from mosaik_actors.runtime import TypeDispatcher
from mosaik_actors.shared_state import Lagged
from mosaik_actors.tickets.ticket import Ticket
from mosaik_actors.transport.address import PeerAddr
from mosaik_actors.transport.close import SHUTDOWN, CloseCode, CloseReason
from mosaik_actors.transport.config import TransportConfig
from mosaik_actors.transport.interface import Link, LinkClosed, LinkEvent
from mosaik_actors.transport.memory import MemoryEndpoint, MemoryNetwork
from tests.nodes import MakeNode, node_maker
from tests.waiting import until

IMPATIENT = DiscoveryConfig(
    announce_interval=0.1, purge_after=0.6, retry_min=0.05, retry_max=0.2, sync_timeout=0.3
)


class Nodes:
    """Nodes with discovery on one memory network."""

    def __init__(self, make: MakeNode, memory: MemoryNetwork, stack: AsyncExitStack) -> None:
        self.make = make
        self.memory = memory
        self.stack = stack
        self.started: list[Discovery] = []
        self.nodes: dict[Discovery, Node] = {}

    async def start(
        self,
        name: str,
        *bootstrap: Discovery | PeerAddr,
        network: str = "net",
        config: DiscoveryConfig | None = None,
        **settings: Any,
    ) -> Discovery:
        node = await self.make(
            name, network, TransportConfig(idle_timeout=0.5, keep_alive_interval=0.1)
        )
        addrs = [one if isinstance(one, PeerAddr) else one.me.addr for one in bootstrap]
        discovery = await Discovery.start(
            node, node.endpoint, config=config, bootstrap=addrs, rendezvous=False, **settings
        )
        self.stack.push_async_callback(discovery.close)
        self.started.append(discovery)
        self.nodes[discovery] = node
        return discovery

    async def start_many(self, count: int, **settings: Any) -> list[Discovery]:
        first = await self.start("n0", **settings)
        rest = [await self.start(f"n{n}", first, **settings) for n in range(1, count)]
        await self.converge()
        return [first, *rest]

    async def converge(self) -> None:
        await until(
            lambda: all(len(one.catalog()) == len(self.started) - 1 for one in self.started)
        )

    def crash(self, discovery: Discovery) -> None:
        endpoint = self.nodes[discovery].endpoint
        assert isinstance(endpoint, MemoryEndpoint)
        endpoint.crash()
        self.started.remove(discovery)


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    memory = MemoryNetwork()
    async with node_maker("memory", memory) as make, AsyncExitStack() as stack:
        nodes = Nodes(make, memory, stack)
        yield nodes
        for node in nodes.nodes.values():
            assert node.system.stats().failures == 0


def shows(discovery: Discovery, tag: str, *others: Discovery) -> bool:
    catalog = discovery.catalog()
    return all(
        other.me.peer_id in catalog and tag in catalog[other.me.peer_id].tags for other in others
    )


# Meeting.


@pytest.mark.parametrize("count", [3, 20])
async def test_all_meet_through_one_bootstrap_address(nodes: Nodes, count: int) -> None:
    started = await nodes.start_many(count)
    for one in started:
        for other in started:
            if one is not other:
                assert one.catalog()[other.me.peer_id].addr == other.me.addr


async def test_a_tag_reaches_everyone(nodes: Nodes) -> None:
    first, *rest = await nodes.start_many(12)
    first.add_tags("fast", "near")
    await until(lambda: all(shows(one, "fast", first) for one in rest))
    first.remove_tags("fast")
    await until(lambda: not any(shows(one, "fast", first) for one in rest))
    assert all(shows(one, "near", first) for one in rest)


async def test_tags_given_at_the_start_are_there_at_the_first_meeting(nodes: Nodes) -> None:
    a = await nodes.start("a", tags=["worker"])
    b = await nodes.start("b", a)
    async for catalog in b.watch():
        if a.me.peer_id in catalog:
            assert "worker" in catalog[a.me.peer_id].tags
            break


async def test_a_bootstrap_peer_that_comes_late_is_found(nodes: Nodes) -> None:
    late = PeerAddr(SecretKey.from_seed("late").peer_id)
    early = await nodes.start("early", late, config=IMPATIENT)
    assert len(early.catalog()) == 0
    await nodes.start("late", config=IMPATIENT)
    await nodes.converge()


async def test_nodes_that_lost_each_other_meet_again(nodes: Nodes) -> None:
    a = await nodes.start("a", config=IMPATIENT)
    b = await nodes.start("b", a, config=IMPATIENT)
    await nodes.converge()
    # Cut off for longer than purge_after: each forgets the other.
    nodes.memory.cut(a.me.peer_id, b.me.peer_id)
    await until(lambda: not a.catalog() and not b.catalog())
    nodes.memory.mend(a.me.peer_id, b.me.peer_id)
    await nodes.converge()


async def test_a_restarted_node_supersedes_its_old_self(nodes: Nodes) -> None:
    a, b = await nodes.start_many(2)
    nodes.crash(b)
    again = await nodes.start("n1", a, tags=["again"])
    await until(lambda: shows(a, "again", again))
    # It may say once more that it is there, since its old self was missed.
    await until(lambda: a.catalog()[again.me.peer_id].version == again.me.version)
    assert again.me.version.start >= b.me.version.start


# Parting.


async def test_a_departure_is_seen_at_once(nodes: Nodes) -> None:
    first, *rest = await nodes.start_many(8)
    events = [one.events() for one in rest]
    await first.close()
    for stream in events:
        async for event in stream:
            if isinstance(event, PeerDeparted):
                assert event.peer.peer_id == first.me.peer_id
                assert event.reason is DepartureReason.LEFT
                break
    assert all(first.me.peer_id not in one.catalog() for one in rest)


async def test_comings_and_goings_are_logged_for_those_who_ask(
    nodes: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "mosaik_actors.actors.catalog"):
        a, b = await nodes.start_many(2)
        await b.close()
        await until(lambda: not a.catalog() and "is gone" in caplog.text)
    short = b.me.peer_id.short
    assert f"peer {short} is here, at {b.me.peer_id}@127.0.0.1" in caplog.text
    assert f"peer {short} is gone: left" in caplog.text


async def test_a_wrong_setting_is_refused_before_anything_starts(nodes: Nodes) -> None:
    node = await nodes.make("a")
    before = node.system.stats().created
    with pytest.raises(ValueError, match="64 hexadecimal"):
        await Discovery.start(node, node.endpoint, bootstrap=["nonsense"])
    tags = [str(number) for number in range(2000)]
    with pytest.raises(ConfigError, match="the entry"):
        await Discovery.start(node, node.endpoint, tags=tags)
    assert node.system.stats().created == before


async def test_a_crashed_node_is_purged_and_the_others_stay(nodes: Nodes) -> None:
    started = await nodes.start_many(5, config=IMPATIENT)
    events = started[0].events()
    crashed = started[3]
    nodes.crash(crashed)
    async for event in events:
        if isinstance(event, PeerDeparted):
            assert event.peer.peer_id == crashed.me.peer_id
            assert event.reason is DepartureReason.SILENT
            break
    await nodes.converge()


async def test_closing_twice_is_closing_once_and_later_calls_say_so(nodes: Nodes) -> None:
    a, b = await nodes.start_many(2)
    await a.close()
    await a.close()
    assert a.me.entry.departed
    with pytest.raises(Closed):
        a.add_tags("late")
    with pytest.raises(Closed):
        await a.sync_with(b.me.addr)


async def test_closing_leaves_no_link_and_no_actor_of_a_peer(nodes: Nodes) -> None:
    a, _ = await nodes.start_many(2)
    await a.close()
    kinds = [box.actor_class for box in nodes.nodes[a].system.mailboxes()]
    assert not [kind for kind in kinds if "PeerActor" in str(kind)]


# Other networks.


async def test_another_network_is_refused_and_stays_unnamed(nodes: Nodes) -> None:
    here = await nodes.start("here")
    there = await nodes.start("there", network="another")
    with pytest.raises(DifferentNetwork, match="belongs to another network") as caught:
        await here.sync_with(there.me.addr)
    assert NetworkId("another").short not in str(caught.value)
    with pytest.raises(DifferentNetwork, match="belongs to another network"):
        await here.dial(there.me.addr)
    assert not here.catalog()
    assert not there.catalog()


async def test_dialling_nobody_raises_when_awaited_and_only_then(nodes: Nodes) -> None:
    a = await nodes.start("a")
    nobody = PeerAddr(SecretKey.from_seed("nobody").peer_id)
    with pytest.raises(SyncError, match="cannot be reached"):
        await a.dial(nobody)
    silent = a.dial(nobody)
    await until(silent.done)


async def test_one_answer_is_enough_for_a_dial(nodes: Nodes) -> None:
    a, b = await nodes.start("a"), await nodes.start("b")
    await a.dial(PeerAddr(SecretKey.from_seed("nobody").peer_id), str(b.me.addr))
    assert b.me.peer_id in a.catalog()
    with pytest.raises(ValueError, match="64 hexadecimal"):
        a.dial("nonsense")


async def test_a_sync_tells_both_sides_what_either_knew(nodes: Nodes) -> None:
    a, b = await nodes.start("a"), await nodes.start("b")
    for number, side in enumerate((a, b)):
        key = SecretKey.from_seed(f"other {number}")
        assert side.feed(SignedPeerEntry.sign(entry_of(key, side), key))
    finished = await a.sync_with(b.me.addr)
    assert (finished.peer_id, finished.received_count, finished.sent_count) == (
        b.me.peer_id,
        2,
        2,
    )
    # No waiting: both sides know by now.
    assert len(a.catalog()) == len(b.catalog()) == 3


async def test_many_syncs_with_one_peer_share_two_links(nodes: Nodes) -> None:
    """What is asked while a sync runs may need what changed since: it gets the next one."""
    a, b = await nodes.start("a"), await nodes.start("b", config=DiscoveryConfig(links_max=8))
    created = nodes.nodes[b].system.stats().created
    finished = await asyncio.gather(*(a.sync_with(b.me.addr) for _ in range(30)))
    assert {one.peer_id for one in finished} == {b.me.peer_id}
    assert a.me.peer_id in b.catalog()
    # Two syncs, and the neighbour links that the two made of their acquaintance.
    assert nodes.nodes[b].system.stats().created - created <= 4


async def test_closing_ends_a_sync_that_waits_for_an_answer(nodes: Nodes) -> None:
    a, b = await nodes.start("a"), await nodes.start("b")
    nodes.memory.cut(a.me.peer_id, b.me.peer_id)
    waiting = [asyncio.ensure_future(a.sync_with(b.me.addr)) for _ in range(2)]
    dialling = a.dial(b.me.addr)
    await asyncio.sleep(0)
    await a.close()
    for outcome in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(outcome, SyncError)
    assert dialling.done()


async def test_a_cancelled_sync_leaves_the_node_well(nodes: Nodes) -> None:
    a = await nodes.start("a")
    b = await nodes.start("b")
    nodes.memory.cut(a.me.peer_id, b.me.peer_id)
    task = asyncio.ensure_future(a.sync_with(b.me.addr))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    nodes.memory.mend(a.me.peer_id, b.me.peer_id)
    assert (await a.sync_with(b.me.addr)).peer_id == b.me.peer_id


# Watching.


async def test_a_watcher_gets_the_present_at_once_and_never_misses_the_latest(
    nodes: Nodes,
) -> None:
    a = await nodes.start("a")
    b = await nodes.start("b", a)
    seen: list[list[int]] = [[], [], []]

    async def follow(log: list[int]) -> None:
        async for catalog in a.watch():
            log.append(catalog.version)
            if shows_number(catalog, b, 30):
                return

    watchers = [asyncio.ensure_future(follow(log)) for log in seen]
    for number in range(1, 31):
        b.add_tags(str(number))
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await asyncio.gather(*watchers)
    assert all(log == sorted(set(log)) for log in seen)


def shows_number(catalog: CatalogSnapshot, other: Discovery, number: int) -> bool:
    peer_id = other.me.peer_id
    return peer_id in catalog and str(number) in catalog[peer_id].tags


async def test_a_cancelled_wait_loses_nothing(nodes: Nodes) -> None:
    a = await nodes.start("a")
    watch, events = a.watch(), a.events()
    await anext(watch)
    for waiting in (watch, events):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(waiting), 0.01)
    b = await nodes.start("b", a)
    assert b.me.peer_id in await asyncio.wait_for(anext(watch), 10)
    event = await asyncio.wait_for(anext(events), 10)
    assert isinstance(event, PeerDiscovered)


async def test_all_iterations_end_when_the_network_closes(nodes: Nodes) -> None:
    a = await nodes.start("a")

    async def drain(iterator: Any) -> int:
        return len([item async for item in iterator])

    waiting = [asyncio.ensure_future(drain(one)) for one in (a.watch(), a.events(), a.watch())]
    await asyncio.sleep(0)
    await a.close()
    async with asyncio.timeout(5):
        assert await asyncio.gather(*waiting) == [1, 0, 1]


async def test_events_come_in_order_and_a_slow_reader_learns_what_it_missed(nodes: Nodes) -> None:
    a = await nodes.start("a", config=DiscoveryConfig(events_backlog=4))
    slow, fast = a.events(), a.events()
    entries = [entry_of(SecretKey.from_seed(str(number)), a) for number in range(10)]
    for entry in entries:
        a.insert(entry)
        event = await asyncio.wait_for(anext(fast), 5)
        assert isinstance(event, PeerDiscovered)
        assert event.peer.peer_id == entry.peer
    assert await anext(slow) == Lagged(6)
    rest = [await anext(slow) for _ in range(4)]
    assert [e.peer.entry for e in rest if isinstance(e, PeerDiscovered)] == entries[6:]


@dataclass(frozen=True)
class Watch:
    """Watch this catalog actor, and put what comes into this queue."""

    catalog: ActorAddress
    seen: asyncio.Queue[Any]


@dataclass(frozen=True)
class Unwatch:
    """Watch no more, and sync with this peer."""

    addr: PeerAddr


class Watcher(TypeDispatcher):
    """An actor of another subsystem."""

    def receiveMsg_Watch(self, message: Watch, _sender: ActorAddress) -> None:
        self.catalog, self.seen = message.catalog, message.seen
        self.send(self.catalog, WatchCatalog(self.myAddress))

    def receiveMsg_Unwatch(self, message: Unwatch, _sender: ActorAddress) -> None:
        self.send(self.catalog, UnwatchCatalog(self.myAddress))
        self.send(self.catalog, SyncWith(message.addr, token="mine"))

    def receiveUnrecognizedMessage(self, message: Any, _sender: ActorAddress) -> None:
        self.seen.put_nowait(message)


async def test_actors_watch_advertise_and_sync_through_the_catalog_actor(nodes: Nodes) -> None:
    a, b = await nodes.start_many(2)
    system = nodes.nodes[a].system
    seen: asyncio.Queue[Any] = asyncio.Queue()
    watcher = system.createActor(Watcher)
    system.tell(watcher, Watch(a.catalog_actor, seen))
    first = await asyncio.wait_for(seen.get(), 5)
    assert isinstance(first, CatalogChanged)
    assert b.me.peer_id in first.snapshot

    # A stream that b advertises is a change at a, and so is its end.
    b_system = nodes.nodes[b].system
    stream = StreamInfo(StreamId("prices"), "prices", b"schema")
    b_system.tell(b.catalog_actor, AdvertiseStream(stream))
    changed = await asyncio.wait_for(seen.get(), 5)
    assert changed.snapshot[b.me.peer_id].streams["prices"] == "prices"
    assert changed.snapshot[b.me.peer_id].entry.streams == (stream,)
    b_system.tell(b.catalog_actor, WithdrawStream(stream.id))
    changed = await asyncio.wait_for(seen.get(), 5)
    assert "prices" not in changed.snapshot[b.me.peer_id].streams
    b_system.tell(b.catalog_actor, ChangeTags(add=(UniqueId("t"),)))
    changed = await asyncio.wait_for(seen.get(), 5)
    assert "t" in changed.snapshot[b.me.peer_id].tags

    # After unwatching only the answer comes.
    system.tell(watcher, Unwatch(b.me.addr))
    finished = await asyncio.wait_for(seen.get(), 5)
    assert isinstance(finished, SyncFinished)
    assert finished.token == "mine"
    system.tell(watcher, Unwatch(PeerAddr(SecretKey.from_seed("nobody").peer_id)))
    failed = await asyncio.wait_for(seen.get(), 5)
    assert isinstance(failed, SyncFailed)
    assert seen.empty()


async def test_the_round_trip_time_of_a_neighbour_is_shown(nodes: Nodes) -> None:
    nodes.memory.latency = 0.005
    a, b = await nodes.start_many(2)
    await until(lambda: a.catalog()[b.me.peer_id].rtt == 0.01)


# Entries that come some other way.


def entry_of(key: SecretKey, like: Discovery, ahead_s: float = 0.0, **fields: Any) -> PeerEntry:
    moment = like.me.version.start + int(ahead_s * 1000)
    fields.setdefault("network", like.me.network_id)
    return PeerEntry(peer=key.peer_id, version=EntryVersion(moment, moment), **fields)


async def test_a_change_by_hand_shows_at_once(nodes: Nodes) -> None:
    a, b = await nodes.start_many(2)
    key, other = SecretKey.from_seed("x"), SecretKey.from_seed("y")
    signed = SignedPeerEntry.sign(entry_of(key, a), key)
    assert a.feed(signed)
    assert not a.feed(signed)
    assert a.insert(entry_of(other, a))
    assert set(a.catalog()) == {b.me.peer_id, key.peer_id, other.peer_id}
    assert a.clear_unsigned() == 1
    # What was fed is told on; what was inserted is not.
    await until(lambda: key.peer_id in b.catalog())
    assert other.peer_id not in b.catalog()
    assert a.remove(str(key.peer_id))
    assert set(a.catalog()) == {b.me.peer_id}
    with pytest.raises(ValueError, match="64 hexadecimal"):
        a.remove("not an id")


async def test_tickets_are_shown_and_taken_back(nodes: Nodes) -> None:
    a, b = await nodes.start_many(2)
    old, new = Ticket(UniqueId("jwt"), b"old"), Ticket(UniqueId("jwt"), b"new")

    def shown() -> tuple[Ticket, ...]:
        return b.catalog()[a.me.peer_id].tickets

    a.add_ticket(old)
    await until(lambda: shown() == (old,))
    a.replace_ticket(new)
    await until(lambda: shown() == (new,))
    a.remove_ticket(new.id)
    await until(lambda: shown() == ())
    a.add_ticket(old)
    a.remove_tickets_of("jwt")
    assert not a.me.entry.tickets


# Peers that mean ill.


class Outsider:
    """A peer of the network without discovery: it writes frames itself."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.ended: asyncio.Future[CloseReason] = asyncio.get_running_loop().create_future()

    async def link(self, to: Discovery, purpose: LinkPurpose | bytes) -> Link:
        header = purpose if isinstance(purpose, bytes) else encode_purpose(purpose)
        link = await self.node.endpoint.open_link(to.me.addr, PROTOCOL, header)
        link.attach(self._receive)
        return link

    def _receive(self, event: LinkEvent) -> None:
        if isinstance(event, LinkClosed) and not self.ended.done():
            self.ended.set_result(event.reason)


@pytest.fixture
async def outsider(nodes: Nodes) -> Outsider:
    return Outsider(await nodes.make("outsider"))


async def test_who_has_the_wrong_network_name_is_told_so(
    nodes: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    right = await nodes.start("right", network="the right name")
    with caplog.at_level(logging.ERROR):
        await nodes.start("wrong", right, network="the wrong name", network_name="the wrong name")
        await until(lambda: "belongs to another network" in caplog.text)
        (record,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert "'the wrong name'" in record.getMessage()
    assert right.me.peer_id.short in record.getMessage()
    assert NetworkId("the right name").short not in record.getMessage()


async def test_bad_entries_are_judged_and_logged_once(
    nodes: Nodes, outsider: Outsider, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = await nodes.start_many(2)
    key = SecretKey.from_seed("x")
    good = SignedPeerEntry.sign(entry_of(key, a), key)
    elsewhere = entry_of(key, a, network=NetworkId("another"))
    bad = {
        EntryVerdict.FORGED: bytes(SIGNATURE_BYTES) + good.data,
        EntryVerdict.DIFFERENT_NETWORK: SignedPeerEntry.sign(elsewhere, key).encode(),
        EntryVerdict.FUTURE: SignedPeerEntry.sign(entry_of(key, a, ahead_s=60), key).encode(),
        EntryVerdict.OUTDATED: SignedPeerEntry.sign(entry_of(key, a, ahead_s=-400), key).encode(),
        EntryVerdict.OWN_ID: bytes(SIGNATURE_BYTES) + a.me.data,
        EntryVerdict.OVERSIZED: bytes(64 * 1024 + 1),
        EntryVerdict.MALFORMED: b"rubbish",
    }
    link = await outsider.link(a, LinkPurpose("neighbour"))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            link.write(encode_frame(Announce(tuple(bad.values()))))
        link.write(encode_frame(Announce((good.encode(),))))
        # The good one after them is accepted: they disturbed nothing.
        await until(lambda: key.peer_id in b.catalog())
    # The same bytes again were not even looked at.
    assert {verdict: a.refused[verdict] for verdict in bad} == dict.fromkeys(bad, 1)
    assert not b.refused.keys() & bad.keys()
    logged = [record.message for record in caplog.records if "is refused" in record.message]
    assert len(logged) == len(bad) - 1
    assert not any("outdated" in line for line in logged)  # late, not wrong
    assert not outsider.ended.done()


async def test_an_entry_bomb_fills_no_more_than_the_catalog(
    nodes: Nodes, outsider: Outsider
) -> None:
    a = await nodes.start("a", config=DiscoveryConfig(peers_max=50))
    keys = [SecretKey.from_seed(str(number)) for number in range(120)]
    bomb = [SignedPeerEntry.sign(entry_of(key, a), key).encode() for key in keys]
    link = await outsider.link(a, LinkPurpose("neighbour"))
    link.write(encode_frame(Announce(tuple(bomb))))
    await until(lambda: keys[-1].peer_id in a.catalog())
    assert len(a.catalog()) == 50
    assert keys[0].peer_id in a.catalog()  # who was first stays


@pytest.mark.parametrize(
    "frame", [b"", b"rubbish", b"\x91" * 5000, encode_frame(SyncDone()), bytes(600 * 1024)]
)
async def test_a_frame_that_breaks_a_rule_costs_its_sender_the_link(
    nodes: Nodes, outsider: Outsider, frame: bytes
) -> None:
    a, b = await nodes.start_many(2)
    link = await outsider.link(a, LinkPurpose("neighbour"))
    link.write(frame)
    reason = await asyncio.wait_for(outsider.ended, 5)
    assert (reason.code, reason.remote) == (CloseCode.PROTOCOL_VIOLATION, True)
    # Others are not disturbed.
    b.add_tags("still here")
    await until(lambda: shows(a, "still here", b))


async def test_a_link_for_a_sync_carries_nothing_else(nodes: Nodes, outsider: Outsider) -> None:
    a = await nodes.start("a")
    link = await outsider.link(a, LinkPurpose("sync"))
    link.write(encode_frame(Graft(b"12345678")))
    reason = await asyncio.wait_for(outsider.ended, 5)
    assert reason.code == CloseCode.PROTOCOL_VIOLATION
    assert "Graft on a link for a sync" in reason.text


async def test_nobody_joins_in_the_name_of_another(nodes: Nodes, outsider: Outsider) -> None:
    a, b = await nodes.start_many(2)
    with pytest.raises(OSError, match="somebody else"):
        await outsider.link(a, LinkPurpose("join", True, Contact.of(b.me.addr)))


async def test_ids_of_what_nobody_has_cost_little_and_disturb_nobody(
    nodes: Nodes, outsider: Outsider
) -> None:
    a, b = await nodes.start_many(2)
    link = await outsider.link(a, LinkPurpose("neighbour"))
    for start in range(0, 40):
        ids = b"".join((start * 1000 + number).to_bytes(8) for number in range(1000))
        link.write(encode_frame(IHave(ids, bytes(1000), True)))
    b.add_tags("still here")
    await until(lambda: shows(a, "still here", b))
    assert not outsider.ended.done()


async def test_a_header_that_makes_no_sense_is_refused(nodes: Nodes, outsider: Outsider) -> None:
    a = await nodes.start("a")
    with pytest.raises(OSError, match="400"):
        await outsider.link(a, b"rubbish")


async def test_a_peer_that_stalls_a_sync_loses_its_link(nodes: Nodes, outsider: Outsider) -> None:
    a = await nodes.start("a", config=IMPATIENT)
    await outsider.link(a, LinkPurpose("sync"))
    reason = await asyncio.wait_for(outsider.ended, 5)
    assert (reason.code, reason.text) == (CloseCode.CANCELLED, "the sync took too long")


async def test_a_peer_that_floods_loses_its_link_and_memory_stays_bounded(
    nodes: Nodes, outsider: Outsider
) -> None:
    a = await nodes.start("a", config=DiscoveryConfig(unjudged_bytes_max=100_000))
    link = await outsider.link(a, LinkPurpose("neighbour"))
    link.write_many([encode_frame(Announce((bytes(60_000),) * 4))] * 100)
    reason = await asyncio.wait_for(outsider.ended, 5)
    assert (reason.code, reason.remote) == (CloseCode.CANCELLED, True)
    # What came before was judged, what came after was not even looked at.
    assert 0 < a.refused[EntryVerdict.MALFORMED] < 10


async def test_a_node_that_has_started_serves_who_dials_at_once(
    nodes: Nodes, outsider: Outsider, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[str] = []
    serve = MemoryEndpoint.serve

    def note(
        endpoint: MemoryEndpoint,
        protocol: str,
        accept: Callable[[Link], None],
        *,
        is_essential: bool = False,
    ) -> None:
        serve(endpoint, protocol, accept, is_essential=is_essential)
        served.append(protocol)

    monkeypatch.setattr(MemoryEndpoint, "serve", note)
    discovery = await nodes.start("just started")
    # In the very moment that the start returns: a dial alone would often be too slow to tell.
    assert PROTOCOL in served
    link = await outsider.link(discovery, LinkPurpose("sync"))
    link.close(SHUTDOWN)


async def test_a_probe_is_one_ping_and_nothing_else(nodes: Nodes, outsider: Outsider) -> None:
    a = await nodes.start("a", config=IMPATIENT)
    link = await outsider.link(a, LinkPurpose("probe"))
    link.write_many([encode_frame(Ping(1)), encode_frame(Ping(2))])
    reason = await asyncio.wait_for(outsider.ended, 5)
    assert reason.code == CloseCode.PROTOCOL_VIOLATION
    assert "Ping on a link for a probe" in reason.text


async def test_a_probe_that_asks_nothing_ends(nodes: Nodes, outsider: Outsider) -> None:
    a = await nodes.start("a", config=IMPATIENT)
    await outsider.link(a, LinkPurpose("probe"))
    reason = await asyncio.wait_for(outsider.ended, 5)
    assert (reason.code, reason.text) == (CloseCode.CANCELLED, "the probe took too long")


async def test_a_crowd_of_links_is_turned_away(nodes: Nodes, outsider: Outsider) -> None:
    a = await nodes.start("a", config=DiscoveryConfig(links_max=8))
    links = [await outsider.link(a, LinkPurpose("sync")) for _ in range(8)]
    with pytest.raises(OSError, match="too many discovery links"):
        await outsider.link(a, LinkPurpose("sync"))
    links[0].close(SHUTDOWN)
    # Its place is free again.
    link = None
    while link is None:
        try:
            link = await outsider.link(a, LinkPurpose("sync"))
        except OSError:
            await asyncio.sleep(0)


async def test_updates_are_told_apart_from_refreshed_entries(nodes: Nodes) -> None:
    a = await nodes.start("a", config=IMPATIENT)
    events = a.events()
    b = await nodes.start("b", a, config=IMPATIENT)
    assert isinstance(await asyncio.wait_for(anext(events), 5), PeerDiscovered)
    before = a.catalog()[b.me.peer_id].version
    await until(lambda: a.catalog()[b.me.peer_id].version > before)
    b.add_tags("new")
    event = await asyncio.wait_for(anext(events), 5)
    assert isinstance(event, PeerUpdated)
    assert "new" in event.peer.tags
    assert "new" not in event.previous.tags
