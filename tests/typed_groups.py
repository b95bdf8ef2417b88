"""A user's typed program with a group: what strict type checkers know of it, and refuse.

Each line that is wrong says so; checkers complain about a remark that nothing deserves, so
this file passes only if every mistake in it is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_type

import msgspec

from mosaik_actors import ApplyContext, Group, Network, Position, QueryAnswer, StateMachine


class Deposit(msgspec.Struct, frozen=True, tag=True):
    """Put money into the account."""

    amount: int


class Withdraw(msgspec.Struct, frozen=True, tag=True):
    """Take money from it, if there is enough."""

    amount: int


class Balance(msgspec.Struct, frozen=True):
    """Ask how much there is."""


class Account(StateMachine[Deposit | Withdraw, Balance, int, bool]):
    """Says of each command whether it was carried out."""

    def __init__(self) -> None:
        self.balance = 0

    def apply(self, command: Deposit | Withdraw, ctx: ApplyContext) -> bool:
        """Carry a command out, or not."""
        amount = command.amount if isinstance(command, Deposit) else -command.amount
        if self.balance + amount < 0:
            return False
        self.balance += amount
        return True

    def query(self, query: Balance) -> int:
        """Return how much there is."""
        return self.balance


class Plain(StateMachine):
    """Without types in its head: anything goes."""

    Command = Deposit
    Result = int

    def apply(self, command: Deposit, ctx: ApplyContext) -> int:
        """Return what was put in."""
        return command.amount

    def query(self, query: None) -> int:
        """Return nothing in particular."""
        return 0


class Wrong(StateMachine[Deposit, Balance, int, bool]):
    """A machine that does not keep what its head says."""

    def apply(self, command: Withdraw, ctx: ApplyContext) -> bool:  # type: ignore[override]
        """Take another command."""
        return True

    def query(self, query: Balance) -> str:  # type: ignore[override]
        """Return another answer."""
        return ""


async def use(net: Network) -> None:
    """Use a group of this machine: what is right, then what is wrong."""
    group = net.groups.join("account", Account())
    assert_type(group, Group[Deposit | Withdraw, Balance, int, bool])
    position = await group.execute(Deposit(5))
    assert_type(position, Position[bool])
    assert_type(position.result, bool)
    assert position == 1
    many = await group.execute_many([Deposit(5), Withdraw(3)])
    assert_type(many, Sequence[Position[bool]])
    assert_type(await group.query(Balance()), QueryAnswer[int])
    await group.feed(Withdraw(1))
    await group.feed_many([Deposit(1)])

    await group.execute(5)  # type: ignore[arg-type]
    await group.execute(Balance())  # type: ignore[arg-type]
    await group.execute_many([Deposit(5), "5"])  # type: ignore[list-item]
    await group.feed(Balance())  # type: ignore[arg-type]
    await group.feed_many([Balance()])  # type: ignore[list-item]
    await group.query(Deposit(5))  # type: ignore[arg-type]
    text: str = (await group.query(Balance())).result  # type: ignore[assignment]
    other: str = position.result  # type: ignore[assignment]
    assert text != other


async def use_plain(net: Network) -> None:
    """Use a machine without types in its head, and none at all."""
    plain = net.groups.join("plain", Plain())
    assert_type(plain, Group[Any, Any, Any, Any])
    assert (await plain.execute(Deposit(5))).result == 5
    untyped: Group = net.groups.join("no machine at all")
    await untyped.when().online()
