"""The parts of a MIME body, read from a stream.

`Reader` walks over the octets as stored and finds where headers and contents end; it keeps no more than one
piece and one header in memory.  Boundary lines are those of any multipart that is still open, so that the end
of an outer one ends what is inside too.  What breaks the rules, or costs more than real mail does, raises
Unconvertible: such a message may be sent as it is, but not changed.
Source: RFC 2046 section 5.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from zsmtp.message.wire import cut, gathered

__all__ = ["Delimiter", "Reader", "Unconvertible"]

#: Octets that the header of a part may have.
_HEADER_LIMIT = 65536

#: Octets that a boundary line may have, blanks at its end included.
_LINE_LIMIT = 1024

#: Lines that begin like a boundary line but are none.
_LOOKALIKES = 10_000

_EMPTY_LINE = re.compile(rb"(?:\A|\n)\r?\n")


class Unconvertible(ValueError):
    """The message cannot be converted; the text says why, as the end of a sentence."""


class Delimiter(NamedTuple):
    """A boundary line: which open multipart it belongs to, whether it is the last, how many octets it takes.

    The line end before it is part of it.
    """

    level: int
    last: bool
    octets: int


class Reader:
    """Reads headers and contents, one after the other.

    `delimiter` is the boundary line that ended the last content, None if the message ended there.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.delimiter: Delimiter | None = None
        self._pieces = iter(gathered(cut(pieces)))
        self._buffer = b""
        self._open: list[bytes] = []
        self._closers: dict[bytes, tuple[int, bool]] = {}
        self._candidate: re.Pattern[bytes] | None = None
        self._longest = 0
        self._lookalikes = 0

    def enter(self, boundary: bytes) -> int:
        """Open a multipart; give its level."""
        line = b"--" + boundary
        if line in self._closers or line + b"--" in self._closers:
            raise Unconvertible("a multipart inside of another has the same boundary")
        self._open.append(line)
        self._compile()
        return len(self._open) - 1

    def leave(self) -> None:
        """Close the innermost multipart: its boundary is no longer looked for."""
        self._open.pop()
        self._compile()

    def header(self) -> bytes:
        """Read a header with the empty line that ends it."""
        while True:
            found = _EMPTY_LINE.search(self._buffer, 0, _HEADER_LIMIT)
            if found is not None:
                break
            if len(self._buffer) > _HEADER_LIMIT:
                raise Unconvertible("the header of a part is too long")
            if not self._more():
                raise Unconvertible("the header of a part has no end")
        octets = self._buffer[: found.end()]
        if self._candidate is not None and self._candidate.search(b"\n" + octets):
            raise Unconvertible("the header of a part has no end")
        self._buffer = self._buffer[found.end() :]
        return octets

    def content(self) -> Iterator[bytes]:
        """Read up to the next boundary line; must be exhausted before anything else is read."""
        self.delimiter = None
        if self._candidate is None:
            if self._buffer:
                yield self._buffer
            self._buffer = b""
            yield from self._pieces
            return
        hold = self._longest + 4
        while len(self._buffer) < hold and self._more():
            pass
        if self._buffer.startswith(b"--") and self._is_delimiter(0, 0):
            self._buffer = self._buffer[self._delimited(0) :]
            return
        position = 0
        while True:
            found = self._candidate.search(self._buffer, position)
            if found is not None:
                at = found.start()
                start = at - 1 if self._buffer[at - 1 : at] == b"\r" else at
                if self._is_delimiter(start, at + 1):
                    content = self._buffer[:start]
                    self._buffer = self._buffer[self._delimited(start) :]
                    if content:
                        yield content
                    return
                self._lookalikes += 1
                if self._lookalikes > _LOOKALIKES:
                    raise Unconvertible("too many lines look like a boundary")
                position = at + 1
                continue
            ready = max(len(self._buffer) - hold, 0)
            if ready:
                yield self._buffer[:ready]
                self._buffer = self._buffer[ready:]
            position = max(position - ready, 0)
            if not self._more():
                if self._buffer:
                    yield self._buffer
                self._buffer = b""
                return

    def _compile(self) -> None:
        self._closers = {}
        for level, line in enumerate(self._open):
            self._closers[line] = (level, False)
            self._closers[line + b"--"] = (level, True)
        self._longest = max(map(len, self._open), default=0)
        # A first sieve, so that a body full of lines that begin with -- costs no more than any other.
        pattern = b"|".join(re.escape(line[2:]) for line in self._open)
        self._candidate = re.compile(rb"\n--(?:" + pattern + rb")") if self._open else None

    def _more(self) -> bool:
        """Get the next piece; False at the end."""
        piece = next(self._pieces, None)
        if piece is None:
            return False
        self._buffer += piece
        return True

    def _is_delimiter(self, start: int, at: int) -> bool:
        """Look at the line at offset `at` of the buffer, whose line end before it begins at `start`."""
        end = self._buffer.find(b"\n", at)
        while end < 0 and len(self._buffer) - at < _LINE_LIMIT and self._more():
            end = self._buffer.find(b"\n", at)
        end = len(self._buffer) if end < 0 else end + 1
        if end - at > _LINE_LIMIT:
            return False
        found = self._closers.get(self._buffer[at:end].rstrip(b" \t\r\n"))
        if found is None:
            return False
        self.delimiter = Delimiter(*found, end - start)
        return True

    def _delimited(self, start: int) -> int:
        assert self.delimiter is not None
        return start + self.delimiter.octets
