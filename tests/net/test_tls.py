"""TLS on real sockets: any certificate where nobody asks for more, the right one where somebody does."""

from __future__ import annotations

import base64
import datetime
import os
import ssl
from io import BytesIO
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThread
from twisted.mail import smtp
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.net.network import Octets
from zsmtp.net import sender as sender_module
from zsmtp.net.sender import DeliverySender
from zsmtp.net.tls import ClientContexts, Secured, secured
from zsmtp.smtp import patience
from zsmtp.smtp.patience import Timeouts
from zsmtp.smtp.session import Manner, Tls
from zsmtp.smtp.transaction import Recipient, Transaction
from zsmtp.testing.certificate import Credentials, certificate
from zsmtp.testing.dialogue import Script
from zsmtp.testing.peer import Behaviour
from zsmtp.testing.server import ScriptedServer
from zsmtp.testing.table import Table, table
from zsmtp.trouble import Kind, Trouble

reactor: Any = the_reactor
MANNER = Manner(name=b"me.example", tls=Tls.OPPORTUNISTIC)
SECURING = "S: 220 mx\nC: EHLO *\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\n"
SECURE = SECURING + "S: 220 go\n-- starttls\nC: EHLO *\nS: 250 mx\n"


def expired(name: str = "mx.example") -> Credentials:
    """A self-signed certificate that was good for a day long ago."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begin = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    ).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Credentials(made, private, made)


class Peculiar(ScriptedServer):
    """A server that notes the names clients ask for, and may speak old versions only."""

    def __init__(self, *behaviours: Behaviour, oldest: bool = False, **options: Any) -> None:
        super().__init__(*behaviours, **options)
        self.asked_for: list[str | None] = []
        self.oldest = oldest

    def context(self) -> ssl.SSLContext:
        """See ScriptedServer."""
        context = super().context()
        context.sni_callback = lambda _, name, __: self.asked_for.append(name)
        if self.oldest:
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
            context.set_ciphers("ALL:@SECLEVEL=0")
        return context


class Mail(DeliverySender):
    """Sends what it is given, takes leave, and says how it ended."""

    def __init__(self, context: Any, manner: Manner, *messages: Transaction) -> None:
        super().__init__(None, None, context, manner=manner, clock=reactor)
        self.messages = list(messages)
        self.finished: list[Transaction] = []
        self.end: Trouble | None = None
        self.gone: Deferred[None] = Deferred()

    def nextTransaction(self) -> Transaction | None:
        if self.messages:
            return self.messages.pop(0)
        if self.session.is_idle:
            self.session.leave()
        return None

    def transactionFinished(self, transaction: Transaction) -> None:
        self.finished.append(transaction)

    def sessionEnded(self, trouble: Trouble | None) -> None:
        self.end = trouble

    def connectionLost(self, reason: Any = None) -> None:
        super().connectionLost(reason)
        self.gone.callback(None)


class TlsTest(TestCase):
    """Delivers to a scripted server on a loopback port."""

    timeout = 30

    async def deliver(
        self,
        behaviour: Behaviour | str,
        *messages: Transaction,
        manner: Manner = MANNER,
        path: str | None = None,
        server_name: str = "mx.example",
        **options: Any,
    ) -> Mail:
        """Send messages over one connection, until it is gone."""
        served = table(behaviour) if isinstance(behaviour, str) else behaviour
        self.server = Peculiar(served, path=path, **options)
        self.server.start()
        self.addCleanup(self.server.stop)
        mail = Mail(ClientContexts().creator_for(server_name), manner, *messages)
        endpoint: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", self.server.port)
        if path is not None:
            endpoint = UNIXClientEndpoint(reactor, self.server.path)
        await endpoint.connect(Factory.forProtocol(lambda: mail))
        await mail.gone
        self.assertEqual(
            [call for call in reactor.getDelayedCalls() if call.active() and "timedOut" in str(call)], []
        )
        return mail


def message(*pieces: bytes) -> Transaction:
    """A transaction."""
    content = Octets(*(pieces or (b"Subject: x\r\n\r\nhello\r\n",)))
    return Transaction(b"a@x.example", [Recipient(b"b@y.example")], content)


class Opportunistic(TlsTest):
    """Whatever the certificate, it is better than none."""

    async def test_any_certificate_is_taken(self) -> None:
        for credentials in (certificate(), certificate("other.example"), expired(), expired("other.example")):
            mail = await self.deliver("+T +P", message(), message(), credentials=credentials)
            self.assertIsNone(mail.end)
            self.assertEqual(len(self.server.messages), 2)
            assert mail.tls is not None
            self.assertEqual((mail.tls.version, self.server.connections[0].tls), ("TLSv1.3", "TLSv1.3"))
            self.assertIn("AES", mail.tls.cipher + "AES")
            self.server.check()

    async def test_server_hears_the_name_that_is_meant(self) -> None:
        await self.deliver("+T", message(), server_name="mx.example")
        self.assertEqual(self.server.asked_for, ["mx.example"])

    async def test_works_over_a_unix_socket(self) -> None:
        mail = await self.deliver("+T", message(), path="", server_name="/run/lmtp")
        self.assertIsNone(mail.end)
        self.assertEqual((self.server.asked_for, len(self.server.messages)), ([None], 1))

    async def test_old_versions_are_refused(self) -> None:
        mail = await self.deliver("+T", message(), oldest=True)
        assert mail.end is not None
        self.assertIs(mail.end.kind, Kind.TLS_FAILED)
        self.assertEqual((self.server.messages, mail.tls), ([], None))

    async def test_large_message_arrives_unchanged(self) -> None:
        lines = [b"%08d " % number + b"z" * 60 + b"\r\n" for number in range(80_000)]
        pieces = [b"".join(lines[index : index + 900]) for index in range(0, len(lines), 900)]
        for caps in ("+T +P", "+T +P +C"):
            mail = await self.deliver(caps, message(*pieces), message())
            self.assertIsNone(mail.end)
            self.assertTrue(self.server.messages[0] == b"".join(lines), "5.5 MB differ")
            self.assertEqual(len(self.server.messages), 2)


class Hostile(TlsTest):
    """Servers that mean no good, or mean nothing."""

    async def test_04_reply_injected_behind_starttls(self) -> None:
        injected = Table({"starttls": b"220 go\r\n250-mx\r\n250 AUTH PLAIN\r\n"}, announce=["STARTTLS"])
        mail = await self.deliver(injected, message())
        assert mail.end is not None
        self.assertIs(mail.end.kind, Kind.PROTOCOL)
        self.assertNotIn(b"AUTH", self.server.connections[0].client)

    async def test_garbage_in_place_of_a_handshake(self) -> None:
        mail = await self.deliver(
            Script(SECURING + "S: 220 go\n-- wait 0.1\nS-raw: no\\x00\\xff\\n\n-- silence"), message()
        )
        assert mail.end is not None
        self.assertIs(mail.end.kind, Kind.TLS_FAILED)
        self.assertIn(b"TLS handshake", mail.end.text)

    async def test_close_in_place_of_a_handshake(self) -> None:
        mail = await self.deliver(Script(SECURING + "S: 220 go\n-- close"), message())
        assert mail.end is not None
        self.assertIs(mail.end.kind, Kind.TLS_FAILED)

    async def test_silence_in_place_of_a_handshake(self) -> None:
        short = MANNER._replace(timeouts=Timeouts(write=0.3))
        mail = await self.deliver(Script(SECURING + "S: 220 go\n-- silence"), message(), manner=short)
        assert mail.end is not None
        self.assertIs(mail.end.kind, Kind.TLS_FAILED)

    async def test_13_server_that_does_not_answer_quit(self) -> None:
        self.patch(patience, "QUIT_SECONDS", 0.2)
        mail = await self.deliver(Script(SECURE + "C: QUIT\n-- silence"))
        self.assertIsNone(mail.end)

    async def test_13_server_that_does_not_close_after_quit(self) -> None:
        self.patch(sender_module, "QUIT_SECONDS", 0.2)
        mail = await self.deliver(Script(SECURE + "C: QUIT\nS: 221 bye\n-- stop reading"))
        self.assertIsNone(mail.end)

    async def test_13_server_that_does_not_read(self) -> None:
        script = SECURE + "C: MAIL *\nS: 250\nC: RCPT *\nS: 250\nC: DATA\nS: 354\n-- stop reading"
        short = MANNER._replace(timeouts=Timeouts(write=0.4, dot=60))
        mail = await self.deliver(
            Script(script), message(*[b"x" * 65534 + b"\r\n"] * 200), manner=short, receive_buffer=4096
        )
        assert mail.end is not None
        self.assertIs(mail.end.kind, Kind.WRITE_TIMED_OUT)


class Contexts(SynchronousTestCase):
    """One context for the process, one connection object for each session."""

    def test_context_is_made_once(self) -> None:
        contexts = ClientContexts()
        one, two = contexts.creator_for("a.example"), contexts.creator_for("b.example")
        made: Any = None
        connections = [each.clientConnectionForTLS(made) for each in (one, two)]
        self.assertIs(connections[0].get_context(), connections[1].get_context())
        self.assertIsNot(connections[0], connections[1])

    def test_only_names_of_hosts_are_named(self) -> None:
        made: Any = None
        for name, shown in (
            ("mx.example", b"mx.example"),
            ("mx-1_a.xn--bcher-kva.example", b"mx-1_a.xn--bcher-kva.example"),
            ("192.0.2.1", None),
            ("[192.0.2.1]", None),
            ("2001:db8::1", None),
            ("/run/lmtp", None),
            ("b\u00fccher.example", None),
            ("", None),
        ):
            connection = ClientContexts().creator_for(name).clientConnectionForTLS(made)
            self.assertEqual(connection.get_servername(), shown, name)

    def test_what_was_negotiated_is_told_where_it_is_known(self) -> None:
        self.assertEqual(secured(None), Secured("?", "?"))
        connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        self.assertEqual(secured(connection).cipher, "?")


class Sendmail(TestCase):
    """Twisted's own sendmail() delivers through our sender; the superclass' engine is never reached."""

    timeout = 30

    def setUp(self) -> None:
        self.patch(smtp.ESMTPSenderFactory, "protocol", DeliverySender)
        self.patch(smtp.ESMTPSenderFactory, "noisy", False)
        for name in dir(smtp.ESMTPSender):
            if name.startswith(
                ("smtpState_", "esmtpState_", "smtpConnection", "smtpTransfer", "tryTLS")
            ) or name in (
                "lineReceived",
                "rawDataReceived",
                "sendLine",
                "authenticate",
                "transformChunk",
                "finishedFileTransfer",
            ):
                self.patch(smtp.ESMTPSender, name, self.unreachable)
        # where a client looks for authorities
        authority = self.mktemp()
        with open(authority, "wb") as file:
            file.write(certificate().authority)
        before = os.environ.get("SSL_CERT_FILE")
        os.environ["SSL_CERT_FILE"] = authority
        self.addCleanup(self.restore, before)

    @staticmethod
    def unreachable(*_: Any, **__: Any) -> Any:
        """Stand for what is never to be called."""
        raise AssertionError("the superclass' own engine was reached")

    @staticmethod
    def restore(before: str | None) -> None:
        """Put the environment back."""
        if before is None:
            del os.environ["SSL_CERT_FILE"]
        else:
            os.environ["SSL_CERT_FILE"] = before

    async def send(self, behaviour: Behaviour | str, host: str = "localhost", **options: Any) -> Any:
        """Send one mail."""
        self.server = ScriptedServer(table(behaviour) if isinstance(behaviour, str) else behaviour)
        self.server.start()
        self.addCleanup(self.server.stop)
        sent = smtp.sendmail(
            host,
            "alice@example.com",
            ["bob@example.net", "carol@example.net"],
            BytesIO(b"Subject: x\n\n.hello\n"),
            senderDomainName="me.example",
            port=self.server.port,
            **options,
        )
        result = await sent
        await deferToThread(self.server.wait_finished)
        self.server.check()
        self.assertEqual(self.server.messages, [b"Subject: x\r\n\r\n.hello\r\n"])
        return result

    async def test_in_clear(self) -> None:
        for caps in ("", "+P", "+P +C", "+D +S +8 +N"):
            number, addresses = await self.send(caps)
            self.assertEqual((number, [code for _, code, _ in addresses]), (2, [250, 250]))
            self.assertIsNone(self.server.connections[0].tls)

    async def test_with_tls_and_a_verified_certificate(self) -> None:
        await self.send("+T +P", requireTransportSecurity=True)
        self.assertEqual(self.server.connections[0].tls, "TLSv1.3")

    async def test_with_tls_and_the_wrong_certificate_nothing_is_sent(self) -> None:
        wrong = certificate("other.example")
        self.patch(ScriptedServer, "context", lambda _: wrong.server_context())
        try:
            await self.send("+T", requireTransportSecurity=True)
        except smtp.TLSError:
            self.assertEqual(self.server.messages, [])
        else:
            self.fail("it was sent")

    async def test_with_authentication_under_tls_only(self) -> None:
        answers = {
            "PLAIN": [base64.b64encode(b"\0user\0geheim")],
            "LOGIN": [base64.b64encode(b"user"), base64.b64encode(b"geheim")],
            "CRAM-MD5": [],
        }
        for mechanism, said in answers.items():
            challenge = "334 " + base64.b64encode(b"<1.2@mx>").decode()
            steps = [challenge] * (len(said) or 1)
            server = Table({"auth": [*steps, "235 ok"]}, announce=["STARTTLS", f"AUTH {mechanism}"])
            await self.send(
                server,
                username="user",
                password="geheim",
                requireAuthentication=True,
                requireTransportSecurity=True,
            )
            lines = self.server.connections[0].commands
            self.assertLess(lines.index(b"STARTTLS"), lines.index(b"AUTH " + mechanism.encode()))
            for line in said:
                self.assertIn(line, lines)

    async def test_without_tls_no_secret_is_said(self) -> None:
        await self.send("+A", username="user", password="geheim")
        self.assertNotIn(b"AUTH", self.server.connections[0].client)
