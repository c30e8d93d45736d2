"""Message files: the body of a message, as it was submitted.

Opened before any recipient is locked.  Only a file that is certainly gone makes its recipients undeliverable;
every other trouble is temporary.  A file that shrinks or fails while it is read raises, so that half a
message is never ended as if it were a whole one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Self

from zsmtp.errors import SpoolError
from zsmtp.spool.layout import shown, spool_id
from zsmtp.spool.openfile import explain, open_regular

__all__ = ["SMALL", "MessageFile"]

SMALL = 65536
"""Octets of the largest body that `MessageFile.whole` returns in one piece."""


class MessageFile:
    """An open message file.  `size` is that of the body; `body_offset` is where it begins."""

    __slots__ = ("body_offset", "fd", "inode", "mtime_ns", "path", "size")

    def __init__(self, fd: int, path: str, body_offset: int, status: os.stat_result) -> None:
        self.fd = fd
        self.path = path
        self.body_offset = body_offset
        self.size = status.st_size - body_offset
        self.inode = status.st_ino
        self.mtime_ns = status.st_mtime_ns

    @classmethod
    def open(cls, path: str, body_offset: int, *, directory: str | None = None) -> Self:
        """Open a message file; the caller closes it.

        `path` is that of `layout.message_path`, relative to `directory` or the current directory.  Raises
        SpoolError, with `temporary` false only if the file does not exist in a directory that does.
        """
        where = path if directory is None else os.path.join(directory, path)
        try:
            fd, status = open_regular(where, os.O_RDONLY, "message file")
        except SpoolError as error:
            # Without the directory it is the queue that is missing (not mounted, half restored), not the
            # message.
            if isinstance(error.__cause__, FileNotFoundError) and os.path.isdir(
                os.path.dirname(where) or "."
            ):
                raise SpoolError(str(error), temporary=False) from error.__cause__
            raise
        if not 0 <= body_offset <= status.st_size:
            os.close(fd)
            raise SpoolError(
                f"message file {shown(path)} has {status.st_size} octets, "
                f"its body cannot begin at {body_offset}; submit the message again"
            )
        return cls(fd, path, body_offset, status)

    @property
    def spool_id(self) -> str:
        """The name of the message in all logs."""
        return spool_id(self.inode, self.mtime_ns)

    def pieces(self, size: int = 65536) -> Iterator[bytes]:
        """Yield the body from its start, as stored, in pieces of at most `size` octets; each call anew."""
        position = self.body_offset
        end = position + self.size
        while position < end:
            piece = self._read(min(size, end - position), position)
            yield piece
            position += len(piece)

    def whole(self) -> bytes | None:
        """Return a small body in one piece (one read), None for one of more than 64 KiB."""
        if self.size > SMALL:
            return None
        if not self.size:
            return b""
        octets = self._read(self.size, self.body_offset)
        return octets if len(octets) == self.size else b"".join(self.pieces())

    def close(self) -> None:
        """Close the file; more than once does no harm."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _read(self, size: int, position: int) -> bytes:
        try:
            piece = os.pread(self.fd, size, position)
        except OSError as error:
            raise SpoolError(f"message file {shown(self.path)} cannot be read: {explain(error)}") from error
        if not piece:
            raise SpoolError(
                f"message file {shown(self.path)} became shorter while it was read; "
                "look for a program that changes files of the spool"
            )
        return piece
