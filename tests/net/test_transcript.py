"""Lines of a transcript: sortable, whole, and harmless to look at."""

from __future__ import annotations

import errno
import os
import re

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.net.transcript import Transcript


class Lines(SynchronousTestCase):
    """What is written."""

    def setUp(self) -> None:
        self.path = self.mktemp()
        self.now = 0x18F7 + 0x650000 * 0x10000 + 0.5
        self.transcript = Transcript(self.path, pid=29, clock=lambda: self.now)
        self.addCleanup(self.transcript.close)

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
        self.addCleanup(other.close)
        for _ in range(3):
            self.transcript.line("w", b"one")
            other.line("w", b"two")
        self.assertEqual([re.split(rb"[\t]", line)[1] for line in self.written()], [b"one", b"two"] * 3)
        self.assertTrue(self.written()[1].startswith(b"1234567"))

    def test_file_is_not_for_everybody(self) -> None:
        self.assertEqual(os.stat(self.path).st_mode & 0o007, 0)

    def test_file_that_cannot_be_opened_is_an_error(self) -> None:
        self.assertRaises(OSError, Transcript, "/nonexistent/x", pid=1, clock=lambda: 0.0)

    def test_file_without_a_reader_is_an_error_and_no_wait(self) -> None:
        os.mkfifo(self.path + ".fifo")
        self.assertRaises(OSError, Transcript, self.path + ".fifo", pid=1, clock=lambda: 0.0)

    def test_connections_of_one_process_are_told_apart(self) -> None:
        for number in (1, 2, 0):
            self.transcript.witness(number)("w", b"QUIT")
        self.assertEqual([line.split(b"\t")[0][-2:] for line in self.written()], [b"w1", b"w2", b"0w"])

    def test_progress_of_a_message_is_no_line(self) -> None:
        self.transcript.witness()("p", b"65536/200000")
        self.assertEqual(self.written(), [])


class Turns(SynchronousTestCase):
    """The lines of a turn of the reactor are one write."""

    def setUp(self) -> None:
        self.path = self.mktemp()
        self.clock = Clock()
        self.writes: list[bytes] = []
        self.patch(os, "write", self.write)
        self.transcript = Transcript(
            self.path,
            pid=29,
            clock=self.clock.seconds,
            later=lambda flush: self.clock.callLater(0, flush),
        )
        self.addCleanup(self.transcript.close)

    def write(self, descriptor: int, octets: bytes) -> int:
        self.writes.append(octets)
        return len(octets)

    def test_lines_are_written_together_when_the_turn_is_over(self) -> None:
        for turn in (1, 2):
            for _ in range(5):
                self.transcript.line("w", b"x")
            self.assertEqual(len(self.writes), turn - 1)
            self.clock.advance(0)
            self.assertEqual(len(self.writes), turn)
        self.assertEqual([octets.count(b"\n") for octets in self.writes], [5, 5])

    def test_what_waits_is_bounded(self) -> None:
        for _ in range(70):
            self.transcript.line("r", b"y" * 1000)
        self.assertEqual(len(self.writes), 1)
        self.assertLess(len(self.writes[0]), 70_000)

    def test_close_leaves_nothing_behind(self) -> None:
        self.transcript.line("w", b"QUIT")
        self.transcript.close()
        self.assertEqual(len(self.writes), 1)
        self.clock.advance(0)
        self.transcript.close()
        self.assertEqual(len(self.writes), 1)


class Trouble(SynchronousTestCase):
    """What may become of the file while it is written."""

    def setUp(self) -> None:
        self.path = self.mktemp()
        self.now = 1_800_000_000.0
        self.warnings: list[str] = []
        self.transcript = self.open(self.path)

    def open(self, path: str) -> Transcript:
        """Open a transcript."""
        transcript = Transcript(path, pid=29, clock=lambda: self.now, warn=self.warnings.append)
        self.addCleanup(transcript.close)
        return transcript

    def texts(self, path: str) -> list[bytes]:
        """The texts in a file, each line of which must be one of a transcript."""
        with open(path, "rb") as file:
            lines = file.read().splitlines()
        for line in lines:
            self.assertRegex(line, rb"\A00029D200-\d{4}-\d{4}[wr#]\t")
        return [line.split(b"\t")[1] for line in lines]

    def test_renamed_file_is_made_anew_within_a_second(self) -> None:
        self.transcript.line("w", b"one")
        os.rename(self.path, self.path + ".1")
        self.transcript.line("w", b"two")
        self.now += 1
        self.transcript.line("w", b"three")
        self.assertEqual(
            (self.texts(self.path + ".1"), self.texts(self.path)), ([b"one", b"two"], [b"three"])
        )
        self.assertEqual(self.warnings, [])

    def test_file_that_another_agent_has_made_already_is_joined(self) -> None:
        os.rename(self.path, self.path + ".1")
        self.open(self.path).line("w", b"other")
        self.now += 1
        self.transcript.line("w", b"mine")
        with open(self.path, "rb") as file:
            self.assertEqual([line.split(b"\t")[1] for line in file.read().splitlines()], [b"other", b"mine"])

    def test_removed_file_is_made_anew(self) -> None:
        os.unlink(self.path)
        self.now += 1
        self.transcript.line("w", b"one")
        self.assertEqual(self.texts(self.path), [b"one"])

    def test_emptied_file_is_gone_on_with_at_its_start(self) -> None:
        self.transcript.line("w", b"one")
        os.truncate(self.path, 0)
        self.transcript.line("w", b"two")
        self.assertEqual(self.texts(self.path), [b"two"])

    def test_file_that_cannot_be_made_anew_is_written_to_where_it_is(self) -> None:
        os.makedirs(self.path + ".d")
        inner = self.open(self.path + ".d/log")
        inner.line("w", b"one")
        os.rename(self.path + ".d", self.path + ".old")
        for text in (b"two", b"three"):
            self.now += 1
            inner.line("w", text)
        self.assertEqual(self.texts(self.path + ".old/log"), [b"one", b"two", b"three"])
        self.assertEqual(len(self.warnings), 1)
        self.assertIn("No such file or directory", self.warnings[0])

    def test_full_disk_costs_one_warning_and_no_mail(self) -> None:
        full = self.open("/dev/full")
        for _ in range(3):
            full.line("w", b"EHLO me.test")
        self.assertEqual(
            self.warnings,
            ['logfile "/dev/full": No space left on device; lines of the transcript will be missing'],
        )

    def test_lines_that_are_missing_are_counted_where_they_are_missing(self) -> None:
        real = os.write
        for failing, text in ((False, b"1"), (True, b"2"), (True, b"3"), (False, b"4"), (False, b"5")):
            self.patch(os, "write", _no_room if failing else real)
            self.transcript.line("w", text)
        self.assertEqual(self.texts(self.path), [b"1", b"(2 lines are missing here)", b"4", b"5"])
        self.assertEqual(len(self.warnings), 1)

    def test_half_a_line_is_no_beginning_of_the_next(self) -> None:
        real = os.write
        self.patch(os, "write", lambda descriptor, octets: real(descriptor, octets[:-3]))
        self.transcript.line("w", b"first")
        self.patch(os, "write", real)
        self.transcript.line("w", b"second")
        self.assertEqual(self.texts(self.path), [b"fir", b"(1 lines are missing here)", b"second"])


def _no_room(descriptor: int, octets: bytes) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
