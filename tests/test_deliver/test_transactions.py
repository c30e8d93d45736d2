"""What a server does to one transaction, and what follows for the others."""

from __future__ import annotations

import os

from tests.net.network import Network
from tests.test_deliver.case import ENVELOPE, ONE, OPENING, DeliveryTest
from zsmtp.testing.dialogue import Script
from zsmtp.testing.table import Table


class Troubles(DeliveryTest):
    """What a server does to one transaction, and what follows for the others."""

    def test_connection_lost_before_mail_is_answered_is_tried_once_more(self) -> None:
        for caps in ("", "+P;"):
            for reply in ("X", "reset", "421+X", "421"):
                self.network = Network()
                self.settled.clear()
                self.network.serve(ONE, f"{caps} M {reply}", "")
                self.start()
                self.deliver(self.mail(3))  # 44, 46
                self.assertEqual((self.words, len(self.verbs)), (["ok3"] * 3, 2), (caps, reply))
                self.expect_over()

    def test_connection_lost_twice_is_a_deferral(self) -> None:
        self.quick("M X", self.mail(2))  # 45
        self.assertEqual((self.words, len(self.verbs)), (["deferred"] * 2, 2))
        self.assertIn(b"remote hung up on us while 1 responses missing", self.told[0].text)
        self.expect_over()

    def test_mail_that_is_not_answered_is_tried_once_more(self) -> None:
        self.quick("M -")  # 47
        self.network.pass_time(19)
        self.assertEqual(len(self.verbs), 1)
        self.network.pass_time(22)
        self.assertEqual((self.words, len(self.verbs)), (["deferred"], 2))

    def test_server_that_closed_while_idle_is_connected_to_again(self) -> None:
        self.network.serve(
            ONE,
            Script(OPENING + ENVELOPE + "C-data:\nS: 250\n-- wait 5\n-- close"),
            "",
        )
        self.start()
        self.deliver(self.mail())
        self.network.pass_time(10)
        self.deliver(self.mail())  # P18
        self.assertEqual((self.words, len(self.verbs)), (["ok3", "ok3"], 2))

    def test_server_that_refuses_rset_is_connected_to_again(self) -> None:
        self.network.serve(ONE, "S 421+X", "")
        self.start()
        self.deliver(self.mail())
        self.network.pass_time(25)
        self.deliver(self.mail())  # P15
        self.assertEqual((self.words, self.verbs[0][-1]), (["ok3", "ok3"], "RSET"))

    def test_refused_sender_is_not_tried_again(self) -> None:
        for reply, word in (("550 5.7.1 no", "error2"), ("450", "deferred")):
            self.network = Network()
            self.settled.clear()
            self.quick(f"M {reply}", self.mail(3), self.mail())  # 38, 41
            self.assertEqual((self.words, len(self.verbs)), ([word] * 4, 1))
            self.assertEqual(self.verbs[0].count("MAIL"), 2)

    def test_connection_lost_later_is_a_deferral(self) -> None:
        for server, words in (
            ("R 250, X", ["deferred"] * 2),
            ("+P; R 550, X", ["error2", "deferred"]),
            ("D X", ["deferred"] * 2),
            (". X", ["deferback"] * 2),
            (". 421+X", ["deferback"] * 2),
        ):
            self.network = Network()
            self.settled.clear()
            self.quick(server, self.mail(2))  # 67, 68, 80, 91
            self.assertEqual((self.words, len(self.verbs)), (words, 1), server)
            self.expect_over()

    def test_silence_after_the_dot_is_a_deferral_at_its_time(self) -> None:
        self.quick(". -")  # 92
        self.network.pass_time(39)
        self.assertEqual(self.words, [])
        self.network.pass_time(2)
        self.assertEqual(self.words, ["deferback"])
        self.expect_over()

    def test_next_message_goes_over_a_new_connection(self) -> None:
        self.network.serve(ONE, ". X", "")
        self.start()
        self.deliver(self.mail(), self.mail())  # 91
        self.assertEqual((self.words, len(self.verbs)), (["deferback", "ok3"], 2))

    def test_recipient_that_may_heal_ends_the_connection(self) -> None:
        self.quick("+P; R 250, 450, 250", self.mail(3), self.mail(), self.mail())  # 50
        self.assertEqual(self.words, ["deferred", "ok3", "ok3", "ok3", "ok3"])
        self.assertEqual([said.count("MAIL") for said in self.verbs], [1, 2])
        self.assertEqual(self.verbs[0][-1], "QUIT")

    def test_refused_data_is_told_to_those_who_were_accepted(self) -> None:
        self.quick("+P; R 550, 250, 450; D 554 no", self.mail(3))  # 65
        self.assertEqual(self.words, ["error2", "deferred", "error2"])

    def test_message_file_that_shrinks_costs_a_deferral(self) -> None:
        mail = self.mail(body=b"x\n" * 200_000)
        self.network.serve(
            ONE,
            Script(OPENING + "C: MAIL *\nS: 250\nC: RCPT *\nS: 250\nC: DATA\n-- wait 1\nS: 354\n-- silence"),
            "",
        )
        self.start()
        self.network.callLater(0.5, os.truncate, mail.message_path, 1000)
        self.deliver(mail)
        self.assertEqual(self.words, ["deferred"])
        self.assertIn(b"became shorter", self.told[0].text)
        self.expect_over()

    def test_message_that_cannot_be_read_beforehand_costs_a_deferral(self) -> None:
        mail = self.mail()
        self.network.serve(ONE, Script("-- wait 1\n" + OPENING + "C: QUIT"))
        self.start()
        self.network.callLater(0.5, os.truncate, mail.message_path, 10)
        self.deliver(mail)
        self.assertEqual(self.words, ["deferred"])
        self.expect_over()


class TooMany(DeliveryTest):
    """More recipients than a server takes at once."""

    def test_recipients_beyond_the_limit_follow(self) -> None:
        server = Table({}, announce=["PIPELINING", "X-RCPTLIMIT 3"])
        self.quick(server, self.mail(23))  # 70, S09
        self.assertEqual(self.words, ["ok3"] * 23)
        sizes = [len(message.recipients) for message in self.network.conversations[0].messages]
        self.assertEqual((sizes, "RSET" in self.verbs[0], len(self.verbs)), ([10, 10, 3], False, 1))
        self.expect_over()

    def test_hundred_at_a_time_without_a_limit(self) -> None:
        self.quick("+P", self.mail(250))  # S08
        sizes = [len(message.recipients) for message in self.network.conversations[0].messages]
        self.assertEqual((sizes, set(self.words)), ([100, 100, 50], {"ok3"}))

    def test_rest_goes_over_a_new_connection_if_the_first_is_gone(self) -> None:
        limited = ["X-RCPTLIMIT 3"]
        for reply, words in (
            ("450", ["deferred"] + ["ok3"] * 12),
            ("250", ["ok3"] * 13),
        ):
            for end in ("250 ok", "250 ok+X"):
                self.network = Network()
                self.settled.clear()
                first = Table({"rcpt": ["250", "250", "250", reply, "250"], "dot": end}, announce=limited)
                self.network.serve(ONE, first, Table({}, announce=limited))
                self.start()
                self.deliver(self.mail(13))  # 71, W33
                self.assertEqual(sorted(self.words), sorted(words), (reply, end))
                self.expect_over()

    def test_one_too_many_is_sent_in_a_transaction_of_its_own(self) -> None:
        for reply in ("452 too many", "552 too many", "452 4.5.3 too many"):
            for caps in ("", "+P;", "+P +C;"):
                self.network = Network()
                self.settled.clear()
                self.quick(f"{caps} R 250, 250, {reply}, 250", self.mail(3))  # 52, 53
                self.assertEqual(self.words, ["ok3"] * 3, (caps, reply))
                sent = [
                    message.recipients for each in self.network.conversations for message in each.messages
                ]
                self.assertEqual(
                    sent, [(b"r0@example.net", b"r1@example.net"), (b"r2@example.net",)], (caps, reply)
                )
                self.expect_over()

    def test_one_too_many_among_none_is_refused(self) -> None:
        self.quick("R 452", self.mail(2))
        self.assertEqual(self.words, ["deferred"] * 2)
        self.expect_over()

    def test_recipient_is_not_offered_again_once_it_was_told_of(self) -> None:
        for caps in ("", "+P;"):
            self.network = Network()
            self.settled.clear()
            self.quick(f"{caps} R 452 4.2.2 full, 250", self.mail(2))
            self.assertEqual(self.words, ["deferred", "ok3"])
            sent = [message.recipients for each in self.network.conversations for message in each.messages]
            self.assertEqual(sent, [(b"r1@example.net",)])
            self.expect_over()

    def test_first_of_all_may_be_one_too_many_as_well(self) -> None:
        self.quick("+P; R 452, 250", self.mail(2))
        self.assertEqual(self.words, ["ok3", "ok3"])
        self.expect_over()

    def test_one_too_many_is_deferred_if_the_others_are_lost(self) -> None:
        self.quick("+P; R 250, 452; . X", self.mail(2))
        self.assertEqual(sorted(self.words), ["deferback", "deferred"])
        self.expect_over()

    def test_server_that_takes_one_at_a_time_gets_one_at_a_time(self) -> None:
        self.quick("+P; R 250, 452, 452, 452, 250, 452, 452, 250, 452, 250", self.mail(4))
        self.assertEqual((self.words, sum(said.count("DATA") for said in self.verbs)), (["ok3"] * 4, 4))
        self.expect_over()
