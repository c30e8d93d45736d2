"""TLS for clients: one immutable context per policy, one connection object per session.

Without demands this is opportunistic encryption as RFC 7435 means it: whatever certificate the server shows
is taken, since without TLS there would be less, and what is wrong with it is only told.  With
`tls-verify name` nothing is sent to a server whose certificate is not good for its name.

Sessions are resumed within a process (RFC 5077, RFC 8446 section 2.2): a server must not be met with an old
session by another context, another name or after too long, and each one is offered once.
Source: RFC 3207, RFC 6066 section 3, RFC 8314, RFC 9525.
"""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, NamedTuple

from OpenSSL import SSL
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from zope.interface import implementer

from zsmtp.net.tlscontext import Record, Records, client_context
from zsmtp.tlsfile import Level, TlsSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.protocols.tls import TLSMemoryBIOProtocol

__all__ = ["MOST_SESSIONS", "ClientContexts", "ClientCreator", "Secured", "secured"]

MOST_SESSIONS: Final = 1000
"""sessions kept for being resumed; each has the server's certificates with it, some kilobytes"""

_WITHOUT_MARKS = str.maketrans("", "", "-_.")


class Secured(NamedTuple):
    """What was negotiated: `TLSv1.3`, `TLS_AES_256_GCM_SHA384`, 256.

    `verified` is the name that the certificate was found good for, `doubt` why it was not; both are empty
    where nobody asked.  `details` are the names in the certificate, for those who want them.
    """

    version: str
    cipher: str
    bits: int = 0
    verified: str = ""
    doubt: str = ""
    is_resumed: bool = False
    details: str = ""

    @property
    def text(self) -> str:
        """One line for a report or log."""
        verdict = self.verified and f", verified {self.verified}"
        verdict = verdict or (self.doubt and f", unverified: {self.doubt}")
        resumed = ", session resumed" if self.is_resumed else ""
        return f"{self.version} with cipher {self.cipher} ({self.bits} bits){verdict}{resumed}{self.details}"


class _Kept(NamedTuple):
    """A session, and what was found out about the server when it was new."""

    session: SSL.Session
    doubts: tuple[str, ...]
    until: float


class _Sessions:
    """Sessions to be resumed, each once."""

    def __init__(self, now: Callable[[], float], seconds: float) -> None:
        self._now = now
        self._seconds = seconds
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, name: str) -> _Kept | None:
        """Hand out what may be resumed with `name`.  RFC 8446 C.4: a ticket used twice shows who we are."""
        kept = self._kept.pop(name, None)
        return kept if kept is not None and self._now() < kept.until else None

    def put(self, name: str, session: SSL.Session, record: Record) -> None:
        """Keep a session; the verdict on the certificate stays as old as it is."""
        # A resumed session has no new certificate behind it: its time goes on, it does not begin again.
        until = record.until if record.is_resumed else self._now() + self._seconds
        self._kept.pop(name, None)
        self._kept[name] = _Kept(session, tuple(record.doubts), until)
        while len(self._kept) > MOST_SESSIONS:
            self._kept.popitem(last=False)


@implementer(IOpenSSLClientConnectionCreator)
class ClientCreator:
    """Make the connection object for one session with `name`, and judge what came of it."""

    def __init__(self, contexts: ClientContexts, context: SSL.Context, name: str) -> None:
        self._settings = contexts.settings
        self._sessions = contexts.sessions
        self._records = contexts.records
        self._context = context
        self._name = name.lower()
        self._record = Record()

    @property
    def is_demanded(self) -> bool:
        """Whether no mail may go out without TLS."""
        return self._settings.is_demanded

    @property
    def distrust(self) -> str:
        """Why the server is not to get any mail: what is wrong with its certificate; empty if nothing is."""
        return "; ".join(self._record.doubts) if self._settings.level is Level.NAME else ""

    @property
    def has_resumed(self) -> bool:
        """Whether the latest connection offered an old session to the server."""
        return self._record.offered is not None

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """See IOpenSSLClientConnectionCreator."""
        connection = SSL.Connection(self._context, None)
        self._record = Record()
        self._records[connection] = self._record
        shown = next(filter(_is_host_name, (self._name, *self._settings.names)), None)
        if shown is not None:  # RFC 6066 3: no address literals, and nothing but names
            connection.set_tlsext_host_name(shown.encode("ascii"))
        kept = self._sessions.take(self._name)
        if kept is not None:
            connection.set_session(kept.session)
            self._record.offered, self._record.until = kept.doubts, kept.until
        return connection

    def secured(self, connection: SSL.Connection) -> Secured:
        """Say what a connection after its handshake uses, and what its certificate is good for."""
        record, settings = self._record, self._settings
        # a session has the server's certificate with it; who has none has not taken the session that he was
        # offered, but a cipher without certificates, of which a postmaster's list may have some
        is_anonymous = connection.get_peer_certificate() is None
        if record.is_resumed and not is_anonymous:
            # not asked for its certificate again: what was found then still stands
            record.doubts = list(record.offered or ())
        elif settings.level is not Level.NONE:
            if not record.is_checked or is_anonymous:
                record.doubts.append("the server has no certificate")
            elif not any(_is_for(connection, name) for name in self._names):
                record.doubts.append("the certificate does not name " + " or ".join(self._names))
        found = secured(connection)._replace(
            doubt="; ".join(record.doubts) if settings.level is not Level.NONE else "",
            is_resumed=record.is_resumed and not is_anonymous,
            details=_details(connection) if settings.detail > 0 else "",
        )
        if settings.level is Level.NONE or found.doubt:
            return found
        return found._replace(verified=" or ".join(self._names))

    def keep(self, connection: object) -> None:
        """Keep the session of a connection that works.

        To be called when the server has answered something under TLS: in TLS 1.3 what a session is resumed
        with comes after the handshake.
        """
        if isinstance(connection, SSL.Connection) and self._settings.session_seconds:
            session = connection.get_session()
            if session is not None:
                self._sessions.put(self._name, session, self._record)

    @property
    def _names(self) -> tuple[str, ...]:
        return self._settings.names or (self._name,)


class ClientContexts:
    """The context of a policy: made when first needed, since it costs milliseconds, and never changed.

    `now` gives seconds.
    """

    def __init__(
        self,
        settings: TlsSettings = TlsSettings(),  # noqa: B008  a value
        *,
        now: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.settings = settings
        self.sessions = _Sessions(now, settings.session_seconds)
        self.records = Records()
        self._context: SSL.Context | None = None

    def prepare(self, warn: Callable[[str], object] = lambda _: None) -> None:
        """Make the context; raises ConfigError where a file of the policy cannot be used."""
        self._context = client_context(self.settings, self.records, warn)

    def creator_for(self, name: str) -> ClientCreator:
        """Return what makes a connection object for a session with the host `name`."""
        if self._context is None:
            self.prepare()
        assert self._context is not None
        return ClientCreator(self, self._context, name)


def secured(handle: object) -> Secured:
    """Say what a connection after its handshake uses."""
    if not isinstance(handle, SSL.Connection):
        return Secured("?", "?")
    return Secured(
        handle.get_protocol_version_name(), handle.get_cipher_name() or "?", handle.get_cipher_bits() or 0
    )


def _is_host_name(name: str) -> bool:
    letters = name.translate(_WITHOUT_MARKS)
    return letters.isascii() and letters.isalnum() and not name.replace(".", "").isdigit()


def _is_for(connection: SSL.Connection, name: str) -> bool:
    """Whether the certificate names a host.  Source: RFC 9525 section 6."""
    try:
        address = ip_address(name)
    except ValueError:
        address = None
    try:
        if address is None:
            verify_hostname(connection, name)
        else:
            verify_ip_address(connection, str(address))
    except Exception:  # noqa: BLE001  a certificate that cannot be read names nobody
        return False
    return True


def _details(connection: SSL.Connection) -> str:
    """The names in the certificate."""
    try:
        found = connection.get_peer_certificate()
        if found is None:
            return ""
        shown = found.to_cryptography()
        text = f"; certificate of {shown.subject.rfc4514_string()}, issued by {shown.issuer.rfc4514_string()}"
    except Exception:  # noqa: BLE001  as above
        return "; certificate cannot be read"
    return "".join(char if char.isprintable() else "?" for char in text[:500])
