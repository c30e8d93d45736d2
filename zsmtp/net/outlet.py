"""The way of octets from a session to its transport.

While nothing waits and there is no TLS, octets go straight to the socket: that saves a turn of the reactor
and a copy for every message.  What the socket does not take, and long bodies, follow as a pull producer, one
piece at a time, so that memory stays bounded and replies are read meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IPullProducer
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Callable

    from zsmtp.smtp.session import Session

__all__ = ["Outlet"]

_PIECES_AT_ONCE = 16
"""pieces of 64 KiB that may go straight to the socket before the reactor has a turn"""


@implementer(IPullProducer)
class Outlet:
    """Send what `session` gives out.  `progressed` is called whenever the peer has taken something that
    waited.
    """

    __slots__ = ("_handle", "_progressed", "_session", "_transport", "_waiting", "is_sending")

    def __init__(self, session: Session, transport: Any, progressed: Callable[[], None]) -> None:
        self._session = session
        self._transport = transport
        self._progressed = progressed
        self._handle = transport.getHandle()
        self._waiting = b""
        self.is_sending = False
        """Whether octets wait here for the peer to read."""

    def leave_socket(self) -> None:
        """TLS begins: from now on everything goes through the transport."""
        self._handle = None

    def send(self) -> None:
        """Send all that the session has to send, now or as the peer takes it."""
        if self.is_sending:
            return
        session = self._session
        for _ in range(_PIECES_AT_ONCE):
            octets = session.take()
            if not octets:
                session.flushed()
                return
            if self._handle is None:
                self._transport.write(octets)
                continue
            try:
                sent = self._handle.send(octets)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._transport.write(octets)  # the transport finds the same error and reports the loss
                return
            if sent < len(octets):
                self._waiting = octets[sent:]
                break
        self.is_sending = True
        self._transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """Hand over the next piece.  See IPullProducer."""
        octets, self._waiting = self._waiting or self._session.take(), b""
        if octets:
            self._progressed()
            self._transport.write(octets)
            return
        self.is_sending = False
        self._transport.unregisterProducer()
        self._session.flushed()
        self._progressed()

    def stopProducing(self) -> None:
        """The connection is gone.  See IPullProducer."""
        self._waiting = b""
        self.is_sending = False
