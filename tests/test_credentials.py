"""The secrets file, read: which line counts, what is wrong with the others, and that none shows a secret."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.credentials import LONGEST, Credentials, Secrets, is_private, read_secrets
from zsmtp.destination import Family, Hop
from zsmtp.smtp.sasl import MECHANISMS

USER, SECRET = b"bXluYW1l", b"c2VjcmV0"


def hop(name: str, canonical: str = "", address: str = "192.0.2.1") -> Hop:
    """A hop to a host, or to an address where that is the name."""
    family = Family.INET6 if ":" in address else Family.INET
    return Hop(address, 25, family, name, b"", "", canonical or name)


def path(name: str) -> Hop:
    """A hop to a UNIX socket."""
    return Hop(name, 0, Family.UNIX, name, b"", "", name)


def secrets(*lines: str) -> Secrets:
    """Read lines; `U S` at their ends stands for user and secret."""
    text = "\n".join(lines).replace(" U S", f" {USER.decode()} {SECRET.decode()}")
    return read_secrets(text.encode(), "secrets")


class TheCasesOfTheSpecification(SynchronousTestCase):
    """A01 to A11 of the specification, as far as they concern the file."""

    def found(self, where: Hop, *lines: str, channel: bytes = b"smtp") -> str | None:
        """Give the place of the line that counts, or the complaint."""
        result = secrets(*lines).find(channel, where)
        return result.place if isinstance(result, Credentials) else result

    def test_a01_star_and_host(self) -> None:
        result = secrets("* mx.host U S").find(b"smtp", hop("mx.host"))
        assert isinstance(result, Credentials)
        self.assertEqual((result.user, result.secret, result.in_clear), (b"myname", b"secret", False))

    def test_a06_channel_in_this_letter_case_only(self) -> None:
        self.assertIsNone(self.found(hop("mx.host"), "Smtp mx.host U S"))
        self.assertEqual(self.found(hop("mx.host"), "Smtp mx.host U S", channel=b"Smtp"), "secrets:1")

    def test_a06_host_in_any_letter_case(self) -> None:
        self.assertEqual(self.found(hop("mx.host"), "smtp MX.Host. U S"), "secrets:1")

    def test_a08_domain_of_the_mail_is_not_looked_at(self) -> None:
        self.assertIsNone(self.found(hop("mx.host"), "* host U S", "* other.host U S"))

    def test_a09_socket(self) -> None:
        for written in ("UNIX:/run/lmtp", "unix:/run/lmtp", "UNIX:/Run/LMTP"):
            self.assertEqual(self.found(path("/run/lmtp"), f"* {written} U S"), "secrets:1")
        self.assertIsNone(self.found(path("/run/lmtp"), "* UNIX:/run/lmtp2 U S", "* /run/lmtp U S"))

    def test_a10_comments_blank_lines_and_line_ends(self) -> None:
        lines = (
            "# * mx.host U S",
            "",
            " \t ",
            " \t# x",
            "* other",
            "\t*\tmx.host \t U S \t\r",
            "* mx.host U S",
        )
        self.assertEqual(self.found(hop("mx.host"), *lines), "secrets:6")

    def test_first_line_that_fits_counts(self) -> None:
        lines = ("lmtp mx.host U S", "* mx2.host U S", "smtp mx.host U S", "* mx.host U S")
        self.assertEqual(self.found(hop("mx.host"), *lines), "secrets:3")
        self.assertEqual(self.found(hop("mx.host"), *lines, channel=b"local"), "secrets:4")

    def test_name_behind_an_alias_fits_too(self) -> None:
        alias = hop("mx.host", "real.host")
        self.assertEqual(self.found(alias, "* real.host U S", "* mx.host U S"), "secrets:1")
        self.assertEqual(self.found(alias, "* mx.host U S", "* real.host U S"), "secrets:1")

    def test_address_in_any_notation(self) -> None:
        for written in ("192.0.2.1", "[192.0.2.1]"):
            self.assertEqual(self.found(hop("192.0.2.1"), f"* {written} U S"), "secrets:1")
        six = hop("2001:DB8:0::1", address="2001:db8::1")
        for written in ("2001:db8::1", "2001:DB8::0:1", "[ipv6.2001:db8::1]", "[2001:db8::1]"):
            self.assertEqual(self.found(six, f"* {written} U S"), "secrets:1")

    def test_address_does_not_stand_for_the_name(self) -> None:
        self.assertIsNone(self.found(hop("mx.host", address="192.0.2.1"), "* 192.0.2.1 U S"))

    def test_name_beyond_ascii(self) -> None:
        self.assertEqual(self.found(hop("xn--bcher-kva.example"), "* bücher.example U S"), "secrets:1")

    def test_mark_of_the_octet_order_is_no_part_of_it(self) -> None:
        self.assertEqual(self.found(hop("mx.host"), "\ufeff* mx.host U S"), "secrets:1")

    def test_no_file_no_line(self) -> None:
        self.assertIsNone(self.found(hop("mx.host")))


class WrongLines(SynchronousTestCase):
    """Each is named with its remedy; the mail for its host waits, unless a good line follows."""

    def complaint(self, line: str) -> str:
        """Read a line that is wrong, between good ones, and give the complaint."""
        read = secrets("* a.host U S", line, "* b.host U S")
        (problem,) = read.problems
        self.assertTrue(problem.startswith("secrets:2: "), problem)
        self.assertTrue(problem.isprintable(), problem)
        for name in ("a.host", "b.host"):
            self.assertIsInstance(read.find(b"smtp", hop(name)), Credentials)
        return problem

    def test_too_few_words(self) -> None:
        for line in ("* mx.host", f"* mx.host {USER.decode()}", "*"):
            self.assertIn(f"has {len(line.split())} of the four words", self.complaint(line))

    def test_words_that_are_not_base64(self) -> None:
        self.assertIn(
            "the third word, the user, is not base64; write what", self.complaint("* h my-name c2Vj")
        )
        for secret in ("hunter2", "c2VjcmV0==x", "c2Vj!", "GFzc3dvcmQ6", "c2VjcmV"):
            problem = self.complaint(f"* h {USER.decode()} {secret}")
            self.assertIn("the fourth word, the secret, is not base64", problem)
            self.assertNotIn(secret, problem)

    def test_secret_that_echo_has_written(self) -> None:
        coded = base64.b64encode(b"hunter2\n").decode()
        problem = self.complaint(f"* h {USER.decode()} {coded}")
        self.assertIn("ends with a line end, as from echo", problem)
        self.assertNotIn("hunter2", problem)

    def test_control_characters_and_nothing_at_all(self) -> None:
        for octets in (b"a\0b", b"a\rb", b"a\x7fb"):
            coded = base64.b64encode(octets).decode()
            self.assertIn("control character", self.complaint(f"* h {coded} c2Vj"))
            self.assertIn("control character", self.complaint(f"* h c2Vj {coded}"))

    def test_host_that_is_none(self) -> None:
        for host in ("*", "a/b", "/run/lmtp", "[mx.host]", "mx..host", "UNIX:run"):
            self.assertIn("no host name, address or UNIX:/path", self.complaint(f"* {host} U S"))

    def test_line_without_end(self) -> None:
        long = base64.b64encode(b"x" * LONGEST).decode()
        self.assertIn(f"longer than {LONGEST} octets", self.complaint(f"* h c2Vj {long}"))

    def test_mechanisms_that_are_not_known(self) -> None:
        for names in ("", "XOAUTH2", "PLAIN,NTLM", "PLAIN,"):
            self.assertIn("choose from SCRAM-SHA-256,", self.complaint(f"* h U S mechanisms={names}"))

    def test_mail_for_its_host_waits(self) -> None:
        read = secrets("* mx.host only-three words", "lmtp two.host U S x=")
        result = read.find(b"smtp", hop("mx.host"))
        self.assertEqual(result, read.problems[0])
        self.assertIsNone(read.find(b"smtp", hop("else.host")))

    def test_mail_waits_on_its_channel_only(self) -> None:
        read = secrets("lmtp mx.host U")
        self.assertIsNone(read.find(b"smtp", hop("mx.host")))
        self.assertIsInstance(read.find(b"lmtp", hop("mx.host")), str)

    def test_good_line_behind_it_counts(self) -> None:
        read = secrets("* mx.host U", "* mx.host U S")
        result = read.find(b"smtp", hop("mx.host"))
        assert isinstance(result, Credentials)
        self.assertEqual(result.place, "secrets:2")

    def test_word_that_may_be_the_rest_of_a_secret_is_not_shown(self) -> None:
        read = secrets("* mx.host U S hunter2 # and more")
        self.assertEqual(
            read.problems,
            ("secrets:1: word 5 is not understood and passed over; cleartext and mechanisms= are known",),
        )
        self.assertIsInstance(read.find(b"smtp", hop("mx.host")), Credentials)


class WordsBehind(SynchronousTestCase):
    """What follows the four words."""

    def credentials(self, line: str) -> Credentials:
        """Read a good line."""
        read = secrets(line)
        self.assertEqual(read.problems, ())
        result = read.find(b"smtp", hop("mx.host"))
        assert isinstance(result, Credentials)
        return result

    def names(self, credentials: Credentials) -> list[bytes]:
        """What one connection may use."""
        return [one.getName() for one in credentials.mechanisms()]

    def test_cleartext(self) -> None:
        for words, in_clear in (
            ("", False),
            ("cleartext", True),
            ("ClearText #x", True),
            ("# cleartext", False),
        ):
            self.assertEqual(self.credentials(f"* mx.host U S {words}").in_clear, in_clear)

    def test_all_mechanisms_or_some(self) -> None:
        self.assertEqual(self.names(self.credentials("* mx.host U S")), list(MECHANISMS[1:]))
        some = self.credentials("* mx.host U S mechanisms=login,CRAM-MD5 cleartext")
        self.assertEqual((self.names(some), some.in_clear), ([b"CRAM-MD5", b"LOGIN"], True))

    def test_scram_where_there_is_chance(self) -> None:
        read = read_secrets(b"* mx.host %b %b" % (USER, SECRET), "secrets", nonce=lambda: b"random")
        result = read.find(b"smtp", hop("mx.host"))
        assert isinstance(result, Credentials)
        self.assertEqual(self.names(result), list(MECHANISMS))

    def test_no_scram_for_a_secret_that_it_cannot_take(self) -> None:
        coded = base64.b64encode(b"latin \xfc")
        read = read_secrets(b"* mx.host %b %b" % (USER, coded), "secrets", nonce=lambda: b"random")
        result = read.find(b"smtp", hop("mx.host"))
        assert isinstance(result, Credentials)
        self.assertEqual(self.names(result), list(MECHANISMS[1:]))

    def test_each_connection_has_its_own(self) -> None:
        credentials = self.credentials("* mx.host U S")
        self.assertIsNot(credentials.mechanisms()[0], credentials.mechanisms()[0])


class NobodySees(SynchronousTestCase):
    """What shows values in a traceback shows no secret."""

    def test_repr_of_everything(self) -> None:
        read = secrets("* mx.host U S", f"* b.host {USER.decode()} c2VjcmV0=")
        result = read.find(b"smtp", hop("mx.host"))
        assert isinstance(result, Credentials)
        shown = (
            f"{read!r} {read} {result!r} {result} {read.lines!r} {read.problems!r} {result.mechanisms()!r}"
        )
        self.assertIn("<Credentials of secrets:1>", shown)
        self.assertIn("<Secrets for 2 hosts>", shown)
        for octets in ("myname", "secret'", USER.decode(), SECRET.decode(), b"secret".hex()):
            self.assertNotIn(octets, shown)

    @given(st.binary(max_size=200))
    def test_no_text_is_too_odd(self, octets: bytes) -> None:
        for text in (octets, b"* h " + octets, b"* h " + octets.replace(b"\n", b" ") + b"\n* mx.host U S"):
            for problem in read_secrets(text, "secrets").problems:
                self.assertTrue(problem.isprintable())


class Places(SynchronousTestCase):
    """Where nobody listens."""

    def test_this_machine_is_private(self) -> None:
        for where in (path("/run/x"), *(hop("x", address=a) for a in ("127.0.0.1", "127.9.9.9", "::1"))):
            self.assertTrue(is_private(where))
        self.assertTrue(is_private(hop("x", address="::ffff:127.0.0.1")))

    def test_everything_else_is_not(self) -> None:
        for address in ("192.0.2.1", "10.0.0.1", "fe80::1%eth0", "::ffff:192.0.2.1", "::", "0.0.0.0"):
            self.assertFalse(is_private(hop("localhost", address=address)), address)
