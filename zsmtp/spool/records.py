"""What a control file says, as values.

Offsets count octets from the start of the control file; reports and diagnostics name recipients by them.
Values are bytes as they stand in the file: whoever sends them checks them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntFlag
from functools import lru_cache
from typing import Final, NamedTuple

from zsmtp.spool.quad import Quad

__all__ = [
    "DELIVERED",
    "DELIVER_BY_FLAGS",
    "FAILED",
    "KNOWN_FORMATS",
    "LOCKED",
    "NOTIFY_WORDS",
    "TO_DO",
    "ControlFile",
    "Diagnostic",
    "HeaderBlock",
    "Notify",
    "Problem",
    "Recipient",
    "Sender",
    "notify_flags",
]

TO_DO: Final = 0x20
LOCKED: Final = 0x7E
DELIVERED: Final = 0x2B
FAILED: Final = 0x2D

KNOWN_FORMATS: Final = 7
"""Flags of the `@` record: 1 for a pid field, 2 for a delay field in recipients, 4 for `M` records."""


class Notify(IntFlag):
    """The delivery reports that the sender asked for (RFC 3461 4.1)."""

    SUCCESS = 1
    FAILURE = 2
    DELAY = 4
    NEVER = 8
    TRACE = 16


NOTIFY_WORDS: Final = {flag.name.encode("ascii"): flag.value for flag in Notify if flag.name is not None}


@lru_cache(maxsize=64)
def notify_flags(words: bytes) -> int:
    """Return the flags of NOTIFY up to the first word that is none; no flag means no report at all."""
    flags = 0
    for word in words.split(b","):
        flag = NOTIFY_WORDS.get(word.upper())
        if flag is None:
            break
        flags |= flag
    return flags


DELIVER_BY_FLAGS: Final = {b"N": 1, b"R": 2, b"T": 4}


class Sender(NamedTuple):
    """One `s` record.  Two records with equal text are two senders."""

    offset: int
    quad: Quad

    @property
    def is_null(self) -> bool:
        """Whether the reverse path is empty: the channel tells, never the address."""
        return self.quad.channel == b"error"


_NO_QUAD: Final = Quad(b"", b"", b"", b"")


@dataclass(slots=True)
class HeaderBlock:
    """One `m` record: the header of a group of recipients, LF line ends, without the empty line at its end.

    `offset` is that of the first octet of the header.
    """

    offset: int = 0
    octets: bytes = b""

    def __hash__(self) -> int:
        return self.offset


@dataclass(slots=True)
class Recipient:
    """One `r` record with its `N` record.  `tag` and `owner` follow what `zsmtp.spool.mark` finds and writes.

    `notify` holds flags of `Notify` as a plain number, which costs a tenth; it is None if the file says
    nothing about reports: the default then is FAILURE.  `deliver_by` is
    the time and the flags N 1, R 2, T 4.  `orcpt`, `inrcpt` and `infrom` are `type;xtext`.  A recipient
    with a `problem` must not be sent to a server: it fails if `problem_is_permanent` (RFC 3463: 5.1.3),
    else it is deferred.
    """

    offset: int = 0
    tag: int = TO_DO
    owner: bytes = b"      "
    quad: Quad = _NO_QUAD
    sender: Sender | None = None
    headers: HeaderBlock | None = None
    notify: int | None = None
    orcpt: bytes | None = None
    inrcpt: bytes | None = None
    infrom: bytes | None = None
    ezmlm: bytes | None = None
    deliver_by: tuple[int, int] | None = None
    notary_offset: int = -1
    problem: str | None = None
    problem_is_permanent: bool = False

    def __hash__(self) -> int:
        return self.offset


class Diagnostic(NamedTuple):
    """One `d` record: a failure or a success that is to be reported (tag blank) or was reported (tag `+`)."""

    offset: int
    tag: int
    recipient_offset: int
    header_offset: int
    notary_offset: int
    unix_time: int
    notary: bytes
    text: bytes


class Problem(NamedTuple):
    """Something in a control file that is not as it should be: where, and what is wrong and what to do."""

    line: int
    offset: int
    text: str


@dataclass(slots=True)
class ControlFile:
    """One control file.

    `overlooked` counts records that mean unfinished recipients but cannot be used (cut, short, hidden
    behind an empty line, alternatives): whoever removes finished files must keep this one.  `boundary` is
    the end of the file, or the start of its last record if that lacks its end.
    """

    name: str
    file_id: int
    message_name: bytes | None = None
    body_offset: int | None = None
    log_identity: bytes = b"none"
    verbose: bytes | None = None
    envelope_id: bytes | None = None
    ret: bytes | None = None
    senders: list[Sender] = field(default_factory=list)
    recipients: list[Recipient] = field(default_factory=list)
    blocks: list[HeaderBlock] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    overlooked: int = 0
    size: int = 0
    boundary: int = 0
    is_turn: bool = False

    @property
    def ends_with_newline(self) -> bool:
        """Whether the last record is complete, so that an appended one stands for itself."""
        return self.boundary == self.size
