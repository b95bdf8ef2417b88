"""The core of the auction, driven with plain calls."""

from __future__ import annotations

from itertools import count
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from intents.auction import Auction
from intents.audit import Audit, Wrong
from intents.commands import (
    ClearRound,
    Digest,
    IsKnown,
    Outcome,
    Published,
    SubmitIntent,
    SubmitQuote,
    SubmitSealed,
    Supply,
    Unpublished,
    View,
)
from intents.inbox import Inbox
from intents.ledger import OUTSIDE, Ledger, Unbalanced
from intents.messages import (
    AMOUNT_MAX,
    Fill,
    Grant,
    Intent,
    Leg,
    Quote,
    SealedQuote,
    Settlement,
    account_of,
    demo_key,
    is_signed,
    message_id,
    sign,
)
from intents.rules import REPUTATION_MIN, UNFUNDED_LOSS, Rules
from intents.service import AuctionConfig, IntentAuction
from intents.table import COLUMNS, line, rows_of

from mosaik_actors import ApplyContext, GroupId, NetworkId

USDC, WRAP = "nep141:usdc.near", "nep141:wrap.near"
ALICE, BOB, NORTH, SOUTH, EAST = (
    demo_key(name) for name in ("alice", "bob", "north", "south", "east")
)
BIG = 10**27  # a thousand of a token with 24 decimals
GRANTS = (
    *(Grant(account_of(key), ((USDC, str(10**9)), (WRAP, str(2 * BIG)))) for key in (ALICE, BOB)),
    *(Grant(account_of(key), ((USDC, str(10**9)), (WRAP, str(9 * BIG)))) for key in (NORTH, SOUTH)),
)
DOMAIN = b"d" * 32
CONTEXT = ApplyContext(1, 1, 1, 1, GroupId("g"), NetworkId("n"))
NONCES = count()


class Bench:
    """An auction with a clock that the test moves."""

    def __init__(self, **rules: Any) -> None:
        self.auction = Auction(Rules(**{"window_ms": 3000, **rules}), GRANTS, DOMAIN)
        self.now_ms = 1_000_000

    def submit(self, message: Intent | Quote | SealedQuote, key: Any = None) -> str:
        """Sign a message, submit it, and return why it was refused."""
        if key is not None:
            message = sign(message, key, DOMAIN)
        kind: Any = {Intent: SubmitIntent, Quote: SubmitQuote}.get(type(message), SubmitSealed)
        return self.auction.apply(kind(message, self.now_ms), CONTEXT).reason

    def trade(self, key: Any = ALICE, give: int = 1000, want: int = BIG, **more: Any) -> Intent:
        """Submit an intent of USDC for wNEAR."""
        made = intent(key, {USDC: str(-give), WRAP: str(want)}, self.now_ms + 60_000, **more)
        assert self.submit(made) == ""
        return made

    def quote(self, key: Any, of: Intent, out: int, take: int = 1000, **more: Any) -> str:
        return self.submit(quote(key, of, out, take, **more))

    def clear(self, after_ms: int = 3001) -> list[Fill]:
        """Let the window end, clear the round and return what it has settled."""
        self.now_ms += after_ms
        before = self.auction.head.settlement_count
        cleared = ClearRound(self.auction.head.round, self.now_ms)
        assert self.auction.apply(cleared, CONTEXT) == Outcome()
        made: list[Settlement] = self.auction.query(Unpublished())
        return [fill for one in made if one.number >= before for fill in one.fills]


def intent(key: Any, diff: dict[str, str], deadline_ms: int, **more: Any) -> Intent:
    nonce = next(NONCES).to_bytes(16)
    fields: Any = {"kind": "token_diff", "deadline_ms": deadline_ms, "nonce": nonce, **more}
    return sign(Intent(signer=account_of(key), diff=diff, **fields), key, DOMAIN)


def quote(key: Any, of: Intent, out: int, take: int = 1000, **more: Any) -> Quote:
    fields: Any = {"expires_ms": of.deadline_ms, "nonce": next(NONCES).to_bytes(16), **more}
    diff = {USDC: str(take), WRAP: str(-out)}
    return sign(Quote(message_id(of, DOMAIN), account_of(key), diff, **fields), key, DOMAIN)


def seal(key: Any, of: Quote) -> SealedQuote:
    made = SealedQuote(of.intent_id, account_of(key), message_id(of, DOMAIN))
    return sign(made, key, DOMAIN)


# Rounds.


def test_the_best_quote_wins_and_balances_change_by_it() -> None:
    bench = Bench()
    made = bench.trade()
    assert bench.quote(NORTH, made, BIG + 1) == ""
    assert bench.quote(SOUTH, made, BIG + 7) == ""
    (fill,) = bench.clear()
    assert fill.quote is not None
    assert fill.quote.solver == account_of(SOUTH)
    assert fill.quote_count == 2
    balance = bench.auction.ledger.balance
    assert balance(account_of(ALICE), WRAP) == 3 * BIG + 7
    assert balance(account_of(ALICE), USDC) == 10**9 - 1000
    assert balance(account_of(SOUTH), USDC) == 10**9 + 1000


def test_of_equal_quotes_reputation_decides_then_age() -> None:
    bench = Bench()
    made = bench.trade()
    for key in (NORTH, SOUTH):
        assert bench.quote(key, made, BIG) == ""
    (fill,) = bench.clear()
    assert fill.quote is not None
    assert fill.quote.solver == account_of(NORTH)
    # Whoever has settled one is preferred now, though it comes last.
    made = bench.trade()
    for key in (SOUTH, NORTH):
        assert bench.quote(key, made, BIG) == ""
    (fill,) = bench.clear()
    assert fill.quote is not None
    assert fill.quote.solver == account_of(NORTH)


def test_a_round_is_cleared_once_and_only_after_its_window() -> None:
    bench = Bench()
    made = bench.trade()
    bench.quote(NORTH, made, BIG)
    end_ms = bench.auction.query(View()).window_end_ms
    assert end_ms == bench.now_ms + 3000

    def clear(number: int, at_ms: int) -> str:
        return bench.auction.apply(ClearRound(number, at_ms), CONTEXT).reason

    assert clear(1, end_ms) == "the window has not ended"
    # The clock never goes back, so another leader with a clock that is behind ends it no later.
    assert clear(1, end_ms + 1) == ""
    assert clear(1, end_ms + 2) == "another round"  # a second leader, of the same opinion
    assert clear(2, end_ms + 2) == "the window has not ended"  # nothing waits: it is idle
    assert len(bench.auction.query(Unpublished())) == 1
    assert bench.auction.phase == "idle"


def test_what_comes_after_the_window_counts_for_the_next_round() -> None:
    bench = Bench()
    made = bench.trade()
    bench.quote(NORTH, made, BIG)
    bench.now_ms += 3001
    late = bench.trade(BOB)
    assert bench.quote(SOUTH, made, BIG + 9) == ""
    assert bench.quote(SOUTH, late, BIG) == ""
    (fill,) = bench.clear(1)
    assert fill.quote is not None
    assert fill.quote.solver == account_of(NORTH)
    (fill,) = bench.clear()
    assert fill.intent == late


def test_quotes_for_what_was_not_settled_are_kept() -> None:
    bench = Bench()
    # Bob wants to give more than he has; later he has it, from Alice.
    made = intent(BOB, {USDC: str(-(10**9) - 500), WRAP: str(BIG)}, bench.now_ms + 60_000)
    assert bench.submit(made) == ""
    assert bench.quote(NORTH, made, BIG, take=10**9 + 500) == ""
    assert bench.clear() == []
    paid = intent(
        ALICE,
        {USDC: "-500"},
        bench.now_ms + 60_000,
        kind="transfer",
        receiver=account_of(BOB),
    )
    assert bench.submit(paid) == ""
    assert [fill.intent for fill in bench.clear()] == [paid]  # in order: Bob's came first
    (fill,) = bench.clear()
    assert (fill.intent, fill.quote_count) == (made, 1)
    assert bench.auction.query(View()).round == 4


def test_a_solver_that_cannot_pay_is_passed_over_and_loses_reputation() -> None:
    bench = Bench()
    intents = [bench.trade(want=4 * BIG, give=1000) for _ in range(4)]
    for made in intents:
        assert bench.quote(NORTH, made, 4 * BIG + 5) == ""  # it has 9, for the four of them
        assert bench.quote(SOUTH, made, 4 * BIG) == ""
    fills = bench.clear()
    solvers = [fill.quote.solver for fill in fills if fill.quote]
    assert solvers == [account_of(NORTH)] * 2 + [account_of(SOUTH)] * 2
    reputation = bench.auction.head.reputation[account_of(NORTH)]
    assert reputation == 100 + 2 - 2 * UNFUNDED_LOSS + 1  # and one back for the round
    # Below the limit it may not quote, until rounds have passed.
    bench.auction.head.reputation[account_of(NORTH)] = REPUTATION_MIN - 2
    made = bench.trade(want=10)
    assert bench.quote(NORTH, made, 10) == "low reputation"
    bench.clear()
    bench.clear()
    assert bench.quote(NORTH, made, 10) == ""


def test_what_is_not_wanted_expires() -> None:
    bench = Bench()
    made = bench.trade()
    bench.quote(NORTH, made, BIG, expires_ms=bench.now_ms + 100)
    assert bench.clear() == []  # the quote has expired
    assert bench.clear(60_000) == []
    (settlement,) = bench.auction.query(Unpublished())
    assert settlement.expired == (message_id(made, DOMAIN),)
    assert bench.submit(made) == "expired"
    assert bench.auction.query(Supply())[WRAP] == str(22 * BIG)


def test_withdrawals_and_transfers_need_no_quote() -> None:
    bench = Bench()
    deadline_ms = bench.now_ms + 60_000
    for diff, kind, receiver in (
        ({USDC: "-7"}, "ft_withdraw", "alice.near"),
        ({WRAP: str(-BIG)}, "native_withdraw", "alice.near"),
        ({USDC: "-5", WRAP: "-6"}, "transfer", account_of(EAST)),
    ):
        made = intent(ALICE, diff, deadline_ms, kind=kind, receiver=receiver)
        assert bench.submit(made) == ""
        assert bench.quote(NORTH, made, BIG) == "incompatible"
    assert len(bench.clear()) == 3
    balances = bench.auction.ledger.balances
    assert balances[OUTSIDE] == {USDC: 7, WRAP: BIG}
    assert balances[account_of(EAST)] == {USDC: 5, WRAP: 6}


# What is refused.


@pytest.mark.parametrize(
    ("diff", "more", "reason"),
    [
        ({USDC: "-1"}, {}, "a trade wants one asset, and gives others"),
        ({USDC: "1", WRAP: "1"}, {}, "a trade wants one asset, and gives others"),
        ({USDC: "-1", WRAP: "1"}, {"receiver": "x"}, "a trade has no receiver"),
        ({USDC: "-1", WRAP: str(AMOUNT_MAX + 1)}, {}, "amount too large"),
        ({USDC: "1"}, {"kind": "transfer"}, "a transfer only gives"),
        ({USDC: "-1"}, {"kind": "transfer", "receiver": "bob"}, "a transfer needs another account"),
        (
            {USDC: "-1"},
            {"kind": "transfer", "receiver": account_of(ALICE)},
            "a transfer needs another account",
        ),
        ({USDC: "-1"}, {"kind": "ft_withdraw"}, "a withdrawal needs a receiver"),
        (
            {USDC: "-1"},
            {"kind": "native_withdraw", "receiver": "x"},
            "a withdrawal is of one asset",
        ),
        ({USDC: "-1", WRAP: "1"}, {"deadline_ms": 1}, "expired"),
        ({USDC: "-1", WRAP: "1"}, {"deadline_ms": 2**50}, "deadline too far ahead"),
        ({USDC: "-1", WRAP: "1"}, {"signature": b"x"}, "bad signature"),
    ],
)
def test_intents_that_are_refused(diff: dict[str, str], more: dict[str, Any], reason: str) -> None:
    bench = Bench()
    made = intent(ALICE, diff, **{"deadline_ms": bench.now_ms + 1000, **more})
    if "signature" in more:
        made = msgspec.structs.replace(made, signature=more["signature"])
    assert bench.submit(made) == reason
    assert bench.auction.phase == "idle"
    assert bench.auction.query(View()).refused == {reason: 1}


def test_duplicates_strangers_and_floods_are_refused() -> None:
    bench = Bench(intents_per_round=3, quotes_per_round=4, pending_max=5)
    made = bench.trade()
    assert bench.submit(made) == "duplicate"
    stranger = intent(EAST, made.diff, bench.now_ms + 1000)
    assert bench.submit(stranger) == "unknown account"
    for _ in range(2):
        bench.trade()
    another = intent(ALICE, made.diff, bench.now_ms + 60_000)
    assert bench.submit(another) == "too many"
    for out in range(4):
        assert bench.quote(NORTH, made, BIG + out) == ""
    assert bench.quote(NORTH, made, BIG + 9) == "too many"
    assert bench.quote(SOUTH, made, BIG) == ""
    assert bench.quote(SOUTH, made, BIG) == "no better than the solver's other quote"
    # "Too many" passes with the round; what was refused for good is known.
    known = bench.auction.query(IsKnown((made, another, stranger)))
    assert known == [True, False, True]
    bench.clear()
    assert bench.submit(another) == ""
    # What is settled stays known until its deadline, and is forgotten after it.
    assert bench.submit(made) == "duplicate"
    assert bench.auction.finished
    bench.clear(60_000)
    bench.trade()
    bench.clear()
    assert message_id(made, DOMAIN) not in bench.auction.finished


def test_quotes_that_are_refused() -> None:
    bench = Bench()
    made = bench.trade()
    assert bench.quote(NORTH, made, BIG - 1) == "incompatible"  # less than was asked
    assert bench.quote(NORTH, made, BIG, take=1001) == "incompatible"  # takes more than is given
    assert bench.quote(NORTH, made, BIG, take=-1) == "incompatible"
    assert bench.quote(NORTH, made, BIG, expires_ms=1) == "expired"
    assert bench.quote(NORTH, made, 10 * BIG) == "not funded"
    assert bench.quote(EAST, made, BIG) == "not funded"
    forged = msgspec.structs.replace(quote(NORTH, made, BIG), solver=account_of(SOUTH))
    assert bench.submit(forged) == "bad signature"
    unknown = quote(NORTH, intent(ALICE, made.diff, bench.now_ms), BIG)
    assert bench.submit(unknown) == "unknown intent"
    assert bench.submit(seal(NORTH, quote(NORTH, made, BIG))) == "quotes are open"
    assert bench.auction.query(View()).quotes == 0


def test_a_signature_is_for_one_deployment() -> None:
    made = intent(ALICE, {USDC: "-1", WRAP: "1"}, 1)
    assert is_signed(made, DOMAIN)
    assert not is_signed(made, b"e" * 32)
    assert not is_signed(msgspec.structs.replace(made, deadline_ms=2), DOMAIN)


# Sealed quotes.


def test_sealed_quotes_are_opened_after_the_window() -> None:
    bench = Bench(is_sealed=True, reveal_ms=1000)
    made = bench.trade()
    north, south = quote(NORTH, made, BIG + 1), quote(SOUTH, made, BIG + 2)
    assert bench.submit(seal(NORTH, north)) == ""
    assert bench.submit(seal(NORTH, north)) == "duplicate"
    assert bench.submit(seal(SOUTH, south)) == ""
    assert bench.submit(north) == "not open yet"
    bench.now_ms += 3001
    assert bench.auction.apply(ClearRound(1, bench.now_ms), CONTEXT).reason
    assert bench.submit(quote(NORTH, made, BIG + 3)) == "not sealed before"
    assert bench.submit(north) == ""
    (fill,) = bench.clear(1001)
    assert fill.quote == north
    # South did not open the better one: it costs reputation.
    assert bench.auction.head.reputation[account_of(SOUTH)] == 71
    assert bench.submit(south) == "settled or expired"


# The replicated record.


def test_settlements_stay_until_they_are_published() -> None:
    bench = Bench(unpublished_max=2)
    for number in range(2):
        bench.quote(NORTH, bench.trade(want=1), 1)
        assert len(bench.clear()) == 1
        assert bench.auction.query(Unpublished())[-1].number == number
    bench.trade(want=1)
    bench.now_ms += 3001
    clear = ClearRound(3, bench.now_ms)
    assert bench.auction.apply(clear, CONTEXT).reason == "settlements wait to be published"
    bench.auction.apply(Published(1), CONTEXT)
    assert [one.number for one in bench.auction.query(Unpublished())] == [1]
    assert bench.auction.apply(clear, CONTEXT).reason == ""


def test_an_audit_finds_what_must_not_be() -> None:
    config = AuctionConfig(name="audited", grants=GRANTS)
    domain = bytes(IntentAuction.deployment_id(config))
    auction = Auction(config.rules, config.grants, domain)
    made = sign(intent(ALICE, {USDC: "-1000", WRAP: "5"}, 60_000), ALICE, domain)
    offer = Quote(
        message_id(made, domain), account_of(NORTH), {USDC: "1000", WRAP: "-6"}, 60_000, bytes(16)
    )
    offer = sign(offer, NORTH, domain)
    auction.apply(SubmitIntent(made, 1), CONTEXT)
    auction.apply(SubmitQuote(offer, 1), CONTEXT)
    auction.apply(ClearRound(1, 3002), CONTEXT)
    (good,) = auction.query(Unpublished())
    audit = Audit(config)
    assert audit.receive(good)
    assert not audit.receive(good)  # published twice, known by its number
    (fill,) = good.fills
    replace = msgspec.structs.replace
    legs = (fill.legs[0], Leg(fill.legs[1].account, {USDC: "1000", WRAP: "-5"}))
    poor = replace(offer, diff={USDC: "1000", WRAP: "-4"})
    for wrong, said in (
        (replace(fill, legs=legs), "the legs of"),
        (replace(fill, intent=replace(made, nonce=bytes(16))), "is not signed"),
        (replace(fill, quote=None), "without the quote"),
        (replace(fill, quote=replace(offer, nonce=b"x" * 16)), "is not signed for it"),
        (replace(fill, quote=sign(poor, NORTH, domain)), "does not give what was asked"),
    ):
        with pytest.raises(Wrong, match=said):
            Audit(config).receive(replace(good, fills=(wrong,)))
    with pytest.raises(Wrong, match="settled twice"):
        Audit(config).receive(replace(good, fills=(fill, fill)))
    with pytest.raises(Wrong, match="settlement 0 is missing"):
        Audit(config).receive(replace(good, number=1))
    # And people can read it.
    (row,) = rows_of(good)
    assert len(line(row)) <= len(line(COLUMNS)) + 20
    assert row[1:3] == ("alice", "token_diff")
    assert row[5:] == ("+20.00%", "north", "1")


def test_legs_that_do_not_sum_to_zero_are_refused() -> None:
    ledger = Ledger(GRANTS)
    with pytest.raises(Unbalanced, match=r"\{'nep141:usdc.near': 1\}"):
        ledger.why_not([Leg(account_of(ALICE), {USDC: "2"}), Leg(account_of(BOB), {USDC: "-1"})])
    legs = [Leg(account_of(ALICE), {USDC: "2"}), Leg(account_of(EAST), {USDC: "-2"})]
    assert ledger.why_not(legs) == account_of(EAST)
    with pytest.raises(ValueError, match="a grant of"):
        Ledger([Grant("a", ((USDC, str(AMOUNT_MAX + 1)),))])


# An inbox.


def test_a_follower_submits_what_the_leader_did_not() -> None:
    inbox = Inbox(grace_s=0.5, messages_max=2)
    made = [intent(ALICE, {USDC: "-1", WRAP: "1"}, 1) for _ in range(3)]
    inbox.receive("a", made[0], now=0, until=10, is_leader=True)
    inbox.receive("b", made[1], now=0, until=10, is_leader=False)
    inbox.receive("c", made[2], now=0, until=10, is_leader=False)
    assert inbox.dropped == 1
    assert inbox.due(9, now=0) == [("a", made[0])]
    inbox.settle(["a"])
    assert inbox.get_timer() == 0.5
    assert inbox.due(9, now=0.4) == []
    inbox.hurry(now=0.4)  # it leads now
    assert inbox.due(9, now=0.4) == [("b", made[1])]
    inbox.postpone(["b"], now=0.4)
    assert inbox.due(9, now=0.5) == []
    assert inbox.due(9, now=0.7) == [("b", made[1])]
    assert inbox.due(9, now=11) == []  # its time is over
    assert inbox.get_timer() is None


# Whatever comes.


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_whatever_is_submitted_supply_holds_and_nothing_is_settled_twice(
    seed: int, is_sealed: bool
) -> None:
    rng = Random(seed)
    bench = Bench(is_sealed=is_sealed, fills_per_round=3)
    supply = bench.auction.query(Supply())
    sent: list[Any] = []
    opened: list[Quote] = []
    published: list[Settlement] = []
    for _ in range(60):
        bench.now_ms += rng.choice((0, 1, 400, 3500))
        match rng.randrange(6):
            case 0 | 1:
                key = rng.choice((ALICE, BOB))
                diff = {USDC: str(-rng.randint(1, 4 * 10**8)), WRAP: str(rng.randint(1, BIG))}
                sent.append(intent(key, diff, bench.now_ms + rng.choice((0, 5000, 60_000))))
                bench.submit(sent[-1])
            case 2 if sent:
                made = rng.choice(sent)
                key, out = rng.choice((NORTH, SOUTH)), rng.randint(1, 2 * BIG)
                take = rng.choice((-int(made.diff[USDC]), rng.randint(1, 10**9)))
                offered = quote(key, made, out, take)
                opened.append(offered)
                bench.submit(seal(key, offered) if is_sealed else offered)
            case 3 if sent:
                bench.submit(rng.choice(sent))  # again
            case 4 if opened:
                bench.submit(rng.choice(opened))
            case 5:
                number = bench.auction.head.round - rng.randrange(2)
                bench.auction.apply(ClearRound(number, bench.now_ms), CONTEXT)
                made_now = bench.auction.query(Unpublished())
                published += [one for one in made_now if one.number >= len(published)]
                bench.auction.apply(Published(len(published)), CONTEXT)
        assert bench.auction.query(Supply()) == supply
        if rng.random() < 0.1:  # a member that joins with a snapshot goes on as the others
            other = Bench(is_sealed=is_sealed, fills_per_round=3).auction
            other.restore(bench.auction.snapshot())
            assert other.query(Digest()) == bench.auction.query(Digest())
            bench.auction = other
    over = [message_id(fill.intent, DOMAIN) for one in published for fill in one.fills]
    over += [number for one in published for number in one.expired]
    assert len(over) == len(set(over))
    balances = bench.auction.ledger.balances.values()
    assert all(amount > 0 for own in balances for amount in own.values())
    for one in published:
        for fill in one.fills:
            sums = [sum(int(leg.diff[asset]) for leg in fill.legs) for asset in (USDC, WRAP)]
            assert sums == [0, 0]
