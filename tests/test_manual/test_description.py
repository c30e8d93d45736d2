"""smtp(8zm), section DESCRIPTION."""

from __future__ import annotations

from tests.test_manual.manual import ManualCase
from zsmtp.testing.spool import Addressee


class Description(ManualCase):
    """What the program is for."""

    def test_it_runs_in_the_current_directory_of_the_scheduler(self) -> None:
        """POSTOFFICE/transport: that is where the stand-in starts it, with names relative to it."""
        self.assertEqual(self.carry().words, ["ok3"])

    def test_it_scans_for_its_channel_and_the_host_of_the_command_line(self) -> None:
        mail = self.spool.add(
            recipients=[
                Addressee(b"a@one.example", b"one.example"),
                Addressee(b"b@two.example", b"two.example"),
                Addressee(b"c@one.example", b"one.example", b"fax"),
            ]
        )
        run = self.carry("one.example", mails=[mail], host=None, command_host=b"one.example")
        self.assertEqual(run.message.recipients, (b"a@one.example",))
        self.assertEqual(list(mail.tags().values()), [b"+", b" ", b" "])

    def test_all_matching_addresses_and_messages_go_in_a_single_conversation(self) -> None:
        mails = [self.mail(b"a@example.net", b"b@example.net"), self.mail(), self.mail()]
        run = self.carry(mails=mails)
        self.assertEqual([len(message.recipients) for message in run.connection.messages], [2, 1, 1])

    def test_the_host_may_be_served_by_any_of_its_mail_exchangers(self) -> None:
        """Here the one that would be connected is this machine, and the report names it."""
        names = self.names("example.net MX 10 mx1.example.", "mx1.example A 127.0.0.1")
        run = self.carry(*names.options, "-p", "1", forced=False)
        self.assertEqual(run.report.word, "error2")  # RFC 5321 5.1: mail that would go round in circles
        self.assertIn(b"mx1.example", run.report.text)
        self.assertIn("example.net MX", names.asked)
