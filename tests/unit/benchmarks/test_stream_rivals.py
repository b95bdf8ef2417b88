"""What users would pick instead of streams, as the benchmark measures it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks import carriers, stream_rivals
from benchmarks.rival_clients import zenoh_settings
from benchmarks.stream_rivals import MODES, RIVALS, Contender, Meter, Rival, messages

ZENOH = RIVALS[0]


@pytest.mark.parametrize(("mode", "count"), [("plain", 5), ("many", 1024), ("large", 3)])
def test_a_meter_counts_what_the_messages_carry(mode: str, count: int) -> None:
    meter = Meter(mode)
    sent = list(messages(mode, count))
    assert [meter.take(data) for data in sent] == [*[False] * (len(sent) - 1), True]
    assert meter.report(count)["lost"] == 0
    assert meter.report(count)["rate"] > 0


def test_a_meter_counts_what_did_not_arrive() -> None:
    meter = Meter("plain")
    first, second, *_, last = messages("plain", 10)
    assert [meter.take(data) for data in (first, second, last)] == [False, False, True]
    assert meter.report(10)["lost"] == 8


def test_nothing_that_arrives_is_a_rate_of_zero() -> None:
    meter = Meter("plain")
    assert meter.take(b"")
    assert meter.report(10)["rate"] == 0.0
    assert meter.report(10)["lost"] == 10


def test_a_meter_decodes() -> None:
    with pytest.raises(msgspec.DecodeError):
        Meter("plain").take(b"\xc1")


@pytest.mark.parametrize("carrier", ["tls", "quic", "unixsock-stream"])
@pytest.mark.parametrize("listens", [True, False])
def test_zenoh_looks_for_nobody_and_stays_on_loopback(
    carrier: str, listens: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(carriers._FOLDER, str(tmp_path))
    options = {"carrier": carrier, "port": 4711, "shared_memory": False}
    settings = zenoh_settings(options, listens=listens)
    assert settings["scouting/multicast/enabled"] is False
    assert settings["scouting/gossip/enabled"] is False
    used, unused = "listen/endpoints", "connect/endpoints"
    if not listens:
        used, unused = unused, used
    [endpoint] = settings[used]
    assert settings[unused] == []
    where = f"{tmp_path}/zenoh-4711" if carrier == "unixsock-stream" else "127.0.0.1:4711"
    assert endpoint == f"{carrier}/{where}"
    assert settings["transport/link/tls"]["enable_mtls"] is True
    assert settings["transport/shared_memory/enabled"] is False


def test_servers_listen_on_loopback_and_drop_nothing(tmp_path: Path) -> None:
    redis = stream_rivals.server_settings("redis-server", 1, tmp_path)
    assert redis[:4] == ["--bind", "127.0.0.1", "--port", "1"]
    assert redis[-2:] == ["--client-output-buffer-limit", "pubsub 0 0 0"]
    [_, file] = stream_rivals.server_settings("nats-server", 2, tmp_path)
    lines = Path(file).read_text().splitlines()
    assert lines[:2] == ['host: "127.0.0.1"', "port: 2"]
    assert "max_pending: 4000000000" in lines


def test_what_is_not_installed_is_left_out_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    absent = Rival("absent", "tcp", {}, "no_such_module")
    assert stream_rivals.measure(quick=True, rivals=[absent]) == []
    assert "[absent: no_such_module is not installed]" in capsys.readouterr().out
    without = Rival("without its server", "tcp", {}, "json", "no-such-program")
    assert without.missing == "no-such-program"


def figures(name: str, **found: float) -> Contender:
    def never(mode: str, count: int) -> dict[str, float]:
        raise AssertionError

    made = Contender(name, "tcp", True, never)
    made.found = {key: [value, value, 1e9] for key, value in found.items()}
    return made


def test_ours_is_held_to_what_the_rival_is_named_for() -> None:
    ours = figures("ours", plain=1, many=2, large=900, trip=200)
    theirs = figures("zenoh", plain=3, many=1, large=700, trip=150)
    rows = stream_rivals._compare(ours, theirs, ZENOH, quick=False)
    assert [row.ok for row in rows] == [None, None, True, False]
    assert [row.value for row in rows] == [1, 2, 900, 200]
    assert [row.baseline for row in rows] == [3, 1, 700, 150]
    assert all(row.ok is None for row in stream_rivals._compare(ours, theirs, ZENOH, quick=True))


def test_a_table_shows_medians_and_what_was_lost() -> None:
    ours = figures("ours", plain=468_000, many=1_110_000, large=966.4, trip=227.4)
    ours.found |= {"plain CPU": [2.64], "large CPU": [60.2]}
    bare = figures("bare", many=2_000_000, large=2000, trip=50)
    bare.is_encrypted = False
    lossy = figures("lossy", plain=1, many=1, large=1, trip=1)
    lossy.found["lost"] = [0, 12]
    *_, first, second, third = stream_rivals.table([ours, bare, lossy])
    assert first == "| ours | yes | 468 k | 2.6 us | 1.11 M | 966 | 60 us | 227 us |"
    assert second == "| bare | no |  |  | 2 M | 2,000 |  | 50 us |"
    assert third.startswith("| lossy (12 lost) |")


def test_turns_measure_all_that_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figure by figure, ours first, then the bare side, then the others."""
    asked: list[tuple[str, str]] = []

    def note(name: str) -> Any:
        def measure(_what: Any, mode: str, _count: int) -> dict[str, float]:
            asked.append((name, mode))
            return {mode: 1.0}

        return measure

    monkeypatch.setattr(carriers, "measure_ours", note("ours"))
    monkeypatch.setattr(carriers, "measure_bare", note("bare"))
    monkeypatch.setattr(stream_rivals, "_measure_rival", note("rival"))
    rival = dataclasses.replace(ZENOH, module="json")
    found = stream_rivals.measure(quick=True, rivals=[rival])
    assert [one.name for one in found] == ["ours, TLS over TCP", "bare TLS over TCP", ZENOH.name]
    assert asked[:2] == [("ours", "plain"), ("rival", "plain")]
    assert asked[2:5] == [("ours", "many"), ("bare", "many"), ("rival", "many")]
    assert [mode for name, mode in asked if name == "rival"] == list(MODES)


@pytest.mark.parametrize("mode", ["plain", "trip"])
def test_zenoh_runs_with_tiny_inputs(mode: str) -> None:
    pytest.importorskip("zenoh")
    with carriers.folder():
        found = stream_rivals._measure_rival(ZENOH, mode, 20)
    assert found[mode] > 0
    assert found["lost"] == 0
