"""The service as others see it: a deployment, of which every setting takes part in the identity."""

from __future__ import annotations

import os
from dataclasses import field

from mosaik_actors import (
    Cell,
    ConsensusConfig,
    Deployment,
    DeploymentConfig,
    GroupKey,
    Vec,
    collection,
    public,
    stream,
)

from .auction import Auction
from .messages import (
    Grant,
    Intent,
    Quote,
    RoundView,
    SealedQuote,
    Settlement,
    account_of,
    demo_key,
)
from .rules import Rules


class AuctionConfig(DeploymentConfig):
    """What all parties of an auction agree on.

    Attributes:
        rules: How it is held.
        grants: What accounts have at the beginning.
    """

    rules: Rules = field(default_factory=Rules)
    grants: tuple[Grant, ...] = ()
    consensus: ConsensusConfig = field(default_factory=lambda: ConsensusConfig(initial_voters=3))


class IntentAuction(Deployment[AuctionConfig]):
    """The public parts: three streams in, the settlements and the round out."""

    service = "examples.intents"

    intents = public(stream(Intent))
    quotes = public(stream(Quote))
    sealed = public(stream(SealedQuote))
    settlements = public(collection(Vec[Settlement], "settlements"))
    round = public(collection(Cell[RoundView], "round"))


def auctioneers_key(config: AuctionConfig, secret: str) -> GroupKey:
    """Return the key of the group that holds the auction: no public part, it takes the secret."""
    return GroupKey(bytes(IntentAuction.deployment_id(config).derive(f"auctioneers {secret}")))


def make_machine(config: AuctionConfig) -> Auction:
    """Return the state machine of an auction, as it is at the beginning."""
    domain = bytes(IntentAuction.deployment_id(config))
    return Auction(config.rules, config.grants, domain)


# The demo.

USDC = "nep141:usdc.near"
WRAP = "nep141:wrap.near"
WETH = "nep141:weth.near"
STNEAR = "nep141:stnear.near"

UNIT = {USDC: 10**6, WRAP: 10**24, WETH: 10**18, STNEAR: 10**24}
"""How many of the smallest units one of an asset has."""
USERS = ("alice", "bob", "carol")
SOLVERS = ("north", "south")
SECRET = "of the demo's auctioneers, and known to everybody"


def units(asset: str, amount: float) -> int:
    """Return an amount in the smallest unit of an asset."""
    return int(amount * 10**6) * (UNIT[asset] // 10**6)


def grant(name: str, **amounts: float) -> Grant:
    """Return what somebody in the demo has at the beginning."""
    assets = {"usdc": USDC, "wrap": WRAP, "weth": WETH, "stnear": STNEAR}
    given = tuple((assets[name], str(units(assets[name], n))) for name, n in amounts.items())
    return Grant(account_of(demo_key(name)), given)


def demo(*, window_s: float = 3.0, is_sealed: bool = False) -> AuctionConfig:
    """Return the configuration of the demo."""
    return AuctionConfig(
        name="examples.intents.demo",
        rules=Rules(window_ms=round(window_s * 1000), is_sealed=is_sealed),
        grants=(
            *(grant(name, usdc=50_000, wrap=10_000, weth=10) for name in USERS),
            *(grant(name, usdc=10**6, wrap=10**6, weth=1000, stnear=10**6) for name in SOLVERS),
        ),
    )


def demo_from_environment() -> AuctionConfig:
    """Return the demo's configuration, as INTENTS_WINDOW_S and INTENTS_SEALED change it."""
    return demo(
        window_s=float(os.environ.get("INTENTS_WINDOW_S", "3")),
        is_sealed=os.environ.get("INTENTS_SEALED", "") == "1",
    )


def intent_count() -> int:
    """Return how many intents the demo has: INTENTS_COUNT."""
    return int(os.environ.get("INTENTS_COUNT", "18"))
