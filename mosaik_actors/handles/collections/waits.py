"""What a collection can be waited for; see `when` for how waits are awaited.

A wait raises `NetworkDown` when the replica ends before, and `Closed` when the
handle is closed.
"""

from __future__ import annotations

from collections.abc import Callable

from ...collections.version import Version
from ...groups.shared import GroupState
from ...shared_state import Watched
from ...when import Change, Wait, When
from ..group_view import committed_of, is_online


class CollectionWhen(When):
    """What a collection can be waited for.

    It is online when writes are taken, and this replica is abreast of the others.

    Args:
        handle: What the handle shows, which may be closed before others of the collection.
        group: What the collection's group shows.
    """

    __slots__ = ("_group",)

    def __init__(self, handle: Watched, group: GroupState) -> None:
        super().__init__(handle, lambda: is_online(group))
        self._group = group

    def updated(self) -> Change[Version]:
        """Return a wait for another version than the present one, by whosever write.

        It may be awaited over and over: each time it returns when the version is
        another one than it returned last. Several writes may be one update.
        """
        return Change(self._state, lambda: version_of(self._group), is_another)

    def reaches(self, version: int) -> Wait[None]:
        """Return a wait until what `version` stands for can be read here.

        Args:
            version: What a write returned, on any node. One that is no `Version`
                is taken for one of the history that is followed here.
        """
        history = version.history if isinstance(version, Version) else b""
        return Wait(self._state, self._has(int(version), history))

    def _has(self, position: int, history: bytes) -> Callable[[], bool]:
        def holds() -> bool:
            member = self._group.member
            if member is None or member.history is None:
                return position <= 0
            if not history or history == member.history.id:
                return member.host.position >= position
            ledger = member.host.ledger
            shared = ledger.shared_position(history)
            if shared is not None and position <= shared:
                return member.host.position >= position
            # Counted apart: it is here once all of that history is.
            return ledger.history != history and ledger.has_all_of(history)

        return holds


def history_of(state: GroupState) -> bytes:
    """Return the history that the member follows, empty for none."""
    member = state.member
    return b"" if member is None or member.history is None else member.history.id


def version_of(state: GroupState) -> Version:
    """Return what can be read here at this moment."""
    return Version(committed_of(state), history_of(state))


def is_another(old: Version, new: Version) -> bool:
    """Return whether two versions differ, also those of two histories."""
    return int(old) != int(new) or old.history != new.history
