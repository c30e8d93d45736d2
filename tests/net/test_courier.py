"""A connection of the delivery engine as a whole: pauses, limits, and an orderly end."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.net.network import Octets, UnixTransport, as_behaviour, verbs
from zsmtp.destination import Family, Hop
from zsmtp.net.courier import LEAVE_AFTER, NOOP_AFTER, RSET_AFTER, Courier
from zsmtp.smtp.session import Manner
from zsmtp.smtp.transaction import Recipient, Transaction
from zsmtp.testing.dialogue import Script
from zsmtp.testing.memory import FakeHandle, FakeTransport, Link
from zsmtp.testing.peer import Behaviour
from zsmtp.testing.table import Table
from zsmtp.trouble import Kind, Trouble

HOP = Hop("192.0.2.25", 25, Family.INET, "mx.example", b"dns; mx.example", "MX 10", "mx.example")
PATH = Hop("/run/lmtp", 0, Family.UNIX, "/run/lmtp", b"", "-F", "/run/lmtp")
OPENING = "S: 220 mx\nC: EHLO *\nS: 250 mx\n"
MESSAGE = "C: MAIL *\nS: 250 ok\nC: RCPT *\nS: 250 ok\nC: DATA\nS: 354 go\nC-data:\nS: 250 thanks\n"


def message(recipients: int = 1) -> Transaction:
    """A transaction to so many."""
    return Transaction(
        b"a@x.example",
        [Recipient(b"r%d@y.example" % number) for number in range(recipients)],
        Octets(b"x\r\n"),
    )


class Office:
    """An employer with messages in a list."""

    def __init__(self, *messages: Transaction) -> None:
        self.waiting = list(messages)
        self.told: list[Recipient] = []
        self.done: list[Transaction] = []
        self.ends: list[Trouble | None] = []

    def next_for(self, courier: Courier) -> Transaction | None:
        """See Employer."""
        return self.waiting.pop(0) if self.waiting else None

    def answered(self, courier: Courier, transaction: Transaction, recipient: Recipient) -> None:
        """See Employer."""
        self.told.append(recipient)

    def finished(self, courier: Courier, transaction: Transaction) -> None:
        """See Employer."""
        self.done.append(transaction)

    def closed(self, courier: Courier, trouble: Trouble | None) -> None:
        """See Employer."""
        self.ends.append(trouble)


class CourierTest(SynchronousTestCase):
    """A courier over memory."""

    def start(
        self,
        behaviour: Behaviour | str,
        *messages: Transaction,
        hop: Hop = HOP,
        transport: FakeTransport | None = None,
        prompts: dict[str, Callable[[], object]] | None = None,
        **options: Any,
    ) -> Courier:
        """Connect, and let everything happen that needs no time."""
        self.clock = Clock()
        self.office = Office(*messages)
        self.courier = Courier(self.office, hop, Manner(name=b"me.example"), clock=self.clock, **options)
        self.opened: list[Trouble | None] = []
        self.courier.opened.addCallback(self.opened.append)
        served = behaviour if not isinstance(behaviour, str) or behaviour[:2] != "S:" else Script(behaviour)
        server = as_behaviour(served)
        self.link = Link(self.courier, server, clock=self.clock, transport=transport, prompts=prompts)
        self.link.run()
        self.addCleanup(self.clean)
        return self.courier

    def clean(self) -> None:
        """However it goes on, no timer is left after the end."""
        if self.link.transport.disconnected:
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def send(self, *messages: Transaction) -> None:
        """There is more to be sent."""
        self.office.waiting += messages
        self.courier.proceed()
        self.link.run()

    def wait(self, seconds: float) -> None:
        """Let time pass in steps of a second."""
        for _ in range(int(seconds)):
            self.link.advance(1)

    @property
    def verbs(self) -> list[str]:
        """What the client said, in first words."""
        return verbs(self.link.conversation)


class Opening(CourierTest):
    """The socket, and the session that opens or does not."""

    def test_socket_is_set_up(self) -> None:
        self.start("", send_buffer=4096)
        transport = self.link.transport
        self.assertEqual((transport.no_delay, transport.keep_alive), (True, True))
        assert isinstance(transport.handle, FakeHandle)
        self.assertEqual(transport.handle.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF), 4096)
        self.assertEqual(self.courier.peer.remote, b"dns; mx.example")
        self.assertEqual(self.courier.peer.address, b"192.0.2.25|25|192.0.2.1|40000")
        self.assertEqual((self.opened, self.courier.is_open), ([None], True))

    def test_unix_socket_is_left_as_it_is(self) -> None:
        self.start("", hop=PATH, transport=UnixTransport())
        self.assertEqual(self.opened, [None])
        self.assertEqual(self.courier.peer.address, b"UNIX:/run/lmtp|UNKNOWN-LOCAL-ADDRESS")

    def test_option_that_the_socket_refuses_costs_nothing(self) -> None:
        class Stubborn(FakeTransport):
            def setTcpNoDelay(self, enabled: bool) -> None:
                raise OSError(22, "Invalid argument")

        self.start("", transport=Stubborn(), send_buffer=10)
        self.assertEqual(self.opened, [None])

    def test_refusal_is_why_it_is_not_open(self) -> None:
        self.start("B 554 no")
        (trouble,) = self.opened
        assert trouble is not None
        self.assertIs(trouble.kind, Kind.GREETING_REFUSED)
        self.assertEqual((self.office.ends, self.courier.is_open), ([], False))

    def test_session_that_breaks_in_the_read_that_opens_it_was_never_open(self) -> None:
        self.start(Table({"ehlo": b"250 mx\r\n250 mx\r\n"}), message())
        (trouble,) = self.opened
        assert trouble is not None
        self.assertIs(trouble.kind, Kind.PROTOCOL)
        self.assertEqual((self.office.ends, self.courier.is_open), ([], False))
        self.assertEqual((len(self.office.waiting), self.verbs), (1, ["EHLO"]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_farewell_before_it_is_open_is_told_as_such(self) -> None:
        self.start("S: 220 mx\nC: EHLO *\n-- wait 1\n-- silence")
        self.courier.drop(Trouble(Kind.STOPPED, b"enough"))
        self.link.run()
        (trouble,) = self.opened
        assert trouble is not None
        self.assertIs(trouble.kind, Kind.STOPPED)

    def test_connection_that_is_over_before_it_began(self) -> None:
        courier = Courier(Office(), HOP, Manner(), clock=Clock())
        opened: list[Any] = []
        courier.opened.addCallback(opened.append)
        courier.sessionEnded(None)
        self.assertIs(opened[0].kind, Kind.STOPPED)

    def test_witness_hears_commands_and_replies_and_no_content(self) -> None:
        heard: list[tuple[str, bytes]] = []
        self.start("", message(), witness=lambda _: lambda kind, line: heard.append((kind, line)))
        self.assertIn(("w", b"EHLO me.example"), heard)
        self.assertIn(("w", b"."), heard)
        self.assertNotIn(("w", b"x"), heard)


class Pauses(CourierTest):
    """RSET after a short pause, NOOP in a long one, the end of it after a longer one."""

    def test_message_after_a_short_pause_needs_no_rset(self) -> None:
        self.start("", message())
        self.wait(RSET_AFTER)
        self.send(message())
        self.assertNotIn("RSET", self.verbs)

    def test_rset_comes_before_a_message_after_a_pause(self) -> None:
        for caps in ("", "+P", "+P +C"):
            self.start(caps, message())
            self.wait(RSET_AFTER + 2)
            self.send(message())
            self.assertEqual(self.verbs.count("RSET"), 1)
            self.assertEqual(len(self.office.done), 2)
            self.assertIsNone(self.office.done[1].trouble)

    def test_first_message_needs_no_rset(self) -> None:
        self.start("")
        self.wait(60)
        self.send(message())
        self.assertNotIn("RSET", self.verbs)

    def test_refused_rset_ends_the_connection_before_the_message(self) -> None:
        self.start("S 421+X", message())
        self.wait(RSET_AFTER + 2)
        self.send(message())
        (end,) = self.office.ends
        assert end is not None
        self.assertTrue(self.office.done[1].is_untouched)
        self.assertIsNotNone(self.office.done[1].trouble)

    def test_noop_after_three_minutes(self) -> None:
        self.start("", message())
        self.wait(NOOP_AFTER - 1)
        self.assertNotIn("NOOP", self.verbs)
        self.wait(2)
        self.assertEqual(self.verbs.count("NOOP"), 1)

    def test_noop_counts_from_the_last_message(self) -> None:
        self.start("")
        self.wait(100)
        self.send(message())
        self.wait(179)
        self.assertNotIn("NOOP", self.verbs)
        self.wait(2)
        self.assertIn("NOOP", self.verbs)

    def test_message_soon_after_noop_needs_no_rset(self) -> None:
        self.start("", message())
        self.wait(NOOP_AFTER + 5)
        self.send(message())
        self.assertNotIn("RSET", self.verbs)

    def test_refused_noop_ends_the_connection(self) -> None:
        self.start("N 421", message())
        self.wait(NOOP_AFTER + 1)
        (end,) = self.office.ends
        assert end is not None
        self.assertTrue(self.link.transport.disconnected)

    def test_unanswered_noop_ends_the_connection_after_half_a_minute(self) -> None:
        self.start("N -", message())
        self.wait(NOOP_AFTER + 29)
        self.assertEqual(self.office.ends, [])
        self.wait(2)
        (end,) = self.office.ends
        assert end is not None
        self.assertIs(end.kind, Kind.TIMED_OUT)

    def test_idle_connection_is_given_back_after_five_minutes(self) -> None:
        self.start("", message())
        self.wait(LEAVE_AFTER - 1)
        self.assertEqual(self.office.ends, [])
        self.wait(2)
        self.assertEqual((self.office.ends, self.verbs[-2:]), ([None], ["NOOP", "QUIT"]))
        self.assertTrue(self.link.transport.disconnected)

    def test_busy_connection_is_not_disturbed(self) -> None:
        slow = "C: MAIL *\n-- wait 250\nS: 250 ok\nC: RCPT *\n-- wait 250\nS: 250 ok\n-- silence"
        self.start(OPENING + slow, message())
        self.assertEqual(self.verbs[-1], "DATA")
        self.assertNotIn("NOOP", self.verbs)

    def test_connection_on_which_mail_keeps_coming_is_kept(self) -> None:
        self.start("+P")
        for _ in range(8):
            self.wait(100)
            self.send(message())
        self.assertEqual((self.office.ends, self.verbs.count("NOOP")), ([], 0))


class Limits(CourierTest):
    """When a server wants no more on this connection."""

    def test_limit_of_messages_is_kept(self) -> None:
        for caps in (["LIMITS MAILMAX=2"], ["LIMITS MAILMAX=2", "PIPELINING"]):
            self.start(Table({}, announce=caps), *[message() for _ in range(3)])
            self.assertEqual((len(self.office.done), self.office.ends), (2, [None]), caps)
            self.assertEqual(self.verbs[-1], "QUIT")
            self.assertEqual(len(self.office.waiting), 1)

    def test_refused_recipient_that_may_heal_ends_it_after_the_message(self) -> None:
        for caps in ("", "+P;", "+P +C;"):
            self.start(f"{caps} R 250, 451, 250", message(3), message())
            self.assertEqual((len(self.office.done), self.office.ends), (1, [None]), caps)
            self.assertIsNotNone(self.office.done[0].final_reply)
            self.assertEqual(self.verbs[-1], "QUIT")

    def test_recipient_refused_for_good_does_not(self) -> None:
        self.start("R 250, 550, 250", message(3), message())
        self.assertEqual((len(self.office.done), self.office.ends), (2, []))

    def test_recipients_after_a_refused_sender_do_not(self) -> None:
        self.start("+P; M 451, 250; R 451, 250; D 451, 354", message(), message())
        self.assertEqual(len(self.office.done), 2)
        self.assertEqual(self.office.ends, [])


class Stopping(CourierTest):
    """Asked to end, it does so without losing or doubling anything."""

    def test_idle_connection_takes_leave(self) -> None:
        self.start("", message())
        self.courier.stop()
        self.link.run()
        self.assertEqual((self.verbs[-1], self.office.ends), ("QUIT", [None]))

    def test_before_the_dot_it_is_dropped(self) -> None:
        self.start(OPENING + "C: MAIL *\nS: 250 ok\nC: RCPT *\n-- silence", message())
        self.courier.stop()
        self.link.run()
        (done,) = self.office.done
        assert done.trouble is not None
        self.assertIs(done.trouble.kind, Kind.STOPPED)
        self.assertTrue(self.link.transport.aborted)

    def test_after_the_dot_the_reply_is_waited_for(self) -> None:
        sent = MESSAGE.replace("S: 250 thanks\n", "-- client stop\n-- wait 9\nS: 250 thanks\n")
        self.start(OPENING + sent + "C: QUIT", message(), prompts={"stop": lambda: self.courier.stop()})
        self.assertIsNotNone(self.office.done[0].final_reply)
        self.assertEqual((self.office.ends, self.verbs[-1]), ([None], "QUIT"))

    def test_nothing_new_begins(self) -> None:
        self.start(Script(OPENING + MESSAGE + "-- silence"), message())
        self.courier.is_leaving = True
        self.send(message())
        self.assertEqual((len(self.office.done), self.verbs[-1]), (1, "QUIT"))

    def test_connection_that_takes_leave_already_is_dropped(self) -> None:
        self.start("Q -")
        self.courier.leave()
        self.link.run()
        self.courier.stop()
        self.link.run()
        self.assertEqual((self.office.ends, self.link.transport.aborted), ([None], True))
