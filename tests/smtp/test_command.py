"""Command lines hold what they are meant to hold, and nothing else."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.errors import Misuse
from zsmtp.smtp import command
from zsmtp.smtp.command import path_problem, xtext, xtext_problem


class Paths(SynchronousTestCase):
    """An address is taken as it stands, or not at all."""

    def test_addresses_in_use(self) -> None:
        """Row 73, and what other mail systems let pass."""
        for path in (
            b"bob@y.example",
            b"bob",
            b"MAILER-DAEMON",
            b"a..b@y.example",
            b".a@y.example",
            b"plus+tag=x@y.example",
            b'"a@b"@x.example',
            b'"a b>"@x.example',
            rb'"a\"b\ c"@x.example',
            rb"a\@b@x.example",
            b"@relay.example:bob@y.example",
            b"bob@[192.0.2.1]",
            b"bob@[IPv6:2001:db8::1]",
            "jürgen@bücher.example".encode(),
            b"x" * 242 + b"@y.example",
        ):
            self.assertIsNone(path_problem(path), path)

    def test_empty_address(self) -> None:
        self.assertEqual(path_problem(b""), "the address is empty")

    def test_long_addresses_are_never_cut(self) -> None:
        """Rows 75 and 76; weaknesses W3 and W4."""
        self.assertIn("254", path_problem(b"x" * 900 + b"@y.example") or "")
        self.assertIn("1410 octets", path_problem(b"\xc3\xa9" * 700 + b"@y.example") or "")

    def test_command_injection(self) -> None:
        """Defect 16 of the stock class."""
        for path in (b"a\r\nRCPT To:<b@c>", b'"a\r\nb"@c', b"a\nb", b"a\0b@c", b"a\x7fb@c", b'"a\tb"@c'):
            self.assertIn("control character", path_problem(path) or "", path)

    def test_parameter_injection(self) -> None:
        for path in (b"a@b> NOTIFY=NEVER", b"a b@c", b"<a@b>", b'"a@b', b'a"b"c"@d', b"a@b\\", b" a@b"):
            self.assertIn("outside a quoted string", path_problem(path) or "", path)

    def test_text_that_is_not_utf_8(self) -> None:
        self.assertIn("UTF-8", path_problem(b"j\xfcrgen@y.example") or "")

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=300))
    def test_what_is_taken_cannot_leave_the_brackets(self, path: bytes) -> None:
        if path_problem(path) is not None:
            return
        self.assertEqual(command.rcpt(path, b""), b"RCPT To:<" + path + b">")
        quoted = escaped = False
        for octet in path:
            self.assertTrue(octet >= 32 and octet != 127)
            if escaped:
                escaped = False
            elif octet == 0x5C:
                escaped = True
            elif octet == 0x22:
                quoted = not quoted
            elif not quoted:
                self.assertNotIn(octet, b" <>")
        self.assertFalse(quoted or escaped)


class Xtext(SynchronousTestCase):
    """RFC 3461 section 4."""

    def test_what_is_not_plain_is_encoded(self) -> None:
        """Row 73."""
        self.assertEqual(xtext(b"plus+tag=x"), b"plus+2Btag+3Dx")
        self.assertEqual(xtext(b"a b\xff"), b"a+20b+FF")
        self.assertEqual(xtext(b"%d"), b"%d")

    def test_no_xtext(self) -> None:
        """Weakness W26: what stands in the control file is not passed on unseen."""
        for value in (b"x y=z", b"", b"a+2b", b"a+", b"a=b", b"a\r\n", b"\xff"):
            self.assertEqual(xtext_problem(value, 100), "it is not xtext", value)

    def test_too_much(self) -> None:
        self.assertIsNone(xtext_problem(b"x" * 100, 100))
        self.assertIn("more than 100", xtext_problem(b"x" * 101, 100) or "")

    @settings(max_examples=100, deadline=None)
    @given(st.binary(min_size=1, max_size=60))
    def test_everything_can_be_encoded(self, value: bytes) -> None:
        self.assertIsNone(xtext_problem(xtext(value), 180))


class Lines(SynchronousTestCase):
    """The commands themselves; the spelling is that of the original (weakness W35: legal, kept)."""

    def test_mail_and_rcpt(self) -> None:
        self.assertEqual(command.mail(b"a@x.example", b" SIZE=5"), b"MAIL From:<a@x.example> SIZE=5")
        self.assertEqual(command.mail(b"", b""), b"MAIL From:<>")
        self.assertEqual(
            command.rcpt(b"b@y.example", b" NOTIFY=NEVER"), b"RCPT To:<b@y.example> NOTIFY=NEVER"
        )

    def test_bdat(self) -> None:
        self.assertEqual(command.bdat(162, last=True), b"BDAT 162 LAST")
        self.assertEqual(command.bdat(64000, last=False), b"BDAT 64000")

    def test_greeting(self) -> None:
        self.assertEqual(command.greeting(b"EHLO", b"client.example"), b"EHLO client.example")
        self.assertEqual(command.greeting(b"HELO", b"[192.0.2.1]"), b"HELO [192.0.2.1]")
        self.assertEqual(command.greeting(b"LHLO", b"[IPv6:2001:db8::1]"), b"LHLO [IPv6:2001:db8::1]")

    def test_name_that_is_none(self) -> None:
        for name in (b"", b"a b", b"a\r\nQUIT", b"x" * 256, "bücher.example".encode()):
            self.assertRaises(Misuse, command.greeting, b"EHLO", name)

    def test_last_gate(self) -> None:
        """Whatever the callers have checked, no control character passes."""
        self.assertRaises(Misuse, command.mail, b"a\r\nb", b"")
        self.assertRaises(Misuse, command.mail, b"a", b" ENVID=x\r\n")
        self.assertRaises(Misuse, command.rcpt, b"a\nb", b"")
        self.assertRaises(Misuse, command.response, b"dGVz\r\nQUIT")
