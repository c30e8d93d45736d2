"""Deadlines, ends and faults of a connection.  What it shares with ESMTPSender is in `test_stock`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.task import Clock
from twisted.mail.smtp import ESMTPSender
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides

from tests.net.network import LooseTransport, Octets, as_behaviour, verbs
from zsmtp.net.deadline import Deadline
from zsmtp.net.sender import DeliverySender
from zsmtp.net.stock import authenticators
from zsmtp.smtp.patience import Timeouts
from zsmtp.smtp.session import Manner, State, Tls
from zsmtp.smtp.transaction import Recipient, Transaction
from zsmtp.testing.dialogue import Script
from zsmtp.testing.memory import FakeHandle, FakeTransport, Link
from zsmtp.testing.peer import Behaviour
from zsmtp.trouble import Kind, Trouble

TIMES = Timeouts(connect=10, command=20, data=30, dot=40, write=50)
MANNER = Manner(name=b"me.example", timeouts=TIMES)
OPENING = "S: 220 mx\nC: EHLO *\nS: 250 mx\n"
PIPELINING = "S: 220 mx\nC: EHLO *\nS: 250-mx\nS: 250 PIPELINING\n"
MAIL = "C: MAIL FROM:<*> ...\nS: 250 ok\n"
RCPT = "C: RCPT TO:<*> ...\nS: 250 ok\n"
DATA = "C: DATA\nS: 354 go\n"
TEXT = "C-data:\nS: 250 thanks\n"


def message(*pieces: bytes, recipients: int = 1, **options: Any) -> Transaction:
    """A transaction from alice to so many."""
    paths = [b"r%d@x.example" % number for number in range(recipients)]
    content = Octets(*(pieces or (b"Subject: x\r\n\r\nhello\r\n",)), **options)
    return Transaction(b"alice@example.com", [Recipient(path) for path in paths], content)


class Owner(DeliverySender):
    """Sends what waits, and notes what it is told."""

    def __init__(self, clock: Clock, manner: Manner = MANNER, **options: Any) -> None:
        super().__init__(None, None, options.pop("context", None), manner=manner, clock=clock, **options)
        self.waiting: list[Transaction] = []
        self.finished: list[Transaction] = []
        self.answered: list[Recipient] = []
        self.ends: list[Trouble | None] = []
        self.was_greeted = False

    def greeted(self) -> None:
        self.was_greeted = True

    def nextTransaction(self) -> Transaction | None:
        return self.waiting.pop(0) if self.waiting else None

    def transactionFinished(self, transaction: Transaction) -> None:
        self.finished.append(transaction)

    def recipientAnswered(self, transaction: Transaction, recipient: Recipient) -> None:
        self.answered.append(recipient)

    def sessionEnded(self, trouble: Trouble | None) -> None:
        self.ends.append(trouble)


class SenderTest(SynchronousTestCase):
    """Starts a sender over memory and sees that nothing is left of it."""

    def start(
        self,
        behaviour: Behaviour | str,
        *transactions: Transaction,
        manner: Manner = MANNER,
        transport: FakeTransport | None = None,
        owner: type[Owner] = Owner,
        prompts: dict[str, Callable[[], object]] | None = None,
        **options: Any,
    ) -> Owner:
        """Connect, and let everything happen that needs no time."""
        self.clock = Clock()
        self.sender = owner(self.clock, manner, **options)
        self.sender.waiting = list(transactions)
        text = isinstance(behaviour, str) and behaviour.lstrip()[:2] in ("S:", "--", "S-")
        served = Script(str(behaviour)) if text else as_behaviour(behaviour)
        self.link = Link(self.sender, served, clock=self.clock, transport=transport, prompts=prompts)
        self.link.run()
        return self.sender

    def expect_end(self, after: float, kind: Kind | None, *, aborted: bool = True) -> None:
        """The session ends so many seconds from now, and not earlier."""
        steps = round(after * 10)
        for _ in range(steps - 1):
            self.link.advance(0.1)
        self.assertFalse(self.link.transport.disconnecting, "too early")
        self.link.advance(0.11)
        self.expect(kind, aborted=aborted)

    def expect(self, kind: Kind | None, *, aborted: bool = True) -> None:
        """The session has ended like this, was told of once, and left nothing behind."""
        (trouble,) = self.sender.ends
        self.assertEqual(trouble and trouble.kind, kind)
        self.assertGreaterEqual(self.link.transport.aborted, aborted)
        self.assertTrue(self.link.transport.disconnected)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Place(SynchronousTestCase):
    """What of the superclass is replaced."""

    def test_overrides_are_the_documented_ones(self) -> None:
        made_by_python = {"__init__", "__module__", "__doc__", "__annotations__"}
        made_by_zope = {"__implemented__", "__provides__"}
        overrides = set(vars(DeliverySender)) & set(dir(ESMTPSender))
        self.assertEqual(
            overrides - made_by_python - made_by_zope,
            {
                "__setattr__",
                "callLater",
                "connectionLost",
                "connectionMade",
                "dataReceived",
                "debug",
                "sendError",
                "timeoutConnection",
            },
        )

    def test_attributes_of_instances_clash_with_none(self) -> None:
        ours = set(vars(DeliverySender(None, None, identity=b"me.example")))
        theirs = set(vars(ESMTPSender(None, None, identity=b"me.example")))
        self.assertEqual((ours - theirs) & set(dir(ESMTPSender)), set())

    def test_demands_of_the_superclass_become_the_manner(self) -> None:
        sender = DeliverySender(b"user", b"geheim", object(), b"me.example", clock=Clock())
        sender.timeout = 7  # type: ignore[assignment]
        sender.makeConnection(FakeTransport())
        manner = sender.session.manner
        self.assertEqual((manner.name, manner.tls, manner.authenticate), (b"me.example", Tls.REQUIRED, True))
        self.assertEqual(set(manner.timeouts[1:]), {7.0})
        sender.connectionLost()

    def test_clock_is_the_reactor_where_none_is_given(self) -> None:
        from twisted.internet import reactor

        sender = DeliverySender(None, None, identity=b"me.example")
        sender.requireAuthentication = False
        sender.makeConnection(FakeTransport())
        self.assertIs(sender.clock, reactor)
        sender.connectionLost()


class Deadlines(SenderTest):
    """Every wait has its end, at its time."""

    def test_greeting(self) -> None:
        self.start("-- silence")
        self.expect_end(20, Kind.TIMED_OUT)

    def test_hello(self) -> None:
        self.start("S: 220 mx\nC: EHLO *\n-- silence")
        self.expect_end(20, Kind.TIMED_OUT)

    def test_hello_counts_from_the_greeting(self) -> None:
        self.start("-- wait 15\nS: 220 mx\nC: EHLO *\n-- silence")
        self.expect_end(20, Kind.TIMED_OUT)

    def test_mail(self) -> None:
        self.start(OPENING + "C: MAIL *\n-- silence", message())
        self.expect_end(20, Kind.TIMED_OUT)

    def test_recipient(self) -> None:
        self.start(OPENING + MAIL + "C: RCPT *\n-- silence", message())
        self.expect_end(20, Kind.TIMED_OUT)

    def test_data(self) -> None:
        self.start(OPENING + MAIL + RCPT + "C: DATA\n-- silence", message())
        self.expect_end(30, Kind.TIMED_OUT)

    def test_final_dot(self) -> None:
        self.start(OPENING + MAIL + RCPT + DATA + "C-data:\n-- silence", message())
        self.expect_end(40, Kind.TIMED_OUT)
        self.assertTrue(self.sender.finished[0].maybe_delivered)

    def test_each_reply_to_a_group_has_its_time(self) -> None:
        script = (
            PIPELINING
            + "C: MAIL *\nC: RCPT *\nC: DATA\n-- wait 19\nS: 250 a\n-- wait 19\nS: 250 b\n-- silence"
        )
        self.start(script, message())
        self.expect_end(30, Kind.TIMED_OUT)

    def test_drip_extends_nothing(self) -> None:
        self.start(OPENING + "C: MAIL *\n-- drip 3 per line\n" + "S: 250-more\n" * 9, message())
        self.assertEqual(self.clock.seconds(), 21)
        self.expect(Kind.TIMED_OUT)

    def test_drip_of_octets_extends_nothing(self) -> None:
        self.start("-- drip 1 per octet\nS: 220 mx.example.net ESMTP ready and waiting")
        self.expect(Kind.TIMED_OUT)
        self.assertNotIn(b"ready", self.link.conversation.server)

    def test_handshake(self) -> None:
        self.start(
            Script("S: 220 mx\nC: EHLO *\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\n-- silence"),
            manner=MANNER._replace(tls=Tls.OPPORTUNISTIC),
            context=object(),
        )
        self.expect_end(50, Kind.TLS_FAILED)

    def test_hello_after_the_handshake_has_its_own_time(self) -> None:
        opening = "S: 220 mx\nC: EHLO *\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\n"
        same = TIMES._replace(command=50)
        self.start(
            Script(opening + "-- wait 30\n-- starttls\nC: EHLO *\n-- silence"),
            manner=MANNER._replace(tls=Tls.OPPORTUNISTIC, timeouts=same),
            context=object(),
        )
        self.expect_end(50, Kind.TIMED_OUT)

    def test_write_that_stalls(self) -> None:
        self.start(OPENING + MAIL + RCPT + "C: DATA\n-- stop reading\nS: 354 go\n", message(b"x" * 65000))
        self.expect_end(50, Kind.WRITE_TIMED_OUT)

    def test_slow_reader_has_time_anew_with_all_that_it_takes(self) -> None:
        transport = FakeTransport(automatic=False)
        handle = transport.getHandle()
        assert isinstance(handle, FakeHandle)
        self.start(
            OPENING + MAIL + RCPT + "C: DATA\n-- client full\nS: 354 go\n-- silence",
            message(*[b"y" * 65536] * 9),
            transport=transport,
            prompts={"full": lambda: setattr(handle, "room", 0)},
        )
        for _ in range(3):
            for _ in range(49):
                self.link.advance(1)
            transport.accept()
        self.assertEqual(self.sender.ends, [])
        for _ in range(49):
            self.link.advance(1)
        self.assertEqual(self.sender.ends, [])
        self.link.advance(1.1)
        self.expect(Kind.WRITE_TIMED_OUT)

    def test_quit_gets_five_seconds(self) -> None:
        self.start(OPENING + "C: QUIT\n-- silence")
        self.sender.leave()
        self.link.run()
        self.expect_end(5, None)

    def test_leaving_in_the_midst_of_something_is_a_break(self) -> None:
        self.start(OPENING + "C: MAIL *\n-- silence", message())
        self.sender.leave()
        self.link.run()
        self.expect(Kind.STOPPED)
        self.assertEqual(len(self.sender.finished), 1)

    def test_quit_that_is_not_read_gets_five_seconds_as_well(self) -> None:
        self.start(OPENING + "-- stop reading\nS-raw: \n")
        self.sender.leave()
        self.expect_end(5, None)

    def test_close_that_is_not_answered_gets_five_seconds(self) -> None:
        transport = LooseTransport()
        self.start(OPENING + "C: QUIT\nS: 221 bye\n-- silence", transport=transport)
        self.sender.leave()
        self.link.run()
        self.assertTrue(transport.asked_to_close)
        self.assertEqual(self.sender.ends, [None])
        self.expect_end(5, None)

    def test_refusal_at_the_greeting_gets_a_farewell(self) -> None:
        self.start("S: 554 no\nC: QUIT\nS: 221 bye")
        self.expect(Kind.GREETING_REFUSED, aborted=False)
        self.assertEqual(self.link.conversation.commands, [b"QUIT"])

    def test_idle_session_has_no_deadline(self) -> None:
        self.start(OPENING + "C: MAIL *\nS: 250 ok\n-- silence")
        self.link.advance(10_000)
        self.assertEqual(self.sender.ends, [])
        self.sender.waiting = [message()]
        self.sender.proceed()
        self.link.run()
        self.expect_end(20, Kind.TIMED_OUT)

    def test_timer_is_not_touched_for_every_reply(self) -> None:
        set_to: list[float | None] = []

        class Counting(Owner):
            def setTimeout(self, period: float | None) -> None:
                set_to.append(period)
                super().setTimeout(period)

        self.start("+P", *[message() for _ in range(50)], owner=Counting)
        self.assertEqual(len(self.sender.finished), 50)
        self.assertLess(len(set_to), 5)
        self.sender.leave()
        self.link.run()
        self.expect(None, aborted=False)


class DeadlineOnly(SynchronousTestCase):
    """The deadline without a connection."""

    def setUp(self) -> None:
        self.now = 0.0
        self.timer: list[float | None] = []
        self.deadline = Deadline(lambda: self.now, self.timer.append)

    def test_later_deadline_leaves_the_timer(self) -> None:
        self.deadline.run(10, "a")
        self.now = 5
        self.deadline.run(10, "b")
        self.assertEqual(self.timer, [10])
        self.now = 10
        self.assertFalse(self.deadline.has_passed())
        self.assertEqual(self.timer, [10, 5])
        self.now = 15
        self.assertTrue(self.deadline.has_passed())

    def test_earlier_deadline_moves_it(self) -> None:
        self.deadline.run(10, "a")
        self.deadline.run(5, "b")
        self.assertEqual(self.timer, [10, 5])

    def test_same_step_keeps_its_deadline(self) -> None:
        self.deadline.run(10, "a")
        self.now = 9
        self.deadline.run(10, "a")
        self.now = 10
        self.assertTrue(self.deadline.has_passed())

    def test_nothing_awaited_never_passes(self) -> None:
        self.deadline.run(10, "a")
        self.deadline.run(None, "b")
        self.now = 11
        self.assertFalse(self.deadline.has_passed())
        self.deadline.run(10, "a")
        self.deadline.end()
        self.assertEqual(self.timer, [10, 10, None])


class Ends(SenderTest):
    """Whatever ends a connection is told once, and ends everything on it."""

    def test_server_that_hangs_up(self) -> None:
        self.start(OPENING + "C: MAIL *\n-- close", message())
        self.expect(Kind.HUNG_UP, aborted=False)

    def test_connection_that_is_reset(self) -> None:
        self.start(OPENING + "C: MAIL *\n-- reset", message())
        self.expect(Kind.HUNG_UP, aborted=False)

    def test_unusual_reason_is_quoted(self) -> None:
        self.start(OPENING + "C: MAIL *\n-- silence", message())
        self.link.transport.disconnect(OSError("the cable is out"))
        self.expect(Kind.HUNG_UP, aborted=False)
        assert self.sender.ends[0] is not None
        self.assertIn(b"the cable is out", self.sender.ends[0].text)

    def test_failed_handshake_is_told_as_such(self) -> None:
        opening = "S: 220 mx\nC: EHLO *\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\n-- silence"
        for reason, text in (
            (SSL.Error([("SSL routines", "", "wrong version number")]), b"wrong version number"),
            (SSL.Error(), b"Error"),
            (ValueError("certificate is for another"), b"certificate is for another"),
            (None, b"instead of beginning TLS"),
        ):
            self.start(Script(opening), manner=MANNER._replace(tls=Tls.OPPORTUNISTIC), context=object())
            self.link.transport.disconnect(reason)
            self.expect(Kind.TLS_FAILED, aborted=False)
            assert self.sender.ends[0] is not None
            self.assertIn(text, self.sender.ends[0].text)

    def test_content_that_fails_ends_the_transaction(self) -> None:
        for caps in ("", "+P", "+P +C"):
            broken = message(b"x" * 10, size=30, error=OSError("disk error"))
            self.start(caps, broken, message())
            self.expect(Kind.CONTENT_UNREADABLE)
            self.assertIs(self.sender.finished[0], broken)
            self.assertNotIn(b"\r\n.\r\n", self.link.conversation.client)
            self.assertEqual(self.link.conversation.messages, [])

    def test_content_that_fails_while_the_peer_reads_slowly(self) -> None:
        transport = FakeTransport(automatic=False)
        broken = message(*[b"y" * 65536] * 40, size=10**7, error=OSError("disk error"))
        self.start(
            PIPELINING + "C: MAIL *\nC: RCPT *\nC: DATA\nS: 250\nS: 250\nS: 354\n-- silence",
            transport=transport,
        )
        self.sender.waiting = [broken]
        self.sender.proceed()
        self.link.run()
        for _ in range(60):
            transport.accept(100_000)
        self.link.run()
        self.expect(Kind.CONTENT_UNREADABLE)
        self.assertEqual(self.sender.finished, [broken])

    def test_drop_ends_what_is_open(self) -> None:
        self.start(OPENING + "C: MAIL *\n-- silence", message())
        self.sender.drop(Trouble(Kind.STOPPED, b"enough"))
        self.sender.drop(Trouble(Kind.STOPPED, b"enough"))
        self.link.run()
        self.expect(Kind.STOPPED)
        self.assertEqual(len(self.sender.finished), 1)

    def test_input_after_the_end_is_passed_over(self) -> None:
        self.start(OPENING + "C: MAIL *\nS: 999\n-- silence", message())
        self.sender.dataReceived(b"250 ok\r\n")
        self.sender.proceed()
        self.sender.timeoutConnection()
        self.expect(Kind.PROTOCOL)

    def test_before_there_is_a_connection_nothing_happens(self) -> None:
        sender = Owner(Clock())
        sender.proceed()
        sender.timeoutConnection()
        sender.drop(Trouble(Kind.STOPPED, b"enough"))
        sender.connectionLost()
        self.assertEqual(len(sender.ends), 1)


class Faults(SenderTest):
    """An exception of ours costs the connection; everything on it is told."""

    def test_owner_that_fails_at_one_event_hears_the_others(self) -> None:
        class Failing(Owner):
            def recipientAnswered(self, transaction: Transaction, recipient: Recipient) -> None:
                super().recipientAnswered(transaction, recipient)
                raise RuntimeError("oops")

        self.start("+P; R 550", message(recipients=3), owner=Failing)
        self.expect(Kind.INTERNAL)
        self.assertEqual((len(self.sender.answered), len(self.sender.finished)), (3, 1))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 3)

    def test_owner_that_fails_to_give_a_message(self) -> None:
        class Failing(Owner):
            def nextTransaction(self) -> Transaction | None:
                raise RuntimeError("oops")

        self.start("", owner=Failing)
        self.expect(Kind.INTERNAL)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_message_that_cannot_be_announced_does_not_stop_the_next(self) -> None:
        bad = Transaction(b"a\r\nb", [Recipient(b"x@y.example")], Octets(b"x"))
        self.start("", bad, message())
        self.assertEqual([one.final_reply is None for one in self.sender.finished], [True, False])

    def test_message_for_nobody(self) -> None:
        self.start("", message(recipients=0))
        self.expect(Kind.INTERNAL)
        self.assertEqual(len(self.flushLoggedErrors(Exception)), 1)

    def test_owner_that_fails_at_the_end(self) -> None:
        class Failing(Owner):
            def sessionEnded(self, trouble: Trouble | None) -> None:
                super().sessionEnded(trouble)
                raise RuntimeError("oops")

        self.start("B 554+X", owner=Failing)
        self.assertEqual(len(self.sender.ends), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.flushLoggedErrors(RuntimeError)


class Security(SenderTest):
    """TLS and authentication as the owner wants them."""

    def test_everything_is_learnt_anew_after_the_handshake(self) -> None:
        self.start("+T +P", message(), manner=MANNER._replace(tls=Tls.OPPORTUNISTIC), context=object())
        self.assertEqual(len(self.sender.finished), 1)
        self.assertEqual(self.sender.tls and self.sender.tls.version, "?")  # no socket below
        self.assertEqual(verbs(self.link.conversation)[:4], ["EHLO", "STARTTLS", "EHLO", "MAIL"])

    def test_connection_that_is_secure_already_needs_no_starttls(self) -> None:
        transport = FakeTransport()
        alsoProvides(transport, ISSLTransport)
        self.start("+T", message(), transport=transport, manner=MANNER._replace(tls=Tls.REQUIRED))
        self.sender.handshakeCompleted()
        self.assertEqual((len(self.sender.finished), transport.tls_contexts), (1, []))
        self.assertTrue(self.sender.session.is_secure)

    def test_secret_may_be_allowed_in_clear(self) -> None:
        class Trusting(Owner):
            usesSecretsInClear = True

        clock = Clock()
        sender = Trusting(clock, MANNER._replace(authenticate=True))
        sender.secret = b"geheim"
        sender.authenticators = authenticators(b"user")
        link = Link(sender, as_behaviour("+A; A 334, 235"), clock=clock)
        link.run()
        self.assertTrue(sender.session.is_authenticated)

    def test_without_authentication_the_session_goes_on_where_it_may(self) -> None:
        class Easy(Owner):
            requireAuthentication = False

        self.start("", message(), manner=MANNER._replace(authenticate=True), owner=Easy)
        self.assertEqual((len(self.sender.finished), self.sender.session.state), (1, State.READY))
