"""The submitter's own log of a delivery: the file that a control file names in its `v` record.

The submitter chose that file, and we may be root: so a file is never made, no symbolic link is followed, and
only what belongs to the owner of the control file, who may write to it, is appended to.

Source: the format of ZMailer's control files, `v` records; its transport agents' `DIAG` lines.
"""

from __future__ import annotations

import os
import stat

from zsmtp.errors import SpoolError
from zsmtp.spool.layout import shown
from zsmtp.spool.openfile import explain, open_regular
from zsmtp.spool.records import Recipient
from zsmtp.spool.report import LONGEST_LINE, clean

__all__ = ["append", "diagnosis"]


def diagnosis(
    recipient: Recipient, *, number: int, word: bytes, notary: bytes, remote: bytes, text: bytes
) -> bytes:
    """Return the line, without its end, that tells in a log what became of a recipient.

    `number` is that of the control file; the other values are those of the report.
    """
    channel, host, user, privilege = map(clean, recipient.quad)
    where = b"WTT='%b' " % clean(remote) if remote else b""
    head = b"DIAG: C='%b' H='%b' U='%b' P='%b' ID=%d/%d L=0 -- stat='%b' notary='%b' %b MSG='" % (
        channel,
        host,
        user,
        privilege,
        number,
        recipient.offset,
        clean(word),
        clean(notary),
        where,
    )
    return head + clean(text[:LONGEST_LINE]) + b"'"


def append(name: bytes, line: bytes, *, owner: int) -> None:
    """Append a line to the file that a `v` record names, relative to `transport/` or absolute.

    `owner` is the user id of the control file's owner.  Raises SpoolError, and nothing is written, if that
    user could not have done it; `line` is without its end.
    """
    path = os.fsdecode(name)
    fd, status = open_regular(path, os.O_WRONLY | os.O_APPEND, "verbose file")
    try:
        if status.st_uid != owner or not status.st_mode & stat.S_IWUSR:
            raise SpoolError(
                f"verbose file {shown(path)} is not the sender's, or not to be written to; "
                "the sender must make it before the message is submitted"
            )
        os.write(fd, line + b"\n")
    except OSError as error:
        raise SpoolError(f"verbose file {shown(path)} cannot be written: {explain(error)}") from error
    finally:
        os.close(fd)
