"""What every scripted peer is: octets in, actions out.

A `Behaviour` (a script or a table) makes one `Peer` for each connection.  A peer is pure: it is told what
arrived and says what is to be done next; sockets, clocks and TLS belong to whoever runs it
(`zsmtp.testing.server` over real sockets, `zsmtp.testing.memory` and `zsmtp.testing.talk` without any).

Does not judge the client beyond what its script says: what was out of place is listed in `problems`, and the
test decides whether that matters.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple, Protocol

__all__ = [
    "Action",
    "Ask",
    "Behaviour",
    "DataReader",
    "Drip",
    "Envelope",
    "Flood",
    "Message",
    "Peer",
    "Send",
    "Turn",
    "Wait",
    "append",
]

# The path may contain ">" inside quotes; parameters follow it.
_PATH = re.compile(rb'(?i)\s*(MAIL FROM|RCPT TO):\s*<((?:"(?:\\.|[^"\\])*"|[^">])*)>')


class Send(NamedTuple):
    """Write these octets at once."""

    octets: bytes


class Drip(NamedTuple):
    """Write the pieces one by one and wait `seconds` before each."""

    pieces: tuple[bytes, ...]
    seconds: float


class Flood(NamedTuple):
    """Write `octets` over and over, `times` times or (None) for as long as the client stays."""

    octets: bytes
    times: int | None


class Wait(NamedTuple):
    """Do nothing for so long, then go on with the next action."""

    seconds: float


class Ask(NamedTuple):
    """Have the client's side do what the test knows by this name; only a runner in memory can."""

    name: str


class Turn(Enum):
    """An action without operands; the value is the event's text in a record.

    `LEAVE` is `CLOSE` at the natural end of a session, after QUIT: a record does not list it as an event.
    `CUT` and `ALERT` end a connection under TLS; in clear they are `CLOSE`.
    """

    SECURE = "server starts TLS"
    CLOSE = "server closes"
    RESET = "server resets"
    CUT = "server closes without the farewell of TLS"
    ALERT = "server sends an alert of TLS"
    HALF_CLOSE = "server ends its side"
    STOP_READING = "server stops reading"
    SILENCE = "server falls silent"
    LEAVE = "server leaves"


Action = Send | Drip | Flood | Wait | Ask | Turn


class Message(NamedTuple):
    """One message as a peer received it.

    `sender` and `recipients` are the paths without angle brackets; `commands` are the lines they came in.  A
    table lists only the recipients that it accepted, a script all that were named.  `octets` is the text with
    CRLF line ends and without dot-stuffing; it is empty where the behaviour was told not to keep it, `size`
    counts anyhow.
    """

    sender: bytes
    recipients: tuple[bytes, ...]
    octets: bytes
    size: int
    commands: tuple[bytes, ...] = ()


class Peer(Protocol):
    """One end of one connection."""

    messages: list[Message]
    problems: list[str]

    def connected(self) -> list[Action]:
        """The connection exists; say what comes first."""

    def receive(self, octets: bytes) -> list[Action]:
        """The client sent this."""

    def secured(self) -> list[Action]:
        """The TLS handshake that was asked for by `Turn.SECURE` is done."""

    def closed(self) -> list[Action]:
        """The client ended its side of the connection."""


class Behaviour(Protocol):
    """Something that can make a peer for the next connection."""

    def peer(self) -> Peer:
        """A new peer; what it shares with the ones before it is the behaviour's affair."""


def append(actions: list[Action], octets: bytes) -> None:
    """Add octets to send, joined with the octets that are to be sent before them."""
    if actions and isinstance(actions[-1], Send):
        actions[-1] = Send(actions[-1].octets + octets)
    else:
        actions.append(Send(octets))


class Envelope:
    """Collects the commands that come before a message."""

    __slots__ = ("_commands", "_recipients", "_sender")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything: a message ended, or RSET."""
        self._sender = b""
        self._recipients: list[bytes] = []
        self._commands: list[bytes] = []

    def note(self, line: bytes) -> None:
        """Look at one command line; all but MAIL, RCPT and RSET are passed over.  MAIL starts anew."""
        found = _PATH.match(line)
        if found is None:
            if line[:4].upper() == b"RSET":
                self.clear()
            return
        if found[1][:1] in b"Mm":
            self.clear()
            self._sender = found[2]
        else:
            self._recipients.append(found[2])
        self._commands.append(line)

    @property
    def recipients(self) -> int:
        """How many recipients were noted since MAIL."""
        return len(self._recipients)

    def message(self, octets: bytes, size: int) -> Message:
        """The message that this envelope and these octets make; the envelope is empty afterwards."""
        made = Message(self._sender, tuple(self._recipients), octets, size, tuple(self._commands))
        self.clear()
        return made


class DataReader:
    """Reads the text after DATA up to the lone dot, in any pieces, and undoes the dot-stuffing.

    Only CRLF counts as a line end, as RFC 5321 section 4.1.1.4 demands of a server.
    """

    __slots__ = ("_carry", "_keep", "_kept", "_skip", "lines", "size")

    def __init__(self, *, keep: bool = True) -> None:
        self._keep = keep
        self._kept: list[bytes] = []
        self._carry = b"\r\n"  # the text begins at a line start
        self._skip = 2
        self.size = 0  # octets of the text so far, unstuffed
        self.lines = 0  # lines so far

    def feed(self, octets: bytes) -> bytes | None:
        """Take the next piece; the octets behind the final dot once it was seen, None before."""
        raw = self._carry + octets
        end = raw.find(b"\r\n.\r\n")
        self.lines += raw.count(b"\n", len(self._carry), end + 2 if end >= 0 else len(raw))
        if end >= 0:
            self._emit(raw[: end + 2])
            return raw[end + 5 :]
        # What may be the beginning of CRLF, dot, CRLF stays back, as it came.
        cut = raw.find(b"\r", max(0, len(raw) - 4))
        if cut < 0:
            cut = len(raw)
        self._emit(raw[:cut])
        self._carry = raw[cut:]
        return None

    def _emit(self, raw: bytes) -> None:
        text = raw.replace(b"\r\n.", b"\r\n")
        if self._skip:
            skipped = min(self._skip, len(text))
            self._skip -= skipped
            text = text[skipped:]
        self.size += len(text)
        if self._keep:
            self._kept.append(text)

    @property
    def text(self) -> bytes:
        """The text as far as it came; empty if it is not kept."""
        return b"".join(self._kept)
