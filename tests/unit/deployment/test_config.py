"""The identity of a deployment: its canonical encoding, with vectors, and what is in it."""

from dataclasses import InitVar, field, fields
from datetime import timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, ClassVar

import msgspec
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors import (
    ConfigError,
    ConsensusConfig,
    Deployment,
    DeploymentConfig,
    Map,
    MosaikActor,
    UniqueId,
    actor,
    collection,
    public,
    stream,
)
from mosaik_actors.deployment.encoding import encode_value


class Side(Enum):
    BUY = 1


class Point(msgspec.Struct, frozen=True):
    x: int
    y: int = 0


class Small(msgspec.Struct, frozen=True):
    data: bytes
    WIRE_SIZE: ClassVar[int] = 32


class Large(msgspec.Struct, frozen=True):
    data: bytes
    WIRE_SIZE: ClassVar[int] = 64


class Staff:
    def __init__(self, text: str) -> None:
        self.class_id = UniqueId("staff")
        self.signature = UniqueId(text)

    def validate(self, data: bytes, peer: Any) -> Any:
        raise NotImplementedError


class Config(DeploymentConfig):
    window_s: float = 3.0
    side: Side = Side.BUY
    at: Point = Point(1)


class Shop(Deployment[Config]):
    service = "test.shop"
    orders = public(stream(Small))
    stock = public(collection(Map[str, int], "stock"))
    keeper = public(actor(MosaikActor, messages=[Point]))


def text(name: str) -> str:
    return f"53{len(name):016x}{name.encode().hex()}"


VECTORS: list[tuple[Any, str]] = [
    (None, "4e0000000000000000"),
    (True, "42000000000000000101"),
    (0, "49000000000000000130"),
    (-12, "4900000000000000032d3132"),
    (3.0, "49000000000000000133"),
    (0.5, "4600000000000000083fe0000000000000"),
    (Decimal("1.50"), "430000000000000003312e35"),
    ("é", "530000000000000002c3a9"),
    (b"\x00", "59000000000000000100"),
    (timedelta(seconds=1.5), "54000000000000000731353030303030"),
    (UniqueId.zero(), "440000000000000020" + "00" * 32),
    ((1, "a"), "4c0000000000000014" + "49000000000000000131" + text("a")),
    (frozenset((2, 1)), "450000000000000014" + "49000000000000000131" + "49000000000000000132"),
    (Side.BUY, "560000000000000016" + text("BUY") + "49000000000000000131"),
    (Point(1, 2), "520000000000000028" + text("x") + "49000000000000000131"
     + text("y") + "49000000000000000132"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "digits"), VECTORS, ids=[repr(one[0]) for one in VECTORS])
def test_canonical_encoding(value: object, digits: str) -> None:
    assert encode_value(value).hex() == digits


def test_identities_are_what_they_were() -> None:
    """Whoever changes one of these parts all deployments that there are."""
    plain = DeploymentConfig(name="acme.mainnet")
    assert plain.fingerprint().hex == PLAIN
    assert Shop.deployment_id(Config(name="acme.mainnet")).hex == SHOP


def test_identity_is_the_hash_of_intent_content_and_acl() -> None:
    config = DeploymentConfig(name="a", version=2)
    parts = Shop.inputs(config)  # type: ignore[arg-type]
    assert list(parts.intent) == ["name", "service"]
    assert [name for name in parts.content if "." not in name] == ["version", "salt", "consensus"]
    assert list(parts.acl) == ["acl", "acl.orders", "acl.stock", "acl.keeper"]
    whole = b""
    for part in parts:
        names = sorted(part)
        record = b"".join(encode_value(name) + part[name] for name in names)
        whole += b"R" + len(record).to_bytes(8) + record
    found = Shop.deployment_id(config)  # type: ignore[arg-type]
    assert found == blake3(whole).digest()
    assert found.derive("orders") == UniqueId.from_parts(found, "orders")


OTHERS: dict[str, Any] = {
    "name": "other",
    "version": 2,
    "salt": b"salt",
    "consensus": ConsensusConfig(heartbeat_interval=0.123),
    "acl": Staff("v1"),
    "window_s": 3.5,
    "side": "buy",
    "at": Point(1, 1),
}


def test_every_field_takes_part() -> None:
    names = [one.name for one in fields(Config)]
    assert sorted(names) == sorted(OTHERS)
    given_ids = {Shop.deployment_id(Config(name="a"))}
    for name in names:
        given_ids.add(Shop.deployment_id(Config(**{"name": "a", name: OTHERS[name]})))
    assert len(given_ids) == len(names) + 1


def test_a_field_cannot_be_left_out() -> None:
    class Odd(DeploymentConfig):
        quiet: int = field(default=1, compare=False, repr=False)

    assert Odd(name="a").fingerprint() != Odd(name="a", quiet=2).fingerprint()
    with pytest.raises(ConfigError, match="InitVar"):

        class _Hidden(DeploymentConfig):
            hidden: InitVar[int] = 1

    with pytest.raises(AttributeError):
        Odd(name="a").name = "b"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ([1], "a list takes no part in an identity, expected a tuple"),
        (({1},), "a set takes no part in an identity, expected a frozenset"),
        ({}, "a tuple of pairs"),
        (float("nan"), "NaN"),
        ("\ud800", "UTF-8"),
        (object(), "canonical"),
    ],
)
def test_what_has_no_encoding_is_refused_with_its_field(value: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=f"at: .*{why}"):
        Config(name="a", at=value)


def test_public_parts_take_part() -> None:
    ids = set()
    for parts in (
        {},
        {"orders": public(stream(Small))},
        {"orders": public(stream(Large))},  # another WIRE_SIZE
        {"orders": public(stream(Small, require_ticket=Staff("v1")))},
        {"orders": public(stream(Small, consumer={"require_ticket": Staff("v1")}))},
        {"orders": public(collection(Map[str, int], "orders"))},
        {"orders": public(collection(Map[str, str], "orders"))},
        {"orders": public(actor(MosaikActor))},
        {"orders": public(actor(MosaikActor, messages=[Point]))},
        {"other": public(stream(Small))},
    ):
        kind: Any = type("Kind", (Deployment,), {"service": "test", **parts})
        ids.add(kind.deployment_id(Config(name="a")))
    assert len(ids) == 10


def test_the_acl_is_required_by_every_part_beside_its_own() -> None:
    class Guarded(Deployment[Config]):
        service = "test"
        orders = public(stream(Small, require_ticket=Staff("own")))
        stock = public(collection(Map[str, int], "stock"))
        keeper = public(actor(MosaikActor, require_ticket=Staff("own")))

    config = Config(name="a", acl=[Staff("all")], consensus=ConsensusConfig(heartbeat_interval=0.1))
    id_ = Guarded.deployment_id(config)
    moved = {name: part.move(id_, config) for name, part in Guarded.parts.items()}

    def of(validators: Any) -> list[UniqueId]:
        return [one.signature for one in validators]

    both = [UniqueId("all"), UniqueId("own")]
    sides = moved["orders"].sides()
    assert {name: of(one["require_ticket"]) for name, one in sides.items()} == {
        "producer": both,
        "consumer": both,
    }
    assert moved["orders"].stream_id == id_.derive("orders")
    assert moved["stock"].store_id == id_.derive("stock")
    assert of(moved["stock"].settings["require_ticket"]) == both[:1]
    assert moved["stock"].settings["consensus"] == config.consensus
    assert of(moved["keeper"].validators) == both
    assert moved["keeper"].name == id_.derive("keeper").hex
    # What was declared stays as it was.
    assert Guarded.orders.declaration.stream_id is None


def test_a_part_is_called_what_its_attribute_is_called() -> None:
    with pytest.raises((ConfigError, RuntimeError)) as caught:

        class _Wrong(Deployment[Config]):
            service = "test"
            orders = public(stream(Small, "sales"))

    found = caught.value if isinstance(caught.value, ConfigError) else caught.value.__cause__
    assert "declares 'sales', expected 'orders' or no name" in str(found)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)


def is_same(one: Any, other: Any) -> bool:
    """Return whether two values are equal, and no boolean passes for a number."""
    return bool(one == other) and kinds(one) == kinds(other)


def kinds(value: Any) -> Any:
    if isinstance(value, tuple):
        return [kinds(member) for member in value]
    if isinstance(value, frozenset):
        return sorted(map(repr, map(kinds, value)))
    return "bool" if isinstance(value, bool) else ""


@given(values.filter(lambda one: "\\ud" not in ascii(one)), values.filter(
    lambda one: "\\ud" not in ascii(one)))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_encodings_are_equal_when_values_are_and_prefix_free(one: Any, other: Any) -> None:
    mine, theirs = encode_value(one), encode_value(other)
    assert (mine == theirs) == is_same(one, other)
    assert mine == theirs or not mine.startswith(theirs)


PLAIN = "19694745d66f6b1e68b6f4666b846cfcf2391ea9307307d445da5fe138020569"
SHOP = "3a71652fe9759605e159d9e82268de4801abb0bd8e69d4f0389389dd343a2b55"
