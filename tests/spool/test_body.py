"""Tests of zsmtp.spool.body."""

from __future__ import annotations

import errno
import os

from tests.spool.sample import SpoolTest
from zsmtp.errors import SpoolError
from zsmtp.spool.body import SMALL, MessageFile
from zsmtp.spool.layout import spool_id


class Bodies(SpoolTest):
    """A message file in queue/, opened from transport/."""

    def write(self, octets: bytes = b"env\nbody\n") -> str:
        path = os.path.join(self.queue, "77")
        with open(path, "wb") as file:
            file.write(octets)
        return path

    def message(self, offset: int = 4) -> MessageFile:
        message = MessageFile.open("../queue/77", offset, directory=self.transport)
        self.addCleanup(message.close)
        return message

    def refused(self, offset: int = 4) -> SpoolError:
        error: SpoolError = self.assertRaises(
            SpoolError, MessageFile.open, "../queue/77", offset, directory=self.transport
        )
        self.assertIn("../queue/77", str(error))
        self.assertIn(";", str(error))
        return error

    def test_body_begins_at_the_offset(self) -> None:
        self.write()
        message = self.message()
        self.assertEqual((message.size, message.whole(), list(message.pieces())), (5, b"body\n", [b"body\n"]))

    def test_a_path_may_be_complete(self) -> None:
        message = MessageFile.open(self.write(), 4)
        self.assertEqual(message.whole(), b"body\n")
        message.close()
        message.close()

    def test_spool_id_is_that_of_the_file(self) -> None:
        status = os.stat(self.write())
        self.assertEqual(self.message().spool_id, spool_id(status.st_ino, status.st_mtime_ns))

    def test_a_large_body_comes_in_pieces_as_often_as_asked(self) -> None:
        self.write(b"env\n" + b"x" * 200_000)
        message = self.message()
        self.assertIsNone(message.whole())
        for _ in range(2):
            self.assertEqual([len(piece) for piece in message.pieces()], [65536, 65536, 65536, 3392])
        self.assertEqual([len(piece) for piece in message.pieces(150_000)], [150_000, 50_000])

    def test_the_largest_small_body_is_whole(self) -> None:
        self.write(b"env\n" + b"x" * SMALL)
        self.assertEqual(len(self.message().whole() or b""), SMALL)

    def test_row_34_empty_body(self) -> None:
        self.write(b"env\n")
        message = self.message()
        self.assertEqual((message.size, message.whole(), list(message.pieces())), (0, b"", []))

    def test_row_55_only_a_missing_message_is_final(self) -> None:
        self.assertFalse(self.refused().temporary)

    def test_row_55_a_missing_queue_is_not(self) -> None:
        os.rmdir(self.queue)
        self.assertTrue(self.refused().temporary)

    def test_row_55_nor_is_any_other_error(self) -> None:
        self.write()
        for number in (errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EIO, errno.ENOMEM):

            def fail(*_: object, number: int = number) -> int:
                raise OSError(number, os.strerror(number))

            patch = self.patch(os, "open", fail)
            self.assertTrue(self.refused().temporary)
            patch.restore()

    def test_row_56_directory_and_fifo_are_temporary(self) -> None:
        path = os.path.join(self.queue, "77")
        os.mkdir(path)
        self.assertTrue(self.refused().temporary)
        os.rmdir(path)
        os.mkfifo(path)
        self.assertTrue(self.refused().temporary)

    def test_a_symbolic_link_is_not_followed(self) -> None:
        os.symlink("/etc/passwd", os.path.join(self.queue, "77"))
        self.assertTrue(self.refused().temporary)

    def test_row_57_offset_behind_the_end(self) -> None:
        self.write()
        self.assertIn("its body cannot begin at 10", str(self.refused(10)))
        self.assertTrue(self.refused(10).temporary)
        self.assertTrue(self.refused(-1).temporary)

    def test_a_file_that_shrinks_is_never_taken_for_complete(self) -> None:
        path = self.write()
        message = self.message()
        os.truncate(path, 6)
        self.assertIn("became shorter", str(self.assertRaises(SpoolError, message.whole)))
        self.assertIn("became shorter", str(self.assertRaises(SpoolError, list, message.pieces())))

    def test_a_file_that_grows_is_read_to_its_old_end(self) -> None:
        path = self.write()
        message = self.message()
        with open(path, "ab") as file:
            file.write(b"more\n")
        self.assertEqual((message.whole(), list(message.pieces())), (b"body\n", [b"body\n"]))

    def test_an_error_of_the_disk_is_told(self) -> None:
        self.write()
        message = self.message()

        def fail(*_: object) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

        self.patch(os, "pread", fail)
        error = self.assertRaises(SpoolError, message.whole)
        self.assertIn("cannot be read: Input/output error; check the disk", str(error))
        self.assertTrue(error.temporary)
