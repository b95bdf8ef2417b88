"""Who holds which singleton: the machine of the group that all its candidates are in.

Each name has a record: the token last given out, its holder, and a *doubt*. A candidate that
finds the name free claims it. One that finds the holder out of reach first puts a doubt into the
record; the holder, if it acts at all, takes the doubt away. A doubt that has stood for longer
than the holder's lease opens the name. The holder's lease runs from before a strong query
that found its token without a doubt, so when the wait began it cannot have got another one.

A *token* is a number below 2**63: a counter above 31 bits that the claimant draws. The counter
of a new one is higher than the last; and it is no less than the claimant's wall clock in
seconds, so that tokens go on rising when every node has lost the records.

Two histories of the group that began apart can both give out tokens. When they meet, the commands
of one are replayed into the other; so before a holder acts it has `Reassure` with its token put
into the log. Where that is applied and the record has a lower token, the token was given out in
another history: the name is *contested*. The record takes the higher token, nobody holds it
any more, and it opens when a lease has gone by.

Invariants:
    * The token of a record only rises. A claim is granted only if the name was free, or in
      the doubt that the claimant saw, when it was applied.
    * After a merge the token is no lower than any that somebody has acted with in either history.

Once three members vote, `trusted` names the history that they are in. Members that go on without
the voters (see "When all voters are gone" in the docs of groups) do so in a history of another
name; there nobody acts until three vote again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar, Final

import msgspec

from ..errors import DecodeError
from ..groups.machine.machine import ApplyContext, StateMachine

NAMES_MAX: Final = 4096
NAME_CHARACTERS_MAX: Final = 256
DRAWN_BITS: Final = 31
DRAWN_MAX: Final = (1 << DRAWN_BITS) - 1
# Leaves room for a million moves after the last second that fits.
SECONDS_MAX: Final = (1 << 32) - (1 << 20)
TOKEN_MAX: Final = (1 << 63) - 1

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_CHARACTERS_MAX)]
_Token = Annotated[int, msgspec.Meta(ge=0, le=TOKEN_MAX)]
_Drawn = Annotated[int, msgspec.Meta(ge=0, le=DRAWN_MAX)]
_Lease = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
_History = Annotated[bytes, msgspec.Meta(max_length=64)]


class SingletonHost(msgspec.Struct, frozen=True):
    """Where a singleton runs, or may: a node in one incarnation, and who takes messages there."""

    peer: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    incarnation: Annotated[bytes, msgspec.Meta(max_length=8)]
    number: Annotated[int, msgspec.Meta(ge=0, le=TOKEN_MAX)]


class Claim(msgspec.Struct, frozen=True, tag=True):
    """Be the holder.

    Attributes:
        name: Of what.
        host: Who claims.
        expected: The token of the record it has seen.
        doubt: The doubt of the record it has seen; 0 if the name is free.
        lease_s: For how long it will act without a word from the others.
        drawn: Makes the token unlike all others.
        wall_s: The claimant's wall clock, in seconds since the Unix epoch.
    """

    name: _Name
    host: SingletonHost
    expected: _Token
    doubt: _Drawn
    lease_s: _Lease
    drawn: _Drawn
    wall_s: Annotated[int, msgspec.Meta(ge=0, le=SECONDS_MAX)]

    @property
    def token(self) -> int:
        """The token that it asks for."""
        counter = max((self.expected >> DRAWN_BITS) + 1, self.wall_s)
        return min(counter << DRAWN_BITS | self.drawn, TOKEN_MAX)


class Doubt(msgspec.Struct, frozen=True, tag=True):
    """The holder of a token does not seem to be there any more."""

    name: _Name
    token: _Token
    drawn: _Drawn


class Reassure(msgspec.Struct, frozen=True, tag=True):
    """The holder of a token is there, and acts with it."""

    name: _Name
    token: _Token
    lease_s: _Lease


class Release(msgspec.Struct, frozen=True, tag=True):
    """The holder of a token acts no more."""

    name: _Name
    token: _Token


class Trust(msgspec.Struct, frozen=True, tag=True):
    """Three members vote in this history."""

    history: _History
    expected: _History


Command = Claim | Doubt | Reassure | Release | Trust


class NameRecord(msgspec.Struct, frozen=True):
    """What is known of one name.

    Attributes:
        token: The highest token given out; 0 for none.
        host: Who holds it; None when nobody does.
        doubt: Not 0 when somebody does not find the holder, or the name is contested.
        lease_s: For how long the holder acts without a word from the others.
    """

    token: _Token = 0
    host: SingletonHost | None = None
    doubt: _Drawn = 0
    lease_s: _Lease = 0.0


NOTHING: Final = NameRecord()


class _Snapshot(msgspec.Struct, frozen=True):
    trusted: _History
    records: Annotated[list[tuple[_Name, NameRecord]], msgspec.Meta(max_length=NAMES_MAX)]


class Claims(StateMachine[Command, str, NameRecord, bool]):
    """The records of all names. A command returns whether it was granted.

    Attributes:
        records: What is known, by name.
        trusted: The history in which three members vote; empty before there were three.
    """

    signature: str = "mosaik_actors.singletons.1"
    _decoder: ClassVar[msgspec.msgpack.Decoder[_Snapshot]] = msgspec.msgpack.Decoder(_Snapshot)

    def __init__(self) -> None:
        self.records: dict[str, NameRecord] = {}
        self.trusted = b""

    def apply(self, command: Command, ctx: ApplyContext) -> bool:
        """Change a record, if it is still what the command was made for."""
        if isinstance(command, Trust):
            is_granted = command.expected == self.trusted
            if is_granted:
                self.trusted = command.history
            return is_granted
        before = self.records.get(command.name, NOTHING)
        after = _changed(before, command)
        if after is None or (before is NOTHING and len(self.records) >= NAMES_MAX):
            return False
        self.records[command.name] = after
        return True

    def query(self, query: str) -> NameRecord:
        """Return the record of a name."""
        return self.records.get(query, NOTHING)

    def snapshot(self) -> Iterable[bytes]:
        """Return all of it, in one part."""
        return (msgspec.msgpack.encode(_Snapshot(self.trusted, sorted(self.records.items()))),)

    def restore(self, parts: Iterable[bytes]) -> None:
        """Take all of it in. Raises `DecodeError`."""
        try:
            found = self._decoder.decode(b"".join(parts))
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise DecodeError(f"no snapshot of singletons: {error}") from error
        self.trusted = found.trusted
        self.records = dict(found.records)


def _changed(before: NameRecord, command: Claim | Doubt | Reassure | Release) -> NameRecord | None:
    """Return the record after a command; None when it is not of what the record says now."""
    is_holders = before.host is not None and command.token == before.token
    match command:
        case Claim(host=host, expected=expected, doubt=doubt, lease_s=lease_s):
            is_open = before.doubt == doubt if before.doubt else before.host is None
            if is_open and expected == before.token < command.token:
                return NameRecord(command.token, host, 0, lease_s)
        case Doubt(drawn=drawn) if is_holders and not before.doubt:
            return NameRecord(before.token, before.host, drawn, before.lease_s)
        case Reassure(token=token, lease_s=lease_s) if token > before.token:
            return NameRecord(token, None, max(token & DRAWN_MAX, 1), max(lease_s, before.lease_s))
        case Reassure() if is_holders:
            return NameRecord(before.token, before.host, 0, before.lease_s)
        case Release() if is_holders:
            return NameRecord(before.token, None, 0, before.lease_s)
    return None
