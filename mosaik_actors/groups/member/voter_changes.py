"""What a leader does about its group's members: looks at them, and takes the next step.

Who should vote is decided in `membership`; here is what that gets to see, and how its wishes become
entries of the log, transfers and accepts. It looks every heartbeat, more rarely while nothing is to
be done for anybody (`raft.quiescence`), and at once when something about a member has changed; but
a member that says now this, now that, or what cannot be, must not fill the log: after `CHANGES_MAX`
changes within an election timeout it takes its time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ...ids import PeerId
from ..raft.progress import ProgressState
from ..raft.raft import Raft
from ..wire.frames import Admitted, JoinAccepted, encode_control
from ..wire.status import MemberStanding, Status
from . import membership
from .context import Context

CHANGES_MAX: Final = 64


@dataclass(frozen=True, slots=True, eq=False)
class Joiners:
    """Who is to be accepted when this member is known to lead still, and what they say."""

    statuses: Mapping[PeerId, Status]


class VoterChanges:
    """The membership of one history, as its leader sees to it."""

    def __init__(self, context: Context, raft: Raft, history: bytes, *, now: float) -> None:
        self.look_at_s = now  # when to look next, if this member leads
        self._context = context
        self._raft = raft
        self._history = history
        self._handed_over_s = float("-inf")
        self._settled_key: tuple[object, ...] | None = None
        self._raft_quiesced_s = context.consensus.raft().quiesced_interval
        self._left: dict[PeerId, None] = {}
        self._changed_s: deque[float] = deque(maxlen=CHANGES_MAX)

    def is_named(self, peer: PeerId) -> bool:
        """Return whether the configuration in force names a peer."""
        configuration = self._raft.configuration
        return peer in configuration.voters or peer in configuration.learners

    def peer_left(self, peer: PeerId) -> None:
        """Note that a member took its leave."""
        if self.is_named(peer):
            self._left[peer] = None

    def hurry(self, *, now: float) -> None:
        """Look at the next opportunity: something has changed."""
        earliest_s = now
        if len(self._changed_s) == CHANGES_MAX:
            earliest_s = max(now, self._changed_s[0] + self._context.consensus.election_timeout)
        self.look_at_s = min(self.look_at_s, earliest_s)

    def note_quiesced(self, *, now: float) -> None:
        """Look as often as ever when not all members are known to live and to have the log."""
        if not self._raft.is_quiesced:
            soon_s = now + self._context.consensus.heartbeat_interval
            self.look_at_s = min(self.look_at_s, soon_s)

    def look(self, *, now: float) -> None:
        """Take the next step, if this member leads and it is time to look."""
        raft = self._raft
        if not raft.is_leader or now < self.look_at_s:
            return
        self.look_at_s = now + self._context.consensus.heartbeat_interval
        self._accept_joiners()
        view = self._view()
        key = membership.view_key(view)
        if key == self._settled_key:
            if raft.is_quiesced:
                self.look_at_s = now + self._raft_quiesced_s
            return  # there was nothing to do, and nothing has changed
        self._settled_key = None
        change = membership.plan_change(view)
        admitted = membership.choose_admitted(view, change)
        self._admit(admitted)
        if isinstance(change, membership.TransferTo):
            raft.transfer_leadership(change.peer)
        elif change is not None:
            if raft.change_configuration(change.target):
                self._context.inform(f"changes the members: {change.why}")
            self._changed_s.append(now)
        elif now - self._handed_over_s > self._context.consensus.election_timeout:
            transfer_target = membership.prefer_leader(view)
            if transfer_target is None:
                self._settled_key = None if admitted else key
            elif raft.transfer_leadership(transfer_target):
                self._handed_over_s = now

    def _admit(self, peers: list[PeerId]) -> None:
        """Notify members that they have their place, once that would survive a crash here."""
        raft = self._raft
        if peers and raft.final_configuration[0] == raft.configuration_index:
            admitted = encode_control(Admitted(self._history, raft.configuration_index))
            for peer in peers:
                self._context.send(peer, admitted)

    def _view(self) -> membership.GroupView:
        raft, context = self._raft, self._context
        statuses = context.statuses
        configuration = raft.configuration
        self._left = {p: None for p in self._left if self.is_named(p) and p not in statuses}
        peers: dict[PeerId, membership.MemberView] = {}
        for peer in dict.fromkeys((*configuration.voters, *configuration.learners, *statuses)):
            if peer == context.me:
                continue
            progress = raft.progress.get(peer)
            peers[peer] = membership.MemberView(
                status=statuses.get(peer),
                silent_s=raft.silent_s(peer),
                lag=None if progress is None else raft.commit_index - progress.match_index,
                is_replicating=progress is not None and progress.state is ProgressState.REPLICATE,
                has_acknowledged=progress is not None and progress.match_index > 0,
                has_left=peer in self._left,
                is_excluded=context.is_excluded(peer),
            )
        return membership.GroupView(
            me=context.me,
            my_status=self._context.status(),
            history=self._history,
            config=context.consensus,
            settings=context.settings,
            voters=configuration,
            is_pending=raft.is_configuration_pending,
            peers=peers,
        )

    def _accept_joiners(self) -> None:
        """Notify those who have no history yet that they are in the configuration.

        But be sure first to lead still (Raft thesis 6.4): a leader that was paused may
        be one of the past, and would take a voter that has forgotten its votes since
        for the learner that it once was.
        """
        learners, progress = self._raft.configuration.learners, self._raft.progress
        joiners = {
            peer: status
            for peer, status in self._context.statuses.items()
            if status.standing is MemberStanding.SEEKING
            and peer in learners
            # One that has acknowledged anything is removed first: that holds no more.
            and not progress[peer].match_index
        }
        if joiners and not self._raft.is_configuration_pending:
            self._raft.read(Joiners(joiners))

    def join_accepted(self, joiners: Joiners) -> None:
        """JoinAccepted them: this member was the leader after the read was asked."""
        raft, statuses = self._raft, self._context.statuses
        if not raft.is_leader or raft.is_configuration_pending:
            return
        for peer, status in joiners.statuses.items():
            # The very same status: so also the same bond, and the same life of the peer.
            if statuses.get(peer) is status and peer in raft.configuration.learners:
                root = self._context.host.ledger.root
                join_accepted = JoinAccepted(self._history, raft.configuration_index, root)
                self._context.send(peer, encode_control(join_accepted))
