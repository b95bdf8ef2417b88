"""Proofs of the key: worth nothing in another place (ISO/IEC 9798-4, section 6)."""

from __future__ import annotations

from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors.errors import DecodeError, RemoteError
from mosaik_actors.groups.mesh.handshake import (
    HEADER_BYTES_MAX,
    NONCE_BYTES,
    VERSION,
    AcceptorHandshake,
    Credentials,
    OpenerHandshake,
    OpenerHello,
    group_of,
)
from mosaik_actors.groups.mesh.key import GroupKey
from mosaik_actors.ids import GroupId, NetworkId, PeerId
from mosaik_actors.transport.close import CloseCode
from mosaik_actors.wire_encoding import encode

from ..cores import peer

NETWORK = NetworkId("a network for tests")
GROUP = GroupId("a group for tests")
KEY = GroupKey("the key of the group")
ALICE, BOB, MALLORY = peer(0), peer(1), peer(2)


def member(
    me: PeerId, key: GroupKey = KEY, group: GroupId = GROUP, network: NetworkId = NETWORK
) -> Credentials:
    return Credentials(me, network, group, key)


def begin(
    alice: Credentials, bob: Credentials, seed: int = 1
) -> tuple[OpenerHandshake, AcceptorHandshake]:
    """Let Alice open a link to Bob; return both sides after the header has arrived."""
    rng = Random(seed)
    opener = OpenerHandshake(alice, BOB, rng)
    return opener, AcceptorHandshake(bob, ALICE, opener.header, rng)


def refused_with(code: CloseCode) -> pytest.RaisesExc[RemoteError]:
    return pytest.RaisesExc(RemoteError, check=lambda error: error.close_code == code)


def test_members_with_the_key_prove_it_to_each_other() -> None:
    opener, acceptor = begin(member(ALICE), member(BOB))
    acceptor.receive_proof(opener.receive_reply(acceptor.reply))


def test_group_is_read_without_a_key() -> None:
    assert group_of(OpenerHandshake(member(ALICE), BOB, Random(1)).header) == GROUP


def test_group_of_another_version_is_read_too() -> None:
    """So a newer node hears that its version is unknown, not that its header is no header."""
    newer = msgspec.msgpack.encode([VERSION + 1, bytes(GROUP), bytes(NONCE_BYTES), "more"])
    assert group_of(newer) == GROUP
    with refused_with(CloseCode.GROUP_INVALID_HANDSHAKE):
        AcceptorHandshake(member(BOB), ALICE, newer, Random(1))


def test_acceptor_without_the_key_is_found_out() -> None:
    opener, acceptor = begin(member(ALICE), member(BOB, GroupKey("a guess")))
    with refused_with(CloseCode.GROUP_INVALID_PROOF):
        opener.receive_reply(acceptor.reply)


def test_opener_without_the_key_is_found_out() -> None:
    """Even one that does not mind what it was answered."""
    _, acceptor = begin(member(ALICE), member(BOB))
    guess = member(ALICE, GroupKey("a guess")).prove(
        b"\x01", ALICE, BOB, (bytes(NONCE_BYTES), acceptor.reply[2:34])
    )
    for proof in (guess, b"", bytes(32), bytes(33)):
        with refused_with(CloseCode.GROUP_INVALID_PROOF):
            acceptor.receive_proof(proof)


@pytest.mark.parametrize(
    "alice",
    [
        member(ALICE, network=NetworkId("another network")),
        member(MALLORY),
    ],
    ids=["network", "peer"],
)
def test_proof_holds_for_one_network_and_two_peers(alice: Credentials) -> None:
    opener, acceptor = begin(alice, member(BOB))
    with refused_with(CloseCode.GROUP_INVALID_PROOF):
        opener.receive_reply(acceptor.reply)


def test_header_of_another_group_finds_no_group() -> None:
    with refused_with(CloseCode.GROUP_NOT_FOUND):
        begin(member(ALICE, group=GroupId("another group")), member(BOB))


def test_group_id_is_part_of_the_proof() -> None:
    """Two groups of one key (other settings): what is proven to one says nothing to the other."""
    sides = ALICE, BOB, (bytes(NONCE_BYTES), bytes(NONCE_BYTES))
    one = member(ALICE).prove(b"\x01", *sides)
    assert one != member(ALICE, group=GroupId("another group")).prove(b"\x01", *sides)


def test_replayed_proof_proves_nothing() -> None:
    """The acceptor draws a nonce of its own for each link, whatever the opener's is."""
    opener, acceptor = begin(member(ALICE), member(BOB))
    proof = opener.receive_reply(acceptor.reply)
    again = AcceptorHandshake(member(BOB), ALICE, opener.header, Random(2))
    with refused_with(CloseCode.GROUP_INVALID_PROOF):
        again.receive_proof(proof)


def test_replayed_reply_proves_nothing() -> None:
    _, acceptor = begin(member(ALICE), member(BOB))
    opener = OpenerHandshake(member(ALICE), BOB, Random(2))
    with refused_with(CloseCode.GROUP_INVALID_PROOF):
        opener.receive_reply(acceptor.reply)


def test_reflected_proof_proves_nothing() -> None:
    """Mallory opens a link to Bob with Bob's own nonce, and shows Bob's answer as its own."""
    rng = Random(1)
    bob = OpenerHandshake(member(BOB), ALICE, rng)
    mirror = AcceptorHandshake(member(BOB), ALICE, bob.header, rng)
    with refused_with(CloseCode.GROUP_INVALID_PROOF):
        bob.receive_reply(mirror.reply)
    opener, acceptor = begin(member(ALICE), member(BOB))
    reply_proof = acceptor.reply[-32:]
    assert opener.receive_reply(acceptor.reply) != reply_proof
    with refused_with(CloseCode.GROUP_INVALID_PROOF):
        acceptor.receive_proof(reply_proof)


def test_middleman_without_the_key_convinces_nobody() -> None:
    """Alice means Mallory, Mallory hands everything on to Bob, who sees Mallory at the other end.

    Neither Bob's proof is good for Alice nor Alice's for Bob.
    """
    rng = Random(1)
    alice = OpenerHandshake(member(ALICE), MALLORY, rng)
    bob = AcceptorHandshake(member(BOB), MALLORY, alice.header, rng)
    with refused_with(CloseCode.GROUP_INVALID_PROOF):
        alice.receive_reply(bob.reply)


def test_member_makes_no_bond_with_itself() -> None:
    own = OpenerHandshake(member(ALICE), ALICE, Random(1))
    with refused_with(CloseCode.GROUP_INVALID_HANDSHAKE):
        AcceptorHandshake(member(ALICE), ALICE, own.header, Random(1))


def test_key_is_never_on_the_wire_nor_in_a_text() -> None:
    opener, acceptor = begin(member(ALICE), member(BOB))
    proof = opener.receive_reply(acceptor.reply)
    for secret in (bytes(KEY), KEY.proof_key):
        assert secret not in opener.header + acceptor.reply + proof
        assert secret.hex() not in repr(member(ALICE))


@settings(deadline=None)
@given(st.binary(max_size=200) | st.binary(min_size=HEADER_BYTES_MAX, max_size=2000))
def test_any_header_is_taken_or_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        group_of(data)
    with refused_with(CloseCode.GROUP_INVALID_HANDSHAKE):
        AcceptorHandshake(member(BOB), ALICE, data, Random(1))
    with refused_with(CloseCode.GROUP_INVALID_HANDSHAKE):
        OpenerHandshake(member(ALICE), BOB, Random(1)).receive_reply(data)


@settings(deadline=None)
@given(st.integers(min_value=0), st.integers(0, 255))
def test_one_wrong_byte_ends_the_handshake(place: int, value: int) -> None:
    opener, acceptor = begin(member(ALICE), member(BOB))
    reply = bytearray(acceptor.reply)
    if reply[place % len(reply)] == value:
        return
    reply[place % len(reply)] = value
    with pytest.raises(RemoteError):
        opener.receive_reply(bytes(reply))


@settings(deadline=None)
@given(
    version=st.integers(-1, 70_000),
    group=st.binary(min_size=31, max_size=33),
    nonce=st.binary(min_size=31, max_size=33),
)
def test_only_a_header_of_the_right_form_gets_an_answer(
    version: int, group: bytes, nonce: bytes
) -> None:
    header = msgspec.msgpack.encode([version, group, nonce])
    fits = 0 <= version <= 65_535 and len(group) == 32 and len(nonce) == NONCE_BYTES
    try:
        found = group_of(header)
    except DecodeError:
        assert not fits
    else:
        assert fits
        assert found == group


def test_header_is_short() -> None:
    assert len(encode(OpenerHello(VERSION, GROUP, bytes(NONCE_BYTES)))) < 100
