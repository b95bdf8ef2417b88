"""The parts around the gossip: what links are for, shared syncs, the way to the catalog."""

from __future__ import annotations

from random import Random

from mosaik_actors.discovery.catalog.catalog import Catalog
from mosaik_actors.discovery.catalog.verdict import EntryVerdict
from mosaik_actors.discovery.config import DiscoveryConfig
from mosaik_actors.discovery.gossip.announcements import SendFrames
from mosaik_actors.discovery.gossip.asked_syncs import AskedSyncs
from mosaik_actors.discovery.gossip.edges import Offer
from mosaik_actors.discovery.gossip.exchange import Exchange
from mosaik_actors.discovery.gossip.gossip import Gossip, VerifyNeighbours
from mosaik_actors.discovery.gossip.lateness import Lateness
from mosaik_actors.discovery.gossip.link_roles import LinkRole, LinkRoles
from mosaik_actors.discovery.gossip.missing import MissingEntries
from mosaik_actors.discovery.wire import Announce, Contact, LinkPurpose, decode_frame
from mosaik_actors.transport.close import CloseCode, CloseReason

from .helpers import NETWORK, NOW, addr, key, peer, signed


def test_a_peer_may_have_a_link_in_each_role() -> None:
    roles: LinkRoles[str] = LinkRoles()
    assert roles.put(LinkRole.NEIGHBOUR, peer("a"), "one") is None
    roles.put(LinkRole.SYNC, peer("a"), "two")
    roles.put(LinkRole.PROBE, peer("b"), "two")
    assert roles.find(peer("a"), "two") is LinkRole.SYNC
    assert roles.find(peer("b"), "one") is None
    assert roles.held_by("two") == [(LinkRole.PROBE, peer("b")), (LinkRole.SYNC, peer("a"))]
    assert roles.put(LinkRole.NEIGHBOUR, peer("a"), "three") == "one"
    assert roles.pop(LinkRole.NEIGHBOUR, peer("a")) == "three"
    assert roles.get(LinkRole.NEIGHBOUR, peer("a")) is None


def test_what_is_asked_during_a_sync_shares_the_next() -> None:
    syncs: AskedSyncs[str] = AskedSyncs()
    assert syncs.begin(peer("a"), "first")
    assert not syncs.begin(peer("a"), "second")
    assert not syncs.begin(peer("a"), "third")
    assert syncs.begin(peer("b"), "elsewhere")
    assert syncs.end(peer("a")) == ["second", "third"]
    assert not syncs.begin(peer("a"), "fourth")  # the second one is under way
    assert syncs.end(peer("a"), is_over=True) == ["fourth"]
    assert syncs.begin(peer("a"), "fifth")
    assert syncs.end(peer("a")) == []
    assert syncs.begin(peer("a"), "sixth")


def made() -> tuple[Catalog, Gossip, Exchange]:
    config = DiscoveryConfig()
    catalog = Catalog(
        network_id=NETWORK, secret_key=key("me"), addr=addr("me"), config=config, now=NOW
    )
    gossip = Gossip(peer("me"), config, Random(1), now=0.0)
    return catalog, gossip, Exchange(catalog, gossip)


def test_what_is_news_goes_on_to_the_other_neighbours_and_what_is_refused_is_said() -> None:
    catalog, gossip, exchange = made()
    catalog.take_fresh()
    exchange.has_changed()
    for name in ("x", "y"):
        gossip.receive_link_up(peer(name), now=0.0)
    entries = [signed("a").encode(), b"rubbish", signed("a").encode()]
    refused = exchange.receive_entries(
        entries, peer("x"), is_from_afar=False, now=1.0, wall=NOW + 1
    )
    assert refused == [EntryVerdict.MALFORMED]
    assert peer("a") in catalog.snapshot()
    assert (exchange.has_changed(), exchange.has_changed()) == (True, False)
    gossip.handle_timer(now=2.0)
    sent = []
    while (event := gossip.next_event()) is not None:
        if isinstance(event, SendFrames):
            sent += [
                event.peers for frame in event.frames if isinstance(decode_frame(frame), Announce)
            ]
    assert sent == [(peer("y"),)]
    assert [one.peer_id for one in exchange.live_addrs([peer("a"), peer("b")])] == [peer("a")]


def test_a_link_that_breaks_is_a_claim_and_one_that_ends_is_none() -> None:
    catalog, _gossip, exchange = made()
    for name in ("a", "b"):
        catalog.receive_entry(signed(name), now=NOW)
        catalog.receive_link_up(peer(name))
    code = CloseCode.GRACEFUL_SHUTDOWN
    assert not exchange.lose_link(peer("b"), code=code, is_broken=False, now=1.0, wall=NOW + 1)
    code = CloseCode.UNEXPECTED_CLOSE
    assert exchange.lose_link(peer("a"), code=code, is_broken=True, now=1.0, wall=NOW + 1)
    assert len(catalog.reachability.held_claims()) == 1


def test_only_broken_claims_end_the_reading_of_a_frame() -> None:
    _, _, exchange = made()
    refused = exchange.receive_claims([b"rubbish"] * 3, peer("x"), wall=NOW)
    assert refused == [EntryVerdict.MALFORMED]
    assert not exchange.spread_claims(peer("x"), now=0.0)


def test_links_are_judged_by_what_they_are_for() -> None:
    _, gossip, _ = made()

    def judge(purpose: LinkPurpose) -> Offer | CloseReason:
        return gossip.judge_link(peer("a"), purpose, may_be_local=True, now=0.0)

    assert judge(LinkPurpose("sync")) is Offer.GUEST
    assert judge(LinkPurpose("probe")) is Offer.GUEST
    assert judge(LinkPurpose("join", contact=Contact.of(addr("a")))) is Offer.ACCEPT
    claimed = judge(LinkPurpose("join", contact=Contact.of(addr("b"))))
    assert isinstance(claimed, CloseReason)
    assert claimed.code == CloseCode.PROTOCOL_VIOLATION


def test_late_once_is_a_pause_and_late_again_and_again_is_too_much_to_do() -> None:
    lateness = Lateness()
    assert not lateness.receive(0.001, now=1.0)
    # Stopped for six seconds: the others have waited for it, and it need not for them.
    assert lateness.receive(6.0, now=10.0)
    assert lateness.allowance_s(now=10.0) == 0.0
    # Late again, and again: it gives others the more time, and has not stood still.
    assert not lateness.receive(3.0, now=13.0)
    assert lateness.allowance_s(now=13.0) == 12.0
    assert not lateness.receive(2.0, now=15.0)
    assert lateness.allowance_s(now=15.0) > 8.0
    # It keeps up again, and forgets it by and by.
    assert not lateness.receive(0.0, now=20.0)
    assert lateness.allowance_s(now=23.0) == 3.0
    assert lateness.allowance_s(now=100.0) == 0.0


def test_a_node_that_cannot_keep_up_takes_no_neighbour_for_silent_so_soon() -> None:
    _, gossip, _ = made()
    gossip.receive_offer(peer("a"), "neighbour", None, urgent=False, now=0.0)
    gossip.receive_heard({peer("a"): 0.0}, now=6.0)
    assert gossip.next_event() == VerifyNeighbours((peer("a"),))
    for _ in range(2):
        gossip.receive_late(1.0, now=6.0)
    gossip.receive_heard({peer("a"): 0.0}, now=6.0)
    assert gossip.next_event() is None
    gossip.receive_heard({peer("a"): 0.0}, now=9.5)
    assert gossip.next_event() == VerifyNeighbours((peer("a"),))


def test_what_is_missing_is_asked_of_one_after_the_other_until_it_is_here() -> None:
    missing = MissingEntries(0.5)
    first, second = b"12345678", b"abcdefgh"
    missing.add([first, second], peer("a"), is_quick=True, due_at=1.0)
    missing.add([first], peer("b"), is_quick=False, due_at=0.5)
    missing.add([first], peer("c"), is_quick=False, due_at=0.5)
    neighbours = {peer("a"): None}, {peer("c"): None}
    assert (missing.get_timer(), missing.take_due(*neighbours, now=0.9)) == (1.0, {})
    assert missing.take_due(*neighbours, now=1.0) == {(peer("a"), True): [first, second]}
    missing.discard(second)
    assert missing.get_timer() == 1.5
    assert missing.take_due(*neighbours, now=1.5) == {(peer("c"), True): [first]}
    assert missing.take_due(*neighbours, now=2.0) == {}
    assert missing.get_timer() is None
