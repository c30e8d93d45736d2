"""A connection of the delivery engine: a `DeliverySender` that takes its messages from an `Employer`.

Adds to the sender what concerns a connection as a whole: what it is called in reports, RSET after a pause,
NOOP in a long one, the end after a refusal that suggests that this server wants no more for now, and an
orderly stop. Source: smtp(8zm), options -1 and -w; RFC 5321 section 4.1.1.5 for RSET.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from zsmtp.credentials import Credentials, is_private
from zsmtp.destination import Family, Hop
from zsmtp.net.endpoints import address_text, connected_text
from zsmtp.net.sender import DeliverySender
from zsmtp.smtp.session import Manner, State
from zsmtp.trouble import Kind, Peer, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

    from zsmtp.net.tls import Secured
    from zsmtp.smtp.transaction import Recipient, Transaction

__all__ = ["Courier", "Employer"]

_log = Logger()

RSET_AFTER: Final = 20.0
"""seconds without a command after which RSET asks whether the connection lives, before mail depends on it"""
NOOP_AFTER: Final = 180.0
LEAVE_AFTER: Final = 300.0
"""seconds without mail after which an idle connection is given back"""


class Employer(Protocol):
    """Who gives a courier its messages."""

    def next_for(self, courier: Courier) -> Transaction | None:
        """Return a message for this connection, if there is one."""

    def answered(self, courier: Courier, transaction: Transaction, recipient: Recipient) -> None:
        """One recipient's fate is known."""

    def finished(self, courier: Courier, transaction: Transaction) -> None:
        """The fate of all recipients is known."""

    def closed(self, courier: Courier, trouble: Trouble | None) -> None:
        """An open session has ended."""


class Courier(DeliverySender):
    """One connection.  `opened` fires with None once transactions may begin, or with the trouble that
    prevents it.
    """

    def __init__(
        self,
        employer: Employer,
        hop: Hop,
        manner: Manner,
        *,
        clock: IReactorTime,
        context: Any = None,
        credentials: Credentials | None = None,
        send_buffer: int | None = None,
        witness: Callable[[Peer], Callable[[str, bytes], None]] | None = None,
        remark: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__(None, None, context, manner.name, manner=manner, clock=clock)
        self.employer = employer
        self.hop = hop
        self.peer = Peer(hop.remote, address_text(hop))
        self.credentials = credentials
        self.opened: Deferred[Trouble | None] = Deferred()
        self.job: object = None
        """The job that its latest message belongs to; the employer's."""
        self.is_open = False
        self.is_leaving = False
        self._send_buffer = send_buffer
        self._witness = witness
        self._remark = remark
        self._spoke_at = 0.0
        self._idle_since = 0.0
        self._idle_call: Any = None
        if credentials is not None:
            self._identify(credentials)

    def _identify(self, credentials: Credentials) -> None:
        """No mail without authentication, and no authentication where somebody could listen."""
        self.secret = credentials.secret
        self.authenticators = credentials.mechanisms()
        self.requireAuthentication = True
        self.isPrivate = is_private(self.hop)
        self.usesSecretsInClear = credentials.in_clear

    def connectionMade(self) -> None:
        """Set up the socket, then begin.  A failure here ends the connection: the endpoint waits for us."""
        try:
            self._set_up()
            super().connectionMade()
            if self._witness is not None:
                self.session.witness = self._witness(self.peer)
        except Exception:  # noqa: BLE001  an error of ours costs a retry, never a message
            _log.failure("setting up a connection")
            self.transport.abortConnection()

    def _set_up(self) -> None:
        transport: Any = self.transport
        self.peer = Peer(self.hop.remote, connected_text(self.hop, transport.getHost()))
        try:
            if self.hop.family is not Family.UNIX:
                transport.setTcpNoDelay(True)
                transport.setTcpKeepAlive(True)
            if self._send_buffer:
                transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._send_buffer)
        except (OSError, OverflowError):
            pass  # it is closed again already, which the transport will find, or cannot be set: not needed

    def tlsEstablished(self, tls: Secured) -> None:
        """See DeliverySender."""
        self._remark(f"TLS connection established: {tls.text}")

    def _begin_work(self) -> None:
        assert self.clock is not None
        self.is_open = True
        self._spoke_at = self._idle_since = self.clock.seconds()
        self._watch_idleness(NOOP_AFTER)
        self.opened.callback(None)

    def nextTransaction(self) -> Transaction | None:
        """Ask the employer, unless this connection is to end."""
        session = self.session
        if self.is_leaving or session.state is not State.READY:
            return None
        limit = session.capabilities.messages
        if limit and session.begun >= limit:
            self.is_leaving = True
            return None
        return self.employer.next_for(self)

    def beginTransaction(self, transaction: Transaction) -> None:
        """Announce a message; after a pause RSET shows whether anybody is still there."""
        assert self.clock is not None
        session = self.session
        now = transaction.began = self.clock.seconds()
        session.begin(transaction, reset=session.begun > 0 and now - self._spoke_at > RSET_AFTER)
        self._spoke_at = now

    def proceed(self) -> None:
        """Go on; when everything is done and the connection is to end, end it."""
        # not at the greeting itself: what came in one read with it may have broken the session already, and
        # then it is the turn of the next hop
        if not self.is_open and self.session.state is State.READY:
            self._begin_work()
        super().proceed()
        if self.is_leaving and self.session.is_idle:
            self.leave()

    def recipientAnswered(self, transaction: Transaction, recipient: Recipient) -> None:
        """See DeliverySender."""
        mail = transaction.mail_reply
        if (
            recipient.reply is not None
            and recipient.reply.code // 100 == 4
            and mail is not None
            and mail.code < 300
        ):
            # smtp(8zm): some servers limit the recipients of a session; a new one may take them
            self.is_leaving = True
        self.employer.answered(self, transaction, recipient)

    def transactionFinished(self, transaction: Transaction) -> None:
        """See DeliverySender."""
        assert self.clock is not None
        self._idle_since = self._spoke_at = self.clock.seconds()
        self.employer.finished(self, transaction)

    def sessionEnded(self, trouble: Trouble | None) -> None:
        """See DeliverySender."""
        if self._idle_call is not None:
            self._idle_call.cancel()
            self._idle_call = None
        if self.is_open:
            self.employer.closed(self, trouble)
        elif not self.opened.called:
            trouble = trouble or Trouble(Kind.STOPPED, b"the session was ended before it was open")
            self.opened.callback(self._with_name(trouble))

    def _with_name(self, trouble: Trouble) -> Trouble:
        """Say with whom authentication failed: the postmaster has to look up that host's line."""
        if trouble.kind is not Kind.AUTH_FAILED:
            return trouble
        name = b"authentication with %b" % self.hop.name.encode(errors="replace")
        text = trouble.text + b"\r(" + name + b")" if trouble.reply else name + b": " + trouble.text
        return trouble._replace(text=text)

    def stop(self) -> None:
        """End as soon as no message hangs between sent and answered; nothing new begins."""
        self.is_leaving = True
        if self.session.is_idle:
            self.leave()
        elif not self.session.awaits_final:
            self.drop(Trouble(Kind.STOPPED, b"this transport agent was told to stop"))

    def _watch_idleness(self, seconds: float) -> None:
        assert self.clock is not None
        self._idle_call = self.clock.callLater(seconds, self._look_at_idleness)

    def _look_at_idleness(self) -> None:
        """NOOP on a connection that has been idle for long, farewell after even longer."""
        assert self.clock is not None
        self._idle_call = None
        now = self.clock.seconds()
        if not self.session.is_idle:
            self._watch_idleness(NOOP_AFTER)
        elif now - self._idle_since >= LEAVE_AFTER:
            self.leave()
        elif now - self._spoke_at >= NOOP_AFTER:
            self._spoke_at = now
            self._watch_idleness(max(1.0, self._idle_since + LEAVE_AFTER - now))
            self.session.probe()
            self.proceed()
        else:
            self._watch_idleness(self._spoke_at + NOOP_AFTER - now)
