"""The way of octets from a session to its transport.

While nothing waits and there is no TLS, octets go straight to the socket: that saves a turn of the reactor
and a copy for every message.  What the socket does not take, and long bodies, follow as a pull producer, one
piece at a time, so that memory stays bounded and replies are read meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IPullProducer, ISSLTransport
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Callable

    from zsmtp.smtp.session import Session

__all__ = ["Outlet"]

_DIRECT_PIECES: Final = 16
"""pieces of 64 KiB that may go straight to the socket before the reactor has a turn"""
_WRITTEN_PIECES: Final = 2
"""pieces that a transport is given before it is asked whether the peer reads: they lie in memory"""


@implementer(IPullProducer)
class Outlet:
    """Send what `session` gives out.  `progressed` is called whenever the peer has taken something that
    waited.
    """

    __slots__ = ("_handle", "_progressed", "_session", "_transport", "_waiting", "is_sending", "progress")

    def __init__(self, session: Session, transport: Any, progressed: Callable[[], None]) -> None:
        self._session = session
        self._transport = transport
        self._progressed = progressed
        self._handle = None if ISSLTransport.providedBy(transport) else transport.getHandle()
        self._waiting = b""
        self.is_sending = False
        """Whether octets wait here for the peer to read."""
        self.progress = 0
        """How often something has been passed on that waited."""

    def leave_socket(self) -> None:
        """TLS begins: from now on everything goes through the transport."""
        self._handle = None

    def send(self) -> None:
        """Send all that the session has to send, now or as the peer takes it."""
        if self.is_sending:
            return
        session, handle = self._session, self._handle
        for _ in range(_WRITTEN_PIECES if handle is None else _DIRECT_PIECES):
            octets = session.take()
            if not octets:
                session.flushed()
                return
            if handle is None:
                self._transport.write(octets)
                continue
            try:
                sent = handle.send(octets)
            except OSError:
                sent = 0  # it is full for now; if it is worse than that, the transport finds the same error
            if sent < len(octets):
                self._waiting = octets[sent:]
                session.flushed(len(self._waiting))
                break
        self.is_sending = True
        self._transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """Hand over the next piece.  See IPullProducer."""
        octets, self._waiting = self._waiting or self._session.take(), b""
        self.progress += 1
        if octets:
            self._transport.write(octets)
        else:
            self.is_sending = False
            self._transport.unregisterProducer()
            self._session.flushed()
        self._progressed()

    def stopProducing(self) -> None:
        """The connection is gone.  See IPullProducer."""
        self._waiting = b""
        self.is_sending = False
