"""Servers as a table: what is answered at each stage, everything else as usual.

    table("+P +S 1000; R 250, 550 5.1.1 no, 250; D 354")
    Table({"mail": ["250 ok", None, "250 ok"]}, announce=["8BITMIME"], lmtp=True)

A stage has one reply or a list of them, used in turn over all messages and connections; the last one repeats.
Stages: `banner` B, `ehlo` E L (also LHLO), `helo` H, `mail` M, `rcpt` R, `data` D, `bdat` (chunks but the
last), `dot` `.` (end of the data, also BDAT LAST), `rset` S, `noop` N, `quit` Q, `starttls` T, `auth` A.

A reply is
- text: sent with CRLF; three digits alone get some text; CRLF inside makes several lines, or several replies;
- bytes: sent exactly so;
- None or `X`: close the connection; `hang` or `-`: fall silent; `reset`: close by RST;
- text that ends in `+X`: sent, then close.

In the short notation stages are separated by `;` and replies by `,`; `+P +C +D +S n +8 +N +T +A` announce
PIPELINING, CHUNKING, DSN, SIZE n, 8BITMIME, ENHANCEDSTATUSCODES, STARTTLS and AUTH, `lmtp` makes it an LMTP
server.

In LMTP the end of the data has one reply for each recipient that was accepted.  The server keeps no order of
commands: MAIL refused does not make it refuse RCPT, only the table does.  Text is read after DATA only if the
reply was 3yz.  Commands that were sent ahead where none may be are listed in `problems`.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, NamedTuple

from zsmtp.testing.peer import Action, DataReader, Envelope, Message, Turn, append

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Reply", "Table", "TablePeer", "recorded", "table"]

Reply = str | bytes | None
"""One reply; see the head of this module."""

_NAMES = {
    "B": "banner",
    "E": "ehlo",
    "L": "ehlo",
    "H": "helo",
    "M": "mail",
    "R": "rcpt",
    "D": "data",
    ".": "dot",
    "S": "rset",
    "N": "noop",
    "Q": "quit",
    "T": "starttls",
    "A": "auth",
}
_STAGES = frozenset(_NAMES.values()) | {"bdat"}
_USUAL = {
    "banner": "220 fake.example.test ESMTP fake",
    "helo": "250 fake.example.test",
    "mail": "250 2.1.0 sender ok",
    "rcpt": "250 2.1.5 recipient ok",
    "data": "354 go ahead",
    "dot": "250 2.6.0 message accepted id=FAKE1",
    "rset": "250 2.0.0 reset",
    "noop": "250 2.0.0 ok",
    "quit": "221 2.0.0 bye",
    "starttls": "220 2.0.0 ready",
    "auth": "235 2.7.0 welcome",
}
_ANNOUNCED = ("8BITMIME", "SIZE 100000000", "PIPELINING", "ENHANCEDSTATUSCODES", "DSN")
_SIGNS = {
    "+P": "PIPELINING",
    "+C": "CHUNKING",
    "+D": "DSN",
    "+S": "SIZE",
    "+8": "8BITMIME",
    "+N": "ENHANCEDSTATUSCODES",
    "+T": "STARTTLS",
    "+A": "AUTH LOGIN PLAIN",
}
_VERBS = {
    b"EHLO": "ehlo",
    b"LHLO": "ehlo",
    b"HELO": "helo",
    b"MAIL": "mail",
    b"RCPT": "rcpt",
    b"DATA": "data",
    b"RSET": "rset",
    b"NOOP": "noop",
    b"QUIT": "quit",
    b"STARTTLS": "starttls",
    b"AUTH": "auth",
}
_BDAT = re.compile(rb"(?i)BDAT ([0-9]{1,20})( LAST)?\s*")
# RFC 2920 section 3.1: these may be followed by another command before their reply.
_MAY_BE_FOLLOWED = frozenset({"mail", "rcpt", "rset"})


class _Chunk(NamedTuple):
    size: int
    is_last: bool


class Table:
    """A behaviour made of replies by stage.

    `announce` are the EHLO lines after the first; None stands for those of an ordinary server of our time.
    `drop_after_lines` closes the connection after so many lines of a text.  `keep=False` counts the texts of
    messages and throws them away.
    """

    def __init__(
        self,
        replies: Mapping[str, Reply | Sequence[Reply]] | None = None,
        *,
        announce: Sequence[str] | None = None,
        lmtp: bool = False,
        drop_after_lines: int | None = None,
        keep: bool = True,
    ) -> None:
        self.announced = _ANNOUNCED if announce is None else tuple(announce)
        self.lmtp = lmtp
        self.drop_after_lines = drop_after_lines
        self.keep = keep
        self._replies: dict[str, Iterator[Reply]] = {}
        for name, reply in (replies or {}).items():
            stage = _NAMES.get(name, name)
            if stage not in _STAGES:
                raise ValueError(f"{name!r} is no stage; known are {', '.join(sorted(_STAGES))}")
            turns = [reply] if reply is None or isinstance(reply, str | bytes) else list(reply)
            if not turns:
                raise ValueError(f"{name!r} has an empty list of replies")
            self._replies[stage] = itertools.chain(turns, itertools.repeat(turns[-1]))

    def peer(self) -> TablePeer:
        """Return a peer; all peers of one table go on in the same lists."""
        return TablePeer(self)

    def reply(self, stage: str, usual: str = "") -> Reply:
        """Return the next reply of a stage."""
        turns = self._replies.get(stage)
        return next(turns) if turns is not None else usual or _USUAL[stage]

    def greeting(self, *, is_secure: bool = False) -> str:
        """Return the usual answer to EHLO and LHLO; STARTTLS is not offered twice."""
        lines = ["fake.example.test", *self.announced]
        if is_secure and "STARTTLS" in lines:
            lines.remove("STARTTLS")
        return "\r\n".join(["250-" + line for line in lines[:-1]] + ["250 " + lines[-1]])


def table(text: str) -> Table:
    """Read the short notation."""
    announced: list[str] = []
    replies: dict[str, list[Reply]] = {}
    lmtp = False
    for item in text.split(";"):
        item = item.strip()
        if item.lower() == "lmtp":
            lmtp = True
        elif item.startswith("+"):
            announced += _signs(item.split())
        elif item:
            name, _, rest = item.partition(" ")
            replies[name] = [reply.strip() for reply in rest.split(",")]
    return Table(replies, announce=announced, lmtp=lmtp)


def _signs(words: list[str]) -> list[str]:
    lines: list[str] = []
    for word in words:
        if word in _SIGNS:
            lines.append(_SIGNS[word])
        elif word.isdecimal() and lines and lines[-1] == "SIZE":
            lines[-1] += " " + word
        else:
            raise ValueError(f"{word!r} announces nothing; known are {' '.join(_SIGNS)}")
    return lines


def recorded(server: Mapping[str, object]) -> Table:
    """Make the table for the `server` of a recording of the original program."""
    replies = {
        name: reply for name, reply in server.items() if name not in ("caps", "lmtp", "drop_after_lines")
    }
    return Table(
        replies,  # type: ignore[arg-type]  # as it comes from JSON
        announce=server.get("caps"),  # type: ignore[arg-type]
        lmtp=bool(server.get("lmtp")),
        drop_after_lines=server.get("drop_after_lines"),  # type: ignore[arg-type]
    )


class TablePeer:
    """One connection to a table's server."""

    def __init__(self, table: Table) -> None:
        self.messages: list[Message] = []
        self.problems: list[str] = []
        self._table = table
        self._buffer = b""
        self._actions: list[Action] = []
        self._envelope = Envelope()
        self._reader: DataReader | None = None
        self._chunk: _Chunk | None = None
        self._missing = 0  # octets of the chunk
        self._chunks: list[bytes] = []
        self._chunked = 0
        self._is_authenticating = False
        self._is_over = False
        self._is_secure = False
        self._may_pipeline = False

    def connected(self) -> list[Action]:
        """Greet."""
        self._answer("banner")
        return self._done()

    def receive(self, octets: bytes) -> list[Action]:
        """Answer everything that is complete."""
        self._buffer += octets
        while not self._is_over and self._step():
            pass
        if self._is_over:
            self._buffer = b""
        return self._done()

    def secured(self) -> list[Action]:
        """Start anew, as RFC 3207 section 4.2 has it."""
        self._envelope.clear()
        self._is_secure = True
        return []

    def closed(self) -> list[Action]:
        """Close as well."""
        return [] if self._is_over else [Turn.LEAVE]

    def _done(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions

    def _step(self) -> bool:
        """Take one thing from the buffer; False if it holds nothing complete."""
        if self._reader is not None:
            return self._text(self._reader)
        if self._chunk is not None:
            return self._octets(self._chunk)
        end = self._buffer.find(b"\n")
        if end < 0:
            return False
        line = self._buffer[:end]
        self._buffer = self._buffer[end + 1 :]
        if not line.endswith(b"\r"):
            self.problems.append(f"a line without CR: {line!r}")
        line = line.removesuffix(b"\r")
        if self._is_authenticating:
            self._authenticate()
        else:
            self._command(line)
        return True

    def _command(self, line: bytes) -> None:
        verb = line.split(b" ", 1)[0].upper()
        if verb == b"BDAT" and (found := _BDAT.fullmatch(line)):
            self._chunk = _Chunk(int(found[1]), bool(found[2]))
            self._missing = self._chunk.size
            return
        stage = _VERBS.get(verb, "")
        self._note_haste(line, stage)
        match stage:
            case "ehlo":
                self._may_pipeline = "PIPELINING" in self._table.announced
                self._answer("ehlo", self._table.greeting(is_secure=self._is_secure))
            case "mail":
                self._envelope.note(line)
                self._answer("mail")
            case "rcpt":
                if self._answer("rcpt") == 2:
                    self._envelope.note(line)
            case "rset":
                self._envelope.note(line)
                self._answer("rset")
            case "data":
                if self._answer("data") == 3:
                    self._reader = DataReader(keep=self._table.keep)
            case "quit":
                self._answer("quit")
                if not self._is_over:
                    self._end(Turn.LEAVE)
            case "starttls":
                if self._answer("starttls") == 2:
                    self._secure()
            case "auth":
                self._authenticate()
            case "":
                append(self._actions, b"500 5.5.2 what?\r\n")
            case _:
                self._answer(stage)

    def _note_haste(self, line: bytes, stage: str) -> None:
        """RFC 2920: without PIPELINING, and after some commands in any case, the client has to wait."""
        if self._buffer and stage and not (self._may_pipeline and stage in _MAY_BE_FOLLOWED):
            self.problems.append(f"{self._buffer[:100]!r} was sent before the reply to {line!r}")

    def _authenticate(self) -> None:
        self._is_authenticating = self._answer("auth") == 3

    def _secure(self) -> None:
        self._buffer = b""
        self._actions.append(Turn.SECURE)

    def _text(self, reader: DataReader) -> bool:
        if not self._buffer:
            return False
        rest = reader.feed(self._buffer)
        limit = self._table.drop_after_lines
        if limit is not None and reader.lines >= limit:
            self._end(Turn.CLOSE)
            return False
        self._buffer = rest or b""
        if rest is None:
            return False
        self._reader = None
        self._finish(reader.text, reader.size, "")
        return True

    def _octets(self, chunk: _Chunk) -> bool:
        piece = self._buffer[: self._missing]
        self._buffer = self._buffer[len(piece) :]
        self._missing -= len(piece)
        if self._table.keep:
            self._chunks.append(piece)
        if self._missing:
            return False
        self._chunk = None
        self._chunked += chunk.size
        usual = f"250 2.6.0 {chunk.size} octets received"
        if chunk.is_last:
            text, size = b"".join(self._chunks), self._chunked
            self._chunks, self._chunked = [], 0
            self._finish(text, size, usual)
        else:
            self._answer("bdat", usual)
        return True

    def _finish(self, text: bytes, size: int, usual: str) -> None:
        recipients = self._envelope.recipients if self._table.lmtp else 1
        self.messages.append(self._envelope.message(text, size))
        for _ in range(recipients):
            if not self._is_over:
                self._answer("dot", usual)

    def _answer(self, stage: str, usual: str = "") -> int:
        """Send the next reply of a stage; return its first digit, 0 if there is none."""
        reply = self._table.reply(stage, usual)
        match reply:
            case None | "X":
                self._end(Turn.CLOSE)
                return 0
            case "hang" | "-":
                self._end(Turn.SILENCE)
                return 0
            case "reset":
                self._end(Turn.RESET)
                return 0
            case bytes():
                append(self._actions, reply)
                return int(reply[:1]) if reply[:1].isdigit() else 0
        text = reply.removesuffix("+X")
        closes = text != reply
        text = text.rstrip(" ") if closes else text
        if re.fullmatch("[0-9]{3}", text):
            text += " scripted"
        append(self._actions, text.encode() + b"\r\n")
        if closes:
            self._end(Turn.CLOSE)
        return int(text[0]) if text[:1].isdecimal() else 0

    def _end(self, turn: Turn) -> None:
        self._actions.append(turn)
        self._is_over = True
