"""One control file for one destination: locked, told of, and let go, in an order that survives a crash."""

from __future__ import annotations

import errno
import os
from typing import Any

from tests.spooled import DEFERRED, DELIVERED, FAILED, NOW, RECORDED, SpooledTest
from zsmtp.errors import SpoolError
from zsmtp.job import Job, Settled
from zsmtp.plan import Batch
from zsmtp.smtp.capability import Capabilities
from zsmtp.spool.mark import OpenControlFile
from zsmtp.testing.spool import HEADER, Addressee, Group
from zsmtp.trouble import Peer

PLAIN = Capabilities()
PEER = Peer(b"dns; mx.example", b"192.0.2.25|25|192.0.2.1|40000")
TWO = (b"bob@example.net", b"carol@example.net")


def broken(*_: Any) -> Any:
    """Stand for a system call on a bad disk."""
    raise OSError(errno.EIO, os.strerror(errno.EIO))


class Opening(SpooledTest):
    """What is locked, and when there is nothing to do."""

    def test_recipients_of_the_destination_are_locked_last_one_first(self) -> None:
        mail = self.spool.add(recipients=[*TWO, Addressee(b"dave@example.org", b"example.org")])
        job = self.opened(mail)
        self.assertEqual(self.tags(mail), "~~ ")
        self.assertEqual([each.quad.user for each in job.recipients], [*reversed(TWO)])
        self.assertEqual((job.log_identity, job.spool_id[:1]), (b"<m1@example.com>", "S"))
        job.give_up(DEFERRED)
        self.expect_closed()

    def test_nothing_for_us_is_nothing_done(self) -> None:
        mail = self.spool.add(recipients=[Addressee(b"dave@example.org", b"example.org")])
        self.assertIsNone(self.open(mail))
        self.assertEqual(mail.now(), mail.control)
        self.expect_closed()

    def test_what_others_hold_is_left_to_them(self) -> None:
        mail = self.spool.add(recipients=TWO)
        with OpenControlFile.open(mail.name, pid=7) as other:
            other.lock_all(other.control.recipients)
            self.assertIsNone(self.open(mail))
        self.assertEqual(self.settled, [])
        self.expect_closed()

    def test_what_is_taken_between_reading_and_locking_is_left(self) -> None:
        mail = self.spool.add(recipients=TWO)
        real = OpenControlFile.lock_all

        def late(file: OpenControlFile, recipients: Any) -> Any:
            with open(mail.control_path, "r+b") as other:
                for offset in mail.offsets:
                    other.seek(offset + 1)
                    other.write(b"~    77")
            return real(file, recipients)

        self.patch(OpenControlFile, "lock_all", late)
        self.assertIsNone(self.open(mail))
        self.expect_closed()

    def test_missing_control_file_is_said_so(self) -> None:
        mail = self.spool.add()
        os.unlink(mail.control_path)
        self.assertRaises(SpoolError, self.open, mail)
        self.expect_closed()

    def test_problems_of_the_file_are_told_with_their_line(self) -> None:
        mail = self.spool.add()
        mail = self.spool.put(str(mail.number), mail.control + b"r   garbage\n", None)
        self.opened(mail).give_up(DEFERRED)
        self.assertTrue(any("line" in warning for warning in self.warnings), self.warnings)

    def test_file_that_cannot_be_locked_leaves_nothing_open(self) -> None:
        mail = self.spool.add()
        self.patch(os, "pwrite", broken)
        self.assertRaises(SpoolError, self.open, mail)
        self.expect_closed()

    def test_further_hosts_may_be_accepted(self) -> None:
        from zsmtp.job import open_job

        others = [
            Addressee(b"dave@example.org", b"Example.ORG"),
            Addressee(b"eve@example.edu", b"example.edu"),
        ]
        mail = self.spool.add(recipients=[TWO[0], *others])
        job = open_job(mail.name, b"example.net", self.conduct, {b"example.org": frozenset({"mx.example"})})
        assert job is not None
        self.assertEqual(len(job.recipients), 2)
        job.give_up(DEFERRED)


class WithoutMessage(SpooledTest):
    """A message file that cannot be used is known before anything is locked."""

    def test_message_that_is_gone_fails_its_recipients(self) -> None:
        mail = self.spool.add(recipients=TWO)
        os.unlink(mail.message_path)
        job = self.opened(mail)
        self.assertTrue(job.is_finished)
        self.assertEqual((self.words, self.tags(mail), job.spool_id), (["error2", "error2"], "--", "-"))
        self.assertIn(b"message file is missing(!)", self.settled[0].line)
        self.assertEqual(len(mail.diagnostics()), 2)
        self.assertEqual(self.finished, [job])
        self.expect_closed()

    def test_not_even_a_recipient_without_an_address_is_told_of_without_one(self) -> None:
        control = b"@ 0x7\ni 99\no x\ns local a@b a@b 99\nr           smtp example.net\nm\nA: b\n\n"
        self.assertTrue(self.opened(self.spool.put("1000009", control, None)).is_finished)
        [report] = self.told
        self.assertEqual((report.word, report.notary[0]), ("deferred", b"<>"))

    def test_message_that_cannot_be_read_now_defers_them(self) -> None:
        mail = self.spool.add(recipients=TWO)
        os.unlink(mail.message_path)
        os.mkfifo(mail.message_path)
        self.opened(mail)
        self.assertEqual((self.words, self.tags(mail)), (["deferred", "deferred"], "  "))
        self.assertEqual(mail.diagnostics(), [])

    def test_control_file_without_a_body_offset_defers_them(self) -> None:
        mail = self.spool.add()
        number, rest = mail.number + 1, mail.control.partition(b"o ")
        again = self.spool.put(str(number), rest[0] + b"l " + rest[2], None)
        self.opened(again)
        self.assertEqual((self.words, self.tags(again)), (["deferred"], " "))
        self.assertIn("mend or remove", self.warnings[-1])


class Settling(SpooledTest):
    """First the control file, then whoever asked."""

    def test_states_of_the_file_when_the_report_goes_out(self) -> None:
        for verdict, tag, lines in (
            (DELIVERED, "+", 0),
            (RECORDED, "+", 1),
            (FAILED, "-", 1),
            (DEFERRED, " ", 0),
        ):
            mail = self.spool.add()
            seen: list[tuple[str, int]] = []

            def look(_: Settled, mail: Any = mail, seen: Any = seen) -> None:
                seen.append((self.tags(mail), len(mail.diagnostics())))

            job = self.opened(mail, report=look)
            job.settle(job.recipients[0], verdict, PEER)
            self.assertEqual(seen, [(tag, lines)])
            self.assertEqual(mail.problems(), [])
            self.expect_closed()

    def test_writes_come_in_the_order_that_a_crash_may_interrupt(self) -> None:
        done: list[str] = []

        def noting(name: str, word: str) -> None:
            real = getattr(os, name)

            def call(*arguments: Any) -> Any:
                done.append(word)
                return real(*arguments)

            self.patch(os, name, call)

        for name, word in (("pwrite", "mark"), ("write", "line"), ("fsync", "sync")):
            noting(name, word)
        for verdict, order in ((RECORDED, "mark line sync"), (FAILED, "line sync mark")):
            job = self.opened(self.spool.add())
            done.clear()
            job.settle(job.recipients[0], verdict, PEER)
            self.assertEqual(" ".join(done), order)

    def test_report_has_what_the_scheduler_needs(self) -> None:
        mail = self.spool.add()
        job = self.opened(mail)
        job.settle(job.recipients[0], DEFERRED, PEER)
        (report,) = self.told
        self.assertEqual((report.number, report.offset), (mail.number, mail.offsets[0]))
        self.assertEqual(
            report.notary,
            (
                b"bob@example.net",
                b"failed",
                b"4.2.1",
                b"smtp; 450 (no)",
                b"dns; mx.example (192.0.2.25|25|192.0.2.1|40000)",
                b"smtp[4242]",
            ),
        )

    def test_diagnostic_line_tells_the_same(self) -> None:
        """Row 71."""
        mail = self.spool.add(recipients=[Addressee(b"bob@example.net", notary=b"NOTIFY=SUCCESS")])
        job = self.opened(mail)
        job.settle(job.recipients[0], RECORDED, PEER)
        (line,) = mail.diagnostics()
        self.assertEqual((line.recipient, line.time, line.notary[1]), (mail.offsets[0], int(NOW), b"relayed"))
        self.assertGreater(line.header, 0)
        self.assertEqual((self.words, self.tags(mail)), (["ok2"], "+"))

    def test_recipient_is_told_of_once(self) -> None:
        mail = self.spool.add(recipients=TWO)
        job = self.opened(mail)
        job.settle(job.recipients[0], DELIVERED)
        job.settle(job.recipients[0], FAILED)
        self.assertEqual((self.words, self.finished), (["ok3"], []))
        job.settle(job.recipients[1], FAILED)
        job.give_up(DEFERRED)
        self.assertEqual((self.words, self.finished), (["ok3", "error2"], [job]))
        self.assertEqual(self.tags(mail), "-+")

    def test_full_disk_turns_a_failure_into_a_deferral(self) -> None:
        mail = self.spool.add()
        job = self.opened(mail)
        self.fill_disk(mail)
        job.settle(job.recipients[0], FAILED, PEER)
        self.empty_disk()
        self.assertEqual((self.words, self.tags(mail), mail.diagnostics()), (["deferred"], " ", []))
        self.assertIn(b"4.3.0 (failure could not be recorded)", self.settled[0].line)
        self.assertEqual(len(self.warnings), 1)

    def test_full_disk_takes_no_success_back(self) -> None:
        mail = self.spool.add()
        job = self.opened(mail)
        self.fill_disk(mail)
        job.settle(job.recipients[0], RECORDED, PEER)
        self.empty_disk()
        self.assertEqual((self.words, self.tags(mail)), (["ok2"], "+"))
        self.assertEqual(len(self.warnings), 1)

    def test_recipient_that_is_no_longer_ours_is_not_marked(self) -> None:
        mail = self.spool.add()
        job = self.opened(mail)
        with open(mail.control_path, "r+b") as other:
            other.seek(mail.offsets[0] + 1)
            other.write(b"~    77")
        job.settle(job.recipients[0], DELIVERED)
        self.assertEqual((self.words, self.tags(mail)), (["ok3"], "~"))
        self.assertIn("no longer ours", self.warnings[0])

    def test_delivered_one_that_cannot_be_marked_is_told_so(self) -> None:
        for row, action, why in (
            (
                "locked by another",
                lambda *_: False,
                "cannot be marked: another process keeps the file locked",
            ),
            ("broken disk", _fail, "Input/output error; recipient at"),
        ):
            with self.subTest(row):
                self.warnings.clear()
                job = self.opened(self.spool.add())
                self.patch(OpenControlFile, "delivered", action)
                job.settle(job.recipients[0], DELIVERED)
                self.assertEqual(self.words[-1], "ok3")
                (warning,) = self.warnings
                self.assertIn(why, warning)
                self.assertIn("was delivered", warning)
                self.assertIn("it is delivered again", warning)
                self.assertNotIn("no longer ours", warning)

    def test_bad_disk_keeps_nobody_waiting(self) -> None:
        for verdict, word in (
            (DELIVERED, "ok3"),
            (RECORDED, "ok2"),
            (DEFERRED, "deferred"),
            (FAILED, "error2"),
        ):
            self.settled.clear()
            self.warnings.clear()
            mail = self.spool.add()
            job = self.opened(mail)
            self.patch(os, "pwrite", broken)
            job.settle(job.recipients[0], verdict)
            self.patch(os, "pwrite", _pwrite)
            self.assertEqual((self.words, self.finished[-1]), ([word], job))
            self.assertGreaterEqual(len(self.warnings), 1)
            self.expect_closed()

    def test_mistake_of_ours_keeps_nobody_waiting(self) -> None:
        def oops(*_: Any) -> Any:
            raise ZeroDivisionError

        for verdict, word in ((DELIVERED, "ok3"), (DEFERRED, "deferred"), (FAILED, "deferred")):
            self.settled.clear()
            mail = self.spool.add()
            job = self.opened(mail)
            for name in ("delivered", "append_diagnostic", "failed", "release"):
                self.patch(OpenControlFile, name, oops)
            job.settle(job.recipients[0], verdict)
            self.assertEqual((self.words, self.finished[-1]), ([word], job))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 4)

    def test_report_that_fails_keeps_not_the_others_waiting(self) -> None:
        def oops(_: Settled) -> None:
            raise ZeroDivisionError

        mail = self.spool.add(recipients=TWO)
        job = self.opened(mail, report=oops)
        job.give_up(DEFERRED)
        self.assertEqual((self.finished, self.tags(mail)), ([job], "  "))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)


def _pwrite(fd: int, octets: bytes, offset: int) -> int:
    return os.pwritev(fd, [octets], offset)


class Batches(SpooledTest):
    """Who may share a transaction, and who cannot be offered to anybody."""

    def test_recipient_that_cannot_be_said_is_settled_and_the_others_go_on(self) -> None:
        mail = self.spool.add(recipients=[b"a" * 300 + b"@example.net", b"bob@example.net"])
        job = self.opened(mail)
        (batch,) = job.batches()
        self.assertEqual([each.quad.user for each in batch.recipients], [b"bob@example.net"])
        self.assertEqual(self.words, ["error2"])
        job.give_up(DEFERRED)

    def test_groups_and_lists_are_set_apart(self) -> None:
        groups = [
            Group([b"a@example.net", Addressee(b"b@example.net", notary=b"EZMLM=-b")], b"one@example.com"),
            Group([b"c@example.net"], b"two@example.com"),
        ]
        mail = self.spool.add(groups=groups)
        job = self.opened(mail)
        users = [[each.quad.user[:1] for each in batch.recipients] for batch in job.batches()]
        self.assertEqual(users, [[b"c"], [b"b"], [b"a"]])
        job.give_up(DEFERRED)
        mail = self.spool.add(groups=groups)
        job = self.opened(mail, ignore_ezmlm=True)
        self.assertEqual([len(batch.recipients) for batch in job.batches()], [1, 2])
        job.give_up(DEFERRED)


class Preparing(SpooledTest):
    """The transaction for one server."""

    def job(self, **options: Any) -> tuple[Job, Batch]:
        """A job with one batch."""
        self.mail = self.spool.add(**options)
        job = self.opened(self.mail)
        self.addCleanup(job.give_up, DEFERRED)
        (batch,) = job.batches()
        return job, batch

    def test_message_is_put_into_its_form(self) -> None:
        job, batch = self.job(recipients=TWO)
        self.assertIsNone(job.prepared_at)
        transaction = job.prepare(batch, PLAIN)
        self.assertEqual(job.prepared_at, NOW)
        assert transaction is not None
        self.assertEqual(transaction.reverse_path, b"alice@example.com")
        self.assertEqual([each.path for each in transaction.recipients], [*reversed(TWO)])
        (octets,) = transaction.content.pieces(stuffed=True)
        self.assertTrue(octets.endswith(b"\r\n\r\nhello\r\n"))
        self.assertEqual(transaction.content.size, len(octets))

    def test_small_body_is_read_once(self) -> None:
        job, batch = self.job(body=b"x\n" * 100)
        job.prepare(batch, PLAIN)
        os.truncate(self.mail.message_path, 10)
        transaction = job.prepare(batch, PLAIN)
        assert transaction is not None
        self.assertTrue(b"".join(transaction.content.pieces(stuffed=True)).endswith(b"x\r\n" * 100))

    def test_large_body_is_read_when_it_is_sent(self) -> None:
        job, batch = self.job(body=b"x\n" * 100_000)
        transaction = job.prepare(batch, PLAIN)
        assert transaction is not None
        os.truncate(self.mail.message_path, 1000)
        self.assertRaises(SpoolError, list, transaction.content.pieces(stuffed=True))

    def test_message_too_large_for_the_server_fails(self) -> None:
        job, batch = self.job(body=b"x\n" * 1000)
        self.assertIsNone(job.prepare(batch, PLAIN._replace(size=500)))
        self.assertEqual(self.words, ["error2"])
        self.assertIn(b"552 (Current message size", self.settled[0].line)

    def test_size_zero_is_no_limit(self) -> None:
        job, batch = self.job()
        self.assertIsNotNone(job.prepare(batch, PLAIN._replace(size=0)))

    def test_message_that_no_form_fits_is_settled(self) -> None:
        header = b"From: a@example.com\nContent-Type: multipart/signed; boundary=x; protocol=y/z\n"
        job, batch = self.job(header=header, body="--x\n\nj\u00f6rg\n--x--\n".encode())
        self.assertIsNone(job.prepare(batch, PLAIN))
        self.assertEqual(len(self.settled), 1)

    def test_address_in_utf8_needs_a_server_that_takes_it(self) -> None:
        users = ["j\u00f6rg@example.net".encode(), b"bob@example.net"]
        job, batch = self.job(recipients=users)
        transaction = job.prepare(batch, PLAIN)
        assert transaction is not None
        self.assertEqual([each.path for each in transaction.recipients], [b"bob@example.net"])
        self.assertFalse(transaction.smtputf8)
        self.assertEqual(self.words, ["error2"])
        self.assertIn(b"5.6.7", self.settled[0].line + self.mail.now())

    def test_address_in_utf8_is_said_to_a_server_that_takes_it(self) -> None:
        job, batch = self.job(recipients=["j\u00f6rg@example.net".encode()])
        transaction = job.prepare(batch, PLAIN._replace(smtputf8=True, eight_bit_mime=True))
        assert transaction is not None
        self.assertTrue(transaction.smtputf8)

    def test_sender_in_utf8_is_said_to_a_server_that_takes_it(self) -> None:
        job, batch = self.job(sender="j\u00f6rg@example.com".encode(), recipients=TWO)
        transaction = job.prepare(batch, PLAIN._replace(smtputf8=True, eight_bit_mime=True))
        assert transaction is not None
        self.assertTrue(transaction.smtputf8)

    def test_sender_in_utf8_concerns_all(self) -> None:
        job, batch = self.job(sender="j\u00f6rg@example.com".encode(), recipients=TWO)
        self.assertIsNone(job.prepare(batch, PLAIN))
        self.assertEqual(self.words, ["error2", "error2"])

    def test_sender_in_utf8_is_said_with_smtputf8_to_ascii_recipients(self) -> None:
        job, batch = self.job(sender="j\u00f6rg@example.com".encode(), recipients=TWO)
        transaction = job.prepare(batch, PLAIN._replace(smtputf8=True, eight_bit_mime=True))
        assert transaction is not None
        self.assertTrue(transaction.smtputf8)

    def test_binary_message_goes_as_it_is_where_the_server_takes_that_by_chunks(self) -> None:
        header = HEADER + b"MIME-Version: 1.0\nContent-Type: application/x-any\n"
        header += b"Content-Transfer-Encoding: binary\n"
        able = PLAIN._replace(eight_bit_mime=True, binary_mime=True)
        for chunking in (True, False):
            job, batch = self.job(header=header, body=b"\0\n\r\xe4")
            transaction = job.prepare(batch, able._replace(chunking=chunking))
            assert transaction is not None
            self.assertEqual(transaction.binary, chunking)
            octets = b"".join(transaction.content.pieces(stuffed=False))
            self.assertEqual(octets.endswith(b"\r\n\r\n\0\n\r\xe4"), chunking)
            job.give_up(DEFERRED)

    def test_list_sender_carries_the_spool_id(self) -> None:
        job, batch = self.job(recipients=[Addressee(b"b@example.net", notary=b"EZMLM=-b")])
        transaction = job.prepare(batch, PLAIN)
        assert transaction is not None
        self.assertTrue(transaction.reverse_path.startswith(b"alice-b-S"), transaction.reverse_path)

    def test_notes_about_the_form_are_told(self) -> None:
        job, batch = self.job(body=b"a\0b\n", header=HEADER)
        job.prepare(batch, PLAIN)
        self.assertTrue(self.warnings)


def _fail(*_: object) -> bool:
    raise SpoolError("control file cannot be read or written: Input/output error")
