"""Tests of zsmtp.spool.report."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.spool.sample import BASE
from zsmtp.spool.controlfile import parse
from zsmtp.spool.report import LONGEST_LINE, clean, diagnostic_line, log_line, notary, report_line

NOTARY = (
    b"bob@example.net\x01failed\x014.2.0\x01smtp; 450 (x)\x01dns; mx.example.net (192.0.2.25)\x01smtp[4242]"
)
HOSTILE = st.binary(max_size=40) | st.sampled_from([b"\t", b"\x01", b"\n", b"\r\n", b"\0", b"x" * 20_000])


class Cleaning(SynchronousTestCase):
    """Nothing that a server wrote can end or split a field."""

    def test_row_76_line_ends_become_cr_and_tabs_blanks_in_a_text(self) -> None:
        self.assertEqual(
            clean(b"a\nb\tc\r\nd\re\x01f\0g\x1b\x7f\xe4", line_break=b"\r"), b"a\rb c\rd\re f?g??\xe4"
        )

    def test_line_ends_become_blanks_elsewhere(self) -> None:
        self.assertEqual(clean(b"a\nb\r\nc\rd"), b"a b c d")


class Notaries(SynchronousTestCase):
    """Six fields, whatever they hold."""

    def test_all_fields(self) -> None:
        made = notary(
            b"bob@example.net", b"failed", b"4.2.0", b"smtp; 450 (x)", b"dns; mx.example.net", b"192.0.2.25",
            b"smtp[4242]",
        )  # fmt: skip
        self.assertEqual(made, NOTARY)

    def test_empty_fields_stay(self) -> None:
        self.assertEqual(
            notary(b"bob@x", b"failed", b"", b"", b"", b"", b"smtp[12]"),
            b"bob@x\x01failed\x01\x01\x01\x01smtp[12]",
        )

    @settings(deadline=None, max_examples=100)
    @given(st.lists(HOSTILE, min_size=7, max_size=7))
    def test_any_octets_make_six_fields_on_one_line(self, fields: list[bytes]) -> None:
        made = notary(*fields)
        self.assertEqual(made.count(b"\x01"), 5)
        self.assertLess(len(made), 2600)
        self.assertEqual([octet for octet in made if octet in b"\t\n\r\0"], [])


class ReportLines(SynchronousTestCase):
    """What the scheduler reads."""

    def test_row_70_success(self) -> None:
        self.assertEqual(report_line(77, 44, b"", b"ok3", b"text"), b"77/44\t\tok3 text\n")

    def test_row_73_temporary_failure(self) -> None:
        expected = b"77/44\t" + NOTARY + b"\tretryat +60 text\n"
        self.assertEqual(report_line(77, 44, NOTARY, b"retryat +60", b"text"), expected)

    def test_numbers_above_thirty_one_bits_are_whole(self) -> None:
        self.assertEqual(
            report_line(2**63, 2**33, b"", b"ok3", b""), b"9223372036854775808/8589934592\t\tok3 \n"
        )

    def test_texts_of_the_agent_begin_with_a_line_break(self) -> None:
        self.assertEqual(report_line(1, 2, b"", b"ok3", b"\r<<- DATA"), b"1/2\t\tok3 \r<<- DATA\n")

    @settings(deadline=None, max_examples=100)
    @given(HOSTILE, HOSTILE, HOSTILE)
    def test_any_octets_make_one_line_of_three_fields(self, status: bytes, word: bytes, text: bytes) -> None:
        line = report_line(
            77, 44, notary(b"u", b"failed", status, status, b"", b"", b"smtp[1]"), word[:20], text
        )
        self.assertEqual((line.count(b"\n"), line[-1:], line.count(b"\t")), (1, b"\n", 2))
        self.assertLessEqual(len(line), LONGEST_LINE)


class LogLines(SynchronousTestCase):
    """What the system's log is told."""

    def line(self, **other: object) -> bytes:
        values: dict[str, object] = {
            "delay": 7.9,
            "spent": 2.1,
            "channel": b"smtp",
            "remote": b"dns; mx.example.net",
            "ip": b"192.0.2.25",
            "word": b"ok2",
            "text": b"\r<<- .\r->> first\rsmtp; 250 (2.0.0 accepted)",
            "conversion": b"NONE",
            **other,
        }
        return log_line("S2244666AblDAKAA", b"bob@example.net", **values)  # type: ignore[arg-type]

    def test_the_example_of_the_specification(self) -> None:
        self.assertEqual(
            self.line(),
            b"S2244666AblDAKAA: to=<bob@example.net>, delay=00:00:07, xdelay=00:00:02, mailer=smtp, "
            b"relay=mx.example.net ([192.0.2.25]), stat=ok2 smtp; 250 (2.0.0 accepted) cvt=NONE",
        )

    def test_items_with_tabulators(self) -> None:
        self.assertEqual(
            self.line(tabs=True, delay=360_000.0, conversion=b"QP").split(b"\t"),
            [
                b"S2244666AblDAKAA:",
                b"to=<bob@example.net>",
                b"delay=100:00:00",
                b"xdelay=00:00:02",
                b"mailer=smtp",
                b"relay=mx.example.net ([192.0.2.25])",
                b"stat=ok2",
                b"smtp; 250 (2.0.0 accepted) cvt=QP",
            ],
        )

    def test_what_is_not_known_is_left_out(self) -> None:
        self.assertIn(b"mailer=smtp, relay=mx.example.net, stat=", self.line(ip=b""))
        self.assertIn(b"mailer=smtp, stat=", self.line(remote=b"", ip=b""))
        self.assertIn(b"relay=/run/lmtp, stat=", self.line(remote=b"/run/lmtp", ip=b""))

    def test_clock_that_was_set_back_makes_no_nonsense(self) -> None:
        self.assertIn(b"delay=00:00:00, xdelay=00:00:00,", self.line(delay=-5.0, spent=-0.1))

    @settings(deadline=None, max_examples=100)
    @given(HOSTILE, HOSTILE, HOSTILE)
    def test_any_octets_make_one_line_without_controls(self, remote: bytes, text: bytes, word: bytes) -> None:
        line = self.line(remote=remote, ip=text, text=text * 99, word=word)
        self.assertNotRegex(line, rb"[\x00-\x1f\x7f]")
        self.assertLess(len(line), 1300)


class DiagnosticLines(SynchronousTestCase):
    """What stays in the control file for the delivery report."""

    def test_the_example_of_the_specification(self) -> None:
        delivered = NOTARY.replace(b"failed", b"relayed")
        self.assertEqual(
            diagnostic_line(295, 476, 343, 1743501600, delivered, b"text"),
            b"d 295:476:343::1743501600\t" + delivered + b"\ttext\n",
        )

    @settings(deadline=None, max_examples=100)
    @given(HOSTILE, HOSTILE)
    def test_any_octets_are_read_back_as_one_diagnostic(self, status: bytes, text: bytes) -> None:
        line = diagnostic_line(
            44, 80, -1, 7, notary(b"u", b"failed", status, b"", b"", b"", b"smtp[1]"), text
        )
        self.assertLessEqual(len(line), LONGEST_LINE)
        control = parse(BASE + line, "77")
        (diagnostic,) = control.diagnostics
        self.assertEqual((diagnostic.recipient_offset, diagnostic.notary.count(b"\x01")), (44, 5))
        self.assertEqual(control.problems, [])
