"""Thespian actors on asyncio: the system base, its asyncio face, a fast dispatcher.

All actors of a system run on one event loop, a mailbox is a deque, an address
holds its target and a message is passed by reference. What actors may rely on is
written down in ``docs/semantics.md``.
"""

from .api import AsyncActorSystem
from .config import RuntimeConfig
from .dispatch import TypeDispatcher
from .messaging.address import LocalAddress
from .messaging.errors import (
    ActorSystemClosed,
    AddressNotPortable,
    AskCircle,
    AskFailed,
    AskPoisoned,
    AskRejected,
    AskTimeout,
    AskUndeliverable,
    BlockingCallOnLoop,
    ForeignAddress,
    NotOnLoopThread,
)
from .messaging.mailbox import DROP_NEWEST, DROP_OLDEST, REJECT, Mailbox, Overflow
from .messaging.notices import DeadLetter, MessageRejected
from .messaging.reference import ActorGone, ActorRef, ChildFailed
from .messaging.replies import Replies
from .messaging.requests import Request
from .messaging.supervision import Escalate, Restart, Resume, Stop
from .status import MailboxStats, SystemStats
from .system_base import AsyncioSystemBase

__all__ = [
    "DROP_NEWEST",
    "DROP_OLDEST",
    "REJECT",
    "ActorGone",
    "ActorRef",
    "ActorSystemClosed",
    "AddressNotPortable",
    "AskCircle",
    "AskFailed",
    "AskPoisoned",
    "AskRejected",
    "AskTimeout",
    "AskUndeliverable",
    "AsyncActorSystem",
    "AsyncioSystemBase",
    "BlockingCallOnLoop",
    "ChildFailed",
    "DeadLetter",
    "Escalate",
    "ForeignAddress",
    "LocalAddress",
    "Mailbox",
    "MailboxStats",
    "MessageRejected",
    "NotOnLoopThread",
    "Overflow",
    "Replies",
    "Request",
    "Restart",
    "Resume",
    "RuntimeConfig",
    "Stop",
    "SystemStats",
    "TypeDispatcher",
]
