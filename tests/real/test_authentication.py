"""The agent with -A and real servers that ask for it: Exim, Dovecot's submission server, aiosmtpd."""

from __future__ import annotations

import base64
import os
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.real.peers import Aiosmtpd, Exim, Peer, Submission, start
from zsmtp.testing.scheduler import Job, Result, SchedulerStandIn
from zsmtp.testing.spool import SpoolMaker

USER, SECRET = "postmaster", "Sesam=oeffne,dich"
MAILS = 20


class Authentication(SynchronousTestCase):
    """Every mail arrives, or waits; the secret is in no output."""

    timeout = 120

    def deliver(
        self, peer: Peer, *, secret: str = SECRET, words: str = "", more: tuple[str, ...] = ()
    ) -> Result:
        """Deliver some mails to a peer that is started, and search what the agent says."""
        self.peer = start(self, peer)
        spool = SpoolMaker()
        self.addCleanup(spool.remove)
        path, transcript = (os.path.join(spool.postoffice, name) for name in ("secrets", "transcript"))
        coded = [base64.b64encode(word.encode()).decode() for word in (USER, secret)]
        with open(path, "w", encoding="ascii") as file:
            file.write(f"* 127.0.0.1 {' '.join(coded)} {words}\n")
        os.chmod(path, 0o600)
        argv = [sys.executable, "-m", "zsmtp", "-h", "client.example", "-d", "-A", path, "-l", transcript]
        stand_in = SchedulerStandIn(
            [*argv, *peer.options, *more],
            spool.postoffice,
            jobs=[Job(spool.add().name) for _ in range(MAILS)],
            overfeed=MAILS,
            deadline=60.0,
            heeds_retryat=False,
        )
        result = stand_in.run()
        with open(transcript, "rb") as log:
            self.transcript = log.read()
        plain = base64.b64encode(f"\0{USER}\0{secret}".encode())
        for form in (secret.encode(), coded[1].encode(), secret.encode().hex().encode(), plain):
            self.assertNotIn(form, result.output + self.transcript)
        return result

    def succeeds(self, peer: Peer, mechanism: str, **options: object) -> None:
        """See that all arrives over one authenticated connection, with this mechanism at last."""
        result = self.deliver(peer, **options)  # type: ignore[arg-type]
        self.assertEqual(set(result.words.values()), {"ok3"}, self.peer.log())
        self.assertEqual(len(self.peer.await_delivered(MAILS)), MAILS)
        tried = [line for line in self.transcript.splitlines() if b"w\tAUTH " in line]
        self.assertTrue(tried[-1].endswith(b"w\tAUTH " + mechanism.encode()), tried)

    def waits(self, peer: Peer, text: str, **options: object) -> None:
        """See that nothing arrives and nobody bounces."""
        result = self.deliver(peer, **options)  # type: ignore[arg-type]
        self.assertEqual(set(result.words.values()), {"retryat"})
        self.assertEqual(self.peer.delivered(), [])
        self.assertIn(text.encode(), result.reports[0].text)
        self.assertTrue(any(b"secrets:1: mail waits: " in line for line in result.comments), result.comments)

    def test_exim_with_each_mechanism(self) -> None:
        for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5"):
            self.succeeds(Exim(USER, SECRET, [mechanism]), mechanism)

    def test_exim_with_all_of_them_takes_the_one_that_tells_least(self) -> None:
        exim = Exim(USER, SECRET, ["PLAIN", "LOGIN", "CRAM-MD5"])
        self.succeeds(exim, "CRAM-MD5")
        self.assertIn("A=aC:postmaster", exim.log())
        self.assertEqual({each.protocol for each in exim.delivered()}, {"ESMTPSA"})

    def test_exim_and_a_wrong_secret(self) -> None:
        self.waits(Exim(USER, SECRET, ["PLAIN"]), "535 Incorrect authentication data", secret="Sesam")

    def test_exim_that_offers_none(self) -> None:
        self.waits(Exim(USER, SECRET), "the server offers no authentication")

    def test_dovecot_with_each_mechanism(self) -> None:
        for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"):
            self.succeeds(Submission(USER, SECRET, mechanism.lower()), mechanism)
            self.assertIn(f"method={mechanism}, ", self.peer.log())

    def test_dovecot_with_all_of_them_takes_scram(self) -> None:
        self.succeeds(Submission(USER, SECRET, "plain login cram-md5 scram-sha-256"), "SCRAM-SHA-256")

    def test_dovecot_that_has_no_more_than_a_hash(self) -> None:
        self.succeeds(Submission(USER, SECRET, "plain scram-sha-256", hashed=True), "PLAIN")

    def test_dovecot_and_a_wrong_secret(self) -> None:
        self.waits(Submission(USER, SECRET, "scram-sha-256"), "535 5.7.8", secret="Sesam")

    def test_aiosmtpd(self) -> None:
        self.succeeds(Aiosmtpd(USER, SECRET), "PLAIN")
        self.succeeds(Aiosmtpd(USER, SECRET), "LOGIN", words="mechanisms=LOGIN")

    def test_aiosmtpd_and_a_wrong_secret(self) -> None:
        self.waits(Aiosmtpd(USER, SECRET), "535 5.7.8", secret="Sesam")

    def test_aiosmtpd_that_offers_none_without_tls(self) -> None:
        self.waits(Aiosmtpd(USER, SECRET), "the server offers no authentication", more=("-O", "no-starttls"))
