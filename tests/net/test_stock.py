"""The sender in the place of Twisted's own: what its users know, without what is wrong with it.

The twenty defects are those of ESMTPSender in Twisted 26.10, each seen there with the same server.
"""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.mail import smtp
from twisted.mail.interfaces import IClientAuthentication
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.net.network import LooseTransport, as_behaviour
from zsmtp.net.sender import DeliverySender
from zsmtp.net.stock import StockMail, authenticators
from zsmtp.smtp.session import Manner
from zsmtp.testing.dialogue import Script
from zsmtp.testing.memory import FakeTransport, Link
from zsmtp.testing.peer import Behaviour
from zsmtp.testing.table import Table
from zsmtp.trouble import Kind, Trouble

OPENING = "S: 220 mx\nC: EHLO *\nS: 250 mx\n"
PIPELINING = "S: 220 mx\nC: EHLO *\nS: 250-mx\nS: 250 PIPELINING\n"
ENVELOPE = "C: MAIL FROM:<*> ...\nS: 250 ok\nC: RCPT TO:<*> ...\nS: 250 ok\nC: DATA\n"


class Connector:
    """Notes how often a factory connects anew."""

    def __init__(self) -> None:
        self.attempts = 0

    def connect(self) -> None:
        """See IConnector."""
        self.attempts += 1


class Sent:
    """One mail through a stock factory, over memory."""

    def __init__(
        self,
        behaviour: Behaviour | str,
        *,
        body: bytes = b"Subject: x\n\nhello\n",
        to: Any = (b"bob@example.net",),
        sender: Any = b"alice@example.com",
        username: bytes | None = None,
        password: bytes | None = None,
        retries: int = 0,
        timeout: int | None = None,
        transport: FakeTransport | None = None,
        protocol: type[DeliverySender] = DeliverySender,
        **options: Any,
    ) -> None:
        self.outcome: list[Any] = []
        self.clock = Clock()
        self.connector = Connector()
        result: Deferred[Any] = Deferred()
        result.addBoth(self.outcome.append)
        options = {"requireAuthentication": False, "requireTransportSecurity": False, **options}
        self.factory = smtp.ESMTPSenderFactory(
            username, password, sender, to, BytesIO(body), result, retries, timeout, **options
        )
        self.factory.protocol = protocol
        self.sender: Any = self.factory.buildProtocol(None)
        self.sender.clock = self.clock
        self.transport = transport or FakeTransport()
        self.link = Link(self.sender, as_behaviour(behaviour), clock=self.clock, transport=self.transport)
        self.link.run()
        self.lost()

    def pass_time(self, seconds: float) -> None:
        """Let time pass in steps, so that what is set again fires at its time."""
        for _ in range(int(seconds)):
            self.link.advance(1)
        self.lost()

    def lost(self) -> None:
        """Tell the factory, as a reactor does."""
        if self.transport.disconnected:
            self.factory.clientConnectionLost(self.connector, Failure(ConnectionDone()))

    @property
    def error(self) -> Any:
        """The exception of the only outcome."""
        (failure,) = self.outcome
        return failure.value

    @property
    def conversation(self) -> Any:
        """What was said."""
        return self.link.conversation


class TwentyDefects(SynchronousTestCase):
    """None of them is left."""

    def send(self, behaviour: Behaviour | str, **options: Any) -> Sent:
        """Send one mail; no timer is left behind when the connection is gone."""
        sent = Sent(behaviour, **options)
        self.addCleanup(self.check, sent)
        return sent

    def check(self, sent: Sent) -> None:
        """Whatever happened, the end is the end."""
        if sent.transport.disconnected:
            self.assertEqual(sent.clock.getDelayedCalls(), [])
        for outcome in sent.outcome:
            self.assertLessEqual(len(sent.outcome), 1, outcome)

    def test_01_reply_250_or_221_to_data_is_no_success(self) -> None:
        for reply in ("250", "221", "199"):
            sent = self.send(f"D {reply} fine")
            self.assertIsInstance(sent.error, smtp.SMTPProtocolError, reply)
            self.assertNotIn(b"hello", sent.conversation.client)
            self.assertEqual(sent.connector.attempts, 0)

    def test_02_dot_at_an_edge_of_a_piece_is_stuffed(self) -> None:
        for size in (16384, 65536):
            for at in (size - 2, size - 1, size, size + 1):
                body = b"x" * (at - 1) + b"\n.\nRCPT TO:<eve@example.net>\n"
                sent = self.send("+P", body=body)
                (message,) = sent.conversation.messages
                self.assertEqual(message.octets, body.replace(b"\n", b"\r\n"))
                self.assertEqual(message.recipients, (b"bob@example.net",))

    def test_02_dot_as_first_line_is_stuffed(self) -> None:
        sent = self.send("+P", body=b".\n..\n.a")
        self.assertEqual(sent.conversation.messages[0].octets, b".\r\n..\r\n.a\r\n")

    def test_03_success_before_the_end_of_the_text_is_none(self) -> None:
        early = PIPELINING + ENVELOPE + "-- stop reading\nS: 354 go\n-- wait 1\nS: 250 thanks\n"
        for body in (b"small\n", b"x" * 70 + b"\n" * 200_000):
            sent = self.send(Script(early), body=body)
            self.assertIsInstance(sent.error, smtp.SMTPProtocolError)
            self.assertTrue(sent.transport.aborted)

    def test_03_refusal_before_the_end_of_the_text_counts(self) -> None:
        early = PIPELINING + ENVELOPE + "-- stop reading\nS: 354 go\n-- wait 1\nS: 552 too big\n"
        sent = self.send(Script(early), body=b"x\n" * 200_000)
        self.assertIsInstance(sent.error, smtp.SMTPDeliveryError)
        self.assertEqual(sent.error.code, 552)
        self.assertTrue(sent.transport.aborted)

    def test_04_reply_injected_behind_starttls_ends_the_connection(self) -> None:
        injected = b"220 ready\r\n250-mx\r\n250 AUTH PLAIN\r\n"
        server = Table({"starttls": injected}, announce=["STARTTLS"])
        sent = self.send(server, username=b"user", password=b"geheim", contextFactory=object())
        self.assertIsInstance(sent.error, smtp.SMTPProtocolError)
        self.assertNotIn(b"AUTH", sent.conversation.client)
        self.assertTrue(sent.transport.aborted)

    def test_05_server_that_talks_ahead_is_not_believed(self) -> None:
        ahead = "S-raw: 220 mx\\r\\n250 mx\\r\\n250 ok\\r\\n250 ok\\r\\n354 go\\r\\n250 thanks\\r\\n"
        sent = self.send(Script(ahead + "\n-- silence"))
        self.assertIn(b"answers no command", bytes(sent.error))
        self.assertEqual(sent.conversation.messages, [])

    def test_06_keywords_are_read_in_any_case_and_form(self) -> None:
        sent = self.send(
            Table({}, announce=["starttls", "auth=LOGIN"]),
            username=b"user",
            password=b"geheim",
            contextFactory=object(),
        )
        self.assertEqual(sent.conversation.tls, "TLSv1.3")
        self.assertIn(b"AUTH LOGIN", sent.conversation.client)

    def test_06_first_line_is_no_keyword(self) -> None:
        sent = self.send(Table({"ehlo": "250 STARTTLS"}), contextFactory=object())
        self.assertNotIn(b"STARTTLS", sent.conversation.client)
        self.assertEqual(sent.outcome, [(1, [(b"bob@example.net", 250, b"recipient ok")])])

    def test_07_nothing_is_said_in_clear_when_tls_cannot_begin(self) -> None:
        class Broken(FakeTransport):
            def startTLS(self, ctx: object, normal: bool = True) -> None:
                raise RuntimeError("no engine")

        for transport, context in ((Broken(), object()), (FakeTransport(), None)):
            sent = self.send("+T", transport=transport, contextFactory=context, requireTransportSecurity=True)
            self.assertEqual(len(sent.outcome), 1)
            self.assertEqual(sent.conversation.commands[1:], [b"STARTTLS"])
            self.assertTrue(sent.transport.aborted)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_08_helo_is_said_once(self) -> None:
        sent = self.send("E 500; H 500", heloFallback=True)
        self.assertEqual([line[:4] for line in sent.conversation.commands], [b"EHLO", b"HELO", b"QUIT"])
        self.assertIsInstance(sent.error, smtp.EHLORequiredError)

    def test_08_rset_is_not_said_for_ever(self) -> None:
        sent = self.send("S 500; . 550")
        self.assertNotIn(b"RSET", sent.conversation.client)

    def test_08_endless_challenges_are_cut_off(self) -> None:
        sent = self.send(
            "+T +A; A 334 dXNlcg==", username=b"user", password=b"geheim", contextFactory=object()
        )
        self.assertIsInstance(sent.error, smtp.AuthenticationError)
        self.assertLess(len(sent.conversation.commands), 14)

    def test_09_what_is_no_reply_is_not_taken_for_one(self) -> None:
        lines = (
            b"250-\r\n\r\n",
            b"220hi\r\n",
            b"554-no\r\n220 yes\r\n",
            b"2_0 x\r\n",
            b" 22 x\r\n",
            b"\xff\xfe\x00\r\n",
        )
        for octets in lines:
            sent = self.send(Table({"banner": octets}))
            self.assertEqual(len(sent.outcome), 1, octets)
            self.assertIsInstance(sent.error, smtp.SMTPClientError)
            self.assertTrue(str(sent.error))
            self.assertEqual(sent.conversation.client, b"")

    def test_09_empty_text_is_a_reply(self) -> None:
        sent = self.send(Table({"dot": b"250-\r\n250\r\n"}))
        self.assertEqual(sent.outcome[0][0], 1)

    def test_10_bare_line_feeds_end_lines(self) -> None:
        sent = self.send(Table({"banner": b"220 mx\n", "mail": b"250 ok\n", "dot": b"250 thanks\n"}))
        self.assertEqual(sent.outcome[0][0], 1)

    def test_10_without_a_timeout_there_is_one(self) -> None:
        for script in ("-- silence", OPENING + "-- silence", OPENING + ENVELOPE + "S: 354\n-- silence"):
            sent = self.send(Script(script), timeout=None)
            sent.pass_time(299)
            self.assertEqual(sent.outcome, [])
            sent.pass_time(2)
            self.assertIsInstance(sent.error, smtp.SMTPTimeoutError)

    def test_11_endless_reply_is_cut_off(self) -> None:
        sent = self.send(Script("S: 220 mx\nC: EHLO *\n-- flood 40000 lines 250-more\nS: 250 mx"))
        self.assertLess(len(sent.conversation.server), 20_000)
        self.assertTrue(sent.transport.aborted)
        self.assertEqual(len(sent.outcome), 1)

    def test_12_dripping_server_does_not_extend_its_time(self) -> None:
        sent = self.send(Script("-- drip 59 per line\n" + "S: 220-wait\n" * 90 + "S: 220 mx"), timeout=60)
        self.assertIsInstance(sent.error, smtp.SMTPTimeoutError)
        self.assertEqual(sent.clock.seconds() // 59, 2)

    def test_13_peer_that_does_not_read_is_cut_off(self) -> None:
        script = PIPELINING + ENVELOPE + "-- stop reading\nS: 354 go\n"
        sent = self.send(Script(script), body=b"x\n" * 100_000, timeout=60)
        sent.pass_time(59)
        self.assertFalse(sent.transport.aborted)
        sent.pass_time(2)
        self.assertTrue(sent.transport.aborted)
        self.assertIsInstance(sent.error, smtp.SMTPTimeoutError)

    def test_13_peer_that_does_not_let_go_is_cut_off(self) -> None:
        script = OPENING + ENVELOPE + "S: 354 go\nC-data:\nS: 250 thanks\nC: QUIT\nS: 221 bye\n-- silence"
        sent = self.send(Script(script), transport=LooseTransport(), timeout=60)
        self.assertEqual(sent.outcome[0][0], 1)
        transport: Any = sent.transport
        self.assertEqual((transport.asked_to_close, transport.aborted), (True, False))
        sent.pass_time(5)
        self.assertTrue(sent.transport.aborted)

    def test_13_farewell_without_an_answer_is_short(self) -> None:
        sent = self.send("Q -", timeout=60)
        self.assertEqual(sent.outcome[0][0], 1)
        sent.pass_time(4)
        self.assertFalse(sent.transport.aborted)
        sent.pass_time(1)
        self.assertTrue(sent.transport.aborted)

    def test_14_what_comes_after_success_is_passed_over(self) -> None:
        script = (
            OPENING
            + ENVELOPE
            + "S: 354 go\nC-data:\nS: 250 thanks\nC: QUIT\nS-raw: \\xff\\r\\n\\x00250 x\\r\\n"
        )
        sent = self.send(Script(script))
        self.assertEqual(sent.outcome[0][0], 1)
        sent.sender.dataReceived(b"250 more\r\n")
        sent.sender.timeoutConnection()
        self.assertEqual(len(sent.outcome), 1)

    def test_15_reply_421_to_a_recipient_stops_everything(self) -> None:
        sent = self.send("R 421 closing", to=(b"a@x.example", b"b@x.example"))
        self.assertEqual(sent.conversation.client.count(b"RCPT"), 1)
        self.assertEqual(sent.error.code, 421)

    def test_16_address_is_sent_as_it_is_or_not_at_all(self) -> None:
        strange = [b'"a b"@x.example', b"MAILER-DAEMON", "j\u00f6rg@x.example".encode(), b"a..b@x.example"]
        wrong = [
            b'"a\r\nb"@x.example',
            b"a@x.example\r\nRCPT TO:<eve@x.example>",
            b"a@x.example> SIZE=1",
            b"",
        ]
        sent = self.send("+P", to=strange + wrong)
        self.assertEqual(sent.conversation.messages[0].recipients, tuple(strange))
        number, answers = sent.outcome[0]
        self.assertEqual(number, len(strange))
        self.assertEqual(
            [(address, code) for address, code, _ in answers[: len(wrong)]], [(each, 553) for each in wrong]
        )

    def test_16_without_a_usable_address_nothing_is_said(self) -> None:
        sent = self.send("", to=(b"a@x.example\r\n",))
        self.assertEqual((sent.error.code, b"MAIL" in sent.conversation.client), (553, False))

    def test_17_secret_is_not_said_in_clear(self) -> None:
        sent = self.send("+A", username=b"user", password=b"geheim")
        self.assertNotIn(b"AUTH", sent.conversation.client)
        self.assertEqual(sent.outcome[0][0], 1)
        sent = self.send("+A", username=b"user", password=b"geheim", requireAuthentication=True)
        self.assertNotIn(b"AUTH", sent.conversation.client)
        self.assertIsInstance(sent.error, smtp.AuthenticationError)

    def test_17_refused_secret_is_not_said_again_and_not_shown(self) -> None:
        server = Table({"auth": ["334 ", "535 5.7.8 no"]}, announce=["STARTTLS", "AUTH PLAIN"])
        sent = self.send(server, username=b"user", password=b"geheim", contextFactory=object())
        coded = base64.b64encode(b"\0user\0geheim")
        self.assertEqual(sent.conversation.client.count(b"AUTH PLAIN\r\n" + coded), 1)
        self.assertEqual(sent.conversation.client.count(coded), 1)
        self.assertIsInstance(sent.error, smtp.AuthenticationError)
        shown = (
            bytes(sent.error)
            + repr(sent.error).encode()
            + sent.sender.log.str()
            + repr(vars(sent.error)).encode()
        )
        for secret in (b"geheim", coded):
            self.assertNotIn(secret, shown)

    def test_18_connection_lost_after_the_dot_is_told_once_and_not_repeated(self) -> None:
        for ending in (". X", ". reset", ". 421 sorry+X"):
            sent = self.send(ending, retries=5)
            self.assertEqual(len(sent.outcome), 1, ending)
            self.assertEqual(sent.connector.attempts, 0)

    def test_18_connection_lost_before_the_dot_may_be_tried_again(self) -> None:
        sent = self.send("D X", retries=5)
        self.assertEqual((sent.outcome, sent.connector.attempts), ([], 1))

    def test_19_line_ends_are_not_doubled(self) -> None:
        sent = self.send("+P", body=b"Subject: x\r\n\r\na\r\nb\n")
        self.assertEqual(sent.conversation.messages[0].octets, b"Subject: x\r\n\r\na\r\nb\r\n")

    def test_19_extensions_are_used(self) -> None:
        sent = self.send("+P +S 1000 +8", body="Subject: x\n\nj\u00f6rg\n".encode())
        self.assertIn(b" BODY=8BITMIME SIZE=21\r\n", sent.conversation.client)
        self.assertEqual(len(sent.conversation.flights), 4)

    def test_19_every_recipient_of_lmtp_has_its_own_answer(self) -> None:
        class Lmtp(DeliverySender):
            def connectionMade(self) -> None:
                self.manner = Manner(lmtp=True)
                super().connectionMade()

        sent = self.send("lmtp; . 250 fine, 550 no", to=(b"a@x.example", b"b@x.example"), protocol=Lmtp)
        self.assertEqual((sent.error.code, sent.conversation.commands[0][:4]), (550, b"LHLO"))

    def test_20_every_abnormal_end_is_told(self) -> None:
        for script in ("B X", "B " + "x" * 70_000, "E X", "M X", "R X", "D X", ". X", "E reset", "R reset"):
            self.assertEqual(len(self.send(script).outcome), 1, script[:10])


class Hooks(SynchronousTestCase):
    """What users of ESMTPClient override keeps its meaning."""

    def run_mails(
        self, behaviour: Behaviour | str, *mails: tuple[Any, list[Any], bytes]
    ) -> tuple[list[Any], Link]:
        """Send several mails over one connection."""
        told: list[Any] = []
        waiting = list(mails)

        class Many(DeliverySender):
            requireAuthentication = requireTransportSecurity = False

            def getMailFrom(self) -> Any:
                return waiting[0][0] if waiting else None

            def getMailTo(self) -> Any:
                return waiting[0][1]

            def getMailData(self) -> Any:
                return BytesIO(waiting.pop(0)[2])

            def sentMail(self, code: int, resp: bytes, numOk: int, addresses: Any, log: Any) -> None:
                told.append((code, numOk))

            def sendError(self, exc: Any) -> None:
                told.append(exc)

        clock = Clock()
        link = Link(
            Many(None, None, identity=b"me.example", clock=clock), as_behaviour(behaviour), clock=clock
        )
        return told, link

    def test_mails_follow_each_other_until_there_is_none(self) -> None:
        for caps in ("", "+P", "+P +C"):
            told, link = self.run_mails(
                caps, ("a@x.example", ["b@x.example"], b"1\n"), (b"", [b"c@x.example"], b"2\n")
            )
            link.run()
            self.assertEqual(told, [(250, 1), (250, 1)], caps)
            self.assertEqual([each.octets for each in link.conversation.messages], [b"1\r\n", b"2\r\n"])
            self.assertEqual(link.conversation.commands[-1], b"QUIT")

    def test_refusals_are_told_with_the_reply_that_ended_it(self) -> None:
        for server, code, number in (
            ("M 550", 550, 0),
            ("R 551", 551, 0),
            ("+P; R 551", 551, 0),
            ("D 552", 552, 1),
            (". 554", 554, 1),
            ("+P; R 250, 550; . 250", 250, 1),
        ):
            told, link = self.run_mails(
                server,
                (b"a@x.example", [b"b@x.example", b"c@x.example"][: 1 + (number and "," in server)], b"1\n"),
            )
            link.run()
            self.assertEqual(told, [(code, number)], server)

    def test_nothing_to_send_is_a_farewell(self) -> None:
        told, link = self.run_mails("")
        link.run()
        self.assertEqual((told, link.conversation.commands), ([], [b"EHLO me.example", b"QUIT"]))

    def test_refused_mail_is_told_and_the_next_one_sent(self) -> None:
        told, link = self.run_mails(
            "+P; R 550, 250",
            ("a@x.example", ["b@x.example"], b"1\n"),
            ("a@x.example", ["c@x.example"], b"2\n"),
        )
        link.run()
        self.assertEqual(told, [(550, 0), (250, 1)])


class Errors(SynchronousTestCase):
    """Troubles become the exceptions that Twisted's users expect."""

    def test_each_kind_has_its_exception(self) -> None:
        mail = StockMail(None)
        for kind, error in (
            (Kind.GREETING_REFUSED, smtp.SMTPConnectError),
            (Kind.HELLO_REFUSED, smtp.EHLORequiredError),
            (Kind.TLS_REQUIRED, smtp.TLSRequiredError),
            (Kind.TLS_FAILED, smtp.TLSError),
            (Kind.AUTH_FAILED, smtp.AuthenticationError),
            (Kind.TIMED_OUT, smtp.SMTPTimeoutError),
            (Kind.PROTOCOL, smtp.SMTPProtocolError),
            (Kind.HUNG_UP, smtp.SMTPProtocolError),
        ):
            made = mail.error(Trouble(kind, b"\r<<- x\ry"))
            self.assertIs(type(made), error)
            self.assertEqual((made.code, made.resp, made.isFatal), (-1, b"<<- x y", True))

    def test_factory_is_told_once(self) -> None:
        sent = Sent("B 554 no")
        self.assertEqual(sent.error.code, 554)
        sent.sender.sendError(smtp.SMTPProtocolError(1, b"again"))
        self.assertEqual(len(sent.outcome), 1)

    def test_sender_without_a_stock_factory_may_fail_as_well(self) -> None:
        clock = Clock()
        sender = DeliverySender(None, None, identity=b"me.example", clock=clock)
        sender.requireAuthentication = sender.requireTransportSecurity = False
        sender.factory = object()
        link = Link(sender, as_behaviour("B 554"), clock=clock)
        link.run()
        self.assertTrue(link.transport.disconnected)


class Mechanisms(SynchronousTestCase):
    """What is registered in place of Twisted's."""

    def test_all_are_what_twisted_asks_for(self) -> None:
        for each in authenticators(b"user"):
            verifyObject(IClientAuthentication, each)
        self.assertEqual(authenticators(None), [])

    def test_sender_registers_its_own(self) -> None:
        sender = DeliverySender(b"user", b"geheim")
        self.assertEqual(
            [each.getName() for each in sender.authenticators], [b"CRAM-MD5", b"PLAIN", b"LOGIN"]
        )
        self.assertTrue(all(type(each).__module__.startswith("zsmtp") for each in sender.authenticators))

    def exchange(self, mechanism: str, *challenges: str) -> list[bytes]:
        """Authenticate over memory; return what the client said about it."""
        server = Table({"auth": [*challenges, "235 ok"]}, announce=["STARTTLS", f"AUTH {mechanism}"])
        sent = Sent(server, username=b"user", password=b"geheim", contextFactory=object())
        self.assertEqual(sent.outcome[0][0], 1, sent.outcome)
        lines = sent.conversation.commands
        begin = lines.index(b"AUTH " + mechanism.encode())
        return [base64.b64decode(line) for line in lines[begin + 1 : begin + 1 + len(challenges)]]

    def test_plain_names_no_authorization_identity(self) -> None:
        self.assertEqual(self.exchange("PLAIN", "334 "), [b"\0user\0geheim"])

    def test_login_says_user_then_secret(self) -> None:
        self.assertEqual(self.exchange("LOGIN", "334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6"), [b"user", b"geheim"])

    def test_cram_md5_says_no_secret(self) -> None:
        challenge = base64.b64encode(b"<1.2@mx>").decode()
        (answer,) = self.exchange("CRAM-MD5", f"334 {challenge}")
        self.assertEqual((answer[:5], len(answer)), (b"user ", 37))

    def test_unreadable_challenge_is_given_up(self) -> None:
        server = Table({"auth": ["334 !!!", "501 cancelled"]}, announce=["STARTTLS", "AUTH CRAM-MD5"])
        sent = Sent(server, username=b"user", password=b"geheim", contextFactory=object())
        self.assertIn(b"*", sent.conversation.commands)
        self.assertIsInstance(sent.error, smtp.AuthenticationError)
