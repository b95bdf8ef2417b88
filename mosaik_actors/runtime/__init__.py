"""Thespian actors on asyncio: the system base, its asyncio face, a fast dispatcher.

All actors of a system run on one event loop, a mailbox is a deque, an address
holds its target and a message is passed by reference. What actors may rely on is
written down in ``docs/semantics.md``.
"""

from .address import LocalAddress
from .api import AsyncActorSystem
from .config import RuntimeConfig
from .dispatch import TypeDispatcher
from .errors import (
    ActorSystemClosed,
    AddressNotPortable,
    AskFailed,
    AskPoisoned,
    AskTimeout,
    AskUndeliverable,
    BlockingCallOnLoop,
    ForeignAddress,
    NotOnLoopThread,
)
from .status import MailboxStats, SystemStats
from .system_base import AsyncioSystemBase

__all__ = [
    "ActorSystemClosed",
    "AddressNotPortable",
    "AskFailed",
    "AskPoisoned",
    "AskTimeout",
    "AskUndeliverable",
    "AsyncActorSystem",
    "AsyncioSystemBase",
    "BlockingCallOnLoop",
    "ForeignAddress",
    "LocalAddress",
    "MailboxStats",
    "NotOnLoopThread",
    "RuntimeConfig",
    "SystemStats",
    "TypeDispatcher",
]
