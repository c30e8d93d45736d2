"""Option -S against TLS that others wrote: OpenSSL's s_server, and Exim, whose library is GnuTLS.

The agent is the real one, fed by the scheduler's stand-in.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar, NamedTuple

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.agent.agents import measured
from tests.net.test_certificates import DOUBTS, NAME
from tests.real.openssl_server import OpensslServer
from tests.real.peers import Exim, start
from zsmtp.testing.authority import Authority, Credentials
from zsmtp.testing.certificate import Peculiarity
from zsmtp.testing.scheduler import Job, SchedulerStandIn
from zsmtp.testing.spool import SpoolMaker
from zsmtp.testing.table import Table

RESUMES = "tls_resumption_hosts = *\nlog_selector = +tls_resumption +tls_cipher"
AT_ONCE = 6
OFFER = Table(announce=["STARTTLS", "PIPELINING"])


class Told(NamedTuple):
    """What the agent told of all recipients, and its transcript."""

    words: set[str]
    reports: str
    transcript: str


class TlsTest(SynchronousTestCase):
    """An agent with a TLS configuration."""

    timeout = 120

    def setUp(self) -> None:
        self.spool = SpoolMaker()
        self.addCleanup(self.spool.remove)
        self.folder = Path(self.spool.postoffice)

    def put(self, name: str, octets: bytes) -> str:
        """Write a file that only we can read; return its path."""
        path = self.folder / name
        path.write_bytes(octets)
        path.chmod(0o600)
        return str(path)

    def deliver(self, port: int, *lines: str, mails: int = 1, options: tuple[str, ...] = ()) -> Told:
        """Deliver to a port of this machine with a configuration of these lines."""
        configuration = self.put("smtp-tls.conf", "".join(f"{line}\n" for line in lines).encode())
        log = self.folder / "transcript"
        log.unlink(missing_ok=True)
        argv = [sys.executable, "-m", "zsmtp", "-h", "client.example", "-l", str(log), "-S", configuration]
        stand_in = SchedulerStandIn(
            [*argv, "-F", f"[127.0.0.1]:{port}", *options],
            self.spool.postoffice,
            jobs=[Job(self.spool.add().name) for _ in range(mails)],
            overfeed=9,
            deadline=60.0,
            environment=measured(),
        )
        self.addCleanup(stand_in.stop)
        result = stand_in.run()
        reports = b"\n".join(report.text for report in result.reports).decode(errors="replace")
        return Told(set(result.words.values()), reports, log.read_text(errors="replace"))

    def serve(self, credentials: Credentials, *words: str) -> OpensslServer:
        """Run s_server for the rest of the test."""
        reason = OpensslServer.missing()
        if reason is not None:
            if "CI" in os.environ:
                self.fail(reason)
            raise SkipTest(reason)
        folder = Path(self.mktemp())
        folder.mkdir()
        server = OpensslServer(OFFER, folder.resolve(), credentials, *words)
        server.__enter__()
        self.addCleanup(server.__exit__)
        return server

    def trust(self, credentials: Credentials) -> tuple[str, ...]:
        """The lines that insist on the right server."""
        authority = self.put("authority.pem", credentials.authority)
        return ("tls-verify name", f"tls-verify-name {NAME}", f"tls-CAfile {authority}")


class OpensslPeer(TlsTest):
    """openssl s_server."""

    _met: ClassVar[dict[Peculiarity, Future[None]]] = {}

    def meet_all(self) -> None:
        """Meet every certificate, several at a time: most of it is waiting for processes to begin."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for peculiarity in Peculiarity:
                case = OpensslPeer(f"test_certificate_{peculiarity.name.lower()}")
                case.addCleanup = self.addCleanup  # type: ignore[method-assign]
                case.setUp()
                self._met[peculiarity] = pool.submit(case.meet, peculiarity)

    def meet(self, peculiarity: Peculiarity) -> None:
        """Deliver to a server with such a certificate, at both levels."""
        credentials, doubt = peculiarity.credentials(NAME), DOUBTS[peculiarity]
        server = self.serve(credentials)
        insisting = self.trust(credentials)
        told = self.deliver(server.port, *insisting)
        if doubt:
            self.assertEqual(told.words, {"retryat"})
            self.assertIn(doubt, told.reports)
            self.assertEqual(server.messages, [])
        else:
            self.assertEqual(told.words, {"ok3"})
            self.assertIn(f"verified {NAME}", told.reports)
            self.assertIn("TLS connection established: TLSv1.3 with cipher TLS_", told.transcript)
            self.assertEqual(len(server.messages), 1)
        before = len(server.messages)
        told = self.deliver(server.port, "demand-tls-mode", insisting[-1])
        self.assertEqual((told.words, len(server.messages) - before), ({"ok3"}, 1))
        self.assertIn("unverified: ", told.reports)
        if "not name" not in doubt:
            self.assertIn(doubt, told.reports)

    def test_resumes_sessions_of_both_versions(self) -> None:
        credentials = Peculiarity.GOOD.credentials(NAME)
        for version, shown in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
            server = self.serve(credentials, version)
            told = self.deliver(server.port, *self.trust(credentials), mails=3, options=("-1",))
            self.assertEqual((told.words, len(server.messages)), ({"ok3"}, 3))
            handshakes = [
                line for line in server.handshakes if line.endswith(("ServerHello", " Certificate"))
            ]
            # a certificate is shown in the first handshake only
            self.assertEqual(
                [line.rpartition(" ")[2] for line in handshakes],
                ["ServerHello", "Certificate", "ServerHello", "ServerHello"],
            )
            lines = [line for line in told.transcript.splitlines() if "TLS connection established" in line]
            self.assertEqual(["session resumed" in line for line in lines], [False, True, True])
            self.assertTrue(all(shown in line and f"verified {NAME}" in line for line in lines), lines)

    def test_shows_our_certificate_where_it_is_wanted(self) -> None:
        ours = Authority("of clients")
        issued = ours.issue("client.example", for_client=True)
        trusted = self.put("clients.pem", ours.certificate)
        credentials = Peculiarity.GOOD.credentials(NAME)
        words = ("-Verify", "2", "-verify_return_error", "-CAfile", trusted)
        server = self.serve(credentials, *words)
        both = self.put("ours.pem", issued.certificate + issued.key)
        told = self.deliver(server.port, *self.trust(credentials), f"tls-cert-file {both}")
        self.assertEqual((told.words, len(server.messages)), ({"ok3"}, 1))
        server = self.serve(credentials, *words)
        told = self.deliver(server.port, *self.trust(credentials))
        self.assertEqual((told.words, server.messages), ({"retryat"}, []))
        self.assertIn("alert", told.reports)

    def test_old_versions_are_not_met_and_clear_text_only_where_it_may_be(self) -> None:
        credentials = Peculiarity.RSA.credentials(NAME)
        for version in ("-tls1", "-tls1_1"):
            server = self.serve(credentials, version)
            told = self.deliver(server.port, "demand-tls-mode")
            self.assertEqual((told.words, server.messages), ({"retryat"}, []))
            self.assertIn("TLS handshake: ", told.reports)
            told = self.deliver(server.port, "tls-verify none")
            self.assertEqual((told.words, len(server.messages)), ({"ok3"}, 1))
            self.assertNotIn("TLSv1", told.reports)
            told = self.deliver(server.port, "demand-tls-mode", "tls-min-protocol TLSv1")
            self.assertEqual((told.words, len(server.messages)), ({"ok3"}, 2))
            self.assertIn("(TLSv1", told.reports)

    def test_versions_and_ciphers_are_those_of_the_file(self) -> None:
        credentials = Peculiarity.GOOD.credentials(NAME)
        server = self.serve(credentials)
        told = self.deliver(server.port, "tls-ciphersuites TLS_CHACHA20_POLY1305_SHA256")
        self.assertIn("TLSv1.3 with cipher TLS_CHACHA20_POLY1305_SHA256 (256 bits)", told.reports)
        server = self.serve(credentials, "-tls1_2")
        told = self.deliver(server.port, "tls-cipher-list ECDHE-ECDSA-AES128-GCM-SHA256")
        self.assertIn("TLSv1.2 with cipher ECDHE-ECDSA-AES128-GCM-SHA256 (128 bits)", told.reports)
        told = self.deliver(server.port, "demand-tls-mode", "tls-min-protocol TLSv1.3")
        self.assertEqual(told.words, {"retryat"})


def _one_test_each() -> None:
    """A test for each certificate, named after it."""
    for peculiarity in Peculiarity:

        def test(self: OpensslPeer, peculiarity: Peculiarity = peculiarity) -> None:
            if not self._met:
                self.meet_all()
            self._met[peculiarity].result()

        setattr(OpensslPeer, f"test_certificate_{peculiarity.name.lower()}", test)


_one_test_each()


class EximPeer(TlsTest):
    """Exim with GnuTLS."""

    def test_verified_and_resumed(self) -> None:
        credentials = Peculiarity.CHAIN.credentials(NAME)
        exim = start(self, Exim(credentials=credentials, settings=RESUMES))
        assert exim.port is not None
        told = self.deliver(exim.port, *self.trust(credentials), mails=3, options=("-1",))
        self.assertEqual(told.words, {"ok3"})
        self.assertEqual({each.protocol for each in exim.await_delivered(3)}, {"ESMTPS"})
        lines = [line for line in told.transcript.splitlines() if "TLS connection established" in line]
        self.assertEqual(["session resumed" in line for line in lines], [False, True, True])
        arrived = [line for line in exim.log().splitlines() if " <= " in line]
        # Exim marks the cipher of a resumed session with an asterisk
        self.assertEqual(["* " in line.partition(" X=")[2] for line in arrived], [False, True, True], arrived)

    def test_certificates_that_are_not_good(self) -> None:
        for peculiarity in (Peculiarity.EXPIRED, Peculiarity.WRONG_NAME, Peculiarity.SELF_SIGNED):
            credentials = peculiarity.credentials(NAME)
            exim = start(self, Exim(credentials=credentials))
            assert exim.port is not None
            told = self.deliver(exim.port, *self.trust(credentials))
            self.assertEqual((told.words, exim.delivered()), ({"retryat"}, []))
            self.assertIn(DOUBTS[peculiarity], told.reports)

    def test_our_certificate(self) -> None:
        ours = Authority("of clients")
        issued = ours.issue("client.example", for_client=True)
        settings = (
            "tls_verify_hosts = *\ntls_verify_certificates = {}\nlog_selector = +tls_certificate_verified"
        )
        trusted = Path("/tmp") / f"zsmtp-clients-{os.getpid()}.pem"  # where Exim's user can read it
        trusted.write_bytes(ours.certificate)
        self.addCleanup(trusted.unlink)
        credentials = Peculiarity.GOOD.credentials(NAME)
        exim = start(self, Exim(credentials=credentials, settings=settings.format(trusted)))
        assert exim.port is not None
        told = self.deliver(exim.port, *self.trust(credentials))
        self.assertEqual(told.words, {"retryat"})
        cert = self.put("cert.pem", issued.certificate)
        key = self.put("key.pem", issued.key)
        mine = (f"tls-cert-file {cert}", f"tls-key-file {key}")
        told = self.deliver(exim.port, *self.trust(credentials), *mine)
        self.assertEqual(told.words, {"ok3"})
        self.assertIn("CV=yes", exim.log())
