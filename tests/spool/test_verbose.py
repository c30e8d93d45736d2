"""The submitter's log gets what happened, and nothing else gets anything."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from zsmtp.errors import SpoolError
from zsmtp.spool.quad import Quad
from zsmtp.spool.records import Recipient
from zsmtp.spool.verbose import append, diagnosis


class Files(SynchronousTestCase):
    """Which files are appended to."""

    def setUp(self) -> None:
        self.folder = self.mktemp()
        os.mkdir(self.folder)
        self.path = os.path.join(self.folder, "v_1")
        with open(self.path, "wb") as file:
            file.write(b"before\n")

    def content(self) -> bytes:
        with open(self.path, "rb") as file:
            return file.read()

    def refused(self, text: str, path: str | None = None, *, owner: int | None = None) -> None:
        """Check that a file is not written to, and that the reason names it and the remedy."""
        path = path or self.path
        error = self.assertRaises(
            SpoolError, append, os.fsencode(path), b"line", owner=os.geteuid() if owner is None else owner
        )
        self.assertIn(text, str(error))
        self.assertIn(f"verbose file {path}", str(error))
        self.assertIn("; ", str(error))
        self.assertEqual(self.content(), b"before\n")

    def test_file_of_the_sender_is_appended_to(self) -> None:
        append(os.fsencode(self.path), b"one", owner=os.geteuid())
        append(os.fsencode(self.path), b"two", owner=os.geteuid())
        self.assertEqual(self.content(), b"before\none\ntwo\n")

    def test_file_is_not_made(self) -> None:
        path = os.path.join(self.folder, "absent")
        self.refused("No such file", path)
        self.assertFalse(os.path.exists(path))

    def test_file_of_somebody_else_is_left_alone(self) -> None:
        self.refused("is not the sender's", owner=os.geteuid() + 1)

    def test_file_that_its_owner_may_not_write_is_left_alone(self) -> None:
        os.chmod(self.path, 0o444)
        self.refused("not to be written to" if os.geteuid() == 0 else "Permission denied")

    def test_symbolic_link_is_not_followed(self) -> None:
        path = os.path.join(self.folder, "link")
        os.symlink("v_1", path)
        self.refused("symbolic link", path)

    def test_fifo_makes_nobody_wait(self) -> None:
        path = os.path.join(self.folder, "fifo")
        os.mkfifo(path)
        self.refused("no regular file", path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        self.refused("is not a regular file", path)

    def test_folder_is_no_file(self) -> None:
        self.refused("is a directory", self.folder)

    def test_name_with_a_nul_is_none(self) -> None:
        self.assertRaises(SpoolError, append, b"a\0b", b"line", owner=os.geteuid())

    def test_full_disk_is_told(self) -> None:
        def write(fd: int, octets: bytes) -> int:
            raise OSError(28, "No space left on device")

        self.patch(os, "write", write)
        self.refused("make room on the file system")


class Lines(SynchronousTestCase):
    """What is written."""

    recipient = Recipient(44, quad=Quad(b"smtp", b"x.org", b"u@x.org", b"99"))

    def test_line_says_who_and_what(self) -> None:
        line = diagnosis(
            self.recipient,
            number=77,
            word=b"retryat +60",
            notary=b"u@x.org\x01failed\x014.2.0\x01smtp; 450 (x)\x01dns; mx.x.org\x01smtp[1]",
            remote=b"dns; mx.x.org",
            text=b"\r<<- RCPT\r->> 450 x",
        )
        self.assertEqual(
            line,
            b"DIAG: C='smtp' H='x.org' U='u@x.org' P='99' ID=77/44 L=0 -- stat='retryat +60' "
            b"notary='u@x.org failed 4.2.0 smtp; 450 (x) dns; mx.x.org smtp[1]' WTT='dns; mx.x.org'  "
            b"MSG=' <<- RCPT ->> 450 x'",
        )

    def test_nothing_breaks_out_of_the_line(self) -> None:
        line = diagnosis(
            self.recipient,
            number=77,
            word=b"ok3",
            notary=b"",
            remote=b"",
            text=b"a\nb\x1b[2J" + b"x" * 20_000,
        )
        self.assertIn(b"notary=''  MSG='a b?[2Jx", line)
        self.assertLess(len(line), 8400)
