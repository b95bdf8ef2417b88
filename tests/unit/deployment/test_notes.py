"""Near misses: told once, named by field, and bounded against strangers."""

from mosaik_actors import Ticket, UniqueId
from mosaik_actors.deployment.notes import (
    NOTE_CLASS,
    NOTES_BYTES_MAX,
    REPORTED_MAX,
    DeploymentNearMisses,
    DeploymentNote,
    make_note,
    make_ticket,
)


def note(name: str = "acme", version: int = 1, **inputs: str) -> DeploymentNote:
    encoded = {key: value.encode() for key, value in inputs.items()}
    id_ = UniqueId(f"{name} {version} {inputs}")
    return make_note("shop", name, version, id_, encoded)


def misses_of(*own: DeploymentNote) -> DeploymentNearMisses:
    misses = DeploymentNearMisses()
    misses.own = {one.id: one for one in own}
    return misses


def test_a_near_miss_names_what_differs_once() -> None:
    misses = misses_of(note(window="3", salt="a"))
    ticket = make_ticket([note(window="4", salt="a"), note(window="3", salt="a")])
    [found] = misses.receive([ticket])
    assert "another configuration of shop 'acme'" in str(found)
    assert str(found).endswith("it differs in: window")
    assert misses.receive([ticket]) == []
    [added] = misses.receive([make_ticket([note(window="3", extra="x")])])
    assert str(added).endswith("it differs in: extra, salt")


def test_another_name_or_version_is_no_mistake() -> None:
    misses = misses_of(note(window="3"))
    others = [note("other", window="4"), note(version=2, window="4")]
    assert misses.receive([make_ticket(others)]) == []


def test_what_strangers_show_is_bounded() -> None:
    misses = misses_of(note(window="3"))
    bad = [b"", b"\xc1", b"\xdd\xff\xff\xff\xff", bytes(NOTES_BYTES_MAX + 1), b"\x91\x90"]
    assert misses.receive([Ticket(NOTE_CLASS, data) for data in bad]) == []
    assert misses.bad_count == len(bad)
    assert misses.receive([Ticket(UniqueId("other"), b"")]) == []
    assert misses.bad_count == len(bad)
    found = [
        miss
        for number in range(REPORTED_MAX + 50)
        for miss in misses.receive([make_ticket([note(window=f"x{number}")])])
    ]
    assert len(found) == REPORTED_MAX
