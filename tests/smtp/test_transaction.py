"""A transaction knows what was said about it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.smtp.sample import mail, reply
from zsmtp.smtp.transaction import Recipient
from zsmtp.trouble import Kind, Trouble


class ARecipient(SynchronousTestCase):
    """Accepted is who has a 2yz reply."""

    def test_it_is_accepted_by_2yz_only(self) -> None:
        one = Recipient(b"b@y.example")
        self.assertFalse(one.is_accepted)
        for text, accepted in (
            ("250 a", True),
            ("251 a", True),
            ("354 a", False),
            ("199 a", False),
            ("550 a", False),
        ):
            one.reply = reply(text)
            self.assertIs(one.is_accepted, accepted, text)

    def test_it_can_be_read_in_a_log(self) -> None:
        one = Recipient(b"b@y.example")
        one.reply = reply("250 ok")
        self.assertEqual(repr(one), "<Recipient b'b@y.example' <Reply 250 b'ok'> None>")


class ATransaction(SynchronousTestCase):
    """What may be done with it afterwards."""

    def test_it_is_untouched_until_mail_is_answered(self) -> None:
        one = mail()
        self.assertTrue(one.is_untouched)
        one.mail_reply = reply("450 later")
        self.assertFalse(one.is_untouched)

    def test_it_is_not_untouched_once_it_has_left_as_a_whole(self) -> None:
        one = mail()
        one.data_sent = True
        self.assertFalse(one.is_untouched)

    def test_it_may_be_delivered_when_all_was_sent_and_nothing_said(self) -> None:
        one = mail()
        one.trouble = Trouble(Kind.HUNG_UP, b"")
        self.assertFalse(one.maybe_delivered)
        one.data_sent = True
        self.assertTrue(one.maybe_delivered)
        one.final_reply = reply("250 ok")
        self.assertFalse(one.maybe_delivered)
