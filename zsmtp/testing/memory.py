"""A transport and a link in memory, for tests of Twisted protocols without sockets.

`FakeTransport` is what a protocol sees: it keeps what was written, in order, and lets the test decide how
much of it the other side takes.  `Link` puts a scripted peer at the other end and a `Clock` in place of
time:

    link = Link(protocol, table("+P; M 451"))
    link.run()
    link.conversation.client                # what the protocol said

Producers are pulled as Twisted's reactor does it: a pull producer is resumed when it is registered and
whenever everything written has gone; a push producer is paused above 64 KiB and resumed below.
"""

from __future__ import annotations

import socket
from collections import deque
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IHandshakeListener,
    IPullProducer,
    IPushProducer,
    ITCPTransport,
    ITLSTransport,
)
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from zsmtp.testing.conversation import Conversation
from zsmtp.testing.peer import Action, Ask, Drip, Flood, Send, Turn, Wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twisted.internet.interfaces import IProtocol

    from zsmtp.testing.peer import Behaviour

__all__ = ["FakeHandle", "FakeTlsHandle", "FakeTransport", "Link"]

_BUFFER = 65536
_ENDLESS = 100_000


class FakeHandle:
    """The socket below a transport, for protocols that send directly.

    `room` is how many octets the kernel still takes; None: any number.  Options set are in `options`.
    """

    family = socket.AF_INET

    def __init__(self, transport: FakeTransport) -> None:
        self.room: int | None = None
        self.options: list[tuple[int, int, Any]] = []
        self.error: OSError | None = None
        self._transport = transport

    def send(self, octets: bytes | memoryview) -> int:
        """Take as much as there is room for; raise as a non-blocking socket does."""
        if self.error is not None:
            raise self.error
        if self._transport.is_secure:
            raise AssertionError("octets were sent past TLS")
        if self._transport.waiting:
            raise AssertionError("octets were sent before others that were written earlier")
        taken = len(octets) if self.room is None else min(len(octets), self.room)
        if not taken:
            raise BlockingIOError("there is no room")
        if self.room is not None:
            self.room -= taken
        self._transport.sent_directly(bytes(octets[:taken]))
        return taken

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        """Note an option."""
        self.options.append((level, option, value))

    def getsockopt(self, level: int, option: int) -> int:
        """Return the last value that was set, or 0."""
        return next(
            (value for one, other, value in reversed(self.options) if (one, other) == (level, option)), 0
        )


class FakeTlsHandle:
    """What `getHandle` returns once TLS has begun."""

    def get_protocol_version_name(self) -> str:
        """Return the version that every handshake here ends with."""
        return "TLSv1.3"

    def get_cipher_name(self) -> str:
        """Return the cipher likewise."""
        return "TLS_AES_256_GCM_SHA384"

    def get_peer_certificate(self) -> None:
        """Return nothing: there is no certificate in memory."""


@implementer(ITCPTransport, ITLSTransport)
class FakeTransport:
    """A connected transport that keeps what is written.

    With `automatic` (the default) the other side takes everything at once; else it takes what `accept`
    says.  What it took is collected by `take`.  `tls_contexts` are the arguments of `startTLS`.  Nothing
    calls the protocol but `disconnect` and the producers.
    """

    disconnecting = False
    disconnected = False
    aborted = False

    def __init__(
        self,
        protocol: IProtocol | None = None,
        *,
        automatic: bool = True,
        handle: bool = True,
        host: Any = None,
        peer: Any = None,
    ) -> None:
        self.protocol = protocol
        self.automatic = automatic
        self.handle: FakeHandle | None = FakeHandle(self) if handle else None
        self.tls_contexts: list[object] = []
        self.is_secure = False
        self.write_side_open = True
        self.no_delay: bool | None = None
        self.keep_alive: bool | None = None
        self.producer: Any = None
        self.is_streaming = False
        self._is_paused = False
        self._host = host or IPv4Address("TCP", "192.0.2.1", 40000)
        self._peer = peer or IPv4Address("TCP", "192.0.2.25", 25)
        self._buffer = bytearray()
        self._taken = bytearray()

    # What a protocol calls

    def write(self, data: bytes) -> None:
        """Queue octets; nothing is taken after the end, as in Twisted."""
        if not isinstance(data, bytes):
            raise TypeError(f"bytes are written, not {type(data).__name__}")
        if self.disconnected or self.disconnecting or not self.write_side_open:
            return
        self._buffer += data
        is_full = len(self._buffer) > _BUFFER and not self._is_paused
        if is_full and self.producer is not None and self.is_streaming:
            self._is_paused = True
            self.producer.pauseProducing()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Queue several."""
        self.write(b"".join(iovec))

    def loseConnection(self) -> None:
        """Close when all is written and no producer is left."""
        self.disconnecting = True

    def abortConnection(self) -> None:
        """Close now; what waits is thrown away."""
        self.aborted = self.disconnecting = True
        self._buffer.clear()
        self.producer = None

    def loseWriteConnection(self) -> None:
        """Close our side."""
        self.write_side_open = False

    def startTLS(self, ctx: object, normal: bool = True) -> None:
        """Note the context; the handshake is done by `secure`."""
        self.tls_contexts.append(ctx)

    def registerProducer(self, producer: IPushProducer | IPullProducer, streaming: bool) -> None:
        """Take a producer; a pull producer is asked at once."""
        if self.producer is not None:
            raise RuntimeError("a producer is registered already")
        if self.disconnected:
            producer.stopProducing()
            return
        self.producer, self.is_streaming, self._is_paused = producer, streaming, False
        if not streaming:
            self.producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """Let the producer go."""
        self.producer = None

    def getHandle(self) -> FakeHandle | FakeTlsHandle | None:
        """Return the socket, or what stands for TLS."""
        return FakeTlsHandle() if self.is_secure else self.handle

    def getHost(self) -> Any:
        """Return our address."""
        return self._host

    def getPeer(self) -> Any:
        """Return theirs."""
        return self._peer

    def getTcpNoDelay(self) -> bool:
        """Return what was set."""
        return bool(self.no_delay)

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Note it."""
        self.no_delay = bool(enabled)

    def getTcpKeepAlive(self) -> bool:
        """Return what was set."""
        return bool(self.keep_alive)

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Note it."""
        self.keep_alive = bool(enabled)

    # What a test calls

    @property
    def waiting(self) -> int:
        """Octets that were written and that nobody has taken."""
        return len(self._buffer)

    def sent_directly(self, octets: bytes) -> None:
        """Note octets that went through the handle."""
        if not (self.disconnected or self.disconnecting):
            self._taken += octets

    def accept(self, limit: int | None = None) -> int:
        """Let the other side take octets, one round of the reactor; return how many it took."""
        piece = self._buffer[:limit]
        del self._buffer[: len(piece)]
        self._taken += piece
        if self.producer is not None and not self._buffer and not self.disconnected:
            if not self.is_streaming:
                self.producer.resumeProducing()
            elif self._is_paused:
                self._is_paused = False
                self.producer.resumeProducing()
        return len(piece)

    def take(self) -> bytes:
        """Return what the other side has got since the last call."""
        if self.automatic:
            while self.accept() or (self.producer is not None and self._buffer):
                pass
        taken = bytes(self._taken)
        self._taken.clear()
        return taken

    def secure(self) -> None:
        """Complete the handshake that the protocol began."""
        if not self.tls_contexts:
            raise AssertionError("the protocol has not begun TLS")
        self.is_secure = True
        if IHandshakeListener.providedBy(self.protocol):
            IHandshakeListener(self.protocol).handshakeCompleted()

    def disconnect(self, reason: BaseException | None = None) -> None:
        """Tell the protocol that the connection is gone; at most once."""
        if self.disconnected:
            return
        self.disconnected = True
        self._buffer.clear()
        if self.producer is not None:
            self.producer.stopProducing()
            self.producer = None
        if self.protocol is not None:
            self.protocol.connectionLost(Failure(reason or ConnectionDone()))


class Link:
    """A protocol at one end, a scripted peer at the other, and a clock.

    `clock` is the protocol's; `-- wait` and `-- drip` advance it.  `problems` of the conversation include
    TLS that was asked for and not begun.
    """

    def __init__(
        self,
        protocol: IProtocol,
        behaviour: Behaviour,
        *,
        clock: Clock | None = None,
        transport: FakeTransport | None = None,
        prompts: dict[str, Callable[[], object]] | None = None,
    ) -> None:
        self.protocol = protocol
        self.clock = clock or Clock()
        self.transport = transport or FakeTransport()
        self.transport.protocol = protocol
        self.peer = behaviour.peer()
        self.conversation = Conversation(self.peer)
        self._prompts = prompts or {}
        self._reads = True
        self._is_told = False  # the peer knows that the client has closed
        self._queue: deque[Action] = deque()
        protocol.makeConnection(self.transport)
        self._queue.extend(self.peer.connected())

    def run(self) -> None:
        """Carry octets until both are silent, or the connection is gone."""
        while self._once():
            pass

    def advance(self, seconds: float) -> None:
        """Let time pass, and carry what follows."""
        self.clock.advance(seconds)
        self.run()

    def _once(self) -> bool:
        octets = self.transport.take() if self._reads else b""
        if octets:
            self.conversation.add("C", octets, self.clock.seconds())
            self._queue.extend(self.peer.receive(octets))
        if self.transport.disconnecting and not self.transport.disconnected:
            self._client_closes()
            return True
        if not self._queue or self.transport.disconnected:
            return bool(octets)
        self._perform(self._queue.popleft())
        return True

    def _client_closes(self) -> None:
        self.conversation.note("client closes", self.clock.seconds())
        self.peer.closed()
        self.transport.disconnect(ConnectionAborted() if self.transport.aborted else ConnectionDone())

    def _perform(self, action: Action) -> None:
        match action:
            case Send():
                self._send(action.octets)
            case Drip():
                for piece in action.pieces:
                    self.clock.advance(action.seconds)
                    self._send(piece)
            case Flood():
                left = _ENDLESS if action.times is None else action.times
                while left and not self.transport.disconnecting:
                    times = min(left, 500)
                    left -= times
                    self._send(action.octets * times)
            case Wait():
                self.clock.advance(action.seconds)
            case Ask():
                self._prompts[action.name]()
            case Turn.SECURE:
                self._secure()
            case Turn():
                self._turn(action)

    def _send(self, octets: bytes) -> None:
        if self.transport.disconnecting or self.transport.disconnected:
            return
        self.conversation.add("S", octets, self.clock.seconds())
        self.protocol.dataReceived(octets)

    def _secure(self) -> None:
        if not self.transport.tls_contexts:
            self.peer.problems.append("the client did not begin TLS")
            return
        self.conversation.tls = "TLSv1.3"
        self.transport.secure()
        self._queue.extend(self.peer.secured())

    def _turn(self, turn: Turn) -> None:
        if turn is not Turn.LEAVE:
            self.conversation.note(turn.value, self.clock.seconds())
        match turn:
            case Turn.CLOSE | Turn.LEAVE | Turn.CUT | Turn.ALERT:
                self.transport.disconnect(ConnectionDone())
            case Turn.RESET:
                self.transport.disconnect(ConnectionLost())
            case Turn.HALF_CLOSE:
                if IHalfCloseableProtocol.providedBy(self.protocol):
                    IHalfCloseableProtocol(self.protocol).readConnectionLost()
                else:
                    self.transport.disconnect(ConnectionDone())
            case Turn.STOP_READING:
                self._reads = False
                self.transport.automatic = False
                if self.transport.handle is not None:
                    self.transport.handle.room = 0
