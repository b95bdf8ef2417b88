"""What travels: intents of users, quotes of solvers, settlements; and how they are signed.

An account is an Ed25519 public key in hexadecimal, as NEAR's implicit accounts are. Amounts are
texts of decimal digits, in the smallest unit of an asset: a token with 24 decimals does not
fit into 64 bits. What is signed begins with the deployment's identity, so a signature for one
auction is worth nothing in another one; the id of an intent or a quote is the hash of
what is signed, so the same one has the same id however often it is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

AMOUNT_MAX: Final = 2**127 - 1

Account = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Asset = Annotated[str, msgspec.Meta(pattern=r"^(nep141|nep171|nep245):[a-z0-9_.:-]{1,100}\Z")]
Signed = Annotated[str, msgspec.Meta(pattern=r"^-?[1-9][0-9]{0,38}\Z")]
Diff = Annotated[dict[Asset, Signed], msgspec.Meta(min_length=1, max_length=8)]
Id = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Bytes16 = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Signature = Annotated[bytes, msgspec.Meta(max_length=64)]
Moment = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Kind = Literal["token_diff", "transfer", "ft_withdraw", "native_withdraw"]

NATIVE: Final = "nep141:wrap.near"


class Intent(msgspec.Struct, frozen=True, tag=True):
    """What a user wants done with its balances.

    Attributes:
        signer: Whose balances.
        kind: ``token_diff`` is a trade, and needs a quote; the others do not.
        diff: The change of the signer's balances: negative is given, positive wanted at least.
        receiver: Who gets what a transfer gives, or where a withdrawal goes; else empty.
        deadline_ms: Until when it may be settled, in milliseconds since the epoch.
        nonce: Tells two alike apart.
        signature: Of all the rest.
    """

    signer: Account
    kind: Kind
    diff: Diff
    deadline_ms: Moment
    nonce: Bytes16
    receiver: Annotated[str, msgspec.Meta(max_length=64)] = ""
    signature: Signature = b""


class Quote(msgspec.Struct, frozen=True, tag=True):
    """What a solver would change in its own balances to settle an intent."""

    intent_id: Id
    solver: Account
    diff: Diff
    expires_ms: Moment
    nonce: Bytes16
    signature: Signature = b""


class SealedQuote(msgspec.Struct, frozen=True, tag=True):
    """A promise of a quote of which only the id is known until the window has ended."""

    intent_id: Id
    solver: Account
    quote_id: Id
    signature: Signature = b""


Submission = Intent | Quote | SealedQuote
S = TypeVar("S", bound=Submission)


class Leg(msgspec.Struct, frozen=True, array_like=True):
    """One account's part in a fill: the change of its balances."""

    account: str
    diff: dict[str, str]


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """What an account has at the beginning: amounts by asset."""

    account: str
    amounts: tuple[tuple[str, str], ...]


class Fill(msgspec.Struct, frozen=True):
    """One intent that was settled, with all that a chain would need to check it.

    Attributes:
        intent: The intent, with its signature.
        quote: The winning quote, with its signature; None where none is needed.
        legs: All changes; they sum to zero for each asset.
        quote_count: Among how many quotes it was chosen.
    """

    intent: Intent
    quote: Quote | None
    legs: tuple[Leg, ...]
    quote_count: int


class Settlement(msgspec.Struct, frozen=True):
    """What one round has settled, or given up.

    Attributes:
        number: 0, 1, 2...: who reads passes over a number that it has seen.
        round: The round.
        window_end_ms: When its window ended.
        fills: The settled intents.
        expired: Ids of intents that nobody settled in time.
    """

    number: int
    round: int
    window_end_ms: int
    fills: tuple[Fill, ...]
    expired: tuple[str, ...]


class RoundView(msgspec.Struct, frozen=True):
    """How the auction stands, for solvers and people.

    Attributes:
        round: The current round.
        phase: ``idle``, ``quotes`` or ``reveal``.
        window_end_ms: When its window ends, or ended.
        pending: How many intents wait.
        quotes: How many quotes there are for them, sealed ones included.
        refused: How many submissions were refused so far, by reason.
    """

    round: int
    phase: str
    window_end_ms: int
    pending: int
    quotes: int
    refused: dict[str, int]


def signing_bytes(message: Submission, domain: bytes) -> bytes:
    """Return what is signed: the deployment's id, the kind of message, each field in order."""
    fields: list[Any] = [type(message).__name__]
    for name in message.__struct_fields__:
        value = getattr(message, name)
        if name != "signature":
            fields.append(sorted(value.items()) if isinstance(value, dict) else value)
    return b"mosaik intents 1\n" + domain + msgspec.msgpack.encode(fields)


def message_id(message: Submission, domain: bytes) -> str:
    """Return the id of an intent or a quote in a deployment."""
    return blake3(signing_bytes(message, domain)).hexdigest()


def sign(message: S, key: Ed25519PrivateKey, domain: bytes) -> S:
    """Return the message with its signature."""
    return msgspec.structs.replace(message, signature=key.sign(signing_bytes(message, domain)))


def is_signed(message: Submission, domain: bytes) -> bool:
    """Return whether the account in the message has signed it, for this deployment."""
    account = message.signer if isinstance(message, Intent) else message.solver
    try:
        _public_key(account).verify(message.signature, signing_bytes(message, domain))
    except (InvalidSignature, ValueError):
        return False
    return True


@cache
def demo_key(name: str) -> Ed25519PrivateKey:
    """Return the key of somebody in the demo. Anybody can make it: no example for real money."""
    return Ed25519PrivateKey.from_private_bytes(blake3(f"intents {name}".encode()).digest())


def account_of(key: Ed25519PrivateKey) -> str:
    """Return the account of a key."""
    return key.public_key().public_bytes_raw().hex()


def as_amounts(diff: Mapping[str, str]) -> dict[str, int]:
    """Return a diff as numbers."""
    return {asset: int(text) for asset, text in diff.items()}


def as_texts(diff: Mapping[str, int]) -> dict[str, str]:
    """Return a diff as it travels."""
    return {asset: str(amount) for asset, amount in diff.items() if amount}


def _public_key(account: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(account))
