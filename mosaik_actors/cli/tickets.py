"""``mosaik-actors ticket``: make tickets that are tokens, look into them, and check them.

Keys come from files, or from environment variables as ``env:NAME``, never as an argument,
which every user of the machine could read in the list of processes. A token is no
secret, but it comes the same way, or through stdin as ``-``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from .failure import CommandFailed

if TYPE_CHECKING:
    from ..ids import PeerId
    from ..tickets.jwt import Jwt
    from . import Subparsers

ALGORITHMS = ("HS256", "HS384", "HS512", "ES256", "ES256K", "ES384", "ES512", "EdDSA")

_EPILOG = """\
examples:
  mosaik-actors key new node.key        # prints "peer", and the node's id behind it
  PEER=$(mosaik-actors key show node.key | cut -d' ' -f2)
  openssl ecparam -name prime256v1 -genkey -noout -out issuer.pem
  openssl ec -in issuer.pem -pubout -out issuer.pub
  mosaik-actors ticket new --key issuer.pem --alg ES256 --peer $PEER --issuer acme > node.ticket
  mosaik-actors ticket inspect node.ticket
  mosaik-actors ticket verify node.ticket --key issuer.pub --alg ES256 --peer $PEER --issuer acme

In a program, which has the same key:
  Network("my-app", secret_key=SecretKey.load_or_create("node.key"))
  net.discovery.add_ticket(Ticket(Jwt.class_id, Path("node.ticket").read_bytes().strip()))
"""


def add(subparsers: Subparsers) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "ticket",
        help="make, inspect and verify tickets",
        description="Make, inspect and verify tickets that are JSON Web Tokens.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    new = actions.add_parser("new", help="make a ticket for a peer, and print it")
    new.add_argument("--expires-in", type=float, default=3600.0, metavar="SECONDS",
                     help="how long it holds (default: 3600)")  # fmt: skip
    new.add_argument("--never-expires", action="store_true", help="it holds for ever")
    new.set_defaults(run=run_new)
    inspect = actions.add_parser("inspect", help="print what a ticket says, without a check")
    inspect.set_defaults(run=run_inspect)
    verify = actions.add_parser("verify", help="check a ticket as a node would")
    verify.add_argument("--allow-non-expiring", action="store_true",
                        help="accept one without an end")  # fmt: skip
    verify.set_defaults(run=run_verify)
    for action in (inspect, verify):
        action.add_argument("ticket", help="the file it is in, env:NAME, or - for stdin")
    for action in (new, verify):
        action.add_argument("--key", required=True, metavar="FILE",
                            help="the key, PEM or hexadecimal: a file or env:NAME")  # fmt: skip
        action.add_argument("--alg", required=True, choices=ALGORITHMS, help="its algorithm")
        action.add_argument("--peer", required=True, help="the peer id that it is for")
        action.add_argument("--issuer", help="who issues it")
        action.add_argument("--audience", action="append", help="for whom it is; may be repeated")
        action.add_argument("--claim", action="append", default=[], metavar="NAME=JSON",
                            help="what else it says; may be repeated")  # fmt: skip


def run_new(options: argparse.Namespace) -> int:
    """Make a ticket."""
    from ..tickets.jwt import JwtTicketBuilder
    from ..tickets.keys import SIGNING_KEYS

    builder = JwtTicketBuilder(
        SIGNING_KEYS[options.alg](_read(options.key, "key")),
        issuer=options.issuer,
        audience=options.audience,
        expires_in=None if options.never_expires else options.expires_in,
        claims=_claims(options.claim),
    )
    print(builder.build(_peer(options.peer)).data.decode())
    return 0


def run_inspect(options: argparse.Namespace) -> int:
    """Print what a ticket says."""
    from ..tickets.token import read_token

    data = _read(options.ticket, "ticket").encode()
    try:
        token = read_token(data)
    except _invalid_ticket() as exc:
        raise CommandFailed(f"it is not a token: {exc}") from exc
    print(json.dumps({"header": token.header, "claims": token.claims}, indent=2))
    for name, what in (("iat", "issued"), ("nbf", "begins"), ("exp", "expires")):
        if (value := token.claims.get(name)) is not None:
            print(f"{what:8} {_moment(value)}")
    print("not verified: anybody can write this", file=sys.stderr)
    return 0


def run_verify(options: argparse.Namespace) -> int:
    """Check a ticket."""
    validator = make_validator(
        options.key,
        options.alg,
        issuer=options.issuer,
        audiences=options.audience,
        claims=options.claim,
        allow_non_expiring=options.allow_non_expiring,
    )
    data = _read(options.ticket, "ticket").encode()
    try:
        expiration = validator.validate(data, _peer(options.peer))
    except _invalid_ticket() as exc:
        raise CommandFailed(f"not accepted: {exc}") from exc
    print(f"accepted, expires {expiration}")
    return 0


def make_validator(
    key: str,
    algorithm: str,
    *,
    issuer: str | None,
    audiences: list[str] | None,
    claims: list[str],
    allow_non_expiring: bool = False,
) -> Jwt:
    """Return what accepts the tokens that options describe. Raises `ConfigError`.

    Args:
        key: The file of the key that verifies them, or ``env:NAME``.
        algorithm: Its algorithm.
        issuer: Who has to issue them; None for anybody with the key.
        audiences: For one of whom they have to be; None for those that name nobody.
        claims: What else they have to say, each as ``NAME=JSON``.
        allow_non_expiring: Whether they may be without an end.
    """
    from ..tickets.jwt import Jwt
    from ..tickets.keys import VERIFYING_KEYS

    return Jwt(
        VERIFYING_KEYS[algorithm](_read(key, "key")),
        issuers=issuer or (),
        audiences=audiences or (),
        claims=_claims(claims),
        allow_non_expiring=allow_non_expiring,
    )


def _invalid_ticket() -> type[Exception]:
    from ..tickets.validator import InvalidTicket

    return InvalidTicket


def _read(source: str, what: str) -> str:
    """Return the text in a file, an environment variable or stdin, without space around it."""
    if source.startswith("env:"):
        name = source.removeprefix("env:")
        text = os.environ.get(name)
        if text is None:
            raise ConfigError(f"the environment has no {name} to take the {what} from")
        return text.strip()
    if source == "-":
        return sys.stdin.read().strip()
    try:
        return Path(source).read_text().strip()
    except UnicodeDecodeError:
        raise ConfigError(f"the {what} in {source} is not text, expected PEM or digits") from None


def _peer(text: str) -> PeerId:
    from ..ids import PeerId

    try:
        return PeerId(text)
    except (TypeError, ValueError) as exc:
        raise ConfigError(f"--peer: {exc}") from exc


def _claims(given: list[str]) -> dict[str, Any]:
    claims = {}
    for one in given:
        name, is_given, value = one.partition("=")
        try:
            claims[name] = json.loads(value)
        except ValueError:
            raise ConfigError(
                f"--claim {one}: expected NAME=JSON, such as level=3 or role='\"ops\"'"
            ) from None
        if not name or not is_given:
            raise ConfigError(f"--claim {one}: expected NAME=JSON")
    return claims


def _moment(value: object) -> str:
    from ..tickets.validator import Expiration

    try:
        return str(Expiration.at(value))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, OSError):
        return f"{value!r}, which is no moment"
