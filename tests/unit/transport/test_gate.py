"""Which peers may be connected."""

from __future__ import annotations

import pytest

from mosaik_actors.ids import PeerId, SecretKey
from mosaik_actors.transport.close import CloseCode, gate_of
from mosaik_actors.transport.config import TransportConfig
from mosaik_actors.transport.gate import Gate

A, B, C = (SecretKey.from_seed(name).peer_id for name in "abc")
CONFIG = TransportConfig(faults_max=2, refusal_min=30)


def refusal(gate: Gate, peer_id: PeerId, now: float = 0) -> str:
    reason = gate.objection(peer_id, now=now)
    return "" if reason is None else gate_of(reason.code) or "?"


def test_without_lists_everybody_may() -> None:
    gate = Gate(CONFIG)
    assert not refusal(gate, A)
    gate.set_lists(None, ())
    assert not refusal(gate, A)
    assert gate.standings(now=0) == []


def test_a_list_of_those_allowed_is_for_them_only_and_can_grow() -> None:
    gate = Gate(CONFIG)
    gate.set_lists([A, B], [B])
    assert [refusal(gate, peer) for peer in (A, B, C)] == ["", "deny", "allow"]
    gate.allow(C)
    gate.allow(B)
    gate.ban(A, for_s=None, why="", now=0)
    assert [refusal(gate, peer, now=1e9) for peer in (A, B, C)] == ["deny", "", ""]
    # An empty list is one as well.
    gate.set_lists([], ())
    assert refusal(gate, A) == "allow"


def test_a_ban_ends_by_itself_or_by_word_and_the_last_one_counts() -> None:
    gate = Gate(CONFIG)
    gate.ban(A, for_s=60, why="spam", now=0)
    reason = gate.objection(A, now=50)
    assert reason is not None
    assert reason.text == "this peer is banned for another 10 s: spam"
    assert not refusal(gate, A, now=60)
    assert gate.standings(now=60) == []
    gate.ban(A, for_s=None, why="", now=61)
    gate.ban(A, for_s=5, why="", now=62)
    assert refusal(gate, A, now=66) == "deny"
    assert not refusal(gate, A, now=67)
    gate.ban(B, for_s=None, why="", now=70)
    assert len(gate.standings(now=70)) == 1  # what is over takes no room
    gate.allow(B)
    assert not refusal(gate, B, now=71)


def test_broken_rules_are_shown_and_refuse_for_a_time() -> None:
    gate = Gate(CONFIG)
    assert gate.receive_fault(A, now=0) is None
    [standing] = gate.standings(now=0)
    assert (standing.gate, standing.fault_count, standing.score) == ("", 1, 1.0)
    reason = gate.receive_fault(A, now=0)
    assert reason is not None
    assert reason.code == CloseCode.BROKE_RULES
    [standing] = gate.standings(now=10)
    assert (standing.gate, standing.for_s, standing.fault_count) == ("conduct", 20, 2)
    assert standing.why == "this peer broke too many rules for another 20 s"
    assert not refusal(gate, A, now=30)
    gate.receive_fault(A, now=30)
    gate.receive_fault(A, now=30)
    gate.allow(A)
    assert not refusal(gate, A, now=31)


@pytest.mark.parametrize("code", [CloseCode.SUCCESS, CloseCode.PROTOCOL_VIOLATION, 99_999])
def test_other_codes_are_no_gate(code: int) -> None:
    assert gate_of(code) is None
