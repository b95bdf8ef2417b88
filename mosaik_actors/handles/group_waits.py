"""What a member of a group can be waited for; see `when` for how waits are awaited."""

from __future__ import annotations

from collections.abc import Callable

from ..groups.shared import GroupState
from ..ids import PeerId
from ..when import Change, Wait, When


class PositionWhen:
    """A position that moves: what is committed, or what is in the log."""

    __slots__ = ("_read", "_state")

    def __init__(self, state: GroupState, read: Callable[[], int]) -> None:
        self._state = state
        self._read = read

    def reaches(self, position: int) -> Wait[None]:
        """Return a wait for the position to be at least `position`."""
        return Wait(self._state, lambda: self._read() >= position)

    def advanced(self) -> Change[int]:
        """Return a wait for the position to go up; awaiting it returns the new one."""
        return Change(self._state, self._read, lambda old, new: new > old)

    def changed(self) -> Change[int]:
        """Return a wait for the position to go up or down; it goes down when histories merge."""
        return Change(self._state, self._read)


class GroupWhen(When):
    """What a member of a group can be waited for.

    It is online when commands are taken: there is a leader, and this member is with it.
    """

    __slots__ = ("_group", "_me")

    def __init__(self, group: GroupState, me: PeerId) -> None:
        super().__init__(group, lambda: is_online(group))
        self._group = group
        self._me = me

    def leader_elected(self) -> Wait[None]:
        """Return a wait until there is a leader."""
        return Wait(self._state, lambda: self._leader() is not None)

    def leader_changed(self) -> Change[PeerId | None]:
        """Return a wait until another member leads; awaiting it returns who."""
        return Change(self._state, self._leader, lambda old, new: new is not None and new != old)

    def leader_is(self, peer: PeerId) -> Wait[None]:
        """Return a wait until `peer` leads."""
        return Wait(self._state, lambda: self._leader() == peer)

    def is_leader(self) -> Wait[None]:
        """Return a wait until this member leads."""
        return self.leader_is(self._me)

    def is_follower(self) -> Wait[None]:
        """Return a wait until another member leads."""
        return Wait(self._state, lambda: self._leader() not in (None, self._me))

    def committed(self) -> PositionWhen:
        """Return the position up to which commands are committed and applied here."""
        return PositionWhen(self._group, lambda: committed_of(self._group))

    def log(self) -> PositionWhen:
        """Return the position up to which commands are in the log here."""
        return PositionWhen(self._group, lambda: log_position_of(self._group))

    def _leader(self) -> PeerId | None:
        member = self._group.member
        return None if member is None or self._group.is_closed else member.leader


def is_online(state: GroupState) -> bool:
    """Return whether commands are taken, while the member has not ended."""
    return state.member is not None and state.member.why_offline is None


def committed_of(state: GroupState) -> int:
    """Return the position up to which commands are applied; 0 before the member has started."""
    return 0 if state.member is None else state.member.host.position


def log_position_of(state: GroupState) -> int:
    """Return the position of the last command in the log, committed or not."""
    member = state.member
    if member is None:
        return 0
    return member.host.position if member.history is None else member.history.log_position()
