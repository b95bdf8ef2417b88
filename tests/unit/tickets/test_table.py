"""The table of tickets: who holds a valid one, and until when."""

import time
from asyncio import CancelledError
from datetime import UTC, datetime
from math import inf
from typing import Any

import pytest

from mosaik_actors import (
    ConfigError,
    Es256SigningKey,
    Expiration,
    InvalidTicket,
    Jwt,
    JwtTicketBuilder,
    NetworkId,
    PeerId,
    SecretKey,
    Ticket,
    UniqueId,
    unique_id,
)
from mosaik_actors.clock import validating_at
from mosaik_actors.tickets.counts import REASONS
from mosaik_actors.tickets.requirement import TicketRequirement, as_validators
from mosaik_actors.tickets.table import DUE_MIN, GONE_MAX, Shown, TicketJob, TicketTable, do_jobs
from mosaik_actors.tickets.validator import ExpiredTicket, ValidatorFailed, find_valid
from mosaik_actors.tickets.wire import ShownTickets, decode_shown, encode_shown

NETWORK = NetworkId("n")
A, B = (SecretKey.from_seed(name).peer_id for name in "ab")


class Until:
    """Accepts what is a number: until that moment; ``not before:number`` from then on."""

    class_id = unique_id("test.until")

    def __init__(self, name: str = "v1") -> None:
        self.signature = unique_id(name)
        self.asked: list[bytes] = []

    def validate(self, data: bytes, peer: Any) -> Expiration:
        self.asked.append(data)
        if data == b"never":
            return Expiration.NEVER
        if data.startswith(b"from "):
            raise InvalidTicket("not yet", float(data[5:]))
        if data == b"late":
            return Expiration.at(500)
        if not data.isdigit():
            raise InvalidTicket("not a number")
        return Expiration.at(float(data))


def ticket(data: str) -> Ticket:
    return Ticket(Until.class_id, data.encode())


class Node:
    """A table, and a validator that answers when it is let."""

    def __init__(self) -> None:
        self.table = TicketTable()
        self.until = Until()
        self.now = 0.0
        self.version = 0
        self.requirement = TicketRequirement([self.until], self.table, lambda: self.now)

    def show(self, peer: PeerId, *tickets: str, version: int | None = None) -> None:
        self.version += 1
        shown = Shown(
            peer, NETWORK, (1, version or self.version), tuple(ticket(one) for one in tickets)
        )
        self.table.receive_peer(shown, now=self.now)

    def answer(self) -> tuple[PeerId, ...]:
        while jobs := self.table.take_jobs(2):
            self.table.receive_answers(jobs, do_jobs(jobs, self.now), took_s=0.5, now=self.now)
        return self.table.take_changed()

    def pass_time(self, now: float) -> tuple[PeerId, ...]:
        self.now = now
        self.table.handle_timer(now=now)
        return self.answer()

    def why_not(self, peer: PeerId = A) -> str | None:
        return self.requirement.why_not(peer)


def test_a_peer_is_allowed_until_its_ticket_ends() -> None:
    node = Node()
    assert node.requirement.judge_id(A).is_awaited
    node.show(A, "100")
    assert "not been validated" in str(node.why_not())
    assert node.answer() == (A,)
    assert node.why_not() is None
    assert node.table.get_timer() == 100
    node.now = 99.999
    assert node.why_not() is None
    assert node.pass_time(100) == (A,)
    assert "expired" in str(node.why_not())
    assert node.table.get_timer() is None


def test_what_became_of_tickets_is_counted_by_few_reasons() -> None:
    node = Node()
    node.now = 10.0
    node.show(A, "100", "never")
    node.show(B, "5", "from 50", "no number at all", "1e999", "70")
    assert node.table.awaited_count == 7
    assert node.table.valid_until(now=10.0) == []
    node.answer()
    assert node.table.awaited_count == 0
    assert sorted(node.table.valid_until(now=10.0)) == [70, inf]
    counts = node.table.counts
    assert counts.accepted == 3
    assert counts.refused == {
        "expired": 1, "not yet valid": 1, "not accepted": 2, "validator failed": 0
    }  # fmt: skip
    assert counts.seconds == 0.5 * 4  # two at a time
    # Reasons are texts of validators; what is counted is which kind it was.
    counts.add([ExpiredTicket("a"), ValidatorFailed("b"), InvalidTicket("c")], took_s=0.0, now=10.0)
    assert list(counts.refused.values()) == [2, 1, 1, 3]
    assert tuple(counts.refused) == REASONS
    node.now = 70.0
    assert node.table.valid_until(now=70.0) == [inf]


def test_nothing_is_asked_twice() -> None:
    node = Node()
    for _ in range(3):
        node.show(A, "100", "200")
        node.answer()
    node.show(A, "200")
    node.show(A, "200", "nonsense")
    node.answer()
    node.show(A, "nonsense")
    node.answer()
    assert node.until.asked == [b"100", b"200", b"nonsense"]
    assert node.why_not() == "not a number"


def test_the_ticket_that_holds_longest_counts() -> None:
    node = Node()
    node.show(A, "100", "nonsense", "300", "200")
    node.answer()
    assert node.table.get_timer() == 300
    node.show(A, "never", "300")
    node.answer()
    assert node.table.get_timer() is None
    assert node.requirement.judge_id(A).until == inf


def test_an_old_ticket_counts_until_the_new_one_is_validated_but_no_longer() -> None:
    node = Node()
    node.show(A, "100")
    node.answer()
    node.show(A, "200")  # nobody has looked at it yet
    assert node.table.take_changed() == ()
    assert node.why_not() is None
    node.now = 100
    node.table.handle_timer(now=100)
    assert node.table.take_changed() == (A,)
    assert node.why_not() is not None
    assert node.answer() == (A,)
    assert node.why_not() is None


def test_a_ticket_taken_back_is_gone_at_once() -> None:
    node = Node()
    node.show(A, "100")
    node.answer()
    node.show(A)
    assert node.table.take_changed() == (A,)
    assert node.why_not() == "it shows no ticket of the class that is required"


def test_one_that_is_not_valid_yet_is_asked_about_again() -> None:
    node = Node()
    node.show(A, "from 50")
    node.answer()
    assert node.why_not() == "not yet"
    assert node.table.get_timer() == 50
    node.pass_time(50)
    assert node.until.asked == [b"from 50", b"from 50"]
    assert node.table.get_timer() is None  # it says the same: that is all
    assert node.why_not() == "not yet"


def test_older_entries_are_ignored() -> None:
    node = Node()
    node.show(A, "100", version=7)
    node.answer()
    node.show(A, version=6)
    assert node.why_not() is None
    node.show(A, version=8)
    assert node.why_not() is not None


def test_the_catalog_knows_better_than_its_past() -> None:
    """An entry dated too late, by a clock that was wrong, gives way to an older one."""
    node = Node()
    for version, text in ((9, "100"), (5, "200")):
        shown = Info(Shown(A, NETWORK, (1, version), (ticket(text),)))
        node.table.receive_peers({A: shown}, now=0)
        node.answer()
    assert node.requirement.judge_id(A).until == 200
    node.table.receive_peer(Shown(A, NETWORK, (1, 7), (ticket("300"),)), now=0)
    node.answer()
    node.table.receive_peers({A: Info(Shown(A, NETWORK, (1, 6), ()))}, now=0)
    assert node.requirement.judge_id(A).until == 300


class Info:
    """What a catalog shows of a peer."""

    def __init__(self, shown: Shown) -> None:
        self.peer_id, self.network_id = shown.peer_id, shown.network_id
        self.version, self.tickets = shown.version, shown.tickets


def test_who_shows_others_again_and_again_has_few_waiting() -> None:
    node = Node()
    for start in range(0, 3200, 32):
        node.show(A, *(str(1000 + start + number) for number in range(32)))
    node.answer()
    assert node.until.asked == [b"%d" % number for number in range(4192, 4200)]


def test_whoever_is_gone_leaves_nothing_behind() -> None:
    """Not even the timers of its tickets, however often it comes and goes."""
    node = Node()
    for _ in range(3 * DUE_MIN):
        node.show(A, "900")
        node.answer()
        assert node.why_not() is None
        node.table.receive_end(A)
        node.table.receive_end(A)
        assert node.why_not() is not None
    assert len(node.table._due) <= 2 * DUE_MIN
    assert node.table.get_timer() is None


def test_a_validators_odd_moments_do_no_harm() -> None:
    for odd in (float("inf"), 1e300, -1e300):
        assert str(Expiration.at(odd))
    for wrong in ("soon", True, [1], float("nan")):
        with pytest.raises((TypeError, ValueError)):
            Expiration(wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="time zone"):
        Expiration.at(datetime(2030, 1, 1))
    at = datetime(2030, 1, 1, tzinfo=UTC)
    assert InvalidTicket("x", at).valid_from == at.timestamp()
    assert Expiration.at(at).moment == at


def test_who_left_the_catalog_keeps_what_holds_for_so_long() -> None:
    node = Node()
    infos = {
        peer: Shown(peer, NETWORK, (1, 1), (ticket(text),)) for peer, text in ((A, "100"), (B, "x"))
    }
    node.table.receive_peers(infos, now=0)
    node.answer()
    node.table.receive_peers({}, now=1)
    assert node.why_not(A) is None
    assert node.requirement.judge_id(B).is_awaited  # forgotten
    assert node.pass_time(100) == (A,)
    assert "expired" in str(node.why_not(A))
    assert node.requirement.excludes(A)
    assert not node.requirement.excludes(B)


def test_no_more_than_some_of_those_who_left_are_remembered() -> None:
    node = Node()
    peers = [PeerId(bytes([5]) * 28 + number.to_bytes(4)) for number in range(GONE_MAX + 10)]
    shown = {one: Shown(one, NETWORK, (1, 1), (ticket("100"),)) for one in peers}
    node.table.receive_peers(shown, now=0)
    node.answer()
    node.table.receive_peers({}, now=1)
    assert len(node.table._shown) == GONE_MAX


def test_a_released_validator_is_forgotten() -> None:
    node = Node()
    node.show(A, "100")
    second = TicketRequirement([node.until], node.table, lambda: node.now)
    node.answer()
    second.release()
    assert node.why_not() is None
    node.requirement.release()
    assert node.requirement.judge_id(A).is_awaited
    assert node.table.get_timer() is None


def test_all_validators_are_required() -> None:
    node = Node()
    second = Until("v2")
    both = TicketRequirement([node.until, second], node.table, lambda: node.now)
    node.show(A, "100")
    node.answer()
    assert both.judge_id(A).until == 100
    assert both.why_not(A) is None
    assert second.asked == [b"100"]


def test_what_is_required_is_read_strictly() -> None:
    one, other = Until("1"), Until("2")
    assert as_validators(one) == (one,)
    assert as_validators([one, other, Until("1")])[1:] == (other,)
    assert as_validators(iter([one])) == (one,)
    assert as_validators(()) == ()
    for wrong in (None, "name", 5, Until, [Until], [None], object()):
        with pytest.raises(ConfigError, match="require_ticket"):
            as_validators(wrong)
    with pytest.raises(ConfigError, match="at most 16"):
        as_validators(Until(str(number)) for number in range(17))
    nameless: Any = Until("3")
    nameless.signature = 5
    with pytest.raises(ConfigError, match="no class_id or signature"):
        as_validators(nameless)


class _Panic(BaseException):
    """As what a panic in a library written in Rust raises: no `Exception`."""


@pytest.mark.parametrize("error", [ValueError("x"), _Panic("x"), SystemExit(1), CancelledError()])
def test_whatever_a_validator_raises_refuses_that_ticket_only(error: BaseException) -> None:
    class Odd(Until):
        def validate(self, data: bytes, peer: Any) -> Expiration:
            if data == b"odd":
                raise error
            return super().validate(data, peer)

    holder = Shown(A, NETWORK, (1, 1), ())
    validator = Odd()
    jobs = [
        TicketJob(validator, validator.signature, one, holder, A)
        for one in map(ticket, ("odd", "5"))
    ]
    refused, accepted = do_jobs(jobs, 0)
    assert isinstance(refused, InvalidTicket)
    assert "the validator failed" in refused.reason
    assert accepted == Expiration.at(5)


def test_who_interrupts_the_program_is_not_held_up_by_a_validator() -> None:
    class Interrupted(Until):
        def validate(self, data: bytes, peer: Any) -> Expiration:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_valid(Interrupted(), [ticket("1")], Shown(A, NETWORK, (1, 1), ()))


def test_an_end_that_is_no_number_is_refused() -> None:
    """Nothing is later than nan, so a ticket would hold for ever."""

    class Odd(Until):
        def validate(self, data: bytes, peer: Any) -> Expiration:
            return Expiration.at(float("nan"))

    with pytest.raises(InvalidTicket, match="the validator failed: ConfigError"):
        find_valid(Odd(), [ticket("1")], Shown(A, NETWORK, (1, 1), ()))


def test_a_validator_that_answers_nonsense_refuses() -> None:
    class Odd(Until):
        def validate(self, data: bytes, peer: Any) -> Any:
            return True

    with pytest.raises(InvalidTicket, match="no Expiration"):
        find_valid(Odd(), [ticket("1")], Shown(A, NETWORK, (1, 1), ()))
    with validating_at(0):
        holder = Shown(A, NETWORK, (1, 1), ())
        found = find_valid(Until(), [ticket("x"), ticket("5"), ticket("7")], holder)
        assert found == Expiration.at(7)
        with pytest.raises(InvalidTicket, match="no ticket"):
            find_valid(Until(), [], holder)
    with validating_at(5), pytest.raises(InvalidTicket, match="expired at"):
        find_valid(Until(), [ticket("5")], holder)


def test_what_is_shown_survives_the_wire() -> None:
    shown = ShownTickets((1, 2), (ticket("1"), Ticket(UniqueId("other"), b"\0" * 32_768)))
    assert decode_shown(encode_shown(shown)) == shown


def test_a_catalog_of_a_thousand_peers_costs_nothing_while_it_stays_the_same() -> None:
    """And half a second of a thread when it is new; that is the benchmark's to say."""
    key = Es256SigningKey(b"\5" * 32)
    builder, peers = JwtTicketBuilder(key), {}
    for number in range(1000):
        peer = PeerId(bytes([9]) * 28 + number.to_bytes(4))
        tickets = (builder.build(peer),) if number < 20 else ()
        peers[peer] = Shown(peer, NETWORK, (1, 1), tickets)
    table, now = TicketTable(), time.time()
    requirement = TicketRequirement([Jwt(key.verifying_key)], table, time.time)
    table.receive_peers(peers, now=now)
    jobs = table.take_jobs(2000)
    assert len(jobs) == 20
    table.receive_answers(jobs, do_jobs(jobs, now), took_s=0.1, now=now)
    assert sum(requirement.why_not(peer) is None for peer in peers) == 20
    assert len(table.take_changed()) == 1000
    for _ in range(100):
        table.receive_peers(dict(peers), now=now)
    assert table.take_jobs(2000) == []
    assert table.take_changed() == ()
