"""How a quote and what it is bound to travel as a ticket, and how it is bound.

The data of a TDX ticket is one zstd frame (RFC 8878) of one MessagePack record: the quote and
the `TdxBinding`. The binding's hash is in the quote's report data, which the processor signed
with the rest of the report, so the quote belongs to that peer, in that network, at that time,
and nobody else can show it:

    report_data[:32] = UniqueId("mosaik.tdx.ticket.extra") .derive(peer) .derive(network)
                       .derive(started) .derive(quoted) .derive(expiration)
    report_data[32:] = zeros

The times are seconds since the Unix epoch as little-endian signed 64-bit integers; an
expiration of 0 is never.

A frame has to say how large its content is, `UNPACKED_BYTES_MAX` at most, before anything is
unpacked; its window and what follows it are bounded too.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, Final

import msgspec

from ..errors import ConfigError
from ..ids import NetworkId, PeerId, UniqueId, unique_id
from ..wire_encoding import BoundedDecoder, encode
from .quote import QUOTE_BYTES_MAX, REPORT_DATA_BYTES, QuoteError

TDX_CLASS: Final = unique_id("mosaik.tdx.ticket")
UNPACKED_BYTES_MAX: Final = 64 * 1024
SECONDS_MAX: Final = 253_402_300_799  # the end of the year 9999, the last that datetime knows

_BINDING_TAG = unique_id("mosaik.tdx.ticket.extra")
_WINDOW_BYTES_MAX = 128 * 1024
_PACKAGES = {"dcap_qvl": "dcap-qvl", "zstandard": "zstandard"}
_LEVEL = 19  # some 5 KiB, once per ticket

_Seconds = Annotated[int, msgspec.Meta(ge=0, le=SECONDS_MAX)]


class TdxBinding(msgspec.Struct, frozen=True, kw_only=True):
    """What a quote is bound to.

    Attributes:
        peer: Whose ticket it is.
        network: Where it counts.
        started: When the peer's node started, in seconds since the Unix epoch.
        quoted: When the quote was made, likewise.
        expiration: From when on it no longer counts, likewise; 0 is never.
    """

    peer: PeerId
    network: NetworkId
    started: _Seconds
    quoted: _Seconds
    expiration: _Seconds = 0

    @property
    def report_data(self) -> bytes:
        """The 64 bytes that a quote with this binding has."""
        found: UniqueId = _BINDING_TAG.derive(self.peer).derive(self.network)
        for seconds in (self.started, self.quoted, self.expiration):
            found = found.derive(seconds.to_bytes(8, "little", signed=True))
        return bytes(found).ljust(REPORT_DATA_BYTES, b"\0")


class PackedTicket(msgspec.Struct, frozen=True):
    """What is inside the frame."""

    quote: Annotated[bytes, msgspec.Meta(max_length=QUOTE_BYTES_MAX)]
    binding: TdxBinding


_decoder: BoundedDecoder[PackedTicket] = BoundedDecoder(
    PackedTicket, "a TDX ticket", UNPACKED_BYTES_MAX
)


def pack(quote: bytes, binding: TdxBinding) -> bytes:
    """Return the data of a ticket.

    Raises:
        ConfigError: The extra ``tdx`` is not installed.
    """
    require_extra()
    import zstandard

    record = encode(PackedTicket(quote, binding))
    return zstandard.ZstdCompressor(level=_LEVEL).compress(record)


def unpack(data: bytes) -> PackedTicket:
    """Return what `pack` was given.

    Raises:
        QuoteError: It is something else, or larger than allowed.
        ConfigError: The extra ``tdx`` is not installed.
    """
    require_extra()
    import zstandard

    try:
        size = zstandard.frame_content_size(data)
        if not 0 <= size <= UNPACKED_BYTES_MAX:
            raise QuoteError(
                f"a TDX ticket says that it unpacks to {size} bytes, expected at most "
                f"{UNPACKED_BYTES_MAX}"
            )
        unpacker = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES_MAX)
        record = unpacker.decompress(data, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as exc:
        raise QuoteError(f"a TDX ticket could not be unpacked: {exc}") from exc
    try:
        return _decoder.decode(record)
    except QuoteError:
        raise
    except ValueError as exc:
        raise QuoteError(str(exc)) from exc


def missing_extra() -> str:
    """Return what to do about a package that is missing here; empty when all are there."""
    for module, package in _PACKAGES.items():
        if find_spec(module) is None:
            return (
                f"trusted domains need the package {package}, which is not installed: install "
                "mosaik-actors with its extra, as in 'mosaik-actors[tdx]'"
            )
    return ""


def require_extra() -> None:
    """Raise `ConfigError` when a package is missing here; says how to get it."""
    if missing := missing_extra():
        raise ConfigError(missing)
