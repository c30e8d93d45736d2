"""The marks in control files: who works on a recipient, and what became of it.

The only module that writes to a control file.  It changes seven octets of a recipient (tag and pid field),
one octet of a diagnostic, and appends diagnostics; it never renames, replaces or shortens the file, because
other processes hold offsets into it.  A recipient is changed only under a lock of just these octets, after
reading them again, and only if they are what the caller believes: free when it is to be taken, `~` with our
pid when it is to be marked.

Locks of fcntl(2) end when the process closes *any* descriptor of the file, and two opens in one process never
exclude each other.  Both are harmless here.  No lock outlives the call that took it, so that a close can only
happen while none is held; and what a process has taken is remembered per `OpenControlFile`, so that a second
open of the same file finds `~` and neither takes nor frees what the first one holds.  Threads must not share
a process's control files without a lock of their own.

The pid field has six columns.  A pid above 999999 is cut to its first six digits, as in the original: the
scheduler then asks after another process, may take a living lock for a stale one when it reads the file
again, and the message may be sent twice.  Keep kernel.pid_max at 999999 or below, or give `open` another
number that the scheduler can ask after.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Sequence
from errno import EACCES, EAGAIN
from functools import lru_cache
from time import sleep
from types import TracebackType
from typing import Self

from zsmtp.errors import Misuse, SpoolError
from zsmtp.spool.controlfile import parse
from zsmtp.spool.layout import shown
from zsmtp.spool.openfile import explain, open_regular
from zsmtp.spool.records import DELIVERED, FAILED, LOCKED, TO_DO, ControlFile, Diagnostic, Recipient

__all__ = ["LARGEST_PID", "SIZE_LIMIT", "OpenControlFile", "pid_field"]

LARGEST_PID = 999_999
SIZE_LIMIT = 256 * 1024 * 1024
"""Octets of the largest control file that is read; a million recipients with all parameters fit in."""

_FREE = b"r       "
_ODDLY_FREE = re.compile(rb"r [ 0-9]{6}")
_MARK = 7  # octets of tag and pid field
_NO_OWNER = b"      "
_MARKS = {tag: b"%c%b" % (tag, _NO_OWNER) for tag in (TO_DO, DELIVERED, FAILED)}
_AT_ONCE = fcntl.LOCK_EX | fcntl.LOCK_NB
_NEAR = 512  # octets for each recipient that are rather read in one go
_LONGEST_LINE = 8192
# Appending excludes appending, and not the marks of other agents.
_APPEND_LOCK = 1 << 62
# Other agents hold a lock for microseconds, and for 0.2 s when they take 100,000 recipients.
_TRIES = 1000
_APPENDS = 5
_PAUSE = 0.001


@lru_cache(maxsize=16)
def pid_field(pid: int) -> bytes:
    """Return the six columns that tell who has locked a recipient; a longer pid loses its last digits."""
    return (b"%6d" % pid)[:6]


class OpenControlFile:
    """A control file that is being worked on.

    `control` is its content when it was opened; tags of its recipients follow what is found and written here.
    `uid` is the owner of the file, which is the submitter of the message.
    """

    __slots__ = ("_boundary", "_locked", "_mine", "control", "fd", "path", "uid")

    def __init__(self, fd: int, path: str, control: ControlFile, uid: int, pid: int) -> None:
        self.fd = fd
        self.path = path
        self.control = control
        self.uid = uid
        self._mine = b"~" + pid_field(pid)
        self._locked: dict[int, Recipient] = {}
        self._boundary = control.boundary

    @classmethod
    def open(
        cls, path: str, *, directory: str | None = None, pid: int | None = None, size_limit: int = SIZE_LIMIT
    ) -> Self:
        """Open and read a control file; the caller closes it.

        `path` is relative to `transport/`, which is `directory` or the current directory.  `pid` is the
        process that the scheduler asks after (default: this one).  Raises SpoolError if the file cannot be
        opened, is no regular file, is larger than `size_limit` octets or cannot be trusted.
        """
        if "../" in path:
            raise SpoolError(f"{shown(path)}: the name leads out of the spool; name a file below transport/")
        where = path if directory is None else os.path.join(directory, path)
        fd, status = open_regular(where, os.O_RDWR, "control file")
        try:
            size = status.st_size
            if size > size_limit:
                raise SpoolError(
                    f"control file {shown(path)} has {size} octets, the limit is {size_limit}; move it away"
                )
            octets = os.pread(fd, size, 0)
            if len(octets) < size:
                raise SpoolError(
                    f"control file {shown(path)} became shorter while it was read; "
                    "look for a program that changes files of the spool"
                )
            control = parse(octets, path)
            return cls(fd, path, control, status.st_uid, os.getpid() if pid is None else pid)
        except OSError as error:
            os.close(fd)
            raise SpoolError(f"control file {shown(path)} cannot be read: {explain(error)}") from error
        except BaseException:
            os.close(fd)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def locked(self) -> list[Recipient]:
        """The recipients that are locked through this object and not yet marked."""
        return list(self._locked.values())

    # -- marks of recipients

    def lock(self, recipient: Recipient) -> bool:
        """Take a recipient; false if it is not free, the file is gone, or others keep these octets locked.

        Raises SpoolError if the file cannot be read or written; `close` then frees what had been taken.
        """
        return self._swap(recipient, None, self._mine)

    def lock_all(self, recipients: Sequence[Recipient]) -> list[Recipient]:
        """Take those recipients that are free, and return them."""
        return self._swap_all(recipients, None, self._mine)

    def release(self, recipient: Recipient) -> bool:
        """Give a locked recipient back: it is to be tried again.

        False, and nothing is written, if the recipient is not locked by this object or no longer so in the
        file.
        """
        return self._mark(recipient, TO_DO)

    def delivered(self, recipient: Recipient) -> bool:
        """Mark a locked recipient as delivered; result as for `release`.

        To be called before the success is told to anyone (the other order sends again after a crash).
        """
        return self._mark(recipient, DELIVERED)

    def failed(self, recipient: Recipient) -> bool:
        """Mark a locked recipient as failed for good; result as for `release`.

        To be called after its diagnostic was appended: the failure would be told to nobody otherwise.
        """
        return self._mark(recipient, FAILED)

    def clear_stale(self, recipient: Recipient) -> bool:
        """Free a recipient whose owner is known to be dead; false if the lock is no longer the one read."""
        if recipient.offset in self._locked or recipient.tag != LOCKED:
            return False
        return self._swap(recipient, b"~" + recipient.owner, b" " + _NO_OWNER)

    def mark_reported(self, diagnostic: Diagnostic) -> bool:
        """Note that a diagnostic has been reported to the sender; false if another process has noted it."""
        offset = diagnostic.offset
        if not self._acquire(offset, 2):
            return False
        try:
            if os.pread(self.fd, 2, offset) != b"d ":
                return False
            return os.pwrite(self.fd, b"+", offset + 1) == 1
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            fcntl.lockf(self.fd, fcntl.LOCK_UN, 2, offset)

    def _mark(self, recipient: Recipient, tag: int) -> bool:
        # Forgotten first: if the mark cannot be written, `close` must not free a recipient that has its mail.
        if self._locked.pop(recipient.offset, None) is None:
            return False
        return self._swap(recipient, self._mine, _MARKS[tag])

    def _swap(self, recipient: Recipient, was: bytes | None, now: bytes) -> bool:
        """Replace tag and pid field if they are `was` (None: free); 8 us, of which 6 are system calls."""
        fd = self.fd
        offset = recipient.offset
        try:
            fcntl.lockf(fd, _AT_ONCE, _MARK, offset + 1)
        except OSError:
            if not self._acquire(offset + 1, _MARK):
                return False
        try:
            if was is None and not os.fstat(fd).st_nlink:
                return False  # finished, expired or removed by the postmaster
            return self._swap_found(recipient, os.pread(fd, 8, offset), was, now)
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            fcntl.lockf(fd, fcntl.LOCK_UN, _MARK, offset + 1)

    def _swap_all(self, recipients: Sequence[Recipient], was: bytes | None, now: bytes) -> list[Recipient]:
        """Do the same for many: one lock and, if they are near each other, one read; 2 us for each."""
        if len(recipients) < 2:
            return [each for each in recipients if self._swap(each, was, now)]
        offsets = [recipient.offset for recipient in recipients]
        first = min(offsets)
        span = max(offsets) - first + 8
        fd = self.fd
        if not self._acquire(first + 1, span - 1):
            return []
        try:
            if was is None and not os.fstat(fd).st_nlink:
                return []
            if span <= _NEAR * len(recipients):
                octets = os.pread(fd, span, first)
                found = [octets[offset - first : offset - first + 8] for offset in offsets]
            else:
                found = [os.pread(fd, 8, offset) for offset in offsets]
            swap = self._swap_found
            return [
                each for each, octets in zip(recipients, found, strict=True) if swap(each, octets, was, now)
            ]
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            fcntl.lockf(fd, fcntl.LOCK_UN, span - 1, first + 1)

    def _swap_found(self, recipient: Recipient, found: bytes, was: bytes | None, now: bytes) -> bool:
        """Under the lock: compare the eight octets found, write the mark."""
        offset = recipient.offset
        if was is None:
            expected = found == _FREE or _ODDLY_FREE.fullmatch(found) is not None
        else:
            expected = found[1:] == was and found.startswith(b"r")
        if expected:
            if was is None:
                if offset in self._locked:  # named twice
                    return False
                self._locked[offset] = recipient
            if os.pwrite(self.fd, now, offset + 1) != _MARK:
                # Only a limit of file size in the midst of the file does this.
                os.pwrite(self.fd, found[1:], offset + 1)
                raise SpoolError(f"control file {shown(self.path)}: a mark was not written; raise ulimit -f")
            recipient.tag, recipient.owner = now[0], now[1:]
            return True
        if found.startswith(b"r") and len(found) == 8:
            recipient.tag, recipient.owner = found[1], found[2:]
        return False

    # -- diagnostics

    def append_diagnostic(self, line: bytes) -> None:
        """Append one `d` line, with its NL, and make it durable.

        Raises SpoolError if that fails, for instance because the disk is full; no reader will then take a
        part of the line for a diagnostic.  The recipient must not be marked as failed in that case.
        """
        self.append_diagnostics((line,))

    def append_diagnostics(self, lines: Sequence[bytes]) -> None:
        """Append `d` lines with one fsync(2); all or none of them count."""
        for line in lines:
            if not line.startswith(b"d ") or line.find(b"\n") != len(line) - 1 or len(line) > _LONGEST_LINE:
                raise Misuse(f"{line[:100]!a} is no diagnostic line")
        data = b"".join(lines)
        if not self._acquire(_APPEND_LOCK, 1):
            raise SpoolError(f"control file {shown(self.path)} is kept locked for appending; end the process")
        try:
            start = next(filter(None, (self._append(data) for _ in range(_APPENDS))), None)
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            fcntl.lockf(self.fd, fcntl.LOCK_UN, 1, _APPEND_LOCK)
        if start is None:
            raise SpoolError(f"control file {shown(self.path)}: others append without pause; end them")
        try:
            os.fsync(self.fd)  # not under the lock: a busy disk takes seconds
        except OSError as error:
            try:
                self._neutralise(start, data)
            except OSError:
                pass  # a disk that refuses this too will hardly have kept the line
            raise self._unwritable(error) from error

    def _append(self, data: bytes) -> int | None:
        """Append; return where `data` begins, None if a program without our lock came between and hid it."""
        fd = self.fd
        size = os.fstat(fd).st_size
        complete = self._reads_complete(size)
        if not complete:
            data = b"\n" + data
        # With O_APPEND for good, Linux would append what pwrite(2) writes.
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_APPEND)
        try:
            written = os.write(fd, data)
        finally:
            fcntl.fcntl(fd, fcntl.F_SETFL, flags)
        start = os.lseek(fd, 0, os.SEEK_CUR) - written
        if written < len(data):
            self._neutralise(start, data[:written])
            raise SpoolError(
                f"control file {shown(self.path)}: a diagnostic could not be appended; "
                "make room on the file system, or raise ulimit -f"
            )
        visible = start == size or self._reads_complete(start) == complete
        return start + (not complete) if visible else None

    def _reads_complete(self, end: int) -> bool:
        """Whether the last record before offset `end` is complete, so that an appended one stands for itself.

        An empty line is not: it would hide the appended record.
        """
        boundary = self._boundary
        tail = os.pread(self.fd, end - boundary, boundary)
        start = 0
        while start < len(tail):
            stop = tail.find(b"\n", start + 1)
            if stop < 0:
                break
            start = stop + 1
        self._boundary = boundary + start
        return start == len(tail)

    def _neutralise(self, start: int, written: bytes) -> None:
        """Turn lines that do not count into comments, in place: others may have appended behind them."""
        fd = self.fd
        line = 0 if written.startswith(b"d") else 1
        while line < len(written):
            end = written.find(b"\n", line) + 1 or len(written)
            if end - line == 1:
                # Nothing can be made of a single octet, and whoever appends next would be glued to it.
                if os.fstat(fd).st_size == start + end:
                    os.ftruncate(fd, start + line)
                return
            os.pwrite(fd, b"#", start + line)
            if end == len(written):
                os.pwrite(fd, b"\n", start + end - 1)
            line = end

    # -- the rest

    def close(self) -> list[Recipient]:
        """Close the file; return the recipients that were still locked, and are now free again.

        They belong in a report as deferred: nobody else will tell what became of them.
        """
        if self.fd < 0:
            return []
        left = self.locked
        if left:
            try:
                self._locked.clear()
                self._swap_all(left, self._mine, _MARKS[TO_DO])
            except SpoolError:
                pass  # the locks stay until the scheduler finds that this process has ended
        os.close(self.fd)
        self.fd = -1
        return left

    def _acquire(self, start: int, length: int) -> bool:
        """Lock octets for a moment; false if another process keeps them locked for a second."""
        for _ in range(_TRIES):
            try:
                fcntl.lockf(self.fd, _AT_ONCE, length, start)
            except OSError as error:
                if error.errno not in (EAGAIN, EACCES):
                    raise SpoolError(
                        f"control file {shown(self.path)} cannot be locked: {explain(error)}"
                    ) from error
                sleep(_PAUSE)
            else:
                return True
        return False

    def _unwritable(self, error: OSError) -> SpoolError:
        return SpoolError(f"control file {shown(self.path)} cannot be read or written: {explain(error)}")
