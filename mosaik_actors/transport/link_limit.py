"""How many links a connection may carry in one direction, and who has the last ones.

Both sides count the links that one of them has opened and that have not ended,
and both apply their own `links_max` to that count. So a link beyond the limit is
refused where it is opened, or by the peer, and in both cases with a reason.

The last `LINKS_RESERVED` links are for protocols that are essential, which are
those that nodes stay together by: discovery and groups. However many streams
are consumed over a connection, a group's bond finds room.
"""

from __future__ import annotations

from .close import CloseCode, CloseReason
from .interface import LINKS_RESERVED


def why_too_many(open_count: int, links_max: int, *, is_essential: bool) -> CloseReason | None:
    """Return why one more link is refused, None when there is room for it.

    Args:
        open_count: Links that the opener has open to the other side already.
        links_max: The limit of the side that asks.
        is_essential: Whether the link's protocol may use the reserve.
    """
    if open_count < links_max - (0 if is_essential else LINKS_RESERVED):
        return None
    text = f"{open_count} links are open, at most {links_max}"
    if not is_essential:
        text += f" (links_max), {LINKS_RESERVED} of them for discovery and groups"
    return CloseReason(CloseCode.TOO_MANY_LINKS, text)
