"""What was measured of a network, as a node of it sees it, and the judgement of it.

A pure module, as `machine`. What an address looks like from outside comes in as
`Observed`, whoever told it: a relay or a peer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ...transport.address import SocketAddr, format_socket_addr
from .finding import Finding, fail, ok, skip, warn

DRIFT_WARN_S: Final = 1.0
RELAY_SLOW_S: Final = 0.3
DATAGRAM_BYTES_SMALL: Final = 1200
_LISTED_MAX: Final = 6
_APART_ADVICE: Final = (
    "give both the same TransportConfig(carriers=...), or one carrier in common, or a relay"
)
_CARRIERS: Final = {"quic": "UDP", "tcp": "TLS over TCP"}


@dataclass(frozen=True, slots=True)
class Met:
    """Who was found.

    Attributes:
        peers: The carrier of the connection to each peer in the catalog, by its short id; None
            without a connection.
        took_s: How long that took.
        named: How many peers were named to begin with.
        refused: How many entries were refused, by reason.
        apart: Who cannot meet whom for want of a carrier, a sentence each.
    """

    peers: Mapping[str, str | None]
    took_s: float
    named: int
    refused: Mapping[str, int]
    apart: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class RelayReached:
    """A relay that was dialled over one carrier alone.

    Attributes:
        addr: Which one.
        carrier: How: ``quic``, over UDP, or ``tcp``.
        rtt_s: The round trip, if it answered.
        error: Why it was not reached; empty if it gave this node a place.
        wants_ticket: Whether it was reached, and serves only nodes with a ticket.
    """

    addr: str
    carrier: str
    rtt_s: float | None = None
    error: str = ""
    wants_ticket: bool = False


@dataclass(frozen=True, slots=True)
class ClockReading:
    """How far a peer's clock is ahead of ours, give or take `error_s`."""

    peer: str
    ahead_s: float
    error_s: float


@dataclass(frozen=True, slots=True)
class DatagramPath:
    """The way to a peer over UDP alone.

    Attributes:
        peer: Who was dialled, by its short id.
        datagram_bytes: The largest datagram that the path carries, found so far.
        error: Why the peer was not reached; empty if it answered.
    """

    peer: str
    datagram_bytes: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Observed:
    """The address at which somebody saw this node's datagrams."""

    by: str
    addr: SocketAddr


@dataclass(frozen=True, slots=True)
class DhtReached:
    """How the DHT answered.

    Attributes:
        hosts: How many nodes were named to begin with.
        answered_s: How long until the first node answered; None when none did.
        error: Why it could not be tried; empty if it could.
    """

    hosts: int
    answered_s: float | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class GatewayAsked:
    """What the gateway said when it was asked to map a port.

    Attributes:
        external: Where that port was reached from outside; None where it did not map.
        method: By which protocol.
        error: Why it did not.
        took_s: How long that took.
    """

    external: SocketAddr | None
    method: str
    error: str
    took_s: float


def judge_peers(met: Met) -> Finding:
    """Judge whether anybody is there, and what carries the connections."""
    check = "peers"
    refused = sum(met.refused.values())
    apart = "; ".join(met.apart[:_LISTED_MAX])
    if not met.peers:
        found = f"nobody was found within {met.took_s:.1f} s"
        if apart:
            return fail(check, f"{found}; {apart}", _APART_ADVICE)
        if refused:
            reasons = ", ".join(f"{why} {count}" for why, count in met.refused.items())
            advice = "compare the clocks of this machine and the peers"
            return fail(check, f"{found}; entries were refused: {reasons}", advice)
        if met.named:
            advice = (
                "check the peers' addresses and that they run, the name and the secret; a firewall "
                "or a NAT between may drop UDP: open the port, or use a relay"
            )
            return fail(check, f"{found}, though {met.named} were named", advice)
        advice = "nodes of this user on this machine are found by themselves; name others"
        return warn(check, found, f"{advice} with --bootstrap, and give the network's secret")
    carriers: dict[str, int] = {}
    for carrier in met.peers.values():
        word = carrier or "not connected"
        carriers[word] = carriers.get(word, 0) + 1
    found = f"{len(met.peers)} found: " + ", ".join(f"{n} {word}" for word, n in carriers.items())
    if apart:
        return warn(check, f"{found}; {apart}", _APART_ADVICE)
    if set(met.peers.values()) == {"relay"}:
        advice = "UDP between this node and each peer is blocked: open a port at one side"
        return warn(check, found, advice)
    return ok(check, found)


def judge_groups(group_count: int, divided: Sequence[str]) -> Finding:
    """Judge whether groups that were meant to be one are several.

    Args:
        group_count: How many groups there are.
        divided: Those of which there are several under one name, a sentence each.
    """
    check = "groups"
    if not group_count:
        return skip(check, "nobody is in a group")
    if not divided:
        return ok(check, f"{group_count} found, each of another name and store")
    advice = (
        "members of different groups never meet, and wait for each other: give all nodes one "
        "version of the types and settings; the warning in their logs says what differs"
    )
    return warn(check, "; ".join(divided[:_LISTED_MAX]), advice)


def judge_relays(relays: Sequence[RelayReached]) -> Finding:
    """Judge whether the relays take this node. One that does is enough."""
    if not relays:
        return skip("relay", "none was named (--relay)")
    ways: dict[str, list[RelayReached]] = {}
    for one in relays:
        ways.setdefault(one.addr, []).append(one)
    lost = [addr for addr, tried in ways.items() if all(one.error for one in tried)]
    if lost:
        found = "; ".join(f"{addr}: {_list_errors(ways[addr])}" for addr in lost)
        advice = (
            "check that it runs, its address and --relay-secret-file; where this network blocks "
            "all ports but the usual ones, run it at port 443 (--bind 0.0.0.0:443)"
        )
        judge = fail if len(lost) == len(ways) else warn
        return judge("relay", found, advice)
    if halves := [addr for addr, tried in ways.items() if any(one.error for one in tried)]:
        tried = ways[halves[0]]
        over = " and ".join(_CARRIERS[one.carrier] for one in tried if not one.error)
        found = f"{halves[0]} is reached over {over} alone; {_list_errors(tried)}"
        has_udp = not any(one.error and one.carrier == "quic" for one in tried)
        advice = (
            "nodes use it over UDP; one in a network that blocks UDP needs TCP at the same port"
            if has_udp
            else "nodes use it over TCP; for direct paths past it let UDP to its port through"
        )
        return warn("relay", found, advice)
    rtts = [one.rtt_s for one in relays if one.rtt_s is not None]
    carriers = dict.fromkeys(_CARRIERS[one.carrier] for one in relays)
    found = f"{len(ways)} reached over {' and '.join(carriers)}"
    if any(one.wants_ticket for one in relays):
        found += ", with a ticket only"
    if rtts:
        found += f", the nearest in {min(rtts) * 1000:.1f} ms"
        if min(rtts) > RELAY_SLOW_S:
            return warn("relay", found, "run a relay that is nearer")
    return ok("relay", found)


def _list_errors(tried: Sequence[RelayReached]) -> str:
    return ", ".join(f"over {_CARRIERS[one.carrier]}: {one.error}" for one in tried if one.error)


def judge_clocks(readings: Sequence[ClockReading], drift_max_s: float) -> Finding:
    """Judge the clocks; a peer refuses entries that are more than `drift_max_s` ahead."""
    if not readings:
        return skip("clock", "no peer told its time")
    worst = max(readings, key=lambda one: abs(one.ahead_s) - one.error_s)
    drift = max(0.0, abs(worst.ahead_s) - worst.error_s)
    # The one of many that is wrong is told from the many.
    middle = sorted(one.ahead_s for one in readings)[len(readings) // 2]
    ours = len(readings) > 2 and abs(middle) > DRIFT_WARN_S
    whose = "this machine's clock" if ours else f"the clock of {worst.peer} or this machine's"
    word = "ahead of" if worst.ahead_s > 0 else "behind"
    found = (
        f"{len(readings)} compared; {worst.peer} is {abs(worst.ahead_s):.3f} s {word} this "
        f"machine, give or take {worst.error_s:.3f} s"
    )
    if not drift:
        bound_s = max(abs(one.ahead_s) + one.error_s for one in readings)
        found = (
            f"{len(readings)} compared; none differs by more than can be measured, {bound_s:.3f} s"
        )
    advice = f"{whose} is wrong: let chrony or systemd-timesyncd keep it (timedatectl set-ntp true)"
    if drift > drift_max_s:
        return fail("clock", found, f"{advice}; peers refuse what is dated too far ahead")
    if drift > DRIFT_WARN_S:
        return warn("clock", found, advice)
    return ok("clock", found)


def judge_paths(paths: Sequence[DatagramPath]) -> Finding:
    """Judge whether peers are reached over UDP directly, and with which datagrams."""
    check = "udp to peers"
    if not paths:
        return skip(check, "there is no peer to dial")
    if bad := [one for one in paths if one.error]:
        listed = "; ".join(f"{one.peer}: {one.error}" for one in bad[:_LISTED_MAX])
        advice = (
            "UDP between the two is blocked: open the peer's UDP port (bind=) in its firewall and "
            "router; until then it is reached over TCP or through a relay, or not at all"
        )
        return warn(check, f"{len(bad)} of {len(paths)} do not answer: {listed}", advice)
    least = min(paths, key=lambda one: one.datagram_bytes)
    found = "datagrams of " + ", ".join(
        f"{one.datagram_bytes} bytes to {one.peer}" for one in paths[:_LISTED_MAX]
    )
    if least.datagram_bytes <= DATAGRAM_BYTES_SMALL:
        advice = "a tunnel or a filter between keeps datagrams small: set its MTU to 1280 or more"
        return warn(check, found, advice)
    return ok(check, found)


def judge_nat(local: Sequence[SocketAddr], observed: Sequence[Observed]) -> Finding:
    """Judge what translates this node's address, by where others see it (RFC 5780 section 4.3)."""
    if not observed:
        return skip("nat", "nobody told at which address this node is seen")
    seen = {one.addr for one in observed}
    told = ", ".join(f"{format_socket_addr(one.addr)} by {one.by}" for one in observed)
    if seen <= set(local):
        return ok("nat", f"none: seen at its own address, {told}")
    if len(observed) == 1:
        return ok("nat", f"there is one; a second observer would tell its kind; seen at {told}")
    if len(seen) == 1:
        return ok("nat", f"there is one, with one mapping for all (hole punching works): {told}")
    found = f"there is one, with another mapping for each remote address (symmetric): {told}"
    return warn("nat", found, "peers are met through a relay: name one, or forward a UDP port")


def judge_mapping(asked: GatewayAsked | None) -> Finding:
    """Judge whether the gateway maps ports."""
    check = "port mapping"
    if asked is None:
        return skip(check, "not asked for (--port-mapping)")
    if asked.external is not None:
        found = f"mapped at {format_socket_addr(asked.external)} by {asked.method}, and given back"
        return ok(check, found)
    advice = (
        "turn on PCP, NAT-PMP or UPnP at the router, or forward the port there by hand; direct "
        "paths past a relay mostly need neither"
    )
    found = asked.error or f"no answer within {asked.took_s:.0f} s"
    return warn(check, found, advice)


def judge_dht(reached: DhtReached | None) -> Finding:
    """Judge whether the DHT answers."""
    if reached is None:
        return skip("dht", "not asked for (--dht, --dht-bootstrap)")
    if reached.error:
        return fail("dht", reached.error, "see dns and extras above")
    if reached.answered_s is None:
        found = f"none of {reached.hosts} nodes answered"
        return fail("dht", found, "UDP to them is blocked, or none of them runs: name others")
    return ok("dht", f"answered after {reached.answered_s:.2f} s")
