"""Lines of a transcript: sortable, whole, and harmless to look at."""

from __future__ import annotations

import os
import re

from twisted.trial.unittest import SynchronousTestCase

from zsmtp.net.transcript import Transcript


class Lines(SynchronousTestCase):
    """What is written."""

    def setUp(self) -> None:
        self.path = self.mktemp()
        self.now = 0x18F7 + 0x650000 * 0x10000 + 0.5
        self.transcript = Transcript(self.path, pid=29, clock=lambda: self.now)
        self.addCleanup(os.close, self.transcript._descriptor)

    def written(self) -> list[bytes]:
        """The lines of the file."""
        with open(self.path, "rb") as file:
            return file.read().splitlines()

    def test_tag_sorts_by_process_and_time(self) -> None:
        self.transcript.line("w", b"EHLO me.test")
        self.now += 12
        self.transcript.line("r", b"250-x")
        self.assertEqual(
            self.written(), [b"0002918F7-0000-0000w\tEHLO me.test", b"0002918F7-0001-0012r\t250-x"]
        )

    def test_numbers_begin_anew_where_their_columns_end(self) -> None:
        self.transcript._count = 9999
        self.now += 10_001
        self.transcript.line("w", b"a")
        self.transcript.line("w", b"b")
        self.assertEqual([line[10:20] for line in self.written()], [b"9999-0001w", b"0000-0001w"])

    def test_what_a_server_chooses_cannot_hurt_a_terminal_or_forge_a_line(self) -> None:
        self.transcript.line("r", b"550 \x1b[2J\0\r\n0002918F7-0009-0000w\tQUIT\x7f \tj\xc3\xb6rg")
        (line,) = self.written()
        self.assertIn(b"550 \\x1b[2J\\x00\\x0d\\x0a0002918F7", line)
        self.assertIn(b"\\x7f \tj\xc3\xb6rg", line)

    def test_remarks_are_text(self) -> None:
        self.transcript.remark("mx.b\u00fccher: \udc80")
        (line,) = self.written()
        self.assertTrue(line.endswith("#\tmx.b\u00fccher: ?".encode()))

    def test_agents_share_a_file(self) -> None:
        other = Transcript(self.path, pid=1234567, clock=lambda: self.now)
        self.addCleanup(os.close, other._descriptor)
        for _ in range(3):
            self.transcript.line("w", b"one")
            other.line("w", b"two")
        self.assertEqual([re.split(rb"[\t]", line)[1] for line in self.written()], [b"one", b"two"] * 3)
        self.assertTrue(self.written()[1].startswith(b"1234567"))

    def test_file_is_not_for_everybody(self) -> None:
        self.assertEqual(os.stat(self.path).st_mode & 0o007, 0)

    def test_file_that_cannot_be_opened_is_an_error(self) -> None:
        self.assertRaises(OSError, Transcript, "/nonexistent/x", pid=1, clock=lambda: 0.0)

    def test_full_disk_keeps_no_mail_from_going_out(self) -> None:
        full = Transcript("/dev/full", pid=1, clock=lambda: 0.0)
        self.addCleanup(os.close, full._descriptor)
        full.line("w", b"EHLO me.test")
