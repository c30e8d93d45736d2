"""The scheduler's orders, from octets to values.

An order is a line: a control file, and maybe a TAB and the host.  `#idle` and other comments, the empty line
and lines that can name no file are orders too, since each is answered by exactly one `#hungry`.  A last line
without its end is none: the scheduler died in the middle of it.  Source: smtp(8zm), section INTERFACE.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

__all__ = ["LINE_OCTETS", "PATH_OCTETS", "Feed", "FeedReader", "Note"]

LINE_OCTETS: Final = 65536
"""the longest line that is kept in memory"""
PATH_OCTETS: Final = 4095
"""the longest name of a file that Linux knows"""


class Note(Enum):
    """An order that names no control file."""

    IDLE = "there is no work at present"
    COMMENT = "to be passed over"
    END = "no more orders will follow"
    UNUSABLE = "empty, without measure or with a NUL in it: it can name no file"


class Feed(NamedTuple):
    """Deliver what this control file holds for `host`; None: for the host that is known already."""

    path: bytes
    host: bytes | None


class FeedReader:
    """Cut standard input into orders; holds at most one line of 64 KiB."""

    def __init__(self) -> None:
        self._partial = b""
        self._is_skipping = False

    def receive(self, data: bytes) -> list[Feed | Note]:
        """Take octets as they arrive and return the orders that are complete."""
        lines = (self._partial + data).split(b"\n")
        self._partial = lines.pop()
        orders = [self._order(line) for line in lines]
        if len(self._partial) > LINE_OCTETS:
            self._is_skipping = True
            self._partial = b""
        return orders

    def _order(self, line: bytes) -> Feed | Note:
        if self._is_skipping or len(line) > LINE_OCTETS:
            self._is_skipping = False
            return Note.UNUSABLE
        if not line or line.startswith(b"\0"):
            return Note.END
        if line.startswith(b"#"):
            return Note.IDLE if line == b"#idle" else Note.COMMENT
        path, tab, host = line.partition(b"\t")
        if not path or len(path) > PATH_OCTETS or line.find(b"\0") >= 0:
            return Note.UNUSABLE
        return Feed(path, host if tab else None)
