"""What stands in a control file, and what an agent may do to it: read without `zsmtp.spool`.

A test that compares zsmtp with this module compares it with the specification and not with itself.  Reads
only what a test needs: record starts, recipient lines with their marks, diagnostic lines.  `changes`
compares a control file before and after an agent was at work and names everything that no agent may do.

Source: the record format of ZMailer's control files; tags and `d` lines as scheduler and agents write them.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["DiagnosticLine", "RecipientLine", "changes", "diagnostics", "fields", "recipients", "records"]

_TOKEN = rb'((?:\\[^\n]|"(?:\\[^\n]|[^"\\\n])*"|[^ \t"\\\n])+)'
_QUAD = re.compile(rb"[ \t]*" + _TOKEN + rb"[ \t]+" + _TOKEN + rb"[ \t]+" + _TOKEN + rb"[ \t](-?[0-9]+)")
_DIAGNOSTIC = re.compile(rb"d([ +])([0-9]+):(-1|[0-9]+):(-1|[0-9]+)::([0-9]+)\t([^\t\n]*)\t([^\n]*)")
_MARK = re.compile(rb"[ +-] {6}|~ *[0-9]+")
_QUAD_AT = 12  # type, tag, six octets of pid, four of delay


class RecipientLine(NamedTuple):
    """An `r` line.  `channel` is empty where the line is no complete recipient."""

    offset: int
    tag: bytes
    owner: bytes
    channel: bytes
    host: bytes
    user: bytes
    privilege: bytes


class DiagnosticLine(NamedTuple):
    """A `d` line; offsets are -1 where unknown.  `notary` are its sub-fields, six if it is right."""

    tag: bytes
    recipient: int
    header: int
    notary_line: int
    time: int
    notary: tuple[bytes, ...]
    text: bytes


def records(octets: bytes) -> list[tuple[int, bytes]]:
    """Return offset and text of every record, cut as agents and scheduler cut them.

    An empty line outside an `m` block hides the record after it; an `m` block runs to its empty line.
    """
    if not octets:
        return []
    starts = [0]
    position = 0
    while True:
        end = octets.find(b"\n", position)
        if end < 0 or end + 1 >= len(octets):
            break
        start = end + 1
        starts.append(start)
        position = start + 1
        if octets[start : start + 1] in (b"m", b"M"):
            closing = octets.find(b"\n\n", start)
            if closing < 0:
                break
            position = closing + 1
    ends = [*starts[1:], len(octets)]
    return [(start, octets[start:end].removesuffix(b"\n")) for start, end in zip(starts, ends, strict=True)]


def recipients(octets: bytes) -> list[RecipientLine]:
    """Return every `r` line in the order of the file."""
    found: list[RecipientLine] = []
    for offset, line in records(octets):
        if line[:1] == b"r":
            quad = _QUAD.fullmatch(line, _QUAD_AT)
            parts = quad.groups() if quad is not None else (b"", b"", b"", b"")
            found.append(RecipientLine(offset, line[1:2], line[2:8], *parts))
    return found


def diagnostics(octets: bytes) -> list[DiagnosticLine]:
    """Return every `d` line; one that cannot be read is left out (see `changes`)."""
    found = (_DIAGNOSTIC.fullmatch(line) for _, line in records(octets) if line[:1] == b"d")
    return [_diagnostic(match) for match in found if match is not None]


def fields(notary: bytes) -> tuple[bytes, ...]:
    """Return the sub-fields of a notary string."""
    return tuple(notary.split(b"\x01"))


def _diagnostic(match: re.Match[bytes]) -> DiagnosticLine:
    tag, recipient, header, notary_line, time, notary, text = match.groups()
    return DiagnosticLine(tag, int(recipient), int(header), int(notary_line), int(time), fields(notary), text)


def changes(before: bytes, after: bytes) -> list[str]:
    """Return what an agent did to a control file that it may not do; an empty list if all is well.

    Allowed are changes of tag and pid octets of `r` lines, to forms that exist, and `d` lines at the end.
    """
    if len(after) < len(before):
        return [f"the control file shrank from {len(before)} to {len(after)} octets"]
    problems: list[str] = []
    masked, expected = bytearray(after[: len(before)]), bytearray(before)
    for line in recipients(before):
        start, end = line.offset + 1, line.offset + 8
        if b"\n" in before[start:end] or end > len(before):
            continue  # there is no room for a mark: nothing may change
        mark = after[start:end]
        if mark != before[start:end] and not _MARK.fullmatch(mark):
            problems.append(f"the mark of the recipient at {line.offset} is {mark!r}")
        masked[start:end] = expected[start:end] = b"       "
    if masked != expected:
        where = next(index for index, octet in enumerate(expected) if masked[index] != octet)
        was, became = before[where : where + 20], after[where : where + 20]
        problems.append(f"the octets at {where} changed from {was!r} to {became!r}")
    return problems + _appended(before, after)


def _appended(before: bytes, after: bytes) -> list[str]:
    added = after[len(before) :]
    if not added:
        return []
    last = records(before)[-1][1] if before else b"-"
    if not before.endswith(b"\n") or not last:  # an empty line at the end would hide what follows
        if not added.startswith(b"\n"):
            return [f"{added[:40]!r} was appended to a line without an end"]
        added = added[1:]
    if not added.endswith(b"\n"):
        return [f"the appended {added[-40:]!r} has no line end"]
    known = {line.offset for line in recipients(before)}
    starts = dict(records(before))
    problems: list[str] = []
    for text in added[:-1].split(b"\n"):
        found = _DIAGNOSTIC.fullmatch(text)
        if found is None:
            problems.append(f"the appended line {text!r} is no diagnostic")
            continue
        line = _diagnostic(found)
        if line.recipient not in known:
            problems.append(f"the diagnostic {text!r} is about no recipient")
        if len(line.notary) != 6:
            problems.append(
                f"the notary of the diagnostic {text!r} has {len(line.notary)} sub-fields, not six"
            )
        if line.header >= 0 and starts.get(line.header - 2, b"")[:1] != b"m":
            problems.append(f"the diagnostic {text!r} names headers where there are none")
        if line.notary_line >= 0 and starts.get(line.notary_line, b"")[:1] != b"N":
            problems.append(f"the diagnostic {text!r} names an N line where there is none")
        if re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]", line.text + b"".join(line.notary)):
            problems.append(f"the diagnostic {text!r} holds control characters")
    return problems
