"""Opening a spool file without being led astray, and saying why it did not work.

No symbolic link is followed, no FIFO or device can make the caller wait, only regular files are accepted, and
every failure is a SpoolError that names the file and what the postmaster can do about it.
"""

from __future__ import annotations

import errno
import os
import stat

from zsmtp.errors import SpoolError
from zsmtp.spool.layout import shown

__all__ = ["explain", "open_regular"]

# O_NONBLOCK: a FIFO or a terminal must not make us wait.
_SAFELY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_REMEDIES = {
    errno.ENOENT: "nothing is to be done if its mail was finished or removed, else restore the file",
    errno.ENOTDIR: "a directory of the spool has been replaced by a file; restore the directory",
    errno.EACCES: "make it accessible for the user that runs this program",
    errno.EPERM: "make it accessible for the user that runs this program",
    errno.ELOOP: "it is a symbolic link; put the file itself in its place",
    errno.EISDIR: "it is a directory; move it away",
    errno.ENXIO: "it is no regular file; move it away",
    errno.EMFILE: "raise the limit of open files of this process (ulimit -n)",
    errno.ENFILE: "raise the limit of open files of this machine (fs.file-max)",
    errno.ENOMEM: "the machine is short of memory; the mail is tried again",
    errno.ENOSPC: "make room on the file system",
    errno.EDQUOT: "make room on the file system or raise the quota",
    errno.EFBIG: "raise the limit of file size of this process (ulimit -f)",
    errno.EROFS: "mount the file system for writing",
    errno.EIO: "check the disk",
}


def explain(error: OSError | ValueError) -> str:
    """Return what the system said, and what to do about it, as the end of a sentence about a file."""
    if isinstance(error, ValueError):  # a NUL or an impossible character in the name
        return "the name is not one of a file; look at who asks for it"
    said = error.strerror or str(error)
    remedy = _REMEDIES.get(error.errno or 0, "look at the file and its file system")
    return f"{said}; {remedy}"


def open_regular(path: str, flags: int, label: str) -> tuple[int, os.stat_result]:
    """Open a regular file and return its descriptor, which the caller closes, and what fstat(2) says.

    `label` tells people what kind of file it is.  Raises SpoolError, always `temporary`: whether a missing
    file is final is for the caller to say, who finds FileNotFoundError as its cause.
    """
    try:
        fd = os.open(path, flags | _SAFELY)
    except (OSError, ValueError) as error:
        raise SpoolError(f"{label} {shown(path)} cannot be opened: {explain(error)}") from error
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise SpoolError(f"{label} {shown(path)} is not a regular file; move it away")
    return fd, status
