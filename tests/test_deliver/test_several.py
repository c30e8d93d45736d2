"""Several connections and many jobs, and hosts that want no more of them or fall silent."""

from __future__ import annotations

from tests.net.network import REFUSED, SILENT, Network
from tests.test_deliver.case import ENVELOPE, GROUP, ONE, OPENING, DeliveryTest
from zsmtp.deliver import REMEMBERED
from zsmtp.testing.dialogue import Script
from zsmtp.testing.table import Table


class Several(DeliveryTest):
    """Several connections, one message on each, and a host that wants no more."""

    def test_connections_share_the_work(self) -> None:
        for address in (ONE,):
            self.network.serve(address, "")
        self.start(connections=3)
        self.deliver(*[self.mail() for _ in range(9)])
        self.assertEqual(self.words, ["ok3"] * 9)
        self.assertLessEqual(len(self.verbs), 3)
        self.assertGreater(len(self.verbs), 1)
        self.expect_over()

    def test_no_more_are_opened_than_there_is_work(self) -> None:
        self.network.serve(ONE, "")
        self.start(connections=10)
        self.deliver(self.mail(), self.mail())
        self.assertEqual(len(self.attempted), 2)

    def test_no_more_are_opened_while_some_are_being_opened(self) -> None:
        self.network.serve(ONE, SILENT)
        self.start(connections=4)
        self.feed += [self.mail(), self.mail()]
        for _ in range(5):
            self.delivery.wake()
        self.assertEqual(len(self.attempted), 2)
        self.network.pass_time(11)
        self.expect_over()

    def test_second_connection_that_is_refused_does_no_harm(self) -> None:
        slow = Script(OPENING + "-- repeat\n" + ENVELOPE + "-- wait 1\nC-data:\nS: 250\n-- end")
        self.network.serve(ONE, slow, REFUSED)
        self.start(connections=2)
        self.deliver(*[self.mail() for _ in range(6)])
        self.network.pass_time(20)
        self.assertEqual(self.words, ["ok3"] * 6)
        # one attempt in five seconds, not one for each message
        self.assertLess(len(self.attempted), 6)
        self.expect_over()

    def test_one_message_for_each_connection(self) -> None:
        self.quick("+P", self.mail(), self.mail(), one_message=True)  # 118, P11
        self.assertEqual([said[-1] for said in self.verbs], ["QUIT", "QUIT"])
        self.assertEqual([said.count("MAIL") for said in self.verbs], [1, 1])
        self.assertTrue(self.delivery.is_over)
        self.assertEqual(self.network.getDelayedCalls(), [])

    def test_parts_of_one_message_share_its_connection(self) -> None:
        server = Table({}, announce=["X-RCPTLIMIT 10"])
        self.quick(server, self.mail(15), one_message=True)
        self.assertEqual([said.count("MAIL") for said in self.verbs], [2])

    def test_server_that_does_not_answer_quit_holds_up_nobody(self) -> None:
        self.quick("Q -", self.mail(), self.mail(), self.mail(), one_message=True)
        self.assertEqual((self.words, self.network.seconds()), (["ok3"] * 3, 0))
        self.network.pass_time(6)
        self.assertTrue(self.delivery.is_over)

    def test_host_that_cannot_be_reached_is_tried_once_for_a_batch(self) -> None:
        self.quick(REFUSED, *[self.mail() for _ in range(151)])  # 104
        self.assertEqual((self.words, self.attempted), (["deferall"] * 151, [ONE]))
        self.assertEqual(len(self.finished), 151)
        self.expect_over()
        self.deliver(self.mail())
        self.assertEqual(self.attempted, [ONE])
        self.network.pass_time(REMEMBERED + 1)
        self.deliver(self.mail())
        self.assertEqual(self.attempted, [ONE, ONE])
        self.expect_over()

    def test_host_is_forgiven_by_a_good_connection(self) -> None:
        self.network.serve(ONE, REFUSED, "")
        self.start()
        self.deliver(self.mail())
        self.network.pass_time(REMEMBERED + 1)
        self.deliver(self.mail(), self.mail())
        self.assertEqual(self.words, ["deferall", "ok3", "ok3"])


class Hanging(DeliveryTest):
    """A host that falls silent costs its timeout once for a batch, not once for each job."""

    def test_those_behind_are_deferred_at_once(self) -> None:
        for server, seconds, first, connections in (
            ("R -", 20, "deferred", 1),
            ("D -", 30, "deferred", 1),
            (". -", 40, "deferback", 1),
            ("+P +C; . -", 40, "deferback", 1),
            ("M -", 40, "deferred", 2),  # it is met once more before it is given up
        ):
            self.network = Network()
            self.settled.clear()
            self.quick(server, *[self.mail() for _ in range(30)])
            self.network.pass_time(seconds - 1)
            self.assertEqual(self.words, [])
            self.network.pass_time(2)
            self.assertEqual((self.words, len(self.verbs)), ([first] + ["retryat"] * 29, connections), server)
            self.assertIn(b"Timeout of ", self.told[-1].text)
            self.expect_over()

    def test_whose_octets_were_sent_is_met_once_more(self) -> None:
        ready = Script(
            "S: 220 mx\nC: EHLO *\nS: 250-mx\nS: 250 PIPELINING\n"
            + GROUP
            + "C-data:\nS: 250 ok\n"
            + GROUP
            + "C-data:\n-- silence"
        )
        self.network.serve(ONE, ready, ". -")
        self.start()
        # the envelope of the third has left behind the end of the second
        self.deliver(*[self.mail() for _ in range(5)])
        self.network.pass_time(41)
        self.assertEqual(self.words, ["ok3", "deferback"])
        self.network.pass_time(41)
        self.assertEqual(self.words, ["ok3", "deferback", "deferback", "retryat", "retryat"])
        self.expect_over()

    def test_host_that_does_not_read_as_well(self) -> None:
        self.network.serve(ONE, Script(OPENING + ENVELOPE.replace("S: 354", "-- stop reading\nS: 354")))
        self.start()
        self.deliver(self.mail(body=b"x\n" * 2_000_000), self.mail())
        self.network.pass_time(60)
        self.assertEqual(self.words, ["deferred", "retryat"])
        self.expect_over()

    def test_host_that_hangs_up_is_tried_again_for_the_next(self) -> None:
        self.network.serve(ONE, ". X", "")
        self.start()
        self.deliver(self.mail(), self.mail())
        self.assertEqual(self.words, ["deferback", "ok3"])

    def test_other_connection_that_works_takes_those_behind(self) -> None:
        slow = Script(OPENING + "-- repeat\n" + ENVELOPE + "C-data:\n-- wait 15\nS: 250\n-- end")
        self.network.serve(ONE, ". -", slow)
        self.start(connections=2)
        self.deliver(*[self.mail() for _ in range(5)])
        self.network.pass_time(100)
        self.assertEqual(self.words, ["ok3", "ok3", "deferback", "ok3", "ok3"])
        self.expect_over()

    def test_is_forgotten_after_a_moment(self) -> None:
        self.network.serve(ONE, ". -", "")
        self.start()
        self.deliver(self.mail(), self.mail())
        self.network.pass_time(41)
        self.network.pass_time(REMEMBERED)
        self.deliver(self.mail())
        self.assertEqual(self.words, ["deferback", "retryat", "ok3"])
        self.expect_over()
