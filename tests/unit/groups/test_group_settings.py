"""The key, the settings and what of them goes into a group's id."""

from datetime import timedelta
from typing import Any

import pytest

from mosaik_actors.errors import ConfigError
from mosaik_actors.groups.config import ConsensusConfig, GroupsConfig
from mosaik_actors.groups.machine.machine import LeadershipPreference
from mosaik_actors.groups.mesh.key import GroupKey, derive_group_id
from mosaik_actors.groups.sync.settings import LogReplaySync, SnapshotSync


def test_a_key_never_shows() -> None:
    key = GroupKey("secret")
    assert key.hex not in repr(key)
    assert GroupKey(bytes(key)) == key
    assert GroupKey.generate() != GroupKey.generate()


def test_the_proof_key_is_not_the_key() -> None:
    key = GroupKey("secret")
    assert len({bytes(key), key.proof_key, bytes(key.hashed())}) == 3


def test_a_key_from_a_validator_needs_its_signature() -> None:
    class Validator:
        signature = b"tdx of these measurements"

    assert GroupKey.from_validator(Validator()) == GroupKey.from_validator(Validator())
    with pytest.raises(TypeError, match="has no signature"):
        GroupKey.from_validator(object())


def test_whatever_members_must_agree_on_changes_the_id() -> None:
    def id_of(
        key: str = "k",
        consensus: ConsensusConfig | None = None,
        machine: str = "m",
        sync: str = "s",
        validators: tuple[bytes, ...] = (),
    ) -> bytes:
        consensus = consensus or ConsensusConfig()
        return derive_group_id(GroupKey(key), consensus.signature, machine, sync, validators)

    ids = [
        id_of(),
        id_of(key="other"),
        id_of(consensus=ConsensusConfig(max_voters=3)),
        id_of(machine="other"),
        id_of(sync="other"),
        id_of(validators=(b"v",)),
        id_of(validators=(b"v", b"w")),
    ]
    assert len(set(ids)) == len(ids)
    assert id_of(validators=(b"v", b"w")) == id_of(validators=(b"w", b"v"))


def test_durations_may_be_timedeltas() -> None:
    given: Any = timedelta(seconds=2)
    config = ConsensusConfig(election_timeout=given)
    assert config.election_timeout == 2.0
    assert config.signature == ConsensusConfig(election_timeout=2).signature


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"max_voters": 4}, "max_voters is 4, expected an odd number"),
        ({"initial_voters": 7}, "initial_voters is 7, expected 1 to 5"),
        ({"election_timeout": 0.3}, "election_timeout is 0.3"),
        ({"heartbeat_jitter": 1.0}, "heartbeat_jitter is 1.0"),
        ({"forward_timeout": 0}, "forward_timeout is 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        ConsensusConfig(**settings)


def test_local_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="replace_after is 0"):
        GroupsConfig(replace_after=0)
    given: Any = timedelta(seconds=3)
    assert GroupsConfig(replace_after=given).replace_after == 3.0


def test_the_two_ways_of_syncing_have_different_signatures() -> None:
    assert LogReplaySync().signature != SnapshotSync().signature


def test_a_reluctant_leader_waits_longer() -> None:
    assert LeadershipPreference.reluctant(3).factor == 3
    assert not LeadershipPreference.reluctant().is_observer
    with pytest.raises(ConfigError):
        LeadershipPreference.reluctant(0.5)
