"""An outcome written down for people: one thing a line, so that two outcomes can be compared and edited.

Nothing is left out and nothing is ambiguous: equal accounts mean equal octets.  Lines that the two sides of a
connection sent end in CR LF unless they say otherwise; what is not printable ASCII is escaped, and so is a
blank at the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from tests.reference.recording import Outcome, SpoolFile

__all__ = ["account"]

_FIELDS = ("address", "action", "status", "diagnostic", "remote", "agent")
_WORD = rb"ok\d?|error\d?|deferred|deferall|deferback|retryat \+\d+"
_REPORT = re.compile(rb"(\d+/\d+)\t([^\t]*)\t(" + _WORD + rb") (.*)", re.S)
_DIAGNOSTIC = re.compile(rb"d (\S+)\t([^\t]*)\t(.*)", re.S)


def account(outcome: Outcome, files: Sequence[SpoolFile]) -> list[str]:
    """Write down what an agent did with `files`."""
    return [
        f"exit {outcome.exit}",
        *(_line("stderr", line) for line in _lines(outcome.stderr, b"\n")),
        *_told(outcome.stdout),
        *_said(outcome),
        *_marked(outcome, files),
    ]


def _told(stdout: bytes) -> Iterator[str]:
    for line in _lines(stdout, b"\n"):
        report = _REPORT.fullmatch(line)
        if report is None:
            yield _line("stdout", line)
            continue
        which, notary, word, text = report.groups()
        yield f"report {_shown(which)} {_shown(word)}"
        if notary:
            yield from _notary(notary)
        yield from _text(text)


def _notary(notary: bytes) -> Iterator[str]:
    fields = notary.split(b"\x01")
    if len(fields) == len(_FIELDS):
        for name, value in zip(_FIELDS, fields, strict=True):
            yield _line(f"    {name}:", value)
    else:
        yield _line("    notary:", notary)


def _text(text: bytes) -> Iterator[str]:
    for part in text.split(b"\r"):
        yield _line("    |", part)


def _said(outcome: Outcome) -> Iterator[str]:
    for number, pieces in enumerate(outcome.connections, 1):
        yield f"connection {number}"
        for who, octets in pieces:
            for line in _lines(octets, b"\r\n") if who != "-" else [octets]:
                yield _line(who, line)


def _marked(outcome: Outcome, files: Sequence[SpoolFile]) -> Iterator[str]:
    """Give the lines of control files that are not as before."""
    for before, after in zip(files, outcome.controls, strict=True):
        given, found = _split(before.control), _split(after)
        for was, line in zip_longest(given, found):
            if was == line:
                continue
            diagnostic = _DIAGNOSTIC.fullmatch(line or b"")
            if line is None or diagnostic is None:
                yield _line(f"control {before.name}:", b"(line is gone)" if line is None else line)
                continue
            numbers, notary, text = diagnostic.groups()
            yield _line(f"control {before.name}: d", numbers)
            yield from _notary(notary)
            yield from _text(text)


def _split(octets: bytes) -> list[bytes]:
    return list(_lines(octets, b"\n"))


def _lines(octets: bytes, end: bytes) -> Iterator[bytes]:
    """Give the lines of `octets` without their ends; a last line without one says so."""
    *whole, rest = octets.split(end)
    yield from whole
    if rest:
        yield rest + b" (no line end)"


def _line(head: str, octets: bytes) -> str:
    shown = _shown(octets)
    return f"{head} {shown[:-1]}\\x20" if shown.endswith(" ") else f"{head} {shown}" if shown else head


def _shown(octets: bytes) -> str:
    text = octets.decode("latin-1").replace("\\", "\\\\")
    return "".join(
        char if " " <= char <= "~" else "\\t" if char == "\t" else f"\\x{ord(char):02x}" for char in text
    )
