"""Loadable sources (user guide, "loadActorSource")."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from thespian.actors import ActorAddress, InvalidActorSourceHash

from . import bodies
from .conftest import Sut

# Thespian's loader has only the older interface of importlib; simpleSystemBase lets that show.
pytestmark = pytest.mark.filterwarnings("ignore:HashRootLoader:ImportWarning")

MAIN = """
from thespian.actors import Actor
from helper import decorate

class Loaded(Actor):
    def receiveMessage(self, message, sender):
        if message == "child":
            self.send(self.createActor("main.Child"), sender)
        elif isinstance(message, str):
            self.send(sender, decorate(message))

class Child(Actor):
    def receiveMessage(self, message, sender):
        self.send(message, decorate("child"))
"""


def source_file(folder: Path, mark: str) -> str:
    path = folder / f"{mark}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("main.py", MAIN)
        archive.writestr("helper.py", f"def decorate(text):\n    return '{mark} ' + text\n")
    return str(path)


def with_authority(sut: Sut) -> ActorAddress:
    authority = sut.create(bodies.Authority)
    assert sut.ask(authority, "register") == "registered"
    sut.wait_for_status(lambda status: bool(status.sourceAuthority == authority))
    return authority


def test_actor_from_a_loaded_source_works_and_imports_from_it(sut: Sut, tmp_path: Path) -> None:
    with_authority(sut)
    source_hash = sut.system.loadActorSource(source_file(tmp_path, "first"))
    actor = sut.create("main.Loaded", sourceHash=source_hash)
    assert sut.ask(actor, "hello") == "first hello"


def test_child_comes_from_the_source_of_its_parent(sut: Sut, tmp_path: Path) -> None:
    with_authority(sut)
    source_hash = sut.system.loadActorSource(source_file(tmp_path, "family"))
    actor = sut.create("main.Loaded", sourceHash=source_hash)
    assert sut.ask(actor, "child") == "family child"


def test_two_sources_do_not_mix(sut: Sut, tmp_path: Path) -> None:
    with_authority(sut)
    one = sut.system.loadActorSource(source_file(tmp_path, "one"))
    two = sut.system.loadActorSource(source_file(tmp_path, "two"))
    first = sut.create("main.Loaded", sourceHash=one)
    second = sut.create("main.Loaded", sourceHash=two)
    assert sut.ask(first, "x") == "one x"
    assert sut.ask(second, "x") == "two x"


def test_source_that_the_authority_rejects_is_not_there(sut: Sut, tmp_path: Path) -> None:
    with_authority(sut)
    path = tmp_path / "evil.zip"
    path.write_bytes(b"evil")
    source_hash = sut.system.loadActorSource(str(path))
    with pytest.raises(InvalidActorSourceHash):
        sut.create("main.Loaded", sourceHash=source_hash)


def test_unknown_hash_is_refused(sut: Sut) -> None:
    with pytest.raises(InvalidActorSourceHash):
        sut.create("main.Loaded", sourceHash="0123456789abcdef")


def test_unloaded_source_makes_no_more_actors(sut: Sut, tmp_path: Path) -> None:
    with_authority(sut)
    watcher = sut.create(bodies.SourceWatcher)
    assert sut.ask(watcher, "register") == "registered"
    source_hash = sut.system.loadActorSource(source_file(tmp_path, "gone"))
    sut.wait(lambda: ("loaded", source_hash) in sut.ask(watcher, "seen"))
    sut.system.unloadActorSource(source_hash)
    sut.wait(lambda: ("unloaded", source_hash) in sut.ask(watcher, "seen"))
    with pytest.raises(InvalidActorSourceHash):
        sut.create("main.Loaded", sourceHash=source_hash)


def test_late_watcher_hears_of_sources_already_there(sut: Sut, tmp_path: Path) -> None:
    with_authority(sut)
    source_hash = sut.system.loadActorSource(source_file(tmp_path, "early"))
    actor = sut.create("main.Loaded", sourceHash=source_hash)
    assert sut.ask(actor, "x") == "early x"
    watcher = sut.create(bodies.SourceWatcher)
    assert sut.ask(watcher, "register") == "registered"
    sut.wait(lambda: ("loaded", source_hash) in sut.ask(watcher, "seen"))


def test_actor_may_load_a_source(sut: Sut, tmp_path: Path) -> None:
    with_authority(sut)
    loader = sut.create(bodies.SourceLoader)
    source_hash = sut.ask(loader, source_file(tmp_path, "by-actor"))
    actor = sut.create("main.Loaded", sourceHash=source_hash)
    assert sut.ask(actor, "x") == "by-actor x"
