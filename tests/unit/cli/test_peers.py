"""What `mosaik-actors peers` says of a peer."""

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from mosaik_actors.cli import joining, peers
from mosaik_actors.cli.peers import describe
from mosaik_actors.collections.naming import name_of
from mosaik_actors.discovery.entry import GroupInfo, StreamInfo
from mosaik_actors.discovery.info import PeerInfo
from mosaik_actors.ids import GroupId, StreamId
from mosaik_actors.transport.gate import Standing
from tests.unit.discovery.helpers import NOW, entry, peer
from tests.waiting import until


def test_a_peer_that_answers_has_its_round_trip_time() -> None:
    line = describe(PeerInfo(entry("a"), 0.0012))
    assert line == f"{peer('a').short}  127.0.0.1:4433    1.20 ms"


def test_the_address_of_its_relay_is_not_that_of_a_peer() -> None:
    at_relay = entry("a", direct=(), relay=f"{peer('relay')}@127.0.0.1:4434")
    line = describe(PeerInfo(at_relay))
    assert line == f"{peer('a').short}  relay only          -"


def test_a_collection_is_shown_without_the_hash_of_its_store() -> None:
    name = name_of("Map[str, int]", "stock", has_secret=True).shown
    info = PeerInfo(entry("a", groups=(GroupInfo(GroupId("g"), name),)))
    group = GroupId("g").short
    assert describe(info).endswith(f" stock: Map[str, int]#{group}")
    assert describe(info, is_long=True).endswith(f" {name}#{group}")


@pytest.mark.parametrize("carrier", ["relay", "quic"])
def test_what_carries_the_connection_now_is_shown(carrier: str) -> None:
    line = describe(PeerInfo(entry("a"), 0.0012), carrier=carrier)
    assert line.endswith(f"  1.20 ms  {carrier}")


def test_a_peer_that_does_not_answer_is_marked() -> None:
    info = PeerInfo(entry("a"), 0.0012, is_reachable=False, clock=lambda: NOW + 12.4)
    line = describe(info)
    assert line == f"{peer('a').short}  127.0.0.1:4433  unreachable, last heard of 12 s ago"


def test_what_a_peer_that_does_not_answer_offered_is_away() -> None:
    offer = entry("a", streams=(StreamInfo(StreamId("prices"), "prices", b""),))
    away = PeerInfo(offer, is_reachable=False, clock=lambda: NOW)
    assert describe(away).endswith(" (away: prices)")
    assert describe(PeerInfo(offer)).endswith(" prices")


@pytest.mark.parametrize(
    ("standing", "text"),
    [
        (Standing(peer("a"), "", "", None, 3, 1.5), "  [broke 3 rules]"),
        (Standing(peer("a"), "deny", "banned", None, 0, 0), "  [refused (deny)]"),
        (
            Standing(peer("a"), "conduct", "so", 29.9, 16, 0),
            "  [broke 16 rules, refused for 30 s (conduct)]",
        ),
    ],
)
def test_what_there_is_against_a_peer_is_shown(standing: Standing, text: str) -> None:
    assert describe(PeerInfo(entry("a")), standing).endswith(text)


async def test_watch_says_when_a_peer_is_reached_another_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A direct path that is found or lost changes nothing in the catalog."""
    catalog = {peer("a"): PeerInfo(entry("a"), 0.0012)}
    carriers = ["relay"]

    async def watch() -> AsyncIterator[Any]:
        yield catalog
        await asyncio.Event().wait()

    net = SimpleNamespace(
        discovery=SimpleNamespace(watch=watch, catalog=lambda: catalog),
        node=SimpleNamespace(endpoint=SimpleNamespace(carrier=lambda _peer: carriers[-1])),
        standings=dict,
    )

    @asynccontextmanager
    async def joined(_options: argparse.Namespace) -> AsyncIterator[Any]:
        yield net

    monkeypatch.setattr(joining, "joined", joined)
    monkeypatch.setattr(peers, "CARRIER_LOOK_S", 0.01)
    watching = asyncio.create_task(peers._watch(argparse.Namespace(long=False)))
    lines: list[str] = []

    def has_said(count: int) -> bool:
        lines.extend(capsys.readouterr().out.splitlines())
        return len(lines) >= count

    for count, carrier in enumerate(("relay", "quic", "relay"), 1):
        carriers.append(carrier)
        await until(lambda count=count: has_said(count))  # type: ignore[misc]
    assert [line.split()[0] for line in lines] == ["+", "~", "~"]
    assert [line.split()[-1] for line in lines] == ["relay", "quic", "relay"]
    watching.cancel()
    await asyncio.wait([watching])
