"""How we conduct a session: what the options decide before the server has said a word."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from zsmtp.smtp.patience import Timeouts

__all__ = ["Esmtp", "Manner", "Tls"]


class Esmtp(Enum):
    """When EHLO is used.  Source: smtp(8zm), options -E and -77."""

    ALWAYS = "always"
    IF_ANNOUNCED = "if the greeting says ESMTP"
    NEVER = "never"


class Tls(Enum):
    """What is done about STARTTLS."""

    NEVER = "never"
    OPPORTUNISTIC = "where it is offered"
    REQUIRED = "no mail without it"


class Manner(NamedTuple):
    """How we conduct a session: what we call ourselves and what we make use of."""

    name: bytes = b"localhost"
    lmtp: bool = False
    esmtp: Esmtp = Esmtp.ALWAYS
    tls: Tls = Tls.NEVER
    authenticate: bool = False
    falls_back: bool = True
    """whether HELO is tried where EHLO is not known"""
    pipelining: bool = True
    chunking: bool = True
    timeouts: Timeouts = Timeouts()
