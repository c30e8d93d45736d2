"""Lines from an agent to the scheduler, read without mercy.

The scheduler of ZMailer logs or misreads what it does not expect, and sometimes crashes; here every octet
out of place is a `Violation`.  Does not use `zsmtp.spool.report`, so that the two can be compared.

Source: the scheduler's protocol: report lines, notary strings, `#hungry` and `#resync`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from zsmtp.testing.marks import fields

__all__ = ["Comment", "Hungry", "Line", "Report", "Resync", "Violation", "read_line"]

_LONGEST = 8192
_REPORT = re.compile(rb"(0|[1-9][0-9]*)/(0|[1-9][0-9]*)\t([^\t]*)\t([a-z0-9]+) (.*)", re.DOTALL)
_RETRY = re.compile(rb"\+?([0-9]+)(?: (.*))?", re.DOTALL)
_AGENT = re.compile(rb"[A-Za-z0-9._+-]+\[[0-9]+\]")
_CONTROLS = re.compile(rb"[\x00-\x1f]")
_WITHOUT_NOTARY = frozenset({b"ok2", b"ok3", b"error2"})  # it is in the `d` line, or nobody wants it
_WITH_NOTARY = frozenset({b"ok", b"error", b"deferred", b"deferback", b"deferall", b"retryat"})
_DEFERRALS = frozenset({b"deferred", b"deferback", b"deferall", b"retryat"})


class Violation(AssertionError):
    """An agent did what the protocol does not allow.  The text says what, and what was exchanged before."""


class Hungry(NamedTuple):
    """`#hungry`: one line from the scheduler is done."""


class Resync(NamedTuple):
    """`#resync`: the scheduler shall read this control file again."""

    path: bytes


class Comment(NamedTuple):
    """A line for the scheduler's log, without its `#` and blank."""

    text: bytes


class Report(NamedTuple):
    """What became of one recipient.

    `notary` are the six sub-fields, or none.  `seconds` is the number of `retryat`.
    """

    number: int
    offset: int
    notary: tuple[bytes, ...]
    word: str
    seconds: int | None
    text: bytes

    @property
    def is_deferral(self) -> bool:
        """Whether the recipient will be tried again."""
        return self.word.encode() in _DEFERRALS


Line = Hungry | Resync | Comment | Report


def read_line(line: bytes) -> Line:
    """Read one line, given without its NL; raise `Violation` for anything that is not as it must be."""
    if b"\0" in line:
        raise Violation(f"a NUL in the line {line!r}")
    if len(line) >= _LONGEST:
        raise Violation(f"a line of {len(line)} octets: {line[:80]!r}...")
    if line.startswith(b"#"):
        return _word_of_command(line)
    return _report(line)


def _word_of_command(line: bytes) -> Line:
    if line == b"#hungry":
        return Hungry()
    if line.startswith(b"#hungry"):
        raise Violation(f"more than #hungry in the line {line!r}")
    if line.startswith(b"#resync"):
        path = line[8:]
        if line[7:8] != b" " or not path or path != path.strip():
            raise Violation(f"#resync without a proper name: {line!r}")
        return Resync(path)
    if b"#hungry" in line:
        raise Violation(f"#hungry inside the line {line!r}")
    if not line.startswith(b"# "):
        raise Violation(f"an unknown word of command: {line!r}")
    return Comment(line[2:])


def _report(line: bytes) -> Report:
    found = _REPORT.fullmatch(line)
    if found is None:
        raise Violation(f"neither a report nor a comment: {line!r}")
    number, offset, notary, word, text = found.groups()
    seconds = None
    if word == b"retryat":
        rest = _RETRY.fullmatch(text)
        if rest is None:
            raise Violation(f"retryat without a number: {line!r}")
        seconds, text = int(rest[1]), rest[2] or b""
    if word in _WITHOUT_NOTARY:
        if notary:
            raise Violation(f"{word.decode()} with a notary: {line!r}")
    elif word in _WITH_NOTARY:
        _check_notary(line, notary, word)
    else:
        raise Violation(f"an unknown status {word!r}: {line!r}")
    if _CONTROLS.search(text.replace(b"\r", b"")):
        raise Violation(f"control characters in the text: {line!r}")
    return Report(int(number), int(offset), fields(notary) if notary else (), word.decode(), seconds, text)


def _check_notary(line: bytes, notary: bytes, word: bytes) -> None:
    parts = fields(notary)
    if len(parts) != 6:
        raise Violation(f"the notary has {len(parts)} sub-fields, not six: {line!r}")
    if _CONTROLS.search(b"".join(parts)):
        raise Violation(f"control characters in the notary: {line!r}")
    if not parts[0]:
        raise Violation(f"the notary names no address: {line!r}")
    if word in _DEFERRALS and parts[1] != b"failed":
        # with "delayed" the sender would not be told when the message expires
        raise Violation(f"the action of a deferral is {parts[1]!r}, not failed: {line!r}")
    if not _AGENT.fullmatch(parts[5]):
        raise Violation(f"the notary's agent is {parts[5]!r}, not name[pid]: {line!r}")
