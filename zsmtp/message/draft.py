"""A message as a user hands it in: cut into header and body, and completed.

Takes octets in pieces of any size and holds no more than the header in memory.  Line ends become LF, NULs are
left out, a CR that ends no line becomes a blank, all as `zsmtp.message.wire` has it.  Where the first line
that is neither a field nor the continuation of one is not empty, the body begins with it: so text without any
header is a message too.  Blind copies never go out; everything else that the user wrote stays as it is.
Sources: RFC 5322 sections 3.6, 3.6.3 and 3.6.6; RFC 5321 section 4.4; sendmail(8) for the lone dot.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from zsmtp.errors import MessageError
from zsmtp.message.addresses import addresses
from zsmtp.message.header import name, value
from zsmtp.message.wire import crlf, gathered

__all__ = ["HEADER_LIMIT", "Draft", "Origin", "author", "bounded", "completed", "read", "recipients"]

HEADER_LIMIT = 1 << 20
"""Octets of a header; a larger one is refused."""

_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
_FIELD_START = re.compile(rb"[!-9;-~]{1,1000}[ \t]*:")
_MAILBOX_LINE = re.compile(rb">?From \S+ .*[0-9]:[0-9][0-9].*")
_HIDDEN = frozenset((b"bcc", b"resent-bcc"))
_RECIPIENTS = (b"to", b"cc", b"bcc")


class Draft(NamedTuple):
    """Fields without their last line end, and the pieces of the body, which can be read once."""

    fields: list[bytes]
    body: Iterator[bytes]


class Origin(NamedTuple):
    """What is written into fields that are absent, and into the Received field on top; bodies of fields."""

    received: bytes
    date: bytes
    message_id: bytes
    author: bytes


def read(pieces: Iterable[bytes], *, dot: bool = False) -> Draft:
    """Cut a message; with `dot` a line that is a single dot ends it.  Source: sendmail(8), option -i.

    Raises MessageError for a header that is too long.
    """
    lined = (piece.replace(b"\r\n", b"\n") for piece in crlf(pieces))
    text = gathered(_until_dot(lined) if dot else lined)
    lines: list[list[bytes]] = []
    buffer = b""
    position = 0
    for piece in text:
        buffer = buffer[position:] + piece
        position, is_over = _take(buffer, lines)
        if is_over:
            return Draft(_joined(lines), chain((buffer[position:],), text))
        _check_size(lines, buffer[position:])
    if position < len(buffer):  # the last line has no end
        buffer = buffer[position:] + b"\n"
        position, is_over = _take(buffer, lines)
        if is_over:
            return Draft(_joined(lines), iter((buffer[position:],)))
    return Draft(_joined(lines), iter(()))


def _until_dot(text: Iterable[bytes]) -> Iterator[bytes]:
    """Give what stands in front of the first line that is a single dot."""
    added = 1
    for piece in _cut_at_dot(chain((b"\n",), text)):  # a line begins where the text does
        yield piece[added:]
        added = 0


def _cut_at_dot(text: Iterable[bytes]) -> Iterator[bytes]:
    held = b""
    for piece in text:
        joined = held + piece
        end = joined.find(b"\n.\n")
        if end >= 0:
            yield joined[: end + 1]
            return
        cut = len(joined) - (2 if joined.endswith(b"\n.") else joined.endswith(b"\n"))
        if cut:
            yield joined[:cut]
        held = joined[cut:]
    yield held.removesuffix(b".")  # the last line may lack its end


def bounded(pieces: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """Pass pieces on up to `limit` octets.  Raises MessageError when there are more."""
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > limit:
            raise MessageError(f"the message is larger than {limit} octets (message-limit)")
        yield piece


def recipients(fields: Sequence[bytes]) -> list[bytes]:
    """Give the addresses of To, Cc and Bcc; of a message that is sent again those of its newest Resent block.

    Raises MessageError.  Source: RFC 5322 section 3.6.6.
    """
    block = _resent(fields)
    wanted = {b"resent-" + title for title in _RECIPIENTS} if block else set(_RECIPIENTS)
    chosen = fields[block.start : block.stop] if block else fields
    return [found for field in chosen if name(field) in wanted for found in addresses(value(field))]


def author(fields: Sequence[bytes]) -> bytes | None:
    """Give the address of who is responsible: Sender, else the first of From; Resent ones first.

    Raises MessageError.
    """
    block = _resent(fields)
    prefix = b"resent-" if block else b""
    chosen = fields[block.start : block.stop] if block else fields
    for title in (b"sender", b"from"):
        for field in chosen:
            if name(field) == prefix + title and (found := addresses(value(field))):
                return found[0]
    return None


def completed(fields: Sequence[bytes], origin: Origin) -> list[bytes]:
    """Give the header as it is sent: without blind copies, with everything that a message must have."""
    kept = [field for field in fields if name(field) not in _HIDDEN]
    wanted = [
        (b"Date", origin.date),
        (b"Message-ID", origin.message_id),
        (b"From", origin.author),
    ]
    block = _resent(fields)
    if block:
        titles = {name(field) for field in fields[block.start : block.stop]}
        missing = [
            b"Resent-" + title + b": " + text
            for title, text in wanted
            if b"resent-" + title.lower() not in titles
        ]
        before = sum(name(field) not in _HIDDEN for field in fields[: block.start])
        kept[before:before] = missing
    present = {name(field) for field in kept}
    kept += [title + b": " + text for title, text in wanted if title.lower() not in present]
    return [b"Received: " + origin.received, *kept]


def _take(buffer: bytes, lines: list[list[bytes]]) -> tuple[int, bool]:
    """Take whole lines of a header; return where what is left begins, and whether that is the body."""
    position = 0
    while (end := buffer.find(b"\n", position)) >= 0:
        line = buffer[position:end]
        if not line:
            return end + 1, True
        if _FIELD.match(line):
            lines.append([line])
        elif lines and line.startswith((b" ", b"\t")):
            lines[-1].append(line)
        elif lines or _MAILBOX_LINE.fullmatch(line) is None:
            return position, True
        position = end + 1
    rest = buffer[position:]
    # a line that goes on and on without being a field is text; nobody needs to wait for its end
    is_text = len(rest) > 2000 and _FIELD_START.match(rest) is None and not rest.startswith((b" ", b"\t"))
    return position, is_text


def _check_size(lines: list[list[bytes]], rest: bytes) -> None:
    size = len(rest) + sum(len(line) + 1 for field in lines for line in field)
    if size > HEADER_LIMIT:
        raise MessageError(f"the header of the message is larger than {HEADER_LIMIT} octets")


def _joined(lines: list[list[bytes]]) -> list[bytes]:
    return [b"\n".join(field) for field in lines]


def _resent(fields: Sequence[bytes]) -> range:
    """Where the newest Resent block stands: it is the first one, and names no field twice but by mistake."""
    start = next(
        (number for number, field in enumerate(fields) if name(field).startswith(b"resent-")), len(fields)
    )
    seen: set[bytes] = set()
    end = start
    while end < len(fields):
        title = name(fields[end])
        if not title.startswith(b"resent-") or title in seen:
            break
        seen.add(title)
        end += 1
    return range(start, end)
