"""Built inputs against everything that decodes what a peer sends.

    python -m tests.fuzz.decoders MINUTES [SEED]

For each decoder messages of its type are made up, from the type itself, and then
spoilt where it hurts: a part of one is replaced by a *bomb* (headers that claim
more than there is, nesting, crowds of the smallest objects, keys that collide),
or a list in it is filled up with good elements. Whatever the input, the decoder
returns or raises `RemoteError`, and 64 KB of it cost no more than
`CPU_S_MAX` and `MEMORY_BYTES_MAX`.

A short run is part of the suite (`tests/unit/test_decoders_fuzzed.py`). A run of
ten minutes tries about a million inputs.
"""

from __future__ import annotations

import json
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from random import Random
from typing import Any

import jwt
import msgpack
import msgspec
import zstandard

from mosaik_actors import schema
from mosaik_actors.discovery import entry, mdns, rendezvous
from mosaik_actors.discovery import wire as discovery_wire
from mosaik_actors.errors import DecodeError, RemoteError
from mosaik_actors.groups.machine import ledger, sessions
from mosaik_actors.groups.mesh import wire as bond_wire
from mosaik_actors.groups.wire import bootstrap as bootstrap_wire
from mosaik_actors.groups.wire import commands, configuration, group_record, system_entries
from mosaik_actors.groups.wire import frames as group_frames
from mosaik_actors.groups.wire import merge as merge_wire
from mosaik_actors.groups.wire import raft as raft_wire
from mosaik_actors.groups.wire import sync as sync_wire
from mosaik_actors.ids import PeerId
from mosaik_actors.streams import wire as streams_wire
from mosaik_actors.streams.criteria import binding, criteria
from mosaik_actors.tee import packing, quote, simulated
from mosaik_actors.tee.ticket import TdxTicket
from mosaik_actors.tickets import wire as tickets_wire
from mosaik_actors.tickets.jwt import Jwt
from mosaik_actors.tickets.keys import Hs256
from mosaik_actors.tickets.validator import InvalidTicket
from mosaik_actors.transport import frames
from mosaik_actors.transport.endpoint import lost
from mosaik_actors.transport.mapping import codec
from mosaik_actors.wire_encoding import BoundedDecoder, check_objects

INPUT_BYTES = 64 * 1024
CPU_S_MAX = 0.050
MEMORY_BYTES_MAX = 50_000_000
FILL_BYTES = 60_000
MDNS_SEAL = mdns.Seal(bytes(32), 0)
WEIGHED = 0.25  # of the inputs: looking at memory takes several times as long


class Price(msgspec.Struct):
    """What the subscriptions are about."""

    symbol: str
    value: float


@dataclass(frozen=True)
class Target:
    """Something that decodes.

    Attributes:
        name: What it is called in reports.
        call: Decodes, and does what is always done next.
        samples: Returns a message that is good, as plain values.
        prefix: What goes before the MessagePack.
    """

    name: str
    call: Callable[[bytes], Any]
    samples: Callable[[Random], Any]
    prefix: bytes = b""


@dataclass
class Report:
    """What a run has found."""

    input_count: int = 0
    worst_cpu_s: float = 0.0
    worst_cpu: str = ""
    worst_memory_bytes: int = 0
    worst_memory: str = ""
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.input_count} inputs; worst {self.worst_cpu_s * 1e3:.1f} ms ({self.worst_cpu}), "
            f"{self.worst_memory_bytes / 1e6:.1f} MB ({self.worst_memory}); "
            f"{len(self.faults)} faults"
        )


# The decoders.


def list_targets() -> list[Target]:
    """Return every decoder, and what follows on some of them."""
    by_what = {one.what: one for one in BoundedDecoder.made if one.what != "a test"}
    targets = [Target(what, one.decode, _sampler(one.kind)) for what, one in by_what.items()]

    def add(what: str, call: Callable[[bytes], Any], prefix: bytes = b"") -> None:
        targets.append(Target(call.__qualname__, call, _sampler(by_what[what].kind), prefix))

    add("a discovery frame", discovery_wire.decode_frame)
    add("the header of a discovery link", discovery_wire.decode_purpose)
    add("a peer entry", entry.SignedPeerEntry.decode, bytes(entry.SIGNATURE_BYTES))
    add("a subscription", _subscribe)
    add("a reply about tickets", tickets_wire.decode_shown)
    add("a frame of the mesh", bond_wire.decode_frame, bond_wire._FIRST)
    add("a message of a bootstrap", bootstrap_wire.decode_message)
    add("a prepare vote", bootstrap_wire.decode_prepare_vote)
    add("a message of Raft", raft_wire.decode_message)
    add("a message of a merge", merge_wire.decode_merge)
    add("a request of a sync", sync_wire.decode_request)
    add("an answer of a sync", sync_wire.decode_answer)
    add("a configuration", configuration.decode_voters)
    add("commands", commands.decode_command_batches)
    add("a system entry", system_entries.decode_system_entry)
    add("a ledger", ledger.Ledger.from_bytes)
    add("a table of sessions", sessions.Sessions.from_bytes)
    add("a stored group", group_record.decode_stored)
    targets += [
        Target("link control", frames.decode_control, _sampler(frames._decoder.kind)),
        Target("decode_criteria", _select, _criteria_sample),
        Target("check_objects", _check, _criteria_sample),
        Target("FrameDecoder", _cut, lambda _rng: [], b"\x00\x00\xff\xf0"),
        Target("read_data", streams_wire.read_data, lambda _rng: [], b"\x01"),
        Target("read_ack", streams_wire.read_ack, lambda _rng: [], b"\x02"),
        Target("split_history", group_frames.split_history, lambda _rng: [], b"\x02"),
        Target("parse_notice", _notice, lambda _rng: [], b"mosaik notice 1\n"),
        Target("parse_properties", _properties, lambda _rng: []),
        Target("TdxTicket", _ticket, _sampler(packing.PackedTicket)),
        Target("Quote.parse", quote.Quote.parse, lambda _rng: [], _quote_head()),
        Target("decode_hint", lost.decode_hint, lambda _rng: []),
        Target("decode_answer", codec.decode_answer, lambda _rng: [], b"\x02\x81"),
        Target("a token", _token, lambda _rng: [], b"eyJhbGciOiJIUzI1NiJ9."),
        Target("the claims of a token", _claims, _claims_sample),
    ]
    return targets


TOKEN_KEY = Hs256(bytes(32))
TOKENS = Jwt(TOKEN_KEY, issuers="a", audiences="b", claims={"c": 1}, max_age=5)


def _token(data: bytes) -> None:
    """A token as it comes; what is refused is a broken rule of the peer's."""
    try:
        TOKENS.check(data, PeerId(bytes(32)), now=1.7e9)
    except InvalidTicket as exc:
        raise RemoteError(str(exc)) from exc


def _claims(data: bytes) -> None:
    """A signed token that says what the input says, as JSON: the issuer may be hostile."""
    check_objects(data, objects_max=6000, depth_max=64)  # msgpack believes what heads claim
    try:
        claims = msgpack.unpackb(data, strict_map_key=False)
        text = json.dumps(claims, default=str).encode()
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as exc:
        raise RemoteError(str(exc)) from exc
    signed = jwt.PyJWS().encode(text[:6000], bytes(32), "HS256")
    _token(signed.encode())


def _claims_sample(rng: Random) -> Any:
    values = ["a", ["b"], 1, 1.7e9 + 60, -1, None, True, {"c": 1}, "1", 1e300]
    return {name: rng.choice(values) for name in ("iss", "aud", "sub", "exp", "iat", "nbf", "c")}


def _subscribe(data: bytes) -> None:
    theirs = streams_wire.decode_subscribe(data).schema
    ours = schema.describe(Price)
    schema.first_difference(ours, theirs)
    schema.first_difference(theirs, ours)


def _select(data: bytes) -> None:
    wanted = criteria.decode_criteria(data)
    try:
        judge = binding.compile_criteria(wanted, Price)
    except criteria.CriteriaError:
        return
    judge(Price("ETH", 1.0))


def _check(data: bytes) -> None:
    check_objects(data, objects_max=4096, depth_max=16)


def _cut(data: bytes) -> None:
    decoder = frames.FrameDecoder(INPUT_BYTES)
    for start in range(0, len(data), 1200):
        decoder.receive_data(data[start : start + 1200])


def _notice(data: bytes) -> None:
    rendezvous.parse_notice("0" * 64, data)


def _properties(data: bytes) -> None:
    half = len(data) // 2
    peer, addr = (part.decode("latin-1") for part in (data[half:], data))
    tag = MDNS_SEAL.tag_record("a name", peer, [addr]).encode()  # as a member has it
    said = {b"v": data[:half], b"n": tag, b"p": data[half:], b"a0": data}
    mdns.parse_properties(MDNS_SEAL, "a name", said)


def _ticket(data: bytes) -> None:
    try:
        TdxTicket.from_data(zstandard.ZstdCompressor(1).compress(data))
    except InvalidTicket as exc:
        raise DecodeError(str(exc)) from exc


def _quote_head() -> bytes:
    """Return a quote without its last part, the certificates."""
    return simulated.SimulatedTd(simulated.SimulatedRoot("fuzz")).quote(bytes(64))[:1252]


# Messages that are good, from the type.


def _sampler(kind: Any) -> Callable[[Random], Any]:
    info = msgspec.inspect.type_info(kind)
    return lambda rng: _sample(info, rng, 0)


def _sample(info: Any, rng: Random, depth: int) -> Any:
    """Return a value of a type as it travels."""
    match info:
        case msgspec.inspect.Metadata():
            return _sample(info.type, rng, depth)
        case msgspec.inspect.UnionType():
            return _sample(rng.choice(info.types), rng, depth)
        case msgspec.inspect.StructType():
            parts = [(f.encode_name, _sample(f.type, rng, depth + 1)) for f in info.fields]
            if info.array_like:
                return [*([] if info.tag is None else [info.tag]), *(part for _, part in parts)]
            return {**({} if info.tag is None else {info.tag_field: info.tag}), **dict(parts)}
        case msgspec.inspect.NamedTupleType():
            return [_sample(f.type, rng, depth + 1) for f in info.fields]
        case msgspec.inspect.TupleType():
            return [_sample(one, rng, depth + 1) for one in info.item_types]
        case msgspec.inspect.VarTupleType() | msgspec.inspect.ListType():
            count = max(rng.choice((0, 1, 3)) if depth < 6 else 0, info.min_length or 0)
            return [_sample(info.item_type, rng, depth + 1) for _ in range(count)]
        case msgspec.inspect.DictType():
            keys = [_sample(info.key_type, rng, depth + 1) for _ in range(rng.choice((0, 1, 3)))]
            return {key: _sample(info.value_type, rng, depth + 1) for key in keys}
        case msgspec.inspect.IntType():
            low = info.ge if info.ge is not None else 0
            return rng.choice((low, min(low + 7, info.le if info.le is not None else low + 7)))
        case msgspec.inspect.BytesType():
            return rng.randbytes(max(info.min_length or 0, min(info.max_length or 8, 8)))
        case msgspec.inspect.StrType():
            return rng.choice(("127.0.0.1", "x"))[: info.max_length]
        case msgspec.inspect.CustomType():
            return rng.randbytes(32)
        case msgspec.inspect.EnumType():
            return rng.choice(list(info.cls)).value
        case msgspec.inspect.LiteralType():
            return rng.choice(info.values)
        case msgspec.inspect.BoolType():
            return rng.random() < 0.5
        case msgspec.inspect.FloatType():
            return (info.ge or 0.0) + rng.random()
    return None


def _criteria_sample(rng: Random) -> Any:
    compared = [rng.choice(("==", "<", "startswith")), ["symbol"], rng.choice(("ETH", 1, None))]
    return [rng.choice("&|"), *[compared] * rng.choice((1, 3, 60))]


# Spoilt messages.


@cache
def list_bombs() -> list[tuple[str, bytes]]:
    """Return what costs a careless decoder most, by name."""
    return list(_make_bombs(Random(0)))


def _make_bombs(rng: Random) -> Iterator[tuple[str, bytes]]:
    size = INPUT_BYTES
    for name, head, width in (
        ("array32", 0xDD, 4), ("array16", 0xDC, 2), ("map32", 0xDF, 4), ("map16", 0xDE, 2),
        ("str32", 0xDB, 4), ("bin32", 0xC6, 4), ("ext32", 0xC9, 4),
    ):  # fmt: skip
        for claim in (size // 2, (1 << 8 * width) - 1):  # that could be true, and not
            header = bytes([head]) + min(claim, (1 << 8 * width) - 1).to_bytes(width)
            yield f"{name} claims {claim}", header
            yield f"{name} claims {claim}, nested", (header * 1000).ljust(size, b"\xc0")
            for name_of, filler in (("nil", b"\xc0"), ("zero", b"\x00"), ("empty text", b"\xa0"),
                                    ("empty array", b"\x90"), ("empty map", b"\x80")):  # fmt: skip
                yield f"{name} of {name_of}s", header + filler * (size - 8)
    for name, start in (("array", b"\x91"), ("map", b"\x81"), ("pair", b"\x92\x90"),
                       ("key", b"\x81\x90"), ("keyed", b"\x81\xc0")):  # fmt: skip
        yield f"{name} in {name}", start * (size // len(start))
    # Integers with the same hash, and with hashes that end in the same bits.
    keys = [n * ((1 << 61) - 1) for n in range(1, 8)] + [n << 48 for n in range(7000)]
    rng.shuffle(keys)
    packed = b"".join(b"\xcf" + (key & ((1 << 64) - 1)).to_bytes(8) for key in keys)
    yield "array that collides", b"\xdd" + len(keys).to_bytes(4) + packed
    pairs = b"".join(packed[at : at + 9] + b"\xc0" for at in range(0, len(packed), 9))
    yield "map that collides", b"\xdf" + len(keys).to_bytes(4) + pairs[:size]
    yield "one long text", b"\xdb" + (size - 8).to_bytes(4) + b"\xc3\xa4" * ((size - 8) // 2)
    yield "noise", rng.randbytes(size)


def list_places(value: Any) -> list[tuple[Any, ...]]:
    """Return the ways to all parts of a value."""
    ways: list[tuple[Any, ...]] = [()]
    parts: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list):
        parts = enumerate(value[:8])
    for key, part in parts:
        ways += [(key, *way) for way in list_places(part)]
    return ways


def pack_with(value: Any, way: tuple[Any, ...], bomb: bytes) -> bytes:
    """Return a value as bytes, with a bomb where `way` leads to."""
    if not way:
        return bomb
    if isinstance(value, dict):
        head = msgpack.Packer().pack_map_header(len(value))
        parts = [
            msgpack.packb(key) + (pack_with(part, way[1:], bomb) if key == way[0] else _pack(part))
            for key, part in value.items()
        ]
    else:
        head = msgpack.Packer().pack_array_header(len(value))
        parts = [
            pack_with(part, way[1:], bomb) if at == way[0] else _pack(part)
            for at, part in enumerate(value)
        ]
    return bytes(head) + b"".join(parts)


def fill(value: Any, way: tuple[Any, ...], rng: Random) -> Any:
    """Return a value with the list that `way` leads to filled up with elements like its own."""
    if not way:
        if not isinstance(value, list) or not value:
            return value
        one = value[-1]
        count = FILL_BYTES // max(1, len(_pack(one)))
        return value + [_varied(one, rng) for _ in range(min(count, FILL_BYTES))]
    copy = value.copy()
    copy[way[0]] = fill(value[way[0]], way[1:], rng)
    return copy


def _varied(value: Any, rng: Random) -> Any:
    return rng.randbytes(len(value)) if isinstance(value, bytes) else value


def _pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


def list_inputs(target: Target, rng: Random) -> list[tuple[str, Callable[[], bytes]]]:
    """Return what makes built inputs for a decoder, by name, from one good message."""
    sample = target.samples(rng)
    inputs: list[tuple[str, Callable[[], bytes]]] = [("a good one", lambda: _pack(sample))]
    ways = list_places(sample)
    inputs += [(f"filled at {way}", partial(_filled, sample, way, rng)) for way in ways]
    for name, bomb in list_bombs():
        way = rng.choice(ways)
        inputs.append((f"{name} at {way}", partial(pack_with, sample, way, bomb)))
    return inputs


def _filled(sample: Any, way: tuple[Any, ...], rng: Random) -> bytes:
    return _pack(fill(sample, way, rng))


# Running.


def try_input(target: Target, name: str, data: bytes, report: Report, *, weighs: bool) -> None:
    """Decode once, and note what it cost; `weighs`: the memory as well."""
    report.input_count += 1
    label = f"{target.name}: {name}"
    cpu_s = _time(target, data, label, report)
    if cpu_s > CPU_S_MAX:  # it may have been the garbage of others
        cpu_s = min(_time(target, data, label, report) for _ in range(3))
    if cpu_s > report.worst_cpu_s:
        report.worst_cpu_s, report.worst_cpu = cpu_s, label
    if cpu_s > CPU_S_MAX:
        report.faults.append(f"{label}: {cpu_s * 1e3:.0f} ms")
    if not weighs:
        return
    tracemalloc.start()
    _time(target, data, label, report)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    if peak > report.worst_memory_bytes:
        report.worst_memory_bytes, report.worst_memory = peak, label
    if peak > MEMORY_BYTES_MAX:
        report.faults.append(f"{label}: {peak / 1e6:.0f} MB")


def _time(target: Target, data: bytes, label: str, report: Report) -> float:
    before = time.thread_time()
    try:
        target.call(data)
    except RemoteError:
        pass
    except Exception as error:
        report.faults.append(f"{label}: {type(error).__name__}: {str(error)[:100]}")
    return time.thread_time() - before


def run(seconds: float, seed: int) -> Report:
    """Go through all decoders again and again, until the time is up but at least once."""
    report = Report()
    targets = list_targets()
    end_at = time.monotonic() + seconds
    number = 0
    while not number or time.monotonic() < end_at:
        for target in targets:
            run_once(target, Random(f"{seed} {number} {target.name}"), report)
        number += 1
    return report


def run_once(target: Target, rng: Random, report: Report, count_max: int = 1 << 20) -> None:
    """Try the inputs that one good message gives, or as many of them, drawn at random."""
    inputs = list_inputs(target, rng)
    for name, make in rng.sample(inputs, min(count_max, len(inputs))):
        data = (target.prefix + make())[:INPUT_BYTES]
        try_input(target, name, data, report, weighs=rng.random() < WEIGHED)


def main() -> int:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    report = run(60 * minutes, seed)
    sys.stdout.write(f"seed {seed}: {report}\n")
    for fault in dict.fromkeys(report.faults[:50]):
        sys.stdout.write(f"{fault}\n")
    return bool(report.faults)


if __name__ == "__main__":
    sys.exit(main())
