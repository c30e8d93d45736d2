"""The demo's servers, spoken to line by line."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.ctl.demomail import FULL, GREYLISTED, STORED, UNKNOWN
from zsmtp.ctl.demoservers import Office, ServerOf

ANSWERS = {"a@x.example": STORED, "b@x.example": STORED, "full@x.example": FULL, "grey@x.example": GREYLISTED}


class Transport(StringTransport):
    """A connection without TLS."""

    connected = True
    aborted = False

    def getHandle(self) -> object:
        return self

    def abortConnection(self) -> None:
        self.aborted = True


class Conversation(SynchronousTestCase):
    """A connection to one of the servers."""

    lmtp = False

    def setUp(self) -> None:
        self.stored: list[tuple[str, str, bytes]] = []
        self.office = Office("mail", ANSWERS, lambda *call: self.stored.append(call))
        self.factory = ServerOf(self.office, b"x.example", lmtp=self.lmtp)
        self.server = cast("Any", self.factory.buildProtocol(None))
        self.server.callLater = Clock().callLater
        self.transport = Transport()
        self.server.makeConnection(self.transport)
        self.transport.clear()

    def say(self, *lines: str) -> list[str]:
        """Send lines in one piece; return the replies."""
        self.server.dataReceived("".join(line + "\r\n" for line in lines).encode())
        replies: list[str] = self.transport.value().decode().splitlines()
        self.transport.clear()
        return replies

    def codes(self, *lines: str) -> list[int]:
        return [int(reply[:3]) for reply in self.say(*lines)]

    def deliver(self, *recipients: str) -> list[str]:
        """Do a whole transaction; return the replies to the end of the data."""
        commands = ["MAIL FROM:<s@y.example> SIZE=7 BODY=8BITMIME", *(f"RCPT TO:<{to}>" for to in recipients)]
        count = len(commands) + 1
        return self.say(*commands, "DATA", "A: b", "", "..dot", ".")[count:]


class Smtp(Conversation):
    """SMTP: one reply for all recipients."""

    def test_extensions(self) -> None:
        self.assertEqual(
            {reply[4:] for reply in self.say("EHLO c.example")[1:]},
            {"PIPELINING", "8BITMIME", "SIZE 10485760"},
        )

    def test_message_is_stored_for_each_recipient_as_it_came(self) -> None:
        self.assertEqual(self.deliver("a@x.example", "b@x.example"), ["250 2.0.0 stored"])
        message = b"A: b\n\n.dot\n"
        self.assertEqual(self.stored, [("mail", "a@x.example", message), ("mail", "b@x.example", message)])

    def test_several_messages_in_one_packet(self) -> None:
        transaction = ["MAIL FROM:<s@y.example>", "RCPT TO:<a@x.example>", "DATA", "A: b", "", "c", "."]
        self.assertEqual(self.codes(*transaction, *transaction), [250, 250, 354, 250] * 2)
        self.assertEqual(len(self.stored), 2)

    def test_recipients_are_answered_as_planned(self) -> None:
        self.assertEqual(
            self.say("MAIL FROM:<s@y.example>", "RCPT TO:<grey@x.example>", "RCPT TO:<a@x.example>")[1:],
            ["451 4.7.1 greylisted", "250 Recipient address accepted"],
        )

    def test_stranger_is_refused(self) -> None:
        self.assertEqual(self.codes("MAIL FROM:<s@y.example>", "RCPT TO:<../../etc@x.example>"), [250, 550])

    def test_worst_answer_counts_for_all(self) -> None:
        self.assertEqual(self.deliver("a@x.example", "full@x.example"), ["452 4.2.2 over quota"])

    def test_disk_full_is_no_fault_of_the_message(self) -> None:
        def broken(*call: object) -> None:
            raise OSError(28, "No space left on device")

        self.office.store = broken
        [reply] = self.deliver("a@x.example")
        self.assertRegex(reply, r"^451 4\.3\.0 .*No space left")

    def test_who_came_without_tls_is_noted(self) -> None:
        self.deliver("a@x.example")
        self.assertEqual(self.office.seen, {("s@y.example", "a@x.example"): None})

    def test_octets_are_counted(self) -> None:
        self.say("NOOP")
        self.assertEqual(self.office.octets, 6)

    def test_connections_can_be_ended(self) -> None:
        self.factory.end_connections()
        self.assertTrue(self.transport.aborted)

    def test_connection_lost_in_a_message_stores_nothing(self) -> None:
        self.say("MAIL FROM:<s@y.example>", "RCPT TO:<a@x.example>", "DATA", "A: b")
        self.server.connectionLost(None)
        self.assertEqual(self.stored, [])


class Lmtp(Conversation):
    """LMTP: one reply for each recipient that was accepted."""

    lmtp = True

    def test_greeting(self) -> None:
        self.assertEqual(self.say("LHLO c.example")[0], "250-x.example")

    def test_hello_of_smtp_is_refused(self) -> None:
        self.assertEqual(self.codes("EHLO c.example", "HELO c.example"), [500, 500])

    def test_each_accepted_recipient_gets_its_reply_in_order(self) -> None:
        self.assertEqual(
            self.deliver("full@x.example", "grey@x.example", "a@x.example"),
            ["452 4.2.2 over quota", "250 2.0.0 stored"],
        )
        self.assertEqual([recipient for _, recipient, _ in self.stored], ["a@x.example"])

    def test_greeting_again_forgets_the_transaction(self) -> None:
        self.say("MAIL FROM:<s@y.example>", "RCPT TO:<a@x.example>", "LHLO c.example")
        self.assertEqual(self.codes("DATA"), [503])


class Plan(SynchronousTestCase):
    """The answers themselves."""

    def test_only_stored_is_a_delivery(self) -> None:
        self.assertEqual(
            [a.is_delivery for a in (STORED, UNKNOWN, GREYLISTED, FULL)], [True, False, False, False]
        )
