"""An agent with -S: what is demanded holds whatever the server does, and nothing else keeps mail back."""

from __future__ import annotations

import os

from tests.agent.agents import AgentCase
from tests.net.test_tls import SECURE, SECURING
from zsmtp.testing.dialogue import Script
from zsmtp.testing.peer import Behaviour
from zsmtp.testing.scheduler import Job
from zsmtp.testing.server import ScriptedServer
from zsmtp.testing.table import Table

OFFER = Table(announce=["STARTTLS"])
IN_CLEAR = Table()
GARBAGE = Script(SECURING + "S: 220 go\n-- wait 0.1\nS-raw: no\\x00\\xff\\n\n-- silence")
REFUSED = Script(SECURING + "S: 454 not now\nC: QUIT\nS: 221 bye\n-- close")
INJECTED = Script(SECURING + "S-raw: 220 go\\r\\n250-evil\\r\\n250 SIZE 5\\r\\n\n-- silence")
NO_EHLO = Script("S: 220 mx\nC: EHLO *\nS: 502 what\nC: HELO *\nS: 250 mx\nC: QUIT\nS: 221 bye\n-- close")
HUNG_UP = Script(SECURE + "C: MAIL *\n-- close")


class TlsAgent(AgentCase):
    """Delivers two messages with a configuration."""

    def deliver(
        self, configuration: str, *behaviours: Behaviour, options: tuple[str, ...] = ()
    ) -> ScriptedServer:
        """Deliver; `words`, `texts` and `log` are what was told."""
        path = os.path.join(self.spool.postoffice, "smtp-tls.conf")
        with open(path, "w", encoding="ascii") as file:
            file.write(configuration)
        log = os.path.join(self.spool.postoffice, "transcript")
        server = self.server(*behaviours)
        jobs = [Job(self.spool.add().name) for _ in range(2)]
        stand_in = self.scheduler("-S", path, "-l", log, *options, server=server, jobs=jobs, overfeed=9)
        result = stand_in.run()
        self.words = set(result.words.values())
        self.comments = result.comments
        self.texts = b"\n".join(report.text for report in result.reports)
        with open(log, "rb") as transcript:
            self.log = transcript.read()
        return server

    def hold_back(
        self, *behaviours: Behaviour, options: tuple[str, ...] = (), more: str = ""
    ) -> ScriptedServer:
        """Deliver with a demand that cannot be met: both messages are deferred, no MAIL in clear text."""
        server = self.deliver(f"demand-tls-mode\n{more}", *behaviours, options=options)
        self.assertEqual((self.words, server.messages), ({"retryat"}, []))
        for connection in server.connections:
            self.assertNotIn(b"MAIL", connection.client)
        return server


class Demanded(TlsAgent):
    """No mail without TLS."""

    def test_t01_delivered_inside_tls(self) -> None:
        server = self.deliver("demand-tls-mode\n", OFFER)
        self.assertEqual((self.words, len(server.messages)), ({"ok3"}, 2))
        self.assertEqual({connection.tls for connection in server.connections}, {"TLSv1.3"})
        self.assertIn(b"#\tTLS connection established: TLSv1.3 with cipher TLS_", self.log)
        self.assertIn(b"(TLSv1.3 with cipher TLS_", self.texts)

    def test_debugging_output_tells_of_tls_in_a_line_that_the_scheduler_passes_over(self) -> None:
        self.deliver("demand-tls-mode\n", OFFER, options=("-d",))
        told = [comment for comment in self.comments if b"TLS connection established: TLSv1.3" in comment]
        self.assertEqual(len(told), 1, self.comments)

    def test_t03_the_configuration_cannot_be_used(self) -> None:
        for more in ("tls-cert-file /nonexistent.pem\n", "demand-tls\n", "tls-cipher-list nonsense\n"):
            server = self.hold_back(OFFER, more=more)
            self.assertEqual(server.connections, [])
            self.assertIn(b"smtp-tls.conf:2: ", self.texts)
            self.assertIn(b"until then all mail is deferred", self.log)

    def test_t04_starttls_is_not_offered(self) -> None:
        self.hold_back(IN_CLEAR)
        self.assertIn(b"doesn't support mandated TLS mode", self.texts)

    def test_t05_ehlo_is_not_known(self) -> None:
        self.hold_back(NO_EHLO)
        self.assertIn(b"doesn't support mandated TLS mode", self.texts)

    def test_t06_starttls_is_refused(self) -> None:
        self.hold_back(REFUSED)
        self.assertIn(b"454 not now", self.texts)

    def test_t07_garbage_in_place_of_the_handshake(self) -> None:
        self.hold_back(GARBAGE)
        self.assertIn(b"TLS handshake: ", self.texts)

    def test_t09_replies_are_injected(self) -> None:
        self.hold_back(INJECTED)

    def test_no_esmtp_no_tls_no_mail(self) -> None:
        server = self.hold_back(OFFER, options=("-77",))
        self.assertIn(b"HELO", server.connections[0].client)

    def test_certificate_of_somebody_else(self) -> None:
        self.hold_back(OFFER, more="tls-verify name\n")
        self.assertIn(b"the certificate's authority is unknown", self.texts)

    def test_connection_that_ends_without_farewell_confirms_nothing(self) -> None:
        self.deliver("demand-tls-mode\n", HUNG_UP)
        self.assertEqual(self.words, {"deferred"})


class Stalled(TlsAgent):
    """A handshake has a deadline of its own, -T tcpw, that no dripping extends."""

    def test_t12_silence_and_drip(self) -> None:
        silent = Script(SECURING + "S: 220 go\n-- silence")
        # the head of a record of 16 KiB, and its octets one by one
        record = "S-raw: \\x16\\x03\\x03\\x40\\x00\n" + "-- wait 1\nS-raw: \\x02\n" * 25
        dripping = Script(SECURING + "S: 220 go\n-- wait 0.2\n" + record)
        for behaviour in (silent, dripping):
            server = self.deliver("demand-tls-mode\n", behaviour, options=("-T", "tcpw=10"))
            self.assertEqual((self.words, server.messages), ({"retryat"}, []))
            self.assertIn(b"Timeout of 10 sec in the TLS handshake", self.texts)


class Opportunistic(TlsAgent):
    """What nobody demands keeps no mail back."""

    def test_t08_one_more_connection_in_clear(self) -> None:
        for behaviour in (REFUSED, GARBAGE):
            server = self.deliver("", behaviour, OFFER)
            self.assertEqual((self.words, len(server.messages)), ({"ok3"}, 2))
            self.assertEqual([connection.tls for connection in server.connections], [None, None])

    def test_t02_without_the_file_nothing_is_sent(self) -> None:
        """Nobody can know what it would have demanded."""
        server = self.server(OFFER)
        jobs = [Job(self.spool.add().name)]
        result = self.scheduler("-S", "/nonexistent/tls.conf", server=server, jobs=jobs).run()
        self.assertEqual((set(result.words.values()), server.connections), ({"retryat"}, []))

    def test_t11_unknown_keyword_is_told_once(self) -> None:
        self.deliver("; comment\n# comment\nfancy-option 1 2 3\ntls-loglevel 0 words\n", OFFER)
        self.assertEqual(self.words, {"ok3"})
        self.assertEqual(self.log.count(b"smtp-tls.conf:3: fancy-option: unknown keyword"), 1)
