"""Control files and spools that the tests of zsmtp.spool share."""

from __future__ import annotations

import os
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from zsmtp.spool.controlfile import ControlFile, Recipient, parse
from zsmtp.spool.mark import OpenControlFile

HEAD = b"@ 0x00000007\ni 77\no 4\nl <m>\n"
SENDER = b"s smtp h a@b 99\n"
RECIPIENT = b"r           smtp x.org u@x.org 99\n"
HEADER = b"m\nReceived: x; y\nTo: u\n\n"
BASE = HEAD + SENDER + RECIPIENT + HEADER
"""Offsets: s 28, r 44, m 78, header 80; 102 octets."""


def reading(
    *records: bytes, head: bytes = HEAD, sender: bytes = SENDER, header: bytes = HEADER
) -> ControlFile:
    """Read BASE with `records` in the place of its recipient."""
    return parse(head + sender + b"".join(records) + header, "77")


def only(control: ControlFile) -> Recipient:
    """Return the one recipient of a control file."""
    (recipient,) = control.recipients
    return recipient


class SpoolTest(SynchronousTestCase):
    """A test with a spool of its own, `transport/` and `queue/` below `self.postoffice`."""

    def setUp(self) -> None:
        # In memory where possible: fsync(2) of a busy disk takes longer than the rest of the test.
        parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.directory = tempfile.TemporaryDirectory(dir=parent)
        self.addCleanup(self.directory.cleanup)
        self.postoffice = self.directory.name
        self.transport = os.path.join(self.postoffice, "transport")
        self.queue = os.path.join(self.postoffice, "queue")
        os.mkdir(self.transport)
        os.mkdir(self.queue)

    def put(self, octets: bytes = BASE, name: str = "77") -> str:
        """Write a control file and return its path."""
        path = os.path.join(self.transport, name)
        with open(path, "wb") as file:
            file.write(octets)
        return path

    def octets(self, name: str = "77") -> bytes:
        """Return what a control file holds now."""
        with open(os.path.join(self.transport, name), "rb") as file:
            return file.read()

    def opened(self, octets: bytes = BASE, *, pid: int | None = None) -> OpenControlFile:
        """Write a control file and open it until the end of the test."""
        self.put(octets)
        return self.again(pid=pid)

    def again(self, *, pid: int | None = None) -> OpenControlFile:
        """Open the control file once more."""
        file = OpenControlFile.open("77", directory=self.transport, pid=pid)
        self.addCleanup(file.close)
        return file
