"""A lone member begins no history while a member is in reach that it cannot bond with."""

from __future__ import annotations

from random import Random

import pytest

from mosaik_actors.groups.mesh.redial import LEFT, NO_MEMBER, Redial
from mosaik_actors.transport.address import PeerAddr
from mosaik_actors.transport.close import CloseCode, CloseReason

from ..member_world import peer

FULL = CloseReason(CloseCode.TOO_MANY_LINKS, "4096 links are open, at most 4096", remote=True)


def redial_of(*numbers: int) -> Redial:
    redial = Redial(peer(0), Random(1))
    redial.receive_peers({peer(n): PeerAddr(peer(n)) for n in numbers}, now=0.0)
    return redial


def test_member_that_could_not_be_bonded_with_is_told_with_the_reason() -> None:
    redial = redial_of(1, 2)
    assert redial.list_apart() == {peer(1): "no answer yet", peer(2): "no answer yet"}
    redial.note_failure(peer(1), FULL, now=1.0)
    assert "429 too many links" in redial.list_apart()[peer(1)]
    # One that we refuse, and one that has left, are not waited for.
    redial.note_failure(peer(1), now=2.0, is_refused=True)
    redial.note_left(peer(2), now=2.0)
    assert redial.list_apart() == {}


@pytest.mark.parametrize("code", sorted(NO_MEMBER))
def test_peer_that_says_it_is_no_member_is_not_waited_for(code: CloseCode) -> None:
    redial = redial_of(1)
    redial.note_failure(peer(1), now=1.0, why=CloseReason(code, "no", remote=True))
    assert redial.list_apart() == {}
    assert LEFT.code in NO_MEMBER
