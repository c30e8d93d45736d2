"""Certificates of every kind against each level of verification, and sessions that are resumed."""

from __future__ import annotations

import ssl
import time
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from tests.net.test_tls import Mail, TlsTest, message
from zsmtp.net import tls as tls_module
from zsmtp.net.tls import ClientContexts
from zsmtp.smtp.session import Manner, Tls
from zsmtp.testing.authority import Authority, Credentials
from zsmtp.testing.certificate import Peculiarity
from zsmtp.testing.server import ScriptedServer
from zsmtp.testing.table import table
from zsmtp.tlsfile import Level, TlsSettings
from zsmtp.trouble import Kind

reactor: Any = the_reactor
NAME = "mx.mail.example"
MANNER = Manner(name=b"me.example", tls=Tls.REQUIRED)

UNKNOWN = "the certificate's authority is unknown"
# what is wrong with each of them; empty: nothing
DOUBTS = {
    Peculiarity.GOOD: "",
    Peculiarity.CHAIN: "",
    Peculiarity.MISSING_INTERMEDIATE: UNKNOWN,
    Peculiarity.RSA: "",
    Peculiarity.SHORT_KEY: "the certificate's key is too short",
    Peculiarity.EXPIRED: "the certificate has expired",
    Peculiarity.NOT_YET_VALID: "the certificate is not valid yet",
    Peculiarity.WRONG_NAME: f"the certificate does not name {NAME}",
    Peculiarity.WILDCARD: "",
    Peculiarity.COMMON_NAME_ONLY: f"the certificate does not name {NAME}",
    Peculiarity.SELF_SIGNED: "the certificate is signed by itself",
    Peculiarity.UNKNOWN_AUTHORITY: UNKNOWN,
}


class Steady(ScriptedServer):
    """A server whose sessions can be resumed, since its context is one; notes which were."""

    def __init__(self, *arguments: Any, newest: ssl.TLSVersion | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.resumed: list[bool] = []
        self.made = super().context()
        if newest is not None:
            self.made.maximum_version = newest
        server = self

        class Noting(ssl.SSLSocket):
            """Notes at the handshake's end whether it was an abbreviated one."""

            def do_handshake(self, block: bool = False) -> None:
                super().do_handshake(block)
                server.resumed.append(bool(self.session_reused))

        self.made.sslsocket_class = Noting

    def context(self) -> ssl.SSLContext:
        """See ScriptedServer."""
        return self.made


class CertificateTest(TlsTest):
    """Connects with a policy of its own."""

    def trust(self, credentials: Credentials) -> str:
        """Write the authority of credentials into a file."""
        path: str = self.mktemp()
        with open(path, "wb") as file:
            file.write(credentials.authority)
        return path

    def policy(self, credentials: Credentials, level: Level, **more: Any) -> ClientContexts:
        """Make a policy that trusts the authority of `credentials`."""
        settings = TlsSettings("tls.conf", level=level, ca_file=self.trust(credentials), **more)
        return ClientContexts(settings, now=lambda: 0.0)

    async def meet(self, contexts: ClientContexts, server: ScriptedServer, name: str = NAME) -> Mail:
        """Deliver one message over a connection of its own."""
        from twisted.internet.endpoints import TCP4ClientEndpoint
        from twisted.internet.protocol import Factory

        mail = Mail(contexts.creator_for(name), MANNER, message())
        endpoint: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", server.port)
        await endpoint.connect(Factory.forProtocol(lambda: mail))
        await mail.gone
        return mail

    def serve(self, server: ScriptedServer) -> ScriptedServer:
        """Run a server until the end of the test."""
        server.start()
        self.addCleanup(server.stop)
        return server


class Verified(CertificateTest):
    """What comes of each certificate."""

    def test_every_kind_is_in_the_table(self) -> None:
        self.assertEqual(set(DOUBTS), set(Peculiarity))

    async def test_opportunistic_takes_all_and_tells_what_is_wrong(self) -> None:
        """Case T10."""
        for peculiarity, doubt in DOUBTS.items():
            credentials = peculiarity.credentials(NAME)
            server = self.serve(ScriptedServer(table("+T +P"), credentials=credentials))
            mail = await self.meet(self.policy(credentials, Level.OPPORTUNISTIC), server)
            self.assertIsNone(mail.end, peculiarity)
            self.assertEqual(len(server.messages), 1)
            assert mail.tls is not None
            self.assertEqual((mail.tls.doubt, mail.tls.verified), (doubt, "" if doubt else NAME), peculiarity)
            self.assertIn(f"unverified: {doubt}" if doubt else f"verified {NAME}", mail.tls.text)

    async def test_name_takes_only_the_good_ones(self) -> None:
        for peculiarity, doubt in DOUBTS.items():
            credentials = peculiarity.credentials(NAME)
            server = self.serve(ScriptedServer(table("+T +P"), credentials=credentials))
            mail = await self.meet(self.policy(credentials, Level.NAME), server)
            if not doubt:
                self.assertIsNone(mail.end, peculiarity)
                self.assertEqual(len(server.messages), 1)
                continue
            assert mail.end is not None, peculiarity
            self.assertIs(mail.end.kind, Kind.TLS_UNTRUSTED, peculiarity)
            self.assertIn(doubt.encode(), mail.end.text)
            self.assertNotIn(b"MAIL", server.connections[0].client)

    async def test_none_asks_for_nothing(self) -> None:
        for peculiarity in (Peculiarity.EXPIRED, Peculiarity.WRONG_NAME):
            server = self.serve(ScriptedServer(table("+T"), credentials=peculiarity.credentials(NAME)))
            mail = await self.meet(ClientContexts(), server)
            assert mail.tls is not None
            self.assertEqual((mail.end, mail.tls.doubt, mail.tls.verified), (None, "", ""))

    async def test_other_name_where_the_policy_gives_one(self) -> None:
        credentials = Peculiarity.WRONG_NAME.credentials(NAME)
        for names, is_good in (
            (("other.example",), True),
            (("x.example", "other.example"), True),
            ((), False),
        ):
            server = self.serve(ScriptedServer(table("+T"), credentials=credentials))
            mail = await self.meet(self.policy(credentials, Level.NAME, names=names), server)
            self.assertEqual(mail.end is None, is_good)

    async def test_names_that_only_resemble_the_host(self) -> None:
        for shown, name in (
            ("mx.mail.example\0.evil.example", NAME),
            ("evil.example\0mx.mail.example", NAME),
            ("*", NAME),
            ("*.example", NAME),
            ("*.*.example", NAME),
            ("mx.*.example", NAME),
            ("m*.mail.example", NAME),
            ("*x.mail.example", NAME),
            ("*.mail.example", "mail.example"),
            ("*.mail.example", "a.b.mail.example"),
            (".mail.example", NAME),
            ("mail.example", NAME),
            ("*.0.2.1", "192.0.2.1"),
            ("*.mail.example", "xn--bcher-kva.xn--mx-zka.mail.example"),
        ):
            credentials = Authority().issue(shown)
            server = self.serve(ScriptedServer(table("+T"), credentials=credentials))
            mail = await self.meet(self.policy(credentials, Level.NAME), server, name)
            assert mail.end is not None, (shown, name)
            self.assertIs(mail.end.kind, Kind.TLS_UNTRUSTED, (shown, name))
            self.assertNotIn(b"MAIL", server.connections[0].client)

    async def test_addresses(self) -> None:
        credentials = Authority().issue("192.0.2.1", "2001:db8::1")
        for name, is_good in (("192.0.2.1", True), ("2001:DB8::1", True), ("192.0.2.2", False)):
            server = self.serve(ScriptedServer(table("+T"), credentials=credentials))
            mail = await self.meet(self.policy(credentials, Level.NAME), server, name)
            self.assertEqual(mail.end is None, is_good, name)

    async def test_names_in_the_certificate_are_told_on_demand(self) -> None:
        credentials = Peculiarity.CHAIN.credentials(NAME)
        server = self.serve(ScriptedServer(table("+T"), credentials=credentials))
        mail = await self.meet(self.policy(credentials, Level.OPPORTUNISTIC, detail=1), server)
        assert mail.tls is not None
        self.assertIn(f"certificate of CN={NAME}, issued by CN=zsmtp test authority\\, second", mail.tls.text)

    async def test_certificate_with_thousands_of_names(self) -> None:
        # the longest that OpenSSL takes is 100 KiB; a handshake with more fails
        for count, is_taken in ((9000, True), (10_000, True), (40_000, False)):
            credentials = Authority().issue(*(f"{number}.x" for number in range(count)))
            server = self.serve(ScriptedServer(table("+T"), credentials=credentials))
            contexts = self.policy(credentials, Level.NAME)
            contexts.prepare()
            began = time.process_time()
            mail = await self.meet(contexts, server)
            self.assertLess(time.process_time() - began, 3.0)
            assert mail.end is not None
            self.assertIs(mail.end.kind, Kind.TLS_UNTRUSTED if is_taken else Kind.TLS_FAILED)

    async def test_server_that_wants_our_certificate_gets_it(self) -> None:
        ours = Authority("of clients")
        credentials = Peculiarity.GOOD.credentials(NAME)
        for kind, options in (("EC", {}), ("RSA", {"key_bits": 2048})):
            issued = ours.issue("client.example", for_client=True, **options)  # type: ignore[arg-type]
            both: str = self.mktemp()
            with open(both, "wb") as file:
                file.write(issued.certificate + issued.key)
            server = Steady(table("+T +P"), credentials=credentials)
            server.made.load_verify_locations(cadata=ours.certificate.decode())
            server.made.verify_mode = ssl.CERT_REQUIRED
            self.serve(server)
            mail = await self.meet(self.policy(credentials, Level.NAME, cert_file=both), server)
            self.assertIsNone(mail.end, kind)
            self.assertEqual(len(server.messages), 1)

    async def test_server_that_wants_a_certificate_that_we_do_not_have(self) -> None:
        credentials = Peculiarity.GOOD.credentials(NAME)
        for newest in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            server = Steady(table("+T"), credentials=credentials, newest=newest)
            server.made.load_verify_locations(cadata=credentials.authority.decode())
            server.made.verify_mode = ssl.CERT_REQUIRED
            self.serve(server)
            mail = await self.meet(self.policy(credentials, Level.NAME), server)
            assert mail.end is not None
            self.assertIs(mail.end.kind, Kind.TLS_FAILED)
            self.assertIn(b"alert", mail.end.text)
            self.assertEqual(server.messages, [])


class Resumed(CertificateTest):
    """A second connection with the same host needs half a handshake."""

    async def meet_often(self, server: Steady, contexts: ClientContexts, times: int = 3) -> list[Mail]:
        """Deliver over several connections, one after the other."""
        mails = [await self.meet(contexts, server) for _ in range(times)]
        await deferToThread(server.wait_finished, times)
        self.assertEqual([mail.end for mail in mails], [None] * times)
        return mails

    async def test_in_both_versions_and_by_every_level(self) -> None:
        credentials = Peculiarity.GOOD.credentials(NAME)
        for newest, shown in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
            for level in Level:
                server = Steady(table("+T"), credentials=credentials, newest=newest)
                self.serve(server)
                mails = await self.meet_often(server, self.policy(credentials, level))
                self.assertEqual(server.resumed, [False, True, True], (newest, level))
                for mail, resumed in zip(mails, server.resumed, strict=True):
                    assert mail.tls is not None
                    self.assertEqual((mail.tls.version, mail.tls.is_resumed), (shown, resumed))
                    self.assertEqual(mail.tls.verified, "" if level is Level.NONE else NAME)
                    self.assertEqual("session resumed" in mail.tls.text, resumed)

    async def test_what_was_wrong_with_the_certificate_is_not_forgotten(self) -> None:
        credentials = Peculiarity.EXPIRED.credentials(NAME)
        server = Steady(table("+T"), credentials=credentials)
        self.serve(server)
        mails = await self.meet_often(server, self.policy(credentials, Level.OPPORTUNISTIC))
        self.assertEqual(server.resumed, [False, True, True])
        for mail in mails:
            assert mail.tls is not None
            self.assertEqual((mail.tls.doubt, mail.tls.verified), ("the certificate has expired", ""))

    async def test_each_name_has_its_own(self) -> None:
        credentials = Authority().issue("a.example", "b.example")
        server = Steady(table("+T"), credentials=credentials)
        self.serve(server)
        contexts = self.policy(credentials, Level.NAME)
        for name in ("a.example", "b.example", "A.example", "b.example"):
            self.assertIsNone((await self.meet(contexts, server, name)).end)
        self.assertEqual(server.resumed, [False, False, True, True])

    async def test_each_policy_has_its_own(self) -> None:
        credentials = Peculiarity.GOOD.credentials(NAME)
        server = Steady(table("+T"), credentials=credentials)
        self.serve(server)
        for level in Level:
            await self.meet(self.policy(credentials, level), server)
        self.assertEqual(server.resumed, [False, False, False])

    async def test_age_begins_with_the_full_handshake(self) -> None:
        credentials = Peculiarity.GOOD.credentials(NAME)
        server = Steady(table("+T"), credentials=credentials)
        self.serve(server)
        clock = Clock()
        settings = self.policy(credentials, Level.NAME, session_seconds=100).settings
        contexts = ClientContexts(settings, now=clock.seconds)
        for _ in range(4):
            await self.meet(contexts, server)
            clock.advance(40)
        self.assertEqual(server.resumed, [False, True, True, False])

    async def test_not_at_all_where_it_is_switched_off(self) -> None:
        credentials = Peculiarity.GOOD.credentials(NAME)
        server = Steady(table("+T"), credentials=credentials)
        self.serve(server)
        contexts = self.policy(credentials, Level.NAME, session_seconds=0)
        await self.meet_often(server, contexts)
        self.assertEqual((server.resumed, len(contexts.sessions)), ([False] * 3, 0))

    async def test_number_is_bounded(self) -> None:
        self.patch(tls_module, "MOST_SESSIONS", 2)
        names = ("a.example", "b.example", "c.example")
        credentials = Authority().issue(*names)
        server = Steady(table("+T"), credentials=credentials)
        self.serve(server)
        contexts = self.policy(credentials, Level.NAME)
        for name in (*names, *reversed(names)):
            await self.meet(contexts, server, name)
        self.assertEqual(len(contexts.sessions), 2)
        # the first had to go
        self.assertEqual(server.resumed, [False, False, False, True, True, False])

    async def test_server_that_has_forgotten_gets_a_full_handshake(self) -> None:
        credentials = Peculiarity.GOOD.credentials(NAME)
        contexts = self.policy(credentials, Level.NAME)
        for _ in range(2):
            server = Steady(table("+T"), credentials=credentials)
            self.serve(server)
            await self.meet_often(server, contexts, 1)
            self.assertEqual(server.resumed, [False])

    async def test_verdict_is_not_that_of_another_server(self) -> None:
        """A session was kept for this name; whoever answers now must show that he is the same."""
        good, wrong = Peculiarity.GOOD.credentials(NAME), Peculiarity.WRONG_NAME.credentials(NAME)
        contexts = self.policy(good, Level.NAME)
        await self.meet_often(self.steady(good), contexts, 1)
        mail = await self.meet(contexts, self.steady(wrong))
        assert mail.end is not None
        self.assertIs(mail.end.kind, Kind.TLS_UNTRUSTED)

    async def test_server_without_a_certificate_is_not_taken_for_the_one_that_had_it(self) -> None:
        """A list of ciphers may have some for servers that nobody can know."""
        credentials = Peculiarity.GOOD.credentials(NAME)
        for level, is_taken in ((Level.NAME, False), (Level.OPPORTUNISTIC, True)):
            contexts = self.policy(credentials, level, ciphers="ALL:aNULL:@SECLEVEL=0")
            server = Steady(table("+T"), credentials=credentials, newest=ssl.TLSVersion.TLSv1_2)
            await self.meet_often(self.serve_steady(server), contexts, 1)
            for _ in range(2):
                anonymous = Steady(table("+T"), credentials=credentials, newest=ssl.TLSVersion.TLSv1_2)
                anonymous.made.set_ciphers("aNULL:@SECLEVEL=0")
                mail = await self.meet(contexts, self.serve_steady(anonymous))
                assert mail.tls is not None
                self.assertEqual((mail.tls.verified, mail.tls.is_resumed), ("", False))
                self.assertIn("the server has no certificate", mail.tls.text)
                self.assertEqual(mail.end is None, is_taken)
                self.assertEqual(len(anonymous.messages), int(is_taken))

    def serve_steady(self, server: Steady) -> Steady:
        """Run it until the end of the test."""
        self.serve(server)
        return server

    def steady(self, credentials: Credentials) -> Steady:
        """Run a server with these."""
        server = Steady(table("+T"), credentials=credentials)
        self.serve(server)
        return server
