"""Lines for the scheduler, the control file and the system's log, from values to octets.

Nothing that a server or a sender wrote can break out of its field: each is cleaned and bounded here.  Which
word and which codes a recipient deserves is decided elsewhere.
"""

from __future__ import annotations

from functools import lru_cache

__all__ = ["LONGEST_LINE", "clean", "diagnostic_line", "log_line", "notary", "report_line"]

LONGEST_LINE = 8192

# Together they leave three quarters of a line for the text.
_LONGEST_ADDRESS = 600
_LONGEST_DIAGNOSTIC = 800
_LONGEST_WORD = 200


def _cleaning(line_break: bytes, kept: bytes = b"") -> bytes:
    table = bytearray(range(256))
    for octet in (*range(0x20), 0x7F):
        table[octet] = 0x3F  # ?
    table[0x09] = table[0x01] = 0x20
    table[0x0A] = table[0x0D] = line_break[0]
    for octet in kept:
        table[octet] = octet
    return bytes(table)


_BLANK = _cleaning(b" ")
_RETURN = _cleaning(b"\r")
_NOTARY = _cleaning(b" ", b"\x01")


def clean(text: bytes, *, line_break: bytes = b" ") -> bytes:
    """Return `text` without anything that could end or split a field of a report.

    A line end (LF, CR LF or CR) becomes `line_break`, which is a blank, or CR in the text of a report, where
    people are shown a new line.  TAB and ^A become blanks, all other controls question marks.
    """
    return text.replace(b"\r\n", b"\n").translate(_RETURN if line_break == b"\r" else _BLANK)


def notary(
    address: bytes, action: bytes, status: bytes, diagnostic: bytes, remote: bytes, ip: bytes, agent: bytes
) -> bytes:
    """Return the delivery status of one recipient: six fields, never fewer, the scheduler relies on them.

    `agent` is like `smtp[123]`.  For a temporary failure `action` must be `failed`: the scheduler uses the
    last one when the mail expires, and would tell nobody of a delay.
    """
    where = clean(remote[:_LONGEST_WORD])
    if ip:
        where += b" (" + clean(ip[:_LONGEST_WORD]) + b")"
    return b"\x01".join(
        (
            clean(address[:_LONGEST_ADDRESS]),
            clean(action[:_LONGEST_WORD]),
            clean(status[:_LONGEST_WORD]),
            clean(diagnostic[:_LONGEST_DIAGNOSTIC]),
            where,
            clean(agent[:_LONGEST_WORD]),
        )
    )


def report_line(file_id: int, offset: int, notary: bytes, word: bytes, text: bytes) -> bytes:
    """Return the line that tells the scheduler what became of the recipient at `offset` of its control file.

    `word` is `ok3`, `retryat +60` and the like; `text` is cut where the line would exceed 8 KiB.
    """
    head = b"%d/%d\t%b\t%b " % (file_id, offset, notary.translate(_NOTARY), clean(word))
    return _line(head, text)


def diagnostic_line(
    recipient_offset: int, header_offset: int, notary_offset: int, unix_time: int, notary: bytes, text: bytes
) -> bytes:
    """Return the `d` line for a control file; an offset that is not known is -1."""
    numbers = (recipient_offset, header_offset, notary_offset, unix_time)
    return _line(b"d %d:%d:%d::%d\t%b\t" % (*numbers, notary.translate(_NOTARY)), text)


def _line(head: bytes, text: bytes) -> bytes:
    room = LONGEST_LINE - 1 - len(head)
    return head + clean(text[:LONGEST_LINE], line_break=b"\r")[: max(room, 0)] + b"\n"


def log_line(
    spool_id: str,
    user: bytes,
    *,
    delay: float,
    spent: float,
    channel: bytes,
    remote: bytes,
    ip: bytes,
    word: bytes,
    text: bytes,
    conversion: bytes,
    tabs: bool = False,
) -> bytes:
    """Return the line that tells the system's log what became of a recipient.

    `delay` are seconds since the message was submitted, `spent` those that we have had it; of `text`, which
    is that of the report, the last line is taken.  `tabs` separates the items as SYSLOGFLG `t` wants it.
    """
    where = remote.partition(b";")[2].lstrip() or remote
    items = [
        b"to=<" + clean(user[:200]) + b">",
        b"delay=" + _duration(delay),
        b"xdelay=" + _duration(spent),
        b"mailer=" + _cleaned(channel[:80]),
    ]
    if where:
        items.append(_relay(where[:200], ip[:80]))
    what = b"stat=" + _cleaned(word[:80])
    said = clean(text.rstrip(b"\r\n").rpartition(b"\r")[2][: 400 if where else 200])
    head = spool_id.encode("ascii", "backslashreplace") + b":"
    if tabs:
        return b"\t".join((head, *items, what, said + b" cvt=" + _cleaned(conversion)))
    return b"%b %b, %b %b cvt=%b" % (head, b", ".join(items), what, said, _cleaned(conversion))


_cleaned = lru_cache(maxsize=64)(clean)  # what hardly changes from one line to the next


@lru_cache(maxsize=64)
def _relay(where: bytes, ip: bytes) -> bytes:
    return b"relay=%b ([%b])" % (clean(where), clean(ip)) if ip else b"relay=" + clean(where)


def _duration(seconds: float) -> bytes:
    return _hours(max(int(seconds), 0))


@lru_cache(maxsize=256)
def _hours(whole: int) -> bytes:
    return b"%02d:%02d:%02d" % (whole // 3600, whole // 60 % 60, whole % 60)
