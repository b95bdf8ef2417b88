"""Both sides prove a network's key, for one connection between two peers, and nothing else does."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.errors import RemoteError
from mosaik_actors.ids import NetworkId, PeerId, SecretKey
from mosaik_actors.transport.admission import (
    PROOF_BYTES,
    PROOFS_BYTES_MAX,
    SECRETS_MAX,
    Admission,
    NetworkKeys,
    bind_channel,
)
from mosaik_actors.transport.close import CloseCode

OLD, NEW, OTHER = b"the old secret..", b"the new secret..", b"somebody's own.."
A, B, C = (SecretKey.from_seed(name).peer_id for name in "abc")
BINDING = bind_channel(b"client" * 8, b"server" * 8)


@dataclass(frozen=True)
class End:
    """What one end of a connection believes."""

    network: str = "net"
    secrets: tuple[bytes, ...] = (NEW,)
    binding: bytes = BINDING
    here: PeerId = A
    there: PeerId = B
    is_dialler: bool = True

    def admission(self) -> Admission:
        return Admission(
            NetworkKeys(NetworkId(self.network), self.secrets),
            binding=self.binding,
            here=self.here,
            there=self.there,
            is_dialler=self.is_dialler,
        )


DIALLER = End()
ACCEPTOR = End(here=B, there=A, is_dialler=False)


def meet(dialler: End, acceptor: End) -> None:
    """Let two ends prove themselves; raises what the one that refuses says."""
    one, other = dialler.admission(), acceptor.admission()
    answer = other.receive_data(one.begin(), is_end=True)
    assert answer
    assert one.receive_data(answer, is_end=True) == b""


def refusal_of(admission: Admission, data: bytes) -> RemoteError:
    with pytest.raises(RemoteError) as caught:
        admission.receive_data(data, is_end=True)
    return caught.value


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ((), ()),
        ((NEW,), (NEW,)),
        ((NEW, OLD), (OLD,)),
        ((OLD,), (NEW, OLD)),
        ((NEW, OLD), (NEW,)),
        ((NEW,), (NEW, OLD)),
        ((NEW, OLD), (OLD, NEW)),
        ((NEW, OLD), (OTHER, OLD)),
    ],
)
def test_who_shares_a_key_is_admitted(here: tuple[bytes, ...], there: tuple[bytes, ...]) -> None:
    meet(replace(DIALLER, secrets=here), replace(ACCEPTOR, secrets=there))


@pytest.mark.parametrize(
    ("here", "there"),
    [((OLD,), (NEW,)), ((), (NEW,)), ((NEW,), ()), ((OLD, OTHER), (NEW,)), ((b"",), ())],
)
def test_who_shares_none_is_not(here: tuple[bytes, ...], there: tuple[bytes, ...]) -> None:
    with pytest.raises(RemoteError) as caught:
        meet(replace(DIALLER, secrets=here), replace(ACCEPTOR, secrets=there))
    assert caught.value.close_code == CloseCode.DIFFERENT_NETWORK
    assert caught.value.text == "different network"  # and not which one, or why


WRONG = [
    pytest.param({"network": "another"}, id="another network"),
    pytest.param({"secrets": (OLD,)}, id="another secret"),
    pytest.param({"binding": bind_channel(b"server" * 8, b"client" * 8)}, id="another connection"),
    pytest.param({"here": C}, id="another peer"),
    pytest.param({"there": C}, id="to another peer"),
]


@pytest.mark.parametrize("wrong", WRONG)
def test_proof_of_a_dialler_is_for_this_connection_and_peers_only(wrong: dict[str, object]) -> None:
    proof = replace(DIALLER, **wrong).admission().begin()  # type: ignore[arg-type]
    assert refusal_of(ACCEPTOR.admission(), proof).close_code == CloseCode.DIFFERENT_NETWORK


@pytest.mark.parametrize("wrong", WRONG)
def test_proof_of_an_acceptor_is_for_this_connection_and_peers_only(
    wrong: dict[str, object],
) -> None:
    """The same for the answer, made by who has the dialler's proof and believes `wrong`."""
    liar = replace(ACCEPTOR, **wrong)  # type: ignore[arg-type]
    as_dialler = replace(liar, here=liar.there, there=liar.here, is_dialler=True)
    answer = liar.admission().receive_data(as_dialler.admission().begin(), is_end=True)
    assert answer
    dialler = DIALLER.admission()
    dialler.begin()
    assert refusal_of(dialler, answer).close_code == CloseCode.DIFFERENT_NETWORK


def test_reflected_proof_proves_nothing() -> None:
    """Who is dialled, and knows nothing, sends the proof back that it got."""
    dialler = DIALLER.admission()
    refused = refusal_of(dialler, dialler.begin())
    assert refused.close_code == CloseCode.DIFFERENT_NETWORK
    # The same where both sides dial at once, and one connection's answer is tried on the other.
    there = replace(DIALLER, here=B, there=A)
    back = replace(ACCEPTOR, here=A, there=B)
    answer = back.admission().receive_data(there.admission().begin(), is_end=True)
    assert answer
    assert refusal_of(DIALLER.admission(), answer).close_code == CloseCode.DIFFERENT_NETWORK


def test_replayed_proof_proves_nothing_on_another_connection() -> None:
    recorded = DIALLER.admission().begin()
    later = replace(ACCEPTOR, binding=bind_channel(b"client" * 8, b"another"))
    assert refusal_of(later.admission(), recorded).close_code == CloseCode.DIFFERENT_NETWORK


def test_acceptor_answers_with_one_proof_and_only_to_a_right_one() -> None:
    acceptor = replace(ACCEPTOR, secrets=(NEW, OLD)).admission()
    answer = acceptor.receive_data(DIALLER.admission().begin(), is_end=True)
    assert answer
    assert len(answer) == 1 + PROOF_BYTES
    # The dialler takes one only: a list of guesses is none.
    dialler = replace(DIALLER, secrets=(NEW, OLD)).admission()
    guesses = answer[:1] + bytes(PROOF_BYTES) + answer[1:]
    assert refusal_of(dialler, guesses).close_code == CloseCode.PROTOCOL_VIOLATION


def test_proof_may_come_in_pieces_and_counts_at_its_end() -> None:
    proof = DIALLER.admission().begin()
    acceptor = ACCEPTOR.admission()
    for number in range(len(proof)):
        assert acceptor.receive_data(proof[number : number + 1], is_end=False) is None
    assert acceptor.receive_data(b"", is_end=True)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x01", b"\x01" + bytes(31), b"\x02" + bytes(32), b"\x01" + bytes(65), b"\0" * 129],
)
def test_what_is_no_proof_is_a_violation(data: bytes) -> None:
    assert refusal_of(ACCEPTOR.admission(), data).close_code == CloseCode.PROTOCOL_VIOLATION


def test_too_long_a_proof_is_not_waited_for() -> None:
    acceptor = ACCEPTOR.admission()
    assert acceptor.receive_data(b"\x01" + bytes(PROOFS_BYTES_MAX - 1), is_end=False) is None
    with pytest.raises(RemoteError, match="bytes"):
        acceptor.receive_data(b"\0", is_end=False)


@given(st.binary(max_size=PROOFS_BYTES_MAX + 10), st.booleans(), st.booleans())
def test_random_bytes_are_refused(data: bytes, is_dialler: bool, is_end: bool) -> None:
    admission = (DIALLER if is_dialler else ACCEPTOR).admission()
    code = None
    try:
        assert admission.receive_data(data, is_end=is_end) is None
        assert not is_end
    except RemoteError as error:
        code = error.close_code
    assert code in (None, CloseCode.PROTOCOL_VIOLATION, CloseCode.DIFFERENT_NETWORK)


@given(
    st.lists(st.sampled_from([OLD, NEW, OTHER, b"4" * 16, b"5" * 16]), max_size=SECRETS_MAX),
    st.lists(st.sampled_from([OLD, NEW, OTHER, b"4" * 16, b"5" * 16]), max_size=SECRETS_MAX),
)
def test_two_meet_if_and_only_if_they_share_a_key(here: list[bytes], there: list[bytes]) -> None:
    ends = replace(DIALLER, secrets=tuple(here)), replace(ACCEPTOR, secrets=tuple(there))
    if set(here) & set(there) or here == there == []:
        meet(*ends)
    else:
        with pytest.raises(RemoteError, match="different network"):
            meet(*ends)


def test_keys_are_not_shown_and_differ_for_each_purpose() -> None:
    keys = NetworkKeys(NetworkId("net"), [NEW, OLD, NEW])
    assert keys.has_secret
    assert not NetworkKeys(NetworkId("net")).has_secret
    [first, second] = keys.derive("one purpose")
    assert len({first, second, *keys.derive("another"), *keys.proof_keys}) == 6
    for shown in (repr(keys), str(keys)):
        assert "secret" not in shown
        assert first.hex()[:8] not in shown
    # An id and a secret are not the same as another id and another secret that read alike.
    assert bind_channel(b"ab", b"c") != bind_channel(b"a", b"bc")
