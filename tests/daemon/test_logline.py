"""Tests of zsmtp.daemon.logline."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.spooled import DEFERRED, DELIVERED, FAILED
from zsmtp.daemon.logline import Delays, arrival, attempt
from zsmtp.policy import Verdict
from zsmtp.trouble import Peer

DELAYS = Delays(0.01, 2.0, 0.25, 123.4)
MX = Peer(b"dns; mx.example", b"192.0.2.25|25|198.51.100.1|40000")


class Attempts(SynchronousTestCase):
    """One line for each recipient."""

    def line(self, verdict: Verdict, peer: Peer = MX, address: bytes = b"bob@example.net") -> str:
        return attempt("S1", address, verdict, peer, DELAYS)

    def test_delivered(self) -> None:
        self.assertEqual(
            self.line(DELIVERED),
            "S1: to=<bob@example.net>, relay=mx.example[192.0.2.25]:25, delay=126, delays=0.01/2/0.25/123, "
            "dsn=2.0.0, status=sent (250 ok)",
        )

    def test_refused(self) -> None:
        self.assertIn("dsn=5.1.1, status=bounced (550 no)", self.line(FAILED))

    def test_deferred(self) -> None:
        self.assertIn("dsn=4.2.1, status=deferred (450 no)", self.line(DEFERRED))

    def test_maybe_delivered_is_named(self) -> None:
        verdict = DEFERRED._replace(maybe_delivered=True, text=b"\r<<- .\rconnection lost")
        self.assertIn("status=deferred (maybe delivered: connection lost)", self.line(verdict))

    def test_code_that_no_server_said_is_left_out(self) -> None:
        for code in (b"466", b"500"):
            verdict = DEFERRED._replace(diagnostic=b"smtp; %b (connect to mx: refused)" % code)
            self.assertIn("status=deferred (connect to mx: refused)", self.line(verdict))

    def test_what_has_become_too_old_is_told_with_its_last_problem(self) -> None:
        verdict = FAILED._replace(
            status=b"4.4.7 (delivery time expired)", diagnostic=b"smtp; 500 (connect to mx: refused)"
        )
        self.assertIn(
            "dsn=4.4.7, status=bounced (too old, given up: connect to mx: refused)", self.line(verdict)
        )

    def test_server_that_says_expired_itself_is_only_a_deferral(self) -> None:
        verdict = DEFERRED._replace(status=b"4.4.7", diagnostic=b"smtp; 450 (expired)")
        self.assertIn("dsn=4.4.7, status=deferred (450 expired)", self.line(verdict))

    def test_relays(self) -> None:
        for peer, relay in (
            (Peer(), "none"),
            (Peer(b"dns; mx.example"), "mx.example"),
            (Peer(b"smtp; [192.0.2.1]", b"192.0.2.1|2525"), "192.0.2.1[192.0.2.1]:2525"),
            (Peer(b"dns; mx.example", b"ipv6 2001:db8::1|25|::1|9"), "mx.example[2001:db8::1]:25"),
            (Peer(b"-F", b"UNIX:/run/lmtp|UNKNOWN-LOCAL-ADDRESS"), "-F[/run/lmtp]"),
            (Peer(b"", b"UNIX:/run/lmtp"), "unix[/run/lmtp]"),
        ):
            self.assertIn(f" relay={relay}, ", self.line(DELIVERED, peer))

    def test_line_is_one_line_whatever_others_wrote(self) -> None:
        verdict = DEFERRED._replace(diagnostic=b"smtp; 450 (x\n\0\x1b[31m\xff" + b"y" * 10_000 + b")")
        line = self.line(verdict, address=b"a\nb\xfc@x")
        self.assertTrue(line.isascii() and line.isprintable())
        self.assertLess(len(line), 2000)

    def test_arrival(self) -> None:
        self.assertEqual(arrival("S1", b"", 5, 2), "S1: from=<>, size=5, nrcpt=2 (queue active)")
