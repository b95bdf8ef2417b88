"""What must hold of a group at every moment, looked at from outside while it runs.

* One leader for each term of a history, whoever is asked; and a member says one thing
  of its role, however it is asked.
* In one history, members that have applied as many commands have applied the
  same ones: their digests agree. What was applied there stays applied.
* A member's log is never committed less far than before, while it follows one history.
"""

from collections.abc import Iterable

from mosaik_actors.handles.groups import Group
from mosaik_actors.ids import PeerId

from .groups_machines import Journal


class Witness:
    """Looks at members again and again, and remembers what it has seen.

    Attributes:
        longest: The digests of each history, one for each position that any member reached.
        looks: How often it looked at a member.
    """

    def __init__(self) -> None:
        self.longest: dict[bytes, list[bytes]] = {}
        self.looks = 0
        self._leaders: dict[tuple[bytes, int], PeerId] = {}
        self._commits: dict[int, tuple[bytes, int]] = {}
        self._kept: list[Group] = []  # so that no id is given twice

    def look(self, groups: Iterable[tuple[PeerId, Group]]) -> None:
        """Compare members with all that was seen before."""
        for peer, group in groups:
            metrics, history = group.metrics, group.history
            if metrics is None or not history:
                continue
            self.looks += 1
            roles = (group.is_leader, group.leader == peer, metrics.role == "leader")
            assert len(set(roles)) == 1, f"{peer.short} leads or does not: {roles}"
            self._check_leader(history, metrics.term, group.leader)
            if metrics.role == "leader":
                self._check_leader(history, metrics.term, peer)
            self._check_commit(group, history, metrics.commit_index)
            self._check_digests(group, history)

    def _check_leader(self, history: bytes, term: int, leader: PeerId | None) -> None:
        if leader is not None:
            first = self._leaders.setdefault((history, term), leader)
            assert first == leader, f"term {term} is led by {first.short} and {leader.short}"

    def _check_commit(self, group: Group, history: bytes, commit_index: int) -> None:
        if id(group) not in self._commits:
            self._kept.append(group)
        # Whoever has left a history begins anew in it, should it come back to it.
        followed, before = self._commits.get(id(group), (history, 0))
        assert followed != history or commit_index >= before, (
            f"committed up to {before}, then to {commit_index}"
        )
        self._commits[id(group)] = history, commit_index

    def _check_digests(self, group: Group, history: bytes) -> None:
        machine = group.machine
        assert isinstance(machine, Journal)
        digests = machine.digests
        known = self.longest.setdefault(history, [b""])
        both = min(len(known), len(digests))
        assert known[both - 1] == digests[both - 1], (
            f"two members of history {history.hex()[:8]} differ in their first {both - 1} commands"
        )
        known.extend(digests[both:])
