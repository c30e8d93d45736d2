"""What a server announces is understood as RFC 5321 section 4.1.1.1 means it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.smtp.capability import Capabilities, capabilities


def announced(*lines: bytes) -> Capabilities:
    """Read these lines behind that with the server's name."""
    return capabilities([b"250-mx.example", *[b"250-" + line for line in lines]])


class Keywords(SynchronousTestCase):
    """One line, one extension."""

    def test_all_that_we_know(self) -> None:
        found = announced(
            b"PIPELINING",
            b"8BITMIME",
            b"BINARYMIME",
            b"SMTPUTF8",
            b"DSN",
            b"ENHANCEDSTATUSCODES",
            b"CHUNKING",
            b"STARTTLS",
            b"DELIVERBY 240",
        )
        self.assertEqual(found, Capabilities(True, True, True, True, True, True, True, True, True))

    def test_nothing(self) -> None:
        self.assertEqual(announced(), Capabilities())
        self.assertEqual(capabilities([b"250"]), Capabilities())

    def test_any_case_and_blanks_behind(self) -> None:
        """Row 22; weakness W28; defect 6 of the stock class: no silent downgrade."""
        found = announced(b"pipelining", b"Dsn ", b"starttls\t")
        self.assertEqual((found.pipelining, found.dsn, found.starttls), (True, True, True))

    def test_first_line_is_a_name(self) -> None:
        """Row 23; defect 6 of the stock class."""
        self.assertEqual(capabilities([b"250-STARTTLS", b"250 ok"]), Capabilities())
        self.assertEqual(capabilities([b"250 DSN"]), Capabilities())

    def test_what_is_not_known_is_passed_over(self) -> None:
        self.assertEqual(
            announced(b"ETRN", b"HELP", b"XVERP", b"", b" ", b"PIPELININGS", b"\xff\0", b"="), Capabilities()
        )

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(st.one_of(st.binary(max_size=40), st.from_regex(rb"(SIZE|AUTH|LIMITS|X-RCPTLIMIT)[ =].*")))
    )
    def test_any_octets(self, lines: list[bytes]) -> None:
        found = capabilities([b"250-x", *lines])
        self.assertTrue(1 <= found.recipients <= 100_000)
        self.assertGreaterEqual(found.messages, 0)


class Size(SynchronousTestCase):
    """RFC 1870."""

    def test_limit(self) -> None:
        self.assertEqual(announced(b"Size 1000").size, 1000)

    def test_no_limit(self) -> None:
        """Row 32."""
        for line in (b"SIZE", b"SIZE 0", b"SIZE -5", b"SIZE many", b"SIZE 1e3", b"SIZE " + b"9" * 19):
            self.assertEqual(announced(line).size, 0, line)

    def test_not_announced(self) -> None:
        self.assertIsNone(announced(b"SIZE=1000").size)


class Authentication(SynchronousTestCase):
    """RFC 4954, and the form of the time before it."""

    def test_mechanisms(self) -> None:
        self.assertEqual(
            announced(b"AUTH PLAIN login", b"AUTH=LOGIN XOAUTH2").mechanisms, (b"PLAIN", b"LOGIN", b"XOAUTH2")
        )

    def test_old_form_alone(self) -> None:
        """Defect 6 of the stock class."""
        self.assertEqual(announced(b"AUTH=LOGIN").mechanisms, (b"LOGIN",))


class Limits(SynchronousTestCase):
    """How much a server takes at once."""

    def test_every_server_takes_a_hundred_recipients(self) -> None:
        self.assertEqual(announced(b"PIPELINING").recipients, 100)

    def test_limit_of_the_original(self) -> None:
        """Row 70: a server cannot ask for fewer than ten."""
        for text, number in ((b"1000", 1000), (b"3", 10), (b"0", 10), (b"x", 10), (b"9999999", 100_000)):
            self.assertEqual(announced(b"X-RCPTLIMIT " + text).recipients, number, text)

    def test_limits_of_rfc_9422(self) -> None:
        found = announced(b"LIMITS RCPTMAX=5 MAILMAX=20 RCPTDOMAINMAX=1 x")
        self.assertEqual((found.recipients, found.messages), (5, 20))

    def test_limits_without_sense(self) -> None:
        found = announced(b"LIMITS RCPTMAX=0 MAILMAX=x")
        self.assertEqual((found.recipients, found.messages), (100, 0))
        self.assertEqual(announced(b"LIMITS RCPTMAX=999999999").recipients, 100_000)
