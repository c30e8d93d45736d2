"""Tests of zsmtp.spool.submit."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import Any

from tests.spool.sample import SpoolTest, only
from zsmtp.errors import Misuse, SpoolError
from zsmtp.spool.body import MessageFile
from zsmtp.spool.controlfile import ControlFile, Notify, parse
from zsmtp.spool.layout import message_path
from zsmtp.spool.submit import Addressee, Submitted, make_postoffice, publish, submit

MESSAGE = b"From: a@x.org\nMessage-Id: <m1@x.org>\nSubject: t\n\nhello\n"
BOB = Addressee(b"smtp", b"y.org", b"bob@y.org")
CAROL = Addressee(b"smtp", b"z.org", b"carol@z.org")


class SubmitTest(SpoolTest):
    """A test with an empty POSTOFFICE."""

    levels = 0

    def setUp(self) -> None:
        super().setUp()
        make_postoffice(self.postoffice, self.levels)

    def submit(self, *recipients: Addressee, message: bytes = MESSAGE, **options: Any) -> Submitted:
        options.setdefault("sender", b"a@x.org")
        return submit(
            self.postoffice,
            recipients=recipients or (BOB,),
            message=message,
            hash_levels=self.levels,
            **options,
        )

    def control(self, submitted: Submitted) -> ControlFile:
        return parse(self.octets(submitted.path), submitted.path)

    def body(self, control: ControlFile) -> bytes | None:
        assert control.message_name is not None and control.body_offset is not None
        path = message_path(control.name, control.message_name)
        message = MessageFile.open(path, control.body_offset, directory=self.transport)
        self.addCleanup(message.close)
        return message.whole()

    def files(self) -> list[str]:
        """All files of the spool, hidden ones too."""
        return [os.path.join(where, name) for where, _, names in os.walk(self.postoffice) for name in names]


class Submitting(SubmitTest):
    """One message, two files."""

    def test_control_and_message_file_belong_together(self) -> None:
        submitted = self.submit()
        control = self.control(submitted)
        self.assertEqual((control.problems, control.overlooked), ([], 0))
        self.assertEqual(
            (control.message_name, control.log_identity), (submitted.path.encode(), b"<m1@x.org>")
        )
        recipient = only(control)
        assert recipient.headers is not None and recipient.sender is not None
        self.assertEqual(recipient.quad, (b"smtp", b"y.org", b"bob@y.org", b"-2"))
        self.assertEqual(recipient.sender.quad, (b"local", b"a@x.org", b"a@x.org", b"0"))
        self.assertEqual(recipient.headers.octets, MESSAGE[: MESSAGE.index(b"\n\n") + 1])
        self.assertEqual(self.body(control), b"hello\n")

    def test_the_name_is_the_inode_number_of_the_message_file(self) -> None:
        submitted = self.submit()
        status = os.stat(os.path.join(self.queue, submitted.path))
        self.assertEqual((submitted.path, submitted.file_id), (str(status.st_ino), status.st_ino))

    def test_nothing_else_is_left(self) -> None:
        submitted = self.submit()
        names = [os.path.join(where, submitted.path) for where in (self.queue, self.transport)]
        self.assertEqual(sorted(self.files()), sorted(names))

    def test_agents_may_write_the_control_file_only(self) -> None:
        submitted = self.submit()
        modes = [
            os.stat(os.path.join(where, submitted.path)).st_mode for where in (self.transport, self.queue)
        ]
        self.assertEqual([stat.S_IMODE(mode) for mode in modes], [0o660, 0o640])

    def test_the_envelope_stands_before_the_message(self) -> None:
        submitted = self.submit(BOB, CAROL)
        with open(os.path.join(self.queue, submitted.path), "rb") as file:
            octets = file.read()
        self.assertEqual(octets, b"from <a@x.org>\nto <bob@y.org>\nto <carol@z.org>\nenv-end\n" + MESSAGE)

    def test_null_sender(self) -> None:
        submitted = self.submit(sender=b"")
        recipient = only(self.control(submitted))
        assert recipient.sender is not None
        self.assertTrue(recipient.sender.is_null)
        with open(os.path.join(self.queue, submitted.path), "rb") as file:
            self.assertEqual(file.readline(), b"channel error\n")

    def test_delivery_report_options(self) -> None:
        bob = BOB._replace(notify=Notify.SUCCESS | Notify.DELAY, orcpt=b"rfc822;bob@y.org")
        control = self.control(self.submit(bob, envelope_id=b"QQ314", ret=b"HDRS"))
        recipient = only(control)
        self.assertEqual((recipient.notify, recipient.orcpt), (5, b"rfc822;bob@y.org"))
        self.assertEqual((control.envelope_id, control.ret), (b"QQ314", b"HDRS"))

    def test_blanks_in_an_address_are_quoted(self) -> None:
        recipient = only(self.control(self.submit(BOB._replace(user=b"john doe"))))
        self.assertEqual((recipient.quad.user, recipient.problem), (b'"john doe"', None))

    def test_header_groups(self) -> None:
        control = self.control(
            self.submit(BOB, BOB, CAROL._replace(headers=b"To: c\n"), CAROL._replace(headers=b"To: c"))
        )
        self.assertEqual([block.octets for block in control.blocks][1:], [b"To: c\n"])
        self.assertEqual(
            [each.headers is control.blocks[0] for each in control.recipients], [True, True, False, False]
        )
        self.assertEqual(len(control.senders), 2)

    def test_a_message_with_cr_lf(self) -> None:
        control = self.control(self.submit(message=MESSAGE.replace(b"\n", b"\r\n")))
        self.assertEqual(control.blocks[0].octets, MESSAGE[: MESSAGE.index(b"\n\n") + 1])
        self.assertEqual(self.body(control), b"hello\r\n")

    def test_a_message_without_header(self) -> None:
        for message in (b"\nhello\n", b"\r\nhello\n"):
            control = self.control(self.submit(message=message))
            self.assertEqual((control.blocks[0].octets, self.body(control)), (b"", b"hello\n"))
            self.assertEqual(control.log_identity, b"none")

    def test_a_message_without_body(self) -> None:
        for message in (b"A: b\n\tc\n\n", b"A: b\n\tc\n", b"A: b\n\tc"):
            control = self.control(self.submit(message=message))
            self.assertEqual((control.blocks[0].octets, self.body(control)), (b"A: b\n\tc\n", b""))

    def test_many_messages_have_different_names(self) -> None:
        self.assertEqual(len({self.submit().path for _ in range(20)}), 20)


class Hidden(SubmitTest):
    """Written durably, and delivered only when that is said."""

    def test_nobody_takes_it_for_mail_until_it_is_published(self) -> None:
        submitted = self.submit(hidden=".report.1")
        names = os.listdir(self.transport)
        self.assertNotIn(os.path.basename(submitted.path), names)
        hidden = self.octets(".report.1")
        self.assertEqual(publish(self.postoffice, ".report.1", self.levels), submitted)
        self.assertEqual(self.octets(submitted.path), hidden)
        self.assertEqual(self.body(self.control(submitted)), b"hello\n")
        self.assertFalse(os.path.exists(os.path.join(self.transport, ".report.1")))

    def test_what_is_no_control_file_stays_where_it_is(self) -> None:
        path = os.path.join(self.transport, ".report.1")
        with open(path, "wb") as file:
            file.write(b"@ 0x00000007\ni ../../etc/passwd\n")
        error = self.assertRaises(SpoolError, publish, self.postoffice, ".report.1", self.levels)
        self.assertIn("names no message file", str(error))
        self.assertTrue(os.path.exists(path))

    def test_what_is_not_there_is_an_error(self) -> None:
        error = self.assertRaises(SpoolError, publish, self.postoffice, ".report.1", self.levels)
        self.assertIn(".report.1", str(error))


class HiddenAndHashed(Hidden):
    """The same where files lie in hash directories."""

    levels = 2


class Refusals(SubmitTest):
    """What could not be delivered as written is not put into the spool."""

    def assertRefused(self, text: str, *recipients: Addressee, **options: Any) -> None:
        error = self.assertRaises(SpoolError, self.submit, *recipients, **options)
        self.assertIn(text, str(error))
        self.assertIn(";", str(error))
        self.assertEqual(self.files(), [])

    def test_no_recipient(self) -> None:
        error = self.assertRaises(
            SpoolError, submit, self.postoffice, sender=b"", recipients=(), message=MESSAGE
        )
        self.assertIn("name one at least", str(error))

    def test_row_67_line_end_in_an_address(self) -> None:
        self.assertRefused("line end", BOB._replace(user=b"u\nr           smtp y.org evil 99"))
        self.assertRefused("line end", BOB, sender=b"a\nb")

    def test_addresses_that_fail_for_certain(self) -> None:
        self.assertRefused("is empty", BOB._replace(user=b""))
        self.assertRefused("control characters", BOB._replace(user=b"a\rb"))
        self.assertRefused("longer than 512", BOB._replace(user=b"u" * 600))
        self.assertRefused("the sender is empty", BOB, sender=b"<>")

    def test_text_in_the_place_of_a_header(self) -> None:
        self.assertRefused("line 1 of the message is no header field", message=b"hello\n")
        self.assertRefused("line 1 of the message", message=b" folded: x\n\nhello\n")
        self.assertRefused("line 2 of the message", message=b"A: b\nhello\n\n")
        self.assertRefused("line 1 of the message", message=b"")

    def test_nul_in_the_header(self) -> None:
        self.assertRefused("NUL", message=b"A: \0\n\nhello\n")


class Interruptions(SubmitTest):
    """Whatever goes wrong, there is a whole message or none."""

    def fail_at(self, name: str, number: int, code: int = errno.ENOSPC) -> Callable[..., Any]:
        """Let call `number` of a function of os fail."""
        original = getattr(os, name)
        calls = [0]

        def function(*arguments: Any, **options: Any) -> Any:
            calls[0] += 1
            if calls[0] == number:
                raise OSError(code, os.strerror(code))
            return original(*arguments, **options)

        return function

    def test_every_failing_step_leaves_nothing(self) -> None:
        for name, count in (("write", 2), ("fsync", 4), ("rename", 2), ("fchmod", 2)):
            for number in range(1, count + 1):
                patch = self.patch(os, name, self.fail_at(name, number))
                error = self.assertRaises(SpoolError, self.submit)
                patch.restore()
                self.assertIn("make room", str(error), f"{name} {number}")
                self.assertEqual(self.files(), [], f"{name} {number}")

    def test_the_control_file_appears_last_and_the_files_are_durable_before(self) -> None:
        steps: list[str] = []
        rename, fsync = os.rename, os.fsync

        def renaming(old: str, new: str) -> None:
            self.assertTrue(os.path.basename(old).startswith("."))
            steps.append("rename " + os.path.basename(os.path.dirname(new)))
            rename(old, new)

        def syncing(fd: int) -> None:
            steps.append("fsync " + ("directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file"))
            fsync(fd)

        self.patch(os, "rename", renaming)
        self.patch(os, "fsync", syncing)
        self.submit()
        expected = [
            "fsync file",
            "fsync file",
            "rename queue",
            "fsync directory",
            "rename transport",
            "fsync directory",
        ]
        self.assertEqual(steps, expected)

    def test_short_writes_are_continued(self) -> None:
        write = os.write

        def writing(fd: int, octets: memoryview) -> int:
            return write(fd, octets[:7])

        self.patch(os, "write", writing)
        control = self.control(self.submit())
        self.assertEqual((control.problems, self.body(control)), ([], b"hello\n"))

    def test_a_name_that_is_taken_is_never_overwritten(self) -> None:
        real = os.fstat
        taken = os.path.join(self.queue, "5")
        with open(taken, "wb") as file:
            file.write(b"old")

        class Status:
            st_ino = 5

        numbers = [Status(), Status()]

        def stating(fd: int) -> Any:
            return numbers.pop() if numbers else real(fd)

        self.patch(os, "fstat", stating)
        submitted = self.submit()
        self.assertNotEqual(submitted.path, "5")
        with open(taken, "rb") as old:
            self.assertEqual(old.read(), b"old")
        self.assertEqual(len(self.files()), 3)

    def test_it_is_given_up_when_all_names_are_taken(self) -> None:
        self.patch(os.path, "lexists", lambda path: True)
        self.assertIn("restored from a backup", str(self.assertRaises(SpoolError, self.submit)))
        self.assertEqual(self.files(), [])

    def test_no_spool(self) -> None:
        error = self.assertRaises(
            SpoolError, submit, "/nonexistent", sender=b"", recipients=[BOB], message=MESSAGE
        )
        self.assertIn("below /nonexistent", str(error))


class HashedOnce(SubmitTest):
    """One hash level."""

    levels = 1

    def test_files_lie_in_the_directory_of_their_number(self) -> None:
        submitted = self.submit()
        self.assertEqual(submitted.path, f"{chr(65 + submitted.file_id % 26)}/{submitted.file_id}")
        self.assertEqual(self.body(self.control(submitted)), b"hello\n")


class HashedTwice(HashedOnce):
    """Two hash levels."""

    levels = 2

    def test_files_lie_in_the_directory_of_their_number(self) -> None:
        submitted = self.submit()
        number = submitted.file_id
        self.assertEqual(submitted.path, f"{chr(65 + number // 26 % 26)}/{chr(65 + number % 26)}/{number}")
        self.assertEqual(self.body(self.control(submitted)), b"hello\n")

    def test_missing_directories_are_made(self) -> None:
        self.directory.cleanup()
        os.makedirs(self.queue)
        os.makedirs(self.transport)
        self.assertEqual(self.body(self.control(self.submit())), b"hello\n")

    def test_all_directories_exist_with_their_modes(self) -> None:
        mode = stat.S_IMODE(os.stat(os.path.join(self.transport, "Z/Z")).st_mode)
        self.assertEqual(mode & 0o777, 0o750)
        self.assertEqual(
            stat.S_IMODE(os.stat(os.path.join(self.postoffice, "public")).st_mode) & 0o1777, 0o1777
        )
        self.assertEqual(len(os.listdir(os.path.join(self.queue, "A"))), 26)
        self.assertEqual(len(os.listdir(os.path.join(self.postoffice, "TLSclntcache"))), 26)

    def test_making_it_again_changes_nothing(self) -> None:
        submitted = self.submit()
        make_postoffice(self.postoffice, 2)
        self.assertEqual(self.body(self.control(submitted)), b"hello\n")

    def test_an_impossible_level_makes_nothing(self) -> None:
        path = os.path.join(self.postoffice, "other")
        self.assertRaises(Misuse, make_postoffice, path, 3)
        self.assertFalse(os.path.exists(path))
