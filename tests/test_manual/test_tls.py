"""smtp(8zm), section SECURE SOCKET LAYER SUPPORT, and option -S."""

from __future__ import annotations

import os
import ssl
import subprocess
import tempfile

from tests.test_manual.manual import ManualCase, Run
from zsmtp.testing.authority import Authority, Credentials
from zsmtp.testing.certificate import certificate
from zsmtp.testing.server import ScriptedServer
from zsmtp.testing.table import Table


class Demanding(Credentials):
    """A server that takes nobody without a certificate of its authority."""

    def server_context(self) -> ssl.SSLContext:
        """See Credentials."""
        context = super().server_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # in 1.3 it would say so after the handshake
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=self.authority.decode())
        return context


class TlsCase(ManualCase):
    """Deliveries with a file for -S."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = tempfile.mkdtemp(dir=self.spool.postoffice)

    def pem(self, name: str, *octets: bytes) -> str:
        """Write a PEM file; give its path."""
        path = os.path.join(self.folder, name)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(b"".join(octets))
        return path

    def offering(self, credentials: Credentials | None = None, *replies: str) -> ScriptedServer:
        """A server that offers STARTTLS and answers it so."""
        table = Table({"starttls": [*replies]} if replies else None, announce=["PIPELINING", "STARTTLS"])
        return self.server(table, credentials=credentials)

    def with_file(self, *lines: str, server: ScriptedServer) -> Run:
        """Deliver with a file of these lines."""
        path = os.path.join(self.folder, "smtp-tls.conf")
        with open(path, "w", encoding="ascii") as file:
            file.writelines(line + "\n" for line in lines)
        return self.carry("-S", path, server=server)


class OptionS(TlsCase):
    """-S /path/to/smtp-tls.conf: feature configuration file."""

    def test_encryption_is_turned_on_if_the_server_reports_starttls(self) -> None:
        run = self.with_file("#", server=self.offering())
        self.assertEqual(run.words, ["ok3"], run.report.text)
        self.assertIsNotNone(run.connection.tls)

    def test_a_server_that_does_not_report_it_is_met_in_clear(self) -> None:
        run = self.with_file("#", server=self.server())
        self.assertEqual((run.words, run.connection.tls), (["ok3"], None))

    def test_demanded_and_not_available_email_is_not_sent_over_the_connection(self) -> None:
        for server in (self.server(), self.offering(None, "454 4.7.0 not now")):
            run = self.with_file("demand-tls-mode", server=server)
            self.assertTrue(run.report.is_deferral)
            self.assertEqual([b"MAIL" in each.client for each in server.connections], [False])

    def test_without_the_option_starttls_is_used_as_well(self) -> None:
        """A difference on purpose."""
        self.assertIsNotNone(self.carry(server=self.offering()).connection.tls)


class TheFile(TlsCase):
    """Possible example of the smtp-tls.conf file."""

    def test_the_example_of_the_page(self) -> None:
        """With paths of ours, and every line that is commented out in force but demand-tls-mode and egd."""
        made = certificate("127.0.0.1")
        authority = self.pem("ca.pem", made.authority)
        subprocess.run(["openssl", "rehash", self.folder], check=True, capture_output=True)
        run = self.with_file(
            "#|",
            "#| This is example configuration file for TLS support at the SMTP TA",
            "",
            "tls-cert-file   " + self.pem("cert.pem", made.certificate),
            "tls-key-file    " + self.pem("key.pem", made.key),
            "tls-CAfile      " + authority,
            "tls-CApath      " + self.folder,
            "tls-loglevel  0 # Value from 0 thru 4",
            "tls-random-source  dev:/dev/urandom",
            server=self.offering(),
        )
        self.assertEqual(run.words, ["ok3"], run.report.text)
        self.assertIsNotNone(run.connection.tls)
        self.assertEqual(run.result.comments, [])

    def test_cert_file_and_key_file_are_shown_to_a_server_that_asks(self) -> None:
        authority = Authority()
        made, ours = authority.issue("127.0.0.1"), authority.issue("client.example", for_client=True)
        lines = (
            "tls-cert-file " + self.pem("cert.pem", ours.certificate),
            "tls-key-file " + self.pem("key.pem", ours.key),
            "demand-tls-mode",
        )
        run = self.with_file(*lines, server=self.offering(Demanding(*made)))
        self.assertEqual(run.words, ["ok3"], run.report.text)
        run = self.with_file(*lines[2:], server=self.offering(Demanding(*made)))
        self.assertTrue(run.report.is_deferral)

    def test_ca_file_says_whom_to_trust(self) -> None:
        """Where the certificate is verified, which is beyond the page: tls-verify name."""
        made = certificate("127.0.0.1")
        trusted = "tls-CAfile " + self.pem("ca.pem", made.authority)
        other = "tls-CAfile " + self.pem("other.pem", certificate("other.example").authority)
        run = self.with_file("tls-verify name", trusted, server=self.offering(made))
        self.assertEqual(run.words, ["ok3"], run.report.text)
        run = self.with_file("tls-verify name", other, server=self.offering(made))
        self.assertTrue(run.report.is_deferral)

    def test_no_zenv_substitutions_are_supported(self) -> None:
        run = self.with_file("tls-CAfile $POSTOFFICE/ca.pem", server=self.offering())
        self.assertTrue(run.report.is_deferral)
        self.assertIn(b"$POSTOFFICE", b"\n".join(run.result.comments))

    def test_demand_tls_mode_mandates_it_for_the_session(self) -> None:
        run = self.with_file("demand-tls-mode", server=self.offering())
        self.assertEqual(run.words, ["ok3"], run.report.text)
        self.assertIsNotNone(run.connection.tls)
