"""Tests of zsmtp.spool.openfile: things that pose as spool files."""

from __future__ import annotations

import errno
import os
import socket

from tests.spool.sample import SpoolTest
from zsmtp.errors import SpoolError
from zsmtp.spool.openfile import explain, open_regular


class Impostors(SpoolTest):
    """Only a regular file under its own name is opened, and nothing makes us wait."""

    def refused(self, path: str, flags: int = os.O_RDWR) -> str:
        before = os.listdir("/proc/self/fd")
        error = self.assertRaises(SpoolError, open_regular, path, flags, "control file")
        self.assertEqual(len(os.listdir("/proc/self/fd")), len(before))
        self.assertTrue(error.temporary)
        self.assertIn(";", str(error))
        self.assertTrue(str(error).startswith("control file "), str(error))
        return str(error)

    def test_a_regular_file_is_opened(self) -> None:
        fd, status = open_regular(self.put(b"x"), os.O_RDONLY, "control file")
        self.addCleanup(os.close, fd)
        self.assertEqual((status.st_size, os.get_inheritable(fd)), (1, False))

    def test_symbolic_link(self) -> None:
        self.put()
        path = os.path.join(self.transport, "78")
        os.symlink("77", path)
        self.assertIn("it is a symbolic link", self.refused(path))

    def test_directory(self) -> None:
        self.assertIn("it is a directory", self.refused(self.transport))
        self.assertIn("is not a regular file", self.refused(self.transport, os.O_RDONLY))

    def test_fifo(self) -> None:
        path = os.path.join(self.transport, "78")
        os.mkfifo(path)
        self.assertIn("is not a regular file", self.refused(path))
        self.assertIn("is not a regular file", self.refused(path, os.O_RDONLY))

    def test_device(self) -> None:
        self.assertIn("is not a regular file", self.refused("/dev/null"))

    def test_socket(self) -> None:
        path = os.path.join(self.transport, "78")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            self.assertIn("it is no regular file", self.refused(path))

    def test_vanished_file(self) -> None:
        path = os.path.join(self.transport, "78")
        error = self.assertRaises(SpoolError, open_regular, path, os.O_RDONLY, "control file")
        self.assertIsInstance(error.__cause__, FileNotFoundError)
        self.assertIn("restore the file", str(error))

    def test_row_63_unreadable_file(self) -> None:
        path = self.put()
        os.chmod(path, 0)
        if os.geteuid() == 0:
            os.chmod(self.postoffice, 0o755)
            os.seteuid(65534)
            self.addCleanup(os.seteuid, 0)
        self.assertIn("Permission denied; make it accessible", self.refused(path))

    def test_names_that_no_file_can_have(self) -> None:
        self.assertIn("the name is not one of a file", self.refused("7\0"))
        self.assertIn("the name is not one of a file", self.refused("7\ud800"))
        self.assertIn("File name too long", self.refused("7" * 300))


class Explanations(SpoolTest):
    """Every error of the system comes with a remedy."""

    def test_known_and_unknown_errors(self) -> None:
        self.assertIn("make room", explain(OSError(errno.ENOSPC, "No space left on device")))
        self.assertEqual(explain(OSError(9999, "Odd")), "Odd; look at the file and its file system")
        self.assertEqual(explain(OSError("odd")), "odd; look at the file and its file system")
