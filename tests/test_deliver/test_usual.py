"""Mail that arrives, from the control file to its marks and reports."""

from __future__ import annotations

from tests.net.network import REFUSED, verbs
from tests.test_deliver.case import MANNER, ONE, TWO, DeliveryTest
from zsmtp.testing.spool import Addressee, Group


class Usual(DeliveryTest):
    """Mail that arrives."""

    def test_mail_is_delivered_marked_and_told(self) -> None:
        mail = self.mail(2)
        self.quick("+P", mail)
        self.assertEqual((self.words, self.tags(mail)), (["ok3", "ok3"], "++"))
        (message,) = self.network.conversations[0].messages
        self.assertEqual(message.recipients, (b"r0@example.net", b"r1@example.net"))
        self.assertEqual([one.path for one in self.finished], [mail.name])
        self.expect_over()

    def test_mails_follow_each_other_on_one_connection(self) -> None:
        self.quick("+P", *[self.mail() for _ in range(20)])
        self.assertEqual((self.words, len(self.verbs)), (["ok3"] * 20, 1))
        self.assertNotIn("RSET", self.verbs[0])
        self.assertEqual(self.verbs[0].count("EHLO"), 1)
        self.expect_over()
        self.assertFalse(self.delivery.is_over)
        self.delivery.leave()
        self.network.run()
        self.assertTrue(self.delivery.is_over)
        self.assertEqual(self.verbs[0][-1], "QUIT")
        self.assertEqual(self.network.getDelayedCalls(), [])

    def test_connection_that_stays_open_is_used_again(self) -> None:
        self.quick("", self.mail())
        self.network.pass_time(5)
        self.deliver(self.mail())
        self.assertEqual((self.words, len(self.verbs)), (["ok3", "ok3"], 1))

    def test_groups_of_a_job_are_all_delivered(self) -> None:
        groups = [
            Group([b"a@example.net"], b"one@example.com"),
            Group([b"b@example.net"], b"two@example.com"),
        ]
        self.quick("+P", self.spool.add(groups=groups))  # S03
        self.assertEqual(self.words, ["ok3", "ok3"])
        self.assertEqual(self.verbs[0].count("MAIL"), 2)
        self.expect_over()

    def test_lmtp_over_a_unix_socket(self) -> None:
        self.network.serve("/run/lmtp", "lmtp; +P; . 250, 450 later, 550 5.1.1 no")
        self.start("/run/lmtp", manner=MANNER._replace(lmtp=True))
        mail = self.mail(3)
        self.deliver(mail)  # 103, 109
        self.assertEqual(self.words, ["ok3", "deferred", "error2"])
        self.assertEqual(self.tags(mail), "- +")
        self.assertIn(b"UNIX:/run/lmtp|UNKNOWN-LOCAL-ADDRESS", self.settled[1].line)
        self.expect_over()

    def test_success_is_recorded_where_the_server_does_not_tell_it(self) -> None:
        for caps, word in (("", "ok2"), ("+D", "ok3")):
            self.settled.clear()
            self.quick(caps, self.mail([Addressee(b"bob@example.net", notary=b"NOTIFY=SUCCESS")]))  # 94, 95
            self.assertEqual(self.words, [word])

    def test_nothing_is_opened_for_nothing(self) -> None:
        self.network.serve(ONE, "")
        self.start()
        self.deliver()
        self.assertEqual((self.attempted, self.lookups), ([], 0))
        self.assertTrue(self.delivery.is_over)

    def test_job_that_nobody_can_be_offered_opens_nothing(self) -> None:
        self.quick("", self.mail([b"a" * 300 + b"@example.net"]))
        self.assertEqual((self.words, self.attempted), (["error2"], []))
        self.expect_over()


class Remarks(DeliveryTest):
    """What a transcript hears of it."""

    def test_connections_and_their_ends_are_told(self) -> None:
        self.network.serve(ONE, REFUSED)
        self.network.serve(TWO, ". X")
        self.start(ONE, TWO)
        self.deliver(self.mail())
        self.assertEqual(
            self.remarks,
            [
                "(Connecting to `mx1.example' [192.0.2.1|25])",
                "mx1.example [192.0.2.1|25]: the connection could not be opened",
                "(Connecting to `mx2.example' [192.0.2.2|25])",
                "closed connection to mx2.example: the server closed the connection",
            ],
        )

    def test_nobody_needs_to_listen(self) -> None:
        self.network.serve(ONE, "")
        self.start()
        self.delivery._equipment = self.equipment._replace(remark=None)
        self.deliver(self.mail())
        self.assertEqual(self.words, ["ok3"])

    def test_first_words_of_a_conversation(self) -> None:
        self.quick("")
        self.assertEqual(verbs(self.network.conversations[0]), ["EHLO", "MAIL", "RCPT", "DATA", "."])
