"""The committee: servers that trust each other with the order of events, and nothing else.

A replicated state machine holds the registries and the round. What a server must not be
talked into, whatever the others do, it checks by itself (`pads.Unblinder`).

A round goes: *open*, with a roster of clients fixed; *closed*, when the aggregator has handed
in one folded envelope and says whose are in it (the first one counts); then each server takes
its pads away; with the last of them it is opened, and its result stays. Without an answer in
time the round is abandoned; another one has another number, and so other pads.

`next_command` says what whoever leads, and each server, does next. It is a pure function of
the state, so a new leader goes on where the last one ended.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

import msgspec

from mosaik_actors import ApplyContext, DecodeError, PeerId, StateMachine

from .folding import decode_set
from .pads import KEY_BYTES, Refused, xor
from .slots import Opened, Shape, open_slots

RESULTS_MAX = 64

Phase: TypeAlias = Literal["idle", "open", "closed"]


class Member(msgspec.Struct, frozen=True, array_like=True):
    """A client or a server, by its own word: it signs the key that pads are agreed with.

    Attributes:
        role: ``client`` or ``server``.
        identity: The key that signs: a client's peer id, a server's as in the configuration.
        key: The X25519 public key, for pads and receipts.
        signature: Of `signed`.
    """

    role: Literal["client", "server"]
    identity: bytes
    key: bytes
    signature: bytes

    def signed(self, context: bytes) -> bytes:
        """Return what the signature is of."""
        return context + self.role.encode() + b"\0" + self.key

    def is_genuine(self, context: bytes) -> bool:
        """Return whether it has the right sizes and signature."""
        if len(self.identity) != KEY_BYTES or len(self.key) != KEY_BYTES:
            return False
        return PeerId(self.identity).verifies(self.signature, self.signed(context))


class Result(msgspec.Struct, frozen=True, array_like=True):
    """What became of a round.

    Attributes:
        round: Which one.
        roster: The clients that could take part, with the keys of then.
        participants: Those that did, as bits; empty when it was abandoned.
        plain: The slots; empty when it was abandoned.
    """

    round: int
    roster: tuple[Member, ...]
    participants: bytes
    plain: bytes

    def open(self, context: bytes, shape: Shape) -> Opened:
        """Return what is in the slots."""
        if not self.plain:
            return Opened((), ())
        return open_slots(self.plain, self.round, context, shape)


class Enlist(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Take a member into its registry, or note that it has another key now."""

    member: Member


class Dismiss(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Take a client out: it is gone, or has no ticket any more."""

    client: bytes


class Open(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Open a round for the clients of now."""

    round: int


class Close(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Fix whose envelopes are in a round, and their sum."""

    round: int
    participants: bytes
    folded: bytes


class Unblind(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Take a server's pads away."""

    round: int
    server: bytes
    pads: bytes


class Abandon(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Give a round up."""

    round: int


Command: TypeAlias = Enlist | Dismiss | Open | Close | Unblind | Abandon


class Rules(msgspec.Struct, frozen=True):
    """What all servers agree on from the start.

    Attributes:
        context: The id of the deployment.
        servers: The identities of all servers.
        shape: How a round is divided.
        participants_min: The smallest set that is opened.
        clients_max: How many clients there may be.
    """

    context: bytes
    servers: tuple[bytes, ...]
    shape: Shape
    participants_min: int
    clients_max: int


class State(msgspec.Struct, array_like=True):
    """What the committee remembers."""

    round: int = 0
    phase: Phase = "idle"
    clients: dict[bytes, Member] = {}
    servers: dict[bytes, Member] = {}
    roster: tuple[Member, ...] = ()
    participants: bytes = b""
    folded: bytes = b""
    pads: dict[bytes, bytes] = {}
    results: list[Result] = []
    refusals: int = 0

    @property
    def participant_keys(self) -> list[bytes]:
        """The keys of those whose envelopes are in the round."""
        taken = decode_set(self.participants, len(self.roster))
        return [self.roster[index].key for index in taken]


class Committee(StateMachine[Command, None, None, bool]):
    """The state, one copy on each server. A command that does not fit changes nothing."""

    signature = "examples.zipnet.1"

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.state = State()

    def reset(self) -> None:
        """Begin anew."""
        self.state = State()

    def apply(self, command: Command, ctx: ApplyContext) -> bool:
        try:
            self._apply(command)
        except Refused:
            self.state.refusals += 1
            return False
        return True

    def _apply(self, command: Command) -> None:
        state = self.state
        match command:
            case Enlist(member):
                self._enlist(member)
            case Dismiss(client):
                state.clients.pop(client, None)
            case Open(round_):
                self._expect(state.phase == "idle" and round_ == state.round + 1)
                self._expect(self.is_ready)
                roster = tuple(state.clients[client] for client in sorted(state.clients))
                state.round, state.phase, state.roster = round_, "open", roster
            case Close(round_, participants, folded):
                self._expect(state.phase == "open" and round_ == state.round)
                taken = decode_set(participants, len(state.roster))
                self._expect(len(taken) >= self.rules.participants_min)
                self._expect(len(folded) == self.rules.shape.size)
                state.participants, state.folded, state.phase = participants, folded, "closed"
            case Unblind(round_, server, pads):
                self._expect(state.phase == "closed" and round_ == state.round)
                self._expect(server in self.rules.servers and server not in state.pads)
                self._expect(len(pads) == self.rules.shape.size)
                state.pads[server] = pads
                if len(state.pads) == len(self.rules.servers):
                    plain = xor([state.folded, *state.pads.values()], self.rules.shape.size)
                    self._finish(plain)
            case Abandon(round_):
                self._expect(state.phase != "idle" and round_ == state.round)
                state.participants = b""
                self._finish(b"")

    @property
    def is_ready(self) -> bool:
        """Whether a round can be opened: all servers are there, and enough clients."""
        state, rules = self.state, self.rules
        return len(state.servers) == len(rules.servers) and (
            len(state.clients) >= rules.participants_min
        )

    def _enlist(self, member: Member) -> None:
        self._expect(member.is_genuine(self.rules.context))
        if member.role == "server":
            self._expect(member.identity in self.rules.servers)
            self.state.servers[member.identity] = member
        else:
            clients = self.state.clients
            self._expect(member.identity in clients or len(clients) < self.rules.clients_max)
            clients[member.identity] = member

    def _finish(self, plain: bytes) -> None:
        state = self.state
        state.results.append(Result(state.round, state.roster, state.participants, plain))
        del state.results[:-RESULTS_MAX]
        state.phase, state.pads = "idle", {}
        state.participants = state.folded = b""

    def _expect(self, holds: bool) -> None:
        if not holds:
            raise Refused

    def query(self, query: None) -> None:
        """Servers look at `state`."""

    def snapshot(self) -> list[bytes]:
        encoded = msgspec.msgpack.encode(self.state)
        return [encoded[at : at + 100_000] for at in range(0, len(encoded), 100_000)]

    def restore(self, parts: Iterable[bytes]) -> None:
        try:
            self.state = msgspec.msgpack.decode(b"".join(parts), type=State)
        except msgspec.MsgspecError as exc:
            raise DecodeError(f"no state of a committee: {exc}") from exc


class Patience(msgspec.Struct, frozen=True):
    """How long whoever leads waits, in seconds.

    Attributes:
        window_s: For envelopes, from the opening of a round on.
        answer_s: Beyond that for the aggregator; and for the servers' pads.
        pause_s: Between two rounds.
    """

    window_s: float
    answer_s: float
    pause_s: float


class Conductor:
    """What whoever leads does by the clock: opens rounds, and gives those up that hang.

    Times are those of a monotonic clock.
    """

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._seen: tuple[int, Phase] = (-1, "idle")
        self._since = 0.0

    def next_command(self, committee: Committee, *, now: float) -> Command | None:
        """Return what is to be committed now, None for nothing."""
        state = committee.state
        if (state.round, state.phase) != self._seen:
            self._seen, self._since = (state.round, state.phase), now
        if now < self.get_timer(committee):
            return None
        if state.phase != "idle":
            return Abandon(state.round)
        return Open(state.round + 1) if committee.is_ready else None

    def get_timer(self, committee: Committee) -> float:
        """Return when to ask again, if nothing is committed before."""
        waits = {
            "idle": self._patience.pause_s,
            "open": self._patience.window_s + self._patience.answer_s,
            "closed": self._patience.answer_s,
        }
        return self._since + waits[committee.state.phase]
