"""Messages: what goes out is within the rules, its size is known, and it says what the original said.

The first octet of an input chooses the server's ability and the operator's wishes; header block and body
follow, with an empty line between them.
"""

from __future__ import annotations

import email
import email.policy
import re
from email.message import Message as Parsed

from tests.fuzz.target import Target
from zsmtp.message.form import Ability, Form, Refusal, Wishes, choose
from zsmtp.message.wire import LINE_LIMIT, examine

__all__ = ["CONTENT"]


_CONTROLS = frozenset(range(32)) - frozenset(b"\t\n") | {127}

_BLANKS = bytes(octet if octet not in _CONTROLS else 32 for octet in range(256))
_TYPE = re.compile(r"[\w-]+/[\w.+-]+\s*(;.*)?", re.DOTALL | re.ASCII)


def _check(octets: bytes) -> None:
    way, block, body = octets[:1], *_halves(octets[1:])
    bits = way[0] if way else 0
    ability = Ability(bool(bits & 1), bool(bits & 2), bool(bits & 4))
    wishes = Wishes(seven_bit=bool(bits & 8), eight_bit=bool(bits & 16), raw_headers=bool(bits & 32))

    def source() -> list[bytes]:
        return [body[:7], body[7:50], body[50:]]

    facts = examine(source)
    recipients = [(b"bob@example.net", None)]
    form = choose(block, source, facts, ability=ability, wishes=wishes, recipients=recipients)
    if isinstance(form, Refusal):
        assert not set(form.text) & set("\r\n\0"), form.text  # the rest is cleaned by the report
        assert form.status[:1] == (b"4" if form.temporary else b"5")
        return
    plain = b"".join(form.pieces(stuffed=False))
    _check_form(form, plain, ability, wishes, block + b"\n" + body)
    # Controls in a header become blanks; CRs and NULs are mended or left out, with a note.
    if not (wishes.eight_bit or wishes.raw_headers or set(body) & set(b"\r\0") or set(block) & _CONTROLS):
        whole = block if block.endswith(b"\n") else block + b"\n"
        _check_meaning(whole + b"\n" + body, plain.replace(b"\r\n", b"\n"))


def _check_form(form: Form, plain: bytes, ability: Ability, wishes: Wishes, original: bytes) -> None:
    assert len(plain) == form.size, (len(plain), form.size)
    assert b"".join(form.pieces(stuffed=False)) == plain, "it is another one the second time"
    assert all(note.isprintable() for note in form.notes)
    assert form.conversion.isalnum() or form.conversion.replace(b"-", b"").isalnum(), form.conversion
    head, body = plain[: form.head_size], plain[form.head_size :]
    assert head.endswith(b"\r\n")
    if form.binary:
        assert ability.binary
        return
    dotted = b"".join(form.pieces(stuffed=True))
    assert b"\r\n.\r\n" not in b"\r\n" + dotted
    assert (b"\r\n" + dotted).replace(b"\r\n..", b"\r\n.") == b"\r\n" + plain
    rest = plain.replace(b"\r\n", b"")
    assert b"\n" not in rest
    assert b"\r" not in rest
    assert b"\0" not in rest
    assert not form.smtputf8 or ability.smtputf8
    if not form.eight_bit and not form.notes:
        assert body.isascii(), "8-bit octets are not announced"
    if not (form.smtputf8 or wishes.raw_headers or form.notes):
        assert head.isascii()
    if not form.notes:  # what has no blank cannot be folded, but nothing becomes longer
        lines = original.expandtabs(8).translate(_BLANKS)
        for line in plain.split(b"\r\n"):
            assert len(line) <= LINE_LIMIT or line.strip(b" ") in lines, line


def _check_meaning(before: bytes, after: bytes) -> None:
    """Where Python's email finds no fault with the message, it reads the same from what is sent."""
    one, other = (email.message_from_bytes(each, policy=email.policy.compat32) for each in (before, after))
    if _has_defects(one):
        return
    parts, others = list(one.walk()), list(other.walk())
    kinds, its_kinds = ([_kind(each) for each in all_] for all_ in (parts, others))
    assert kinds == its_kinds, f"{kinds} became {its_kinds}"
    for part, its in zip(parts, others, strict=True):
        if not part.is_multipart():
            one_said, other_said = _said(part), _said(its)
            assert one_said == other_said, f"{one_said[:200]!r} became {other_said[:200]!r}"


def _has_defects(message: Parsed) -> bool:
    # Of a type that is none everybody makes something else.
    return any(
        part.defects or not _TYPE.fullmatch(str(part["Content-Type"] or "a/b")) for part in message.walk()
    )


def _kind(part: Parsed) -> str:
    """Give the type; TABs may have become blanks."""
    return "".join(part.get_content_type().split())


def _said(part: Parsed) -> bytes:
    payload = part.get_payload(decode=True)
    text = payload if isinstance(payload, bytes) else b""
    return text.replace(b"\r\n", b"\n").rstrip(b"\n")  # under base64 text has CRLF


def _halves(octets: bytes) -> tuple[bytes, bytes]:
    """Cut at the empty line; a control file's block neither holds one nor begins with one."""
    head, empty, body = octets.lstrip(b"\n").partition(b"\n\n")
    return (head + b"\n" if empty else head), body


_TEXT = b"From:\ta@b.example\nTo: c@d.example\nSubject: x\nMIME-Version: 1.0\n"
_PLAIN = b"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: "
_EIGHT = _PLAIN + b"8bit\n\ngr\xc3\xbc\xc3\x9fe\n.\nlast"
_QP = _PLAIN + b"quoted-printable\n\na=3D=C3=BC =\nb\n"
_B64 = _PLAIN + b"base64\n\nZ3LDvMOfZQ==\n"
_MULTI = (
    b'Content-Type: multipart/mixed; boundary="b1"\n\npreamble\n--b1\n'
    + _PLAIN
    + b"8bit\n\n\xc3\xbc one\n--b1\nContent-Type: message/rfc822\n\nSubject: \xe4\n\ninner\n--b1\n"
    b"Content-Type: application/x-thing\nContent-Transfer-Encoding: binary\n\n\xff\xfe\n--b1--\nepilogue\n"
)
_SIGNED = _MULTI.replace(b"multipart/mixed", b"multipart/signed")
CONTENT = Target(
    "content",
    [
        way + _TEXT + rest
        for way in (b"\0", b"\1", b"\3", b"\7", b"\x08", b"\x11", b"\x20")
        for rest in (
            b"\nhello\n",
            _EIGHT,
            _QP,
            _B64,
            _MULTI,
            _SIGNED,
            b"Subject: gr\xfc\xdfe <\xe4@x> (\xf6)\n\nx\n",
        )
    ],
    [
        b"Content-Type: ",
        b"Content-Transfer-Encoding: ",
        b"quoted-printable\n",
        b"base64\n",
        b"8bit\n",
        b"binary\n",
        b"multipart/mixed; boundary=b1\n",
        b"--b1\n",
        b"--b1--\n",
        b"message/rfc822\n",
        b"\n\n",
        b"\n",
        b"\r\n",
        b".\n",
        b"=\n",
        b"=3D",
        b"=C3",
        b"\xc3\xbc",
        b"\xff",
        b"\0",
        b"\r",
        b" ",
        b"\t",
        b"(",
        b")",
        b'"',
        b"\\",
        b"<",
        b">",
        b"=?utf-8?q?x?=",
        b"DKIM-Signature: v=1; h=from:subject; b=x\n",
        b"Content-Conversion: prohibited\n",
        b"Received: from x by y\n",
        b"x" * 1100,
        b"\xe4" * 200,
        b"charset=us-ascii",
        b"; filename=\xe4",
    ],
    _check,
    longest=6000,
)
