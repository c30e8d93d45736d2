"""The end: on order, or by a fault of our own."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail

from tests.net.network import SILENT, Network
from tests.test_deliver.case import ENVELOPE, GROUP, ONE, OPENING, TWO, DeliveryTest
from zsmtp import deliver, plan, policy
from zsmtp.job import Job
from zsmtp.net.courier import Courier
from zsmtp.testing.dialogue import Script
from zsmtp.testing.memory import FakeTransport


class Stopping(DeliveryTest):
    """Told to stop, nothing is lost and nothing is waited for but the reply to a dot."""

    def test_while_a_reply_to_the_envelope_is_awaited(self) -> None:
        mail = self.mail(2)
        self.quick("R -", mail, self.mail())  # P19, 133
        self.assertEqual(len(self.feed), 1, "what cannot be sent yet is not locked")
        self.delivery.stop()
        self.network.run()
        self.assertEqual((self.words, self.tags(mail)), (["deferred"] * 2, "  "))
        self.assertEqual([one.notary[1] for one in self.told], [b"failed"] * 2)
        self.assertTrue(self.delivery.is_over)
        self.assertEqual(self.network.getDelayedCalls(), [])
        self.expect_over()

    def test_while_the_reply_to_the_dot_is_awaited(self) -> None:
        self.network.serve(
            ONE,
            Script(OPENING + ENVELOPE + "C-data:\n-- client stop\n-- wait 9\nS: 250 ok\nC: QUIT\nS: 221"),
        )
        self.start()
        self.feed += [self.mail(), self.mail()]
        self.delivery.wake()
        self.network.advance(0)
        self.network.links[0]._prompts["stop"] = lambda: self.delivery.stop()
        self.network.run()  # P20, 134
        self.assertEqual((self.words, len(self.feed)), (["ok3"], 1))
        self.assertTrue(self.delivery.is_over)

    def test_next_envelope_is_given_up_when_the_dot_is_answered(self) -> None:
        pipelined = (
            "S: 220 mx\nC: EHLO *\nS: 250-mx\nS: 250 PIPELINING\n"
            + GROUP
            + "C-data:\nS: 250 ok\n"
            + GROUP
            + "C-data:\n-- client stop\n-- wait 1\nS: 250 ok\n-- silence"
        )
        self.network.serve(ONE, Script(pipelined))
        self.start()
        self.feed += [self.mail(), self.mail(), self.mail()]
        self.delivery.wake()
        self.network.advance(0)
        self.network.links[0]._prompts["stop"] = lambda: self.delivery.stop()
        self.network.run()
        self.assertEqual(sorted(self.words), ["deferred", "ok3", "ok3"])
        self.assertTrue(self.delivery.is_over)
        self.expect_over()

    def test_one_too_many_is_not_left_waiting(self) -> None:
        server = Script(
            OPENING
            + ENVELOPE.replace("C: DATA", "C: RCPT *\nS: 452 too many\nC: DATA")
            + "C-data:\n-- client stop\nS: 250 ok\nC: QUIT\nS: 221"
        )
        self.network.serve(ONE, server)
        self.start()
        self.feed += [self.mail(2)]
        self.delivery.wake()
        self.network.advance(0)
        self.network.links[0]._prompts["stop"] = lambda: self.delivery.stop()
        self.network.run()
        self.assertEqual(self.words, ["ok3", "deferred"])
        self.expect_over()

    def test_while_connecting_no_other_hop_is_tried(self) -> None:
        self.network.serve(ONE, SILENT)
        self.network.serve(TWO, "")
        self.start(ONE, TWO)
        self.deliver(self.mail())
        self.delivery.stop()
        self.network.pass_time(60)
        self.assertEqual((self.attempted, self.words), ([ONE], ["deferred"]))
        self.assertTrue(self.delivery.is_over)
        self.expect_over()

    def test_while_a_session_is_being_opened(self) -> None:
        for server in ("B -", "E -"):
            self.network = Network()
            self.settled.clear()
            self.network.serve(ONE, server)
            self.network.serve(TWO, "")
            self.start(ONE, TWO)
            self.deliver(self.mail())
            self.delivery.stop()
            self.network.run()
            self.assertEqual((self.attempted, self.words), ([ONE], ["deferred"]))
            self.assertTrue(self.network.links[0].transport.aborted)
            self.assertEqual(self.network.getDelayedCalls(), [])
            self.assertTrue(self.delivery.is_over)

    def test_while_a_name_is_looked_up(self) -> None:
        self.found = Deferred()
        self.start()
        self.deliver(self.mail())
        self.delivery.stop()
        self.network.run()
        self.assertEqual((self.attempted, self.words), ([], ["deferred"]))
        self.assertTrue(self.delivery.is_over)

    def test_idle_connection_takes_leave(self) -> None:
        self.quick("", self.mail())
        self.delivery.stop()
        self.network.run()
        self.assertEqual((self.verbs[0][-1], self.delivery.is_over), ("QUIT", True))

    def test_nothing_begins_afterwards(self) -> None:
        self.network.serve(ONE, "")
        self.start()
        self.delivery.stop()
        self.deliver(self.mail())
        self.assertEqual((self.attempted, len(self.feed)), ([], 1))


class OurFaults(DeliveryTest):
    """An exception in our own code costs a deferral, not a hang: every locked recipient is told of."""

    def expect_told(self, number: int, errors: int = 1) -> None:
        """So many recipients were deferred, and the fault was logged."""
        self.assertEqual(self.words, [self.words[0]] * number)
        self.assertTrue(all(report.is_deferral for report in self.told))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), errors)
        self.expect_over()

    @staticmethod
    def oops(*_: Any, **__: Any) -> Any:
        """Fail."""
        raise ZeroDivisionError

    def test_in_planning(self) -> None:
        self.patch(plan, "problem_of", self.oops)
        self.quick("", self.mail(3))
        self.expect_told(3)

    def test_in_preparing(self) -> None:
        self.patch(Job, "prepare", self.oops)
        self.quick("", self.mail(3))
        self.expect_told(3)

    def test_in_announcing(self) -> None:
        self.patch(Courier, "beginTransaction", self.oops)
        self.quick("", self.mail(3))
        self.network.pass_time(60)
        self.assertEqual(self.flushLoggedErrors(ZeroDivisionError) != [], True)
        self.expect_over()

    def test_in_judging(self) -> None:
        self.patch(policy, "judge", self.oops)
        self.quick("+P; R 250, 550, 250", self.mail(3))
        self.expect_told(3, errors=3)

    def test_in_resolving(self) -> None:
        self.found = fail(ZeroDivisionError())
        self.start()
        self.deliver(self.mail(3))
        self.expect_told(3)

    def test_in_the_rules(self) -> None:
        self.network.serve(ONE, "")
        self.start()
        self.delivery._equipment = self.equipment._replace(rules=self.oops)
        self.deliver(self.mail(2))
        self.expect_told(2)

    def test_in_setting_up_the_connection(self) -> None:
        class Failing(FakeTransport):
            def getHost(self) -> Any:
                raise ZeroDivisionError

        self.network.transports = Failing
        self.quick("", self.mail(2))
        self.network.pass_time(60)
        self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual(len(self.told), 2)
        self.expect_over()

    def test_in_handling_an_answer(self) -> None:
        self.patch(deliver, "_is_one_too_many", self.oops)
        self.quick("R 550, 250", self.mail(2))
        self.network.pass_time(100)
        self.flushLoggedErrors(ZeroDivisionError)
        self.expect_over()
