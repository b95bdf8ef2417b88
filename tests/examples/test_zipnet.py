"""The anonymous broadcast without a network: pads, slots, envelopes, the committee."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from dataclasses import replace
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zipnet.client import ABANDONED, MISSED, OPENED, Pending, Talker, write_receipt
from zipnet.committee import (
    Abandon,
    Close,
    Command,
    Committee,
    Conductor,
    Dismiss,
    Enlist,
    Member,
    Open,
    Patience,
    Rules,
    Unblind,
)
from zipnet.demo import make_config, server_key
from zipnet.folding import Fold, decode_set, encode_set, envelope_size, seal_envelope
from zipnet.pads import Blinder, Refused, Unblinder, agree, make_pad, xor
from zipnet.reader import OnceOnly
from zipnet.service import (
    RECEIPT_BYTES,
    Box,
    Broadcast,
    Envelope,
    Live,
    Plumbing,
    Zipnet,
    rules_of,
)
from zipnet.slots import Message, Opened, Shape, choose_slot, fill, open_slots

from mosaik_actors import ConfigError, ReceiptKey, SecretKey, seal
from mosaik_actors.codec import codec_for

CONTEXT = b"c" * 32
SHAPE = Shape(slots=4, message_bytes=16)


def key(name: str) -> ReceiptKey:
    return ReceiptKey(bytes(SecretKey.from_seed(f"zipnet test {name}")))


SERVERS = [key(f"server {index}") for index in range(3)]
SERVER_KEYS = [one.public for one in SERVERS]
CLIENTS = [key(f"client {index}") for index in range(6)]


def take_away(folded: bytes, round_: int, clients: Iterable[ReceiptKey], size: int) -> bytes:
    """Do what all servers do together."""
    keys = [one.public for one in clients]
    pads = [Unblinder(bytes(s), CONTEXT, 1).unblind(round_, keys, size) for s in SERVERS]
    return xor([folded, *pads], size)


# Pads.


def test_both_sides_agree_and_each_deployment_and_round_has_other_pads() -> None:
    one, other = CLIENTS[0], SERVERS[0]
    secret = agree(bytes(one), other.public, CONTEXT)
    assert secret == agree(bytes(other), one.public, CONTEXT)
    assert secret != agree(bytes(one), other.public, b"d" * 32)
    assert secret != agree(bytes(one), SERVERS[1].public, CONTEXT)
    assert len({make_pad(secret, round_, 100) for round_ in range(10)}) == 10
    with pytest.raises(Refused, match="no secret can be agreed"):
        agree(bytes(one), bytes(32), CONTEXT)  # all of its multiples are zero


def test_a_client_masks_once_in_each_round() -> None:
    blinder = Blinder(bytes(CLIENTS[0]), CONTEXT)
    blinder.blind(7, SERVER_KEYS, bytes(8))
    for round_ in (7, 6):
        with pytest.raises(Refused, match="its pads are used"):
            blinder.blind(round_, SERVER_KEYS, bytes(8))
    for servers in ([], [SERVER_KEYS[0]] * 2):
        with pytest.raises(Refused, match="servers"):
            blinder.blind(8, servers, bytes(8))
    blinder.blind(8, SERVER_KEYS, bytes(8))


def test_a_server_opens_one_set_in_each_round_also_after_a_restart() -> None:
    keys = [one.public for one in CLIENTS]
    server = Unblinder(bytes(SERVERS[0]), CONTEXT, minimum=3)
    pads = server.unblind(5, keys, 8)
    for again in (server, Unblinder(bytes(SERVERS[0]), CONTEXT, 3, server.opened)):
        assert again.unblind(5, keys, 8) == pads
        # One client less: the difference would be that client's pads.
        for round_, others in ((5, keys[1:]), (4, keys)):
            with pytest.raises(Refused, match="was opened for others, or is over"):
                again.unblind(round_, others, 8)
        with pytest.raises(Refused, match="2 participants, expected 3"):
            again.unblind(6, keys[:2], 8)
        with pytest.raises(Refused, match="counted twice"):
            again.unblind(6, [*keys, keys[0]], 8)


# Whole rounds.


@settings(max_examples=40, deadline=None)
@given(
    slots=st.integers(1, 12),
    said=st.lists(st.one_of(st.none(), st.binary(max_size=16)), min_size=1, max_size=6),
    round_=st.integers(1, 2**40),
)
def test_what_is_said_alone_in_a_slot_is_read_and_collisions_are_noticed(
    slots: int, said: list[bytes | None], round_: int
) -> None:
    shape = Shape(slots, 16)
    taking_part = CLIENTS[: len(said)]
    masked, by_slot = [], dict[int, list[Message]]()
    for index, (client, text) in enumerate(zip(taking_part, said, strict=True)):
        slot = choose_slot(bytes(client), round_, shape)
        message = None if text is None else Message(slot, index.to_bytes(8), text)
        if message is not None:
            by_slot.setdefault(slot, []).append(message)
        filled = fill(slot, message, round_, CONTEXT, shape)
        masked.append(Blinder(bytes(client), CONTEXT).blind(round_, SERVER_KEYS, filled))
    plain = take_away(xor(masked, shape.size), round_, taking_part, shape.size)
    opened = open_slots(plain, round_, CONTEXT, shape)
    assert list(opened.messages) == [by_slot[s][0] for s in sorted(by_slot) if len(by_slot[s]) == 1]
    assert list(opened.garbled) == [s for s in sorted(by_slot) if len(by_slot[s]) > 1]
    assert not opened.is_disrupted(len(said))
    # One envelope lost between the fold and the servers, or counted without being there.
    if len(said) > 1 and slots > 3:
        wrong = take_away(xor(masked[1:], shape.size), round_, taking_part, shape.size)
        assert open_slots(wrong, round_, CONTEXT, shape).is_disrupted(len(said))


def test_slots_of_other_rounds_deployments_and_sizes_are_garbled_or_refused() -> None:
    filled = fill(2, Message(2, bytes(8), b"hi"), 9, CONTEXT, SHAPE)
    assert open_slots(filled, 9, CONTEXT, SHAPE).messages == (Message(2, bytes(8), b"hi"),)
    moved = filled[SHAPE.slot_bytes :] + bytes(SHAPE.slot_bytes)
    cases = [(filled, 8, CONTEXT), (filled, 9, b"d" * 32), (moved, 9, CONTEXT)]
    for plain, round_, context in cases:
        opened = open_slots(plain, round_, context, SHAPE)
        assert (len(opened.messages), len(opened.garbled)) == (0, 1)
    with pytest.raises(Refused):
        open_slots(filled[1:], 9, CONTEXT, SHAPE)
    with pytest.raises(Refused, match="17 bytes, at most 16"):
        fill(0, Message(0, bytes(8), b"x" * 17), 9, CONTEXT, SHAPE)


# What the aggregator and any proper subset of the servers see.

GAMES = 400


class Masks:
    """Masks as clients do; the planted leaks differ in the pads of the last server."""

    def __init__(self) -> None:
        self._blinders = {one.public: Blinder(bytes(one), CONTEXT) for one in CLIENTS}
        self._last = {one.public: agree(bytes(one), SERVER_KEYS[-1], CONTEXT) for one in CLIENTS}

    def honest(self, client: ReceiptKey, round_: int, slots: bytes) -> bytes:
        return self._blinders[client.public].blind(round_, SERVER_KEYS, slots)

    def forgotten(self, client: ReceiptKey, round_: int, slots: bytes) -> bytes:
        """A planted leak: they are left out."""
        return self._blinders[client.public].blind(round_, SERVER_KEYS[:-1], slots)

    def repeated(self, client: ReceiptKey, round_: int, slots: bytes) -> bytes:
        """A planted leak: two rounds have the same ones."""
        again = make_pad(self._last[client.public], round_ - round_ % 2, len(slots))
        return xor([self.forgotten(client, round_, slots), again], len(slots))


def share_guessed(kind: str, colluding: tuple[int, ...], games: int = GAMES) -> float:
    """Return how often colluding servers and the aggregator find out who of two talks.

    In each game one of two clients talks for two rounds and the other one sends cover. From
    each envelope the servers take their own pads away. What they look for is structure: the
    zeros of cover, in what is left of each round and in what two rounds differ by. Who has
    fewer of them talks.
    """
    rng = Random(repr(colluding))
    mask = getattr(Masks(), kind)
    secrets = {
        (client, server): agree(bytes(SERVERS[server]), CLIENTS[client].public, CONTEXT)
        for client in range(2)
        for server in colluding
    }
    guessed = 0
    for game in range(games):
        talker = rng.randrange(2)
        zeros = []
        for client in range(2):
            views = []
            for round_ in (2 * game + 2, 2 * game + 3):
                slot = choose_slot(bytes(CLIENTS[client]), round_, SHAPE)
                said = Message(slot, rng.randbytes(8), rng.randbytes(16))
                said_now = said if client == talker else None
                slots = fill(slot, said_now, round_, CONTEXT, SHAPE)
                masked = mask(CLIENTS[client], round_, slots)
                assert len(masked) == SHAPE.size
                pads = [make_pad(secrets[client, s], round_, SHAPE.size) for s in colluding]
                views.append(xor([masked, *pads], SHAPE.size))
            views.append(xor(views, SHAPE.size))
            zeros.append(sum(view.count(0) for view in views))
        guess = rng.randrange(2) if zeros[0] == zeros[1] else zeros.index(min(zeros))
        guessed += guess == talker
    return guessed / games


@pytest.mark.parametrize(
    "colluding", [c for size in range(3) for c in itertools.combinations(range(3), size)]
)
def test_no_proper_subset_of_servers_with_the_aggregator_finds_who_talks(
    colluding: tuple[int, ...],
) -> None:
    """Four standard deviations around a coin."""
    assert 0.4 < share_guessed("honest", colluding) < 0.6


@pytest.mark.parametrize("leak", ["forgotten", "repeated"])
def test_the_same_distinguisher_finds_a_planted_leak(leak: str) -> None:
    assert share_guessed(leak, (0, 1), games=50) > 0.95


def test_all_servers_together_find_who_talks() -> None:
    """That is what any-trust means: one of them must be honest."""
    assert share_guessed("honest", (0, 1, 2), games=50) > 0.95


def test_talk_and_cover_have_one_size_everywhere() -> None:
    talker = SecretKey.from_seed("talker")
    sizes = set()
    for text in (None, b"", b"x" * 16):
        message = None if text is None else Message(1, bytes(8), text)
        masked = Masks().honest(CLIENTS[0], 5, fill(1, message, 5, CONTEXT, SHAPE))
        sizes.add(len(seal_envelope(talker, 5, masked, CONTEXT)))
    assert sizes == {envelope_size(SHAPE)}
    config = make_config(3)
    # Encoding checks that an item has its `WIRE_SIZE`.
    codec_for(Envelope).encode(Envelope(bytes(envelope_size(config.shape))))
    codec_for(Box).encode(Box(seal(b"x", to=key("x").public, size=RECEIPT_BYTES)))


# The aggregator.


def test_fold_takes_each_client_once_and_nobody_else() -> None:
    people = [SecretKey.from_seed(f"person {index}") for index in range(3)]
    ids = [bytes(one.peer_id) for one in people]
    fold = Fold(5, ids[:2], CONTEXT, SHAPE)
    masked = bytes([7]) * SHAPE.size
    good = seal_envelope(people[1], 5, masked, CONTEXT)
    cases = {
        "bytes": good[1:],
        "round 4": seal_envelope(people[1], 4, masked, CONTEXT),
        "takes no part": seal_envelope(people[2], 5, masked, CONTEXT),
        "not signed": ids[0] + good[32:],
        "has not signed": seal_envelope(people[1], 5, masked, b"another deployment"),
    }
    for reason, envelope in cases.items():
        with pytest.raises(Refused, match=reason):
            fold.receive_envelope(envelope)
    assert (fold.count, fold.participants, fold.folded) == (0, b"\0", bytes(SHAPE.size))
    fold.receive_envelope(good)
    with pytest.raises(Refused, match="a second envelope"):
        fold.receive_envelope(good)
    assert (fold.participants, fold.folded, fold.is_complete) == (b"\2", masked, False)


def test_sets_are_bits() -> None:
    for count in (0, 1, 8, 9, 50):
        for taken in (set[int](), set(range(count)), set(range(0, count, 3))):
            assert decode_set(encode_set(taken, count), count) == sorted(taken)
    for bits in (b"", b"\x04", b"\1\1"):
        with pytest.raises(Refused):
            decode_set(bits, 2)


def test_a_client_that_lies_about_its_pad_is_noticed_and_cannot_be_named() -> None:
    """All that the committee gets is the same whoever of the participants adds the noise."""
    noise = Random(3).randbytes(SHAPE.size)
    seen = set()
    for liar in range(3):
        masks = Masks()
        masked = [masks.honest(client, 5, bytes(SHAPE.size)) for client in CLIENTS[:3]]
        masked[liar] = xor([masked[liar], noise], SHAPE.size)
        folded = xor(masked, SHAPE.size)
        plain = take_away(folded, 5, CLIENTS[:3], SHAPE.size)
        assert open_slots(plain, 5, CONTEXT, SHAPE).is_disrupted(3)
        seen.add(folded)
    assert len(seen) == 1
    # What honest clients can do is within the bound: three of them, two in one slot.
    assert not Opened((Message(0, b"", b""),), (1,)).is_disrupted(3)
    assert Opened((Message(0, b"", b""),), (1,)).is_disrupted(2)


# The committee.

SERVER_IDS = [SecretKey.from_seed(f"id of server {index}") for index in range(2)]
CLIENT_IDS = [SecretKey.from_seed(f"id of client {index}") for index in range(5)]
RULES = Rules(CONTEXT, tuple(bytes(one.peer_id) for one in SERVER_IDS), SHAPE, 2, 4)


def member(identity: SecretKey, receipts: ReceiptKey, role: str) -> Member:
    unsigned = Member(role, bytes(identity.peer_id), receipts.public, b"")  # type: ignore[arg-type]
    signature = identity.sign(unsigned.signed(CONTEXT))
    return msgspec.structs.replace(unsigned, signature=signature)


ENLISTED = [Enlist(member(SERVER_IDS[i], SERVERS[i], "server")) for i in range(2)]
CLIENT = [Enlist(member(CLIENT_IDS[i], CLIENTS[i], "client")) for i in range(5)]


def apply(committee: Committee, *commands: Command) -> list[bool]:
    return [committee.apply(command, None) for command in commands]  # type: ignore[arg-type]


def make_committee(*commands: Command) -> Committee:
    committee = Committee(RULES)
    assert all(apply(committee, *ENLISTED, *CLIENT[:3], *commands))
    return committee


SUM, PADS = b"s" * SHAPE.size, b"p" * SHAPE.size
IDS = RULES.servers


def test_a_round_goes_from_open_over_closed_to_its_result() -> None:
    committee = make_committee(Open(1), Close(1, b"\3", SUM), Unblind(1, IDS[0], PADS))
    assert len(committee.state.participant_keys) == 2
    assert apply(committee, Unblind(1, IDS[1], SUM)) == [True]
    [result] = committee.state.results
    assert (result.plain, result.participants, len(result.roster)) == (PADS, b"\3", 3)
    assert committee.state.phase == "idle"
    assert apply(committee, Open(2), Abandon(2)) == [True, True]
    assert [one.plain for one in committee.state.results] == [PADS, b""]


def test_what_does_not_fit_changes_nothing() -> None:
    wrong: list[tuple[Committee, list[Command]]] = [
        (make_committee(), [Open(2), Close(0, b"\7", SUM), Abandon(0)]),
        (
            make_committee(Open(1)),
            [
                Open(2),
                Close(2, b"\7", SUM),
                Close(1, b"\1", SUM),  # fewer than two
                Close(1, b"\x0f", SUM),  # four of three
                Close(1, b"\7", SUM[1:]),
                Unblind(1, IDS[0], PADS),
                Abandon(0),
            ],
        ),
        (
            make_committee(Open(1), Close(1, b"\7", SUM), Unblind(1, IDS[0], PADS)),
            [
                Close(1, b"\3", SUM),  # the first one counts
                Unblind(1, IDS[0], SUM),
                Unblind(1, b"x" * 32, PADS),
                Unblind(1, IDS[1], PADS[1:]),
                Unblind(0, IDS[1], PADS),
            ],
        ),
    ]
    for committee, commands in wrong:
        before = list(committee.snapshot())
        for count, command in enumerate(commands, 1):
            assert apply(committee, command) == [False], command
            assert committee.state.refusals == count
        committee.state.refusals = 0
        assert list(committee.snapshot()) == before


def test_registries_take_who_signs_for_a_key_and_no_more_than_the_bound() -> None:
    committee = make_committee(CLIENT[3])
    stolen = Member("client", CLIENT[4].member.identity, CLIENTS[0].public, b"x" * 64)
    role = msgspec.structs.replace(CLIENT[4].member, role="server")
    foreign = member(CLIENT_IDS[4], CLIENTS[4], "server")
    for one in (stolen, role, foreign, CLIENT[4].member):  # the last one is the fifth of four
        assert apply(committee, Enlist(one)) == [False]
    assert apply(committee, Dismiss(CLIENT[0].member.identity), CLIENT[4]) == [True, True]
    # A client that begins anew has a new key: the old one's pads are not used again.
    again = member(CLIENT_IDS[4], key("new"), "client")
    assert apply(committee, Enlist(again)) == [True]
    assert committee.state.clients[again.identity].key == key("new").public


def test_a_late_client_takes_part_from_the_next_round_on() -> None:
    committee = make_committee(Open(1), CLIENT[3])
    assert len(committee.state.roster) == 3
    assert apply(committee, Abandon(1), Open(2)) == [True, True]
    assert len(committee.state.roster) == 4


def test_a_committee_is_restored_from_its_snapshot() -> None:
    committee = make_committee(Open(1), Close(1, b"\7", SUM), Unblind(1, IDS[0], PADS))
    other = Committee(RULES)
    other.restore(committee.snapshot())
    for one in (committee, other):
        apply(one, Unblind(1, IDS[1], SUM))
    assert other.state == committee.state


def test_whoever_leads_opens_rounds_and_gives_up_those_that_hang() -> None:
    conductor = Conductor(Patience(window_s=1.0, answer_s=2.0, pause_s=0.5))
    committee = Committee(RULES)
    assert conductor.next_command(committee, now=0.0) is None
    assert conductor.next_command(committee, now=9.0) is None  # nobody is there
    apply(committee, *ENLISTED, *CLIENT[:2])
    assert conductor.next_command(committee, now=9.0) == Open(1)
    apply(committee, Open(1))
    assert conductor.next_command(committee, now=10.0) is None
    assert conductor.get_timer(committee) == 13.0
    assert conductor.next_command(committee, now=12.9) is None
    assert conductor.next_command(committee, now=13.0) == Abandon(1)
    apply(committee, Close(1, b"\3", SUM))
    assert conductor.next_command(committee, now=13.0) is None
    assert conductor.next_command(committee, now=15.0) == Abandon(1)
    # A new leader begins to count when it first looks.
    assert Conductor(Patience(1.0, 2.0, 0.5)).next_command(committee, now=99.0) is None
    apply(committee, Abandon(1))
    assert conductor.next_command(committee, now=15.0) is None
    assert conductor.next_command(committee, now=15.5) == Open(2)


# A client's own account.


def make_live(round_: int) -> Live:
    servers = tuple(one.member for one in ENLISTED)
    return Live(round_, servers, (), IDS[0])


async def test_a_message_is_said_again_until_its_slot_is_clean() -> None:
    talker = Talker(CLIENTS[0], CONTEXT, SHAPE)
    done = asyncio.get_running_loop().create_future()
    talker.put(Pending(bytes(8), b"hello", done))

    def receipt(round_: int, outcome: int, clean: set[int], to: int = 0) -> int | None:
        text = write_receipt(round_, outcome, clean, SHAPE)
        box = seal(text, to=CLIENTS[to].public, size=RECEIPT_BYTES, context=CONTEXT)
        return talker.receive_box(box)

    def slot(round_: int) -> int:
        return choose_slot(bytes(CLIENTS[0]), round_, SHAPE)

    outcomes = [(MISSED, {0, 1, 2, 3}), (ABANDONED, set()), (OPENED, {(slot(3) + 1) % 4})]
    for round_, (outcome, clean) in enumerate(outcomes, 1):
        talker.mask(make_live(round_))
        assert receipt(round_, OPENED, {0, 1, 2, 3}, to=1) is None  # somebody else's
        assert receipt(round_, outcome, clean) == outcome
        assert not done.done()
    # The receipt of the next one is lost: after four rounds it is said again.
    for round_ in range(4, 9):
        talker.mask(make_live(round_))
    assert receipt(8, OPENED, {slot(8)}) == OPENED
    assert (done.result().round, done.result().attempts) == (8, 5)
    with pytest.raises(Refused, match="comes again"):
        talker.mask(make_live(8))
    with pytest.raises(Refused, match="17 bytes"):
        talker.put(Pending(bytes(8), b"x" * 17, done))
    assert talker.receive_box(b"rubbish") is None


# The service.


def test_the_public_surface_is_three_parts() -> None:
    assert sorted(Zipnet.parts) == ["read", "receipts", "submit"]


@pytest.mark.parametrize(
    "changed",
    [{"window_s": 2.0}, {"salt": b"other"}, {"participants_min": 4}, {"clients_max": 50},
     {"servers": (server_key(7).peer_id,)}, {"slots": 32, "message_bytes": 154}, {"version": 2}],
    ids=str,
)  # fmt: skip
def test_other_configurations_have_other_ids_keys_and_pads(changed: dict[str, object]) -> None:
    one = make_config(3)
    other = replace(one, **changed)  # type: ignore[arg-type]
    ids = [Zipnet.deployment_id(each) for each in (one, other)]
    assert ids[0] != ids[1]
    assert Plumbing.deployment_id(one) != Plumbing.deployment_id(other)
    secrets = {agree(bytes(CLIENTS[0]), SERVER_KEYS[0], bytes(each)) for each in ids}
    assert len(secrets) == 2


def test_configurations_that_make_no_sense_are_refused() -> None:
    one = make_config(3)
    for changed in ({"slots": 63}, {"participants_min": 1}, {"servers": ()}):
        with pytest.raises(ConfigError):
            replace(one, **changed)


def test_only_servers_open_rounds_and_publish() -> None:
    config = make_config(2)
    rules = rules_of(config)
    own = [server_key(index) for index in range(2)]

    def enlist(identity: SecretKey) -> Member:
        unsigned = Member("server", bytes(identity.peer_id), key("s").public, b"")
        signature = identity.sign(unsigned.signed(rules.context))
        return msgspec.structs.replace(unsigned, signature=signature)

    members = tuple(enlist(one) for one in own)
    me, stranger = own[0], SecretKey.from_seed("stranger")
    live = Live(1, members, (), bytes(me.peer_id))
    good = live.signed_by(me, rules.context)
    assert good.is_genuine(config.servers, rules.context)
    false = [
        live,
        live.signed_by(stranger, rules.context),
        msgspec.structs.replace(good, round=2),
        Live(1, members[:1], (), bytes(me.peer_id)).signed_by(me, rules.context),
        Live(1, (members[0], enlist(stranger)), (), bytes(me.peer_id)).signed_by(me, rules.context),
    ]
    assert not any(one.is_genuine(config.servers, rules.context) for one in false)

    once = OnceOnly(config)
    said = Broadcast(1, (Message(0, bytes(8), b"a"),), 0, 3, bytes(me.peer_id))
    assert once.receive_broadcast(said) == []
    assert once.receive_broadcast(said.signed_by(stranger, rules.context)) == []
    genuine = said.signed_by(me, rules.context)
    assert [one.text for one in once.receive_broadcast(genuine)] == [b"a"]
    assert once.receive_broadcast(genuine) == []  # two leaders have published it
    again = msgspec.structs.replace(said, round=2).signed_by(me, rules.context)
    assert once.receive_broadcast(again) == []  # said again: its receipt was lost
