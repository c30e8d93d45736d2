"""TLS for clients: one immutable context per policy, one connection object per session.

Opportunistic encryption as RFC 7435 means it: whatever certificate the server shows is taken, since without
TLS there would be less; nobody is promised that the peer is who it claims to be.  Source: RFC 3207, RFC 8314.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions, TLSVersion
from zope.interface import implementer

if TYPE_CHECKING:
    from twisted.protocols.tls import TLSMemoryBIOProtocol

__all__ = ["ClientContexts", "ClientCreator", "Secured", "secured"]

_WITHOUT_MARKS = str.maketrans("", "", "-_.")


class Secured(NamedTuple):
    """What was negotiated: `TLSv1.3`, `TLS_AES_256_GCM_SHA384`."""

    version: str
    cipher: str


@implementer(IOpenSSLClientConnectionCreator)
class ClientCreator:
    """Make the connection object for one session; `server_name` goes into the handshake (RFC 6066 section
    3).
    """

    def __init__(self, context: SSL.Context, server_name: str | None) -> None:
        self._context = context
        self._server_name = server_name

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """See IOpenSSLClientConnectionCreator."""
        connection = SSL.Connection(self._context, None)
        if self._server_name:
            connection.set_tlsext_host_name(self._server_name.encode("ascii"))
        return connection


class ClientContexts:
    """The contexts of a process: made when first needed, since one costs milliseconds, and never changed."""

    def __init__(self) -> None:
        self._opportunistic: SSL.Context | None = None

    def creator_for(self, server_name: str) -> ClientCreator:
        """Return what makes a connection object that takes any certificate."""
        if self._opportunistic is None:
            self._opportunistic = CertificateOptions(raiseMinimumTo=TLSVersion.TLSv1_2).getContext()
        return ClientCreator(self._opportunistic, server_name if _is_host_name(server_name) else None)


def _is_host_name(name: str) -> bool:
    """RFC 6066 3: no address literals in the handshake, and nothing but names."""
    letters = name.translate(_WITHOUT_MARKS)
    return letters.isascii() and letters.isalnum() and not name.replace(".", "").isdigit()


def secured(handle: object) -> Secured:
    """Say what a connection after its handshake uses."""
    if not isinstance(handle, SSL.Connection):
        return Secured("?", "?")
    return Secured(handle.get_protocol_version_name(), handle.get_cipher_name() or "?")
