"""The settings of the transport."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from ..config import as_seconds, require_above, require_between
from ..errors import ConfigError
from .frames import LENGTH_MAX
from .interface import FRAME_BYTES_MAX, LINKS_RESERVED

CARRIERS = ("unix", "tcp", "quic", "relay")  # the quickest first
QUIC_ENGINES = ("auto", "aioquic", "qh3")
DATAGRAM_BYTES_MIN = 1200
GATEWAY_PORT = 5351  # of PCP and NAT-PMP (RFC 6887 section 19.1)
FRAME_BYTES_MAX_MIN = 256 * 1024  # below this discovery could not sync
DATAGRAM_BYTES_MAX = 65_000
UNDELIVERED_BYTES_MIN = 1024 * 1024  # a window that each connection begins with
UNDELIVERED_BYTES_MAX = 16 * 1024 * 1024
LINKS_MAX_MIN = 2 * LINKS_RESERVED
LINKS_MAX_MAX = 1 << 20


@dataclass(frozen=True, kw_only=True)
class TransportConfig:
    """How a node talks to others. Local: peers need not agree on any of it.

    Durations are seconds or a `timedelta`; they are kept as seconds.

    Attributes:
        carriers: What may carry connections: ``unix`` sockets between processes of one user
            on one machine, in the private folder of the rendezvous; ``tcp``, TLS 1.3 at the
            same addresses as QUIC; ``quic`` over UDP; ``relay``, QUIC through a relay of
            `Network(relay=...)`. ``auto``, the default, is Unix sockets on one machine, TCP
            where the peer's port answers within 20 ms, and else QUIC; TCP also where nothing
            comes back over UDP; and a relay where no direct way answers.
        quic_engine: What makes and reads QUIC packets: ``aioquic``, or ``qh3``, in native code,
            with a tenth of the CPU at the datagrams of real networks (the extra
            ``quic-native``). ``auto`` is qh3 where it is installed, but for peers on this machine,
            where aioquic's larger datagrams are quicker. Both speak the same protocol.
        idle_timeout: A connection that hears nothing for so many seconds is
            given up. The smaller value of both sides counts.
        keep_alive_interval: A connection with links on it pings when it was silent
            for so many seconds.
        dial_timeout: Seconds until a dial fails, and until who is there must be known and
            proven. Up to eight times as many while this process is late itself.
        frame_bytes_max: The largest frame sent or taken in, in bytes.
        high_water_bytes: Above so many unacknowledged bytes a link counts as
            congested; its owner hears `LinkDrained` when it is below half.
        datagram_bytes_loopback: UDP payload between two processes of one
            machine, in bytes.
        datagram_bytes_max: Up to which UDP payload a path is searched for
            larger datagrams, in bytes (RFC 8899); 1200 turns the search off.
        socket_buffer_bytes: What is asked of the kernel for each direction.
        connections_max: How many connections there may be, 4096 because each costs some
            100 KB. When all are taken, the one that has been without an accepted link
            for longest ends for a newcomer that has shown that its address is real,
            so that strangers who only connect keep nobody out. Connections with
            accepted links stay: when all have some, newcomers are refused.
        known_reserve: So many of `connections_max` and of `handshakes_max`, at most a
            quarter of either, are kept for addresses from which a peer had an accepted
            link before, so that neighbours come back in a flood of newcomers. 64: more
            than the neighbours that a node has.
        links_max: How many links each side of a connection may have open to the
            other at a time, one for each stream consumed and each group shared;
            the smaller value of both sides counts. More are refused with the
            code `TOO_MANY_LINKS`. The last 128 are kept for discovery and groups,
            whatever streams there are.
        half_open_max: With more unfinished incoming handshakes than this,
            newcomers must first show that their address is real (RFC 9000
            section 8.1.2). 64: honest handshakes take a few round trips, and so
            many at a time are rare.
        handshakes_max: How many unfinished incoming handshakes there may be. With
            more, the oldest of them is given up for a newcomer. 1024: a thousand
            nodes that join at once are served. Where sockets carry, a quarter of the files
            that the process may have open is the most.
        stranger_handshakes_max: How many incoming handshakes may come to nothing before
            newcomers have to wait: a place is free again when a peer proves that it is
            of the network, or by time. 1024, as `handshakes_max`.
        stranger_handshakes_per_s: How many such places time frees per second. A handshake
            costs some 4 ms: 64 take a quarter of a processor at most.
        host_handshakes_max: The same for one host. 512: some hundred nodes behind one
            address join at once.
        host_handshakes_per_s: The same for one host. 32 let half of the places of all
            to others, and a single host take an eighth of a processor at most.
        half_received_bytes_max: How many bytes of frames that are not complete one connection
            may hold. With more, the link ends that holds most of them. 256 MiB: sixteen
            of the largest frames at a time.
        undelivered_bytes_max: How many bytes that came over QUIC one connection may hold, all
            links together, because they wait for earlier ones or for those who take them;
            the peer may send no more. 16 MiB: a gigabit at 130 ms. At least 1 MiB.
        faults_max: With so many broken rules, of which half are forgotten in
            `fault_half_life`, a peer is disconnected and refused for a time. 16: who
            speaks another version of something breaks a rule or two.
        fault_half_life: In so many seconds half of what a peer did is forgotten.
        refusal_min: For how many seconds a peer is refused for that; twice as long each time.
        refusal_max: The longest such time, and after how long it begins anew.
        port_mapping: Whether to have the gateway of this network send on what comes from outside,
            by PCP, NAT-PMP, or UPnP (the extra ``upnp``): for nodes behind a NAT of their own.
        port_gateway: The gateway that is asked, as ``192.168.1.1`` or ``192.168.1.1:5351``;
            empty for that of the default route.
        stranger_datagrams_max: How many datagrams, of 1,200 bytes each, a first
            handshake sends to an address that only gossip names before something
            comes back; later ones send one. 3 bear two losses in a row, and keep
            below what it costs to have the address named to a network.
        stranger_retry_min: Seconds until such an address is dialled again after a
            handshake that came to nothing, for whichever peer is said to be there;
            doubles each time. What the user named (`bootstrap`, `dial`) and where
            the peer has answered before is dialled without this.
        stranger_retry_max: The longest such wait.
        stranger_dials_max: How many dials of such addresses may be without an
            answer: more wait. An answer frees a place at once, so that only a
            network whose nodes are not where it says is joined slowly.
        stranger_dials_per_s: How many such places silence frees per second. 4 keep
            what a node can be made to send to others below 15 KB/s, and let it try
            hundreds of peers that cannot be reached within `stranger_retry_max`.
        stranger_host_dials_max: The same for one host of which no port has
            answered; silence frees a place there 40 times as rarely.
            Room for a few dead processes beside one that lives.
    """

    carriers: str | tuple[str, ...] = "auto"
    quic_engine: str = "auto"
    idle_timeout: float = 10.0
    keep_alive_interval: float = 2.5
    dial_timeout: float = 10.0
    frame_bytes_max: int = FRAME_BYTES_MAX
    high_water_bytes: int = 4 * 1024 * 1024
    datagram_bytes_loopback: int = 16_384
    datagram_bytes_max: int = 1472
    socket_buffer_bytes: int = 4 * 1024 * 1024
    connections_max: int = 4096
    known_reserve: int = 64
    links_max: int = 4096
    half_open_max: int = 64
    handshakes_max: int = 1024
    stranger_handshakes_max: int = 1024
    stranger_handshakes_per_s: float = 64.0
    host_handshakes_max: int = 512
    host_handshakes_per_s: float = 32.0
    half_received_bytes_max: int = 256 * 1024 * 1024
    undelivered_bytes_max: int = UNDELIVERED_BYTES_MAX
    faults_max: float = 16.0
    fault_half_life: float = 60.0
    refusal_min: float = 30.0
    refusal_max: float = 3600.0
    port_mapping: bool = False
    port_gateway: str = ""
    stranger_datagrams_max: int = 3
    stranger_retry_min: float = 15.0
    stranger_retry_max: float = 240.0
    stranger_dials_max: int = 64
    stranger_dials_per_s: float = 4.0
    stranger_host_dials_max: int = 4

    @property
    def gateway(self) -> tuple[str, int] | None:
        """The gateway that is asked for mappings; None for that of the default route."""
        return _parse_gateway(self.port_gateway)

    @property
    def maps_outside(self) -> bool:
        """Whether a gateway that is not on this machine maps ports."""
        gateway = self.gateway
        return self.port_mapping and (gateway is None or not IPv4Address(gateway[0]).is_loopback)

    def carries(self, carrier: str) -> bool:
        """Return whether connections may be carried by this."""
        return self.carriers == "auto" or carrier in self.carriers

    def __post_init__(self) -> None:
        if self.carriers != "auto":
            given = self.carriers
            carriers = tuple(given) if isinstance(given, tuple | list | set | frozenset) else ()
            if not carriers or any(one not in CARRIERS for one in carriers):
                raise ConfigError(
                    f"carriers is {given!r}, expected 'auto' or some of {', '.join(CARRIERS)}, "
                    "as in carriers=('quic',)"
                )
            object.__setattr__(self, "carriers", carriers)  # nobody changes it afterwards
        if self.quic_engine not in QUIC_ENGINES:
            raise ConfigError(
                f"quic_engine is {self.quic_engine!r}, expected one of {', '.join(QUIC_ENGINES)}"
            )
        _parse_gateway(self.port_gateway)
        as_seconds(self, "idle_timeout", "keep_alive_interval", "dial_timeout")
        as_seconds(self, "stranger_retry_min", "stranger_retry_max")
        as_seconds(self, "fault_half_life", "refusal_min", "refusal_max")
        require_above("idle_timeout", self.idle_timeout)
        require_above("keep_alive_interval", self.keep_alive_interval)
        require_above("dial_timeout", self.dial_timeout)
        if self.keep_alive_interval >= self.idle_timeout:
            raise ConfigError(
                f"keep_alive_interval is {self.keep_alive_interval}, expected less than "
                f"idle_timeout, which is {self.idle_timeout}"
            )
        require_between("frame_bytes_max", self.frame_bytes_max, FRAME_BYTES_MAX_MIN, LENGTH_MAX)
        require_above("high_water_bytes", self.high_water_bytes)
        for name in ("datagram_bytes_loopback", "datagram_bytes_max"):
            require_between(name, getattr(self, name), DATAGRAM_BYTES_MIN, DATAGRAM_BYTES_MAX)
        require_above("socket_buffer_bytes", self.socket_buffer_bytes)
        require_between(
            "undelivered_bytes_max", self.undelivered_bytes_max, UNDELIVERED_BYTES_MIN, LENGTH_MAX
        )
        require_above("connections_max", self.connections_max)
        require_between("links_max", self.links_max, LINKS_MAX_MIN, LINKS_MAX_MAX)
        require_above("known_reserve", self.known_reserve, -1)
        require_above("half_open_max", self.half_open_max, -1)
        require_above("handshakes_max", self.handshakes_max)
        for name in _ABOVE_0:
            require_above(name, getattr(self, name))
        if self.half_received_bytes_max < self.frame_bytes_max:
            raise ConfigError(
                f"half_received_bytes_max is {self.half_received_bytes_max}, expected at least "
                f"frame_bytes_max, which is {self.frame_bytes_max}"
            )
        for what in ("stranger_retry", "refusal"):
            least, most = getattr(self, f"{what}_min"), getattr(self, f"{what}_max")
            if most < least:
                raise ConfigError(
                    f"{what}_max is {most}, expected at least {what}_min, which is {least}"
                )


def _parse_gateway(text: str) -> tuple[str, int] | None:
    host, _, port = text.partition(":")
    try:
        IPv4Address(host or "0.0.0.0")
        number = int(port or GATEWAY_PORT)
        if not 0 < number < 65_536:
            raise ValueError
    except ValueError:
        raise ConfigError(
            f"port_gateway is {text!r}, expected an IPv4 address, as 192.168.1.1, or empty"
        ) from None
    return (host, number) if host else None


_ABOVE_0 = (
    "stranger_handshakes_max",
    "stranger_handshakes_per_s",
    "host_handshakes_max",
    "host_handshakes_per_s",
    "faults_max",
    "fault_half_life",
    "refusal_min",
    "stranger_datagrams_max",
    "stranger_retry_min",
    "stranger_dials_max",
    "stranger_dials_per_s",
    "stranger_host_dials_max",
)
