"""Tests of zsmtp.spool.mark: one process.  Rows: specification, H.2 and H.3."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.spool.sample import BASE, HEAD, HEADER, RECIPIENT, SENDER, SpoolTest, only
from zsmtp.errors import Misuse, SpoolError
from zsmtp.spool import mark
from zsmtp.spool.controlfile import DELIVERED, FAILED, LOCKED, TO_DO, parse
from zsmtp.spool.mark import LARGEST_PID, OpenControlFile, pid_field

TAG = 45  # offset of the tag of BASE's recipient
LINE = b"d 44:80:-1::1743501600\tu@x\x01failed\x015.1.1\x01\x01\x01smtp[1]\ttext\n"
MANY = HEAD + SENDER + RECIPIENT * 3 + HEADER


class Opening(SpoolTest):
    """What may be worked on."""

    def refused(self, **options: Any) -> str:
        before = len(os.listdir("/proc/self/fd"))
        error = self.assertRaises(SpoolError, OpenControlFile.open, "77", directory=self.transport, **options)
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
        self.assertTrue(error.temporary)
        self.assertIn("77", str(error))
        return str(error)

    def test_a_control_file_is_read(self) -> None:
        file = self.opened()
        self.assertEqual((only(file.control).offset, file.control.name, file.path), (44, "77", "77"))
        self.assertEqual((file.uid, file.locked), (os.geteuid(), []))

    def test_the_current_directory_is_the_default(self) -> None:
        self.put()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.transport)
        with OpenControlFile.open("77") as file:
            self.assertEqual(file.control.size, 102)
        self.assertEqual(file.fd, -1)

    def test_what_is_no_control_file_is_refused(self) -> None:
        self.put(b"\x7fELF" + bytes(range(256)) * 40)
        self.assertIn("does not name its message file", self.refused())

    def test_row_36_empty_file_is_refused_at_once(self) -> None:
        self.put(b"")
        self.assertIn("it is cut or no control file", self.refused())

    def test_row_62_symbolic_link_directory_and_fifo(self) -> None:
        path = os.path.join(self.transport, "77")
        os.symlink(self.put(name="78"), path)
        self.assertIn("symbolic link", self.refused())
        os.unlink(path)
        os.mkfifo(path)
        self.assertIn("not a regular file", self.refused())
        os.unlink(path)
        os.mkdir(path)
        self.assertIn("is a directory", self.refused())

    def test_row_63_a_vanished_file(self) -> None:
        self.assertIn("No such file or directory", self.refused())

    def test_a_name_that_leads_elsewhere(self) -> None:
        error = self.assertRaises(SpoolError, OpenControlFile.open, "../queue/77", directory=self.transport)
        self.assertIn("leads out of the spool", str(error))

    def test_a_sparse_file_of_a_gigabyte_is_not_read(self) -> None:
        os.truncate(self.put(), 1 << 30)
        self.assertIn("has 1073741824 octets, the limit is 268435456", self.refused())

    def test_the_limit_can_be_lower(self) -> None:
        self.put()
        self.assertIn("the limit is 101", self.refused(size_limit=101))

    def test_row_64_a_file_that_grows_is_read_to_its_old_end(self) -> None:
        path = self.put()
        fstat = os.fstat

        def growing(fd: int) -> os.stat_result:
            status = fstat(fd)
            with open(path, "ab") as file:
                file.write(LINE)
            return status

        patch = self.patch(os, "fstat", growing)
        file = self.again()
        patch.restore()
        self.assertEqual((file.control.size, file.control.diagnostics), (102, []))

    def test_row_65_a_file_that_shrinks_is_refused(self) -> None:
        path = self.put()
        fstat = os.fstat

        def shrinking(fd: int) -> os.stat_result:
            status = fstat(fd)
            os.truncate(path, 100)
            return status

        self.patch(os, "fstat", shrinking)
        self.assertIn("became shorter while it was read", self.refused())

    def test_an_error_of_the_disk_is_told(self) -> None:
        self.put()

        def fail(*_: object) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

        self.patch(os, "pread", fail)
        self.assertIn("check the disk", self.refused())


class PidFields(SynchronousTestCase):
    """Six columns for a process."""

    def test_row_79_pids_are_right_aligned_and_long_ones_cut(self) -> None:
        self.assertEqual(
            [pid_field(pid) for pid in (7, 4242, LARGEST_PID)], [b"     7", b"  4242", b"999999"]
        )
        self.assertEqual(pid_field(1234567), b"123456")


class Marks(SpoolTest):
    """Seven octets of a recipient."""

    def tag(self, offset: int = TAG) -> bytes:
        return self.octets()[offset : offset + 7]

    def test_row_01_a_locked_recipient_shows_our_pid(self) -> None:
        file = self.opened(pid=4242)
        recipient = only(file.control)
        self.assertTrue(file.lock(recipient))
        self.assertEqual(self.octets(), BASE.replace(b"r           smtp", b"r~  4242    smtp"))
        self.assertEqual((recipient.tag, recipient.owner, file.locked), (LOCKED, b"  4242", [recipient]))

    def test_our_own_pid_is_the_default(self) -> None:
        file = self.opened()
        file.lock(only(file.control))
        self.assertEqual(self.tag(), b"~%6d" % os.getpid())

    def test_row_79_a_long_pid_is_cut_and_its_lock_can_be_released(self) -> None:
        file = self.opened(pid=1234567)
        recipient = only(file.control)
        self.assertTrue(file.lock(recipient))
        self.assertEqual(self.tag(), b"~123456")
        self.assertTrue(file.release(recipient))
        self.assertEqual(self.octets(), BASE)

    def test_row_69_closing_frees_and_names_what_was_left_locked(self) -> None:
        file = self.opened()
        recipient = only(file.control)
        file.lock(recipient)
        self.assertEqual(file.close(), [recipient])
        self.assertEqual(self.octets(), BASE)
        self.assertEqual(file.close(), [])

    def test_row_70_delivered(self) -> None:
        file = self.opened()
        recipient = only(file.control)
        file.lock(recipient)
        self.assertTrue(file.delivered(recipient))
        self.assertEqual(self.octets(), BASE.replace(b"r           smtp", b"r+          smtp"))
        self.assertEqual((recipient.tag, file.locked, file.close()), (DELIVERED, [], []))

    def test_row_72_failed(self) -> None:
        file = self.opened()
        recipient = only(file.control)
        file.lock(recipient)
        self.assertTrue(file.failed(recipient))
        self.assertEqual((self.tag(), recipient.tag), (b"-      ", FAILED))

    def test_row_73_released(self) -> None:
        file = self.opened()
        recipient = only(file.control)
        file.lock(recipient)
        self.assertTrue(file.release(recipient))
        self.assertEqual((self.octets(), recipient.tag, recipient.owner), (BASE, TO_DO, b"      "))
        self.assertTrue(file.lock(recipient))

    def test_row_77_a_second_mark_changes_nothing(self) -> None:
        file = self.opened()
        recipient = only(file.control)
        file.lock(recipient)
        file.delivered(recipient)
        for again in (file.release, file.failed, file.delivered, file.lock):
            self.assertFalse(again(recipient))
        self.assertEqual(self.tag(), b"+      ")

    def test_what_was_not_locked_is_not_marked(self) -> None:
        file = self.opened()
        recipient = only(file.control)
        for unlocked in (file.release, file.failed, file.delivered):
            self.assertFalse(unlocked(recipient))
        self.assertEqual(self.octets(), BASE)

    def test_row_04_a_locked_recipient_is_not_taken(self) -> None:
        for owner in (b"%6d" % os.getpid(), b"     1", b"      ", b"abcdef"):
            octets = BASE.replace(b"r           smtp", b"r~" + owner + b"    smtp")
            file = self.opened(octets)
            self.assertFalse(file.lock(only(file.control)))
            self.assertEqual(self.octets(), octets)

    def test_row_05_a_finished_recipient_is_not_taken(self) -> None:
        for tag in (b"+", b"-", b"?"):
            file = self.opened(BASE.replace(b"r           smtp", b"r%b          smtp" % tag))
            self.assertFalse(file.lock(only(file.control)))

    def test_a_stale_copy_is_not_believed(self) -> None:
        file = self.opened()
        recipient = only(file.control)
        self.put(BASE.replace(b"r           smtp", b"r+          smtp"))
        self.assertFalse(file.lock(recipient))
        self.assertEqual((recipient.tag, recipient.owner), (DELIVERED, b"      "))

    def test_a_blank_tag_with_digits_behind_it_is_free(self) -> None:
        file = self.opened(BASE.replace(b"r           smtp", b"r   4242    smtp"))
        self.assertTrue(file.lock(only(file.control)))
        self.assertEqual(self.tag(), b"~%6d" % os.getpid())

    def test_row_78_a_mark_of_another_process_is_kept(self) -> None:
        for foreign in (b"+      ", b"~  4242", b"       "):
            file = self.opened()
            recipient = only(file.control)
            file.lock(recipient)
            with open(os.path.join(self.transport, "77"), "r+b") as other:
                other.seek(TAG)
                other.write(foreign)
            self.assertFalse(file.release(recipient))
            self.assertEqual(self.tag(), foreign)
            self.assertEqual(file.close(), [])

    def test_row_87_a_recipient_at_the_end_of_the_file(self) -> None:
        octets = b"i 77\no 4\nl <m>\n" + SENDER + b"r       c h u 9\n"
        file = self.opened(octets)
        recipient = only(file.control)
        self.assertIn("no header block", recipient.problem or "")
        self.assertTrue(file.lock(recipient))
        self.assertTrue(file.release(recipient))
        self.assertEqual(self.octets(), octets)

    def test_a_file_cut_since_it_was_read(self) -> None:
        file = self.opened()
        os.truncate(os.path.join(self.transport, "77"), 48)
        self.assertFalse(file.lock(only(file.control)))
        self.assertEqual(self.octets(), BASE[:48])

    def test_an_unlinked_file_is_not_worked_on(self) -> None:
        file = self.opened(MANY)
        os.unlink(os.path.join(self.transport, "77"))
        self.assertFalse(file.lock(file.control.recipients[0]))
        self.assertEqual(file.lock_all(file.control.recipients), [])

    def test_a_file_unlinked_meanwhile_takes_marks(self) -> None:
        file = self.opened()
        recipient = only(file.control)
        file.lock(recipient)
        os.unlink(os.path.join(self.transport, "77"))
        self.assertTrue(file.delivered(recipient))

    def test_row_86_talockmode_and_mmap_mean_nothing(self) -> None:
        self.patch(os, "environ", {**os.environ, "TALOCKMODE": "W", "TA_USE_MMAP": "1"})
        file = self.opened(pid=4242)
        recipient = only(file.control)
        file.lock(recipient)
        file.delivered(recipient)
        self.assertEqual(self.octets(), BASE.replace(b"r           smtp", b"r+          smtp"))


class TwoOpensInOneProcess(SpoolTest):
    """The same file opened twice."""

    def setUp(self) -> None:
        super().setUp()
        self.first = self.opened()
        self.second = self.again()

    def test_only_one_takes_a_recipient(self) -> None:
        self.assertTrue(self.first.lock(only(self.first.control)))
        self.assertFalse(self.second.lock(only(self.second.control)))

    def test_the_other_cannot_free_it(self) -> None:
        self.first.lock(only(self.first.control))
        self.assertFalse(self.second.release(only(self.second.control)))
        self.assertFalse(self.second.clear_stale(only(self.second.control)))
        self.assertEqual(self.second.close(), [])
        self.assertEqual(self.octets()[TAG : TAG + 1], b"~")

    def test_closing_one_leaves_the_other_its_recipients(self) -> None:
        recipient = only(self.first.control)
        self.first.lock(recipient)
        self.second.close()
        self.assertTrue(self.first.delivered(recipient))


class ManyRecipients(SpoolTest):
    """Several recipients with one lock."""

    def test_those_that_are_free_are_taken(self) -> None:
        file = self.opened(MANY.replace(b"r           smtp", b"r+          smtp", 1))
        taken = file.lock_all(list(reversed(file.control.recipients)))
        self.assertEqual(taken, file.control.recipients[:0:-1])
        self.assertEqual(len(file.locked), 2)
        self.assertEqual([chr(each.tag) for each in parse(self.octets(), "77").recipients], ["+", "~", "~"])

    def test_each_kind_of_mark(self) -> None:
        file = self.opened(MANY)
        recipients = file.control.recipients
        for method, tag in ((file.release, b" "), (file.delivered, b"+"), (file.failed, b"-")):
            self.put(MANY)
            self.assertEqual(file.lock_all(recipients), recipients)
            self.assertTrue(all(map(method, recipients)))
            self.assertEqual(self.octets(), MANY.replace(b"r           smtp", b"r%b          smtp" % tag))
            self.assertFalse(any(map(method, recipients)))

    def test_recipients_far_apart(self) -> None:
        octets = BASE.replace(b"To: u\n", b"To: u\n" + b"X: y\n" * 10_000) + SENDER + RECIPIENT + HEADER
        file = self.opened(octets)
        self.assertEqual(file.lock_all(file.control.recipients), file.control.recipients)
        self.assertIn(b"r~", self.octets())
        self.assertEqual(file.close(), file.control.recipients)
        self.assertEqual(self.octets(), octets)

    def test_a_recipient_named_twice_is_taken_once(self) -> None:
        file = self.opened(MANY)
        first = file.control.recipients[0]
        self.assertEqual(file.lock_all([first, first]), [first])

    def test_none_at_all(self) -> None:
        file = self.opened(MANY)
        self.assertEqual((file.lock_all([]), file.close()), ([], []))

    def test_row_31_a_hundred_thousand(self) -> None:
        octets = HEAD + SENDER + RECIPIENT * 100_000 + HEADER
        file = self.opened(octets)
        taken = file.lock_all(file.control.recipients)
        self.assertEqual(self.octets().count(b"\nr~"), 100_000)
        self.assertEqual(len(file.close()), len(taken))
        self.assertEqual(self.octets(), octets)


class StaleLocks(SpoolTest):
    """What a scheduler does when the owner is dead."""

    LOCKED_BASE = BASE.replace(b"r           smtp", b"r~  4242    smtp")

    def test_row_82_a_stale_lock_becomes_blank(self) -> None:
        file = self.opened(self.LOCKED_BASE)
        recipient = only(file.control)
        self.assertTrue(file.clear_stale(recipient))
        self.assertEqual((self.octets(), recipient.tag), (BASE, TO_DO))

    def test_a_lock_of_somebody_else_by_now_is_kept(self) -> None:
        file = self.opened(self.LOCKED_BASE)
        taken = self.put(BASE.replace(b"r           smtp", b"r~  4243    smtp"))
        self.assertFalse(file.clear_stale(only(file.control)))
        with open(taken, "rb") as other:
            self.assertIn(b"r~  4243", other.read())

    def test_nothing_else_is_cleared(self) -> None:
        file = self.opened(MANY)
        first, second, _ = file.control.recipients
        file.lock(first)
        self.assertFalse(file.clear_stale(first))
        self.assertFalse(file.clear_stale(second))


class Trouble(SpoolTest):
    """The file cannot be locked or written."""

    def failing(self, code: int) -> Any:
        def function(*_: object) -> int:
            raise OSError(code, os.strerror(code))

        return function

    def test_octets_locked_by_another_process_are_not_taken(self) -> None:
        self.patch(fcntl, "lockf", self.failing(errno.EAGAIN))
        pauses: list[float] = []
        self.patch(mark, "sleep", pauses.append)
        file = self.opened(MANY + LINE)
        self.assertFalse(file.lock(file.control.recipients[0]))
        self.assertEqual(file.lock_all(file.control.recipients), [])
        self.assertFalse(file.mark_reported(file.control.diagnostics[0]))
        self.assertAlmostEqual(sum(pauses), 3.0)
        error = self.assertRaises(SpoolError, file.append_diagnostic, LINE)
        self.assertIn("kept locked for appending", str(error))

    def test_no_locks_at_all(self) -> None:
        self.patch(fcntl, "lockf", self.failing(errno.ENOLCK))
        file = self.opened()
        self.assertIn("cannot be locked", str(self.assertRaises(SpoolError, file.lock, only(file.control))))

    def test_a_lock_that_cannot_be_written(self) -> None:
        file = self.opened(MANY)
        patch = self.patch(os, "pwrite", self.failing(errno.EIO))
        self.assertRaises(SpoolError, file.lock, file.control.recipients[0])
        self.assertRaises(SpoolError, file.lock_all, file.control.recipients)
        patch.restore()
        file.close()
        self.assertEqual(self.octets(), MANY)

    def test_a_success_that_cannot_be_written_is_not_freed_by_closing(self) -> None:
        file = self.opened(pid=4242)
        recipient = only(file.control)
        file.lock(recipient)
        patch = self.patch(os, "pwrite", self.failing(errno.EIO))
        self.assertIn("check the disk", str(self.assertRaises(SpoolError, file.delivered, recipient)))
        patch.restore()
        self.assertEqual(file.close(), [])
        self.assertEqual(self.octets()[TAG : TAG + 7], b"~  4242")

    def test_closing_survives_it(self) -> None:
        file = self.opened()
        recipient = only(file.control)
        file.lock(recipient)
        self.patch(os, "pwrite", self.failing(errno.EIO))
        self.assertEqual((file.close(), file.fd), ([recipient], -1))

    def test_a_mark_cut_by_the_limit_of_file_size_is_undone(self) -> None:
        file = self.opened()
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, (hard, hard))
        resource.setrlimit(resource.RLIMIT_FSIZE, (TAG + 3, hard))
        error = self.assertRaises(SpoolError, file.lock, only(file.control))
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        self.assertIn("raise ulimit -f", str(error))
        self.assertEqual(self.octets(), BASE)

    def test_a_report_that_cannot_be_noted(self) -> None:
        file = self.opened(BASE + LINE)
        self.patch(os, "pwrite", self.failing(errno.EIO))
        self.assertRaises(SpoolError, file.mark_reported, file.control.diagnostics[0])


class Diagnostics(SpoolTest):
    """Lines at the end of the file."""

    def assertAppended(self, *lines: bytes) -> None:
        """The file reads as BASE with exactly these diagnostics, whatever else stands in it."""
        octets = self.octets()
        control = parse(octets, "77")
        starts = [each.offset for each in control.diagnostics]
        self.assertEqual([octets[at : octets.index(b"\n", at) + 1] for at in starts], list(lines))
        self.assertEqual([each.offset for each in control.recipients], [44])
        self.assertTrue(control.ends_with_newline)

    def limit(self, size: int) -> None:
        """Let the file grow to `size` octets: what a full disk does to a write."""
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, (hard, hard))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    def unlimit(self) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

    def test_a_line_is_appended_and_durable(self) -> None:
        file = self.opened()
        synchronised: list[bytes] = []
        self.patch(os, "fsync", lambda fd: synchronised.append(self.octets()))
        file.append_diagnostic(LINE)
        self.assertEqual(self.octets(), BASE + LINE)
        self.assertEqual(synchronised, [BASE + LINE])

    def test_marks_still_go_to_their_place_afterwards(self) -> None:
        file = self.opened()
        recipient = only(file.control)
        file.lock(recipient)
        file.append_diagnostic(LINE)
        file.failed(recipient)
        self.assertEqual(self.octets(), BASE.replace(b"r           smtp", b"r-          smtp") + LINE)

    def test_several_lines_need_one_synchronisation(self) -> None:
        file = self.opened()
        calls: list[int] = []
        self.patch(os, "fsync", calls.append)
        file.append_diagnostics([LINE, LINE])
        self.assertAppended(LINE, LINE)
        self.assertEqual(len(calls), 1)

    def test_lines_of_other_agents_are_kept(self) -> None:
        first = self.opened()
        second = self.again()
        for file in (first, second, first, second):
            file.append_diagnostic(LINE)
        self.assertAppended(LINE, LINE, LINE, LINE)

    def test_row_85_a_missing_line_end_is_added(self) -> None:
        file = self.opened(BASE + b"q x")
        file.append_diagnostic(LINE)
        self.assertEqual(self.octets(), BASE + b"q x\n" + LINE)

    def test_row_85_an_empty_line_at_the_end_hides_nothing(self) -> None:
        for tail in (b"\n", b"q\n\n", b"\n\n\n"):
            file = self.opened(BASE + tail)
            file.append_diagnostic(LINE)
            file.append_diagnostic(LINE)
            self.assertAppended(LINE, LINE)

    def test_row_85_no_empty_line_is_made(self) -> None:
        for tail in (b"", b"q\n", b"\n\n", LINE):
            file = self.opened(BASE + tail)
            file.append_diagnostic(LINE)
            self.assertEqual(self.octets(), BASE + tail + LINE)

    def test_what_another_program_appended_without_line_end_is_seen(self) -> None:
        file = self.opened()
        with open(os.path.join(self.transport, "77"), "ab") as other:
            other.write(b"q cut")
        file.append_diagnostic(LINE)
        self.assertEqual(self.octets(), BASE + b"q cut\n" + LINE)

    def racing(self, file: OpenControlFile, *foreign: bytes) -> None:
        """Append while a program without our lock appends just before us."""
        write = os.write
        left = list(foreign)

        def writing(fd: int, octets: bytes) -> int:
            if left:
                with open(os.path.join(self.transport, "77"), "ab") as other:
                    other.write(left.pop(0))
            return write(fd, octets)

        patch = self.patch(os, "write", writing)
        try:
            file.append_diagnostic(LINE)
        finally:
            patch.restore()

    def test_another_program_that_appends_at_the_same_time_is_harmless(self) -> None:
        self.racing(self.opened(), LINE)
        self.assertAppended(LINE, LINE)

    def test_half_a_line_of_another_program_hides_nothing(self) -> None:
        self.racing(self.opened(), b"q cut")
        self.assertAppended(LINE)

    def test_another_program_that_ends_the_line_for_us_hides_nothing(self) -> None:
        self.racing(self.opened(BASE + b"q"), b" x\n")
        self.assertAppended(LINE)

    def test_programs_that_never_pause_are_told(self) -> None:
        file = self.opened()
        error = self.assertRaises(SpoolError, self.racing, file, *[b"cut"] * 5)
        self.assertIn("others append without pause", str(error))

    def test_row_83_a_full_disk_leaves_no_half_line(self) -> None:
        for room in range(len(LINE)):
            file = self.opened()
            recipient = only(file.control)
            file.lock(recipient)
            self.limit(len(BASE) + room)
            error = self.assertRaises(SpoolError, file.append_diagnostic, LINE)
            self.assertIn("raise", str(error))
            self.assertTrue(file.release(recipient))
            self.unlimit()
            self.assertEqual(self.octets()[: len(BASE)], BASE)
            self.assertAppended()
            # Whoever comes next, with or without our care, is read.
            with open(os.path.join(self.transport, "77"), "ab") as other:
                other.write(LINE)
            file.append_diagnostic(LINE)
            self.assertAppended(LINE, LINE)

    def test_row_83_a_full_disk_with_a_missing_line_end(self) -> None:
        for room in range(1, len(LINE) + 1):
            file = self.opened(BASE + b"q")
            self.limit(len(BASE) + 1 + room)
            self.assertRaises(SpoolError, file.append_diagnostic, LINE)
            self.unlimit()
            self.assertAppended()
            file.append_diagnostic(LINE)
            self.assertAppended(LINE)

    def test_row_83_of_several_lines_none_counts(self) -> None:
        for room in range(len(LINE), 2 * len(LINE)):
            file = self.opened()
            self.limit(len(BASE) + room)
            self.assertRaises(SpoolError, file.append_diagnostics, [LINE, LINE])
            self.unlimit()
            self.assertAppended()

    def test_row_83_lines_of_others_behind_half_a_line_are_kept(self) -> None:
        file = self.opened()
        write = os.write

        def writing(fd: int, octets: bytes) -> int:
            written = write(fd, octets[:1])
            with open(os.path.join(self.transport, "77"), "ab") as other:
                other.write(LINE)
            return written

        self.patch(os, "write", writing)
        self.assertRaises(SpoolError, file.append_diagnostic, LINE)
        self.assertEqual(self.octets(), BASE + b"d" + LINE)

    def test_row_83_a_line_that_is_not_durable_does_not_count(self) -> None:
        file = self.opened(BASE + b"q")

        def fail(fd: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        patch = self.patch(os, "fsync", fail)
        self.assertIn("check the disk", str(self.assertRaises(SpoolError, file.append_diagnostic, LINE)))
        patch.restore()
        self.assertAppended()

    def test_a_disk_that_refuses_everything_is_told(self) -> None:
        file = self.opened()

        def fail(*_: object) -> int:
            raise OSError(errno.EIO, "Input/output error")

        self.patch(os, "fsync", fail)
        self.patch(os, "pwrite", fail)
        self.assertIn("check the disk", str(self.assertRaises(SpoolError, file.append_diagnostic, LINE)))

    def test_row_84_a_full_disk_does_not_prevent_the_mark(self) -> None:
        file = self.opened()
        recipient = only(file.control)
        file.lock(recipient)
        self.limit(len(BASE))
        self.assertTrue(file.delivered(recipient))
        self.assertRaises(SpoolError, file.append_diagnostic, LINE)
        self.unlimit()
        self.assertEqual(self.octets(), BASE.replace(b"r           smtp", b"r+          smtp"))

    def test_what_is_no_line_is_a_mistake_of_ours(self) -> None:
        file = self.opened()
        for line in (b"", b"d 1", b"q 1\n", b"d 1\n\n", b"d 1\nd 2\n", b"d " + b"x" * 8190 + b"\n"):
            self.assertRaises(Misuse, file.append_diagnostic, line)
        self.assertEqual(self.octets(), BASE)

    def test_a_reported_diagnostic_is_marked_once(self) -> None:
        file = self.opened(BASE + LINE)
        (diagnostic,) = file.control.diagnostics
        self.assertTrue(file.mark_reported(diagnostic))
        self.assertEqual(self.octets(), BASE + b"d+" + LINE[2:])
        self.assertFalse(file.mark_reported(diagnostic))
