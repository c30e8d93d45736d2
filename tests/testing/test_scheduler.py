"""The stand-in runs right agents to their end and catches every mistake of wrong ones."""

from __future__ import annotations

import os
import signal
import sys
import time

from twisted.trial.unittest import SynchronousTestCase

from zsmtp.testing.report import Violation
from zsmtp.testing.scheduler import Job, Result, SchedulerStandIn
from zsmtp.testing.spool import Addressee, SpooledMail, SpoolMaker

FAKE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fakeagent.py")


class Agents(SynchronousTestCase):
    """A spool, and an agent that delivers nothing."""

    def setUp(self) -> None:
        self.spool = SpoolMaker()
        self.addCleanup(self.spool.remove)

    def mails(self, count: int, *users: bytes) -> list[SpooledMail]:
        return [
            self.spool.add(recipients=[Addressee(user) for user in users or (b"ok@x",)]) for _ in range(count)
        ]

    def stand_in(
        self, how: str, mails: list[SpooledMail], *words: str, **options: object
    ) -> SchedulerStandIn:
        options.setdefault("jobs", [Job(mail.name) for mail in mails])
        stand_in = SchedulerStandIn(
            [sys.executable, "-I", "-S", FAKE, how, *words],
            self.spool.postoffice,
            **options,  # type: ignore[arg-type]
        )
        self.addCleanup(stand_in.stop)
        return stand_in


class RightAgents(Agents):
    """Runs that end well."""

    def check(self, result: Result, mails: list[SpooledMail]) -> None:
        self.assertEqual(
            result.words, {(mail.number, offset): "ok3" for mail in mails for offset in mail.offsets}
        )
        self.assertEqual((result.exit_status, result.unanswered, result.unfed), (0, [], []))
        for mail in mails:
            self.assertEqual(set(mail.tags().values()), {b"+"})

    def test_agent_without_work_is_idle_at_once(self) -> None:
        result = self.stand_in("right", []).run()
        self.assertEqual(result.output, b"#hungry\n#hungry\n")
        self.assertEqual([event.octets for event in result.events if event.way == ">"], [b"#idle", b""])

    def test_all_is_reported_whatever_the_overfeeding(self) -> None:
        for overfeed in (0, 1, 50):
            with self.subTest(overfeed):
                mails = self.mails(7, b"ok@x", b"alice@x")
                result = self.stand_in("right", mails, overfeed=overfeed).run()
                self.check(result, mails)
                self.assertEqual(result.output.count(b"#hungry\n"), 9)

    def test_every_kind_of_verdict(self) -> None:
        (mail,) = self.mails(1, b"ok@x", b"fail@x", b"later@x")
        result = self.stand_in("right", [mail]).run()
        self.assertEqual([report.word for report in result.reports], ["ok3", "error2", "deferred"])
        self.assertEqual(list(mail.tags().values()), [b"+", b"-", b" "])
        self.assertEqual((len(mail.diagnostics()), mail.problems()), (1, []))

    def test_two_pipes_do_as_well_as_a_socket(self) -> None:
        mails = self.mails(3)
        self.check(self.stand_in("right", mails, pipes=True, overfeed=3).run(), mails)

    def test_host_on_the_command_line(self) -> None:
        mails = self.mails(2)
        jobs = [Job(mail.name, None) for mail in mails]
        self.check(self.stand_in("right", [], "example.net", jobs=jobs, host=b"example.net").run(), mails)

    def test_missing_file_is_answered_by_resync(self) -> None:
        result = self.stand_in("right", [], jobs=[Job("4711")]).run()
        self.assertEqual((result.resyncs, result.comments), ([b"4711"], [b"fake: cannot open 4711"]))

    def test_every_end_is_one(self) -> None:
        for end in ("newline", "line", "eof", "fragment", "close"):
            for pipes in (False, True):
                with self.subTest(end=end, pipes=pipes):
                    self.stand_in("right", self.mails(1), pipes=pipes).run(end)
        self.assertRaises(ValueError, self.stand_in("right", []).run, "somehow")

    def test_thread_ends_at_retryat(self) -> None:
        result = self.stand_in("right", self.mails(2, b"retry@x")).run()
        self.assertEqual((result.reports[0].seconds, len(result.unfed)), (60, 1))

    def test_agent_lives_as_under_the_scheduler(self) -> None:
        for pipes in (False, True):
            result = self.stand_in("limits", [], pipes=pipes).run()
            self.assertEqual(
                result.comments,
                [
                    b"files 32",
                    b"sigpipe ignored 1",
                    b"folder " + os.path.realpath(self.spool.transport).encode(),
                    b"environment PATH TZ ZCONFIG",
                    b"one socket 0" if pipes else b"one socket 1",
                    b"one output 1",
                    b"others 0",
                ],
            )

    def test_variables_can_be_added(self) -> None:
        result = self.stand_in("limits", [], environment={"LANG": "C"}).run()
        self.assertIn(b"environment LANG PATH TZ ZCONFIG", result.comments)


class RoundByRound(Agents):
    """Tests that act while the agent lives."""

    def test_idle_agent_gets_more(self) -> None:
        stand_in = self.stand_in("right", [])
        stand_in.start()
        stand_in.pump(lambda: stand_in.feeding.is_idle)
        (mail,) = self.mails(1)
        stand_in.add(Job(mail.name))
        stand_in.pump(lambda: stand_in.feeding.is_idle)
        self.assertEqual(stand_in.finish().words, {(mail.number, mail.offsets[0]): "ok3"})

    def test_agent_can_be_killed(self) -> None:
        stand_in = self.stand_in("slow", self.mails(1))
        stand_in.start()
        stand_in.pump(lambda: bool(stand_in.feeding.fed))
        result = stand_in.finish("kill")
        self.assertEqual((result.exit_status, len(result.unanswered)), (-signal.SIGKILL, 1))
        self.assertEqual(result.pid, stand_in.pid)

    def test_agent_can_be_sent_a_signal(self) -> None:
        stand_in = self.stand_in("right", [])
        stand_in.start()
        stand_in.pump(lambda: stand_in.feeding.is_idle)
        stand_in.signal(signal.SIGTERM)
        self.assertEqual(stand_in.finish("wait").exit_status, -signal.SIGTERM)
        self.assertIn(b"SIGTERM", [event.octets for event in stand_in.events])

    def test_octets_of_the_tests_own_can_be_sent(self) -> None:
        stand_in = self.stand_in("right", [])
        stand_in.start()
        stand_in.pump(lambda: stand_in.feeding.is_idle)
        stand_in.send(b"47", lines=0)
        stand_in.send(b"11\n4712\n", lines=2)
        self.assertFalse(stand_in.feeding.is_idle)
        stand_in.pump(lambda: stand_in.feeding.is_idle)
        self.assertEqual(stand_in.finish().comments, [b"fake needs defined host!"] * 2)

    def test_scheduler_that_does_not_read_loses_nothing(self) -> None:
        mails = self.mails(1, *[b"ok@x"] * 300)
        stand_in = self.stand_in("right", mails)
        stand_in.start()
        stand_in.pump(lambda: bool(stand_in.feeding.fed))
        stand_in.reads = False
        stand_in.watch(0.2)
        stand_in.reads = True
        stand_in.pump(lambda: stand_in.feeding.is_idle)
        self.assertEqual(len(stand_in.finish().reports), 300)

    def test_agent_that_does_not_read_is_waited_for(self) -> None:
        stand_in = self.stand_in("slow", self.mails(1))
        stand_in.start()
        stand_in.pump(lambda: bool(stand_in.feeding.fed))
        stand_in.send(b"x" * 1_000_000 + b"\n", lines=1)
        stand_in.pump(lambda: stand_in.feeding.is_idle)
        self.assertEqual(stand_in.finish().comments, [b"fake needs defined host!"])

    def test_agent_that_is_gone_is_written_to_in_vain(self) -> None:
        for pipes in (False, True):
            stand_in = self.stand_in("dies at once", [], pipes=pipes)
            stand_in.start()
            stand_in.watch(0.3)
            stand_in.send(b"x" * 1_000_000)
            self.assertEqual(stand_in.finish("line").exit_status, 7)

    def test_what_is_waited_for_must_happen(self) -> None:
        stand_in = self.stand_in("right", [])
        stand_in.start()
        with self.assertRaises(Violation) as caught:
            stand_in.pump(lambda: False, 0.2)
        self.assertIn("did not happen in 0.2 seconds", str(caught.exception))

    def test_agent_that_was_not_started_has_no_pid(self) -> None:
        self.assertRaises(ValueError, lambda: self.stand_in("right", []).pid)

    def test_agent_that_cannot_be_started(self) -> None:
        stand_in = SchedulerStandIn(["/nowhere/agent"], self.spool.postoffice)
        self.assertRaises(FileNotFoundError, stand_in.start)


class WrongAgents(Agents):
    """Every mistake is caught, and named."""

    def violation(
        self, how: str, *users: bytes, end: str = "newline", mails: int = 1, **options: object
    ) -> str:
        made = self.mails(mails, *users)
        stand_in = self.stand_in(how, made, **options)
        before = time.monotonic()
        error = self.assertRaises(Violation, stand_in.run, end)
        self.assertLess(time.monotonic() - before, 20.0)
        self.assertIsNotNone(stand_in._process)
        assert stand_in._process is not None
        self.assertIsNotNone(stand_in._process.poll(), "the agent lives on")
        return str(error)

    def test_no_hungry_at_the_start(self) -> None:
        self.assertIn("no #hungry for 0.4 seconds, and 1 are due", self.violation("no hungry", patience=0.4))

    def test_no_hungry_after_idle(self) -> None:
        self.assertIn("no #hungry", self.violation("no answer to idle", patience=0.4))

    def test_extra_hungry_when_idle(self) -> None:
        self.assertIn("no line was waiting for it", self.violation("extra hungry when idle"))

    def test_extra_hungry_while_working(self) -> None:
        for overfeed in (0, 5):
            text = self.violation("extra hungry while working", mails=3, overfeed=overfeed)
            self.assertIn("and 0 are answered", text)

    def test_fewer_hungry_than_lines(self) -> None:
        self.assertIn("no #hungry", self.violation("lost hungry", patience=0.4))
        self.assertIn("no #hungry", self.violation("lost hungry", mails=5, overfeed=3, patience=0.4))

    def test_two_hungry_in_one_line(self) -> None:
        self.assertIn("more than #hungry in the line", self.violation("two in one line"))

    def test_hungry_at_the_end(self) -> None:
        self.assertIn("no line was waiting for it", self.violation("hungry at the end"))

    def test_recipient_that_is_not_reported(self) -> None:
        self.assertIn("not reported: 1000001: [", self.violation("no report"))

    def test_recipient_that_is_reported_twice(self) -> None:
        self.assertIn("reported twice", self.violation("reported twice"))

    def test_success_without_mark(self) -> None:
        self.assertIn("the tag of the recipient is b'~'", self.violation("no mark"))

    def test_lock_that_stays(self) -> None:
        self.assertIn("the tag of the recipient is b'~'", self.violation("lock left", b"fail@x"))

    def test_lock_that_an_agent_takes_with_it(self) -> None:
        text = self.violation("lock left", b"fail@x", checks_marks=False)
        self.assertIn("locks were left behind: [('1000001', ", text)

    def test_failure_without_diagnostic(self) -> None:
        self.assertIn("no diagnostic line was written", self.violation("no diagnostic", b"fail@x"))

    def test_diagnostic_without_six_sub_fields(self) -> None:
        self.assertIn("5 sub-fields, not six", self.violation("diagnostic with five sub-fields", b"fail@x"))

    def test_deferral_without_six_sub_fields(self) -> None:
        self.assertIn("5 sub-fields, not six", self.violation("five sub-fields", b"later@x"))

    def test_deferral_that_says_delayed(self) -> None:
        self.assertIn("not failed", self.violation("delayed", b"later@x"))

    def test_tab_in_a_text(self) -> None:
        self.assertIn("control characters in the text", self.violation("tab in text"))

    def test_wrong_number_or_offset(self) -> None:
        self.assertIn("a file that is not being worked on", self.violation("wrong number"))
        self.assertIn("no recipient of the job", self.violation("wrong offset"))

    def test_retryat_without_a_number(self) -> None:
        self.assertIn("retryat without a number", self.violation("retryat without a number", b"retry@x"))

    def test_text_without_an_end_before_a_report(self) -> None:
        self.assertIn(
            "neither a report nor a comment: b'oops1000001/",
            self.violation("text without end before a report"),
        )

    def test_traceback(self) -> None:
        self.assertIn("Traceback (most recent call last)", self.violation("traceback"))

    def test_resync_for_a_file_that_is_fine_or_another(self) -> None:
        self.assertIn("can be delivered", self.violation("resync only"))
        self.assertIn("not being worked on", self.violation("resync of another"))

    def test_control_file_that_was_rewritten(self) -> None:
        self.assertIn("the octets at 1 changed", self.violation("rewritten"))

    def test_last_line_without_an_end(self) -> None:
        self.assertIn("the last line has no end: b'# that is'", self.violation("tail"))

    def test_agent_that_dies(self) -> None:
        self.assertIn("the agent ended early", self.violation("dies at once"))

    def test_agent_that_does_not_end(self) -> None:
        self.assertIn("did not end in 1.0 seconds", self.violation("never ends", deadline=1.0))
        self.assertIn("did not end in 1.0 seconds", self.violation("never ends", deadline=1.0, end="close"))

    def test_agent_that_ends_badly(self) -> None:
        self.assertIn("the agent ended with 70, not 0", self.violation("bad status"))
        result = self.stand_in("bad status", []).run(exit_status=None)
        self.assertEqual(result.exit_status, 70)

    def test_everything_exchanged_is_shown(self) -> None:
        text = self.violation("wrong number")
        self.assertIn("> b'1000001\\texample.net'", text)
        self.assertIn("< b'#hungry'", text)
