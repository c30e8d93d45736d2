"""How long each answer may take.

A deadline belongs to one awaited reply.  It begins when the reply before it has come or, for the first, when
the command has left, and nothing that the server sends meanwhile extends it.  Source: smtp(8zm), option -T;
RFC 5321 section 4.5.3.2.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

__all__ = ["QUIT_SECONDS", "Awaits", "Timeouts", "patience"]


class Awaits(IntEnum):
    """What the reply that comes next will answer."""

    GREETING = 1
    EHLO = 2
    HELO = 3
    STARTTLS = 4
    AUTH = 5
    MAIL = 6
    RCPT = 7
    DATA = 8
    CHUNK = 9
    """a BDAT that is not the last"""
    FINAL = 10
    """the end of the data, for the whole transaction"""
    RECIPIENT_FINAL = 11
    """the end of the data, for one recipient (LMTP)"""
    EMPTY = 12
    """a lone dot after a DATA that was granted although nobody is left to receive"""
    RSET = 13
    NOOP = 14
    QUIT = 15


class Timeouts(NamedTuple):
    """The intervals of option -T, in seconds."""

    connect: float = 180.0
    command: float = 300.0
    data: float = 300.0
    dot: float = 1200.0
    write: float = 300.0


RSET_SECONDS = 30.0
QUIT_SECONDS = 5.0


def patience(awaited: Awaits, timeouts: Timeouts) -> float:
    """Return how many seconds the reply `awaited` may take."""
    match awaited:
        case Awaits.DATA:
            return timeouts.data
        case Awaits.FINAL | Awaits.RECIPIENT_FINAL | Awaits.EMPTY:
            return timeouts.dot
        case Awaits.CHUNK:
            # RFC 3030 names no limit for a chunk; it takes what a body takes
            return timeouts.dot
        case Awaits.RSET | Awaits.NOOP:
            return RSET_SECONDS
        case Awaits.QUIT:
            return QUIT_SECONDS
        case _:
            return timeouts.command
