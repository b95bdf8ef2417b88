"""``mosaik-actors group transfer`` and ``leave``: who may have it done, and what comes of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mosaik_actors import (
    ConfigError,
    ConsensusConfig,
    GroupTerminated,
    Network,
    TransportConfig,
)
from mosaik_actors.cli import groups as command
from mosaik_actors.cli.failure import CommandFailed
from mosaik_actors.cli.groups import find_group, find_member
from mosaik_actors.cli.main import build_parser
from mosaik_actors.collections.naming import name_of
from mosaik_actors.groups.wire.control import PROTOCOL, LeaveAsked, TransferAsked
from mosaik_actors.handles.group_control import ask_control
from mosaik_actors.ids import GroupId
from mosaik_actors.transport.interface import LinkRefused
from tests.waiting import until

QUICK = ConsensusConfig(heartbeat_interval=0.05, election_timeout=0.4, initial_voters=3)


async def control(*arguments: str) -> None:
    options = build_parser().parse_args(["group", *arguments])
    assert await command._run_control(options) == 0


async def test_the_operator_has_another_lead_and_one_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOSAIK_RUNTIME_DIR", str(tmp_path))
    async with Network("ops") as a, Network("ops") as b, Network("ops") as c:
        nets = {net.peer_id: net for net in (a, b, c)}
        members = {
            peer: net.groups.join("key", name="counter", consensus=QUICK)
            for peer, net in nets.items()
        }
        anyone = members[a.peer_id]
        await anyone.when().online()
        await until(lambda: sum(one.is_voter for one in anyone.members) == 3)

        # A named one, and then whoever is most ahead.
        first = anyone.leader
        assert first is not None
        second = next(peer for peer in members if peer != first)
        await control("transfer", "ops", "counter", "--to", str(second))
        assert capsys.readouterr().out == f"{second} leads\n"
        assert members[second].is_leader
        await control("transfer", "ops", str(anyone.id)[:12])
        third = next(peer for peer, one in members.items() if one.is_leader)
        assert third != second

        # A program does the same; one that does not lead cannot.
        with pytest.raises(ConfigError, match="does not lead"):
            await members[second].transfer_leadership()
        with pytest.raises(ConfigError, match="is another voter"):
            await members[third].transfer_leadership(third)
        assert await members[third].transfer_leadership(second) == second

        # A leader that leaves hands over before.
        await control("leave", "ops", "counter", str(second))
        assert f"{second} has left" in capsys.readouterr().out
        with pytest.raises(GroupTerminated):
            await members[second].when().online()
        rest = [members[peer] for peer in members if peer != second]
        await until(lambda: all(len(one.members) == 2 and one.is_online for one in rest))

        # The last one has all that is left of the state.
        await rest[0].leave()
        last = next(peer for peer, one in members.items() if one is rest[1])
        with pytest.raises(CommandFailed, match="would be gone"):
            await control("leave", "ops", "counter", str(last))
        await control("leave", "ops", "counter", str(last), "--last")
        assert list(nets[last].groups) == []


async def test_nobody_controls_a_group_over_the_network() -> None:
    """Not even another member, which has the network's secret and the group's key."""
    quic = TransportConfig(carriers=("quic",))
    async with (
        Network("ops-far", transport=quic) as here,
        Network("ops-far", transport=quic) as there,
    ):
        await there.discovery.dial(here.addr)
        group = here.groups.join("key", consensus=ConsensusConfig(initial_voters=1))
        there.groups.join("key", consensus=ConsensusConfig(initial_voters=1))
        await group.when().online()
        for request in (TransferAsked(group.id, there.peer_id), LeaveAsked(group.id)):
            with pytest.raises(LinkRefused, match="not over the network"):
                await ask_control(there.node, here.addr, request, 10.0)
        assert group.is_online


async def test_what_is_no_request_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOSAIK_RUNTIME_DIR", str(tmp_path))
    async with Network("ops-odd") as here, Network("ops-odd") as there:
        await until(lambda: bool(there.discovery.catalog()))
        some = LeaveAsked(GroupId("key").hashed())
        answer = await asyncio.wait_for(ask_control(there.node, here.addr, some, 10.0), 10)
        assert "no member of the group, nor of any" in answer.error
        assert not list(here.groups)  # from now on it serves those who ask
        for header in (b"", b"\xc1", b"x" * 600):
            with pytest.raises(LinkRefused, match="a request to a group's member"):
                await there.node.endpoint.open_link(here.addr, PROTOCOL, header)
        unknown = LeaveAsked(here.groups.join("key").id.hashed())
        answer = await asyncio.wait_for(ask_control(there.node, here.addr, unknown, 10.0), 10)
        assert "no member of the group" in answer.error


class Peer:
    def __init__(self, peer_id: str, groups: dict[str, str]) -> None:
        self.peer_id, self.groups = peer_id, groups


def test_groups_and_members_are_found_by_what_their_ids_begin_with() -> None:
    x, y = Peer("3f9a", {"aa11": "counter", "bb22": "twin"}), Peer("3f00", {"cc33": "twin"})
    peers: Any = [x, y]
    found: Any = find_group(peers, "counter")
    assert found == ("aa11", [x])
    found = find_group(peers, "cc3")
    assert found == ("cc33", [y])
    with pytest.raises(CommandFailed, match="choose by id: bb22, cc33"):
        find_group(peers, "twin")
    stock = name_of("Map[str, int]", "stock", has_secret=False).shown
    x.groups["dd44"] = stock
    found = find_group(peers, "stock")
    assert found == ("dd44", [x])
    with pytest.raises(CommandFailed, match="no node has a group 'none'"):
        find_group(peers, "none")
    found = find_member(peers, "3f9")
    assert found is x
    for wanted in ("3f", "4", ""):
        with pytest.raises(CommandFailed, match="members of the group"):
            find_member(peers, wanted)
