"""The chat as people use it, in lines: processes of their own, that come and are killed."""

import signal
from pathlib import Path
from typing import Any

import check_halves
import pytest
from check_halves import person

from mosaik_actors.testing import TIME_FACTOR

LIMIT_S = 60.0 * TIME_FACTOR
OPTIONS: dict[str, Any] = {"python": ("-X", "dev", "-W", "error"), "limit_s": LIMIT_S}


async def test_two_halves_meet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await check_halves.main(tmp_path, limit_s=LIMIT_S)
    assert "checked: two halves met, 16 lines are with all 3" in capsys.readouterr().out


def test_the_check_can_fail() -> None:
    said = [f"{nick}: {nick} {number}" for nick in ("ann", "ben", "cem") for number in range(5)]
    said.append("ann: now we are one")
    nicks = ("ann", "ben", "cem")

    def all_have(lines: list[str]) -> dict[str, list[str]]:
        return dict.fromkeys(nicks, lines)

    good = all_have(said)
    shown = {nick: ["* ben is here", *(f"[lobby] {line}" for line in said)] for nick in good}
    assert check_halves.check(shown, good) == 16
    swapped = [said[1], said[0], *said[2:]]
    for histories, seen, reason in (
        ({**good, "cem": swapped}, shown, "histories differ"),
        (all_have(said[1:]), shown, "lost or twice"),
        (all_have([*said, said[0]]), shown, "lost or twice"),
        (all_have(swapped), shown, "the lines of ann are in another order"),
        (good, {**shown, "ben": shown["ben"][:-1]}, "ben was not shown each line once"),
        (good, {**shown, "ben": shown["ben"] * 2}, "ben was not shown each line once"),
    ):
        with pytest.raises(AssertionError, match=reason):
            check_halves.check(seen, histories)


async def test_people_are_killed_and_come_back(tmp_path: Path) -> None:
    keep = tmp_path / "ann's rooms"
    async with person("ann", tmp_path, "--keep", keep, **OPTIONS) as ann:
        async with person("ben", tmp_path, **OPTIONS) as ben:
            ann.type("hello", "/join dev", "only here")
            await ben.sees(r"\[lobby\] ann: hello")
            ben.type("good morning", "/nick benny", "/dance")
            await ann.sees(r"\[lobby\] ben: good morning")
            await ann.sees(r"\* ben is now called benny")
            await ben.sees(r"\* there is no /dance; /help says what there is")
            await ben.asks_until("/rooms", r"\*   dev: 1 there")
            assert await ben.history() == ["ann: hello", "ben: good morning"]
            # One goes without a word. It is missed, and what it said stays.
            ben.process.kill()
            await ann.sees(r"\* benny has left lobby")
        ann.type("/join lobby", "was that all")
        await ann.sees(r"\[lobby\] ann: was that all")
        ann.process.kill()
    # Nobody is left. What was kept is there again, and for others too.
    async with person("ann", tmp_path, "--keep", keep, **OPTIONS) as ann:
        lines = ["ann: hello", "ben: good morning", "ann: was that all"]
        assert await ann.history() == lines
        async with person("cem", tmp_path, **OPTIONS) as cem:
            await cem.sees(r"\[lobby\] ann: was that all")
            assert await cem.history() == lines
            # They leave as one should: at the end of input, with all sent; and with Ctrl-C.
            cem.type("bye")
            cem.stdin.close()
            assert await cem.process.wait() == 0
            await ann.sees(r"\[lobby\] cem: bye")
            await ann.sees(r"\* cem has left lobby")
            ann.process.send_signal(signal.SIGINT)
            assert await ann.process.wait() == 130
