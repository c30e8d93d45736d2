"""Replies of an SMTP or LMTP server, from octets to values.

Accepts the grammar of RFC 5321 section 4.2 and nothing looser, but takes a bare LF as line end, since servers
send it, and any three digits as code, so that an absurd reply can be quoted.  A line keeps its first 4096
octets; one reply has at most 100 lines, and no more than 64 KiB are held of what is not yet a whole reply.
Beyond that the peer is broken: memory must stay bounded.

Does not judge replies: see `zsmtp.policy`.
"""

from __future__ import annotations

import re

__all__ = ["LINES_IN_REPLY", "LINE_KEPT", "UNREAD_KEPT", "Reply", "ReplyReader"]

LINE_KEPT = 4096
LINES_IN_REPLY = 100
UNREAD_KEPT = 65536

_CODES = {b"%03d" % code: code for code in range(1000)}
_TOO_LONG = f"a reply line is longer than {UNREAD_KEPT} octets"
_ENHANCED = re.compile(rb"([245]\.\d{1,3}\.\d{1,3})(?:[ \t]+|\Z)")


class Reply:
    """One reply: `code` (0 to 999) and `lines` as they came, code included and line ends removed."""

    __slots__ = ("code", "lines")

    def __init__(self, code: int, lines: tuple[bytes, ...]) -> None:
        self.code = code
        self.lines = lines

    @property
    def enhanced(self) -> bytes | None:
        """The enhanced status code of the last line, such as `b"5.1.1"`, or None.

        Only one whose class is that of the reply counts.  Source: RFC 2034 section 4, RFC 3463 section 2.
        """
        return self.parts[0]

    @property
    def text(self) -> bytes:
        """The last line without its code and without its enhanced status code."""
        return self.parts[1]

    @property
    def parts(self) -> tuple[bytes | None, bytes]:
        """`enhanced` and `text`, at the price of one of them."""
        line = self.lines[-1]
        found = _ENHANCED.match(line, 4)
        if found is None or found[1][0] != line[0]:
            return None, line[4:]
        return found[1], line[found.end() :]

    def __repr__(self) -> str:
        return f"<Reply {self.code} {self.lines[-1][4:]!r}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reply) and other.lines == self.lines and other.code == self.code

    def __hash__(self) -> int:
        return hash(self.lines)


class ReplyReader:
    """Cut what a server sends into replies.

    `problem` is None, or the reason why the rest of the input is not understood; from then on nothing is
    read.  `is_empty` says whether everything received so far has been given out in whole replies.
    """

    __slots__ = ("_lines", "_partial", "_size", "is_empty", "problem")

    def __init__(self) -> None:
        self._partial = bytearray()
        self._lines: list[bytes] = []
        self._size = 0
        self.problem: str | None = None
        self.is_empty = True

    @property
    def unfinished(self) -> tuple[bytes, ...]:
        """The lines of a reply whose last line has not come, and the beginning of that line."""
        if self._partial:
            return (*self._lines, bytes(self._partial[:LINE_KEPT]))
        return tuple(self._lines)

    def receive(self, data: bytes) -> list[Reply]:
        """Take octets as they arrive, in whatever pieces, and return the replies that are now whole."""
        if self.problem is not None:
            return []
        if self._partial:
            self._partial += data
            if b"\n" not in data:
                return self._hold()
            data = bytes(self._partial)
            self._partial.clear()
        replies: list[Reply] = []
        lines = data.split(b"\n")
        rest = lines.pop()
        for line in lines:
            reply = self._line(line)
            if reply is not None:
                replies.append(reply)
            elif self.problem is not None:
                self.is_empty = False
                return replies
        self.is_empty = not rest and not self._lines
        if rest:
            self._partial += rest
            self._hold()
        return replies

    def _hold(self) -> list[Reply]:
        if len(self._partial) > UNREAD_KEPT:
            self.problem = _TOO_LONG
            self._partial.clear()
        return []

    def _line(self, line: bytes) -> Reply | None:
        """Take one line without its LF; return the reply that it ends, if it ends one."""
        if len(line) > UNREAD_KEPT:  # where the line arrives in pieces it is cut off at the same octet
            self.problem = _TOO_LONG
            return None
        line = line.removesuffix(b"\r")[:LINE_KEPT]
        code = _CODES.get(line[:3])
        mark = line[3:4]
        if code is None or mark not in (b" ", b"-", b""):
            self.problem = f"not a reply: {line[:60]!r}"
            self._lines.append(line)
            return None
        if not self._lines and mark != b"-":
            return Reply(code, (line,))
        lines = self._lines
        # RFC 5321 4.2.1: the code is the same on every line; where it is not, the meaning is anybody's guess
        if lines and lines[0][:3] != line[:3]:
            self.problem = f"the lines of one reply have different codes, {lines[0][:3]!r} and {line[:3]!r}"
        lines.append(line)
        self._size += len(line)
        if len(lines) > LINES_IN_REPLY:
            self.problem = f"a reply has more than {LINES_IN_REPLY} lines"
        elif self._size > UNREAD_KEPT:
            self.problem = f"a reply is longer than {UNREAD_KEPT} octets"
        if self.problem is not None or mark == b"-":
            return None
        self._lines = []
        self._size = 0
        return Reply(code, tuple(lines))
