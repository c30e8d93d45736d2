"""Control files, from values to octets: the inverse of `zsmtp.spool.controlfile.parse`.

Writes what the router writes, in its order, and refuses every value that a reader would not get back
unchanged: a line end in an address would be a second recipient.
"""

from __future__ import annotations

from zsmtp.errors import SpoolError
from zsmtp.spool.layout import shown
from zsmtp.spool.quad import Quad, split
from zsmtp.spool.records import (
    DELIVER_BY_FLAGS,
    KNOWN_FORMATS,
    NOTIFY_WORDS,
    ControlFile,
    HeaderBlock,
    Recipient,
    Sender,
)

__all__ = ["compose"]


def compose(control: ControlFile) -> bytes:
    """Return the octets of a control file; the inverse of `parse` but for offsets, which are not looked at.

    A sender is written where it is another than the recipient's before, a header block after the recipients
    that share it.  Raises SpoolError for what no control file can hold.
    """
    lines = [b"@ 0x%08x" % KNOWN_FORMATS]
    if control.verbose is not None:
        lines.append(b"v " + control.verbose)
    name = shown(control.name)
    if control.message_name is None or control.body_offset is None:
        raise SpoolError(f"{name}: a control file needs message file and body offset; give both")
    lines += [b"i " + control.message_name, b"o %d" % control.body_offset, b"l " + control.log_identity]
    sender: Sender | None = None
    headers: HeaderBlock | None = None
    for number, recipient in enumerate(control.recipients):
        if recipient.sender is None or recipient.headers is None:
            raise SpoolError(f"{name}: every recipient needs a sender and a header block; give both")
        if headers is not None and recipient.headers is not headers:
            lines.append(_header_lines(name, headers))
        headers = recipient.headers
        if recipient.sender is not sender:
            sender = recipient.sender
            lines.append(b"s " + _quad_text(name, sender.quad))
        quad = _quad_text(name, recipient.quad)
        lines.append(b"r%c%b    %b" % (recipient.tag, recipient.owner, quad))
        lines += _notary_lines(recipient)
        if not number:
            lines += [b"R " + control.ret] if control.ret is not None else []
            lines += [b"n " + control.envelope_id] if control.envelope_id is not None else []
    if any(b"\n" in line or b"\0" in line for line in lines if not line.startswith(b"m\n")):
        raise SpoolError(f"{name}: a record must not contain a line end or a NUL; remove it")
    if headers is not None:
        lines.append(_header_lines(name, headers))
    lines += [b"d%c%d:%d:%d::%d\t%b\t%b" % diagnostic[1:] for diagnostic in control.diagnostics]
    return b"\n".join(lines) + b"\n"


def _quad_text(name: str, quad: Quad) -> bytes:
    text = b" ".join(quad)
    if split(text) != (quad, True):
        raise SpoolError(f"{name}: {text!a} would not be read as what it is; quote its parts")
    return text


def _header_lines(name: str, headers: HeaderBlock) -> bytes:
    octets = headers.octets
    whole = not octets or octets.endswith(b"\n")
    if not whole or b"\0" in octets or b"\n\n" in octets or octets.startswith(b"\n"):
        raise SpoolError(f"{name}: a header is whole lines; give it without empty lines and NULs")
    return b"m\n" + octets


def _notary_lines(recipient: Recipient) -> list[bytes]:
    tokens = []
    if recipient.notify is not None:
        words = [word for word, flag in NOTIFY_WORDS.items() if recipient.notify & flag]
        tokens.append(b"NOTIFY=" + b",".join(words))
    if recipient.deliver_by is not None:
        when, flags = recipient.deliver_by
        letters = [letter for letter, flag in DELIVER_BY_FLAGS.items() if flags & flag]
        tokens.append(b"BY=%d;" % when + b"".join(letters))
    for keyword in ("orcpt", "inrcpt", "infrom", "ezmlm"):
        value: bytes | None = getattr(recipient, keyword)
        if value is not None:
            if b" " in value or b"\t" in value:
                raise SpoolError(f"{value!a} cannot stand in an N record; write blanks as +20 (xtext)")
            tokens.append(keyword.upper().encode("ascii") + b"=" + value)
    return [b"N " + b" ".join(tokens)] if tokens else []
