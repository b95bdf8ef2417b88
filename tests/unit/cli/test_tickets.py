"""``mosaik-actors ticket``: from making one to refusing one."""

import argparse
import io
from pathlib import Path

import pytest

from mosaik_actors import (
    ConfigError,
    EdDsaSigningKey,
    InvalidTicket,
    JwtTicketBuilder,
    PeerId,
    SecretKey,
)
from mosaik_actors.cli import relay
from mosaik_actors.cli.main import main

PEER = str(SecretKey.from_seed("mine").peer_id)
OTHER = str(SecretKey.from_seed("another").peer_id)
SECRET_HEX = "ab" * 32


@pytest.fixture
def keys(tmp_path: Path) -> tuple[str, str]:
    private = EdDsaSigningKey(b"\5" * 32)
    (tmp_path / "private").write_text(private.pem)
    public = private._signing_key.public_key().public_bytes_raw().hex()
    (tmp_path / "public").write_text(public + "\n")
    return str(tmp_path / "private"), str(tmp_path / "public")


def relay_options(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    relay.add_ticket_options(parser)
    return parser.parse_args(options)


def test_a_relay_requires_the_tokens_that_its_options_describe(keys: tuple[str, str]) -> None:
    private, public = keys
    assert relay.required_ticket(relay_options()) == ()
    options = ("--ticket-key", public, "--ticket-alg", "EdDSA", "--ticket-issuer", "acme")
    [validator] = relay.required_ticket(relay_options(*options, "--ticket-claim", "level=3"))
    key, peer = EdDsaSigningKey(Path(private).read_text()), PeerId(PEER)
    good, poor = [
        JwtTicketBuilder(key, issuer="acme", expires_in=60, claims={"level": level}).build(peer)
        for level in (3, 2)
    ]
    assert not validator.validate(good.data, peer).is_never
    with pytest.raises(InvalidTicket, match="level"):
        validator.validate(poor.data, peer)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--ticket-key", "x"], "--ticket-alg is missing"),
        (["--ticket-alg", "EdDSA"], "--ticket-key is missing"),
        (["--ticket-issuer", "acme"], "--ticket-key is missing"),
        (["--ticket-claim", "level=3"], "--ticket-key is missing"),
    ],
)
def test_half_a_requirement_of_a_relay_is_none(options: list[str], text: str) -> None:
    """An operator who meant to close a relay must not have it open."""
    with pytest.raises(ConfigError, match=text):
        relay.required_ticket(relay_options(*options))


def test_a_ticket_is_made_inspected_and_verified(
    keys: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    private, public = keys
    shared = ["--alg", "EdDSA", "--peer", PEER, "--issuer", "acme", "--claim", "level=3"]
    assert main(["ticket", "new", "--key", private, *shared, "--audience", "a"]) == 0
    file = tmp_path / "ticket"
    file.write_text(capsys.readouterr().out)
    assert main(["ticket", "inspect", str(file)]) == 0
    shown = capsys.readouterr()
    assert '"level": 3' in shown.out
    assert "expires  20" in shown.out
    assert "not verified" in shown.err
    verify = ["ticket", "verify", str(file), "--key", public, "--audience", "a"]
    assert main([*verify, *shared]) == 0
    assert capsys.readouterr().out.startswith("accepted, expires 20")
    assert main([*verify, "--alg", "EdDSA", "--peer", OTHER]) == 1
    assert "about another peer" in capsys.readouterr().err
    assert main([*verify, *shared, "--claim", "level=4"]) == 1
    assert "'level'" in capsys.readouterr().err


def test_keys_and_tickets_come_from_the_environment_and_from_stdin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ISSUER_SECRET", SECRET_HEX)
    shared = ["--key", "env:ISSUER_SECRET", "--alg", "HS256", "--peer", PEER]
    assert main(["ticket", "new", *shared, "--never-expires"]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO(capsys.readouterr().out))
    assert main(["ticket", "verify", "-", *shared, "--allow-non-expiring"]) == 0
    assert capsys.readouterr().out == "accepted, expires never\n"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["new", "--key", "env:NOT_SET", "--alg", "HS256", "--peer", PEER], 2, "NOT_SET"),
        (["new", "--key", "missing", "--alg", "HS256", "--peer", PEER], 1, "missing"),
        (["new", "--key", "env:BAD", "--alg", "HS256", "--peer", PEER], 2, "expected 32"),
        (["new", "--key", "env:GOOD", "--alg", "HS256", "--peer", "me"], 2, "--peer"),
        (["new", "--key", "env:GOOD", "--alg", "HS256", "--peer", PEER, "--claim", "a"], 2, "JSON"),
        (["inspect", "env:GOOD"], 1, "not a token"),
    ],
)
def test_what_is_wrong_is_said_in_a_line_that_repeats_no_key(
    arguments: list[str],
    code: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GOOD", SECRET_HEX)
    monkeypatch.setenv("BAD", "abcd1234" * 4)
    assert main(["ticket", *arguments]) == code
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1
    assert SECRET_HEX not in error
    assert "abcd1234" not in error
