"""A connection that delivers: Twisted's ESMTPSender around our session.

`DeliverySender` keeps the constructor, the registry of authenticators, the demands for TLS and
authentication, the getMail... methods and the timeout of its superclass, and replaces the line engine: a pure
`Session` conducts the dialogue, an `Outlet` sends.  It can stand wherever an `ESMTPSender` can,
`twisted.mail.smtp.sendmail` included.  The delivery engine overrides the methods under "For the owner".

One timer per connection.  A deadline begins when something is awaited that was not awaited before; input that
does not complete a reply never extends it.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHandshakeListener
from twisted.mail.smtp import ESMTPSender
from zope.interface import implementer

from zsmtp.net.outlet import Outlet
from zsmtp.net.stock import StockMail, error_from
from zsmtp.net.tls import Secured, secured
from zsmtp.smtp.event import (
    Broken,
    ChallengeReceived,
    Event,
    Greeted,
    Left,
    MechanismsOffered,
    RecipientAnswered,
    SecureNow,
    TransactionFinished,
)
from zsmtp.smtp.patience import QUIT_SECONDS, Timeouts
from zsmtp.smtp.session import Manner, Session, State, Tls
from zsmtp.trouble import Kind, Trouble

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from zsmtp.smtp.transaction import Recipient, Transaction

__all__ = ["DeliverySender"]

_HANDSHAKE_LOST = Trouble(Kind.TLS_FAILED, b"the server closed the connection in the TLS handshake")


@implementer(IHandshakeListener)
class DeliverySender(ESMTPSender):
    """One connection.  `manner` None: what the attributes of ESMTPSender ask for."""

    transport: Any
    debug = False  # the superclass would keep a log of lines, secrets included

    def __init__(
        self,
        username: bytes | None,
        secret: bytes | None,
        contextFactory: Any = None,
        identity: bytes | str = b"",
        logsize: int = 10,
        hostname: str | None = None,
        *,
        manner: Manner | None = None,
        clock: IReactorTime | None = None,
    ) -> None:
        super().__init__(username, secret, contextFactory, identity, logsize, hostname=hostname)
        self.manner = manner
        self.clock = clock
        self.tls: Secured | None = None
        self.session: Session = Session(Manner())
        self._outlet: Outlet | None = None
        self._deadline: float | None = None
        self._answered = -1
        self._fires_at: float | None = None
        self._was_sending = False
        self._has_told = False  # sessionEnded was called
        self._is_closed = False  # the connection is being given up: nothing more is sent
        self._authenticator: Any = None
        self._stock: StockMail | None = None

    # Overrides of the superclass

    def connectionMade(self) -> None:
        """Begin the session; the server speaks first."""
        if self.clock is None:
            from twisted.internet import reactor  # what every stock sender runs on

            self.clock = reactor
        self.session = Session(self.manner or self._stock_manner())
        self._outlet = Outlet(self.session, self.transport, self._progressed)
        self._reckon()

    def dataReceived(self, data: bytes) -> None:
        """Feed the session and send what it answers."""
        for event in self.session.receive(data):
            self._handle(event)
        self.proceed()

    def timeoutConnection(self) -> None:
        """The timer has fired: early, if the deadline has moved since it was set."""
        assert self.clock is not None
        self._fires_at = None
        if self._deadline is None:
            return
        left = self._deadline - self.clock.seconds()
        if left > 0.001:
            self._arm(left)
            return
        writing = self._outlet is not None and self._outlet.is_sending
        for event in self.session.expired(writing=writing):
            self._handle(event)
        self._drop()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Whatever was open ends here, for whatever reason the connection went."""
        self.setTimeout(None)
        self._deadline = None
        self._is_closed = True
        for event in self.session.lost(self._why_lost(reason)):
            self._handle(event)
        self._end(None)

    def _why_lost(self, reason: Failure | None) -> Trouble | None:
        if reason is None or reason.check(ConnectionDone, ConnectionLost, ConnectionAborted):
            return None if self.session.state is not State.SECURING else _HANDSHAKE_LOST
        if self.session.state is State.SECURING:
            return Trouble(Kind.TLS_FAILED, b"TLS handshake: " + _reason(reason))
        return Trouble(Kind.HUNG_UP, b"connection lost: " + _reason(reason))

    def sendError(self, exc: Any) -> None:
        """Tell a stock factory of an abnormal end, once."""
        self._drop()
        factory = self.factory
        if factory.sendFinished or not hasattr(factory, "result"):
            return
        if factory.retries >= 0 or not (exc.retry or 400 <= exc.code < 500):
            factory.sendFinished = True
            factory.result.errback(exc)

    def callLater(self, period: float, func: Any) -> IDelayedCall:
        """See TimeoutMixin: ours has a clock."""
        assert self.clock is not None
        return self.clock.callLater(period, func)

    def handshakeCompleted(self) -> None:
        """See IHandshakeListener."""
        self.tls = secured(self.transport.getHandle())
        self.session.secured()
        self.proceed()

    # For the owner

    def greeted(self) -> None:
        """The session is open."""

    def nextTransaction(self) -> Transaction | None:
        """Return the next message, or None if there is none at present.  Default: the superclass'
        getMail...
        """
        if self._stock is None:
            self._stock = StockMail(self)
        return self._stock.next()

    def recipientAnswered(self, transaction: Transaction, recipient: Recipient) -> None:
        """The fate of this recipient is known before that of the others."""

    def transactionFinished(self, transaction: Transaction) -> None:
        """The fate of all recipients is known.  Default: the superclass' sentMail or sendError."""
        if self._stock is not None:
            self._stock.finished(transaction)

    def sessionEnded(self, trouble: Trouble | None) -> None:
        """The session is over; None if as it should be.  Default: the superclass' sendError."""
        if trouble is not None:
            self.sendError(error_from(trouble))

    def leave(self) -> None:
        """Say goodbye and close."""
        self.session.leave()
        self._look()
        self.proceed()

    def drop(self, trouble: Trouble) -> None:
        """Close at once; what is open ends in `trouble`."""
        for event in self.session.lost(trouble):
            self._handle(event)
        self._drop()

    def proceed(self) -> None:
        """Begin what may begin, send what is to be sent, and wait for what is awaited."""
        session = self.session
        while session.has_room:
            transaction = self.nextTransaction()
            if transaction is None or not session.has_room:
                break
            self.beginTransaction(transaction)
        if self._outlet is not None and not self._is_closed:
            self._outlet.send()
            self._look()
        self._reckon()

    def beginTransaction(self, transaction: Transaction) -> None:
        """Announce a message."""
        self.session.begin(transaction)

    # Events

    def _handle(self, event: Event) -> None:
        match event:
            case TransactionFinished(transaction):
                self.transactionFinished(transaction)
            case RecipientAnswered(transaction, recipient):
                self.recipientAnswered(transaction, recipient)
            case Greeted():
                self.greeted()
            case SecureNow():
                assert self._outlet is not None
                self._outlet.leave_socket()
                self.transport.startTLS(self.context)
            case MechanismsOffered(mechanisms):
                self._choose(mechanisms)
            case ChallengeReceived(challenge):
                self._respond(challenge)
            case Broken(trouble):
                self._end(trouble)
                if self.session.state is State.OVER:
                    self._drop()
            case Left():
                self._end(None)
                self._close()

    def _look(self) -> None:
        """See what sending has led to: reading the message may have failed."""
        for event in self.session.poll():
            self._handle(event)

    def _end(self, trouble: Trouble | None) -> None:
        if not self._has_told:
            self._has_told = True
            self.sessionEnded(trouble)

    def _close(self) -> None:
        """Close in peace; a peer that does not let go is cut off a little later."""
        if not self._is_closed and self.clock is not None:
            self._is_closed = True
            self._deadline = self.clock.seconds() + QUIT_SECONDS
            self._arm(QUIT_SECONDS)
            self.transport.loseConnection()

    def _drop(self) -> None:
        self._is_closed = True
        self._deadline = None
        self.setTimeout(None)
        if self.transport is not None:
            self.transport.abortConnection()

    # Authentication

    def _choose(self, offered: tuple[bytes, ...]) -> None:
        """Take the first registered mechanism that the server offers, and never a secret in clear."""
        if self.session.is_secure or not self.requireTransportSecurity:
            for authenticator in self.authenticators:
                if authenticator.getName() in offered:
                    self._authenticator = authenticator
                    self.session.authenticate(authenticator.getName())
                    return
        if self.requireAuthentication:
            self.drop(Trouble(Kind.AUTH_FAILED, b"no mechanism that both sides have can be used here"))
        else:
            self.session.refrain()
            self._look()

    def _respond(self, challenge: bytes) -> None:
        try:
            answer = self._authenticator.challengeResponse(
                self.secret, base64.b64decode(challenge, validate=True)
            )
        except Exception:  # noqa: BLE001  a challenge that the mechanism cannot take is answered by giving up
            self.session.answer(b"*")
        else:
            self.session.answer(base64.b64encode(answer))

    # The timer

    def _progressed(self) -> None:
        """The peer has taken octets that waited for it."""
        self._deadline = None
        self._look()
        self._reckon()

    def _reckon(self) -> None:
        """Find the deadline that runs now; the timer is only touched when it must fire earlier."""
        session = self.session
        if self._is_closed:
            return
        is_sending = self._outlet is not None and self._outlet.is_sending
        seconds = session.manner.timeouts.write if is_sending else session.patience
        if seconds is None:
            self._deadline = None
            return
        changed = self._was_sending is not is_sending or (
            not is_sending and self._answered != session.answered
        )
        if self._deadline is not None and not changed:
            return
        assert self.clock is not None
        self._was_sending = is_sending
        self._answered = session.answered
        self._deadline = self.clock.seconds() + seconds
        if self._fires_at is None or self._fires_at > self._deadline:
            self._arm(seconds)

    def _arm(self, seconds: float) -> None:
        assert self.clock is not None
        self._fires_at = self.clock.seconds() + seconds
        self.setTimeout(seconds)

    def _stock_manner(self) -> Manner:
        """What the attributes of the superclass ask for."""
        tls = Tls.OPPORTUNISTIC if self.context is not None else Tls.NEVER
        seconds = float(self.timeout) if self.timeout else 300.0
        return Manner(
            name=self.identity or b"localhost",
            tls=Tls.REQUIRED if self.requireTransportSecurity else tls,
            authenticate=self.secret is not None or self.requireAuthentication,
            falls_back=bool(self.heloFallback),
            timeouts=Timeouts(command=seconds, data=seconds, dot=seconds, write=seconds),
        )


def _reason(reason: Failure) -> bytes:
    """One line about a failure."""
    value = reason.value
    text = str(value) or type(value).__name__
    if value is not None and type(value).__module__.startswith("OpenSSL"):
        text = "; ".join(str(part[-1]) for part in value.args[0]) if value.args and value.args[0] else text
    return text.encode(errors="replace")
