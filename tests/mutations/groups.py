"""Deliberate bugs in the Raft core, and whether the tests notice.

Each mutation replaces one piece of source text, which must occur exactly once,
and names the functions in `tests` or lets seeds of the simulator find it. Run
all of them, or those whose names contain a word, with::

    python -m tests.mutations.groups [WORD]

A mutated function keeps its identity: only its code is exchanged, and put back
afterwards, so whoever imported it before runs the bug as well.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType

from tests.unit.groups.raft_simulator import Options, Simulation

PACKAGE = "mosaik_actors.groups"
TESTS = "tests.unit.groups"
SEEDS_MAX = 100

PROFILES = (
    Options(),
    Options(nodes=4, voters=2, changes=4.0),
    Options(nodes=3, voters=3, changes=0, crashes=2.0, slow_disks=2.0),
    Options(sessions=2, compactions=5.0),
    Options(nodes=3, changes=0, crashes=0.2, partitions=2.0, slow_clocks=1.0, clients=5),
)


@dataclass(frozen=True)
class Mutation:
    """One deliberate bug.

    Attributes:
        name: What is wrong.
        module: Where, below `mosaik_actors.groups`.
        old: The source text that is replaced.
        new: What it is replaced with.
        test: The test that catches it, as ``module:function``; empty: seeds do.
    """

    name: str
    module: str
    old: str
    new: str
    test: str = ""


MUTATIONS = (
    Mutation(
        "calls that share a payload share an answer",
        "client.client",
        "            at = end\n",
        "            at = end if end == count else 0\n",
        "client.test_client:test_calls_of_one_command_share_a_payload_and_each_has_its_own_answer",
    ),
    Mutation(
        "payload that is cut counts as whole",
        "merge.replay",
        "            count = piece.command_count\n",
        "            count = len(piece.payloads)\n",
        "merge.test_merge_replay:test_history_may_go_on_within_a_payload",
    ),
    Mutation(
        "commands that another history held are named after who brought them",
        "merge.replay",
        "content.holder or history)",
        'b"")',
        "merge.test_merge_replay:test_holder_stays_the_first_that_was_merged",
    ),
    Mutation(
        "log that became shorter not noticed",
        "raft.replica",
        "return counted_index > self.log.last_index and",
        "return counted_index < 0 and",
        "raft.test_raft_lost_entries:test_short_follower_takes_no_part_any_more",
    ),
    Mutation(
        "replica that lost entries goes on",
        "raft.replica",
        "if self.has_lost_entries:",
        "if False:",
        "raft.test_raft_lost_entries:test_short_follower_takes_no_part_any_more",
    ),
    Mutation(
        "lost entries forgotten by a restart",
        "raft.replica",
        "self.has_lost_entries = hard_state.has_lost_entries",
        "self.has_lost_entries = False",
        "raft.test_raft_lost_entries:test_that_entries_are_lost_is_remembered",
    ),
    Mutation(
        "log that a later leader rewrote taken for a short one",
        "raft.replica",
        "and self._rewritten_in_term != self.term",
        "and self._rewritten_in_term >= 0",
        "raft.test_raft_lost_entries:test_log_that_a_later_leader_has_rewritten_is_not_short",
    ),
    Mutation(
        "vote not saved",
        "raft.replica",
        "return HardState(self.term, self.vote, self.commit_index, self.has_lost_entries)",
        "return HardState(self.term, self.vote if self.vote == self.me else None)",
        "raft.test_raft_elections:test_vote_is_given_once_in_a_term_and_survives_a_restart",
    ),
    Mutation(
        "stands before it has the log up to where it joined",
        "raft.replica",
        "if self.has_lost_entries or self.is_non_voting:",
        "if self.has_lost_entries:",
        "raft.test_raft_elections:test_who_is_alone_and_has_not_the_log_yet_does_not_lead",
    ),
    Mutation(
        "votes before it has the log up to where it joined",
        "raft.replica",
        "if not self.is_non_voting:",
        "if True:",
        "raft.test_raft_elections:"
        "test_who_has_not_the_log_up_to_where_it_joined_neither_stands_nor_votes",
    ),
    Mutation(
        "two votes in a term",
        "raft.replica",
        "and self.vote in (None, sender)",
        "and (self.vote in (None, sender) or not setattr(self, 'vote', None))",
    ),
    Mutation(
        "vote for a log that is behind",
        "raft.replica",
        "is_up_to_date = asked >= own",
        "is_up_to_date = True",
    ),
    Mutation(
        "commit from an old term",
        "raft.leader",
        "if index <= replica.commit_index or replica.log.term_at(index) != replica.term:",
        "if index <= replica.commit_index:",
        "raft.test_raft_figures:test_figure_3_8_old_entries_commit_only_with_one_of_the_own_term",
    ),
    Mutation(
        "own entries count before they are saved",
        "raft.leader",
        "saved[replica.me] = replica.durability.saved_index()",
        "saved[replica.me] = replica.log.last_index",
    ),
    Mutation(
        "entries count when sent",
        "raft.leader",
        "peer: progress.match_index for peer, progress in self.replication.progress.items()",
        "peer: progress.next_index - 1 for peer, progress in self.replication.progress.items()",
    ),
    Mutation(
        "a role that was asked to read is not asked what to send",
        "raft.raft",
        "self.has_input = True\n        self.role.read(request_id)",
        "self.role.read(request_id)",
    ),
    Mutation(
        "learners count",
        "raft.quorum",
        "[reached([values.get(peer, 0) for peer in voters]) for voters in configurations]",
        "[reached(sorted(values.values())[-len(voters) :]) for voters in configurations]",
    ),
    Mutation(
        "entries acknowledged before they are saved",
        "raft.follower",
        "replica.send(sender, Appended(replica.term, match_index))",
        "replica.early_mail.append((sender, Appended(replica.term, match_index)))",
    ),
    Mutation(
        "append without looking at the term before",
        "raft.follower",
        "elif term != message.prev_term:",
        "elif term is None:",
        "raft.test_raft_figures:test_append_after_another_term_is_refused",
    ),
    Mutation(
        "late append cuts what agrees",
        "raft.replica",
        "known = self.log.first_new(entries)",
        "known = 0",
    ),
    Mutation(
        "heartbeat commits what does not agree",
        "raft.follower",
        "message.commit_index, replica.agreed_index))\n        is_like_leader",
        "message.commit_index, replica.log.last_index))\n        is_like_leader",
    ),
    Mutation(
        "commit learned from a vote without its term",
        "raft.replica",
        "and self.log.term_at(index) == message.commit_term:",
        "and index <= self.log.last_index:",
    ),
    Mutation(
        "read without a heartbeat round",
        "raft.leader",
        "confirmed = int(agreed(replica.deciding, rounds)) - 1",
        "confirmed = self._reads.round",
        "raft.test_raft_reads:test_old_leader_that_was_replaced_answers_no_read",
    ),
    Mutation(
        "read before anything of the own term is committed",
        "raft.leader",
        "if has_committed and self._reads",
        "if self._reads",
        "raft.test_raft_reads:test_read_waits_for_an_entry_of_the_own_term",
    ),
    Mutation(
        "removal without the old quorum",
        "wire.configuration",
        "return (before, self.latest.voters) if before else (self.latest.voters,)",
        "return (self.latest.voters,)",
    ),
    Mutation(
        "two changes at once",
        "raft.leader",
        "if replica.is_configuration_pending:\n            return Reason.PENDING",
        "if False:\n            return Reason.PENDING",
    ),
    Mutation(
        "change before anything of the own term is committed",
        "raft.leader",
        "if replica.commit_index < self.first_index:",
        "if False:",
        "raft.test_raft_figures:test_change_waits_for_an_entry_of_the_own_term",
    ),
    Mutation(
        "removed configuration stays in force",
        "raft.replica",
        "self.configurations.truncate(from_index)",
        "pass",
        "raft.test_raft_figures:test_removed_configuration_is_void_again",
    ),
    Mutation(
        "snapshot keeps a log that contradicts it",
        "raft.raft",
        "agrees = log.term_at(index) == metadata.term",
        "agrees = log.last_index >= index",
        "raft.test_raft_snapshots:test_install_drops_a_log_that_contradicts_the_snapshot",
    ),
    Mutation(
        "session forgotten in snapshots",
        "machine.sessions",
        "rows = tuple(self._sessions.values())",
        "rows = ()",
    ),
    Mutation(
        "repeated command applied again",
        "machine.sessions",
        "session = self._sessions.get(command_batch.client)",
        "session = None",
    ),
    Mutation(
        "forgotten client begins anew",
        "machine.sessions",
        "if command_batch.born_index <= self._forgotten_index:",
        "if False:",
        "machine.test_sessions:test_forgotten_client_is_not_taken_for_a_new_one",
    ),
    Mutation(
        "saved entries counted though a batch removes them",
        "raft.durability",
        "last_index = min(last_index, batch.truncate_from - 1)",
        "pass",
        "raft.test_durability:test_entry_that_comes_back_is_saved_only_when_it_is_saved_again",
    ),
    Mutation(
        "commit index of a configuration not saved",
        "raft.replica",
        "ConfigurationCommitted(at, voters))\n            self.must_save_hard_state",
        "ConfigurationCommitted(at, voters))\n            self.unused",
        "raft.test_raft_figures:test_survivor_of_a_committed_removal_restarts_alone",
    ),
    Mutation(
        "late answer to a read of an earlier life is taken",
        "raft.follower",
        "self._number = replica.rng.getrandbits(_NUMBER_BITS)",
        "self._number = 0",
        "raft.test_raft_reads:test_answer_to_another_read_is_ignored",
    ),
    Mutation(
        "pre-vote ignored",
        "raft.follower",
        "replica.become_pre_candidate()",
        "replica.become_candidate(is_transfer=False)",
        "raft.test_raft_elections:test_replica_that_was_cut_off_does_not_disturb_the_leader",
    ),
    Mutation(
        "voters help to depose a leader they hear",
        "raft.replica",
        "may_depose = message.is_transfer or not has_leader",
        "may_depose = True",
        "raft.test_raft_elections:test_voters_that_hear_a_leader_ignore_elections",
    ),
    Mutation(
        "leader without a quorum stays",
        "raft.leader",
        "if replica.now >= self._quorum_until_s:",
        "if False:",
        "raft.test_raft_elections:test_leader_without_a_quorum_steps_down",
    ),
    Mutation(
        "lagged follower that is due waits on",
        "raft.lagged_followers",
        "return now < due_s",
        "return True",
        "raft.test_lagged_followers:test_spare_gets_what_has_come_together_in_one_message",
    ),
    Mutation(
        "one that was needed stays a lagged follower",
        "raft.lagged_followers",
        "if peer not in self._pressed and peer in self._order:",
        "if False:",
        "raft.test_lagged_followers:test_spare_replaces_one_that_does_not_answer",
    ),
    Mutation(
        "removed voter hears of it later, or never",
        "raft.leader",
        "hear nothing afterwards.\n        self.replication.awaited_index = index",
        "hear nothing afterwards.\n        pass",
        "raft.test_lagged_followers:test_spare_hears_at_once_that_it_is_removed",
    ),
    Mutation(
        "leader that steps down leaves the others quiesced",
        "raft.leader",
        "self.replication.part()",
        "pass",
        "raft.test_quiescence:test_leader_that_steps_down_says_so_to_those_that_rely_on_its_node",
    ),
    Mutation(
        "follower with another log is quiesced",
        "raft.follower",
        "is_like_leader = replica.log.last_index == replica.commit_index == message.commit_index",
        "is_like_leader = True",
        "raft.test_quiescence:test_follower_that_has_more_or_less_than_the_leader_does_not_agree",
    ),
    Mutation(
        "life of another connection counts as well",
        "raft.follower",
        "replica.liveness_of(replica.leader) is not liveness",
        "replica.liveness_of(replica.leader) is None",
        "raft.test_quiescence:test_another_liveness_ends_it_on_both_sides",
    ),
    Mutation(
        "nothing but the life of a node counts, for ever",
        "raft.follower",
        "min(until_s, self._quiesced_until_s)",
        "until_s",
        "raft.test_quiescence:test_follower_that_gets_no_message_for_long_relies_on_messages_alone",
    ),
    Mutation(
        "quiesced leader takes its followers for heard",
        "raft.replication",
        "replica.inside(liveness.last_heard_at, ahead_s=ahead_s)",
        "replica.now",
        "raft.test_quiescence:test_leader_that_does_not_hear_a_quorum_steps_down_in_the_same_time",
    ),
    Mutation(
        "what a leader heard is bounded by an old clock",
        "raft.replication",
        "ahead_s = replica.settings.quiesced_interval",
        "ahead_s = replica.settings.election_timeout",
        "raft.test_quiescence:test_proposal_after_a_long_rest_does_not_depose_the_leader",
    ),
    Mutation(
        "followers rest though no leader looks after both",
        "mesh.standing_bonds",
        "bond.peer not in watched or not is_alike",
        "not is_alike",
        "mesh.test_peer_heartbeats:test_followers_rest_when_their_leader_says_that_it_has_both",
    ),
    Mutation(
        "nobody is woken when a node falls silent",
        "mesh.peer_heartbeats",
        "bond.wake()",
        "pass",
        "mesh.test_peer_heartbeats:test_bonds_are_woken_once_before_a_node_was_silent_for_too_long",
    ),
    Mutation(
        "candidate does not wake a quiesced leader",
        "raft.leader",
        "self.replication.wake(sender)\n\n    def recheck",
        "pass\n\n    def recheck",
        "raft.test_quiescence:test_candidate_wakes_a_quiesced_leader",
    ),
)

QUICK = (
    "own entries count before they are saved",
    "append without looking at the term before",
    "late append cuts what agrees",
    "read without a heartbeat round",
    "removal without the old quorum",
    "two changes at once",
    "session forgotten in snapshots",
    "repeated command applied again",
    "commit from an old term",
    "pre-vote ignored",
)


@contextmanager
def mutated(mutation: Mutation) -> Iterator[None]:
    """Run the block with the bug in place."""
    module = importlib.import_module(f"{PACKAGE}.{mutation.module}")
    source = inspect.getsource(module)
    assert source.count(mutation.old) == 1, f"{mutation.name}: {source.count(mutation.old)} places"
    bad = ModuleType(module.__name__)
    bad.__file__, bad.__package__, bad.__spec__ = (
        module.__file__,
        module.__package__,
        module.__spec__,
    )
    exec(  # our own source, one piece replaced
        compile(source.replace(mutation.old, mutation.new), f"<{mutation.name}>", "exec"),
        bad.__dict__,
    )
    kept: list[tuple[FunctionType, CodeType]] = []
    bad_functions = dict(_functions(bad))
    try:
        for name, function in list(_functions(module)):
            if function.__code__.co_code != (other := bad_functions[name]).__code__.co_code or (
                function.__code__.co_names != other.__code__.co_names
                or _texts(function.__code__) != _texts(other.__code__)
            ):
                kept.append((function, function.__code__))
                function.__code__ = other.__code__
        assert kept, f"{mutation.name} changes nothing"
        yield
    finally:
        for function, code in kept:
            function.__code__ = code


def _texts(code: CodeType) -> list[str]:
    return [c.co_code.hex() if isinstance(c, CodeType) else repr(c) for c in code.co_consts]


def _functions(module: ModuleType) -> Iterator[tuple[str, FunctionType]]:
    """Yield (qualified name, function) of all that a module defines."""
    for name, value in vars(module).items():
        if isinstance(value, FunctionType) and value.__module__ == module.__name__:
            yield name, value
        elif isinstance(value, type) and value.__module__ == module.__name__:
            for attribute, member in vars(value).items():
                if isinstance(member, property):
                    member = member.fget
                elif isinstance(member, classmethod | staticmethod):
                    member = member.__func__
                if isinstance(member, FunctionType):
                    yield f"{name}.{attribute}", member


def catch(mutation: Mutation, seeds_max: int = SEEDS_MAX) -> str | None:
    """Return what notices the bug, None when nothing does."""
    with mutated(mutation):
        if mutation.test:
            module_name, _, name = mutation.test.partition(":")
            test = getattr(importlib.import_module(f"{TESTS}.{module_name}"), name)
            return f"{mutation.test}: {_failure_of(test)}" if _failure_of(test) else None
        for seed in range(seeds_max):
            for number, options in enumerate(PROFILES):
                failure = _failure_of(Simulation(seed, options).run)
                if failure:
                    return f"seed {seed}, profile {number}: {failure}"
    return None


def _failure_of(run: Callable[[], object]) -> str:
    try:
        run()
    except Exception as error:  # whatever it is, the bug was noticed
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return ""


def main(arguments: Sequence[str]) -> int:
    """Try each mutation; return how many nobody noticed."""
    survivors = 0
    for mutation in MUTATIONS:
        if arguments and arguments[0] not in mutation.name:
            continue
        caught = catch(mutation)
        survivors += caught is None
        print(f"{mutation.name:55} {caught or 'SURVIVED'}", flush=True)  # noqa: T201
    return survivors


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
