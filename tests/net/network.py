"""A network in memory: scripted servers at addresses, one clock for all, and nothing that waits."""

from __future__ import annotations

import errno
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.error import ConnectError, ConnectionRefusedError, TimeoutError
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from zsmtp.testing.memory import FakeTransport, Link
from zsmtp.testing.table import table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twisted.internet.interfaces import IProtocol

    from zsmtp.testing.conversation import Conversation
    from zsmtp.testing.peer import Behaviour

REFUSED = "refused"
SILENT = "silent"


class Octets:
    """A message in memory; `pieces` may be many."""

    def __init__(self, *pieces: bytes, size: int | None = None, error: Exception | None = None) -> None:
        self.parts = pieces
        self.size = sum(map(len, pieces)) if size is None else size
        self.error = error
        """raised after the pieces"""
        self.given = 0

    def pieces(self, *, stuffed: bool) -> Iterator[bytes]:
        """Give the pieces; nothing here needs stuffing."""
        for part in self.parts:
            self.given += 1
            yield part
        if self.error is not None:
            raise self.error


class LooseTransport(FakeTransport):
    """A transport whose peer never lets go: closing in peace does not end it."""

    asked_to_close = False

    def loseConnection(self) -> None:
        """Note it."""
        self.asked_to_close = True


class Attempt(NamedTuple):
    """One connect; `seconds` is how long it may take."""

    address: str
    port: int
    seconds: float


class _Connector:
    def __init__(self, network: Network, factory: Any) -> None:
        self._network = network
        self._factory = factory
        self.is_over = False

    def getDestination(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.25", 25)

    def stopConnecting(self) -> None:
        self.fail(ConnectError(string="stopped"))

    def fail(self, error: Exception) -> None:
        if not self.is_over:
            self.is_over = True
            self._factory.clientConnectionFailed(self, Failure(error))

    def made(self, behaviour: Behaviour, transport: FakeTransport) -> None:
        if not self.is_over:
            self.is_over = True
            protocol = self._factory.buildProtocol(transport.getPeer())
            self._network.links.append(Link(protocol, behaviour, clock=self._network, transport=transport))


class Network(Clock):
    """A reactor for clients.  `serve` says who listens; `run` lets everything happen that needs no time."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[Link] = []
        self.attempts: list[Attempt] = []
        self.transports: type[FakeTransport] = FakeTransport
        self._servers: dict[str, deque[Behaviour | str]] = {}

    def serve(self, address: str, *behaviours: Behaviour | str) -> None:
        """Serve one connection to `address` by each behaviour; the last one serves all that follow.

        Text is a table, or `REFUSED` or `SILENT` (nobody answers).
        """
        self._servers[address] = deque(
            each if each in (REFUSED, SILENT) else as_behaviour(each) for each in behaviours
        )

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None
    ) -> _Connector:
        """See IReactorTCP."""
        return self._connect(host, port, factory, timeout, FakeTransport)

    def connectUNIX(self, address: str, factory: Any, timeout: float = 30, checkPID: int = 0) -> _Connector:
        """See IReactorUNIX."""
        return self._connect(address, 0, factory, timeout, UnixTransport)

    def _connect(
        self, host: str, port: int, factory: Any, seconds: float, kind: type[FakeTransport]
    ) -> _Connector:
        self.attempts.append(Attempt(host, port, seconds))
        connector = _Connector(self, factory)
        factory.doStart()
        factory.startedConnecting(connector)
        waiting = self._servers.get(host) or deque([REFUSED])
        behaviour = waiting.popleft() if len(waiting) > 1 else waiting[0]
        if behaviour == REFUSED:
            self.callLater(0, connector.fail, ConnectionRefusedError(errno.ECONNREFUSED))
        elif isinstance(behaviour, str):
            self.callLater(seconds, connector.fail, TimeoutError())
        else:
            transport = kind() if self.transports is FakeTransport else self.transports()
            self.callLater(0, connector.made, behaviour, transport)
        return connector

    def run(self) -> None:
        """Carry octets and make calls that are due, until nothing happens any more."""
        before: object = None
        while before != (before := self._state()):
            for link in list(self.links):
                link.run()
            self.advance(0)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, from one call that becomes due to the next."""
        until = self.seconds() + seconds
        self.run()
        while (calls := [call.getTime() for call in self.getDelayedCalls()]) and min(calls) <= until:
            self.advance(max(0.0, min(calls) - self.seconds()))
            self.run()
        self.advance(max(0.0, until - self.seconds()))
        self.run()

    def _state(self) -> object:
        said = sum(len(piece.octets) for link in self.links for piece in link.conversation.pieces)
        due = sum(call.getTime() <= self.seconds() for call in self.getDelayedCalls())
        ended = sum(link.transport.disconnected for link in self.links)
        return len(self.links), said, due, ended, len(self.attempts)

    @property
    def conversations(self) -> list[Conversation]:
        """What was said, connection by connection."""
        return [link.conversation for link in self.links]

    @property
    def commands(self) -> list[list[str]]:
        """The first words of the client's lines on each connection, message texts left out."""
        return [verbs(conversation) for conversation in self.conversations]


class UnixTransport(FakeTransport):
    """A transport that refuses what only TCP has."""

    def __init__(self, protocol: IProtocol | None = None) -> None:
        super().__init__(protocol, host=UNIXAddress(None), peer=UNIXAddress("/run/lmtp"))

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Refuse."""
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")


def as_behaviour(behaviour: Behaviour | str) -> Behaviour:
    """Read a table where text is given."""
    return table(behaviour) if isinstance(behaviour, str) else behaviour


def verbs(conversation: Conversation) -> list[str]:
    """The first words of the client's lines, message texts left out."""
    found = []
    in_text = False
    for line in conversation.commands:
        if in_text:
            in_text = line != b"."
            if not in_text:
                found.append(".")
            continue
        word = line.split(b" ", 1)[0].decode("latin-1").upper()
        found.append(word)
        in_text = word == "DATA" and b"354" in conversation.server
    return found
