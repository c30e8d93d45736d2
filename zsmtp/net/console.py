"""Standard input and output of an agent as a Twisted protocol.

Half closing matters: the scheduler ends our input and still reads our output.  Where nobody reads any more,
the agent is told to stop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

__all__ = ["Console"]


@implementer(IHalfCloseableProtocol)
class Console(Protocol):
    """Pass input on, write output, and stop the reactor when all of it is written."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._is_lost = False
        self._has_ended = False

    def serve(
        self, receive: Callable[[bytes], None], end: Callable[[], None], abandoned: Callable[[], None]
    ) -> None:
        """Tell where input goes, what its end means, and what to do when nobody reads any more."""
        self._receive = receive
        self._input_ended = end
        self._abandoned = abandoned

    def write(self, octets: bytes) -> None:
        """Write whole lines."""
        if not self._is_lost and self.transport is not None:
            self.transport.write(octets)

    def end(self) -> None:
        """Write what is left, then stop the reactor."""
        self._has_ended = True
        if self._is_lost or self.transport is None:
            self._stop()
        else:
            self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """See IProtocol."""
        self._receive(data)

    def readConnectionLost(self) -> None:
        """See IHalfCloseableProtocol: the orders have ended."""
        self._input_ended()

    def writeConnectionLost(self) -> None:
        """See IHalfCloseableProtocol: nobody reads our reports."""
        self._lost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See IProtocol."""
        self._lost()

    def _lost(self) -> None:
        self._is_lost = True
        if self._has_ended:
            self._stop()
        else:
            self._abandoned()

    def _stop(self) -> None:
        if self._reactor.running:
            self._reactor.stop()
