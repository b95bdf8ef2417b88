"""Settings of the actor runtime, all local: no peer needs to agree on them."""

from __future__ import annotations

from dataclasses import dataclass

from ..config import require_above


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """How the runtime shares the event loop, and when it loses patience.

    Attributes:
        drain_messages_max: Messages handled in one turn of the loop, at most.
            What is left waits until sockets and timers had their turn.
        drain_slice_s: Seconds of handling in one turn of the loop, at most.
        mailbox_batch: Messages of one actor before the next one has its turn.
        slow_handler_s: A handler that holds the loop longer than this, in
            seconds, is counted; the first of each class is logged.
        exit_grace_s: Seconds a coroutine handler may go on after an
            ActorExitRequest arrived for its actor. Then it is cancelled.
        shutdown_timeout_s: Seconds until a shutdown stops waiting for actors.
        external_backlog_max: Messages kept for `listen` calls to come. More
            go to dead letters.
        source_validation_s: Seconds a source authority has to validate a
            loaded source before actors that wait for it fail to start.
    """

    drain_messages_max: int = 2000
    drain_slice_s: float = 0.004
    mailbox_batch: int = 100
    slow_handler_s: float = 0.1
    exit_grace_s: float = 5.0
    shutdown_timeout_s: float = 10.0
    external_backlog_max: int = 10_000
    source_validation_s: float = 120.0

    def __post_init__(self) -> None:
        for name in (
            "drain_messages_max",
            "drain_slice_s",
            "mailbox_batch",
            "slow_handler_s",
            "exit_grace_s",
            "shutdown_timeout_s",
            "external_backlog_max",
            "source_validation_s",
        ):
            require_above(name, getattr(self, name))
