"""Watched descriptors (user guide, "Watching File Descriptors")."""

from __future__ import annotations

import socket

import pytest

from . import bodies
from .conftest import SIMPLE, Sut

pytestmark = pytest.mark.lacks([SIMPLE], "does not support watches, as its capabilities say")


def test_watched_socket_wakes_the_actor_until_its_next_call(sut: Sut) -> None:
    receiver = sut.create(bodies.Receiver)
    port = sut.ask(receiver, "open")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("127.0.0.1", port))
        sender.send(b"one")
        assert sut.listen() == (b"one", True, True)
        # The handler returned a new watch, so the next datagram reports too.
        sender.send(b"two")
        assert sut.listen() == (b"two", True, True)
        # A call that returns no watch ends it; what arrived meanwhile waits.
        assert sut.ask(receiver, "pause") == "paused"
        sender.send(b"three")
        assert sut.ask(receiver, "resume") == "resumed"
        assert sut.listen() == (b"three", True, True)


def test_capabilities_say_that_watches_work(sut: Sut) -> None:
    assert sut.system.capabilities["Thespian Watch Supported"] is True
