"""The transcript of option -l: every command and reply, one line each, in a file that many agents may share.

A line is tag, kind, TAB, text.  The tag begins with the process id; a time, a counter and seconds since the
first line follow, so that sorting the file puts sessions together.  Message content is never written, nor is
a secret; control characters, which a server can choose, appear as `\\xNN`.

The lines of one turn of the reactor are one write of whole lines to a file opened for appending, which the
system does not mix with the writes of others.  A file that was renamed or removed is made anew within a
second.  A file that cannot be written costs its lines and one warning, and nothing else: mail goes on, and
what is written later says how many lines are missing.  Source: smtp(8zm), option -l.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Transcript"]

_UNSAFE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_MOST_OCTETS: Final = 65536
"""how much may wait for the end of a turn"""


class Transcript:
    """An open transcript; raises OSError where the file cannot be opened.

    `clock` gives seconds since 1970.  `later` calls a function when this turn of the reactor is over (None:
    every line is written at once).  `warn` is for the postmaster, and may be set when there is somebody to
    tell.
    """

    def __init__(
        self,
        path: str,
        *,
        pid: int,
        clock: Callable[[], float],
        later: Callable[[Callable[[], None]], object] | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self.warn = warn
        self._path = path
        self._pid = pid
        self._clock = clock
        self._later = later
        self._descriptor = _open(path)
        self._identity = _identity(os.fstat(self._descriptor))
        self._began = int(clock())
        self._looked_at = self._began
        self._session = f"{pid:05d}{self._began & 0xFFFF:04X}"
        self._count = 0
        self._waiting: list[bytes] = []
        self._size = 0
        self._is_due = False
        self._lost = 0
        self._is_torn = False
        self._has_warned = False

    def line(self, kind: str, text: bytes) -> None:
        """Note one line: kind `w` for a command, `r` for a reply, `#` for a remark."""
        line = self._tagged(kind, text)
        self._waiting.append(line)
        self._size += len(line)
        if self._later is None or self._size >= _MOST_OCTETS:
            self.flush()
        elif not self._is_due:
            self._is_due = True
            self._later(self.flush)

    def remark(self, text: str) -> None:
        """Note a remark."""
        self.line("#", text.encode(errors="replace"))

    def witness(self, number: int = 0) -> Callable[[str, bytes], None]:
        """Return what notes the lines of one connection.

        `number` stands behind the kind where a process has several connections at once; 0 for one.
        """
        write, read = (f"{kind}{number or ''}" for kind in "wr")

        def heard(kind: str, text: bytes) -> None:
            if kind == "w":
                self.line(write, text)
            elif kind == "r":
                self.line(read, text)

        return heard

    def flush(self) -> None:
        """Write what waits."""
        self._is_due = False
        if not self._waiting:
            return
        lines, self._waiting, self._size = self._waiting, [], 0
        self._follow()
        octets = b"".join(lines)
        if self._lost:
            octets = self._tagged("#", b"(%d lines are missing here)" % self._lost) + octets
        if self._is_torn:
            octets = b"\n" + octets
        try:
            written = os.write(self._descriptor, octets)
        except OSError as error:
            self._lose(len(lines), error.strerror)
            return
        if written < len(octets):
            # others may have appended behind it: it cannot be taken back
            self._is_torn = True
            self._lose(len(lines) - octets[:written].count(b"\n"), "only a part could be written")
        else:
            self._is_torn = False
            self._lost = 0

    def close(self) -> None:
        """Write what waits and close the file."""
        if self._descriptor >= 0:
            self.flush()
            os.close(self._descriptor)
            self._descriptor = -1

    def _tagged(self, kind: str, text: bytes) -> bytes:
        seconds = int(self._clock()) - self._began
        tag = f"{self._session}-{self._count % 10000:04d}-{seconds % 10000:04d}{kind}\t"
        self._count += 1
        return tag.encode() + _UNSAFE.sub(_escaped, text) + b"\n"

    def _follow(self) -> None:
        """Once a second: where the file was renamed or removed, go on in a new one of its name."""
        now = int(self._clock())
        if now == self._looked_at or self._identity is None:
            return
        self._looked_at = now
        try:
            if _identity(os.stat(self._path)) == self._identity:
                return
        except FileNotFoundError:
            pass
        except OSError as error:
            self._complain(error.strerror)
            return
        try:
            descriptor = _open(self._path)
        except OSError as error:  # the old file is still good to write to
            self._complain(error.strerror)
            return
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._identity = _identity(os.fstat(descriptor))
        self._is_torn = False

    def _lose(self, lines: int, why: str | None) -> None:
        self._lost += max(lines, 0)
        self._complain(why)

    def _complain(self, why: str | None) -> None:
        """Tell the postmaster, once in the life of a process."""
        if not self._has_warned and self.warn is not None:
            self._has_warned = True
            self.warn(f'logfile "{self._path}": {why}; lines of the transcript will be missing')


def _escaped(found: re.Match[bytes]) -> bytes:
    return b"\\x%02x" % found[0][0]


def _open(path: str) -> int:
    # Not for everybody: envelopes and subjects of refusals stand in it.  A FIFO without a reader is an error
    # rather than a wait for ever.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    return os.open(path, flags, 0o640)


def _identity(status: os.stat_result) -> tuple[int, int] | None:
    """What tells one file from another; None for what no rotation replaces."""
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None
