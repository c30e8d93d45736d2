"""One query to one name server: over UDP, and over TCP where UDP does not do.

Each query has a socket of its own, connected, so that the kernel gives it a port at random and drops what
comes from elsewhere; replies to other questions are passed over, and after too many of them, or if the
server did not keep the case of the letters, the question is repeated over TCP, which nobody can forge from
afar.
Does not look into answers beyond that, and does not ask twice: see `zsmtp.net.lookup`.
Sources: RFC 1035 section 4.2, RFC 5452 section 9, RFC 7766 section 8.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFDSet, IReactorTCP, IReactorTime, IReadDescriptor
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from zope.interface import implementer

from zsmtp.net.dnsmessage import Fit, fit, is_truncated

if TYPE_CHECKING:
    from twisted.internet.interfaces import IConnector, ITCPTransport
    from twisted.python.failure import Failure

__all__ = ["NameServer", "NoReply", "Reactor", "ask"]

_MAXIMUM_STRANGERS = 20  # replies to other questions before the question is asked again over TCP
_LARGEST_DATAGRAM = 65535


class Reactor(IReactorFDSet, IReactorTCP, IReactorTime):
    """What a resolver needs of the reactor: every one on POSIX has it."""


class NameServer(NamedTuple):
    """Where a name server listens; `host` is numeric."""

    host: str
    port: int = 53

    @property
    def is_on_this_machine(self) -> bool:
        """Nobody can come between the server and us: its word on what is authentic is believed."""
        return ip_address(self.host).is_loopback

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class NoReply(NamedTuple):
    """Why there is none."""

    text: str
    timed_out: bool = False


class _Distrust(NamedTuple):
    """Something came, but rather ask over TCP."""


_Reply: TypeAlias = bytes | NoReply | _Distrust


async def ask(
    reactor: Reactor, clock: IReactorTime, server: NameServer, query: bytes, patience: float
) -> bytes | NoReply:
    """Send a query and give the reply, whose header and question belong to it, or why there is none.

    Waits `patience` seconds for UDP, and as long again for TCP.
    """
    reply = await _in_time(_Datagrams(reactor, server, query).reply, clock, patience)
    if isinstance(reply, _Distrust) or (isinstance(reply, bytes) and is_truncated(reply)):
        reply = await _in_time(_StreamFactory(reactor, server, query, patience).reply, clock, patience)
        if isinstance(reply, bytes) and fit(query, reply) is Fit.NO:
            return NoReply("an answer to another question")
    assert not isinstance(reply, _Distrust)
    return reply


def _in_time(reply: Deferred[_Reply], clock: IReactorTime, patience: float) -> Deferred[_Reply]:
    silence = NoReply(f"no answer within {patience:.3g} s", timed_out=True)
    return reply.addTimeout(patience, clock, lambda *_: silence)


@implementer(IReadDescriptor)
class _Datagrams:
    """A UDP socket for one question.

    Not a DatagramProtocol: that costs five times as much for each socket (65 us against 14) and two lines
    in the log, and cannot close at once.
    """

    __slots__ = ("_query", "_reactor", "_socket", "_strangers", "reply")

    def __init__(self, reactor: Reactor, server: NameServer, query: bytes) -> None:
        self.reply: Deferred[_Reply] = Deferred(lambda _: self._close())
        self._reactor = reactor
        self._query = query
        self._strangers = 0
        self._socket: socket.socket | None = None
        try:
            family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
            self._socket = socket.socket(family, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
            self._socket.connect(server)
            self._socket.send(query)
        except OSError as error:
            self._end(NoReply(error.strerror or str(error)))
        else:
            reactor.addReader(self)

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:
        return "DNS"

    def doRead(self) -> None:
        while self._socket is not None:
            try:
                octets = self._socket.recv(_LARGEST_DATAGRAM)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._end(NoReply(error.strerror or str(error)))
                return
            self._received(octets)

    def _received(self, octets: bytes) -> None:
        match fit(self._query, octets):
            case Fit.YES:
                self._end(octets)
            case Fit.CASE_LOST:
                self._end(_Distrust())
            case Fit.NO:
                self._strangers += 1
                if self._strangers > _MAXIMUM_STRANGERS:
                    self._end(_Distrust())

    def connectionLost(self, reason: Failure) -> None:
        """Hear from the reactor that the socket has an error, or that everything ends."""
        if self._socket is not None:
            self._end(NoReply("the connection was refused"))

    def _end(self, reply: _Reply) -> None:
        self._close()
        self.reply.callback(reply)

    def _close(self) -> None:
        if self._socket is not None:
            self._reactor.removeReader(self)
            self._socket.close()
            self._socket = None


class _Stream(Protocol):
    """A TCP connection for one question."""

    transport: ITCPTransport

    def __init__(self, factory: _StreamFactory) -> None:
        self._factory = factory
        self._received = bytearray()

    def connectionMade(self) -> None:
        query = self._factory.query
        self.transport.write(len(query).to_bytes(2, "big") + query)

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        end = 2 + int.from_bytes(self._received[:2], "big")
        if len(self._received) >= max(end, 2):
            self._factory.end(bytes(self._received[2:end]))
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._factory.end(NoReply("the connection was closed before the answer was complete"))


class _StreamFactory(ClientFactory):
    noisy = False

    def __init__(self, reactor: Reactor, server: NameServer, query: bytes, patience: float) -> None:
        self.query = query
        self.reply: Deferred[_Reply] = Deferred(lambda _: connector.disconnect())
        connector = reactor.connectTCP(server.host, server.port, self, timeout=patience)

    def buildProtocol(self, addr: object) -> _Stream:
        return _Stream(self)

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        self.end(NoReply(f"over TCP: {reason.getErrorMessage()}"))

    def end(self, reply: NoReply | bytes) -> None:
        if not self.reply.called:
            self.reply.callback(reply)
