"""Option -W: what WKS records keep mail from going somewhere."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.destination import Answer, Family, Hop, Outcome, WellKnownServices
from zsmtp.net.wks import objection
from zsmtp.trouble import Kind

MX = Hop("192.0.2.1", 25, Family.INET, "mx.example", b"dns; mx.example", "MX", "real.example")
SMTP, OTHER, UDP = (WellKnownServices(*each) for each in ((True, True), (True, False), (False, False)))


class Check(SynchronousTestCase):
    def ask(self, answer: Answer[Any], hop: Hop = MX) -> Kind | None:
        """Return the kind of objection."""
        self.asked: list[str] = []
        self.told: list[str] = []

        def services(host: str) -> Deferred[Answer[Any]]:
            self.asked.append(host)
            return succeed(answer)

        trouble = self.successResultOf(ensureDeferred(objection(hop, services, self.told.append)))
        return trouble.kind if trouble is not None else None

    def test_records_with_smtp_let_mail_through(self) -> None:
        for values in ((SMTP,), (OTHER, SMTP), (UDP, SMTP)):
            self.assertIsNone(self.ask(Answer(Outcome.FOUND, values)))
            self.assertEqual((self.asked, self.told), (["real.example"], []))

    def test_records_without_it_do_not(self) -> None:
        for values in ((OTHER,), (OTHER, OTHER), (UDP, OTHER)):
            self.assertIs(self.ask(Answer(Outcome.FOUND, values)), Kind.NO_SMTP_SERVICE)

    def test_no_records_about_tcp_say_nothing(self) -> None:
        for answer in (Answer(Outcome.FOUND, (UDP,)), Answer(Outcome.NO_DATA), Answer(Outcome.NO_SUCH_NAME)):
            self.assertIsNone(self.ask(answer))
            self.assertEqual(
                self.told, ["-W: real.example has no WKS records for TCP; going on without them"]
            )

    def test_fault_of_the_dns_keeps_no_mail_back(self) -> None:
        self.assertIsNone(self.ask(Answer(Outcome.UNAVAILABLE, text="timed out")))
        self.assertIn("cannot be had (timed out)", self.told[0])

    def test_literals_and_sockets_are_not_asked_for(self) -> None:
        refused = Answer(Outcome.FOUND, (OTHER,))
        for changes in (
            {"remote": b"X-IP-addr; [192.0.2.1]", "canonical": "192.0.2.1"},
            {"canonical": "192.0.2.1"},
            {"family": Family.UNIX, "canonical": "/run/lmtp"},
        ):
            self.assertIsNone(self.ask(refused, MX._replace(**changes)))
            self.assertEqual(self.asked, [])
