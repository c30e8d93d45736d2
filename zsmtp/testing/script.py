r"""Dialogues as text, read into steps.

One line is one step; blank lines and lines that begin with `#` are passed over, indentation does not matter.

    S: 220 mx.example ESMTP           send the line and CRLF
    S-raw: 250-a\r\n250 b\r           send these octets (escapes as in Python), no line end added
    C: MAIL FROM:<a@x.example> ...    expect a line: `*` is any run of octets, `\*` an asterisk, ` ...` at the
                                      end any parameters or none; the verb may be in any case
    C-data:                           expect everything up to CRLF . CRLF
    C-data: Subject: a\r\n\r\nb\r\n   the same, and exactly this text (unstuffed, escapes as in Python)
    C-bdat: 162 LAST                  expect a BDAT command and its octets; without arguments: any
    C-octets: 5000                    expect at least so many octets of whatever kind
    C-close                           expect the client to close, without another octet
    -- close | reset | halfclose      end the connection: properly, by RST, or only our side of it
    -- cut | alert                    under TLS: end the connection without its farewell, or by a fatal alert
    -- silence                        read on, never answer again
    -- stop reading                   keep the connection, read nothing more
    -- wait 0.5                       pause before the next step
    -- drip 0.05 per octet            send what follows in pieces (`per line`; `-- drip off` ends it)
    -- flood 10000 lines 250-more     send a line over and over (`endless lines`: while the client stays)
    -- starttls                       shake hands, as server, with the test certificate
    -- client begin                   in memory only: call what the test has put under this name
    -- repeat 1000 ... -- end         play a block so often; without a number: while its first line matches

A script that has been played to its end closes the connection.  Source of the form: style.md, rule 19.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from zsmtp.testing.peer import Turn

__all__ = [
    "Hear",
    "HearChunk",
    "HearClose",
    "HearData",
    "HearOctets",
    "Pace",
    "Pause",
    "Perform",
    "Pour",
    "Prompt",
    "Repeat",
    "Say",
    "ScriptError",
    "Step",
    "read",
    "unescape",
]


class ScriptError(ValueError):
    """A script cannot be read.  The text names the line and what may stand there."""


class Say(NamedTuple):
    """Send octets."""

    octets: bytes


class Hear(NamedTuple):
    """Expect a line that matches the pattern; `text` is how the script wrote it."""

    pattern: re.Pattern[bytes]
    text: str


class HearData(NamedTuple):
    """Expect a text up to the lone dot; None: any."""

    octets: bytes | None


class HearChunk(NamedTuple):
    """Expect BDAT with arguments that match, and its octets."""

    pattern: re.Pattern[bytes]
    text: str


class HearOctets(NamedTuple):
    """Expect at least so many octets."""

    number: int


class HearClose(NamedTuple):
    """Expect the end of the connection from the client's side."""


class Perform(NamedTuple):
    """Do something to the connection."""

    turn: Turn


class Pause(NamedTuple):
    """Wait some seconds."""

    seconds: float


class Pace(NamedTuple):
    """From here on send octet by octet, or line by line, with a pause before each."""

    seconds: float
    by_line: bool


class Pour(NamedTuple):
    """Send octets over and over, `times` times or (None) endlessly."""

    octets: bytes
    times: int | None


class Prompt(NamedTuple):
    """Tell the client's side to do something."""

    name: str


class Repeat(NamedTuple):
    """Play a block `times` times, or (None) as long as its first expectation matches."""

    times: int | None
    steps: tuple[Step, ...]


Step = (
    Say
    | Hear
    | HearData
    | HearChunk
    | HearOctets
    | HearClose
    | Perform
    | Pause
    | Pace
    | Pour
    | Prompt
    | Repeat
)

_LINE = re.compile(r"(S|S-raw|C|C-data|C-bdat|C-octets):(?: (.*))?$|(C-close)\s*$|--\s*(.+?)\s*$")
_ESCAPE = re.compile(rb"\\(x[0-9A-Fa-f]{2}|[0-7]{3}|[^x]|$|x)")
_SIMPLE = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"0": b"\0", b"\\": b"\\", b"'": b"'", b'"': b'"'}
_TURNS = {
    "close": Turn.CLOSE,
    "reset": Turn.RESET,
    "cut": Turn.CUT,
    "alert": Turn.ALERT,
    "halfclose": Turn.HALF_CLOSE,
    "silence": Turn.SILENCE,
    "stop reading": Turn.STOP_READING,
    "starttls": Turn.SECURE,
}
_VERB = re.compile(r"(?i)(?:MAIL FROM:|RCPT TO:|[A-Za-z0-9]+)")


def read(text: str) -> tuple[Step, ...]:
    """Read a dialogue; raise `ScriptError` with the number of the line that cannot be read."""
    blocks: list[tuple[int | None, list[Step]]] = [(1, [])]
    for number, line in enumerate(text.splitlines(), 1):
        line = line.lstrip()
        if not line or line.startswith("#"):
            continue
        try:
            _read_line(line, blocks)
        except ScriptError as error:
            raise ScriptError(f"line {number}: {line!r}: {error}") from None
    if len(blocks) > 1:
        raise ScriptError('a "-- repeat" has no "-- end"')
    return tuple(blocks[0][1])


def _read_line(line: str, blocks: list[tuple[int | None, list[Step]]]) -> None:
    found = _LINE.match(line)
    if found is None:
        raise ScriptError('expected S:, S-raw:, C:, C-data:, C-bdat:, C-octets:, C-close or a "--" direction')
    kind, value, close, direction = found.groups()
    if direction is None:
        step = HearClose() if close else _spoken(kind, value or "")
        blocks[-1][1].append(step)
    elif direction.split()[0] == "repeat":
        blocks.append((_count(direction[6:].strip(), None), []))
    elif direction == "end":
        if len(blocks) == 1:
            raise ScriptError("there is no block to end")
        count, steps = blocks.pop()
        if count is None and not (steps and isinstance(steps[0], Hear | HearChunk)):
            raise ScriptError("a repeat without a number must begin with a C: or C-bdat: line")
        blocks[-1][1].append(Repeat(count, tuple(steps)))
    else:
        blocks[-1][1].append(_direction(direction))


def _spoken(kind: str, value: str) -> Step:
    match kind:
        case "S":
            return Say(value.encode() + b"\r\n")
        case "S-raw":
            return Say(unescape(value))
        case "C":
            return Hear(_pattern(value), value)
        case "C-data":
            return HearData(None if value in ("", "*") else unescape(value))
        case "C-bdat":
            return HearChunk(_pattern(value or "*"), value or "*")
        case _:
            count = _count(value, 0)
            if not count:
                raise ScriptError("C-octets: needs a number above 0")
            return HearOctets(count)


def _direction(text: str) -> Step:
    words = text.split()
    if text in _TURNS:
        return Perform(_TURNS[text])
    match words:
        case ["wait", seconds]:
            return Pause(_seconds(seconds))
        case ["drip", "off"]:
            return Pace(0.0, False)
        case ["drip", seconds, "per", "octet" | "line" as unit]:
            return Pace(_seconds(seconds), unit == "line")
        case ["client", name]:
            return Prompt(name)
        case ["flood", count, "lines", *_]:
            line = text.split("lines", 1)[1].strip() or "250-flood"
            return Pour(line.encode() + b"\r\n", None if count == "endless" else _count(count, None))
    raise ScriptError(
        "known directions: close, reset, halfclose, cut, alert, silence, stop reading, starttls, wait N, "
        "drip N per octet, drip N per line, drip off, flood N lines TEXT, flood endless lines TEXT, "
        "repeat N, end, client NAME"
    )


def _count(text: str, absent: int | None) -> int | None:
    if not text:
        return absent
    if not text.isdecimal():
        raise ScriptError(f"{text!r} is no number")
    return int(text)


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ScriptError(f"{text!r} is no number of seconds") from None


def _pattern(text: str) -> re.Pattern[bytes]:
    open_end = text.endswith(" ...")
    if open_end:
        text = text[:-4]
    verb = _VERB.match(text)
    head = verb[0] if verb else ""
    body = re.split(r"(\\\*|\*)", text[len(head) :])
    pieces = [b"(?i:" + re.escape(head.encode()) + b")"]
    for piece in body:
        pieces.append(b".*" if piece == "*" else re.escape(piece.replace("\\*", "*").encode()))
    if open_end:
        pieces.append(b"(?: .*)?")
    return re.compile(b"".join(pieces), re.DOTALL)


def unescape(text: str) -> bytes:
    """Octets from text with Python's escapes; what is not ASCII stands for its UTF-8 octets."""
    return _ESCAPE.sub(_unescaped, text.encode())


def _unescaped(found: re.Match[bytes]) -> bytes:
    name = found[1]
    if name[:1] == b"x" and len(name) == 3:
        return bytes([int(name[1:], 16)])
    if len(name) == 3:
        return bytes([int(name, 8) & 255])
    if name in _SIMPLE:
        return _SIMPLE[name]
    raise ScriptError(f"unknown escape \\{name.decode(errors='replace')}")
