"""What a server says it can do, from the lines of its EHLO or LHLO reply.

Keywords are taken in any letter case and with blanks behind them; the first line is the server's name and
never a keyword.  Source: RFC 5321 section 4.1.1.1, RFC 9422 (LIMITS).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Capabilities", "capabilities"]

RECIPIENTS: int = 100
"""RFC 5321 4.5.3.1.8: every server takes that many"""
_RECIPIENTS_LEAST, _RECIPIENTS_MOST = 10, 100_000


class Capabilities(NamedTuple):
    """The extensions of one session.

    `size` is None where SIZE is not announced, 0 for no limit, else the limit in octets.  `recipients` is the
    number of RCPT in one transaction, `messages` that of transactions in one session (0: no limit).
    """

    pipelining: bool = False
    eight_bit_mime: bool = False
    binary_mime: bool = False
    smtputf8: bool = False
    dsn: bool = False
    enhanced_status_codes: bool = False
    chunking: bool = False
    starttls: bool = False
    deliver_by: bool = False
    size: int | None = None
    mechanisms: tuple[bytes, ...] = ()
    recipients: int = RECIPIENTS
    messages: int = 0


_FLAGS = {
    b"PIPELINING": "pipelining",
    b"8BITMIME": "eight_bit_mime",
    b"BINARYMIME": "binary_mime",
    b"SMTPUTF8": "smtputf8",
    b"DSN": "dsn",
    b"ENHANCEDSTATUSCODES": "enhanced_status_codes",
    b"CHUNKING": "chunking",
    b"STARTTLS": "starttls",
    b"DELIVERBY": "deliver_by",
}


def capabilities(lines: Sequence[bytes]) -> Capabilities:
    """Read the lines of a reply to EHLO or LHLO, codes included.  What is not understood is passed over."""
    flags: dict[str, bool] = {}
    size: int | None = None
    mechanisms: list[bytes] = []
    recipients, messages = RECIPIENTS, 0
    for line in lines[1:]:
        words = line[4:].upper().replace(b"AUTH=", b"AUTH ").split()
        match words:
            case [b"SIZE", *values]:
                size = _number(values[0]) if values else 0
            case [b"AUTH", *names]:
                mechanisms += [name for name in names if name not in mechanisms]
            case [b"X-RCPTLIMIT", value, *_]:
                recipients = min(max(_number(value), _RECIPIENTS_LEAST), _RECIPIENTS_MOST)
            case [b"LIMITS", *values]:
                limits = dict(value.split(b"=", 1) for value in values if b"=" in value)
                recipients = min(_number(limits.get(b"RCPTMAX", b"")) or recipients, _RECIPIENTS_MOST)
                messages = _number(limits.get(b"MAILMAX", b""))
            case [keyword, *_] if keyword in _FLAGS:
                flags[_FLAGS[keyword]] = True
    return Capabilities(
        **flags,
        size=size,
        mechanisms=tuple(mechanisms),
        recipients=recipients,
        messages=messages,
    )


def _number(text: bytes) -> int:
    """A decimal number of at most 18 digits; anything else is 0, which stands for no limit."""
    return int(text) if text.isdigit() and len(text) <= 18 else 0
