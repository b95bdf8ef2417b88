"""The sessions of one consumer: which links they have, and how large their windows are.

A pure bookkeeper above the `WindowPool`. An attempt to subscribe goes through it from the wish
to its end:

    1. `want`: it waits until there is room for what will come.
    2. `next_opening`: there is; open a link with this window.
    3. `take_asked`, then `open`: the link stands, and is a session from now on.
       `release`: no link comes.
    4. `end`: the link ended. What waits of it for the application still holds room.

Invariants:
    * An attempt is in one of these states, and holds room from 2 on.
    * A peer has one session at most that counts as its link; a link has one session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from ...ids import PeerId
from ...transport.address import PeerAddr
from ...transport.interface import Link
from ..wire import Accepted, Window
from .session import ReceiverSession
from .window_pool import WindowPool

Token = tuple[PeerId, int]  # the producer and the number of the attempt


class LinkOpening(msgspec.Struct, frozen=True):
    """Open a link to `addr` with this window; `open` or `release` the token in the end."""

    token: Token
    addr: PeerAddr
    window: Window


class SessionLinks:
    """The bookkeeper of this module's docstring.

    Args:
        window: What may wait for the application, of all sessions together.

    Attributes:
        by_link: The sessions that stand, by their links.
    """

    def __init__(self, window: Window) -> None:
        self._pool = WindowPool(window)
        self._wanted: dict[Token, PeerAddr] = {}  # to be subscribed to when there is room
        self._asked: dict[Token, Window] = {}  # the windows that links are being opened with
        self._links: dict[ReceiverSession, Link] = {}
        self._link_of: dict[PeerId, Link] = {}
        self.by_link: dict[Link, ReceiverSession] = {}

    @property
    def wanted_peers(self) -> list[PeerId]:
        """Whom to subscribe to when there is room."""
        return [peer_id for peer_id, _ in self._wanted]

    @property
    def waiting_items(self) -> int:
        """How many items of sessions that ended wait for the application."""
        return self._pool.waiting.items

    def link_of(self, peer_id: PeerId) -> Link | None:
        """Return the link to a producer that is subscribed to."""
        return self._link_of.get(peer_id)

    def link_for(self, session: ReceiverSession) -> Link | None:
        """Return the link of a session that stands."""
        return self._links.get(session)

    def peer_links(self) -> list[tuple[PeerId, Link]]:
        """Return all producers that are subscribed to, with their links."""
        return list(self._link_of.items())

    def want(self, token: Token, addr: PeerAddr) -> None:
        """Have an attempt wait for room."""
        self._wanted[token] = addr

    def keep_wanted(self, is_opening: Callable[[PeerId, int], bool]) -> None:
        """Forget the waiting attempts that are not made any more."""
        for token in [one for one in self._wanted if not is_opening(*one)]:
            del self._wanted[token]

    def next_opening(self) -> LinkOpening | None:
        """Return the next attempt that there is room for, None when there is none."""
        token = next(iter(self._wanted), None)
        if token is None:
            return None
        window = self._pool.reserve(token, waiting_count=len(self._wanted))
        if window is None:
            return None
        self._asked[token] = window
        return LinkOpening(token, self._wanted.pop(token), window)

    def next_changes(self) -> Iterator[tuple[Link, Window]]:
        """Give the windows to ask for over links that stand."""
        for change in self._pool.next_changes(waiting_count=len(self._wanted)):
            yield self._links[change.session], change.window

    def take_asked(self, token: Token) -> Window | None:
        """Return the window that a link was opened with, once."""
        return self._asked.pop(token, None)

    def release(self, token: Token) -> None:
        """Take in that no session comes of an attempt."""
        self._asked.pop(token, None)
        self._pool.release(token)

    def open(self, token: Token, link: Link, accepted: Accepted, asked: Window) -> None:
        """Take in that a link stands, with the producer's answer to what was asked."""
        session = ReceiverSession(accepted, asked)
        self._pool.open(token, session)
        self.by_link[link] = session
        self._links[session] = link
        self._link_of[link.peer_id] = link

    def end(self, link: Link) -> None:
        """Take in that a link ended."""
        session = self.by_link.pop(link)
        del self._links[session]
        self._pool.end(session)
        if self._link_of.get(link.peer_id) is link:
            del self._link_of[link.peer_id]

    def clear(self) -> list[Link]:
        """Forget all sessions; return their links."""
        links = list(self.by_link)
        self.by_link.clear()
        self._links.clear()
        self._link_of.clear()
        return links
