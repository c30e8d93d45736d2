"""The real counterparts work, as Python's own client sees them: what is taken comes back as it was sent."""

from __future__ import annotations

import os
import smtplib
import ssl
import subprocess
import sys
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.real.peers import Aiosmtpd, Dovecot, Exim, Peer, SmtpSink, start
from tests.real.process import Program, ProgramFailed, is_alive

MESSAGE = b"Subject: proof\n\n.a dot in front\n..two\n\n8-bit: \xe5\xe4\xf6\nlast line\n"
SENDER = "sender@client.example"
RECIPIENTS = ["first@peer.example", "second@peer.example"]


def send(client: smtplib.SMTP, recipients: list[str], *, lmtp: bool) -> None:
    """Deliver MESSAGE once; the standard library reads only one of LMTP's final replies."""
    client.sendmail(SENDER, recipients, MESSAGE.replace(b"\n", b"\r\n"), ["BODY=8BITMIME"])
    if lmtp:
        for _ in recipients[1:]:
            code, _ = client.getreply()
            assert code == 250, code
    client.quit()


class TakesMail(SynchronousTestCase):
    """Each peer stores what a foreign client sends."""

    def check(self, peer: Peer, protocol: str) -> None:
        peer = start(self, peer)
        with peer.connect() as client:
            client.ehlo()
            send(client, RECIPIENTS, lmtp=peer.lmtp)
        [mail] = peer.await_delivered(1)
        self.assertEqual(
            (mail.sender, mail.recipients, mail.protocol, mail.message),
            (SENDER.encode(), tuple(map(str.encode, RECIPIENTS)), protocol, MESSAGE),
        )

    def test_smtp_sink(self) -> None:
        self.check(SmtpSink(), "ESMTP")

    def test_smtp_sink_on_a_socket(self) -> None:
        self.check(SmtpSink(unix=True), "ESMTP")

    def test_smtp_sink_with_lmtp(self) -> None:
        self.check(SmtpSink(lmtp=True), "LMTP")

    def test_smtp_sink_with_lmtp_on_a_socket(self) -> None:
        self.check(SmtpSink(lmtp=True, unix=True), "LMTP")

    def test_aiosmtpd(self) -> None:
        self.check(Aiosmtpd(), "ESMTP")

    def test_exim(self) -> None:
        self.check(Exim(), "ESMTP")

    def test_dovecot_stores_a_copy_for_each_recipient(self) -> None:
        peer = start(self, Dovecot())
        with peer.connect() as client:
            client.ehlo()
            send(client, RECIPIENTS, lmtp=True)
        mails = peer.await_delivered(2)
        self.assertEqual(
            sorted((mail.sender, mail.recipients, mail.message) for mail in mails),
            [(SENDER.encode(), (recipient.encode(),), MESSAGE) for recipient in RECIPIENTS],
        )


class Abilities(SynchronousTestCase):
    """Each peer offers what it was chosen for."""

    def offers(self, peer: Peer) -> set[str]:
        with start(self, peer).connect() as client:
            client.ehlo()
            return set(client.esmtp_features)

    def test_smtp_sink_pipelines(self) -> None:
        self.assertIn("pipelining", self.offers(SmtpSink()))

    def test_smtp_sink_can_do_without_pipelining(self) -> None:
        self.assertNotIn("pipelining", self.offers(SmtpSink(pipelining=False)))

    def test_smtp_sink_takes_further_options(self) -> None:
        with start(self, SmtpSink(more=["-f", "RCPT"])).connect() as client:
            client.ehlo()
            self.assertRaises(smtplib.SMTPRecipientsRefused, client.sendmail, SENDER, RECIPIENTS, MESSAGE)

    def test_dovecot_pipelines_and_takes_chunks(self) -> None:
        self.assertLessEqual({"pipelining", "chunking", "8bitmime"}, self.offers(Dovecot()))

    def test_exim_offers_everything(self) -> None:
        everything = {"pipelining", "chunking", "8bitmime", "starttls", "dsn", "size", "smtputf8"}
        self.assertLessEqual(everything, self.offers(Exim()))


class Tls(SynchronousTestCase):
    """The peers with a certificate take mail inside TLS and say so."""

    def protocol(self, peer: Peer) -> str:
        peer = start(self, peer)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(peer.folder / "authority.pem")
        with peer.connect() as client:
            client._host = "localhost"  # type: ignore[attr-defined]  # the name that starttls() checks
            client.starttls(context=context)
            client.ehlo()
            send(client, RECIPIENTS, lmtp=False)
        [mail] = peer.await_delivered(1)
        return mail.protocol

    def test_aiosmtpd(self) -> None:
        self.assertEqual(self.protocol(Aiosmtpd()), "ESMTPS")

    def test_exim(self) -> None:
        self.assertEqual(self.protocol(Exim()), "ESMTPS")


class WireForm(SynchronousTestCase):
    """What a peer keeps of line ends."""

    def test_aiosmtpd_keeps_every_octet(self) -> None:
        peer = start(self, Aiosmtpd())
        with peer.connect() as client:
            client.ehlo()
            send(client, RECIPIENTS, lmtp=False)
        [mail] = peer.await_delivered(1)
        self.assertEqual(mail.wire, MESSAGE.replace(b"\n", b"\r\n"))

    def test_exim_logs_chunks(self) -> None:
        peer = start(self, Exim())
        with peer.connect() as client:
            client.ehlo()
            client.mail(SENDER)
            client.rcpt(RECIPIENTS[0])
            wire = MESSAGE.replace(b"\n", b"\r\n")
            client.send(f"BDAT {len(wire)} LAST\r\n".encode() + wire)
            self.assertEqual(client.getreply()[0], 250)
            client.quit()
        [mail] = peer.await_delivered(1)
        self.assertEqual(mail.message, MESSAGE)
        self.assertIn(" K ", peer.log())


class Ending(SynchronousTestCase):
    """A peer leaves nothing behind."""

    def check(self, peer: Peer) -> None:
        reason = peer.missing()
        if reason:
            raise SkipTest(reason)
        peer.start()
        group = peer.program.group
        folder = peer.folder
        peer.stop()
        self.assertFalse(is_alive(group))
        self.assertFalse(folder.exists())

    def test_smtp_sink(self) -> None:
        self.check(SmtpSink())

    def test_dovecot(self) -> None:
        self.check(Dovecot())

    def test_exim(self) -> None:
        self.check(Exim())

    def test_program_ends_with_the_process_that_started_it(self) -> None:
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        text = (
            "import os, signal, sys; from pathlib import Path; from tests.real.process import Program;"
            f"program = Program(['sh', '-c', 'echo up; sleep 60'], Path({str(folder / 'output')!r}));"
            "program.wait_until(lambda: program.output.stat().st_size, 10.0, 'start');"
            "print(program.group, flush=True);"
            "os.kill(os.getpid(), signal.SIGKILL)"
        )
        root = Path(__file__).parents[2]
        starter = subprocess.run([sys.executable, "-c", text], cwd=root, stdout=subprocess.PIPE, timeout=30)
        group = int(starter.stdout)
        waiting = Program(["sleep", "60"], folder / "waiting")
        self.addCleanup(waiting.stop)
        waiting.wait_until(lambda: not is_alive(group), 10.0, "the end of the other program")

    def test_program_that_ends_at_once_is_told_with_its_output(self) -> None:
        program = Program(["sh", "-c", "echo no such luck; exit 3"], Path(self.mktemp()).resolve())
        self.addCleanup(program.stop)
        error = self.assertRaises(ProgramFailed, program.wait_until, lambda: False, 5.0, "greeting")
        self.assertRegex(str(error), r"(?s)greeting.*status 3.*no such luck")

    def test_program_that_does_nothing_is_given_up(self) -> None:
        program = Program(["sleep", "60"], Path(self.mktemp()).resolve())
        self.addCleanup(program.stop)
        error = self.assertRaises(ProgramFailed, program.wait_until, lambda: False, 0.1, "greeting")
        self.assertIn("not within 0.1 s", str(error))


class Absent(SynchronousTestCase):
    """A program that is not installed."""

    class Nowhere(SmtpSink):
        @classmethod
        def missing(cls) -> str | None:
            return "nowhere to be found"

    def test_test_is_skipped_with_the_reason(self) -> None:
        with mock.patch.dict(os.environ):
            os.environ.pop("CI", None)
            error = self.assertRaises(SkipTest, start, self, self.Nowhere())
        self.assertEqual(str(error), "nowhere to be found")

    def test_test_fails_under_ci(self) -> None:
        with mock.patch.dict(os.environ, {"CI": "true"}):
            self.assertRaises(self.failureException, start, self, self.Nowhere())
