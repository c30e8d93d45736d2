"""Files of the real router, and what is to be made of them: read here line by line, in a way of their own.

The agent's parser is held against this one, which knows nothing but what routers write: records of one line,
and one header block at the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from tests.reference.mail import Mail, mails
from tests.reference.recording import ROUTES, Outcome, Recording, Route, SpoolFile
from tests.reference.replay import play

__all__ = [
    "Delivered",
    "Record",
    "body_of",
    "delivery",
    "filled",
    "header_of",
    "received_without_clause",
    "records",
]

_ARGUMENTS = ("-c", "smtp", "-x", "-p", "@PORT@", "-F", "[127.0.0.1]", "-h", "vm.example.test")
_FIRST = 1000001


def filled(route: Route, number: int = _FIRST) -> SpoolFile:
    """Put into the files what the router had put there before it became placeholders."""
    envelope, mark, rest = route.message.partition(b"env-end\n")
    header = re.match(rb"(?:[!-9;-~]+[ \t]*:.*\n(?:[ \t].*\n)*)*\n?", rest)
    assert header is not None
    control = route.control
    for placeholder, value in (
        (b"@INO@", b"%d" % number),
        (b"@OFFSET@", b"%d" % (len(envelope + mark) + header.end())),
        (b"@DATE@", b"Mon, 1 Jan 2024 10:00:05 +0000"),
        (b"@UNIQUE@", b"S1000001AbmUNIQUE"),
    ):
        control = control.replace(placeholder, value)
    return SpoolFile(str(number), control, route.message)


class Record(NamedTuple):
    """One line before the header block: where it begins, its letter, and the words behind."""

    offset: int
    letter: str
    words: tuple[str, ...]


def records(control: bytes) -> Iterator[Record]:
    """Give the records before the header block."""
    at = 0
    for line in control.decode("latin-1").split("\n"):
        if line == "m":
            return
        rest = line[12 if line.startswith("r") else 2 :]
        yield Record(at, line[:1], tuple(re.findall(r'(?:"[^"]*"|\S)+', rest)))
        at += len(line) + 1


def header_of(control: bytes) -> bytes:
    """Return the header block without the empty line that ends it."""
    return control.partition(b"\nm\n")[2].removesuffix(b"\n")


def body_of(file: SpoolFile) -> bytes:
    """Return what the message file holds behind the offset that the control file gives."""
    assert file.message is not None
    return file.message[next(int(one.words[0]) for one in records(file.control) if one.letter == "o") :]


def received_without_clause(octets: bytes) -> bytes:
    """Take the recipient out of the first Received field and unfold it."""
    field, line_end, rest = octets.partition(b"\r\nFrom:")
    field = b" ".join(field.split())
    return re.sub(rb" (?:for <\S*>|\(ORCPT <\S*>\))(?=;)", b"", field) + line_end + rest


class Delivered(NamedTuple):
    """What came of one route at one host; `mail` is None where nothing was sent."""

    route: Route
    file: SpoolFile
    host: str
    mail: Mail | None


@cache
def delivery() -> tuple[Outcome, tuple[Delivered, ...]]:
    """Let one agent deliver what the router made of all messages to a server that takes everything."""
    routes = [Route.read(path) for path in ROUTES.values()]
    files = [filled(route, number) for number, route in enumerate(routes, _FIRST)]
    wanted = [(route, file, host) for route, file in zip(routes, files, strict=True) for host in _hosts(file)]
    feed = tuple(f"{file.name}\t{host}\n".encode() for _, file, host in wanted)
    nothing = Outcome(0, b"", b"", (), ())
    recording = Recording("routes", "all of them", _ARGUMENTS, {}, feed, tuple(files), {}, nothing)
    outcome = play(recording)
    sent: list[Mail | None] = [mail for pieces in outcome.connections for mail in mails(pieces)]
    sent += [None] * (len(wanted) - len(sent))
    return outcome, tuple(Delivered(*one, mail) for one, mail in zip(wanted, sent, strict=True))


def _hosts(file: SpoolFile) -> list[str]:
    """Return the hosts that a scheduler would feed for the channel smtp."""
    quads = [one.words for one in records(file.control) if one.letter == "r"]
    return list(dict.fromkeys(host.lower() for channel, host, *_ in quads if channel == "smtp"))
