"""Lines of an agent are read without mercy."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.testing.report import Comment, Hungry, Report, Resync, Violation, read_line

NOTARY = b"bob@x\x01failed\x014.2.0\x01smtp; 450 (x)\x01dns; mx (192.0.2.25)\x01smtp[4242]"


class RightLines(SynchronousTestCase):
    """What an agent may say."""

    def test_words_of_command(self) -> None:
        self.assertEqual(read_line(b"#hungry"), Hungry())
        self.assertEqual(read_line(b"#resync N/R/1031"), Resync(b"N/R/1031"))
        self.assertEqual(read_line(b"# zsmtp:12: it rains"), Comment(b"zsmtp:12: it rains"))

    def test_reports(self) -> None:
        for line, word, seconds, text in (
            (b"1031/112\t\tok3 250 fine", "ok3", None, b"250 fine"),
            (b"1031/112\t\tok2 \r<<- a\r->> b\xff", "ok2", None, b"\r<<- a\r->> b\xff"),
            (b"1031/112\t\terror2 no", "error2", None, b"no"),
            (b"1031/112\t" + NOTARY + b"\tretryat +60 later", "retryat", 60, b"later"),
            (b"1031/112\t" + NOTARY + b"\tretryat 60", "retryat", 60, b""),
            (b"1031/112\t" + NOTARY + b"\tdeferred ", "deferred", None, b""),
            (b"1031/112\t" + NOTARY + b"\tdeferback x", "deferback", None, b"x"),
            (b"1031/112\t" + NOTARY + b"\tdeferall x", "deferall", None, b"x"),
            (b"1031/112\t" + NOTARY + b"\terror x", "error", None, b"x"),
            (b"1031/112\t" + NOTARY.replace(b"failed", b"delivered") + b"\tok x", "ok", None, b"x"),
        ):
            report = read_line(line)
            assert isinstance(report, Report)
            self.assertEqual((report.number, report.offset), (1031, 112))
            self.assertEqual((report.word, report.seconds, report.text), (word, seconds, text))
            self.assertEqual(report.is_deferral, word.startswith(("def", "retry")))
            self.assertEqual(len(report.notary), 0 if word in ("ok2", "ok3", "error2") else 6)

    def test_sub_fields_may_be_empty(self) -> None:
        report = read_line(b"1/2\tbob@x\x01failed\x01\x01\x01\x01smtp[12]\tdeferred x")
        assert isinstance(report, Report)
        self.assertEqual(report.notary[2:5], (b"", b"", b""))


class WrongLines(SynchronousTestCase):
    """What no agent may say."""

    def wrong(self, line: bytes) -> str:
        return str(self.assertRaises(Violation, read_line, line))

    def test_garbled_words_of_command(self) -> None:
        for line in (
            b"#hungry ",
            b"#hungry#hungry",
            b"#hungry\r",
            b"# x #hungry",
            b"#HELP! disk",
            b"#",
            b"#resync",
        ):
            self.wrong(line)
        for line in (b"#resync ", b"#resync  1", b"#resync 1 ", b"#resyncing 1"):
            self.assertIn("without a proper name", self.wrong(line))

    def test_anything_that_is_no_report(self) -> None:
        for line in (
            b"",
            b"Traceback (most recent call last):",
            b"1031/112 ok3 x",
            b"1031/112\tok3 x",
            b"1031/112\t\tok3",
            b"1031\t\tok3 x",
            b"x/112\t\tok3 x",
            b"01/2\t\tok3 x",
            b"-1/2\t\tok3 x",
            b"1/2\t\tOK3 x",
            b" 1/2\t\tok3 x",
        ):
            self.assertIn("neither a report nor a comment", self.wrong(line), line)

    def test_unknown_status(self) -> None:
        self.assertIn("an unknown status", self.wrong(b"1/2\t\tfine x"))

    def test_retryat_needs_a_number(self) -> None:
        for text in (b"retryat x", b"retryat ", b"retryat +", b"retryat soon 60", b"retryat -60 x"):
            self.assertIn("without a number", self.wrong(b"1/2\t" + NOTARY + b"\t" + text), text)

    def test_success_and_failure_have_no_notary(self) -> None:
        for word in (b"ok2", b"ok3", b"error2"):
            self.assertIn("with a notary", self.wrong(b"1/2\t" + NOTARY + b"\t" + word + b" x"))

    def test_deferral_has_six_sub_fields(self) -> None:
        for notary in (b"", b"bob", NOTARY.rpartition(b"\x01")[0], NOTARY + b"\x01"):
            self.assertIn("sub-fields, not six", self.wrong(b"1/2\t" + notary + b"\tdeferred x"), notary)

    def test_deferral_says_failed(self) -> None:
        self.assertIn(
            "not failed", self.wrong(b"1/2\t" + NOTARY.replace(b"failed", b"delayed") + b"\tdeferred x")
        )

    def test_notary_names_address_and_agent(self) -> None:
        self.assertIn("no address", self.wrong(b"1/2\t" + NOTARY.replace(b"bob@x", b"") + b"\tdeferred x"))
        for agent in (b"smtp", b"smtp[]", b"[12]", b"smtp[x]", b"sm tp[1]"):
            line = b"1/2\t" + NOTARY.replace(b"smtp[4242]", agent) + b"\tdeferred x"
            self.assertIn("not name[pid]", self.wrong(line), agent)

    def test_control_characters(self) -> None:
        self.assertIn("in the text", self.wrong(b"1/2\t\tok3 a\tb"))
        self.assertIn("in the text", self.wrong(b"1/2\t\tok3 a\x01b"))
        self.assertIn("in the text", self.wrong(b"1/2\t" + NOTARY + b"\tretryat +60 a\x01"))
        self.assertIn(
            "in the notary", self.wrong(b"1/2\t" + NOTARY.replace(b"450", b"4\r0") + b"\tdeferred x")
        )
        self.assertIn("a NUL", self.wrong(b"# a\0b"))

    def test_endless_lines(self) -> None:
        self.assertIn("octets", self.wrong(b"1/2\t\tok3 " + b"x" * 8192))

    @settings(deadline=None, max_examples=200)
    @given(st.binary(max_size=60))
    def test_whatever_comes_is_read_or_refused(self, line: bytes) -> None:
        try:
            read_line(line)
        except Violation:
            pass
