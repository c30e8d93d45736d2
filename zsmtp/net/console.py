"""Standard input and output of an agent as a Twisted protocol, and standard error beside them.

Half closing matters: the scheduler ends our input and still reads our output.  Where nobody reads any more,
the agent is told to stop.  While a scheduler does not read, we do not read either: what waits here for
either side stays bounded.  Nothing waits for ever: at the end a scheduler that still does not read is left.
"""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

__all__ = ["Console", "error_output"]

_LAST_SECONDS: Final = 60.0
"""how long a scheduler may take at the end to read what is left"""


@implementer(IHalfCloseableProtocol, IPushProducer)
class Console(Protocol):
    """Pass input on, write output, and stop the reactor when all of it is written."""

    transport: Any

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._is_lost = False
        self._has_ended = False
        self._has_stopped = False
        self._has_enough = False
        self._is_blocked = False
        self._is_reading = True

    def serve(
        self, receive: Callable[[bytes], None], end: Callable[[], None], abandoned: Callable[[], None]
    ) -> None:
        """Tell where input goes, what its end means, and what to do when nobody reads any more."""
        self._receive = receive
        self._input_ended = end
        self._abandoned = abandoned

    def connectionMade(self) -> None:
        """See IProtocol."""
        self.transport.registerProducer(self, True)

    def write(self, octets: bytes) -> None:
        """Write whole lines."""
        if not self._is_lost:
            self.transport.write(octets)

    def hold(self, is_held: bool) -> None:
        """Read nothing for the time being, or go on reading."""
        self._has_enough = is_held
        self._regulate()

    def end(self) -> None:
        """Write what is left, then stop the reactor."""
        self._has_ended = True
        if self._is_lost:
            self._stop()
        else:
            self.transport.unregisterProducer()
            self.transport.loseConnection()
            self._reactor.callLater(_LAST_SECONDS, self._stop)

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

    def pauseProducing(self) -> None:
        """See IPushProducer: the scheduler is slow to read."""
        self._is_blocked = True
        self._regulate()

    def resumeProducing(self) -> None:
        """See IPushProducer."""
        self._is_blocked = False
        self._regulate()

    def stopProducing(self) -> None:
        """See IPushProducer: what follows is told otherwise."""

    def _regulate(self) -> None:
        is_reading = not (self._has_enough or self._is_blocked)
        if is_reading is not self._is_reading and not (self._is_lost or self._has_ended):
            self._is_reading = is_reading
            if is_reading:
                self.transport.resumeProducing()
            else:
                self.transport.pauseProducing()

    def _lost(self) -> None:
        self._is_lost = True
        if self._has_ended:
            self._stop()
        else:
            self._abandoned()

    def _stop(self) -> None:
        if not self._has_stopped:
            self._has_stopped = True
            self._reactor.stop()


def error_output(output: int = 1, errors: int = 2) -> Callable[[bytes], None] | None:
    """Return what writes to standard error, or None where that is the file of standard output: lines for both
    must go one way then, or they would break each other.
    """
    if _is_same_file(output, errors):
        return None
    poll = select.poll()
    poll.register(errors, select.POLLOUT)

    def write(octets: bytes) -> None:
        # where nobody reads them, comments are not worth waiting for
        try:
            if poll.poll(0):
                os.write(errors, octets)
        except OSError:
            pass

    return write


def _is_same_file(one: int, other: int) -> bool:
    try:
        first, second = os.fstat(one), os.fstat(other)
    except OSError:
        return False
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)
