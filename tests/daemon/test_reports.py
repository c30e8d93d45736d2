"""Reports to senders: what they say, to whom they go, and that a crash neither loses nor doubles them."""

from __future__ import annotations

import os
from typing import Any

from tests.daemon.virtual import DAY, HOUR, MINUTE, ONE, DaemonTest
from tests.net.network import REFUSED
from zsmtp.daemon import finish
from zsmtp.errors import SpoolError
from zsmtp.spool.mark import OpenControlFile
from zsmtp.testing.spool import Addressee, Group, Origin

TWO = "192.0.2.2"
HOME = "sender.example"


class Crash(BaseException):
    """The process ends here."""


class ReportTest(DaemonTest):
    """The sender is at a host that takes everything; example.net is another."""

    def setUp(self) -> None:
        super().setUp()
        self.addresses[HOME] = TWO
        self.network.serve(TWO, "")

    def submit_from_home(self, *recipients: Any, **options: Any) -> Any:
        """A message from alice@sender.example."""
        return self.submit(*recipients, sender=b"alice@sender.example", **options)

    def run_out(self) -> None:
        """Let reports be found and delivered."""
        self.scan()
        self.network.pass_time(10)

    @property
    def reports(self) -> list[Any]:
        """The reports that arrived at home."""
        count = sum(len(each.messages) for each in self.network.conversations)
        found = [self.received(index) for index in range(-count, 0)] if count else []
        return [each for each in found if each.get_content_type() == "multipart/report"]

    def fields(self, number: int = 0) -> list[Any]:
        """The groups of fields of a report."""
        _, programs, _ = self.reports[number].iter_parts()
        payload: Any = programs.get_payload()
        return list(payload)


class Failures(ReportTest):
    """What is told, and to whom."""

    def test_report_has_what_a_program_needs(self) -> None:
        self.network.serve(ONE, "R 550 5.1.1 no such user")
        self.submit_from_home(
            Addressee(
                b"bob@example.net",
                notary=b"NOTIFY=FAILURE ORCPT=rfc822;Bob+2Bx@example.org",
                envelope_id=b"QQ+2B314",
            )
        )
        self.run_out()
        message, recipient = self.fields()
        self.assertEqual(message["Original-Envelope-Id"], "QQ+314")
        self.assertEqual(message["Reporting-MTA"], "dns; me.example")
        self.assertEqual(recipient["Original-Recipient"], "rfc822; Bob+x@example.org")
        self.assertEqual(recipient["Final-Recipient"], "rfc822; bob@example.net")
        self.assertEqual((recipient["Action"], recipient["Status"]), ("failed", "5.1.1"))
        self.assertEqual(recipient["Remote-MTA"], "dns; mx.example")
        self.assertEqual(recipient["Diagnostic-Code"], "smtp; 550 no such user")

    def test_envelope_of_a_report_asks_for_none(self) -> None:
        self.network.serve(ONE, "R 550")
        self.network.serve(TWO, "+D")
        self.submit_from_home()
        self.run_out()
        said = b"\n".join(self.network.conversations[-1].commands)
        self.assertIn(b"MAIL From:<>", said)
        self.assertIn(b"RCPT To:<alice@sender.example> NOTIFY=NEVER", said)

    def test_one_report_for_all_recipients(self) -> None:
        self.network.serve(ONE, "R 550")
        self.submit_from_home(b"a@example.net", b"b@example.net", b"c@example.net")
        self.run_out()
        self.assertEqual((len(self.reports), len(self.fields())), (1, 4))
        self.assertEqual(self.spooled, [])

    def test_each_sender_of_a_file_is_told_of_its_own(self) -> None:
        self.network.serve(ONE, "R 550")
        self.submit(
            groups=[
                Group([b"first@example.net"], Origin(b"one@sender.example")),
                Group([b"second@example.net"], Origin(b"two@sender.example")),
            ]
        )
        self.run_out()
        told = {each["To"]: each for each in self.reports}
        self.assertEqual(set(told), {"one@sender.example", "two@sender.example"})
        self.assertIn("first@example.net", told["one@sender.example"].as_string())
        self.assertNotIn("second@example.net", told["one@sender.example"].as_string())

    def test_sender_who_wants_to_hear_nothing_hears_nothing(self) -> None:
        self.network.serve(ONE, "R 550")
        self.submit_from_home(Addressee(b"bob@example.net", notary=b"NOTIFY=NEVER"))
        self.run_out()
        self.assertEqual((self.reports, self.spooled), ([], []))

    def test_delivery_is_told_where_that_was_asked_for(self) -> None:
        self.network.serve(ONE, "")
        self.submit_from_home(Addressee(b"bob@example.net", notary=b"NOTIFY=SUCCESS"))
        self.run_out()
        self.assertEqual(self.fields()[1]["Action"], "relayed")
        self.assertEqual(self.reports[0]["Subject"], "Your message was passed on")

    def test_report_that_fails_is_kept_for_the_postmaster(self) -> None:
        self.network.serve(ONE, "R 550")
        self.network.serve(TWO, "R 550")
        self.submit_from_home()
        self.run_out()
        self.run_out()
        kept = os.listdir(os.path.join(self.spool.postoffice, "postman"))
        self.assertEqual((len(kept), self.spooled), (1, []))
        self.assertTrue(kept[0].endswith(":error-on-error"))

    def test_sender_that_no_mail_can_reach_is_the_postmasters_business(self) -> None:
        self.network.serve(ONE, "R 550")
        self.text = self.text.replace("channels.smtp", "channels.other")
        self.start()
        self.submit_from_home(Addressee(b"bob@example.net", channel=b"other"))
        kept = os.listdir(os.path.join(self.spool.postoffice, "postman"))
        self.assertEqual((len(kept), self.spooled), (1, []))

    def test_failure_is_told_though_others_still_wait(self) -> None:
        self.addresses["example.org"] = "192.0.2.3"
        self.network.serve(ONE, "R 550")
        self.network.serve("192.0.2.3", REFUSED)
        mail = self.submit_from_home(b"a@example.net", Addressee(b"b@example.org", b"example.org"))
        self.network.pass_time(MINUTE)
        self.files.look_again()
        self.run_out()
        self.assertEqual(self.reports, [])
        self.network.pass_time(2 * MINUTE)
        self.files.look_again()
        self.run_out()
        self.assertEqual((len(self.reports), self.spooled), (1, [mail.name]))
        self.network.serve("192.0.2.3", "")
        self.network.pass_time(HOUR)
        self.run_out()
        self.assertEqual((len(self.reports), self.spooled), (1, []))

    def test_failure_that_another_program_has_left_without_a_word_is_told(self) -> None:
        self.network.serve(ONE, "")
        self.submit_from_home(Addressee(b"bob@example.net", tag=b"-"))
        self.run_out()
        self.assertEqual(self.fields()[1]["Status"], "5.0.0")
        self.assertEqual(self.spooled, [])

    def test_expired_message_names_the_last_problem(self) -> None:
        self.network.serve(ONE, "R 450 4.2.2 mailbox full")
        self.submit_from_home(age=6 * DAY)
        self.run_out()
        recipient = self.fields()[1]
        self.assertEqual((recipient["Action"], recipient["Status"]), ("failed", "4.4.7"))
        self.assertEqual(recipient["Diagnostic-Code"], "smtp; 450 mailbox full")


class Crashes(ReportTest):
    """Wherever it ends, one report arrives, and nothing is left."""

    def crash_at(self, owner: Any, name: str, when: int = 1) -> None:
        real = getattr(owner, name)
        calls = [0]

        def crashing(*words: Any, **options: Any) -> Any:
            calls[0] += 1
            if calls[0] == when:
                raise Crash
            return real(*words, **options)

        patch = self.patch(owner, name, crashing)
        try:
            with self.assertRaises(Crash):
                # the engine must not take the end of the process for an error of ours
                self.finisher.finish(self.mail_name)
        finally:
            patch.restore()

    def prepare(self) -> None:
        """A message with two failed recipients, at the moment when it is to be finished."""
        self.network.serve(ONE, "R 550")
        self.patch(self.finisher, "finish", lambda *_: False)
        mail = self.submit_from_home(b"a@example.net", b"b@example.net")
        self.mail_name = mail.name
        del self.finisher.finish
        self.assertEqual(set(mail.tags().values()), {b"-"})

    def recover(self) -> None:
        """Begin anew, and see what comes of it."""
        self.restart()
        for _ in range(3):
            self.run_out()
        self.assertEqual([each["To"] for each in self.reports], ["alice@sender.example"])
        self.assertEqual(self.spooled, [])
        self.assertEqual([name for name in os.listdir(".") if name.startswith(".report")], [])

    def test_before_the_report_is_written(self) -> None:
        self.prepare()
        self.crash_at(finish, "submit")
        self.recover()

    def test_before_the_first_mark(self) -> None:
        self.prepare()
        self.crash_at(OpenControlFile, "mark_reported")
        self.recover()

    def test_between_two_marks(self) -> None:
        self.prepare()
        self.crash_at(OpenControlFile, "mark_reported", when=2)
        self.recover()

    def test_before_the_report_is_let_go(self) -> None:
        self.prepare()
        self.crash_at(finish, "publish")
        self.recover()

    def test_before_the_control_file_is_removed(self) -> None:
        self.prepare()
        self.crash_at(os, "unlink")
        self.recover()

    def test_before_the_message_file_is_removed(self) -> None:
        self.prepare()
        self.crash_at(os, "unlink", when=2)
        self.recover()

    def test_disk_full_delays_the_report_and_loses_nothing(self) -> None:
        self.network.serve(ONE, "R 550")
        full = [True]
        real: Any = getattr(finish, "submit")  # noqa: B009

        def submit(*words: Any, **options: Any) -> Any:
            if full[0]:
                raise SpoolError("no room") from OSError(28, "No space left on device")
            return real(*words, **options)

        self.patch(finish, "submit", submit)
        self.submit_from_home()
        self.assertEqual((len(self.spooled), self.reports), (1, []))
        full[0] = False
        self.network.pass_time(40)
        self.files.look_again()
        self.run_out()
        self.assertEqual((len(self.reports), self.spooled), (1, []))
