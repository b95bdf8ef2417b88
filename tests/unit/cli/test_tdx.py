"""``mosaik-actors tdx``."""

from __future__ import annotations

from pathlib import Path

import pytest

from mosaik_actors.cli.main import main
from mosaik_actors.ids import SecretKey
from mosaik_actors.tee.simulated import SimulatedRoot, SimulatedTd
from tests.unit.tee.test_prediction import CODE, make_image, make_kernel
from tests.unit.tee.vectors import MRTD, NETWORK, NOW, PEER, make_ticket, real_quote

Captured = pytest.CaptureFixture[str]
AT = ("--at", "2023-11-14T22:13:20Z")  # NOW
TRUSTED = ("--simulated", "a seed")


@pytest.fixture
def ticket_file(tmp_path: Path) -> Path:
    path = tmp_path / "ticket"
    ticket = make_ticket(SimulatedTd(SimulatedRoot("a seed"), mrtd=MRTD))
    path.write_bytes(ticket.to_ticket().data)
    return path


def test_inspect_shows_a_ticket_and_says_that_it_is_unchecked(
    ticket_file: Path, capsys: Captured
) -> None:
    assert main(["tdx", "inspect", str(ticket_file)]) == 0
    text = capsys.readouterr().out
    for part in (str(PEER), str(NETWORK), MRTD, "version 4, TD 1.0", "never", "is checked"):
        assert part in text


def test_inspect_reads_digits_too(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "quote.hex"
    path.write_text(SimulatedTd(SimulatedRoot("s"), version=5).quote(bytes(64)).hex() + "\n")
    assert main(["tdx", "inspect", str(path)]) == 0
    assert "version 5, TD 1.5 report" in capsys.readouterr().out


def test_verify_accepts_loudly_what_is_simulated(ticket_file: Path, capsys: Captured) -> None:
    assert NOW == 1_700_000_000
    arguments = ["tdx", "verify", str(ticket_file), *AT, *TRUSTED, "--mrtd", MRTD]
    assert main(arguments) == 0
    assert "accepted, but SIMULATED" in capsys.readouterr().out
    assert main([*arguments, "--peer", str(PEER), "--network", str(NETWORK)]) == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "which is not trusted"),
        ([*TRUSTED, "--mrtd", "22" * 48], "its mrtd is"),
        ([*TRUSTED, "--peer", str(SecretKey.from_seed("x").peer_id)], "it is the ticket of"),
        ([*TRUSTED, "--network", "another"], "it is for the network"),
        ([*TRUSTED, "--peer", "x"], "a peer id has 64"),
    ],
)
def test_verify_says_why_not(
    ticket_file: Path, arguments: list[str], reason: str, capsys: Captured
) -> None:
    assert main(["tdx", "verify", str(ticket_file), *AT, *arguments]) == 1
    assert reason in capsys.readouterr().err


def test_verify_checks_a_real_quote_offline(tmp_path: Path, capsys: Captured) -> None:
    real = real_quote("tdx_quote")
    path = tmp_path / "quote"
    path.write_bytes(real.data)
    arguments = ["tdx", "verify", str(path), "--collateral", str(real.collateral_file)]
    assert main([*arguments, "--at", "2025-06-20T12:00:00Z"]) == 0
    assert capsys.readouterr().out.endswith("\naccepted\n")
    assert main(arguments) == 1
    assert "expired at 2025-07-19" in capsys.readouterr().err
    assert main([*arguments, "--peer", str(PEER)]) == 1
    assert "names no peer" in capsys.readouterr().err


def test_what_is_neither_quote_nor_ticket_is_refused(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "file"
    for data in (b"", b"text", bytes(200_000)):
        path.write_bytes(data)
        assert main(["tdx", "inspect", str(path)]) == 1
        assert "no quote" in capsys.readouterr().err


def test_measure_outside_says_why_it_cannot(capsys: Captured) -> None:
    assert main(["tdx", "measure"]) == 1
    assert "this is no trusted domain" in capsys.readouterr().err


def test_predict_works_out_what_the_files_decide(tmp_path: Path, capsys: Captured) -> None:
    files = {
        "firmware": make_image([(0, 4096, 0, 4096, 0, 1)], CODE),
        "kernel": make_kernel(),
        "initrd": b"files",
    }
    arguments = ["tdx", "predict", "--cmdline", "quiet"]
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        arguments += [f"--{name}", str(tmp_path / name)]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["mrtd", "rtmr1", "rtmr2"]
    assert all(len(line.split()[1]) == 96 for line in lines[:3])
    assert "TD HOB" in lines[3]
    assert main(["tdx", "predict"]) == 1
    assert main(["tdx", "predict", "--initrd", str(tmp_path / "initrd")]) == 1
    assert main(["tdx", "predict", "--kernel", str(tmp_path / "initrd")]) == 1
    assert "no PE file" in capsys.readouterr().err
