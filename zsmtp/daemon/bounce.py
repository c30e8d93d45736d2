"""Delivery status notifications: what the sender of a message is told, as a message.

A `Report` of several recipients becomes a multipart/report of three parts: words for a person (what happened,
with whom, what the server said, what to do), the fields for a program, and the header of the message, or all
of it where the sender asked for it and it is short and plain enough to travel anywhere.

Pure: time, names and the boundary are arguments.  Everything that a server or a sender wrote is cleaned on
its way in: no line end, no control character and no octet beyond ASCII leaves its field.  Whether anybody is
told, and by which way, is decided in `zsmtp.daemon.finish`. Sources: RFC 3461 sections 4 and 6, RFC 3462, RFC
3464, RFC 6533 for addresses beyond ASCII, RFC 3834 section 5.
"""

from __future__ import annotations

import quopri
import re
from textwrap import fill
from typing import Final, NamedTuple

__all__ = ["Fate", "Report", "Subject", "compose", "is_plain"]

_LONGEST_FIELD: Final = 900
"""octets of a field of the machine-readable part, below the 998 of RFC 5322"""
_MOST_LINES: Final = 10
_LONGEST_QUOTE: Final = 2000
"""octets of a server's words for a person"""


class Fate(NamedTuple):
    """What became of one recipient.

    `action` is a word of RFC 3464; `status` an enhanced status code, maybe with a comment; `diagnostic` is
    like `smtp; 550 (text)`, `remote` like `dns; mx.example (192.0.2.1|25)`; `text` is the dialogue, its lines
    joined by CR.  `original` is `type;xtext` as the sender gave it.  `at` is the date of the last attempt.
    """

    address: bytes
    action: str
    status: bytes
    diagnostic: bytes
    remote: bytes
    text: bytes
    at: str
    original: bytes | None = None


class Subject(NamedTuple):
    """The message that is reported on.  `header` is its header block with LF line ends; `whole` is what
    follows the header where the message is to be returned in full, else None.
    """

    header: bytes
    whole: bytes | None
    arrived: str
    envelope_id: bytes | None = None
    name: str = ""


class Report(NamedTuple):
    """Who is told, and by whom.  Dates are those of RFC 5322."""

    to: bytes
    host: str
    postmaster: str
    date: str
    message_id: str
    boundary: str


_TITLES: Final = {
    "failed": "Your message could not be delivered",
    "delivered": "Your message was delivered",
    "relayed": "Your message was passed on",
}
_INTRODUCTIONS: Final = {
    "failed": "Your message could not be delivered to the recipients below, and it will not be tried again.",
    "delivered": "Your message was delivered to the recipients below, as you asked to be told.",
    "relayed": "For the recipients below your message was passed on to a mail system that does not confirm "
    "delivery. You may hear no more of it.",
}
_ADVICE: Final = (
    (re.compile(rb"5\.1\.[1236]"), "Check the address for a slip of the pen, then send the message again."),
    (re.compile(rb"5\.1\.10"), "The domain accepts no mail at all. Ask the recipient for another address."),
    (re.compile(rb"5\.[23]\.[234]"), "The mailbox is full or the message too large. Send less, or later."),
    (
        re.compile(rb"5\.7\."),
        "The other side refuses the message by its own rules. Ask the postmaster over there.",
    ),
    (
        re.compile(rb"4\.4\.7"),
        "The other side could not take the message in all this time. You may send it again.",
    ),
)


def compose(report: Report, subject: Subject, fates: list[Fate]) -> bytes:
    """Return the whole message, with LF line ends and in ASCII.

    The worst action of all fates makes the title.
    """
    worst = next(action for action in _TITLES if any(fate.action == action for fate in fates))
    words = _for_people(report, subject, fates)
    status = _for_programs(report, subject, fates)
    header = [
        f"From: Mail Delivery System <MAILER-DAEMON@{report.host}>",
        f"To: {_ascii(report.to)}",
        f"Subject: {_TITLES[worst]}",
        f"Date: {report.date}",
        f"Message-ID: {report.message_id}",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status; boundary="{report.boundary}"',
        "",
        "This is a report in MIME format.",
        "",
    ]
    parts = [
        _part("text/plain; charset=us-ascii", "Notification", words),
        _part("message/delivery-status", "Delivery report", status),
        _returned(subject),
    ]
    mark = b"--" + report.boundary.encode()
    body = b"".join(mark + b"\n" + part + b"\n" for part in parts)
    return "\n".join(header).encode() + b"\n" + body + mark + b"--\n"


def is_plain(octets: bytes) -> bool:
    """Whether these octets can travel unchanged over any way: ASCII, no NUL, no bare CR, no line above
    998.
    """
    return (
        octets.isascii()
        and b"\0" not in octets
        and b"\r" not in octets.replace(b"\r\n", b"\n")
        and max(map(len, octets.split(b"\n"))) <= 998
    )


# -- the part for people


def _for_people(report: Report, subject: Subject, fates: list[Fate]) -> bytes:
    paragraphs = [f"This is the mail system at {report.host}."]
    for action, introduction in _INTRODUCTIONS.items():
        these = [fate for fate in fates if fate.action == action]
        if these:
            paragraphs.append(fill(introduction, 76))
            paragraphs += [_about(fate) for fate in these]
    name = f" Please name the message as {subject.name}." if subject.name else ""
    paragraphs.append(fill(f"For help write to {report.postmaster}.{name}", 76))
    return "\n\n".join(paragraphs).encode() + b"\n"


def _about(fate: Fate) -> str:
    lines = [f"  <{_ascii(fate.address)}>"]
    server = _server(fate.remote)
    if server:
        lines.append(f"    server: {server}")
    said = [line for line in fate.text.split(b"\r") if line.strip()]
    for line in _last_words(said) or [fate.diagnostic]:
        shown = _ascii(line[:_LONGEST_QUOTE])
        lines.append(
            fill(shown, 76, initial_indent="    ", subsequent_indent="      ", break_on_hyphens=False)
        )
    advice = next((text for pattern, text in _ADVICE if pattern.match(fate.status)), "")
    if advice and fate.action == "failed":
        lines.append(fill(advice, 76, initial_indent="    ", subsequent_indent="    "))
    return "\n".join(lines)


def _last_words(said: list[bytes]) -> list[bytes]:
    """What was said last tells why: of the dialogue the last reply, and all that was said about it."""
    start = max((number for number, line in enumerate(said) if line.startswith(b"<<- ")), default=-1)
    about = [line for line in said[: start + 1] if not line.startswith((b"<<- ", b"->> "))]
    return about + [line.removeprefix(b"->> ") for line in said[start + 1 :]][:_MOST_LINES]


def _server(remote: bytes) -> str:
    return _ascii(remote.partition(b";")[2].strip() or remote)


# -- the part for programs


def _for_programs(report: Report, subject: Subject, fates: list[Fate]) -> bytes:
    lines = []
    if subject.envelope_id:
        lines.append(_field("Original-Envelope-Id", _unxtext(subject.envelope_id)))
    lines.append(_field("Reporting-MTA", f"dns; {report.host}"))
    lines.append(_field("Arrival-Date", subject.arrived))
    blocks = ["\n".join(lines), *[_fields(fate) for fate in fates]]
    return "\n\n".join(blocks).encode() + b"\n"


def _fields(fate: Fate) -> str:
    lines = []
    kind, semicolon, original = (fate.original or b"").partition(b";")
    if semicolon and original:
        lines.append(_field("Original-Recipient", f"{_ascii(kind)}; {_unxtext(original)}"))
    lines.append(_field("Final-Recipient", _typed_address(fate.address)))
    lines.append(_field("Action", fate.action))
    code, _, comment = _ascii(fate.status).partition(" ")
    lines.append(_field("Status", code if re.fullmatch(r"[245]\.\d{1,3}\.\d{1,3}", code) else "5.0.0"))
    # a notary names server and address as `dns; mx.example (192.0.2.1|25|...)`
    kind, semicolon, name = fate.remote.partition(b";")
    if semicolon and kind == b"dns" and name.split():
        lines.append(_field("Remote-MTA", f"dns; {_ascii(name.split()[0])}"))
    kind, semicolon, said = fate.diagnostic.partition(b";")
    if semicolon and kind == b"smtp":
        lines.append(_field("Diagnostic-Code", f"smtp; {_reply(said)}"))
    elif comment or fate.diagnostic:
        lines.append(_field("Diagnostic-Code", f"X-zsmtp; {_ascii(fate.diagnostic) or comment}"))
    lines.append(_field("Last-Attempt-Date", fate.at))
    return "\n".join(lines)


def _reply(said: bytes) -> str:
    """Turn ` 550 (text)` of a notary back into the reply."""
    found = re.fullmatch(r" *(\d{3}) ?\((.*)\) *", _ascii(said))
    return f"{found[1]} {found[2]}" if found else _ascii(said).strip()


def _typed_address(address: bytes) -> str:
    if address.isascii():
        return f"rfc822; {_ascii(address)}"
    # RFC 6533 section 3: utf-8-addr-xtext, the form for a report in ASCII
    text = address.decode("utf-8", "replace")
    return "utf-8; " + "".join(
        char if "!" <= char <= "~" and char not in "+=\\" else f"\\x{{{ord(char):02X}}}" for char in text
    )


def _field(name: str, value: str) -> str:
    return f"{name}: {value[:_LONGEST_FIELD].strip()}"


def _unxtext(value: bytes) -> str:
    """Decode xtext.  Source: RFC 3461 section 4."""
    return _ascii(re.sub(rb"\+([0-9A-F]{2})", lambda found: bytes((int(found[1], 16),)), value))


def _ascii(octets: bytes) -> str:
    """Make of octets that others wrote something that fits into a line of ASCII."""
    return "".join(char if " " <= char <= "~" else "?" for char in octets.decode("utf-8", "replace"))


# -- the parts


def _part(kind: str, description: str, content: bytes, encoding: str = "") -> bytes:
    head = f"Content-Type: {kind}\nContent-Description: {description}\n"
    if encoding:
        head += f"Content-Transfer-Encoding: {encoding}\n"
    return head.encode() + b"\n" + content


def _returned(subject: Subject) -> bytes:
    if subject.whole is not None and is_plain(subject.header + subject.whole):
        return _part("message/rfc822", "Undelivered message", subject.header + b"\n" + subject.whole)
    if is_plain(subject.header):
        return _part("text/rfc822-headers", "Header of the message", subject.header)
    encoded = quopri.encodestring(subject.header)
    return _part("text/rfc822-headers", "Header of the message", encoded, "quoted-printable")
