"""Nodes of the DHT among themselves, also where datagrams are lost and nodes lie."""

from __future__ import annotations

from random import Random

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mosaik_actors.dht import krpc
from mosaik_actors.dht.items import ImmutableItem, MutableItem
from mosaik_actors.dht.krpc import NodeContact, Query, Response, decode_message, encode_message
from mosaik_actors.dht.lookup import ASKED_MAX
from mosaik_actors.dht.node import QUERIES_BURST, DhtNode, PutDone, SendDatagram

from .dht_world import World

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
SOMEBODY = ("8.8.8.8", 8)


def item(sequence: int, value: bytes = b"v", salt: bytes = b"") -> MutableItem:
    return MutableItem.sign(KEY, sequence, value, salt)


def test_what_one_puts_all_find() -> None:
    world = World(40)
    world.run(20)
    addrs = list(world.nodes)
    stored = world.put(addrs[3], item(1, salt=b"salt"))
    assert stored.stored_count == 8
    for addr in addrs[::7]:
        found = world.find(addr, item(1, salt=b"salt").target, b"salt")
        assert found.item == item(1, salt=b"salt")
    assert world.find(addrs[5], item(1).target).item is None
    immutable = ImmutableItem([b"a", 1])
    assert world.put(addrs[4], immutable).stored_count == 8
    assert world.find(addrs[9], immutable.target).item == immutable


def test_of_two_that_replace_the_same_one_is_told() -> None:
    world = World(20)
    world.run(20)
    addrs = list(world.nodes)
    world.put(addrs[1], item(1))
    assert world.put(addrs[2], item(2), expected=1).stored_count == 8
    late = world.put(addrs[3], item(3), expected=1)
    assert late.stored_count == 0
    assert {one.code for one in late.refusals} == {301}


def test_loss_and_deaths_hide_nothing() -> None:
    world = World(40, seed=3, loss=0.1)
    world.run(60)
    addrs = list(world.nodes)
    assert world.put(addrs[1], item(1)).stored_count >= 5
    world.dead = set(addrs[2::4])
    for addr in (addrs[3], addrs[8], addrs[13]):
        assert world.find(addr, item(1).target).item == item(1)


def test_node_that_comes_back_is_found_by_who_lost_all_others() -> None:
    world = World(2)
    world.run(5)
    first, second = world.nodes
    world.dead.add(first)
    world.run(1800)
    assert len(world.nodes[second].table) == 0
    world.dead.clear()
    world.until(lambda: len(world.nodes[second].table) == 1, 300)


def test_nobody_in_reach_is_no_answer() -> None:
    world = World(1)
    found = world.find(next(iter(world.nodes)), item(1).target)
    assert (found.item, found.answered_count) == (None, 0)
    assert world.put(next(iter(world.nodes)), item(1)) == PutDone(2, 0)


def test_who_only_asks_is_in_nobodys_table() -> None:
    world = World(10)
    world.run(20)
    quiet = world.add_node(serves=False)
    world.run(120)
    assert len(world.nodes[quiet].table) > 0
    own = world.nodes[quiet].own_id
    assert all(own not in {one.id for one in node.table} for node in world.nodes.values())


def only_answer(node: DhtNode) -> Response | krpc.ErrorReply | Query:
    sent = node.take_effects()
    assert sent
    assert isinstance(sent[0], SendDatagram)
    return decode_message(sent[0].data)


def test_answers_count_only_from_who_was_asked() -> None:
    node = DhtNode(bytes(20), rng=Random(1))
    entry = ("5.5.5.5", 5)
    node.join([entry], now=0)
    question = only_answer(node)
    answer = encode_message(Response(question.transaction, b"o" * 20))
    node.receive_data(answer, SOMEBODY, now=0)
    node.receive_data(encode_message(Response(b"none", b"o" * 20)), entry, now=0)
    node.receive_data(b"noise", entry, now=0)
    assert (len(node.table), node.refused_count) == (0, 3)
    node.receive_data(answer, entry, now=0)
    assert len(node.table) == 1
    node.receive_data(answer, entry, now=0)
    assert node.refused_count == 4


def test_item_with_a_forged_signature_is_not_found() -> None:
    node = DhtNode(bytes(20), rng=Random(1))
    node.table.note_answer(NodeContact(b"o" * 20, SOMEBODY), now=0)
    number = node.find(item(1).target, now=0)
    question = only_answer(node)
    forged = MutableItem(item(9).key, 9, b"v", item(1).signature)
    node.receive_data(
        encode_message(Response(question.transaction, b"o" * 20, item=forged)), SOMEBODY, now=0
    )
    [done] = node.take_effects()
    assert not isinstance(done, SendDatagram)
    assert (done.number, getattr(done, "item", 0)) == (number, None)
    assert node.refused_count == 1


def test_lookup_ends_though_nodes_invent_others_without_end() -> None:
    node = DhtNode(bytes(20), rng=Random(1))
    node.table.note_answer(NodeContact(b"o" * 20, SOMEBODY), now=0)
    node.find(b"t" * 20, now=0)
    asked, closer = 0, 2**150
    while sends := [one for one in node.take_effects() if isinstance(one, SendDatagram)]:
        for send in sends:
            asked += 1
            assert asked <= ASKED_MAX
            question = decode_message(send.data)
            sender = b"o" * 20 if send.addr == SOMEBODY else node_id_at(node, send.addr)
            closer -= 2**140
            invented = (int.from_bytes(b"t" * 20, "big") ^ closer).to_bytes(20, "big")
            host = f"7.{asked >> 8}.{asked & 255}.1"
            INVENTED[host] = invented
            reply = Response(question.transaction, sender, (NodeContact(invented, (host, 1)),))
            node.receive_data(encode_message(reply), send.addr, now=0)
    assert asked > 8


INVENTED: dict[str, bytes] = {}


def node_id_at(_node: DhtNode, addr: tuple[str, int]) -> bytes:
    return INVENTED[addr[0]]


def test_put_needs_a_token_and_methods_nobody_knows_are_refused() -> None:
    node = DhtNode(bytes(20), rng=Random(1), serves=True)
    put = Query(b"t", krpc.PUT, b"o" * 20, is_read_only=True, token=b"guess", item=item(1))
    node.receive_data(encode_message(put), SOMEBODY, now=0)
    assert only_answer(node) == krpc.ErrorReply(b"t", 203, "bad token")
    vote = Query(b"t", "vote", b"o" * 20, is_read_only=True)
    node.receive_data(encode_message(vote), SOMEBODY, now=0)
    assert only_answer(node) == krpc.ErrorReply(b"t", 204, "method unknown")
    assert len(node.store) == 0


def test_flood_of_queries_is_answered_in_part() -> None:
    node = DhtNode(bytes(20), rng=Random(1), serves=True)
    ping = encode_message(Query(b"t", krpc.PING, b"o" * 20, is_read_only=True))
    for _ in range(1000):
        node.receive_data(ping, SOMEBODY, now=0)
    assert len(node.take_effects()) == QUERIES_BURST
    assert node.dropped_count == 1000 - QUERIES_BURST
    node.receive_data(ping, SOMEBODY, now=1)
    assert len(node.take_effects()) == 1


def test_node_that_only_asks_answers_nobody() -> None:
    node = DhtNode(bytes(20), rng=Random(1))
    node.receive_data(encode_message(Query(b"t", krpc.PING, b"o" * 20)), SOMEBODY, now=0)
    assert node.take_effects() == []


def test_own_host_is_what_most_others_see() -> None:
    node = DhtNode(bytes(20), rng=Random(1))
    seen = ["9.9.9.9", "9.9.9.9", "7.7.7.7", "9.9.9.9", "10.0.0.1"]
    for number, host in enumerate(seen):
        assert node.seen_host is (None if number < 4 else "9.9.9.9") or number == 4
        entry = (f"5.5.5.{number + 1}", 5)
        node.join([entry], now=0)
        question = only_answer(node)
        node.receive_data(
            encode_message(
                Response(question.transaction, bytes([number + 1]) * 20, seen_addr=(host, 1))
            ),
            entry,
            now=0,
        )
        node.take_effects()
    assert node.seen_host == "9.9.9.9"
