"""A connection that delivers: Twisted's ESMTPSender around our session.

`DeliverySender` keeps the constructor, the registry of authenticators, the demands for TLS and
authentication, the getMail... methods and the timeout of its superclass, and replaces the line engine: a pure
`Session` conducts the dialogue, an `Outlet` sends.  It can stand wherever an `ESMTPSender` can,
`twisted.mail.smtp.sendmail` included.  The delivery engine overrides the methods under "For the owner".

One timer per connection.  A deadline begins when something is awaited that was not awaited before; input that
does not complete a reply never extends it.  An exception in what the owner does costs the connection, and
the owner still hears of everything that was under way on it.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHandshakeListener, ISSLTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.mail.smtp import ESMTPSender
from zope.interface import implementer

from zsmtp.net.deadline import Deadline
from zsmtp.net.outlet import Outlet
from zsmtp.net.stock import StockMail, authenticators
from zsmtp.net.tls import ClientCreator, Secured, secured
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
from zsmtp.smtp.sasl import Unanswerable
from zsmtp.smtp.session import Manner, Session, State, Tls
from zsmtp.trouble import Kind, Trouble

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from zsmtp.smtp.transaction import Recipient, Transaction

__all__ = ["DeliverySender"]

_log = Logger()

_INTERNAL = Trouble(Kind.INTERNAL, b"internal error; the log of the agent has more")
_HANDSHAKE_LOST = Trouble(Kind.TLS_FAILED, b"the server closed the connection instead of beginning TLS")


@implementer(IHandshakeListener)
class DeliverySender(ESMTPSender):
    """One connection.  `manner` None: what the attributes of ESMTPSender ask for."""

    transport: Any
    debug = False  # the superclass would keep a log of lines, secrets included
    # the superclass' own costs ten times as much, for the sake of a name that is deprecated since 2013
    __setattr__ = object.__setattr__

    usesSecretsInClear = False
    """Whether authentication may go over a connection without TLS."""
    isPrivate = False
    """Whether nobody can listen to the connection, even without TLS."""

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
        self.authenticators = authenticators(username)
        self.manner = manner
        self.clock = clock
        self.tls: Secured | None = None
        self.session: Session = Session(Manner())
        self._outlet: Outlet | None = None
        self._runs_out: Deadline | None = None
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
        is_secure = ISSLTransport.providedBy(self.transport)
        self.session = Session(self.manner or self._stock_manner(), is_secure=is_secure)
        self._outlet = Outlet(self.session, self.transport, self._progressed)
        self._runs_out = Deadline(self.clock.seconds, self.setTimeout)
        self._reckon()

    def dataReceived(self, data: bytes) -> None:
        """Feed the session and send what it answers."""
        events = self.session.receive(data)
        if events:
            self._handle_all(events)
        self.proceed()

    def timeoutConnection(self) -> None:
        """The timer has fired: early, if the deadline has moved since it was set."""
        if self._runs_out is not None and self._runs_out.has_passed():
            if not self._is_closed:
                writing = self._outlet is not None and self._outlet.is_sending
                self._handle_all(self.session.expired(writing=writing))
            self._drop()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Whatever was open ends here, for whatever reason the connection went."""
        super().connectionLost(reason)
        self._is_closed = True
        if self._runs_out is not None:
            self._runs_out.end()
        self._handle_all(self.session.lost(self._why_lost(reason)))
        self._end(None)

    def sendError(self, exc: Any) -> None:
        """Tell a stock factory of an abnormal end, once."""
        if self.session.state is not State.LEAVING:  # else QUIT is on its way
            self._drop()
        factory = self.factory
        if getattr(factory, "sendFinished", True) or not hasattr(factory, "result"):
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
        handle, context = self.transport.getHandle(), self.context
        self.tls = context.secured(handle) if isinstance(context, ClientCreator) else secured(handle)
        self.tlsEstablished(self.tls)
        if isinstance(context, ClientCreator) and context.distrust:
            self.drop(Trouble(Kind.TLS_UNTRUSTED, context.distrust.encode(errors="replace")))
            return
        if self.session.state is State.SECURING:  # else the connection was secure from the beginning
            self.session.secured()
        self.proceed()

    # For the owner

    def tlsEstablished(self, tls: Secured) -> None:
        """The handshake is done; what is negotiated may yet turn out not to be good enough."""

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
            self.sendError((self._stock or StockMail(self)).error(trouble))

    def leave(self) -> None:
        """Say goodbye and close."""
        self.session.leave()
        self._look()
        self.proceed()

    def drop(self, trouble: Trouble) -> None:
        """Close at once; what is open ends in `trouble`."""
        self._handle_all(self.session.lost(trouble))
        self._drop()

    def proceed(self) -> None:
        """Begin what may begin, send what is to be sent, and wait for what is awaited."""
        outlet, session = self._outlet, self.session
        if outlet is None or self._is_closed:
            return
        transaction: Transaction | None = None
        try:
            while session.has_room:
                transaction = None
                transaction = self.nextTransaction()
                if transaction is None:
                    break
                self.beginTransaction(transaction)
        except Exception:  # noqa: BLE001  an error of ours costs a retry, never a message
            _log.failure("beginning a transaction")
            self.drop(_INTERNAL)
            if transaction is not None and transaction.trouble is None:  # the session never had it
                transaction.trouble = _INTERNAL
                self._handle_all([TransactionFinished(transaction)])
            return
        outlet.send()
        events = session.poll()
        if events:  # reading the message has failed
            self._handle_all(events)
        self._reckon()

    def beginTransaction(self, transaction: Transaction) -> None:
        """Announce a message."""
        self.session.begin(transaction)

    # Events

    def _handle_all(self, events: list[Event]) -> None:
        """Handle every event, also those after one that the owner fails at: each is somebody's mail."""
        has_failed = False
        for event in events:
            try:
                self._handle(event)
            except Exception:  # noqa: BLE001  as above
                _log.failure("handling {event}", event=type(event).__name__)
                has_failed = True
        if has_failed:
            self.drop(_INTERNAL)

    def _handle(self, event: Event) -> None:
        if isinstance(event, TransactionFinished):  # of every message, so not by way of all cases
            self.transactionFinished(event.transaction)
            return
        match event:
            case RecipientAnswered(transaction, recipient):
                self.recipientAnswered(transaction, recipient)
            case Greeted():
                if self.tls is not None and isinstance(self.context, ClientCreator):
                    self.context.keep(self.transport.getHandle())
                self.greeted()
            case SecureNow():
                self._secure()
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
        events = self.session.poll()
        if events:
            self._handle_all(events)

    def _why_lost(self, reason: Failure) -> Trouble | None:
        if reason.check(ConnectionDone, ConnectionLost, ConnectionAborted):
            return _HANDSHAKE_LOST if self.session.state is State.SECURING else None
        if self.session.state is State.SECURING:
            distrust = self.context.distrust if isinstance(self.context, ClientCreator) else ""
            if distrust:
                return Trouble(Kind.TLS_UNTRUSTED, distrust.encode(errors="replace"))
            return Trouble(Kind.TLS_FAILED, b"TLS handshake: " + _reason(reason))
        if self.session.state is State.NEGOTIATING and self.session.is_secure and _is_alert(reason):
            return Trouble(Kind.TLS_FAILED, b"TLS, behind the handshake: " + _reason(reason))
        return Trouble(Kind.HUNG_UP, b"connection lost: " + _reason(reason))

    def _end(self, trouble: Trouble | None) -> None:
        if not self._has_told:
            self._has_told = True
            self.sessionEnded(trouble)

    def _close(self) -> None:
        """Close in peace; a peer that does not let go is cut off a little later."""
        if not self._is_closed and self._runs_out is not None:
            self._is_closed = True
            self._runs_out.run(QUIT_SECONDS, "closing")
            self.transport.loseConnection()

    def _drop(self) -> None:
        self._is_closed = True
        if self._runs_out is not None:
            self._runs_out.end()
        if self.transport is not None:
            self.transport.abortConnection()

    # TLS and authentication

    def _secure(self) -> None:
        assert self._outlet is not None
        if self.context is None:
            self.drop(Trouble(Kind.TLS_FAILED, b"there is no configuration for TLS here"))
        else:
            self._outlet.leave_socket()
            self.transport.startTLS(self.context)

    def _choose(self, offered: tuple[bytes, ...]) -> None:
        """Take the first registered mechanism that the server offers, and never a secret in clear."""
        is_private = self.session.is_secure or self.isPrivate
        may_speak = self.secret is not None and (is_private or self.usesSecretsInClear)
        shared = [one for one in self.authenticators if one.getName() in offered] if may_speak else []
        if shared:
            self._authenticator = chosen = shared[0]
            others = tuple(one.getName() for one in shared[1:] if _tells_secret(one))
            self.session.hide(_shapes(self.secret))
            self.session.authenticate(
                chosen.getName(),
                # a server may have a proof for some users and a password for others
                otherwise=others if is_private and not _tells_secret(chosen) else (),
                suffices=_is_complete(chosen),
            )
        elif self.requireAuthentication:
            self.session.decline(self._why_declined(offered, may_speak=may_speak))
            self._look()
        else:
            self.session.refrain()
            self._look()

    def _why_declined(self, offered: tuple[bytes, ...], *, may_speak: bool) -> bytes:
        if self.secret is not None and not may_speak:
            return b"the connection is not encrypted, and credentials are not sent in clear"
        if not offered:
            return b"the server offers no authentication"
        known = b" ".join(one.getName() for one in self.authenticators)
        return b"the server offers AUTH %b, of which none can be used here (%b)" % (
            b" ".join(offered)[:200],
            known,
        )

    def _respond(self, challenge: bytes) -> None:
        """Answer a challenge, or give up where the mechanism has no answer to it."""
        authenticator, session = self._authenticator, self.session
        try:
            decoded = base64.b64decode(challenge, validate=True)
        except ValueError:
            if getattr(authenticator, "reads_challenges", True):
                session.give_up(b"the server's challenge is no base64")
                return
            decoded = challenge
        try:
            answer = authenticator.challengeResponse(self.secret, decoded)
        except Unanswerable as error:
            session.give_up(str(error).encode())
        except Exception:  # noqa: BLE001  whatever a registered mechanism raises, and it may quote the secret
            session.give_up(b"the server's challenge has no answer")
        else:
            session.answer(base64.b64encode(answer), suffices=_is_complete(authenticator))

    # The timer

    def _progressed(self) -> None:
        """The peer has taken octets that waited for it."""
        self._look()
        self._reckon()

    def _reckon(self) -> None:
        """Let the deadline run for what is awaited now."""
        session, outlet, runs_out = self.session, self._outlet, self._runs_out
        if runs_out is None or outlet is None or self._is_closed:
            return
        step: tuple[object, int]
        if not outlet.is_sending:
            seconds, step = session.patience, (session.state, session.answered)
        elif session.state is State.LEAVING:
            seconds, step = QUIT_SECONDS, (State.LEAVING, session.answered)
        else:
            seconds, step = session.manner.timeouts.write, (None, outlet.progress)
        runs_out.run(seconds, step)

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


def _tells_secret(authenticator: Any) -> bool:
    return bool(getattr(authenticator, "tells_secret", True))


def _is_complete(authenticator: Any) -> bool:
    """Whether it has said everything; a mechanism of others cannot say."""
    return bool(getattr(authenticator, "is_complete", True))


def _shapes(secret: bytes) -> tuple[bytes, ...]:
    """The forms in which a server could quote a secret."""
    return secret, base64.b64encode(secret), secret.hex().encode(), secret.hex().upper().encode()


def _is_alert(reason: Failure) -> bool:
    """Whether the peer has ended the connection by an alert of TLS."""
    return type(reason.value).__module__.startswith("OpenSSL") and b"alert" in _reason(reason)


def _reason(reason: Failure) -> bytes:
    """One line about a failure."""
    value = reason.value
    text = str(value) or type(value).__name__
    if value is not None and type(value).__module__.startswith("OpenSSL"):
        text = "; ".join(str(part[-1]) for part in value.args[0]) if value.args and value.args[0] else text
    return text.encode(errors="replace")
