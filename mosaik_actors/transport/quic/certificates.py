"""Certificates that aioquic's TLS does not expect: they end the handshake, as others do.

aioquic takes a certificate for unreadable where a ValueError says so. Of one with a version
that does not exist another error says that, and would end not the handshake but whoever had
read the datagram.
"""

from __future__ import annotations

from aioquic import tls

from ..identity import UNREADABLE


def refuse_unreadable(context: tls.Context) -> None:
    """Let a handshake end with an alert at each certificate that cannot be read."""
    read = context._set_peer_certificate

    def take(certificate: tls.Certificate) -> None:
        try:
            read(certificate)
        except UNREADABLE as exc:
            raise tls.AlertBadCertificate("Certificate could not be parsed") from exc

    context._set_peer_certificate = take  # type: ignore[method-assign]
