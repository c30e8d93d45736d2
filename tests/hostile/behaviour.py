"""Behaviours of servers, and what must come of mail that meets them, read from text.

A file of `dialogues/` holds behaviours one after the other.  A behaviour is

    === its title, a sentence
    about: row 39; W9; RFC 2920 3.1     what it attacks: rows and weaknesses are those of the
                                        description of the original
    options: lmtp unix                  how our side is set up
    timeouts: command=1 dot=1           seconds, in place of long ones
    server: +P; M 550; R 503; D 503     a table of `zsmtp.testing.table` for each connection, the last for
    server:                             all after it; or a script of `zsmtp.testing.script`
        @open +P
        C: QUIT
    next host:                          servers below are at the next address of the route
    mail: to=3 body=big                 one line for each message; without any: one message for one recipient
    expect: ok3, error2 5.1.1           for each message the words and the beginnings of the statuses of its
                                        recipients in the order in which they are sent; one is for all
    says: hung up                       must stand in the text or diagnostic of a report
    unsaid: secret                      must not stand in any
    client: E M R R D . Q | E Q         the commands on each connection
    connections: 1-2                    how many there are (default 1, or as many as `client` lists)
    arrives: 3                          how many recipients servers answer for (default: those with ok)
    within: 5                           seconds until all is reported
    child: yes                          is also played to an agent of its own
    strict: no                          that script or table find the client out of place does not matter
    todo: why zsmtp does not pass yet

Alternatives in `expect` are separated by a bar.  Scripts may use

    @open +P +C      greeting and EHLO; @hello is EHLO alone, @lhlo LHLO
    @mail, @rcpt 2   accepted; @data is DATA, 354 and the text, @whole 2 everything from MAIL to the final 250
    @tls             STARTTLS and the handshake
    @quit            QUIT and its answer

In `server:`, `says:`, `unsaid:` and `S-raw:` escapes are as in Python.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from zsmtp.testing.dialogue import Script
from zsmtp.testing.peer import Behaviour as Played
from zsmtp.testing.script import unescape
from zsmtp.testing.table import Table, table

__all__ = ["DIALOGUES", "Behaviour", "Expected", "Mail", "read", "slug"]

DIALOGUES = Path(__file__).parent / "dialogues"

_HEADER = b"From: alice@example.com\nTo: bob@example.net\nSubject: test\n"
_EIGHT = b"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n"
_LINE = b"0123456789" * 7 + b"\n"
_BODIES: dict[str, bytes] = {
    "plain": b"hello\n",
    "dots": b".\n.x\n..\n...y\n.no end",
    "big": _LINE * 4_000,  # more than any piece or chunk of ours
    "huge": _LINE * 60_000,  # more than any buffer of the kernel
    "eight": b"gr\xc3\xbc\xc3\x9fe\n",
}
_WORDS = frozenset({"ok3", "ok2", "error2", "deferred", "deferback", "deferall", "retryat"})
_ANNOUNCED = {
    "+P": "PIPELINING", "+C": "CHUNKING", "+D": "DSN", "+8": "8BITMIME", "+N": "ENHANCEDSTATUSCODES",
    "+T": "STARTTLS", "+A": "AUTH LOGIN PLAIN",
}  # fmt: skip


class Mail(NamedTuple):
    """One message.  `pause` are the seconds for which it is held back after all before it are reported."""

    recipients: int = 1
    body: bytes = _BODIES["plain"]
    header: bytes = _HEADER
    sender: bytes = b"alice@example.com"
    notary: bytes | None = None
    pause: float = 0.0
    same: bool = False
    """whether all recipients have the same address"""
    long: bool = False
    """whether addresses are as long as they may be"""

    def paths(self, number: int) -> list[bytes]:
        """Return the forward-paths of message `number`, in the order in which they are sent."""
        each = [1] * self.recipients if self.same else range(1, self.recipients + 1)
        domain = b".".join([b"d" * 58] * 3 + [b"example.net"]) if self.long else b"example.net"
        return [b"r%d.m%d@%b" % (index, number, domain) for index in each]

    @property
    def wire(self) -> bytes:
        """The message as a server must receive it."""
        text = (self.header + b"\n" + self.body).replace(b"\n", b"\r\n")
        return text if text.endswith(b"\n") else text + b"\r\n"


class Expected(NamedTuple):
    """What may be told of one recipient: the word, and the beginning of the status."""

    words: tuple[str, ...]
    statuses: tuple[str, ...] = ("",)

    def __str__(self) -> str:
        return f"{'|'.join(self.words)} {'|'.join(self.statuses)}".rstrip()


class Behaviour(NamedTuple):
    """One behaviour of a server, and what must come of it.

    `hosts` makes anew, for each address of the route, what its successive connections play.
    """

    title: str
    hosts: Callable[[], list[list[Played]]]
    expected: tuple[tuple[Expected, ...], ...]
    about: tuple[str, ...] = ()
    options: frozenset[str] = frozenset()
    timeouts: dict[str, float] = {}  # noqa: RUF012  never changed
    mails: tuple[Mail, ...] = (Mail(),)
    says: tuple[bytes, ...] = ()
    unsaid: tuple[bytes, ...] = ()
    client: tuple[str, ...] | None = None
    connections: range = range(1, 2)
    arrives: range = range(1)
    within: float = 8.0
    child: bool = False
    todo: str = ""
    is_strict: bool = True
    """whether what a table or script finds out of place is held against the client"""

    @property
    def name(self) -> str:
        """The title as part of the name of a test."""
        return slug(self.title)


def slug(title: str) -> str:
    """Make of a sentence what a method may be called."""
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")


def read(path: Path) -> list[Behaviour]:
    """Read a file of behaviours; raise ValueError with its name and the title of what cannot be read."""
    found = []
    for title, lines in _sections(path.read_text()):
        try:
            found.append(_behaviour(title, lines))
        except (ValueError, KeyError) as error:
            raise ValueError(f"{path.name}: {title}: {error}") from error
    return found


def _sections(text: str) -> Iterator[tuple[str, list[str]]]:
    parts = re.split(r"(?m)^=== (.+)$", text)
    for title, section in zip(parts[1::2], parts[2::2], strict=True):
        yield title.strip(), [line for line in section.splitlines() if line and not line.startswith("#")]


def _behaviour(title: str, lines: list[str]) -> Behaviour:
    """Fill in the fields, whose lines are `key: value`; a script stands in lines that are indented."""
    once: dict[str, str] = {}
    many: dict[str, list[str]] = {"mail": [], "expect": [], "says": [], "unsaid": []}
    hosts: list[list[str]] = [[]]
    for line in lines:
        if line[0].isspace():
            hosts[-1][-1] += line + "\n"
            continue
        key, colon, value = line.partition(":")
        value = value.strip()
        if not colon:
            raise ValueError(f"{line!r} is no field")
        if key == "server":
            hosts[-1].append(value + "\n")
        elif key == "next host":
            hosts.append([])
        elif key in many:
            many[key].append(value)
        elif key in once:
            raise ValueError(f"{key!r} is given twice")
        else:
            once[key] = value
    options = frozenset(once.pop("options", "").split())
    mails = tuple(_mail(text) for text in many["mail"]) or (Mail(),)
    expected = tuple(_expected(text, mail) for text, mail in zip(many["expect"], mails, strict=True))
    ok = sum(each.words[0].startswith("ok") for one in expected for each in one)
    client = tuple(part.strip() for part in once["client"].split("|")) if "client" in once else None
    once.pop("client", None)
    made = Behaviour(
        title,
        lambda: [[_played(text, lmtp="lmtp" in options) for text in host] for host in hosts],
        expected,
        about=tuple(part.strip() for part in once.pop("about").split(";")),
        options=options,
        timeouts={key: float(value) for key, value in _pairs(once.pop("timeouts", ""))},
        mails=mails,
        says=tuple(map(unescape, many["says"])),
        unsaid=tuple(map(unescape, many["unsaid"])),
        client=client,
        connections=_range(once.pop("connections", str(len(client or ("",))))),
        arrives=_range(once.pop("arrives", str(ok))),
        within=float(once.pop("within", 8.0)),
        child=once.pop("child", "") == "yes",
        todo=once.pop("todo", ""),
        is_strict=once.pop("strict", "yes") == "yes",
    )
    if once:
        raise ValueError(f"{', '.join(once)}: no such field")
    made.hosts()  # a script that cannot be read is found now
    return made


def _range(text: str) -> range:
    least, _, most = text.partition("-")
    return range(int(least), int(most or least) + 1)


def _pairs(text: str) -> list[tuple[str, str]]:
    pairs = [word.partition("=") for word in text.split()]
    return [(key, value) for key, _, value in pairs]


def _mail(text: str) -> Mail:
    mail = Mail()
    for key, value in _pairs(text):
        match key:
            case "to":
                mail = mail._replace(recipients=int(value))
            case "body" if value.isdecimal():  # so many octets on the wire
                filling = int(value) - len(mail._replace(body=b"").wire) - 2
                mail = mail._replace(body=b"x" * filling + b"\n")
            case "body":
                mail = mail._replace(body=_BODIES[value], header=_HEADER + _EIGHT * (value == "eight"))
            case "from":
                mail = mail._replace(sender=value.strip("<>").encode())
            case "notary":
                mail = mail._replace(notary=value.replace("/", " ").encode())
            case "pause":
                mail = mail._replace(pause=float(value))
            case "same":
                mail = mail._replace(same=True)
            case "long":
                mail = mail._replace(long=True)
            case _:
                raise ValueError(f"{key!r} says nothing about a message")
    return mail


def _expected(text: str, mail: Mail) -> tuple[Expected, ...]:
    found: list[Expected] = []
    for item in text.split(","):
        words = item.split()
        times = int(words.pop()[1:]) if re.fullmatch(r"x\d+", words[-1]) else 1
        each = Expected(tuple(words[0].split("|")), tuple("".join(words[1:]).split("|")))
        if not _WORDS.issuperset(each.words):
            raise ValueError(f"{words[0]!r} is no word of a report")
        found += [each] * times
    if len(found) == 1:
        found *= mail.recipients
    if len(found) != mail.recipients:
        raise ValueError(f"{len(found)} words for {mail.recipients} recipients")
    return tuple(found)


def _played(text: str, *, lmtp: bool) -> Script | Table:
    first, _, script = text.partition("\n")
    if first:
        return table(unescape(("lmtp; " if lmtp else "") + first).decode())
    lines = [_spelled_out(line.strip(), lmtp=lmtp) for line in script.splitlines()]
    return Script("\n".join(lines))


def _spelled_out(line: str, *, lmtp: bool) -> str:
    """Replace an abbreviation by the lines it stands for."""
    if not line.startswith("@"):
        return line
    word, *rest = line[1:].split()
    match word:
        case "open":
            return "S: 220 mx.example ESMTP\n" + _hello("LHLO" if lmtp else "EHLO", rest)
        case "hello":
            return _hello("EHLO", rest)
        case "lhlo":
            return _hello("LHLO", rest)
        case "mail":
            return "C: MAIL FROM:<*> ...\nS: 250 2.1.0 sender"
        case "rcpt":
            return "C: RCPT TO:<*> ...\nS: 250 2.1.5 recipient\n" * int(rest[0] if rest else 1)
        case "data":
            return "C: DATA\nS: 354 go on\nC-data:"
        case "whole":
            count = int(rest[0]) if rest else 1
            lines = ["@mail", f"@rcpt {count}", "@data"] + ["S: 250 2.6.0 ok"] * (count if lmtp else 1)
            return "\n".join(_spelled_out(each, lmtp=lmtp) for each in lines)
        case "tls":
            return "C: STARTTLS\nS: 220 ready\n-- starttls"
        case "quit":
            return "C: QUIT\nS: 221 bye"
    raise ValueError(f"{line!r} stands for nothing")


def _hello(verb: str, announced: list[str]) -> str:
    lines = ["mx.example", *(_ANNOUNCED.get(each, each.replace("_", " ")) for each in announced)]
    said = [f"S: 250-{line}" for line in lines[:-1]] + [f"S: 250 {lines[-1]}"]
    return "\n".join([f"C: {verb} *", *said])
