"""What an actor has that knows of its cell, and the messages that no handler of its own sees."""

from __future__ import annotations

from typing import Any

from thespian.actors import ActorAddress, ActorExitRequest, ActorSystemMessage

from .address import LocalAddress


class HookMessage(ActorSystemMessage):
    """From the runtime to an actor with hooks: goes to `Hooks.receive_hook` alone."""


class StartActor(HookMessage):
    """The first message of an actor with hooks."""


class Hooks:
    """What an actor has that knows of its cell: `StartActor` is its first message."""

    def receive_hook(self, message: HookMessage, sender: ActorAddress) -> Any:
        """Handle what no handler of the user's is meant to see."""

    def receive_exit(self, request: ActorExitRequest, sender: ActorAddress) -> Any:
        """Handle the request to exit, and see to the end of what the actor holds."""

    def release(self) -> None:
        """End all that the actor has going, at once: it ends, or is made anew."""

    def abandon(self, asker: LocalAddress) -> None:
        """End what goes on for an ask that nobody waits for any more."""
