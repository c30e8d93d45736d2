"""One daemon for one spool, and none where ZMailer's scheduler works.

The lock is one of flock(2) on a file below POSTOFFICE: it ends with its process, however that ends, and needs
no cleaning up.  The number in the file is for people.
"""

from __future__ import annotations

import fcntl
import os
from typing import Final

from zsmtp.errors import ConfigError
from zsmtp.spool.openfile import explain

__all__ = ["LOCK_FILE", "Lock", "refuse_scheduler"]

LOCK_FILE: Final = ".pid.zsmtp"
_SCHEDULER: Final = ".pid.scheduler"


class Lock:
    """The lock of one spool, held until `release` or the end of the process."""

    def __init__(self, postoffice: str) -> None:
        """Take the lock.  Raises ConfigError, which says who has it."""
        path = os.path.join(postoffice, LOCK_FILE)
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise ConfigError(f"{path} cannot be opened: {explain(error)}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._fd, 20, 0).decode("ascii", "replace").strip()
            os.close(self._fd)
            raise ConfigError(
                f"a daemon with process number {holder or 'unknown'} works on {postoffice} already; "
                "end it, or name another spool"
            ) from error
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Give the lock back; the file stays."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1


def refuse_scheduler(postoffice: str) -> None:
    """Raise ConfigError where a scheduler works on the spool: it would remove files under our hands."""
    path = os.path.join(postoffice, _SCHEDULER)
    try:
        with open(path, "rb") as file:
            number = int(file.read(20).split()[0])
    except (OSError, ValueError, IndexError):
        return
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return  # it has ended and left its file, or there never was one
    except PermissionError:
        pass  # it lives and belongs to somebody else
    try:
        with open(f"/proc/{number}/comm", encoding="ascii", errors="replace") as file:
            name = file.read().strip()
    except OSError:
        name = "unknown"
    raise ConfigError(
        f"ZMailer's scheduler works on {postoffice}: process {number} ({name}) of {path} is alive.  "
        "Two of them would give out the same mail.  Stop the scheduler; or keep it and name zsmtp in its "
        "scheduler.conf, which needs no daemon; or, if that process is no scheduler, remove the file"
    )
