"""Settings of actors across nodes, all local: no peer needs to agree on them."""

from __future__ import annotations

from dataclasses import dataclass

from ..config import as_seconds, require_above


@dataclass(frozen=True, kw_only=True)
class ActorsConfig:
    """How a node talks to the actors of others.

    Attributes:
        waiting_max: Messages that wait for a node that is being dialled, or that takes them
            too slowly. More are dead letters.
        questions_max: Asks of one node that may wait for answers here. More are refused.
        unsent_bytes_max: Bytes that a node has not acknowledged yet; above that messages wait.
        dial_timeout: How long a node is dialled before what waits for it is given up, in
            seconds or as `timedelta`.
        resolve_timeout: How long `resolve` waits for a name by default, in seconds or as
            `timedelta`.
        letters_backlog: Dead letters that are kept for slow readers of `events`.
    """

    waiting_max: int = 10_000
    questions_max: int = 10_000
    unsent_bytes_max: int = 4 * 1024 * 1024
    dial_timeout: float = 10.0
    resolve_timeout: float = 10.0
    letters_backlog: int = 1_000

    def __post_init__(self) -> None:
        as_seconds(self, "dial_timeout", "resolve_timeout")
        for name in (
            "waiting_max",
            "questions_max",
            "unsent_bytes_max",
            "dial_timeout",
            "resolve_timeout",
            "letters_backlog",
        ):
            require_above(name, getattr(self, name))
