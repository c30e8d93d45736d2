"""The scheduler's side as a state machine: what it sends when, and what it holds against an agent."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zsmtp.testing.feeding import Feeding, Job, State
from zsmtp.testing.report import Violation
from zsmtp.testing.spool import Addressee, Group, control_file

NOTARY = b"b@x\x01failed\x014.2.0\x01smtp; 450 (x)\x01dns; mx\x01smtp[42]"


class Spool(SynchronousTestCase):
    """Control files in memory."""

    def setUp(self) -> None:
        self.files: dict[str, bytes] = {}

    def mail(self, number: int, *recipients: bytes | Addressee) -> int:
        """Make a control file; return the offset of its first recipient."""
        group = Group(recipients or (b"b@x",))
        self.files[str(number)] = control_file([group], message_name=b"%d" % number, body_offset=0)
        return self.files[str(number)].index(b"\nr") + 1

    def feeding(self, *jobs: Job, **options: object) -> Feeding:
        return Feeding(jobs, read=self.files.get, **options)  # type: ignore[arg-type]

    def mark(self, number: int, offset: int, mark: bytes, appended: bytes = b"") -> None:
        octets = self.files[str(number)]
        self.files[str(number)] = octets[: offset + 1] + mark.ljust(7) + octets[offset + 8 :] + appended

    def deliver(self, feeding: Feeding, number: int, offset: int) -> None:
        self.mark(number, offset, b"+")
        self.assertEqual(feeding.receive(b"%d/%d\t\tok3 fine" % (number, offset)), [])

    def violation(self, feeding: Feeding, line: bytes) -> str:
        return str(self.assertRaises(Violation, feeding.receive, line))


class FeedingOrder(Spool):
    """When lines are sent."""

    def jobs(self, *numbers: int, host: bytes = b"example.net") -> list[Job]:
        for number in numbers:
            self.mail(number)
        return [Job(str(number), host) for number in numbers]

    def answer(self, feeding: Feeding, number: int) -> list[bytes]:
        self.deliver(feeding, number, self.files[str(number)].index(b"\nr") + 1)
        return feeding.receive(b"#hungry")

    def test_first_job_goes_alone_then_batches(self) -> None:
        feeding = self.feeding(*self.jobs(1, 2, 3, 4, 5), overfeed=2)
        self.assertEqual(feeding.receive(b"#hungry"), [b"1\texample.net\n"])
        self.assertEqual(self.answer(feeding, 1), [b"%d\texample.net\n" % number for number in (2, 3, 4)])
        self.assertEqual([self.answer(feeding, number) for number in (3, 2)], [[], []])
        self.assertEqual(self.answer(feeding, 4), [b"5\texample.net\n"])
        self.assertEqual((self.answer(feeding, 5), feeding.state), ([b"#idle\n"], State.IDLE))
        self.assertFalse(feeding.is_idle)
        self.assertEqual((feeding.receive(b"#hungry"), feeding.is_idle), ([], True))

    def test_without_overfeeding_there_is_one_at_a_time(self) -> None:
        feeding = self.feeding(*self.jobs(1, 2))
        feeding.receive(b"#hungry")
        self.assertEqual(self.answer(feeding, 1), [b"2\texample.net\n"])

    def test_nothing_to_do_is_said_at_once(self) -> None:
        self.assertEqual(self.feeding().receive(b"#hungry"), [b"#idle\n"])

    def test_another_host_comes_when_all_is_answered(self) -> None:
        feeding = self.feeding(*self.jobs(1), Job("2", b"other.example"), overfeed=5)
        self.files["2"] = control_file(
            [Group([Addressee(b"b@x", b"Other.Example")])], message_name=b"2", body_offset=0
        )
        feeding.receive(b"#hungry")
        self.assertEqual(self.answer(feeding, 1), [b"2\tother.example\n"])
        self.assertEqual(self.answer(feeding, 2), [b"#idle\n"])

    def test_idle_agent_gets_new_work_at_once(self) -> None:
        feeding = self.feeding()
        feeding.receive(b"#hungry")
        one, two = self.jobs(1, 2)
        self.assertEqual(feeding.add(one), [])  # #idle is not answered yet
        self.assertEqual(feeding.receive(b"#hungry"), [b"1\texample.net\n"])
        self.assertEqual(self.answer(feeding, 1), [b"#idle\n"])
        feeding.receive(b"#hungry")
        self.assertEqual(feeding.add(two), [b"2\texample.net\n"])
        self.assertEqual((feeding.fed, feeding.unanswered), ([one, two], [two]))

    def test_working_agent_gets_new_work_in_turn(self) -> None:
        one, two = self.jobs(1, 2)
        feeding = self.feeding(one)
        feeding.receive(b"#hungry")
        self.assertEqual(feeding.add(two), [])
        self.assertEqual(self.answer(feeding, 1), [b"2\texample.net\n"])

    def test_thread_ends_at_retryat(self) -> None:
        for word in (b"retryat +60", b"deferall"):
            feeding = self.feeding(*self.jobs(1, 2))
            feeding.receive(b"#hungry")
            feeding.receive(b"1/%d\t%s\t%s later" % (self.mail(1), NOTARY, word))
            self.assertEqual(feeding.receive(b"#hungry"), [b"#idle\n"])
            self.assertEqual([job.path for job in feeding.unfed], ["2"])

    def test_thread_may_be_fed_to_its_end(self) -> None:
        feeding = self.feeding(*self.jobs(1, 2), heeds_retryat=False)
        feeding.receive(b"#hungry")
        feeding.receive(b"1/%d\t%s\tretryat +60 later" % (self.mail(1), NOTARY))
        self.assertEqual(feeding.receive(b"#hungry"), [b"2\texample.net\n"])

    def test_host_may_stand_on_the_command_line(self) -> None:
        self.mail(1)
        feeding = self.feeding(Job("1", None), host=b"Example.NET")
        self.assertEqual(feeding.receive(b"#hungry"), [b"1\n"])
        self.assertIn("not reported", self.violation(feeding, b"#hungry"))

    def test_number_is_that_of_the_file_name(self) -> None:
        self.assertEqual([Job(path).number for path in ("N/R/1031", "7-etrn", "odd")], [1031, 7, -1])


class Books(Spool):
    """What an agent owes."""

    def working(self, *recipients: bytes | Addressee, **options: object) -> tuple[Feeding, int]:
        offset = self.mail(1, *recipients)
        feeding = self.feeding(Job("1"), **options)
        feeding.receive(b"#hungry")
        return feeding, offset

    def test_all_is_well(self) -> None:
        feeding, offset = self.working()
        feeding.receive(b"# a comment")
        self.deliver(feeding, 1, offset)
        self.assertEqual(feeding.receive(b"#hungry"), [b"#idle\n"])
        self.assertEqual((len(feeding.reports), feeding.comments), (1, [b"a comment"]))

    def test_hungry_needs_a_line(self) -> None:
        feeding = self.feeding()
        feeding.receive(b"#hungry")
        feeding.receive(b"#hungry")
        self.assertIn("no line was waiting", self.violation(feeding, b"#hungry"))

    def test_hungry_needs_an_answer(self) -> None:
        feeding, _ = self.working(b"a@x", b"b@x")
        self.assertIn("not reported: 1: [", self.violation(feeding, b"#hungry"))

    def test_hungry_in_a_batch_needs_as_many_answers(self) -> None:
        offsets = [self.mail(number) for number in (1, 2, 3)]
        feeding = self.feeding(Job("1"), Job("2"), Job("3"), overfeed=1)
        feeding.receive(b"#hungry")
        self.deliver(feeding, 1, offsets[0])
        feeding.receive(b"#hungry")
        self.deliver(feeding, 3, offsets[2])
        feeding.receive(b"#hungry")
        self.assertIn("#hungry for 2 lines, and 1 are answered", self.violation(feeding, b"#hungry"))

    def test_other_recipients_are_not_the_agents_affair(self) -> None:
        others = [
            Addressee(b"b@x", b"other.example"),
            Addressee(b"b@x", channel=b"local"),
            Addressee(b"b@x", tag=b"+"),
            Addressee(b"b@x", tag=b"~", owner=b"  4711"),
        ]
        feeding, _ = self.working(*others)
        for line in (b"#resync 1", b"#hungry"):
            feeding.receive(line)
        self.assertEqual(feeding.resyncs, [b"1"])
        feeding, offset = self.working(others[0], b"b@x")
        self.assertIn("no recipient of the job", self.violation(feeding, b"1/%d\t\tok3 x" % offset))

    def test_reports_are_about_what_was_fed(self) -> None:
        feeding, offset = self.working()
        self.assertIn("not being worked on", self.violation(feeding, b"2/%d\t\tok3 x" % offset))
        self.assertIn("no recipient of the job", self.violation(feeding, b"1/0\t\tok3 x"))
        self.deliver(feeding, 1, offset)
        self.assertIn("reported twice", self.violation(feeding, b"1/%d\t\tok3 x" % offset))
        feeding.receive(b"#hungry")
        self.assertIn("not being worked on", self.violation(feeding, b"1/%d\t\tok3 x" % offset))

    def test_job_whose_file_is_odd_may_be_answered_anyhow(self) -> None:
        self.files["1"] = b"@ 7\nr smtp\n"
        feeding = self.feeding(Job("1", is_checked=False), checks_marks=False)
        feeding.receive(b"#hungry")
        feeding.receive(b"1/4\t%s\tdeferred odd" % NOTARY)
        self.assertEqual(feeding.receive(b"#hungry"), [b"#idle\n"])

    def test_file_that_is_missing_is_answered_by_resync(self) -> None:
        feeding = self.feeding(Job("4711"))
        feeding.receive(b"#hungry")
        self.assertEqual(
            [feeding.receive(line) for line in (b"#resync 4711", b"#hungry")], [[], [b"#idle\n"]]
        )

    def test_resync_is_for_a_file_that_was_fed(self) -> None:
        feeding, _ = self.working()
        self.assertIn("not being worked on", self.violation(feeding, b"#resync 2"))

    def test_resync_is_not_for_a_file_that_is_fine(self) -> None:
        feeding, _ = self.working()
        self.assertIn("can be delivered", self.violation(feeding, b"#resync 1"))

    def test_recipient_that_another_agent_took_need_not_be_reported(self) -> None:
        feeding, offset = self.working()
        self.mark(1, offset, b"~  4711")
        feeding.receive(b"#resync 1")
        self.assertEqual(feeding.receive(b"#hungry"), [b"#idle\n"])

    def test_same_file_twice_in_a_batch_is_reported_once(self) -> None:
        self.mail(7)
        offset = self.mail(1)
        feeding = self.feeding(Job("7"), Job("1"), Job("1"), overfeed=1)
        feeding.receive(b"#hungry")
        self.deliver(feeding, 7, offset)
        self.assertEqual(len(feeding.receive(b"#hungry")), 2)
        self.deliver(feeding, 1, offset)
        feeding.receive(b"#hungry")
        feeding.receive(b"#resync 1")
        self.assertEqual(feeding.receive(b"#hungry"), [b"#idle\n"])

    def test_file_may_be_gone_at_the_end(self) -> None:
        feeding, offset = self.working()
        del self.files["1"]
        feeding.receive(b"1/%d\t\tok3 x" % offset)
        self.assertEqual(feeding.receive(b"#hungry"), [b"#idle\n"])


class Marks(Spool):
    """The control file must agree with the reports."""

    def working(self, **options: object) -> tuple[Feeding, int]:
        offset = self.mail(1)
        feeding = self.feeding(Job("1"), **options)
        feeding.receive(b"#hungry")
        return feeding, offset

    def diagnostic(self, offset: int) -> bytes:
        return b"d %d:-1:-1::1\t%s\tno\n" % (offset, NOTARY)

    def test_success_is_marked_before_it_is_reported(self) -> None:
        for mark in (b" ", b"~    42", b"-"):
            feeding, offset = self.working()
            self.mark(1, offset, mark)
            self.assertIn("the tag of the recipient is", self.violation(feeding, b"1/%d\t\tok3 x" % offset))

    def test_agents_that_mark_later_can_be_run_too(self) -> None:
        feeding, offset = self.working(checks_marks=False)
        feeding.receive(b"1/%d\t\tok3 x" % offset)
        self.assertEqual(feeding.receive(b"#hungry"), [b"#idle\n"])

    def test_failure_is_marked_when_the_job_is_done(self) -> None:
        feeding, offset = self.working()
        self.mark(1, offset, b"~    42", self.diagnostic(offset))
        feeding.receive(b"1/%d\t\terror2 no" % offset)
        self.assertIn("tag of the recipient is b'~'", self.violation(feeding, b"#hungry"))
        feeding, offset = self.working()
        self.mark(1, offset, b"-", self.diagnostic(offset))
        feeding.receive(b"1/%d\t\terror2 no" % offset)
        self.assertEqual(feeding.receive(b"#hungry"), [b"#idle\n"])

    def test_failure_and_wanted_success_have_a_diagnostic(self) -> None:
        for word, mark in ((b"error2", b"-"), (b"ok2", b"+")):
            feeding, offset = self.working()
            self.mark(1, offset, mark)
            self.assertIn("no diagnostic line", self.violation(feeding, b"1/%d\t\t%s no" % (offset, word)))
            feeding, offset = self.working()
            self.mark(1, offset, mark, self.diagnostic(offset))
            feeding.receive(b"1/%d\t\t%s no" % (offset, word))
            self.assertEqual(feeding.receive(b"#hungry"), [b"#idle\n"])

    def test_nothing_else_has_one(self) -> None:
        for word, mark, notary in ((b"ok3", b"+", b""), (b"deferred", b" ", NOTARY)):
            feeding, offset = self.working()
            self.mark(1, offset, mark, self.diagnostic(offset))
            feeding.receive(b"1/%d\t%s\t%s no" % (offset, notary, word))
            self.assertIn("1 diagnostic lines were written", self.violation(feeding, b"#hungry"))

    def test_deferral_is_unlocked_when_the_job_is_done(self) -> None:
        feeding, offset = self.working()
        self.mark(1, offset, b"~    42")
        feeding.receive(b"1/%d\t%s\tdeferred x" % (offset, NOTARY))
        self.assertIn("tag of the recipient is b'~'", self.violation(feeding, b"#hungry"))
        feeding, offset = self.working()
        self.mark(1, offset, b"+")
        self.assertIn("tag of", self.violation(feeding, b"1/%d\t%s\tdeferred x" % (offset, NOTARY)))

    def test_nothing_else_may_change(self) -> None:
        feeding, offset = self.working()
        self.deliver(feeding, 1, offset)
        self.files["1"] = b"X" + self.files["1"][1:]
        self.assertIn("1: the octets at 0 changed", self.violation(feeding, b"#hungry"))

    def test_locks_of_a_process_are_found(self) -> None:
        feeding, offset = self.working()
        self.mark(1, offset, b"~    42")
        self.assertEqual(feeding.left_locked(42), [("1", offset)])
        self.assertEqual(feeding.left_locked(43), [])
        self.mark(1, offset, b"~123456")
        self.assertEqual(feeding.left_locked(1234567), [("1", offset)])
