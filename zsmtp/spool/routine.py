"""Control files as the router writes nearly all of them: one recipient, one header, nothing odd.

`read_routine` takes such a file apart with one expression, in half of the time that the records one by one
take; of any other it says nothing, and `zsmtp.spool.controlfile` reads it.  Both give the same values: a
property test holds them together.
"""

from __future__ import annotations

import re

from zsmtp.spool.layout import file_id
from zsmtp.spool.quad import LONGEST_USER, Quad
from zsmtp.spool.records import ControlFile, HeaderBlock, Recipient, Sender, notify_flags

__all__ = ["read_routine"]

_VALUE = rb"([^\x00-\x20\x7f]+)"
_QUAD = rb" ".join([rb'([^\x00-\x20\x7f"\\]+)'] * 3 + [rb"(-?[0-9]+)"])
_ROUTINE = re.compile(
    rb"@ 0x00000007\n"
    rb"i ([0-9][A-Za-z0-9.+-]*)\n"
    rb"o ([0-9]{1,18})\n"
    rb"(?:l ([^\x00\n]*)\n)?"
    rb"(?:e [^\x00\n]*\n)?"
    rb"s " + _QUAD + rb"\n"
    rb"r([ ~+-])([ 0-9]{6}) {4}" + _QUAD + rb"\n"
    rb"(?:N NOTIFY=([A-Z,]+) ORCPT=" + _VALUE + rb" INRCPT=" + _VALUE + rb" INFROM=" + _VALUE + rb"\n)?"
    rb"(?:R ([A-Z]+)\n)?"
    rb"(?:n " + _VALUE + rb"\n)?"
    rb"m\n"
)
_SENDER, _TAG, _NOTIFY = 4, 8, 14  # groups whose places give the offsets of s, r and N records


def read_routine(octets: bytes, name: str) -> ControlFile | None:
    """Read the content of the control file `name`, or return None: it must be read record by record.

    Raises SpoolError only for a name that is none of a control file.
    """
    found = _ROUTINE.match(octets)
    if found is None:
        return None
    begin = found.end()
    end = octets.find(b"\n\n", begin - 1) + 1
    if end + 1 != len(octets) or octets.find(b"\0", begin) >= 0:
        return None
    message, body, identity, *rest = found.groups()
    sender = Quad._make(rest[:4])
    tag, owner = rest[4:6]
    quad = Quad._make(rest[6:10])
    notify, orcpt, inrcpt, infrom, ret, envelope_id = rest[10:]
    if (
        not 2 < len(sender.user) <= LONGEST_USER
        or len(quad.user) > LONGEST_USER
        or quad.user == b"-"
        or quad.host.startswith(b"((")
    ):
        return None
    control = ControlFile(
        name,
        file_id(name),
        message,
        int(body),
        b"none" if identity is None else identity,
        None,
        envelope_id,
        ret,
    )
    control.size = control.boundary = len(octets)
    by = Sender(found.start(_SENDER) - 2, sender)
    headers = HeaderBlock(begin, octets[begin:end])
    recipient = Recipient(found.start(_TAG) - 1, tag[0], owner, quad, by, headers)
    if notify is not None:
        recipient.notify = notify_flags(notify)
        recipient.orcpt = orcpt
        recipient.inrcpt = inrcpt
        recipient.infrom = infrom
        recipient.notary_offset = found.start(_NOTIFY) - len("N NOTIFY=")
    control.senders.append(by)
    control.recipients.append(recipient)
    control.blocks.append(headers)
    return control
