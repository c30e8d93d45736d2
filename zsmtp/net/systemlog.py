"""Lines to the system's log, by the datagram socket of its daemon.

A line never waits: what the daemon has no room for is dropped and counted, and the count is logged when there
is room again.  Without a daemon nothing is logged, and it is looked for again after a while.

That is why neither syslog(3) nor `logging.handlers` does it: the one blocks the agent for as long as the
daemon hangs, and so does the other, which takes 15 us a line besides instead of 3, and 6 ms to load.
Source: RFC 3164 sections 4.1.1 and 5.3 for the form; the daemon adds time and host.
"""

from __future__ import annotations

import errno
import socket
import syslog
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SystemLog"]

_AGAIN: Final = 10.0
"""seconds after which a daemon that was not there is looked for again"""


class SystemLog:
    """The log of facility mail.  `ident` names the process, `clock` gives seconds and may be set back."""

    def __init__(self, path: str, *, ident: bytes, clock: Callable[[], float]) -> None:
        self._path = path
        self._ident = ident
        self._clock = clock
        self._socket: socket.socket | None = None
        self._tried_at = -_AGAIN
        self._lost = 0

    @property
    def is_there(self) -> bool:
        """Whether there is a daemon to write to; looks for one, but not all the time."""
        try:
            return self._socket is not None or self._connect()
        except OSError:
            return False

    def info(self, line: bytes) -> None:
        """Log what is in order."""
        self._write(syslog.LOG_INFO, line)

    def miss(self) -> None:
        """Count a line that was not even made, since there was no daemon."""
        self._lost += 1

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _write(self, priority: int, line: bytes) -> None:
        if self._lost and self._send(syslog.LOG_NOTICE, b"%d lines were not logged" % self._lost):
            self._lost = 0
        if self._lost or not self._send(priority, line):
            self._lost += 1

    def _send(self, priority: int, line: bytes) -> bool:
        try:
            if self._socket is None and not self._connect():
                return False
            assert self._socket is not None
            self._socket.send(b"<%d>%b: %b" % (syslog.LOG_MAIL | priority, self._ident, line))
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EMSGSIZE:  # it has ended; maybe another one has taken its place
                self.close()
            return False
        return True

    def _connect(self) -> bool:
        now = self._clock()
        if 0 <= now - self._tried_at < _AGAIN:
            return False
        self._tried_at = now
        found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            found.connect(self._path)
        except OSError:
            found.close()
            raise
        self._socket = found
        return True
