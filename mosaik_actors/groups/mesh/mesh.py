"""The bonds of a group: a full mesh of proven links between its members.

A pure state machine. It opens no link: the caller does what `next_event` says, reports what became
of it, and calls `handle_timer` when `get_timer` says so. ``now`` is monotonic time in seconds.

Every member dials every other one that is advertised (`redial`). Who has not yet proven the key of
the group (`handshake`) is nobody: nothing it says is believed, and no frame of others may be heeded
on its link.

One bond for each pair, though both may dial at once:
    * Who opened a link sends its proof only while it has no bond with the peer. So a proof from a
      bonded peer says that for it the old bond is dead, for instance because it was restarted: the
      new one takes its place.
    * Of two links that cross, the one of the smaller id stays. The other id gives its own up, once
      it has seen that the first one gets through.
    * When a bond forms, everything else between the two is closed. So a proof that was overtaken by
      another bond does not replace it.

What goes over a bond, and how long its silence is borne, is in `standing_bonds`. When this member
itself was paused, the others are given as much more time.

Invariants:
    * At most one bond for each peer, and `BondFormed` and `BondLost` alternate.
    * Nothing a peer sends raises: its link is closed, with the reason.
    * After `leave` there are no bonds, and no new ones form.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from random import Random
from types import MappingProxyType
from typing import Final

from ...errors import RemoteError
from ...ids import PeerId
from ...transport.address import PeerAddr
from ...transport.close import SHUTDOWN, CloseCode, CloseReason
from ..config import ConsensusConfig
from ..wire.status import Status
from .attempts import INCOMING_MAX, Attempt, Attempts, IncomingLink, OutgoingLink
from .bond import AcceptLink, BondState, CloseLink, DialWanted, MeshEvent, SendBondFrame
from .handshake import AcceptorHandshake, Credentials, OpenerHandshake
from .redial import Redial
from .standing_bonds import JoinHeartbeats, StandingBonds
from .topology import Bond
from .wire import MEMBERS_MAX, Beat, Confirm, Leave, MeshFrame, Prove, decode_frame, encode_frame

DIAL_TIMEOUT_S: Final = 5.0
PROOF_TIMEOUT_S_MIN: Final = 1.0
DIALS_MAX: Final = 64

Allow = Callable[[PeerId], str | None]

_CROSSED = CloseReason(CloseCode.GROUP_ALREADY_BONDED, "the links crossed, the other one stays")
_REPLACED = CloseReason(CloseCode.GROUP_ALREADY_BONDED, "a newer link takes its place")
_UNWANTED = CloseReason(CloseCode.CANCELLED, "it opened too late")
_FULL = CloseReason(CloseCode.CANCELLED, "too many members or handshakes")
_LEFT = CloseReason(CloseCode.GROUP_NOT_FOUND, "this node has left the group")
_PEER_LEFT = CloseReason(CloseCode.GRACEFUL_SHUTDOWN, "the member has left the group")
_UNFINISHED = CloseReason(CloseCode.GROUP_TIMEOUT, "the handshake was not finished in time")


class Mesh:
    """The bonds of one member of one group; `join_heartbeats` is as in `StandingBonds`.

    `is_in_reach` tells whether a peer is connected and answers, whatever its group does. `allow`
    returns why a peer that has the key is refused all the same, None if it is not; call `recheck`
    when it may answer otherwise than before.
    """

    def __init__(
        self,
        credentials: Credentials,
        config: ConsensusConfig,
        rng: Random,
        *,
        status: Status,
        is_in_reach: Callable[[PeerId], bool] = lambda _peer: False,
        allow: Allow = lambda _peer: None,
        join_heartbeats: JoinHeartbeats = lambda _link_id: None,
    ) -> None:
        self.allow = allow
        self._is_in_reach = is_in_reach
        self._me = me = credentials.me
        self._credentials = credentials
        self._config = config
        self._rng = rng
        self._events: deque[MeshEvent] = deque()
        self._proof_timeout_s = max(PROOF_TIMEOUT_S_MIN, config.bond_timeout_s)
        self._redial = Redial(me, rng)
        self._attempts = Attempts()
        self._bonds = StandingBonds(me, config, rng, self._events, status, join_heartbeats)
        self._has_left = False
        self._timer_at: float | None = None
        self._is_timer_stale = False
        # The bonds by peer, the oldest first; a view that keeps up.
        self.bonded: Mapping[PeerId, BondState] = MappingProxyType(self._bonds.by_peer)

    # Views, beside `bonded`.

    def link_of(self, peer: PeerId) -> int | None:
        """Return the link of the bond with a peer, None without one."""
        bond = self.bonded.get(peer)
        return None if bond is None else bond.link_id

    def list_apart(self) -> dict[PeerId, str]:
        """Return who is advertised, in reach, and not bonded all the same; with why not."""
        return {
            peer: why
            for peer, why in self._redial.list_apart().items()
            if peer not in self.bonded and self._is_in_reach(peer)
        }

    def peer_of(self, link_id: int) -> PeerId | None:
        """Return who is bonded over a link. None: it is no bond, and its frames are ignored."""
        bond = self._bonds.by_link.get(link_id)
        return None if bond is None else bond.peer

    def bonds(self) -> tuple[Bond, ...]:
        """Return every bond of the group that is known, also between others, in order."""
        return self._bonds.topology.bonds()

    # Who is there.

    def receive_peers(self, peers: Mapping[PeerId, PeerAddr], *, now: float) -> None:
        """Take in who advertises the group at this moment, and where. May be repeated.

        Who is not among them any more keeps its bond, and is not dialled again.
        """
        self._redial.receive_peers(peers, now=now)
        self._dial(now)

    def set_status(self, status: Status, *, now: float) -> None:
        """Take in what this member says of itself from now on.

        Others learn it with the next heartbeat, at once when they may have to act on it.
        """
        self._bonds.set_status(status, now=now)
        self._is_timer_stale = True

    def recheck(self, *, now: float) -> None:
        """Ask `allow` again: end the bonds it refuses, dial those it accepts now."""
        self._redial.hurry_refused(now=now)
        for bond in list(self.bonded.values()):
            if (text := self.allow(bond.peer)) is not None:
                self._close_bond(bond, CloseReason(CloseCode.GROUP_NOT_ALLOWED, text), now=now)
                self._redial.note_failure(bond.peer, now=now, is_refused=True)
        self._dial(now)

    def leave(self, *, now: float, is_final: bool = True) -> None:
        """End all bonds, and notify the others that it is for good if it is. May be repeated."""
        for bond in list(self.bonded.values()):
            if is_final:
                self._send(bond.link_id, Leave())
            self._close_bond(bond, SHUTDOWN, now=now, was_graceful=True)
        self._events += [CloseLink(link_id, _LEFT) for link_id in self._attempts.clear()]
        self._has_left = True
        self._is_timer_stale = True

    # Links.

    def receive_offer(self, link_id: int, peer_id: PeerId, header: bytes, *, now: float) -> None:
        """Take in that `peer_id`, as the transport has proven, opened a link for this group."""
        self._is_timer_stale = True
        if self._has_left:
            self._events.append(CloseLink(link_id, _LEFT))
            return
        try:
            handshake = AcceptorHandshake(self._credentials, peer_id, header, self._rng)
        except RemoteError as exc:
            self._events.append(CloseLink(link_id, _reason_of(exc)))
            return
        if (older := self._attempts.incoming.get(peer_id)) is not None:
            self._give_up(older, _REPLACED, now)
        elif len(self._attempts.incoming) >= INCOMING_MAX or not self._has_room_for(peer_id):
            self._events.append(CloseLink(link_id, _FULL))
            return
        late_at = now + self._proof_timeout_s
        self._attempts.add_incoming(IncomingLink(peer_id, link_id, handshake, late_at))
        self._events.append(AcceptLink(link_id, handshake.reply))

    def receive_opened(self, link_id: int, token: int, reply: bytes, *, now: float) -> None:
        """Take in that the link of a `DialWanted` was accepted, with this reply."""
        attempt = self._attempts.by_token.get(token)
        if attempt is None:
            self._events.append(CloseLink(link_id, _UNWANTED))
            return
        self._is_timer_stale = True
        self._attempts.set_link(attempt, link_id, now + self._proof_timeout_s)
        peer = attempt.peer
        if peer < self._me and peer in self._attempts.incoming:
            self._give_up(attempt, _CROSSED, now)
            return
        try:
            proof = attempt.handshake.receive_reply(reply)
            self._check_allowed(peer)
        except RemoteError as exc:
            self._give_up(attempt, _reason_of(exc), now)
            return
        attempt.told = self._bonds.status
        self._send(link_id, Prove(proof, attempt.told))

    def receive_failed(self, token: int, reason: CloseReason, *, now: float) -> None:
        """Take in that the link of a `DialWanted` could not be opened."""
        if (attempt := self._attempts.by_token.get(token)) is not None:
            self._give_up(attempt, reason, now)

    def receive_frame(self, link_id: int, data: bytes, *, now: float) -> None:
        """Take in a frame of the mesh. What is wrong with it ends the link."""
        try:
            if (bond := self._bonds.by_link.get(link_id)) is None:
                self._receive_proof(link_id, data, now)
                return
            bond.heard_at = now
            frame = decode_frame(data)
            if isinstance(frame, Leave):
                self._close_bond(bond, _PEER_LEFT, now=now, was_graceful=True)
            else:
                self._bonds.take(bond, frame, now=now)
        except RemoteError as exc:
            self.close_link(link_id, _reason_of(exc), now=now)

    def note_heard(self, link_id: int, *, now: float) -> None:
        """Note that a frame of others came over a link."""
        if (bond := self._bonds.by_link.get(link_id)) is not None:
            bond.heard_at = now

    def recheck_silence(self) -> None:
        """Take in that heartbeats of peers' nodes may have come: re-read `get_timer`."""
        self._is_timer_stale = True

    def close_link(self, link_id: int, reason: CloseReason, *, now: float) -> None:
        """Close a link of the mesh from this side, for instance for what came over it."""
        if link_id in self._bonds.by_link or link_id in self._attempts.by_link:
            self._events.append(CloseLink(link_id, reason))
            self.receive_closed(link_id, reason, now=now)

    def receive_closed(self, link_id: int, reason: CloseReason, *, now: float) -> None:
        """Take in that a link was closed by the peer, or broke."""
        if (bond := self._bonds.by_link.get(link_id)) is not None:
            self._forget_bond(bond, reason, now=now)
        elif (attempt := self._attempts.by_link.get(link_id)) is not None:
            self._drop(attempt, now, reason)

    # Time, and what came of it all.

    def get_timer(self) -> float | None:
        """Return when `handle_timer` is due, in monotonic seconds; None for never.

        `note_heard` never makes it earlier, so it need not be read again after that.
        """
        if self._is_timer_stale:
            self._is_timer_stale = False
            self._timer_at = min(self._list_due_times(), default=None)
        return self._timer_at

    def handle_timer(self, *, now: float) -> None:
        """Do what is due. May be called early."""
        self._forgive_standstill(now)
        self._is_timer_stale = True
        for attempt in self._attempts.list_late(now):
            self._give_up(attempt, _UNFINISHED, now)
        for bond in self._bonds.list_silent(now):
            text = f"nothing heard for {self._config.bond_timeout_s:g} s"
            self._close_bond(bond, CloseReason(CloseCode.GROUP_TIMEOUT, text), now=now)
        self._bonds.tell(now)
        self._dial(now)

    def next_event(self) -> MeshEvent | None:
        """Return the oldest event not yet handed out, or None."""
        return self._events.popleft() if self._events else None

    # Helpers: dialling and proving.

    def _dial(self, now: float) -> None:
        self._is_timer_stale = True
        for addr in self._redial.list_due(self._is_free, now=now):
            peer = addr.peer_id
            if not self._may_dial():
                return
            if self.allow(peer) is not None:
                self._redial.note_failure(peer, now=now, is_refused=True)
                continue
            handshake = OpenerHandshake(self._credentials, peer, self._rng)
            token = self._attempts.add_outgoing(peer, handshake, now + DIAL_TIMEOUT_S)
            self._events.append(DialWanted(peer, addr, token, handshake.header, DIAL_TIMEOUT_S))

    def _receive_proof(self, link_id: int, data: bytes, now: float) -> None:
        """Take in a frame of a link that is no bond yet: only the next step of its handshake."""
        attempt = self._attempts.by_link.get(link_id)
        if attempt is None:
            return  # closed a moment ago
        match attempt, decode_frame(data):
            case IncomingLink(), Prove(proof, status):
                attempt.handshake.receive_proof(proof)
                self._check_allowed(attempt.peer)
                self._accept(attempt, status, now)
            case OutgoingLink(), Confirm(status):
                self._form(attempt.peer, link_id, status, now)
                if attempt.told != self._bonds.status:
                    self._send(link_id, Beat(self._bonds.status))
            case _, frame:
                text = f"a frame {type(frame).__name__} in the handshake"
                raise RemoteError(text, CloseCode.GROUP_INVALID_HANDSHAKE)

    def _accept(self, attempt: IncomingLink, status: Status, now: float) -> None:
        """Form the bond of a peer that has proven the key, unless our own link goes first."""
        own = self._attempts.outgoing.get(attempt.peer)
        if own is not None and own.link_id is not None and self._me < attempt.peer:
            self._give_up(attempt, _CROSSED, now)
        elif not self._has_room_for(attempt.peer):
            self._give_up(attempt, _FULL, now)
        else:
            self._send(attempt.link_id, Confirm(self._bonds.status))
            self._form(attempt.peer, attempt.link_id, status, now)

    def _send(self, link_id: int, frame: MeshFrame) -> None:
        self._events.append(SendBondFrame(link_id, encode_frame(frame)))

    def _give_up(self, attempt: Attempt, reason: CloseReason, now: float) -> None:
        """End a handshake from this side."""
        if attempt.link_id is not None:
            self._events.append(CloseLink(attempt.link_id, reason))
        self._drop(attempt, now, reason)

    def _drop(self, attempt: Attempt, now: float, reason: CloseReason) -> None:
        self._is_timer_stale = True
        self._attempts.remove(attempt)
        if isinstance(attempt, OutgoingLink):
            self._redial.note_failure(attempt.peer, reason, now=now)

    def _check_allowed(self, peer: PeerId) -> None:
        if (text := self.allow(peer)) is not None:
            raise RemoteError(text, CloseCode.GROUP_NOT_ALLOWED)

    def _is_free(self, peer: PeerId) -> bool:
        return peer not in self.bonded and not self._attempts.all_with(peer)

    def _may_dial(self) -> bool:
        dials_max = min(DIALS_MAX, MEMBERS_MAX - len(self.bonded))
        return not self._has_left and len(self._attempts.outgoing) < dials_max

    def _has_room_for(self, peer: PeerId) -> bool:
        return peer in self.bonded or len(self.bonded) < MEMBERS_MAX

    # Helpers: bonds and time.

    def _form(self, peer: PeerId, link_id: int, status: Status, now: float) -> None:
        """Make a link the bond with a peer, and end everything else between the two."""
        self._is_timer_stale = True
        if (older := self.bonded.get(peer)) is not None:
            self._close_bond(older, _REPLACED, now=now)
        for attempt in self._attempts.all_with(peer):
            self._attempts.remove(attempt)
            if attempt.link_id is not None and attempt.link_id != link_id:
                self._events.append(CloseLink(attempt.link_id, _CROSSED))
        self._bonds.add(peer, link_id, status, now=now)

    def _close_bond(
        self, bond: BondState, reason: CloseReason, *, now: float, was_graceful: bool = False
    ) -> None:
        self._events.append(CloseLink(bond.link_id, reason))
        self._forget_bond(bond, reason, now=now, was_graceful=was_graceful)

    def _forget_bond(
        self, bond: BondState, reason: CloseReason, *, now: float, was_graceful: bool = False
    ) -> None:
        self._is_timer_stale = True
        self._bonds.remove(bond, reason, now=now, was_graceful=was_graceful)
        if was_graceful:
            self._redial.note_left(bond.peer, now=now)
        else:
            self._redial.note_lost(bond.peer, now - bond.formed_at, now=now)

    def _forgive_standstill(self, now: float) -> None:
        """Do not take our own standstill for the silence of others: what they sent still waits."""
        due_at = self.get_timer()
        late_s = 0.0 if due_at is None else now - due_at
        if late_s > self._config.heartbeat_interval:
            self._attempts.postpone(late_s)
            self._bonds.forgive(late_s, now=now)

    def _list_due_times(self) -> Iterator[float]:
        if (late_at := self._attempts.next_late_at()) is not None:
            yield late_at
        if not self._has_left:
            yield from self._bonds.list_due_times()
        if self._may_dial() and (dial_at := self._redial.next_at(self._is_free)) is not None:
            yield dial_at


def _reason_of(error: RemoteError) -> CloseReason:
    return CloseReason(error.close_code, error.text)
